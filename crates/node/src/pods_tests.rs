//! Workers with a fake runtime and a scripted API server, in paused time.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use wkube_api::stats::{Summary, Usage};
use wkube_base::{Clock, Tasks};
use wkube_client::client::RequestBody;
use wkube_client::{Client, Recorder};
use wkube_proxy::{Backend, LocalPods};

use super::*;
use crate::admission::{Allocations, Room};
use crate::checkpoint::Checkpoints;
use crate::eviction::vitals::Vitals;
use crate::images::Images;
use crate::ip::{Addresses, Cidr};
use crate::logs::Logs;
use crate::logs::entry::Stream;
use crate::objects::Fetcher;
use crate::pod::live::Live;
use crate::runtime::{Amounts, ContainerSpec, Exec, Exit, Guest, Image, Output, Pull, PullError, Runtime, StartError};
use crate::status_writer::Statuses;

#[path = "autonomy_tests.rs"]
mod autonomy;
#[path = "pods/endings_tests.rs"]
mod endings;
#[path = "pods/rest_tests.rs"]
mod rest;
#[path = "pods/statics_tests.rs"]
mod statics;

/// An API server that takes down what it is told.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Told>>, Arc<AtomicUsize>);

#[derive(Default)]
struct Told {
    statuses: Vec<(String, Value)>,
    deletes: Vec<Value>,
    events: Vec<String>,
    writes_max: usize,
    /// How many more writes of a status are refused with 409.
    conflicts: usize,
    /// Whether nobody reaches it.
    is_away: bool,
    /// The pods that it lists.
    pods: Vec<Value>,
    /// `ConfigMap`s and Secrets, by `plural/name`.
    objects: BTreeMap<String, Value>,
    tokens: usize,
    /// What the node made, by name: mirrors of static pods.
    mirrors: BTreeMap<String, Value>,
    /// How many of them so far.
    mirrors_made: usize,
}

impl Server {
    fn client(&self) -> Client {
        let me = self.clone();
        Client::new(tower::service_fn(move |request: Request<RequestBody>| {
            let me = me.clone();
            async move {
                if me.0.lock().is_away {
                    return Err(std::io::Error::from(std::io::ErrorKind::ConnectionRefused));
                }
                Ok(me.answer(request).await)
            }
        }))
    }

    /// Answers a watch: the list, and then silence.
    async fn watch(&self, query: &str) -> Response<Full<Bytes>> {
        if !query.contains("sendInitialEvents=true") {
            std::future::pending::<()>().await;
        }
        let added = |pod: &Value| json!({ "type": "ADDED", "object": pod }).to_string();
        let mut lines: Vec<String> = self.0.lock().pods.iter().map(added).collect();
        let end = json!({ "resourceVersion": "9", "annotations": { "k8s.io/initial-events-end": "true" } });
        lines.push(json!({ "type": "BOOKMARK", "object": { "metadata": end } }).to_string());
        Response::new(Full::from(lines.join("\n") + "\n"))
    }

    async fn answer(&self, request: Request<RequestBody>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        if let Some(query) = parts.uri.query().filter(|query| query.contains("watch=true")) {
            return self.watch(query).await;
        }
        let body = body.collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let path = parts.uri.path().to_owned();
        let name = path.trim_end_matches("/status").rsplit('/').next().unwrap_or_default().to_owned();
        let conflict =
            json!({ "kind": "Status", "code": 409, "reason": "Conflict", "message": "the object has been modified" });
        if let Some((code, answer)) = self.answer_about_mirrors(&parts.method, &path, &body) {
            let mut response = Response::new(Full::from(answer.to_string()));
            *response.status_mut() = StatusCode::from_u16(code).unwrap();
            return response;
        }
        let (code, answer) = if path.ends_with("/status") && self.takes_conflict() {
            (409, conflict)
        } else if path.ends_with("/status") && parts.method == Method::PATCH {
            let under_way = self.1.fetch_add(1, Ordering::Relaxed) + 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
            self.1.fetch_sub(1, Ordering::Relaxed);
            let mut told = self.0.lock();
            told.writes_max = told.writes_max.max(under_way);
            told.statuses.push((name, body["status"].clone()));
            (200, json!({ "metadata": { "resourceVersion": "2" } }))
        } else if parts.method == Method::DELETE {
            self.0.lock().deletes.push(body);
            (200, json!({ "kind": "Status", "status": "Success" }))
        } else if path.ends_with("/events") || path.contains("/events/") {
            // A patch only counts one up that was told before.
            if let (Some(reason), Some(message)) = (body["reason"].as_str(), body["message"].as_str()) {
                self.0.lock().events.push(format!("{reason}: {message}"));
            }
            (201, body)
        } else if path.ends_with(&format!("/pods/{name}")) {
            (200, json!({ "metadata": { "name": name, "namespace": "n", "uid": format!("uid-{name}") } }))
        } else if path.ends_with("/token") {
            let mut told = self.0.lock();
            told.tokens += 1;
            (
                201,
                json!({ "status": { "token": format!("token-{}", told.tokens), "expirationTimestamp": "2026-01-01T01:00:00Z" } }),
            )
        } else if let Some(object) =
            self.0.lock().objects.iter().find(|(end, _)| path.ends_with(*end)).map(|(_, it)| it.clone())
        {
            (200, object)
        } else if path.ends_with("/services") {
            (200, json!({ "metadata": { "resourceVersion": "1" }, "items": [] }))
        } else {
            (404, json!({ "kind": "Status", "code": 404, "reason": "NotFound", "message": "not found" }))
        };
        let mut response = Response::new(Full::from(answer.to_string()));
        *response.status_mut() = StatusCode::from_u16(code).unwrap();
        response
    }

