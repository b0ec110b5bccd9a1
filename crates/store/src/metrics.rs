//! What the engines count, under the names that etcd's dashboards know (`server/storage/{mvcc,backend}/metrics.go`).

use std::sync::Arc;
use std::time::Duration;

use wkube_base::metrics::{Counter, Family, Gauge, Histogram, register};

use crate::Event;

/// etcd's: a millisecond, doubled up to eight seconds.
const COMMIT_SECONDS: &[f64] =
    &[0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192];
const BATCH: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

static COMMIT_DURATION: Family<Histogram> = Family::new(
    "etcd_disk_backend_commit_duration_seconds",
    "The latency distributions of commit called by backend.",
    &[],
    || Histogram::new(COMMIT_SECONDS),
);
static SYNC_DURATION: Family<Histogram> = Family::new(
    "etcd_disk_wal_fsync_duration_seconds",
    "The latency distributions of fsync called by WAL.",
    &[],
    || Histogram::new(COMMIT_SECONDS),
);
static BATCH_SIZE: Family<Histogram> =
    Family::new("wkube_store_commit_batch_requests", "How many requests share one durable commit.", &[], || {
        Histogram::new(BATCH)
    });
static PUTS: Family<Counter> =
    Family::counters("etcd_mvcc_put_total", "Total number of puts seen by this member.", &[]);
static DELETES: Family<Counter> =
    Family::counters("etcd_mvcc_delete_total", "Total number of deletes seen by this member.", &[]);
static COMPACTED: Family<Counter> =
    Family::counters("etcd_debugging_mvcc_db_compaction_keys_total", "Total number of db keys compacted.", &[]);
static WATCHERS: Family<Gauge> = Family::gauges("etcd_debugging_mvcc_watcher_total", "Total number of watchers.", &[]);

/// What a writer counts.
#[derive(Debug)]
pub(crate) struct Commits {
    requests: Arc<Histogram>,
    puts: Arc<Counter>,
    deletes: Arc<Counter>,
}

impl Default for Commits {
    fn default() -> Self {
        register(&[&BATCH_SIZE, &PUTS, &DELETES]);
        Self { requests: BATCH_SIZE.with(&[]), puts: PUTS.with(&[]), deletes: DELETES.with(&[]) }
    }
}

impl Commits {
    /// Counts one durable commit of so many requests.
    pub(crate) fn count(&self, requests: usize, events: &[Arc<Event>]) {
        let puts = events.iter().filter(|event| event.now.is_some()).count();
        #[expect(clippy::cast_precision_loss, reason = "at most a few hundred")]
        self.requests.observe(requests as f64);
        self.puts.add(puts as u64);
        self.deletes.add((events.len() - puts) as u64);
    }
}

/// What the end of a write-ahead log counts.
#[derive(Debug)]
pub(crate) struct Syncs(Arc<Histogram>);

impl Default for Syncs {
    fn default() -> Self {
        register(&[&SYNC_DURATION]);
        Self(SYNC_DURATION.with(&[]))
    }
}

impl Syncs {
    /// Counts one sync.
    pub(crate) fn count(&self, took: Duration) {
        self.0.observe(took.as_secs_f64());
    }
}

/// What is counted when commits are carried into a database.
#[derive(Debug)]
pub(crate) struct Applied {
    seconds: Arc<Histogram>,
    compacted: Arc<Counter>,
}

impl Default for Applied {
    fn default() -> Self {
        register(&[&COMMIT_DURATION, &COMPACTED]);
        Self { seconds: COMMIT_DURATION.with(&[]), compacted: COMPACTED.with(&[]) }
    }
}

impl Applied {
    /// Counts one transaction, which also removed `obsolete` records.
    pub(crate) fn count(&self, took: Duration, obsolete: usize) {
        self.seconds.observe(took.as_secs_f64());
        self.compacted.add(obsolete as u64);
    }
}

/// One running watch; it is counted as long as this lives.
#[derive(Debug)]
pub(crate) struct Watching(Arc<Gauge>);

impl Watching {
    pub(crate) fn begin() -> Self {
        register(&[&WATCHERS]);
        let watchers = WATCHERS.with(&[]);
        watchers.add(1);
        Self(watchers)
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}
