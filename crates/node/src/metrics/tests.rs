//! The node's numbers, as Prometheus, metrics-server and `kubectl get --raw` read them.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::pods::tests::{World, one, pod};
use crate::server;

async fn get(world: &World, path: &str) -> String {
    let router = server::router(world.pods.clone());
    let answer = router.oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "{path}");
    String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

/// A world with one pod, whose guest used 7 ns and uses 42 bytes.
async fn world() -> World {
    let world = World::new();
    let mut spec = one("i:v1", "Always");
    let resources = json!({ "limits": { "memory": "1Mi", "cpu": "250m" } });
    spec["containers"][0]["resources"] = resources;
    world.apply(&pod("p", &spec));
    world.until("running", World::is_running).await;
    world
}

fn has(text: &str, line: &str) {
    assert!(text.lines().any(|one| one == line), "{line} is not in\n{text}");
}

#[tokio::test(start_paused = true)]
async fn containers_have_cadvisors_names_and_labels() {
    let text = get(&world().await, "/metrics/cadvisor").await;
    let labels = "id=\"/kubepods/poduid-p/c\",image=\"i:v1\",name=\"wasmtime://uid-p.c.0\",namespace=\"n\",pod=\"p\"";
    let cpu = "container_cpu_usage_seconds_total";
    has(&text, &format!("{cpu}{{container=\"c\",cpu=\"total\",{labels}}} 0.000000007"));
    has(&text, &format!("container_memory_working_set_bytes{{container=\"c\",{labels}}} 42"));
    has(&text, &format!("container_spec_memory_limit_bytes{{container=\"c\",{labels}}} 1048576"));
    has(&text, &format!("container_spec_cpu_quota{{container=\"c\",{labels}}} 25000"));
    has(&text, &format!("container_spec_cpu_shares{{container=\"c\",{labels}}} 256"));
    let of_pod = "container=\"\",id=\"/kubepods/poduid-p\",image=\"\",name=\"\",namespace=\"n\",pod=\"p\"";
    has(&text, &format!("container_memory_working_set_bytes{{{of_pod}}} 42"));
}

#[tokio::test(start_paused = true)]
async fn metrics_server_finds_nodes_pods_and_containers() {
    let text = get(&world().await, "/metrics/resource").await;
    has(&text, "container_memory_working_set_bytes{container=\"c\",namespace=\"n\",pod=\"p\"} 42");
    has(&text, "pod_cpu_usage_seconds_total{namespace=\"n\",pod=\"p\"} 0.000000007");
    has(&text, "resource_scrape_error 0");
    assert!(text.contains("\nnode_cpu_usage_seconds_total "), "{text}");
}

#[tokio::test(start_paused = true)]
async fn the_kubelets_own_numbers_are_there() {
    let text = get(&world().await, "/metrics").await;
    has(&text, "kubelet_running_pods 1");
    has(&text, "kubelet_running_containers{container_state=\"running\"} 1");
    assert!(text.contains("kubelet_pod_start_duration_seconds_count "), "{text}");
}

#[tokio::test(start_paused = true)]
async fn the_summary_has_the_shape_of_the_kubelets() {
    let summary: Value = serde_json::from_str(&get(&world().await, "/stats/summary").await).unwrap();
    let pod = &summary["pods"][0];
    assert_eq!(pod["podRef"], json!({ "name": "p", "namespace": "n", "uid": "uid-p" }));
    assert_eq!(pod["containers"][0]["memory"]["workingSetBytes"], 42);
    assert_eq!(pod["cpu"]["usageCoreNanoSeconds"], 7);
    assert!(summary["node"]["memory"]["workingSetBytes"].is_u64());
}
