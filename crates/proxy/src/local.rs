//! The pods of this process: a request to one of them is a function call.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use parking_lot::RwLock;
use tokio::io::AsyncRead;
use wkube_base::Tasks;

use crate::net::datagram::{Datagram, Datagrams};
use crate::net::pod::Presence;
use crate::net::web::{self, OnPort};
use crate::net::{NetError, PIPE_BYTES, Stream};
use crate::{Body, BoxError};

/// A port: something that answers HTTP requests, such as a container with a `wasi:http` component.
pub trait Backend: Send + Sync {
    /// Answers one request.
    fn handle(&self, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, BoxError>>;
}

/// Which ports of its pod a backend answers on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ports {
    /// All of them: its container declares none.
    Any,
    /// Those that its container declares.
    These(Vec<u16>),
}

impl Ports {
    fn contain(&self, port: u16) -> bool {
        match self {
            Self::Any => true,
            Self::These(ports) => ports.contains(&port),
        }
    }
}

/// The backends of this process by pod address. Clones share them.
#[derive(Clone, Default)]
pub struct LocalPods {
    node: Option<Arc<str>>,
    // A look-up per request: the one place where hashing beats order.
    pods: Arc<RwLock<HashMap<IpAddr, Vec<Listener>>>>,
    /// The pods whose guests have sockets.
    nets: Arc<RwLock<HashMap<IpAddr, Presence>>>,
}

#[derive(Clone)]
struct Listener {
    id: u64,
    ports: Ports,
    backend: Arc<dyn Backend>,
}

/// Takes its backend out when dropped: no new request reaches it from then on.
#[must_use = "dropping the registration takes the backend out"]
pub struct Registration {
    pods: LocalPods,
    address: IpAddr,
    id: u64,
}

impl LocalPods {
    /// Returns an empty set for the node of this name.
    pub fn on_node(node: &str) -> Self {
        Self { node: Some(node.into()), ..Self::default() }
    }

    /// Whether `node` is the one whose pods these are.
    pub fn is_node(&self, node: Option<&str>) -> bool {
        node.is_some() && self.node.as_deref() == node
    }

    /// Makes `backend` answer on `address`.
    pub fn register(&self, address: IpAddr, ports: Ports, backend: Arc<dyn Backend>) -> Registration {
        let mut pods = self.pods.write();
        let listeners = pods.entry(address).or_default();
        let id = listeners.iter().map(|listener| listener.id + 1).max().unwrap_or_default();
        listeners.push(Listener { id, ports, backend });
        Registration { pods: self.clone(), address, id }
    }

    /// Returns what answers HTTP requests on `port` of `address`: the HTTP guest that declares it, else the guest that
    /// listens there, else the HTTP guest that takes any port.
    pub fn get(&self, address: IpAddr, port: u16) -> Option<Arc<dyn Backend>> {
        let at = SocketAddr::new(address, port);
        let on_port = || self.listening(at).map(|pod| Arc::new(OnPort { pod, at }) as Arc<dyn Backend>);
        self.declared(address, port).or_else(on_port).or_else(|| self.any(address))
    }

    fn declared(&self, address: IpAddr, port: u16) -> Option<Arc<dyn Backend>> {
        let pods = self.pods.read();
        let declares = |listener: &&Listener| listener.ports != Ports::Any && listener.ports.contain(port);
        pods.get(&address)?.iter().find(declares).map(|listener| Arc::clone(&listener.backend))
    }

    fn any(&self, address: IpAddr) -> Option<Arc<dyn Backend>> {
        let pods = self.pods.read();
        let found = pods.get(&address)?.iter().find(|listener| listener.ports == Ports::Any);
        found.map(|listener| Arc::clone(&listener.backend))
    }

    fn listening(&self, at: SocketAddr) -> Option<Presence> {
        self.nets.read().get(&at.ip()).filter(|pod| pod.listens(at)).cloned()
    }

    /// Opens a connection to a port of a pod of this process: to the guest that listens there, or to an HTTP guest, for
    /// which one of `tasks` reads requests.
    ///
    /// # Errors
    /// `Refused` if nobody is there.
    pub fn dial(&self, from: SocketAddr, to: SocketAddr, tasks: &Tasks) -> Result<Box<dyn Stream>, NetError> {
        if self.declared(to.ip(), to.port()).is_none()
            && let Some(pod) = self.listening(to)
        {
            return Ok(Box::new(pod.offer(from, to)?));
        }
        self.serve(to.ip(), to.port(), tasks)
    }

