//! Subresources and reviews.

use serde_json::json;
use wkube_apiserver::auth::User;

use super::{Server, pod};

const PODS: &str = "/api/v1/namespaces/default/pods";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn deployment() -> serde_json::Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}},
        },
    })
}

#[tokio::test]
async fn a_scale_reads_and_sets_replicas() {
    let server = Server::new().await;
    let made = server.post(DEPLOYMENTS, deployment()).await;
    let path = format!("{DEPLOYMENTS}/d/scale");
    let read = server.get(&path).await;
    assert_eq!(
        (read.at("kind"), read.at("spec.replicas"), read.at("status.selector")),
        ("Scale".into(), "1".into(), "a=b".into())
    );
    assert_eq!(read.at("metadata.resourceVersion"), made.at("metadata.resourceVersion"));
    let body = Some(json!({"spec": {"replicas": 4}}));
    let scaled = server.call_as("PATCH", &path, "application/merge-patch+json", body).await;
    assert_eq!((scaled.code, scaled.at("kind"), scaled.at("spec.replicas")), (200, "Scale".into(), "4".into()));
    let parent = server.get(&format!("{DEPLOYMENTS}/d")).await;
    assert_eq!((parent.at("spec.replicas"), parent.at("metadata.generation")), ("4".into(), "2".into()));
    let refused = server.put(&path, read.body).await;
    assert_eq!(refused.code, 409, "{refused:?}");
}

#[tokio::test]
async fn a_binding_puts_a_pod_on_a_node_once() {
    let server = Server::new().await;
    server.post(PODS, pod("p")).await;
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    let bound = server.post(&format!("{PODS}/p/binding"), binding.clone()).await;
    assert_eq!((bound.code, bound.at("status")), (201, "Success".into()), "{bound:?}");
    let read = server.get(&format!("{PODS}/p")).await;
    // The generation counts what users ask for, and the node is not theirs to ask for.
    assert_eq!((read.at("spec.nodeName"), read.at("metadata.generation")), ("n".into(), "1".into()));
    let conditions = read.body["status"]["conditions"].as_array().expect("conditions");
    assert!(conditions.iter().any(|condition| condition["type"] == "PodScheduled" && condition["status"] == "True"));
    assert_eq!(server.post(&format!("{PODS}/p/binding"), binding).await.code, 409);
}

#[tokio::test]
async fn an_eviction_deletes_unless_a_budget_forbids_it() {
    let server = Server::new().await;
    let mut body = pod("p");
    body["metadata"]["labels"] = json!({"a": "b"});
    server.post(PODS, body).await;
    let status = json!({"status": {"phase": "Running"}});
    server.call_as("PATCH", &format!("{PODS}/p/status"), "application/merge-patch+json", Some(status)).await;
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}},
    });
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    assert_eq!(server.post(budgets, budget).await.code, 201);
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    let refused = server.post(&format!("{PODS}/p/eviction"), eviction.clone()).await;
    assert_eq!((refused.code, refused.at("details.causes.0.reason")), (429, "DisruptionBudget".into()), "{refused:?}");
    server.delete(&format!("{budgets}/b")).await;
    assert_eq!(server.post(&format!("{PODS}/p/eviction"), eviction).await.code, 201);
    assert_eq!(server.get(&format!("{PODS}/p")).await.code, 404);
}

#[tokio::test]
async fn logs_of_a_pod_without_a_node_say_why() {
    let server = Server::new().await;
    server.post(PODS, pod("p")).await;
    let refused = server.get(&format!("{PODS}/p/log")).await;
    assert_eq!(refused.code, 400);
    assert!(refused.at("message").contains("is waiting to start"), "{refused:?}");
    let unknown = server.get(&format!("{PODS}/p/log?container=zzz")).await;
    assert_eq!(unknown.at("message"), "container zzz is not valid for pod p");
}

#[tokio::test]
async fn who_am_i_and_may_i_are_answered() {
    let server = Server::new().await;
    let me = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let me = server.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", me).await;
    assert_eq!((me.code, me.at("status.userInfo.username")), (201, "admin".into()), "{me:?}");
    let may = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"verb": "create", "resource": "pods", "namespace": "default"}},
    });
    let may = server.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", may).await;
    assert_eq!((may.code, may.at("status.allowed")), (201, "true".into()), "{may:?}");
}

#[tokio::test]
async fn finalize_changes_only_a_namespaces_finalizers_and_ends_it() {
    let server = Server::new().await;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "t"}});
    server.post("/api/v1/namespaces", namespace).await;
    let marked = server.delete("/api/v1/namespaces/t").await;
    let mut body = marked.body.clone();
    body["spec"]["finalizers"] = json!([]);
    assert_eq!(server.put("/api/v1/namespaces/t/finalize", body).await.code, 200);
    assert_eq!(server.get("/api/v1/namespaces/t").await.code, 404);
}

#[tokio::test]
async fn both_groups_show_the_same_events() {
    let server = Server::new().await;
    let core = "/api/v1/namespaces/default/events";
    let new = "/apis/events.k8s.io/v1/namespaces/default/events";
    let body = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "message": "hello", "type": "Normal", "reason": "Because",
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
    });
    let made = server.post(core, body).await;
    assert_eq!(made.code, 201, "{made:?}");
    let shown = server.get(&format!("{new}/e")).await;
    assert_eq!((shown.at("apiVersion"), shown.at("note")), ("events.k8s.io/v1".into(), "hello".into()));
    assert_eq!(shown.at("regarding.name"), "p");
    let list = server.get(&format!("{new}?fieldSelector=regarding.name%3Dp")).await;
    assert_eq!((list.at("apiVersion"), list.at("items.0.note")), ("events.k8s.io/v1".into(), "hello".into()));
    let mut watch = server.watch(&format!("{new}?watch=true")).await;
    let event = watch.next().await.expect("an event");
    assert_eq!(
        (super::at(&event, "object.apiVersion"), super::at(&event, "object.note")),
        ("events.k8s.io/v1".into(), "hello".into())
    );
    assert_eq!(server.delete(&format!("{new}/e")).await.code, 200);
    assert_eq!(server.get(&format!("{core}/e")).await.code, 404);
}

