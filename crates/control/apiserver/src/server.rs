//! `ApiServer`: puts the parts together, and the handle that the rest of the process holds.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use wkube_api::{Status, kinds};
use wkube_base::{Clock, Rng, Tasks};
use wkube_store::Store;

use crate::Api;
use crate::access::Access;
use crate::admission::resource_quota;
use crate::apiservices::front_proxy::{self, FrontProxy};
use crate::apiservices::{self, ApiServices};
use crate::audit::{self, Audit};
use crate::auth::static_tokens::{self, StaticTokens};
use crate::auth::token::{Keys, Tokens};
use crate::auth::{Authenticator, User};
use crate::bootstrap::{self, Addresses};
use crate::catalog::Catalog;
use crate::definitions;
use crate::event_expiry;
use crate::flow::{self, FlowControl};
use crate::health::{Hook, Started};
use crate::keyring;
use crate::kubeconfig;
use crate::legacy_tokens;
use crate::limits;
use crate::listen::{self, Front};
use crate::metrics::Metrics;
use crate::metrics_api::MetricsApi;
use crate::oci_registry::{OciRegistry, Scheme};
use crate::openapi::Documents;
use crate::reach::Outside;
use crate::registry::{Registry, StoredObjects};
use crate::role_aggregation;
use crate::service::InProcess;
use crate::sub::images::Images;
use crate::tls::{self, CertificateAuthority, TlsError};
use crate::tunnel::Nodes;
use crate::watched_store::WatchedStore;

/// How to start.
pub struct Options {
    /// Where objects are kept.
    pub store: Arc<dyn Store>,
    /// Where keys, certificates, the admin's kubeconfig and the image registry's blobs are kept.
    pub data_dir: PathBuf,
    /// Where to listen; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Where the built-in image registry listens; `None` for no registry.
    pub registry_listen: Option<SocketAddr>,
    /// Wall time.
    pub clock: Clock,
    /// Chance.
    pub rng: Rng,
    /// More names and addresses by which clients reach this server, for its certificate.
    pub names: Vec<String>,
    /// What few need.
    pub flags: Flags,
}