    /// Answers what is asked about static pods, whose names end with the node's.
    fn answer_about_mirrors(&self, method: &Method, path: &str, body: &Value) -> Option<(u16, Value)> {
        let mut told = self.0.lock();
        if *method == Method::POST && path.ends_with("/pods") {
            told.mirrors_made += 1;
            let (name, uid) = (body["metadata"]["name"].as_str()?.to_owned(), format!("mirror-{}", told.mirrors_made));
            let mut made = body.clone();
            made["metadata"]["uid"] = json!(uid);
            told.mirrors.insert(name, made.clone());
            return Some((201, made));
        }
        let name = path.rsplit('/').next().filter(|name| name.ends_with("-n1") && !path.ends_with("/status"))?;
        let found = told.mirrors.get(name).cloned();
        if *method == Method::DELETE {
            told.mirrors.remove(name);
            return Some((200, json!({ "kind": "Status", "status": "Success" })));
        }
        Some(found.map_or((404, json!({ "kind": "Status", "code": 404, "reason": "NotFound" })), |found| (200, found)))
    }

    fn takes_conflict(&self) -> bool {
        let mut told = self.0.lock();
        let is_left = told.conflicts > 0;
        told.conflicts = told.conflicts.saturating_sub(1);
        is_left
    }

    fn latest(&self, pod: &str) -> Value {
        let told = self.0.lock();
        told.statuses.iter().rev().find(|(name, _)| name == pod).map(|(_, status)| status.clone()).unwrap_or_default()
    }
}

/// A runtime whose guests end when they are told, or when the test says so.
#[derive(Clone, Default)]
struct FakeRuntime(Arc<Mutex<Vec<FakeGuest>>>);

#[derive(Clone)]
pub(crate) struct FakeGuest {
    pub(crate) spec: Arc<ContainerSpec>,
    exit: watch::Sender<Option<Exit>>,
    stdin: Arc<Mutex<Option<mpsc::Receiver<Bytes>>>>,
    commands: Arc<Mutex<Vec<FakeCommand>>>,
    resized: Arc<Mutex<Option<Amounts>>>,
}

/// A command beside a container, played by the test.
#[derive(Clone)]
pub(crate) struct FakeCommand {
    pub(crate) args: Vec<String>,
    pub(crate) stdin: Arc<tokio::sync::Mutex<Option<mpsc::Receiver<Bytes>>>>,
    output: Arc<Mutex<Option<Arc<dyn Output>>>>,
    exit: watch::Sender<Option<Exit>>,
}

/// The hold on a command: dropping it kills the command.
struct HeldCommand(FakeCommand);

