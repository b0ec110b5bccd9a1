//! The database: a log of records in order of (revision, key), and the numbers that say how to read it.
//!
//! There is no index on disk: the log is read once at start, which also checks every record.

use std::any::Any;
use std::io::{self, ErrorKind::InvalidData, ErrorKind::UnexpectedEof};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use redb::{
    Builder, Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, StorageError, TableDefinition,
    TableError,
};

use wkube_base::Rng;

use super::bytes::{Backend, Deferred, Fault, Watched};
use super::record;
use super::wal::{LogDamage, payload};
use crate::history::{History, Location};
use crate::{Entry, Key, Revision};

/// The version of the tables and records, raised when an older wkube could misread them: 1 is the first, 2 has compressed
/// values, 3 has a write-ahead log beside it. `upgrade` says what is done with older files.
pub(super) const SCHEMA: u64 = 3;

const LOG: TableDefinition<'_, (u64, &str), &[u8]> = TableDefinition::new("log");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const META_SCHEMA: &str = "schema";
const META_COMPACTED: &str = "compacted";
/// Whose write-ahead log belongs to it, drawn once for every store.
const META_WAL: &str = "wal";
/// The newest frame of the write-ahead log that is in it.
const META_APPLIED: &str = "applied";

/// What every redb file begins with.
const MAGIC: &[u8] = b"redb\x1A\x0A\xA9\x0D\x0A";
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
    #[error("{0}")]
    Foreign(&'static str),
    #[error("unknown schema version {found}")]
    Schema { found: u64 },
    #[error("a page is not as it was written: {0}")]
    Page(String),
    #[error("the record of {key} at revision {revision} is not as it was written")]
    Record { revision: u64, key: String },
    #[error("revision {revision} is missing")]
    Gap { revision: u64 },
    #[error(transparent)]
    Wal(#[from] LogDamage),
}

impl From<redb::Error> for Damage {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::DatabaseAlreadyOpen => Self::InUse,
            // redb reports a wrong header as invalid data, and pages that are cut off as the end of the file.
            redb::Error::Io(source) if !matches!(source.kind(), InvalidData | UnexpectedEof) => Self::Io(source),
            redb::Error::TableDoesNotExist(_)
            | redb::Error::TableTypeMismatch { .. }
            | redb::Error::TypeDefinitionChanged { .. }
            | redb::Error::TableIsMultimap(_) => Self::Foreign("it is a redb database of another program"),
            other => Self::Page(other.to_string()),
        }
    }
}

impl From<StorageError> for Damage {
    fn from(error: StorageError) -> Self {
        redb::Error::from(error).into()
    }
}

impl From<TableError> for Damage {
    fn from(error: TableError) -> Self {
        redb::Error::from(error).into()
    }
}

impl From<DatabaseError> for Damage {
    fn from(error: DatabaseError) -> Self {
        redb::Error::from(error).into()
    }
}

/// Why a commit failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// There is no space. Nothing is lost: the file has the last commit's state, once it has been opened again.
    Full(io::Error),
    /// Nobody knows what is on the disk.
    Broken(io::Error),
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Full(error) | Failure::Broken(error) => error,
        }
    }
}

/// What the file holds.
pub(super) struct Loaded {
    pub(super) history: History,
    /// Records that nobody can ask for any more, left behind by a compaction that was cut off.
    pub(super) obsolete: Vec<Location>,
    /// All records.
    pub(super) records: u64,
    /// The version in which it was found.
    pub(super) schema: u64,
    /// Whose write-ahead log belongs to it.
    pub(super) wal: u64,
    /// The newest frame of the write-ahead log that is in `history`.
    pub(super) applied: u64,
}

impl Loaded {
    /// Adds what the payload of frame `number` says.
    pub(super) fn replay(&mut self, number: u64, bytes: &[u8]) -> Result<(), Damage> {
        let (compacted, records) = payload::read(bytes).ok_or(LogDamage::Frame { number })?;
        for payload::Placed { revision, key, record } in records {
            self.take(revision, key, record)?;
        }
        if let Some(compacted) = compacted {
            self.obsolete.extend(self.history.compact(compacted).unwrap_or_default());
        }
        self.applied = number;
        Ok(())
    }

    /// Takes over the next record.
    fn take(&mut self, revision: Revision, key: &str, record: &[u8]) -> Result<(), Damage> {
        let history = &mut self.history;
        // Every revision after the compaction left at least one record.
        if revision.0 > history.revision().0 + 1 {
            return Err(Damage::Gap { revision: history.revision().0 + 1 });
        }
        let key: Key = history.get(key).map_or_else(|| key.into(), |known| known.key.clone());
        let entry = record::decode(revision, &key, record)
            .ok_or_else(|| Damage::Record { revision: revision.0, key: key.to_string() })?;
        if entry.is_none() && revision <= history.compacted() {
            self.obsolete.push((revision, key.clone()));
        }
        self.obsolete.extend(history.replay(revision, &key, entry));
        self.records += 1;
        Ok(())
    }
}

