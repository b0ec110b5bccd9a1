//! One pod on the network: the ports that it took, who listens on them, and its connections.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use wkube_base::Tasks;

use super::names::{Answer, Names};
use super::outside::{self, Outside};
use super::ports::{PortSpace, hears};
use super::route::{View, Way, way};
use super::udp::{self, UdpPort};
use super::{Connection, NetError, PIPE_BYTES, Stream};
use crate::http::Proxy;
use crate::local::LocalPods;
use crate::table::Protocol;

/// How many connections may wait to be accepted, whatever the guest asks for (`net.core.somaxconn` of Linux).
const BACKLOG_MAX: usize = 4_096;
/// How many aliases one name may lead through.
const ALIASES_MAX: usize = 8;

/// Who a pod is on the network.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its address.
    pub ip: IpAddr,
    /// How it looks names up.
    pub names: Names,
    /// What of the outside it may reach.
    pub outside: Outside,
}

/// The network of one pod, shared by its containers. It is on the network as long as somebody holds it.
#[derive(Clone)]
pub struct PodNet(Arc<Inner>);

/// A pod that may have left.
#[derive(Clone)]
pub struct Presence(Weak<Inner>);

pub(super) struct Inner {
    pub(super) identity: Identity,
    pub(super) proxy: Proxy,
    pub(super) tasks: Tasks,
    tcp: Mutex<Tcp>,
    pub(super) udp: Mutex<udp::Sockets>,
}

struct Tcp {
    ports: PortSpace,
    /// Who listens, by port and address.
    listeners: BTreeMap<(u16, IpAddr), mpsc::Sender<Connection>>,
}

/// A TCP port that was taken.
pub struct TcpPort(Arc<Claim>);

/// A port as long as anything of it is used.
struct Claim {
    pod: Arc<Inner>,
    local: SocketAddr,
}

/// The connections to a listening port.
pub struct Incoming {
    claim: Arc<Claim>,
    queue: mpsc::Receiver<Connection>,
}

/// A connection that keeps its own port from being taken again.
struct Held {
    stream: Box<dyn Stream>,
    _claim: Arc<Claim>,
}

impl PodNet {
    /// Brings a pod onto the network of `proxy`. `tasks` serve the HTTP guests that it connects to.
    pub fn join(proxy: Proxy, identity: Identity, tasks: &Tasks) -> Self {
        let (ip, local) = (identity.ip, proxy.local().clone());
        let tcp = Mutex::new(Tcp { ports: PortSpace::new(ip), listeners: BTreeMap::new() });
        let udp = Mutex::new(udp::Sockets::new(ip));
        let inner = Arc::new(Inner { identity, proxy, tasks: tasks.clone(), tcp, udp });
        local.enter(ip, Presence(Arc::downgrade(&inner)));
        Self(inner)
    }

    /// Returns a hold on it that does not keep it.
    pub fn presence(&self) -> Presence {
        Presence(Arc::downgrade(&self.0))
    }

    /// Takes a TCP port.
    ///
    /// # Errors
    /// As [`PortSpace::take`].
    pub fn bind_tcp(&self, local: SocketAddr) -> Result<TcpPort, NetError> {
        let local = self.0.tcp.lock().ports.take(local)?;
        Ok(TcpPort(Arc::new(Claim { pod: Arc::clone(&self.0), local })))
    }

    /// Takes a UDP port.
    ///
    /// # Errors
    /// As [`PortSpace::take`].
    pub fn bind_udp(&self, local: SocketAddr) -> Result<UdpPort, NetError> {
        UdpPort::bind(&self.0, local)
    }

    /// Looks a name up as the pod does.
    ///
    /// # Errors
    /// `NoName` if it means nothing.
    pub async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, NetError> {
        if let Ok(ip) = name.parse() {
            return Ok(vec![ip]);
        }
        let names = &self.0.identity.names;
        if let Some(found) = names.hosts(name) {
            return Ok(found.to_vec());
        }
        for candidate in names.candidates(name) {
            match self.meaning(candidate).await {
                Err(NetError::NoName) => {}
                found => return found,
            }
        }
        Err(NetError::NoName)
    }

    /// Says what a full name means, through its aliases.
    async fn meaning(&self, mut name: String) -> Result<Vec<IpAddr>, NetError> {
        let Identity { names, outside, .. } = &self.0.identity;
        for _ in 0..ALIASES_MAX {
            match names.answer(&self.0.proxy.table(), &name) {
                Answer::Addresses(found) => return Ok(found),
                Answer::NoName => return Err(NetError::NoName),
                Answer::Elsewhere => return outside.lookup(&name).await,
                Answer::Alias(other) => name = other,
            }
        }
        Err(NetError::NoName)
    }
}

impl TcpPort {
    /// Returns the address that was bound.
    pub fn local(&self) -> SocketAddr {
        self.0.local
    }

    /// Begins to listen.
    ///
    /// # Errors
    /// `InUse` if it does already.
    pub fn listen(&self, backlog: usize) -> Result<Incoming, NetError> {
        let (sender, queue) = mpsc::channel(backlog.clamp(1, BACKLOG_MAX));
        let mut tcp = self.0.pod.tcp.lock();
        let listeners = &mut tcp.listeners;
        let key = (self.0.local.port(), self.0.local.ip());
        if listeners.contains_key(&key) {
            return Err(NetError::InUse);
        }
        listeners.insert(key, sender);
        Ok(Incoming { claim: Arc::clone(&self.0), queue })
    }

