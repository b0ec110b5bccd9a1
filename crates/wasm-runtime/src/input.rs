//! A guest's standard input: pieces that the host sends, read by whichever WASI version the guest speaks.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;
use wasmtime_wasi::cli::{IsTerminal, StdinStream};
use wasmtime_wasi::p2::{InputStream, Pollable, StreamError, StreamResult};

/// Standard input of one guest. All its handles share what has come and has not been read.
#[derive(Clone)]
pub(crate) struct GuestInput(Arc<Mutex<Unread>>);

struct Unread {
    /// Ends when the host has no more to say.
    pieces: mpsc::Receiver<Bytes>,
    piece: Bytes,
}

impl GuestInput {
    pub(crate) fn new(pieces: mpsc::Receiver<Bytes>) -> Self {
        Self(Arc::new(Mutex::new(Unread { pieces, piece: Bytes::new() })))
    }
}

impl Unread {
    /// Completes with whether there is something to read; if not, there will never be.
    fn poll_some(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        while self.piece.is_empty() {
            match ready!(self.pieces.poll_recv(context)) {
                Some(piece) => self.piece = piece,
                None => return Poll::Ready(false),
            }
        }
        Poll::Ready(true)
    }

    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        while self.piece.is_empty() {
            match self.pieces.try_recv() {
                Ok(piece) => self.piece = piece,
                Err(TryRecvError::Empty) => return Ok(Bytes::new()),
                Err(TryRecvError::Disconnected) => return Err(StreamError::Closed),
            }
        }
        Ok(self.take(size))
    }

    fn take(&mut self, size: usize) -> Bytes {
        self.piece.split_to(size.min(self.piece.len()))
    }
}

impl IsTerminal for GuestInput {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdinStream for GuestInput {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for GuestInput {
    async fn ready(&mut self) {
        poll_fn(|context| self.0.lock().poll_some(context)).await;
    }
}

#[wasmtime_wasi::async_trait]
impl InputStream for GuestInput {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        self.0.lock().read(size)
    }
}

impl AsyncRead for GuestInput {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut unread = self.0.lock();
        if ready!(unread.poll_some(context)) {
            into.put_slice(&unread.take(into.remaining()));
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(pieces: &[&'static str]) -> (mpsc::Sender<Bytes>, GuestInput) {
        let (sender, receiver) = mpsc::channel(8);
        for piece in pieces {
            sender.try_send(Bytes::from_static(piece.as_bytes())).unwrap();
        }
        (sender, GuestInput::new(receiver))
    }

    #[test]
    fn a_read_takes_what_is_there_and_never_waits() {
        let (sender, mut input) = input(&["hello", "", "world"]);
        assert_eq!(input.read(3).unwrap(), "hel");
        assert_eq!(input.clone().read(9).unwrap(), "lo", "handles share their progress");
        assert_eq!(input.read(9).unwrap(), "world", "an empty piece is not the end");
        assert_eq!(input.read(9).unwrap(), "", "nothing yet");
        drop(sender);
        assert!(matches!(input.read(9), Err(StreamError::Closed)));
    }

    #[tokio::test]
    async fn a_waiting_reader_is_woken_by_a_piece_and_by_the_end() {
        let (sender, mut input) = input(&[]);
        tokio::join!(input.ready(), async { sender.send(Bytes::from_static(b"x")).await.unwrap() });
        assert_eq!(input.read(9).unwrap(), "x");
        tokio::join!(input.ready(), async { drop(sender) });
        assert!(matches!(input.read(9), Err(StreamError::Closed)));
    }

    #[tokio::test]
    async fn the_asynchronous_side_reads_to_the_end() {
        let (sender, input) = input(&["one ", "two"]);
        drop(sender);
        let mut text = Vec::new();
        tokio::io::copy(&mut Box::into_pin(input.async_stream()), &mut text).await.unwrap();
        assert_eq!(text, b"one two");
    }
}
