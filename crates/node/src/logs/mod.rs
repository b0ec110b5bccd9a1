//! Container logs on disk, in the format and places of the kubelet: `<pod>/<container>/<attempt>.log`.

pub mod entry;
pub mod query;
pub mod reader;
pub mod writer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use wkube_base::Clock;

use self::reader::Reader;

pub use query::Query;
pub use writer::LogWriter;

/// A file is rotated once it is larger (`containerLogMaxSize`).
pub const FILE_BYTES_MAX: u64 = 10 << 20;
/// How many files one attempt of a container keeps (`containerLogMaxFiles`).
pub const FILES_MAX: u32 = 5;
/// How long after its container's end a writer is waited for.
const LAST_WRITE: Duration = Duration::from_secs(1);

/// The logs of one node. Clones share the register of running containers.
#[derive(Debug, Clone)]
pub struct Logs {
    clock: Clock,
    /// Files that writers hold open; see `writer::OPEN_MAX`.
    open: Arc<AtomicUsize>,
    live: Arc<Mutex<BTreeMap<PathBuf, watch::Receiver<()>>>>,
}

impl Logs {
    /// Returns a node's logs.
    pub fn new(clock: &Clock) -> Self {
        Self { clock: clock.clone(), open: Arc::default(), live: Arc::default() }
    }

    /// Returns the writer of one attempt of a container, whose directory is `container_dir`.
    pub fn writer(&self, container_dir: &Path, attempt: u32) -> LogWriter {
        let path = path_of(container_dir, attempt);
        let (written, changed) = watch::channel(());
        self.live.lock().insert(path.clone(), changed);
        LogWriter::new(path, self.clone(), written)
    }

    /// Returns the last lines of the log at `path`, of a container that has ended; nothing if it cannot be read.
    pub async fn last_lines(&self, path: &Path, lines: usize) -> Vec<u8> {
        if let Some(mut changes) = self.changes(path) {
            // A line without an end is written when the writer goes, which may be after the container's end.
            let _ = tokio::time::timeout(LAST_WRITE, async { while changes.changed().await.is_ok() {} }).await;
        }
        let query = Query { tail: Some(lines), ..Query::default() };
        let Ok(mut reader) = Reader::open(self, path, query).await else { return Vec::new() };
        let mut text = Vec::new();
        while let Ok(Some(piece)) = reader.next().await {
            text.extend_from_slice(&piece);
        }
        text
    }

    /// Removes the log of the attempt that is no longer the one before the newest, `attempt`
    /// (`kuberuntime_gc.go` keeps one dead container of each).
    pub fn forget_before(&self, container_dir: &Path, attempt: u32) {
        let Some(old) = attempt.checked_sub(2) else { return };
        let path = path_of(container_dir, old);
        let files = std::iter::once(path.clone()).chain((1..FILES_MAX).map(|age| rotated(&path, age)));
        for file in files {
            // It may have printed nothing.
            let _ = std::fs::remove_file(file);
        }
    }

    /// Returns what tells that more was written; `None` if nobody writes any more.
    pub(crate) fn changes(&self, path: &Path) -> Option<watch::Receiver<()>> {
        self.live.lock().get(path).cloned()
    }
}

/// Returns the file of one attempt.
pub fn path_of(container_dir: &Path, attempt: u32) -> PathBuf {
    container_dir.join(format!("{attempt}.log"))
}

/// Returns the name of an older file of the same attempt, 1 being the newest of them.
fn rotated(path: &Path, age: u32) -> PathBuf {
    path.with_extension(format!("log.{age}"))
}

#[cfg(test)]
mod tests {
    use super::entry::Stream;
    use super::*;

    #[tokio::test]
    async fn last_lines_have_the_end_that_a_writer_leaves_when_it_goes() {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::new(&Clock::manual(jiff::Timestamp::UNIX_EPOCH));
        assert!(logs.last_lines(&path_of(dir.path(), 0), 2).await.is_empty());
        let writer = logs.writer(dir.path(), 0);
        writer.write(Stream::Stdout, b"one\ntwo\nand the");
        writer.write(Stream::Stderr, b"three\n");
        drop(writer);
        assert_eq!(logs.last_lines(&path_of(dir.path(), 0), 2).await, b"three\nand the");
    }

    #[test]
    fn two_attempts_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::new(&Clock::manual(jiff::Timestamp::UNIX_EPOCH));
        for attempt in 0..4 {
            logs.forget_before(dir.path(), attempt);
            for file in [path_of(dir.path(), attempt), rotated(&path_of(dir.path(), attempt), 1)] {
                std::fs::write(file, "").unwrap();
            }
        }
        let mut names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["2.log", "2.log.1", "3.log", "3.log.1"]);
    }
}
