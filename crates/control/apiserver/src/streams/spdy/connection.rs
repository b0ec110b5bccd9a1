//! A SPDY connection that the client opened: hands out the streams that it makes, and ends cleanly.
//!
//! ```text
//!            .-- reader: bytes -> frames --+-- Stream::incoming (bounded; a full one holds up the connection,
//!  peer <----|                             |                     as it does in moby/spdystream)
//!            '-- writer: bytes <- frames <-+-- Stream::outgoing, and answers to pings
//! ```
//! Windows: kubectl and every other client of Kubernetes neither obeys nor sends `WINDOW_UPDATE`, so a sender that
//! waited for it would stop for good after 64 KiB. What is received is credited, for peers that count; what is sent is held
//! back by the connection itself.

use std::collections::BTreeMap;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Weak};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc::{self, WeakSender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::frame::{Decoder, Encoder, Frame, reset};
use super::headers::Headers;
use crate::streams::activity::Activity;
use crate::streams::limits;

/// Read from the peer at once.
const READ: usize = 16 * 1024;
/// Pieces of at most [`READ`] that wait in a stream for whoever reads it.
const QUEUE: usize = 16;
/// Frames that wait for the connection.
const FRAMES: usize = 16;
/// Data frames are cut to this, so that streams take turns.
const DATA_MAX: usize = 32 * 1024;
/// A stream's consumer says so after this much: half of the window that a peer starts with.
const CREDIT: usize = 32 * 1024;

/// The streams that a client opens.
pub(crate) struct Connection {
    accepted: mpsc::Receiver<Stream>,
    /// Keeps the writer going until the last handle is gone.
    _frames: mpsc::Sender<Frame>,
}

impl Connection {
    /// Returns the next stream that the client opens; `None` once the client is gone.
    pub(crate) async fn accept(&mut self) -> Option<Stream> {
        self.accepted.recv().await
    }
}

/// One stream that a client has opened. Accept or refuse it.
pub(crate) struct Stream {
    /// Its number on the connection.
    pub(crate) id: u32,
    /// What it is for.
    pub(crate) headers: Headers,
    /// What the client sends.
    pub(crate) incoming: Incoming,
    /// What the client gets.
    pub(crate) outgoing: Outgoing,
}

impl Stream {
    /// Tells the client to go on.
    pub(crate) async fn accept(&self) {
        let reply = Frame::SynReply { stream: self.id, headers: Headers::default(), fin: false };
        let _ = self.outgoing.frames.send(reply).await;
    }

    /// Tells the client that nobody wants this stream.
    pub(crate) async fn refuse(self) {
        let _ = self.outgoing.frames.send(Frame::Reset { stream: self.id, status: reset::REFUSED }).await;
    }
}

/// What a client sends on a stream.
pub(crate) struct Incoming {
    stream: u32,
    data: mpsc::Receiver<Bytes>,
    reset: CancellationToken,
    frames: mpsc::Sender<Frame>,
    consumed: usize,
    _place: Arc<OwnedSemaphorePermit>,
}

/// How a stream's incoming side goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// More bytes.
    Data(Bytes),
    /// The client has said everything.
    End,
    /// The client wants nothing more of this stream, or is gone.
    Reset,
}

impl Incoming {
    /// Returns what comes next.
    pub(crate) async fn next(&mut self) -> Piece {
        let piece = tokio::select! {
            biased;
            () = self.reset.cancelled() => return Piece::Reset,
            piece = self.data.recv() => piece,
        };
        let Some(piece) = piece else {
            return if self.reset.is_cancelled() { Piece::Reset } else { Piece::End };
        };
        self.consumed += piece.len();
        if self.consumed >= CREDIT {
            let delta = u32::try_from(self.consumed).unwrap_or(u32::MAX >> 1);
            // Without room now the credit is given later; a peer that counts sends little without reading.
            if self.frames.try_send(Frame::WindowUpdate { stream: self.stream, delta }).is_ok() {
                self.consumed = 0;
            }
        }
        Piece::Data(piece)
    }

    /// Completes when the client resets the stream or is gone.
    pub(crate) fn gone(&self) -> impl Future<Output = ()> + Send + 'static {
        self.reset.clone().cancelled_owned()
    }
}

