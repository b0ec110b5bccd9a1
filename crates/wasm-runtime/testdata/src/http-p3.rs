wit_bindgen::generate!({ path: "wit", world: "wasi:http/service@0.3.0", generate_all, default_bindings_module: "crate" });
use exports::wasi::http::handler::Guest;
use wasi::http::types::*;
struct C;
impl Guest for C {
    async fn handle(req: Request) -> Result<Response, ErrorCode> {
        let path = req.get_path_with_query().unwrap_or_default();
        let (mut tx, rx) = wit_stream::new::<u8>();
        let (ttx, trx) = wit_future::new::<Result<Option<Trailers>, ErrorCode>>(|| Ok(None));
        let (resp, _done) = Response::new(Fields::new(), Some(rx), trx);
        drop(ttx);
        if path == "/nobody" {
            drop(tx);
            return Ok(resp);
        }
        let msg = if let Some(n) = path.strip_prefix("/spin/") {
            let n: u64 = n.parse().unwrap_or(1);
            let mut x = 1u64;
            for i in 0..n * 1_000_000 {
                x = core::hint::black_box(x.wrapping_mul(6364136223846793005).wrapping_add(i));
            }
            format!("{x}\n").into_bytes()
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
export!(C);
