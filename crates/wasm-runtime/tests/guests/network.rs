//! A network in memory for one pod: ports, connections, datagrams, a few names. No rules, no other pods.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::{BoxFuture, pending};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use wkube_wasm_runtime::{Connection, Incoming, NetError, Network, TcpPort, UdpPort};

/// The pod's address.
pub(crate) const POD: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9));
/// An address that never answers.
pub(crate) const SILENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 66));
/// What a connection holds in each direction; small, so that tests fill it.
pub(crate) const PIPE_BYTES: usize = 4 << 10;
/// What a UDP port holds; more is dropped.
const DATAGRAMS_MAX: usize = 32;

/// The network. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct FakeNetwork(Arc<Mutex<Ports>>);

#[derive(Default)]
struct Ports {
    tcp: BTreeMap<u16, Option<mpsc::Sender<Connection>>>,
    udp: BTreeMap<u16, Arc<Mutex<Mailbox>>>,
    connecting: usize,
}

#[derive(Default)]
struct Mailbox {
    datagrams: VecDeque<(Bytes, SocketAddr)>,
    waiting: Option<Waker>,
}

impl FakeNetwork {
    /// Connects from outside of the pod, once somebody listens.
    pub(crate) async fn dial(&self, port: u16) -> Connection {
        let from = SocketAddr::new(Ipv4Addr::new(10, 0, 0, 1).into(), 40_000);
        loop {
            if let Ok(connection) = self.reach(from, SocketAddr::new(POD, port)) {
                return connection;
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }

    /// Returns how many wait for an answer that never comes.
    pub(crate) fn connecting(&self) -> usize {
        self.0.lock().connecting
    }

    /// Reports whether somebody has the TCP port.
    pub(crate) fn is_taken(&self, port: u16) -> bool {
        self.0.lock().tcp.contains_key(&port)
    }

    /// Reports whether somebody has the UDP port.
    pub(crate) fn is_taken_by_udp(&self, port: u16) -> bool {
        self.0.lock().udp.contains_key(&port)
    }

    fn reach(&self, from: SocketAddr, to: SocketAddr) -> Result<Connection, NetError> {
        let ports = self.0.lock();
        let listener = ports.tcp.get(&to.port()).and_then(Option::as_ref).ok_or(NetError::Refused)?;
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        let accepted = Connection { local: to, remote: from, stream: Box::new(theirs) };
        listener.try_send(accepted).map_err(|_| NetError::Refused)?;
        Ok(Connection { local: from, remote: to, stream: Box::new(ours) })
    }
}

fn free<T>(ports: &BTreeMap<u16, T>, wanted: u16) -> Result<u16, NetError> {
    let port = if wanted == 0 { (50_000..=u16::MAX).find(|port| !ports.contains_key(port)) } else { Some(wanted) };
    port.filter(|port| !ports.contains_key(port)).ok_or(NetError::InUse)
}

/// Says what a socket gets that wants `wanted`, with any free port for port 0.
fn local<T>(ports: &BTreeMap<u16, T>, wanted: SocketAddr) -> Result<SocketAddr, NetError> {
    let is_ours = wanted.ip().is_unspecified() || wanted.ip().is_loopback() || wanted.ip() == POD;
    if is_ours { Ok(SocketAddr::new(POD, free(ports, wanted.port())?)) } else { Err(NetError::NotBindable) }
}

impl Network for FakeNetwork {
    fn bind_tcp(&self, wanted: SocketAddr) -> Result<Box<dyn TcpPort>, NetError> {
        let mut ports = self.0.lock();
        let local = local(&ports.tcp, wanted)?;
        ports.tcp.insert(local.port(), None);
        Ok(Box::new(FakeTcp { network: self.clone(), local }))
    }

    fn bind_udp(&self, wanted: SocketAddr) -> Result<Box<dyn UdpPort>, NetError> {
        let mut ports = self.0.lock();
        let local = local(&ports.udp, wanted)?;
        let mailbox = Arc::<Mutex<Mailbox>>::default();
        ports.udp.insert(local.port(), Arc::clone(&mailbox));
        Ok(Box::new(FakeUdp { network: self.clone(), local, mailbox }))
    }

    fn resolve(&self, name: &str) -> BoxFuture<'static, Result<Vec<IpAddr>, NetError>> {
        let answer = match name {
            "pod" | "localhost" => Ok(vec![POD]),
            "silent" => Ok(vec![SILENT]),
            _ => Err(NetError::NoName),
        };
        async move {
            // Never at once: callers have to wait.
            tokio::task::yield_now().await;
            answer
        }
        .boxed()
    }
}

struct FakeTcp {
    network: FakeNetwork,
    local: SocketAddr,
}

impl Drop for FakeTcp {
    fn drop(&mut self) {
        self.network.0.lock().tcp.remove(&self.local.port());
    }
}

impl TcpPort for FakeTcp {
    fn local(&self) -> SocketAddr {
        self.local
    }

    fn listen(&self, backlog: usize) -> Result<Box<dyn Incoming>, NetError> {
        let (sender, connections) = mpsc::channel(backlog);
        self.network.0.lock().tcp.insert(self.local.port(), Some(sender));
        Ok(Box::new(FakeIncoming(connections)))
    }

    fn connect(&self, remote: SocketAddr) -> BoxFuture<'static, Result<Connection, NetError>> {
        if remote.ip() == SILENT {
            self.network.0.lock().connecting += 1;
            return pending().boxed();
        }
        let network = self.network.clone();
        let local = self.local;
        async move {
            tokio::task::yield_now().await;
            network.reach(local, remote)
        }
        .boxed()
    }
}

struct FakeIncoming(mpsc::Receiver<Connection>);

impl Incoming for FakeIncoming {
    fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<Result<Connection, NetError>> {
        self.0.poll_recv(context).map(|connection| connection.ok_or(NetError::Reset))
    }
}

struct FakeUdp {
    network: FakeNetwork,
    local: SocketAddr,
    mailbox: Arc<Mutex<Mailbox>>,
}

impl Drop for FakeUdp {
    fn drop(&mut self) {
        self.network.0.lock().udp.remove(&self.local.port());
    }
}

impl UdpPort for FakeUdp {
    fn local(&self) -> SocketAddr {
        self.local
    }

    fn poll_send(&self, _: &mut Context<'_>, datagram: &Bytes, to: SocketAddr) -> Poll<Result<(), NetError>> {
        let mailbox = self.network.0.lock().udp.get(&to.port()).cloned();
        if let Some(mailbox) = mailbox {
            let mut mailbox = mailbox.lock();
            if mailbox.datagrams.len() < DATAGRAMS_MAX {
                mailbox.datagrams.push_back((datagram.clone(), self.local));
            }
            if let Some(waker) = mailbox.waiting.take() {
                waker.wake();
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_receive(&self, context: &mut Context<'_>) -> Poll<Result<(Bytes, SocketAddr), NetError>> {
        let mut mailbox = self.mailbox.lock();
        let datagram = mailbox.datagrams.pop_front();
        if datagram.is_none() {
            mailbox.waiting = Some(context.waker().clone());
        }
        datagram.map_or(Poll::Pending, |datagram| Poll::Ready(Ok(datagram)))
    }
}
