//! The engine without a disk: for tests, simulations and throw-away clusters.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::history::History;
use crate::hub::Hub;
use crate::retention::Retention;
use crate::{Entry, Error, Health, Listed, Range, Revision, Store, Txn, Watch};

/// A store that forgets everything when it is dropped. Commits finish at once, in the order of their calls.
#[derive(Debug)]
pub struct MemoryStore {
    hub: Arc<Hub>,
    /// Held for the short, synchronous commit; readers never take it.
    writer: Mutex<Retention>,
    opened: Instant,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// Returns an empty store at revision 1.
    pub fn new() -> Self {
        Self { hub: Hub::new(History::default()), writer: Mutex::new(Retention::default()), opened: Instant::now() }
    }

    fn commit_now(&self, txn: &Txn) -> Result<Revision, Error> {
        let mut retention = self.writer.lock();
        self.hub.check_open()?;
        let mut next = History::clone(&self.hub.snapshot());
        next.apply(txn)?;
        if let Some(revision) = retention.due(self.opened.elapsed(), &next) {
            next.compact(revision)?;
        }
        let revision = next.revision();
        self.hub.publish(next);
        Ok(revision)
    }

    fn compact_now(&self, revision: Revision) -> Result<(), Error> {
        let _writer = self.writer.lock();
        self.hub.check_open()?;
        let mut next = History::clone(&self.hub.snapshot());
        next.compact(revision)?;
        self.hub.publish(next);
        Ok(())
    }
}

impl Store for MemoryStore {
    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<Revision, Error>> {
        async move { self.commit_now(&txn) }.boxed()
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
        self.hub.health(0)
    }

    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<(), Error>> {
        async move { self.compact_now(revision) }.boxed()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), Error>> {
        async move {
            let _writer = self.writer.lock();
            self.hub.close();
            Ok(())
        }
        .boxed()
    }
}
