//! Ports and connections as guests in a worker hold them: each is a number in a table of the node.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, stream};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard, PollSender};
use wkube_wasm_runtime::{Connection, Incoming, NetError, TcpPort, UdpPort};

use super::guests::{Line, body_of};
use super::words::{Call, Order, Packet, Packets, Refusal};

/// Datagrams that wait on each side of a UDP port. The network's own queue is where those are lost that are too many.
const DATAGRAMS_WAITING: usize = 16;
/// As the network has it.
const DATAGRAM_BYTES_MAX: usize = 65_507;

/// A port that was taken, until the last that needs it is dropped.
pub(super) struct Port {
    pub(super) line: Arc<Line>,
    pub(super) number: u64,
    pub(super) local: SocketAddr,
}

impl Drop for Port {
    fn drop(&mut self) {
        self.line.tell(&Order::Close { port: self.number });
    }
}

/// A TCP port.
pub(super) struct Tcp(Arc<Port>);

impl Tcp {
    pub(super) fn new(port: Arc<Port>) -> Self {
        Self(port)
    }
}

impl TcpPort for Tcp {
    fn local(&self) -> SocketAddr {
        self.0.local
    }

    fn listen(&self, backlog: usize) -> Result<Box<dyn Incoming>, NetError> {
        self.0.line.ask(&Order::Listen { port: self.0.number, backlog })?;
        Ok(Box::new(Accepting { port: Arc::clone(&self.0), next: None }))
    }

    fn connect(&self, to: SocketAddr) -> BoxFuture<'static, Result<Connection, NetError>> {
        let port = Arc::clone(&self.0);
        let connecting = async move {
            let slot = port.line.slot()?;
            let call = Call::Connect { port: port.number, to };
            port.line.open(call, slot, Some(Arc::clone(&port))).await
        };
        connecting.boxed()
    }
}

/// The connections to a listening port.
struct Accepting {
    port: Arc<Port>,
    next: Option<BoxFuture<'static, Result<Connection, NetError>>>,
}

impl Incoming for Accepting {
    fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<Result<Connection, NetError>> {
        let Self { port, next } = self;
        let accepting = next.get_or_insert_with(|| {
            let (line, call) = (Arc::clone(&port.line), Call::Accept { port: port.number });
            async move { line.open(call, line.next_slot().await?, None).await }.boxed()
        });
        let accepted = ready!(accepting.as_mut().poll(context));
        self.next = None;
        Poll::Ready(accepted)
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        self.port.line.tell(&Order::Hush { port: self.port.number });
    }
}

/// A UDP port.
pub(super) struct Udp {
    port: Arc<Port>,
    outgoing: Mutex<PollSender<Bytes>>,
    incoming: Mutex<mpsc::Receiver<(Bytes, SocketAddr)>>,
    refused: Arc<Mutex<Refused>>,
    _open: DropGuard,
}

/// Where the network would not take the latest datagram to, and why. Who sends there again hears it, as an error that ICMP
/// brought is told by the next call on a socket.
type Refused = Option<(SocketAddr, NetError)>;

impl Udp {
    /// Opens the way for the packets of a port.
    pub(super) fn open(port: Arc<Port>) -> Result<Self, NetError> {
        let slot = port.line.slot()?;
        let (outgoing, packets) = mpsc::channel(DATAGRAMS_WAITING);
        let (datagrams, incoming) = mpsc::channel(DATAGRAMS_WAITING);
        let (refused, open) = (Arc::<Mutex<Refused>>::default(), CancellationToken::new());
        let packets = stream::unfold(packets, |mut packets| async { Some((packets.recv().await?, packets)) });
        let (line, call) = (Arc::clone(&port.line), Call::Datagrams { port: port.number });
        let (closed, told) = (open.clone(), Arc::clone(&refused));
        port.line.spawn("datagrams", async move {
            let receiving = async {
                let Ok(answer) = line.call(&call, body_of(packets)).await else { return };
                receive(answer.into_body(), &datagrams, &told).await;
            };
            closed.run_until_cancelled(receiving).await;
            drop(slot);
        });
        let (outgoing, incoming) = (Mutex::new(PollSender::new(outgoing)), Mutex::new(incoming));
        Ok(Self { port, outgoing, incoming, refused, _open: open.drop_guard() })
    }
}

/// Takes packets as they come. Those that nobody reads wait in the network, which loses what is too much.
async fn receive(
    mut body: hyper::body::Incoming,
    datagrams: &mpsc::Sender<(Bytes, SocketAddr)>,
    refused: &Mutex<Refused>,
) {
    let mut packets = Packets::default();
    while let Some(Ok(frame)) = body.frame().await {
        packets.push(frame.data_ref().map_or(&[], |bytes| bytes));
        while let Some(packet) = packets.next().transpose() {
            match packet {
                Ok(Packet::Datagram(bytes, from)) => drop(datagrams.send((bytes, from)).await),
                Ok(Packet::Refused(Refusal(error), to)) => *refused.lock() = Some((to, error)),
                Err(_) => return,
            }
        }
    }
}

impl UdpPort for Udp {
    fn local(&self) -> SocketAddr {
        self.port.local
    }

    fn poll_send(&self, context: &mut Context<'_>, datagram: &Bytes, to: SocketAddr) -> Poll<Result<(), NetError>> {
        if datagram.len() > DATAGRAM_BYTES_MAX {
            return Poll::Ready(Err(NetError::TooLarge));
        }
        if let Some((_, error)) = self.refused.lock().take_if(|(refused, _)| *refused == to) {
            return Poll::Ready(Err(error));
        }
        let mut outgoing = self.outgoing.lock();
        ready!(outgoing.poll_reserve(context)).map_err(|_| NetError::Unreachable)?;
        let sent = outgoing.send_item(Packet::Datagram(datagram.clone(), to).encode());
        Poll::Ready(sent.map_err(|_| NetError::Unreachable))
    }

    fn poll_receive(&self, context: &mut Context<'_>) -> Poll<Result<(Bytes, SocketAddr), NetError>> {
        let next = ready!(self.incoming.lock().poll_recv(context));
        Poll::Ready(next.ok_or(NetError::Unreachable))
    }
}
