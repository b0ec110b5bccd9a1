//! Clients that mean no good, or break: over real connections. Each gets Kubernetes' error, and nobody else notices.
//!
//! Where something has to time out, time is paused: it passes as soon as nothing else is to be done.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::tls::{Running, Stream, running, running_with};
use wkube_apiserver::Flags;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn json_of(answer: Response<Incoming>) -> (u16, Value) {
    let code = answer.status().as_u16();
    let bytes = answer.into_body().collect().await.expect("a body").to_bytes();
    (code, serde_json::from_slice(&bytes).unwrap_or_default())
}

async fn post(running: &Running, path: &str, content_type: &str, body: impl Into<Bytes>) -> (u16, Value) {
    let request = Request::post(path).header("host", "test").header("content-type", content_type);
    json_of(running.send(request.body(Full::from(body.into())).expect("a request"), true).await).await
}

fn config_map(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": value}})
}

/// Whether the server still answers, at once.
async fn is_well(running: &Running) {
    let began = Instant::now();
    let answer = running.get("/api/v1/namespaces/default", true).await;
    assert_eq!(answer.status(), 200);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test]
async fn bodies_that_are_no_objects_are_refused_with_kubernetes_error() {
    let running = running().await;
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep = format!(r#"{{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"name":"a"}},"data":{nested}}}"#);
    let deep_yaml = format!("kind: ConfigMap\ndata: {}1{}", "{a: ".repeat(20_000), "}".repeat(20_000));
    let laughs = std::iter::once("a0: &a0 [x,x,x,x,x,x,x,x,x,x]".to_owned())
        .chain((1..12).map(|n| format!("a{n}: &a{n} [{}]", vec![format!("*a{}", n - 1); 10].join(","))))
        .collect::<Vec<_>>()
        .join("\n");
    let large = config_map("large", &"x".repeat(3 << 20)).to_string();
    for (why, content_type, body, code, reason) in [
        ("malformed", "application/json", Bytes::from("{\"a\""), 400, "BadRequest"),
        ("no object", "application/json", Bytes::from("[1, 2]"), 400, "BadRequest"),
        ("nothing", "application/json", Bytes::new(), 400, "BadRequest"),
        ("no UTF-8", "application/json", Bytes::from_static(b"{\"kind\": \"\xff\xfe\"}"), 400, "BadRequest"),
        ("deep JSON", "application/json", Bytes::from(deep), 400, "BadRequest"),
        ("deep YAML", "application/yaml", Bytes::from(deep_yaml), 400, "BadRequest"),
        ("a billion laughs", "application/yaml", Bytes::from(laughs), 400, "BadRequest"),
        (
            "garbage as protobuf",
            "application/vnd.kubernetes.protobuf",
            Bytes::from("k8s\0\u{ff}\u{ff}"),
            400,
            "BadRequest",
        ),
        ("an unknown type", "application/x-tar", Bytes::from("x"), 415, "UnsupportedMediaType"),
        ("too large", "application/json", Bytes::from(large), 413, "RequestEntityTooLarge"),
    ] {
        let (answered, status) = post(&running, CONFIG_MAPS, content_type, body).await;
        assert_eq!((answered, status["reason"].as_str()), (code, Some(reason)), "{why}: {status}");
        assert_eq!((status["kind"].as_str(), status["status"].as_str()), (Some("Status"), Some("Failure")), "{why}");
    }
    is_well(&running).await;
}

#[tokio::test]
async fn duplicate_keys_are_told_and_refused_if_the_client_is_strict() {
    let running = running().await;
    let body = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"k":"1","k":"2"}}"#;
    let path = format!("{CONFIG_MAPS}?fieldValidation=Strict");
    let (code, status) = post(&running, &path, "application/json", body).await;
    assert_eq!(code, 400);
    assert!(status["message"].as_str().is_some_and(|text| text.contains(r#"duplicate field "data.k""#)), "{status}");
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused_with_kubernetes_error() {
    let running = running().await;
    for (method, path, header, code, reason) in [
        ("GET", "/api/v1/pods?continue=forged", None, 400, "BadRequest"),
        ("GET", "/api/v1/pods?limit=many", None, 400, "BadRequest"),
        ("GET", "/api/v1/pods?resourceVersion=-1", None, 400, "BadRequest"),
        ("GET", "/api/v1/pods?labelSelector=a%3D%3D%3D", None, 400, "BadRequest"),
        ("GET", "/api/v1/pods", Some(("accept", "image/png")), 406, "NotAcceptable"),
        ("BREW", "/api/v1/pods", None, 405, "MethodNotAllowed"),
        ("DELETE", "/api/v1/namespaces", None, 405, "MethodNotAllowed"),
        ("PATCH", "/api/v1/namespaces/default", Some(("content-type", "text/html")), 415, "UnsupportedMediaType"),
        ("GET", "/api/v1/namespaces/default/pods/..%2f..%2fsecrets", None, 404, "NotFound"),
        ("GET", "/apis/%00/v1/x", None, 404, "NotFound"),
    ] {
        let mut request = Request::builder().method(method).uri(path).header("host", "test");
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let (answered, status) =
            json_of(running.send(request.body(Full::default()).expect("a request"), true).await).await;
        assert_eq!((answered, status["reason"].as_str()), (code, Some(reason)), "{method} {path}: {status}");
    }
    let unknown = running.get("/api/v1/namespaces?nobody=knows&this=parameter", true).await;
    assert_eq!(unknown.status(), 200, "unknown parameters are ignored");
}

#[tokio::test]
async fn tokens_that_are_wrong_in_any_way_get_the_same_401() {
    let running = running().await;
    let header = "eyJhbGciOiJub25lIn0";
    let long = "x".repeat(100_000);
    for token in ["forged", &format!("{header}.e30."), "abcdef.0123456789abcdef", "a.b.c", &long] {
        let request =
            Request::get("/api/v1/pods").header("host", "test").header("authorization", format!("Bearer {token}"));
        let (code, status) =
            json_of(running.send(request.body(Full::default()).expect("a request"), false).await).await;
        let expected = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "Unauthorized",
            "reason": "Unauthorized", "code": 401,
        });
        assert_eq!((code, status), (401, expected));
    }
}

#[tokio::test]
async fn too_many_headers_are_431() {
    let running = running().await;
    let mut stream = running.connect(true).await;
    let mut request = String::from("GET /version HTTP/1.1\r\nhost: test\r\n");
    for number in 0..5000 {
        let _ = write!(request, "x-{number}: {}\r\n", "y".repeat(200));
    }
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 431");
    is_well(&running).await;
}

/// Reads until the server closes; returns how long that took.
async fn closed(mut stream: impl tokio::io::AsyncRead + Unpin) -> Duration {
    let began = Instant::now();
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_never_ends_is_ended() {
    let running = running().await;
    let silent = TcpStream::connect(running.server.address()).await.expect("connects");
    let mut half = TcpStream::connect(running.server.address()).await.expect("connects");
    half.write_all(&[22, 3, 1, 2, 0, 1]).await.expect("sent");
    for stream in [silent, half] {
        let took = closed(stream).await;
        assert!(took <= Duration::from_secs(11), "{took:?}");
    }
    is_well(&running).await;
}

#[tokio::test(start_paused = true)]
async fn headers_that_never_end_end_the_connection() {
    let running = running().await;
    let mut stream = running.connect(true).await;
    stream.write_all(b"GET /version HTTP/1.1\r\nhost: test\r\nx-slow: ").await.expect("sent");
    let took = closed(stream).await;
    assert!((Duration::from_secs(30)..Duration::from_secs(34)).contains(&took), "{took:?}");
    is_well(&running).await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_comes_is_a_timeout() {
    let running = running().await;
    let mut stream = running.connect(true).await;
    let head = format!(
        "POST {CONFIG_MAPS} HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{{"
    );
    let began = Instant::now();
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!((&answer, began.elapsed().as_secs()), (b"HTTP/1.1 504", 60));
}

/// Sends a request on a connection of its own, and reads nothing.
async fn unread(running: &Running, token: &str, path: &str) -> Stream {
    let mut stream = running.connect(token.is_empty()).await;
    let authorization = if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") };
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\n{authorization}\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    stream
}

async fn metric(running: &Running, wanted: &str) -> i64 {
    let answer = running.get("/metrics", true).await;
    let bytes = answer.into_body().collect().await.expect("a body").to_bytes();
    let text = String::from_utf8(bytes.into()).expect("text");
    let line = text.lines().find(|line| line.starts_with(wanted));
    line.and_then(|line| line.rsplit(' ').next()).map_or(0, |value| value.parse().expect("a number"))
}

async fn becomes(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..1000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

/// Lets time pass for everyone.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

const WATCHES: &str =
    "apiserver_longrunning_requests{component=\"apiserver\",dry_run=\"\",group=\"\",resource=\"configmaps\"";

#[tokio::test]
async fn a_watcher_that_never_reads_is_let_go_and_the_others_see_everything() {
    let running = running().await;
    let _deaf = unread(&running, "", &format!("{CONFIG_MAPS}?watch=true")).await;
    let mut other = running.get(&format!("{CONFIG_MAPS}?watch=true"), true).await;
    becomes("both watch", async || metric(&running, WATCHES).await == 2).await;
    let value = "x".repeat(400_000);
    for number in 0..40 {
        let body = config_map(&format!("m{number}"), &value).to_string();
        let (code, status) = post(&running, CONFIG_MAPS, "application/json", body).await;
        assert_eq!(code, 201, "{status}");
    }
    let mut seen = 0;
    while seen < 40 {
        let frame = other.body_mut().frame().await.expect("more").expect("a frame");
        seen += frame.data_ref().map_or(0, |data| data.split(|byte| *byte == b'\n').count() - 1);
    }
    pass(Duration::from_secs(61)).await;
    becomes("the deaf one is let go", async || metric(&running, WATCHES).await == 1).await;
}

/// Static tokens of a noisy service account and of a node.
fn tokens(directory: &std::path::Path) -> Flags {
    let file = directory.join("tokens.csv");
    let lines = "noisy,system:serviceaccount:d:noisy,1,system:serviceaccounts\nnode,system:node:n1,2,system:nodes\n";
    std::fs::write(&file, lines).expect("writable");
    Flags { token_auth_file: Some(file), ..Flags::default() }
}

#[tokio::test]
async fn a_noisy_client_that_reads_nothing_fills_its_own_level_and_starves_neither_nodes_nor_admins() {
    let running = running_with(tokens).await;
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:serviceaccounts"}],
    });
    let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    assert_eq!(post(&running, bindings, "application/json", binding.to_string()).await.0, 201);
    let value = "x".repeat(500_000);
    for number in 0..12 {
        let made =
            post(&running, CONFIG_MAPS, "application/json", config_map(&format!("m{number}"), &value).to_string())
                .await;
        assert_eq!(made.0, 201);
    }
    for number in 0..900 {
        let made =
            post(&running, CONFIG_MAPS, "application/json", config_map(&format!("s{number}"), "").to_string()).await;
        assert_eq!(made.0, 201);
    }
    // Lists of so many objects are ten seats wide.
    let mut noisy = Vec::new();
    for _ in 0..40 {
        noisy.push(unread(&running, "noisy", CONFIG_MAPS).await);
    }
    let inqueue = "apiserver_flowcontrol_current_inqueue_requests{priority_level=\"workload-low\"}";
    becomes("its level is full", async || metric(&running, inqueue).await > 0).await;
    for _ in 0..20 {
        let began = Instant::now();
        let request = Request::get("/api/v1/nodes/n1").header("host", "test").header("authorization", "Bearer node");
        let answer = running.send(request.body(Full::default()).expect("a request"), false).await;
        assert_eq!(answer.status(), 404);
        assert!(began.elapsed() < Duration::from_secs(2), "the node waits {:?}", began.elapsed());
        assert!(answer.headers()["x-kubernetes-pf-flowschema-uid"].len() == 36, "{:?}", answer.headers());
        is_well(&running).await;
    }
    let request = Request::get(CONFIG_MAPS).header("host", "test").header("authorization", "Bearer noisy");
    tokio::time::pause();
    let refused = running.send(request.body(Full::default()).expect("a request"), false).await;
    tokio::time::resume();
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (429, &http::HeaderValue::from(1)));
    let (_, status) = json_of(refused).await;
    assert_eq!(status["reason"], "TooManyRequests");
    // What nobody reads is given up, and its seats are free again.
    pass(Duration::from_secs(61)).await;
    let seats = "apiserver_flowcontrol_current_executing_seats{priority_level=\"workload-low\"}";
    becomes("its seats are free again", async || metric(&running, seats).await == 0).await;
}

#[tokio::test]
async fn two_thousand_watches_of_one_client_cost_little_and_hinder_nobody() {
    let running = running().await;
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line").to_owned();
        line.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()).expect("a number")
    };
    let before = resident();
    let mut open = Vec::new();
    for _ in 0..4 {
        let stream = hyper_util::rt::TokioIo::new(running.connect_h2().await);
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), stream).await.expect("HTTP/2");
        wkube_base::Tasks::new().spawn_to_end("client", async move { drop(connection.await) });
        for _ in 0..500 {
            let request = Request::get(format!("https://test{CONFIG_MAPS}?watch=true"));
            let request = request.body(Full::<Bytes>::default()).expect("a request");
            sender.ready().await.expect("room");
            let answer = sender.send_request(request).await.expect("an answer");
            assert_eq!(answer.status(), 200);
            open.push(answer);
        }
        open.reserve(1);
    }
    let each = resident().saturating_sub(before) / 2000;
    // Server and client together, and a test build's futures are large.
    assert!(each < 100, "{each} KiB for each watch");
    is_well(&running).await;
    assert_eq!(post(&running, CONFIG_MAPS, "application/json", config_map("a", "1").to_string()).await.0, 201);
    for watch in open.iter_mut().step_by(100) {
        let frame = watch.body_mut().frame().await.expect("an event").expect("a frame");
        assert!(frame.data_ref().is_some_and(|data| data.starts_with(b"{\"type\":\"ADDED\"")));
    }
}
