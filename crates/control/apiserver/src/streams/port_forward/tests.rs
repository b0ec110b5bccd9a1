//! Port-forward from a client's bytes to a node and back.

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use tokio::io::DuplexStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use wkube_base::Tasks;

use super::*;
use crate::streams::fake_node::FakeNode;
use crate::streams::spdy::Frame;
use crate::streams::spdy::test_client::Client;

/// A session with the fake node's pod, and the client's end of its bytes.
struct Session {
    client: DuplexStream,
    _node: FakeNode,
    _tasks: Tasks,
}

async fn start(framing: Framing) -> Session {
    let node = FakeNode::connect().await;
    let pod = serde_json::json!({"metadata": {"name": "p", "namespace": "d", "uid": "u"}});
    let pod: Object = serde_json::from_value(pod).expect("an object");
    let forwarder = Forwarder::new(node.nodes.clone(), "n", &pod);
    let (near, client) = tokio::io::duplex(64 << 10);
    let tasks = Tasks::new();
    let stopping = tasks.stopping();
    tasks.spawn_to_end("session", async move { session(near, framing, &forwarder, &stopping).await });
    Session { client, _node: node, _tasks: tasks }
}

/// Opens the two streams of a connection: `first` for its error, and the next for its data.
async fn connect<S: AsyncRead + AsyncWrite + Unpin>(client: &mut Client<S>, first: u32, port: &str) {
    let request = first.to_string();
    client.opened(first, &[("streamType", "error"), ("port", port), ("requestID", &request)]).await;
    client.opened(first + 2, &[("streamType", "data"), ("port", port), ("requestID", &request)]).await;
}

#[tokio::test]
async fn a_connection_echoes_and_ends_after_the_client_has() {
    let Session { client, _node, _tasks } = start(Framing::Spdy).await;
    let mut client = Client::new(client);
    connect(&mut client, 1, "7").await;
    client.say(3, "hello", true).await;
    assert_eq!(client.hear_all(3).await, "hello");
}

#[tokio::test]
async fn connections_of_one_client_do_not_wait_for_each_other() {
    let Session { client, _node, _tasks } = start(Framing::Spdy).await;
    let mut client = Client::new(client);
    connect(&mut client, 1, "9").await;
    client.say(3, "into the void", false).await;
    connect(&mut client, 5, "7").await;
    client.say(7, "hello", true).await;
    assert_eq!(client.hear_all(7).await, "hello");
}

#[tokio::test]
async fn a_port_that_is_not_open_is_an_error_on_its_stream() {
    let Session { client, _node, _tasks } = start(Framing::Spdy).await;
    let mut client = Client::new(client);
    connect(&mut client, 1, "8").await;
    let expected = "error forwarding port 8 to pod p, uid u: Internal error occurred: nothing listens on port 8";
    assert_eq!(client.hear_all(1).await, expected);
}

#[tokio::test]
async fn a_client_that_lets_go_of_the_data_hears_the_end_of_the_error() {
    let Session { client, _node, _tasks } = start(Framing::Spdy).await;
    let mut client = Client::new(client);
    connect(&mut client, 1, "9").await;
    client.send(Frame::Reset { stream: 3, status: 5 }).await;
    assert_eq!(client.hear_all(1).await, "");
}

#[tokio::test]
async fn a_stream_without_a_purpose_is_refused_and_the_others_go_on() {
    let Session { client, _node, _tasks } = start(Framing::Spdy).await;
    let mut client = Client::new(client);
    for (stream, headers) in
        [(1, [("streamType", "data"), ("port", "0")]), (3, [("streamType", "stdin"), ("port", "7")])]
    {
        client.open(stream, &headers).await;
        assert!(matches!(client.hear().await, Some(Frame::Reset { stream: refused, .. }) if refused == stream));
    }
    connect(&mut client, 5, "7").await;
    client.say(7, "hello", true).await;
    assert_eq!(client.hear_all(7).await, "hello");
}

#[tokio::test(start_paused = true)]
async fn half_a_connection_is_given_up() {
    let Session { client, _node, _tasks } = start(Framing::Spdy).await;
    let mut client = Client::new(client);
    client.opened(1, &[("streamType", "error"), ("port", "7"), ("requestID", "0")]).await;
    assert_eq!(client.hear_all(1).await, "(request=0) timed out waiting for streams");
    client.opened(3, &[("streamType", "data"), ("port", "7"), ("requestID", "0")]).await;
    assert!(matches!(client.hear().await, Some(Frame::Reset { stream: 3, .. })));
}

