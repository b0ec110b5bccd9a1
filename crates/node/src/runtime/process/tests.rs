//! Both halves in one process, over pipes: what a node sees of a worker's guests.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::io::DuplexStream;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use wkube_api::stats::Usage;
use wkube_base::Tasks;
use wkube_proxy::{Backend, Body, BoxError};
use wkube_wasm_runtime::Outbound;

use super::host::Worker;
use super::wire::Start;
use super::worker::{self, Launch, Ways};
use crate::logs::entry::Stream;
use crate::runtime::{Amounts, Cause, Exec, Exit, Guest, Output, Share, StartError};
use crate::stdio::{QueueReader, QueueWriter, queue};

/// Starts guests that do what their first argument says.
#[derive(Default)]
struct Scripted {
    started: Mutex<VecDeque<Start>>,
}

impl Launch for Scripted {
    fn start(
        &self,
        start: Start,
        stdin: Option<mpsc::Receiver<Bytes>>,
        output: QueueWriter,
        ways: Ways,
    ) -> BoxFuture<'static, Result<Arc<dyn Guest>, StartError>> {
        let what = start.args.first().cloned().unwrap_or_default();
        self.started.lock().push_back(start);
        async move {
            match what.as_str() {
                "unrunnable" => Err(StartError::Unrunnable("no entry point".to_owned())),
                "unlucky" => Err(StartError::Failed("no slot".to_owned())),
                _ => Ok(Actor::begin(&what, stdin, Arc::new(output), ways.outbound)),
            }
        }
        .boxed()
    }
}

/// `echo` copies its input until that ends; `print` says something and ends with 3; `wait` waits; `serve` answers.
struct Actor {
    exit: watch::Sender<Option<Exit>>,
    stops: Mutex<Vec<Duration>>,
    outbound: Option<Arc<dyn Outbound>>,
    _tasks: Tasks,
}

impl Actor {
    fn begin(
        what: &str,
        stdin: Option<mpsc::Receiver<Bytes>>,
        output: Arc<dyn Output>,
        outbound: Arc<dyn Outbound>,
    ) -> Arc<dyn Guest> {
        let tasks = Tasks::new();
        let exit = watch::Sender::new(None);
        let end = |code| {
            let cause = if code == 137 { Cause::OutOfMemory } else { Cause::Exited };
            Exit { code, cause, message: "the end".to_owned() }
        };
        match what {
            "echo" => {
                let (mut stdin, exit) = (stdin.expect("echo has input"), exit.clone());
                tasks.spawn("echo", async move {
                    while let Some(bytes) = stdin.recv().await {
                        output.write(Stream::Stdout, &bytes);
                    }
                    exit.send_replace(Some(end(0)));
                });
            }
            "print" => {
                output.write(Stream::Stdout, &vec![b'o'; 100_000]);
                output.write(Stream::Stderr, b"err");
                exit.send_replace(Some(end(3)));
            }
            _ => {}
        }
        let outbound = (what == "serve").then_some(outbound);
        Arc::new(Self { exit, stops: Mutex::default(), outbound, _tasks: tasks })
    }
}

impl Guest for Actor {
    fn ended(&self) -> BoxFuture<'static, Exit> {
        let mut exit = self.exit.subscribe();
        async move { exit.wait_for(Option::is_some).await.unwrap().clone().unwrap() }.boxed()
    }

    fn stop(&self, grace: Duration) -> BoxFuture<'static, ()> {
        self.stops.lock().push(grace);
        let code = if grace.is_zero() { 137 } else { 143 };
        self.exit.send_replace(Some(Exit { message: format!("{grace:?}"), ..Exit::of(code) }));
        std::future::ready(()).boxed()
    }

    fn backend(&self) -> Option<Arc<dyn Backend>> {
        Some(Arc::new(Relay(Arc::clone(self.outbound.as_ref()?))))
    }

    fn usage(&self) -> Usage {
        Usage { cpu_nanos: 5, memory_bytes: 6 }
    }

    fn resize(&self, to: &Amounts) {
        let (code, message) = (0, format!("resized to {to:?}"));
        self.exit.send_replace(Some(Exit { message, ..Exit::of(code) }));
    }

    fn exec(&self, exec: Exec) -> BoxFuture<'static, Result<Arc<dyn Guest>, StartError>> {
        let nowhere: Arc<dyn Outbound> = Arc::new(Nowhere);
        std::future::ready(Ok(Self::begin(&exec.args[0], exec.stdin, exec.output, nowhere))).boxed()
    }
}