/// What kube-apiserver has flags for and is off unless somebody asks for it.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--token-auth-file`: static tokens.
    pub token_auth_file: Option<PathBuf>,
    /// `--audit-policy-file` and its companions.
    pub audit: Option<audit::Options>,
    /// `--shutdown-delay-duration`: how long requests are still taken after the server has said that it goes.
    pub shutdown_delay: Duration,
    /// How to get at the keys, where servers share the store; `None` where this one has the store for itself.
    pub sharing: Option<keyring::Sharing>,
}

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Somebody else listens there, or the address is not this machine's.
    #[error("listen on {address}{}; choose another with {flag} ADDR:PORT", if_taken(.source))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The flag of `wkube up` that changes it.
        flag: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The keys and certificates cannot be made or read.
    #[error("prepare the cluster's certificates in {}", .data_dir.display())]
    Tls {
        /// The data directory.
        data_dir: PathBuf,
        /// Why not.
        #[source]
        source: TlsError,
    },
    /// The keys that servers share cannot be had.
    #[error("get the cluster's keys")]
    Keys(#[source] keyring::Error),
    /// The image registry's files cannot be made or read.
    #[error("open the image registry in {}", .data_dir.display())]
    Images {
        /// The data directory.
        data_dir: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The audit log cannot be kept.
    #[error("start the audit log")]
    Audit(#[source] audit::Error),
    /// The file of static tokens cannot be used.
    #[error("read the static tokens")]
    Tokens(#[source] static_tokens::Error),
    /// The objects that every cluster has cannot be made.
    #[error("make the cluster's first objects")]
    Bootstrap(#[source] Status),
}

/// Returns the likeliest reason for a taken address.
fn if_taken(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => ", which another program uses, perhaps another wkube",
        _ => "",
    }
}

/// A running API server. Clones share it. It stops with the `Tasks` that it was started with.
#[derive(Clone)]
pub struct ApiServer {
    api: Arc<Api>,
    address: SocketAddr,
    registry_address: Option<SocketAddr>,
    authority: Option<Arc<CertificateAuthority>>,
    images: Option<Arc<OciRegistry>>,
    shutdown_delay: Duration,
}

impl ApiServer {
    /// Starts listening. When this returns, the API is ready, and the admin's kubeconfig is in the data directory.
    ///
    /// # Errors
    /// Says which part failed and what to do.
    pub async fn start(options: Options, tasks: &Tasks) -> Result<Self, StartError> {
        let Options { store, data_dir, listen, registry_listen, clock, rng, names, flags } = options;
        let static_tokens = flags.token_auth_file.as_deref().map(StaticTokens::read).transpose();
        let static_tokens = static_tokens.map_err(StartError::Tokens)?.unwrap_or_default();
        let audit = flags.audit.as_ref().map(|audit| Audit::start(audit, clock.clone(), tasks)).transpose();
        let audit = audit.map_err(StartError::Audit)?;
        let listener = bind(listen, "--api").await?;
        let images_listener = match registry_listen {
            Some(address) => Some(bind(address, "--registry").await?),
            None => None,
        };
        let address = listener.local_addr().unwrap_or(listen);
        let registry_address = images_listener.as_ref().and_then(|listener| listener.local_addr().ok());
        if let Some(sharing) = &flags.sharing {
            keyring::share(&*store, &data_dir, &clock, sharing).await.map_err(StartError::Keys)?;
        }
        let tls_error = |source| StartError::Tls { data_dir: data_dir.clone(), source };
        let authority = Arc::new(CertificateAuthority::load_or_create(&data_dir, clock.clone()).map_err(tls_error)?);
        let serving = authority.serving(&certificate_names(address, names)).map_err(tls_error)?;
        let config = tls::server_config(&serving, authority.ca_pem(), tls::Clients::MayIdentify).map_err(tls_error)?;
        let images = match registry_address {
            Some(_) => {
                let opened = OciRegistry::open(&data_dir, clock.clone());
                Some(opened.map_err(|source| StartError::Images { data_dir: data_dir.clone(), source })?)
            }
            None => None,
        };
        let keys = Keys::load_or_create(&data_dir).map_err(tls_error)?;
        let front_proxy = FrontProxy::load_or_create(&data_dir, &clock).map_err(tls_error)?;
        let api = Arc::new(Api {
            ca_pem: authority.ca_pem().to_owned().into(),
            advertised: bootstrap::reachable(address).to_string(),
            images: images.clone().map(Images::new),
            audit,
            ..assemble(store, keys, static_tokens, clock, rng, tasks, Outside::Elsewhere)
        });
        api.apiservices.identify(front_proxy.identity);
        bootstrap::run(&api.registry, Addresses { api: address, registry: registry_address })
            .await
            .map_err(StartError::Bootstrap)?;
        let trust = front_proxy::config_map(authority.ca_pem(), &front_proxy.ca_pem);
        apiservices::publish(&api.registry, Some(trust)).await.map_err(StartError::Bootstrap)?;
        definitions::start(&api, tasks);
        apiservices::start(&api, tasks);
        resource_quota::start(&api, tasks);
        flow::start(&api, tasks);
        legacy_tokens::start(&api, tasks);
        role_aggregation::settle(&api).await;
        role_aggregation::start(&api, tasks);
        api.started.done(&STARTED);
        let front = Front::new(api.clone());
        listen::serve_tls(listener, config, front, tasks);
        if let (Some(listener), Some(images)) = (images_listener, &images) {
            listen::serve_plain(listener, images.router(Scheme::Http), tasks);
        }
        let shutdown_delay = flags.shutdown_delay;
        let authority_kept = Some(authority.clone());
        let server = Self { api, address, registry_address, authority: authority_kept, images, shutdown_delay };
        kubeconfig::write_admin(&data_dir.join("kubeconfig"), &server.url(), &authority).map_err(tls_error)?;
        Ok(server)
    }

    /// Starts a server without network and files, for tests and simulations.
    pub async fn in_memory(store: Arc<dyn Store>, clock: Clock, rng: Rng, tasks: &Tasks) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], 6443));
        let api =
            Arc::new(assemble(store, Keys::ephemeral(), StaticTokens::default(), clock, rng, tasks, Outside::Here));
        let first = bootstrap::run(&api.registry, Addresses { api: address, registry: None }).await;
        first.expect("a store in memory takes the first objects");
        apiservices::publish(&api.registry, None).await.expect("a store in memory takes more objects");
        definitions::start(&api, tasks);
        apiservices::start(&api, tasks);
        resource_quota::start(&api, tasks);
        legacy_tokens::start(&api, tasks);
        role_aggregation::settle(&api).await;
        role_aggregation::start(&api, tasks);
        api.started.done(&STARTED);
        Self { api, address, registry_address: None, authority: None, images: None, shutdown_delay: Duration::ZERO }
    }

    /// Returns the API as a service in this process, with an identity and without TLS.
    pub fn in_process(&self, user: User) -> InProcess {
        InProcess::new(self.api.clone(), user)
    }

    /// Says on `/readyz` that the server goes, so that nobody sends it anything new, and completes when it may stop
    /// listening (`--shutdown-delay-duration`). Saying so again takes no more time.
    pub async fn drain(&self) {
        if !self.api.draining.is_cancelled() {
            self.api.draining.cancel();
            tokio::time::sleep(self.shutdown_delay).await;
        }
    }

    /// Returns the connections of the nodes that dialled in.
    pub fn nodes(&self) -> &Nodes {
        &self.api.nodes
    }

    /// Returns who signs the cluster's certificates; `None` for a server in memory.
    pub fn certificate_authority(&self) -> Option<&Arc<CertificateAuthority>> {
        self.authority.as_ref()
    }

    /// Returns the built-in image registry; `None` if it was not asked for.
    pub fn images(&self) -> Option<&Arc<OciRegistry>> {
        self.images.as_ref()
    }

    /// Returns where the API listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns where the image registry listens.
    pub fn registry_address(&self) -> Option<SocketAddr> {
        self.registry_address
    }

    /// Returns the URL by which clients on this machine reach the API.
    pub fn url(&self) -> String {
        format!("https://{}", bootstrap::reachable(self.address))
    }
}

