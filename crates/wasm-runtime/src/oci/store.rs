//! Pulled modules on disk, so that a start touches no registry.
//!
//! ```text
//!  <dir>/blobs/sha256/<hex>   modules, by the digest of their bytes
//!  <dir>/images/<hex>         what an image's digest, or a tag's name, leads to: JSON
//! ```

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::puller::Pulled;
use super::reference::Reference;

/// A directory of pulled images.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    written: AtomicU64,
}

/// An image that the store has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// What the image is pinned by.
    pub digest: Digest,
    /// The digest of its module.
    pub module: Digest,
    /// How many bytes the module has.
    pub size: u64,
}

impl Store {
    /// Opens the store in `dir`, which is created if need be.
    ///
    /// # Errors
    /// Fails if the directories cannot be made.
    pub fn open(dir: impl Into<PathBuf>) -> io::Result<Self> {
        let store = Self { dir: dir.into(), written: AtomicU64::new(0) };
        fs::create_dir_all(store.blobs())?;
        fs::create_dir_all(store.images())?;
        Ok(store)
    }

    /// Returns the image that `reference` led to when it was last saved. A pinned one is found wherever it came from.
    pub fn find(&self, reference: &Reference) -> Option<Image> {
        let entry = match reference.digest() {
            Some(digest) => self.entry_of_digest(digest),
            None => self.entry_of_name(reference),
        };
        let image: Image = serde_json::from_slice(&fs::read(entry).ok()?).ok()?;
        let blob = fs::metadata(self.blob(&image.module)).ok()?;
        (blob.len() == image.size).then_some(image)
    }

    /// Returns the bytes of a module, verified.
    ///
    /// # Errors
    /// A module that was damaged on disk is removed, and counts as not found.
    pub fn read(&self, module: &Digest) -> io::Result<Bytes> {
        let path = self.blob(module);
        let bytes = fs::read(&path)?;
        if module.matches(&bytes) {
            return Ok(bytes.into());
        }
        fs::remove_file(&path)?;
        Err(io::Error::new(io::ErrorKind::NotFound, format!("{module} was damaged on disk; it has been removed")))
    }

    /// Keeps a pulled image under the name it was pulled by.
    ///
    /// # Errors
    /// Fails if a file cannot be written; what was there before is untouched then.
    pub fn save(&self, reference: &Reference, pulled: &Pulled) -> io::Result<Image> {
        let image =
            Image { digest: pulled.digest.clone(), module: pulled.module.clone(), size: pulled.wasm.len() as u64 };
        let described = serde_json::to_vec(&image).expect("digests serialize");
        // The module first: an entry must never lead nowhere.
        self.write(&self.blob(&image.module), &pulled.wasm)?;
        self.write(&self.entry_of_digest(&image.digest), &described)?;
        if reference.digest().is_none() {
            self.write(&self.entry_of_name(reference), &described)?;
        }
        Ok(image)
    }

    /// Lists the modules on disk.
    ///
    /// # Errors
    /// Fails if the directory cannot be read.
    pub fn modules(&self) -> io::Result<Vec<Digest>> {
        let mut modules = Vec::new();
        for entry in fs::read_dir(self.blobs())? {
            let name = entry?.file_name();
            modules.extend(name.to_str().and_then(|hex| format!("sha256:{hex}").parse().ok()));
        }
        modules.sort();
        Ok(modules)
    }

    /// Removes a module; images that lead to it are no longer found.
    ///
    /// # Errors
    /// Fails if there is no such module.
    pub fn remove(&self, module: &Digest) -> io::Result<()> {
        fs::remove_file(self.blob(module))
    }

    fn blobs(&self) -> PathBuf {
        self.dir.join("blobs").join("sha256")
    }

    fn images(&self) -> PathBuf {
        self.dir.join("images")
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
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
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let temporary = self.dir.join(format!(".{}-{number}.tmp", std::process::id()));
        let mut file = fs::File::create(&temporary)?;
        let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&temporary, path));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(text: &str) -> Reference {
        text.parse().unwrap()
    }

    fn pulled(wasm: &'static [u8]) -> Pulled {
        let manifest = Digest::of(&[b"manifest of ", wasm].concat());
        Pulled { digest: manifest, module: Digest::of(wasm), wasm: Bytes::from_static(wasm) }
    }

    #[test]
    fn what_was_saved_is_found_by_name_and_by_digest_after_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let image = Store::open(dir.path()).unwrap().save(&reference("host.io/a/b:v1"), &pulled(b"one")).unwrap();
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.find(&reference("host.io/a/b:v1")), Some(image.clone()));
        assert_eq!(store.find(&reference("elsewhere").pinned(image.digest.clone())), Some(image.clone()));
        assert_eq!(&store.read(&image.module).unwrap()[..], b"one");
        for other in ["host.io/a/b:v2", "a/b:v1", "host.io/a/b"] {
            assert_eq!(store.find(&reference(other)), None, "{other}");
        }
    }

    #[test]
    fn a_tag_follows_what_was_saved_last() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let first = store.save(&reference("app"), &pulled(b"one")).unwrap();
        let second = store.save(&reference("app:latest"), &pulled(b"two")).unwrap();
        assert_eq!(store.find(&reference("app")), Some(second));
        assert_eq!(store.find(&reference("app").pinned(first.digest.clone())), Some(first));
    }

    #[test]
    fn damaged_modules_are_not_served() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let image = store.save(&reference("app"), &pulled(b"good")).unwrap();
        fs::write(store.blob(&image.module), b"evil").unwrap();
        assert_eq!(store.read(&image.module).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(store.find(&reference("app")), None);
    }

    #[test]
    fn a_removed_module_takes_its_images_along() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let image = store.save(&reference("app"), &pulled(b"one")).unwrap();
        assert_eq!(store.modules().unwrap(), std::slice::from_ref(&image.module));
        store.remove(&image.module).unwrap();
        assert_eq!(store.find(&reference("app")), None);
        assert!(store.modules().unwrap().is_empty());
    }
}
