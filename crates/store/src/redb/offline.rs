//! What is done to a store that nobody uses: look at it, make one from entries, make it smaller.

use std::fs::File;
use std::path::Path;

use super::disk::{Disk, Files, Replacing, parent, sibling};
use super::errors::{OpenError, io_error, open_error};
use super::log::{Failure, Log, Marks, new_wal};
use crate::hub::Hub;
use crate::{Entry, Health, Listed, Range, Revision};

/// Keeps others from opening a store.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held until dropped")] Option<File>);

impl Lock {
    pub(super) fn of(file: File) -> Self {
        Self(Some(file))
    }

    /// Takes the store at `path` for as long as this lives. On a disk that cannot be written nobody else can use it, either.
    ///
    /// # Errors
    /// `InUse` while another process has it open.
    pub fn take(path: &Path) -> Result<Self, OpenError> {
        match super::lock(path) {
            Err(OpenError::Io { step: "create", source, .. })
                if source.kind() == std::io::ErrorKind::ReadOnlyFilesystem =>
            {
                match File::open(sibling(path, "lock")) {
                    Ok(file) if file.try_lock_shared().is_err() => Err(OpenError::InUse { path: path.to_owned() }),
                    Ok(file) => Ok(Self(Some(file))),
                    Err(_) => Ok(Self(None)),
                }
            }
            locked => locked.map(|file| Self(Some(file))),
        }
    }
}

/// What is in a store that nobody uses.
#[derive(Debug)]
pub struct Inspection {
    /// Its numbers.
    pub health: Health,
    /// The version of its tables and records.
    pub schema: u64,
    /// The records in it, those that are only waiting to be removed included.
    pub records: u64,
    /// Records that nobody can ask for any more.
    pub obsolete: u64,
    /// Everything that exists.
    pub listed: Listed,
}

/// Reads and verifies all of the store at `path`: every page and every record. Nothing is written.
///
/// # Errors
/// Names what is wrong.
pub fn inspect(path: &Path, _lock: &Lock) -> Result<Inspection, OpenError> {
    let files = Files::new(path);
    Ok(look(&files)?.0)
}

/// Reads a store and its log. Returns what they hold, and how the next state of the same store is marked.
fn look(files: &Files) -> Result<(Inspection, Marks), OpenError> {
    let path = files.path();
    let bytes = files.open_to_read().map_err(io_error(path, "open"))?;
    let looked = Log::look(bytes).and_then(|mut loaded| {
        super::replay(files, &mut loaded)?;
        Ok(loaded)
    });
    let loaded = looked.map_err(open_error(path))?;
    let marks = Marks { wal: Some(loaded.wal), applied: Some(loaded.applied), ..Marks::default() };
    let hub = Hub::new(loaded.history);
    let (health, listed) = (hub.health(files.size()), hub.list(&Range::default()).unwrap_or_default());
    let (schema, records, obsolete) = (loaded.schema, loaded.records, loaded.obsolete.len() as u64);
    Ok((Inspection { health, schema, records, obsolete, listed }, marks))
}

/// Makes a store at `path`, where none may be, whose newest revision is `revision` and whose past is gone. Entries keep the
/// revisions of their last write, which are not newer.
///
/// # Errors
/// `Exists` if there is one; then, and whenever it fails, there is what was there before.
pub fn create_from(
    path: &Path,
    _lock: &Lock,
    revision: Revision,
    entries: impl IntoIterator<Item = Entry>,
) -> Result<(), OpenError> {
    if path.try_exists().map_err(io_error(path, "open"))? {
        return Err(OpenError::Exists { path: path.to_owned() });
    }
    create(&Files::new(path), revision, entries)
}

/// Makes the file at `path` as small as it can be: what is needed goes into a new one, which takes its place.
///
/// # Errors
/// If the file cannot be trusted, or there is no space for both.
pub fn rewrite_file(path: &Path, lock: &Lock) -> Result<Inspection, OpenError> {
    let files = Files::new(path);
    let (found, marks) = look(&files)?;
    replace(&files, found.health.revision, found.listed.entries, marks)?;
    // What was in it is in the file now.
    files.clear_log().map_err(io_error(&files.log_path(), "remove what is in"))?;
    inspect(path, lock)
}

/// How many bytes of values go into one commit.
const SLICE_BYTES: usize = 4 << 20;

/// Makes a new store.
///
/// # Errors
/// `Exists` if there is a log of another one.
pub(super) fn create(
    files: &Files,
    revision: Revision,
    entries: impl IntoIterator<Item = Entry>,
) -> Result<(), OpenError> {
    let log = files.log_path();
    if files.has_log().map_err(io_error(&log, "open"))? {
        return Err(OpenError::Exists { path: log });
    }
    replace(files, revision, entries, Marks { wal: Some(new_wal()), ..Marks::default() })
}

/// Makes a store under another name first: power lost in the middle would leave a file that redb refuses.
fn replace(
    files: &Files,
    revision: Revision,
    entries: impl IntoIterator<Item = Entry>,
    marks: Marks,
) -> Result<(), OpenError> {
    let path = files.replacement_path();
    let filled = files.replacement().map_err(io_error(&path, "create")).and_then(|bytes| {
        fill(bytes, revision, entries, marks).map_err(|failure| io_error(&path, "write")(failure.into()))
    });
    let replaced = filled.and_then(|()| {
        files.replace().map_err(|replacing| match replacing {
            Replacing::Refused(source) => io_error(files.path(), "create")(source),
            Replacing::Unknown(source) => io_error(parent(files.path()), "sync")(source),
        })
    });
    replaced.inspect_err(|_| files.discard())
}

fn fill(
    bytes: super::bytes::Backend,
    revision: Revision,
    entries: impl IntoIterator<Item = Entry>,
    marks: Marks,
) -> Result<(), Failure> {
    let log = Log::create(bytes, revision, marks.wal.unwrap_or_else(new_wal))?;
    let (mut slice, mut size) = (Vec::new(), 0);
    let write = |slice: &mut Vec<Entry>| {
        let written = log.fill(slice.iter().map(|entry| (entry.modified, &*entry.key, Some(entry))), Marks::default());
        slice.clear();
        written
    };
    for entry in entries {
        debug_assert!(entry.modified <= revision, "the store's revision is the newest");
        size += entry.key.len() + entry.value.len();
        slice.push(entry);
        if size >= SLICE_BYTES {
            write(&mut slice)?;
            size = 0;
        }
    }
    write(&mut slice)?;
    log.fill([], marks)
}
