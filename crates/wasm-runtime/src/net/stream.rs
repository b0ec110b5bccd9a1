//! The two directions of a connection: readers and writers that can be asked whether they are ready.
//!
//! A guest waits for readiness and then acts, a network takes bytes when it has room; what is between the two is held
//! here. Bytes that were taken from a guest leave even if it never looks at the connection again:
//!
//! ```text
//!  Open --- more than fits now ---> Draining (a task holds the rest) --- all gone ---> Open
//!   |                                  |
//!   +-- close -----------> Ended <-----+-- close: the task sends the rest, then the end
//! ```

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::{AsyncRead as _, AsyncWrite as _, AsyncWriteExt as _, ReadBuf, ReadHalf, WriteHalf};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::sockets::{Slot, once};
use super::{NetError, Stream};

/// What is read ahead of the guest for each connection, only once somebody waits for it.
pub(crate) const READ_BYTES_MAX: usize = 16 << 10;
/// What is taken from the guest beyond what the network takes at once, for each connection.
pub(crate) const WRITE_BYTES_MAX: usize = 16 << 10;
/// How long the last bytes of a connection may take to leave once the guest has let go of it. Linux retries for about
/// that long (`tcp_orphan_retries`).
const LINGER: Duration = Duration::from_mins(1);

/// A receiver that a socket shares with the streams made from it.
pub(crate) type SharedReceiver = Arc<Mutex<Receiver>>;
/// A sender that a socket shares with the streams made from it.
pub(crate) type SharedSender = Arc<Mutex<Sender>>;

/// Takes a connection apart. Both halves count as one socket.
pub(crate) fn split(stream: Box<dyn Stream>, slot: &Slot) -> (Receiver, Sender) {
    let (reader, writer) = tokio::io::split(stream);
    let receiver = Receiver { reader: Some(reader), held: Bytes::new(), end: None, _slot: Arc::clone(slot) };
    let sender = Sender { state: State::Open(writer), closing: CancellationToken::new(), slot: Arc::clone(slot) };
    (receiver, sender)
}

fn cause(error: &io::Error) -> NetError {
    match error.kind() {
        // In the middle of a connection these mean nothing else.
        io::ErrorKind::UnexpectedEof | io::ErrorKind::Other => NetError::Reset,
        kind => kind.into(),
    }
}

/// What comes in.
pub(crate) struct Receiver {
    /// Gone after the end.
    reader: Option<ReadHalf<Box<dyn Stream>>>,
    held: Bytes,
    end: Option<Result<(), NetError>>,
    _slot: Slot,
}

impl Receiver {
    /// Completes when there are bytes to take, or the end.
    pub(crate) fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !self.held.is_empty() {
            return Poll::Ready(());
        }
        let Some(reader) = &mut self.reader else { return Poll::Ready(()) };
        // On the stack, so that a connection without traffic holds no memory.
        let mut space = [0; READ_BYTES_MAX];
        let mut buffer = ReadBuf::new(&mut space);
        match ready!(Pin::new(reader).poll_read(context, &mut buffer)) {
            Ok(()) if buffer.filled().is_empty() => self.finish(Ok(())),
            Ok(()) => self.held = Bytes::copy_from_slice(buffer.filled()),
            Err(error) => self.finish(Err(cause(&error))),
        }
        Poll::Ready(())
    }

    /// Returns up to `max` bytes of what is there; nothing if there is nothing yet, or nothing any more.
    pub(crate) fn take(&mut self, max: usize) -> Bytes {
        self.held.split_to(max.min(self.held.len()))
    }

    /// Returns what is there without taking it.
    pub(crate) fn peek(&self) -> &Bytes {
        &self.held
    }

    /// Returns how the bytes ended, once all of them have been taken.
    pub(crate) fn end(&self) -> Option<Result<(), NetError>> {
        if self.held.is_empty() { self.end } else { None }
    }

    /// Throws away what is there and whatever else comes.
    pub(crate) fn close(&mut self) {
        self.held = Bytes::new();
        if self.end.is_none() {
            self.finish(Ok(()));
        }
    }

    fn finish(&mut self, end: Result<(), NetError>) {
        self.reader = None;
        self.end = Some(end);
    }
}

/// What goes out.
pub(crate) struct Sender {
    state: State,
    /// Tells the draining task that nothing follows.
    closing: CancellationToken,
    slot: Slot,
}

enum State {
    Open(Writer),
    /// The task gives the writer back when the rest has gone.
    Draining(oneshot::Receiver<Result<Writer, NetError>>),
    /// We ended it (`None`), or it failed.
    Ended(Option<NetError>),
}

