//! The one thread that commits: natural group commit.
//!
//! While one commit waits for the disk, requests pile up; the next commit takes them all. No timer, no added latency
//! for a lonely writer, and hundreds of writers share one fsync.
//!
//! A commit is a frame of the write-ahead log. While the disk is full there is no log: each commit goes into the database
//! at once, by the same thread that otherwise brings it there later.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;
use std::{io, mem};

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::{debug_span, error, info, warn};
use wkube_base::Latest;

use crate::history::{History, Location};
use crate::hub::Hub;
use crate::metrics::Commits;
use crate::retention::Retention;
use crate::{Error, Event, Revision, Txn};

use super::applier::Applier;
use super::disk::{Disk, Replacing};
use super::log::{Damage, Failure, Log};
use super::patience::WaitingRoom;
use super::rewrite::{self, Copying};
use super::space::Space;
use super::wal::{Frame, Wal, payload};

/// A batch ends at this many requests or bytes, so that nobody waits long behind others' work.
const BATCH_REQUESTS_MAX: usize = 256;
const BATCH_BYTES_MAX: usize = 1 << 20;
/// A commit that takes longer is worth a line in the log, as in etcd (`warnSyncDuration`).
const SLOW_COMMIT: Duration = Duration::from_secs(1);

/// What the thread is asked to do.
pub(super) enum Request {
    Commit {
        txn: Txn,
        reply: oneshot::Sender<Result<Revision, Error>>,
    },
    Compact {
        revision: Revision,
        reply: oneshot::Sender<Result<(), Error>>,
    },
    /// Those in the waiting room have waited long enough, or something happened behind the writer's back.
    Wake,
    #[cfg(test)]
    Rewrite {
        reply: oneshot::Sender<()>,
    },
    Close {
        reply: oneshot::Sender<()>,
    },
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
    pub(super) hub: Arc<Hub>,
    pub(super) disk: Arc<dyn Disk>,
    /// The file's name, for messages.
    pub(super) name: String,
    pub(super) wal: Wal,
    /// Whose log it is.
    pub(super) wal_name: u64,
    /// The newest frame.
    pub(super) number: u64,
    /// What the next frame makes obsolete.
    pub(super) obsolete: Vec<Location>,
    /// Has the database.
    pub(super) applier: Applier,
    pub(super) requests: mpsc::Receiver<Request>,
    /// For the copier, who tells when he is done. Weak: he does not keep a store open that nobody uses.
    pub(super) sender: mpsc::WeakSender<Request>,
    pub(super) patient: Arc<WaitingRoom>,
    pub(super) retention: Retention,
    pub(super) commits: Commits,
    pub(super) opened: Instant,
    pub(super) space: Space,
    pub(super) copying: Option<Copying>,
    /// How large the file was when it could not be rewritten.
    pub(super) rewrite_failed_at: Option<u64>,
    #[cfg(test)]
    pub(super) rewritten: Vec<oneshot::Sender<()>>,
    /// The first failure of the disk. After a failed fsync nobody knows what is on it, so nothing more is written until
    /// the file has been opened anew; reads go on.
    pub(super) failed: Option<Error>,
    /// Why nothing is written, for everyone to see.
    pub(super) condition: Arc<Latest<Option<Error>>>,
    pub(super) lock: Option<File>,
}

/// The disk failed. It ends up before users.
#[derive(Debug, thiserror::Error)]
#[error("the disk failed under {file}; nothing more is written before it has been opened again")]
struct Broken {
    file: String,
    #[source]
    source: io::Error,
}

/// What a batch of requests leads to.
#[derive(Default)]
struct Outcome {
    events: Vec<Arc<Event>>,
    answers: Vec<Answer>,
    close: Option<oneshot::Sender<()>>,
}

impl Writer {
    /// Serves until closed or until the store is dropped, then releases the file.
    pub(super) fn run(mut self) {
        self.report();
        let mut close = None;
        while close.is_none()
            && let Some(first) = self.requests.blocking_recv()
        {
            let requests = self.drain(first);
            close = self.serve(requests);
        }
        self.abandon_copy();
        self.leave_tidy();
        let Self { hub, applier, lock, requests, .. } = self;
        // First nobody can read, then the file is free, then whoever closed learns it.
        hub.close();
        drop(requests);
        drop(applier);
        drop(lock);
        if let Some(reply) = close {
            let _ = reply.send(());
        }
    }