impl Runtime for FakeRuntime {
    fn find_image(&self, name: &str) -> BoxFuture<'static, Option<Image>> {
        let image = (name != "missing:v9").then(|| Image { id: format!("{name}@sha256:0"), size_bytes: 1 });
        Box::pin(std::future::ready(image))
    }

    fn pull_image(&self, _: Pull) -> BoxFuture<'static, Result<Image, PullError>> {
        Box::pin(std::future::ready(Err(PullError::Failed("not found".into()))))
    }

    fn start(&self, mut spec: ContainerSpec) -> BoxFuture<'static, Result<Arc<dyn Guest>, StartError>> {
        if spec.image.id.starts_with("bad") {
            return Box::pin(std::future::ready(Err(StartError::Unrunnable("no _start".into()))));
        }
        let guest = FakeGuest {
            stdin: Arc::new(Mutex::new(spec.stdin.take())),
            spec: Arc::new(spec),
            exit: watch::Sender::new(None),
            commands: Arc::default(),
            resized: Arc::default(),
        };
        self.0.lock().push(guest.clone());
        Box::pin(std::future::ready(Ok(Arc::new(guest) as Arc<dyn Guest>)))
    }

    fn version(&self) -> String {
        "fake://1".into()
    }
}

fn exit(code: i32) -> Exit {
    Exit::of(code)
}

impl FakeGuest {
    pub(crate) fn end(&self, code: i32) {
        self.exit.send_replace(Some(exit(code)));
    }

    /// Returns what it reads, once.
    pub(crate) fn take_stdin(&self) -> Option<mpsc::Receiver<Bytes>> {
        self.stdin.lock().take()
    }

    /// Returns the newest command beside it.
    pub(crate) fn command(&self) -> Option<FakeCommand> {
        self.commands.lock().last().cloned()
    }
}

impl FakeCommand {
    pub(crate) fn write(&self, stream: Stream, text: &str) {
        self.output.lock().as_ref().expect("it runs").write(stream, text.as_bytes());
    }

    pub(crate) fn end(&self, code: i32) {
        self.output.lock().take();
        self.exit.send_if_modified(|now| {
            let is_news = now.is_none();
            if is_news {
                *now = Some(exit(code));
            }
            is_news
        });
    }

    pub(crate) fn code(&self) -> Option<i32> {
        self.exit.borrow().as_ref().map(|exit| exit.code)
    }
}

impl Drop for HeldCommand {
    fn drop(&mut self) {
        self.0.end(137);
    }
}

impl Guest for HeldCommand {
    fn ended(&self) -> BoxFuture<'static, Exit> {
        let mut exit = self.0.exit.subscribe();
        Box::pin(async move { exit.wait_for(Option::is_some).await.unwrap().clone().unwrap() })
    }

    fn stop(&self, _: Duration) -> BoxFuture<'static, ()> {
        self.0.end(137);
        Box::pin(std::future::ready(()))
    }

    fn backend(&self) -> Option<Arc<dyn Backend>> {
        None
    }
}

impl Guest for FakeGuest {
    fn ended(&self) -> BoxFuture<'static, Exit> {
        let mut exit = self.exit.subscribe();
        Box::pin(async move {
            let _ = exit.wait_for(Option::is_some).await;
            let exit = exit.borrow().clone();
            exit.unwrap()
        })
    }

    fn stop(&self, _: Duration) -> BoxFuture<'static, ()> {
        self.end(143);
        Box::pin(std::future::ready(()))
    }

    fn backend(&self) -> Option<Arc<dyn Backend>> {
        None
    }

    fn resize(&self, to: &Amounts) {
        *self.resized.lock() = Some(*to);
    }

    fn usage(&self) -> Usage {
        Usage { cpu_nanos: 7, memory_bytes: 42 }
    }

    fn exec(&self, exec: Exec) -> BoxFuture<'static, Result<Arc<dyn Guest>, StartError>> {
        if exec.args == ["refused"] {
            return Box::pin(std::future::ready(Err(StartError::Unrunnable("it has no command".into()))));
        }
        let command = FakeCommand {
            args: exec.args,
            stdin: Arc::new(tokio::sync::Mutex::new(exec.stdin)),
            output: Arc::new(Mutex::new(Some(exec.output))),
            exit: watch::Sender::new(None),
        };
        self.commands.lock().push(command.clone());
        Box::pin(std::future::ready(Ok(Arc::new(HeldCommand(command)) as Arc<dyn Guest>)))
    }
}

/// A node of two processors for two thousand pods.
fn room() -> Room {
    let amounts = [("cpu", "2"), ("memory", "4Gi"), ("pods", "2000")];
    let allocatable = amounts.map(|(name, amount)| (name.to_owned(), amount.parse().unwrap())).into();
    Room { node: "n1".into(), labels: BTreeMap::new(), allocatable }
}