    /// Connects to wherever `to` leads.
    pub fn connect(&self, to: SocketAddr) -> impl Future<Output = Result<Connection, NetError>> + Send + 'static {
        let claim = Arc::clone(&self.0);
        async move {
            let local = claim.towards(to);
            let stream = claim.pod.dial(local, to).await?;
            Ok(Connection { local, remote: to, stream: Box::new(Held { stream, _claim: claim }) })
        }
    }
}

impl Claim {
    /// Returns the address that the other side sees.
    fn towards(&self, to: SocketAddr) -> SocketAddr {
        let ip = match self.local.ip() {
            ip if !ip.is_unspecified() => ip,
            _ if to.ip().is_loopback() => to.ip(),
            _ => self.pod.identity.ip,
        };
        SocketAddr::new(ip, self.local.port())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.pod.tcp.lock().ports.release(self.local);
    }
}

impl Incoming {
    /// Returns the next connection. There is always a next one: the port is open as long as this is.
    pub fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<Result<Connection, NetError>> {
        Poll::Ready(ready!(self.queue.poll_recv(context)).ok_or(NetError::Unreachable))
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        let local = self.claim.local;
        self.claim.pod.tcp.lock().listeners.remove(&(local.port(), local.ip()));
    }
}

impl Inner {
    async fn dial(&self, from: SocketAddr, to: SocketAddr) -> Result<Box<dyn Stream>, NetError> {
        let local = self.proxy.local();
        match self.way(to, Protocol::Tcp)? {
            // An HTTP guest of the same pod answers on every address that the pod has.
            Way::Own => match self.offer(from, to) {
                Err(NetError::Refused) => local.serve(self.identity.ip, to.port(), &self.tasks),
                offered => offered.map(|stream| Box::new(stream) as Box<dyn Stream>),
            },
            Way::Here(to) => local.dial(from, to, &self.tasks),
            Way::There(to) => self.proxy.remote().connect(from, to).await,
            Way::Server(servers) => {
                let mut latest = NetError::Refused;
                for server in servers {
                    match outside::connect(server).await {
                        Ok(stream) => return Ok(stream),
                        Err(error) => latest = error,
                    }
                }
                Err(latest)
            }
            Way::Outside(to) => self.identity.outside.connect(to).await,
        }
    }

    pub(super) fn way(&self, to: SocketAddr, protocol: Protocol) -> Result<Way, NetError> {
        let local: &LocalPods = self.proxy.local();
        way(
            &View {
                pod: self.identity.ip,
                table: &self.proxy.table(),
                is_here: &|ip| local.has(ip),
                is_our_node: &|node| local.is_node(node),
            },
            to,
            protocol,
        )
    }

    /// Puts a connection into the queue of whoever listens at `to`, and returns the other end.
    fn offer(&self, from: SocketAddr, to: SocketAddr) -> Result<DuplexStream, NetError> {
        let listener = self.listener(to).ok_or(NetError::Refused)?;
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        let connection = Connection { local: to, remote: from, stream: Box::new(far) };
        // Full, or just gone: Linux would let the one wait and refuse the other, but nothing is lost here that waits.
        listener.try_send(connection).map_err(|_| NetError::Refused)?;
        Ok(near)
    }

    fn listener(&self, to: SocketAddr) -> Option<mpsc::Sender<Connection>> {
        let tcp = self.tcp.lock();
        let on_port = tcp.listeners.range((to.port(), IpAddr::from([0, 0, 0, 0]))..);
        let mut on_port = on_port.take_while(|((port, _), _)| *port == to.port());
        on_port.find(|((_, bound), _)| hears(*bound, to.ip())).map(|(_, listener)| listener.clone())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.proxy.local().leave(self.identity.ip);
    }
}

impl Presence {
    /// Returns the pod's network if anybody still holds it.
    pub fn get(&self) -> Option<PodNet> {
        self.0.upgrade().map(PodNet)
    }

    /// Whether the pod is still there.
    pub(crate) fn is_here(&self) -> bool {
        self.0.strong_count() > 0
    }

    /// Whether a guest listens on this port of the pod, at an address that others reach.
    pub(crate) fn listens(&self, at: SocketAddr) -> bool {
        self.0.upgrade().is_some_and(|pod| pod.listener(at).is_some())
    }

    /// Connects to a guest that listens.
    pub(crate) fn offer(&self, from: SocketAddr, to: SocketAddr) -> Result<DuplexStream, NetError> {
        self.0.upgrade().ok_or(NetError::Refused)?.offer(from, to)
    }

    /// Hands a datagram to whoever is bound there; it is lost otherwise.
    pub(crate) fn deliver(&self, from: SocketAddr, to: SocketAddr, datagram: &bytes::Bytes) {
        if let Some(pod) = self.0.upgrade() {
            pod.udp.lock().deliver(from, to, datagram);
        }
    }
}

mod held {
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    use super::Held;

    impl AsyncRead for Held {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_read(context, buffer)
        }
    }

    impl AsyncWrite for Held {
        fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.stream).poll_write(context, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_flush(context)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_shutdown(context)
        }
    }
}

#[cfg(test)]
#[path = "pod_tests.rs"]
mod tests;