/// What a client gets on a stream.
pub(crate) struct Outgoing {
    stream: u32,
    frames: mpsc::Sender<Frame>,
    reset: CancellationToken,
    _place: Arc<OwnedSemaphorePermit>,
}

/// The client does not listen any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client does not listen any more")]
pub(crate) struct Gone;

impl Outgoing {
    /// Sends bytes once there is room for them.
    pub(crate) async fn send(&self, mut payload: Bytes) -> Result<(), Gone> {
        while !payload.is_empty() {
            let piece = payload.split_to(payload.len().min(DATA_MAX));
            self.put(Frame::Data { stream: self.stream, payload: piece, fin: false }).await?;
        }
        Ok(())
    }

    /// Says that nothing more comes.
    pub(crate) async fn finish(self) {
        let _ = self.put(Frame::Data { stream: self.stream, payload: Bytes::new(), fin: true }).await;
    }

    /// Ends the stream in both directions, because nobody will read it.
    pub(crate) async fn cancel(self) {
        let _ = self.put(Frame::Reset { stream: self.stream, status: reset::CANCEL }).await;
    }

    async fn put(&self, frame: Frame) -> Result<(), Gone> {
        tokio::select! {
            biased;
            () = self.reset.cancelled() => Err(Gone),
            sent = self.frames.send(frame) => sent.map_err(|_| Gone),
        }
    }
}

/// Returns the connection over a client's bytes, and the future that moves them. The future ends when the client is gone,
/// when nothing has moved for too long, or after the last handle of the connection is: then everything that was sent has
/// been written.
pub(crate) fn open<R, W>(read: R, write: W) -> (Connection, impl Future<Output = ()> + Send)
where
    R: AsyncRead + Send,
    W: AsyncWrite + Send,
{
    let (frames, queued) = mpsc::channel(FRAMES);
    let (control, answers) = mpsc::channel(FRAMES);
    let (accept, accepted) = mpsc::channel(1);
    let reader = Reader {
        entries: BTreeMap::new(),
        newest: 0,
        accept,
        frames: frames.downgrade(),
        control,
        places: Arc::new(Semaphore::new(limits::SPDY_STREAMS)),
        credit: 0,
    };
    let driver = async move {
        let activity = Activity::default();
        let (read, write) = (pin!(read), pin!(write));
        let mut reading = pin!(reader.run(read, &activity));
        let writing = write_frames(write, queued, answers, &activity);
        tokio::select! {
            () = &mut reading => {}
            () = activity.idle_for(limits::IDLE) => debug!("a SPDY connection was idle for too long"),
            written = writing => match written {
                // What the client still sends is read, so that the system does not throw away what it has not read.
                Ok(()) => drop(tokio::time::timeout(limits::FINISH, reading).await),
                Err(error) => debug!(%error, "a SPDY connection broke"),
            },
        }
    };
    (Connection { accepted, _frames: frames }, driver)
}

/// A stream as the reader knows it.
struct Entry {
    /// `None` after the client's last byte, or when nobody listens.
    data: Option<mpsc::Sender<Bytes>>,
    reset: CancellationToken,
    place: Weak<OwnedSemaphorePermit>,
}

struct Reader {
    entries: BTreeMap<u32, Entry>,
    /// The highest stream so far: numbers only grow.
    newest: u32,
    accept: mpsc::Sender<Stream>,
    frames: WeakSender<Frame>,
    control: mpsc::Sender<Frame>,
    places: Arc<Semaphore>,
    /// Bytes that the connection's window has not been told about.
    credit: usize,
}

