//! A remote command over WebSocket (`kubelet/pkg/cri/streaming/remotecommand/websocket.go`).

use std::pin::pin;

use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use wkube_api::remote_command::Channel;

use super::Ends;
use crate::streams::channels::{self, Encoding, Version};
use crate::streams::limits;
use crate::streams::options::Stdio;
use crate::streams::websocket::{self, goodbye};

/// Carries frames as messages until the client is gone, or has been told how the command ended.
pub(super) async fn run<S>(stream: S, version: Version, encoding: Encoding, stdio: Stdio, ends: Ends)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Ends { from_client, mut to_client } = ends;
    let (mut sink, mut source) = websocket::open(stream).await.split();
    let reading = async move {
        let mut listening = true;
        while let Some(Ok(message)) = source.next().await {
            // After the command's end the messages are read all the same, up to the client's goodbye.
            if listening && let Some(frame) = channels::frame(version, encoding, message) {
                listening = from_client.send(frame).await.is_ok();
            }
        }
    };
    let writing = async {
        // Clients wait for this to know that they are connected.
        sink.send(encoding.encode(first_channel(stdio).number(), b"")).await?;
        while let Some(frame) = to_client.recv().await {
            let payload = match frame.channel {
                Channel::Error => channels::outcome(version, &frame.payload),
                _ => Some(frame.payload),
            };
            if let Some(payload) = payload {
                sink.send(encoding.encode(frame.channel.number(), &payload)).await?;
            }
        }
        sink.send(goodbye()).await
    };
    let mut reading = pin!(reading);
    let written = tokio::select! {
        biased;
        written = writing => written,
        () = &mut reading => return,
    };
    if written.is_ok() {
        // A connection that is closed with unread bytes in it is reset, and the client might lose the end.
        let _ = tokio::time::timeout(limits::FINISH, reading).await;
    }
}

/// Returns the lowest channel on which the server speaks.
fn first_channel(stdio: Stdio) -> Channel {
    match stdio {
        Stdio { stdout: true, .. } => Channel::Stdout,
        Stdio { stderr: true, .. } => Channel::Stderr,
        _ => Channel::Error,
    }
}
