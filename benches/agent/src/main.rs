//! The agent alone: how many pods a second it brings from their first sight to a reported Running, against an API that costs
//! next to nothing. `cargo run --release -- [PODS] [ROUNDS]`; prints a table.
//!
//! Everything of the agent is real: informers, workers, pull, volumes, networks, wasmtime, statuses, its files on disk. The API
//! is a function in the same process: it lists nothing, tells all pods at once over the agent's watch, and takes every status.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt as _, channel::mpsc, stream};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use kube_client::client::Body as RequestBody;
use serde_json::{Value, json};
use tokio::sync::watch;
use wkube_base::{Clock, Rng, Tasks};
use wkube_client::{Client, Informers};
use wkube_node::Node;
use wkube_proxy::{LocalPods, Proxy, remote::ThroughApi};
use wkube_wasm_runtime::{Engine, oci::Digest};

const NODE: &str = "bench";
const GUESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../crates/wasm-runtime/testdata");

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The API: documents by path, and the one watch of pods.
#[derive(Clone)]
struct FakeApi(Arc<Inner>);

struct Inner {
    documents: BTreeMap<String, Bytes>,
    pods: Mutex<BTreeMap<String, Value>>,
    watcher: watch::Sender<Option<mpsc::UnboundedSender<Bytes>>>,
    running: Mutex<BTreeSet<String>>,
    count: watch::Sender<usize>,
    revision: AtomicU64,
    requests: AtomicU64,
}

impl FakeApi {
    /// Returns one whose registry has a program as `bench:v1`.
    fn new(wasm: Vec<u8>) -> Self {
        let wasm = Bytes::from(wasm);
        let digest = |bytes: &[u8]| Digest::of(bytes).as_str().to_owned();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": { "mediaType": "application/vnd.wasm.config.v0+json", "digest": digest(b"{}"), "size": 2 },
            "layers": [{ "mediaType": "application/wasm", "digest": digest(&wasm), "size": wasm.len() }],
        });
        let documents = BTreeMap::from([
            (format!("/v2/bench/blobs/{}", digest(&wasm)), wasm),
            ("/v2/bench/manifests/v1".to_owned(), manifest.to_string().into()),
        ]);
        Self(Arc::new(Inner {
            documents,
            pods: Mutex::default(),
            watcher: watch::Sender::new(None),
            running: Mutex::default(),
            count: watch::Sender::new(0),
            revision: AtomicU64::new(10),
            requests: AtomicU64::new(0),
        }))
    }

    fn client(&self) -> Client {
        let me = self.clone();
        Client::new(tower::service_fn(move |request: Request<RequestBody>| {
            let me = me.clone();
            async move { Ok::<_, Infallible>(me.answer(request).await) }
        }))
    }

    async fn answer(&self, request: Request<RequestBody>) -> Response<Body> {
        self.0.requests.fetch_add(1, Ordering::Relaxed);
        let (parts, body) = request.into_parts();
        let (path, query) = (parts.uri.path().to_owned(), parts.uri.query().unwrap_or_default());
        if let Some(document) = self.0.documents.get(&path) {
            return whole(StatusCode::OK, document.clone());
        }
        if query.contains("watch=true") {
            return self.watch(&path, query);
        }
        let name = path.trim_end_matches("/status").rsplit('/').next().unwrap_or_default().to_owned();
        if parts.method == Method::GET {
            let is_list = ["s", "es"].iter().any(|end| name.ends_with(end)) && !name.contains(NODE);
            let empty =
                json!({ "kind": "List", "apiVersion": "v1", "metadata": { "resourceVersion": "1" }, "items": [] });
            let missing = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404,
                "message": format!("{path} not found") });
            return if is_list { document(200, &empty) } else { document(404, &missing) };
        }
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let mut said: Value = serde_json::from_slice(&body).unwrap_or_default();
        let revision = self.0.revision.fetch_add(1, Ordering::Relaxed).to_string();
        if path.contains("/pods/") && path.ends_with("/status") {
            let mut pods = self.0.pods.lock().expect("not poisoned");
            let Some(pod) = pods.get_mut(&name) else { return document(404, &json!({})) };
            pod["status"] = said["status"].take();
            pod["metadata"]["resourceVersion"] = revision.into();
            if pod["status"]["phase"] == "Running" && self.0.running.lock().expect("not poisoned").insert(name) {
                self.0.count.send_modify(|count| *count += 1);
            }
            return document(200, pod);
        }
        if said.is_object() {
            said["metadata"]["resourceVersion"] = revision.into();
            said["metadata"]["uid"] = name.into();
        }
        document(if parts.method == Method::POST { 201 } else { 200 }, &said)
    }

    /// A watch tells that there is nothing, and goes on; that of pods tells what is made.
    fn watch(&self, path: &str, query: &str) -> Response<Body> {
        let end = json!({ "type": "BOOKMARK", "object": { "metadata": {
            "resourceVersion": "5", "annotations": { "k8s.io/initial-events-end": "true" } } } });
        let first = query.contains("sendInitialEvents").then(|| Bytes::from(format!("{end}\n")));
        let (sender, receiver) = mpsc::unbounded();
        if path.ends_with("/pods") && query.contains("spec.nodeName") {
            self.0.watcher.send_replace(Some(sender));
        } else {
            // It lasts as long as this process.
            std::mem::forget(sender);
        }
        let events = stream::iter(first).chain(receiver);
        let frames = events.map(|bytes| Ok(http_body::Frame::data(bytes)));
        Response::new(StreamBody::new(frames).boxed_unsync())
    }

    /// Makes pods, and returns how long it takes until all of them have been reported as running.
    async fn run(&self, round: usize, count: usize) -> Duration {
        let mut watcher = self.0.watcher.subscribe();
        let sender = watcher.wait_for(Option::is_some).await.expect("the API is here").clone().expect("just looked");
        let made: Vec<Value> = (0..count).map(|index| pod(&format!("p{round}-{index}"))).collect();
        let events: Vec<Bytes> = made.iter().map(|pod| event("ADDED", pod)).collect();
        for pod in made {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            self.0.pods.lock().expect("not poisoned").insert(name, pod);
        }
        let (begun, wanted) = (Instant::now(), *self.0.count.borrow() + count);
        for event in events {
            sender.unbounded_send(event).expect("the agent watches");
        }
        self.0.count.subscribe().wait_for(|count| *count >= wanted).await.expect("the API is here");
        begun.elapsed()
    }
}

