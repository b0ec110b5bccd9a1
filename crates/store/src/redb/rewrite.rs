//! A smaller file in the place of one that is mostly garbage, while the store is in use.
//!
//! ```text
//!  writer:  commit, commit, commit, ...  commit ... append the last few, swap ─> commit, commit
//!  copier:     └─ snapshot ─> new file ─> what is new since, until little is ─┘
//! ```
//! redb gives no space back to the disk while a database is open. All that is needed is in memory, so the old file is not
//! even read.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{Builder, JoinHandle};

use tracing::debug_span;

use super::disk::Disk;
use super::log::{Failure, Log, Marks, Record};
use crate::Revision;
use crate::history::{History, Location};

/// A smaller file is not worth the trouble.
const FILE_BYTES_MIN: u64 = 64 << 20;
/// A file has about twice the bytes of its records after many changes, for pages are never full.
const GARBAGE_FACTOR: u64 = 4;
/// How much goes into one commit of the copy.
const SLICE_BYTES: usize = 4 << 20;

/// Whether a file of `file_bytes` is mostly garbage; `failed_at` was its size when it could not be rewritten.
pub(super) fn is_due(file_bytes: u64, needed_bytes: u64, failed_at: Option<u64>) -> bool {
    let is_garbage = file_bytes >= FILE_BYTES_MIN && file_bytes / GARBAGE_FACTOR > needed_bytes;
    is_garbage && failed_at.is_none_or(|failed_at| file_bytes / 2 >= failed_at)
}

/// The last records are copied while everyone waits, so there are few of them.
const LAST_REVISIONS_MAX: u64 = 256;
/// Rounds in which a copy may come closer. If it does not, writes come faster than it can follow.
const ROUNDS_MAX: usize = 8;

/// A copy under way.
#[derive(Debug)]
pub(super) struct Copying {
    /// What the copy has when the thread is done.
    until: Revision,
    rounds: usize,
    /// What became obsolete meanwhile: the copy has it, and it is to be removed from there, too.
    pub(super) obsolete: Vec<Location>,
    stop: Arc<AtomicBool>,
    outcome: Receiver<Result<Log, Failure>>,
    thread: JoinHandle<()>,
}

impl Copying {
    /// Starts to copy `history`, which has a log of that name; `done` is called when there is an outcome.
    pub(super) fn start(
        disk: &Arc<dyn Disk>,
        wal: u64,
        history: Arc<History>,
        done: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let (disk, stop, until) = (Arc::clone(disk), Arc::<AtomicBool>::default(), history.revision());
        let stopped = Arc::clone(&stop);
        let (outcome, thread) = run(move || copy(&*disk, wal, &history, &stopped), done)?;
        Ok(Self { until, rounds: 1, obsolete: Vec::new(), stop, outcome, thread })
    }

    /// Returns the copy, or why there is none, once.
    pub(super) fn outcome(&mut self) -> Option<Result<Log, Failure>> {
        self.outcome.try_recv().ok()
    }

    /// Waits for the outcome.
    pub(super) fn wait(&mut self) -> Option<Result<Log, Failure>> {
        self.outcome.recv().ok()
    }

    /// Tells if so much has been written since that it is to be copied before anyone has to wait.
    pub(super) fn is_behind(&self, history: &History) -> bool {
        self.rounds < ROUNDS_MAX && history.revision().0 - self.until.0 > LAST_REVISIONS_MAX
    }

    /// Goes on with what has been written since.
    pub(super) fn follow(
        self,
        log: Log,
        history: Arc<History>,
        done: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let _ = self.thread.join();
        let (since, until, stopped) = (self.until, history.revision(), Arc::clone(&self.stop));
        let catch_up = move || {
            let _span = debug_span!("rewrite", since = since.0, revision = history.revision().0).entered();
            fill(&log, records(&history, since).into_values(), &stopped).map(|()| log)
        };
        let (outcome, thread) = run(catch_up, done)?;
        Ok(Self { until, rounds: self.rounds + 1, obsolete: self.obsolete, stop: self.stop, outcome, thread })
    }

    /// Makes a finished copy complete, up to `history` and the frame that brought it about, and returns what is obsolete in
    /// it.
    pub(super) fn finish(self, log: &Log, history: &History, applied: u64) -> Result<Vec<Location>, Failure> {
        let _ = self.thread.join();
        let marks = Marks { compacted: Some(history.compacted()), applied: Some(applied), ..Marks::default() };
        log.fill(records(history, self.until).into_values(), marks)?;
        Ok(self.obsolete)
    }

    /// Gives up.
    pub(super) fn abandon(self, disk: &dyn Disk) {
        self.stop.store(true, Ordering::Relaxed);
        // A panic of the copier has been printed already.
        let _ = self.thread.join();
        disk.discard();
    }
}

/// A thread, and what it will tell.
type Running = (Receiver<Result<Log, Failure>>, JoinHandle<()>);

/// Works on a thread of its own, and calls `done` when the outcome can be had.
fn run(
    work: impl FnOnce() -> Result<Log, Failure> + Send + 'static,
    done: impl FnOnce() + Send + 'static,
) -> io::Result<Running> {
    let (tell, outcome) = channel();
    let thread = Builder::new().name("store-copier".to_owned()).spawn(move || {
        // Nobody listens if it was given up.
        let _ = tell.send(work());
        done();
    })?;
    Ok((outcome, thread))
}

/// Closes a database that nobody uses any more, without keeping anyone waiting.
pub(super) fn close_elsewhere(log: Option<Arc<Log>>) {
    // Without a thread it is closed here.
    let _ = Builder::new().name("store-closer".to_owned()).spawn(move || drop(log));
}