pub(crate) struct World {
    server: Server,
    runtime: FakeRuntime,
    pub(crate) pods: Pods,
    tasks: Tasks,
    dir: Arc<tempfile::TempDir>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::again(Arc::new(tempfile::tempdir().unwrap()))
    }

    fn again(dir: Arc<tempfile::TempDir>) -> Self {
        Self::on(dir, Server::default())
    }

    fn on(dir: Arc<tempfile::TempDir>, server: Server) -> Self {
        let (runtime, tasks) = (FakeRuntime::default(), Tasks::new());
        let clock = Clock::simulated("2026-01-01T00:00:00Z".parse().unwrap());
        let client = server.client();
        let kept = Checkpoints::open(&dir.path().join("state")).unwrap();
        kept.start(&tasks);
        let fetcher = Fetcher::new(&client, &kept, &clock);
        let shared: Arc<dyn Runtime> = Arc::new(runtime.clone());
        let pods = Pods::new(Context {
            listed: Lister::fixed([]),
            images: Images::new(Arc::clone(&shared), &fetcher),
            runtime: shared,
            kept,
            fetcher,
            data_dir: dir.path().to_owned(),
            allocations: Allocations::new(room()),
            host_paths: volumes::HostPaths::default(),
            addresses: Addresses::new(Cidr::parse("10.42.0.0/16").unwrap()),
            local: LocalPods::on_node("n1"),
            networks: crate::network::Networks::new(None, &tasks),
            logs: Logs::new(&clock),
            live: Live::default(),
            vitals: Vitals::default(),
            recorder: Recorder::new(&client, &clock, "kubelet", "n1", &tasks),
            statuses: Statuses::start(&client, &tasks),
            clock,
            tasks: tasks.clone(),
            host_ip: None,
            allocatable: BTreeMap::new(),
        });
        Self { server, runtime, pods, tasks, dir }
    }

    pub(crate) fn apply(&self, pod: &Arc<Pod>) {
        self.pods.apply(pod);
    }

    /// Returns the newest status that was written for the pod of this name.
    pub(crate) fn latest(&self, pod: &str) -> Value {
        self.server.latest(pod)
    }

    pub(crate) fn events(&self) -> Vec<String> {
        self.server.0.lock().events.clone()
    }

    /// Returns how many containers were started so far.
    pub(crate) fn guests(&self) -> usize {
        self.runtime.0.lock().len()
    }

    /// Waits, in paused time, until `is_so`.
    pub(crate) async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        for _ in 0..100_000 {
            if is_so(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never: {what}; last status {}", self.server.latest("p"));
    }

    pub(crate) fn guest(&self, index: usize) -> FakeGuest {
        self.runtime.0.lock()[index].clone()
    }

    pub(crate) fn is_running(&self) -> bool {
        self.server.latest("p")["containerStatuses"][0]["state"]["running"].is_object()
    }
}

pub(crate) fn pod(name: &str, spec: &Value) -> Arc<Pod> {
    let metadata = json!({ "name": name, "namespace": "n", "uid": format!("uid-{name}") });
    Arc::new(serde_json::from_value(json!({ "metadata": metadata, "spec": spec })).unwrap())
}

pub(crate) fn one(image: &str, policy: &str) -> Value {
    let env = json!([{ "name": "GREETING", "value": "hello $(WHO)" }]);
    json!({ "restartPolicy": policy, "containers": [{ "name": "c", "image": image, "args": ["$(GREETING)"], "env": env }] })
}

fn deleted(pod: &Pod) -> Arc<Pod> {
    let mut pod = pod.clone();
    let time = "2026-01-01T00:00:00Z".parse().unwrap();
    pod.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(time));
    pod.metadata.deletion_grace_period_seconds = Some(30);
    Arc::new(pod)
}

#[tokio::test(start_paused = true)]
async fn a_pod_runs_is_deleted_and_leaves_nothing() {
    let world = World::new();
    let pod = pod("p", &one("i:v1", "Always"));
    world.pods.apply(&pod);
    world.until("running", World::is_running).await;
    let guest = world.guest(0);
    assert_eq!(guest.spec.args, ["c", "hello $(WHO)"]);
    assert!(guest.spec.env.contains(&("HOSTNAME".to_owned(), "p".to_owned())));
    let status = world.server.latest("p");
    assert_eq!((&status["phase"], &status["podIP"]), (&json!("Running"), &json!("10.42.0.2")));
    world.pods.apply(&deleted(&pod));
    world.until("object removed", |world| !world.server.0.lock().deletes.is_empty()).await;
    let options = world.server.0.lock().deletes[0].clone();
    assert_eq!((&options["gracePeriodSeconds"], &options["preconditions"]["uid"]), (&json!(0), &json!("uid-p")));
    let terminated = world.server.latest("p")["containerStatuses"][0]["state"]["terminated"].clone();
    assert_eq!(terminated["exitCode"], 143, "the last status came before the removal");
    std::fs::create_dir_all(volumes::pod_dir(world.dir.path(), &pod)).unwrap();
    world.pods.gone(&pod);
    world.until("worker gone", |world| world.pods.all().is_empty()).await;
    world.until("directory gone", |world| !volumes::pod_dir(world.dir.path(), &pod).exists()).await;
}

