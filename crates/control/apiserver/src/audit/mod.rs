//! The audit log: who did what when, as JSON lines (`apiserver/pkg/audit`, `plugin/pkg/audit/log`).
//!
//! ```text
//! request ─ policy.judge ─> Record (grows: user, decision, objects) ─ stages ─> bounded queue ─> log, rotated
//!                 └ None: costs nothing more                                └ full: counted and dropped
//! ```
//! Nothing here makes a request wait or fail.

mod event;
mod log;
mod policy;
mod rotate;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;
use wkube_base::metrics::{Counter, Family, Text};
use wkube_base::{Clock, Tasks};

use self::event::Event;
pub(crate) use self::event::{Payload, Record, Seen};
pub(crate) use self::policy::Asked;
use self::policy::{Policy, Stage};

/// Events that wait to be written; `buffer` of upstream's log backend.
const QUEUE: usize = 10_000;
/// Bytes of objects in them. Events are dropped rather than let a slow disk fill the memory.
const QUEUED_BYTES_MAX: usize = 64 << 20;

/// What to log, and where.
#[derive(Debug, Clone)]
pub struct Options {
    /// `--audit-policy-file`.
    pub policy: PathBuf,
    /// `--audit-log-path`; `-` is standard output.
    pub path: PathBuf,
    /// `--audit-log-maxage`: days that rotated files are kept; 0 for ever.
    pub max_age: u32,
    /// `--audit-log-maxbackup`: rotated files that are kept; 0 for all.
    pub max_backups: u32,
    /// `--audit-log-maxsize`: megabytes after which the file is rotated; 0 for 100.
    pub max_size: u32,
}

/// Why there is no audit log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The policy's file cannot be read.
    #[error("read the audit policy {}", .0.display())]
    Read(PathBuf, #[source] std::io::Error),
    /// The policy says something that no policy says.
    #[error("use the audit policy {}: {}", .0.display(), .1)]
    Policy(PathBuf, String),
    /// The log's file cannot be written.
    #[error("write the audit log {}", .0.display())]
    Open(PathBuf, #[source] std::io::Error),
}

/// The audit log.
pub(crate) struct Audit {
    policy: Policy,
    clock: Clock,
    queue: mpsc::Sender<Event>,
    queued_bytes: Arc<AtomicUsize>,
    events: Counter,
    dropped: Counter,
    levels: Family<Counter>,
}

impl Audit {
    /// Reads the policy and opens the log.
    ///
    /// # Errors
    /// If either cannot be used.
    pub(crate) fn start(options: &Options, clock: Clock, tasks: &Tasks) -> Result<Arc<Self>, Error> {
        let policy = read(&options.policy)?;
        let sink = log::Sink::open(options).map_err(|error| Error::Open(options.path.clone(), error))?;
        let (queue, events) = mpsc::channel(QUEUE);
        let queued_bytes = Arc::new(AtomicUsize::new(0));
        let writing = log::write(sink, events, queued_bytes.clone(), clock.clone(), tasks.stopping());
        tasks.spawn_to_end("audit-log", writing);
        Ok(Arc::new(Self {
            policy,
            clock,
            queue,
            queued_bytes,
            events: Counter::default(),
            dropped: Counter::default(),
            levels: Family::counters(
                "apiserver_audit_level_total",
                "Counter of policy levels for audit events (1 per request).",
                &["level"],
            ),
        }))
    }

    /// Begins the record of a request, if it is to be logged.
    pub(crate) fn begin(self: &Arc<Self>, seen: &Seen<'_>) -> Option<Record> {
        let verdict = self.policy.judge(&seen.asked)?.clone();
        self.levels.with(&[verdict.level.as_str()]).add(1);
        let record = Record::new(self.clone(), verdict, seen, self.clock.now());
        record.log(Stage::RequestReceived);
        Some(record)
    }

    fn send(&self, event: Event) {
        let bytes = event.bytes();
        let queued = self.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        if queued + bytes > QUEUED_BYTES_MAX || self.queue.try_send(event).is_err() {
            self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.dropped.add(1);
            return;
        }
        self.events.add(1);
    }

    /// Appends all metrics.
    pub(crate) fn write_metrics(&self, text: &mut Text) {
        use wkube_base::metrics::Kind::Counter;
        let help = "Counter of audit events generated and sent to the audit backend.";
        text.single("apiserver_audit_event_total", help, Counter, self.events.get());
        let name = "apiserver_audit_error_total";
        text.family(name, "Counter of audit events that failed to be audited properly.", Counter);
        text.sample(name, &[("plugin", "log")], self.dropped.get());
        self.levels.write(text);
    }
}

fn read(path: &Path) -> Result<Policy, Error> {
    let text = std::fs::read_to_string(path).map_err(|error| Error::Read(path.to_owned(), error))?;
    Policy::parse(&text).map_err(|problem| Error::Policy(path.to_owned(), problem))
}

#[cfg(test)]
mod tests;
