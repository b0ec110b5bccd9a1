//! The guests' half: the network of the pod, which is in the node's process, as if it were here.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc as blocking};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, stream};
use http::{Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, Empty, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::io::StreamReader;
use tokio_util::sync::CancellationToken;
use wkube_base::Tasks;
use wkube_proxy::{Body, BoxError};
use wkube_wasm_runtime::{Connection, NetError, Network, TcpPort, UdpPort};

use super::super::channel::CONNECTIONS_MAX;
use super::carried::{Carried, Held, outgoing};
use super::ports::{Port, Tcp, Udp};
use super::words::{self, Answer, Call, ENDS, Ends, Lines, Order, REFUSED, Refusal, SOCKET};

/// What is taken from a guest before the way to the node takes it, for each connection.
const PIPE_BYTES: usize = 16 << 10;
/// The answer to a look-up is not longer.
const ANSWER_MAX: usize = 64 << 10;

/// The network of the pod. Clones are the same.
#[derive(Clone)]
pub(in super::super) struct NodeNetwork(Arc<Line>);

/// The way to the node.
pub(super) struct Line {
    node: SendRequest<Body>,
    tasks: Tasks,
    orders: Mutex<Orders>,
    last: AtomicU64,
    connections: Arc<Semaphore>,
}

/// What has been asked of the node, in order.
struct Orders {
    // No longer than the ports of the pod, and the guests' threads, are many: the node takes orders as they come.
    sender: mpsc::UnboundedSender<Bytes>,
    /// Who waits for an answer. Nobody can once the node has gone.
    waiting: Option<VecDeque<blocking::SyncSender<Answer>>>,
}

impl NodeNetwork {
    /// Opens the way to the network. `tasks` must run where no guest does: guests that bind and listen wait for the node
    /// with all of their thread.
    pub(in super::super) fn open(node: SendRequest<Body>, tasks: Tasks) -> Self {
        let (sender, orders) = mpsc::unbounded_channel();
        let line = Arc::new(Line {
            node,
            tasks,
            orders: Mutex::new(Orders { sender, waiting: Some(VecDeque::new()) }),
            last: AtomicU64::new(0),
            connections: Arc::new(Semaphore::new(CONNECTIONS_MAX as usize)),
        });
        line.tasks.spawn("orders", give(HangUp(Arc::clone(&line)), orders));
        Self(line)
    }
}

impl Network for NodeNetwork {
    fn bind_tcp(&self, local: SocketAddr) -> Result<Box<dyn TcpPort>, NetError> {
        let port = self.0.bind(|port| Order::BindTcp { port, local })?;
        Ok(Box::new(Tcp::new(port)))
    }

    fn bind_udp(&self, local: SocketAddr) -> Result<Box<dyn UdpPort>, NetError> {
        let port = self.0.bind(|port| Order::BindUdp { port, local })?;
        Ok(Box::new(Udp::open(port)?))
    }

    fn resolve(&self, name: &str) -> BoxFuture<'static, Result<Vec<IpAddr>, NetError>> {
        let (line, call) = (Arc::clone(&self.0), Call::Resolve { name: name.to_owned() });
        let looking = async move {
            let answer = line.call(&call, Empty::new().map_err(|never| match never {}).boxed_unsync()).await?;
            let document = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
            let document = document.map_err(|_| NetError::NameUnavailable)?.to_bytes();
            words::addresses(&document).map_err(|_| NetError::NameUnavailable)
        };
        looking.boxed()
    }
}

/// Gives the node its orders until either has gone.
async fn give(line: HangUp, orders: mpsc::UnboundedReceiver<Bytes>) {
    let orders = body_of(stream::unfold(orders, |mut orders| async { Some((orders.recv().await?, orders)) }));
    let HangUp(line) = &line;
    let Ok(answers) = line.call(&Call::Orders, orders).await else { return };
    let (mut answers, mut lines) = (answers.into_body(), Lines::default());
    while let Some(Ok(frame)) = answers.frame().await {
        lines.push(frame.data_ref().map_or(&[], |bytes| bytes));
        while let Some(answer) = lines.next().transpose() {
            let Ok(answer) = answer else { return };
            line.answered(answer);
        }
    }
}

/// When this goes, whoever waits for an answer hears that there is none.
struct HangUp(Arc<Line>);

