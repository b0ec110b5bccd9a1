//! Layers of a container image onto disk: checked first, then unpacked where no path and no link leads out.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, SeekFrom};
use std::path::{Component, Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, Permissions, PermissionsExt as _};
use flate2::read::MultiGzDecoder;
use sha2::{Digest as _, Sha256};
use tar::{Archive, Entry, EntryType};

use super::digest::Digest;

/// What all layers of an image may have without compression. Interpreters with their libraries have a tenth of it.
const UNPACKED_BYTES_MAX: u64 = 2 << 30;
/// How many files, directories and links one layer may have.
const ENTRIES_MAX: usize = 200_000;
/// Long names and attributes are read into memory.
const EXTENSION_BYTES_MAX: u64 = 1 << 20;
/// A name that begins so removes what lower layers have (OCI image specification, "Whiteouts").
const WHITEOUT: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";

/// One layer on disk.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    /// The file, with its compression.
    pub(super) file: PathBuf,
    /// The digest of the tar within, if the image's config names it.
    pub(super) diff_id: Option<Digest>,
}

/// Unpacks layers, the lowest first, into `root`, which exists and is empty. Returns the layer that cannot be unpacked
/// with the reason why.
pub(super) fn unpack(layers: &[Layer], root: &Path) -> Result<(), (usize, String)> {
    let open = Dir::open_ambient_dir(root, ambient_authority());
    let root = open.map_err(|error| (0, error.to_string()))?;
    let mut budget = UNPACKED_BYTES_MAX;
    for (number, layer) in layers.iter().enumerate() {
        // Twice through: nothing is written of a layer that is not what it says.
        let size = check(layer, budget).map_err(|error| (number, error.to_string()))?;
        budget -= size;
        apply(layer, &root).map_err(|error| (number, error.to_string()))?;
    }
    Ok(())
}

/// Reads a layer to its end, and returns how many bytes it has without compression.
fn check(layer: &Layer, budget: u64) -> io::Result<u64> {
    let mut tar = Measured { inner: decompress(&layer.file)?, left: budget, hasher: Sha256::new() };
    let mut archive = Archive::new(&mut tar);
    for (count, entry) in archive.entries()?.raw(true).enumerate() {
        let header = entry?.header().clone();
        let kind = header.entry_type();
        let is_extension = kind.is_gnu_longname()
            || kind.is_gnu_longlink()
            || kind.is_pax_local_extensions()
            || kind.is_pax_global_extensions();
        if is_extension && header.entry_size()? > EXTENSION_BYTES_MAX {
            return Err(io::Error::other(format!("a name has more than {EXTENSION_BYTES_MAX} bytes")));
        }
        if count >= ENTRIES_MAX {
            return Err(io::Error::other(format!("it has more than {ENTRIES_MAX} files")));
        }
    }
    io::copy(&mut tar, &mut io::sink())?;
    let found = Digest::finish(tar.hasher);
    match &layer.diff_id {
        Some(wanted) if *wanted != found => {
            Err(io::Error::other(format!("without compression its digest is {found} instead of {wanted}")))
        }
        _ => Ok(budget - tar.left),
    }
}

/// A reader that stops at a limit, so that no small file becomes a large one, and takes the digest of what it reads.
struct Measured<R> {
    inner: R,
    left: u64,
    hasher: Sha256,
}

impl<R: Read> Read for Measured<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let Some(left) = self.left.checked_sub(count as u64) else {
            return Err(io::Error::other(format!("the layers unpack to more than {UNPACKED_BYTES_MAX} bytes")));
        };
        self.left = left;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

/// Opens a file, compressed or not: tools are careless with media types, so the first bytes decide.
pub(super) fn decompress(file: &Path) -> io::Result<Box<dyn Read>> {
    let mut file = File::open(file)?;
    let mut magic = [0; 4];
    let mut length = 0;
    while length < magic.len() {
        match file.read(&mut magic[length..])? {
            0 => break,
            count => length += count,
        }
    }
    file.seek(SeekFrom::Start(0))?;
    let file = BufReader::new(file);
    Ok(match magic {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(file)),
        [0x28, 0xb5, 0x2f, 0xfd] => Box::new(
            ruzstd::decoding::StreamingDecoder::new(file).map_err(|error| io::Error::other(error.to_string()))?,
        ),
        _ => Box::new(file),
    })
}

