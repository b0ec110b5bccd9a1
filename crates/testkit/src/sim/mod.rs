//! A whole cluster in one thread from one seed: the real components over a store in memory, a faulty network, paused time.
//!
//! ```text
//!  scenario --admin--> API server <--Network (faults)--> scheduler, controllers, nodes (FakeRuntime)
//!                         |
//!                       store --every change--> checks, log
//! ```
//! Nothing sleeps for real: time jumps to the next timer when every task waits. The rules that keep a run repeatable: one
//! thread, ordered collections, biased selects, chance from the seed only, no work on other threads (so: no volumes).

mod checks;
pub mod faults;
pub mod log;
pub mod objects;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use parking_lot::Mutex;
use serde_json::Value;
use wkube_api::{Object, ObjectKey};
use wkube_apiserver::auth::User;
use wkube_base::{Clock, Rng, Tasks};
use wkube_client::api::Conflicts;
use wkube_client::{Api, Client, Patch, Scope};
use wkube_control::{ApiServer, start_components_through};
use wkube_node::Node;
use wkube_node::resources::Machine;
use wkube_store::{MemoryStore, Revision, Signal, Store};

use crate::fake_runtime::{FakeRuntime, Ledger};
use checks::Checks;
use faults::{Faults, Network};
use log::Log;

/// When a simulation begins.
const BEGINS: &str = "2026-01-01T00:00:00Z";
/// How often a wait looks again, in simulated time.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Every node's size. The same on every machine, or seeds would mean nothing elsewhere.
const MACHINE: Machine = Machine { cpus: 4, memory_bytes: 8 << 30, disk_bytes: 100 << 30, pods: 110 };

/// Runs `scenario` on a cluster with `nodes` nodes and returns the log: the same for the same seed.
///
/// # Panics
/// If anything happened that must not, with the seed and the end of the log.
pub fn simulate(seed: u64, nodes: usize, scenario: impl AsyncFnOnce(&Sim)) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime without I/O starts").block_on(async {
        let sim = Sim::start(seed, nodes).await;
        scenario(&sim).await;
        sim.settled().await;
        sim.check();
        sim.tasks.stop(Duration::from_secs(30)).await;
        sim.log.lines()
    })
}

/// A simulated cluster.
pub struct Sim {
    seed: u64,
    server: ApiServer,
    store: Arc<dyn Store>,
    network: Network,
    ledger: Ledger,
    log: Log,
    clock: Clock,
    rng: Rng,
    tasks: Tasks,
    components: RefCell<Tasks>,
    nodes: RefCell<BTreeMap<String, Life>>,
    problems: Arc<Mutex<Vec<String>>>,
    dir: tempfile::TempDir,
}

/// One life of a node's process.
struct Life {
    _node: Node,
    runtime: Arc<FakeRuntime>,
    tasks: Tasks,
}

impl Sim {
    async fn start(seed: u64, nodes: usize) -> Self {
        let (rng, tasks, log) = (Rng::seeded(seed), Tasks::new(), Log::new());
        let clock = Clock::simulated(BEGINS.parse().expect("a time"));
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let server = ApiServer::in_memory(Arc::clone(&store), clock.clone(), rng.split(), &tasks).await;
        let sim = Self {
            seed,
            network: Network::new(&rng, &log),
            ledger: Ledger::default(),
            components: RefCell::new(tasks.child()),
            nodes: RefCell::default(),
            problems: Arc::default(),
            dir: tempfile::tempdir().expect("a directory for the nodes"),
            server,
            store,
            log,
            clock,
            rng,
            tasks,
        };
        sim.watch();
        sim.start_components();
        for number in 1..=nodes {
            sim.start_node(&format!("n{number}")).await;
        }
        sim
    }

    /// Follows the store from its first revision on.
    fn watch(&self) {
        let mut watch = self.store.watch("", Revision(1)).expect("nothing is compacted yet");
        let (log, problems, mut checks) = (self.log.clone(), Arc::clone(&self.problems), Checks::new());
        self.tasks.spawn("checks", async move {
            while let Some(signal) = watch.next().await {
                let event = match signal {
                    Ok(Signal::Event(event)) => event,
                    Ok(Signal::Progress(_)) => continue,
                    Err(error) => return problems.lock().push(format!("the store's watch ended: {error}")),
                };
                let verb = match (&event.before, &event.now) {
                    (None, _) => "create",
                    (Some(_), Some(_)) => "update",
                    (Some(_), None) => "delete",
                };
                log.change(event.revision.0, verb, &event.key);
                for problem in checks.see(&event) {
                    log.note("checks", &problem);
                    problems.lock().push(problem);
                }
            }
        });
    }

