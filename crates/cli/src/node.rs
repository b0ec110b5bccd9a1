//! `wkube node`: a node that joins a control plane elsewhere, and how `up` starts one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures::future::BoxFuture;
use wkube_base::{Clock, Rng, Tasks};
use wkube_client::{Client, Informers};
use wkube_control::ApiServer;
use wkube_node::join::{self, Credentials, Token};
use wkube_node::resources::{self, Machine};
use wkube_node::runtime::wasm::ImageOptions;
use wkube_node::tls::ReverseOverTls;
use wkube_node::tunnel::Stream;
use wkube_node::{Node, Reverse};
use wkube_proxy::remote::ThroughApi;
use wkube_proxy::{Gateway, LocalPods, Proxy};
use wkube_wasm_runtime::Engine;
use wkube_wasm_runtime::oci::{Policy, Registries};

use crate::args::{Node as Args, NodeFlags};
use crate::print::steps::Steps;
use crate::stop::Stdin;
use crate::{data_dir, stop};

/// How long guests may take to stop, whatever their grace periods: Ctrl-C is not for waiting.
pub(crate) const GUESTS_STOP_DEADLINE: Duration = Duration::from_secs(8);
/// How much of the reverse connection is buffered in process.
const REVERSE_BUFFER_BYTES: usize = 256 << 10;

pub(crate) async fn run(args: Args) -> Result<()> {
    let dir = data_dir::prepare(args.data_dir.as_deref(), "node")?;
    let stop_requested = stop::requested(if args.obey_stdin { Stdin::FromParent } else { Stdin::Ignored })?;
    tokio::pin!(stop_requested);
    let tasks = Tasks::new();
    let started = tokio::select! {
        biased;
        // A node whose control plane is away waits for it; that must not hold up Ctrl-C.
        () = &mut stop_requested => return Ok(()),
        started = join_and_start(&args, dir, &tasks) => started?,
    };
    stop_requested.await;
    started.node.stop(GUESTS_STOP_DEADLINE).await;
    tasks.stop(crate::server::STOP_DEADLINE).await;
    Ok(())
}

async fn join_and_start(args: &Args, dir: PathBuf, tasks: &Tasks) -> Result<Running> {
    let name = name(&args.node);
    let steps = Steps::new();
    let step = steps.begin(&format!("joining {}", args.server));
    let credentials = credentials(args, &name, &dir).await?;
    step.done(&format!("joined {}", args.server));
    let plan = Plan {
        client: credentials.client(&args.server)?,
        reverse: Arc::new(ReverseOverTls::new(&args.server, &name, &credentials, tasks)),
        name,
        dir,
        flags: &args.node,
    };
    plan.start(tasks, steps).await
}

/// Returns the certificate of an earlier join, or joins with the token.
async fn credentials(args: &Args, name: &str, dir: &Path) -> Result<Credentials> {
    let Some(token) = &args.token else {
        return Credentials::load(dir).with_context(|| {
            format!("node \"{name}\" has not joined yet; give it the token of `wkube token create` with --token")
        });
    };
    let token: Token = token.parse().context("--token is not one that `wkube token create` printed")?;
    match join::join(&args.server, &token, name, dir).await {
        Err(join::Error::Api(refusal)) if refusal.status().is_some_and(|status| status.code == 401) => bail!(
            "{} does not know the token of node \"{name}\" any more; make another with `wkube token create`",
            args.server
        ),
        joined => joined.with_context(|| format!("node \"{name}\" failed to join {}", args.server)),
    }
}

/// What a node is started from.
pub(crate) struct Plan<'a> {
    /// A client with the node's rights.
    pub(crate) client: Client,
    /// Its name.
    pub(crate) name: String,
    /// Where it keeps its state.
    pub(crate) dir: PathBuf,
    /// The command line's part.
    pub(crate) flags: &'a NodeFlags,
    /// How the API server reaches it.
    pub(crate) reverse: Arc<dyn Reverse>,
}

/// A running node with its gateway.
pub(crate) struct Running {
    /// The node.
    pub(crate) node: Node,
    /// The gateway.
    pub(crate) gateway: Gateway,
}

