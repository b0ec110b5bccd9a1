//! `proxy`: any request, passed on to a pod, to a pod of a service, or to a node.

use http::Request;
use serde_json::Value;
use wkube_api::{Object, ObjectKey, Status};

use super::node;
use crate::Api;
use crate::call::Call;
use crate::reach::{self, Destination, PortRef};
use crate::registry::Outcome;
use crate::respond::Body;
use crate::router;
use crate::service::HOP_BY_HOP;

/// Answers any method.
pub(super) async fn answer(api: &Api, call: &Call, request: Request<Body>) -> Result<Outcome, Status> {
    let (node, pod, port) = match &*call.resource.plural {
        "nodes" => {
            let name = split(&call.name).0;
            return pass(api, &name, &call.rest, request).await;
        }
        "services" => endpoint(api, call).await?,
        _ => pod(api, call, &call.namespace, &call.name)?,
    };
    let rest = if call.rest.is_empty() { "/" } else { &call.rest };
    let [namespace, pod, port] = [&call.namespace, &pod, &port].map(|part| router::encode(part));
    let path = format!("/proxy/{namespace}/{pod}/{port}{rest}");
    pass(api, &node, &path, request).await
}

async fn pass(api: &Api, node: &str, path: &str, request: Request<Body>) -> Result<Outcome, Status> {
    let (mut parts, body) = request.into_parts();
    let query = parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let path = if path.is_empty() { "/" } else { path };
    parts.uri = format!("{path}{query}").parse().map_err(|_| Status::bad_request("the proxied path is not valid"))?;
    for name in &HOP_BY_HOP {
        parts.headers.remove(name);
    }
    // The credentials are for this server, not for whoever answers behind it.
    parts.headers.remove(http::header::AUTHORIZATION);
    let mut response = node::pass(api, node, Request::from_parts(parts, body)).await?;
    for name in &HOP_BY_HOP {
        response.headers_mut().remove(name);
    }
    Ok(Outcome::Raw(response))
}

/// Splits `[scheme:]name[:port]`.
fn split(name: &str) -> (String, String) {
    let parts: Vec<&str> = name.split(':').collect();
    let (name, port) = match parts.as_slice() {
        [_scheme, name, port] => (*name, *port),
        [name, port] => (*name, *port),
        _ => (name, ""),
    };
    (name.to_owned(), port.to_owned())
}

/// Returns node, pod and port of a pod.
fn pod(api: &Api, call: &Call, namespace: &str, name: &str) -> Result<(String, String, String), Status> {
    let (name, port) = split(name);
    let pods = api.registry.catalog.core("pods").ok_or_else(Status::unknown_path)?;
    let pod = api.registry.object(pods, &ObjectKey::new(namespace, &name))?;
    let node = pod.str_at(&["spec", "nodeName"]);
    if node.is_empty() {
        return Err(Status::unavailable(format!("pod {:?} is not running on a node yet", call.name)));
    }
    let port = if port.is_empty() { first_port(&pod) } else { named_port(&pod, &port).unwrap_or(port) };
    Ok((node.to_owned(), name, port))
}

fn ports(pod: &Object) -> impl Iterator<Item = &Value> {
    let containers = pod.at(&["spec", "containers"]).and_then(Value::as_array).into_iter().flatten();
    containers.filter_map(|container| container["ports"].as_array()).flatten()
}

fn first_port(pod: &Object) -> String {
    ports(pod).find_map(|port| port["containerPort"].as_i64()).unwrap_or(80).to_string()
}

fn named_port(pod: &Object, name: &str) -> Option<String> {
    ports(pod)
        .find(|port| port["name"] == name)
        .and_then(|port| port["containerPort"].as_i64())
        .map(|port| port.to_string())
}

/// Returns node, pod and port of one ready endpoint of a service.
async fn endpoint(api: &Api, call: &Call) -> Result<(String, String, String), Status> {
    let (name, wanted) = split(&call.name);
    let registry = &api.registry;
    let service = registry.object(&call.resource, &ObjectKey::new(&call.namespace, &name))?;
    let slices = registry.catalog.find("discovery.k8s.io", "v1", "endpointslices").ok_or_else(Status::unknown_path)?;
    let slices = registry.objects(slices, &call.namespace).await;
    let found = reach::candidates(&service, slices.iter().map(AsRef::as_ref), PortRef::parse(&wanted))?;
    let pods: Vec<_> = found.into_iter().filter_map(Destination::into_pod).collect();
    let (name, port) = match pods.as_slice() {
        [] => return Err(reach::Error::NoEndpoints(service.key()).into()),
        pods => &pods[registry.rng.below(pods.len())],
    };
    pod(api, call, &call.namespace, &format!("{name}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_carry_a_scheme_and_a_port() {
        let check = |name: &str, pod: &str, port: &str| assert_eq!(split(name), (pod.to_owned(), port.to_owned()));
        check("p", "p", "");
        check("p:80", "p", "80");
        check("https:p:web", "p", "web");
        check("http:p:", "p", "");
    }
}
