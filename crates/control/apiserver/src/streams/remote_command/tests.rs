//! Remote commands from a client's bytes to a node and back.

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use wkube_api::remote_command::Outcome;
use wkube_base::Tasks;

use super::*;
use crate::streams::fake_node::FakeNode;
use crate::streams::spdy::Frame as SpdyFrame;
use crate::streams::spdy::test_client::Client as SpdyClient;
use crate::streams::websocket::goodbye;
use crate::tunnel::Nodes;

const V5: Framing = Framing::WebSocket(Version::V5, Encoding::Binary);
const ALL: Stdio = Stdio { stdin: true, stdout: true, stderr: true, tty: false };
const OUTPUT: Stdio = Stdio { stdin: false, ..ALL };
const TERMINAL: Stdio = Stdio { stdin: true, stdout: true, stderr: false, tty: true };

/// A session with a command, and the client's end of its bytes.
struct Session {
    node: FakeNode,
    client: DuplexStream,
    tasks: Tasks,
}

async fn start(does: &str, framing: Framing, stdio: Stdio) -> Session {
    let node = FakeNode::connect().await;
    let (to_node, from_node) = node.exec(does).await.expect("the node agrees");
    let (near, client) = tokio::io::duplex(64 << 10);
    let tasks = Tasks::new();
    let stopping = tasks.stopping();
    tasks.spawn_to_end("session", async move {
        session(near, framing, stdio, Command { node: "n", to_node, from_node }, &stopping).await;
    });
    Session { node, client, tasks }
}

async fn websocket(client: DuplexStream) -> WebSocketStream<DuplexStream> {
    WebSocketStream::from_raw_socket(client, Role::Client, None).await
}

/// Everything that the server says up to its goodbye, channel by channel.
async fn rest(socket: WebSocketStream<DuplexStream>) -> Vec<Message> {
    socket.map(|message| message.expect("a message")).collect().await
}

fn message(channel: u8, text: &str) -> Message {
    Encoding::Binary.encode(channel, text.as_bytes())
}

fn status(outcome: &Outcome) -> Message {
    message(3, &outcome.to_json().to_string())
}

#[tokio::test]
async fn a_command_says_its_output_then_how_it_ended_then_goodbye() {
    let session = start("fail", V5, OUTPUT).await;
    let expected = [message(1, ""), message(1, "out"), message(2, "err"), status(&Outcome::Exited(3)), goodbye()];
    assert_eq!(rest(websocket(session.client).await).await, expected);
}

#[tokio::test]
async fn in_base64_the_same_is_said_as_text() {
    let session = start("fail", Framing::WebSocket(Version::V4, Encoding::Base64), OUTPUT).await;
    let said = rest(websocket(session.client).await).await;
    assert_eq!(said[..3], [Message::text("1"), Message::text("1b3V0"), Message::text("2ZXJy")]);
    assert!(said[3].to_text().expect("text").starts_with('3'));
}

#[tokio::test]
async fn the_first_version_hears_of_failures_only() {
    let v1 = Framing::WebSocket(Version::V1, Encoding::Binary);
    let said = rest(websocket(start("fail", v1, OUTPUT).await.client).await).await;
    assert_eq!(said[3], message(3, "command terminated with non-zero exit code: exit status 3"));
    let said = rest(websocket(start("query", v1, OUTPUT).await.client).await).await;
    assert_eq!(said, [message(1, ""), message(1, "command=x"), goodbye()]);
}

#[tokio::test]
async fn only_the_channels_that_were_asked_for_are_heard() {
    let stderr = Stdio { stdout: false, ..OUTPUT };
    let said = rest(websocket(start("fail", V5, stderr).await.client).await).await;
    assert_eq!(said[..2], [message(2, ""), message(2, "err")]);
}

#[tokio::test]
async fn stdin_arrives_and_ends_where_v5_says_so() {
    let session = start("echo", V5, ALL).await;
    let mut socket = websocket(session.client).await;
    for message in [message(0, "hello "), message(0, "world"), Message::binary(&b"\xff\0"[..])] {
        socket.send(message).await.expect("sent");
    }
    let expected = [message(1, ""), message(1, "hello "), message(1, "world"), status(&Outcome::Success), goodbye()];
    assert_eq!(rest(socket).await, expected);
}

#[tokio::test]
async fn a_terminals_sizes_are_passed_on_and_others_are_not() {
    let session = start("echo", V5, TERMINAL).await;
    let mut socket = websocket(session.client).await;
    socket.send(message(4, "{\"Width\":80,\"Height\":24}\n")).await.expect("sent");
    socket.send(Message::binary(&b"\xff\0"[..])).await.expect("sent");
    let said = rest(socket).await;
    let size: Value = serde_json::from_slice(&said[1].clone().into_data()[1..]).expect("JSON");
    assert_eq!(size, json!({"Width": 80, "Height": 24}));

    let mut socket = websocket(start("echo", V5, ALL).await.client).await;
    socket.send(message(4, "{\"Width\":80,\"Height\":24}\n")).await.expect("sent");
    socket.send(Message::binary(&b"\xff\0"[..])).await.expect("sent");
    assert_eq!(rest(socket).await, [message(1, ""), status(&Outcome::Success), goodbye()]);
}

#[tokio::test]
async fn a_ping_is_answered_while_a_command_is_silent() {
    let session = start("sleep", V5, ALL).await;
    let mut socket = websocket(session.client).await;
    socket.send(Message::Ping(Bytes::from_static(b"?"))).await.expect("sent");
    assert_eq!(socket.next().await.expect("open").expect("read"), message(1, ""));
    assert_eq!(socket.next().await.expect("open").expect("read"), Message::Pong(Bytes::from_static(b"?")));
}

