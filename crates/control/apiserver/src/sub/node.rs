//! Requests to nodes, over the connections that they keep open.

use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::BodyExt as _;
use wkube_api::Status;

use crate::Api;
use crate::respond::{self, Body};

/// An answer with this header says that the node was not asked at all, so that a proxy may send the request to another.
const UNREACHED: HeaderName = HeaderName::from_static("wkube-unreached");

/// Passes a request on to a node. If the node is not connected, the answer says so in a header, too.
pub(super) async fn pass(api: &Api, node: &str, request: Request<Body>) -> Result<Response<Body>, Status> {
    if api.nodes.is_connected(node) {
        return send(api, node, request).await;
    }
    let status = Status::unavailable(format!("node {node} is not connected to this server"));
    let mut response = respond::failure(&status);
    if let Ok(name) = HeaderValue::from_str(node) {
        response.headers_mut().insert(UNREACHED, name);
    }
    Ok(response)
}

/// Sends a request to a node and returns its answer, whose body streams.
pub(super) async fn send(api: &Api, node: &str, request: Request<Body>) -> Result<Response<Body>, Status> {
    let request = request.map(axum::body::Body::new);
    match api.nodes.request(node, request).await {
        Ok(response) => Ok(response.map(|body| body.map_err(Into::into).boxed_unsync())),
        Err(error) => Err(Status::unavailable(format!("node {node} cannot be asked now: {error}"))),
    }
}
