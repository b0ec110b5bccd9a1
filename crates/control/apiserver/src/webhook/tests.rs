//! Calls to real servers, good and bad.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::json;
use tokio::net::TcpListener;
use wkube_api::ObjectKey;

use super::*;
use crate::reach::{self, Reach, Stream};

#[path = "../../tests/it/https.rs"]
mod https;

use https::{Certificate, Https, Reply};

/// A cluster whose only service is a port of this machine.
struct OneService(std::net::SocketAddr);

impl Reach for OneService {
    fn dial(&self, target: reach::Target, _: u16) -> BoxFuture<'static, Result<Box<dyn Stream>, reach::Error>> {
        let address = self.0;
        async move {
            let key = match &target {
                reach::Target::Service(key) | reach::Target::PodsOf(key) => Some(key.clone()),
                _ => None,
            };
            if key == Some(ObjectKey::new("d", "hook")) {
                let connected = tokio::net::TcpStream::connect(address).await;
                let failed = |source| reach::Error::Connect { address: address.to_string(), source };
                return Ok(Box::new(connected.map_err(failed)?) as Box<dyn Stream>);
            }
            Err(reach::Error::NoEndpoints(ObjectKey::new("d", "idle")))
        }
        .boxed()
    }
}

impl client::Services for OneService {
    fn transport(&self, _: &str, name: &str, port: u16) -> Option<Transport> {
        match (name, port) {
            ("missing", _) => None,
            (_, 80) => Some(Transport::Plain),
            _ => Some(Transport::Tls),
        }
    }
}

fn client(address: std::net::SocketAddr) -> Client {
    Client::new(Arc::new(OneService(address)), OneService(address))
}

async fn server(certificate: Certificate, names: &[&str], reply: fn() -> Reply) -> (Https, Client) {
    let server = Https::start(certificate, names, move |_| reply()).await;
    let client = client(server.address);
    (server, client)
}

fn fine() -> Reply {
    Reply::Json(json!({"fine": true}))
}

