//! The requests that others send to guests: from the node to the worker.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::header::HOST;
use http::{HeaderValue, Request, Response, StatusCode, Uri, Version};
use http_body_util::{BodyExt as _, Full};
use wkube_proxy::{Backend, Body, BoxError};

use super::host::Worker;
use super::wire::GUEST;

/// Sends requests to a guest.
pub(super) struct Answers {
    pub(super) worker: Arc<Worker>,
    /// How the worker calls the guest.
    pub(super) id: HeaderValue,
}

impl Backend for Answers {
    fn handle(&self, mut request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, BoxError>> {
        let (worker, id) = (Arc::clone(&self.worker), self.id.clone());
        let answer = async move {
            let Some(uri) = absolute(&request) else {
                let text = Full::from("the request has neither a Host header nor an authority\n");
                let mut response = Response::new(text.map_err(|never| match never {}).boxed_unsync());
                *response.status_mut() = StatusCode::BAD_REQUEST;
                return Ok(response);
            };
            *request.uri_mut() = uri;
            *request.version_mut() = Version::HTTP_2;
            request.headers_mut().remove(HOST);
            request.headers_mut().insert(GUEST, id);
            let response = worker.send(request).await?;
            Ok(response.map(|body| body.map_err(BoxError::from).boxed_unsync()))
        };
        answer.boxed()
    }
}

/// HTTP/2 names the host in the target.
fn absolute(request: &Request<Body>) -> Option<Uri> {
    let mut parts = request.uri().clone().into_parts();
    if parts.authority.is_none() {
        parts.authority = request.headers().get(HOST)?.to_str().ok()?.parse().ok();
        parts.authority.as_ref()?;
    }
    parts.scheme.get_or_insert(http::uri::Scheme::HTTP);
    parts.path_and_query.get_or_insert_with(|| http::uri::PathAndQuery::from_static("/"));
    Uri::from_parts(parts).ok()
}
