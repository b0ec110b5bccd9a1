//! `Reach`: the one port through which the API server opens connections into the cluster, to nodes, pods and services.
//!
//! ```text
//!  webhooks, APIServices, conversion, port-forward, proxies
//!        │ dial(Target, port)
//!        v
//!  Service ─ endpoints ─> a ready pod ─ its node ─> POST /portforward on the node's reverse connection
//!                     └─> an address outside the cluster (a Service without pods) ─> TCP, but never to this machine
//! ```

use std::time::Duration;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use wkube_api::{ObjectKey, Status};

use crate::tunnel::Unreachable;

mod endpoints;
mod outside;
mod through_nodes;

pub(crate) use endpoints::{Destination, PortRef, candidates};
pub(crate) use outside::Outside;
pub(crate) use through_nodes::ThroughNodes;

/// Bytes both ways. Dropping it closes the connection.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Who is dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The HTTP API of a node, whatever the port.
    Node(String),
    /// A pod, by one of the ports that it answers on.
    Pod(ObjectKey),
    /// One of the ready endpoints of a Service, by a port of the Service.
    Service(ObjectKey),
    /// The same, but a pod for sure: endpoints written by hand may be anybody.
    PodsOf(ObjectKey),
}

impl Target {
    /// Returns the pod of this name.
    pub fn pod(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self::Pod(ObjectKey::new(namespace, name))
    }

    /// Returns the Service of this name.
    pub fn service(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self::Service(ObjectKey::new(namespace, name))
    }
}

/// A port: opens connections into the cluster.
pub trait Reach: Send + Sync + 'static {
    /// Returns a stream on which the target has the other end. Each call may choose another endpoint of a Service.
    fn dial(&self, target: Target, port: u16) -> BoxFuture<'static, Result<Box<dyn Stream>, Error>>;
}

/// Why a target was not reached.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such pod or Service.
    #[error("{kind} \"{}\" not found in namespace \"{}\"", .key.name, .key.namespace)]
    NotFound {
        /// `pod` or `service`.
        kind: &'static str,
        /// Which one.
        key: ObjectKey,
    },
    /// The pod is on no node yet.
    #[error("pod \"{}\" is not running on a node yet", .0.name)]
    NotScheduled(ObjectKey),
    /// The Service has no such port.
    #[error("no service port {port} found for service \"{}\"", .service.name)]
    NoPort {
        /// The Service.
        service: ObjectKey,
        /// What was asked for.
        port: String,
    },
    /// No endpoint of the Service is ready.
    #[error("no endpoints available for service \"{}\"", .0.name)]
    NoEndpoints(ObjectKey),
    /// The node of the target cannot be asked.
    #[error("reach the node")]
    Node(#[source] Unreachable),
    /// The node says no, in its words: nothing listens there.
    #[error("{0}")]
    Refused(String),
    /// Neither yes nor no.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// This machine, its link or nobody in particular: nothing for the outside.
    #[error("address not allowed: {host}")]
    NotAllowed {
        /// A name or an address.
        host: String,
    },
    /// An address outside the cluster does not answer.
    #[error("connect to {address}")]
    Connect {
        /// `host:port`.
        address: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// Whether the target was not asked at all, so that trying again can do no harm.
    pub fn is_unasked(&self) -> bool {
        !matches!(self, Self::Refused(_))
    }
}

/// All of these are 503 but for what does not exist: the client may try again (`registry/core/service/storage/storage.go`).
impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let text = match &error {
            Error::Node(source) => source.to_string(),
            Error::Connect { source, .. } => format!("{error}: {source}"),
            _ => error.to_string(),
        };
        match error {
            Error::NotFound { .. } => Self::new(404, "NotFound", text),
            _ => Self::unavailable(text),
        }
    }
}
