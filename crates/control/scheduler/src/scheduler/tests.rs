//! The shell against a small API server: everything ends bound, or says why not.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use futures::stream;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, StreamBody};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tower::BoxError;
use wkube_client::client::{RequestBody, ResponseBody};

use super::*;
use crate::build::{NodeBuilder, PodBuilder, node, pod};

mod preemption;

/// What happens to the next binding.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// The request never arrives.
    RequestLost,
    /// The pod is bound, but nobody hears of it.
    AnswerLost,
}

/// Keeps pods, nodes and events; tells watchers; binds.
#[derive(Default)]
struct Server {
    revision: u64,
    objects: BTreeMap<String, Value>,
    watchers: Vec<(String, mpsc::UnboundedSender<Value>)>,
    faults: VecDeque<Fault>,
    bindings: Vec<String>,
    deletions: Vec<String>,
    events: Vec<String>,
}

#[derive(Clone, Default)]
struct Api(Arc<Mutex<Server>>);

impl Api {
    fn put(&self, path: String, object: Value) {
        self.0.lock().put(path, object);
    }

    fn add_node(&self, node: &NodeBuilder) {
        let node = node.build();
        self.put(format!("nodes/{}", node.name()), serde_json::to_value(&*node).expect("a document"));
    }

    fn add_pod(&self, pod: &PodBuilder) {
        let pod = pod.build();
        self.put(format!("pods/{}", pod.name()), serde_json::to_value(&*pod).expect("a document"));
    }

    fn delete(&self, path: &str) {
        let mut server = self.0.lock();
        let object = server.objects.remove(path).expect("it exists");
        server.tell("DELETED", path, object);
    }

    fn node_of(&self, pod: &str) -> Option<String> {
        Some(self.0.lock().objects[&format!("pods/{pod}")]["spec"]["nodeName"].as_str()?.to_owned())
    }

    fn bound(&self) -> usize {
        let server = self.0.lock();
        server.objects.values().filter(|object| object["spec"]["nodeName"].is_string()).count()
    }

    fn condition(&self, pod: &str) -> Value {
        self.0.lock().objects[&format!("pods/{pod}")]["status"]["conditions"][0].clone()
    }

    fn client(&self) -> Client {
        let api = self.clone();
        Client::new(tower::service_fn(move |request: Request<RequestBody>| {
            let api = api.clone();
            async move {
                // As long as a store takes to write durably.
                tokio::time::sleep(Duration::from_millis(5)).await;
                let (head, body) = request.into_parts();
                let body = serde_json::from_slice(&body.collect().await?.to_bytes()).unwrap_or_default();
                api.0.lock().answer(&head.method, head.uri.path(), &body)
            }
        }))
    }
}

