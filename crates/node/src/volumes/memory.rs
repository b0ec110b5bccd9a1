//! Volumes in memory (`emptyDir.medium: Memory`). The agent needs no root, so it mounts nothing: it uses the machine's
//! `/dev/shm`, where a directory of its own holds one for each pod. In the pod's directory a link leads there.
//!
//! What is there counts as the pod's memory and is measured like other volumes (`eviction/local.rs`), so that a volume over its
//! limit ends its pod. A machine without `/dev/shm` keeps these volumes on disk, and says so.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use wkube_wasm_runtime::oci::Digest;

use super::dir_of;

/// Where Linux has a file system in memory that everybody may write to.
const SHM: &str = "/dev/shm";
/// `TMPFS_MAGIC` of `statfs(2)`.
const TMPFS: u64 = 0x0102_1994;

/// Makes a volume in memory that is not there yet. It keeps what an earlier life of the agent left in it, unless the machine
/// was started since.
///
/// # Errors
/// If neither memory nor disk can be written.
pub fn make(pod_dir: &Path, volume: &str) -> io::Result<()> {
    let dir = dir_of(pod_dir, volume);
    match make_in(Path::new(SHM), pod_dir, volume) {
        Err(error) => {
            tracing::warn!(volume = %dir.display(), %error, "a volume in memory is kept on disk");
            super::make_empty(&dir)
        }
        made => made,
    }
}

/// Returns where the volumes in memory of a pod are, if it has any.
pub fn home(pod_dir: &Path) -> Option<PathBuf> {
    Some(home_in(Path::new(SHM), pod_dir)).filter(|home| home.is_dir())
}

/// Gives the memory back.
pub fn remove(pod_dir: &Path) {
    if let Some(home) = home(pod_dir)
        && let Err(error) = fs::remove_dir_all(&home)
    {
        tracing::warn!(path = %home.display(), %error, "cannot remove a pod's volumes in memory");
    }
}

fn make_in(shm: &Path, pod_dir: &Path, volume: &str) -> io::Result<()> {
    let link = dir_of(pod_dir, volume);
    if fs::symlink_metadata(&link).is_ok_and(|found| found.is_dir()) {
        // It was begun on disk.
        return Ok(());
    }
    if rustix::fs::statfs(shm)?.f_type.cast_unsigned() != TMPFS {
        return Err(io::Error::other(format!("{} is no file system in memory", shm.display())));
    }
    let home = home_in(shm, pod_dir);
    if let Some(own) = home.parent() {
        make_own(own)?;
    }
    let target = home.join(volume);
    fs::create_dir_all(&target)?;
    fs::set_permissions(&target, Permissions::from_mode(0o777))?;
    if let Some(parent) = link.parent() {
        fs::create_dir_all(parent)?;
    }
    match symlink(target, link) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Each data directory has a place of its own: agents share the machine's memory.
fn home_in(shm: &Path, pod_dir: &Path) -> PathBuf {
    let (all, own) = (pod_dir.parent().unwrap_or(pod_dir), pod_dir.file_name().unwrap_or_default());
    let digest = Digest::of(all.as_os_str().as_encoded_bytes());
    let name = digest.as_str().trim_start_matches("sha256:").get(..16).unwrap_or_default();
    shm.join(format!("wkube-{name}")).join(own)
}

/// Makes a directory that nobody else can look into; one that somebody else made there is not used.
fn make_own(dir: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => return made,
    }
    let found = fs::symlink_metadata(dir)?;
    let is_own = found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o777 == 0o700;
    if found.is_dir() && is_own {
        return Ok(());
    }
    Err(io::Error::other(format!("{} belongs to somebody else", dir.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pod's directory on disk, and the machine's memory if it has such a thing.
    fn world() -> Option<(tempfile::TempDir, tempfile::TempDir)> {
        let shm = tempfile::tempdir_in(SHM).ok()?;
        Some((tempfile::tempdir().unwrap(), shm))
    }

    #[test]
    fn a_volume_in_memory_is_a_link_that_lasts_as_long_as_the_pod() {
        let Some((disk, shm)) = world() else { return };
        let (shm, pod_dir) = (shm.path(), disk.path().join("pods/a_b_c"));
        make_in(shm, &pod_dir, "v").unwrap();
        fs::write(dir_of(&pod_dir, "v").join("file"), "kept").unwrap();
        let home = home_in(shm, &pod_dir);
        assert_eq!(fs::read_to_string(home.join("v/file")).unwrap(), "kept");
        make_in(shm, &pod_dir, "v").unwrap();
        assert_eq!(
            fs::read_to_string(home.join("v/file")).unwrap(),
            "kept",
            "an agent that starts again takes nothing"
        );
        fs::remove_dir_all(&home).unwrap();
        make_in(shm, &pod_dir, "v").unwrap();
        assert_eq!(fs::read_dir(dir_of(&pod_dir, "v")).unwrap().count(), 0, "a machine that starts again does");
        assert_ne!(home_in(shm, &pod_dir), home_in(shm, &disk.path().join("other/a_b_c")));
    }

    #[test]
    fn a_place_of_somebody_else_is_not_used() {
        let Some((disk, shm)) = world() else { return };
        let (shm, pod_dir) = (shm.path(), disk.path().join("pods/a_b_c"));
        let own = home_in(shm, &pod_dir).parent().unwrap().to_owned();
        fs::create_dir(&own).unwrap();
        fs::set_permissions(&own, Permissions::from_mode(0o755)).unwrap();
        assert!(make_in(shm, &pod_dir, "v").unwrap_err().to_string().ends_with("belongs to somebody else"));
        fs::remove_dir(&own).unwrap();
        symlink(disk.path(), &own).unwrap();
        assert!(make_in(shm, &pod_dir, "v").is_err());
    }

    #[test]
    fn a_disk_is_no_memory() {
        let disk = tempfile::tempdir().unwrap();
        let is_memory = rustix::fs::statfs(disk.path()).unwrap().f_type.cast_unsigned() == TMPFS;
        let made = make_in(disk.path(), &disk.path().join("pods/a"), "v");
        assert_eq!(made.is_ok(), is_memory);
    }
}
