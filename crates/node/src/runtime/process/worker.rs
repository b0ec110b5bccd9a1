//! The worker process of one pod: confines itself, then runs what the node asks for.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{StreamExt as _, stream};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use hyper::body::{Frame as BodyFrame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::{self, Handle};
use tokio::sync::{mpsc, oneshot};
use wkube_base::Tasks;
use wkube_proxy::{Body, BoxError};
use wkube_wasm_runtime::{Network, Outbound};

use super::sockets::NodeNetwork;
use super::wire::{Command, Decoder, Frame, GUEST, Made, PAYLOAD_MAX, SETUP_MAX, Setup, Start, Stop};
use super::{channel, confine, outbound};
use crate::logs::entry::Stream;
use crate::runtime::{Exec, Exit, Guest, StartError};
use crate::stdio::{QueueReader, QueueWriter, queue};

/// How often a guest's usage is told.
const USAGE_PERIOD: Duration = Duration::from_secs(1);
/// Frames that wait for the node.
const FRAMES_WAITING: usize = 16;
/// Input that waits for a guest, in pieces.
const STDIN_WAITING: usize = 16;
/// What a guest is made from is not larger: the environment of a container is a mebibyte at most.
const DOCUMENT_MAX: usize = 8 << 20;

/// A port: makes containers.
pub(super) trait Launch: Send + Sync + 'static {
    /// Starts a container from compiled code.
    fn start(
        &self,
        start: Start,
        stdin: Option<mpsc::Receiver<Bytes>>,
        output: QueueWriter,
        ways: Ways,
    ) -> BoxFuture<'static, Result<Arc<dyn Guest>, StartError>>;
}

/// Where guests get out: both lead to the node.
pub(super) struct Ways {
    /// For requests.
    pub(super) outbound: Arc<dyn Outbound>,
    /// For sockets.
    pub(super) network: Arc<dyn Network>,
}

/// Runs this process as the worker of a pod, until the node closes its end: so it does not survive the node.
///
/// Its standard input and output are sockets to the node. Must be called before the process has a second thread.
///
/// # Errors
/// If the kernel does not confine it, or the node does not speak as expected.
pub fn run_worker() -> io::Result<()> {
    let mut calls = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let requests = UnixStream::from(io::stdout().as_fd().try_clone_to_owned()?);
    let setup = read_setup(&mut calls)?;
    // The guests have threads of their own; what is said to the node needs no more than this one. It is made first,
    // because it makes itself a pair of sockets.
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    confine::confine(&setup)?;
    // Guests, and this thread when it makes them, may wait for what the node says: somebody else has to listen.
    let listening = runtime::Builder::new_multi_thread().worker_threads(1).thread_name("node").enable_all().build()?;
    calls.set_nonblocking(true)?;
    requests.set_nonblocking(true)?;
    let requests = listening.block_on(async { tokio::net::UnixStream::from_std(requests) })?;
    let served = runtime.block_on(async {
        let launch = super::launch::FromCache::new(&setup)?;
        serve(tokio::net::UnixStream::from_std(calls)?, requests, listening.handle(), Arc::new(launch)).await
    });
    runtime.shutdown_background();
    listening.shutdown_background();
    served
}

fn read_setup(calls: &mut impl io::Read) -> io::Result<Setup> {
    let mut length = [0; 4];
    calls.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > SETUP_MAX {
        return Err(io::Error::other("this is started by a wkube node, not by hand"));
    }
    let mut document = vec![0; length];
    calls.read_exact(&mut document)?;
    Ok(serde_json::from_slice(&document)?)
}

/// Answers the node on `calls` until it closes that, and sends what guests send over `requests`, which is served by other
/// threads than this.
pub(super) async fn serve<S>(calls: S, requests: S, threads: &Handle, launch: Arc<dyn Launch>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let tasks = Tasks::new();
    let elsewhere = tasks.on(threads.clone());
    let (joined, joining) = oneshot::channel();
    elsewhere.spawn("requests", async move {
        // There, not here: hyper starts what drives a connection where this is called.
        match channel::client().handshake(TokioIo::new(requests)).await {
            Ok((node, connection)) => {
                drop(joined.send(Ok(node)));
                drop(connection.await);
            }
            Err(error) => drop(joined.send(Err(io::Error::other(error)))),
        }
    });
    let node = joining.await.map_err(io::Error::other)??;
    let network = NodeNetwork::open(node.clone(), elsewhere);
    let worker = Arc::new(Worker {
        launch,
        node,
        network,
        guests: Mutex::default(),
        last: AtomicU64::new(0),
        tasks: tasks.clone(),
    });
    let answer = hyper::service::service_fn(move |request| {
        let worker = Arc::clone(&worker);
        async move { Ok::<_, Infallible>(worker.answer(request).await) }
    });
    let served = channel::server().serve_connection(TokioIo::new(calls), answer).await;
    tasks.cancel();
    served.map_err(io::Error::other)
}

