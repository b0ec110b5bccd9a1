//! What the composition root gives to the controllers, and starting them all.

use std::sync::Arc;
use std::time::Duration;

use wkube_base::{Clock, Rng, Tasks};
use wkube_client::{Client, Informers, Recorder};

/// What the controllers stand on. They share the informers with every other component of the process.
#[derive(Clone)]
pub struct Context {
    /// The way to the API.
    pub client: Client,
    /// The caches of this process.
    pub informers: Informers,
    /// Wall time.
    pub clock: Clock,
    /// Chance.
    pub rng: Rng,
    /// The certificate of the cluster's CA, published to every namespace.
    pub ca_pem: String,
    /// Who signs the certificates of nodes.
    pub signer: Arc<dyn Signer>,
}

/// Signs certificate requests with the cluster's CA.
pub trait Signer: Send + Sync {
    /// Reads who a PEM request (PKCS #10) asks a certificate for.
    ///
    /// # Errors
    /// If it is no request, or its signature does not fit its key.
    fn subject(&self, request_pem: &str) -> Result<Subject, SignError>;

    /// Returns the PEM certificate for a PEM request, for TLS clients only, valid for `ttl`.
    ///
    /// # Errors
    /// If the request cannot be signed.
    fn sign_client(&self, request_pem: &str, ttl: Duration) -> Result<String, SignError>;
}

/// Whom a certificate is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// The common name: the user.
    pub common_name: String,
    /// The organizations: the groups.
    pub organizations: Vec<String>,
    /// How many names and addresses the request wants besides (subject alternative names).
    pub alternative_names: usize,
}

/// Why a certificate was not signed, as a sentence for the requester.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SignError(pub String);

impl Context {
    /// Returns a recorder of events as one controller.
    pub(crate) fn recorder(&self, component: &str, tasks: &Tasks) -> Recorder {
        Recorder::new(&self.client, &self.clock, component, "", tasks)
    }
}

/// Starts every controller; they stop with `tasks`.
pub fn start(context: &Context, tasks: &Tasks) {
    for start in [
        crate::deployment::start,
        crate::replica_set::start,
        crate::replica_set::start_replication,
        crate::daemon_set::start,
        crate::stateful_set::start,
        crate::disruption::start,
        crate::endpoint_slice::start,
        crate::endpoint_slice_mirroring::start,
        crate::job::start,
        crate::cron_job::start,
        crate::service_account::start,
        crate::namespace::start,
        crate::garbage_collector::start,
        crate::node_lifecycle::start,
        crate::certificates::start,
        crate::pod_gc::start,
        crate::storage_protection::start,
    ] {
        start(context, tasks);
    }
}
