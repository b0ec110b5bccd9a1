//! Real HTTP/2 over an in-memory pipe, with the node as the server.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use hyper::server::conn::http2 as server;
use hyper::service::service_fn;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::*;

/// Serves on the node's end: answers with its greeting and the path.
fn serve(tasks: &Tasks, stream: DuplexStream, greeting: &'static str) {
    let service = service_fn(move |request: Request<Incoming>| async move {
        let text = format!("{greeting} {}", request.uri().path());
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(text))))
    });
    tasks.spawn("node", async move {
        let _ = server::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
    });
}

async fn attached(nodes: &Nodes, node: &str, greeting: &'static str) -> Tasks {
    let (near, far) = tokio::io::duplex(64 << 10);
    let node_tasks = Tasks::new();
    serve(&node_tasks, far, greeting);
    nodes.attach(node, near).await.expect("speaks HTTP/2");
    node_tasks
}

async fn ask(nodes: &Nodes, node: &str) -> Result<String, Unreachable> {
    let request = Request::get("http://node/logs").body(Body::empty()).expect("a request");
    let response = nodes.request(node, request).await?;
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// Polls until the node is gone. The reverse connection ends in its own task, which this gives time to.
async fn until_gone(nodes: &Nodes, node: &str) {
    let gone = async {
        while nodes.is_connected(node) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("the connection is forgotten");
}

#[tokio::test]
async fn a_request_reaches_the_node_that_it_names() {
    let nodes = Nodes::new(&Tasks::new());
    let _one = attached(&nodes, "n1", "one").await;
    let _two = attached(&nodes, "n2", "two").await;
    assert_eq!(ask(&nodes, "n1").await.expect("connected"), "one /logs");
    assert_eq!(ask(&nodes, "n2").await.expect("connected"), "two /logs");
    assert_eq!(nodes.connected(), ["n1", "n2"]);
}

#[tokio::test]
async fn a_request_that_came_over_http_2_is_passed_on() {
    let nodes = Nodes::new(&Tasks::new());
    let _one = attached(&nodes, "n1", "one").await;
    let request = Request::get("/proxy/default/web/80/").version(Version::HTTP_2).body(Body::empty());
    let response = nodes.request("n1", request.expect("a request")).await.expect("it reaches the node");
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    assert_eq!(body, "one /proxy/default/web/80/");
}

#[tokio::test]
async fn an_unknown_node_is_unreachable_at_once() {
    let nodes = Nodes::new(&Tasks::new());
    let error = ask(&nodes, "n1").await.expect_err("unknown");
    assert!(matches!(error, Unreachable::NotConnected { .. }), "{error}");
    assert_eq!(error.to_string(), "node n1 is not connected to this server");
}

#[tokio::test]
async fn a_new_connection_replaces_the_old_one_and_outlives_its_end() {
    let nodes = Nodes::new(&Tasks::new());
    let old = attached(&nodes, "n1", "old").await;
    let _new = attached(&nodes, "n1", "new").await;
    assert_eq!(ask(&nodes, "n1").await.expect("connected"), "new /logs");
    old.stop(Duration::from_secs(1)).await;
    assert_eq!(ask(&nodes, "n1").await.expect("still connected"), "new /logs");
}

#[tokio::test]
async fn a_dropped_connection_is_forgotten() {
    let nodes = Nodes::new(&Tasks::new());
    let node = attached(&nodes, "n1", "one").await;
    node.stop(Duration::from_secs(1)).await;
    until_gone(&nodes, "n1").await;
    assert!(matches!(ask(&nodes, "n1").await, Err(Unreachable::NotConnected { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_silent_node_is_forgotten_although_its_connection_stays_open() {
    let nodes = Nodes::new(&Tasks::new());
    let (near, far) = tokio::io::duplex(64 << 10);
    nodes.attach("n1", near).await.expect("a client speaks first");
    assert!(nodes.is_connected("n1"));
    let gone = async {
        while nodes.is_connected("n1") {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::time::timeout(PING_EVERY + PING_TIMEOUT + Duration::from_secs(5), gone).await.expect("pings are missed");
    drop(far);
}

#[tokio::test]
async fn a_body_streams_while_other_requests_pass_it() {
    let nodes = Nodes::new(&Tasks::new());
    let (near, far) = tokio::io::duplex(64 << 10);
    let (lines, follow) = mpsc::channel::<Result<Frame<Bytes>, Infallible>>(1);
    let follow = Arc::new(Mutex::new(Some(follow)));
    let service = service_fn(move |_request: Request<Incoming>| {
        let body = match follow.lock().take() {
            Some(follow) => StreamBody::new(ReceiverStream::new(follow)).boxed(),
            None => Full::new(Bytes::from("quick")).boxed(),
        };
        async move { Ok::<_, Infallible>(Response::new(body)) }
    });
    let node = Tasks::new();
    node.spawn("node", async move {
        let _ = server::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(far), service).await;
    });
    nodes.attach("n1", near).await.expect("speaks HTTP/2");
    let request = Request::get("http://node/logs?follow=true").body(Body::empty()).expect("a request");
    let mut log = nodes.request("n1", request).await.expect("connected").into_body();
    assert_eq!(ask(&nodes, "n1").await.expect("connected"), "quick");
    lines.send(Ok(Frame::data(Bytes::from("line")))).await.expect("the follower reads");
    let frame = log.frame().await.expect("goes on").expect("unbroken");
    assert_eq!(frame.into_data().expect("data"), "line");
}

/// Serves endless answers, and one short one.
fn serve_floods(tasks: &Tasks, stream: DuplexStream) {
    let service = service_fn(|request: Request<Incoming>| async move {
        let endless = request.uri().path() == "/flood";
        let pieces =
            futures::stream::repeat_with(|| Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[0; 16 << 10]))));
        let pieces = futures::StreamExt::take(pieces, if endless { usize::MAX } else { 1 });
        Ok::<_, Infallible>(Response::new(StreamBody::new(pieces)))
    });
    tasks.spawn("node", async move {
        let _ = server::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
    });
}

#[tokio::test]
async fn answers_that_nobody_reads_do_not_hold_up_others() {
    let nodes = Nodes::new(&Tasks::new());
    let (near, far) = tokio::io::duplex(64 << 10);
    let node_tasks = Tasks::new();
    serve_floods(&node_tasks, far);
    nodes.attach("n", near).await.expect("speaks HTTP/2");
    let mut unread = Vec::new();
    for _ in 0..30 {
        let request = Request::get("http://node/flood").body(Body::empty()).expect("a request");
        unread.push(nodes.request("n", request).await.expect("answered"));
    }
    let request = Request::get("http://node/short").body(Body::empty()).expect("a request");
    let response = nodes.request("n", request).await.expect("answered");
    let read = tokio::time::timeout(Duration::from_secs(30), response.into_body().collect()).await;
    assert_eq!(read.expect("in time").expect("read").to_bytes().len(), 16 << 10);
}
