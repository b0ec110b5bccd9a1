//! The clients that are attached to one container: each gets everything from now on, and may speak to it.

use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::queue::{QueueReader, QueueWriter, queue};
use crate::logs::entry::Stream;
use crate::runtime::Output;

/// Pieces of input that may wait for the guest; a piece is at most 64 KiB.
const STDIN_PIECES_MAX: usize = 4;
/// How long a client that does not read may hold the container up. A person who has stopped a terminal for longer finds
/// what was said meanwhile in the log.
const STALL_MAX: Duration = Duration::from_secs(10);

/// Whether and for how long a container can be spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StdinMode {
    /// Never (`stdin: false`).
    Closed,
    /// Until it ends (`stdin: true`).
    Open,
    /// Until the first client that speaks has gone (`stdinOnce: true`).
    Once,
}

/// The clients of one attempt of a container.
#[derive(Debug)]
pub struct Attached {
    /// `None` once the container has ended.
    clients: Mutex<Option<Vec<QueueWriter>>>,
    stdin: Mutex<Option<mpsc::Sender<Bytes>>>,
    mode: StdinMode,
}

impl Attached {
    /// Returns an attempt without clients, and what its guest shall read.
    pub fn new(mode: StdinMode) -> (Self, Option<mpsc::Receiver<Bytes>>) {
        let (stdin, pieces) = match mode {
            StdinMode::Closed => (None, None),
            StdinMode::Open | StdinMode::Once => {
                let (sender, receiver) = mpsc::channel(STDIN_PIECES_MAX);
                (Some(sender), Some(receiver))
            }
        };
        (Self { clients: Mutex::new(Some(Vec::new())), stdin: Mutex::new(stdin), mode }, pieces)
    }

    /// Adds a client. Its queue ends when the container does, or when the client reads too slowly.
    pub fn attach(&self) -> QueueReader {
        let (writer, reader) = queue();
        // One that comes too late keeps no writer, and so reads its end at once.
        if let Some(clients) = &mut *self.clients.lock() {
            clients.retain(|client| !client.is_closed());
            clients.push(writer);
        }
        reader
    }

    /// Passes on what a client says; waits until the guest has room for it. Without a guest that reads it is lost.
    pub async fn speak(&self, piece: Bytes) {
        let stdin = self.stdin.lock().clone();
        if let Some(stdin) = stdin {
            let _ = stdin.send(piece).await;
        }
    }

    /// Takes note that a client will say no more.
    pub fn fall_silent(&self) {
        if self.mode == StdinMode::Once {
            self.stdin.lock().take();
        }
    }

    /// Ends every client's queue: the container prints no more.
    pub fn end(&self) {
        self.stdin.lock().take();
        for client in self.clients.lock().take().into_iter().flatten() {
            client.close();
        }
    }
}

impl Output for Attached {
    fn write(&self, stream: Stream, bytes: &[u8]) {
        if let Some(clients) = &mut *self.clients.lock() {
            clients.retain(|client| !client.is_closed());
            for client in clients {
                client.write(stream, bytes);
            }
        }
    }

    fn room(&self) -> Option<BoxFuture<'static, ()>> {
        let clients = self.clients.lock();
        let (slow, room) = clients.iter().flatten().find_map(|client| Some((client.clone(), client.room()?)))?;
        let waiting = async move {
            if tokio::time::timeout(STALL_MAX, room).await.is_err() {
                slow.close();
            }
        };
        Some(waiting.boxed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(chunk: Option<super::super::Chunk>) -> Option<String> {
        chunk.map(|(_, bytes)| String::from_utf8_lossy(&bytes).into_owned())
    }

    #[tokio::test]
    async fn every_client_gets_what_is_said_after_it_came() {
        let (attached, _) = Attached::new(StdinMode::Closed);
        attached.write(Stream::Stdout, b"before");
        let mut first = attached.attach();
        attached.write(Stream::Stdout, b"1");
        let mut second = attached.attach();
        attached.write(Stream::Stderr, b"2");
        attached.end();
        assert_eq!(text(first.next().await).as_deref(), Some("1"));
        assert_eq!(text(first.next().await).as_deref(), Some("2"));
        assert_eq!(first.next().await, None);
        assert_eq!(text(second.next().await).as_deref(), Some("2"));
        assert_eq!(second.next().await, None);
        assert_eq!(attached.attach().next().await, None, "nothing is to come from what has ended");
    }

    #[tokio::test]
    async fn stdin_ends_with_the_first_speaker_only_if_it_is_asked_for() {
        for (mode, ends) in [(StdinMode::Once, true), (StdinMode::Open, false)] {
            let (attached, pieces) = Attached::new(mode);
            let mut pieces = pieces.unwrap();
            attached.speak(Bytes::from_static(b"hi")).await;
            attached.fall_silent();
            attached.speak(Bytes::from_static(b"again")).await;
            assert_eq!(pieces.recv().await.as_deref(), Some(&b"hi"[..]));
            assert_eq!(pieces.recv().await.is_none(), ends, "{mode:?}");
            attached.end();
            assert_eq!(pieces.recv().await, None, "the end of the container ends it in any case");
        }
        assert!(Attached::new(StdinMode::Closed).1.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_holds_the_container_up_for_a_while_and_is_then_let_go() {
        let (attached, _) = Attached::new(StdinMode::Closed);
        let mut stuck = attached.attach();
        let mut quick = attached.attach();
        attached.write(Stream::Stdout, &vec![b'x'; 1 << 20]);
        assert!(quick.next().await.is_some());
        let room = attached.room().expect("the stuck one has none");
        let began = tokio::time::Instant::now();
        room.await;
        assert_eq!(began.elapsed(), STALL_MAX);
        assert!(attached.room().is_none());
        attached.write(Stream::Stdout, b"y");
        assert_eq!(text(quick.next().await).as_deref(), Some("y"));
        assert!(stuck.next().await.is_some());
        assert_eq!(stuck.next().await, None, "it has lost the rest");
    }
}
