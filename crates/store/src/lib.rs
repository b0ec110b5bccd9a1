//! An ordered history of keys and bytes: one global revision, all-or-nothing commits, watch from any revision.
//!
//! The store knows nothing about Kubernetes. Only the API server talks to it.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

pub mod backup;
mod history;
mod hub;
mod metrics;
mod retention;
mod topics;
mod txn;

#[doc(hidden)]
pub mod contract;
pub mod etcd;
#[doc(hidden)]
pub mod linear;
pub mod memory;
pub mod redb;

pub use self::etcd::{EtcdOptions, EtcdStore};
pub use self::memory::MemoryStore;
pub use self::redb::{OpenError, RedbStore};

/// A position in the history. As in etcd, an empty store is at revision 1, so that the revision of a list is never zero.
/// Each commit has a greater one than all before it; in an engine that nobody else writes to, the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

/// A key, such as `/registry/pods/default/web-1`. Ordered bytewise.
pub type Key = Arc<str>;

/// One key's state at some revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// What was stored, byte for byte.
    pub value: Bytes,
    /// The revision that created the key (again, if it was deleted before).
    pub created: Revision,
    /// The revision of the last write.
    pub modified: Revision,
    /// How often the key was written since `created`; 1 for a new key.
    pub version: u64,
}

/// A condition on one key; all of a transaction's conditions must hold or nothing is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Precondition {
    /// The key does not exist.
    Absent(Key),
    /// The key exists and was last written at this revision.
    Modified(Key, Revision),
}

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Creates or replaces a key.
    Put(Key, Bytes),
    /// Removes a key; nothing happens if it does not exist.
    Delete(Key),
}

/// How many operations, and how many conditions, a transaction may have in every engine: etcd's own limit is 128 of both
/// (`--max-txn-ops`).
pub const TXN_MAX: usize = 100;

/// Several writes that happen together, at one revision, or not at all. A key appears at most once in `ops`. More than
/// [`TXN_MAX`] of them are not portable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Txn {
    /// What must hold.
    pub preconditions: Vec<Precondition>,
    /// What is written.
    pub ops: Vec<Op>,
}

/// Which keys a list returns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Range {
    /// Only keys that start with this.
    pub prefix: String,
    /// Only keys after this one (the last key of the page before).
    pub after: Option<Key>,
    /// At most this many; zero means all.
    pub limit: usize,
    /// As of this revision; `None` is the newest.
    pub at: Option<Revision>,
}

/// What a list found.
#[derive(Debug, Clone, Default)]
pub struct Listed {
    /// The entries in key order.
    pub entries: Vec<Entry>,
    /// The revision at which the list is exact.
    pub revision: Revision,
    /// How many more keys match beyond the limit.
    pub remaining: usize,
}

/// One change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The commit's revision. Events of one commit share it.
    pub revision: Revision,
    /// The key.
    pub key: Key,
    /// The new state, or `None` if the key was deleted.
    pub now: Option<Entry>,
    /// The state before, or `None` if the key was created.
    pub before: Option<Entry>,
}

/// What a watch delivers, in order, without gaps or duplicates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// A change under the prefix.
    Event(Arc<Event>),
    /// Everything up to this revision has been delivered. Sent whenever the watch has caught up after a change under its
    /// prefix; see [`Store::changed`] for what else happened.
    Progress(Revision),
}

/// A running watch; dropping it ends it. An error is its last item.
pub type Watch = BoxStream<'static, Result<Signal, Error>>;

/// How the store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// The newest revision.
    pub revision: Revision,
    /// The oldest revision that can still be read or watched from.
    pub compacted: Revision,
    /// Keys that exist.
    pub keys: usize,
    /// Bytes of those keys and of their values: what there would be without history, indexes and free space.
    pub live_bytes: u64,
    /// Bytes on disk; 0 for the in-memory engine.
    pub bytes: u64,
}

