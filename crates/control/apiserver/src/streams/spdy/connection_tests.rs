//! A SPDY connection over an in-memory pipe, with a client that sends frames by hand.

use std::time::Duration;

use tokio::io::DuplexStream;
use wkube_base::Tasks;

use super::super::test_client::Client;
use super::*;

const DATA: &[(&str, &str)] = &[("streamType", "data")];

fn start() -> (Client<DuplexStream>, Connection, Tasks) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (read, write) = tokio::io::split(near);
    let (connection, driver) = open(read, write);
    let tasks = Tasks::new();
    tasks.spawn("driver", driver);
    (Client::new(far), connection, tasks)
}

#[tokio::test]
async fn a_stream_carries_both_directions_and_ends_in_each() {
    let (mut client, mut connection, _tasks) = start();
    client.open(1, DATA).await;
    let mut stream = connection.accept().await.expect("a stream");
    assert_eq!((stream.id, stream.headers.get("streamtype")), (1, "data"));
    stream.accept().await;
    assert!(matches!(client.hear().await, Some(Frame::SynReply { stream: 1, fin: false, .. })));
    client.say(1, "ping", true).await;
    assert_eq!(stream.incoming.next().await, Piece::Data("ping".into()));
    assert_eq!(stream.incoming.next().await, Piece::End);
    stream.outgoing.send("pong".into()).await.expect("sent");
    stream.outgoing.finish().await;
    assert_eq!(client.hear().await, Some(Frame::Data { stream: 1, payload: "pong".into(), fin: false }));
    assert_eq!(client.hear().await, Some(Frame::Data { stream: 1, payload: Bytes::new(), fin: true }));
}

#[tokio::test]
async fn a_reset_reaches_both_sides_of_a_stream() {
    let (mut client, mut connection, _tasks) = start();
    client.open(1, DATA).await;
    let mut stream = connection.accept().await.expect("a stream");
    client.send(Frame::Reset { stream: 1, status: reset::CANCEL }).await;
    assert_eq!(stream.incoming.next().await, Piece::Reset);
    assert_eq!(stream.outgoing.send("late".into()).await, Err(Gone));
}

#[tokio::test]
async fn a_client_that_goes_resets_its_streams() {
    let (mut client, mut connection, _tasks) = start();
    client.open(1, DATA).await;
    let mut stream = connection.accept().await.expect("a stream");
    drop(client);
    assert_eq!(stream.incoming.next().await, Piece::Reset);
    assert!(connection.accept().await.is_none());
}

#[tokio::test]
async fn pings_of_the_client_are_answered_and_others_are_not() {
    let (mut client, _connection, _tasks) = start();
    client.send(Frame::Ping(2)).await;
    client.send(Frame::Ping(1)).await;
    assert_eq!(client.hear().await, Some(Frame::Ping(1)));
}

#[tokio::test]
async fn streams_must_be_odd_and_growing() {
    let (mut client, mut connection, _tasks) = start();
    for (stream, refused) in [(2, true), (5, false), (3, true), (5, true)] {
        client.open(stream, DATA).await;
        if refused {
            let expected = Frame::Reset { stream, status: reset::PROTOCOL_ERROR };
            assert_eq!(client.hear().await, Some(expected));
        } else {
            assert_eq!(connection.accept().await.expect("a stream").id, stream);
        }
    }
}

#[tokio::test]
async fn more_streams_than_the_limit_are_refused_until_some_end() {
    let (mut client, mut connection, _tasks) = start();
    let mut held = Vec::new();
    let id = |number: usize| u32::try_from(number * 2 + 1).expect("small");
    for number in 0..limits::SPDY_STREAMS {
        client.open(id(number), DATA).await;
        held.push(connection.accept().await.expect("a stream"));
    }
    client.open(id(limits::SPDY_STREAMS), DATA).await;
    let refusal = Frame::Reset { stream: id(limits::SPDY_STREAMS), status: reset::REFUSED };
    assert_eq!(client.hear().await, Some(refusal));
    held.pop();
    client.open(id(limits::SPDY_STREAMS + 1), DATA).await;
    assert!(connection.accept().await.is_some());
}

#[tokio::test]
async fn what_was_sent_is_written_before_the_connection_ends() {
    let (mut client, mut connection, _tasks) = start();
    client.open(1, DATA).await;
    let stream = connection.accept().await.expect("a stream");
    stream.outgoing.send(vec![b'x'; DATA_MAX + 1].into()).await.expect("sent");
    stream.outgoing.finish().await;
    drop((stream.incoming, connection));
    let mut seen = 0;
    loop {
        match client.hear().await.expect("more") {
            Frame::Data { payload, fin, .. } => {
                seen += payload.len();
                if fin {
                    break;
                }
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!(seen, DATA_MAX + 1);
    assert_eq!(client.hear().await, Some(Frame::GoAway { last: 0, status: 0 }));
    assert_eq!(client.hear().await, None);
}

#[tokio::test]
async fn what_is_consumed_is_credited() {
    let (mut client, mut connection, _tasks) = start();
    client.open(1, DATA).await;
    let mut stream = connection.accept().await.expect("a stream");
    let payload = Bytes::from(vec![0; CREDIT]);
    client.send(Frame::Data { stream: 1, payload, fin: true }).await;
    while stream.incoming.next().await != Piece::End {}
    let mut credited = BTreeMap::new();
    while credited.len() < 2 {
        if let Some(Frame::WindowUpdate { stream, delta }) = client.hear().await {
            *credited.entry(stream).or_insert(0) += delta;
        }
    }
    assert_eq!(credited, BTreeMap::from([(0, 32 * 1024), (1, 32 * 1024)]));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_nobody_reads_holds_the_client_up() {
    let (mut client, mut connection, _tasks) = start();
    client.open(1, DATA).await;
    let _unread = connection.accept().await.expect("a stream");
    let mut sent = 0;
    let flood = async {
        loop {
            client.send(Frame::Data { stream: 1, payload: vec![0; READ].into(), fin: false }).await;
            sent += READ;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(1), flood).await.is_err());
    assert!(sent <= READ * QUEUE + 2 * 64 * 1024, "{sent} bytes were taken");
}

#[tokio::test]
async fn a_client_that_breaks_the_protocol_loses_the_connection() {
    let (mut client, mut connection, _tasks) = start();
    client.pipe.write_all(b"\x80\x02\0\x06\0\0\0\x04\0\0\0\x01").await.expect("written");
    assert!(connection.accept().await.is_none());
}