fn apply(layer: &Layer, root: &Dir) -> io::Result<()> {
    let mut archive = Archive::new(decompress(&layer.file)?);
    let mut made: BTreeSet<PathBuf> = BTreeSet::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = inside(&entry.path()?)?;
        let named = |error: io::Error| io::Error::other(format!("{}: {error}", path.display()));
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name == OPAQUE {
            clear(root, path.parent().unwrap_or(Path::new("")), &made).map_err(named)?;
        } else if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            remove(root, &path.with_file_name(hidden)).map_err(named)?;
        } else if !path.as_os_str().is_empty() {
            put(root, &path, &mut entry).map_err(named)?;
            made.insert(path);
        }
    }
    Ok(())
}

/// Makes a path relative to the root; one that climbs is refused.
fn inside(path: &Path) -> io::Result<PathBuf> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => clean.push(part),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(io::Error::other(format!("{} leads out of the image", path.display())));
            }
        }
    }
    Ok(clean)
}

fn put<R: Read>(root: &Dir, path: &Path, entry: &mut Entry<'_, R>) -> io::Result<()> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        root.create_dir_all(parent)?;
    }
    let is_dir = |path: &Path| root.symlink_metadata(path).is_ok_and(|found| found.is_dir());
    let target = || entry.link_name()?.map(Cow::into_owned).ok_or_else(|| io::Error::other("a link to nothing"));
    match entry.header().entry_type() {
        EntryType::Directory if is_dir(path) => {}
        EntryType::Directory => {
            remove(root, path)?;
            root.create_dir(path)?;
        }
        EntryType::Symlink => {
            let target = relative(path, &target()?);
            remove(root, path)?;
            root.symlink(target, path)?;
        }
        EntryType::Link => {
            let target = inside(&target()?)?;
            remove(root, path)?;
            root.hard_link(target, root, path)?;
        }
        kind if kind.is_file() => {
            let is_executable = entry.header().mode()? & 0o111 != 0;
            remove(root, path)?;
            let mut file = root.create(path)?;
            io::copy(entry, &mut file)?;
            file.set_permissions(Permissions::from_mode(if is_executable { 0o755 } else { 0o644 }))?;
        }
        // Devices and pipes mean nothing to a guest.
        _ => {}
    }
    Ok(())
}

/// Removes what is at a path, if anything is.
fn remove(root: &Dir, path: &Path) -> io::Result<()> {
    match root.symlink_metadata(path) {
        Ok(found) if found.is_dir() => root.remove_dir_all(path),
        Ok(_) => root.remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Empties a directory of what lower layers put there.
fn clear(root: &Dir, dir: &Path, made: &BTreeSet<PathBuf>) -> io::Result<()> {
    let names = match if dir.as_os_str().is_empty() { root.entries() } else { root.read_dir(dir) } {
        Ok(entries) => entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    for path in names.into_iter().map(|name| dir.join(name)) {
        let is_ours = made.iter().any(|made| made.starts_with(&path));
        if !is_ours {
            remove(root, &path)?;
        }
    }
    Ok(())
}

/// Writes a link that starts at the image's root as one that a guest can follow: relative.
fn relative(link: &Path, target: &Path) -> PathBuf {
    let Ok(below) = target.strip_prefix("/") else { return target.to_owned() };
    let depth = link.components().count() - 1;
    let up: PathBuf = std::iter::repeat_n("..", depth).collect();
    if below.as_os_str().is_empty() && depth == 0 { PathBuf::from(".") } else { up.join(below) }
}

#[cfg(test)]
#[path = "unpack_tests.rs"]
mod tests;
