//! Where the engine's bytes are: a file, its log, the space that is held back for both, and what may take the file's place.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use redb::backends::FileBackend;
use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::bytes::Backend;
use super::wal::Sizes;

/// What is held back, so that a full disk still takes what has been acknowledged and is only in the log yet, and deletions: a
/// commit writes some ten pages of 4 KiB, most of which the next one uses again.
const RESERVE_BYTES_MAX: u64 = 40 << 20;
/// The part of a small disk that is held back.
const RESERVE_PART: u64 = 16;
/// The part of that which may be in the log and not in the database, where it takes up to twice as much.
const BACKLOG_PART: u64 = 4;
const BACKLOG_BYTES_MAX: u64 = 16 << 20;
const SEGMENT_BYTES_MAX: u64 = 4 << 20;
const SEGMENT_BYTES_MIN: u64 = 64 << 10;
/// How long a commit is only in the log at most. A restart reads it again, so this is not about safety.
const APPLIED_EVERY: Duration = Duration::from_millis(200);

/// A place for one store. The file is replaced as a whole or not at all.
pub(super) trait Disk: fmt::Debug + Send + Sync {
    /// Opens the bytes of the store.
    fn open(&self) -> io::Result<Backend>;

    /// Makes empty bytes that may take the place of the store's; those of an earlier attempt are gone.
    fn replacement(&self) -> io::Result<Backend>;

    /// Puts the replacement in the place of the store, durably.
    fn replace(&self) -> Result<(), Replacing>;

    /// Removes a replacement that is not wanted any more.
    fn discard(&self);

    /// Holds back some space, unless it is held back already.
    fn reserve(&self) -> io::Result<()>;

    /// Lets the space go.
    fn release(&self);

    /// Returns how many bytes the store occupies.
    fn size(&self) -> u64;

    /// Returns how large the log is to be.
    fn sizes(&self) -> Sizes;

    /// Reads all segments of the log, by their names.
    fn read_log(&self) -> io::Result<Vec<(u64, Vec<u8>)>>;

    /// Opens a segment.
    fn segment(&self, name: u64) -> io::Result<Backend>;

    /// Makes a segment full of zeros, durably. If that fails, there is none.
    fn make_segment(&self, name: u64, bytes: u64) -> io::Result<Backend>;

    /// Removes all segments, durably.
    fn clear_log(&self) -> io::Result<()>;
}

/// Why the store was not replaced.
#[derive(Debug)]
pub(super) enum Replacing {
    /// Everything is as before.
    Refused(io::Error),
    /// Nobody knows which of the two will be there after a power cut.
    Unknown(io::Error),
}

/// Files beside each other in one directory.
#[derive(Debug, Clone)]
pub(super) struct Files {
    path: PathBuf,
}

impl Files {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the path of what may take the store's place.
    pub(super) fn replacement_path(&self) -> PathBuf {
        sibling(&self.path, "new")
    }

    /// Returns the path of the file whose only purpose is its size.
    pub(super) fn reserve_path(&self) -> PathBuf {
        sibling(&self.path, "reserve")
    }

    /// Returns the directory of the write-ahead log.
    pub(super) fn log_path(&self) -> PathBuf {
        self.path.with_extension("wal")
    }

    /// Tells if there is anything in the log.
    pub(super) fn has_log(&self) -> io::Result<bool> {
        Ok(!self.segments()?.is_empty())
    }

    fn segments(&self) -> io::Result<Vec<(u64, PathBuf)>> {
        let entries = match fs::read_dir(self.log_path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        let named = |path: PathBuf| Some((path.file_stem()?.to_str()?.parse().ok()?, path));
        let mut segments: Vec<(u64, PathBuf)> = paths
            .into_iter()
            .filter(|path| path.extension().is_some_and(|end| end == "wal"))
            .filter_map(named)
            .collect();
        segments.sort_unstable();
        Ok(segments)
    }

    fn segment_path(&self, name: u64) -> PathBuf {
        self.log_path().join(format!("{name:08}.wal"))
    }

    /// Returns what is to be held back.
    fn reserve_bytes(&self) -> io::Result<u64> {
        let disk = statvfs(parent(&self.path))?;
        Ok((disk.f_blocks * disk.f_frsize / RESERVE_PART).min(RESERVE_BYTES_MAX))
    }

    /// Opens the bytes of the store so that they cannot be written.
    pub(super) fn open_to_read(&self) -> io::Result<Backend> {
        backend(File::open(&self.path)?)
    }
}

impl Disk for Files {
    fn open(&self) -> io::Result<Backend> {
        backend(OpenOptions::new().read(true).write(true).open(&self.path)?)
    }

