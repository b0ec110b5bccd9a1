//! Clients of exec, attach and port-forward against the node's HTTP API, with commands that the test plays.

use std::net::IpAddr;
use std::time::Duration;

use axum::http::Method;
use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tower::ServiceExt as _;
use wkube_api::remote_command::{Channel, Frame};
use wkube_proxy::net::{Identity, Names, Outside, PodNet};
use wkube_proxy::{Backend, BoxError, Endpoint, Ports, Remote, RemoteError};

use super::*;
use crate::logs::entry::Stream;
use crate::pods::tests::{FakeCommand, World, one, pod};
use crate::server;

/// A client with its two bodies.
struct Session {
    sender: mpsc::Sender<Frame>,
    frames: FrameReader,
}

impl Session {
    async fn open(world: &World, target: &str) -> Self {
        let (sender, sent) = mpsc::channel(8);
        let request = http::Request::post(target).body(frames_to_body(sent)).unwrap();
        let response = server::router(world.pods.clone()).oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200);
        Self { sender, frames: FrameReader::new(response.into_body()) }
    }

    async fn say(&self, channel: Channel, text: &str) {
        self.sender.send(Frame::new(channel, text.to_owned())).await.unwrap();
    }

    /// Returns the next frame as `channel: text`; the last one as its status.
    async fn next(&mut self) -> String {
        let Some(frame) = self.frames.next().await.unwrap() else { return "end".to_owned() };
        let text = String::from_utf8(frame.payload.to_vec()).unwrap();
        if frame.channel == Channel::Error {
            let status: Value = serde_json::from_str(&text).unwrap();
            let code = &status["details"]["causes"][0]["message"];
            return if code.is_null() { format!("{status}") } else { format!("exit code {}", code.as_str().unwrap()) };
        }
        format!("{:?}: {text}", frame.channel)
    }
}

const SUCCESS: &str = r#"{"metadata":{},"status":"Success"}"#;

/// A node with one running pod, `n/p`, whose container is `c`.
async fn world(container: Value) -> World {
    let world = World::new();
    let mut spec = one("i:v1", "Never");
    for (name, value) in container.as_object().unwrap() {
        spec["containers"][0][name] = value.clone();
    }
    world.apply(&pod("p", &spec));
    world.until("running", World::is_running).await;
    world
}

async fn command(world: &World) -> FakeCommand {
    world.until("started", |world| world.guest(0).command().is_some()).await;
    world.guest(0).command().unwrap()
}

async fn refusal(world: &World, target: &str) -> (u16, String) {
    let request = http::Request::builder().method(Method::POST).uri(target).body(Body::empty()).unwrap();
    let response = server::router(world.pods.clone()).oneshot(request).await.unwrap();
    let code = response.status().as_u16();
    let status: Value = serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!((&status["kind"], &status["code"]), (&json!("Status"), &json!(code)));
    (code, status["message"].as_str().unwrap().to_owned())
}

