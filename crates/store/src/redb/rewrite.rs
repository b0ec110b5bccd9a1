//! A smaller file in the place of one that is mostly garbage, while the store is in use.
//!
//! ```text
//!  writer:  commit, commit, commit, ... append what is new since, swap ─> commit, commit
//!  copier:     └─ snapshot ─> new file ─┘
//! ```
//! redb gives no space back to the disk while a database is open. All that is needed is in memory, so the old file is not
//! even read.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};

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

/// A copy under way.
#[derive(Debug)]
pub(super) struct Copying {
    since: Revision,
    /// What became obsolete meanwhile: the copy has it, and it is to be removed from there, too.
    pub(super) obsolete: Vec<Location>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Copying {
    /// Starts to copy `history`, which has a log of that name; `done` is told the outcome.
    pub(super) fn start(
        disk: &Arc<dyn Disk>,
        wal: u64,
        history: Arc<History>,
        done: impl FnOnce(Result<Log, Failure>) + Send + 'static,
    ) -> io::Result<Self> {
        let (disk, stop, since) = (Arc::clone(disk), Arc::<AtomicBool>::default(), history.revision());
        let stopped = Arc::clone(&stop);
        let copy = move || done(copy(&*disk, wal, &history, &stopped));
        let thread = Builder::new().name("store-copier".to_owned()).spawn(copy)?;
        Ok(Self { since, obsolete: Vec::new(), stop, thread })
    }

    /// Makes a finished copy complete, up to `history` and the frame that brought it about, and returns what is obsolete in
    /// it.
    pub(super) fn finish(self, log: &Log, history: &History, applied: u64) -> Result<Vec<Location>, Failure> {
        let _ = self.thread.join();
        let marks = Marks { compacted: Some(history.compacted()), applied: Some(applied), ..Marks::default() };
        log.fill(records(history, self.since).into_values(), marks)?;
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

fn copy(disk: &dyn Disk, wal: u64, history: &History, stop: &AtomicBool) -> Result<Log, Failure> {
    let log = Log::create(disk.replacement().map_err(Failure::Broken)?, history.compacted(), wal)?;
    let (mut slice, mut bytes) = (Vec::new(), 0);
    for record in records(history, Revision(0)).into_values() {
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
    log.fill(slice, Marks::default())?;
    Ok(log)
}

/// Returns every record that the log of `history` needs and that was written after `since`, in order: what keys are, what
/// happened in the window, and what was there before.
fn records(history: &History, since: Revision) -> BTreeMap<(Revision, &str), Record<'_>> {
    let window = || history.events(history.compacted(), history.revision());
    let live = history.entries().map(|entry| (entry.modified, &*entry.key, Some(entry)));
    let happened = window().map(|event| (event.revision, &*event.key, event.now.as_ref()));
    let before =
        window().filter_map(|event| event.before.as_ref()).map(|entry| (entry.modified, &*entry.key, Some(entry)));
    let all = live.chain(happened).chain(before);
    all.filter(|record| record.0 > since).map(|record| ((record.0, record.1), record)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
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
