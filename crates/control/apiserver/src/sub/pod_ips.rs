//! `POST /apis/wkube.dev/v1/podips/{ip}/connect?port=P&from=IP:PORT` and `.../podips/{ip}/datagrams`: what a pod of one node
//! sends to the address of a pod on another. Nodes only dial this server, so it is the router between them: it knows which
//! node has which range of addresses, and passes bytes on without looking at them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::body::Body as NodeBody;
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Limited};
use wkube_api::cidr::Cidr;
use wkube_api::remote_command::RAW;
use wkube_api::{Object, Status};

use crate::Api;
use crate::respond::Body;
use crate::router::{Query, ResourcePath, Verb};
use crate::streams::{self, limits};

/// The group of what Kubernetes does not have.
const GROUP: &str = "wkube.dev";

/// Whether a URL is one of these. They are no kind, so discovery does not know them.
pub(crate) fn is_meant(path: &ResourcePath) -> bool {
    path.group == GROUP && path.resource == "podips" && matches!(&*path.subresource, "connect" | "datagrams")
}

/// Passes the request on to the node whose pod has the address, and its answer back.
pub(crate) async fn answer(
    api: &Api,
    verb: Verb,
    path: &ResourcePath,
    query: &Query,
    request: Request<Body>,
) -> Result<Response<Body>, Status> {
    if verb != Verb::Create {
        let message = "the server does not allow this method on the requested resource";
        return Err(Status::new(405, "MethodNotAllowed", message));
    }
    let no = |what: &str, text: &str| Status::bad_request(format!("{text:?} is not {what}"));
    let ip: IpAddr = path.name.parse().map_err(|_| no("an IP address", &path.name))?;
    let uri = if path.subresource == "connect" {
        let from: SocketAddr = query.get("from").parse().map_err(|_| no("an address and a port", query.get("from")))?;
        let port: u16 = query.get("port").parse().map_err(|_| no("a port", query.get("port")))?;
        format!("/podips/{ip}/connect?from={from}&port={port}")
    } else {
        format!("/podips/{ip}/{}", path.subresource)
    };
    let node = node_of(api, ip).await?;
    let request = Request::post(uri).header(header::CONTENT_TYPE, RAW).body(NodeBody::new(request.into_body()));
    let request = request.map_err(|error| Status::internal(&error))?;
    let asking = tokio::time::timeout(limits::NODE_ANSWER, api.nodes.request(&node, request)).await;
    let late = || Status::unavailable(format!("node {node} did not answer within {:?}", limits::NODE_ANSWER));
    let answer = asking.map_err(|_| late())?.map_err(|error| Status::unavailable(error.to_string()))?;
    if answer.status().is_success() {
        return Ok(Response::new(Body::new(answer.into_body().map_err(Into::into))));
    }
    let code = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), limits::REFUSAL_MAX).collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    Err(streams::node::refusal(code, &body))
}

/// Returns the node whose pods have such addresses.
async fn node_of(api: &Api, ip: IpAddr) -> Result<String, Status> {
    let registry = &api.registry;
    let core = |plural| registry.catalog.core(plural).cloned().expect("a built-in kind");
    let mut nodes = with_address(&registry.objects(&core("nodes"), "").await, ip);
    if nodes.len() > 1 {
        // Two nodes that registered at the same moment may have taken the same range.
        let pods = registry.objects(&core("pods"), "").await;
        let holder = holder(&pods, ip);
        nodes.retain(|node| Some(node) == holder.as_ref());
    }
    nodes.pop().ok_or_else(|| Status::new(404, "NotFound", format!("no node has pods with the address {ip}")))
}

/// Returns the names of the nodes in whose range of pod addresses this one is.
fn with_address(nodes: &[Arc<Object>], ip: IpAddr) -> Vec<String> {
    let has =
        |node: &&Arc<Object>| node.str_at(&["spec", "podCIDR"]).parse().is_ok_and(|range: Cidr| range.contains(ip));
    nodes.iter().filter(has).map(|node| node.name().to_owned()).collect()
}

/// Returns the node of the pod that has an address now.
fn holder(pods: &[Arc<Object>], ip: IpAddr) -> Option<String> {
    let ip = ip.to_string();
    let is_over = |pod: &Object| matches!(pod.str_at(&["status", "phase"]), "Succeeded" | "Failed");
    let found = pods.iter().find(|pod| pod.str_at(&["status", "podIP"]) == ip && !is_over(pod));
    found.map(|pod| pod.str_at(&["spec", "nodeName"]).to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn objects(all: &[Value]) -> Vec<Arc<Object>> {
        all.iter().map(|one| Arc::new(serde_json::from_value(one.clone()).expect("an object"))).collect()
    }

    fn node(name: &str, range: &str) -> Value {
        json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name }, "spec": { "podCIDR": range } })
    }

    #[test]
    fn an_address_is_on_the_node_that_has_its_range() {
        let nodes = objects(&[
            node("a", "10.42.0.0/24"),
            node("b", "10.128.16.0/20"),
            node("c", "10.128.16.0/20"),
            node("new", ""),
        ]);
        let on = |ip: &str| with_address(&nodes, ip.parse().expect("an address"));
        assert_eq!(on("10.42.0.200"), ["a"]);
        assert_eq!(on("10.128.31.255"), ["b", "c"], "both chose it");
        assert_eq!(on("10.42.1.0"), [""; 0]);
    }

    #[test]
    fn of_pods_with_one_address_the_one_that_lives_has_it() {
        let pod = |name: &str, node: &str, phase: &str| {
            json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": "d" },
                    "spec": { "nodeName": node }, "status": { "phase": phase, "podIP": "10.128.16.2" } })
        };
        let pods = objects(&[pod("done", "b", "Succeeded"), pod("runs", "c", "Running")]);
        assert_eq!(holder(&pods, [10, 128, 16, 2].into()).as_deref(), Some("c"));
        assert_eq!(holder(&pods, [10, 128, 16, 3].into()), None);
    }
}
