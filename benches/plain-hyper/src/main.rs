//! The yardstick: a plain hyper server that answers every request with the text given: `plain-hyper ADDR:PORT TEXT`.

use std::convert::Infallible;
use std::error::Error;

use bytes::Bytes;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(text)) = (arguments.next(), arguments.next()) else {
        return Err("usage: plain-hyper ADDR:PORT TEXT".into());
    };
    let text = Bytes::from(text);
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let text = text.clone();
        tokio::spawn(async move {
            let service = service_fn(move |_: Request<hyper::body::Incoming>| {
                let text = text.clone();
                async move {
                    let response = Response::builder().header("content-type", "text/plain; charset=utf-8");
                    Ok::<_, Infallible>(response.body(Full::new(text)).expect("a valid response"))
                }
            });
            // A client that goes away is the usual end of a connection.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
