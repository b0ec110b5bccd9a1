//! The file: a log of records in order of (revision, key), and the two numbers that say how to read it.
//!
//! There is no index on disk: the log is read once at start, which also checks every record.

use std::any::Any;
use std::io::{self, ErrorKind::InvalidData, ErrorKind::UnexpectedEof};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use redb::{
    Builder, Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, StorageError, TableDefinition,
};
use xxhash_rust::xxh3::Xxh3;

use crate::history::{self, History, Location};
use crate::{Entry, Event, Key, Revision};

/// The version of the tables and records below. Raised when an older wkube could misread them.
pub(super) const SCHEMA: u64 = 1;

const LOG: TableDefinition<'_, (u64, &str), &[u8]> = TableDefinition::new("log");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const META_SCHEMA: &str = "schema";
const META_COMPACTED: &str = "compacted";

/// Everything is read once and then served from memory, so redb's own cache (1 GiB by default) only needs to hold the
/// pages that a commit touches.
const CACHE_BYTES: usize = 16 << 20;
/// Up to this size all pages are verified at every start (1.2 GB/s); above, only the records are.
const CHECKED_BYTES_MAX: u64 = 1 << 30;

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Damage {
    #[error("another process has the file open")]
    InUse,
    #[error("the operating system refused")]
    Io(#[source] io::Error),
    #[error("unknown schema version {found}")]
    Schema { found: u64 },
    #[error("the schema version is missing")]
    NoSchema,
    #[error("a page is not as it was written: {0}")]
    Page(String),
    #[error("the record of {key} at revision {revision} is not as it was written")]
    Record { revision: u64, key: String },
    #[error("revision {revision} is missing")]
    Gap { revision: u64 },
}

impl From<redb::Error> for Damage {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::DatabaseAlreadyOpen => Self::InUse,
            // redb reports a wrong header as invalid data, and pages that are cut off as the end of the file.
            redb::Error::Io(source) if !matches!(source.kind(), InvalidData | UnexpectedEof) => Self::Io(source),
            other => Self::Page(other.to_string()),
        }
    }
}

impl From<StorageError> for Damage {
    fn from(error: StorageError) -> Self {
        redb::Error::from(error).into()
    }
}

impl From<DatabaseError> for Damage {
    fn from(error: DatabaseError) -> Self {
        redb::Error::from(error).into()
    }
}

/// What the file holds.
pub(super) struct Loaded {
    pub(super) history: History,
    /// Records that nobody can ask for any more, left behind by a compaction that was cut off.
    pub(super) obsolete: Vec<Location>,
}

/// What one durable commit changes.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) events: Vec<Arc<Event>>,
    pub(super) compacted: Option<Revision>,
    pub(super) obsolete: Vec<Location>,
}

#[derive(Debug)]
pub(super) struct Log {
    database: Database,
}

impl Log {
    /// Fills an empty file.
    pub(super) fn create(path: &Path) -> Result<(), Damage> {
        let log = Self { database: builder().create(path)? };
        Ok(log.initialize()?)
    }

    /// Writes the first commit into a new database.
    pub(super) fn initialize(&self) -> Result<(), redb::Error> {
        let txn = self.database.begin_write()?;
        {
            let mut meta = txn.open_table(META)?;
            meta.insert(META_SCHEMA, SCHEMA)?;
            meta.insert(META_COMPACTED, history::EMPTY.0)?;
            txn.open_table(LOG)?;
        }
        Ok(txn.commit()?)
    }

    /// Opens an existing file and verifies its pages.
    pub(super) fn open(path: &Path) -> Result<Self, Damage> {
        let bytes = std::fs::metadata(path).map_err(Damage::Io)?.len();
        let mut builder = builder();
        builder.set_check_integrity_on_open(bytes <= CHECKED_BYTES_MAX);
        Ok(Self { database: unpanicked(|| Ok(builder.open(path)?))? })
    }

    #[cfg(test)]
    pub(super) fn of(database: Database) -> Self {
        Self { database }
    }

    /// Reads and verifies every record.
    pub(super) fn load(&self) -> Result<Loaded, Damage> {
        unpanicked(|| self.read())
    }

    fn read(&self) -> Result<Loaded, Damage> {
        let txn = self.database.begin_read().map_err(redb::Error::from)?;
        let meta = txn.open_table(META).map_err(redb::Error::from)?;
        match meta.get(META_SCHEMA)?.map(|found| found.value()) {
            Some(SCHEMA) => {}
            Some(found) => return Err(Damage::Schema { found }),
            None => return Err(Damage::NoSchema),
        }
        let compacted = meta.get(META_COMPACTED)?.ok_or(Damage::NoSchema)?.value();
        let mut history = History::starting_at(Revision(compacted));
        let mut obsolete = Vec::new();
        for record in txn.open_table(LOG).map_err(redb::Error::from)?.iter()? {
            let (location, record) = record?;
            let (revision, key) = location.value();
            // Every revision after the compaction left at least one record.
            if revision > history.revision().0 + 1 {
                return Err(Damage::Gap { revision: history.revision().0 + 1 });
            }
            let key: Key = history.get(key).map_or_else(|| key.into(), |known| known.key.clone());
            let entry = decode(revision, &key, record.value())
                .ok_or_else(|| Damage::Record { revision, key: key.to_string() })?;
            if entry.is_none() && revision <= compacted {
                obsolete.push((Revision(revision), key.clone()));
            }
            obsolete.extend(history.replay(Revision(revision), &key, entry));
        }
        Ok(Loaded { history, obsolete })
    }

