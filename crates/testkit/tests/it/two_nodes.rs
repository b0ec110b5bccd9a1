//! Two real nodes in this process, with one WebAssembly engine, against one real API server: a Deployment spreads over both,
//! either gateway reaches every pod, logs come from either node, and one node stopping leaves the other serving.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::Request;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use wkube_base::{Clock, Rng, Tasks};
use wkube_client::{Api, Client, Informers, Scope};
use wkube_control::{ApiServer, Control, Flags, Options};
use wkube_node::tunnel::Stream;
use wkube_node::{Node, Reverse};
use wkube_proxy::remote::ThroughApi;
use wkube_proxy::{Gateway, LocalPods, Proxy};
use wkube_store::MemoryStore;
use wkube_wasm_runtime::oci::{self, Credentials};
use wkube_wasm_runtime::{Engine, EngineOptions};

use crate::wait::until;

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
const WASM: &str = "../../examples/hello-http/hello-http.wasm";

/// The reverse connection without a network.
struct Pipe(ApiServer, String);

impl Reverse for Pipe {
    fn dial(&self) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let (near, far) = tokio::io::duplex(64 << 10);
        let (server, node) = (self.0.clone(), self.1.clone());
        Box::pin(async move {
            server.nodes().attach(&node, far).await.map_err(io::Error::other)?;
            Ok(Box::new(near) as Box<dyn Stream>)
        })
    }
}

struct Running {
    node: Node,
    gateway: SocketAddr,
}

async fn start_node(control: &Control, name: &str, engine: &Engine, dir: &Path, tasks: &Tasks) -> Running {
    let (client, rng) = (control.node(name), Rng::from_entropy());
    let remote = Arc::new(ThroughApi::new(client.named("wkube-proxy")));
    let proxy = Proxy::new(LocalPods::on_node(name), remote);
    let beside_guests = tasks.on(engine.guest_threads());
    let gateway = Gateway::start(ANY_PORT, proxy.clone(), &beside_guests).await.expect("a free port").address();
    let informers = Informers::new(&client.named("wkube-proxy"), &rng, tasks);
    let node = Node::builder(client)
        .name(name)
        .data_dir(dir.join(name))
        .engine(engine.clone())
        .reverse(Arc::new(Pipe(control.server().clone(), name.to_owned())))
        .proxy(proxy.clone());
    let (node, ()) = tokio::join!(node.start(tasks), proxy.follow(&informers));
    Running { node: node.expect("the node starts"), gateway }
}

async fn post(client: &Client, path: &str, body: &Value) -> Value {
    let request = Request::post(path).header("content-type", "application/json");
    let answer = client.call(request.body(Bytes::from(body.to_string())).expect("a request")).await;
    serde_json::from_slice(&answer.unwrap_or_else(|error| panic!("POST {path}: {error}"))).expect("JSON")
}

/// Pushes the example and returns the name that pins it.
async fn push(control: &Control) -> String {
    let token = post(&control.admin(), "/apis/wkube.dev/v1/registrytokens", &json!({})).await;
    let token = Credentials::Bearer(token["token"].as_str().expect("a token").to_owned());
    let host = control.server().registry_address().expect("a registry").to_string();
    let wasm = Bytes::from(std::fs::read(WASM).expect("the example is built"));
    let registry = oci::Registries::default().registry(&host);
    let remote = oci::Remote::new(registry, vec![token]).expect("an address");
    let digest = oci::push(&remote, "hello-http", "v1", wasm).await.expect("pushed");
    format!("hello-http@{digest}")
}

async fn deploy(client: &Client, image: &str) {
    let name = json!({ "name": "POD_NAME", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } });
    let container = json!({ "name": "hello", "image": image, "env": [name], "ports": [{ "containerPort": 8080 }] });
    let labels = json!({ "app": "hello-http" });
    let template = json!({ "metadata": { "labels": labels }, "spec": { "containers": [container] } });
    let spec = json!({ "replicas": 4, "selector": { "matchLabels": labels }, "template": template });
    let deployment =
        json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "hello-http" }, "spec": spec });
    post(client, "/apis/apps/v1/namespaces/default/deployments", &deployment).await;
    let spec = json!({ "selector": labels, "ports": [{ "port": 80, "targetPort": 8080 }] });
    let service = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "hello-http" }, "spec": spec });
    post(client, "/api/v1/namespaces/default/services", &service).await;
}

