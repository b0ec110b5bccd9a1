//! A control plane without nodes, and requests to it as a client sends them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt as _;
use wkube_apiserver::auth::User;
use wkube_apiserver::{Body, InProcess};
use wkube_base::{Clock, Rng, Tasks};
use wkube_control::{Control, Flags, Options};
use wkube_node::Node;
use wkube_node::resources::Machine;
use wkube_store::{MemoryStore, Store};
use wkube_testkit::fake_runtime::{FakeRuntime, Ledger};

pub(crate) const JSON: &str = "application/json";
pub(crate) const MERGE: &str = "application/merge-patch+json";
pub(crate) const APPLY: &str = "application/apply-patch+yaml";

const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// How long an event may take; with a busy machine in mind.
const EVENT_MAX: Duration = Duration::from_secs(30);

/// What the pods of a node see as its address.
pub(crate) const NODE_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const MACHINE: Machine = Machine { cpus: 4, memory_bytes: 8 << 30, disk_bytes: 100 << 30, pods: 110 };

/// An API server with its scheduler and controllers, and its administrator.
pub(crate) struct World {
    control: Control,
    admin: InProcess,
    tasks: Tasks,
    dir: TempDir,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    /// Returns the value at a JSON pointer as text, or `""`.
    pub(crate) fn at(&self, pointer: &str) -> String {
        at(&self.body, pointer)
    }

    /// Checks the code of the answer.
    #[track_caller]
    pub(crate) fn is(self, code: u16) -> Self {
        assert_eq!(self.code, code, "{:#}", self.body);
        self
    }

    /// Returns the names of the items of a list.
    pub(crate) fn names(&self) -> Vec<String> {
        let items = self.body["items"].as_array().unwrap_or_else(|| panic!("a list: {:#}", self.body));
        items.iter().map(|item| at(item, "/metadata/name")).collect()
    }

    /// Returns the value of a header, or `""`.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().expect("text")).unwrap_or_default()
    }
}

/// Returns the value at a JSON pointer as text, or `""`.
pub(crate) fn at(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::over(Arc::new(MemoryStore::new())).await
    }

    /// Returns a world whose objects are in `store`.
    pub(crate) async fn over(store: Arc<dyn Store>) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let tasks = Tasks::new();
        let options = Options {
            store,
            data_dir: dir.path().to_owned(),
            listen: ANY_PORT,
            registry_listen: None,
            clock: Clock::system(),
            rng: Rng::from_entropy(),
            names: Vec::new(),
            flags: Flags::default(),
        };
        let control = Control::start(options, &tasks).await.expect("the control plane starts");
        let admin = control.server().in_process(User::known("kubernetes-admin", ["system:masters"]));
        Self { control, admin, tasks, dir }
    }

    /// Starts a node whose containers do nothing.
    pub(crate) async fn node(&self, name: &str) {
        let rng = Rng::from_entropy();
        let node = Node::builder(self.control.node(name))
            .name(name)
            .data_dir(self.dir.path().join(name))
            .address(NODE_ADDRESS)
            .machine(MACHINE)
            .runtime(FakeRuntime::new(name, &Ledger::default(), &rng))
            .rng(rng);
        node.start(&self.tasks).await.expect("the node starts");
    }

    /// Returns a client that is somebody else.
    pub(crate) fn user(&self, user: User) -> InProcess {
        self.control.server().in_process(user)
    }

    /// Sends a body of the given type with the given `Accept`.
    pub(crate) async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: String) -> Answer {
        let request = Request::builder().method(method).uri(path).header("user-agent", "conformance/1");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let request = request.body(Full::new(Bytes::from(body))).expect("a request");
        let response = self.admin.clone().oneshot(request).await.expect("never fails");
        let (code, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        let text = || Value::String(String::from_utf8_lossy(&bytes).into_owned());
        Answer { code, headers, body: serde_json::from_slice(&bytes).unwrap_or_else(|_| text()) }
    }

    pub(crate) async fn call(&self, method: &str, path: &str, content_type: &str, body: &Value) -> Answer {
        self.send(method, path, &[("content-type", content_type)], body.to_string()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], String::new()).await
    }

    pub(crate) async fn accept(&self, path: &str, accept: &str) -> Answer {
        self.send("GET", path, &[("accept", accept)], String::new()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call("POST", path, JSON, body).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.call("PUT", path, JSON, body).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.call("PATCH", path, MERGE, body).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], String::new()).await
    }

    /// Makes a namespace.
    pub(crate) async fn namespace(&self, name: &str) {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        self.post("/api/v1/namespaces", &namespace).await.is(201);
    }

    /// Reads until the answer is as wanted, and returns it.
    pub(crate) async fn until(&self, what: &str, path: &str, is_so: impl Fn(&Answer) -> bool) -> Answer {
        let seen = tokio::sync::Mutex::new(None);
        crate::wait::until(what, async || {
            let answer = self.get(path).await;
            let holds = is_so(&answer);
            *seen.lock().await = Some(answer);
            holds
        })
        .await;
        seen.into_inner().expect("looked at least once")
    }

    /// Opens a watch.
    pub(crate) async fn watch(&self, path: &str) -> Watch {
        self.try_watch(path).await.unwrap_or_else(|| panic!("watch {path}"))
    }

    /// Opens a watch, unless the server refuses.
    pub(crate) async fn try_watch(&self, path: &str) -> Option<Watch> {
        let request = Request::get(path).body(Full::default()).expect("a request");
        let response = self.admin.clone().oneshot(request).await.expect("never fails");
        (response.status() == 200).then(|| Watch { body: response.into_body(), buffer: Vec::new() })
    }

    /// Ends everything without waiting for anything.
    pub(crate) fn crash(&self) {
        self.tasks.cancel();
    }

    pub(crate) async fn end(self) {
        self.tasks.stop(Duration::from_secs(5)).await;
    }
}

/// An open watch.
pub(crate) struct Watch {
    body: Body,
    buffer: Vec<u8>,
}

impl Watch {
    /// Returns the next event, or `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).expect("JSON"));
            }
            let frame = tokio::time::timeout(EVENT_MAX, self.body.frame()).await.expect("an event in time");
            self.buffer.extend_from_slice(&frame?.expect("a frame").into_data().expect("data"));
        }
    }

    /// Returns the next event as `TYPE name`.
    pub(crate) async fn line(&mut self) -> String {
        let event = self.next().await.expect("an event");
        format!("{} {}", at(&event, "/type"), at(&event, "/object/metadata/name"))
    }

    /// Skips events until one reads as `TYPE name`, and returns its object.
    pub(crate) async fn find(&mut self, line: &str) -> Value {
        loop {
            let mut event = self.next().await.unwrap_or_else(|| panic!("no {line}"));
            if format!("{} {}", at(&event, "/type"), at(&event, "/object/metadata/name")) == line {
                return event["object"].take();
            }
        }
    }
}

/// A namespaced object, or one of the cluster.
pub(crate) fn object(api_version: &str, kind: &str, name: &str, rest: &Value) -> Value {
    let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}});
    json_merge(&mut object, rest);
    object
}

fn json_merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (field, value) in from {
                json_merge(into.entry(field.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

/// A pod that nobody will run.
pub(crate) fn pod(name: &str, spec: &Value) -> Value {
    let base = json!({"spec": {"containers": [{"name": "main", "image": "pause"}]}});
    let mut pod = object("v1", "Pod", name, &base);
    json_merge(&mut pod["spec"], spec);
    pod
}
