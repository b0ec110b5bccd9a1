//! What a bucket is: keys and values in memory or in a file, within limits.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use redb::backends::FileBackend;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use rustix::fs::OFlags;

/// A key has at most this many bytes.
const KEY_BYTES_MAX: usize = 1 << 10;
/// A value has at most this many bytes.
const VALUE_BYTES_MAX: usize = 1 << 20;
/// Keys and values of a bucket in memory: it counts against nobody's limit.
const MEMORY_BYTES_MAX: usize = 8 << 20;
/// The file of a bucket, besides the limits of its volume.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// Keys in one answer.
pub(super) const PAGE: usize = 1_000;

const TABLE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("bucket");

/// Keys and values that guests keep (`wasi:keyvalue`). Clones share them.
#[derive(Clone)]
pub struct Bucket(Arc<Kept>);

enum Kept {
    Memory(Mutex<Contents>),
    File(Database, PathBuf),
}

#[derive(Default)]
struct Contents {
    values: BTreeMap<String, Vec<u8>>,
    bytes: usize,
}

/// Why a bucket did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// Over a limit, or not what the operation needs.
    #[error("{0}")]
    Refused(String),
    /// The file could not be opened.
    #[error("open {path}")]
    Open {
        /// The file on the host.
        path: PathBuf,
        /// Why not.
        #[source]
        source: crate::BoxError,
    },
    /// The file could not be read or written.
    #[error("use the bucket's file: {0}")]
    File(#[from] redb::Error),
}

/// What a value becomes: another, or none.
pub(super) enum Change {
    Set(Vec<u8>),
    Delete,
    Keep,
}

impl Bucket {
    fn memory() -> Self {
        Self(Arc::new(Kept::Memory(Mutex::default())))
    }

    fn file(path: &Path) -> Result<Self, BucketError> {
        let failed = |source: crate::BoxError| BucketError::Open { path: path.to_owned(), source };
        // Never through a link, which a guest may have put there: this is the host's view of the file system.
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(path)
            .map_err(|error| failed(error.into()))?;
        regular(&file).map_err(|error| failed(error.into()))?;
        let backend = FileBackend::new(file).map_err(|error| failed(error.into()))?;
        let database = Database::builder().create_with_backend(backend).map_err(|error| failed(error.into()))?;
        let bucket = Self(Arc::new(Kept::File(database, path.to_owned())));
        // So that readers find the table.
        bucket.edit(&[], |_, _| Change::Keep)?;
        Ok(bucket)
    }

    /// Waits for a disk. Whoever calls must be where that is allowed.
    pub(super) fn blocks(&self) -> bool {
        matches!(*self.0, Kept::File(..))
    }

    pub(super) fn get(&self, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, BucketError> {
        match &*self.0 {
            Kept::Memory(contents) => {
                let contents = contents.lock();
                Ok(keys.iter().map(|key| contents.values.get(key).cloned()).collect())
            }
            Kept::File(database, _) => {
                let table = read(database)?;
                let get = |key: &String| {
                    Ok(table.get(key.as_str()).map_err(redb::Error::from)?.map(|found| found.value().to_vec()))
                };
                keys.iter().map(get).collect()
            }
        }
    }

    /// Changes the values of `keys`, all or none; nobody else sees or changes them meanwhile.
    pub(super) fn edit(
        &self,
        keys: &[String],
        mut change: impl FnMut(usize, Option<&[u8]>) -> Change,
    ) -> Result<(), BucketError> {
        match &*self.0 {
            Kept::Memory(contents) => {
                let mut contents = contents.lock();
                let mut changes = Vec::with_capacity(keys.len());
                for (index, key) in keys.iter().enumerate() {
                    let after = change(index, contents.values.get(key).map(Vec::as_slice));
                    check(key, &after)?;
                    changes.push((key, after));
                }
                contents.apply(changes)
            }
            Kept::File(database, path) => {
                if std::fs::metadata(path).is_ok_and(|file| file.len() > FILE_BYTES_MAX) {
                    return Err(full(FILE_BYTES_MAX));
                }
                let transaction = database.begin_write().map_err(redb::Error::from)?;
                {
                    let mut table = transaction.open_table(TABLE).map_err(redb::Error::from)?;
                    for (index, key) in keys.iter().enumerate() {
                        let before = table.get(key.as_str()).map_err(redb::Error::from)?;
                        let before = before.map(|found| found.value().to_vec());
                        let after = change(index, before.as_deref());
                        check(key, &after)?;
                        match after {
                            Change::Set(value) => drop(table.insert(key.as_str(), &*value).map_err(redb::Error::from)?),
                            Change::Delete => drop(table.remove(key.as_str()).map_err(redb::Error::from)?),
                            Change::Keep => {}
                        }
                    }
                }
                transaction.commit().map_err(redb::Error::from)?;
                Ok(())
            }
        }
    }

    /// Returns up to [`PAGE`] keys after `after`, in order.
    pub(super) fn keys(&self, after: Option<&str>) -> Result<Vec<String>, BucketError> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        match &*self.0 {
            Kept::Memory(contents) => {
                let contents = contents.lock();
                let range = contents.values.range::<str, _>((start, Bound::Unbounded));
                Ok(range.take(PAGE).map(|(key, _)| key.clone()).collect())
            }
            Kept::File(database, _) => {
                let table = read(database)?;
                let range = table.range::<&str>((start, Bound::Unbounded)).map_err(redb::Error::from)?;
                let key = |entry: Result<(redb::AccessGuard<'_, &str>, _), redb::StorageError>| {
                    Ok(entry.map_err(redb::Error::from)?.0.value().to_owned())
                };
                range.take(PAGE).map(key).collect()
            }
        }
    }
}

