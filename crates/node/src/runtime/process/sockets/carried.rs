//! The bytes of a connection inside a call. Each body is pieces, an empty piece ends its direction, and the end of the
//! whole body means something else: that whoever sent it has gone, and has been heard to the end. HTTP/2 alone knows no
//! difference between the two, and forgets what waits to be sent when both bodies are dropped.
//!
//! ```text
//!  worker  piece piece (shut down) empty ......... (dropped) end, then waits for the node's
//!  node    piece ......................... empty ........... end, once everything is written
//! ```

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::io::{ReaderStream, StreamReader};
use tokio_util::sync::CancellationToken;

use super::guests::Line;
use super::ports::Port;
use super::words::{Pieces, piece};

/// How long the last bytes of a connection may take to arrive once the guest has let go of it, as in the runtime.
const LINGER: Duration = Duration::from_mins(1);

/// Returns a body: what `reader` reads, its end, and the end of the body after `gone`.
pub(super) fn outgoing(
    reader: impl AsyncRead + Send + 'static,
    gone: impl Future<Output = ()> + Send + 'static,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let pieces = ReaderStream::new(reader).map(|bytes| bytes.map(|bytes| piece(&bytes)));
    let end = stream::once(async { Ok(piece(&[])) });
    pieces.chain(end).chain(stream::once(gone).filter_map(async |()| None))
}

/// Reads such a body: as a stream, the bytes until their direction ends.
pub(super) struct Carried {
    body: Incoming,
    pieces: Pieces,
    has_ended: bool,
}

impl Carried {
    pub(super) fn new(body: Incoming) -> Self {
        Self { body, pieces: Pieces::default(), has_ended: false }
    }

    /// Waits until the other side has gone.
    pub(super) async fn gone(mut self) {
        while let Some(Ok(_)) = self.body.frame().await {}
    }

    /// Writes what comes into `writer`, until the other side has gone or nobody takes it any more.
    pub(super) async fn write(mut self, mut writer: impl AsyncWrite + Unpin) -> Written {
        while let Some(bytes) = self.next().await {
            let Ok(bytes) = bytes else { return Written::All };
            if writer.write_all(&bytes).await.is_err() || writer.flush().await.is_err() {
                return Written::Refused;
            }
        }
        // Whoever does not hear that has gone itself.
        drop(writer.shutdown().await);
        drop(writer);
        self.gone().await;
        Written::All
    }
}

/// How writing ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// There is nothing more: who sent it has gone.
    All,
    /// Who should have read it has gone.
    Refused,
}

impl Stream for Carried {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let me = &mut *self;
        loop {
            match me.pieces.next() {
                _ if me.has_ended => return Poll::Ready(None),
                Some(end) if end.is_empty() => me.has_ended = true,
                Some(bytes) => return Poll::Ready(Some(Ok(bytes))),
                None => match ready!(Pin::new(&mut me.body).poll_frame(context)) {
                    Some(Ok(frame)) => me.pieces.push(frame.data_ref().map_or(&[], |bytes| bytes)),
                    cut_off => {
                        me.has_ended = true;
                        let error = cut_off.and_then(Result::err).map(io::Error::other);
                        return Poll::Ready(Some(Err(error.unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into()))));
                    }
                },
            }
        }
    }
}

/// A connection as a guest holds it.
pub(super) struct Held {
    pub(super) line: Arc<Line>,
    /// Always there until this is dropped.
    pub(super) reader: Option<StreamReader<Carried, Bytes>>,
    pub(super) writer: DuplexStream,
    /// Tells the other end of `writer`.
    pub(super) gone: CancellationToken,
    pub(super) slot: Option<OwnedSemaphorePermit>,
    /// The port that it was made from.
    pub(super) _port: Option<Arc<Port>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.gone.cancel();
        let (reader, slot) = (self.reader.take(), self.slot.take());
        let Some(carried) = reader.map(StreamReader::into_inner).filter(|carried| !carried.body.is_end_stream()) else {
            return;
        };
        self.line.spawn("lingering connection", async move {
            // Late is as good as never: what has not arrived by then is lost.
            let _ = tokio::time::timeout(LINGER, carried.gone()).await;
            drop(slot);
        });
    }
}

impl AsyncRead for Held {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(reader) = &mut self.reader else { return Poll::Ready(Ok(())) };
        Pin::new(reader).poll_read(context, buffer)
    }
}

impl AsyncWrite for Held {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writer).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_shutdown(context)
    }
}