/// Numbers that a commit changes.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Marks {
    /// Up to where the past is gone.
    pub(super) compacted: Option<Revision>,
    /// The newest frame of the write-ahead log.
    pub(super) applied: Option<u64>,
    pub(super) schema: Option<u64>,
    pub(super) wal: Option<u64>,
}

/// A record before it is bytes: what a key became, and when.
pub(super) type Record<'a> = (Revision, &'a str, Option<&'a Entry>);

#[derive(Debug)]
pub(super) struct Log {
    database: Database,
    fault: Arc<OnceLock<Fault>>,
}

impl Log {
    /// Fills empty bytes with a store whose past before `compacted` is gone, and which has a write-ahead log of that name.
    pub(super) fn create(bytes: Backend, compacted: Revision, wal: u64) -> Result<Self, Failure> {
        let (bytes, fault) = Watched::new(bytes);
        let created = builder().create_with_backend(bytes).map_err(redb::Error::from);
        let log = Self { database: created.map_err(|error| failure(&fault, error))?, fault };
        let marks = Marks { compacted: Some(compacted), applied: Some(0), schema: Some(SCHEMA), wal: Some(wal) };
        log.fill([], marks)?;
        Ok(log)
    }

    /// Opens what is in `bytes`, reads all of it, and lets `replay` add what is not in it yet. Nothing is written unless
    /// everything is as it should be.
    pub(super) fn open<T>(
        bytes: Backend,
        replay: impl FnOnce(&mut Loaded) -> Result<T, Damage>,
    ) -> Result<(Self, Loaded, T), Damage> {
        let is_checked = bytes.len().map_err(Damage::Io)? <= CHECKED_BYTES_MAX;
        let (log, deferred) = Self::deferred(bytes, is_checked)?;
        let mut loaded = log.load()?;
        let replayed = replay(&mut loaded)?;
        deferred.approve().map_err(Damage::Io)?;
        log.upgrade(&loaded).map_err(|failure| Damage::Io(failure.into()))?;
        Ok((log, loaded, replayed))
    }

    /// Looks at what is in `bytes`, every page of it, without ever writing to them.
    pub(super) fn look(bytes: Backend) -> Result<Loaded, Damage> {
        Self::deferred(bytes, true)?.0.load()
    }

    fn deferred(bytes: Backend, is_checked: bool) -> Result<(Self, Deferred), Damage> {
        begins_like_ours(&bytes)?;
        let deferred = Deferred::new(bytes).map_err(Damage::Io)?;
        let (bytes, fault) = Watched::new(Box::new(deferred.clone()));
        let mut builder = builder();
        builder.set_check_integrity_on_open(is_checked);
        let database = unpanicked(|| Ok(builder.create_with_backend(bytes)?))?;
        Ok((Self { database, fault }, deferred))
    }

    /// Returns the version of the tables and records.
    ///
    /// # Errors
    /// `Schema` if a newer wkube wrote them, `Foreign` if none did.
    fn schema(&self) -> Result<u64, Damage> {
        unpanicked(|| {
            let txn = self.database.begin_read().map_err(redb::Error::from)?;
            let missing = Damage::Foreign("it does not say which version of a store it is");
            let found = txn.open_table(META)?.get(META_SCHEMA)?.map(|found| found.value()).ok_or(missing)?;
            if found > SCHEMA { Err(Damage::Schema { found }) } else { Ok(found) }
        })
    }

    /// Makes an older store one of this version, so that an older wkube refuses it from now on.
    fn upgrade(&self, found: &Loaded) -> Result<(), Failure> {
        match found.schema {
            // All that versions 1 and 2 have, version 3 has, too: old records are read as they are.
            1 | 2 => self.fill([], Marks { schema: Some(SCHEMA), wal: Some(found.wal), ..Marks::default() }),
            _ => Ok(()),
        }
    }

    /// Reads and verifies every record.
    fn load(&self) -> Result<Loaded, Damage> {
        let schema = self.schema()?;
        unpanicked(|| self.read(schema))
    }