type Writer = WriteHalf<Box<dyn Stream>>;

impl Sender {
    /// Completes when [`Sender::offer`] takes bytes or says why it does not.
    pub(crate) fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let State::Draining(back) = &mut self.state {
            self.state = match ready!(Pin::new(back).poll(context)) {
                Ok(Ok(writer)) => State::Open(writer),
                Ok(Err(error)) => State::Ended(Some(error)),
                Err(_) => State::Ended(Some(NetError::Reset)),
            };
        }
        Poll::Ready(())
    }

    /// Returns how many bytes are taken for certain; none while some are on their way.
    ///
    /// # Errors
    /// `None` if this end was closed, otherwise why the connection ended.
    pub(crate) fn room(&mut self) -> Result<usize, Option<NetError>> {
        let _ = self.poll_ready(&mut once());
        match &self.state {
            State::Open(_) => Ok(WRITE_BYTES_MAX),
            State::Draining(_) => Ok(0),
            State::Ended(error) => Err(*error),
        }
    }

    /// Takes as many bytes as the network does now, and up to [`WRITE_BYTES_MAX`] more; returns how many.
    pub(crate) fn offer(&mut self, bytes: &[u8]) -> Result<usize, Option<NetError>> {
        if self.room()? == 0 || bytes.is_empty() {
            return Ok(0);
        }
        let State::Open(writer) = &mut self.state else { return Ok(0) };
        let mut sent = 0;
        while sent < bytes.len() {
            match Pin::new(&mut *writer).poll_write(&mut once(), &bytes[sent..]) {
                Poll::Ready(Ok(0)) => return Err(Some(self.fail(NetError::Reset))),
                Poll::Ready(Ok(count)) => sent += count,
                Poll::Ready(Err(error)) => return Err(Some(self.fail(cause(&error)))),
                Poll::Pending => break,
            }
        }
        let is_flushed = Pin::new(writer).poll_flush(&mut once()).is_ready();
        let rest = &bytes[sent..bytes.len().min(sent + WRITE_BYTES_MAX)];
        if !rest.is_empty() || !is_flushed {
            self.drain(rest.to_vec());
        }
        Ok(sent + rest.len())
    }

    /// Sends what is left and then the end.
    pub(crate) fn close(&mut self) {
        self.closing.cancel();
        match std::mem::replace(&mut self.state, State::Ended(None)) {
            State::Open(writer) => self.finish(writer),
            State::Draining(mut back) => {
                // Either the task has handed the writer over already, or it finds out that nobody takes it.
                back.close();
                if let Ok(Ok(writer)) = back.try_recv() {
                    self.finish(writer);
                }
            }
            State::Ended(error) => self.state = State::Ended(error),
        }
    }

    fn fail(&mut self, error: NetError) -> NetError {
        self.state = State::Ended(Some(error));
        error
    }

    fn finish(&self, mut writer: Writer) {
        if Pin::new(&mut writer).poll_shutdown(&mut once()).is_pending() {
            let slot = Arc::clone(&self.slot);
            spawn(async move {
                shut_down(writer).await;
                drop(slot);
            });
        }
    }

    fn drain(&mut self, rest: Vec<u8>) {
        let (give_back, back) = oneshot::channel();
        let State::Open(writer) = std::mem::replace(&mut self.state, State::Draining(back)) else {
            unreachable!("only an open sender takes bytes")
        };
        spawn(drain(writer, rest, self.closing.clone(), give_back, Arc::clone(&self.slot)));
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.close();
    }
}

/// Runs on the threads of the guests. Outside of them, which is when everything is torn down, the connection ends as it is.
fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    if let Ok(threads) = Handle::try_current() {
        threads.spawn(task);
    }
}

async fn drain(
    mut writer: Writer,
    rest: Vec<u8>,
    closing: CancellationToken,
    give_back: oneshot::Sender<Result<Writer, NetError>>,
    slot: Slot,
) {
    let sending = async {
        writer.write_all(&rest).await?;
        writer.flush().await
    };
    let too_late = async {
        closing.cancelled().await;
        tokio::time::sleep(LINGER).await;
    };
    let sent = tokio::select! {
        biased;
        sent = sending => sent.map_err(|error| cause(&error)),
        () = too_late => Err(NetError::TimedOut),
    };
    if let Err(Ok(writer)) = give_back.send(sent.map(|()| writer)) {
        shut_down(writer).await;
    }
    drop(slot);
}

async fn shut_down(mut writer: Writer) {
    // Whether the other side hears of it or not, the connection is over.
    let _ = tokio::time::timeout(LINGER, writer.shutdown()).await;
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
