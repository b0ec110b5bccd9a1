//! Events expire.

use std::sync::Arc;
use std::time::Duration;

use http::Request;
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use tower::ServiceExt as _;
use wkube_apiserver::ApiServer;
use wkube_base::{Clock, Rng, Tasks};
use wkube_store::MemoryStore;

use super::admin;

const EVENTS: &str = "/api/v1/namespaces/default/events";

async fn server(store: &Arc<MemoryStore>, clock: &Clock, tasks: &Tasks) -> ApiServer {
    ApiServer::in_memory(store.clone(), clock.clone(), Rng::seeded(1), tasks).await
}

fn clock() -> Clock {
    Clock::simulated("2026-01-01T00:00:00Z".parse().expect("a time"))
}

async fn call(server: &ApiServer, request: http::request::Builder, body: Value) -> Value {
    let request = request.header("content-type", "application/json").body(Full::<bytes::Bytes>::from(body.to_string()));
    let answer = server.in_process(admin()).oneshot(request.expect("a request")).await.expect("never fails");
    let bytes = answer.into_body().collect().await.expect("a body").to_bytes();
    serde_json::from_slice(&bytes).expect("JSON")
}

async fn create(server: &ApiServer, name: &str, seen: &str) {
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": name}, "reason": "Tested", "lastTimestamp": seen,
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"},
    });
    assert_eq!(call(server, Request::post(EVENTS), event).await["metadata"]["name"], name);
}

async fn names(server: &ApiServer) -> Vec<String> {
    let list = call(server, Request::get(EVENTS), Value::Null).await;
    let items = list["items"].as_array().expect("items");
    items.iter().map(|item| item["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn an_event_lasts_an_hour_after_its_last_change() {
    let server = server(&Arc::default(), &clock(), &Tasks::new()).await;
    create(&server, "old", "2026-01-01T00:00:00Z").await;
    create(&server, "renewed", "2026-01-01T00:00:00Z").await;
    tokio::time::sleep(Duration::from_mins(40)).await;
    let patch = Request::patch(format!("{EVENTS}/renewed")).header("content-type", "application/merge-patch+json");
    let request = patch.body(Full::<bytes::Bytes>::from(json!({"count": 2}).to_string())).expect("a request");
    assert_eq!(server.in_process(admin()).oneshot(request).await.expect("never fails").status(), 200);
    tokio::time::sleep(Duration::from_mins(19)).await;
    assert_eq!(names(&server).await, ["old", "renewed"]);
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert_eq!(names(&server).await, ["renewed"]);
    tokio::time::sleep(Duration::from_mins(40)).await;
    assert_eq!(names(&server).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn events_of_an_earlier_life_of_the_server_expire_too() {
    let (store, clock, tasks) = (Arc::default(), clock(), Tasks::new());
    let first = server(&store, &clock, &tasks).await;
    create(&first, "older", "2026-01-01T00:00:00Z").await;
    tasks.stop(Duration::from_secs(1)).await;
    tokio::time::sleep(Duration::from_mins(50)).await;
    let second = server(&store, &clock, &Tasks::new()).await;
    assert_eq!(names(&second).await, ["older"]);
    tokio::time::sleep(Duration::from_mins(11)).await;
    assert_eq!(names(&second).await, [""; 0]);
}
