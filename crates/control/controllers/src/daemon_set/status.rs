//! What a `DaemonSet` reports (`updateDaemonSetStatus`). Pure.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSetStatus;
use k8s_openapi::api::core::v1::Pod;

use super::nodes::Fate;
use super::plan::World;
use crate::common::counts::{count, nonzero};
use crate::common::{meta, pods};

/// Counts nodes, each by the pod on it that counts.
pub(super) fn of(world: &World<'_>, before: DaemonSetStatus) -> DaemonSetStatus {
    let counting = || world.desired().filter_map(|node| first(world, node));
    let misplaced = |node: &&str| {
        let known = world.fate(node);
        known.is_some_and(|fate| fate != Fate::Run) && !world.on(node).is_empty()
    };
    let desired = count(world.desired());
    let available = count(counting().filter(|pod| world.is_available(pod)));
    DaemonSetStatus {
        desired_number_scheduled: desired,
        current_number_scheduled: count(counting()),
        number_misscheduled: count(world.places().into_iter().filter(|node| misplaced(node))),
        number_ready: count(counting().filter(|pod| pods::is_ready(pod))),
        updated_number_scheduled: nonzero(count(counting().filter(|pod| world.is_updated(pod)))),
        number_available: nonzero(available),
        number_unavailable: nonzero(desired - available),
        observed_generation: world.set.metadata.generation,
        ..before
    }
}

fn first<'a>(world: &World<'a>, node: &str) -> Option<&'a Pod> {
    world.on(node).first().copied()
}

/// Returns when the next pod becomes available by itself.
pub(super) fn changes_at(world: &World<'_>) -> Option<Timestamp> {
    let places = world.places();
    let pods = places.iter().flat_map(|node| world.on(node));
    let staying = pods.filter(|pod| !meta::is_deleting(&pod.metadata));
    staying.filter_map(|pod| world.available_at(pod)).filter(|at| *at > world.now).min()
}