#[tokio::test(start_paused = true)]
async fn a_command_gets_its_arguments_and_input_and_its_output_and_code_come_back() {
    let world = world(json!({})).await;
    let mut session =
        Session::open(&world, "/exec/n/p/c?command=echo&command=a+b&stdin=true&stdout=true&stderr=true").await;
    let command = command(&world).await;
    assert_eq!(command.args, ["echo", "a b"]);
    let mut stdin = command.stdin.lock().await;
    let stdin = stdin.as_mut().unwrap();
    session.say(Channel::Stdin, "hi").await;
    session.say(Channel::Resize, r#"{"Width":80,"Height":24}"#).await;
    assert_eq!(stdin.recv().await.as_deref(), Some(&b"hi"[..]));
    session.sender.send(Frame::close(Channel::Stdin)).await.unwrap();
    assert_eq!(stdin.recv().await, None, "closed by the client");
    command.write(Stream::Stdout, "out");
    assert_eq!(session.next().await, "Stdout: out");
    command.write(Stream::Stderr, "err");
    command.end(3);
    assert_eq!(session.next().await, "Stderr: err");
    assert_eq!(session.next().await, "exit code 3");
    assert_eq!(session.next().await, "end");
}

#[tokio::test(start_paused = true)]
async fn only_the_streams_that_were_asked_for_are_sent() {
    let world = world(json!({})).await;
    let mut session = Session::open(&world, "/exec/n/p/c?command=x&stderr=true").await;
    let command = command(&world).await;
    assert!(command.stdin.lock().await.is_none());
    command.write(Stream::Stdout, "out");
    command.write(Stream::Stderr, "err");
    command.end(0);
    assert_eq!(session.next().await, "Stderr: err");
    assert_eq!(session.next().await, SUCCESS);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_request_is_the_end_of_input_and_not_of_the_command() {
    let world = world(json!({})).await;
    let Session { sender, frames } = Session::open(&world, "/exec/n/p/c?command=x&stdin=true&stdout=true").await;
    let command = command(&world).await;
    drop(sender);
    assert_eq!(command.stdin.lock().await.as_mut().unwrap().recv().await, None);
    command.write(Stream::Stdout, "still here");
    let (sender, _) = mpsc::channel(1);
    assert_eq!(Session { sender, frames }.next().await, "Stdout: still here");
}

#[tokio::test(start_paused = true)]
async fn a_command_is_killed_when_its_client_goes_away_or_talks_nonsense() {
    let world = world(json!({})).await;
    let session = Session::open(&world, "/exec/n/p/c?command=x&stdin=true&stdout=true").await;
    let first = command(&world).await;
    drop(session);
    world.until("killed", |_| first.code() == Some(137)).await;
    let nonsense = http::Request::post("/exec/n/p/c?command=y&stdout=true").body(Body::from("no frame")).unwrap();
    let response = server::router(world.pods.clone()).oneshot(nonsense).await.unwrap();
    assert_eq!(response.status(), 200);
    let second = command(&world).await;
    assert_eq!(second.args, ["y"]);
    world.until("killed", |_| second.code() == Some(137)).await;
}

#[tokio::test(start_paused = true)]
async fn a_command_is_killed_when_its_container_ends() {
    let world = world(json!({})).await;
    let mut session = Session::open(&world, "/exec/n/p/c?command=x&stdout=true").await;
    let command = command(&world).await;
    command.write(Stream::Stdout, "so far");
    world.guest(0).end(0);
    assert_eq!(session.next().await, "Stdout: so far");
    assert_eq!(session.next().await, "exit code 137");
    assert_eq!(command.code(), Some(137));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_started_is_refused_with_a_status() {
    let world = world(json!({})).await;
    let check = async |target: &str| refusal(&world, target).await;
    assert_eq!(check("/exec/n/nobody/c?command=x").await, (404, "pod does not exist".to_owned()));
    assert_eq!(check("/exec/n/p/zzz?command=x").await, (500, "container not found (\"zzz\")".to_owned()));
    assert_eq!(check("/attach/n/p/zzz?stdout=1").await, (500, "container not found (\"zzz\")".to_owned()));
    assert_eq!(check("/exec/n/p/c?stdout=1").await.0, 400);
    assert_eq!(check("/exec/n/p/c?command=refused").await, (400, "it has no command".to_owned()));
    world.guest(0).end(0);
    world.until("ended", |world| !world.is_running()).await;
    assert_eq!(check("/exec/n/p/c?command=x").await.1, "container not found (\"c\")");
}

#[tokio::test(start_paused = true)]
async fn a_terminal_has_one_screen_and_returns_the_carriage() {
    let world = world(json!({})).await;
    let mut session = Session::open(&world, "/exec/n/p/c?command=x&stdin=true&stdout=true&tty=true").await;
    let command = command(&world).await;
    session.say(Channel::Stdin, "l").await;
    assert_eq!(session.next().await, "Stdout: l");
    session.say(Channel::Stdin, "s\r").await;
    assert_eq!(session.next().await, "Stdout: s\r\n");
    assert_eq!(command.stdin.lock().await.as_mut().unwrap().recv().await.as_deref(), Some(&b"ls\n"[..]));
    command.write(Stream::Stderr, "no\n");
    assert_eq!(session.next().await, "Stdout: no\r\n");
    session.say(Channel::Stdin, "\x03").await;
    assert_eq!(session.next().await, "Stdout: ^C\r\n");
    assert_eq!(session.next().await, "exit code 130");
    assert_eq!(command.code(), Some(137), "what Ctrl-C ends does not run on");
}

#[tokio::test(start_paused = true)]
async fn several_clients_are_attached_and_go_away_without_ending_the_container() {
    let world = world(json!({})).await;
    let output = || world.guest(0).spec.output.clone();
    output().write(Stream::Stdout, b"before");
    let mut first = Session::open(&world, "/attach/n/p/c?stdout=true&stderr=true").await;
    let mut second = Session::open(&world, "/attach/n/p/c?stdout=true&stderr=true").await;
    output().write(Stream::Stdout, b"now");
    assert_eq!((first.next().await, second.next().await), ("Stdout: now".into(), "Stdout: now".into()));
    drop(first);
    output().write(Stream::Stderr, b"later");
    assert_eq!(second.next().await, "Stderr: later");
    assert!(world.is_running());
    world.guest(0).end(5);
    assert_eq!(second.next().await, SUCCESS, "the code is in the pod's status");
    assert_eq!(second.next().await, "end");
}

#[tokio::test(start_paused = true)]
async fn the_input_of_a_container_ends_with_its_first_speaker_if_it_asked_for_one() {
    for (once, ends) in [(true, true), (false, false)] {
        let world = World::new();
        let mut spec = one("i:v1", "Never");
        spec["containers"][0]["stdin"] = json!(true);
        spec["containers"][0]["stdinOnce"] = json!(once);
        world.apply(&pod("p", &spec));
        world.until("running", World::is_running).await;
        let session = Session::open(&world, "/attach/n/p/c?stdin=true&stdout=true").await;
        session.say(Channel::Stdin, "hi").await;
        let guest = world.guest(0);
        drop(world);
        let mut stdin = guest.take_stdin().unwrap();
        assert_eq!(stdin.recv().await.as_deref(), Some(&b"hi"[..]));
        drop(session);
        let next = tokio::time::timeout(Duration::from_secs(5), stdin.recv()).await;
        assert_eq!(next.is_ok(), ends, "stdinOnce: {once}");
    }
}

/// Answers with the path that it was asked for.
struct Echo;

impl Backend for Echo {
    fn handle(
        &self,
        request: http::Request<wkube_proxy::Body>,
    ) -> BoxFuture<'static, Result<http::Response<wkube_proxy::Body>, BoxError>> {
        let text = format!("{} upgrade={}", request.uri(), request.headers().contains_key(header::UPGRADE));
        let body = Full::from(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync();
        Box::pin(std::future::ready(Ok(http::Response::new(body))))
    }
}

#[tokio::test]
async fn a_forwarded_port_speaks_http_with_the_guest_and_is_kept_alive() {
    let (mut client, far) = tokio::io::duplex(1024);
    let (tasks, pods) = (wkube_base::Tasks::new(), wkube_proxy::LocalPods::default());
    let to = SocketAddr::from(([10, 42, 0, 2], 80));
    let _kept = pods.register(to.ip(), Ports::Any, Arc::new(Echo));
    let connection = pods.dial_within(to, &tasks).unwrap();
    let (serving, answers) = port_forward::join(connection, Body::from_stream(tokio_util::io::ReaderStream::new(far)));
    let talking = async {
        let mut frames = answers.into_data_stream();
        let mut seen = String::new();
        for path in ["/one", "/two"] {
            let request =
                format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
            client.write_all(request.as_bytes()).await.unwrap();
            while !seen.ends_with(&format!("{path} upgrade=false")) {
                let bytes = futures::StreamExt::next(&mut frames).await.unwrap().unwrap();
                seen.push_str(std::str::from_utf8(&bytes).unwrap());
            }
        }
        drop(client);
        while let Some(bytes) = futures::StreamExt::next(&mut frames).await {
            seen.push_str(std::str::from_utf8(&bytes.unwrap()).unwrap());
        }
        seen
    };
    let ((), seen) = tokio::join!(serving, talking);
    assert_eq!(seen.matches("HTTP/1.1 200 OK").count(), 2, "{seen}");
}

struct NoOtherNodes;

impl Remote for NoOtherNodes {
    fn send(
        &self,
        _: &Endpoint,
        _: http::Request<wkube_proxy::Body>,
    ) -> BoxFuture<'static, Result<http::Response<wkube_proxy::Body>, RemoteError>> {
        Box::pin(async { Err(RemoteError::Failed("there is one node".into())) })
    }
}

#[tokio::test(start_paused = true)]
async fn loopback_is_reached_by_who_forwards_a_port_and_not_by_a_pod_of_another_node() {
    let world = world(json!({})).await;
    let (ip, tasks) = ("10.42.0.2".parse().unwrap(), wkube_base::Tasks::new());
    let proxy = wkube_proxy::Proxy::new(world.pods.context().local.clone(), Arc::new(NoOtherNodes));
    let identity = Identity { ip, names: Names::default(), outside: Outside::default() };
    let pod = PodNet::join(proxy, identity, &tasks);
    let _listening = pod.bind_tcp("127.0.0.1:9000".parse().unwrap()).unwrap().listen(8).unwrap();
    let mut open = pod.bind_tcp("0.0.0.0:9001".parse().unwrap()).unwrap().listen(8).unwrap();
    let code = async |path: &str| {
        let request = http::Request::post(path).body(Body::empty()).unwrap();
        server::router(world.pods.clone()).oneshot(request).await.unwrap().status().as_u16()
    };
    assert_eq!(code("/portforward/n/p/9000").await, 200);
    assert_eq!(code("/podips/10.42.0.2/connect?from=10.42.1.7:33000&port=9000").await, 500);
    assert_eq!(code("/podips/10.42.0.2/connect?from=10.42.1.7:33000&port=9001").await, 200);
    let seen = std::future::poll_fn(|context| open.poll_accept(context)).await.unwrap();
    assert_eq!(seen.remote, "10.42.1.7:33000".parse().unwrap(), "the guest sees who it is");
    assert_eq!(code("/podips/10.42.0.77/connect?from=10.42.1.7:33000&port=9001").await, 404);
    assert_eq!(code("/podips/10.42.0.2/connect?from=somebody&port=9001").await, 400);
}

#[tokio::test(start_paused = true)]
async fn a_port_that_nobody_listens_on_is_refused_in_the_kubelets_words() {
    let world = world(json!({})).await;
    let why = "failed to connect to localhost:8080 inside namespace \"uid-p\", connection refused";
    assert_eq!(refusal(&world, "/portforward/n/p/8080").await, (500, why.to_owned()));
    assert_eq!(refusal(&world, "/portforward/n/nobody/8080").await.0, 404);
    for port in ["0", "70000", "web"] {
        assert_eq!(refusal(&world, &format!("/portforward/n/p/{port}")).await.0, 400, "{port}");
    }
    let ip: IpAddr = "10.42.0.2".parse().unwrap();
    let _kept = world.pods.context().local.register(ip, Ports::Any, Arc::new(Echo));
    let request = http::Request::post("/portforward/n/p/8080").body(Body::from("GET /x HTTP/1.0\r\n\r\n")).unwrap();
    let response = server::router(world.pods.clone()).oneshot(request).await.unwrap();
    let mut text = String::new();
    let body = futures::TryStreamExt::map_err(response.into_body().into_data_stream(), std::io::Error::other);
    tokio_util::io::StreamReader::new(body).read_to_string(&mut text).await.unwrap();
    assert!(text.ends_with("/x upgrade=false"), "{text}");
}