    fn read(&self, schema: u64) -> Result<Loaded, Damage> {
        let txn = self.database.begin_read().map_err(redb::Error::from)?;
        let meta = txn.open_table(META)?;
        let mark = |name| -> Result<Option<u64>, Damage> { Ok(meta.get(name)?.map(|found| found.value())) };
        let missing = Damage::Foreign("it does not say how far it has been compacted");
        let history = History::starting_at(Revision(mark(META_COMPACTED)?.ok_or(missing)?));
        // A store that has never had a log gets one.
        let wal = mark(META_WAL)?.unwrap_or_else(new_wal);
        let applied = mark(META_APPLIED)?.unwrap_or(0);
        let mut loaded = Loaded { history, obsolete: Vec::new(), records: 0, schema, wal, applied };
        for found in txn.open_table(LOG)?.iter()? {
            let (location, bytes) = found?;
            let (revision, key) = location.value();
            loaded.take(Revision(revision), key, bytes.value())?;
        }
        Ok(loaded)
    }

    /// Writes what the payloads of frames up to `newest` say with one durable commit. Returns how many bytes of records it
    /// removed.
    pub(super) fn apply<'a>(
        &self,
        payloads: impl Iterator<Item = &'a [u8]>,
        newest: u64,
        obsolete: &[Location],
    ) -> Result<u64, Failure> {
        let (mut marks, mut records) = (Marks { applied: Some(newest), ..Marks::default() }, Vec::new());
        for bytes in payloads {
            let unreadable = || Failure::Broken(io::Error::new(InvalidData, "a frame is not as it was written"));
            let (compacted, placed) = payload::read(bytes).ok_or_else(unreadable)?;
            marks.compacted = compacted.or(marks.compacted);
            records.extend(placed);
        }
        self.commit(records.iter().map(|placed| (placed.revision, placed.key, placed.record)), obsolete, marks)
    }

    /// Writes records with one durable commit.
    pub(super) fn fill<'a>(&self, records: impl IntoIterator<Item = Record<'a>>, marks: Marks) -> Result<(), Failure> {
        let encoded =
            records.into_iter().map(|(revision, key, now)| (revision, key, record::encode(revision, key, now)));
        self.commit(encoded, &[], marks).map(drop)
    }

    fn commit<'a>(
        &self,
        records: impl IntoIterator<Item = (Revision, &'a str, impl AsRef<[u8]>)>,
        obsolete: &[Location],
        marks: Marks,
    ) -> Result<u64, Failure> {
        let write = || -> Result<u64, redb::Error> {
            let (txn, mut removed) = (self.database.begin_write()?, 0);
            {
                let mut log = txn.open_table(LOG)?;
                for (revision, key, record) in records {
                    log.insert((revision.0, key), record.as_ref())?;
                }
                for (revision, key) in obsolete {
                    removed += log.remove((revision.0, &**key))?.map_or(0, |record| record.value().len() as u64);
                }
                let mut meta = txn.open_table(META)?;
                let compacted = marks.compacted.map(|revision| revision.0);
                let names = [META_SCHEMA, META_WAL, META_COMPACTED, META_APPLIED];
                for (name, number) in names.into_iter().zip([marks.schema, marks.wal, compacted, marks.applied]) {
                    number.map(|number| meta.insert(name, number)).transpose()?;
                }
            }
            txn.commit()?;
            Ok(removed)
        };
        // redb answers a damaged page with a panic.
        let written = catch_unwind(AssertUnwindSafe(write));
        let written = written.unwrap_or_else(|panic| Err(redb::Error::Corrupted(panic_text(&*panic))));
        written.map_err(|error| failure(&self.fault, error))
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

    /// Makes the file one of another version.
    #[cfg(test)]
    pub(super) fn pretend(&self, schema: u64) {
        self.fill([], Marks { schema: Some(schema), ..Marks::default() }).expect("writable");
    }
}

/// Draws the name of a write-ahead log.
pub(super) fn new_wal() -> u64 {
    Rng::from_entropy().next_u64()
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

fn begins_like_ours(bytes: &Backend) -> Result<(), Damage> {
    let len = bytes.len().map_err(Damage::Io)?;
    if len == 0 {
        return Err(Damage::Page("the file is empty".to_owned()));
    }
    let mut start = [0; MAGIC.len()];
    if len >= MAGIC.len() as u64 {
        bytes.read(0, &mut start).map_err(Damage::Io)?;
    }
    if start == MAGIC { Ok(()) } else { Err(Damage::Foreign("it does not begin as a store does")) }
}

fn failure(fault: &OnceLock<Fault>, error: redb::Error) -> Failure {
    let same = |error: &io::Error| {
        error
            .raw_os_error()
            .map_or_else(|| io::Error::new(error.kind(), error.to_string()), io::Error::from_raw_os_error)
    };
    match fault.get() {
        Some(fault) if fault.is_full() => Failure::Full(same(&fault.error)),
        Some(fault) => Failure::Broken(same(&fault.error)),
        None => Failure::Broken(io::Error::other(error)),
    }
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