fn assemble(
    store: Arc<dyn Store>,
    keys: Keys,
    static_tokens: StaticTokens,
    clock: Clock,
    rng: Rng,
    tasks: &Tasks,
    outside: Outside,
) -> Api {
    let catalog = Catalog::new(kinds::builtin().iter().cloned());
    let store = Arc::new(WatchedStore::new(store));
    event_expiry::start(store.clone(), clock.clone(), tasks);
    let objects = Arc::new(StoredObjects::new(store.clone(), &catalog));
    let tokens = Arc::new(Tokens::new(keys, objects.clone(), clock.clone()));
    let nodes = Nodes::new(tasks);
    Api {
        authenticator: Authenticator::new(objects, clock.clone())
            .with_tokens(tokens.clone())
            .with_static(static_tokens),
        began: clock.now(),
        tokens,
        registry: Registry::new(store.clone(), catalog, &nodes, clock, rng, tasks.clone(), outside),
        access: Access::default(),
        metrics: Metrics::default(),
        flow: FlowControl::new(limits::SEATS),
        audit: None,
        store: store.clone(),
        nodes,
        openapi: Documents::default(),
        apiservices: ApiServices::default(),
        usage: MetricsApi::default(),
        advertised: "127.0.0.1:6443".to_owned(),
        ca_pem: bytes::Bytes::new(),
        images: None,
        started: Started::default(),
        draining: CancellationToken::new(),
    }
}

/// What has been done when the listener opens; the flow schemas follow by themselves.
const STARTED: [Hook; 6] =
    [Hook::Definitions, Hook::Objects, Hook::FlowConsumer, Hook::FlowProducer, Hook::Roles, Hook::PriorityClasses];

async fn bind(address: SocketAddr, flag: &'static str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, flag, source })
}

/// The names under which guests and people reach the API.
fn certificate_names(address: SocketAddr, more: Vec<String>) -> Vec<String> {
    let well_known = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "localhost",
        "127.0.0.1",
        "::1",
        crate::admission::service_network::API_ADDRESS,
    ];
    let mut names: Vec<String> = well_known.map(str::to_owned).into();
    names.push(bootstrap::reachable(address).ip().to_string());
    names.extend(more);
    names.sort();
    names.dedup();
    names
}