fn copy(disk: &dyn Disk, wal: u64, history: &History, stop: &AtomicBool) -> Result<Log, Failure> {
    let _span = debug_span!("rewrite", revision = history.revision().0).entered();
    let log = Log::create(disk.replacement().map_err(Failure::Broken)?, history.compacted(), wal)?;
    fill(&log, records(history, Revision(0)).into_values(), stop)?;
    Ok(log)
}

fn fill<'a>(log: &Log, records: impl Iterator<Item = Record<'a>>, stop: &AtomicBool) -> Result<(), Failure> {
    let (mut slice, mut bytes) = (Vec::new(), 0);
    for record in records {
        bytes += record.1.len() + record.2.map_or(0, |entry| entry.value.len());
        slice.push(record);
        if bytes >= SLICE_BYTES {
            if stop.load(Ordering::Relaxed) {
                return Err(Failure::Broken(io::ErrorKind::Interrupted.into()));
            }
            log.fill(slice.drain(..), Marks::default())?;
            bytes = 0;
        }
    }
    log.fill(slice, Marks::default())
}

/// Returns every record that the log of `history` needs and that was written after `since`, in order: what keys are, what
/// happened in the window, and what was there before.
fn records(history: &History, since: Revision) -> BTreeMap<(Revision, &str), Record<'_>> {
    let from = since.max(history.compacted());
    let window = || history.events(from, history.revision());
    // What the window has need not be looked for among all that there is.
    let entries = (since < history.compacted()).then(|| history.entries()).into_iter().flatten();
    let live = entries.map(|entry| (entry.modified, &*entry.key, Some(entry)));
    let happened = window().map(|event| (event.revision, &*event.key, event.now.as_ref()));
    let before =
        window().filter_map(|event| event.before.as_ref()).map(|entry| (entry.modified, &*entry.key, Some(entry)));
    let all = live.chain(happened).chain(before);
    all.filter(|record| record.0 > since).map(|record| ((record.0, record.1), record)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redb::simulated::SimulatedDisk;
    use crate::{Op, Txn};

    #[test]
    fn a_file_is_rewritten_when_it_is_large_and_mostly_garbage() {
        let mib = |count: u64| count << 20;
        assert!(!is_due(mib(60), 0, None), "small");
        assert!(!is_due(mib(400), mib(100), None), "a quarter is needed");
        assert!(is_due(mib(400), mib(99), None));
        assert!(!is_due(mib(400), mib(1), Some(mib(300))), "it failed a moment ago");
        assert!(is_due(mib(600), mib(1), Some(mib(300))), "it has doubled since");
    }

    #[test]
    fn a_copy_follows_what_is_written_meanwhile_until_little_is_missing() {
        let put = |history: &mut History, revisions: u64| {
            for number in 0..revisions {
                history.apply(&Txn::put(format!("k{}", number % 7).into(), "1")).expect("no conditions");
            }
        };
        let (simulated, mut history) = (SimulatedDisk::default(), History::default());
        let disk: Arc<dyn Disk> = Arc::new(simulated.clone());
        put(&mut history, 20);
        let mut copying = Copying::start(&disk, 7, Arc::new(history.clone()), || {}).expect("a thread");
        for _ in 0..2 {
            put(&mut history, LAST_REVISIONS_MAX + 1);
            let log = copying.outcome.recv().expect("has one").expect("written");
            assert!(copying.is_behind(&history));
            copying = copying.follow(log, Arc::new(history.clone()), || {}).expect("a thread");
            assert!(!copying.is_behind(&history));
        }
        history.compact(Revision(history.revision().0 - 3)).expect("in the window");
        put(&mut history, LAST_REVISIONS_MAX);
        let log = copying.outcome.recv().expect("has one").expect("written");
        assert!(!copying.is_behind(&history));
        copying.finish(&log, &history, 9).expect("written");
        drop(log);
        disk.replace().expect("in memory");
        let loaded = Log::look(disk.open().expect("in memory")).expect("whole");
        assert_eq!((loaded.history.revision(), loaded.history.compacted()), (history.revision(), history.compacted()));
        assert_eq!(loaded.applied, 9);
        let all = |history: &History| format!("{:?}", records(history, Revision(0)));
        assert_eq!(all(&loaded.history), all(&history));
    }

    #[test]
    fn the_records_of_a_history_give_the_same_history() {
        let mut history = History::default();
        let put = |history: &mut History, key: &str, value: &str| {
            history.apply(&Txn::put(key.into(), value.to_owned())).expect("no conditions");
        };
        for round in 0..4 {
            put(&mut history, "a", &round.to_string());
            put(&mut history, &format!("b{round}"), "1");
        }
        history.compact(Revision(5)).expect("in the window");
        history.apply(&Txn { preconditions: vec![], ops: vec![Op::Delete("b1".into())] }).expect("no conditions");
        put(&mut history, "a", "last");
        let mut copy = History::starting_at(history.compacted());
        for (revision, key, now) in records(&history, Revision(0)).into_values() {
            assert_eq!(copy.replay(revision, &key.into(), now.cloned()), None, "nothing in it is obsolete");
        }
        assert_eq!(copy.revision(), history.revision());
        for at in history.compacted().0..=history.revision().0 {
            let list = |history: &History| {
                history
                    .list(&crate::Range { at: Some(Revision(at)), ..crate::Range::default() })
                    .expect("in the window")
                    .entries
            };
            assert_eq!(list(&copy), list(&history), "at {at}");
        }
    }
}