    /// Leaves everything in the file, and no log. If that fails, the next start does it.
    fn leave_tidy(&mut self) {
        let tidied = match self.failed {
            Some(_) => return,
            None => self.applier.drain().map_err(io::Error::from).and_then(|()| self.wal.clear()),
        };
        if let Err(error) = tidied {
            warn!(file = self.name, %error, "the log is left as it is; the next start reads it");
        }
    }

    fn drain(&mut self, first: Request) -> Vec<Request> {
        let mut bytes = first.weight();
        let mut requests: Vec<Request> =
            self.patient.leave().into_iter().map(|(txn, reply)| Request::Commit { txn, reply }).collect();
        requests.push(first);
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
        self.look_for_space();
        self.look_at_applier();
        let mut next = History::clone(&self.hub.snapshot());
        let compacted_before = next.compacted();
        let mut outcome = Outcome { answers: Vec::with_capacity(requests.len()), ..Outcome::default() };
        for request in requests {
            self.take(request, &mut next, &mut outcome);
        }
        self.retain(&mut next);
        let Outcome { events, answers, close } = outcome;
        let compacted = Some(next.compacted()).filter(|compacted| *compacted > compacted_before);
        let is_compacted = compacted.is_some();
        let failure = self.write(next, &events, compacted, answers.len());
        self.report();
        for answer in answers {
            answer.send(failure.as_ref());
        }
        self.look_at_copier();
        if is_compacted && close.is_none() {
            self.rewrite_if_due();
        }
        close
    }

    fn take(&mut self, request: Request, next: &mut History, outcome: &mut Outcome) {
        match request {
            Request::Commit { txn, reply } => {
                let refused = self.space.refusal(&txn).map_or(Ok(()), Err);
                let result = refused.and_then(|()| next.apply(&txn)).map(|events| outcome.events.extend(events));
                outcome.answers.push(Answer::Commit(reply, result.map(|()| next.revision())));
            }
            Request::Compact { revision, reply } => {
                let result = compact(next, revision).map(|obsolete| self.forget(obsolete));
                outcome.answers.push(Answer::Compact(reply, result));
            }
            Request::Wake => {}
            #[cfg(test)]
            Request::Rewrite { reply } => {
                self.rewritten.push(reply);
                self.rewrite();
            }
            Request::Close { reply } => outcome.close = Some(reply),
        }
    }

    /// Forgets what is old enough.
    fn retain(&mut self, next: &mut History) {
        if let Some(revision) = self.retention.due(self.opened.elapsed(), next)
            && let Ok(obsolete) = compact(next, revision)
        {
            self.forget(obsolete);
        }
    }

    /// Notes records that nobody can ask for any more; they are removed with the next commits.
    fn forget(&mut self, obsolete: Vec<Location>) {
        if let Some(copying) = &mut self.copying {
            copying.obsolete.extend(obsolete.iter().cloned());
        }
        self.obsolete.extend(obsolete);
    }

    /// Writes and publishes. Returns why nothing was written, if nothing was.
    fn write(
        &mut self,
        next: History,
        events: &[Arc<Event>],
        compacted: Option<Revision>,
        requests: usize,
    ) -> Option<Error> {
        if self.failed.is_some() || (events.is_empty() && compacted.is_none()) {
            return self.failed.clone();
        }
        let mut payload = payload::begin(compacted);
        let size = |event: &Arc<Event>| event.key.len() + event.now.as_ref().map_or(0, |now| now.value.len());
        payload::reserve(&mut payload, events.len(), events.iter().map(size).sum());
        for event in events {
            payload::push(&mut payload, event.revision, &event.key, event.now.as_ref());
        }
        let frame = Frame { number: self.number + 1, payload };
        let _span = debug_span!("commit", requests, revision = next.revision().0).entered();
        let began = Instant::now();
        let written = self.make_durable(frame);
        let took = began.elapsed();
        if took > SLOW_COMMIT {
            warn!(?took, requests, "the store's disk is slow; this delays every write");
        }
        match written {
            Ok(()) => {
                self.commits.count(requests, events);
                self.number += 1;
                self.hub.publish(next);
                None
            }
            Err(Failure::Full(cause)) => self.make_room(Some(next), &cause),
            Err(Failure::Broken(cause)) => Some(self.fail(cause)),
        }
    }

    /// Writes the next frame where it belongs: into the log, or, while that has no space, into the database.
    fn make_durable(&mut self, frame: Frame) -> Result<(), Failure> {
        if self.space.shortage().is_none() {
            self.applier.wait_for_room()?;
            match self.wal.append(&frame, self.applier.applied()) {
                Err(Failure::Full(error)) => warn!(file = self.name, %error, "the log finds no space; it is given up"),
                written => {
                    let obsolete = mem::take(&mut self.obsolete);
                    return written.map(|()| self.applier.hand_over(frame, obsolete));
                }
            }
            // What was begun of the frame goes with it.
            self.applier.drain()?;
            self.wal.clear().map_err(Failure::Broken)?;
        }
        self.commit_at_once(frame)
    }