async fn post(client: &Client, config: serde_json::Value, timeout: Duration) -> Result<String, String> {
    let target = Target::parse(&config)?;
    let post = Post { target: &target, body: Bytes::from_static(b"{}"), timeout, answer_max: 1 << 20 };
    let answer = client.post(post).await.map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Calls a server by its URL; in the error, the address is left out.
async fn check(certificate: Certificate, reply: fn() -> Reply, expected: Result<&str, &str>) {
    let (server, client) = server(certificate, &[], reply).await;
    let config = json!({"url": server.url("/"), "caBundle": server.bundle});
    let answer = post(&client, config, Duration::from_secs(2)).await;
    let answer = answer.map_err(|error| error.replace(&server.url(""), "URL"));
    assert_eq!(answer.as_deref().map_err(String::as_str), expected, "{certificate:?}");
}

const UNKNOWN: &str =
    "Post \"URL/?timeout=2s\": tls: failed to verify certificate: x509: certificate signed by unknown authority";
const EXPIRED: &str =
    "Post \"URL/?timeout=2s\": tls: failed to verify certificate: x509: certificate has expired or is not yet valid";

#[tokio::test]
async fn a_server_is_believed_if_the_bundle_vouches_for_it() {
    check(Certificate::Signed, fine, Ok(r#"{"fine":true}"#)).await;
    check(Certificate::SelfSigned, fine, Ok(r#"{"fine":true}"#)).await;
    check(Certificate::Foreign, fine, Err(UNKNOWN)).await;
    check(Certificate::Expired, fine, Err(EXPIRED)).await;
}

#[tokio::test]
async fn without_a_bundle_this_machines_roots_decide() {
    let (server, client) = server(Certificate::Signed, &[], fine).await;
    let answer = post(&client, json!({"url": server.url("/")}), Duration::from_secs(2)).await;
    assert!(answer.expect_err("refused").ends_with("x509: certificate signed by unknown authority"));
}

#[tokio::test]
async fn a_service_shows_a_certificate_of_its_name() {
    let (server, client) = server(Certificate::Signed, &["hook.d.svc"], fine).await;
    let config = json!({"service": {"namespace": "d", "name": "hook"}, "caBundle": server.bundle});
    assert_eq!(post(&client, config, Duration::from_secs(2)).await.as_deref(), Ok(r#"{"fine":true}"#));
    let asked = &server.asked()[0];
    assert_eq!((asked.uri.as_str(), &asked.body), ("/?timeout=2s", &json!({})));
    assert_eq!(asked.headers["content-type"], "application/json");
}

#[tokio::test]
async fn a_certificate_of_another_name_is_refused_with_both_names() {
    let (server, client) = server(Certificate::SelfSigned, &["other.d.svc"], fine).await;
    let config = json!({"service": {"namespace": "d", "name": "hook"}, "caBundle": server.bundle});
    let error = post(&client, config, Duration::from_secs(2)).await.expect_err("refused");
    assert_eq!(
        error,
        "Post \"https://hook.d.svc:443/?timeout=2s\": tls: failed to verify certificate: x509: certificate is valid for \
         other.d.svc, 127.0.0.1, not hook.d.svc"
    );
}

#[tokio::test]
async fn a_service_without_endpoints_is_named() {
    let (server, client) = server(Certificate::Signed, &[], fine).await;
    let config = json!({"service": {"namespace": "d", "name": "idle"}, "caBundle": server.bundle});
    let error = post(&client, config, Duration::from_secs(2)).await.expect_err("refused");
    assert_eq!(error, "Post \"https://idle.d.svc:443/?timeout=2s\": no endpoints available for service \"idle\"");
}

#[tokio::test]
async fn a_service_that_does_not_exist_is_named() {
    let (server, client) = server(Certificate::Signed, &[], fine).await;
    let config = json!({"service": {"namespace": "d", "name": "missing"}, "caBundle": server.bundle});
    let error = post(&client, config, Duration::from_secs(2)).await.expect_err("refused");
    assert_eq!(error, "Post \"https://missing.d.svc:443/?timeout=2s\": service \"missing\" not found");
}

#[tokio::test]
async fn a_service_may_want_http_without_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let client = client(listener.local_addr().expect("an address"));
    let tasks = wkube_base::Tasks::new();
    tasks.spawn("plain", async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut head = [0; 4096];
        let length = stream.read(&mut head).await.expect("a request");
        let line = String::from_utf8_lossy(&head[..length]).lines().next().unwrap_or_default().to_owned();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{line}", line.len());
        let _ = stream.write_all(answer.as_bytes()).await;
    });
    let config = json!({"service": {"namespace": "d", "name": "hook", "port": 80, "path": "/x"}});
    let answer = post(&client, config, Duration::from_secs(2)).await;
    assert_eq!(answer.as_deref(), Ok("POST /x?timeout=2s HTTP/1.1"));
}

#[tokio::test]
async fn a_server_that_hangs_is_left_after_the_timeout() {
    let hang = || Reply::Hang;
    check(Certificate::Signed, hang, Err("Post \"URL/?timeout=2s\": context deadline exceeded")).await;
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    let endless = || Reply::Endless;
    check(Certificate::Signed, endless, Err("Post \"URL/?timeout=2s\": the answer is longer than 1048576 bytes")).await;
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = || Reply::Text(307, "location", "https://127.0.0.1:1/", String::new());
    let expected = "the server responded with the status code 307 but did not return more information";
    check(Certificate::Signed, elsewhere, Err(expected)).await;
}

#[tokio::test]
async fn an_error_page_without_end_is_quoted_up_to_a_limit() {
    let long = || Reply::Text(500, "x", "y", "e".repeat(1 << 20));
    let (server, client) = server(Certificate::Signed, &[], long).await;
    let config = json!({"url": server.url("/"), "caBundle": server.bundle});
    let error = post(&client, config, Duration::from_secs(2)).await.expect_err("refused");
    assert!(error.starts_with("an error on the server (\"") && error.len() < 4096, "{}", error.len());
}

#[tokio::test]
async fn calls_share_a_connection() {
    let (server, client) = server(Certificate::Signed, &[], fine).await;
    let config = json!({"url": server.url("/"), "caBundle": server.bundle});
    for _ in 0..3 {
        post(&client, config.clone(), Duration::from_secs(2)).await.expect("an answer");
    }
    assert_eq!((server.asked().len(), server.connections()), (3, 1));
}

#[tokio::test]
async fn nobody_there_is_told_as_go_tells_it() {
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a free port").local_addr().expect("an address");
    let client = client(free);
    let error = post(&client, json!({"url": format!("https://{free}/")}), Duration::from_secs(2)).await;
    let expected = format!("Post \"https://{free}/?timeout=2s\": dial tcp {free}: connect: connection refused");
    assert_eq!(error, Err(expected));
}

#[tokio::test]
async fn a_server_without_tls_is_told_from_one_with_a_bad_certificate() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let tasks = wkube_base::Tasks::new();
    tasks.spawn("plain", async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let _ = stream.read(&mut [0; 512]).await;
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    });
    let client = client(address);
    let error = post(&client, json!({"url": format!("https://{address}/")}), Duration::from_secs(2)).await;
    let error = error.expect_err("refused");
    assert!(error.ends_with("http: server gave HTTP response to HTTPS client"), "{error}");
}
