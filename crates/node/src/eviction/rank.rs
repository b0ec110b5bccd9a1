//! Who goes first when something is scarce (`pkg/kubelet/eviction/helpers.go`): those over their request, then the less
//! important, then those furthest over. Pure.

use std::cmp::Reverse;

use k8s_openapi::api::core::v1::Pod;

use super::signals::Signal;
use crate::pod::qos;
use crate::pod::spec;

/// Priorities from here on are the system's own: such pods are never evicted (`SystemCriticalPriority`).
const SYSTEM_CRITICAL: i32 = 2_000_000_000;

/// What a pod uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PodUsage {
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes on disk: what its containers wrote, their logs, and volumes that live and die with it.
    pub disk: u64,
    /// Files on disk.
    pub inodes: u64,
}

impl PodUsage {
    fn of(self, signal: Signal) -> u64 {
        match signal {
            Signal::Memory => self.memory,
            Signal::NodeDisk | Signal::ImageDisk => self.disk,
            Signal::NodeInodes => self.inodes,
            // Guests have no processes; none is to blame.
            Signal::Pids => 0,
        }
    }
}

/// Whether a pod must not be evicted (`pkg/kubelet/types/pod_update.go`, `IsCriticalPod`).
pub fn is_critical(pod: &Pod) -> bool {
    let annotations = pod.metadata.annotations.as_ref();
    let is_static = annotations.is_some_and(|all| {
        all.contains_key("kubernetes.io/config.mirror")
            || all.get("kubernetes.io/config.source").is_some_and(|source| source != "api")
    });
    is_static || priority(pod) >= SYSTEM_CRITICAL
}

fn priority(pod: &Pod) -> i32 {
    pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0)
}

/// Sorts pods so that those come first that have to go first.
pub fn rank<T>(pods: &mut [T], signal: Signal, of: impl Fn(&T) -> (&Pod, PodUsage)) {
    pods.sort_by_cached_key(|one| {
        let (pod, usage) = of(one);
        let used = usage.of(signal);
        let request = qos::pod_request(pod, signal.resource()).map_or(0, qos::units);
        let is_over = used > request;
        let over = i128::from(used) - i128::from(request);
        // By name in the end, so that the order is the same at every look.
        (Reverse(is_over), priority(pod), Reverse(over), spec::namespace(pod).to_owned(), spec::name(pod).to_owned())
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, request: &str, priority: i32) -> Pod {
        serde_json::from_value(json!({
            "metadata": { "name": name },
            "spec": { "priority": priority, "containers": [
                { "name": "c", "resources": { "requests": { "memory": request, "ephemeral-storage": request } } },
            ] },
        }))
        .unwrap()
    }

    fn order(mut pods: Vec<(Pod, u64)>, signal: Signal) -> Vec<String> {
        rank(&mut pods, signal, |(pod, used)| (pod, PodUsage { memory: *used, disk: *used, inodes: *used }));
        pods.into_iter().map(|(pod, _)| pod.metadata.name.unwrap()).collect()
    }

    #[test]
    fn those_over_their_request_go_first_then_the_less_important_then_the_furthest_over() {
        let pods = || {
            vec![
                (pod("important-under", "100", 10), 50),
                (pod("under", "100", 0), 99),
                (pod("important-over", "100", 10), 900),
                (pod("over", "100", 0), 110),
                (pod("far-over", "100", 0), 300),
                (pod("nothing-promised", "0", 0), 250),
            ]
        };
        let expected = ["nothing-promised", "far-over", "over", "important-over", "under", "important-under"];
        assert_eq!(order(pods(), Signal::Memory), expected);
        assert_eq!(order(pods(), Signal::NodeDisk), expected);
    }

    #[test]
    fn files_have_no_request_so_the_largest_user_goes_first() {
        let pods = vec![(pod("few", "1Gi", 0), 5), (pod("many", "1Gi", 0), 500)];
        assert_eq!(order(pods, Signal::NodeInodes), ["many", "few"]);
    }

    #[test]
    fn equals_keep_their_order() {
        let pods = vec![(pod("b", "0", 0), 5), (pod("a", "0", 0), 5)];
        assert_eq!(order(pods, Signal::Memory), ["a", "b"]);
    }

    #[test]
    fn what_the_node_needs_itself_is_critical() {
        assert!(is_critical(&pod("x", "0", SYSTEM_CRITICAL)));
        assert!(!is_critical(&pod("x", "0", SYSTEM_CRITICAL - 1)));
        let mut mirror = pod("x", "0", 0);
        mirror.metadata.annotations = Some([("kubernetes.io/config.source".into(), "file".into())].into());
        assert!(is_critical(&mirror));
        mirror.metadata.annotations = Some([("kubernetes.io/config.source".into(), "api".into())].into());
        assert!(!is_critical(&mirror));
    }
}
