//! Where the engine's bytes are: a file, the space that is held back for it, and what may take its place.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::bytes::Backend;

/// What is held back, so that a full disk still takes deletions: a commit writes some ten pages of 4 KiB, most of which the
/// next one uses again.
const RESERVE_BYTES_MAX: u64 = 8 << 20;
/// The part of a small disk that is held back.
const RESERVE_PART: u64 = 16;

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
        let directory = File::open(parent(&self.path));
        directory.and_then(|directory| directory.sync_all()).map_err(Replacing::Unknown)
    }

    fn discard(&self) {
        // What is left behind is removed by the next attempt.
        let _ = fs::remove_file(self.replacement_path());
    }

    fn reserve(&self) -> io::Result<()> {
        let path = self.reserve_path();
        let disk = statvfs(parent(&self.path))?;
        let bytes = (disk.f_blocks * disk.f_frsize / RESERVE_PART).min(RESERVE_BYTES_MAX);
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
