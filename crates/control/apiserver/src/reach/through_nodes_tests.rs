//! Dialling through a node that serves on a real HTTP/2 connection in memory.

use axum::Router;
use axum::extract::Path;
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use hyper::server::conn::http2;
use hyper_util::rt::TokioExecutor;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use wkube_api::kinds;
use wkube_store::{MemoryStore, Op, Store, Txn};

use super::*;

/// A cluster with one connected node, `n1`, that echoes on every pod's port 8080.
struct World {
    store: Arc<dyn Store>,
    catalog: Catalog,
    reach: ThroughNodes,
    _tasks: Tasks,
}

impl World {
    async fn new() -> Self {
        Self::with(Outside::Elsewhere).await
    }

    async fn with(outside: Outside) -> Self {
        let (tasks, store) = (Tasks::new(), Arc::new(MemoryStore::new()) as Arc<dyn Store>);
        let catalog = Catalog::new(kinds::builtin().iter().cloned());
        let nodes = Nodes::new(&tasks);
        let (near, far) = tokio::io::duplex(64 << 10);
        let service = TowerToHyperService::new(node());
        tasks.spawn("node", async move {
            let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(far), service).await;
        });
        nodes.attach("n1", near).await.unwrap();
        let caches = Arc::new(Caches::new(store.clone(), &tasks));
        let reach = ThroughNodes::new(nodes, caches, &catalog, Rng::seeded(1), &tasks, outside);
        Self { store, catalog, reach, _tasks: tasks }
    }

    async fn put(&self, group: &str, plural: &str, mut value: Value) {
        value["metadata"]["namespace"] = json!("ns");
        let object: Object = serde_json::from_value(value).unwrap();
        let key = keys::of(self.catalog.find(group, "v1", plural).unwrap(), &object);
        let txn = Txn { ops: vec![Op::Put(key, encoding::encode(&object))], ..Txn::default() };
        self.store.commit(txn).await.unwrap();
    }

    async fn pod(&self, name: &str, node: &str) {
        self.put("", "pods", json!({"metadata": {"name": name}, "spec": {"nodeName": node}})).await;
    }

    async fn service(&self, endpoint: Value) {
        self.put("", "services", json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 443}]}})).await;
        let labels = json!({"kubernetes.io/service-name": "web"});
        let slice = json!({"metadata": {"name": "web-1", "labels": labels}, "ports": [{"port": 8080}], "endpoints": [endpoint]});
        self.put("discovery.k8s.io", "endpointslices", slice).await;
    }

    async fn refused(&self, target: Target, port: u16) -> String {
        match self.reach.dial(target, port).await {
            Ok(_) => "reached".to_owned(),
            Err(error) => Status::from(error).message,
        }
    }
}

fn node() -> Router {
    let forward = async |Path((_, pod, port)): Path<(String, String, u16)>, request: axum::extract::Request| {
        if port == 8080 {
            let greeting = futures::stream::once(async move { Ok(format!("{pod}: ").into()) });
            return Body::from_stream(futures::StreamExt::chain(greeting, request.into_body().into_data_stream()))
                .into_response();
        }
        let status = Status::new(500, "InternalError", "connection refused");
        (StatusCode::INTERNAL_SERVER_ERROR, axum::Json(status.to_json())).into_response()
    };
    Router::new().route("/healthz", get(|| async { "ok" })).route("/portforward/{ns}/{pod}/{port}", post(forward))
}

/// Says something, hangs up its half, and returns all that comes back.
async fn talk(mut stream: Box<dyn Stream>) -> String {
    stream.write_all(b"hello").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn a_pod_is_dialled_through_its_node_and_each_half_ends_for_itself() {
    let world = World::new().await;
    world.pod("a", "n1").await;
    let stream = world.reach.dial(Target::pod("ns", "a"), 8080).await.unwrap();
    assert_eq!(talk(stream).await, "a: hello");
}

#[tokio::test]
async fn a_service_is_dialled_by_its_own_port_at_a_ready_pod() {
    let world = World::new().await;
    world.pod("a", "n1").await;
    world.service(json!({"addresses": ["10.0.0.1"], "targetRef": {"kind": "Pod", "name": "a"}})).await;
    let stream = world.reach.dial(Target::service("ns", "web"), 443).await.unwrap();
    assert_eq!(talk(stream).await, "a: hello");
    assert_eq!(
        world.refused(Target::service("ns", "web"), 8080).await,
        "no service port 8080 found for service \"web\""
    );
}

#[tokio::test]
async fn a_name_outside_the_cluster_is_dialled_directly() {
    let world = World::with(Outside::Here).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let spec = json!({"type": "ExternalName", "externalName": "localhost"});
    world.put("", "services", json!({"metadata": {"name": "out"}, "spec": spec})).await;
    let answering = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        stream.write_all(format!("outside: {text}").as_bytes()).await.unwrap();
    };
    let asking = async { talk(world.reach.dial(Target::service("ns", "out"), port).await.unwrap()).await };
    assert_eq!(tokio::join!(answering, asking).1, "outside: hello");
}

#[tokio::test]
async fn no_service_leads_to_what_listens_on_this_machine() {
    let world = World::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let spec = json!({"type": "ExternalName", "externalName": "localhost"});
    world.put("", "services", json!({"metadata": {"name": "out"}, "spec": spec})).await;
    let refused = world.refused(Target::service("ns", "out"), port).await;
    assert_eq!(refused, "address not allowed: localhost");
}

#[tokio::test]
async fn who_asks_for_pods_gets_no_endpoint_that_somebody_wrote() {
    let world = World::with(Outside::Here).await;
    let pods = || Target::PodsOf(ObjectKey::new("ns", "web"));
    world.service(json!({"addresses": ["192.0.2.7"]})).await;
    assert_eq!(world.refused(pods(), 443).await, "no endpoints available for service \"web\"");
    world.pod("a", "n1").await;
    world.service(json!({"addresses": ["10.0.0.1"], "targetRef": {"kind": "Pod", "name": "a"}})).await;
    assert_eq!(talk(world.reach.dial(pods(), 443).await.unwrap()).await, "a: hello");
}

#[tokio::test]
async fn a_node_is_dialled_as_its_http_api() {
    let world = World::new().await;
    let mut stream = world.reach.dial(Target::Node("n1".to_owned()), 10_250).await.unwrap();
    let request = b"GET /healthz HTTP/1.1\r\nhost: n1\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK") && text.ends_with("ok"), "{text}");
    let gone = world.refused(Target::Node("n2".to_owned()), 10_250).await;
    assert_eq!(gone, "node n2 is not connected to this server");
}

#[tokio::test]
async fn what_is_not_reached_is_named() {
    let world = World::new().await;
    world.pod("a", "n1").await;
    world.pod("lost", "n2").await;
    world.pod("new", "").await;
    let check = async |name: &str, port| world.refused(Target::pod("ns", name), port).await;
    assert_eq!(check("a", 81).await, "connection refused", "in the node's words");
    assert_eq!(check("lost", 80).await, "node n2 is not connected to this server");
    assert_eq!(check("new", 80).await, "pod \"new\" is not running on a node yet");
    assert_eq!(check("nobody", 80).await, "pod \"nobody\" not found in namespace \"ns\"");
    let service = world.refused(Target::service("ns", "nothing"), 80).await;
    assert_eq!(service, "service \"nothing\" not found in namespace \"ns\"");
    world.service(json!({"addresses": ["169.254.169.254"]})).await;
    assert_eq!(world.refused(Target::service("ns", "web"), 443).await, "no endpoints available for service \"web\"");
}
