//! Port-forward: a stream of bytes, on which the pod's HTTP guest answers as on the gateway.

use std::future::Future;
use std::io;
use std::sync::Arc;

use axum::body::Body;
use futures::TryStreamExt;
use http::{Request, Response, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio_util::io::{ReaderStream, StreamReader};
use wkube_proxy::{Backend, BoxError};

/// What may wait in the connection on its way to the client.
const BUFFER_BYTES: usize = 64 * 1024;

/// Returns the connection, to be driven, and the body in which its answers are.
pub(super) fn serve(backend: Arc<dyn Backend>, body: Body) -> (impl Future<Output = ()> + Send + 'static, Body) {
    let incoming = StreamReader::new(TryStreamExt::map_err(body.into_data_stream(), io::Error::other));
    let (near, far) = tokio::io::duplex(BUFFER_BYTES);
    let stream = TokioIo::new(tokio::io::join(incoming, near));
    let answering = service_fn(move |request| answer(Arc::clone(&backend), request));
    let serving = async move {
        let connection =
            http1::Builder::new().timer(TokioTimer::new()).half_close(true).serve_connection(stream, answering);
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a forwarded connection ended early");
        }
    };
    (serving, Body::from_stream(ReaderStream::new(far)))
}

async fn answer(
    backend: Arc<dyn Backend>,
    mut request: Request<Incoming>,
) -> Result<Response<wkube_proxy::Body>, BoxError> {
    // Guests answer requests; what they would upgrade to does not exist. Without the header they answer in HTTP.
    request.headers_mut().remove(header::UPGRADE);
    backend.handle(request.map(|body| body.map_err(Into::into).boxed_unsync())).await
}
