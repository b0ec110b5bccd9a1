//! The engine on one redb file: survives SIGKILL at any instruction, refuses what it cannot trust.
//!
//! ```text
//!  commit() --> bounded channel --> writer thread: drain, check, one durable redb commit, publish, acknowledge all
//!  get, list, watch ------------------------------> the published snapshot in memory; never the disk, never a lock
//! ```

mod log;
mod writer;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::hub::Hub;
use crate::{Entry, Error, Health, Listed, Range, Revision, Store, Txn, Watch};
use log::{Damage, Log};
use writer::{Request, Writer};

/// Writers beyond these wait in `commit`; four full batches, so that the thread never idles while anyone waits.
const REQUESTS_WAITING_MAX: usize = 1024;

/// Why the file could not be opened. Each message says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds the lock.
    #[error("{} is used by another running wkube; stop that one, or choose another data directory", .path.display())]
    InUse {
        /// The store's file.
        path: PathBuf,
    },
    /// The content is not what was written.
    #[error("{} is damaged; restore a copy of it, or move it away to start with an empty cluster", .path.display())]
    Damaged {
        /// The store's file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        damage: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A newer wkube wrote the file.
    #[error("{} has schema version {found}, but this wkube knows versions up to {known}; use a newer wkube", .path.display())]
    Schema {
        /// The store's file.
        path: PathBuf,
        /// The version in the file.
        found: u64,
        /// The newest version known.
        known: u64,
    },
    /// The operating system refused.
    #[error("could not {step} {}; check that the directory exists, is writable, and has free space", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried, such as `create`.
        step: &'static str,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

/// A store in one file. Dropping it finishes the commits that were already handed in.
#[derive(Debug)]
pub struct RedbStore {
    hub: Arc<Hub>,
    path: PathBuf,
    /// `None` once dropping has begun.
    requests: Option<mpsc::Sender<Request>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl RedbStore {
    /// Opens the store at `path`, or creates it. Takes milliseconds for a small store; a large one is read once.
    ///
    /// # Errors
    /// `InUse` while another process has it open, `Damaged` if anything in it is not as it was written.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let lock = lock(path)?;
        if !path.try_exists().map_err(io_error(path, "open"))? {
            create(path)?;
        }
        Self::start(path, Log::open(path).map_err(|damage| open_error(path, damage))?, Some(lock))
    }

    fn start(path: &Path, log: Log, lock: Option<File>) -> Result<Self, OpenError> {
        let loaded = log.load().map_err(|damage| open_error(path, damage))?;
        let hub = Hub::new(loaded.history);
        // Bounded: see `REQUESTS_WAITING_MAX`.
        let (requests, waiting) = mpsc::channel(REQUESTS_WAITING_MAX);
        let writer = Writer::new(hub.clone(), log, loaded.obsolete, waiting, lock);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(io_error(path, "start the writer of"))?;
        Ok(Self { hub, path: path.to_owned(), requests: Some(requests), writer: Mutex::new(Some(thread)) })
    }

    /// Hands a request to the writer and waits for its answer. If the caller goes away meanwhile, the request is
    /// carried out all the same.
    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let requests = self.requests.as_ref().ok_or(Error::Closed)?;
        requests.send(request(reply)).await.map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)
    }
}

impl Drop for RedbStore {
    fn drop(&mut self) {
        drop(self.requests.take());
        if let Some(thread) = self.writer.get_mut().take() {
            // So that the file is free when the store is gone. A panic of the writer has been printed already.
            let _ = thread.join();
        }
    }
}

impl Store for RedbStore {
    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<Revision, Error>> {
        async move { self.ask(|reply| Request::Commit { txn, reply }).await? }.boxed()
    }

    fn get(&self, key: &str) -> Result<Option<Entry>, Error> {
        self.hub.get(key)
    }

    fn list(&self, range: &Range) -> Result<Listed, Error> {
        self.hub.list(range)
    }

    fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, Error> {
        self.hub.watch(prefix, after)
    }

    fn changed(&self, prefix: &str) -> Revision {
        self.hub.changed(prefix)
    }

    fn revision(&self) -> Revision {
        self.hub.snapshot().revision()
    }

    fn health(&self) -> Health {
        self.hub.health(fs::metadata(&self.path).map_or(0, |metadata| metadata.len()))
    }

    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<(), Error>> {
        async move { self.ask(|reply| Request::Compact { revision, reply }).await? }.boxed()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), Error>> {
        async move {
            match self.ask(|reply| Request::Close { reply }).await {
                // Somebody else closed it: the state that was asked for.
                Ok(()) | Err(Error::Closed) => Ok(()),
                Err(error) => Err(error),
            }
        }
        .boxed()
    }
}

/// Takes the lock file beside `path`. redb locks its file too, but that does not cover the moment of creation.
fn lock(path: &Path) -> Result<File, OpenError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(io_error(parent, "create"))?;
    }
    let lock_path = sibling(path, "lock");
    let file = private_file(&lock_path).map_err(io_error(&lock_path, "create"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(OpenError::Io { path: lock_path, step: "lock", source }),
    }
}

/// Makes a new store under another name first: power lost in the middle would leave a file that redb refuses.
fn create(path: &Path) -> Result<(), OpenError> {
    let building = sibling(path, "new");
    match fs::remove_file(&building) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(OpenError::Io { path: building, step: "remove", source });
        }
        _ => {}
    }
    private_file(&building).map_err(io_error(&building, "create"))?;
    Log::create(&building).map_err(|damage| open_error(&building, damage))?;
    fs::rename(&building, path).map_err(io_error(path, "create"))?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|directory| directory.sync_all()).map_err(io_error(parent, "sync"))
}

/// Opens or creates a file that only its owner may read: the store holds Secrets.
fn private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn sibling(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}

fn io_error(path: &Path, step: &'static str) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io { path, step, source }
}

fn open_error(path: &Path, damage: Damage) -> OpenError {
    let path = path.to_owned();
    match damage {
        Damage::InUse => OpenError::InUse { path },
        Damage::Schema { found } => OpenError::Schema { path, found, known: log::SCHEMA },
        Damage::Io(source) => OpenError::Io { path, step: "open", source },
        damage => OpenError::Damaged { path, damage: Box::new(damage) },
    }
}

#[cfg(test)]
mod power_tests;
#[cfg(test)]
mod tests;
