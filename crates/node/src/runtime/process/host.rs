//! The node's half: starts a worker process for a pod, and makes its guests look like those of this process.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, stream};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use hyper::body::{Frame as BodyFrame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use wkube_api::stats::Usage;
use wkube_base::Tasks;
use wkube_proxy::{Backend, Body, BoxError};
use wkube_wasm_runtime::{Network, Outbound};

use super::inbound::Answers;
use super::sockets::{Ports, SOCKET};
use super::wire::{Command, Decoder, Frame, Made, PAYLOAD_MAX, Setup, Start, Stop};
use super::{Limits, channel, outbound};
use crate::logs::entry::Stream;
use crate::runtime::{Amounts, ContainerSpec, Exec, Exit, Guest, Output, StartError};

/// What the process itself may have besides its guests: the pools of the engine, which are reserved and hardly used, stacks,
/// what is on its way.
const OVERHEAD_BYTES: u64 = 512 << 20;
/// A worker that does not obey is killed this long after its guest should have ended.
const STOP_SLACK: Duration = Duration::from_secs(2);
/// How long the cause of a worker's death is waited for when its connection has broken.
const DEATH_WAIT: Duration = Duration::from_secs(5);
/// Answers of a worker to the node's own questions are not longer.
const ANSWER_MAX: usize = 1 << 20;

/// The worker processes of one node, by pod.
pub(in crate::runtime) struct Workers {
    program: Option<PathBuf>,
    compiled: PathBuf,
    // Held while a worker starts, so that two containers of a pod do not start two.
    live: tokio::sync::Mutex<BTreeMap<String, Weak<Worker>>>,
}

/// Where a worker's guests get out: for requests, and for sockets.
pub(super) type Ways = (Arc<dyn Outbound>, Option<Arc<dyn Network>>);

/// One worker process. It dies when the last of its guests is dropped.
pub(super) struct Worker {
    calls: SendRequest<Body>,
    ports: Arc<Ports>,
    /// How it died.
    died: Arc<watch::Sender<Option<ExitStatus>>>,
    kill: CancellationToken,
    tasks: Tasks,
}

impl Workers {
    /// Returns the workers of a node: `program pod-worker` is one, `compiled` is where its code is. Without a program
    /// there are none.
    pub(in crate::runtime) fn new(program: Option<PathBuf>, compiled: PathBuf) -> Self {
        Self { program, compiled, live: tokio::sync::Mutex::default() }
    }

    /// Starts a container in the process of its pod.
    pub(in crate::runtime) async fn start(
        &self,
        module: &str,
        limits: &Limits,
        outbound: Arc<dyn Outbound>,
        spec: ContainerSpec,
    ) -> Result<Arc<dyn Guest>, StartError> {
        let ways = (outbound, spec.network.clone());
        let (start, stdin, output) = taken_apart(module, spec);
        let worker = self.worker(&start.pod.uid, limits, ways).await;
        let worker = worker.map_err(|error| StartError::Failed(format!("the pod's own process: {error}")))?;
        worker.start(&start, stdin, output).await
    }

    async fn worker(&self, uid: &str, limits: &Limits, ways: Ways) -> io::Result<Arc<Worker>> {
        let mut live = self.live.lock().await;
        live.retain(|_, worker| worker.strong_count() > 0);
        if let Some(worker) = live.get(uid).and_then(Weak::upgrade).filter(|worker| worker.died.borrow().is_none()) {
            return Ok(worker);
        }
        let setup = Setup {
            compiled: self.compiled.clone(),
            readable: limits.readable.clone(),
            writable: limits.writable.clone(),
            memory_bytes: limits.memory_bytes.saturating_add(OVERHEAD_BYTES),
        };
        let none = "this node has no program for it (`Builder::pod_worker`)";
        let program = self.program.as_deref().ok_or_else(|| io::Error::other(none))?;
        let worker = Arc::new(Worker::spawn(program, &setup, ways).await?);
        live.insert(uid.to_owned(), Arc::downgrade(&worker));
        Ok(worker)
    }
}

