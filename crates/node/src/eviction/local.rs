//! Pods that use more of the node's disk than they may (`eviction_manager.go`, `localStorageEviction`). Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, Pod};
use wkube_api::quantity::Quantity;

use super::rank::PodUsage;
use crate::pod::{qos, spec};

const STORAGE: &str = "ephemeral-storage";

/// Bytes and files below one directory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// As `du` counts them: blocks, not lengths.
    pub bytes: u64,
    /// Files and directories.
    pub inodes: u64,
}

/// What one pod has on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// What each container wrote to its own root.
    pub roots: BTreeMap<String, Size>,
    /// Each container's logs.
    pub logs: BTreeMap<String, Size>,
    /// The volumes that live and die with the pod, by name.
    pub volumes: BTreeMap<String, Size>,
}

impl Usage {
    /// Returns what one container has used: its root and its logs.
    pub fn of_container(&self, name: &str) -> u64 {
        let of = |sizes: &BTreeMap<String, Size>| sizes.get(name).map_or(0, |size| size.bytes);
        of(&self.roots).saturating_add(of(&self.logs))
    }

    /// Returns what counts against the pod's limit: volumes in memory do not.
    pub fn of_pod(&self, pod: &Pod) -> PodUsage {
        let on_disk = self.volumes.iter().filter(|(name, _)| !is_in_memory(pod, name)).map(|(_, size)| size);
        let all = self.roots.values().chain(self.logs.values()).chain(on_disk);
        all.fold(PodUsage::default(), |sum, size| PodUsage {
            disk: sum.disk.saturating_add(size.bytes),
            inodes: sum.inodes.saturating_add(size.inodes),
            ..sum
        })
    }

    /// Returns the bytes of the volumes in memory.
    pub fn in_memory(&self, pod: &Pod) -> u64 {
        let volumes = self.volumes.iter().filter(|(name, _)| is_in_memory(pod, name));
        volumes.map(|(_, size)| size.bytes).sum()
    }
}

/// Returns the emptyDir volumes of a pod.
pub fn empty_dirs(pod: &Pod) -> impl Iterator<Item = (&str, &EmptyDirVolumeSource)> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| Some((volume.name.as_str(), volume.empty_dir.as_ref()?)))
}

fn is_in_memory(pod: &Pod, volume: &str) -> bool {
    empty_dirs(pod).any(|(name, source)| name == volume && is_memory(source))
}

fn is_memory(source: &EmptyDirVolumeSource) -> bool {
    source.medium.as_deref() == Some("Memory")
}

/// Whether anything of the pod has a limit, so that it has to be measured.
pub fn has_limits(pod: &Pod) -> bool {
    empty_dirs(pod).any(|(_, source)| source.size_limit.is_some() || is_memory(source))
        || spec::containers(pod).any(|(container, _)| spec::limit(&container, STORAGE).is_some())
        || qos::pod_limit(pod, STORAGE).is_some()
}

/// A limit that a pod does not keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which kind of limit, as `kubelet_evictions` counts it.
    pub signal: &'static str,
    /// The sentence of the pod's status and event.
    pub message: String,
}

/// Returns why a pod has to go, if it uses more than it may.
pub fn violation(pod: &Pod, usage: &Usage) -> Option<Violation> {
    let as_signal = |signal: &'static str| move |message: String| Violation { signal, message };
    of_volumes(pod, usage)
        .map(as_signal("emptydirfs.limit"))
        .or_else(|| of_pod(pod, usage).map(as_signal("ephemeralpodfs.limit")))
        .or_else(|| of_containers(pod, usage).map(as_signal("ephemeralcontainerfs.limit")))
}

fn of_volumes(pod: &Pod, usage: &Usage) -> Option<String> {
    empty_dirs(pod).find_map(|(name, source)| {
        let limit = limit_of(pod, source)?;
        let used = usage.volumes.get(name)?.bytes;
        let is_over = used > qos::units(limit);
        is_over.then(|| format!("Usage of EmptyDir volume \"{name}\" exceeds the limit \"{limit}\". "))
    })
}

/// A volume in memory may not be larger than the pod's memory either (`volume/emptydir`, `calculateEmptyDirMemorySize`).
fn limit_of(pod: &Pod, source: &EmptyDirVolumeSource) -> Option<Quantity> {
    let own: Option<Quantity> = source.size_limit.as_ref().and_then(|limit| limit.0.parse().ok());
    // Zero means that there is none.
    let own = own.filter(|limit| limit.value() > 0);
    if !is_memory(source) {
        return own;
    }
    let whole = qos::pod_limit(pod, "memory");
    [own, whole].into_iter().flatten().min_by_key(|limit| limit.nano())
}

