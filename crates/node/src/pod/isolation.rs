//! Where a pod's containers run, by the handler of its `RuntimeClass`: in the node's process (`wasm`, also without a
//! class) or in one of the pod's own (`wasm-process`). Pure, but for the paths of what is held open.

use std::path::Path;

use k8s_openapi::api::core::v1::{Container, Pod};

use super::spec;
use crate::runtime::process::Limits;
use crate::volumes;
use crate::volumes::host_path::HostPaths;

/// What a container without a memory limit may have, in bytes; the runtime's default is the same.
const MEMORY_DEFAULT: u64 = 256 << 20;

/// A handler that nodes have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handler {
    /// In the node's process.
    Wasm,
    /// In the pod's own.
    WasmProcess,
}

impl Handler {
    /// Reads the handler of a `RuntimeClass`.
    ///
    /// # Errors
    /// The sentence that says which there are.
    pub fn parse(handler: &str) -> Result<Self, String> {
        match handler {
            "wasm" => Ok(Self::Wasm),
            "wasm-process" => Ok(Self::WasmProcess),
            _ => Err(format!("no runtime for {handler:?} is configured; this node has \"wasm\" and \"wasm-process\"")),
        }
    }
}

/// Returns what the pod's own process may have: the memory of all its containers together, its volumes and roots, and
/// the host paths that the pod has and the node allows.
pub fn limits(pod: &Pod, pod_dir: &Path, host_paths: &HostPaths) -> Limits {
    let memory_bytes = spec::containers(pod).map(|(container, _)| memory(&container)).fold(0, u64::saturating_add);
    let mut limits = Limits {
        memory_bytes,
        readable: Vec::new(),
        writable: vec![volumes::volumes(pod_dir), volumes::root::roots(pod_dir)],
    };
    limits.writable.extend(volumes::memory::home(pod_dir));
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        let held = volume.host_path.as_ref().and_then(|source| host_paths.open(source).ok());
        // Mounts that are read only are so by what the guest is granted; the process may be asked for both.
        limits.writable.extend(held.and_then(|held| std::fs::read_link(held.path()).ok()));
    }
    limits
}

fn memory(container: &Container) -> u64 {
    spec::limit(container, "memory").and_then(|memory| u64::try_from(memory.value()).ok()).unwrap_or(MEMORY_DEFAULT)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::json;

    use super::*;

    #[test]
    fn handlers_are_known_by_name_and_others_are_refused_with_the_choice() {
        assert_eq!(Handler::parse("wasm"), Ok(Handler::Wasm));
        assert_eq!(Handler::parse("wasm-process"), Ok(Handler::WasmProcess));
        let told = Handler::parse("runc").unwrap_err();
        assert_eq!(told, "no runtime for \"runc\" is configured; this node has \"wasm\" and \"wasm-process\"");
    }

    #[test]
    fn a_process_may_have_what_all_containers_of_its_pod_may() {
        let spec = json!({"spec": {
            "initContainers": [{"name": "i", "resources": {"limits": {"memory": "1Mi"}}}],
            "containers": [{"name": "a", "resources": {"limits": {"memory": "16Mi"}}}, {"name": "b"}],
        }});
        let pod: Pod = serde_json::from_value(spec).unwrap();
        let limits = limits(&pod, Path::new("/pods/p"), &HostPaths::default());
        assert_eq!(limits.memory_bytes, (1 + 16 + 256) << 20);
        assert_eq!(limits.writable, ["/pods/p/volumes", "/pods/p/rootfs"].map(PathBuf::from));
    }

    #[test]
    fn a_host_path_is_reached_only_where_the_node_allows_it() {
        let host = tempfile::tempdir().unwrap();
        let path = host.path().to_str().unwrap();
        let spec = json!({"spec": {"containers": [], "volumes": [{"name": "v", "hostPath": {"path": path}}]}});
        let pod: Pod = serde_json::from_value(spec).unwrap();
        let reached = |host_paths: &HostPaths| limits(&pod, Path::new("/pods/p"), host_paths).writable.len();
        assert_eq!(reached(&HostPaths::default()), 2);
        assert_eq!(reached(&HostPaths::allow([host.path().to_owned()])), 3);
    }
}
