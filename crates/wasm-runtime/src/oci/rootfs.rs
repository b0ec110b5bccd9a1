//! The file system of a container image in the store: unpacked as a whole or not at all, and what of it can be run.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use wasmparser::Parser;

use super::digest::Digest;
use super::image::Module;
use super::store::Store;
use super::unpack::{self, Layer};
use crate::inspect::MODULE_BYTES_MAX;

/// How many modules of an image can be run by name; programs link their libraries, so there are few.
const MODULES_MAX: usize = 500;

/// Why layers are not on disk.
pub(super) enum Failure {
    /// This layer cannot be unpacked, and why.
    Layer(usize, String),
    /// The disk does not take them.
    Disk(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

/// Unpacks the layers of the image whose manifest has this digest. Returns the modules in it, in the order of their paths.
pub(super) fn lay_out(store: &Store, layers: &[Layer], manifest: &Digest) -> Result<Vec<Module>, Failure> {
    let (work, root) = (store.temporary(), store.root(manifest));
    fs::create_dir_all(&work)?;
    let unpacked = unpack::unpack(layers, &work).map_err(|(layer, reason)| Failure::Layer(layer, reason));
    let placed = unpacked.and_then(|()| {
        // Of an earlier attempt that was cut off before the image was saved.
        let _ = fs::remove_dir_all(&root);
        Ok(fs::rename(&work, &root)?)
    });
    if let Err(failure) = placed {
        let _ = fs::remove_dir_all(&work);
        return Err(failure);
    }
    let mut found = Vec::new();
    find_modules(&root, &root, &mut found)?;
    found.sort();
    let keep = |(path, file): (String, PathBuf)| {
        let bytes = fs::read(file)?;
        Ok(Module { path: Some(path), digest: store.put(&bytes)?, size: bytes.len() as u64 })
    };
    found.into_iter().map(keep).collect()
}

/// Finds every file that begins like a module. Links are not followed: what they lead to is found by itself.
fn find_modules(root: &Path, dir: &Path, found: &mut Vec<(String, PathBuf)>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            find_modules(root, &path, found)?;
        } else if kind.is_file() && found.len() < MODULES_MAX && is_module(&path)? {
            let inside = path.strip_prefix(root).unwrap_or(&path);
            found.push((format!("/{}", inside.display()), path));
        }
    }
    Ok(())
}

fn is_module(path: &Path) -> io::Result<bool> {
    let mut head = Vec::with_capacity(8);
    let file = File::open(path)?;
    let is_small_enough = file.metadata()?.len() <= MODULE_BYTES_MAX as u64;
    file.take(8).read_to_end(&mut head)?;
    Ok(is_small_enough && (Parser::is_core_wasm(&head) || Parser::is_component(&head)))
}
