//! What the database reads and writes through: bytes that remember what went wrong, and bytes that are not
//! written before somebody approves.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use redb::{BackendError, StorageBackend};

/// Any bytes.
pub(super) type Backend = Box<dyn StorageBackend>;

/// What was tried when the disk refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Read,
    Write,
    Grow,
    Sync,
}

/// The first thing that went wrong. redb's own errors do not say what was tried, and that makes all the difference: a
/// write that found no space did nothing, after a failed sync nobody knows what is on the disk.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) step: Step,
    pub(super) error: io::Error,
}

impl Fault {
    /// Whether the disk was full, and nothing else is wrong.
    pub(super) fn is_full(&self) -> bool {
        matches!(self.step, Step::Write | Step::Grow) && is_full(&self.error)
    }
}

/// Whether there is no space for more.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Bytes that remember the first fault.
#[derive(Debug)]
pub(super) struct Watched {
    inner: Backend,
    fault: Arc<OnceLock<Fault>>,
}

impl Watched {
    pub(super) fn new(inner: Backend) -> (Self, Arc<OnceLock<Fault>>) {
        let fault = Arc::default();
        (Self { inner, fault: Arc::clone(&fault) }, fault)
    }

    fn note<T>(&self, step: Step, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|error| {
            // An error cannot be cloned; its number, or its kind and text, say the same.
            let copy = error
                .raw_os_error()
                .map_or_else(|| io::Error::new(error.kind(), error.to_string()), io::Error::from_raw_os_error);
            let _ = self.fault.set(Fault { step, error: copy });
        })
    }
}

