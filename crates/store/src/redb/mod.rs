//! The engine on one redb file: survives SIGKILL at any instruction, refuses what it cannot trust.
//!
//! ```text
//!  commit() --> bounded channel --> writer thread: drain, check, one frame of the log, publish, acknowledge all
//!                                     `--> applier thread: many frames, one durable redb commit
//!  get, list, watch ------------------------------> the published snapshot in memory; never the disk, never a lock
//! ```
//! | the disk says | the engine |
//! | --- | --- |
//! | no space | lets go of its reserve and of the log, forgets the past; deletions only, until there is space |
//! | anything else | writes nothing any more; whoever runs it stops, and the next start recovers from the file |
//! | something else than was written | refuses the file at start and names what is wrong; nothing is changed |

mod applier;
mod bytes;
mod disk;
mod errors;
mod log;
mod making;
mod offline;
mod patience;
mod record;
mod rewrite;
mod space;
mod wal;
mod writer;

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use wkube_base::Latest;

use crate::hub::Hub;
use crate::metrics::Commits;
use crate::retention::Retention;
use crate::{Entry, Error, Health, Listed, Range, Revision, Store, Txn, Watch};
use applier::Applier;
use disk::{Disk, Files, private_file, sibling};
use errors::{io_error, open_error};
use log::{Damage, Loaded, Log};
use patience::{PATIENCE, WaitingRoom};
use space::Space;
use wal::{Replay, Wal};
use writer::{Request, Writer};

pub use errors::OpenError;
pub use making::Making;
pub use offline::{Inspection, Lock, create_from, inspect, rewrite_file};

/// Writers beyond these wait in `commit`; four full batches, so that the thread never idles while anyone waits.
const REQUESTS_WAITING_MAX: usize = 1024;

/// A store in one file. Dropping it finishes the commits that were already handed in.
#[derive(Debug)]
pub struct RedbStore {
    hub: Arc<Hub>,
    disk: Arc<dyn Disk>,
    /// `None` once dropping has begun.
    requests: Option<mpsc::Sender<Request>>,
    patient: Arc<WaitingRoom>,
    condition: Arc<Latest<Option<Error>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl RedbStore {
    /// Opens the store at `path`, or creates it. Takes milliseconds for a small store; a large one is read once.
    ///
    /// # Errors
    /// `InUse` while another process has it open, `Damaged` if anything in it is not as it was written.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(io_error(parent, "create"))?;
        }
        let lock = lock(path)?;
        let files = Files::new(path);
        if !path.try_exists().map_err(io_error(path, "open"))? {
            offline::create(&files, crate::history::EMPTY, [])?;
        }
        Self::start(Arc::new(files), path, Some(lock))
    }

    fn start(disk: Arc<dyn Disk>, path: &Path, lock: Option<File>) -> Result<Self, OpenError> {
        let bytes = disk.open().map_err(io_error(path, "open"))?;
        let replayed = |loaded: &mut Loaded| {
            let (applied, obsolete) = (loaded.applied, loaded.obsolete.len());
            replay(&*disk, loaded).map(|found| (applied, loaded.obsolete.split_off(obsolete), found))
        };
        let (log, loaded, (newest, obsolete_later, found)) = Log::open(bytes, replayed).map_err(open_error(path))?;
        let (hub, name) = (Hub::new(loaded.history), path.display().to_string());
        // Bounded: see `REQUESTS_WAITING_MAX`.
        let (sender, requests) = mpsc::channel(REQUESTS_WAITING_MAX);
        let (patient, condition) = (Arc::<WaitingRoom>::default(), Arc::new(Latest::new(None)));
        let applier = applier_of(&*disk, sender.downgrade()).map_err(io_error(path, "start the applier of"))?;
        applier.attach(log, newest, loaded.obsolete);
        applier.take_over(found.frames, obsolete_later);
        let writer = Writer {
            hub: hub.clone(),
            space: space_on(&*disk, &name),
            wal: Wal::new(disk.clone(), loaded.wal, found.segments),
            wal_name: loaded.wal,
            number: loaded.applied,
            obsolete: Vec::new(),
            disk: disk.clone(),
            name,
            applier,
            requests,
            sender: sender.downgrade(),
            patient: patient.clone(),
            retention: Retention::default(),
            commits: Commits::default(),
            opened: Instant::now(),
            copying: None,
            rewrite_failed_at: None,
            #[cfg(test)]
            rewritten: Vec::new(),
            failed: None,
            condition: condition.clone(),
            lock,
        };
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(io_error(path, "start the writer of"))?;
        Ok(Self { hub, disk, requests: Some(sender), patient, condition, writer: Mutex::new(Some(thread)) })
    }

    /// Hands a request to the writer and waits for its answer. If the caller goes away meanwhile, the request is
    /// carried out all the same.
    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.send(request(reply)).await?;
        answer.await.map_err(|_| Error::Closed)
    }

    async fn send(&self, request: Request) -> Result<(), Error> {
        let requests = self.requests.as_ref().ok_or(Error::Closed)?;
        requests.send(request).await.map_err(|_| Error::Closed)
    }

    /// Commits with others who commit anyway, or when patience is over.
    async fn commit_with_others(&self, txn: Txn) -> Result<Revision, Error> {
        let (reply, mut answer) = oneshot::channel();
        match self.patient.enter(txn, reply) {
            Err((txn, reply)) => self.send(Request::Commit { txn, reply }).await?,
            Ok(()) => match timeout(PATIENCE, &mut answer).await {
                Ok(answer) => return answer.map_err(|_| Error::Closed)?,
                Err(_) => self.send(Request::Wake).await?,
            },
        }
        answer.await.map_err(|_| Error::Closed)?
    }

    /// Rewrites the file without its garbage, and completes when it is in use.
    #[cfg(test)]
    async fn rewrite(&self) {
        self.ask(|reply| Request::Rewrite { reply }).await.expect("open");
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

    fn commit_patiently(&self, txn: Txn) -> BoxFuture<'_, Result<Revision, Error>> {
        self.commit_with_others(txn).boxed()
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
        self.hub.health(self.disk.size())
    }

    fn refusal(&self) -> Option<Error> {
        self.condition.get()
    }

    fn broken(&self) -> BoxFuture<'static, Error> {
        let condition = self.condition.clone();
        async move {
            let is_broken = |condition: &Option<Error>| matches!(condition, Some(Error::Engine(_)));
            condition.wait_for(is_broken).await.unwrap_or(Error::Closed)
        }
        .boxed()
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

