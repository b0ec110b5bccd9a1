//! Where bytes and HTTP meet: HTTP guests that answer on a connection, and guests on a port that are asked over HTTP.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Either, select};
use http::{Request, Response, Uri, header};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::client::conn::http1 as client;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;

use super::Stream;
use super::pod::Presence;
use crate::local::Backend;
use crate::{Body, BoxError};

/// How long a client may take for the head of a request, as at the gateway.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Lets `backend` answer on a connection, in HTTP/1.1 or HTTP/2, until the client ends it.
pub(crate) async fn serve(stream: impl Stream + 'static, backend: Arc<dyn Backend>) {
    let answering = service_fn(move |request| answer(Arc::clone(&backend), request));
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_READ_TIMEOUT).half_close(true);
    server.http2().timer(TokioTimer::new());
    if let Err(error) = server.serve_connection(TokioIo::new(stream), answering).await {
        tracing::debug!(%error, "a connection to an HTTP guest ended early");
    }
}

async fn answer(backend: Arc<dyn Backend>, mut request: Request<Incoming>) -> Result<Response<Body>, BoxError> {
    // Guests answer requests; what they would upgrade to does not exist. Without the header they answer in HTTP.
    request.headers_mut().remove(header::UPGRADE);
    backend.handle(request.map(|body| body.map_err(Into::into).boxed_unsync())).await
}

/// A guest that listens on a port, asked over HTTP/1.1. Each request has a connection of its own: it costs two buffers, and
/// the guest may close it whenever it wants without a race with the next request.
pub(crate) struct OnPort {
    pub(crate) pod: Presence,
    pub(crate) at: SocketAddr,
}

impl Backend for OnPort {
    fn handle(&self, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, BoxError>> {
        let from = SocketAddr::new(IpAddr::from([0, 0, 0, 0]), 0);
        let opened = self.pod.offer(from, self.at);
        async move { ask(opened?, request).await }.boxed()
    }
}

/// Sends one request over a fresh connection, in HTTP/1.1.
///
/// # Errors
/// Whatever broke the connection before the head of the answer was there.
pub async fn ask(stream: impl Stream + 'static, request: Request<Body>) -> Result<Response<Body>, BoxError> {
    let (mut sender, connection) = client::handshake(TokioIo::new(stream)).await?;
    let driving: Driving = Box::pin(connection);
    match select(Box::pin(sender.send_request(in_origin_form(request)?)), driving).await {
        Either::Left((response, driving)) => {
            Ok(response?.map(|body| Body::new(Driven { body, driving: Some(driving) })))
        }
        // The connection ended first. Its answer may be on its way all the same.
        Either::Right((ended, response)) => {
            let response = response.await.map_err(|error| ended.err().unwrap_or(error))?;
            Ok(response.map(|body| Body::new(Driven { body, driving: None })))
        }
    }
}

/// A server is asked for a path; its own name is in the `Host` header.
fn in_origin_form(mut request: Request<Body>) -> Result<Request<Body>, BoxError> {
    let uri = request.uri().clone();
    if let Some(authority) = uri.authority()
        && !request.headers().contains_key(header::HOST)
    {
        request.headers_mut().insert(header::HOST, authority.as_str().parse()?);
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse::<Uri>()?;
    *request.version_mut() = http::Version::HTTP_11;
    Ok(request)
}

type Driving = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// A response body that drives its connection while it is read, in place of a task.
struct Driven {
    body: Incoming,
    driving: Option<Driving>,
}

impl hyper::body::Body for Driven {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let me = &mut *self;
        if let Some(driving) = &mut me.driving
            && driving.as_mut().poll(context).is_ready()
        {
            // What went wrong is told by the body.
            me.driving = None;
        }
        Pin::new(&mut me.body).poll_frame(context).map_err(|error| Box::new(io::Error::other(error)) as BoxError)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
#[path = "web_tests.rs"]
mod tests;