impl StorageBackend for Watched {
    fn len(&self) -> io::Result<u64> {
        self.note(Step::Read, self.inner.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.note(Step::Read, self.inner.read(offset, out))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.note(Step::Grow, self.inner.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.note(Step::Sync, self.inner.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.note(Step::Write, self.inner.write(offset, data))
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }
}

const PAGE: u64 = 4096;

/// Bytes that are not written before somebody approves: opening a database repairs and marks it, and a file that turns out
/// to be damaged, newer or another program's must not be touched.
#[derive(Debug, Clone)]
pub(super) struct Deferred(Arc<Deferral>);

#[derive(Debug)]
struct Deferral {
    inner: Backend,
    /// `None` once approved.
    held: Mutex<Option<Held>>,
}

/// What would have been done.
#[derive(Debug)]
struct Held {
    len: u64,
    pages: BTreeMap<u64, Vec<u8>>,
    /// The same in order, for what a database writes and syncs in which order is what makes it safe.
    steps: Vec<Do>,
}

#[derive(Debug)]
enum Do {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

impl Deferred {
    /// # Errors
    /// If the length cannot be read.
    pub(super) fn new(inner: Backend) -> io::Result<Self> {
        let held = Held { len: inner.len()?, pages: BTreeMap::new(), steps: Vec::new() };
        Ok(Self(Arc::new(Deferral { inner, held: Mutex::new(Some(held)) })))
    }

    /// Does what was held back, in order, and holds nothing back from now on.
    pub(super) fn approve(&self) -> io::Result<()> {
        let mut held = self.0.held.lock();
        for step in held.take().into_iter().flat_map(|held| held.steps) {
            match step {
                Do::Write(offset, data) => self.0.inner.write(offset, &data)?,
                Do::SetLen(len) => self.0.inner.set_len(len)?,
                Do::Sync => self.0.inner.sync_data()?,
            }
        }
        Ok(())
    }

    /// Notes a step, or takes it if nothing is held back.
    fn step(
        &self,
        step: impl FnOnce() -> Do,
        now: impl FnOnce(&Backend) -> io::Result<()>,
        view: impl FnOnce(&mut Held, &Backend) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut held = self.0.held.lock();
        let Some(held) = &mut *held else { return now(&self.0.inner) };
        view(held, &self.0.inner)?;
        held.steps.push(step());
        Ok(())
    }
}

/// Returns a page as it is underneath; what lies behind the end is zero.
fn original(inner: &Backend, page: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(PAGE).expect("small")];
    let there = inner.len()?.saturating_sub(page * PAGE).min(PAGE);
    inner.read(page * PAGE, &mut bytes[..usize::try_from(there).expect("at most a page")])?;
    Ok(bytes)
}

/// Calls `each` with every page that a range touches: its number, the range in the page, and in the data.
fn pages(
    offset: u64,
    len: usize,
    mut each: impl FnMut(u64, std::ops::Range<usize>, std::ops::Range<usize>) -> io::Result<()>,
) -> io::Result<()> {
    let mut done = 0;
    while done < len {
        let at = offset + done as u64;
        let in_page = usize::try_from(at % PAGE).expect("below a page");
        let count = (len - done).min(usize::try_from(PAGE).expect("small") - in_page);
        each(at / PAGE, in_page..in_page + count, done..done + count)?;
        done += count;
    }
    Ok(())
}

impl Held {
    fn read(&self, inner: &Backend, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let end = offset + out.len() as u64;
        if end > self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if self.pages.range(offset / PAGE..end.div_ceil(PAGE)).next().is_none() {
            return inner.read(offset, out);
        }
        pages(offset, out.len(), |page, in_page, in_data| {
            match self.pages.get(&page) {
                Some(bytes) => out[in_data].copy_from_slice(&bytes[in_page]),
                None => out[in_data].copy_from_slice(&original(inner, page)?[in_page]),
            }
            Ok(())
        })
    }

    fn write(&mut self, inner: &Backend, offset: u64, data: &[u8]) -> io::Result<()> {
        pages(offset, data.len(), |page, in_page, in_data| {
            let bytes = match self.pages.entry(page) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => unknown.insert(original(inner, page)?),
            };
            bytes[in_page].copy_from_slice(&data[in_data]);
            Ok(())
        })
    }

    fn set_len(&mut self, inner: &Backend, len: u64) -> io::Result<()> {
        let (from, to) = (len.min(self.len), len.max(self.len));
        // What is cut off and grows again is zero, and what is new is not there underneath.
        let in_first = usize::try_from(from % PAGE).expect("below a page");
        if in_first > 0 {
            let zeros = vec![0; usize::try_from(PAGE).expect("small") - in_first];
            self.write(inner, from, &zeros)?;
        }
        for page in from.div_ceil(PAGE)..to.div_ceil(PAGE) {
            self.pages.insert(page, vec![0; usize::try_from(PAGE).expect("small")]);
        }
        self.len = len;
        Ok(())
    }
}

impl StorageBackend for Deferred {
    fn len(&self) -> io::Result<u64> {
        self.0.held.lock().as_ref().map_or_else(|| self.0.inner.len(), |held| Ok(held.len))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        match &*self.0.held.lock() {
            Some(held) => held.read(&self.0.inner, offset, out),
            None => self.0.inner.read(offset, out),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.step(|| Do::SetLen(len), |inner| inner.set_len(len), |held, inner| held.set_len(inner, len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.step(|| Do::Sync, |inner| inner.sync_data(), |_, _| Ok(()))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.step(
            || Do::Write(offset, data.to_owned()),
            |inner| inner.write(offset, data),
            |held, inner| held.write(inner, offset, data),
        )
    }

    // Nor locked: that takes a file that can be written. The store's lock file keeps others out.
    fn close(&self) -> io::Result<()> {
        self.0.inner.close()
    }
}

#[cfg(test)]
mod tests {
    use redb::backends::InMemoryBackend;

    use super::*;

    fn read(bytes: &dyn StorageBackend, offset: u64, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        bytes.read(offset, &mut out).expect("in range");
        out
    }

    fn over(len: u64, at: u64, data: &[u8]) -> Deferred {
        let below = InMemoryBackend::new();
        below.set_len(len).expect("in memory");
        below.write(at, data).expect("in memory");
        Deferred::new(Box::new(below)).expect("has a length")
    }

    #[test]
    fn what_is_held_back_is_read_and_changes_nothing_below() {
        let over = over(10_000, 4_000, &[7; 300]);
        over.write(4_090, &[9; 10]).expect("in memory");
        assert_eq!(read(&over, 4_088, 14), [7, 7, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 7, 7]);
        assert_eq!(read(&*over.0.inner, 4_088, 14), [7; 14]);
        over.approve().expect("in memory");
        assert_eq!(read(&*over.0.inner, 4_088, 4), [7, 7, 9, 9]);
        over.write(0, &[5]).expect("in memory");
        assert_eq!(read(&*over.0.inner, 0, 1), [5], "nothing is held back any more");
    }

    #[test]
    fn what_is_cut_off_is_zero_when_it_grows_again() {
        let over = over(8_192, 4_000, &[7; 4_000]);
        over.set_len(4_050).expect("in memory");
        over.read(4_000, &mut [0; 200]).expect_err("behind the end");
        over.set_len(20_000).expect("in memory");
        let check = |bytes: &dyn StorageBackend| {
            assert_eq!(read(bytes, 4_048, 4), [7, 7, 0, 0]);
            assert_eq!(read(bytes, 7_990, 20), [0; 20]);
            assert_eq!(read(bytes, 19_990, 10), [0; 10]);
        };
        check(&over);
        over.approve().expect("in memory");
        check(&*over.0.inner);
    }

    #[test]
    fn only_a_write_without_space_is_a_full_disk() {
        let fault = |step, kind: io::ErrorKind| Fault { step, error: kind.into() }.is_full();
        assert!(fault(Step::Write, io::ErrorKind::StorageFull) && fault(Step::Grow, io::ErrorKind::QuotaExceeded));
        assert!(!fault(Step::Sync, io::ErrorKind::StorageFull), "nobody knows what was kept");
        assert!(!fault(Step::Write, io::ErrorKind::Other) && !fault(Step::Read, io::ErrorKind::StorageFull));
    }
}
