wit_bindgen::generate!({ path: "wit", world: "wasi:http/proxy@0.2.12", generate_all, default_bindings_module: "crate" });
use exports::wasi::http::incoming_handler::Guest;
use std::sync::atomic::{AtomicU32, Ordering};
use wasi::http::types::*;

/// Requests that this instance has had.
static SERVED: AtomicU32 = AtomicU32::new(0);

struct C;
impl Guest for C {
    fn handle(req: IncomingRequest, out: ResponseOutparam) {
        let served = SERVED.fetch_add(1, Ordering::Relaxed) + 1;
        let path = req.path_with_query().unwrap_or_default();
        let resp = OutgoingResponse::new(Fields::new());
        let body = resp.body().unwrap();
        ResponseOutparam::set(out, Ok(resp));
        let s = body.write().unwrap();
        if let Some(n) = path.strip_prefix("/stream/") {
            // many chunks, blocking writes: back-pressure test
            let n: u32 = n.parse().unwrap_or(10);
            let buf = [b'x'; 4096];
            for _ in 0..n {
                if s.blocking_write_and_flush(&buf).is_err() {
                    return;
                }
            }
        } else if let Some(n) = path.strip_prefix("/spin/") {
            let n: u64 = n.parse().unwrap_or(1);
            let mut x = 1u64;
            for i in 0..n * 1_000_000 {
                x = core::hint::black_box(x.wrapping_mul(6364136223846793005).wrapping_add(i));
            }
            s.blocking_write_and_flush(format!("{x}\n").as_bytes()).unwrap();
        } else if path == "/echo" {
            let trailers = echo(req, &s);
            drop(s);
            OutgoingBody::finish(body, trailers).unwrap();
            return;
        } else if path == "/count" {
            s.blocking_write_and_flush(format!("{served}\n").as_bytes()).unwrap();
        } else if path == "/trap" {
            panic!("boom");
        } else if let Some(n) = path.strip_prefix("/alloc/") {
            let n: usize = n.parse().unwrap_or(1);
            let v = vec![1u8; n << 20];
            let sum: u64 = core::hint::black_box(&v).iter().map(|b| *b as u64).sum();
            s.blocking_write_and_flush(format!("{sum}\n").as_bytes()).unwrap();
        } else {
            s.blocking_write_and_flush(b"hello from wasi:http 0.2\n").unwrap();
        }
        drop(s);
        OutgoingBody::finish(body, None).unwrap();
    }
}

/// Copies the request's body as it comes, and returns its trailers.
fn echo(req: IncomingRequest, to: &wasi::io::streams::OutputStream) -> Option<Fields> {
    let body = req.consume().unwrap();
    let from = body.stream().unwrap();
    while let Ok(chunk) = from.blocking_read(4096) {
        if to.blocking_write_and_flush(&chunk).is_err() {
            return None;
        }
    }
    drop(from);
    let trailers = IncomingBody::finish(body);
    trailers.subscribe().block();
    let trailers = trailers.get()?.ok()?.ok()??;
    let copy = Fields::new();
    for (name, value) in trailers.entries() {
        copy.append(&name, &value).unwrap();
    }
    Some(copy)
}
export!(C);
