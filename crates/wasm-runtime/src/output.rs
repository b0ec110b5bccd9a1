//! A guest's standard output and error, handed to the host's port as they come.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::guest::{Output, StdStream};

/// What one write may carry; bounds what the host allocates for `write-zeroes`.
const WRITE_BYTES_MAX: usize = 64 << 10;

/// One stream of a guest. All WASI versions end here; the defaults of wasmtime-wasi start a task per stream and, up
/// to 48.0.8, queue empty writes without a bound.
#[derive(Clone)]
pub(crate) struct GuestStream {
    stream: StdStream,
    output: Option<Arc<dyn Output>>,
}

impl GuestStream {
    pub(crate) fn new(stream: StdStream, output: Option<Arc<dyn Output>>) -> Self {
        Self { stream, output }
    }

    fn room(&self) -> Option<BoxFuture<'static, ()>> {
        self.output.as_ref().and_then(|output| output.room())
    }

    fn put(&self, bytes: &[u8]) {
        if let Some(output) = &self.output
            && !bytes.is_empty()
        {
            output.write(self.stream, bytes);
        }
    }
}

impl IsTerminal for GuestStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(Waiting { stream: self.clone(), room: Mutex::new(None) })
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for GuestStream {
    async fn ready(&mut self) {
        if let Some(room) = self.room() {
            room.await;
        }
    }
}

impl OutputStream for GuestStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.put(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(if self.room().is_some() { 0 } else { WRITE_BYTES_MAX })
    }
}

/// The asynchronous side of a stream, with the room that it waits for.
struct Waiting {
    stream: GuestStream,
    /// Never locked: the lock makes it shareable, which the traits ask for.
    room: Mutex<Option<BoxFuture<'static, ()>>>,
}

impl AsyncWrite for Waiting {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self { stream, room } = &mut *self;
        let room = room.get_mut();
        if room.is_none() {
            *room = stream.room();
        }
        if let Some(waited) = room {
            ready!(waited.as_mut().poll(context));
            *room = None;
        }
        let taken = &bytes[..bytes.len().min(WRITE_BYTES_MAX)];
        stream.put(taken);
        Poll::Ready(Ok(taken.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
