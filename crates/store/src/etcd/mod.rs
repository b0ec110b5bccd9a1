//! The engine on an etcd cluster, for several servers that share one state.
//!
//! ```text
//!  commit() ──> Txn with comparisons ──> etcd ──watch──> feed ──> the published snapshot in memory
//!     <── acknowledged once its event is in memory                  │
//!  get, list, watch <───────────────────────────────────────────────┘ never the network
//!  newest() ──> etcd's newest revision, once memory has it
//! ```
//! etcd's revision is the store's: other servers' commits advance it, and so does anybody else who uses the same etcd.

mod client;
mod compactor;
mod connect;
mod failure;
#[cfg(test)]
mod fake;
mod feed;
mod freshness;
mod layout;
mod mark;
mod options;
mod proto;
mod transaction;
pub mod transfer;
mod witness;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;
use tracing::{info, warn};
use wkube_base::{Latest, Tasks};

use crate::hub::Hub;
use crate::retention::Retention;
use crate::{Entry, Error, Health, Listed, Op, Range, Revision, Store, Txn, Watch};
use client::Client;
use failure::{Failure, Kind};
use freshness::Asker;
use layout::Layout;
use mark::Mark;
use witness::Witness;

pub use self::connect::ConnectError;
pub use self::options::{Credentials, EtcdOptions, is_etcd};

/// Readers beyond these wait for their turn to ask; all who have asked are answered together.
const ASKERS_MAX: usize = 1024;
/// How long the tasks may take to stop; they hold nothing that needs care.
const STOP_MAX: Duration = Duration::from_secs(1);

/// A store in etcd. Dropping it leaves etcd as it is.
#[derive(Debug)]
pub struct EtcdStore {
    shared: Arc<Shared>,
    askers: mpsc::Sender<Asker>,
    tasks: Tasks,
}

/// What the engine's tasks share.
#[derive(Debug)]
struct Shared {
    client: Arc<Client>,
    layout: Layout,
    hub: Arc<Hub>,
    /// Held by whoever publishes: the feed, and explicit compactions.
    retention: Mutex<Retention>,
    opened: Instant,
    /// Whether the watch is open; while it is not, nobody asks etcd on behalf of readers.
    connected: Latest<bool>,
    /// Tells the feed that its watch is of no use.
    stalled: Notify,
    /// Why nothing works any more.
    failed: OnceLock<Error>,
    /// Why etcd takes no writes, as far as is known; `None` while it does.
    full: Mutex<Option<Error>>,
    /// Something that etcd has had.
    witness: Mutex<Option<Witness>>,
    /// What the server's own file says about how far etcd was seen. Held while that is written.
    marked: tokio::sync::Mutex<Option<Mark>>,
    mark_file: Option<PathBuf>,
    /// The size of etcd's database when it was last asked.
    bytes: AtomicU64,
}

impl Shared {
    /// Fails for ever once etcd's history is not the one in memory any more.
    fn works(&self) -> Result<(), Error> {
        self.failed.get().cloned().map_or(Ok(()), Err)
    }

    fn check(&self) -> Result<(), Error> {
        self.works()?;
        self.hub.check_open()
    }

    async fn commit(&self, txn: &Txn) -> Result<Revision, Error> {
        self.check()?;
        let request = transaction::request(&self.layout, txn)?;
        let response = self.client.txn(request).await.map_err(|failure| self.refused(failure))?;
        let has_room = txn.ops.iter().any(|op| matches!(op, Op::Put(..))) && response.succeeded;
        if has_room {
            self.has_space();
        }
        let outcome = transaction::outcome(&self.layout, txn, response);
        if outcome.wrote {
            self.visible(outcome.revision).await?;
        } else {
            // Whoever lost reads next what he lost against. If memory is late he loses again, which does no harm.
            let _ = self.reach(outcome.revision).await;
        }
        self.check()?;
        outcome.conflict.map_or(Ok(outcome.revision), Err)
    }

    /// Says what a failed commit means, and remembers if nothing more will be taken.
    fn refused(&self, failure: Failure) -> Error {
        let refused = unavailable(failure);
        if matches!(refused, Error::Full(_)) {
            self.ran_full(refused.clone());
        }
        refused
    }

    fn ran_full(&self, why: Error) {
        if self.full.lock().replace(why.clone()).is_none() {
            warn!(%why, "etcd takes deletions only");
        }
    }

    fn has_space(&self) {
        if self.full.lock().take().is_some() {
            info!("etcd takes writes again");
        }
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        self.check()?;
        {
            let _writer = self.retention.lock();
            let mut next = crate::history::History::clone(&self.hub.snapshot());
            next.compact(revision)?;
            self.hub.publish(next);
        }
        match self.client.compact(self.layout.wire(revision)).await {
            // Another server, or this one before.
            Err(Failure { kind: Kind::Compacted, .. }) => Ok(()),
            compacted => compacted.map_err(unavailable),
        }
    }
}

impl Drop for EtcdStore {
    fn drop(&mut self) {
        self.tasks.cancel();
    }
}

impl Store for EtcdStore {
    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<Revision, Error>> {
        async move { self.shared.commit(&txn).await }.boxed()
    }

    fn get(&self, key: &str) -> Result<Option<Entry>, Error> {
        self.shared.works()?;
        self.shared.hub.get(key)
    }

    fn list(&self, range: &Range) -> Result<Listed, Error> {
        self.shared.works()?;
        self.shared.hub.list(range)
    }

    fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, Error> {
        self.shared.works()?;
        self.shared.hub.watch(prefix, after)
    }

    fn changed(&self, prefix: &str) -> Revision {
        self.shared.hub.changed(prefix)
    }

    fn revision(&self) -> Revision {
        self.shared.hub.snapshot().revision()
    }

    fn newest(&self) -> BoxFuture<'_, Revision> {
        async move {
            let (asker, answer) = oneshot::channel();
            // Both fail only once the store is closed; then every read says so.
            let _ = self.askers.send(asker).await;
            answer.await.unwrap_or_else(|_| self.revision())
        }
        .boxed()
    }

    fn health(&self) -> Health {
        self.shared.hub.health(self.shared.bytes.load(Ordering::Relaxed))
    }

    fn refusal(&self) -> Option<Error> {
        self.shared.full.lock().clone()
    }

    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<(), Error>> {
        async move { self.shared.compact(revision).await }.boxed()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), Error>> {
        async move {
            if let Some(path) = self.shared.mark_file.clone() {
                self.shared.clone().leave_mark(path).await;
            }
            self.shared.hub.close();
            self.tasks.stop(STOP_MAX).await;
            Ok(())
        }
        .boxed()
    }
}

/// Says what a failed call means to callers of the store.
fn unavailable(failure: Failure) -> Error {
    match failure.kind {
        Kind::Unavailable => Error::Unavailable(Arc::new(failure)),
        Kind::Uncertain => Error::Uncertain(Arc::new(failure)),
        Kind::Full => full(&failure),
        Kind::Compacted | Kind::Future | Kind::Token | Kind::Denied | Kind::Refused => Error::Engine(Arc::new(failure)),
    }
}

/// Says what is to be done about an etcd that is full: it stays read-only until somebody tells it otherwise.
fn full(reason: &dyn std::fmt::Display) -> Error {
    let advice = "compact and defragment it or raise --quota-backend-bytes, then run `etcdctl alarm disarm`";
    Error::Full(Arc::new(io::Error::new(io::ErrorKind::StorageFull, format!("{reason}; {advice}"))))
}
