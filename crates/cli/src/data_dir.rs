//! The data directory: where it is by default, and that it can be used.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};

/// Returns `~/.wkube` for a server and `~/.wkube-node` for a node.
///
/// # Errors
/// If there is no home directory.
pub(crate) fn default_for(part: &str) -> Result<PathBuf> {
    let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
    let home = home.ok_or_else(|| anyhow!("there is no home directory; name a folder with --data-dir"))?;
    Ok(home.join(if part == "server" { ".wkube".to_owned() } else { format!(".wkube-{part}") }))
}

/// Makes the directory (readable for its owner only) and proves that files can be written there.
///
/// # Errors
/// Names the directory and the flag that changes it.
pub(crate) fn prepare(chosen: Option<&Path>, part: &str) -> Result<PathBuf> {
    let dir = match chosen {
        Some(dir) => std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned()),
        None => default_for(part)?,
    };
    let usable = make(&dir).and_then(|()| {
        let probe = dir.join(".writable");
        std::fs::write(&probe, b"")?;
        std::fs::remove_file(&probe)
    });
    usable.with_context(|| {
        format!("cannot write to the data directory {}; choose another with --data-dir DIR", dir.display())
    })?;
    Ok(dir)
}

fn make(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_cannot_be_made_is_named_with_its_flag() {
        let message = prepare(Some(Path::new("/proc/no/such")), "server").expect_err("not writable").to_string();
        assert_eq!(message, "cannot write to the data directory /proc/no/such; choose another with --data-dir DIR");
    }

    #[test]
    fn a_new_directory_is_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let parent = tempfile::tempdir().expect("a directory");
        let dir = prepare(Some(&parent.path().join("a/b")), "server").expect("writable");
        let mode = std::fs::metadata(&dir).expect("it exists").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert_eq!(std::fs::read_dir(dir).expect("readable").count(), 0);
    }
}
