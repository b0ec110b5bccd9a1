//! The reverse connection: requests to a node over a connection that the node made.
//!
//! ```text
//!  node --dials, upgrades--> API server        the node may sit behind NAT; nothing dials it
//!  node (HTTP/2 server) <==requests== Nodes    logs, exec, port-forward, cross-node traffic
//! ```
//! In one process the stream is a tokio duplex; from elsewhere it is what follows an upgrade to [`PROTOCOL`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::{debug, info};
use wkube_base::Tasks;

/// What a node asks to upgrade to: `POST /apis/wkube.dev/v1/nodes/{name}/reverse`, `Upgrade: wkube-reverse`.
pub const PROTOCOL: &str = "wkube-reverse";

/// A node whose machine vanished is noticed within these two together.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// What may wait here of one answer that its client does not read. The connection as a whole has no limit of its own:
/// with one, a few such clients would hold up every other answer of the node.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;
/// A node that is there says so at once.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a request did not reach a node.
#[derive(Debug, thiserror::Error)]
pub enum Unreachable {
    /// The node has no connection to this server.
    #[error("node {node} is not connected to this server")]
    NotConnected {
        /// The node.
        node: String,
    },
    /// The connection broke before an answer came.
    #[error("the connection of node {node} broke")]
    Broken {
        /// The node.
        node: String,
        /// How.
        #[source]
        source: hyper::Error,
    },
    /// The peer does not speak HTTP/2.
    #[error("the connection of node {node} could not be opened within {HANDSHAKE_TIMEOUT:?}")]
    Handshake {
        /// The node.
        node: String,
        /// How; `None` if it was silent.
        #[source]
        source: Option<hyper::Error>,
    },
}

/// The nodes that are connected. Clones share them.
#[derive(Clone)]
pub struct Nodes {
    connections: Arc<Mutex<Connections>>,
    tasks: Tasks,
}

#[derive(Default)]
struct Connections {
    by_node: BTreeMap<String, Connection>,
    /// Tells a connection from the one that replaced it.
    attached: u64,
}

struct Connection {
    number: u64,
    sender: SendRequest<Body>,
    /// Ends the connection when it is replaced.
    _tasks: StopOnDrop,
}

struct StopOnDrop(Tasks);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// A set of its own: its connections end when they break, are replaced, or the process ends.
impl Default for Nodes {
    fn default() -> Self {
        Self::new(&Tasks::new())
    }
}

impl Nodes {
    /// Returns an empty set whose connections end when `tasks` stop.
    pub fn new(tasks: &Tasks) -> Self {
        Self { connections: Arc::default(), tasks: tasks.child() }
    }

    /// Takes over a stream on which the node is the HTTP/2 server, in place of the one before.
    ///
    /// # Errors
    /// `Handshake` if the peer does not answer as an HTTP/2 server.
    pub async fn attach<S>(&self, node: &str, stream: S) -> Result<(), Unreachable>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let failed = |source| Unreachable::Handshake { node: node.to_owned(), source };
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new()).keep_alive_interval(PING_EVERY).keep_alive_timeout(PING_TIMEOUT);
        // An idle connection is watched too, so that a silent node is forgotten before somebody asks it something.
        builder.keep_alive_while_idle(true);
        builder.initial_stream_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
        let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, builder.handshake(TokioIo::new(stream)));
        let (sender, connection) = handshake.await.map_err(|_| failed(None))?.map_err(|source| failed(Some(source)))?;
        let tasks = self.tasks.child();
        let number = {
            let mut connections = self.connections.lock();
            connections.attached += 1;
            let number = connections.attached;
            let kept = Connection { number, sender, _tasks: StopOnDrop(tasks.clone()) };
            connections.by_node.insert(node.to_owned(), kept);
            number
        };
        info!(node, "reverse connection opened");
        let (nodes, node) = (self.clone(), node.to_owned());
        tasks.spawn("reverse-connection", async move {
            match connection.await {
                Ok(()) => info!(node, "reverse connection closed"),
                Err(error) => info!(node, %error, "reverse connection broke"),
            }
            nodes.forget(&node, number);
        });
        Ok(())
    }

    /// Sends a request to a node and returns its answer, whose body may still be coming. Dropping the answer ends it.
    ///
    /// # Errors
    /// `NotConnected` at once if the node has no connection.
    pub async fn request(&self, node: &str, mut request: Request<Body>) -> Result<Response<Incoming>, Unreachable> {
        let found = self.connections.lock().by_node.get(node).map(|connection| connection.sender.clone());
        let mut sender = found.ok_or_else(|| Unreachable::NotConnected { node: node.to_owned() })?;
        // One that came over HTTP/2 says so, and is then refused unless its URI has a scheme and a host.
        *request.version_mut() = Version::default();
        let broken = |source| Unreachable::Broken { node: node.to_owned(), source };
        sender.ready().await.map_err(broken)?;
        sender.send_request(request).await.map_err(broken)
    }

    /// Whether the node has a connection.
    pub fn is_connected(&self, node: &str) -> bool {
        self.connections.lock().by_node.contains_key(node)
    }

    /// Returns the names of the connected nodes in order.
    pub fn connected(&self) -> Vec<String> {
        self.connections.lock().by_node.keys().cloned().collect()
    }

    /// Ends the connection of a node, for example because it was deleted.
    pub fn detach(&self, node: &str) {
        self.connections.lock().by_node.remove(node);
    }

    /// Removes a connection that has ended, unless a new one took its place.
    fn forget(&self, node: &str, number: u64) {
        let mut connections = self.connections.lock();
        if connections.by_node.get(node).is_some_and(|connection| connection.number == number) {
            connections.by_node.remove(node);
            debug!(node, "no reverse connection left");
        }
    }
}

#[cfg(test)]
#[path = "tunnel_tests.rs"]
mod tests;