struct Worker {
    launch: Arc<dyn Launch>,
    node: SendRequest<Body>,
    network: NodeNetwork,
    guests: Mutex<BTreeMap<u64, Entry>>,
    last: AtomicU64,
    tasks: Tasks,
}

/// A guest, and what joins it with whoever runs it.
struct Entry {
    guest: Arc<dyn Guest>,
    ends: Option<Ends>,
}

struct Ends {
    stdin: Option<mpsc::Sender<Bytes>>,
    writer: QueueWriter,
    output: QueueReader,
}

impl Worker {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        if let Some(id) = request.headers().get(GUEST) {
            let id = id.to_str().ok().and_then(|id| id.parse().ok());
            return self.pass_on(id, request).await;
        }
        let path = request.uri().path().trim_matches('/').to_owned();
        let parts: Vec<&str> = path.split('/').collect();
        let answered = match parts.as_slice() {
            ["guests"] => self.make(request).await,
            ["guests", id, "commands"] => self.make_command(id, request).await,
            ["guests", id, "run"] => self.run(id, request),
            ["guests", id, "resize"] => self.resize(id, request).await,
            ["guests", id, "stop"] => self.stop(id, request).await,
            _ => Err(Refusal::new(StatusCode::NOT_FOUND, "no such call")),
        };
        answered.unwrap_or_else(Refusal::response)
    }

    async fn make(&self, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
        let start: Start = document(request).await?;
        let (stdin, reads) = pipe(start.has_stdin);
        let (writer, output) = queue();
        let ways =
            Ways { outbound: Arc::new(outbound::ToNode(self.node.clone())), network: Arc::new(self.network.clone()) };
        let guest = self.launch.start(start, reads, writer.clone(), ways).await.map_err(|error| judged(&error))?;
        Ok(self.keep(guest, Ends { stdin, writer, output }))
    }

    async fn make_command(&self, id: &str, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
        let guest = self.find(id)?;
        let Command { args, program, has_stdin } = document(request).await?;
        let (stdin, reads) = pipe(has_stdin);
        let (writer, output) = queue();
        let exec = Exec { program, stdin: reads, ..Exec::new(args, Arc::new(writer.clone())) };
        let command = guest.exec(exec).await.map_err(|error| judged(&error))?;
        Ok(self.keep(command, Ends { stdin, writer, output }))
    }

    fn keep(&self, guest: Arc<dyn Guest>, ends: Ends) -> Response<Body> {
        let id = self.last.fetch_add(1, Ordering::Relaxed);
        let made = Made { id, is_handler: guest.backend().is_some() };
        self.guests.lock().insert(id, Entry { guest, ends: Some(ends) });
        json(&made)
    }

    fn find(&self, id: &str) -> Result<Arc<dyn Guest>, Refusal> {
        let id = id.parse::<u64>().ok();
        let guest = id.and_then(|id| self.guests.lock().get(&id).map(|entry| Arc::clone(&entry.guest)));
        guest.ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, "no such guest"))
    }

    /// Joins a guest with the node until it has ended.
    fn run(self: &Arc<Self>, id: &str, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
        let guest = self.find(id)?;
        let id = id.parse().unwrap_or_default();
        let ends = self.guests.lock().get_mut(&id).and_then(|entry| entry.ends.take());
        let Some(Ends { stdin, writer, output }) = ends else {
            return Err(Refusal::new(StatusCode::CONFLICT, "the guest is run by somebody else"));
        };
        if let Some(stdin) = stdin {
            self.tasks.spawn("stdin", feed(request.into_body(), stdin));
        }
        let (frames, told) = mpsc::channel(FRAMES_WAITING);
        let me = Arc::clone(self);
        self.tasks.spawn("guest", async move {
            if tell(&*guest, &writer, output, &frames).await.is_err() {
                // Nobody listens any more: whoever ran it is gone.
                guest.stop(Duration::ZERO).await;
            }
            me.guests.lock().remove(&id);
        });
        let frames = stream::unfold(told, |mut told| async { Some((told.recv().await?, told)) });
        let body = frames.map(|frame: Frame| Ok::<_, BoxError>(BodyFrame::data(frame.encode())));
        Ok(Response::new(StreamBody::new(body).boxed_unsync()))
    }

    async fn resize(&self, id: &str, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
        let guest = self.find(id)?;
        guest.resize(&document(request).await?);
        Ok(Refusal::new(StatusCode::NO_CONTENT, "").response())
    }

    async fn stop(&self, id: &str, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
        let guest = self.find(id)?;
        let Stop { grace_millis } = document(request).await?;
        let stopping = guest.stop(Duration::from_millis(grace_millis));
        self.tasks.spawn("stop", stopping);
        Ok(Refusal::new(StatusCode::NO_CONTENT, "").response())
    }

    /// Lets a guest answer a request.
    async fn pass_on(&self, id: Option<u64>, mut request: Request<Incoming>) -> Response<Body> {
        let guest = id.and_then(|id| self.guests.lock().get(&id).map(|entry| Arc::clone(&entry.guest)));
        let Some(backend) = guest.and_then(|guest| guest.backend()) else {
            return Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the guest has been stopped").response();
        };
        request.headers_mut().remove(GUEST);
        let request = request.map(|body| body.map_err(BoxError::from).boxed_unsync());
        let answer = backend.handle(request).await;
        answer.unwrap_or_else(|error| Refusal::new(StatusCode::BAD_GATEWAY, error).response())
    }
}

