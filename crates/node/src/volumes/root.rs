//! The root of a container: an empty directory of its own that it may write to, new at every start, as a container's
//! writable layer is. Volumes are seen inside it; `du` of a pod's `rootfs` is what its containers wrote besides them.

use std::io;
use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1::Container;
use rustix::fs::{AtFlags, CWD};

use super::{FileMount, beneath};
use crate::runtime::Mount;

/// Directories that programs expect to be there.
const EXPECTED: [&str; 1] = ["tmp"];

/// Returns where the roots of a pod's containers are, a folder for each.
pub fn roots(pod_dir: &Path) -> PathBuf {
    pod_dir.join("rootfs")
}

/// Makes the container's root anew and returns it as the first of its mounts. A container that mounts a volume at `/`
/// has that as its root.
///
/// # Errors
/// When the directories cannot be made, such as on a full disk.
pub fn prepend(pod_dir: &Path, container: &Container, mut mounts: Vec<Mount>) -> io::Result<Vec<Mount>> {
    let is_root = |mount: &Mount| inside(&mount.guest).as_os_str().is_empty();
    if mounts.iter().any(is_root) {
        return Ok(mounts);
    }
    let root = roots(pod_dir).join(&container.name);
    match std::fs::remove_dir_all(&root) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    std::fs::create_dir_all(&root)?;
    let mount_points = mounts.iter().map(|mount| inside(&mount.guest));
    for path in EXPECTED.into_iter().map(PathBuf::from).chain(mount_points) {
        std::fs::create_dir_all(root.join(path))?;
    }
    let is_read_only =
        container.security_context.as_ref().and_then(|context| context.read_only_root_filesystem) == Some(true);
    mounts.insert(0, Mount { host: root, guest: "/".to_owned(), is_read_only });
    Ok(mounts)
}

/// Puts single files where the guest looks for them: a copy of what it may only read, the very file of what it may write.
///
/// # Errors
/// If there is no root of the container's own, or a directory is mounted over it.
pub fn place_files(mounts: &[Mount], files: &[FileMount]) -> io::Result<()> {
    for file in files {
        let over = mount_of(mounts, &file.guest).filter(|(mount, _)| inside(&mount.guest).as_os_str().is_empty());
        let Some((root, path)) = over else {
            let message = format!("the file {} is inside of another mount, which a guest sees as it is", file.guest);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        };
        let target = root.host.join(&path);
        target.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        if file.is_read_only {
            beneath::copy(&file.found, &target)?;
        } else {
            rustix::fs::linkat(CWD, file.found.path(), CWD, &target, AtFlags::SYMLINK_FOLLOW)?;
        }
    }
    Ok(())
}

/// Returns the mount in which the guest finds a path, and where the path is below it. `None` if it is in no mount.
pub fn mount_of<'a>(mounts: &'a [Mount], path: &str) -> Option<(&'a Mount, PathBuf)> {
    let path = inside(path);
    let over =
        mounts.iter().filter_map(|mount| Some((mount, path.strip_prefix(inside(&mount.guest)).ok()?.to_owned())));
    over.min_by_key(|(_, rest)| rest.components().count())
}

/// A path of the guest relative to its root; `.` and `..` lead nowhere, so that nothing is made outside.
pub fn inside(path: &str) -> PathBuf {
    Path::new(path).components().filter(|part| matches!(part, Component::Normal(_))).collect()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::SecurityContext;

    use super::*;

    fn mount(guest: &str) -> Mount {
        Mount { host: PathBuf::from("/somewhere"), guest: guest.to_owned(), is_read_only: true }
    }

    fn named(name: &str) -> Container {
        Container { name: name.to_owned(), ..Container::default() }
    }

    #[test]
    fn mount_points_and_tmp_are_there_before_the_guest_looks() {
        let pod = tempfile::tempdir().unwrap();
        let mounts = prepend(pod.path(), &named("a"), vec![mount("/etc/config"), mount("data")]).unwrap();
        assert_eq!(mounts.iter().map(|mount| mount.guest.as_str()).collect::<Vec<_>>(), ["/", "/etc/config", "data"]);
        assert!(!mounts[0].is_read_only);
        for path in ["etc/config", "data", "tmp"] {
            assert!(mounts[0].host.join(path).is_dir(), "{path}");
        }
    }

    #[test]
    fn what_a_container_wrote_is_gone_when_it_starts_again() {
        let pod = tempfile::tempdir().unwrap();
        let first = prepend(pod.path(), &named("a"), Vec::new()).unwrap();
        let others = prepend(pod.path(), &named("b"), Vec::new()).unwrap();
        std::fs::write(first[0].host.join("tmp/state"), "old").unwrap();
        std::fs::write(others[0].host.join("kept"), "").unwrap();
        let second = prepend(pod.path(), &named("a"), Vec::new()).unwrap();
        assert_eq!(first, second);
        assert!(!second[0].host.join("tmp/state").exists());
        assert!(others[0].host.join("kept").exists(), "a root belongs to one container");
    }

    #[test]
    fn nothing_is_made_outside_the_root() {
        let pod = tempfile::tempdir().unwrap();
        prepend(pod.path(), &named("a"), vec![mount("/../../escaped"), mount("/x/../y")]).unwrap();
        let made = |path: &str| pod.path().join(path).exists();
        assert!(made("rootfs/a/escaped") && made("rootfs/a/x/y"));
        assert!(!made("escaped") && !made("rootfs/escaped"));
    }

    #[test]
    fn a_symlink_that_a_container_left_is_removed_and_not_followed() {
        let pod = tempfile::tempdir().unwrap();
        let precious = pod.path().join("precious");
        std::fs::create_dir(&precious).unwrap();
        std::fs::write(precious.join("file"), "").unwrap();
        let mounts = prepend(pod.path(), &named("a"), Vec::new()).unwrap();
        std::os::unix::fs::symlink(&precious, mounts[0].host.join("link")).unwrap();
        prepend(pod.path(), &named("a"), vec![mount("/link/deep")]).unwrap();
        assert!(precious.join("file").exists() && !precious.join("deep").exists());
    }

    #[test]
    fn a_volume_at_the_root_is_the_root() {
        let pod = tempfile::tempdir().unwrap();
        let mounts = prepend(pod.path(), &named("a"), vec![mount("/")]).unwrap();
        assert_eq!(mounts, [mount("/")]);
        assert!(!roots(pod.path()).exists());
    }

    #[test]
    fn read_only_root_filesystem_is_obeyed() {
        let pod = tempfile::tempdir().unwrap();
        let context = SecurityContext { read_only_root_filesystem: Some(true), ..SecurityContext::default() };
        let container = Container { security_context: Some(context), ..named("a") };
        assert!(prepend(pod.path(), &container, Vec::new()).unwrap()[0].is_read_only);
    }
}
