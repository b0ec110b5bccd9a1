//! Port-forward over a plain WebSocket: one connection per port of the URL, each with a channel for its data and one for
//! its error (`kubelet/pkg/cri/streaming/portforward/websocket.go`). Python, JavaScript and Rust clients speak it.

use std::future::pending;
use std::pin::pin;

use bytes::Bytes;
use futures::future::join_all;
use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Forwarder;
use crate::streams::activity::Activity;
use crate::streams::channels::Encoding;
use crate::streams::limits;
use crate::streams::websocket::{self, goodbye};

/// Bytes for one of the client's channels.
type Said = (u8, Bytes);

/// Forwards a connection to each port until all have ended, the client is gone or the server stops.
pub(super) async fn run<S>(
    stream: S,
    encoding: Encoding,
    ports: &[u16],
    forwarder: &Forwarder,
    stopping: &CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let activity = Activity::default();
    let (mut sink, mut source) = websocket::open(stream).await.split();
    let (say, mut said) = mpsc::channel::<Said>(limits::PIECES);
    let (inputs, forwards): (Vec<_>, Vec<_>) = ports
        .iter()
        .zip((0_u8..).step_by(2))
        .map(|(port, channel)| {
            let (input, received) = mpsc::channel(limits::PIECES);
            (input, forward(forwarder, *port, channel, received, say.clone()))
        })
        .unzip();
    drop(say);
    let reading = async {
        while let Some(Ok(message)) = source.next().await {
            activity.touch();
            let Some((channel, bytes)) = encoding.decode(message) else { continue };
            // Errors are the server's to say, and a connection that has ended does not listen.
            if channel % 2 == 0
                && let Some(input) = inputs.get(usize::from(channel / 2))
            {
                let _ = input.send(bytes).await;
            }
        }
    };
    let writing = async {
        for (port, channel) in ports.iter().zip((0_u8..).step_by(2)) {
            for channel in [channel, channel + 1] {
                sink.send(encoding.encode(channel, &port.to_le_bytes())).await?;
            }
        }
        while let Some(Some((channel, bytes))) = stopping.run_until_cancelled(said.recv()).await {
            activity.touch();
            sink.send(encoding.encode(channel, &bytes)).await?;
        }
        sink.send(goodbye()).await
    };
    let forwarding = async {
        join_all(forwards).await;
        // What they have said may still have to be written.
        pending().await
    };
    let mut reading = pin!(reading);
    let written = tokio::select! {
        () = &mut reading => return,
        written = writing => written,
        never = forwarding => never,
        () = activity.idle_for(limits::IDLE) => return,
    };
    if written.is_ok() {
        let _ = tokio::time::timeout(limits::FINISH, reading).await;
    }
}

/// Carries one connection to its end and says why, if it failed.
async fn forward(
    forwarder: &Forwarder,
    port: u16,
    channel: u8,
    mut received: mpsc::Receiver<Bytes>,
    say: mpsc::Sender<Said>,
) {
    let (to_node, mut from_node) = match forwarder.open(port).await {
        Ok(opened) => opened,
        Err(sentence) => return drop(say.send((channel + 1, sentence.into())).await),
    };
    // This framing has no way to end one direction, so the connection lasts until the pod ends it.
    let up = async {
        while let Some(bytes) = received.recv().await {
            if to_node.send(bytes).await.is_err() {
                return;
            }
        }
    };
    let down = async {
        while let Some(bytes) = from_node.next().await {
            let said = match bytes {
                Ok(bytes) => (channel, bytes),
                Err(error) => (channel + 1, forwarder.sentence(port, &error.to_string()).into()),
            };
            if say.send(said).await.is_err() {
                return;
            }
        }
    };
    let mut down = pin!(down);
    tokio::select! {
        () = &mut down => {}
        // The pod does not listen any more, but may still have something to say.
        () = up => down.await,
    }
}
