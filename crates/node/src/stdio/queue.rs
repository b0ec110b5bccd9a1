//! What one client has not read yet of what a guest printed: guests write without waiting and are told when to wait.

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use crate::logs::entry::Stream;
use crate::runtime::Output;

/// What may wait for a client before the guest has to. Guests write up to 64 KiB at a time on each of two streams, so
/// this may be exceeded by as much.
const WAITING_BYTES_MAX: usize = 256 << 10;

/// A piece of output.
pub type Chunk = (Stream, Bytes);

/// Returns the two ends of a queue.
pub fn queue() -> (QueueWriter, QueueReader) {
    let (sender, chunks) = mpsc::unbounded_channel();
    let waiting = Arc::new(watch::Sender::new(0));
    let writer = QueueWriter { sender: Arc::new(Mutex::new(Some(sender))), waiting: Arc::clone(&waiting) };
    (writer, QueueReader { chunks, waiting })
}

/// The guest's end. Clones share it; the reader's end comes when the last is dropped.
#[derive(Debug, Clone)]
pub struct QueueWriter {
    // Unbounded, because writers cannot wait; bounded by their asking for room first.
    sender: Arc<Mutex<Option<mpsc::UnboundedSender<Chunk>>>>,
    waiting: Arc<watch::Sender<usize>>,
}

/// The client's end.
#[derive(Debug)]
pub struct QueueReader {
    chunks: mpsc::UnboundedReceiver<Chunk>,
    waiting: Arc<watch::Sender<usize>>,
}

impl QueueWriter {
    /// Ends the queue: the reader gets what is there, and then its end.
    pub fn close(&self) {
        self.sender.lock().take();
        self.waiting.send_replace(0);
    }

    /// Whether nobody will read what is written.
    pub fn is_closed(&self) -> bool {
        self.sender.lock().as_ref().is_none_or(mpsc::UnboundedSender::is_closed)
    }
}

impl Output for QueueWriter {
    fn write(&self, stream: Stream, bytes: &[u8]) {
        let sender = self.sender.lock();
        let Some(sender) = &*sender else { return };
        self.waiting.send_modify(|waiting| *waiting += bytes.len());
        if sender.send((stream, Bytes::copy_from_slice(bytes))).is_err() {
            self.waiting.send_replace(0);
        }
    }

    fn room(&self) -> Option<BoxFuture<'static, ()>> {
        if *self.waiting.borrow() < WAITING_BYTES_MAX {
            return None;
        }
        let mut waiting = self.waiting.subscribe();
        // The sender of this is kept by both ends, one of which is waiting here.
        let room = async move { drop(waiting.wait_for(|waiting| *waiting < WAITING_BYTES_MAX).await) };
        Some(room.boxed())
    }
}

impl QueueReader {
    /// Returns the next piece; `None` if there will be no more.
    pub async fn next(&mut self) -> Option<Chunk> {
        let chunk = self.chunks.recv().await?;
        self.waiting.send_modify(|waiting| *waiting = waiting.saturating_sub(chunk.1.len()));
        Some(chunk)
    }
}

impl Drop for QueueReader {
    /// A guest that waits for this reader goes on.
    fn drop(&mut self) {
        self.chunks.close();
        self.waiting.send_replace(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &[u8] = &[b'x'; WAITING_BYTES_MAX];

    #[tokio::test]
    async fn what_was_written_is_read_in_order_and_then_ends() {
        let (writer, mut reader) = queue();
        writer.write(Stream::Stdout, b"one");
        writer.write(Stream::Stderr, b"two");
        drop(writer);
        assert_eq!(reader.next().await, Some((Stream::Stdout, Bytes::from_static(b"one"))));
        assert_eq!(reader.next().await, Some((Stream::Stderr, Bytes::from_static(b"two"))));
        assert_eq!(reader.next().await, None);
    }

    #[tokio::test]
    async fn a_full_queue_has_room_again_once_it_is_read() {
        let (writer, mut reader) = queue();
        writer.write(Stream::Stdout, &FULL[1..]);
        assert!(writer.room().is_none(), "one byte is left");
        writer.write(Stream::Stdout, b"x");
        let room = writer.room().unwrap();
        let ((), chunk) = tokio::join!(room, reader.next());
        assert!(chunk.is_some() && writer.room().is_none());
    }

    #[tokio::test]
    async fn a_reader_that_goes_away_leaves_nobody_waiting() {
        let (writer, reader) = queue();
        writer.write(Stream::Stdout, FULL);
        let room = writer.room().unwrap();
        tokio::join!(room, async { drop(reader) });
        writer.write(Stream::Stdout, FULL);
        assert!(writer.is_closed() && writer.room().is_none());
    }
}
