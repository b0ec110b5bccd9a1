//! The store, with a memory for its failures: what `/readyz` says when the disk is full or broken.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tracing::error;
use wkube_store::{Entry, Error, Health, Listed, Range, Revision, Store, Txn, Watch};

/// Passes everything on and notes engine failures. A commit that succeeds clears the note: until one does, nobody
/// knows whether the next write will.
pub(crate) struct WatchedStore {
    inner: Arc<dyn Store>,
    failure: Mutex<Option<String>>,
}

impl WatchedStore {
    /// Returns a watched store that has not failed yet.
    pub(crate) fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, failure: Mutex::default() }
    }

    /// Returns why the store cannot be relied on; `None` if it can.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.lock().clone()
    }

    fn note<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(failure @ (Error::Engine(_) | Error::Closed)) = &result {
            let cause = chain(failure);
            if self.failure.lock().replace(cause.clone()).is_none() {
                error!(cause, "the store fails; the API server is not ready");
            }
        }
        result
    }
}

impl Store for WatchedStore {
    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<Revision, Error>> {
        async move {
            let result = self.note(self.inner.commit(txn).await);
            if result.is_ok() {
                *self.failure.lock() = None;
            }
            result
        }
        .boxed()
    }

    fn get(&self, key: &str) -> Result<Option<Entry>, Error> {
        self.note(self.inner.get(key))
    }

    fn list(&self, range: &Range) -> Result<Listed, Error> {
        self.note(self.inner.list(range))
    }

    fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, Error> {
        self.note(self.inner.watch(prefix, after))
    }

    fn revision(&self) -> Revision {
        self.inner.revision()
    }

    fn health(&self) -> Health {
        self.inner.health()
    }

    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<(), Error>> {
        async move { self.note(self.inner.compact(revision).await) }.boxed()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), Error>> {
        self.inner.close()
    }
}

/// Returns an error with its causes, outermost first.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
