//! Scaling what is there, without moving the rollout (`pkg/controller/deployment/sync.go`, `scale`).

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};

use super::budget::Budget;
use super::plan::{Action, Scale};
use super::revision::{DESIRED_REPLICAS, MAX_REPLICAS};
use super::sets::{self, Sets};
use crate::common::{ObjectRef, meta};

/// Whether the user changed `replicas` since the sets were last scaled: an active set remembers another number.
pub(super) fn is_due(budget: &Budget, sets: &Sets<'_>) -> bool {
    sets.active().any(|set| number(set, DESIRED_REPLICAS).is_some_and(|desired| desired != budget.replicas()))
}

/// Returns the scaling of one set.
pub(super) fn action(set: &ReplicaSet, to: i32, budget: &Budget) -> Action {
    Action::Scale(Scale {
        set: ObjectRef::of(&set.metadata),
        from: sets::replicas(set),
        to,
        desired: budget.replicas(),
        max: budget.max(),
    })
}

/// Returns what brings the sets to the Deployment's size, each in proportion to its share.
pub(super) fn scale(deployment: &Deployment, budget: &Budget, sets: &Sets<'_>) -> Vec<Action> {
    if let Some(only) = active_or_latest(sets) {
        return resize(only, budget.replicas(), budget).into_iter().collect();
    }
    if sets.new.is_some_and(|new| is_saturated(new, budget)) {
        return sets.old_active().map(|set| action(set, 0, budget)).collect();
    }
    match budget {
        Budget::Recreate { .. } => Vec::new(),
        Budget::Rolling { .. } => in_proportion(deployment, budget, sets),
    }
}

/// Returns the one set that takes all the scaling: the only active one, or the latest if none is
/// (`FindActiveOrLatest`).
fn active_or_latest<'a>(sets: &Sets<'a>) -> Option<&'a ReplicaSet> {
    let mut active = sets.active();
    match (active.next(), active.next()) {
        (None, _) => sets.new.or_else(|| sets.old.last().copied()),
        (Some(only), None) => Some(only),
        (Some(_), Some(_)) => None,
    }
}

/// Whether the new set alone is all that the user wants (`IsSaturated`).
fn is_saturated(new: &ReplicaSet, budget: &Budget) -> bool {
    let wanted = budget.replicas();
    sets::replicas(new) == wanted && number(new, DESIRED_REPLICAS) == Some(wanted) && sets::available(new) == wanted
}

/// Spreads the pods to add or to remove over the active sets; what rounding leaves over goes to the largest.
fn in_proportion(deployment: &Deployment, budget: &Budget, sets: &Sets<'_>) -> Vec<Action> {
    let mut active: Vec<&ReplicaSet> = sets.active().collect();
    let total: i32 = active.iter().copied().map(sets::replicas).sum();
    let allowed = if budget.replicas() > 0 { budget.max() } else { 0 };
    let to_add = allowed - total;

    // The largest first; among equals, newer ones grow first and older ones shrink first.
    active.sort_by_key(|set| (meta::created_at(&set.metadata), meta::name(&set.metadata).to_owned()));
    if to_add > 0 {
        active.reverse();
    }
    active.sort_by_key(|set| std::cmp::Reverse(sets::replicas(set)));

    let mut added = 0;
    let mut sizes = Vec::with_capacity(active.len());
    for set in active {
        let share = share(deployment, budget, set);
        let left = to_add - added;
        let share = if to_add > 0 { share.clamp(0, left.max(0)) } else { share.clamp(left.min(0), 0) };
        added += share;
        sizes.push((set, sets::replicas(set) + share));
    }
    if let Some((_, largest)) = sizes.first_mut() {
        *largest = (*largest + to_add - added).max(0);
    }
    sizes.into_iter().filter_map(|(set, size)| resize(set, size, budget)).collect()
}

/// Returns by how much the set changes if it keeps its share of the whole (`getReplicaSetFraction`).
fn share(deployment: &Deployment, budget: &Budget, set: &ReplicaSet) -> i32 {
    let size = sets::replicas(set);
    if budget.replicas() == 0 {
        return -size;
    }
    let reported = deployment.status.as_ref().and_then(|status| status.replicas);
    let before = number(set, MAX_REPLICAS).filter(|max| *max != 0).or(reported).unwrap_or_default();
    if before <= 0 {
        return 0;
    }
    let (size, before) = (i64::from(size), i64::from(before));
    // Rounded to the nearest, halves up: sizes are never negative.
    let wanted = (2 * size * i64::from(budget.max()) + before) / (2 * before);
    i32::try_from(wanted - size).unwrap_or_default()
}

/// Returns the scaling if it changes the size or what the set remembers.
fn resize(set: &ReplicaSet, to: i32, budget: &Budget) -> Option<Action> {
    let remembers =
        number(set, DESIRED_REPLICAS) == Some(budget.replicas()) && number(set, MAX_REPLICAS) == Some(budget.max());
    (to != sets::replicas(set) || !remembers).then(|| action(set, to, budget))
}

fn number(set: &ReplicaSet, annotation: &str) -> Option<i32> {
    meta::annotation(&set.metadata, annotation)?.parse().ok()
}
