//! The port to the network that guests are on: sockets here are calls, and where they lead is the host's decision.
//!
//! The words are those of sockets; nothing in here is one of the kernel's. A host gives every pod a [`Network`] of its
//! own, which all of its containers share, so that loopback and the port numbers are the pod's.
//!
//! ```text
//!  p2/, p3/, p1/     what guests call: wasi:sockets 0.2 and 0.3, the sockets of preview 1
//!  tcp, udp, lookup  what the calls do, whoever calls: states, error codes; nothing in there waits
//!  stream            the bytes of a connection between a guest that waits for readiness and a network that takes what fits
//!  sockets           how many an instance may have
//! ```
//!
//! Waiting is always a future of the guest's own task, so a guest that waits holds no thread, and a kill ends the wait.

mod address;
mod code;
#[cfg(test)]
#[path = "../../tests/guests/network.rs"]
#[expect(dead_code, reason = "the integration tests use the rest of it")]
mod fake;
mod lookup;
mod options;
pub(crate) mod p1;
pub(crate) mod p2;
pub(crate) mod p3;
pub(crate) mod sockets;
mod stream;
mod tcp;
mod udp;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

/// A port: the network of one pod, as its containers see it.
pub trait Network: Send + Sync {
    /// Takes a TCP port. An unspecified address (`0.0.0.0`, `::`) stands for all that the pod has, its loopback among
    /// them; port 0 for any that is free. It is free again when the [`TcpPort`] and all that came of it are dropped.
    fn bind_tcp(&self, local: SocketAddr) -> Result<Box<dyn TcpPort>, NetError>;

    /// Takes a UDP port, in the same way.
    fn bind_udp(&self, local: SocketAddr) -> Result<Box<dyn UdpPort>, NetError>;

    /// Looks a name up, as the pod's `resolv.conf` would have it searched. Addresses in text are answered as they are.
    fn resolve(&self, name: &str) -> BoxFuture<'static, Result<Vec<IpAddr>, NetError>>;
}

/// A TCP port that was taken: for listening or for one connection.
pub trait TcpPort: Send + Sync {
    /// The address that was bound, its port never 0.
    fn local(&self) -> SocketAddr;

    /// Begins to listen; at most `backlog` connections wait to be accepted, later ones are refused.
    fn listen(&self, backlog: usize) -> Result<Box<dyn Incoming>, NetError>;

    /// Connects to `remote`: a pod, a Service, or what the host lets the guest reach outside.
    fn connect(&self, remote: SocketAddr) -> BoxFuture<'static, Result<Connection, NetError>>;
}

/// The connections to a listening port, in the order in which they came.
pub trait Incoming: Send {
    /// Returns the next one. Fails only if the network itself is gone.
    fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<Result<Connection, NetError>>;
}

/// An open connection. Dropping `stream` ends both directions; shutting it down ends ours.
pub struct Connection {
    /// Our end.
    pub local: SocketAddr,
    /// The other's end, as it is known to us: a client that connected to a Service sees the Service's address.
    pub remote: SocketAddr,
    /// The bytes. Bounded: a writer waits for its reader.
    pub stream: Box<dyn Stream>,
}

/// A stream of bytes in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A UDP port that was taken.
pub trait UdpPort: Send + Sync {
    /// The address that was bound, its port never 0.
    fn local(&self) -> SocketAddr;

    /// Sends one datagram of at most 65,507 bytes. As with any UDP, `Ok` does not mean that it arrived.
    fn poll_send(&self, context: &mut Context<'_>, datagram: &Bytes, to: SocketAddr) -> Poll<Result<(), NetError>>;

    /// Returns the next datagram and who sent it. Whoever asked last is woken; guests ask one after the other.
    fn poll_receive(&self, context: &mut Context<'_>) -> Poll<Result<(Bytes, SocketAddr), NetError>>;
}

/// Why the network refused: the kinds that `wasi:sockets` has a code for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NetError {
    /// The pod may not do this.
    #[error("this pod may not do that on the network")]
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
    #[error("no route to that address")]
    Unreachable,
    /// Nothing answered in time.
    #[error("the connection timed out")]
    TimedOut,
    /// The other side ended the connection.
    #[error("connection reset")]
    Reset,
    /// The name is known nowhere.
    #[error("no such name")]
    NoName,
    /// The name may exist, but who knows it did not answer.
    #[error("the name cannot be looked up at the moment")]
    NameUnavailable,
    /// More than one datagram can carry.
    #[error("the datagram is too large")]
    TooLarge,
    /// The pod has as many sockets as it may have.
    #[error("this pod has too many sockets")]
    TooMany,
    /// Anything else, such as a socket of a kind that the host does not offer.
    #[error("not supported by this network")]
    Unsupported,
}

impl From<io::ErrorKind> for NetError {
    fn from(kind: io::ErrorKind) -> Self {
        match kind {
            io::ErrorKind::PermissionDenied => Self::Denied,
            io::ErrorKind::AddrNotAvailable => Self::NotBindable,
            io::ErrorKind::AddrInUse => Self::InUse,
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::TimedOut => Self::TimedOut,
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
                Self::Reset
            }
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Self::Unreachable,
            _ => Self::Unsupported,
        }
    }
}
