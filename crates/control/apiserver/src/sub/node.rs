//! Requests to nodes, over the connections that they keep open.

use http::{Request, Response};
use http_body_util::BodyExt as _;
use wkube_api::Status;

use crate::Api;
use crate::respond::Body;

/// Sends a request to a node and returns its answer, whose body streams.
pub(super) async fn send(api: &Api, node: &str, request: Request<Body>) -> Result<Response<Body>, Status> {
    let request = request.map(axum::body::Body::new);
    match api.nodes.request(node, request).await {
        Ok(response) => Ok(response.map(|body| body.map_err(Into::into).boxed_unsync())),
        Err(error) => Err(Status::unavailable(format!("node {node} cannot be asked now: {error}"))),
    }
}
