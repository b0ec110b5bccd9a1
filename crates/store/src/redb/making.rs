//! A store that is made of another one's content: until it is finished, nobody opens it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::disk::{Files, parent, private_file, sibling};
use super::errors::{OpenError, io_error};
use super::offline::{Inspection, Lock, create, inspect};
use crate::{Entry, Revision};

/// A place for a store, locked, where none is.
#[derive(Debug)]
pub struct Making {
    path: PathBuf,
    lock: Lock,
}

impl Making {
    /// Takes the place at `path`. Nothing is written yet but the lock.
    ///
    /// # Errors
    /// `InUse`, `Exists`, or `Unfinished` if an earlier attempt was cut off, and `begins_again` does not say what becomes of
    /// what that left: it is deleted.
    pub fn begin(path: &Path, begins_again: bool) -> Result<Self, OpenError> {
        let lock = Lock::of(super::lock_file(path)?);
        let is_unfinished = is_unfinished(path)?;
        if is_unfinished && !begins_again {
            return Err(OpenError::Unfinished { path: path.to_owned() });
        }
        if !is_unfinished && path.try_exists().map_err(io_error(path, "open"))? {
            return Err(OpenError::Exists { path: path.to_owned() });
        }
        Ok(Self { path: path.to_owned(), lock })
    }

    /// Marks the place unfinished, and makes a store there whose newest revision is `revision` and which has no past.
    ///
    /// # Errors
    /// If the disk refuses. The mark stays.
    pub fn fill(&self, revision: Revision, entries: impl IntoIterator<Item = Entry>) -> Result<(), OpenError> {
        let mark = mark(&self.path);
        let marked = private_file(&mark).and_then(|file| file.sync_all()).and_then(|()| sync_parent(&mark));
        marked.map_err(io_error(&mark, "write"))?;
        create(&Files::new(&self.path), revision, entries)
    }

    /// Reads and verifies all of the store.
    ///
    /// # Errors
    /// Names what is wrong.
    pub fn read(&self) -> Result<Inspection, OpenError> {
        inspect(&self.path, &self.lock)
    }

    /// Deletes what was made, and the mark: nothing is there, as before.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn abandon(self) -> Result<(), OpenError> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error(&self.path, "remove")(error)),
            _ => {}
        }
        self.finish()
    }

    /// Takes the mark away: from now on it is a store.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn finish(self) -> Result<(), OpenError> {
        let mark = mark(&self.path);
        fs::remove_file(&mark).and_then(|()| sync_parent(&mark)).map_err(io_error(&mark, "remove"))
    }
}

/// Tells if what is at `path` is, or was to be, a store that nobody finished.
pub(super) fn is_unfinished(path: &Path) -> Result<bool, OpenError> {
    let mark = mark(path);
    mark.try_exists().map_err(io_error(&mark, "open"))
}

fn mark(path: &Path) -> PathBuf {
    sibling(path, "unfinished")
}

fn sync_parent(path: &Path) -> io::Result<()> {
    File::open(parent(path))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redb::RedbStore;
    use crate::{Key, Store as _, Txn};

    fn entry(key: &str) -> Entry {
        let key = Key::from(key);
        Entry { key, value: "value".into(), created: Revision(7), modified: Revision(9), version: 3 }
    }

    #[tokio::test]
    async fn what_is_finished_is_a_store_with_the_same_entries() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("store");
        let making = Making::begin(&path, false).expect("nothing is there");
        making.fill(Revision(100), [entry("a"), entry("b")]).expect("writable");
        assert_eq!(making.read().expect("whole").listed.entries, [entry("a"), entry("b")]);
        making.finish().expect("writable");
        let store = RedbStore::open(&path).expect("a store");
        assert_eq!(store.get("a").expect("readable"), Some(entry("a")));
        assert_eq!(store.commit(Txn::put("c".into(), "1")).await.expect("writable"), Revision(101));
    }

    #[test]
    fn what_was_cut_off_is_opened_by_nobody_until_it_is_begun_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("store");
        Making::begin(&path, false).expect("nothing is there").fill(Revision(100), [entry("a")]).expect("writable");
        let refused =
            [RedbStore::open(&path).map(drop), Lock::take(&path).map(drop), Making::begin(&path, false).map(drop)];
        for refused in refused {
            let error = refused.expect_err("unfinished");
            assert!(
                matches!(error, OpenError::Unfinished { .. }) && error.to_string().contains("--restart"),
                "{error}"
            );
        }
        let again = Making::begin(&path, true).expect("what is there is deleted");
        again.fill(Revision(200), [entry("b")]).expect("writable");
        again.finish().expect("writable");
        let store = RedbStore::open(&path).expect("a store");
        assert_eq!((store.get("a").expect("readable"), store.revision()), (None, Revision(200)));
    }

    #[test]
    fn what_is_abandoned_was_never_there() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("store");
        let making = Making::begin(&path, false).expect("nothing is there");
        making.fill(Revision(100), [entry("a")]).expect("writable");
        making.abandon().expect("writable");
        assert_eq!(RedbStore::open(&path).expect("new").revision(), Revision(1));
    }

    #[test]
    fn a_place_that_is_taken_stays_as_it_is() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("store");
        let store = RedbStore::open(&path).expect("new");
        assert!(matches!(Making::begin(&path, true), Err(OpenError::InUse { .. })));
        drop(store);
        assert!(matches!(Making::begin(&path, true), Err(OpenError::Exists { .. })));
        assert_eq!(RedbStore::open(&path).expect("untouched").revision(), Revision(1));
    }
}
