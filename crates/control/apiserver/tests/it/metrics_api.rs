//! What nodes and pods use, as `kubectl top` asks for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use wkube_base::Tasks;

use super::{Server, at};

const METRICS: &str = "/apis/metrics.k8s.io/v1beta1";

/// Connects a node that says on every look that it and its only container have used another half second.
async fn connect(server: &Server, tasks: &Tasks, pod_uid: String) {
    let (near, far) = tokio::io::duplex(64 << 10);
    let looks = Arc::new(AtomicU64::new(0));
    tasks.spawn("node", async move {
        let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
            let used = looks.fetch_add(1, Ordering::Relaxed) * 500_000_000;
            let usage = json!({"cpuNanos": used, "memoryBytes": 10 << 20});
            let containers = json!([{"podUid": pod_uid, "name": "c", "usage": usage}]);
            assert_eq!(request.uri().path(), "/stats");
            let summary = json!({"machine": usage, "containers": containers}).to_string();
            async move { Ok::<_, std::convert::Infallible>(http::Response::new(summary)) }
        });
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = builder.serve_connection(TokioIo::new(far), service).await;
    });
    server.api.nodes().attach("n", near).await.expect("attached");
}

async fn running_pod(server: &Server) -> String {
    assert_eq!(server.post("/api/v1/nodes", json!({"metadata": {"name": "n"}})).await.code, 201);
    let spec = json!({"nodeName": "n", "containers": [{"name": "c", "image": "i"}]});
    let pod = json!({"metadata": {"name": "p", "labels": {"app": "web"}}, "spec": spec});
    let made = server.post("/api/v1/namespaces/default/pods", pod).await;
    assert_eq!(made.code, 201, "{}", made.body);
    made.at("metadata.uid")
}

#[tokio::test(start_paused = true)]
async fn top_shows_what_nodes_and_pods_use() {
    let (server, tasks) = (Server::new().await, Tasks::new());
    let uid = running_pod(&server).await;
    connect(&server, &tasks, uid).await;
    let nodes = server.get(&format!("{METRICS}/nodes")).await;
    assert_eq!(
        (nodes.code, nodes.at("kind"), nodes.at("items.0.metadata.name")),
        (200, "NodeMetricsList".into(), "n".into())
    );
    let cpu: u64 = nodes.at("items.0.usage.cpu").trim_end_matches('n').parse().expect("a number");
    assert!((490_000_000..=500_000_000).contains(&cpu), "half a processor in a second: {cpu}");
    assert_eq!(nodes.at("items.0.usage.memory"), "10240Ki");
    let pods = server.get(&format!("{METRICS}/namespaces/default/pods?labelSelector=app%3Dweb")).await;
    assert_eq!(at(&pods.body, "items.0.containers.0.name"), "c", "{}", pods.body);
    assert_eq!(server.get(&format!("{METRICS}/pods?labelSelector=app%3Ddb")).await.body["items"], json!([]));
    let one = server.get(&format!("{METRICS}/namespaces/default/pods/p")).await;
    assert_eq!((one.code, one.at("kind"), one.at("metadata.labels.app")), (200, "PodMetrics".into(), "web".into()));
}

#[tokio::test(start_paused = true)]
async fn what_does_not_run_has_no_metrics() {
    let server = Server::new().await;
    assert_eq!(server.get(&format!("{METRICS}/nodes")).await.body["items"], Value::Array(Vec::new()));
    let missing = server.get(&format!("{METRICS}/namespaces/default/pods/p")).await;
    assert_eq!(
        (missing.code, missing.at("message")),
        (404, "podmetrics.metrics.k8s.io \"default/p\" not found".into())
    );
    assert_eq!(server.get(&format!("{METRICS}/namespaces/default/pods/p/status")).await.code, 404);
    assert_eq!(server.delete(&format!("{METRICS}/nodes/n")).await.code, 405);
}

#[tokio::test(start_paused = true)]
async fn the_group_is_discovered() {
    let server = Server::new().await;
    assert_eq!(server.get(METRICS).await.at("resources.1.kind"), "PodMetrics");
    assert_eq!(server.get("/apis/metrics.k8s.io").await.at("preferredVersion.version"), "v1beta1");
    let registered = server.get("/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io").await;
    assert_eq!(registered.at("status.conditions.0.reason"), "Local");
}
