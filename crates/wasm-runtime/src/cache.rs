//! The ahead-of-time cache on disk: machine code that this node compiled, by digest and compatibility.
//!
//! ```text
//!  <dir>/<compatibility>/<digest>.cwasm   mapped, never changed in place
//!  <dir>/<compatibility>/<digest>.json    what `inspect` found, so that a cached start does not need the wasm, and a
//!                                         code (MAC) over both: running damaged code would take the node down
//!  <dir>/key                              what the codes are made with, 0600: a file that somebody else put here, be it
//!                                         whole and of the right version, is not this node's and is not loaded
//! ```

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};
use tracing::{debug, warn};
use wasmtime::Engine;

use crate::bulk;
use crate::error::Error;
use crate::inspect::Inspection;

/// How much of a file is read at once.
const CHUNK_BYTES: usize = 256 << 10;
/// As long as the hash that the code is made with.
const KEY_BYTES: usize = 32;

/// Compiled code of one engine configuration.
#[derive(Debug)]
pub(crate) struct Cache {
    dir: PathBuf,
    key: hmac::Key,
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
    /// Over digest, inspection and machine code, in hexadecimal.
    mac: String,
}

impl Cache {
    /// Opens the cache of `engine` below `dir`.
    pub(crate) fn open(dir: &Path, engine: &Engine) -> Result<Self, Error> {
        // The hash covers the full wasmtime version (a patch release may fix a miscompilation), target, processor
        // features and settings; ours covers what `bulk` made of the module. A change of the standard library's hash
        // function costs one recompilation.
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        bulk::VERSION.hash(&mut hasher);
        let generation = dir.join(format!("{:016x}", hasher.finish()));
        let failed = |path: &Path| {
            let path = path.to_owned();
            |source| Error::Cache { path, source }
        };
        DirBuilder::new().recursive(true).mode(0o700).create(&generation).map_err(failed(&generation))?;
        // It may have been made by hand: nobody else may swap files between their check and their use.
        for private in [dir, &generation] {
            fs::set_permissions(private, fs::Permissions::from_mode(0o700)).map_err(failed(private))?;
        }
        let key = key(dir).map_err(failed(&dir.join(KEY_FILE)))?;
        Ok(Self { dir: generation, key, written: AtomicU64::new(0) })
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
            let file = File::open(&code)?;
            let is_ours = self.mac(digest, &note.inspection, file)? == note.mac;
            is_ours.then_some(note.inspection).ok_or_else(|| io::Error::other("it is damaged, or not of this node"))
        });
        match verified {
            Ok(inspection) => Some(Entry { code, inspection }),
            Err(error) => {
                warn!(digest = digest.0, %error, "a cache entry is not used; it will be compiled again");
                None
            }
        }
    }

    /// Writes compiled code and what is known about it; the entry is found once both are complete.
    pub(crate) fn save(&self, digest: &Digest, code: &[u8], inspection: &Inspection) -> Result<Entry, Error> {
        let path = self.path(digest, "cwasm");
        self.write(&path, code)?;
        let mac = self.mac(digest, inspection, code);
        let mac = mac.map_err(|source| Error::Cache { path: path.clone(), source })?;
        let note = Note { inspection: inspection.clone(), mac };
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

    /// Reads the code once; a gigabyte or two per second.
    fn mac(&self, digest: &Digest, inspection: &Inspection, mut code: impl Read) -> io::Result<String> {
        let mut context = hmac::Context::with_key(&self.key);
        let described = serde_json::to_vec(inspection).expect("strings and flags serialize");
        // Lengths first, so that no part can pass for the beginning of the next.
        for part in [digest.0.as_bytes(), &described] {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match code.read(&mut chunk)? {
                0 => return Ok(hex::encode(context.sign())),
                count => context.update(&chunk[..count]),
            }
        }
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

/// The file with the key.
const KEY_FILE: &str = "key";

/// Returns the node's own key, made at the first start. A file of another length, or that others may read, is replaced:
/// what was made with it is compiled again.
fn key(dir: &Path) -> io::Result<hmac::Key> {
    let path = dir.join(KEY_FILE);
    let is_private = |path: &Path| {
        fs::symlink_metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode().trailing_zeros() >= 6)
    };
    if let Ok(bytes) = fs::read(&path)
        && bytes.len() == KEY_BYTES
        && is_private(&path)
    {
        return Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes));
    }
    let mut bytes = [0; KEY_BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("no randomness"))?;
    let temporary = dir.join(format!(".{}-key.tmp", std::process::id()));
    gone(fs::remove_file(&temporary))?;
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(&bytes).and_then(|()| file.sync_all())?;
    fs::rename(&temporary, &path)?;
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
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

    fn saved(dir: &Path) -> (Cache, Digest, Inspection, Entry) {
        let cache = Cache::open(dir, &Engine::default()).unwrap();
        let digest = Digest::parse("sha256:ab12").unwrap();
        let inspection = Inspection { kind: Kind::Command, is_wasi_0_3: false, imports: vec![], exports: vec![] };
        let entry = cache.save(&digest, b"machine code", &inspection).unwrap();
        (cache, digest, inspection, entry)
    }

    #[test]
    fn what_this_node_made_is_good_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let (_, digest, inspection, _) = saved(dir.path());
        let again = Cache::open(dir.path(), &Engine::default()).unwrap();
        assert_eq!(again.find(&digest).map(|found| found.inspection), Some(inspection));
    }

    #[test]
    fn what_another_node_made_is_not_loaded() {
        let (theirs, ours) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (their_cache, digest, ..) = saved(theirs.path());
        let our_cache = Cache::open(ours.path(), &Engine::default()).unwrap();
        for extension in ["cwasm", "json"] {
            fs::copy(their_cache.path(&digest, extension), our_cache.path(&digest, extension)).unwrap();
        }
        assert!(their_cache.find(&digest).is_some() && our_cache.find(&digest).is_none());
    }

    #[test]
    fn an_entry_does_not_pass_for_another_digest_or_another_kind() {
        let dir = tempfile::tempdir().unwrap();
        let (cache, digest, ..) = saved(dir.path());
        let other = Digest::parse("sha256:cd34").unwrap();
        for extension in ["cwasm", "json"] {
            fs::copy(cache.path(&digest, extension), cache.path(&other, extension)).unwrap();
        }
        assert!(cache.find(&other).is_none());
        let note = fs::read_to_string(cache.path(&digest, "json")).unwrap();
        fs::write(cache.path(&digest, "json"), note.replace("Command", "Module")).unwrap();
        assert!(cache.find(&digest).is_none());
    }

    #[test]
    fn the_key_and_its_folder_are_private_and_a_key_that_was_not_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let (_, digest, ..) = saved(dir.path());
        let key = dir.path().join(KEY_FILE);
        assert_eq!((mode(&key), mode(dir.path())), (0o600, 0o700));
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let again = Cache::open(dir.path(), &Engine::default()).unwrap();
        assert!(again.find(&digest).is_none());
        assert_eq!((mode(&key), mode(dir.path())), (0o600, 0o700));
    }

    #[test]
    fn a_digest_cannot_leave_the_directory() {
        assert_eq!(Digest::parse("sha256:ab12").unwrap().0, "sha256-ab12");
        for text in ["", "../x", "a/b", "a.b", "sha256:ab\0", &"a".repeat(201)] {
            assert!(matches!(Digest::parse(text), Err(Error::Digest(_))), "{text:?}");
        }
    }
}