    /// Writes `batch` with one durable commit.
    pub(super) fn append(&self, batch: &Batch) -> Result<(), redb::Error> {
        let txn = self.database.begin_write()?;
        {
            let mut log = txn.open_table(LOG)?;
            for event in &batch.events {
                log.insert((event.revision.0, &*event.key), encode(event).as_slice())?;
            }
            for (revision, key) in &batch.obsolete {
                log.remove((revision.0, &**key))?;
            }
            if let Some(compacted) = batch.compacted {
                txn.open_table(META)?.insert(META_COMPACTED, compacted.0)?;
            }
        }
        Ok(txn.commit()?)
    }

    #[cfg(test)]
    pub(super) fn records(&self) -> Vec<(u64, String)> {
        let txn = self.database.begin_read().expect("readable");
        let log = txn.open_table(LOG).expect("has the table");
        let location = |record: Result<(redb::AccessGuard<'_, (u64, &str)>, _), StorageError>| {
            let (location, _): (_, redb::AccessGuard<'_, &[u8]>) = record.expect("readable");
            (location.value().0, location.value().1.to_owned())
        };
        log.iter().expect("readable").map(location).collect()
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// Runs `read` on bytes that may be damaged. redb answers some damage with a panic (in debug builds by intention), and a
/// bad file is not a reason to crash.
fn unpanicked<T>(read: impl FnOnce() -> Result<T, Damage>) -> Result<T, Damage> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|panic| Err(Damage::Page(panic_text(&*panic))))
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "unreadable".to_owned())
}

/// A record: `flag u8 | created u64 | version u64 | xxh3 u64 | value`, little endian. The checksum covers its place too,
/// so that a record that moved is found out.
const HEAD: usize = 1 + 8 + 8;
const CHECKSUM: usize = 8;
const PUT: u8 = 1;
const DELETE: u8 = 2;

fn encode(event: &Event) -> Vec<u8> {
    let mut record = Vec::with_capacity(HEAD + CHECKSUM + event.now.as_ref().map_or(0, |now| now.value.len()));
    let (flag, created, version, value) = match &event.now {
        Some(now) => (PUT, now.created.0, now.version, &now.value[..]),
        None => (DELETE, 0, 0, &[][..]),
    };
    record.push(flag);
    record.extend(created.to_le_bytes());
    record.extend(version.to_le_bytes());
    record.extend(checksum(event.revision.0, &event.key, &record, value).to_le_bytes());
    record.extend(value);
    record
}

/// Returns the entry (`None` for a deletion), or `None` if the record is not as it was written.
#[expect(clippy::option_option, reason = "outer: trusted or not, inner: written or deleted")]
fn decode(revision: u64, key: &Key, record: &[u8]) -> Option<Option<Entry>> {
    let (head, rest) = record.split_at_checked(HEAD)?;
    let (sum, value) = rest.split_at_checked(CHECKSUM)?;
    if number(sum)? != checksum(revision, key, head, value) {
        return None;
    }
    let entry = Entry {
        key: key.clone(),
        value: Bytes::copy_from_slice(value),
        created: Revision(number(&head[1..9])?),
        modified: Revision(revision),
        version: number(&head[9..17])?,
    };
    match head[0] {
        PUT => Some(Some(entry)),
        DELETE => Some(None),
        _ => None,
    }
}

fn number(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_le_bytes)
}

fn checksum(revision: u64, key: &str, head: &[u8], value: &[u8]) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(&revision.to_le_bytes());
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key.as_bytes());
    hasher.update(head);
    hasher.update(value);
    hasher.digest()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> (Event, Vec<u8>) {
        let key: Key = "a".into();
        let (created, modified) = (Revision(3), Revision(7));
        let now = Entry { key: key.clone(), value: Bytes::from("value"), created, modified, version: 2 };
        let event = Event { revision: modified, key, now: Some(now), before: None };
        let record = encode(&event);
        (event, record)
    }

    #[test]
    fn a_record_reads_as_it_was_written() {
        let (event, record) = record();
        assert_eq!(decode(7, &event.key, &record), Some(event.now));
        let deleted = Event { now: None, ..event };
        assert_eq!(decode(7, &deleted.key, &encode(&deleted)), Some(None));
    }

    #[test]
    fn no_flipped_bit_and_no_cut_goes_unnoticed() {
        let (event, record) = record();
        for bit in 0..record.len() * 8 {
            let mut bad = record.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(7, &event.key, &bad), None, "bit {bit}");
        }
        for length in 0..record.len() {
            assert_eq!(decode(7, &event.key, &record[..length]), None, "cut at {length}");
        }
    }

    #[test]
    fn a_record_in_the_wrong_place_is_not_believed() {
        let (event, record) = record();
        assert_eq!(decode(8, &event.key, &record), None);
        assert_eq!(decode(7, &"b".into(), &record), None);
    }
}