/// Sends each request on to where `/HOST` says, and answers what it is answered.
struct Relay(Arc<dyn Outbound>);

impl Backend for Relay {
    fn handle(&self, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, BoxError>> {
        let outbound = Arc::clone(&self.0);
        async move {
            assert!(request.headers().get(super::wire::GUEST).is_none());
            let uri = format!("http:/{}", request.uri().path());
            let (mut parts, body) = request.into_parts();
            parts.uri = uri.parse().unwrap();
            match outbound.send(Request::from_parts(parts, body)).await {
                Ok(response) => Ok(response),
                Err(error) => Ok(text(StatusCode::BAD_GATEWAY, format!("{error}"))),
            }
        }
        .boxed()
    }
}

struct Nowhere;

impl Outbound for Nowhere {
    fn send(&self, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, BoxError>> {
        let why = format!("nobody at {}", request.uri());
        std::future::ready(Err(std::io::Error::new(std::io::ErrorKind::ConnectionRefused, why).into())).boxed()
    }
}

/// The outside: answers with what it was sent.
struct Mirror;

impl Outbound for Mirror {
    fn send(&self, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, BoxError>> {
        async move {
            let host = request.uri().host().unwrap_or_default().to_owned();
            if host == "gone" {
                return Nowhere.send(request).await;
            }
            let body = request.into_body().collect().await?.to_bytes();
            Ok(text(StatusCode::CREATED, format!("{host} {}", String::from_utf8_lossy(&body))))
        }
        .boxed()
    }
}

fn text(status: StatusCode, text: String) -> Response<Body> {
    let body = Full::from(text).map_err(|never| match never {}).boxed_unsync();
    Response::builder().status(status).body(body).unwrap()
}

/// A node and a worker.
struct World {
    worker: Arc<Worker>,
    process: Tasks,
    launch: Arc<Scripted>,
}

impl World {
    async fn new() -> Self {
        let (process, launch) = (Tasks::new(), Arc::<Scripted>::default());
        let (calls, their_calls): (DuplexStream, _) = tokio::io::duplex(4_096);
        let (requests, their_requests) = tokio::io::duplex(4_096);
        let (threads, launcher) = (Handle::current(), Arc::clone(&launch));
        process.spawn("worker", async move {
            drop(worker::serve(their_calls, their_requests, &threads, launcher).await);
        });
        let worker = Worker::join(calls, requests, (Arc::new(Mirror), None)).await.unwrap();
        Self { worker: Arc::new(worker), process, launch }
    }

