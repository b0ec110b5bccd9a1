//! A pod's volumes: what they hold (`payload`, pure), how it gets onto the disk (`atomic`), and where guests see it.

pub mod atomic;
pub mod beneath;
pub mod host_path;
pub mod managed;
pub mod memory;
pub mod payload;
pub mod root;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod, Volume, VolumeMount};

use self::beneath::{Found, Missing};
use crate::env;
use crate::pod::spec;
use crate::runtime::Mount;

pub use host_path::HostPaths;
pub use payload::Objects;

/// Why a pod's volumes are not ready; the text of the `FailedMount` event.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What a volume shall hold is not there.
    #[error("MountVolume.SetUp failed for volume \"{volume}\" : {source}")]
    Payload {
        /// The volume.
        volume: String,
        /// What is missing.
        source: payload::Error,
    },
    /// A path of the host cannot be had.
    #[error("MountVolume.SetUp failed for volume \"{volume}\" : {source}")]
    HostPath {
        /// The volume.
        volume: String,
        /// Why.
        source: host_path::Error,
    },
    /// The disk said no.
    #[error("MountVolume.SetUp failed for volume \"{volume}\" : {source}")]
    Disk {
        /// The volume.
        volume: String,
        /// Why.
        source: io::Error,
    },
}

/// Returns where the volumes of a pod are, a folder for each.
pub fn volumes(pod_dir: &Path) -> PathBuf {
    pod_dir.join("volumes")
}

/// Returns the directory of one volume.
pub fn dir_of(pod_dir: &Path, volume: &str) -> PathBuf {
    volumes(pod_dir).join(volume)
}

/// Brings every volume of the pod to what it should hold. Called again to refresh; what did not change is not touched.
///
/// # Errors
/// The first volume that cannot be made.
pub fn materialize(pod: &Pod, pod_dir: &Path, objects: &Objects, host_paths: &HostPaths) -> Result<(), Error> {
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        let name = || volume.name.clone();
        if let Some(source) = &volume.host_path {
            host_paths.open(source).map_err(|source| Error::HostPath { volume: name(), source })?;
            continue;
        }
        let dir = dir_of(pod_dir, &volume.name);
        let payload = payload::of(volume, pod, objects).map_err(|source| Error::Payload { volume: name(), source })?;
        let made = match payload {
            Some(payload) => atomic::write(&dir, &payload),
            None if is_in_memory(volume) => memory::make(pod_dir, &volume.name),
            None => make_empty(&dir),
        };
        made.map_err(|source| Error::Disk { volume: name(), source })?;
    }
    Ok(())
}

fn is_in_memory(volume: &Volume) -> bool {
    volume.empty_dir.as_ref().is_some_and(|source| source.medium.as_deref() == Some("Memory"))
}

/// An emptyDir keeps what an earlier life of the agent left in it.
fn make_empty(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir_all(dir)?;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o777))
}

/// What a container sees of its pod's volumes.
#[derive(Debug, Default)]
pub struct Mounts {
    /// Directories.
    pub dirs: Vec<Mount>,
    /// Single files, by `subPath`.
    pub files: Vec<FileMount>,
    /// Keeps the paths of the directories valid.
    pub held: Vec<Found>,
}

/// A single file of a volume inside the container. Guests are given directories, so it is put into the container's root.
#[derive(Debug)]
pub struct FileMount {
    /// The file.
    pub found: Found,
    /// The path that the guest sees.
    pub guest: String,
    /// Whether what the guest writes stays its own.
    pub is_read_only: bool,
}

