//! What a pod asks for and what it may have: requests, limits, and the class of service that follows from them. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Wire;
use wkube_api::quantity::Quantity;

use super::spec::{self, Place};
use crate::runtime::{Amounts, Share};

/// `MinShares` of the kubelet: what a container without a request gets.
const SHARES_MIN: i128 = 2;

/// A pod's class of service (`component-helpers/resource`, `GetPodQOS`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qos {
    /// Every container has limits, and requests equal to them.
    Guaranteed,
    /// Something in between.
    Burstable,
    /// No requests and no limits.
    BestEffort,
}

/// Returns the pod's class: as the API server said when the pod was made. For a pod that no server has seen, only
/// whether it asks for something is known for sure, and nothing here depends on more.
pub fn class(pod: &Pod) -> Qos {
    match pod.status.as_ref().and_then(|status| status.qos_class.as_deref()) {
        Some("Guaranteed") => Qos::Guaranteed,
        Some("Burstable") => Qos::Burstable,
        Some("BestEffort") => Qos::BestEffort,
        _ if ["cpu", "memory"].iter().all(|name| pod_request(pod, name).is_none_or(Quantity::is_zero)) => {
            Qos::BestEffort
        }
        _ => Qos::Burstable,
    }
}

/// Returns a container's request; without one, its limit counts.
pub fn request(container: &Container, resource: &str) -> Option<Quantity> {
    let requests = container.resources.as_ref().and_then(|of| of.requests.as_ref());
    let own = requests.and_then(|requests| requests.get(resource)?.0.parse().ok());
    own.or_else(|| spec::limit(container, resource))
}

/// Returns a container's weight among others (`pkg/kubelet/cm`, `MilliCPUToShares`).
pub fn shares(container: &Container) -> u32 {
    let millis = request(container, "cpu").map_or(0, Quantity::milli);
    u32::try_from((millis * 1024 / 1000).max(SHARES_MIN)).unwrap_or(u32::MAX)
}

/// Returns what a container may use beside others.
pub fn share(pod: &Pod, container: &Container) -> Share {
    Share {
        cpu_shares: shares(container),
        memory_promised: request(container, "memory").map_or(0, units),
        pod_memory_bytes: pod_limit(pod, "memory").map(units),
        pod_cpu_millis: pod_limit(pod, "cpu").and_then(|cpu| u32::try_from(cpu.milli()).ok()).filter(|cpu| *cpu > 0),
    }
}

/// Returns what a container may use.
pub fn amounts(pod: &Pod, container: &Container) -> Amounts {
    let (memory, cpu) = (spec::limit(container, "memory"), spec::limit(container, "cpu"));
    Amounts {
        memory_bytes: memory.and_then(|memory| u64::try_from(memory.value()).ok()),
        cpu_millis: cpu.and_then(|cpu| u32::try_from(cpu.milli()).ok()).filter(|millis| *millis > 0),
        share: share(pod, container),
    }
}

/// Returns what a pod asks for altogether; `None` if nothing in it asks.
pub fn pod_request(pod: &Pod, resource: &str) -> Option<Quantity> {
    let stated = whole(pod).and_then(|whole| read(whole.requests.as_ref().or(whole.limits.as_ref()), resource));
    let overhead = || read(pod.spec.as_ref()?.overhead.as_ref(), resource);
    stated
        .and_then(|stated| sum(Some(stated), overhead()))
        .or_else(|| together(pod, resource, |container| request(container, resource)))
}

/// Returns what a pod may have altogether; `None` if that is not limited. Disk is limited as soon as one container is
/// (`resource.PodLimits`); memory and processors only if all are, as a control group would be.
pub fn pod_limit(pod: &Pod, resource: &str) -> Option<Quantity> {
    if let Some(stated) = whole(pod).and_then(|whole| read(whole.limits.as_ref(), resource)) {
        return Some(stated);
    }
    let mut lasting = spec::containers(pod).filter(|(_, place)| *place != Place::Ephemeral);
    if resource != "ephemeral-storage" && lasting.any(|(container, _)| spec::limit(&container, resource).is_none()) {
        return None;
    }
    together(pod, resource, |container| spec::limit(container, resource))
}

/// Returns a quantity in whole units, for comparing it with what is measured.
pub fn units(amount: Quantity) -> u64 {
    u64::try_from(amount.value()).unwrap_or(if amount.is_negative() { 0 } else { u64::MAX })
}

/// `spec.resources`, which stands for all containers.
fn whole(pod: &Pod) -> Option<&ResourceRequirements> {
    pod.spec.as_ref()?.resources.as_ref()
}

