//! The taints that say what state a node is in (`nodeConditionToTaintKeyStatusMap`).

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Taint};

use super::plan::{Readiness, condition};
use crate::common::meta;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// Conditions that keep new pods away while they are true, with their taints.
const PRESSURES: [(&str, &str); 4] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
];

/// The effect that keeps new pods away.
pub(super) const NO_SCHEDULE: &str = "NoSchedule";
/// The effect that drives pods out.
pub(super) const NO_EXECUTE: &str = "NoExecute";

/// Returns all taints that the node should have: those of others as they are, then ours. Taints that stay keep their
/// time, from which evictions count.
pub(super) fn wanted(node: &Node, readiness: Readiness, any_alive: bool, now: Timestamp) -> Vec<Taint> {
    let spec = node.spec.as_ref();
    let current = spec.and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    match readiness {
        Readiness::Ready => {}
        Readiness::NotReady => wanted.extend([(NOT_READY, NO_SCHEDULE), (NOT_READY, NO_EXECUTE)]),
        Readiness::Unknown => wanted.extend([(UNREACHABLE, NO_SCHEDULE), (UNREACHABLE, NO_EXECUTE)]),
    }
    if spec.and_then(|spec| spec.unschedulable) == Some(true) {
        wanted.push((UNSCHEDULABLE, NO_SCHEDULE));
    }
    let is_true = |kind: &str| condition(node, kind).is_some_and(|condition| condition.status == "True");
    wanted.extend(PRESSURES.iter().filter(|(kind, _)| is_true(kind)).map(|(_, key)| (*key, NO_SCHEDULE)));
    if !any_alive {
        // Nobody is heard of: pods are not driven out of nodes that probably run well.
        wanted.retain(|(_, effect)| *effect != NO_EXECUTE);
    }

    let is = |taint: &Taint, (key, effect): (&str, &str)| taint.key == key && taint.effect == effect;
    let mut taints: Vec<Taint> =
        current.iter().filter(|taint| !is_ours(taint) || wanted.iter().any(|one| is(taint, *one))).cloned().collect();
    for (key, effect) in wanted {
        if !taints.iter().any(|taint| is(taint, (key, effect))) {
            let time_added = Some(meta::time(now));
            taints.push(Taint { key: key.to_owned(), effect: effect.to_owned(), value: None, time_added });
        }
    }
    taints
}

fn is_ours(taint: &Taint) -> bool {
    let key = taint.key.as_str();
    matches!(key, NOT_READY | UNREACHABLE | UNSCHEDULABLE) || PRESSURES.iter().any(|(_, pressure)| *pressure == key)
}