/// Returns what a container sees. `env` is for `subPathExpr`.
///
/// # Errors
/// The sentence of a mount that cannot be: unknown volume, or a `subPath` that leaves it.
pub fn mounts(
    pod: &Pod,
    container: &Container,
    pod_dir: &Path,
    env: &BTreeMap<String, String>,
    host_paths: &HostPaths,
) -> Result<Mounts, String> {
    let mut mounts = Mounts::default();
    for mount in container.volume_mounts.iter().flatten() {
        let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        let volume = volumes.into_iter().find(|volume| volume.name == mount.name);
        let volume = volume
            .ok_or_else(|| format!("volume \"{}\" of container \"{}\" does not exist", mount.name, container.name))?;
        let is_read_only = mount.read_only == Some(true) || !is_writable(volume);
        let whole = match &volume.host_path {
            Some(source) => Some(host_paths.open(source).map_err(|error| error.to_string())?),
            None => None,
        };
        let root = whole.as_ref().map_or_else(|| dir_of(pod_dir, &mount.name), Found::path);
        let found = match sub_path(mount, env)? {
            Some(path) => Some(open_sub_path(&root, &path, is_writable(volume))?),
            None => whole,
        };
        let guest = mount.mount_path.clone();
        match found {
            None => mounts.dirs.push(Mount { host: root, guest, is_read_only }),
            Some(found) if found.is_dir().map_err(|error| error.to_string())? => {
                mounts.dirs.push(Mount { host: found.path(), guest, is_read_only });
                mounts.held.push(found);
            }
            Some(found) => mounts.files.push(FileMount { found, guest, is_read_only }),
        }
    }
    Ok(mounts)
}

/// Returns the part of the volume that a mount asks for (`kubelet_pods.go`, `makeMounts`).
fn sub_path(mount: &VolumeMount, env: &BTreeMap<String, String>) -> Result<Option<String>, String> {
    let path = match (mount.sub_path_expr.as_deref(), mount.sub_path.as_deref()) {
        (Some(expression), _) if !expression.is_empty() => {
            let missing = Cell::new(None);
            let path = env::expand(expression, |name| {
                let value = env.get(name).cloned();
                if value.is_none() {
                    missing.set(Some(name.to_owned()));
                }
                value
            });
            if let Some(name) = missing.take() {
                return Err(format!("missing value for {name:?} in subPathExpr {expression:?}"));
            }
            path
        }
        (_, path) => path.unwrap_or_default().to_owned(),
    };
    let is_inside = Path::new(&path).components().all(|part| matches!(part, Component::Normal(_)));
    if !is_inside {
        return Err(format!("subPath \"{path}\" must stay inside volume \"{}\"", mount.name));
    }
    Ok((!path.is_empty()).then_some(path))
}

fn open_sub_path(root: &Path, path: &str, is_writable: bool) -> Result<Found, String> {
    // What a volume's source does not have is not made: the next update would take it away again.
    let missing = if is_writable { Missing::IsMade } else { Missing::Fails };
    beneath::open(root, Path::new(path), missing).map_err(|error| format!("failed to open subPath \"{path}\": {error}"))
}

/// Only an emptyDir is the pod's own to write, and what the node allows of the host.
fn is_writable(volume: &Volume) -> bool {
    volume.empty_dir.is_some() || volume.host_path.is_some()
}

/// Whether a pod has volumes.
pub fn has_any(pod: &Pod) -> bool {
    pod.spec.as_ref().is_some_and(|spec| spec.volumes.as_ref().is_some_and(|volumes| !volumes.is_empty()))
}

/// Whether a pod has volumes whose content changes with other objects.
pub fn follows_objects(pod: &Pod) -> bool {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.into_iter().any(|volume| !is_writable(volume))
}

/// Returns the directory of a pod: `<data>/pods/<namespace>_<name>_<uid>`.
pub fn pod_dir(data_dir: &Path, pod: &Pod) -> PathBuf {
    data_dir.join("pods").join(format!("{}_{}_{}", spec::namespace(pod), spec::name(pod), spec::uid(pod)))
}

/// Removes everything of a pod that has gone.
pub fn remove(pod_dir: &Path) {
    memory::remove(pod_dir);
    if let Err(error) = std::fs::remove_dir_all(pod_dir)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %pod_dir.display(), %error, "cannot remove a pod's directory");
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
