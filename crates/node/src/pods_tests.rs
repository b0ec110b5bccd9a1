//! Workers with a fake runtime and a scripted API server, in paused time: the world that the tests of pods share.

use http::Request;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use wkube_api::stats::{Summary, Usage};
use wkube_base::{Clock, Tasks};
use wkube_client::Recorder;
use wkube_proxy::{Backend, LocalPods};

pub(crate) use self::fake_runtime::FakeCommand;
use self::fake_runtime::{FakeGuest, FakeRuntime};
use self::fake_server::Server;
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
#[path = "pods/fake_runtime.rs"]
mod fake_runtime;
#[path = "pods/fake_server.rs"]
mod fake_server;
#[path = "pods/hooks_tests.rs"]
mod hooks;
#[path = "pods/life_tests.rs"]
mod life;
#[path = "pods/resources_tests.rs"]
mod resources;
#[path = "pods/rest_tests.rs"]
mod rest;
#[path = "pods/served_tests.rs"]
mod served;
#[path = "pods/statics_tests.rs"]
mod statics;

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
