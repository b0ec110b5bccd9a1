//! How daemons are replaced node by node when their template changes (`pkg/controller/daemon/update.go`). Pure.
//!
//! Without a surge an old pod is deleted and the next look starts the new one; with one the new pod starts beside the old
//! pod, which goes when the new one is available. Pods that are not available are replaced whatever the budget: they
//! serve nobody.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use wkube_api::intstr::{self, Round};

use super::plan::{Action, Why, World};
use crate::common::{ObjectRef, meta};

/// How many nodes may be without the daemon, or with two of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Budget {
    pub(super) unavailable: usize,
    pub(super) surge: usize,
}

impl Budget {
    /// Resolves the strategy's limits for so many nodes; percentages are rounded up (`UnavailableCount`, `SurgeCount`).
    pub(super) fn of(set: &DaemonSet, nodes: usize) -> Self {
        let strategy = set.spec.update_strategy.as_ref();
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let total = i32::try_from(nodes).unwrap_or(i32::MAX);
        let resolve = |value: &IntOrString| intstr::scaled(value, total, Round::Up).ok();
        let count = |value: Option<&IntOrString>| value.and_then(resolve).and_then(|count| usize::try_from(count).ok());
        let surge = count(rolling.and_then(|rolling| rolling.max_surge.as_ref())).unwrap_or(0);
        let unavailable = count(rolling.and_then(|rolling| rolling.max_unavailable.as_ref())).unwrap_or(1);
        // Both zero could never move.
        Self { unavailable: if surge == 0 && unavailable == 0 { 1 } else { unavailable }, surge }
    }
}

/// Whether the strategy lets two daemons be on a node (`AllowsSurge`).
pub(super) fn allows_surge(set: &DaemonSet) -> bool {
    Budget::of(set, 1).surge > 0
}

/// The daemons of one node, without those that go.
enum OnNode<'a> {
    /// Of one of the two kinds there are several: first they must become fewer.
    Crowded,
    /// At most one of each.
    Sorted { new: Option<&'a Pod>, old: Option<&'a Pod> },
}

fn sort<'a>(world: &World<'a>, node: &str) -> OnNode<'a> {
    let staying = world.on(node).iter().filter(|pod| !meta::is_deleting(&pod.metadata)).copied();
    let (new, old): (Vec<&Pod>, Vec<&Pod>) = staying.partition(|pod| world.is_updated(pod));
    if new.len() > 1 || old.len() > 1 {
        return OnNode::Crowded;
    }
    OnNode::Sorted { new: new.first().copied(), old: old.first().copied() }
}

/// Returns what the rollout does next, once there is as many pods as there should be.
pub(super) fn roll(world: &World<'_>) -> Vec<Action> {
    let budget = Budget::of(world.set, world.desired().count());
    if budget.surge == 0 { replace(world, budget.unavailable) } else { surge(world, budget.surge) }
}

fn delete(pod: &Pod) -> Action {
    Action::Delete(ObjectRef::of(&pod.metadata), Why::Outdated)
}

/// Deletes old pods, as many as may be missing at once.
fn replace(world: &World<'_>, unavailable_max: usize) -> Vec<Action> {
    let (mut unavailable, mut useless, mut candidates) = (0, Vec::new(), Vec::new());
    for node in world.places() {
        match sort(world, node) {
            // The next look adds or removes a pod there.
            OnNode::Crowded
            | OnNode::Sorted { new: None, old: None }
            | OnNode::Sorted { new: Some(_), old: Some(_) } => {
                unavailable += 1;
            }
            OnNode::Sorted { new: Some(new), old: None } => unavailable += usize::from(!world.is_available(new)),
            OnNode::Sorted { new: None, old: Some(old) } if world.is_available(old) => candidates.push(old),
            OnNode::Sorted { new: None, old: Some(old) } => useless.push(old),
        }
    }
    let left = unavailable_max.saturating_sub(unavailable);
    useless.into_iter().chain(candidates.into_iter().take(left)).map(delete).collect()
}

/// Starts new pods beside old ones, as many as may be too many at once, and deletes the old ones that are replaced.
fn surge(world: &World<'_>, surge_max: usize) -> Vec<Action> {
    let (mut surging, mut needed, mut candidates, mut replaced) = (0, Vec::new(), Vec::new(), Vec::new());
    for node in world.places() {
        match sort(world, node) {
            OnNode::Sorted { old: None, .. } => {}
            OnNode::Sorted { new: Some(new), old: Some(old) } if world.is_available(new) => replaced.push(old),
            OnNode::Crowded | OnNode::Sorted { new: Some(_), old: Some(_) } => surging += 1,
            // A node that takes no new pods keeps its old one.
            OnNode::Sorted { new: None, old: Some(_) } if !world.desired().any(|desired| desired == node) => {}
            OnNode::Sorted { new: None, old: Some(old) } if world.is_available(old) => candidates.push(node),
            OnNode::Sorted { new: None, old: Some(_) } => needed.push(node),
        }
    }
    let left = surge_max.saturating_sub(surging);
    let started = needed.into_iter().chain(candidates.into_iter().take(left));
    let mut actions: Vec<Action> = started.map(|node| Action::Create(node.to_owned())).collect();
    actions.extend(replaced.into_iter().map(delete));
    actions
}
