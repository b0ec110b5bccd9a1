//! `Node::builder()`: puts a node together and starts it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use k8s_openapi::api::core::v1::Pod;
use wkube_base::{Clock, Rng, Tasks};
use wkube_client::{Client, Informers, Lister, Scope, lease};
use wkube_proxy::{LocalPods, Proxy};
use wkube_wasm_runtime::{Engine, EngineOptions};

use crate::admission::Allocations;
use crate::checkpoint::Checkpoints;
use crate::context::Context;
use crate::eviction::Evictor;
use crate::eviction::thresholds::Thresholds;
use crate::eviction::vitals::Vitals;
use crate::image_gc;
use crate::image_keeper;
use crate::images::Images;
use crate::ip::Addresses;
use crate::logs::Logs;
use crate::network::Networks;
use crate::objects::Fetcher;
use crate::pod::live::Live;
use crate::pods::Pods;
use crate::register::Identity;
use crate::registration::Registration;
use crate::reserved::{Reservations, Reserved, TooMuch};
use crate::resources::{self, Machine};
use crate::runtime::Runtime;
use crate::runtime::wasm::{ImageOptions, WasmRuntime};
use crate::static_pods::{self, Directory};
use crate::status_writer::Statuses;
use crate::tunnel::{self, Reverse};
use crate::volumes::HostPaths;
use crate::{routes, server};

