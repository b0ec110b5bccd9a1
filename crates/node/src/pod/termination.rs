//! A container's last words, the message of its `terminated` state: what the runtime says of its end, what the container
//! wrote to `terminationMessagePath`, or else the end of its log, if it wants that (`kuberuntime_container.go`,
//! `getTerminationMessage`).

use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod};

use super::spec;
use crate::runtime::Mount;
use crate::volumes::{beneath, root};

/// Where a container writes them if it says nothing else.
const PATH_DEFAULT: &str = "/dev/termination-log";

/// How much of the file is read, from its end (`MaxContainerTerminationMessageLength`).
const FILE_BYTES_MAX: u64 = 4096;

/// How much of the log is taken (`MaxContainerTerminationMessageLogLength`).
const LOG_BYTES_MAX: usize = 2048;
/// How many of its last lines are looked at (`MaxContainerTerminationMessageLogLines`).
pub const LOG_LINES_MAX: usize = 80;

/// What all containers of a pod share (`MaxPodTerminationMessageLogLength`).
const POD_BYTES_MAX: usize = 12 << 10;

/// Returns the path in the container to which it writes its last words.
pub fn path_of(container: &Container) -> &str {
    container.termination_message_path.as_deref().filter(|path| !path.is_empty()).unwrap_or(PATH_DEFAULT)
}

/// Whether the end of the log stands in for a file in which nothing is.
pub fn wants_log(container: &Container, code: i32) -> bool {
    code != 0 && container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError")
}

/// Where on the host a container's last words are.
#[derive(Debug)]
pub struct Place {
    dir: PathBuf,
    path: PathBuf,
}

impl Place {
    /// Returns where a container that sees these mounts writes, if that is in one of its volumes.
    pub fn in_volume(container: &Container, mounts: &[Mount]) -> Option<Self> {
        let (mount, path) = root::mount_of(mounts, path_of(container))?;
        let is_volume = container.volume_mounts.iter().flatten().any(|volume| volume.mount_path == mount.guest);
        is_volume.then(|| Self { dir: mount.host.clone(), path })
    }

    /// Returns where a container writes that does so in its own root.
    pub fn in_root(container: &Container, pod_dir: &Path) -> Self {
        Self { dir: root::roots(pod_dir).join(&container.name), path: root::inside(path_of(container)) }
    }

    /// Reads what was written, or says why it cannot be read.
    pub fn read(&self) -> String {
        match tail(&self.dir, &self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => format!("Error on reading termination log /{}: {error}", self.path.display()),
        }
    }
}

/// A guest may have put anything there: links lead nowhere outside, and only of a file is read.
fn tail(dir: &Path, path: &Path) -> io::Result<String> {
    let found = beneath::open(dir, path, beneath::Missing::Fails)?;
    let metadata = std::fs::metadata(found.path())?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
    }
    let mut file = std::fs::File::open(found.path())?;
    file.seek(SeekFrom::Start(metadata.len().saturating_sub(FILE_BYTES_MAX)))?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Returns the part of a log's last lines that is taken.
pub fn end_of_log(lines: &[u8]) -> String {
    String::from_utf8_lossy(&lines[lines.len().saturating_sub(LOG_BYTES_MAX)..]).into_owned()
}

/// Joins what the runtime says with the container's own words, no longer than its part of the pod's
/// (`status_manager.go`, `normalizeStatus`).
pub fn message(pod: &Pod, runtime: String, own: &str) -> String {
    let mut message = match (runtime.is_empty(), own.is_empty()) {
        (_, true) => runtime,
        (true, false) => own.to_owned(),
        (false, false) => format!("{runtime}: {own}"),
    };
    let part = POD_BYTES_MAX / spec::containers(pod).count().max(1);
    message.truncate(message.floor_char_boundary(part));
    message
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use k8s_openapi::api::core::v1::VolumeMount;
    use serde_json::json;

    use super::*;

    fn container(policy: &str, path: &str) -> Container {
        let fields = json!({ "name": "c", "terminationMessagePolicy": policy, "terminationMessagePath": path });
        serde_json::from_value(fields).unwrap()
    }

    fn pod(containers: usize) -> Pod {
        let containers: Vec<_> = (0..containers).map(|number| json!({ "name": format!("c{number}") })).collect();
        serde_json::from_value(json!({ "spec": { "containers": containers } })).unwrap()
    }

    fn mount(host: &Path, guest: &str) -> Mount {
        Mount { host: host.to_owned(), guest: guest.to_owned(), is_read_only: false }
    }

    #[test]
    fn only_a_failure_takes_the_log_and_only_if_the_container_wants_it() {
        assert!(wants_log(&container("FallbackToLogsOnError", ""), 1));
        assert!(!wants_log(&container("FallbackToLogsOnError", ""), 0));
        assert!(!wants_log(&container("File", ""), 1));
        assert!(!wants_log(&Container::default(), 1));
    }

    #[test]
    fn words_are_read_where_the_container_sees_the_path() {
        let (pod_dir, volume) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let rootfs = root::roots(pod_dir.path()).join("c");
        std::fs::create_dir_all(rootfs.join("dev")).unwrap();
        let mounts = [mount(&rootfs, "/"), mount(volume.path(), "/v/deep")];
        let read = |path: &str| {
            let mut container = container("File", path);
            container.volume_mounts =
                Some(vec![VolumeMount { mount_path: "/v/deep".into(), ..VolumeMount::default() }]);
            let place = Place::in_volume(&container, &mounts);
            place.unwrap_or_else(|| Place::in_root(&container, pod_dir.path())).read()
        };
        assert_eq!(read(""), "", "nothing was written");
        std::fs::write(rootfs.join("dev/termination-log"), "in the root").unwrap();
        std::fs::write(volume.path().join("last"), "in a volume").unwrap();
        assert_eq!(read(""), "in the root");
        assert_eq!(read("/v/deep/last"), "in a volume");
    }

    fn read(dir: &Path, path: &str) -> String {
        Place { dir: dir.to_owned(), path: path.into() }.read()
    }

    #[test]
    fn of_a_long_file_the_end_is_read() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("long"), format!("{}the end", "x".repeat(10_000))).unwrap();
        let text = read(dir.path(), "long");
        assert_eq!(text.len() as u64, FILE_BYTES_MAX);
        assert!(text.ends_with("xthe end"));
    }

    #[test]
    fn nothing_outside_is_read_and_a_directory_is_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let rootfs = dir.path().join("rootfs");
        std::fs::create_dir(&rootfs).unwrap();
        std::fs::write(dir.path().join("secret"), "secret").unwrap();
        symlink("../secret", rootfs.join("link")).unwrap();
        assert!(read(&rootfs, "link").starts_with("Error on reading termination log /link: "));
        assert_eq!(read(&rootfs, ""), "Error on reading termination log /: it is not a file");
    }

    #[test]
    fn the_runtime_speaks_first_and_containers_share_the_room() {
        assert_eq!(message(&pod(1), "trap".into(), "my words"), "trap: my words");
        assert_eq!(message(&pod(1), String::new(), "my words"), "my words");
        assert_eq!(message(&pod(1), "trap".into(), ""), "trap");
        let long = "é".repeat(10_000);
        assert_eq!(message(&pod(1), String::new(), &long).len(), POD_BYTES_MAX);
        assert_eq!(message(&pod(5), String::new(), &long).len(), POD_BYTES_MAX / 5 / 2 * 2, "no letter is cut");
        assert_eq!(end_of_log(&[b'x'; 5000]).len(), LOG_BYTES_MAX);
        assert_eq!(end_of_log(b"short\n"), "short\n");
    }
}
