//! Container logs on disk, in the format and places of the kubelet: `<pod>/<container>/<attempt>.log`.

pub mod entry;
pub mod query;
pub mod reader;
pub mod writer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use parking_lot::Mutex;
use tokio::sync::watch;
use wkube_base::Clock;

pub use query::Query;
pub use writer::LogWriter;

/// A file is rotated once it is larger (`containerLogMaxSize`).
pub const FILE_BYTES_MAX: u64 = 10 << 20;
/// How many files one attempt of a container keeps (`containerLogMaxFiles`).
pub const FILES_MAX: u32 = 5;

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