impl Drop for HangUp {
    fn drop(&mut self) {
        self.0.orders.lock().waiting = None;
    }
}

impl Line {
    fn answered(&self, answer: Answer) {
        let first = self.orders.lock().waiting.as_mut().and_then(VecDeque::pop_front);
        if let Some(who) = first {
            // There is room for the one answer.
            let _ = who.send(answer);
        }
    }

    /// Asks the node for what it answers at once. No WASI lets its guests wait for such a call, so this holds the guest's
    /// thread, as a system call would.
    pub(super) fn ask(&self, order: &Order) -> Result<SocketAddr, NetError> {
        let (answer, answered) = blocking::sync_channel(1);
        {
            let mut orders = self.orders.lock();
            orders.waiting.as_mut().ok_or(NetError::Unreachable)?.push_back(answer);
            orders.sender.send(words::line(order)).map_err(|_| NetError::Unreachable)?;
        }
        let answer: Answer = answered.recv().map_err(|_| NetError::Unreachable)?;
        answer.map_err(|Refusal(error)| error)
    }

    /// Tells the node what has no answer.
    pub(super) fn tell(&self, order: &Order) {
        // A node that has gone has let go of everything.
        drop(self.orders.lock().sender.send(words::line(order)));
    }

    fn bind(self: &Arc<Self>, order: impl FnOnce(u64) -> Order) -> Result<Arc<Port>, NetError> {
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        let local = self.ask(&order(number))?;
        Ok(Arc::new(Port { line: Arc::clone(self), number, local }))
    }

    /// Starts something that goes on beside the guests.
    pub(super) fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(name, task);
    }

    /// Takes the right to one more connection.
    pub(super) fn slot(&self) -> Result<OwnedSemaphorePermit, NetError> {
        Arc::clone(&self.connections).try_acquire_owned().map_err(|_| NetError::TooMany)
    }

    /// Waits for the right to one more connection.
    pub(super) async fn next_slot(&self) -> Result<OwnedSemaphorePermit, NetError> {
        Arc::clone(&self.connections).acquire_owned().await.map_err(|_| NetError::Unreachable)
    }

    /// Calls the node.
    pub(super) async fn call(&self, call: &Call, body: Body) -> Result<Response<Incoming>, NetError> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from_static("http://node/");
        let about = call.to_string().try_into().map_err(|_| NetError::NoName)?;
        request.headers_mut().insert(SOCKET, about);
        let mut node = self.node.clone();
        node.ready().await.map_err(|_| NetError::Unreachable)?;
        let response = node.send_request(request).await.map_err(|_| NetError::Unreachable)?;
        let Some(refused) = response.headers().get(REFUSED) else { return Ok(response) };
        let refusal = refused.to_str().ok().and_then(|name| name.parse().ok());
        Err(refusal.map_or(NetError::Unreachable, |Refusal(error)| error))
    }

    /// Opens a connection whose directions are the two bodies of one call. It keeps the port that it is made from.
    pub(super) async fn open(
        self: &Arc<Self>,
        call: Call,
        slot: OwnedSemaphorePermit,
        port: Option<Arc<Port>>,
    ) -> Result<Connection, NetError> {
        let ((writer, far), gone) = (tokio::io::duplex(PIPE_BYTES), CancellationToken::new());
        // Also if this future is dropped half way.
        let leaving = gone.clone().drop_guard();
        let pieces = outgoing(far, gone.clone().cancelled_owned()).filter_map(async |piece| piece.ok());
        let response = self.call(&call, body_of(pieces)).await?;
        let ends = response.headers().get(ENDS).and_then(|ends| ends.to_str().ok()?.parse().ok());
        let Ends { local, remote } = ends.ok_or(NetError::Unreachable)?;
        leaving.disarm();
        let reader = Some(StreamReader::new(Carried::new(response.into_body())));
        let held = Held { line: Arc::clone(self), reader, writer, gone, slot: Some(slot), _port: port };
        Ok(Connection { local, remote, stream: Box::new(held) })
    }
}

/// Returns a body of these pieces.
pub(super) fn body_of(pieces: impl futures::Stream<Item = Bytes> + Send + 'static) -> Body {
    StreamBody::new(pieces.map(|piece| Ok::<_, BoxError>(Frame::data(piece)))).boxed_unsync()
}
