//! The one thread that writes: natural group commit.
//!
//! While one commit waits for the disk, requests pile up; the next commit takes them all. No timer, no added latency
//! for a lonely writer, and hundreds of writers share one fsync.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::{debug_span, error, warn};

use crate::history::{History, Location};
use crate::hub::Hub;
use crate::metrics::Commits;
use crate::retention::Retention;
use crate::{Error, Revision, Txn};

use super::log::{Batch, Log};

/// A batch ends at this many requests or bytes, so that nobody waits long behind others' work.
const BATCH_REQUESTS_MAX: usize = 256;
const BATCH_BYTES_MAX: usize = 1 << 20;
/// Each commit takes along this many obsolete records: as many as a batch can add, few enough to go unnoticed.
const SWEEP_MAX: usize = BATCH_REQUESTS_MAX;
/// A commit that takes longer is worth a line in the log, as in etcd (`warnSyncDuration`).
const SLOW_COMMIT: Duration = Duration::from_secs(1);

/// What the thread is asked to do.
pub(super) enum Request {
    Commit { txn: Txn, reply: oneshot::Sender<Result<Revision, Error>> },
    Compact { revision: Revision, reply: oneshot::Sender<Result<(), Error>> },
    Close { reply: oneshot::Sender<()> },
}

/// Answers that wait for the disk.
enum Answer {
    Commit(oneshot::Sender<Result<Revision, Error>>, Result<Revision, Error>),
    Compact(oneshot::Sender<Result<(), Error>>, Result<(), Error>),
}

impl Answer {
    /// Answers. That the asker went away is his business.
    fn send(self, engine: Option<&Error>) {
        match self {
            Self::Commit(reply, result) => drop(reply.send(engine.cloned().map_or(result, Err))),
            Self::Compact(reply, result) => drop(reply.send(engine.cloned().map_or(result, Err))),
        }
    }
}

/// The thread's state.
pub(super) struct Writer {
    hub: Arc<Hub>,
    log: Log,
    obsolete: Vec<Location>,
    requests: mpsc::Receiver<Request>,
    retention: Retention,
    commits: Commits,
    opened: Instant,
    /// The first failure of the disk. After a failed fsync nobody knows what is on it, so nothing more is written until
    /// the file has been opened anew; reads go on.
    failed: Option<Error>,
    lock: Option<File>,
}

impl Writer {
    pub(super) fn new(
        hub: Arc<Hub>,
        log: Log,
        obsolete: Vec<Location>,
        requests: mpsc::Receiver<Request>,
        lock: Option<File>,
    ) -> Self {
        let (retention, commits) = (Retention::default(), Commits::default());
        Self { hub, log, obsolete, requests, retention, commits, opened: Instant::now(), failed: None, lock }
    }

    /// Serves until closed or until the store is dropped, then releases the file.
    pub(super) fn run(mut self) {
        let mut close = None;
        while close.is_none()
            && let Some(first) = self.requests.blocking_recv()
        {
            let requests = self.drain(first);
            close = self.serve(requests);
        }
        let Self { hub, log, lock, requests, .. } = self;
        // First nobody can read, then the file is free, then whoever closed learns it.
        hub.close();
        drop(requests);
        drop(log);
        drop(lock);
        if let Some(reply) = close {
            let _ = reply.send(());
        }
    }

    fn drain(&mut self, first: Request) -> Vec<Request> {
        let mut bytes = first.weight();
        let mut requests = vec![first];
        while requests.len() < BATCH_REQUESTS_MAX && bytes < BATCH_BYTES_MAX {
            let Ok(next) = self.requests.try_recv() else { break };
            bytes += next.weight();
            requests.push(next);
        }
        requests
    }

    /// Carries out one batch and answers everyone in it, also those whose conditions failed: they were judged by writes
    /// that had not happened yet. Returns who asked to close, if anyone did.
    fn serve(&mut self, requests: Vec<Request>) -> Option<oneshot::Sender<()>> {
        let mut next = History::clone(&self.hub.snapshot());
        let compacted_before = next.compacted();
        let mut batch = Batch::default();
        let mut answers = Vec::with_capacity(requests.len());
        let mut close = None;
        for request in requests {
            match request {
                Request::Commit { txn, reply } => {
                    let result = next.apply(&txn).map(|events| batch.events.extend(events));
                    answers.push(Answer::Commit(reply, result.map(|()| next.revision())));
                }
                Request::Compact { revision, reply } => {
                    let result = next.compact(revision).map(|obsolete| self.obsolete.extend(obsolete));
                    answers.push(Answer::Compact(reply, result));
                }
                Request::Close { reply } => {
                    close = Some(reply);
                    break;
                }
            }
        }
        self.retain(&mut next);
        batch.compacted = Some(next.compacted()).filter(|compacted| *compacted > compacted_before);
        self.write(next, batch, answers.len());
        for answer in answers {
            answer.send(self.failed.as_ref());
        }
        close
    }

    /// Forgets what is old enough.
    fn retain(&mut self, next: &mut History) {
        if let Some(revision) = self.retention.due(self.opened.elapsed(), next)
            && let Ok(obsolete) = next.compact(revision)
        {
            self.obsolete.extend(obsolete);
        }
    }

    fn write(&mut self, next: History, mut batch: Batch, requests: usize) {
        if self.failed.is_some() || (batch.events.is_empty() && batch.compacted.is_none()) {
            return;
        }
        let kept = self.obsolete.len().saturating_sub(SWEEP_MAX);
        batch.obsolete = self.obsolete.split_off(kept);
        let _span = debug_span!("commit", requests, revision = next.revision().0).entered();
        let began = Instant::now();
        let written = self.log.append(&batch);
        let took = began.elapsed();
        if took > SLOW_COMMIT {
            warn!(?took, requests, "the store's disk is slow; this delays every write");
        }
        match written {
            Ok(()) => {
                self.commits.count(requests, took.as_secs_f64(), &batch.events, batch.obsolete.len());
                self.hub.publish(next);
            }
            Err(failure) => {
                error!(%failure, "the store's disk failed; nothing more is written until a restart");
                self.failed = Some(engine_error(failure));
            }
        }
    }
}

impl Request {
    fn weight(&self) -> usize {
        match self {
            Self::Commit { txn, .. } => txn.weight(),
            Self::Compact { .. } | Self::Close { .. } => 0,
        }
    }
}

/// Keeps the operating system's error at the surface, so that callers can tell a full disk.
fn engine_error(failure: redb::Error) -> Error {
    match failure {
        redb::Error::Io(source) => Error::Engine(Arc::new(source)),
        other => Error::Engine(Arc::new(io::Error::other(other))),
    }
}