    async fn start(
        &self,
        what: &str,
        stdin: Option<mpsc::Receiver<Bytes>>,
    ) -> Result<(Arc<dyn Guest>, QueueReader), StartError> {
        let (writer, reader) = queue();
        let start = Start {
            module: "sha256:1".to_owned(),
            pod: crate::runtime::PodRef::default(),
            name: "c".to_owned(),
            args: vec![what.to_owned()],
            command: None,
            grants: crate::grants::Grants::default(),
            env: vec![("A".to_owned(), "b".to_owned())],
            mounts: Vec::new(),
            working_dir: None,
            trusts: None,
            memory_bytes: Some(7),
            cpu_millis: None,
            share: Share::default(),
            ports: vec![80],
            has_network: false,
            has_stdin: stdin.is_some(),
        };
        let guest = self.worker.start(&start, stdin, Arc::new(writer)).await?;
        Ok((guest, reader))
    }
}

async fn all(mut output: QueueReader) -> (Vec<u8>, Vec<u8>) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    while let Some((stream, bytes)) = output.next().await {
        match stream {
            Stream::Stdout => stdout.extend_from_slice(&bytes),
            Stream::Stderr => stderr.extend_from_slice(&bytes),
        }
    }
    (stdout, stderr)
}

#[tokio::test]
async fn all_output_comes_before_the_end() {
    let world = World::new().await;
    let (guest, output) = world.start("print", None).await.unwrap();
    let exit = guest.ended().await;
    assert_eq!((exit.code, exit.message.as_str()), (3, "the end"));
    assert_eq!(guest.usage(), Usage { cpu_nanos: 5, memory_bytes: 6 });
    let (stdout, stderr) = all(output).await;
    assert_eq!((stdout.len(), stderr.as_slice()), (100_000, b"err".as_slice()));
    assert_eq!(world.launch.started.lock()[0].env, [("A".to_owned(), "b".to_owned())]);
}

#[tokio::test]
async fn input_reaches_the_guest_and_its_end_too() {
    let world = World::new().await;
    let (stdin, reads) = mpsc::channel(4);
    let (guest, output) = world.start("echo", Some(reads)).await.unwrap();
    let long = Bytes::from(vec![b'x'; 200_000]);
    stdin.send(long.clone()).await.unwrap();
    stdin.send(Bytes::from_static(b"end")).await.unwrap();
    drop(stdin);
    let ((stdout, _), exit) = tokio::join!(all(output), guest.ended());
    assert_eq!((stdout.len(), exit.code), (200_003, 0));
    assert!(stdout.ends_with(b"xend"));
}

#[tokio::test]
async fn refusals_are_those_of_the_worker() {
    let world = World::new().await;
    let refused = world.start("unrunnable", None).await.err();
    assert_eq!(refused, Some(StartError::Unrunnable("no entry point".to_owned())));
    let refused = world.start("unlucky", None).await.err();
    assert_eq!(refused, Some(StartError::Failed("no slot".to_owned())));
}

#[tokio::test]
async fn a_guest_is_asked_to_stop_with_the_grace_that_it_has() {
    let world = World::new().await;
    let (guest, _output) = world.start("wait", None).await.unwrap();
    guest.stop(Duration::from_secs(9)).await;
    let exit = guest.ended().await;
    assert_eq!((exit.code, exit.message.as_str()), (143, "9s"));
}

#[tokio::test]
async fn a_guest_is_given_other_amounts() {
    let world = World::new().await;
    let (guest, _output) = world.start("wait", None).await.unwrap();
    let amounts = Amounts { memory_bytes: Some(7), cpu_millis: Some(500), share: Share::default() };
    guest.resize(&amounts);
    assert_eq!(guest.ended().await.message, format!("resized to {amounts:?}"));
}

#[tokio::test]
async fn a_command_runs_beside_its_container() {
    let world = World::new().await;
    let (guest, _output) = world.start("wait", None).await.unwrap();
    let (writer, reader) = queue();
    let exec = Exec::new(vec!["print".to_owned()], Arc::new(writer));
    let command = guest.exec(exec).await.unwrap();
    assert_eq!(command.ended().await.code, 3);
    assert_eq!(all(reader).await.1, b"err");
    assert!(guest.ended().now_or_never().is_none(), "the container goes on");
}

#[tokio::test]
async fn requests_go_in_and_out() {
    let world = World::new().await;
    let (guest, _output) = world.start("serve", None).await.unwrap();
    let backend = guest.backend().expect("it answers");
    let ask = |path: &str| {
        let body = Full::from("hello").map_err(|never| match never {}).boxed_unsync();
        backend.handle(Request::post(path).header("host", "web").body(body).unwrap())
    };
    let answer = ask("/there").await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED);
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "there hello");
    let answer = ask("/gone").await.unwrap().into_body().collect().await.unwrap().to_bytes();
    assert_eq!(answer, "nobody at http://gone/");
}

#[tokio::test]
async fn a_request_that_names_no_host_is_refused() {
    let world = World::new().await;
    let (guest, _output) = world.start("serve", None).await.unwrap();
    let body = Full::default().map_err(|never| match never {}).boxed_unsync();
    let answer = guest.backend().unwrap().handle(Request::get("/").body(body).unwrap()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_process_is_the_end_of_its_guests() {
    let world = World::new().await;
    let (guest, output) = world.start("wait", None).await.unwrap();
    world.process.cancel();
    let exit = guest.ended().await;
    assert_eq!((exit.code, exit.message.as_str()), (137, "the connection to the pod's own process broke"));
    assert_eq!(all(output).await, (Vec::new(), Vec::new()));
    assert!(world.start("print", None).await.is_err());
}
