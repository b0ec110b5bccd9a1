//! Opens what a path names below a directory, and nothing outside: whatever a guest has put there, a symlink leads nowhere
//! else, also if it is swapped in between (`mount-utils/subpath/subpath_linux.go` does this with mounts).

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// What is made if it is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Nothing.
    Fails,
    /// The directories of the path (`SafeMakeDir`).
    IsMade,
}

/// Something that was found below a directory, held open so that it stays what was looked at.
#[derive(Debug)]
pub struct Found(OwnedFd);

impl Found {
    /// Whether it is a directory.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn is_dir(&self) -> io::Result<bool> {
        let stat = rustix::fs::fstat(&self.0)?;
        Ok(rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir())
    }

    /// Returns a path that names it as long as this is held, whatever happens to the names that led there.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()))
    }
}

/// Opens `path` below `root`. Symlinks on the way are followed as long as they stay inside.
///
/// # Errors
/// If it is not there, or leads outside (`EXDEV`, "Invalid cross-device link").
pub fn open(root: &Path, path: &Path, missing: Missing) -> io::Result<Found> {
    let root = rustix::fs::openat(CWD, root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut so_far = PathBuf::new();
    let mut found: OwnedFd = root.as_fd().try_clone_to_owned()?;
    for part in path.components() {
        let Component::Normal(name) = part else { return Err(Errno::XDEV.into()) };
        so_far.push(name);
        found = match open_inside(&root, &so_far) {
            Err(Errno::NOENT) if missing == Missing::IsMade => make(&found, name, &root, &so_far)?,
            opened => opened?,
        };
    }
    Ok(Found(found))
}

fn make(parent: &OwnedFd, name: &OsStr, root: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    // As the parent's: whoever may write there may write here (`doSafeMakeDir` is given the volume's mode).
    let mode = Mode::from_raw_mode(rustix::fs::fstat(parent)?.st_mode & 0o777);
    match rustix::fs::mkdirat(parent, name, mode) {
        // A symlink that leads nowhere is there, and is no directory.
        Ok(()) | Err(Errno::EXIST) => open_inside(root, path),
        Err(error) => Err(error),
    }
}

fn open_inside(root: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(root, path, flags, Mode::empty(), inside) {
        // An older kernel, or a sandbox that does not know the call: then no symlink is followed at all.
        Err(Errno::NOSYS | Errno::PERM) => open_plainly(root, path),
        opened => opened,
    }
}

fn open_plainly(root: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    let mut found: Option<OwnedFd> = None;
    for part in path {
        let from = found.as_ref().unwrap_or(root);
        let next = rustix::fs::openat(from, part, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        if rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&next)?.st_mode).is_symlink() {
            return Err(Errno::LOOP);
        }
        found = Some(next);
    }
    found.ok_or(Errno::NOENT)
}

/// Copies a file that was found to `target`.
///
/// # Errors
/// If one cannot be read or the other not be written.
pub fn copy(found: &Found, target: &Path) -> io::Result<()> {
    let mut source = File::open(found.path())?;
    let permissions = source.metadata()?.permissions();
    let mut copy = File::create(target)?;
    io::copy(&mut source, &mut copy)?;
    copy.set_permissions(permissions)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn volume() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("volume");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        fs::write(dir.path().join("outside/secret"), "x").unwrap();
        fs::write(root.join("a/file"), "text").unwrap();
        (dir, root)
    }

    fn names(found: &Found) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(found.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_inside_is_found_also_over_links_that_stay_inside() {
        let (_dir, root) = volume();
        symlink("a", root.join("link")).unwrap();
        symlink("../a/b", root.join("a/back")).unwrap();
        for path in ["a", "link"] {
            assert_eq!(names(&open(&root, Path::new(path), Missing::Fails).unwrap()), ["b", "back", "file"], "{path}");
        }
        assert!(open(&root, Path::new("a/back"), Missing::Fails).unwrap().is_dir().unwrap());
        assert!(!open(&root, Path::new("a/file"), Missing::Fails).unwrap().is_dir().unwrap());
    }

    #[test]
    fn no_link_leads_outside() {
        let (dir, root) = volume();
        let absolute = dir.path().join("outside");
        symlink("../outside", root.join("up")).unwrap();
        symlink(&absolute, root.join("absolute")).unwrap();
        symlink("up", root.join("twice")).unwrap();
        symlink("../../volume/../outside", root.join("a/around")).unwrap();
        symlink("/proc/self/root", root.join("magic")).unwrap();
        symlink("circle", root.join("circle")).unwrap();
        for path in [
            "up",
            "up/secret",
            "absolute",
            "twice/secret",
            "a/around",
            "magic/etc",
            "circle",
            "../outside",
            "/etc",
            "a/../../outside",
        ] {
            for missing in [Missing::Fails, Missing::IsMade] {
                assert!(open(&root, Path::new(path), missing).is_err(), "{path}");
            }
        }
        assert_eq!(fs::read_dir(&absolute).unwrap().count(), 1, "nothing was made outside");
    }

    #[test]
    fn nothing_is_made_through_a_link_that_leads_outside() {
        let (dir, root) = volume();
        symlink("../outside/new", root.join("dangling")).unwrap();
        assert!(open(&root, Path::new("dangling"), Missing::IsMade).is_err());
        assert!(open(&root, Path::new("dangling/deep"), Missing::IsMade).is_err());
        assert!(!dir.path().join("outside/new").exists());
    }

    #[test]
    fn what_is_missing_is_made_as_open_as_its_parent() {
        use std::os::unix::fs::PermissionsExt as _;
        let (_dir, root) = volume();
        fs::set_permissions(&root, fs::Permissions::from_mode(0o700)).unwrap();
        assert!(open(&root, Path::new("new/deep"), Missing::Fails).is_err());
        open(&root, Path::new("new/deep"), Missing::IsMade).unwrap();
        assert_eq!(fs::metadata(root.join("new/deep")).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn what_was_found_stays_what_it_was_when_its_name_is_taken_by_a_link() {
        let (_dir, root) = volume();
        let found = open(&root, Path::new("a"), Missing::Fails).unwrap();
        fs::rename(root.join("a"), root.join("moved")).unwrap();
        symlink("../outside", root.join("a")).unwrap();
        assert_eq!(names(&found), ["b", "file"]);
    }

    #[test]
    fn without_the_kernels_help_no_link_is_followed() {
        let (_dir, root) = volume();
        symlink("a", root.join("link")).unwrap();
        let fd = rustix::fs::openat(CWD, &root, OFlags::PATH, Mode::empty()).unwrap();
        assert!(open_plainly(&fd, Path::new("a/b")).is_ok());
        for path in ["link", "link/b"] {
            assert_eq!(open_plainly(&fd, Path::new(path)).unwrap_err(), Errno::LOOP, "{path}");
        }
    }
}