/// Separates what can be told from what cannot.
fn taken_apart(module: &str, spec: ContainerSpec) -> (Start, Option<mpsc::Receiver<Bytes>>, Arc<dyn Output>) {
    let ContainerSpec { stdin, output, mut mounts, .. } = spec;
    for mount in &mut mounts {
        // The node names what it holds open by its own descriptors, which are nobody else's.
        if let Ok(real) = std::fs::read_link(&mount.host) {
            mount.host = real;
        }
    }
    let start = Start {
        module: module.to_owned(),
        pod: spec.pod,
        name: spec.name,
        args: spec.args,
        command: spec.command,
        grants: spec.grants,
        env: spec.env,
        mounts,
        working_dir: spec.working_dir,
        trusts: spec.trusts,
        memory_bytes: spec.memory_bytes,
        cpu_millis: spec.cpu_millis,
        share: spec.share,
        ports: spec.ports,
        has_network: spec.network.is_some(),
        has_stdin: stdin.is_some(),
    };
    (start, stdin, output)
}

impl Worker {
    async fn spawn(program: &Path, setup: &Setup, ways: Ways) -> io::Result<Self> {
        let (calls, their_stdin) = StdStream::pair()?;
        let (requests, their_stdout) = StdStream::pair()?;
        let child = tokio::process::Command::new(program)
            .arg("pod-worker")
            .stdin(Stdio::from(OwnedFd::from(their_stdin)))
            .stdout(Stdio::from(OwnedFd::from(their_stdout)))
            .env_clear()
            .kill_on_drop(true)
            .spawn()?;
        let (mut calls, requests) = (to_tokio(calls)?, to_tokio(requests)?);
        let document = serde_json::to_vec(setup)?;
        calls.write_all(&u32::try_from(document.len()).map_err(io::Error::other)?.to_be_bytes()).await?;
        calls.write_all(&document).await?;
        let worker = Self::join(calls, requests, ways).await?;
        let attending = attend(child, Arc::clone(&worker.ports), Arc::clone(&worker.died), worker.kill.clone());
        worker.tasks.spawn("process", attending);
        Ok(worker)
    }

    /// Begins to speak with a worker.
    pub(super) async fn join<S>(calls: S, requests: S, (outbound, network): Ways) -> io::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (calls, connection) = channel::client().handshake(TokioIo::new(calls)).await.map_err(io::Error::other)?;
        let tasks = Tasks::new();
        let ports = Ports::new(network, tasks.clone());
        tasks.spawn("calls", async move { drop(connection.await) });
        tasks.spawn("requests", serve_requests(requests, outbound, Arc::clone(&ports)));
        Ok(Self { calls, ports, died: Arc::new(watch::Sender::new(None)), kill: CancellationToken::new(), tasks })
    }

    /// Starts a container.
    pub(super) async fn start(
        self: &Arc<Self>,
        start: &Start,
        stdin: Option<mpsc::Receiver<Bytes>>,
        output: Arc<dyn Output>,
    ) -> Result<Arc<dyn Guest>, StartError> {
        let made = self.make("guests", start).await?;
        Ok(Arc::new(self.run(made, stdin, output).await?))
    }

    /// Asks for something to be made.
    async fn make(&self, path: &str, wish: &(impl Serialize + Sync)) -> Result<Made, StartError> {
        let lost = |error: String| StartError::Failed(format!("the pod's own process: {error}"));
        let response = self.call(path, wish).await.map_err(|error| lost(error.to_string()))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
        let body = body.map_err(|error| lost(error.to_string()))?.to_bytes();
        let text = || String::from_utf8_lossy(&body).into_owned();
        match status {
            StatusCode::OK => serde_json::from_slice(&body).map_err(|error| lost(error.to_string())),
            StatusCode::UNPROCESSABLE_ENTITY => Err(StartError::Unrunnable(text())),
            _ => Err(StartError::Failed(text())),
        }
    }

    async fn call(&self, path: &str, wish: &(impl Serialize + Sync)) -> Result<Response<Incoming>, BoxError> {
        let body = Full::new(Bytes::from(serde_json::to_vec(wish)?)).map_err(|never| match never {}).boxed_unsync();
        self.send(post(path, body)).await
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, BoxError> {
        let mut calls = self.calls.clone();
        calls.ready().await?;
        Ok(calls.send_request(request).await?)
    }

    /// Joins a guest that was made with its input and its output.
    async fn run(
        self: &Arc<Self>,
        made: Made,
        stdin: Option<mpsc::Receiver<Bytes>>,
        output: Arc<dyn Output>,
    ) -> Result<Remote, StartError> {
        let body = stdin.map_or_else(|| Full::default().map_err(|never| match never {}).boxed_unsync(), input);
        let running = self.send(post(&format!("guests/{}/run", made.id), body)).await;
        let running = running.map_err(|error| StartError::Failed(format!("the pod's own process: {error}")))?;
        let usage = Arc::new(Mutex::new(Usage::default()));
        let (ended, exit) = watch::channel(None);
        let (died, seen, left) = (self.died.subscribe(), Arc::clone(&usage), CancellationToken::new());
        let dropped = left.clone();
        self.tasks.spawn("guest", async move {
            tokio::select! {
                exit = listen(running.into_body(), output, &seen, died) => drop(ended.send_replace(Some(exit))),
                () = dropped.cancelled() => {}
            }
        });
        Ok(Remote { worker: Arc::clone(self), made, usage, exit, left })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.ports.close();
        // With its task goes the process, which is killed when it is dropped.
        self.tasks.cancel();
    }
}