#[tokio::test]
async fn spdy_may_travel_in_a_websocket() {
    let Session { client, _node, _tasks } = start(Framing::Tunnel).await;
    let socket = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
    let mut client = Client::new(Tunnel::new(socket));
    connect(&mut client, 1, "7").await;
    client.say(3, "hello", true).await;
    assert_eq!(client.hear_all(3).await, "hello");
}

/// What the server says on a plain WebSocket, in order.
async fn hear(socket: &mut WebSocketStream<DuplexStream>, encoding: Encoding) -> Option<(u8, Bytes)> {
    encoding.decode(socket.next().await?.expect("a message"))
}

#[tokio::test]
async fn a_plain_websocket_names_its_ports_first_and_has_two_channels_for_each() {
    for encoding in [Encoding::Binary, Encoding::Base64] {
        let Session { client, _node, _tasks } = start(Framing::Plain(encoding, vec![7, 263])).await;
        let mut socket = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        for (channel, port) in [(0, b"\x07\0"), (1, b"\x07\0"), (2, b"\x07\x01"), (3, b"\x07\x01")] {
            assert_eq!(hear(&mut socket, encoding).await, Some((channel, Bytes::from_static(port))));
        }
        let (channel, error) = hear(&mut socket, encoding).await.expect("an error");
        assert!(channel == 3 && error.starts_with(b"error forwarding port 263 to pod p, uid u: "), "{error:?}");
        socket.send(encoding.encode(0, b"hello")).await.expect("sent");
        assert_eq!(hear(&mut socket, encoding).await, Some((0, "hello".into())));
        // Nobody listens on these.
        for channel in [1, 2, 3, 4, 200] {
            socket.send(encoding_or_binary(encoding, channel)).await.expect("sent");
        }
        socket.send(encoding.encode(0, b"still there")).await.expect("sent");
        assert_eq!(hear(&mut socket, encoding).await, Some((0, "still there".into())));
    }
}

/// A message on a channel that has no digit, where digits are used.
fn encoding_or_binary(encoding: Encoding, channel: u8) -> Message {
    if channel < 10 { encoding.encode(channel, b"?") } else { Encoding::Binary.encode(channel, b"?") }
}

#[tokio::test]
async fn a_plain_websocket_ends_when_all_its_connections_have() {
    let Session { client, _node, _tasks } = start(Framing::Plain(Encoding::Binary, vec![8])).await;
    let socket = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
    let said: Vec<_> = socket.map(|message| message.expect("a message")).collect().await;
    assert_eq!((said.len(), said.last()), (4, Some(&ws::goodbye())));
}

#[test]
fn each_client_gets_the_framing_that_it_asks_for() {
    let request = |protocols: &'static str, query| {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", protocols),
        ] {
            headers.insert(name, http::HeaderValue::from_static(value));
        }
        match framing(&Method::GET, &headers, &Query::parse(Some(query))) {
            Ok((framing, _)) => format!("{framing:?}"),
            Err(refused) => refused.response().status().to_string(),
        }
    };
    assert_eq!(request("SPDY/3.1+portforward.k8s.io", ""), "Tunnel");
    assert_eq!(request("v4.channel.k8s.io", "ports=80,443"), "Plain(Binary, [80, 443])");
    assert_eq!(request("v4.base64.channel.k8s.io", "ports=80"), "Plain(Base64, [80])");
    assert_eq!(request("v4.channel.k8s.io", ""), "400 Bad Request");
    assert_eq!(request("v5.channel.k8s.io", "ports=80"), "403 Forbidden");
}

#[tokio::test]
async fn a_server_that_stops_says_goodbye_in_every_framing() {
    let Session { client, _node, _tasks: tasks } = start(Framing::Plain(Encoding::Binary, vec![9])).await;
    let mut socket = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
    for _ in 0..2 {
        socket.next().await.expect("a message").expect("the port of a channel");
    }
    tasks.cancel();
    assert_eq!(socket.next().await.expect("a message").expect("read"), ws::goodbye());

    let Session { client, _node, _tasks: tasks } = start(Framing::Spdy).await;
    let mut client = Client::new(client);
    connect(&mut client, 1, "9").await;
    tasks.cancel();
    assert_eq!(client.hear().await, Some(Frame::GoAway { last: 0, status: 0 }));
}
