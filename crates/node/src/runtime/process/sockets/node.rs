//! The node's half: the ports of one worker's guests, and the connections made from them. A worker may have been taken
//! over: it gets no more than its pod's network gives, and not more of it than the limits here.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use futures::{StreamExt as _, stream};
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming as RequestBody};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use wkube_base::Tasks;
use wkube_proxy::{Body, BoxError};
use wkube_wasm_runtime::{Connection, Incoming, NetError, Network, TcpPort, UdpPort};

use super::super::channel::CONNECTIONS_MAX;
use super::carried::{Carried, Written, outgoing};
use super::guests::body_of;
use super::words::{self, Answer, Call, ENDS, Ends, Lines, Nonsense, Order, Packet, Packets, REFUSED, Refusal, SOCKET};

/// Ports of one pod: every socket that its instances may have has one.
const PORTS_MAX: usize = 16_384;

/// The ports of one worker.
pub(in super::super) struct Ports {
    network: Option<Arc<dyn Network>>,
    table: Mutex<Table>,
    /// Orders have one order: there is one call for them.
    has_orders: AtomicBool,
    connections: Arc<Semaphore>,
    tasks: Tasks,
}

/// The ports by number; `None` once the worker has gone.
type Table = Option<BTreeMap<u64, Port>>;

#[derive(Clone)]
enum Port {
    Tcp(Tcp),
    Udp(Open<dyn UdpPort>),
}

#[derive(Clone)]
struct Tcp {
    port: Open<dyn TcpPort>,
    /// Who comes to the port, while it listens.
    incoming: Open<dyn Incoming>,
}

/// What is there until it is closed. Closing takes it from under whoever waits at it, so that the next order finds it gone:
/// a shared owner might still be at work on another thread.
struct Open<T: ?Sized>(Arc<Mutex<Option<Box<T>>>>);

impl Ports {
    /// Returns those of a worker whose pod is on `network`.
    pub(in super::super) fn new(network: Option<Arc<dyn Network>>, tasks: Tasks) -> Arc<Self> {
        Arc::new(Self {
            network,
            table: Mutex::new(Some(BTreeMap::new())),
            has_orders: AtomicBool::new(false),
            connections: Arc::new(Semaphore::new(CONNECTIONS_MAX as usize)),
            tasks,
        })
    }

    /// Lets go of all ports, at once and for good: the pod's next process may want them.
    pub(in super::super) fn close(&self) {
        let all = self.table.lock().take();
        for port in all.into_iter().flat_map(BTreeMap::into_values) {
            port.close();
        }
    }

    /// Answers a call about sockets.
    pub(in super::super) async fn answer(self: &Arc<Self>, request: Request<RequestBody>) -> Response<Body> {
        let about = request.headers().get(SOCKET).and_then(|about| about.to_str().ok()?.parse().ok());
        let body = request.into_body();
        let answered = match about {
            Some(Call::Orders) => self.orders(body),
            Some(Call::Connect { port, to }) => self.connect(port, to, body).await,
            Some(Call::Accept { port }) => self.accept(port, body).await,
            Some(Call::Datagrams { port }) => self.datagrams(port, body),
            Some(Call::Resolve { name }) => self.resolve(&name).await,
            None => Err(NetError::Unsupported),
        };
        answered.unwrap_or_else(refused)
    }

    fn network(&self) -> Result<&Arc<dyn Network>, NetError> {
        self.network.as_ref().ok_or(NetError::Denied)
    }

    /// Obeys orders as they come; its answers are the body.
    fn orders(self: &Arc<Self>, body: RequestBody) -> Result<Response<Body>, NetError> {
        if self.has_orders.swap(true, Ordering::Relaxed) {
            return Err(NetError::Denied);
        }
        let taker = OrderTaker { ports: Arc::clone(self), body, lines: Lines::default() };
        let answers = stream::unfold(taker, |mut taker| async { Some((taker.next_answer().await?, taker)) });
        Ok(Response::new(body_of(answers.map(|answer| words::line(&answer)))))
    }