/// Tells everything about a guest until it has ended. Fails if nobody listens.
async fn tell(
    guest: &dyn Guest,
    writer: &QueueWriter,
    mut output: QueueReader,
    frames: &mpsc::Sender<Frame>,
) -> Result<(), mpsc::error::SendError<Frame>> {
    let mut ended = guest.ended();
    let mut exit: Option<Exit> = None;
    let mut ticks = tokio::time::interval(USAGE_PERIOD);
    loop {
        tokio::select! {
            biased;
            chunk = output.next() => match chunk {
                Some((stream, bytes)) => say(stream, bytes, frames).await?,
                None => break,
            },
            how = &mut ended, if exit.is_none() => {
                exit = Some(how);
                // What was written before is still in the queue.
                writer.close();
            }
            _ = ticks.tick() => frames.send(Frame::Usage(guest.usage())).await?,
            () = frames.closed() => return Err(mpsc::error::SendError(Frame::Usage(guest.usage()))),
        }
    }
    let exit = match exit {
        Some(exit) => exit,
        None => ended.await,
    };
    frames.send(Frame::Usage(guest.usage())).await?;
    frames.send(Frame::Exit(exit)).await
}

async fn say(stream: Stream, bytes: Bytes, frames: &mpsc::Sender<Frame>) -> Result<(), mpsc::error::SendError<Frame>> {
    for start in (0..bytes.len()).step_by(PAYLOAD_MAX) {
        let piece = bytes.slice(start..bytes.len().min(start + PAYLOAD_MAX));
        let frame = match stream {
            Stream::Stdout => Frame::Stdout(piece),
            Stream::Stderr => Frame::Stderr(piece),
        };
        frames.send(frame).await?;
    }
    Ok(())
}

/// Gives a guest its input as it comes; a guest that does not read holds up nothing but this.
async fn feed(mut body: Incoming, stdin: mpsc::Sender<Bytes>) {
    let mut decoder = Decoder::default();
    while let Some(Ok(frame)) = body.frame().await {
        let Some(bytes) = frame.data_ref() else { continue };
        decoder.push(bytes);
        while let Ok(Some(frame)) = decoder.next_frame() {
            if let Frame::Stdin(bytes) = frame
                && stdin.send(bytes).await.is_err()
            {
                return;
            }
        }
    }
}

fn pipe(wanted: bool) -> (Option<mpsc::Sender<Bytes>>, Option<mpsc::Receiver<Bytes>>) {
    let ends = wanted.then(|| mpsc::channel(STDIN_WAITING));
    ends.unzip()
}

async fn document<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, Refusal> {
    let body = Limited::new(request.into_body(), DOCUMENT_MAX).collect().await;
    let bytes = body.map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error))?.to_bytes();
    serde_json::from_slice(&bytes).map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error))
}

fn json(value: &impl Serialize) -> Response<Body> {
    Response::new(text(serde_json::to_vec(value).expect("numbers and text")))
}

fn judged(error: &StartError) -> Refusal {
    let status = match error {
        StartError::Unrunnable(_) => StatusCode::UNPROCESSABLE_ENTITY,
        StartError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Refusal::new(status, error)
}

/// An answer that is no more than a status and a reason.
struct Refusal {
    status: StatusCode,
    why: String,
}

impl Refusal {
    fn new(status: StatusCode, why: impl ToString) -> Self {
        Self { status, why: why.to_string() }
    }

    fn response(self) -> Response<Body> {
        let mut response = Response::new(text(self.why));
        *response.status_mut() = self.status;
        response
    }
}

fn text(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}
