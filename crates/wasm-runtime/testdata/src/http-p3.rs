wit_bindgen::generate!({ path: "wit", world: "wasi:http/service@0.3.0", generate_all, default_bindings_module: "crate" });
use std::sync::atomic::{AtomicU32, Ordering};

use exports::wasi::http::handler::Guest;
use wasi::clocks::monotonic_clock;
use wasi::http::types::*;
use wit_bindgen::{FutureReader, StreamReader, StreamResult};

/// Requests that this instance has had, and how many it has now.
static SERVED: AtomicU32 = AtomicU32::new(0);
static HERE: AtomicU32 = AtomicU32::new(0);

struct C;
impl Guest for C {
    async fn handle(req: Request) -> Result<Response, ErrorCode> {
        let served = SERVED.fetch_add(1, Ordering::Relaxed) + 1;
        let path = req.get_path_with_query().unwrap_or_default();
        if path == "/echo" {
            return Ok(echo(req));
        }
        if path == "/trap" {
            panic!("boom");
        }
        if path == "/hold" {
            monotonic_clock::wait_for(u64::MAX / 2).await;
        }
        if path == "/error" {
            return Err(ErrorCode::ConfigurationError);
        }
        if let Some(n) = path.strip_prefix("/meet/") {
            meet(n.parse().unwrap_or(2)).await;
        }
        let (mut tx, rx) = wit_stream::new::<u8>();
        let (ttx, trx) = wit_future::new::<Result<Option<Trailers>, ErrorCode>>(|| Ok(None));
        let (resp, _done) = Response::new(Fields::new(), Some(rx), trx);
        drop(ttx);
        if path == "/nobody" {
            drop(tx);
            return Ok(resp);
        }
        if let Some(n) = path.strip_prefix("/stream/") {
            let n: u32 = n.parse().unwrap_or(10);
            wit_bindgen::spawn_local(async move {
                for _ in 0..n {
                    if !tx.write_all(vec![b'x'; 4096]).await.is_empty() {
                        return;
                    }
                }
            });
            return Ok(resp);
        }
        let msg = if let Some(n) = path.strip_prefix("/spin/") {
            let n: u64 = n.parse().unwrap_or(1);
            let mut x = 1u64;
            for i in 0..n * 1_000_000 {
                x = core::hint::black_box(x.wrapping_mul(6364136223846793005).wrapping_add(i));
            }
            format!("{x}\n").into_bytes()
        } else if let Some(n) = path.strip_prefix("/leak/") {
            let n: usize = n.parse().unwrap_or(1);
            std::mem::forget(core::hint::black_box(vec![1u8; n << 20]));
            format!("{served}\n").into_bytes()
        } else if path == "/count" {
            format!("{served}\n").into_bytes()
        } else {
            b"hello from wasi:http 0.3\n".to_vec()
        };
        wit_bindgen::spawn_local(async move {
            tx.write_all(msg).await;
            drop(tx);
        });
        Ok(resp)
    }
}

/// Waits until `wanted` requests are in this instance.
async fn meet(wanted: u32) {
    HERE.fetch_add(1, Ordering::Relaxed);
    while HERE.load(Ordering::Relaxed) < wanted {
        monotonic_clock::wait_for(1_000_000).await;
    }
}

/// Answers with the body and the trailers of the request, as they come.
fn echo(req: Request) -> Response {
    let (_finished, outcome) = wit_future::new::<Result<(), ErrorCode>>(|| Ok(()));
    let (mut body, trailers): (StreamReader<u8>, FutureReader<Result<Option<Trailers>, ErrorCode>>) =
        Request::consume_body(req, outcome);
    let (mut tx, rx) = wit_stream::new::<u8>();
    let (ttx, trx) = wit_future::new::<Result<Option<Trailers>, ErrorCode>>(|| Ok(None));
    let (resp, _done) = Response::new(Fields::new(), Some(rx), trx);
    wit_bindgen::spawn_local(async move {
        loop {
            let (result, chunk) = body.read(Vec::with_capacity(64 << 10)).await;
            if !chunk.is_empty() && !tx.write_all(chunk).await.is_empty() {
                return;
            }
            if !matches!(result, StreamResult::Complete(_)) {
                break;
            }
        }
        drop(body);
        drop(tx);
        let _ = ttx.write(trailers.await).await;
    });
    resp
}
export!(C);