fn to_tokio(stream: StdStream) -> io::Result<UnixStream> {
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

/// Stays with the process until it is dead.
async fn attend(
    mut child: Child,
    ports: Arc<Ports>,
    died: Arc<watch::Sender<Option<ExitStatus>>>,
    kill: CancellationToken,
) {
    let status = tokio::select! {
        status = child.wait() => status,
        () = kill.cancelled() => {
            drop(child.start_kill());
            child.wait().await
        }
    };
    // Before anybody hears of it, and starts another that takes the same.
    ports.close();
    died.send_replace(Some(status.unwrap_or_default()));
}

/// Sends what the worker's guests send.
pub(super) async fn serve_requests<S>(stream: S, outbound: Arc<dyn Outbound>, ports: Arc<Ports>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let send = hyper::service::service_fn(move |request: Request<Incoming>| {
        let (outbound, ports) = (Arc::clone(&outbound), Arc::clone(&ports));
        async move {
            let is_about_sockets = request.headers().contains_key(SOCKET);
            let answer =
                if is_about_sockets { ports.answer(request).await } else { outbound::send(outbound, request).await };
            Ok::<_, Infallible>(answer)
        }
    });
    // It ends with the process.
    drop(channel::server().serve_connection(TokioIo::new(stream), send).await);
}

fn post(path: &str, body: Body) -> Request<Body> {
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::try_from(format!("http://worker/{path}")).expect("paths are ours");
    request
}

fn input(stdin: mpsc::Receiver<Bytes>) -> Body {
    let pieces = stream::unfold(stdin, |mut stdin| async { Some((stdin.recv().await?, stdin)) });
    let frames = pieces.flat_map(|bytes: Bytes| {
        let starts = (0..bytes.len()).step_by(PAYLOAD_MAX);
        let cut = move |start: usize| Frame::Stdin(bytes.slice(start..bytes.len().min(start + PAYLOAD_MAX)));
        stream::iter(starts.map(cut).collect::<Vec<_>>())
    });
    StreamBody::new(frames.map(|frame| Ok::<_, BoxError>(BodyFrame::data(frame.encode())))).boxed_unsync()
}

/// Takes what a guest says until it has ended, or its process has died.
async fn listen(
    mut body: Incoming,
    output: Arc<dyn Output>,
    usage: &Mutex<Usage>,
    mut died: watch::Receiver<Option<ExitStatus>>,
) -> Exit {
    let mut decoder = Decoder::default();
    while let Some(Ok(frame)) = body.frame().await {
        let Some(bytes) = frame.data_ref() else { continue };
        decoder.push(bytes);
        loop {
            match decoder.next_frame() {
                Ok(Some(Frame::Stdout(bytes))) => output.write(Stream::Stdout, &bytes),
                Ok(Some(Frame::Stderr(bytes))) => output.write(Stream::Stderr, &bytes),
                Ok(Some(Frame::Usage(now))) => *usage.lock() = now,
                Ok(Some(Frame::Exit(exit))) => return exit,
                Ok(Some(Frame::Stdin(_)) | None) => break,
                Err(nonsense) => return killed(nonsense.to_string()),
            }
        }
        if let Some(room) = output.room() {
            room.await;
        }
    }
    let death = tokio::time::timeout(DEATH_WAIT, died.wait_for(Option::is_some)).await;
    let status = death.ok().and_then(Result::ok).and_then(|status| *status);
    exit_of(status)
}

/// How a guest ended whose process did.
fn exit_of(status: Option<ExitStatus>) -> Exit {
    let Some(status) = status else { return killed("the connection to the pod's own process broke".to_owned()) };
    let code = status.signal().map_or_else(|| status.code().unwrap_or(137), |signal| 128 + signal);
    Exit { message: format!("the pod's own process ended ({status})"), ..Exit::of(code) }
}

fn killed(message: String) -> Exit {
    Exit { message, ..Exit::of(137) }
}

/// A guest in a worker.
struct Remote {
    worker: Arc<Worker>,
    made: Made,
    usage: Arc<Mutex<Usage>>,
    exit: watch::Receiver<Option<Exit>>,
    left: CancellationToken,
}

impl Drop for Remote {
    fn drop(&mut self) {
        // The worker kills what nobody listens to.
        self.left.cancel();
    }
}

impl Guest for Remote {
    fn ended(&self) -> BoxFuture<'static, Exit> {
        let mut exit = self.exit.clone();
        let ended = async move {
            let exit = exit.wait_for(Option::is_some).await.ok().and_then(|exit| exit.clone());
            exit.unwrap_or_else(|| killed(String::new()))
        };
        ended.boxed()
    }

    fn stop(&self, grace: Duration) -> BoxFuture<'static, ()> {
        let (worker, id, ended) = (Arc::clone(&self.worker), self.made.id, self.ended());
        let stopping = async move {
            let grace_millis = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
            let asked = async {
                drop(worker.call(&format!("guests/{id}/stop"), &Stop { grace_millis }).await);
                ended.await
            };
            if tokio::time::timeout(grace.saturating_add(STOP_SLACK), asked).await.is_err() {
                tracing::warn!("a pod's own process does not obey and is killed");
                worker.kill.cancel();
            }
        };
        stopping.boxed()
    }

    fn backend(&self) -> Option<Arc<dyn Backend>> {
        let answers = || Arc::new(Answers { worker: Arc::clone(&self.worker), id: self.made.id.into() });
        self.made.is_handler.then(|| answers() as Arc<dyn Backend>)
    }

    fn usage(&self) -> Usage {
        *self.usage.lock()
    }

    fn resize(&self, to: &Amounts) {
        let (worker, path, to) = (Arc::clone(&self.worker), format!("guests/{}/resize", self.made.id), *to);
        self.worker.tasks.spawn("resize", async move { drop(worker.call(&path, &to).await) });
    }

    fn exec(&self, exec: Exec) -> BoxFuture<'static, Result<Arc<dyn Guest>, StartError>> {
        let (worker, id) = (Arc::clone(&self.worker), self.made.id);
        let running = async move {
            // The image is for who finds the program, in this process.
            let Exec { args, program, stdin, output, image: _ } = exec;
            let command = Command { args, program, has_stdin: stdin.is_some() };
            let made = worker.make(&format!("guests/{id}/commands"), &command).await?;
            Ok(Arc::new(worker.run(made, stdin, output).await?) as Arc<dyn Guest>)
        };
        running.boxed()
    }
}