impl Plan<'_> {
    /// Starts the node, its proxy and its gateway; prints a step for each.
    ///
    /// # Errors
    /// If the gateway's address is taken or the data directory cannot be used.
    pub(crate) async fn start(self, tasks: &Tasks, steps: Steps) -> Result<Running> {
        let (rng, clock) = (Rng::from_entropy(), Clock::system());
        let images = image_options(self.flags)?;
        let kubelet = &self.flags.kubelet;
        let image_gc = kubelet.image_gc()?;
        let step = steps.begin("starting the node");
        let remote = Arc::new(ThroughApi::new(self.client.named("wkube-proxy")));
        let proxy = Proxy::new(LocalPods::on_node(&self.name), remote);
        let mut engine = resources::engine_options(&self.dir.join("compiled"), kubelet.max_pods);
        // This very program, also when its file has been replaced: code of another version could not be loaded.
        engine.compiler = Some("/proc/self/exe".into());
        let engine = Engine::new(engine).context("failed to start the node")?;
        // Before the node: a taken address must not leave a registered node behind. On the guests' threads: it carries
        // nothing but their traffic, and a change of threads for each request costs a fifth of the rate.
        let gateway = Gateway::start(self.flags.gateway, proxy.clone(), &tasks.on(engine.guest_threads())).await?;
        let informers = Informers::new(&self.client.named("wkube-proxy"), &rng, tasks);
        let node = Node::builder(self.client.clone())
            .name(&self.name)
            .data_dir(&self.dir)
            .address(self.flags.gateway.ip())
            .engine(engine)
            .pod_worker(std::env::current_exe().ok())
            .host_paths(self.flags.allow_host_path.clone())
            .static_pods(self.flags.pod_manifest_path.clone())
            .images(images)
            .max_pods(kubelet.max_pods)
            .reservations(kubelet.reservations())
            .eviction(kubelet.eviction())
            .image_gc(image_gc)
            .reverse(self.reverse)
            .proxy(proxy)
            .routes(informers)
            .clock(clock)
            .rng(rng.split());
        let node = node.start(tasks).await;
        let node = node.with_context(|| format!("failed to start node \"{}\"", self.name))?;
        step.done(&format!("node ready  {} · {} · WASI preview 1, 0.2", node.name(), size_of(node.machine())));
        steps.begin("starting the gateway").done(&format!("gateway  http://{}", gateway.address()));
        Ok(Running { node, gateway })
    }
}

fn size_of(machine: Machine) -> String {
    format!("{} cpu · {:.1} GiB", machine.cpus, bytes_to_gib(machine.memory_bytes))
}

#[expect(clippy::cast_precision_loss, reason = "one decimal is printed")]
fn bytes_to_gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

/// Reads the files about images.
fn image_options(flags: &NodeFlags) -> Result<ImageOptions> {
    let registries = flags.registry_config.as_deref().map(Registries::load).transpose()?.unwrap_or_default();
    let policy = flags.image_policy.as_deref().map(Policy::load).transpose()?.unwrap_or_default();
    Ok(ImageOptions { registry_default: flags.default_registry.clone(), registries, policy })
}

/// Returns the node's name: as given, else the host's as a Kubernetes name.
pub(crate) fn name(flags: &NodeFlags) -> String {
    flags.node_name.clone().unwrap_or_else(host_name)
}

/// Returns the host's name as a Kubernetes name.
pub(crate) fn host_name() -> String {
    node_name_of(&std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default())
}

/// Makes a host name a DNS-1123 subdomain.
fn node_name_of(host: &str) -> String {
    let allowed =
        |letter: char| if letter.is_ascii_alphanumeric() || letter == '.' { letter.to_ascii_lowercase() } else { '-' };
    let name: String = host.trim().chars().map(allowed).collect();
    let name = name.trim_matches(|letter| letter == '-' || letter == '.');
    if name.is_empty() { "wkube".to_owned() } else { name.to_owned() }
}

/// The reverse connection inside one process: a pipe whose other end the API server gets.
pub(crate) struct InProcess {
    server: ApiServer,
    node: String,
}

impl InProcess {
    /// Returns the way from `server` to the node of this name.
    pub(crate) fn new(server: ApiServer, node: &str) -> Arc<Self> {
        Arc::new(Self { server, node: node.to_owned() })
    }
}

impl Reverse for InProcess {
    fn dial(&self) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let (near, far) = tokio::io::duplex(REVERSE_BUFFER_BYTES);
        let (server, node) = (self.server.clone(), self.node.clone());
        Box::pin(async move {
            server.nodes().attach(&node, far).await.map_err(io::Error::other)?;
            Ok(Box::new(near) as Box<dyn Stream>)
        })
    }
}

/// Returns where a node of this process keeps its state inside the data directory.
pub(crate) fn dir_in(data_dir: &Path) -> PathBuf {
    data_dir.join("node")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_becomes_a_node_name() {
        for (host, node) in [("Edge_Box.local\n", "edge-box.local"), ("-x-", "x"), ("", "wkube")] {
            assert_eq!(node_name_of(host), node);
        }
    }
}
