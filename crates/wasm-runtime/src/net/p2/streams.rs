//! The two directions of a connection as `wasi:io` streams.

use std::future::poll_fn;

use bytes::Bytes;
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

use crate::net::NetError;
use crate::net::sockets::once;
use crate::net::stream::{SharedReceiver, SharedSender, WRITE_BYTES_MAX};

/// What comes in. Dropping it is `shutdown(receive)`.
pub(super) struct Input {
    receiver: SharedReceiver,
    /// Whether the guest was told how it ended; after that, the stream is closed.
    is_over: bool,
}

impl Input {
    pub(super) fn new(receiver: SharedReceiver) -> Self {
        Self { receiver, is_over: false }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.receiver.lock().close();
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Input {
    async fn ready(&mut self) {
        poll_fn(|context| self.receiver.lock().poll_ready(context)).await;
    }
}

#[wasmtime_wasi::async_trait]
impl InputStream for Input {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let mut receiver = self.receiver.lock();
        let _ = receiver.poll_ready(&mut once());
        match receiver.end() {
            None => Ok(receiver.take(size)),
            Some(Err(error)) if !self.is_over => {
                self.is_over = true;
                Err(failed(error))
            }
            Some(_) => Err(StreamError::Closed),
        }
    }
}

/// What goes out. Dropping it is `shutdown(send)`.
pub(super) struct Output {
    sender: SharedSender,
    /// Whether the guest was told why it failed; after that, the stream is closed.
    is_over: bool,
}

impl Output {
    pub(super) fn new(sender: SharedSender) -> Self {
        Self { sender, is_over: false }
    }

    fn ended(&mut self, error: Option<NetError>) -> StreamError {
        match error {
            Some(error) if !std::mem::replace(&mut self.is_over, true) => failed(error),
            _ => StreamError::Closed,
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.sender.lock().close();
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {
        poll_fn(|context| self.sender.lock().poll_ready(context)).await;
    }
}

#[wasmtime_wasi::async_trait]
impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if bytes.len() > WRITE_BYTES_MAX {
            return Err(StreamError::trap("write of more than check-write permitted"));
        }
        let offered = self.sender.lock().offer(&bytes);
        match offered {
            Ok(0) => Err(StreamError::trap("write without the permission of check-write")),
            Ok(_) => Ok(()),
            Err(error) => Err(self.ended(error)),
        }
    }

    fn flush(&mut self) -> StreamResult<()> {
        // What was written is on its way, and `ready` waits for it.
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        let room = self.sender.lock().room();
        room.map_err(|error| self.ended(error))
    }
}

/// The error carries the network's own, for `network-error-code`.
fn failed(error: NetError) -> StreamError {
    StreamError::LastOperationFailed(error.into())
}
