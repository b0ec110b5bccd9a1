//! Pulled images on disk, so that a start touches no registry. Several processes may use one directory: files appear and
//! vanish as a whole, and whoever removes images holds a lock that those who add some share.
//!
//! ```text
//!  <dir>/blobs/sha256/<hex>   modules, layers and documents, by the digest of their bytes
//!  <dir>/images/<hex>         what there is of an image, by the digest that pins it: JSON
//!  <dir>/images/tag-<hash>    which image a name led to last: JSON
//!  <dir>/roots/<hex>          the unpacked layers of a container image, by the digest of its manifest
//!  <dir>/partial/             blobs on their way
//! ```

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::image::{Image, Stored};
use super::reference::Reference;

/// A directory of pulled images.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
    /// Makes names of temporary files unique within the process.
    written: Arc<AtomicU64>,
}

/// Keeps what is being added from being removed; given back when dropped.
#[derive(Debug)]
#[must_use = "what is added may be removed as soon as this is dropped"]
pub struct Adding {
    _lock: File,
}

/// What a name leads to.
#[derive(Debug, Serialize, Deserialize)]
struct Name {
    #[serde(default)]
    name: String,
    digest: Digest,
}

impl Store {
    /// Opens the store in `dir`, which is created if need be.
    ///
    /// # Errors
    /// Fails if the directories cannot be made.
    pub fn open(dir: impl Into<PathBuf>) -> io::Result<Self> {
        let store = Self { dir: dir.into(), written: Arc::default() };
        for part in [store.blobs(), store.images(), store.roots(), store.partial()] {
            fs::create_dir_all(part)?;
        }
        store.sweep()?;
        Ok(store)
    }

    /// Returns the directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Waits for those who remove images, and keeps them away.
    ///
    /// # Errors
    /// Fails if the lock cannot be opened.
    pub fn adding(&self) -> io::Result<Adding> {
        let lock = self.lock()?;
        lock.lock_shared()?;
        Ok(Adding { _lock: lock })
    }

    /// Returns the image that `reference` led to when it was last saved. A pinned one is found wherever it came from.
    pub fn find(&self, reference: &Reference) -> Option<Image> {
        let digest = if let Some(digest) = reference.digest() {
            digest.clone()
        } else {
            let entry = fs::read(self.entry_of_name(reference)).ok()?;
            serde_json::from_slice::<Name>(&entry).ok()?.digest
        };
        let image = self.image(&digest)?;
        self.is_whole(&image).then_some(image)
    }

    fn image(&self, digest: &Digest) -> Option<Image> {
        serde_json::from_slice::<Stored>(&fs::read(self.entry_of_digest(digest)).ok()?).ok().map(Image::from)
    }

    fn is_whole(&self, image: &Image) -> bool {
        let has = |digest: &Digest, size| fs::metadata(self.blob(digest)).is_ok_and(|blob| blob.len() == size);
        let has_root = image.root.as_ref().is_none_or(|root| self.root(root).is_dir());
        has_root && image.modules.iter().all(|module| has(&module.digest, module.size))
    }

    /// Returns the bytes of a blob, verified.
    ///
    /// # Errors
    /// A blob that was damaged on disk is removed, and counts as not found.
    pub fn read(&self, digest: &Digest) -> io::Result<Bytes> {
        let path = self.blob(digest);
        let bytes = fs::read(&path)?;
        if digest.matches(&bytes) {
            return Ok(bytes.into());
        }
        fs::remove_file(&path)?;
        Err(io::Error::new(io::ErrorKind::NotFound, format!("{digest} was damaged on disk; it has been removed")))
    }

    /// Reports whether there is a blob of this size. Its bytes are verified when they are used.
    pub fn has(&self, digest: &Digest, size: u64) -> bool {
        fs::metadata(self.blob(digest)).is_ok_and(|blob| blob.len() == size)
    }

    /// Keeps a small blob.
    ///
    /// # Errors
    /// Fails if it cannot be written.
    pub fn put(&self, bytes: &[u8]) -> io::Result<Digest> {
        let digest = Digest::of(bytes);
        self.write(&self.blob(&digest), bytes)?;
        Ok(digest)
    }

    /// Keeps an image whose blobs are here, under the name that it was pulled by.
    ///
    /// # Errors
    /// Fails if a file cannot be written; what was there before is untouched then.
    pub fn save(&self, reference: &Reference, image: &Image) -> io::Result<()> {
        let described = serde_json::to_vec(image).expect("digests and strings serialize");
        self.write(&self.entry_of_digest(&image.digest), &described)?;
        if reference.digest().is_none() {
            let name = Name { name: full_name(reference), digest: image.digest.clone() };
            let named = serde_json::to_vec(&name).expect("digests and strings serialize");
            self.write(&self.entry_of_name(reference), &named)?;
        }
        Ok(())
    }

