//! The store, with a memory for its failures: what `/readyz` says when the disk is full or broken.

use std::borrow::Cow;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::error;
use wkube_base::metrics::{Family, Histogram, Text};
use wkube_store::{Entry, Error, Health, Listed, Op, Precondition, Range, Revision, Store, Txn, Watch};

/// Passes everything on and notes engine failures. A commit that succeeds clears the note: until one does, nobody
/// knows whether the next write will.
pub(crate) struct WatchedStore {
    inner: Arc<dyn Store>,
    failure: Mutex<Option<String>>,
    durations: Family<Histogram>,
}

/// `etcdRequestLatency` upstream, in seconds.
const DURATIONS: &[f64] = &[
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
];

impl WatchedStore {
    /// Returns a watched store that has not failed yet.
    pub(crate) fn new(inner: Arc<dyn Store>) -> Self {
        let durations = Family::new(
            "etcd_request_duration_seconds",
            "Etcd request latency in seconds for each operation and object type.",
            &["operation", "type"],
            || Histogram::new(DURATIONS),
        );
        Self { inner, failure: Mutex::default(), durations }
    }

    /// Appends how long the store takes, under the name that etcd's clients use.
    pub(crate) fn write_metrics(&self, text: &mut Text) {
        self.durations.write(text);
    }

    fn observe(&self, operation: &str, key: &str, began: Instant) {
        self.durations.with(&[operation, &object_type(key)]).observe(began.elapsed().as_secs_f64());
    }

    /// Returns why the store cannot be relied on; `None` if it can.
    pub(crate) fn failure(&self) -> Option<String> {
        self.inner.refusal().map(|refusal| chain(&refusal)).or_else(|| self.failure.lock().clone())
    }

    /// Notes what became of a commit.
    fn committed(&self, result: Result<Revision, Error>) -> Result<Revision, Error> {
        if result.is_ok() {
            *self.failure.lock() = None;
        }
        self.note(result)
    }

    fn note<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(failure @ (Error::Full(_) | Error::Engine(_) | Error::Closed)) = &result {
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
            let began = Instant::now();
            let written = txn.ops.first().map(Op::key);
            let key = written.or_else(|| txn.preconditions.first().map(Precondition::key)).cloned().unwrap_or_default();
            let result = self.committed(self.inner.commit(txn).await);
            self.observe("txn", &key, began);
            result
        }
        .boxed()
    }

    // Not observed: how long it waits for others says nothing about the disk.
    fn commit_patiently(&self, txn: Txn) -> BoxFuture<'_, Result<Revision, Error>> {
        async move { self.committed(self.inner.commit_patiently(txn).await) }.boxed()
    }

    fn get(&self, key: &str) -> Result<Option<Entry>, Error> {
        let began = Instant::now();
        let result = self.note(self.inner.get(key));
        self.observe("get", key, began);
        result
    }

    fn list(&self, range: &Range) -> Result<Listed, Error> {
        let began = Instant::now();
        let result = self.note(self.inner.list(range));
        self.observe("list", &range.prefix, began);
        result
    }

    fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, Error> {
        self.note(self.inner.watch(prefix, after))
    }

    fn changed(&self, prefix: &str) -> Revision {
        self.inner.changed(prefix)
    }

    fn revision(&self) -> Revision {
        self.inner.revision()
    }

    fn newest(&self) -> BoxFuture<'_, Revision> {
        self.inner.newest()
    }

    fn health(&self) -> Health {
        self.inner.health()
    }

    fn refusal(&self) -> Option<Error> {
        self.inner.refusal()
    }

    fn broken(&self) -> BoxFuture<'static, Error> {
        self.inner.broken()
    }

    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<(), Error>> {
        async move { self.note(self.inner.compact(revision).await) }.boxed()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), Error>> {
        self.inner.close()
    }
}

/// Returns what upstream calls the type of an object: `pods`, `deployments.apps`. Nothing for keys that are no objects'.
fn object_type(key: &str) -> Cow<'_, str> {
    let mut parts = key.strip_prefix("/registry/").unwrap_or_default().split('/');
    match (parts.next(), parts.next()) {
        (Some("core"), Some(plural)) => Cow::Borrowed(plural),
        (Some(group), Some(plural)) => Cow::Owned(format!("{plural}.{group}")),
        _ => Cow::Borrowed(""),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_of_an_object_is_its_resource_and_group() {
        for (key, expected) in [
            ("/registry/core/pods/default/web", "pods"),
            ("/registry/core/nodes/", "nodes"),
            ("/registry/apps/deployments/default/web", "deployments.apps"),
            ("/registry/keys", ""),
            ("", ""),
        ] {
            assert_eq!(object_type(key), expected, "{key}");
        }
    }
}
