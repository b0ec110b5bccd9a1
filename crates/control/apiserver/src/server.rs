//! `ApiServer`: starts the parts, listens, stops.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use wkube_api::kinds;
use wkube_base::{Clock, Rng, Tasks};
use wkube_store::Store;

use crate::auth::User;
use crate::catalog::Catalog;
use crate::registry::Registry;
use crate::service::InProcess;
use crate::Api;
use crate::bootstrap::{self, Addresses};

/// How to start.
pub struct Options {
    /// Where objects are kept.
    pub store: Arc<dyn Store>,
    /// Where keys, certificates and the registry's blobs are kept.
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
}

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Somebody else listens there.
    #[error("listen on {address}: choose another address with {flag}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The flag that changes it.
        flag: &'static str,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

/// A running API server. Clones share it.
#[derive(Clone)]
pub struct ApiServer {
    api: Arc<Api>,
}

impl ApiServer {
    /// Starts a server without network and files, for tests and simulations.
    pub async fn in_memory(store: Arc<dyn Store>, clock: Clock, rng: Rng, tasks: &Tasks) -> Self {
        let catalog = Catalog::new(kinds::builtin().iter().cloned());
        let registry = Registry::new(store, catalog, clock, rng, tasks.clone());
        let api = Api {
            registry,
            access: crate::access::Access::default(),
            metrics: crate::metrics::Metrics::default(),
            advertised: "127.0.0.1:6443".to_owned(),
            ca_pem: Bytes::new(),
            bootstrapped: OnceLock::new(),
        };
        let listen = SocketAddr::from(([127, 0, 0, 1], 6443));
        let addresses = Addresses { api: listen, registry: None };
        bootstrap::run(&api.registry, addresses).await.expect("an empty store in memory takes the first objects");
        let _ = api.bootstrapped.set(());
        Self { api: Arc::new(api) }
    }

    /// Returns the API as a service in this process, with an identity and without TLS.
    pub fn in_process(&self, user: User) -> InProcess {
        InProcess::new(self.api.clone(), user)
    }
}