/// Returns the ready pods by the node that they are on.
async fn ready_pods(client: &Client) -> BTreeMap<String, BTreeSet<String>> {
    let pods =
        Api::<Pod>::new(client).list(&Scope::namespace("default").labels("app=hello-http")).await.expect("a list");
    let is_ready = |pod: &Pod| {
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    };
    let mut by_node: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for pod in pods.items.into_iter().filter(is_ready) {
        let node = pod.spec.and_then(|spec| spec.node_name).unwrap_or_default();
        by_node.entry(node).or_default().insert(pod.metadata.name.unwrap_or_default());
    }
    by_node
}

/// Asks a gateway for the service, as a browser would, and returns the whole answer.
async fn ask(gateway: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(gateway).await?;
    let request = "GET /hi HTTP/1.1\r\nHost: hello-http.default.localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// Whether asking a gateway again and again brings an answer from every one of these pods.
async fn reaches_all(gateway: SocketAddr, pods: &BTreeSet<&String>) -> bool {
    let mut missing = pods.clone();
    for _ in 0..40 {
        let answer = ask(gateway).await.unwrap_or_default();
        missing.retain(|pod| !answer.contains(pod.as_str()));
    }
    missing.is_empty()
}

async fn log_of(client: &Client, pod: &str) -> String {
    let path = format!("/api/v1/namespaces/default/pods/{pod}/log");
    let answer = client.call(Request::get(path).body(Bytes::new()).expect("a request")).await;
    String::from_utf8_lossy(&answer.expect("the log is readable")).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_in_one_process_serve_one_deployment() {
    let (dir, tasks) = (tempfile::tempdir().expect("a directory"), Tasks::new());
    let options = Options {
        store: Arc::new(MemoryStore::new()),
        data_dir: dir.path().join("server"),
        listen: ANY_PORT,
        registry_listen: Some(ANY_PORT),
        clock: Clock::system(),
        rng: Rng::from_entropy(),
        names: Vec::new(),
        flags: Flags::default(),
    };
    let control = Control::start(options, &tasks).await.expect("the control plane starts");
    let engine = Engine::new(EngineOptions::new(dir.path().join("compiled"))).expect("an engine");
    let left = start_node(&control, "left", &engine, dir.path(), &tasks).await;
    let right = start_node(&control, "right", &engine, dir.path(), &tasks).await;
    let admin = control.admin();
    deploy(&admin, &push(&control).await).await;

    until("four pods are ready", async || ready_pods(&admin).await.values().map(BTreeSet::len).sum::<usize>() == 4)
        .await;
    let by_node = ready_pods(&admin).await;
    let spread: Vec<_> = by_node.iter().map(|(node, pods)| (node.as_str(), pods.len())).collect();
    assert_eq!(spread, [("left", 2), ("right", 2)], "replicas spread over the nodes");

    let everybody: BTreeSet<&String> = by_node.values().flatten().collect();
    for (name, gateway) in [("left", left.gateway), ("right", right.gateway)] {
        let what = format!("the gateway of {name} reaches the pods of both nodes");
        until(&what, async || reaches_all(gateway, &everybody).await).await;
    }
    for pod in everybody {
        let log = log_of(&admin, pod).await;
        assert!(log.contains("GET /hi"), "{pod} logged {log:?}");
    }

    left.node.stop(Duration::from_secs(5)).await;
    let rest: BTreeSet<&String> = by_node["right"].iter().collect();
    until("the other node goes on serving", async || {
        let mut served = 0;
        for _ in 0..20 {
            let answer = ask(right.gateway).await.unwrap_or_default();
            served +=
                usize::from(answer.starts_with("HTTP/1.1 200") && rest.iter().any(|pod| answer.contains(pod.as_str())));
        }
        served == 20
    })
    .await;
    right.node.stop(Duration::from_secs(5)).await;
    tasks.stop(Duration::from_secs(5)).await;
}
