//! The ahead-of-time cache on disk: machine code that this node compiled, by digest and compatibility.
//!
//! ```text
//!  <dir>/<compatibility>/<digest>.cwasm   mapped, never changed in place
//!  <dir>/<compatibility>/<digest>.json    what `inspect` found, so that a cached start does not need the wasm, and
//!                                         the checksum of the code: running damaged code would take the node down
//! ```

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tracing::{debug, warn};
use wasmtime::Engine;

use crate::error::Error;
use crate::inspect::Inspection;

/// How much of a file is read at once.
const CHUNK_BYTES: usize = 256 << 10;

/// Compiled code of one engine configuration.
#[derive(Debug)]
pub(crate) struct Cache {
    dir: PathBuf,
    /// Makes names of temporary files unique within the process.
    written: AtomicU64,
}

/// A cached artifact: where its code lies and what it is.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) code: PathBuf,
    pub(crate) inspection: Inspection,
}

/// What is written down about cached code.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    inspection: Inspection,
    /// Of the code, in hexadecimal.
    sha256: String,
}

impl Cache {
    /// Opens the cache of `engine` below `dir`.
    pub(crate) fn open(dir: &Path, engine: &Engine) -> Result<Self, Error> {
        // The hash covers the full wasmtime version (a patch release may fix a miscompilation), target, processor
        // features and settings. A change of the standard library's hash function costs one recompilation.
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let dir = dir.join(format!("{:016x}", hasher.finish()));
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .map_err(|source| Error::Cache { path: dir.clone(), source })?;
        Ok(Self { dir, written: AtomicU64::new(0) })
    }

    /// Whether there is an entry for `digest`, be it damaged.
    pub(crate) fn has(&self, digest: &Digest) -> bool {
        ["json", "cwasm"].iter().all(|extension| self.path(digest, extension).is_file())
    }

    /// Returns what is cached for `digest`. A damaged entry counts as absent.
    pub(crate) fn find(&self, digest: &Digest) -> Option<Entry> {
        let code = self.path(digest, "cwasm");
        let note = fs::read(self.path(digest, "json")).ok()?;
        let verified = serde_json::from_slice::<Note>(&note).map_err(io::Error::from).and_then(|note| {
            let is_whole = checksum(&code)? == note.sha256;
            is_whole.then_some(note.inspection).ok_or_else(|| io::Error::other("its checksum is wrong"))
        });
        match verified {
            Ok(inspection) => Some(Entry { code, inspection }),
            Err(error) => {
                warn!(digest = digest.0, %error, "the cache entry is damaged; it will be compiled again");
                None
            }
        }
    }

    /// Writes compiled code and what is known about it; the entry is found once both are complete.
    pub(crate) fn save(&self, digest: &Digest, code: &[u8], inspection: &Inspection) -> Result<Entry, Error> {
        let path = self.path(digest, "cwasm");
        self.write(&path, code)?;
        let note = Note { inspection: inspection.clone(), sha256: hex::encode(Sha256::digest(code)) };
        let described = serde_json::to_vec(&note).expect("strings and flags serialize");
        self.write(&self.path(digest, "json"), &described)?;
        Ok(Entry { code: path, inspection: inspection.clone() })
    }

    /// Forgets an entry that could not be loaded.
    pub(crate) fn remove(&self, digest: &Digest) {
        for extension in ["json", "cwasm"] {
            let path = self.path(digest, extension);
            if let Err(error) = fs::remove_file(&path) {
                debug!(path = %path.display(), %error, "remove a cache entry");
            }
        }
    }

    /// Removes the code of other digests than `kept`, and that of every other configuration.
    pub(crate) fn retain(&self, kept: &BTreeSet<Digest>) -> Result<(), Error> {
        let names: BTreeSet<String> = kept
            .iter()
            .flat_map(|digest| ["cwasm", "json"].map(|extension| format!("{}.{extension}", digest.0)))
            .collect();
        for path in list(&self.dir)? {
            let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
            // Files under way are renamed or removed by whoever writes them.
            if !names.contains(name) && !name.starts_with('.') {
                removed(&path, fs::remove_file(&path))?;
            }
        }
        let above = self.dir.parent().expect("a generation lies in the cache directory");
        for path in list(above)? {
            if path != self.dir && is_generation(&path) {
                removed(&path, fs::remove_dir_all(&path))?;
            }
        }
        Ok(())
    }

    fn path(&self, digest: &Digest, extension: &str) -> PathBuf {
        self.dir.join(format!("{}.{extension}", digest.0))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let temporary = self.dir.join(format!(".{}-{number}.tmp", std::process::id()));
        let written = write_file(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
        written.map_err(|source| {
            let _ = fs::remove_file(&temporary);
            Error::Cache { path: path.to_owned(), source }
        })
    }
}

/// Whether a directory is ours to remove: named by a hash.
fn is_generation(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) && path.is_dir()
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |source| Error::Cache { path: dir.to_owned(), source };
    let entries = fs::read_dir(dir).map_err(failed)?;
    entries.map(|entry| entry.map(|entry| entry.path()).map_err(failed)).collect()
}

/// Somebody else may have removed it first.
fn removed(path: &Path, result: io::Result<()>) -> Result<(), Error> {
    match result {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::Cache { path: path.to_owned(), source }),
        _ => Ok(()),
    }
}

fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    // Without this a power cut could leave a name that points to zeroes, and the code would be mapped.
    file.sync_all()
}

/// Reads a file once; a gigabyte or two per second.
fn checksum(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hex::encode(hasher.finalize())),
            count => hasher.update(&chunk[..count]),
        }
    }
}

/// A digest as a file name: `sha256:…` with characters that need no escaping.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Digest(String);

impl Digest {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+_-:".contains(&byte);
        let is_digest = !text.is_empty() && text.len() <= 200 && text.bytes().all(is_plain);
        if is_digest { Ok(Self(text.replace(':', "-"))) } else { Err(Error::Digest(text.to_owned())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::Kind;

    #[test]
    fn damaged_code_counts_as_absent() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path(), &Engine::default()).unwrap();
        let digest = Digest::parse("sha256:ab12").unwrap();
        let inspection = Inspection { kind: Kind::Command, is_wasi_0_3: false, imports: vec![], exports: vec![] };
        let entry = cache.save(&digest, b"machine code", &inspection).unwrap();
        assert_eq!(cache.find(&digest).map(|found| found.inspection), Some(inspection));
        for damaged in [&b"machine c0de"[..], b"machine", b""] {
            fs::write(&entry.code, damaged).unwrap();
            assert!(cache.find(&digest).is_none(), "{damaged:?}");
        }
    }

    #[test]
    fn a_digest_cannot_leave_the_directory() {
        assert_eq!(Digest::parse("sha256:ab12").unwrap().0, "sha256-ab12");
        for text in ["", "../x", "a/b", "a.b", "sha256:ab\0", &"a".repeat(201)] {
            assert!(matches!(Digest::parse(text), Err(Error::Digest(_))), "{text:?}");
        }
    }
}