    fn commit_at_once(&mut self, frame: Frame) -> Result<(), Failure> {
        self.applier.hand_over(frame, mem::take(&mut self.obsolete));
        let drained = self.applier.drain();
        self.space.removed(self.applier.take_removed());
        drained
    }

    /// Notices what went wrong behind the writer's back.
    fn look_at_applier(&mut self) {
        let error = match self.applier.failure().filter(|_| self.failed.is_none()) {
            None => return,
            Some(Failure::Full(cause)) => self.make_room(None, &cause),
            Some(Failure::Broken(cause)) => Some(self.fail(cause)),
        };
        debug_assert!(error.is_some(), "nothing was to be written");
    }

    /// Writes nothing any more.
    fn fail(&mut self, source: io::Error) -> Error {
        error!(file = self.name, error = %source, "the store's disk failed; nothing more is written until a restart");
        self.abandon_copy();
        drop(self.applier.detach());
        let error = Error::Engine(Arc::new(Broken { file: self.name.clone(), source }));
        self.failed = Some(error.clone());
        error
    }

    fn report(&self) {
        let why = self.failed.as_ref().or(self.space.shortage());
        if self.condition.get().is_some() != why.is_some() || self.failed.is_some() {
            self.condition.update(|condition| *condition = why.cloned());
        }
    }
}

/// A full disk.
impl Writer {
    /// Holds space back again, if it can.
    fn look_for_space(&mut self) {
        let now = self.opened.elapsed();
        if self.failed.is_none() && self.space.is_due(now) {
            let was_short = self.space.shortage().is_some();
            self.space.looked(now, self.disk.reserve().is_ok());
            if was_short && self.space.shortage().is_none() {
                info!(file = self.name, "there is space again");
            }
        }
    }

    /// Goes on after a write that found no space: lets go what was held back, opens the file again, brings into it what is
    /// only in the log, and gives up the log and the past, so that deletions find room. Returns why `wanted` was not
    /// written, unless it was.
    fn make_room(&mut self, wanted: Option<History>, cause: &io::Error) -> Option<Error> {
        warn!(file = self.name, error = %cause, "no space is left; the past is given up, and nothing new is taken");
        self.abandon_copy();
        self.disk.release();
        let shortage = self.space.ran_out(self.opened.elapsed(), &self.name);
        // Nobody has been told that it is there. It may be all the same.
        self.applier.retract(self.number + 1);
        self.obsolete.clear();
        let was_written = match self.reopen() {
            Ok(newest) => newest > self.number,
            Err(broken) => return Some(self.fail(broken)),
        };
        if was_written && let Some(next) = wanted {
            self.number += 1;
            self.hub.publish(next);
        }
        // What was held back has room for that.
        let drained = self.applier.drain().map_err(io::Error::from).and_then(|()| self.wal.clear());
        if let Err(broken) = drained {
            return Some(self.fail(broken));
        }
        match self.give_up_past() {
            Ok(()) => {}
            // Not even that: what remains is to be deleted by somebody else.
            Err(Failure::Full(_)) => {
                self.applier.retract(self.number + 1);
                match self.reopen() {
                    Ok(newest) => self.number = newest,
                    Err(broken) => return Some(self.fail(broken)),
                }
            }
            Err(Failure::Broken(broken)) => return Some(self.fail(broken)),
        }
        // If what is left fits into what was held back, the disk gets the rest.
        self.rewrite();
        (!was_written).then_some(shortage)
    }

    /// Opens the file again, and returns the newest frame in it: one that is known, or the next.
    fn reopen(&mut self) -> Result<u64, io::Error> {
        // Only one may have it open.
        drop(self.applier.detach());
        let opened = self.disk.open().map_err(Damage::Io).and_then(|bytes| Log::open(bytes, |_| Ok(())));
        let (log, found, ()) = opened.map_err(io::Error::other)?;
        if found.applied < self.applier.applied() || found.applied > self.number + 1 {
            let what = format!("the file has frame {}, but {} was written", found.applied, self.number);
            return Err(io::Error::other(what));
        }
        self.applier.attach(log, found.applied, found.obsolete);
        Ok(found.applied)
    }