    /// Does what was ordered; `None` if that has no answer.
    fn obey(&self, order: Order) -> Option<Answer> {
        let answer = match order {
            Order::BindTcp { port, local } => self.take(port, |network| {
                let taken = network.bind_tcp(local)?;
                Ok((taken.local(), Port::Tcp(Tcp { port: Open::new(Some(taken)), incoming: Open::new(None) })))
            }),
            Order::BindUdp { port, local } => self.take(port, |network| {
                let taken = network.bind_udp(local)?;
                Ok((taken.local(), Port::Udp(Open::new(Some(taken)))))
            }),
            Order::Listen { port, backlog } => self.listen(port, backlog),
            Order::Hush { port } => {
                if let Ok(tcp) = self.find_tcp(port) {
                    tcp.incoming.close();
                }
                return None;
            }
            Order::Close { port } => {
                let closed = self.table.lock().as_mut().and_then(|table| table.remove(&port));
                if let Some(port) = closed {
                    port.close();
                }
                return None;
            }
        };
        Some(answer.map_err(Refusal))
    }

    fn take(
        &self,
        number: u64,
        bind: impl FnOnce(&dyn Network) -> Result<(SocketAddr, Port), NetError>,
    ) -> Result<SocketAddr, NetError> {
        let network = self.network()?;
        let mut table = self.table.lock();
        let table = table.as_mut().ok_or(NetError::Unreachable)?;
        if table.len() >= PORTS_MAX {
            return Err(NetError::TooMany);
        }
        if table.contains_key(&number) {
            return Err(NetError::InUse);
        }
        let (local, port) = bind(&**network)?;
        table.insert(number, port);
        Ok(local)
    }

    fn find(&self, number: u64) -> Result<Port, NetError> {
        let table = self.table.lock();
        table.as_ref().and_then(|table| table.get(&number)).cloned().ok_or(NetError::Reset)
    }

    fn find_tcp(&self, number: u64) -> Result<Tcp, NetError> {
        match self.find(number)? {
            Port::Tcp(tcp) => Ok(tcp),
            Port::Udp(_) => Err(NetError::Unsupported),
        }
    }

    fn listen(&self, number: u64, backlog: usize) -> Result<SocketAddr, NetError> {
        let Tcp { port, incoming } = self.find_tcp(number)?;
        let (listening, local) = port.with(|port| Ok((port.listen(backlog)?, port.local())))?;
        *incoming.0.lock() = Some(listening);
        Ok(local)
    }

    async fn connect(&self, number: u64, to: SocketAddr, body: RequestBody) -> Result<Response<Body>, NetError> {
        let slot = self.slot()?;
        // Only what comes of it holds the port while it waits.
        let connecting = self.find_tcp(number)?.port.with(|port| Ok(port.connect(to)))?;
        Ok(self.carry(connecting.await?, body, slot))
    }

    async fn accept(&self, number: u64, body: RequestBody) -> Result<Response<Body>, NetError> {
        // Not refused: the place of a connection that has just ended is about to be free.
        let slot = Arc::clone(&self.connections).acquire_owned().await.map_err(|_| NetError::Reset)?;
        let Tcp { incoming, .. } = self.find_tcp(number)?;
        let accepted = poll_fn(|context| incoming.poll(|incoming| incoming.poll_accept(context))).await;
        Ok(self.carry(accepted.ok_or(NetError::Reset)??, body, slot))
    }

    /// Joins the two bodies of a call with a connection.
    fn carry(&self, connection: Connection, body: RequestBody, slot: OwnedSemaphorePermit) -> Response<Body> {
        let Connection { local, remote, stream } = connection;
        let (reader, writer) = tokio::io::split(stream);
        // The guest has gone; nothing more is written, for that or any other reason.
        let (gone, written) = (CancellationToken::new(), CancellationToken::new());
        let (leaves, is_written) = (gone.clone(), written.clone().drop_guard());
        self.tasks.spawn("connection", async move {
            if Carried::new(body).write(writer).await == Written::All {
                leaves.cancel();
            }
            drop((is_written, slot));
        });
        let pieces = outgoing(reader, written.cancelled_owned()).take_until(gone.cancelled_owned());
        let frames = pieces.map(|piece| piece.map(Frame::data).map_err(BoxError::from));
        let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
        response.headers_mut().insert(ENDS, header(&Ends { local, remote }));
        response
    }

    fn datagrams(&self, number: u64, body: RequestBody) -> Result<Response<Body>, NetError> {
        let Port::Udp(port) = self.find(number)? else { return Err(NetError::Unsupported) };
        // One refusal is enough to be told: a sender that does not listen has no use for the second.
        let (refusals, refused) = mpsc::channel(1);
        let (sending, slot) = (port.clone(), self.slot()?);
        self.tasks.spawn("datagrams", async move {
            let nonsense = send(body, &sending, &refusals).await.err();
            if let Some(error) = nonsense {
                tracing::warn!(%error, "a pod's own process");
            }
            drop(slot);
        });
        let receiving = Receiving { port, refused };
        let packets = stream::unfold(receiving, |mut from| async { Some((poll_fn(|cx| from.poll(cx)).await?, from)) });
        Ok(Response::new(body_of(packets.map(|packet| packet.encode()))))
    }

