//! `POST /apis/wkube.dev/v1/nodes/{name}/reverse`: a node turns its connection around, so that requests can reach it.

use http::{HeaderValue, Request, Response, header};
use hyper_util::rt::TokioIo;
use tracing::warn;
use wkube_api::Status;

use crate::Api;
use crate::respond::{self, Body};
use crate::router::ResourcePath;
use crate::tunnel::PROTOCOL;

/// The group of what Kubernetes does not have.
const GROUP: &str = "wkube.dev";

/// Whether a URL is a node's reverse connection. It is no kind, so discovery does not know it.
pub(crate) fn is_meant(path: &ResourcePath) -> bool {
    path.group == GROUP && path.resource == "nodes" && path.subresource == "reverse"
}

/// Upgrades the connection and hands it to the tunnel.
pub(crate) fn accept(api: &Api, node: &str, mut request: Request<Body>) -> Result<Response<Body>, Status> {
    let asked = request.headers().get(header::UPGRADE).and_then(|value| value.to_str().ok());
    if !asked.is_some_and(|asked| asked.eq_ignore_ascii_case(PROTOCOL)) {
        return Err(Status::bad_request(format!(
            "a reverse connection starts with an upgrade to {PROTOCOL} over HTTP/1.1"
        )));
    }
    let upgrade = hyper::upgrade::on(&mut request);
    let (nodes, node) = (api.nodes.clone(), node.to_owned());
    api.registry.tasks.spawn("reverse-upgrade", async move {
        let attached = match upgrade.await {
            Ok(stream) => nodes.attach(&node, TokioIo::new(stream)).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = attached {
            warn!(node, error, "a reverse connection was not opened");
        }
    });
    let mut response = respond::response(101, "", respond::full(""));
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(PROTOCOL));
    Ok(response)
}
