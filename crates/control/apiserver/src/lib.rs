//! The Kubernetes API: one generic registry over a table of kinds, behind TLS or in process.

use std::sync::Arc;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

mod access;
mod admission;
mod apiservices;
pub mod audit;
mod bootstrap;
mod call;
mod catalog;
mod conversion;
mod definitions;
mod discovery;
mod encoding;
mod event_expiry;
mod fence;
mod flow;
mod follow;
mod health;
mod legacy_tokens;
mod limits;
mod listen;
mod metrics;
mod metrics_api;
mod negotiate;
mod openapi;
mod openid;
mod pipeline;
mod reconcile;
mod registry;
mod render;
mod respond;
mod role_aggregation;
mod router;
mod server;
mod service;
mod stall;
mod store_backup;
mod streams;
mod sub;
mod table;
mod watch_cache;
mod watched_store;
mod webhook;
mod write_options;

pub mod auth;
mod files;
pub mod keyring;
pub mod kubeconfig;
pub mod oci_registry;
pub mod reach;
pub mod tls;
pub mod tunnel;

pub use respond::{Body, BoxError};
pub use router::Verb;
pub use server::{ApiServer, Flags, Options, StartError};
pub use service::InProcess;

/// Everything that a request may need. Shared by all connections.
pub(crate) struct Api {
    registry: registry::Registry,
    access: access::Access,
    metrics: metrics::Metrics,
    flow: flow::FlowControl,
    /// `None` if nothing is logged.
    audit: Option<Arc<audit::Audit>>,
    /// The registry's store.
    store: Arc<watched_store::WatchedStore>,
    authenticator: auth::Authenticator,
    tokens: Arc<auth::token::Tokens>,
    nodes: tunnel::Nodes,
    openapi: openapi::Documents,
    /// Who serves what this server does not.
    apiservices: apiservices::ApiServices,
    /// What nodes and pods use.
    usage: metrics_api::MetricsApi,
    /// `host:port` as clients reach it.
    advertised: String,
    /// The cluster CA, for nodes that join.
    ca_pem: Bytes,
    /// The built-in image registry; none in memory.
    images: Option<sub::images::Images>,
    /// What has been done of the start.
    started: health::Started,
    /// Cancelled once the server is about to stop.
    draining: CancellationToken,
    /// When the process began.
    began: jiff::Timestamp,
}
