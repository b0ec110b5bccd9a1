//! A WebSocket on an upgraded connection: its limits, and one as a plain stream of bytes, in which SPDY is tunnelled.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use futures::{Sink as _, SinkExt as _, Stream, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;

use super::limits;

/// What is read and written at once. The library's own buffers are eight times as large, for each connection.
const BUFFER: usize = 16 * 1024;

/// Returns the server's side of a WebSocket whose handshake is done.
pub(crate) async fn open<S: AsyncRead + AsyncWrite + Unpin>(stream: S) -> WebSocketStream<S> {
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .max_message_size(Some(limits::MESSAGE_MAX))
        .max_frame_size(Some(limits::MESSAGE_MAX));
    WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await
}

/// Sends messages until there are no more, the server stops or the client is gone. What the client says is not for us.
pub(crate) async fn send_all<S, M>(stream: S, messages: M, stopping: &CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin,
    M: Stream<Item = Message>,
{
    let (mut sink, mut source) = open(stream).await.split();
    let reading = async move { while let Some(Ok(_)) = source.next().await {} };
    let mut messages = pin!(messages.take_until(stopping.cancelled()));
    let writing = async {
        while let Some(message) = messages.next().await {
            sink.send(message).await?;
        }
        sink.send(goodbye()).await
    };
    let mut reading = pin!(reading);
    let written = tokio::select! {
        () = &mut reading => return,
        written = writing => written,
    };
    if written.is_ok() {
        // A connection that is closed with unread bytes in it is reset, and the client might lose the end.
        let _ = tokio::time::timeout(limits::FINISH, reading).await;
    }
}

/// Returns the message that ends a WebSocket in order.
pub(crate) fn goodbye() -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))
}

/// A WebSocket as a stream of bytes: what its messages carry, whatever their borders
/// (`streaming/pkg/httpstream/spdy`, `tunneling_connection.go` of client-go).
pub(crate) struct Tunnel<S> {
    socket: WebSocketStream<S>,
    /// What is left of the last message.
    unread: Bytes,
    said_goodbye: bool,
}

impl<S> Tunnel<S> {
    /// Returns the bytes of a WebSocket.
    pub(crate) fn new(socket: WebSocketStream<S>) -> Self {
        Self { socket, unread: Bytes::new(), said_goodbye: false }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Tunnel<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.unread.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) => self.unread = bytes,
                Some(Ok(Message::Text(text))) => self.unread = text.into(),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                None | Some(Ok(Message::Close(_))) => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
            }
        }
        let count = self.unread.len().min(buffer.remaining());
        buffer.put_slice(&self.unread[..count]);
        self.unread.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Tunnel<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut socket = Pin::new(&mut self.socket);
        ready!(socket.as_mut().poll_ready(cx)).map_err(io::Error::other)?;
        socket.start_send(Message::binary(bytes.to_vec())).map_err(io::Error::other)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(io::Error::other)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.said_goodbye {
            ready!(Pin::new(&mut self.socket).poll_ready(cx)).map_err(io::Error::other)?;
            self.said_goodbye = true;
            // kubectl takes anything but a normal close for a lost connection.
            Pin::new(&mut self.socket).start_send(goodbye()).map_err(io::Error::other)?;
        }
        match ready!(Pin::new(&mut self.socket).poll_flush(cx)) {
            Ok(()) | Err(Error::ConnectionClosed) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(io::Error::other(error))),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::*;

    async fn pair() -> (Tunnel<DuplexStream>, WebSocketStream<DuplexStream>) {
        let (near, far) = tokio::io::duplex(1024);
        (Tunnel::new(open(near).await), WebSocketStream::from_raw_socket(far, Role::Client, None).await)
    }

    #[tokio::test]
    async fn a_tunnel_does_not_see_the_borders_of_messages() {
        let (mut tunnel, mut client) = pair().await;
        for message in [Message::binary(&b"ab"[..]), Message::Ping(Bytes::new()), Message::binary(&b""[..])] {
            client.send(message).await.expect("sent");
        }
        client.send(Message::binary(&b"cde"[..])).await.expect("sent");
        client.send(goodbye()).await.expect("sent");
        let mut text = [0; 4];
        tunnel.read_exact(&mut text).await.expect("read");
        assert_eq!(&text, b"abcd");
        let mut rest = String::new();
        tunnel.read_to_string(&mut rest).await.expect("read to the end");
        assert_eq!(rest, "e");
    }

    /// Everything that a client hears of a server that says `hi`, and more or nothing.
    async fn heard(more: impl Stream<Item = Message>, stopping: &CancellationToken) -> Vec<Message> {
        let (near, far) = tokio::io::duplex(1024);
        let client = async {
            let socket = WebSocketStream::from_raw_socket(far, Role::Client, None).await;
            socket.map(|message| message.expect("a message")).collect::<Vec<_>>().await
        };
        let first = futures::stream::iter([Message::text("hi")]);
        tokio::join!(send_all(near, first.chain(more), stopping), client).1
    }

    #[tokio::test]
    async fn after_the_last_message_comes_a_normal_close() {
        let expected = [Message::text("hi"), goodbye()];
        assert_eq!(heard(futures::stream::empty(), &CancellationToken::new()).await, expected);
    }

    #[tokio::test]
    async fn a_server_that_stops_says_goodbye_in_between() {
        let stopping = CancellationToken::new();
        let then = stopping.clone();
        let never = futures::stream::once(async move {
            then.cancel();
            std::future::pending().await
        });
        assert_eq!(heard(never, &stopping).await, [Message::text("hi"), goodbye()]);
    }

    #[tokio::test]
    async fn a_tunnel_ends_with_a_normal_close() {
        let (mut tunnel, mut client) = pair().await;
        tunnel.write_all(b"hi").await.expect("written");
        tunnel.shutdown().await.expect("closed");
        assert_eq!(client.next().await.expect("a message").expect("read"), Message::binary(&b"hi"[..]));
        let close = client.next().await.expect("a message").expect("read");
        assert!(matches!(close, Message::Close(Some(CloseFrame { code: CloseCode::Normal, .. }))), "{close:?}");
    }
}
