//! The control plane, assembled: API server, scheduler and controllers in one process, joined by API objects only.

mod signer;

use std::sync::Arc;

use wkube_api::ObjectKey;
use wkube_apiserver::auth::User;
pub use wkube_apiserver::{ApiServer, Flags, Options, StartError, audit, keyring};
use wkube_base::{Clock, Rng, Tasks};
use wkube_client::election::Candidate;
use wkube_client::{Client, Informers};
use wkube_controllers::Context;

/// The group that may do everything; `kubernetes-admin` is in it.
const MASTERS: &str = "system:masters";
/// The group of nodes (`kubernetes/pkg/apis/rbac`, `NodesGroup`).
const NODES: &str = "system:nodes";
/// What servers that share a store compete for. The scheduler goes with the controllers, whose caches it shares.
const LEASE: &str = "kube-controller-manager";
/// Components are known by name.
const NO_GROUPS: [&str; 0] = [];

/// A running control plane. Clones share it.
#[derive(Clone)]
pub struct Control {
    server: ApiServer,
    components: Tasks,
}

impl Control {
    /// Starts the API server, then the scheduler and the controllers on top of it.
    ///
    /// # Errors
    /// If the API server cannot start.
    pub async fn start(options: Options, tasks: &Tasks) -> Result<Self, StartError> {
        let (clock, rng) = (options.clock.clone(), options.rng.split());
        let server = ApiServer::start(options, tasks).await?;
        let components = tasks.child();
        start_components(&server, &clock, &rng, &components);
        Ok(Self { server, components })
    }

    /// Starts the API server, and the scheduler and the controllers whenever this server is elected among all that share
    /// its store. `identity` is different from all others'.
    ///
    /// # Errors
    /// If the API server cannot start.
    pub async fn start_elected(options: Options, identity: String, tasks: &Tasks) -> Result<Self, StartError> {
        let (clock, rng) = (options.clock.clone(), options.rng.split());
        let server = ApiServer::start(options, tasks).await?;
        let components = tasks.child();
        elect(&server, identity, &clock, &rng, &components);
        Ok(Self { server, components })
    }

    /// Returns the API server.
    pub fn server(&self) -> &ApiServer {
        &self.server
    }

    /// Returns a client of this process that may do everything.
    pub fn admin(&self) -> Client {
        client_as(&self.server, "kubernetes-admin", &[MASTERS])
    }

    /// Returns a client of this process with the rights of the node of this name.
    pub fn node(&self, name: &str) -> Client {
        client_as(&self.server, &format!("system:node:{name}"), &[NODES])
    }

    /// Stops the scheduler and the controllers, so that nothing acts on the cluster while its nodes shut down.
    pub fn stop_components(&self) {
        self.components.cancel();
    }
}

/// Starts the scheduler and the controllers on an API server of this process whenever it is elected. What they write
/// after their term, because they were paused say, is refused.
pub fn elect(server: &ApiServer, identity: String, clock: &Clock, rng: &Rng, tasks: &Tasks) {
    let candidate = Candidate {
        client: client_as(server, "system:kube-controller-manager", &NO_GROUPS),
        lease: ObjectKey::new("kube-system", LEASE),
        identity,
        clock: clock.clone(),
        rng: rng.split(),
    };
    let (server, clock, rng) = (server.clone(), clock.clone(), rng.split());
    candidate.run(tasks, move |term, tasks| {
        let connect = |user| Client::new(server.in_process(user)).in_term(term);
        start_components_through(&server, &connect, &clock, &rng.split(), tasks);
    });
}

/// Starts the scheduler and the controllers on an API server of this process.
pub fn start_components(server: &ApiServer, clock: &Clock, rng: &Rng, tasks: &Tasks) {
    start_components_through(server, &|user| Client::new(server.in_process(user)), clock, rng, tasks);
}

/// Starts them with clients that `connect` makes, such as ones that lose a request now and then.
pub fn start_components_through(
    server: &ApiServer,
    connect: &dyn Fn(User) -> Client,
    clock: &Clock,
    rng: &Rng,
    tasks: &Tasks,
) {
    let named = |user: &str| connect(User::known(user, NO_GROUPS)).named(user);
    let scheduler = named("system:kube-scheduler");
    let controllers = named("system:kube-controller-manager");
    // One watch per kind serves them all.
    let informers = Informers::new(&controllers, rng, tasks);
    wkube_scheduler::start(scheduler, &informers, clock.clone(), rng.split(), tasks);
    let context = Context {
        client: controllers,
        informers,
        clock: clock.clone(),
        rng: rng.split(),
        ca_pem: server.certificate_authority().map(|authority| authority.ca_pem().to_owned()).unwrap_or_default(),
        signer: Arc::new(signer::ClusterSigner::new(server.clone())),
    };
    wkube_controllers::start(&context, tasks);
}

fn client_as(server: &ApiServer, user: &str, groups: &[&str]) -> Client {
    Client::over(server.in_process(User::known(user, groups.iter().copied()))).named(user)
}