impl Contents {
    fn apply(&mut self, changes: Vec<(&String, Change)>) -> Result<(), BucketError> {
        let size = |key: &str, value: &[u8]| key.len() + value.len();
        let added: usize = changes
            .iter()
            .map(|(key, change)| if let Change::Set(value) = change { size(key, value) } else { 0 })
            .sum();
        if added > 0 && self.bytes + added > MEMORY_BYTES_MAX {
            return Err(full(MEMORY_BYTES_MAX as u64));
        }
        for (key, change) in changes {
            let before = match change {
                Change::Set(value) => {
                    self.bytes += size(key, &value);
                    self.values.insert(key.clone(), value)
                }
                Change::Delete => self.values.remove(key),
                Change::Keep => continue,
            };
            self.bytes -= before.map_or(0, |before| size(key, &before));
        }
        Ok(())
    }
}

fn check(key: &str, change: &Change) -> Result<(), BucketError> {
    if key.len() > KEY_BYTES_MAX {
        let message = format!("the key has {} bytes, more than the {KEY_BYTES_MAX} that a key may have", key.len());
        return Err(BucketError::Refused(message));
    }
    match change {
        Change::Set(value) if value.len() > VALUE_BYTES_MAX => Err(BucketError::Refused(format!(
            "the value has {} bytes, more than the {VALUE_BYTES_MAX} that a value may have",
            value.len()
        ))),
        _ => Ok(()),
    }
}

fn full(limit: u64) -> BucketError {
    BucketError::Refused(format!("the bucket is full: it may have {limit} bytes"))
}

fn read(database: &Database) -> Result<redb::ReadOnlyTable<&'static str, &'static [u8]>, redb::Error> {
    Ok(database.begin_read()?.open_table(TABLE)?)
}

/// A pipe or a device in the place of the file would hang or do something else.
fn regular(file: &File) -> io::Result<()> {
    let is_file = file.metadata()?.is_file();
    is_file.then_some(()).ok_or_else(|| io::Error::other("it is not a regular file"))
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Kept::Memory(_) => f.write_str("Bucket(memory)"),
            Kept::File(_, path) => f.debug_tuple("Bucket").field(path).finish(),
        }
    }
}

/// The buckets that are in use on this host, so that all who are granted one share it.
#[derive(Debug, Default)]
pub struct Buckets(Mutex<HashMap<String, WeakBucket>>);

struct WeakBucket(Weak<Kept>);

impl fmt::Debug for WeakBucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WeakBucket")
    }
}

impl Buckets {
    /// Returns the bucket in memory that `owner` calls `name`. It is forgotten when nobody has it any more.
    pub fn memory(&self, owner: &str, name: &str) -> Bucket {
        let made = self.shared(format!("{owner} {name}"), || Ok(Bucket::memory()));
        made.unwrap_or_else(|_| Bucket::memory())
    }

    /// Returns the bucket in the file `path`, which is made if it does not exist. Waits for the disk.
    ///
    /// # Errors
    /// If it is a link or no regular file, or holds something else.
    pub fn file(&self, path: &Path) -> Result<Bucket, BucketError> {
        self.shared(path.to_string_lossy().into_owned(), || Bucket::file(path))
    }

    fn shared(&self, key: String, open: impl FnOnce() -> Result<Bucket, BucketError>) -> Result<Bucket, BucketError> {
        let mut known = self.0.lock();
        if let Some(found) = known.get(&key).and_then(|weak| weak.0.upgrade()) {
            return Ok(Bucket(found));
        }
        let made = open()?;
        known.retain(|_, weak| weak.0.strong_count() > 0);
        known.insert(key, WeakBucket(Arc::downgrade(&made.0)));
        Ok(made)
    }
}

#[cfg(test)]
#[path = "bucket_tests.rs"]
mod tests;