impl Server {
    fn put(&mut self, path: String, object: Value) {
        let kind = if self.objects.contains_key(&path) { "MODIFIED" } else { "ADDED" };
        self.tell(kind, &path, object.clone());
        let mut stored = object;
        stored["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        self.objects.insert(path, stored);
    }

    fn tell(&mut self, kind: &str, path: &str, mut object: Value) {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let event = json!({ "type": kind, "object": object });
        self.watchers
            .retain(|(prefix, watcher)| !path.starts_with(prefix.as_str()) || watcher.send(event.clone()).is_ok());
    }

    fn answer(&mut self, method: &Method, path: &str, body: &Value) -> Result<Response<ResponseBody>, BoxError> {
        let parts: Vec<&str> = path.trim_start_matches("/api/v1/").split('/').collect();
        match (method, parts.as_slice()) {
            (&Method::GET, [plural] | ["", "apis", "policy", "v1", plural]) => Ok(self.watch(plural)),
            (&Method::POST, ["namespaces", _, "pods", name, "binding"]) => self.bind(name, body),
            (&Method::PATCH, ["namespaces", _, "pods", name, "status"]) => {
                let mut object = self.objects[&format!("pods/{name}")].clone();
                let status = object["status"].as_object_mut().expect("a status");
                status.extend(body["status"].as_object().expect("a status").clone());
                self.put(format!("pods/{name}"), object.clone());
                Ok(document(200, &object))
            }
            (&Method::DELETE, ["namespaces", _, "pods", name]) => Ok(self.leave(name, body)),
            (&Method::POST, ["namespaces", _, "events"]) => {
                let text = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
                self.events.push(format!("{} {}: {}", text("type"), text("reason"), text("message")));
                Ok(document(201, body))
            }
            (&Method::PATCH, ["namespaces", _, "events", _]) => {
                Ok(document(200, &json!({ "metadata": {}, "involvedObject": {} })))
            }
            other => panic!("the scheduler has no business with {other:?}"),
        }
    }

    /// Starts the end of a pod; a test ends it, as its node would.
    fn leave(&mut self, name: &str, options: &Value) -> Response<ResponseBody> {
        if matches!(self.faults.pop_front(), Some(Fault::RequestLost)) {
            return failure(503, "ServiceUnavailable");
        }
        let path = format!("pods/{name}");
        let mut pod = self.objects[&path].clone();
        assert_eq!(options["preconditions"]["uid"], pod["metadata"]["uid"], "exactly this pod");
        assert_eq!(options["gracePeriodSeconds"], Value::Null, "its own grace");
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        self.deletions.push(name.to_owned());
        self.put(path, pod.clone());
        document(200, &pod)
    }

    fn bind(&mut self, name: &str, body: &Value) -> Result<Response<ResponseBody>, BoxError> {
        let fault = self.faults.pop_front();
        if matches!(fault, Some(Fault::RequestLost)) {
            return Err("connection reset".into());
        }
        let path = format!("pods/{name}");
        let Some(mut pod) = self.objects.get(&path).cloned() else {
            return Ok(failure(404, "NotFound"));
        };
        if pod["spec"]["nodeName"].is_string() || pod["metadata"]["uid"] != body["metadata"]["uid"] {
            return Ok(failure(409, "Conflict"));
        }
        pod["spec"]["nodeName"] = body["target"]["name"].clone();
        self.bindings.push(name.to_owned());
        self.put(path, pod);
        if matches!(fault, Some(Fault::AnswerLost)) {
            return Err("connection reset".into());
        }
        Ok(document(201, &json!({ "kind": "Status", "apiVersion": "v1", "status": "Success" })))
    }

    fn watch(&mut self, plural: &str) -> Response<ResponseBody> {
        let prefix = format!("{plural}/");
        let (sender, receiver) = mpsc::unbounded_channel();
        for (_, object) in self.objects.iter().filter(|(path, _)| path.starts_with(&prefix)) {
            sender.send(json!({ "type": "ADDED", "object": object })).expect("open");
        }
        let metadata = json!({ "resourceVersion": (self.revision + 1).to_string(), "annotations": { "k8s.io/initial-events-end": "true" } });
        sender.send(json!({ "type": "BOOKMARK", "object": { "metadata": metadata } })).expect("open");
        self.watchers.push((prefix, sender));
        let lines = stream::unfold(receiver, |mut receiver| async {
            let event = receiver.recv().await?;
            Some((Ok(http_body::Frame::data(Bytes::from(format!("{event}\n")))), receiver))
        });
        Response::new(StreamBody::new(lines).boxed_unsync())
    }
}

fn document(code: u16, document: &Value) -> Response<ResponseBody> {
    let body =
        http_body_util::Full::new(Bytes::from(document.to_string())).map_err(|never| match never {}).boxed_unsync();
    Response::builder().status(code).body(body).expect("a valid answer")
}

fn failure(code: u16, reason: &str) -> Response<ResponseBody> {
    document(code, &json!({ "kind": "Status", "reason": reason, "message": reason, "code": code }))
}

/// Starts a scheduler over the server. It runs until the tasks are dropped with the test's runtime.
fn start_over(api: &Api) -> Tasks {
    let (tasks, rng, client) = (Tasks::new(), Rng::seeded(1), api.client());
    let informers = Informers::new(&client, &rng, &tasks);
    let clock = Clock::simulated(jiff::Timestamp::UNIX_EPOCH);
    start(client, &informers, clock, rng, &tasks);
    tasks
}

async fn eventually(what: &str, holds: impl Fn() -> bool) -> Duration {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(400), "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    start.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_bound_once_and_the_user_is_told() {
    let api = Api::default();
    api.add_node(&node("n1"));
    api.add_pod(&pod("web"));
    let _tasks = start_over(&api);
    eventually("web is bound and announced", || !api.0.lock().events.is_empty()).await;
    assert_eq!(api.node_of("web").as_deref(), Some("n1"));
    assert_eq!(api.0.lock().bindings, ["web"]);
    assert_eq!(api.0.lock().events, ["Normal Scheduled: Successfully assigned default/web to n1"]);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_pods_are_bound_within_a_second_of_server_time() {
    let api = Api::default();
    api.add_node(&node("n1").allocatable("pods", "2000"));
    (0..1_000).for_each(|number| api.add_pod(&pod(&format!("p{number}"))));
    let _tasks = start_over(&api);
    let took = eventually("all are bound", || api.bound() == 1_000).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_fits_nowhere_says_why_and_goes_where_there_is_room_later() {
    let api = Api::default();
    api.add_node(&node("n1"));
    api.add_pod(&pod("big").cpu("6"));
    let _tasks = start_over(&api);
    eventually("big says why", || api.condition("big")["reason"] == "Unschedulable").await;
    let message = "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: \
                   1 Preemption is not helpful for scheduling.";
    assert_eq!(api.condition("big")["status"], "False");
    assert_eq!(api.condition("big")["message"], message);
    eventually("big's event", || {
        api.0.lock().events.iter().any(|event| event == &format!("Warning FailedScheduling: {message}"))
    })
    .await;
    api.add_node(&node("n2").allocatable("cpu", "8"));
    let took = eventually("big is bound", || api.bound() == 1).await;
    assert_eq!(api.node_of("big").as_deref(), Some("n2"));
    assert!(took < Duration::from_secs(3), "the new node wakes it, not the flush: {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_cluster_without_nodes_waits_for_the_first() {
    let api = Api::default();
    api.add_pod(&pod("web"));
    let _tasks = start_over(&api);
    eventually("web says why", || api.condition("web")["message"] == "no nodes available to schedule pods").await;
    api.add_node(&node("n1"));
    let took = eventually("web is bound", || api.bound() == 1).await;
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_freed_node_takes_the_pod_that_waited() {
    let api = Api::default();
    api.add_node(&node("n1"));
    api.add_pod(&pod("old").cpu("4").on("n1"));
    api.add_pod(&pod("new").cpu("4"));
    let _tasks = start_over(&api);
    eventually("new says why", || api.condition("new")["reason"] == "Unschedulable").await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(api.node_of("new"), None);
    api.delete("pods/old");
    let took = eventually("new is bound", || api.node_of("new").is_some()).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lost_request_is_tried_again_and_a_lost_answer_binds_nothing_twice() {
    for fault in [Fault::RequestLost, Fault::AnswerLost] {
        let api = Api::default();
        api.0.lock().faults.push_back(fault);
        api.add_node(&node("n1").allocatable("pods", "1"));
        api.add_pod(&pod("web"));
        let _tasks = start_over(&api);
        eventually("web is bound", || api.bound() == 1).await;
        tokio::time::sleep(Duration::from_secs(400)).await;
        assert_eq!(api.0.lock().bindings, ["web"], "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn pods_of_another_scheduler_gated_pods_and_pods_on_their_way_out_are_left_alone() {
    let api = Api::default();
    api.add_node(&node("n1"));
    api.add_pod(&pod("other").spec("schedulerName", json!("mine")));
    api.add_pod(&pod("gated").spec("schedulingGates", json!([{ "name": "wait" }])));
    api.add_pod(&pod("leaving").meta("deletionTimestamp", json!("2026-01-01T00:00:00Z")));
    api.add_pod(&pod("web"));
    let _tasks = start_over(&api);
    eventually("web is bound", || api.bound() == 1).await;
    tokio::time::sleep(Duration::from_secs(400)).await;
    assert_eq!(api.0.lock().bindings, ["web"]);
    api.add_pod(&pod("gated"));
    eventually("the gate is open", || api.node_of("gated").is_some()).await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_waits_is_not_reported_again_and_again() {
    let api = Api::default();
    api.add_node(&node("n1"));
    api.add_pod(&pod("big").cpu("6"));
    let _tasks = start_over(&api);
    eventually("big says why", || api.condition("big")["reason"] == "Unschedulable").await;
    let before = api.0.lock().revision;
    tokio::time::sleep(Duration::from_secs(250)).await;
    assert_eq!(api.0.lock().revision, before, "no write without news");
}

#[test]
fn heartbeats_wake_nobody() {
    let before = node("n1").build();
    let beat = node("n1").status("conditions", json!([{ "type": "Ready", "status": "True" }])).build();
    assert_eq!(node_events(&beat, Some(&before)), []);
    let uncordoned = node("n1").spec("unschedulable", json!(true)).build();
    assert_eq!(node_events(&before, Some(&uncordoned)), [ClusterEvent::NodeTaintsChanged]);
    let grown = node("n1").allocatable("cpu", "8").label("zone", "a").build();
    assert_eq!(
        node_events(&grown, Some(&before)),
        [ClusterEvent::NodeAllocatableChanged, ClusterEvent::NodeLabelsChanged]
    );
}
