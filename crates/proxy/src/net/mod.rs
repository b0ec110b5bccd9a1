//! The network that pods are on: pipes inside this process, and ways out of it. No packet, no kernel socket between the
//! pods of one node.
//!
//! ```text
//!  connect(to) ── route ─┬─ own address, loopback ────────────┐
//!    a Service's address ├─ a ready endpoint ─┬─ on this node ┴─> the listener's queue, or an HTTP guest behind hyper
//!       a pod's address ─┤                    └─ on another ───> `Remote`: through the API server, to that node
//!                        ├─ default/kubernetes ────────────────> the API server
//!                        └─ anything else ── does the pod grant it? ─> a socket of the kernel
//!  resolve(name) ── hosts ─ search list ─ names ── outside, if granted
//! ```
//! `ports`, `route` and `names` decide and are pure; `pod` and `udp` are the sockets, `web` is where bytes and HTTP meet,
//! `links` is how datagrams leave the node.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};

pub(crate) mod datagram;
pub(crate) mod links;
pub mod names;
pub mod outside;
pub mod pod;
pub mod ports;
mod room;
pub mod route;
pub mod udp;
pub mod web;

pub use self::names::Names;
pub use self::outside::Outside;
pub use self::pod::{Identity, Incoming, PodNet, Presence, TcpPort};
pub use self::udp::UdpPort;

/// What may be on its way in one direction of a connection.
pub(crate) const PIPE_BYTES: usize = 64 * 1024;

/// A stream of bytes in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// An open connection.
pub struct Connection {
    /// Our end.
    pub local: SocketAddr,
    /// The other's end, as it is known to us: a client that connected to a Service sees the Service's address.
    pub remote: SocketAddr,
    /// The bytes.
    pub stream: Box<dyn Stream>,
}

/// Why the network refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NetError {
    /// The pod may not do this.
    #[error("this pod may not go there; annotation wkube.dev/outside says where it may")]
    Denied,
    /// The address is not one of the pod's.
    #[error("the address is not one of this pod's")]
    NotBindable,
    /// Somebody in the pod has the port.
    #[error("the port is taken in this pod")]
    InUse,
    /// Nobody listens there, or too many wait already.
    #[error("connection refused")]
    Refused,
    /// There is no way to that address.
    #[error("no route to host")]
    Unreachable,
    /// Nothing answered in time.
    #[error("i/o timeout")]
    TimedOut,
    /// The name is known nowhere.
    #[error("no such host")]
    NoName,
    /// The name may exist, but who knows it did not answer.
    #[error("the name cannot be looked up at the moment")]
    NameUnavailable,
    /// More than one datagram can carry.
    #[error("the datagram is too large")]
    TooLarge,
    /// All ports are taken.
    #[error("this pod has no free ports")]
    TooMany,
}