    async fn resolve(&self, name: &str) -> Result<Response<Body>, NetError> {
        let found = self.network()?.resolve(name).await?;
        let document = serde_json::to_vec(&found).expect("addresses are text");
        Ok(Response::new(Full::from(document).map_err(|never| match never {}).boxed_unsync()))
    }

    fn slot(&self) -> Result<OwnedSemaphorePermit, NetError> {
        Arc::clone(&self.connections).try_acquire_owned().map_err(|_| NetError::TooMany)
    }
}

impl Port {
    fn close(self) {
        match self {
            Self::Tcp(tcp) => {
                tcp.incoming.close();
                tcp.port.close();
            }
            Self::Udp(port) => port.close(),
        }
    }
}

impl<T: ?Sized> Open<T> {
    fn new(inner: Option<Box<T>>) -> Self {
        Self(Arc::new(Mutex::new(inner)))
    }

    /// Waits for whoever is at it just now, no longer than one poll.
    fn close(&self) {
        self.0.lock().take();
    }

    fn with<R>(&self, act: impl FnOnce(&mut T) -> Result<R, NetError>) -> Result<R, NetError> {
        act(self.0.lock().as_deref_mut().ok_or(NetError::Reset)?)
    }

    /// Ready with nothing once it is closed.
    fn poll<R>(&self, poll: impl FnOnce(&mut T) -> Poll<R>) -> Poll<Option<R>> {
        self.0.lock().as_deref_mut().map_or(Poll::Ready(None), |inner| poll(inner).map(Some))
    }
}

impl<T: ?Sized> Clone for Open<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

fn refused(error: NetError) -> Response<Body> {
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    response.headers_mut().insert(REFUSED, header(&Refusal(error)));
    response
}

fn header(words: &impl ToString) -> HeaderValue {
    words.to_string().try_into().expect("words and addresses are ASCII")
}

/// Takes the orders of one worker, and closes everything when that has gone.
struct OrderTaker {
    ports: Arc<Ports>,
    body: RequestBody,
    lines: Lines,
}

impl OrderTaker {
    async fn next_answer(&mut self) -> Option<Answer> {
        loop {
            match self.lines.next() {
                Ok(Some(order)) => {
                    if let Some(answer) = self.ports.obey(order) {
                        return Some(answer);
                    }
                }
                Ok(None) => {
                    let frame = self.body.frame().await?.ok()?;
                    self.lines.push(frame.data_ref().map_or(&[], |bytes| bytes));
                }
                Err(error) => {
                    tracing::warn!(%error, "a pod's own process");
                    return None;
                }
            }
        }
    }
}

impl Drop for OrderTaker {
    fn drop(&mut self) {
        self.ports.close();
    }
}

/// Sends what comes from a worker, until the port is closed.
async fn send(
    mut body: RequestBody,
    port: &Open<dyn UdpPort>,
    refusals: &mpsc::Sender<(Refusal, SocketAddr)>,
) -> Result<(), Nonsense> {
    let mut packets = Packets::default();
    while let Some(Ok(frame)) = body.frame().await {
        packets.push(frame.data_ref().map_or(&[], |bytes| bytes));
        while let Some(packet) = packets.next()? {
            let Packet::Datagram(datagram, to) = packet else {
                return Err(Nonsense("a refusal of a worker".to_owned()));
            };
            let sent = poll_fn(|context| port.poll(|port| port.poll_send(context, &datagram, to))).await;
            let Some(sent) = sent else { return Ok(()) };
            if let Err(error) = sent {
                // Told already if there is no room.
                let _ = refusals.try_send((Refusal(error), to));
            }
        }
    }
    Ok(())
}

/// What goes to a worker over a UDP port.
struct Receiving {
    port: Open<dyn UdpPort>,
    refused: mpsc::Receiver<(Refusal, SocketAddr)>,
}

impl Receiving {
    /// Returns the next packet; `None` when the worker sends no more, or the port is closed.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Packet>> {
        if let Poll::Ready(refused) = self.refused.poll_recv(context) {
            return Poll::Ready(refused.map(|(refusal, to)| Packet::Refused(refusal, to)));
        }
        let received = ready!(self.port.poll(|port| port.poll_receive(context)));
        Poll::Ready(received.and_then(Result::ok).map(|(bytes, from)| Packet::Datagram(bytes, from)))
    }
}
