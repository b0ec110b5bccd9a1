//! The UDP socket on the fake network of the integration tests.

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;

use super::*;
use crate::net::fake::{FakeNetwork, POD};

fn anywhere(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::Ipv4Addr::UNSPECIFIED.into(), port)
}

fn bound(network: &FakeNetwork, port: u16) -> UdpSocket {
    let sockets = Sockets::new(Some(Arc::new(network.clone())));
    let mut socket = UdpSocket::new(&sockets, Family::V4).unwrap();
    socket.start_bind(anywhere(port)).unwrap();
    socket.finish_bind().unwrap();
    socket
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::new(POD, port)
}

#[test]
fn a_datagram_needs_somebody_to_go_to() {
    let (peer, other) = (at(1), at(2));
    let table = [
        (None, Some(peer), Ok(peer)),
        (None, None, Err(Code::InvalidArgument)),
        (None, Some(at(0)), Err(Code::InvalidArgument)),
        (None, Some("[::1]:5".parse().unwrap()), Err(Code::InvalidArgument)),
        (Some(peer), None, Ok(peer)),
        (Some(peer), Some(peer), Ok(peer)),
        (Some(peer), Some(other), Err(Code::InvalidArgument)),
    ];
    for (remote, to, answer) in table {
        assert_eq!(destination(Family::V4, remote, to), answer, "{remote:?} {to:?}");
    }
}

#[test]
fn a_socket_is_bound_once_and_one_step_after_the_other() {
    let network = FakeNetwork::default();
    let sockets = Sockets::new(Some(Arc::new(network.clone())));
    let mut socket = UdpSocket::new(&sockets, Family::V4).unwrap();
    assert_eq!(socket.finish_bind(), Err(Code::NotInProgress));
    assert_eq!(socket.local(), Err(Code::InvalidState));
    assert_eq!(socket.start_bind("[::]:1".parse().unwrap()), Err(Code::InvalidArgument));
    assert_eq!(socket.start_bind(anywhere(1)), Ok(()));
    assert_eq!(socket.start_bind(anywhere(2)), Err(Code::Conflict));
    assert!(socket.channel().is_err(), "not before it is finished");
    assert_eq!(socket.finish_bind(), Ok(()));
    assert_eq!(socket.start_bind(anywhere(2)), Err(Code::InvalidState));
    assert_eq!(socket.local(), Ok(at(1)));
    let mut another = UdpSocket::new(&sockets, Family::V4).unwrap();
    assert_eq!(another.start_bind(anywhere(1)), Err(NetError::InUse.into()));
}

#[test]
fn who_is_connected_hears_from_its_peer_only() {
    let network = FakeNetwork::default();
    let (mut socket, peer, stranger) = (bound(&network, 1), bound(&network, 2), bound(&network, 3));
    socket.connect(at(2)).unwrap();
    let mut inbox = Inbox::new(socket.channel().unwrap());
    for (sender, text) in [(&stranger, "spam"), (&peer, "mail")] {
        Outbox::new(sender.channel().unwrap()).send(Bytes::from(text), Some(at(1))).unwrap();
    }
    assert_eq!(inbox.take().unwrap().unwrap(), (Bytes::from("mail"), at(2)));
    assert!(inbox.take().is_none());
    assert_eq!(socket.disconnect(), Ok(()));
    assert_eq!(socket.disconnect(), Err(Code::InvalidState));
    let mut inbox = Inbox::new(socket.channel().unwrap());
    Outbox::new(stranger.channel().unwrap()).send(Bytes::from("spam"), Some(at(1))).unwrap();
    assert_eq!(inbox.take().unwrap().unwrap().1, at(3));
}

#[test]
fn a_datagram_has_a_largest_size() {
    let network = FakeNetwork::default();
    let (socket, _peer) = (bound(&network, 1), bound(&network, 2));
    let mut outbox = Outbox::new(socket.channel().unwrap());
    let of = |size: usize| Bytes::from(vec![0; size]);
    assert_eq!(outbox.send(of(DATAGRAM_BYTES_MAX), Some(at(2))), Ok(()));
    assert_eq!(outbox.send(of(DATAGRAM_BYTES_MAX + 1), Some(at(2))), Err(NetError::TooLarge.into()));
    assert!(outbox.has_room(), "what was refused does not wait");
}

/// A port whose network is full until it is told otherwise.
struct Full(std::sync::atomic::AtomicBool);

impl UdpPort for Full {
    fn local(&self) -> SocketAddr {
        at(1)
    }

    fn poll_send(&self, _: &mut Context<'_>, _: &Bytes, _: SocketAddr) -> Poll<Result<(), NetError>> {
        if self.0.load(std::sync::atomic::Ordering::Relaxed) { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    fn poll_receive(&self, _: &mut Context<'_>) -> Poll<Result<(Bytes, SocketAddr), NetError>> {
        Poll::Pending
    }
}

#[test]
fn one_datagram_waits_for_a_full_network_and_the_next_is_not_taken() {
    let port = Arc::new(Full(true.into()));
    let slot = Sockets::new(None).slot().unwrap();
    let mut outbox = Outbox::new(Channel {
        port: Arc::clone(&port) as Arc<dyn UdpPort>,
        family: Family::V4,
        remote: Some(at(2)),
        turns: Arc::default(),
        _slot: slot,
    });
    assert_eq!(outbox.send(Bytes::from("one"), None), Ok(()));
    assert!(!outbox.has_room());
    assert_eq!(outbox.send(Bytes::from("two"), None), Err(Code::WouldBlock));
    port.0.store(false, std::sync::atomic::Ordering::Relaxed);
    assert!(outbox.has_room());
    assert_eq!(outbox.send(Bytes::from("two"), None), Ok(()));
}

#[tokio::test]
async fn each_of_several_who_wait_gets_a_datagram() {
    let network = FakeNetwork::default();
    let (socket, peer) = (bound(&network, 1), bound(&network, 2));
    let (channel, mut outbox) = (socket.channel().unwrap(), Outbox::new(peer.channel().unwrap()));
    let sending = async {
        for text in ["one", "two"] {
            // Only when both wait.
            tokio::task::yield_now().await;
            outbox.send(Bytes::from(text), Some(at(1))).unwrap();
        }
    };
    // As the component model does, each wait has a waker of its own.
    let waiting = [channel.receive(), channel.receive()].into_iter().collect::<FuturesUnordered<_>>();
    let (received, ()) = tokio::join!(waiting.map(|received| received.unwrap().0).collect::<Vec<_>>(), sending);
    assert_eq!(received, ["one", "two"]);
}