    /// As [`LocalPods::dial`] for somebody who is inside of the pod, such as `kubectl port-forward`: what listens on its
    /// loopback only is reached, too (`portforward.go` connects to `localhost`).
    ///
    /// # Errors
    /// `Refused` if nobody is there.
    pub fn dial_within(&self, to: SocketAddr, tasks: &Tasks) -> Result<Box<dyn Stream>, NetError> {
        let from = |ip| SocketAddr::new(ip, 0);
        let dialled = self.dial(from(to.ip()), to, tasks);
        let pod = self.nets.read().get(&to.ip()).cloned();
        let (Err(NetError::Refused), Some(pod)) = (&dialled, pod) else { return dialled };
        let loopback = [IpAddr::from(std::net::Ipv4Addr::LOCALHOST), IpAddr::from(std::net::Ipv6Addr::LOCALHOST)];
        let mut offers = loopback.into_iter().map(|ip| pod.offer(from(ip), SocketAddr::new(ip, to.port())));
        offers.find_map(Result::ok).map_or(dialled, |stream| Ok(Box::new(stream)))
    }

    /// Connects to a port of a pod and hangs up again. An HTTP guest is there as long as it is registered.
    ///
    /// # Errors
    /// `Refused` if nobody is there.
    pub fn knock(&self, at: SocketAddr) -> Result<(), NetError> {
        match self.open(at) {
            Some(opened) => opened.map(drop),
            None => self.get(at.ip(), at.port()).map(drop).ok_or(NetError::Refused),
        }
    }

    /// Connects to the guest that listens at this address; `None` if there is none, though an HTTP guest may be.
    pub fn open(&self, at: SocketAddr) -> Option<Result<Box<dyn Stream>, NetError>> {
        if self.declared(at.ip(), at.port()).is_some() {
            return None;
        }
        let from = SocketAddr::new(at.ip(), 0);
        let offered = self.listening(at)?.offer(from, at);
        Some(offered.map(|stream| Box::new(stream) as Box<dyn Stream>))
    }

    /// Opens a connection to an HTTP guest.
    pub(crate) fn serve(&self, address: IpAddr, port: u16, tasks: &Tasks) -> Result<Box<dyn Stream>, NetError> {
        let backend = self.declared(address, port).or_else(|| self.any(address)).ok_or(NetError::Refused)?;
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        tasks.spawn("connection to an HTTP guest", web::serve(far, backend));
        Ok(Box::new(near))
    }

    /// Hands a datagram to a guest of a pod of this process.
    pub(crate) fn deliver(&self, from: SocketAddr, to: SocketAddr, datagram: &Bytes) {
        let pod = self.nets.read().get(&to.ip()).cloned();
        if let Some(pod) = pod {
            pod.deliver(from, to, datagram);
        }
    }

    /// Hands the datagrams in a stream that another node sends to the pod that has this address, until it ends.
    ///
    /// # Errors
    /// Whatever broke the stream; what came before was delivered.
    pub async fn receive(&self, address: IpAddr, stream: impl AsyncRead + Unpin) -> io::Result<()> {
        let mut datagrams = Datagrams::of(stream);
        while let Some(Datagram { from, port, bytes }) = datagrams.next().await? {
            self.deliver(from, SocketAddr::new(address, port), &bytes);
        }
        Ok(())
    }

    /// Brings a pod onto the network.
    pub(crate) fn enter(&self, address: IpAddr, pod: Presence) {
        self.nets.write().insert(address, pod);
    }

    /// Takes the pod that had this address off the network, unless another has it already.
    pub(crate) fn leave(&self, address: IpAddr) {
        let mut nets = self.nets.write();
        if nets.get(&address).is_some_and(|pod| !pod.is_here()) {
            nets.remove(&address);
        }
    }

    /// Whether any pod of this process has this address.
    pub fn has(&self, address: IpAddr) -> bool {
        self.pods.read().contains_key(&address) || self.nets.read().contains_key(&address)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut pods = self.pods.pods.write();
        if let Some(listeners) = pods.get_mut(&self.address) {
            listeners.retain(|listener| listener.id != self.id);
            if listeners.is_empty() {
                pods.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::respond;

    /// Answers with a fixed text.
    pub(crate) struct Says(pub(crate) &'static str);

    impl Backend for Says {
        fn handle(&self, _: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, BoxError>> {
            let text = self.0;
            async move { Ok(Response::new(respond::full(text))) }.boxed()
        }
    }

    #[test]
    fn a_backend_is_gone_when_its_registration_is() {
        let pods = LocalPods::default();
        let address = IpAddr::from([10, 42, 0, 2]);
        let registration = pods.register(address, Ports::Any, Arc::new(Says("a")));
        assert!(pods.get(address, 80).is_some());
        drop(registration);
        assert!(pods.get(address, 80).is_none() && !pods.has(address));
    }

    #[test]
    fn containers_of_a_pod_share_its_address_by_port() {
        let pods = LocalPods::default();
        let address = IpAddr::from([10, 42, 0, 2]);
        let _web = pods.register(address, Ports::These(vec![8080]), Arc::new(Says("web")));
        let admin = pods.register(address, Ports::These(vec![9090]), Arc::new(Says("admin")));
        assert!(pods.get(address, 8080).is_some() && pods.get(address, 9090).is_some());
        assert!(pods.get(address, 7070).is_none());
        drop(admin);
        assert!(pods.get(address, 8080).is_some() && pods.get(address, 9090).is_none());
    }
}