    /// Lists the images with their names, and when they were saved; in the order of their digests.
    ///
    /// # Errors
    /// Fails if the directory cannot be read.
    pub fn list(&self) -> io::Result<Vec<Listed>> {
        let mut names: Vec<Name> = Vec::new();
        let mut listed: Vec<Listed> = Vec::new();
        for entry in fs::read_dir(self.images())? {
            let entry = entry?;
            let Ok(bytes) = fs::read(entry.path()) else { continue };
            if entry.file_name().to_string_lossy().starts_with("tag-") {
                names.extend(serde_json::from_slice::<Name>(&bytes).ok().filter(|name| !name.name.is_empty()));
            } else if let Ok(stored) = serde_json::from_slice::<Stored>(&bytes) {
                let saved_at = entry.metadata().and_then(|metadata| metadata.modified());
                let saved_at = saved_at.unwrap_or(SystemTime::UNIX_EPOCH);
                listed.push(Listed { image: stored.into(), names: Vec::new(), saved_at });
            }
        }
        listed.sort_by(|a, b| a.image.digest.cmp(&b.image.digest));
        for image in &mut listed {
            let own = names.iter().filter(|name| name.digest == image.image.digest).map(|name| name.name.clone());
            image.names = own.collect::<BTreeSet<_>>().into_iter().collect();
        }
        Ok(listed)
    }

    /// Takes a name from an image. Without names it is still found by its digest.
    ///
    /// # Errors
    /// Fails if the name is not known.
    pub fn untag(&self, reference: &Reference) -> io::Result<()> {
        fs::remove_file(self.entry_of_name(reference))
    }

    /// Removes an image with its names, its files, and the blobs that no other image has. Does nothing, and says so,
    /// while an image is being added.
    ///
    /// # Errors
    /// Fails if a file cannot be removed.
    pub fn remove(&self, digest: &Digest) -> io::Result<Removal> {
        let lock = self.lock()?;
        if lock.try_lock().is_err() {
            return Ok(Removal::Busy);
        }
        let all = self.list()?;
        let Some(image) = all.iter().find(|listed| listed.image.digest == *digest) else { return Ok(Removal::Gone) };
        // Names first: nothing may be found that is not whole.
        for name in &image.names {
            if let Ok(reference) = name.parse() {
                gone(self.untag(&reference))?;
            }
        }
        gone(fs::remove_file(self.entry_of_digest(digest)))?;
        let others = || all.iter().map(|listed| &listed.image).filter(|other| other.digest != *digest);
        if let Some(root) =
            image.image.root.as_ref().filter(|root| others().all(|other| other.root.as_ref() != Some(root)))
        {
            gone(fs::remove_dir_all(self.root(root)))?;
        }
        let kept: BTreeSet<&Digest> = others().flat_map(Image::blobs).collect();
        for blob in image.image.blobs().filter(|blob| !kept.contains(blob)) {
            gone(fs::remove_file(self.blob(blob)))?;
        }
        Ok(Removal::Done)
    }

    /// Returns where the unpacked files of an image are.
    pub fn root(&self, manifest: &Digest) -> PathBuf {
        self.roots().join(manifest.hex())
    }

    /// Returns a place for something on its way: a file or directory that does not exist.
    pub(super) fn temporary(&self) -> PathBuf {
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        self.partial().join(format!("{}-{number}", std::process::id()))
    }

    /// Returns where a blob is, or would be.
    pub(super) fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    fn blobs(&self) -> PathBuf {
        self.dir.join("blobs").join("sha256")
    }

    fn images(&self) -> PathBuf {
        self.dir.join("images")
    }

    /// Returns where the unpacked files of all images are.
    pub fn roots(&self) -> PathBuf {
        self.dir.join("roots")
    }

    fn partial(&self) -> PathBuf {
        self.dir.join("partial")
    }

    /// Removes what an agent left that was killed while it pulled.
    fn sweep(&self) -> io::Result<()> {
        let lock = self.lock()?;
        if lock.try_lock().is_err() {
            return Ok(());
        }
        for entry in fs::read_dir(self.partial())? {
            let path = entry?.path();
            let is_dir = fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir());
            gone(if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) })?;
        }
        Ok(())
    }

    fn lock(&self) -> io::Result<File> {
        File::options().create(true).truncate(false).write(true).open(self.dir.join("lock"))
    }

    fn entry_of_digest(&self, digest: &Digest) -> PathBuf {
        self.images().join(digest.hex())
    }

    /// Names have slashes and colons: their digest makes a file name.
    fn entry_of_name(&self, reference: &Reference) -> PathBuf {
        let host = reference.host().unwrap_or_default();
        let name = format!("{host}/{}:{}", reference.name(), reference.version());
        self.images().join(format!("tag-{}", Digest::of(name.as_bytes()).hex()))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let temporary = self.temporary();
        let mut file = File::create(&temporary)?;
        let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&temporary, path));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written
    }
}

/// What became of a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// It is removed.
    Done,
    /// There is no such image.
    Gone,
    /// An image is being added; try again later.
    Busy,
}

/// An image in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// What there is of it.
    pub image: Image,
    /// Its names, with tags.
    pub names: Vec<String>,
    /// When it was saved last.
    pub saved_at: SystemTime,
}

/// Writes a name with the tag that it stands for.
fn full_name(reference: &Reference) -> String {
    let host = reference.host().map(|host| format!("{host}/")).unwrap_or_default();
    format!("{host}{}:{}", reference.name(), reference.version())
}

/// Somebody else may have removed it first.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
