//! Connections whose other end takes nothing: closed after a while, whatever is being sent on them.
//!
//! A watcher that never reads, a list that nobody collects and a machine that was switched off look the same from here:
//! bytes that do not go out. Go's server notices the last by TCP keep-alive and lives with the others.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::limits;

/// A stream whose writes fail when nothing has gone out for [`limits::WRITE_STALL`].
pub(crate) struct Impatient<S> {
    stream: S,
    /// Runs while something waits to be written.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> Impatient<S> {
    /// Returns an impatient stream.
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, deadline: None }
    }

    fn judge<T>(&mut self, context: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.deadline = None;
            return result;
        }
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(limits::WRITE_STALL)));
        match deadline.poll_unpin(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(context, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.judge(context, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(context);
        self.judge(context, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_shutdown(context);
        self.judge(context, result)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::{Instant, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_write_that_nobody_takes_fails_after_a_while() {
        let (ours, _theirs) = duplex(16);
        let (mut stream, before) = (Impatient::new(ours), Instant::now());
        let failed = stream.write_all(&[0; 100]).await.expect_err("nobody reads");
        assert_eq!((failed.kind(), before.elapsed()), (io::ErrorKind::TimedOut, limits::WRITE_STALL));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_that_goes_on_reading_is_served() {
        let (ours, mut theirs) = duplex(16);
        let mut stream = Impatient::new(ours);
        let writing = stream.write_all(&[0; 64]);
        let reading = async {
            for _ in 0..4 {
                sleep(limits::WRITE_STALL.saturating_sub(Duration::from_secs(1))).await;
                theirs.read_exact(&mut [0; 16]).await.expect("bytes");
            }
        };
        let (written, ()) = tokio::join!(writing, reading);
        assert!(written.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_stream_may_be_idle_for_ever() {
        let (ours, _theirs) = duplex(16);
        let mut stream = Impatient::new(ours);
        stream.write_all(b"hello").await.expect("room");
        assert!(timeout(limits::WRITE_STALL * 10, stream.read_u8()).await.is_err(), "still waiting");
    }
}
