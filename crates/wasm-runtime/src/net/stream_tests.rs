//! Readiness, back-pressure and ends of the two directions of a connection.

use std::future::poll_fn;

use tokio::io::{AsyncReadExt as _, DuplexStream};

use super::*;
use crate::net::sockets::{SOCKETS_MAX, Sockets};

/// What the network holds in these tests.
const PIPE_BYTES: usize = 8;

fn pair(sockets: &Sockets) -> (Receiver, Sender, DuplexStream) {
    let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
    let (receiver, sender) = split(Box::new(ours), &sockets.slot().unwrap());
    (receiver, sender, theirs)
}

#[tokio::test]
async fn a_reader_is_ready_when_there_are_bytes_or_the_end() {
    let (mut receiver, _sender, mut peer) = pair(&Sockets::new(None));
    assert!(receiver.poll_ready(&mut once()).is_pending());
    peer.write_all(b"abc").await.unwrap();
    assert!(receiver.poll_ready(&mut once()).is_ready());
    assert_eq!((receiver.take(2), receiver.take(2), receiver.take(2)), ("ab".into(), "c".into(), Bytes::new()));
    assert_eq!(receiver.end(), None);
    drop(peer);
    assert!(receiver.poll_ready(&mut once()).is_ready());
    assert_eq!(receiver.end(), Some(Ok(())));
}

#[tokio::test]
async fn the_end_is_told_after_the_last_byte() {
    let (mut receiver, _sender, mut peer) = pair(&Sockets::new(None));
    peer.write_all(b"last").await.unwrap();
    drop(peer);
    assert!(receiver.poll_ready(&mut once()).is_ready());
    assert_eq!(receiver.end(), None);
    assert_eq!(receiver.take(9), "last");
    assert!(receiver.poll_ready(&mut once()).is_ready());
    assert_eq!(receiver.end(), Some(Ok(())));
}

#[tokio::test]
async fn a_writer_takes_a_bounded_amount_and_then_waits_for_the_reader() {
    let (_receiver, mut sender, mut peer) = pair(&Sockets::new(None));
    let bytes = vec![7; 10 * WRITE_BYTES_MAX];
    assert_eq!(sender.offer(&bytes), Ok(PIPE_BYTES + WRITE_BYTES_MAX));
    assert_eq!(sender.room(), Ok(0));
    assert_eq!(sender.offer(&bytes), Ok(0));
    let mut read = vec![0; PIPE_BYTES + WRITE_BYTES_MAX];
    peer.read_exact(&mut read).await.unwrap();
    poll_fn(|context| sender.poll_ready(context)).await;
    assert_eq!(sender.room(), Ok(WRITE_BYTES_MAX));
}

#[tokio::test]
async fn nothing_is_lost_if_the_writer_goes_before_the_reader_comes() {
    let (receiver, mut sender, mut peer) = pair(&Sockets::new(None));
    assert_eq!(sender.offer(&[7; 1000]), Ok(1000));
    drop((receiver, sender));
    let mut read = Vec::new();
    peer.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, vec![7; 1000]);
}

#[tokio::test]
async fn an_offer_of_nothing_changes_nothing() {
    let (_receiver, mut sender, _peer) = pair(&Sockets::new(None));
    for _ in 0..1_000 {
        assert_eq!(sender.offer(b""), Ok(0));
    }
    assert_eq!(sender.room(), Ok(WRITE_BYTES_MAX));
}

#[tokio::test]
async fn a_closed_writer_takes_no_more_and_says_that_it_was_us() {
    let (_receiver, mut sender, mut peer) = pair(&Sockets::new(None));
    sender.close();
    sender.close();
    assert_eq!(sender.offer(b"more"), Err(None));
    assert_eq!(peer.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_writer_hears_that_the_other_side_has_gone() {
    let (_receiver, mut sender, peer) = pair(&Sockets::new(None));
    drop(peer);
    assert_eq!(sender.offer(b"more"), Err(Some(NetError::Reset)));
    sender.close();
    assert_eq!(sender.offer(b"more"), Err(Some(NetError::Reset)), "and goes on saying so");
}

#[tokio::test(start_paused = true)]
async fn the_last_bytes_count_as_a_socket_until_they_are_gone_or_given_up() {
    let sockets = Sockets::new(None);
    let (receiver, mut sender, peer) = pair(&sockets);
    assert_eq!(sender.offer(&[7; 1000]), Ok(1000));
    drop((receiver, sender));
    tokio::task::yield_now().await;
    let free: Vec<_> = std::iter::from_fn(|| sockets.slot().ok()).collect();
    assert_eq!(free.len(), SOCKETS_MAX - 1, "the rest is still to be sent");
    // The peer never reads; nothing else is left to do, so the clock runs ahead.
    drop(sockets.next_slot().await);
    drop(peer);
}
