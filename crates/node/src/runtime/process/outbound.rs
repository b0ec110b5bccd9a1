//! The requests that guests send: from the worker to the node, which knows where they may go.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use futures::future::BoxFuture;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use wkube_proxy::{Body, BoxError};
use wkube_wasm_runtime::Outbound;

use super::sockets::SOCKET;

/// In a response: the request reached nobody, and this is why.
const FAILED: &str = "wkube-failed";

/// Kinds of failure that guests can tell apart.
const KINDS: [(&str, io::ErrorKind); 8] = [
    ("refused", io::ErrorKind::ConnectionRefused),
    ("reset", io::ErrorKind::ConnectionReset),
    ("timed-out", io::ErrorKind::TimedOut),
    ("denied", io::ErrorKind::PermissionDenied),
    ("not-found", io::ErrorKind::NotFound),
    ("unreachable", io::ErrorKind::HostUnreachable),
    ("untrusted", io::ErrorKind::InvalidData),
    ("too-many", io::ErrorKind::QuotaExceeded),
];

/// The worker's half.
pub(super) struct ToNode(pub(super) SendRequest<Body>);

impl Outbound for ToNode {
    fn send(&self, mut request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, BoxError>> {
        let mut node = self.0.clone();
        // What a guest says is never for the node itself.
        request.headers_mut().remove(SOCKET);
        Box::pin(async move {
            node.ready().await?;
            let response = node.send_request(request).await?;
            match response.headers().get(FAILED) {
                Some(why) => Err(failure(why).into()),
                None => Ok(response.map(|body| body.map_err(BoxError::from).boxed_unsync())),
            }
        })
    }
}

fn failure(why: &HeaderValue) -> io::Error {
    let why = why.to_str().unwrap_or_default();
    let (kind, message) = why.split_once(' ').unwrap_or(("", why));
    let kind = KINDS.iter().find(|(name, _)| *name == kind).map_or(io::ErrorKind::Other, |(_, kind)| *kind);
    io::Error::new(kind, message.to_owned())
}

/// The node's half: sends what a worker's guest sends.
pub(super) async fn send(outbound: Arc<dyn Outbound>, request: Request<Incoming>) -> Response<Body> {
    let request = request.map(|body| body.map_err(BoxError::from).boxed_unsync());
    match outbound.send(request).await {
        Ok(mut response) => {
            // Whoever answers must not be able to say that nobody did.
            response.headers_mut().remove(FAILED);
            response
        }
        Err(error) => failed(&*error),
    }
}

fn failed(error: &(dyn StdError + 'static)) -> Response<Body> {
    let mut kind = "other";
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = next {
        let found = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if let Some((name, _)) = KINDS.iter().find(|(_, kind)| Some(*kind) == found) {
            kind = name;
            break;
        }
        next = error.source();
    }
    let message: String = error.to_string().chars().filter(|c| c.is_ascii_graphic() || *c == ' ').collect();
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    let why = HeaderValue::try_from(format!("{kind} {message}")).expect("printable ASCII");
    response.headers_mut().insert(FAILED, why);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("no way to\nthere: {0}")]
    struct Wrapped(#[source] io::Error);

    #[test]
    fn the_kind_of_a_failure_survives_the_way_through_the_worker() {
        for (_, kind) in KINDS {
            let response = failed(&Wrapped(io::Error::from(kind)));
            assert_eq!(failure(response.headers().get(FAILED).unwrap()).kind(), kind);
        }
        let other = failed(&Wrapped(io::Error::other("ö")));
        let read = failure(other.headers().get(FAILED).unwrap());
        assert_eq!((read.kind(), read.to_string().as_str()), (io::ErrorKind::Other, "no way tothere: "));
    }
}