fn read(list: Option<&BTreeMap<String, Wire>>, resource: &str) -> Option<Quantity> {
    list?.get(resource)?.0.parse().ok()
}

/// Containers run together, init containers one after the other, before them; sidecars beside both
/// (`component-helpers/resource`, `PodRequests`). `None` if no container has any.
fn together(pod: &Pod, resource: &str, of: impl Fn(&Container) -> Option<Quantity>) -> Option<Quantity> {
    let (mut mains, mut sidecars, mut inits) = (None, None, None);
    for (container, place) in spec::containers(pod) {
        let Some(amount) = of(&container) else { continue };
        match place {
            Place::Main => mains = sum(mains, Some(amount)),
            Place::Init if container.restart_policy.as_deref() == Some("Always") => {
                sidecars = sum(sidecars, Some(amount));
                inits = larger(inits, sidecars);
            }
            Place::Init => inits = larger(inits, sum(sidecars, Some(amount))),
            Place::Ephemeral => {}
        }
    }
    let all = larger(sum(mains, sidecars), inits)?;
    sum(Some(all), read(pod.spec.as_ref()?.overhead.as_ref(), resource))
}

fn sum(a: Option<Quantity>, b: Option<Quantity>) -> Option<Quantity> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.plus(b)),
        (one, None) | (None, one) => one,
    }
}

fn larger(a: Option<Quantity>, b: Option<Quantity>) -> Option<Quantity> {
    a.into_iter().chain(b).max_by_key(|amount| amount.nano())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(spec: Value) -> Pod {
        serde_json::from_value(json!({ "spec": spec })).unwrap()
    }

    fn container(memory: &str) -> Value {
        json!({ "name": "c", "resources": { "requests": { "memory": memory }, "limits": { "memory": memory } } })
    }

    fn text(amount: Option<Quantity>) -> Option<String> {
        amount.map(|amount| amount.to_string())
    }

    #[test]
    fn containers_add_up_and_init_containers_do_not() {
        let sidecar =
            json!({ "name": "s", "restartPolicy": "Always", "resources": { "requests": { "memory": "10Mi" } } });
        let pod = pod(json!({
            "initContainers": [container("100Mi"), sidecar, container("300Mi")],
            "containers": [container("128Mi"), container("128Mi")],
            "overhead": { "memory": "2Mi" },
        }));
        assert_eq!(text(pod_request(&pod, "memory")).as_deref(), Some("312Mi"));
        assert_eq!(pod_request(&pod, "cpu"), None);
        assert_eq!(pod_limit(&pod, "memory"), None, "the sidecar has no limit, so the pod has none");
    }

    #[test]
    fn a_pods_limit_reads_as_its_containers_were_written() {
        let two = pod(json!({ "containers": [container("512Mi"), container("512Mi")] }));
        assert_eq!(text(pod_limit(&two, "memory")).as_deref(), Some("1Gi"));
    }

    #[test]
    fn what_the_pod_says_itself_stands_for_its_containers() {
        let pod = pod(json!({ "containers": [{ "name": "c" }], "resources": { "limits": { "memory": "1Gi" } } }));
        assert_eq!(text(pod_limit(&pod, "memory")).as_deref(), Some("1Gi"));
        assert_eq!(text(pod_request(&pod, "memory")).as_deref(), Some("1Gi"));
    }

    #[test]
    fn shares_follow_the_request_and_are_never_nothing() {
        for (cpu, shares_expected) in [("1", 1024), ("100m", 102), ("250m", 256), ("0", 2), ("1m", 2)] {
            let container: Container =
                serde_json::from_value(json!({ "name": "c", "resources": { "requests": { "cpu": cpu } } })).unwrap();
            assert_eq!(shares(&container), shares_expected, "{cpu}");
        }
        assert_eq!(shares(&Container::default()), 2);
        let limited =
            serde_json::from_value(json!({ "name": "c", "resources": { "limits": { "cpu": "2" } } })).unwrap();
        assert_eq!(shares(&limited), 2048, "a limit is a request that was not written");
    }

    #[test]
    fn who_asks_for_nothing_is_best_effort() {
        let nothing = pod(json!({ "containers": [{ "name": "c" }] }));
        assert_eq!(class(&nothing), Qos::BestEffort);
        assert_eq!(class(&pod(json!({ "containers": [container("1Mi")] }))), Qos::Burstable);
        let mut said = nothing;
        said.status = serde_json::from_value(json!({ "qosClass": "Guaranteed" })).unwrap();
        assert_eq!(class(&said), Qos::Guaranteed);
    }
}
