//! Sockets of a pod in its own process: the network is in the node's process, and the node alone decides. Guests reach it
//! by calls over the connection that carries their requests.
//!
//! ```text
//!  worker process                                          node process
//!   guests.rs, ports.rs  a Network                          node.rs  the pod's Network
//!     bind, listen, close ══ one call, lines in order ═══════> a table of the pod's ports
//!     connect, accept     ══ a call for each connection ═════> its two bodies are the bytes
//!     datagrams           ══ a call for each UDP port ═══════> its two bodies are packets
//!     resolve             ══ a call ═════════════════════════>
//! ```
//! Back-pressure is that of HTTP/2: who does not read has a window that fills. What is said is in `words`, pure.

mod carried;
mod guests;
mod node;
mod ports;
mod words;

#[cfg(test)]
mod tests;

pub(super) use self::guests::NodeNetwork;
pub(super) use self::node::Ports;
pub(super) use self::words::SOCKET;
