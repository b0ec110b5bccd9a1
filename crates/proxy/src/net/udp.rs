//! UDP on the network: bounded queues, and the memory of who is behind a Service's address. It does not leave the cluster.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::pod::Inner;
use super::ports::{PortSpace, hears};
use super::room::{Held, Room};
use super::route::Way;
use super::{NetError, datagram};
use crate::table::Protocol;

/// How many datagrams wait at a port; more are lost, as those that a socket's receive buffer has no room for.
const QUEUE_MAX: usize = 64;
/// How many bytes wait at a port (Linux's `net.core.rmem_default`), and at all ports of a pod, whose guest may bind thousands.
const PORT_BYTES_MAX: usize = 212_992;
const POD_BYTES_MAX: usize = 4 << 20;
/// What a datagram costs besides its bytes.
const DATAGRAM_COST: usize = 128;
/// To how many Services one port talks at the same time. The one that was first talked to is forgotten first.
const FLOWS_MAX: usize = 64;

/// The UDP ports of one pod.
pub(super) struct Sockets {
    ports: PortSpace,
    bound: BTreeMap<(u16, IpAddr), Queue>,
    room: Room,
}

/// The end of a port's queue at which datagrams come in.
struct Queue {
    sender: mpsc::Sender<Datagram>,
    room: Room,
}

/// A datagram that waits, and its part of what may wait at its port and in its pod.
struct Datagram {
    bytes: Bytes,
    from: SocketAddr,
    _held: [Held; 2],
}

/// A UDP port that was taken.
pub struct UdpPort {
    pod: Arc<Inner>,
    local: SocketAddr,
    queue: Mutex<mpsc::Receiver<Datagram>>,
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
        Self { ports: PortSpace::new(pod), bound: BTreeMap::new(), room: Room::of(POD_BYTES_MAX) }
    }

    /// Hands a datagram to whoever is bound to its address.
    pub(super) fn deliver(&self, from: SocketAddr, to: SocketAddr, datagram: &Bytes) {
        let on_port = self.bound.range((to.port(), IpAddr::from([0, 0, 0, 0]))..);
        let mut on_port = on_port.take_while(|((port, _), _)| *port == to.port());
        let Some((_, queue)) = on_port.find(|((_, bound), _)| hears(*bound, to.ip())) else { return };
        let cost = datagram.len() + DATAGRAM_COST;
        // Lost if there is no room.
        if let (Some(at_port), Some(in_pod)) = (queue.room.hold(cost), self.room.hold(cost)) {
            let _ = queue.sender.try_send(Datagram { bytes: datagram.clone(), from, _held: [at_port, in_pod] });
        }
    }
}

impl UdpPort {
    pub(super) fn bind(pod: &Arc<Inner>, local: SocketAddr) -> Result<Self, NetError> {
        let (sender, queue) = mpsc::channel(QUEUE_MAX);
        let mut sockets = pod.udp.lock();
        let local = sockets.ports.take(local)?;
        let room = Room::of(PORT_BYTES_MAX);
        sockets.bound.insert((local.port(), local.ip()), Queue { sender, room });
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
    /// `Unreachable` for everything that is not in the cluster.
    pub fn send(&self, datagram: &Bytes, to: SocketAddr) -> Result<(), NetError> {
        if datagram.len() > datagram::BYTES_MAX {
            return Err(NetError::TooLarge);
        }
        match self.way(to) {
            Ok(Way::Own) => self.pod.udp.lock().deliver(self.towards(to), to, datagram),
            Ok(Way::Here(endpoint)) => self.pod.proxy.local().deliver(self.towards(endpoint), endpoint, datagram),
            Ok(Way::There(endpoint)) => {
                let Inner { proxy, tasks, .. } = &*self.pod;
                proxy.links().send(proxy.remote(), tasks, self.towards(endpoint), endpoint, datagram);
            }
            // A service without endpoints answers datagrams with silence.
            Err(NetError::Refused) => {}
            Ok(Way::Server(_) | Way::Outside(_)) => return Err(NetError::Unreachable),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Returns the way to an address: as before as long as that is one.
    fn way(&self, to: SocketAddr) -> Result<Way, NetError> {
        let Inner { proxy, .. } = &*self.pod;
        let known = self.flows.lock().endpoint_of(to);
        if let Some(endpoint) = known {
            if proxy.local().has(endpoint.ip()) {
                return Ok(Way::Here(endpoint));
            }
            if proxy.table().service_at(to.ip()).is_some_and(|service| service.leads_to(endpoint)) {
                return Ok(Way::There(endpoint));
            }
        }
        let way = self.pod.way(to, Protocol::Udp)?;
        if let Way::Here(endpoint) | Way::There(endpoint) = way
            && endpoint != to
        {
            self.flows.lock().remember(to, endpoint);
        }
        Ok(way)
    }

    /// Returns the address that the other side sees.
    fn towards(&self, to: SocketAddr) -> SocketAddr {
        let ip = match self.local.ip() {
            ip if !ip.is_unspecified() => ip,
            _ if to.ip().is_loopback() => to.ip(),
            _ => self.pod.identity.ip,
        };
        SocketAddr::new(ip, self.local.port())
    }

    /// Returns the next datagram and who sent it.
    pub fn poll_receive(&self, context: &mut Context<'_>) -> Poll<Result<(Bytes, SocketAddr), NetError>> {
        let next = ready!(self.queue.lock().poll_recv(context));
        let Datagram { bytes, from, _held } = next.ok_or(NetError::Unreachable)?;
        let from = self.flows.lock().service_of(from).unwrap_or(from);
        Poll::Ready(Ok((bytes, from)))
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

    /// Fills `ports` ports of a pod with datagrams of this size; returns how many bytes wait there.
    fn flooded(ports: u16, size: usize) -> usize {
        let mut sockets = Sockets::new([10, 42, 0, 2].into());
        let mut ends = Vec::new();
        for port in 1..=ports {
            let (sender, end) = mpsc::channel(QUEUE_MAX);
            let room = Room::of(PORT_BYTES_MAX);
            sockets.bound.insert((port, [0, 0, 0, 0].into()), Queue { sender, room });
            ends.push(end);
        }
        let datagram = Bytes::from(vec![0; size]);
        for port in 1..=ports {
            for _ in 0..2 * QUEUE_MAX {
                sockets.deliver(at("10.42.0.3:9"), SocketAddr::new([10, 42, 0, 2].into(), port), &datagram);
            }
        }
        let waiting: usize =
            ends.iter_mut().flat_map(|end| std::iter::from_fn(|| end.try_recv().ok())).map(|one| one.bytes.len()).sum();
        assert_eq!(sockets.room.taken(), 0, "everything was given back");
        waiting
    }

    #[test]
    fn what_waits_is_bounded_at_each_port_and_in_the_pod() {
        assert_eq!(flooded(1, 100), QUEUE_MAX * 100, "small ones by their number");
        assert_eq!(flooded(1, datagram::BYTES_MAX), 3 * datagram::BYTES_MAX, "large ones by their bytes");
        let many = flooded(1000, datagram::BYTES_MAX);
        assert!((POD_BYTES_MAX / 2..=POD_BYTES_MAX).contains(&many), "{many}");
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
