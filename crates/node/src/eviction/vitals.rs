//! What the node's last look at itself found, for those who answer questions about it or let pods in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ContainerImage, Pod, Toleration};
use parking_lot::RwLock;

use super::local::Usage;
use super::rank::is_critical;
use super::signals::{Condition, Observation};
use crate::pod::qos::{self, Qos};

/// The shared findings. Clones see the same.
#[derive(Debug, Clone, Default)]
pub struct Vitals(Arc<RwLock<Findings>>);

#[derive(Debug, Default)]
struct Findings {
    conditions: BTreeSet<Condition>,
    observations: Vec<Observation>,
    disk: BTreeMap<String, Usage>,
    images: Vec<ContainerImage>,
}

impl Vitals {
    /// Returns the conditions that hold.
    pub fn conditions(&self) -> BTreeSet<Condition> {
        self.0.read().conditions.clone()
    }

    /// Returns what was left of everything.
    pub fn observations(&self) -> Vec<Observation> {
        self.0.read().observations.clone()
    }

    /// Returns what a pod had on disk, if it has been measured.
    pub fn disk_of(&self, uid: &str) -> Option<Usage> {
        self.0.read().disk.get(uid).cloned()
    }

    /// Returns the images, the largest first.
    pub fn images(&self) -> Vec<ContainerImage> {
        self.0.read().images.clone()
    }

    /// Returns why a new pod must not start here now; `None` if it may.
    pub fn refusal(&self, pod: &Pod) -> Option<String> {
        refusal(&self.0.read().conditions, pod)
    }

    pub(super) fn set_state(&self, conditions: BTreeSet<Condition>, observations: Vec<Observation>) {
        let mut findings = self.0.write();
        findings.conditions = conditions;
        findings.observations = observations;
    }

    pub(super) fn set_disk(&self, uid: &str, usage: Usage) {
        self.0.write().disk.insert(uid.to_owned(), usage);
    }

    /// Forgets the pods that are not among `uids`.
    pub(super) fn retain(&self, uids: &BTreeSet<String>) {
        self.0.write().disk.retain(|uid, _| uids.contains(uid));
    }

    pub(super) fn set_images(&self, images: Vec<ContainerImage>) {
        self.0.write().images = images;
    }
}

/// As the kubelet admits (`eviction_manager.go`, `Admit`): under memory pressure alone, pods that were promised memory may
/// still come; under any other, only those that the node cannot do without.
fn refusal(conditions: &BTreeSet<Condition>, pod: &Pod) -> Option<String> {
    if conditions.is_empty() || is_critical(pod) {
        return None;
    }
    let only_memory = conditions.iter().eq([&Condition::MemoryPressure]);
    if only_memory && (qos::class(pod) != Qos::BestEffort || tolerates_memory_pressure(pod)) {
        return None;
    }
    let names: Vec<&str> = conditions.iter().map(|condition| condition.name()).collect();
    Some(format!("The node had condition: [{}]. ", names.join(" ")))
}

fn tolerates_memory_pressure(pod: &Pod) -> bool {
    let of_taint = |toleration: &Toleration| {
        let is_effect = toleration.effect.as_deref().is_none_or(|effect| effect.is_empty() || effect == "NoSchedule");
        let key = toleration.key.as_deref().unwrap_or_default();
        let exists = toleration.operator.as_deref() == Some("Exists");
        let is_value = exists || toleration.value.as_deref().unwrap_or_default().is_empty();
        let is_key = key == "node.kubernetes.io/memory-pressure" || (key.is_empty() && exists);
        is_effect && is_key && is_value
    };
    pod.spec.iter().flat_map(|spec| spec.tolerations.iter().flatten()).any(of_taint)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(conditions: &[Condition], spec: Value) -> Option<String> {
        let pod: Pod = serde_json::from_value(json!({ "metadata": { "name": "p" }, "spec": spec })).unwrap();
        refusal(&conditions.iter().copied().collect(), &pod)
    }

    fn best_effort() -> Value {
        json!({ "containers": [{ "name": "c" }] })
    }

    fn burstable() -> Value {
        json!({ "containers": [{ "name": "c", "resources": { "requests": { "memory": "1Mi" } } }] })
    }

    #[test]
    fn without_pressure_everybody_may_come() {
        assert_eq!(check(&[], best_effort()), None);
    }

    #[test]
    fn under_memory_pressure_those_without_a_promise_stay_out() {
        let pressure = [Condition::MemoryPressure];
        let refused = check(&pressure, best_effort());
        assert_eq!(refused.as_deref(), Some("The node had condition: [MemoryPressure]. "));
        assert_eq!(check(&pressure, burstable()), None);
        for toleration in [
            json!({ "key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule" }),
            json!({ "operator": "Exists" }),
        ] {
            let mut spec = best_effort();
            spec["tolerations"] = json!([toleration]);
            assert_eq!(check(&pressure, spec), None);
        }
        let mut other = best_effort();
        other["tolerations"] = json!([{ "key": "node.kubernetes.io/disk-pressure", "operator": "Exists" }]);
        assert!(check(&pressure, other).is_some());
    }

    #[test]
    fn under_any_other_pressure_only_what_is_critical_may_come() {
        let both = [Condition::MemoryPressure, Condition::DiskPressure];
        let refused = check(&both, burstable());
        assert_eq!(refused.as_deref(), Some("The node had condition: [MemoryPressure DiskPressure]. "));
        let mut critical = best_effort();
        critical["priority"] = json!(2_000_001_000);
        assert_eq!(check(&both, critical), None);
    }
}
