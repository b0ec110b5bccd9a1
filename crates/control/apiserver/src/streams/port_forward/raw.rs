//! A port-forward whose two bodies are the two directions of one connection. Not Kubernetes': nodes ask for it, to connect
//! their pods with those of other nodes. It passes HTTP/2, and a server in the same process, neither of which upgrades.

use std::sync::Arc;

use axum::body::Body as NodeBody;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt as _, Limited};
use wkube_api::remote_command::RAW;
use wkube_api::{ObjectKey, Status};

use super::super::{limits, options};
use crate::Api;
use crate::call::Call;
use crate::registry::Outcome;
use crate::respond::Body;
use crate::router;

/// Whether a request asks for this.
pub(crate) fn is_meant(request: &Request<Body>) -> bool {
    request.method() == Method::POST && request.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == RAW)
}

/// Answers with what the pod says, as it says it.
pub(crate) async fn answer(api: &Arc<Api>, call: &Call, request: Request<Body>) -> Result<Outcome, Status> {
    let pod = api.registry.object(&call.resource, &ObjectKey::new(&call.namespace, &call.name))?;
    let node = options::node(&pod, "connect to")?;
    let ports = options::ports(&call.query, 1)?;
    let [port] = ports[..] else { return Err(Status::bad_request("one port is needed, in the query as ports=PORT")) };
    let path = format!("/portforward/{}/{}/{port}", router::encode(&call.namespace), router::encode(&call.name));
    // The node is told, for a pod that connects is not inside of the other as `kubectl port-forward` is.
    let request = Request::post(path).header(header::CONTENT_TYPE, RAW).body(NodeBody::new(request.into_body()));
    let request = request.map_err(|error| Status::internal(&error))?;
    let asking = tokio::time::timeout(limits::NODE_ANSWER, api.nodes.request(node, request)).await;
    let late = || Status::unavailable(format!("node {node} did not answer within {:?}", limits::NODE_ANSWER));
    let answer = asking.map_err(|_| late())?.map_err(|error| Status::unavailable(error.to_string()))?;
    if answer.status().is_success() {
        let body = Body::new(answer.into_body().map_err(Into::into));
        return Ok(Outcome::Raw(Response::new(body)));
    }
    let code = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), limits::REFUSAL_MAX).collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    Err(super::super::node::refusal(code, &body))
}