/// Found by a simulated cluster: a pod stayed `Ready: False` for ever once its node had been silent for a minute.
#[tokio::test(start_paused = true)]
async fn a_status_that_somebody_overruled_is_written_again() {
    let world = World::new();
    let mut pod = Pod::clone(&pod("p", &one("i:v1", "Always")));
    world.pods.apply(&Arc::new(pod.clone()));
    world.until("running", World::is_running).await;
    let written = |world: &World| world.server.0.lock().statuses.len();
    let (status, before) = (world.server.latest("p"), written(&world));
    pod.status = Some(serde_json::from_value(status).unwrap());
    pod.metadata.resource_version = Some("3".into());
    world.pods.apply(&Arc::new(pod.clone()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(written(&world), before, "what shows our own words is no news");
    let conditions = pod.status.as_mut().and_then(|status| status.conditions.as_mut()).unwrap();
    conditions
        .iter_mut()
        .filter(|condition| condition.type_ == "Ready")
        .for_each(|ready| ready.status = "False".into());
    pod.metadata.resource_version = Some("4".into());
    world.pods.apply(&Arc::new(pod));
    world.until("written again", |world| written(world) == before + 1).await;
    let ready = world.server.latest("p")["conditions"].as_array().unwrap().clone();
    assert!(ready.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True"));
}

/// Found by a simulated cluster: a 409 was taken for "another pod has the name", and the status was never told.
#[tokio::test(start_paused = true)]
async fn a_conflict_that_is_mere_contention_does_not_lose_the_status() {
    let world = World::new();
    world.server.0.lock().conflicts = 3;
    world.pods.apply(&pod("p", &one("i:v1", "Always")));
    world.until("running", World::is_running).await;
}

#[tokio::test(start_paused = true)]
async fn a_crashing_container_starts_again_at_once_and_then_after_ten_seconds() {
    let world = World::new();
    world.pods.apply(&pod("p", &one("i:v1", "Always")));
    let count = |world: &World| world.runtime.0.lock().len();
    let began = tokio::time::Instant::now();
    for round in 0..2 {
        world.until("started", |world| count(world) == round + 1).await;
        world.until("running", World::is_running).await;
        world.guest(round).end(1);
    }
    assert!(began.elapsed() < Duration::from_secs(5));
    world.until("third start", |world| count(world) == 3).await;
    assert!(began.elapsed() >= Duration::from_secs(10));
    world.until("told", |world| world.server.latest("p")["containerStatuses"][0]["restartCount"] == 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_missing_image_is_told_with_its_cause() {
    let world = World::new();
    world.pods.apply(&pod("p", &one("missing:v9", "Never")));
    let waiting =
        |world: &World| world.server.latest("p")["containerStatuses"][0]["state"]["waiting"]["reason"].clone();
    world.until("ErrImagePull", |world| waiting(world) == "ErrImagePull").await;
    world.until("ImagePullBackOff", |world| waiting(world) == "ImagePullBackOff").await;
    let event = "Failed: Failed to pull image \"missing:v9\": not found".to_owned();
    world.until("event", |world| world.server.0.lock().events.contains(&event)).await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_run_has_failed_to_start() {
    let world = World::new();
    world.pods.apply(&pod("p", &one("bad:v1", "Never")));
    world.until("Failed", |world| world.server.latest("p")["phase"] == "Failed").await;
    let terminated = world.server.latest("p")["containerStatuses"][0]["state"]["terminated"].clone();
    assert_eq!((&terminated["reason"], &terminated["message"]), (&json!("StartError"), &json!("no _start")));
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_stops_removes_nothing_and_the_next_one_goes_on() {
    let world = World::new();
    let first = pod("p", &one("i:v1", "Always"));
    world.pods.apply(&first);
    world.until("running", World::is_running).await;
    let status = world.server.latest("p");
    let dir = volumes::pod_dir(world.dir.path(), &first);
    std::fs::create_dir_all(&dir).unwrap();
    world.pods.shut_down(Duration::from_secs(10)).await;
    assert!(world.guest(0).exit.borrow().is_some(), "the guest was stopped");
    assert!(world.server.0.lock().deletes.is_empty());
    assert!(dir.exists());
    world.tasks.cancel();
    let next = World::again(Arc::clone(&world.dir));
    let mut pod = Pod::clone(&first);
    pod.status = Some(serde_json::from_value(status).unwrap());
    let pod = Arc::new(pod);
    next.pods.keep_addresses(std::slice::from_ref(&pod));
    next.pods.apply(&pod);
    next.until("running", World::is_running).await;
    let status = next.server.latest("p");
    assert_eq!((&status["containerStatuses"][0]["restartCount"], &status["podIP"]), (&json!(1), &json!("10.42.0.2")));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_does_not_wait_longer_than_its_deadline() {
    let world = World::new();
    let hook = json!({ "preStop": { "sleep": { "seconds": 600 } } });
    let container = json!({ "name": "c", "image": "i:v1", "lifecycle": hook });
    world.pods.apply(&pod("p", &json!({ "containers": [container] })));
    world.until("running", World::is_running).await;
    let began = tokio::time::Instant::now();
    world.pods.shut_down(Duration::from_secs(10)).await;
    assert!(began.elapsed() <= Duration::from_secs(10));
    assert!(world.guest(0).exit.borrow().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_thousand_pods_come_up_with_few_writes_at_once() {
    let world = World::new();
    for index in 0..1_000 {
        world.pods.apply(&pod(&format!("p{index}"), &one("i:v1", "Always")));
    }
    let ready = |world: &World| {
        let told = world.server.0.lock();
        let running = told.statuses.iter().filter(|(_, status)| status["phase"] == "Running").count();
        running >= 1_000
    };
    world.until("all running", ready).await;
    let addresses: BTreeSet<_> = world.pods.all().into_iter().filter_map(|known| known.status.pod_ip).collect();
    assert_eq!(addresses.len(), 1_000, "each has its own address");
    assert!(world.server.0.lock().writes_max <= 16);
    assert!(world.server.0.lock().statuses.len() <= 4_000, "progress is told, not every step of it");
}

async fn get(world: &World, path: &str) -> (u16, String) {
    use tower::ServiceExt as _;
    let request = Request::get(path).body(axum::body::Body::empty()).unwrap();
    let answer = crate::server::router(world.pods.clone()).oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test(start_paused = true)]
async fn the_node_says_what_its_running_containers_use() {
    let world = World::new();
    world.pods.apply(&pod("p", &one("i:v1", "Always")));
    world.until("running", World::is_running).await;
    let (status, text) = get(&world, wkube_api::stats::PATH).await;
    assert_eq!(status, 200);
    let summary: Summary = serde_json::from_str(&text).unwrap();
    let used: Vec<_> = summary.containers.iter().map(|one| (one.name.as_str(), one.usage)).collect();
    assert_eq!(used, [("c", Usage { cpu_nanos: 7, memory_bytes: 42 })]);
    assert!(summary.machine.memory_bytes > 0, "{summary:?}");
}

#[tokio::test(start_paused = true)]
async fn logs_are_served_or_the_reason_why_not() {
    let world = World::new();
    world.pods.apply(&pod("p", &one("i:v1", "Always")));
    world.until("running", World::is_running).await;
    world.guest(0).spec.output.write(Stream::Stdout, b"one\ntwo\n");
    assert_eq!(get(&world, "/containerLogs/n/p/c?tailLines=1").await, (200, "two\n".to_owned()));
    let refused = get(&world, "/containerLogs/n/p/c?previous=true").await;
    assert_eq!(refused, (400, "previous terminated container \"c\" in pod \"p\" not found".to_owned()));
    assert_eq!(get(&world, "/containerLogs/n/p/x").await, (400, "container x is not valid for pod p".to_owned()));
    assert_eq!(get(&world, "/containerLogs/n/q/c").await.0, 404);
    world.guest(0).end(1);
    world.until("restarted", |world| world.runtime.0.lock().len() == 2).await;
    world.until("running", World::is_running).await;
    world.guest(1).spec.output.write(Stream::Stdout, b"three\n");
    assert_eq!(get(&world, "/containerLogs/n/p/c").await, (200, "three\n".to_owned()));
    assert_eq!(get(&world, "/containerLogs/n/p/c?previous=true").await, (200, "one\ntwo\n".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn an_ephemeral_container_joins_the_pod_is_told_and_is_found_by_name() {
    let world = World::new();
    let mut spec = one("i:v1", "Always");
    world.pods.apply(&pod("p", &spec));
    world.until("running", World::is_running).await;
    let env = json!([{ "name": "LOOK", "value": "around" }]);
    spec["ephemeralContainers"] = json!([{ "name": "e", "image": "tool:v1", "args": ["$(LOOK)"], "env": env, "tty": true,
        "stdin": true, "targetContainerName": "c" }]);
    world.pods.apply(&pod("p", &spec));
    let state = |world: &World| world.server.latest("p")["ephemeralContainerStatuses"][0]["state"].clone();
    world.until("it runs", |world| state(world)["running"].is_object()).await;
    assert!(world.is_running(), "and the other one still does");
    let (guest, uid) = (world.guest(1), "uid-p");
    assert_eq!((guest.spec.image.id.as_str(), &guest.spec.args[1..]), ("tool:v1@sha256:0", &["around".to_owned()][..]));
    assert!(guest.take_stdin().is_some() && world.pods.context().live.attached(uid, "e").is_some());
    guest.spec.output.write(Stream::Stdout, b"seen\n");
    assert_eq!(get(&world, "/containerLogs/n/p/e").await, (200, "seen\n".to_owned()));
    guest.end(5);
    world.until("it has ended", |world| state(world)["terminated"]["exitCode"] == 5).await;
    assert_eq!(get(&world, "/containerLogs/n/p/e").await, (200, "seen\n".to_owned()), "its log stays");
    world.pods.apply(&pod("p", &spec));
    world.guest(0).end(1);
    world.until("the other one starts again", |world| world.runtime.0.lock().len() == 3).await;
    assert_eq!(world.guest(2).spec.image.id, "i:v1@sha256:0", "an ephemeral container runs once");
}

#[tokio::test(start_paused = true)]
async fn a_container_counts_as_started_after_its_hook() {
    let world = World::new();
    let hook = json!({ "postStart": { "sleep": { "seconds": 5 } } });
    let container = json!({ "name": "c", "image": "i:v1", "lifecycle": hook });
    world.pods.apply(&pod("p", &json!({ "containers": [container] })));
    let began = tokio::time::Instant::now();
    world.until("running", World::is_running).await;
    assert!(began.elapsed() >= Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_failed_post_start_hook_kills_the_container() {
    let world = World::new();
    let hook = json!({ "postStart": { "httpGet": { "port": 80 } } });
    let container = json!({ "name": "c", "image": "i:v1", "lifecycle": hook });
    world.pods.apply(&pod("p", &json!({ "restartPolicy": "Never", "containers": [container] })));
    world.until("Failed", |world| world.server.latest("p")["phase"] == "Failed").await;
    let events = world.server.0.lock().events.clone();
    assert!(events.iter().any(|event| event.starts_with("FailedPostStartHook")), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn an_exec_probe_runs_a_command_and_its_failure_restarts_the_container() {
    let world = World::new();
    let mut spec = one("i:v1", "Always");
    spec["containers"][0]["livenessProbe"] =
        json!({ "exec": { "command": ["check", "it"] }, "failureThreshold": 1, "timeoutSeconds": 2 });
    world.pods.apply(&pod("p", &spec));
    world.until("probed", |world| !world.runtime.0.lock().is_empty() && world.guest(0).command().is_some()).await;
    let command = world.guest(0).command().unwrap();
    assert_eq!(command.args, ["check", "it"]);
    command.write(Stream::Stdout, "well");
    command.end(0);
    world.until("again", |world| world.guest(0).command().unwrap().code().is_none()).await;
    let command = world.guest(0).command().unwrap();
    command.write(Stream::Stderr, "not well");
    command.end(1);
    let said = |world: &World, text: &str| world.server.0.lock().events.iter().any(|event| event == text);
    world.until("failed", |world| said(world, "Unhealthy: Liveness probe failed: not well")).await;
    world.until("restarted", |world| world.runtime.0.lock().len() == 2).await;
    world.until("hung", |world| world.guest(1).command().is_some()).await;
    world
        .until("timed out", |world| {
            said(world, "Unhealthy: Liveness probe failed: command \"check it\" timed out after 2s")
        })
        .await;
    assert_eq!(world.guest(1).command().unwrap().code(), Some(137), "a probe that takes too long is killed");
}

#[tokio::test(start_paused = true)]
async fn an_exec_hook_runs_before_the_container_counts_as_started() {
    let world = World::new();
    let mut spec = one("i:v1", "Always");
    spec["containers"][0]["lifecycle"] = json!({ "postStart": { "exec": { "command": ["prepare"] } } });
    world.pods.apply(&pod("p", &spec));
    world.until("hooked", |world| !world.runtime.0.lock().is_empty() && world.guest(0).command().is_some()).await;
    assert!(!world.is_running());
    world.guest(0).command().unwrap().end(0);
    world.until("running", World::is_running).await;
}

#[tokio::test(start_paused = true)]
async fn limits_reach_the_runtime() {
    let world = World::new();
    let mut spec = one("i:v1", "Always");
    spec["containers"][0]["resources"] = json!({ "limits": { "cpu": "250m", "memory": "64Mi" } });
    world.pods.apply(&pod("p", &spec));
    world.pods.apply(&pod("q", &one("i:v1", "Always")));
    world.until("running", |world| world.runtime.0.lock().len() == 2).await;
    let guests = [world.guest(0), world.guest(1)];
    let limited = guests.iter().find(|guest| guest.spec.pod.name == "p").unwrap();
    let free = guests.iter().find(|guest| guest.spec.pod.name == "q").unwrap();
    assert_eq!((limited.spec.cpu_millis, limited.spec.memory_bytes), (Some(250), Some(64 << 20)));
    assert_eq!((free.spec.cpu_millis, free.spec.memory_bytes), (None, None));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_does_not_fit_is_rejected_and_one_that_went_makes_room() {
    let world = World::new();
    let wants = |cpu: &str| {
        let mut spec = one("i:v1", "Always");
        spec["containers"][0]["resources"] = json!({ "requests": { "cpu": cpu } });
        spec
    };
    let first = pod("p", &wants("1500m"));
    world.pods.apply(&first);
    world.until("running", World::is_running).await;
    world.pods.apply(&pod("q", &wants("1")));
    world.until("rejected", |world| world.server.latest("q")["phase"] == "Failed").await;
    let status = world.server.latest("q");
    let message =
        "Pod was rejected: Node didn't have enough resource: cpu, requested: 1000, used: 1500, capacity: 2000";
    assert_eq!((&status["reason"], &status["message"]), (&json!("OutOfcpu"), &json!(message)));
    world.pods.apply(&deleted(&first));
    world.until("removed", |world| !world.server.0.lock().deletes.is_empty()).await;
    world.pods.apply(&pod("r", &wants("1")));
    world.until("it fits", |world| world.server.latest("r")["phase"] == "Running").await;
    assert_eq!(world.runtime.0.lock().len(), 2, "what was rejected never ran");
}

#[tokio::test(start_paused = true)]
async fn a_resize_reaches_the_running_guest_if_the_node_has_room() {
    let world = World::new();
    let wants = |generation: i64, cpu: &str| {
        let mut spec = one("i:v1", "Always");
        spec["containers"][0]["resources"] = json!({ "requests": { "cpu": cpu }, "limits": { "cpu": cpu } });
        let mut pod = Pod::clone(&pod("p", &spec));
        pod.metadata.generation = Some(generation);
        Arc::new(pod)
    };
    world.pods.apply(&wants(1, "500m"));
    world.until("running", World::is_running).await;
    world.pods.apply(&wants(2, "1500m"));
    let told = |world: &World| world.server.latest("p")["containerStatuses"][0]["allocatedResources"]["cpu"].clone();
    world.until("told", |world| told(world) == "1500m").await;
    assert_eq!(world.guest(0).resized.lock().map(|to| to.cpu_millis), Some(Some(1500)));
    world.pods.apply(&wants(3, "3"));
    let pending = |world: &World| {
        let conditions = world.server.latest("p")["conditions"].as_array().cloned().unwrap_or_default();
        conditions.into_iter().find(|condition| condition["type"] == "PodResizePending")
    };
    world.until("refused", |world| pending(world).is_some()).await;
    let condition = pending(&world).unwrap();
    let message = "Node didn't have enough capacity: cpu, requested: 3000, capacity: 2000";
    assert_eq!((&condition["reason"], &condition["message"]), (&json!("Infeasible"), &json!(message)));
    assert_eq!((told(&world), world.runtime.0.lock().len()), (json!("1500m"), 1), "it runs on with what it has");
}
