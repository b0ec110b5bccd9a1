//! Port-forward over SPDY: two streams for each connection (`kubelet/pkg/cri/streaming/portforward/httpstream.go`).

use std::future::pending;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::Forwarder;
use super::pairs::{Kind, Pair, Pairs, Purpose};
use crate::streams::node::{FromNode, ToNode};
use crate::streams::spdy::{self, Connection, Incoming, Outgoing, Piece, Stream};

/// Forwards connections until the client is gone. A server that stops lets go of them all, and says goodbye.
pub(super) async fn run<S>(stream: S, forwarder: &Forwarder, stopping: &CancellationToken)
where
    S: AsyncRead + AsyncWrite + Send,
{
    let (read, write) = tokio::io::split(stream);
    let (connection, driver) = spdy::open(read, write);
    tokio::join!(driver, serve(connection, forwarder, stopping));
}

async fn serve(mut connection: Connection, forwarder: &Forwarder, stopping: &CancellationToken) {
    let mut pairs = Pairs::default();
    let mut forwards = FuturesUnordered::new();
    loop {
        let expiry = pairs.expiry();
        tokio::select! {
            biased;
            () = stopping.cancelled() => return,
            stream = connection.accept() => match stream {
                None => return,
                Some(stream) => {
                    if let Some(pair) = take_in(&mut pairs, stream).await {
                        forwards.push(forward(forwarder, pair));
                    }
                }
            },
            Some(()) = forwards.next() => {}
            () = until(expiry) => {
                for (purpose, stream) in pairs.expired(Instant::now()) {
                    give_up(purpose, stream).await;
                }
            }
        }
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => pending().await,
    }
}

/// Accepts or refuses a stream, and returns the pair that it completes.
async fn take_in(pairs: &mut Pairs<Stream>, stream: Stream) -> Option<Pair<Stream>> {
    let Some(purpose) = Purpose::of(&stream.headers, stream.id) else {
        debug!(headers = ?stream.headers, "a stream that is not for forwarding");
        stream.refuse().await;
        return None;
    };
    // At once: clients make the second stream after the first has been accepted.
    stream.accept().await;
    match pairs.add(purpose, stream, Instant::now()) {
        Ok(pair) => pair,
        Err(second) => {
            second.outgoing.cancel().await;
            None
        }
    }
}

/// Ends a stream whose other half never came.
async fn give_up(purpose: Purpose, stream: Stream) {
    if purpose.kind == Kind::Error {
        let message = format!("(request={}) timed out waiting for streams", purpose.request);
        let _ = stream.outgoing.send(message.into()).await;
        stream.outgoing.finish().await;
    } else {
        stream.outgoing.cancel().await;
    }
}

/// Carries one connection to its end and says why, if it failed.
async fn forward(forwarder: &Forwarder, pair: Pair<Stream>) {
    let Pair { port, data: Stream { incoming, outgoing, .. }, error } = pair;
    let carried = match forwarder.open(port).await {
        Ok((to_node, from_node)) => {
            let carried = carry(incoming, &outgoing, to_node, from_node).await;
            carried.map_err(|error| forwarder.sentence(port, &error.to_string()))
        }
        Err(sentence) => Err(sentence),
    };
    if let Err(sentence) = carried {
        let _ = error.outgoing.send(Bytes::from(sentence)).await;
    }
    // kubectl reads the error stream to its end before it lets go of the connection.
    error.outgoing.finish().await;
    outgoing.finish().await;
}

/// Carries bytes both ways until the pod has said everything or the client lets go.
async fn carry(
    incoming: Incoming,
    outgoing: &Outgoing,
    to_node: ToNode,
    mut from_node: FromNode,
) -> Result<(), hyper::Error> {
    let down = async {
        while let Some(bytes) = from_node.next().await {
            if outgoing.send(bytes?).await.is_err() {
                break;
            }
        }
        Ok(())
    };
    tokio::select! {
        biased;
        ended = down => ended,
        () = up(incoming, to_node) => Ok(()),
    }
}

/// Carries what the client sends; ends when the client lets go. Its last byte ends only this direction.
async fn up(mut incoming: Incoming, to_node: ToNode) {
    let gone = incoming.gone();
    let mut listening = true;
    loop {
        match incoming.next().await {
            Piece::Data(bytes) if listening => listening = to_node.send(bytes).await.is_ok(),
            Piece::Data(_) => {}
            Piece::Reset => return,
            Piece::End => break,
        }
    }
    drop(to_node);
    gone.await;
}
