//! The arithmetic of a rolling update (`pkg/controller/deployment/rolling.go`).

use k8s_openapi::api::apps::v1::ReplicaSet;

use super::budget::Budget;
use super::sets::{self, Sets};

/// Returns how large the new set should be now (`NewRSNewReplicas`): what the surge leaves room for.
pub(super) fn new_size(budget: &Budget, sets: &Sets<'_>) -> i32 {
    let current = sets.new.map(sets::replicas).unwrap_or_default();
    if current >= budget.replicas() {
        return budget.replicas();
    }
    let room = (budget.max() - sets.replicas()).max(0);
    current + room.min(budget.replicas() - current)
}

/// Returns the old sets that shrink now, with their new sizes: first the pods that are not available anyway, then
/// available ones as far as enough others are available (`reconcileOldReplicaSets`).
pub(super) fn shrink_old<'a>(budget: &Budget, sets: &Sets<'a>) -> Vec<(&'a ReplicaSet, i32)> {
    let mut sizes: Vec<(&ReplicaSet, i32)> = sets.old.iter().map(|set| (*set, sets::replicas(set))).collect();
    let new_unavailable = sets.new.map(|set| sets::replicas(set) - sets::available(set)).unwrap_or_default();
    // Pods of the new set that do not run yet may fail for ever; they must not cost available old ones.
    let removable = sets.replicas() - budget.min_available() - new_unavailable;
    if removable <= 0 {
        return Vec::new();
    }

    let mut left = removable;
    for (set, size) in &mut sizes {
        let unhealthy = (*size - sets::available(set)).max(0);
        let removed = unhealthy.min(left);
        *size -= removed;
        left -= removed;
    }
    let mut left = (sets.all().map(lasting).sum::<i32>() - budget.min_available()).max(0);
    for (_, size) in &mut sizes {
        let removed = (*size).min(left);
        *size -= removed;
        left -= removed;
    }
    sizes.into_iter().filter(|(set, size)| *size != sets::replicas(set)).collect()
}

/// How many pods of the set are available and will stay. The status may not know yet of those that the set's last
/// shrinking takes away; counting them would take away others in their place (upstream does, and then has too few).
fn lasting(set: &ReplicaSet) -> i32 {
    sets::available(set).min(sets::replicas(set))
}