impl Reader {
    /// Reads until the client is gone or breaks a rule.
    async fn run(mut self, mut read: impl AsyncRead + Unpin, activity: &Activity) {
        let (mut decoder, mut buffer) = (Decoder::default(), vec![0; READ]);
        'connection: loop {
            let count = match read.read(&mut buffer).await {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) => {
                    debug!(%error, "a SPDY client is gone");
                    break;
                }
            };
            activity.touch();
            decoder.push(&buffer[..count]);
            loop {
                match decoder.next_frame() {
                    Ok(Some(frame)) => self.handle(frame).await,
                    Ok(None) => break,
                    Err(error) => {
                        debug!(%error, "a SPDY client does not speak SPDY");
                        break 'connection;
                    }
                }
            }
        }
    }

    async fn handle(&mut self, frame: Frame) {
        match frame {
            Frame::SynStream { stream, headers, fin } => self.open(stream, headers, fin).await,
            Frame::Data { stream, payload, fin } => {
                self.credit += payload.len();
                if self.credit >= CREDIT {
                    let delta = u32::try_from(self.credit).unwrap_or(u32::MAX >> 1);
                    self.credit = 0;
                    let _ = self.control.send(Frame::WindowUpdate { stream: 0, delta }).await;
                }
                self.data(stream, payload, fin).await;
            }
            Frame::Headers { stream, fin, .. } | Frame::SynReply { stream, fin, .. } => {
                self.data(stream, Bytes::new(), fin).await;
            }
            Frame::Reset { stream, .. } => {
                if let Some(entry) = self.entries.remove(&stream) {
                    entry.reset.cancel();
                }
            }
            // Clients count in odd numbers; an even one answers a ping that was never sent.
            Frame::Ping(id) if id % 2 == 1 => drop(self.control.send(Frame::Ping(id)).await),
            Frame::Ping(_) | Frame::Settings | Frame::GoAway { .. } | Frame::WindowUpdate { .. } => {}
        }
    }

    /// Takes in a stream, if the rules and the limit allow it.
    async fn open(&mut self, id: u32, headers: Headers, fin: bool) {
        let refusal = |status| Frame::Reset { stream: id, status };
        if id.is_multiple_of(2) || id <= self.newest {
            return drop(self.control.send(refusal(reset::PROTOCOL_ERROR)).await);
        }
        self.newest = id;
        self.entries.retain(|_, entry| entry.place.strong_count() > 0);
        let (Some(frames), Ok(place)) = (self.frames.upgrade(), self.places.clone().try_acquire_owned()) else {
            return drop(self.control.send(refusal(reset::REFUSED)).await);
        };
        let (place, reset, (sender, data)) = (Arc::new(place), CancellationToken::new(), mpsc::channel(QUEUE));
        let entry = Entry { data: (!fin).then_some(sender), reset: reset.clone(), place: Arc::downgrade(&place) };
        self.entries.insert(id, entry);
        let outgoing = Outgoing { stream: id, frames: frames.clone(), reset: reset.clone(), _place: place.clone() };
        let incoming = Incoming { stream: id, data, reset, frames, consumed: 0, _place: place };
        let _ = self.accept.send(Stream { id, headers, incoming, outgoing }).await;
    }

    async fn data(&mut self, stream: u32, payload: Bytes, fin: bool) {
        let Some(entry) = self.entries.get_mut(&stream) else { return };
        let Some(data) = &entry.data else { return };
        let unheard = !payload.is_empty() && data.send(payload).await.is_err();
        if fin || unheard {
            entry.data = None;
        }
    }
}

/// However reading ends, the streams end with it.
impl Drop for Reader {
    fn drop(&mut self) {
        for entry in self.entries.values() {
            entry.reset.cancel();
        }
    }
}

/// Writes frames until nobody can send any more, and then says goodbye.
async fn write_frames(
    mut write: impl AsyncWrite + Unpin,
    mut queued: mpsc::Receiver<Frame>,
    mut answers: mpsc::Receiver<Frame>,
    activity: &Activity,
) -> io::Result<()> {
    let (mut encoder, mut out) = (Encoder::default(), BytesMut::new());
    loop {
        let frame = tokio::select! {
            biased;
            Some(frame) = answers.recv() => frame,
            frame = queued.recv() => match frame {
                Some(frame) => frame,
                None => break,
            },
        };
        encoder.encode(&frame, &mut out);
        // More that is ready goes out together.
        while out.len() < DATA_MAX
            && let Ok(frame) = queued.try_recv()
        {
            encoder.encode(&frame, &mut out);
        }
        write.write_all(&out).await?;
        write.flush().await?;
        out.clear();
        activity.touch();
    }
    encoder.encode(&Frame::GoAway { last: 0, status: 0 }, &mut out);
    write.write_all(&out).await?;
    write.shutdown().await
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
