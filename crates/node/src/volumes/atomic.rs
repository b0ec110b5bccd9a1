//! Puts a payload onto the disk so that readers see all of the old or all of the new (`volume/util/atomic_writer.go`):
//!
//! ```text
//!  volume/..<n>/key      the files of one generation
//!  volume/..data         a symlink to the current generation; renaming a new one over it is the switch
//!  volume/key            a symlink to ..data/key, made once
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use super::payload::Payload;

const CURRENT: &str = "..data";
const NEXT: &str = "..data_tmp";

/// Makes `dir` hold `payload`. Does nothing if it does already.
///
/// # Errors
/// If the disk refuses; the old content is still whole then.
pub fn write(dir: &Path, payload: &Payload) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let old = fs::read_link(dir.join(CURRENT)).ok();
    if let Some(old) = &old
        && holds(&dir.join(old), payload)?
    {
        return Ok(());
    }
    let generation =
        old.as_deref().and_then(Path::to_str).and_then(|name| name.strip_prefix("..")?.parse::<u64>().ok());
    let name = format!("..{}", generation.map_or(1, |generation| generation + 1));
    let new = dir.join(&name);
    // Left over from a try that was cut off.
    remove(&new)?;
    fs::create_dir(&new)?;
    for (path, file) in payload {
        let path = new.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, &file.bytes)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(file.mode))?;
    }
    remove(&dir.join(NEXT))?;
    symlink(&name, dir.join(NEXT))?;
    fs::rename(dir.join(NEXT), dir.join(CURRENT))?;
    link_names(dir, payload)?;
    match old {
        Some(old) => remove(&dir.join(old)),
        None => Ok(()),
    }
}

/// Makes the links that guests open, and takes out those of files that are gone.
fn link_names(dir: &Path, payload: &Payload) -> io::Result<()> {
    let names: BTreeSet<&str> = payload.keys().filter_map(|path| path.split('/').next()).collect();
    for name in &names {
        let link = dir.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(CURRENT).join(name), &link)?;
        }
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let file_name = entry.file_name();
        let name = file_name.to_string_lossy();
        if !name.starts_with("..") && !names.contains(name.as_ref()) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

fn holds(dir: &Path, payload: &Payload) -> io::Result<bool> {
    let mut found = 0;
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        let Ok(entries) = fs::read_dir(&next) else { return Ok(false) };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                dirs.push(entry.path());
                continue;
            }
            found += 1;
            let path = entry.path();
            let relative = path.strip_prefix(dir).ok().and_then(Path::to_str);
            let Some(file) = relative.and_then(|relative| payload.get(relative)) else { return Ok(false) };
            if entry.metadata()?.permissions().mode() & 0o777 != file.mode & 0o777 || fs::read(&path)? != file.bytes {
                return Ok(false);
            }
        }
    }
    Ok(found == payload.len())
}

fn remove(path: &Path) -> io::Result<()> {
    let result = match fs::symlink_metadata(path) {
        Ok(file) if file.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::super::payload::File;
    use super::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        let file = |text: &str| File { bytes: text.into(), mode: 0o644 };
        files.iter().map(|(path, text)| ((*path).to_owned(), file(text))).collect()
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_switch_replaces_everything_at_once() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &payload(&[("a", "1"), ("sub/b", "2")])).unwrap();
        assert_eq!(names(dir.path()), ["..1", "..data", "a", "sub"]);
        assert_eq!(fs::read_to_string(dir.path().join("sub/b")).unwrap(), "2");
        write(dir.path(), &payload(&[("a", "3"), ("c", "4")])).unwrap();
        assert_eq!(names(dir.path()), ["..2", "..data", "a", "c"]);
        assert_eq!(fs::read_to_string(dir.path().join("a")).unwrap(), "3");
    }

    #[test]
    fn the_same_payload_touches_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let files = payload(&[("a", "1")]);
        write(dir.path(), &files).unwrap();
        write(dir.path(), &files).unwrap();
        assert_eq!(fs::read_link(dir.path().join("..data")).unwrap(), Path::new("..1"));
    }

    #[test]
    fn a_try_that_was_cut_off_is_repeated() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("..1/half")).unwrap();
        symlink("..1", dir.path().join("..data_tmp")).unwrap();
        write(dir.path(), &payload(&[("a", "1")])).unwrap();
        assert_eq!(names(dir.path()), ["..1", "..data", "a"]);
        assert_eq!(names(&dir.path().join("..1")), ["a"]);
    }
}