fn event(kind: &str, object: &Value) -> Bytes {
    Bytes::from(format!("{}\n", json!({ "type": kind, "object": object })))
}

fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": "default", "uid": format!("uid-{name}"), "resourceVersion": "6", "generation": 1,
            "creationTimestamp": "2026-01-01T00:00:00Z", "labels": { "app": "bench" } },
        "spec": { "nodeName": NODE, "restartPolicy": "Always", "terminationGracePeriodSeconds": 1, "enableServiceLinks": false,
            "containers": [{ "name": "c", "image": "bench:v1", "imagePullPolicy": "IfNotPresent", "args": ["sleep", "3600000"],
                "resources": {}, "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File" }] },
        "status": { "phase": "Pending", "qosClass": "BestEffort" },
    })
}

fn document(code: u16, value: &Value) -> Response<Body> {
    whole(StatusCode::from_u16(code).expect("a status"), value.to_string().into())
}

fn whole(code: StatusCode, bytes: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(bytes).boxed_unsync());
    *response.status_mut() = code;
    response
}

/// Starts an agent, lets it have all pods at once, and returns how long that took and how many requests it made.
async fn measure(guest: &str, count: usize) -> (Duration, u64) {
    let dir = tempfile::tempdir().expect("a directory");
    let api = FakeApi::new(std::fs::read(format!("{GUESTS}/{guest}")).expect("a guest"));
    let (client, tasks, rng) = (api.client(), Tasks::new(), Rng::seeded(1));
    let pods_max = u32::try_from(2 * count).ok();
    let options = wkube_node::resources::engine_options(&dir.path().join("compiled"), pods_max);
    let engine = Engine::new(options).expect("an engine");
    let proxy = Proxy::new(LocalPods::on_node(NODE), Arc::new(ThroughApi::new(client.clone())));
    let informers = Informers::new(&client, &rng, &tasks);
    let node = Node::builder(client).name(NODE).data_dir(dir.path()).engine(engine).max_pods(pods_max);
    let node = node.proxy(proxy).routes(informers).clock(Clock::system()).rng(Rng::seeded(2));
    let _node = node.start(&tasks).await.expect("the agent starts");
    // The image is there, and its code compiled.
    api.run(0, 1).await;
    let before = api.0.requests.load(Ordering::Relaxed);
    let took = api.run(1, count).await;
    let requests = api.0.requests.load(Ordering::Relaxed) - before;
    tasks.cancel();
    (took, requests)
}

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<usize>().expect("a number"));
    let (count, rounds) = (args.next().unwrap_or(1_000), args.next().unwrap_or(5));
    println!(
        "{count} pods at once, {rounds} rounds\n\n| pods | median pods/s | least | most | requests a pod |\n| --- | --- | --- | --- | --- |"
    );
    for (what, guest) in [("idle HTTP (0.2)", "http-p2.wasm"), ("sleeping command (preview 1)", "hello-p1.wasm")] {
        let mut rates = Vec::new();
        let mut requests = 0;
        for _ in 0..rounds {
            let (took, made) = measure(guest, count).await;
            rates.push(count as f64 / took.as_secs_f64());
            requests = made;
        }
        rates.sort_by(f64::total_cmp);
        let (least, median, most) = (rates[0], rates[rates.len() / 2], rates[rates.len() - 1]);
        println!("| {what} | {median:.0} | {least:.0} | {most:.0} | {:.1} |", requests as f64 / count as f64);
    }
}