/// Takes the lock of a store that may be opened.
fn lock(path: &Path) -> Result<File, OpenError> {
    let file = lock_file(path)?;
    if making::is_unfinished(path)? { Err(OpenError::Unfinished { path: path.to_owned() }) } else { Ok(file) }
}

/// Takes the lock file beside `path`. redb locks its file too, but that does not cover the moment of creation.
fn lock_file(path: &Path) -> Result<File, OpenError> {
    let lock_path = sibling(path, "lock");
    let file = private_file(&lock_path).map_err(io_error(&lock_path, "create"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(OpenError::Io { path: lock_path, step: "lock", source }),
    }
}

/// Adds to `loaded` what is only in the log.
fn replay(disk: &dyn Disk, loaded: &mut Loaded) -> Result<Replay, Damage> {
    let found = wal::replay(loaded.wal, loaded.applied, &disk.read_log().map_err(Damage::Io)?)?;
    for frame in &found.frames {
        loaded.replay(frame.number, &frame.payload)?;
    }
    Ok(found)
}

/// Starts the applier; when it cannot go on, it wakes the writer.
fn applier_of(disk: &dyn Disk, writer: mpsc::WeakSender<Request>) -> io::Result<Applier> {
    Applier::start(disk.sizes(), move || {
        if let Some(writer) = writer.upgrade() {
            // If so many are waiting, it is awake.
            let _ = writer.try_send(Request::Wake);
        }
    })
}

/// Holds space back. A disk that is full already is one from the start.
fn space_on(disk: &dyn Disk, name: &str) -> Space {
    let reserved = disk.reserve();
    let mut space = Space::new(reserved.is_ok());
    if reserved.is_err_and(|error| bytes::is_full(&error)) {
        space.ran_out(std::time::Duration::ZERO, name);
    }
    space
}

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod simulated;
#[cfg(test)]
mod story_tests;
#[cfg(test)]
mod tests;
