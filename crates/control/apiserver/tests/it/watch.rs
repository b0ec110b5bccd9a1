//! Watch.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use wkube_store::Store as _;

use super::tls::{Stream, running};
use super::{CONFIG_MAPS, Server, at, config_map};

#[tokio::test]
async fn a_watch_starts_with_what_is_there() {
    let server = Server::new().await;
    server.config_map("a", json!({})).await;
    let mut watch = server.watch(&format!("{CONFIG_MAPS}?watch=true")).await;
    assert_eq!(watch.line().await, "ADDED a");
    server.config_map("b", json!({})).await;
    assert_eq!(watch.line().await, "ADDED b");
}

#[tokio::test]
async fn a_watch_after_a_version_sees_only_what_came_later() {
    let server = Server::new().await;
    server.config_map("a", json!({})).await;
    let version = server.get(CONFIG_MAPS).await.at("metadata.resourceVersion");
    server.config_map("b", json!({})).await;
    server.delete(&format!("{CONFIG_MAPS}/a")).await;
    let mut watch = server.watch(&format!("{CONFIG_MAPS}?watch=1&resourceVersion={version}")).await;
    assert_eq!(watch.line().await, "ADDED b");
    assert_eq!(watch.line().await, "DELETED a");
}

#[tokio::test]
async fn what_happened_while_nobody_read_comes_in_one_piece_and_in_order() {
    let server = Server::new().await;
    let version = server.get(CONFIG_MAPS).await.at("metadata.resourceVersion");
    for name in ["c", "a", "b"] {
        server.config_map(name, json!({})).await;
    }
    let mut watch = server.watch(&format!("{CONFIG_MAPS}?watch=1&resourceVersion={version}")).await;
    assert_eq!(watch.line().await, "ADDED c");
    assert_eq!(watch.buffer.split(|byte| *byte == b'\n').count(), 3, "two lines came with the first");
    assert_eq!(watch.line().await, "ADDED a");
    assert_eq!(watch.line().await, "ADDED b");
}

#[tokio::test]
async fn a_deletion_shows_the_last_state_at_the_deletions_version() {
    let server = Server::new().await;
    let made = server.config_map("a", json!({})).await;
    let version = at(&made, "metadata.resourceVersion");
    let mut watch = server.watch(&format!("{CONFIG_MAPS}?watch=1&resourceVersion={version}")).await;
    server.delete(&format!("{CONFIG_MAPS}/a")).await;
    let event = watch.next().await.expect("an event");
    assert_eq!((at(&event, "type"), at(&event, "object.data.a")), ("DELETED".into(), "1".into()));
    assert_ne!(at(&event, "object.metadata.resourceVersion"), version);
}

#[tokio::test]
async fn what_starts_or_stops_matching_is_added_or_deleted() {
    let server = Server::new().await;
    server.config_map("a", json!({"x": "1"})).await;
    let mut watch = server.watch(&format!("{CONFIG_MAPS}?watch=1&labelSelector=x%3D1")).await;
    assert_eq!(watch.line().await, "ADDED a");
    let path = format!("{CONFIG_MAPS}/a");
    server.put(&path, config_map("a", json!({"x": "2"}))).await;
    let event = watch.next().await.expect("an event");
    assert_eq!((at(&event, "type"), at(&event, "object.metadata.labels.x")), ("DELETED".into(), "1".into()));
    server.put(&path, config_map("a", json!({"x": "1"}))).await;
    assert_eq!(watch.line().await, "ADDED a");
    server.put(&path, config_map("a", json!({"x": "1", "y": "1"}))).await;
    assert_eq!(watch.line().await, "MODIFIED a");
}

