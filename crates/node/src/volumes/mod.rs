//! A pod's volumes: what they hold (`payload`, pure), how it gets onto the disk (`atomic`), and where guests see it.

pub mod atomic;
pub mod payload;
pub mod root;

use std::io;
use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod, Volume};

use crate::pod::spec;
use crate::runtime::Mount;

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
    /// The disk said no.
    #[error("MountVolume.SetUp failed for volume \"{volume}\" : {source}")]
    Disk {
        /// The volume.
        volume: String,
        /// Why.
        source: io::Error,
    },
}

/// Returns the directory of one volume.
fn dir_of(pod_dir: &Path, volume: &str) -> PathBuf {
    pod_dir.join("volumes").join(volume)
}

/// Brings every volume of the pod to what it should hold. Called again to refresh; what did not change is not touched.
///
/// # Errors
/// The first volume that cannot be made.
pub fn materialize(pod: &Pod, pod_dir: &Path, objects: &Objects) -> Result<(), Error> {
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        let name = || volume.name.clone();
        let dir = dir_of(pod_dir, &volume.name);
        let payload = payload::of(volume, pod, objects).map_err(|source| Error::Payload { volume: name(), source })?;
        let made = match payload {
            Some(payload) => atomic::write(&dir, &payload),
            None => make_empty(&dir),
        };
        made.map_err(|source| Error::Disk { volume: name(), source })?;
    }
    Ok(())
}

/// An emptyDir keeps what an earlier life of the agent left in it.
fn make_empty(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir_all(dir)?;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o777))
}

/// Returns the directories that a container sees.
///
/// # Errors
/// The sentence of a mount that cannot be: unknown volume, or a `subPath` that leaves it or names a file.
pub fn mounts(pod: &Pod, container: &Container, pod_dir: &Path) -> Result<Vec<Mount>, String> {
    let mut mounts = Vec::new();
    for mount in container.volume_mounts.iter().flatten() {
        let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        let volume = volumes.into_iter().find(|volume| volume.name == mount.name);
        let volume = volume
            .ok_or_else(|| format!("volume \"{}\" of container \"{}\" does not exist", mount.name, container.name))?;
        let mut host = dir_of(pod_dir, &mount.name);
        if let Some(sub_path) = mount.sub_path.as_deref().filter(|path| !path.is_empty()) {
            if Path::new(sub_path).components().any(|part| !matches!(part, Component::Normal(_))) {
                return Err(format!("subPath \"{sub_path}\" must stay inside volume \"{}\"", mount.name));
            }
            host.push(sub_path);
            if host.is_file() {
                return Err(format!("subPath \"{sub_path}\" is a file; WebAssembly guests are given directories"));
            }
            std::fs::create_dir_all(&host)
                .map_err(|error| format!("failed to make subPath \"{sub_path}\": {error}"))?;
        }
        let is_read_only = mount.read_only == Some(true) || !is_writable(volume);
        mounts.push(Mount { host, guest: mount.mount_path.clone(), is_read_only });
    }
    Ok(mounts)
}

/// Only an emptyDir is the pod's own to write.
fn is_writable(volume: &Volume) -> bool {
    volume.empty_dir.is_some()
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
