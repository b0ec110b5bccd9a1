use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use wkube_base::Tasks;

use super::*;
use crate::local::tests::Says;
use crate::respond::full;

fn get(uri: &str) -> Request<Body> {
    Request::get(uri).body(full("")).expect("a request")
}

#[tokio::test]
async fn an_http_guest_answers_on_a_connection_as_often_as_it_is_asked() {
    let (mut near, far) = tokio::io::duplex(1024);
    let tasks = Tasks::new();
    tasks.spawn("server", serve(far, Arc::new(Says("hello"))));
    for close in ["", "Connection: close\r\n"] {
        near.write_all(format!("GET / HTTP/1.1\r\nHost: x\r\n{close}\r\n").as_bytes()).await.expect("room");
        let mut answer = String::new();
        while !answer.ends_with("hello") {
            let mut piece = [0; 256];
            let count = near.read(&mut piece).await.expect("an answer");
            assert_ne!(count, 0, "{answer}");
            answer.push_str(std::str::from_utf8(&piece[..count]).expect("text"));
        }
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
    assert_eq!(near.read(&mut [0; 16]).await.expect("an end"), 0);
}

#[tokio::test]
async fn an_http_guest_answers_over_http_2_too() {
    let (near, far) = tokio::io::duplex(64 << 10);
    let tasks = Tasks::new();
    tasks.spawn("server", serve(far, Arc::new(Says("hello"))));
    let io = TokioIo::new(near);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.expect("h2");
    tasks.spawn("client", async { drop(connection.await) });
    let answer = sender.send_request(get("http://x/")).await.expect("an answer");
    assert_eq!(answer.into_body().collect().await.expect("a body").to_bytes(), "hello");
}

/// Plays a server that reads one request head and says `answer`.
fn scripted(tasks: &Tasks, answer: &'static str) -> (tokio::io::DuplexStream, tokio::sync::oneshot::Receiver<String>) {
    let (near, mut far) = tokio::io::duplex(1024);
    let (told, head) = tokio::sync::oneshot::channel();
    tasks.spawn("scripted server", async move {
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") {
            let Ok(byte) = far.read_u8().await else { break };
            seen.push(byte);
        }
        let _ = told.send(String::from_utf8_lossy(&seen).into_owned());
        let _ = far.write_all(answer.as_bytes()).await;
    });
    (near, head)
}

#[tokio::test]
async fn a_guest_on_a_port_is_asked_for_a_path_on_its_host() {
    let tasks = Tasks::new();
    let (near, head) = scripted(&tasks, "HTTP/1.1 201 Created\r\nContent-Length: 3\r\n\r\nyes");
    let answer = ask(near, get("http://web.shop:80/a?b=c")).await.expect("an answer");
    assert_eq!(answer.status(), 201);
    assert_eq!(answer.into_body().collect().await.expect("a body").to_bytes(), "yes");
    let head = head.await.expect("a request").to_ascii_lowercase();
    assert!(head.starts_with("get /a?b=c http/1.1\r\n") && head.contains("\r\nhost: web.shop:80\r\n"), "{head}");
}

#[tokio::test]
async fn a_body_that_ends_with_the_connection_is_whole() {
    let tasks = Tasks::new();
    let (near, _head) = scripted(&tasks, "HTTP/1.0 200 OK\r\n\r\nall of it");
    let answer = ask(near, get("http://web/")).await.expect("an answer");
    assert_eq!(answer.into_body().collect().await.expect("a body").to_bytes(), "all of it");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_an_error() {
    let tasks = Tasks::new();
    let (near, _head) = scripted(&tasks, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nnot all of it");
    let answer = ask(near, get("http://web/")).await.expect("an answer");
    assert!(answer.into_body().collect().await.is_err());
}

#[tokio::test]
async fn a_guest_that_speaks_something_else_is_an_error() {
    let tasks = Tasks::new();
    for answer in ["", "SSH-2.0-OpenSSH_9.9\r\n"] {
        let (near, _head) = scripted(&tasks, answer);
        assert!(ask(near, get("http://web/")).await.is_err(), "{answer:?}");
    }
}
