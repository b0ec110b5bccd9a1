//! Measures directories that guests fill: no symbolic link is followed, and no directory costs more than its share.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::local::Size;

/// Files after which a walk stops: what a pod has beyond them is not seen, but the walk ends. A guest that makes more
/// files than this is over every sensible limit by their number alone.
const FILES_MAX: u64 = 200_000;
/// A block of `st_blocks`, on every file system.
const BLOCK_BYTES: u64 = 512;

/// Returns what is below `dir`, which need not exist; itself not counted. Files with several names count for each.
pub fn size_of(dir: &Path) -> Size {
    let mut size = Size::default();
    let mut dirs: Vec<PathBuf> = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        for entry in entries.flatten() {
            // What vanished meanwhile uses nothing. `DirEntry::metadata` does not follow links.
            let Ok(metadata) = entry.metadata() else { continue };
            size.inodes += 1;
            size.bytes = size.bytes.saturating_add(metadata.blocks().saturating_mul(BLOCK_BYTES));
            if metadata.is_dir() {
                dirs.push(entry.path());
            }
            if size.inodes >= FILES_MAX {
                return size;
            }
        }
    }
    size
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_directories_count_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("large"), vec![1; 1 << 20]).unwrap();
        let inside = dir.path().join("a/b");
        fs::create_dir_all(&inside).unwrap();
        fs::write(inside.join("file"), vec![1; 100 << 10]).unwrap();
        std::os::unix::fs::symlink(outside.path(), inside.join("link")).unwrap();
        std::os::unix::fs::symlink(dir.path(), inside.join("loop")).unwrap();
        let size = size_of(dir.path());
        assert_eq!(size.inodes, 5);
        assert!((100 << 10..400 << 10).contains(&size.bytes), "{}", size.bytes);
    }

    #[test]
    fn holes_cost_nothing() {
        let dir = tempfile::tempdir().unwrap();
        fs::File::create(dir.path().join("sparse")).unwrap().set_len(1 << 30).unwrap();
        assert!(size_of(dir.path()).bytes < 1 << 20);
    }

    #[test]
    fn what_is_not_there_is_empty() {
        assert_eq!(size_of(Path::new("/nowhere/at/all")), Size::default());
    }
}