    fn give_up_past(&mut self) -> Result<(), Failure> {
        let mut next = History::clone(&self.hub.snapshot());
        let obsolete = next.compact(next.revision()).unwrap_or_default();
        self.forget(obsolete);
        let mut payload = payload::begin(Some(next.compacted()));
        let mut next = Some(next);
        loop {
            self.commit_at_once(Frame { number: self.number + 1, payload })?;
            self.number += 1;
            if let Some(next) = next.take() {
                self.hub.publish(next);
            }
            if !self.applier.has_obsolete() {
                return Ok(());
            }
            payload = payload::begin(None);
        }
    }
}

/// A smaller file.
impl Writer {
    fn rewrite_if_due(&mut self) {
        let history = self.hub.snapshot();
        let needed = (history.live_bytes() + history.window_bytes()) as u64;
        if self.failed.is_none() && rewrite::is_due(self.disk.size(), needed, self.rewrite_failed_at) {
            self.rewrite();
        }
    }

    fn rewrite(&mut self) {
        if self.copying.is_some() {
            return;
        }
        match Copying::start(&self.disk, self.wal_name, self.hub.snapshot(), self.waker()) {
            Ok(copying) => self.copying = Some(copying),
            Err(error) => warn!(file = self.name, %error, "a smaller file cannot be made"),
        }
    }

    /// Returns what others call when there is something to look at.
    fn waker(&self) -> impl FnOnce() + Send + 'static {
        let sender = self.sender.clone();
        move || {
            if let Some(sender) = sender.upgrade() {
                // If so many are waiting, it is awake.
                let _ = sender.try_send(Request::Wake);
            }
        }
    }

    /// Goes on with a copy that is ready, up to where it was begun.
    fn look_at_copier(&mut self) {
        // A full disk has no room for a copy and for what is committed meanwhile, be it a deletion.
        let outcome = if self.space.shortage().is_some() { Copying::wait } else { Copying::outcome };
        let Some(copied) = self.copying.as_mut().and_then(outcome) else { return };
        let Some(copying) = self.copying.take() else { return };
        let history = self.hub.snapshot();
        match copied {
            Ok(log) if copying.is_behind(&history) => match copying.follow(log, history, self.waker()) {
                Ok(copying) => self.copying = Some(copying),
                Err(error) => self.keep_file(&error),
            },
            copied => self.swap(copying, copied),
        }
    }

    /// Puts a copy in the file's place.
    fn swap(&mut self, copying: Copying, copied: Result<Log, Failure>) {
        let before = self.disk.size();
        let _span = debug_span!("swap", before, revision = self.hub.snapshot().revision().0).entered();
        let finished = match copied {
            Ok(log) => copying.finish(&log, &self.hub.snapshot(), self.number).map(|obsolete| (log, obsolete)),
            Err(failure) => Err(failure),
        };
        match finished.map_err(|failure| Replacing::Refused(failure.into())).and_then(|copy| {
            self.disk.replace()?;
            Ok(copy)
        }) {
            Ok((log, obsolete)) => {
                // The copy has all that the writer has written, also what is only in the log.
                let old = self.applier.detach();
                self.applier.attach(log, self.number, obsolete);
                self.rewrite_failed_at = None;
                if self.space.shortage().is_none() {
                    rewrite::close_elsewhere(old);
                } else {
                    drop(old);
                    self.space.looked(self.opened.elapsed(), self.disk.reserve().is_ok());
                }
                info!(file = self.name, before, after = self.disk.size(), "the file was rewritten without its garbage");
            }
            Err(Replacing::Refused(error)) => self.keep_file(&error),
            Err(Replacing::Unknown(error)) => drop(self.fail(error)),
        }
        self.report();
        #[cfg(test)]
        for reply in self.rewritten.drain(..) {
            let _ = reply.send(());
        }
    }

    /// Leaves the file as it is, for it could not be rewritten.
    fn keep_file(&mut self, error: &io::Error) {
        warn!(file = self.name, %error, "the file could not be rewritten without its garbage");
        self.disk.discard();
        self.rewrite_failed_at = Some(self.disk.size());
    }

    fn abandon_copy(&mut self) {
        if let Some(copying) = self.copying.take() {
            copying.abandon(&*self.disk);
        }
    }
}

fn compact(history: &mut History, revision: Revision) -> Result<Vec<Location>, Error> {
    let _span = debug_span!("compact", revision = revision.0).entered();
    history.compact(revision)
}

impl Request {
    fn weight(&self) -> usize {
        match self {
            Self::Commit { txn, .. } => txn.weight(),
            _ => 0,
        }
    }
}
