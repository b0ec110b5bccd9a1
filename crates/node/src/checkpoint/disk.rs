//! Files that are whole or not there, for the owner's eyes only.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the name of a whole file ends with.
pub(super) const SUFFIX: &str = ".json";
/// What the name of a file ends with while it is written.
const PART: &str = ".part";

/// Makes a folder if it is not there, removes what was cut off, and returns the files with their sizes.
pub(super) fn open_folder(path: &Path) -> io::Result<Vec<(String, u64)>> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let mut found = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(PART) {
            fs::remove_file(entry.path())?;
        } else if let Some(key) = name.strip_suffix(SUFFIX) {
            found.push((key.to_owned(), entry.metadata()?.len()));
        }
    }
    Ok(found)
}

/// Reads a file of at most `limit` bytes.
pub(super) fn read(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > limit {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is larger than anything that is kept"));
    }
    Ok(bytes)
}

/// From this many files on, one flush of the whole file system is cheaper than one for each.
const MANY: usize = 16;

/// Writes and removes files. Each is whole or as it was, also if the power fails; when this returns, the disk has them.
pub(super) fn write_all(files: &[(PathBuf, Option<Arc<[u8]>>)]) -> io::Result<()> {
    let part = |path: &Path| path.with_extension("json.part");
    for (path, content) in files {
        let Some(content) = content else { continue };
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(part(path))?;
        file.write_all(content)?;
        if files.len() < MANY {
            file.sync_data()?;
        }
    }
    if let Some(folder) = files.first().and_then(|(path, _)| path.parent())
        && files.len() >= MANY
    {
        rustix::fs::syncfs(File::open(folder)?)?;
    }
    let mut folders = std::collections::BTreeSet::new();
    for (path, content) in files {
        match content {
            Some(_) => fs::rename(part(path), path)?,
            None => remove(path)?,
        }
        folders.extend(path.parent());
    }
    folders.into_iter().try_for_each(|folder| File::open(folder)?.sync_all())
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