#[tokio::test]
async fn initial_events_end_with_a_marked_bookmark() {
    let server = Server::new().await;
    server.config_map("a", json!({})).await;
    let query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = server.watch(&format!("{CONFIG_MAPS}?{query}")).await;
    assert_eq!(watch.line().await, "ADDED a");
    let end = watch.next().await.expect("a bookmark");
    assert_eq!(at(&end, "type"), "BOOKMARK");
    assert_eq!(end["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    assert!(!at(&end, "object.metadata.resourceVersion").is_empty());
}

#[tokio::test]
async fn initial_events_need_not_older_than() {
    let server = Server::new().await;
    let refused = server.get(&format!("{CONFIG_MAPS}?watch=true&sendInitialEvents=true")).await;
    assert_eq!((refused.code, refused.at("reason")), (422, "Invalid".into()));
}

#[tokio::test(start_paused = true)]
async fn a_bookmark_comes_shortly_before_the_end() {
    let server = Server::new().await;
    let version = server.get(CONFIG_MAPS).await.at("metadata.resourceVersion");
    let query = format!("watch=1&resourceVersion={version}&allowWatchBookmarks=true&timeoutSeconds=10");
    let mut watch = server.watch(&format!("{CONFIG_MAPS}?{query}")).await;
    let start = tokio::time::Instant::now();
    assert_eq!(watch.line().await, "BOOKMARK ");
    assert_eq!(start.elapsed().as_secs(), 8);
    assert_eq!(watch.next().await, None);
    assert_eq!(start.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_bookmark_counts_what_happened_elsewhere() {
    let server = Server::new().await;
    let version = server.get(CONFIG_MAPS).await.at("metadata.resourceVersion");
    let query = format!("watch=1&resourceVersion={version}&allowWatchBookmarks=true&fieldSelector=metadata.name%3Da");
    let mut watch = server.watch(&format!("{CONFIG_MAPS}?{query}")).await;
    let neighbour = server.config_map("b", json!({})).await;
    let bookmark = watch.next().await.expect("a bookmark");
    assert_eq!(at(&bookmark, "type"), "BOOKMARK");
    assert_eq!(at(&bookmark, "object.metadata.resourceVersion"), at(&neighbour, "metadata.resourceVersion"));
    server.config_map("a", json!({})).await;
    assert_eq!(watch.line().await, "ADDED a");
}

#[tokio::test]
async fn forgotten_history_is_an_error_inside_the_stream() {
    let server = Server::new().await;
    server.config_map("a", json!({})).await;
    server.config_map("b", json!({})).await;
    server.store.compact(server.store.revision()).await.expect("compacts");
    let mut watch = server.watch(&format!("{CONFIG_MAPS}?watch=1&resourceVersion=1")).await;
    assert_eq!(watch.code, 200);
    let error = watch.next().await.expect("an event");
    let facts = (at(&error, "type"), at(&error, "object.code"), at(&error, "object.reason"));
    assert_eq!(facts, ("ERROR".into(), "410".into(), "Expired".into()));
    assert_eq!(watch.next().await, None);
}

#[tokio::test]
async fn one_object_is_watched_by_name() {
    let server = Server::new().await;
    server.config_map("a", json!({})).await;
    server.config_map("b", json!({})).await;
    let mut by_url = server.watch(&format!("{CONFIG_MAPS}/b?watch=true")).await;
    assert_eq!(by_url.line().await, "ADDED b");
    let mut by_field = server.watch(&format!("{CONFIG_MAPS}?watch=true&fieldSelector=metadata.name%3Db")).await;
    assert_eq!(by_field.line().await, "ADDED b");
}

#[tokio::test]
async fn table_watches_say_their_columns_once() {
    let server = Server::new().await;
    server.config_map("a", json!({})).await;
    server.config_map("b", json!({})).await;
    let request = http::Request::get(format!("{CONFIG_MAPS}?watch=true&timeoutSeconds=1"))
        .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
        .body(http_body_util::Full::default())
        .expect("a request");
    let answer = server.send(request).await;
    let text = answer.body.as_str().expect("lines").to_owned();
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(at(&events[0], "object.columnDefinitions.0.name"), "Name");
    assert_eq!(
        (at(&events[1], "object.columnDefinitions"), at(&events[1], "object.rows.0.cells.0")),
        (String::new(), "b".into())
    );
}

/// Reads one frame of a WebSocket's server: its opcode and its bytes.
async fn frame(stream: &mut Stream) -> (u8, Vec<u8>) {
    let first = stream.read_u8().await.expect("a frame");
    let length = match stream.read_u8().await.expect("a length") {
        126 => usize::from(stream.read_u16().await.expect("a longer length")),
        short => usize::from(short),
    };
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await.expect("all of it");
    (first & 0x0f, payload)
}

#[tokio::test]
async fn over_a_websocket_each_event_is_a_message_and_a_stop_is_a_normal_close() {
    const HEAD: &str = "GET /api/v1/namespaces?watch=true HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\n\
                        Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let running = running().await;
    let mut stream = running.connect(true).await;
    stream.write_all(HEAD.as_bytes()).await.expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a response"));
    }
    let head = String::from_utf8(head).expect("text").to_lowercase();
    assert!(head.starts_with("http/1.1 101") && head.contains("s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
    let mut names = Vec::new();
    for _ in 0..4 {
        let (opcode, payload) = frame(&mut stream).await;
        let event: Value = serde_json::from_slice(&payload).expect("one event");
        assert_eq!((opcode, at(&event, "type")), (1, "ADDED".into()));
        names.push(at(&event, "object.metadata.name"));
    }
    assert_eq!(names, ["default", "kube-node-lease", "kube-public", "kube-system"]);
    running.tasks.cancel();
    assert_eq!(frame(&mut stream).await, (8, vec![0x03, 0xe8]), "closed with 1000");
}
