//! UDP on the network: bounded queues, and the memory of who is behind a Service's address. It does not leave the node.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::NetError;
use super::pod::Inner;
use super::ports::{PortSpace, hears};
use super::route::Way;
use crate::table::Protocol;

/// How many datagrams wait at a port; more are lost, as those that a socket's receive buffer has no room for.
const QUEUE_MAX: usize = 64;
/// What one datagram carries over IPv4.
const DATAGRAM_BYTES_MAX: usize = 65_507;
/// To how many Services one port talks at the same time. The one that was first talked to is forgotten first.
const FLOWS_MAX: usize = 64;

/// The UDP ports of one pod.
pub(super) struct Sockets {
    ports: PortSpace,
    bound: BTreeMap<(u16, IpAddr), mpsc::Sender<(Bytes, SocketAddr)>>,
}

/// A UDP port that was taken.
pub struct UdpPort {
    pod: Arc<Inner>,
    local: SocketAddr,
    queue: Mutex<mpsc::Receiver<(Bytes, SocketAddr)>>,
    flows: Mutex<Flows>,
}

/// Which endpoint a Service's address stands for, as seen from one port (what conntrack knows behind kube-proxy): the same
/// one for all datagrams, and its answers come from the address that was asked.
#[derive(Debug, Default)]
struct Flows(VecDeque<(SocketAddr, SocketAddr)>);

impl Flows {
    fn endpoint_of(&self, service: SocketAddr) -> Option<SocketAddr> {
        self.0.iter().find(|(known, _)| *known == service).map(|(_, endpoint)| *endpoint)
    }

    fn service_of(&self, endpoint: SocketAddr) -> Option<SocketAddr> {
        self.0.iter().find(|(_, known)| *known == endpoint).map(|(service, _)| *service)
    }

    fn remember(&mut self, service: SocketAddr, endpoint: SocketAddr) {
        self.0.retain(|(known, _)| *known != service);
        if self.0.len() == FLOWS_MAX {
            self.0.pop_front();
        }
        self.0.push_back((service, endpoint));
    }
}

impl Sockets {
    pub(super) fn new(pod: IpAddr) -> Self {
        Self { ports: PortSpace::new(pod), bound: BTreeMap::new() }
    }

    /// Hands a datagram to whoever is bound to its address.
    pub(super) fn deliver(&self, from: SocketAddr, to: SocketAddr, datagram: &Bytes) {
        let on_port = self.bound.range((to.port(), IpAddr::from([0, 0, 0, 0]))..);
        let mut on_port = on_port.take_while(|((port, _), _)| *port == to.port());
        if let Some((_, queue)) = on_port.find(|((_, bound), _)| hears(*bound, to.ip())) {
            // Lost if there is no room.
            let _ = queue.try_send((datagram.clone(), from));
        }
    }
}

impl UdpPort {
    pub(super) fn bind(pod: &Arc<Inner>, local: SocketAddr) -> Result<Self, NetError> {
        let (sender, queue) = mpsc::channel(QUEUE_MAX);
        let mut sockets = pod.udp.lock();
        let local = sockets.ports.take(local)?;
        sockets.bound.insert((local.port(), local.ip()), sender);
        drop(sockets);
        Ok(Self { pod: Arc::clone(pod), local, queue: Mutex::new(queue), flows: Mutex::default() })
    }

    /// Returns the address that was bound.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Sends one datagram. It is lost if nobody is bound there.
    ///
    /// # Errors
    /// `Unreachable` for everything that is not on this node.
    pub fn send(&self, datagram: &Bytes, to: SocketAddr) -> Result<(), NetError> {
        if datagram.len() > DATAGRAM_BYTES_MAX {
            return Err(NetError::TooLarge);
        }
        let from = |to: SocketAddr| {
            let ip = match self.local.ip() {
                ip if !ip.is_unspecified() => ip,
                _ if to.ip().is_loopback() => to.ip(),
                _ => self.pod.identity.ip,
            };
            SocketAddr::new(ip, self.local.port())
        };
        let local = self.pod.proxy.local();
        let known = self.flows.lock().endpoint_of(to);
        if let Some(endpoint) = known.filter(|endpoint| local.has(endpoint.ip())) {
            local.deliver(from(endpoint), endpoint, datagram);
            return Ok(());
        }
        match self.pod.way(to, Protocol::Udp) {
            Ok(Way::Own) => self.pod.udp.lock().deliver(from(to), to, datagram),
            Ok(Way::Here(endpoint)) => {
                if endpoint != to {
                    self.flows.lock().remember(to, endpoint);
                }
                local.deliver(from(endpoint), endpoint, datagram);
            }
            // A service without endpoints answers datagrams with silence.
            Err(NetError::Refused) => {}
            Ok(Way::There(_) | Way::Server(_) | Way::Outside(_)) => return Err(NetError::Unreachable),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Returns the next datagram and who sent it.
    pub fn poll_receive(&self, context: &mut Context<'_>) -> Poll<Result<(Bytes, SocketAddr), NetError>> {
        let next = ready!(self.queue.lock().poll_recv(context));
        let (datagram, from) = next.ok_or(NetError::Unreachable)?;
        let from = self.flows.lock().service_of(from).unwrap_or(from);
        Poll::Ready(Ok((datagram, from)))
    }
}

impl Drop for UdpPort {
    fn drop(&mut self) {
        let mut sockets = self.pod.udp.lock();
        sockets.bound.remove(&(self.local.port(), self.local.ip()));
        sockets.ports.release(self.local);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_flow_is_known_from_both_sides() {
        let mut flows = Flows::default();
        flows.remember(at("10.43.0.7:53"), at("10.42.0.2:5353"));
        assert_eq!(flows.endpoint_of(at("10.43.0.7:53")), Some(at("10.42.0.2:5353")));
        assert_eq!(flows.service_of(at("10.42.0.2:5353")), Some(at("10.43.0.7:53")));
        flows.remember(at("10.43.0.7:53"), at("10.42.0.3:5353"));
        assert_eq!(flows.service_of(at("10.42.0.2:5353")), None, "the service moved on");
    }

    #[test]
    fn the_oldest_flow_is_forgotten() {
        let mut flows = Flows::default();
        let service = |index: usize| SocketAddr::new([10, 43, 0, 7].into(), u16::try_from(index + 1).unwrap());
        for index in 0..=FLOWS_MAX {
            flows.remember(service(index), at("10.42.0.2:53"));
        }
        assert_eq!(flows.0.len(), FLOWS_MAX);
        assert!(flows.endpoint_of(service(0)).is_none() && flows.endpoint_of(service(1)).is_some());
    }
}