    fn replacement(&self) -> io::Result<Backend> {
        let path = self.replacement_path();
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        backend(private_file(&path)?)
    }

    fn replace(&self) -> Result<(), Replacing> {
        fs::rename(self.replacement_path(), &self.path).map_err(Replacing::Refused)?;
        sync_directory(parent(&self.path)).map_err(Replacing::Unknown)
    }

    fn discard(&self) {
        // What is left behind is removed by the next attempt.
        let _ = fs::remove_file(self.replacement_path());
    }

    fn reserve(&self) -> io::Result<()> {
        let path = self.reserve_path();
        let bytes = self.reserve_bytes()?;
        if fs::metadata(&path).is_ok_and(|found| found.len() >= bytes) {
            return Ok(());
        }
        let held = private_file(&path).and_then(|file| hold(&file, bytes));
        held.inspect_err(|_| self.release())
    }

    fn release(&self) {
        // If it cannot be removed, it is missing where it was to help; the next write says so.
        let _ = fs::remove_file(self.reserve_path());
    }

    fn size(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |metadata| metadata.len())
    }

    fn sizes(&self) -> Sizes {
        let backlog = (self.reserve_bytes().unwrap_or(RESERVE_BYTES_MAX) / BACKLOG_PART).min(BACKLOG_BYTES_MAX);
        let segment = (backlog / 4).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
        let small = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let (applied_at_once, backlog) = (small(segment), small(backlog));
        Sizes { segment, applied_at_once, backlog, every: APPLIED_EVERY }
    }

    fn read_log(&self) -> io::Result<Vec<(u64, Vec<u8>)>> {
        self.segments()?.into_iter().map(|(name, path)| Ok((name, fs::read(path)?))).collect()
    }

    fn segment(&self, name: u64) -> io::Result<Backend> {
        backend(OpenOptions::new().read(true).write(true).open(self.segment_path(name))?)
    }

    fn make_segment(&self, name: u64, bytes: u64) -> io::Result<Backend> {
        let (directory, path) = (self.log_path(), self.segment_path(name));
        private_directory(&directory)?;
        let made = private_file(&path).and_then(|file| {
            // Real zeros: what is only reserved would have to be marked as written with each sync.
            io::copy(&mut io::Read::take(io::repeat(0), bytes), &mut &file)?;
            file.sync_all()?;
            sync_directory(&directory)?;
            backend(file)
        });
        made.inspect_err(|_| drop(fs::remove_file(&path)))
    }

    fn clear_log(&self) -> io::Result<()> {
        let segments = self.segments()?;
        for (_, path) in &segments {
            fs::remove_file(path)?;
        }
        if segments.is_empty() { Ok(()) } else { sync_directory(&self.log_path()) }
    }
}

/// Makes a directory that only its owner may read, durably, unless it is there.
fn private_directory(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Ok(()) => sync_directory(parent(path)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Makes `file` occupy space.
fn hold(file: &File, bytes: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, bytes) {
        // Some file systems cannot; zeros occupy space on nearly all of them.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
            io::copy(&mut io::Read::take(io::repeat(0), bytes), &mut &*file).map(drop)
        }
        held => Ok(held?),
    }
}

fn backend(file: File) -> io::Result<Backend> {
    let backend = FileBackend::new(file).map_err(io::Error::other)?;
    Ok(Box::new(backend))
}

/// Opens or creates a file that only its owner may read: the store holds Secrets.
pub(super) fn private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Returns the directory of a file.
pub(super) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Returns the path of a companion of a file.
pub(super) fn sibling(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}
