//! The pods' networks: one for each pod, shared by its containers, given to whatever runs them as the runtime's own port.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use wkube_base::Tasks;
use wkube_proxy::Proxy;
use wkube_proxy::net::{self, Identity, Names, Outside, PodNet, Presence};
use wkube_wasm_runtime::{Connection, Incoming, NetError, Network, TcpPort, UdpPort};

use crate::pod::spec;

/// The annotation by which a pod is granted a part of what is outside of the cluster.
pub const OUTSIDE: &str = "wkube.dev/outside";

/// So few that have left need not be looked for.
const SWEPT_MIN: usize = 16;

/// The networks of a node's pods. Clones share them.
#[derive(Clone)]
pub struct Networks(Arc<Inner>);

struct Inner {
    proxy: Option<Proxy>,
    tasks: Tasks,
    pods: Mutex<Present>,
}

/// By the pod's uid. A network is gone when the last guest and the last of its sockets are.
#[derive(Default)]
struct Present {
    pods: BTreeMap<String, Presence>,
    /// How many there may be before those that have left are looked for. Twice as many as there were the last time, so
    /// that a node of many pods does not look at all of them whenever one starts.
    swept_at: usize,
}

impl Present {
    fn enter(&mut self, uid: &str, presence: Presence) {
        if self.pods.len() >= self.swept_at {
            self.pods.retain(|_, pod| pod.get().is_some());
            self.swept_at = self.pods.len() * 2 + SWEPT_MIN;
        }
        self.pods.insert(uid.to_owned(), presence);
    }
}

impl Networks {
    /// Returns the networks of a node whose routes `proxy` knows; without one there are none.
    pub fn new(proxy: Option<Proxy>, tasks: &Tasks) -> Self {
        Self(Arc::new(Inner { proxy, tasks: tasks.clone(), pods: Mutex::default() }))
    }

    /// Returns the network of a pod, the same for all its containers.
    ///
    /// # Errors
    /// Says what is wrong with the pod's annotation.
    pub fn of(&self, pod: &Pod, ip: IpAddr) -> Result<Option<Arc<dyn Network>>, String> {
        let Some(proxy) = &self.0.proxy else { return Ok(None) };
        let mut present = self.0.pods.lock();
        let found = present.pods.get(spec::uid(pod)).and_then(Presence::get);
        let network = if let Some(network) = found {
            network
        } else {
            let identity = Identity { ip, names: Names::of(pod, ip), outside: outside(pod)? };
            let network = PodNet::join(proxy.clone(), identity, &self.0.tasks);
            present.enter(spec::uid(pod), network.presence());
            network
        };
        Ok(Some(Arc::new(OfPod(network))))
    }
}

/// Reads what of the outside a pod is granted: nothing unless it says so.
fn outside(pod: &Pod) -> Result<Outside, String> {
    let granted = pod.metadata.annotations.as_ref().and_then(|annotations| annotations.get(OUTSIDE));
    let granted = granted.map(String::as_str).unwrap_or_default();
    Outside::parse(granted).map_err(|problem| format!("annotation {OUTSIDE}: {problem}"))
}

/// The network of one pod, in the runtime's words.
struct OfPod(PodNet);

impl Network for OfPod {
    fn bind_tcp(&self, local: SocketAddr) -> Result<Box<dyn TcpPort>, NetError> {
        Ok(Box::new(Tcp(self.0.bind_tcp(local).map_err(of)?)))
    }

    fn bind_udp(&self, local: SocketAddr) -> Result<Box<dyn UdpPort>, NetError> {
        Ok(Box::new(Udp(self.0.bind_udp(local).map_err(of)?)))
    }

    fn resolve(&self, name: &str) -> BoxFuture<'static, Result<Vec<IpAddr>, NetError>> {
        let (network, name) = (self.0.clone(), name.to_owned());
        async move { network.resolve(&name).await.map_err(of) }.boxed()
    }
}

struct Tcp(net::TcpPort);

impl TcpPort for Tcp {
    fn local(&self) -> SocketAddr {
        self.0.local()
    }

    fn listen(&self, backlog: usize) -> Result<Box<dyn Incoming>, NetError> {
        Ok(Box::new(Listening(self.0.listen(backlog).map_err(of)?)))
    }

    fn connect(&self, remote: SocketAddr) -> BoxFuture<'static, Result<Connection, NetError>> {
        let connecting = self.0.connect(remote);
        async move { connecting.await.map(connection).map_err(of) }.boxed()
    }
}

struct Listening(net::Incoming);

impl Incoming for Listening {
    fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<Result<Connection, NetError>> {
        self.0.poll_accept(context).map(|accepted| accepted.map(connection).map_err(of))
    }
}

struct Udp(net::UdpPort);

impl UdpPort for Udp {
    fn local(&self) -> SocketAddr {
        self.0.local()
    }

    fn poll_send(&self, _: &mut Context<'_>, datagram: &Bytes, to: SocketAddr) -> Poll<Result<(), NetError>> {
        Poll::Ready(self.0.send(datagram, to).map_err(of))
    }

    fn poll_receive(&self, context: &mut Context<'_>) -> Poll<Result<(Bytes, SocketAddr), NetError>> {
        self.0.poll_receive(context).map_err(of)
    }
}

fn connection(of: net::Connection) -> Connection {
    let net::Connection { local, remote, stream } = of;
    Connection { local, remote, stream: Box::new(stream) }
}

fn of(error: net::NetError) -> NetError {
    match error {
        net::NetError::Denied => NetError::Denied,
        net::NetError::NotBindable => NetError::NotBindable,
        net::NetError::InUse => NetError::InUse,
        net::NetError::Refused => NetError::Refused,
        net::NetError::Unreachable => NetError::Unreachable,
        net::NetError::TimedOut => NetError::TimedOut,
        net::NetError::NoName => NetError::NoName,
        net::NetError::NameUnavailable => NetError::NameUnavailable,
        net::NetError::TooLarge => NetError::TooLarge,
        net::NetError::TooMany => NetError::TooMany,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(granted: &str) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.annotations = Some([(OUTSIDE.to_owned(), granted.to_owned())].into());
        pod
    }

    #[test]
    fn a_pod_is_granted_what_it_says_and_nothing_otherwise() {
        assert_eq!(outside(&Pod::default()), Ok(Outside::default()));
        assert!(outside(&pod("192.0.2.0/24")).unwrap().permits([192, 0, 2, 1].into()));
        let problem = outside(&pod("example.com")).unwrap_err();
        let expected = "annotation wkube.dev/outside: \"example.com\" is not a range of addresses such as 192.0.2.0/24";
        assert_eq!(problem, expected);
    }
}