/// How long a node that stops waits for its disk.
const STATE_WAIT: Duration = Duration::from_secs(5);

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error("use the data directory {path}")]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The WebAssembly engine did not start.
    #[error("start the WebAssembly engine")]
    Engine(#[source] wkube_wasm_runtime::Error),
    /// There is nothing left for pods.
    #[error(transparent)]
    Reserved(#[from] TooMuch),
    /// Neither a proxy nor a runtime was given.
    #[error("start a node without a proxy: its guests need one for their outgoing requests")]
    NoProxy,
}

/// What a node is made of.
#[must_use = "a builder does nothing until `start`"]
pub struct Builder {
    client: Client,
    name: String,
    data_dir: PathBuf,
    labels: BTreeMap<String, String>,
    address: Option<IpAddr>,
    pods_max: Option<u32>,
    host_paths: Vec<PathBuf>,
    static_pods: Option<PathBuf>,
    machine: Option<Machine>,
    eviction: Thresholds,
    reservations: Reservations,
    image_gc: image_gc::Limits,
    images: ImageOptions,
    reverse: Option<Arc<dyn Reverse>>,
    runtime: Option<Arc<dyn Runtime>>,
    pod_worker: Option<PathBuf>,
    engine: Option<Engine>,
    proxy: Option<Proxy>,
    routes: Option<Informers>,
    local: Option<LocalPods>,
    clock: Clock,
    rng: Rng,
}

impl Builder {
    /// Sets the node's name; the default is `wkube`.
    pub fn name(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// Sets where images, volumes and logs are kept; the default is `node` in the working directory.
    pub fn data_dir(self, data_dir: impl Into<PathBuf>) -> Self {
        Self { data_dir: data_dir.into(), ..self }
    }

    /// Adds labels to the node's own.
    pub fn labels(mut self, labels: impl IntoIterator<Item = (String, String)>) -> Self {
        self.labels.extend(labels);
        self
    }

    /// Sets the address that the node reports; without one it reports only its name.
    pub fn address(self, address: IpAddr) -> Self {
        Self { address: Some(address), ..self }
    }

    /// Sets how many pods the node takes; by default as many as the machine has room for.
    pub fn max_pods(self, pods_max: Option<u32>) -> Self {
        Self { pods_max, ..self }
    }

    /// Allows pods to see these directories of the host, and what is below them; the default is none.
    pub fn host_paths(self, host_paths: Vec<PathBuf>) -> Self {
        Self { host_paths, ..self }
    }

    /// Sets the directory whose files describe pods that this node runs whatever the server says; the default is none.
    pub fn static_pods(self, dir: Option<PathBuf>) -> Self {
        Self { static_pods: dir, ..self }
    }

    /// Sets what the node says it has, instead of what is measured here.
    pub fn machine(self, machine: Machine) -> Self {
        Self { machine: Some(machine), ..self }
    }

    /// Sets where images come from besides the built-in registry, and which of them must be signed.
    pub fn images(self, images: ImageOptions) -> Self {
        Self { images, ..self }
    }

    /// Sets how little may be left of the machine's resources before the node evicts pods.
    pub fn eviction(self, thresholds: Thresholds) -> Self {
        Self { eviction: thresholds, ..self }
    }

    /// Sets what of the machine is not for pods.
    pub fn reservations(self, reservations: Reservations) -> Self {
        Self { reservations, ..self }
    }

    /// Sets which images the node removes, and when.
    pub fn image_gc(self, limits: image_gc::Limits) -> Self {
        Self { image_gc: limits, ..self }
    }

    /// Sets how the API server reaches the node.
    pub fn reverse(self, reverse: Arc<dyn Reverse>) -> Self {
        Self { reverse: Some(reverse), ..self }
    }

    /// Sets what runs containers, instead of WebAssembly.
    pub fn runtime(self, runtime: Arc<dyn Runtime>) -> Self {
        Self { runtime: Some(runtime), ..self }
    }

    /// Sets the program that becomes the process of a pod when it is started with the one argument `pod-worker`: it has
    /// to call [`run_worker`](crate::runtime::process::run_worker) at once then. Without one, pods of the `RuntimeClass`
    /// `wasm-process` do not start.
    pub fn pod_worker(self, program: Option<PathBuf>) -> Self {
        Self { pod_worker: program, ..self }
    }

    /// Shares an engine with other nodes of this process; by default the node makes its own.
    pub fn engine(self, engine: Engine) -> Self {
        Self { engine: Some(engine), ..self }
    }

    /// Sets the proxy for guests' outgoing requests. Its local pods become this node's.
    pub fn proxy(self, proxy: Proxy) -> Self {
        Self { local: Some(proxy.local().clone()), proxy: Some(proxy), ..self }
    }

    /// Follows the cluster's routes for the proxy, and keeps them on disk for a start without a control plane.
    pub fn routes(self, informers: Informers) -> Self {
        Self { routes: Some(informers), ..self }
    }

    /// Sets where the node registers what answers, if no proxy is given.
    pub fn local_pods(self, local: LocalPods) -> Self {
        Self { local: Some(local), ..self }
    }

    /// Sets the source of wall time.
    pub fn clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Sets the source of chance.
    pub fn rng(self, rng: Rng) -> Self {
        Self { rng, ..self }
    }

    /// Starts the node. It registers and takes pods in the background; its tasks belong to `tasks`.
    ///
    /// # Errors
    /// If the data directory or the engine cannot be used.
    pub async fn start(self, tasks: &Tasks) -> Result<Node, StartError> {
        let dir = self.data_dir.join("pods");
        std::fs::create_dir_all(&dir).map_err(|source| StartError::DataDir { path: dir, source })?;
        let runtime = self.make_runtime()?;
        let tasks = tasks.child();
        let vitals = Vitals::default();
        let (machine, kept) = self.measure()?;
        let identity = Identity {
            name: self.name.clone(),
            labels: self.labels.clone(),
            address: self.address,
            machine,
            kept,
            runtime: runtime.version(),
            worlds: runtime.worlds(),
            vitals: vitals.clone(),
        };
        let kept = self.open_state()?;
        kept.start(&tasks);
        let registration = Registration::begin(&self.client, identity.clone(), &self.clock, &kept, &tasks).await;
        let fetcher = Fetcher::new(&self.client.named("kubelet"), &kept, &self.clock);
        let addresses = Addresses::new(registration.cidr());
        let listed = self.list_pods(&tasks);
        let pods = Pods::new(Context {
            listed: listed.clone(),
            images: Images::new(Arc::clone(&runtime), &fetcher),
            runtime,
            kept: kept.clone(),
            fetcher,
            data_dir: self.data_dir.clone(),
            allocations: Allocations::new(identity.room()),
            host_paths: HostPaths::allow(self.host_paths.clone()),
            addresses: addresses.clone(),
            local: self.local.clone().unwrap_or_else(|| LocalPods::on_node(&self.name)),
            networks: Networks::new(self.proxy.clone(), &tasks),
            logs: Logs::new(&self.clock),
            live: Live::default(),
            vitals,
            recorder: registration.recorder(),
            statuses: Statuses::start(&self.client, &tasks),
            clock: self.clock.clone(),
            tasks: tasks.clone(),
            host_ip: self.address,
            allocatable: identity.allocatable(),
        });
        if let Some(dir) = &self.static_pods {
            let mut directory = Directory::new(dir.clone(), self.name.clone());
            pods.keep_all_addresses();
            // Before anybody looks at mirrors: one without a pod is removed.
            pods.want_static(directory.look().unwrap_or_default());
            tasks.spawn("static pods", static_pods::follow(pods.clone(), directory));
        }
        tasks.spawn("pods", pods.clone().follow(listed));
        let client = self.client.named("kubelet");
        let owner = registration.owner();
        let renewing = lease::keep_node_lease(client, self.clock.clone(), self.rng.split(), self.name.clone(), owner);
        tasks.spawn("node lease", renewing);
        tasks.spawn("node status", registration.keep(addresses));
        if self.machine.is_none() {
            // A machine that we were told about cannot be measured.
            tasks.spawn("eviction", Evictor::new(pods.clone(), self.name.clone(), self.eviction).run());
        }
        tasks.spawn("images", image_keeper::keep(pods.clone(), self.data_dir.clone(), self.image_gc));
        let router = server::router(pods.clone());
        if let Some(reverse) = self.reverse {
            tasks.spawn("node tunnel", tunnel::keep(reverse, router.clone()));
        }
        if let (Some(proxy), Some(informers)) = (&self.proxy, &self.routes) {
            routes::follow(proxy, informers, &kept, &tasks).await;
        }
        Ok(Node { name: self.name, pods, router, tasks, machine: identity.machine })
    }

    /// Follows the objects of the node's pods.
    fn list_pods(&self, tasks: &Tasks) -> Lister<Pod> {
        let informers = Informers::new(&self.client.named("kubelet"), &self.rng, tasks);
        informers.packed_lister_of(Scope::all().fields(format!("spec.nodeName={}", self.name)))
    }

    /// Returns the machine, and what of it is not for pods.
    fn measure(&self) -> Result<(Machine, Reserved), StartError> {
        let machine = self.machine.unwrap_or_else(|| Machine::measure(&self.data_dir, self.pods_max));
        let slots = EngineOptions::slots_max();
        if self.machine.is_none() && machine.pods > slots {
            tracing::warn!(
                pods = machine.pods,
                slots,
                "more pods than instances; raise vm.max_map_count to six for each pod and 5,000 for the rest"
            );
        }
        // Who was told about a machine evicts nobody from it.
        let evictions = if self.machine.is_none() { self.eviction.clone() } else { Thresholds::none() };
        let kept = self.reservations.kept(&machine, &evictions)?;
        Ok((machine, kept))
    }

    fn open_state(&self) -> Result<Checkpoints, StartError> {
        let path = self.data_dir.join("state");
        Checkpoints::open(&path).map_err(|source| StartError::DataDir { path, source })
    }

    fn make_runtime(&self) -> Result<Arc<dyn Runtime>, StartError> {
        if let Some(runtime) = &self.runtime {
            return Ok(Arc::clone(runtime));
        }
        let proxy = self.proxy.clone().ok_or(StartError::NoProxy)?;
        let engine = if let Some(engine) = &self.engine {
            engine.clone()
        } else {
            let options = resources::engine_options(&self.data_dir.join("compiled"), self.pods_max);
            Engine::new(options).map_err(StartError::Engine)?
        };
        let images = self.data_dir.join("images");
        let runtime =
            WasmRuntime::new(engine, &images, &self.client, self.images.clone(), proxy, self.pod_worker.clone());
        Ok(Arc::new(runtime.map_err(|source| StartError::DataDir { path: images, source })?))
    }
}

/// A running node.
pub struct Node {
    name: String,
    pods: Pods,
    router: Router,
    tasks: Tasks,
    machine: Machine,
}

impl Node {
    /// Returns a builder of a node that sees the cluster through `client`.
    pub fn builder(client: Client) -> Builder {
        Builder {
            client,
            name: "wkube".to_owned(),
            data_dir: PathBuf::from("node"),
            labels: BTreeMap::new(),
            address: None,
            pods_max: None,
            host_paths: Vec::new(),
            static_pods: None,
            machine: None,
            eviction: Thresholds::default(),
            reservations: Reservations::default(),
            image_gc: image_gc::Limits::default(),
            images: ImageOptions::default(),
            reverse: None,
            runtime: None,
            pod_worker: None,
            engine: None,
            proxy: None,
            routes: None,
            local: None,
            clock: Clock::system(),
            rng: Rng::from_entropy(),
        }
    }

    /// Returns the node's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the machine that the node runs on.
    pub fn machine(&self) -> Machine {
        self.machine
    }

    /// Returns the node's HTTP API.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// Returns the node's pods.
    pub fn pods(&self) -> &Pods {
        &self.pods
    }

    /// Stops the pods, the way each of them wants to be stopped, and then the agent. Objects stay as they are: the
    /// next agent starts the pods again.
    pub async fn stop(self, deadline: Duration) {
        let began = tokio::time::Instant::now();
        self.pods.shut_down(deadline).await;
        if tokio::time::timeout(STATE_WAIT, self.pods.context().kept.settle()).await.is_err() {
            tracing::warn!(node = self.name, "the disk is slow; the next agent may know less than this one did");
        }
        self.tasks.cancel();
        // The tasks are shared with whoever started us; they end at their next await.
        tracing::info!(node = self.name, took = ?began.elapsed(), "node stopped");
    }
}