fn of_pod(pod: &Pod, usage: &Usage) -> Option<String> {
    let limit = qos::pod_limit(pod, STORAGE)?;
    let is_over = usage.of_pod(pod).disk > qos::units(limit);
    is_over.then(|| format!("Pod ephemeral local storage usage exceeds the total limit of containers {limit}. "))
}

fn of_containers(pod: &Pod, usage: &Usage) -> Option<String> {
    spec::containers(pod).find_map(|(container, _)| {
        let limit = spec::limit(&container, STORAGE)?;
        let is_over = usage.of_container(&container.name) > qos::units(limit);
        is_over
            .then(|| format!("Container {} exceeded its local ephemeral storage limit \"{limit}\". ", container.name))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(volumes: &Value, containers: &Value) -> Pod {
        serde_json::from_value(json!({ "spec": { "volumes": volumes, "containers": containers } })).unwrap()
    }

    fn said(pod: &Pod, usage: &Usage) -> Option<String> {
        violation(pod, usage).map(|violation| violation.message)
    }

    fn sizes(all: &[(&str, u64)]) -> BTreeMap<String, Size> {
        all.iter().map(|(name, kib)| ((*name).to_owned(), Size { bytes: kib << 10, inodes: 1 })).collect()
    }

    fn limited(limits: &[(&str, &str)]) -> Value {
        let one = |(name, limit): &(&str, &str)| json!({ "name": name, "resources": { "limits": { "ephemeral-storage": limit } } });
        limits.iter().map(one).collect()
    }

    #[test]
    fn a_volume_over_its_limit_is_named() {
        let pod = pod(&json!([{ "name": "x", "emptyDir": { "sizeLimit": "1Mi" } }]), &json!([{ "name": "c" }]));
        assert!(has_limits(&pod));
        let usage = |kib| Usage { volumes: sizes(&[("x", kib)]), ..Usage::default() };
        assert_eq!(violation(&pod, &usage(1_024)), None);
        let message = "Usage of EmptyDir volume \"x\" exceeds the limit \"1Mi\". ";
        let found = violation(&pod, &usage(1_025)).unwrap();
        assert_eq!((found.signal, found.message.as_str()), ("emptydirfs.limit", message));
    }

    #[test]
    fn a_volume_in_memory_counts_as_memory_and_is_no_larger_than_the_pods() {
        let volumes = json!([{ "name": "x", "emptyDir": { "medium": "Memory", "sizeLimit": "1Gi" } }]);
        let containers = json!([{ "name": "c", "resources": { "limits": { "memory": "2Mi" } } }]);
        let pod = pod(&volumes, &containers);
        let usage = Usage { volumes: sizes(&[("x", 3 << 10)]), ..Usage::default() };
        assert_eq!((usage.of_pod(&pod).disk, usage.in_memory(&pod)), (0, 3 << 20));
        let message = "Usage of EmptyDir volume \"x\" exceeds the limit \"2Mi\". ";
        assert_eq!(said(&pod, &usage).as_deref(), Some(message));
    }

    #[test]
    fn a_pods_limit_is_the_sum_of_its_containers_and_counts_roots_logs_and_volumes() {
        let pod = pod(&json!([{ "name": "x", "emptyDir": {} }]), &limited(&[("a", "512Mi"), ("b", "512Mi")]));
        let third = 400 << 10;
        let mut usage =
            Usage { roots: sizes(&[("a", third)]), logs: sizes(&[("b", third)]), volumes: sizes(&[("x", third)]) };
        let message = "Pod ephemeral local storage usage exceeds the total limit of containers 1Gi. ";
        assert_eq!(said(&pod, &usage).as_deref(), Some(message));
        usage.volumes.clear();
        assert_eq!(violation(&pod, &usage), None);
    }

    #[test]
    fn a_containers_limit_is_for_its_root_and_logs_together() {
        let pod = pod(&json!([]), &limited(&[("a", "1Mi"), ("b", "10Mi")]));
        let usage = Usage { roots: sizes(&[("a", 600)]), logs: sizes(&[("a", 600)]), ..Usage::default() };
        let message = "Container a exceeded its local ephemeral storage limit \"1Mi\". ";
        assert_eq!(said(&pod, &usage).as_deref(), Some(message));
    }

    #[test]
    fn a_pod_without_limits_is_not_measured_and_never_over() {
        let pod = pod(&json!([{ "name": "x", "emptyDir": { "sizeLimit": "0" } }]), &json!([{ "name": "c" }]));
        let usage = Usage { volumes: sizes(&[("x", 1 << 40)]), ..Usage::default() };
        assert_eq!(violation(&pod, &usage), None);
        let free = self::pod(&json!([{ "name": "x", "emptyDir": {} }]), &json!([{ "name": "c" }]));
        assert!(!has_limits(&free));
    }
}