/// Why the store refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A precondition did not hold; nothing was written.
    #[error("{key} is not as expected")]
    Conflict {
        /// The first key whose condition failed.
        key: Key,
        /// Its state now.
        current: Option<Box<Entry>>,
    },
    /// The revision is older than the history window.
    #[error("revision {} has been compacted; the oldest one kept is {}", requested.0, oldest.0)]
    Compacted {
        /// What was asked for.
        requested: Revision,
        /// What is there.
        oldest: Revision,
    },
    /// The revision has not happened yet.
    #[error("revision {} is in the future; the newest is {}", requested.0, newest.0)]
    Future {
        /// What was asked for.
        requested: Revision,
        /// What is there.
        newest: Revision,
    },
    /// The store has been closed.
    #[error("the store is closed")]
    Closed,
    /// The servers behind the engine cannot be reached, or have no majority; nothing was written.
    #[error("{0}")]
    Unavailable(Arc<dyn std::error::Error + Send + Sync>),
    /// The connection to the servers behind the engine broke: it may or may not have been written.
    #[error("{0}")]
    Uncertain(Arc<dyn std::error::Error + Send + Sync>),
    /// There is no space for more; nothing was written. Reads and deletions go on, and so does everything once there is.
    #[error("{0}")]
    Full(Arc<dyn std::error::Error + Send + Sync>),
    /// The engine failed: I/O error, damaged file. Nothing more is written before it has been opened again.
    #[error("{0}")]
    Engine(Arc<dyn std::error::Error + Send + Sync>),
}

/// An ordered history. Engines: [`MemoryStore`], [`RedbStore`], [`EtcdStore`]; all pass the tests in `contract`.
pub trait Store: Send + Sync + 'static {
    /// Writes `txn` durably and returns its revision. A transaction without ops checks its conditions and returns
    /// the newest revision.
    ///
    /// # Errors
    /// `Conflict` if a precondition does not hold.
    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<Revision, Error>>;

    /// Like [`Store::commit`], for what is in no hurry, such as a node's heartbeat: it may wait half a second for others to
    /// share a sync of the disk with. It is durable when this completes, as everything is.
    ///
    /// # Errors
    /// Like `commit`.
    fn commit_patiently(&self, txn: Txn) -> BoxFuture<'_, Result<Revision, Error>> {
        self.commit(txn)
    }

    /// Returns the newest state of one key.
    fn get(&self, key: &str) -> Result<Option<Entry>, Error>;

    /// Lists keys in order.
    ///
    /// # Errors
    /// `Compacted` or `Future` if `range.at` is outside the window.
    fn list(&self, range: &Range) -> Result<Listed, Error>;

    /// Watches all changes under `prefix` with a revision greater than `after`.
    ///
    /// # Errors
    /// `Compacted` if `after` is before the window (also later, in the stream, if the watcher falls behind it).
    fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, Error>;

    /// Returns a revision after which nothing has changed under `prefix`. While somebody watches exactly this prefix it is
    /// that of the newest change, otherwise it may be newer.
    ///
    /// Only changes under its prefix wake a watch: of hundreds, a write concerns a few. Whoever has followed a watch up to
    /// here knows, without being told, that what he has seen holds for [`Store::revision`], read before this.
    fn changed(&self, prefix: &str) -> Revision;

    /// Returns the newest revision that this process knows: all its own commits, and what it has heard of others'.
    fn revision(&self) -> Revision;

    /// Completes once this process knows everything that any process committed before the call, and returns a revision
    /// that includes it. An engine that cannot ask the others returns what it knows: reads go on.
    ///
    /// The default is for engines with one process.
    fn newest(&self) -> BoxFuture<'_, Revision> {
        Box::pin(std::future::ready(self.revision()))
    }

    /// Returns the store's state for health checks and metrics.
    fn health(&self) -> Health;

    /// Returns why writes are refused, as far as is known without trying; `None` while they are taken.
    fn refusal(&self) -> Option<Error> {
        None
    }

    /// Completes, with the reason, once nothing can be written any more before the store has been opened again: whoever
    /// runs it should stop. Most engines do not break.
    fn broken(&self) -> BoxFuture<'static, Error> {
        Box::pin(std::future::pending())
    }

    /// Forgets history before `revision`; live keys stay. Later reads and watches from before it fail with `Compacted`.
    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<(), Error>>;

    /// Finishes pending commits and releases the file.
    fn close(&self) -> BoxFuture<'_, Result<(), Error>>;
}