    fn start_components(&self) {
        let tasks = self.tasks.child();
        let connect = |user: User| self.network.client(&user.name.clone(), self.server.in_process(user));
        start_components_through(&self.server, &connect, &self.clock, &self.rng.split(), &tasks);
        self.components.replace(tasks);
    }

    /// Kills the scheduler and the controllers wherever they are, and starts them again without any memory.
    pub fn restart_components(&self) {
        self.log.note("components", "restart");
        self.components.borrow().cancel();
        self.start_components();
    }

    /// Starts a node's process; a name that was there before comes back with what it has on disk.
    pub async fn start_node(&self, name: &str) {
        self.log.note(name, "starts");
        let (tasks, runtime) = (self.tasks.child(), FakeRuntime::new(name, &self.ledger, &self.rng));
        let actor = node_user(name);
        let user = User::known(actor.as_str(), ["system:nodes"]);
        let node = Node::builder(self.network.client(&actor, self.server.in_process(user)))
            .name(name)
            .data_dir(self.dir.path().join(name))
            .machine(MACHINE)
            .runtime(runtime.clone())
            .clock(self.clock.clone())
            .rng(self.rng.split());
        let node = node.start(&tasks).await.expect("the directory is ours");
        self.nodes.borrow_mut().insert(name.to_owned(), Life { _node: node, runtime, tasks });
    }

    /// Kills a node's process, and its containers with it.
    pub fn crash_node(&self, name: &str) {
        self.log.note(name, "crashes");
        let life = self.nodes.borrow_mut().remove(name).expect("the node runs");
        life.tasks.cancel();
        life.runtime.kill_all();
    }

    /// Cuts a node off; it goes on by itself.
    pub fn silence_node(&self, name: &str) {
        self.network.silence(&node_user(name));
    }

    /// Lets a node take part again.
    pub fn heal_node(&self, name: &str) {
        self.network.heal(&node_user(name));
    }

    /// Sets what goes wrong on the network from now on.
    pub fn faults(&self, faults: Faults) {
        self.network.set(faults);
    }

    /// Returns the log so far.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Returns what ran where.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Returns a client that nothing goes wrong for.
    pub fn admin(&self) -> Client {
        let user = User::known("kubernetes-admin", ["system:masters"]);
        Client::new(self.server.in_process(user)).named("kubectl")
    }

    /// Applies an object, as `kubectl apply --server-side` does.
    pub async fn apply(&self, object: Value) {
        self.log.note("user", &format!("applies {}", object["kind"].as_str().unwrap_or_default()));
        let key = ObjectKey::new("default", object["metadata"]["name"].as_str().unwrap_or_default());
        let patch = Patch::Apply { object: object.clone(), manager: "user".to_owned(), conflicts: Conflicts::Force };
        self.api(&object).patch(&key, &patch).await.unwrap_or_else(|error| self.fail(&format!("apply: {error}")));
    }

    /// Returns an object as the API shows it.
    pub async fn get(&self, collection: &Collection, name: &str) -> Value {
        let api = collection.api(&self.admin());
        let found = api.get(&ObjectKey::new("default", name)).await;
        found.unwrap_or_else(|error| self.fail(&format!("get {name}: {error}"))).0.into()
    }

    /// Returns the pods with the label `app=APP`.
    pub async fn pods(&self, app: &str) -> Vec<Value> {
        let scope = Scope::namespace("default").labels(format!("app={app}"));
        let list = Collection::PODS.api(&self.admin()).list(&scope).await;
        let list = list.unwrap_or_else(|error| self.fail(&format!("list pods: {error}")));
        list.items.into_iter().map(|object| object.0.into()).collect()
    }