#[tokio::test]
async fn a_client_is_told_when_nobody_knows_how_the_command_ended() {
    let session = start("vanish", V5, OUTPUT).await;
    let said = rest(websocket(session.client).await).await;
    let why = "the connection to node n was lost: it did not say how the command ended";
    assert_eq!(said[2..], [status(&Outcome::Failed(why.into())), goodbye()]);

    let session = start("sleep", V5, OUTPUT).await;
    let mut socket = websocket(session.client).await;
    assert_eq!(socket.next().await.expect("open").expect("read"), message(1, ""));
    session.node.die();
    let said = rest(socket).await;
    let text = String::from_utf8_lossy(&said[0].clone().into_data()).into_owned();
    assert!(text.contains("Internal error occurred: the connection to node n was lost"), "{text}");
}

#[tokio::test]
async fn a_session_ends_with_its_client() {
    for framing in [V5, Framing::Spdy(Version::V4)] {
        let Session { client, tasks, node: _node } = start("sleep", framing, ALL).await;
        drop(client);
        tasks.stop(std::time::Duration::from_secs(10)).await;
    }
    let Session { client, tasks: _tasks, node: _node } = start("flood", V5, OUTPUT).await;
    drop(client);
}

#[tokio::test]
async fn a_client_that_never_reads_holds_the_command_up_and_nothing_grows() {
    let session = start("flood", V5, OUTPUT).await;
    let mut socket = websocket(session.client).await;
    // Nothing but what waits in pipes and windows has been written; all of it is still in order.
    assert_eq!(socket.next().await.expect("open").expect("read"), message(1, ""));
    for _ in 0..200 {
        let data = socket.next().await.expect("open").expect("read").into_data();
        assert!(data[0] == 1 && data[1..].iter().all(|byte| *byte == b'x'));
    }
}

async fn spdy(session: Session, streams: &[(u32, &str)]) -> SpdyClient<DuplexStream> {
    let mut client = SpdyClient::new(session.client);
    // The node and the session go on without their handles.
    std::mem::forget((session.node, session.tasks));
    for (stream, kind) in streams {
        client.opened(*stream, &[("streamType", kind)]).await;
    }
    client
}

#[tokio::test]
async fn over_spdy_every_channel_is_a_stream_that_ends() {
    let session = start("fail", Framing::Spdy(Version::V4), OUTPUT).await;
    let mut client = spdy(session, &[(1, "error"), (3, "stdout"), (5, "stderr")]).await;
    let (mut said, mut open) = (std::collections::BTreeMap::<u32, Vec<u8>>::new(), 3);
    while open > 0 {
        if let Some(SpdyFrame::Data { stream, payload, fin }) = client.hear().await {
            said.entry(stream).or_default().extend_from_slice(&payload);
            open -= usize::from(fin);
        }
    }
    let outcome = Outcome::Exited(3).to_json().to_string().into_bytes();
    assert_eq!(said.into_values().collect::<Vec<_>>(), [outcome, b"out".to_vec(), b"err".to_vec()]);
    assert_eq!(client.hear().await, Some(SpdyFrame::GoAway { last: 0, status: 0 }));
}

#[tokio::test]
async fn over_spdy_the_end_of_stdin_is_the_end_of_its_stream() {
    let stdio = Stdio { stderr: false, ..ALL };
    let session = start("echo", Framing::Spdy(Version::V3), stdio).await;
    let mut client = spdy(session, &[(1, "error"), (3, "stdin"), (5, "stdout")]).await;
    client.say(3, "hello", true).await;
    assert_eq!(client.hear_all(5).await, "hello");
}

#[tokio::test]
async fn streams_that_nobody_asked_for_are_refused() {
    let stdio = Stdio { stdin: false, stderr: false, ..ALL };
    let session = start("query", Framing::Spdy(Version::V4), stdio).await;
    let mut client = spdy(session, &[(1, "error")]).await;
    for (stream, kind) in [(3, "stdin"), (5, "resize"), (7, "error"), (9, "nonsense")] {
        client.open(stream, &[("streamType", kind)]).await;
        assert!(matches!(client.hear().await, Some(SpdyFrame::Reset { stream: refused, .. }) if refused == stream));
    }
    client.opened(11, &[("streamType", "stdout")]).await;
    assert_eq!(client.hear_all(11).await, "command=x");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_make_its_streams_is_let_go() {
    let session = start("query", Framing::Spdy(Version::V4), OUTPUT).await;
    let mut client = spdy(session, &[(1, "error")]).await;
    assert_eq!(client.hear().await, Some(SpdyFrame::GoAway { last: 0, status: 0 }));
}

#[tokio::test]
async fn what_the_node_refuses_is_refused_before_the_upgrade() {
    let node = FakeNode::connect().await;
    let refused = node.exec("refuse").await.map(drop).expect_err("refused");
    assert_eq!((refused.code, refused.message.as_str()), (404, "container not found (\"refuse\")"));
    let away = node::open(&Nodes::default(), "away", "/exec/d/p/c").await.map(drop).expect_err("unreachable");
    assert_eq!(
        away.message,
        "Internal error occurred: error dialing backend: node away is not connected to this server"
    );
}

#[tokio::test]
async fn a_server_that_stops_tells_its_clients() {
    let stopped = Outcome::Failed("the server is shutting down".to_owned());
    let session = start("sleep", V5, OUTPUT).await;
    let mut socket = websocket(session.client).await;
    assert_eq!(socket.next().await.expect("a message").expect("read"), message(1, ""));
    session.tasks.cancel();
    assert_eq!(rest(socket).await, [status(&stopped), goodbye()]);
}