#[tokio::test]
async fn a_subresource_that_is_not_served_does_not_reach_its_parent() {
    let server = Server::new().await;
    let log = server.post(&format!("{PODS}/p/log"), pod("p")).await;
    assert_eq!((log.code, server.get(&format!("{PODS}/p")).await.code), (405, 404), "{log:?}");
    let exec = server.post(&format!("{PODS}/p/exec"), pod("p")).await;
    assert_eq!((exec.code, server.get(&format!("{PODS}/p")).await.code), (404, 404), "{exec:?}");
}

/// Connects a node that answers each request with its first line.
async fn attach_echo(server: &Server, name: &str) {
    use http_body_util::Full;
    use hyper::service::service_fn;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let node = service_fn(|request: http::Request<hyper::body::Incoming>| async move {
        let asked = format!("{} {}", request.method(), request.uri().path_and_query().map_or("", |path| path.as_str()));
        Ok::<_, std::convert::Infallible>(http::Response::new(Full::new(bytes::Bytes::from(asked))))
    });
    wkube_base::Tasks::new().spawn_to_end("node", async move {
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        drop(connection.serve_connection(TokioIo::new(theirs), node).await);
    });
    server.api.nodes().attach(name, ours).await.expect("attached");
}

#[tokio::test]
async fn what_a_pod_sends_to_an_address_reaches_the_node_that_has_it() {
    let server = Server::new().await;
    attach_echo(&server, "n").await;
    for (name, range) in [("n", "10.128.16.0/20"), ("m", "10.42.1.0/24")] {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {"podCIDR": range}});
        assert_eq!(server.post("/api/v1/nodes", node).await.code, 201);
    }
    let send = async |user: User, what: &str| {
        let answer = server.as_user(user, "POST", &format!("/apis/wkube.dev/v1/podips/{what}"), json!({})).await;
        (answer.code, answer.body.as_str().or_else(|| answer.body["message"].as_str()).unwrap_or_default().to_owned())
    };
    let neighbour = || User::known("system:node:m", ["system:nodes"]);
    let connect = "10.128.31.7/connect?port=80&from=10.42.1.2:33000";
    let passed = "POST /podips/10.128.31.7/connect?from=10.42.1.2:33000&port=80";
    assert_eq!(send(neighbour(), connect).await, (200, passed.to_owned()));
    let passed = "POST /podips/10.128.31.7/datagrams";
    assert_eq!(send(neighbour(), "10.128.31.7/datagrams").await, (200, passed.to_owned()));
    let (code, why) = send(User::known("jane", ["system:authenticated"]), connect).await;
    assert!(code == 403 && why.contains("cannot create resource \"podips/connect\""), "{why}");
    for (what, code, said) in [
        ("10.42.1.9/datagrams", 503, "node m is not connected"),
        ("10.42.7.9/datagrams", 404, "no node has pods with the address 10.42.7.9"),
        ("example.com/datagrams", 400, "\"example.com\" is not an IP address"),
        ("10.128.31.7/connect?port=x&from=10.42.1.2:9", 400, "\"x\" is not a port"),
        ("10.128.31.7/connect?port=80", 400, "\"\" is not an address and a port"),
    ] {
        let answer = send(neighbour(), what).await;
        assert!(answer.0 == code && answer.1.contains(said), "{what}: {answer:?}");
    }
}

#[tokio::test]
async fn logs_and_proxied_requests_reach_the_pods_node() {
    let server = Server::new().await;
    attach_echo(&server, "n").await;
    server.post(PODS, pod("p")).await;
    let binding = json!({"target": {"kind": "Node", "name": "n"}});
    assert_eq!(server.post(&format!("{PODS}/p/binding"), binding).await.code, 201);
    let state = json!({"status": {"containerStatuses": [{"name": "main", "ready": true, "restartCount": 0, "image": "x", "imageID": "", "state": {"running": {}}}]}});
    let patched =
        server.call_as("PATCH", &format!("{PODS}/p/status"), "application/merge-patch+json", Some(state)).await;
    assert_eq!(patched.code, 200, "{patched:?}");
    let logs = server.get(&format!("{PODS}/p/log?follow=true&tailLines=5")).await;
    assert_eq!((logs.code, logs.body), (200, json!("GET /containerLogs/default/p/main?follow=true&tailLines=5")));
    assert_eq!(logs.headers["content-type"], "text/plain");
    let proxied = server.post(&format!("{PODS}/p:8080/proxy/a/b/?x=1"), json!({})).await;
    assert_eq!(proxied.body, json!("POST /proxy/default/p/8080/a/b/?x=1"));
    // The gateway of another node passes requests on in this way.
    let neighbour = User::known("system:node:m", ["system:nodes"]);
    let proxied = server.as_user(neighbour, "POST", &format!("{PODS}/p:8080/proxy/"), json!({})).await;
    assert_eq!(proxied.body, json!("POST /proxy/default/p/8080/"));
}