    fn api(&self, object: &Value) -> Api<Object> {
        let collection = match object["kind"].as_str() {
            Some("Deployment") => Collection::DEPLOYMENTS,
            Some("Job") => Collection::JOBS,
            other => self.fail(&format!("scenarios do not apply {other:?}")),
        };
        collection.api(&self.admin())
    }

    /// Lets simulated time pass.
    pub async fn run_for(&self, time: Duration) {
        tokio::time::sleep(time).await;
        self.check();
    }

    /// Waits up to `deadline` of simulated time until `is_so`.
    pub async fn until(&self, what: &str, deadline: Duration, is_so: impl AsyncFn() -> bool) {
        let ends = tokio::time::Instant::now() + deadline;
        while !is_so().await {
            self.check();
            if tokio::time::Instant::now() >= ends {
                self.fail(&format!("{what}: not within {deadline:?}"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.log.note("user", &format!("sees that {what}"));
    }

    /// Stops the faults and waits until a Deployment is exactly as it was asked for.
    pub async fn until_deployed(&self, name: &str, replicas: usize, image: &str) {
        self.faults(Faults::NONE);
        let what = format!("{name} has {replicas} pods of {image}");
        self.until(&what, Duration::from_mins(5), async || self.is_deployed(name, replicas, image).await).await;
    }

    async fn is_deployed(&self, name: &str, replicas: usize, image: &str) -> bool {
        let deployment = self.get(&Collection::DEPLOYMENTS, name).await;
        let (status, generation) = (&deployment["status"], &deployment["metadata"]["generation"]);
        let counts = ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"];
        let counted = counts.iter().all(|field| status[field].as_u64().unwrap_or_default() == replicas as u64);
        let reported = counted && status["observedGeneration"] == *generation;
        let pods = self.pods(name).await;
        let is_one = |pod: &Value| {
            pod["metadata"]["deletionTimestamp"].is_null() && pod["spec"]["containers"][0]["image"] == image
        };
        reported && pods.len() == replicas && pods.iter().all(is_one) && self.runs_exactly(&pods)
    }

    /// Whether what runs on the nodes is exactly these pods, each once, where it is bound.
    fn runs_exactly(&self, pods: &[Value]) -> bool {
        let place = |pod: &Value, path: &str| pod.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut wanted: Vec<_> =
            pods.iter().map(|pod| (place(pod, "/metadata/name"), place(pod, "/spec/nodeName"))).collect();
        let mut running: Vec<_> = self.ledger.running().into_iter().map(|start| (start.pod, start.node)).collect();
        wanted.sort();
        running.sort();
        wanted == running
    }

    /// Lets the cluster come to rest.
    async fn settled(&self) {
        self.faults(Faults::NONE);
        self.run_for(Duration::from_secs(10)).await;
    }

    /// Fails if anything happened that must not.
    fn check(&self) {
        let mut problems = std::mem::take(&mut *self.problems.lock());
        problems.extend(self.ledger.take_problems());
        if !problems.is_empty() {
            self.fail(&problems.join("\n"));
        }
    }

    /// Ends the simulation with the seed and the end of the log; the whole log is left in a file.
    pub fn fail(&self, problem: &str) -> ! {
        let file = std::env::temp_dir().join(format!("wkube-simulation-{}.log", self.seed));
        let _ = std::fs::write(&file, self.log.lines().join("\n"));
        let (seed, next) = (self.seed, self.seed + 1);
        panic!("{problem}\nSEEDS={seed}..{next} repeats it; whole log in {}\n{}", file.display(), self.log.tail());
    }

    /// Fails unless `holds`.
    pub fn expect(&self, holds: bool, what: &str) {
        if !holds {
            self.fail(&format!("not so: {what}"));
        }
    }
}

/// The name by which a node authenticates.
fn node_user(name: &str) -> String {
    format!("system:node:{name}")
}

/// A kind by its names in URLs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Collection(&'static str, &'static str, &'static str);

impl Collection {
    /// Pods.
    pub const PODS: Self = Self("", "v1", "pods");
    /// Deployments.
    pub const DEPLOYMENTS: Self = Self("apps", "v1", "deployments");
    /// Jobs.
    pub const JOBS: Self = Self("batch", "v1", "jobs");

    fn api(self, client: &Client) -> Api<Object> {
        Api::of_collection(client, self.0, self.1, self.2)
    }
}
