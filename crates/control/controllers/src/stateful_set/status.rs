//! What a `StatefulSet` reports (`updateStatus`, `completeRollingUpdate`). Pure.

use k8s_openapi::api::apps::v1::StatefulSetStatus;
use k8s_openapi::api::core::v1::Pod;

use super::plan::{World, is_ready, revision_of};
use crate::common::counts::{count, nonzero};
use crate::common::{meta, pods};

/// Counts the pods, those that are too many included.
pub(super) fn of(world: &World<'_>, before: StatefulSetStatus) -> StatefulSetStatus {
    let created = || world.pods().filter(|pod| !pods::phase(pod).is_empty());
    let staying = || created().filter(|pod| !meta::is_deleting(&pod.metadata));
    let is_current = |pod: &&Pod| revision_of(pod) == Some(world.current);
    let mut status = StatefulSetStatus {
        replicas: count(created()),
        ready_replicas: nonzero(count(created().filter(|pod| is_ready(pod)))),
        available_replicas: Some(count(created().filter(|pod| world.is_available(pod)))),
        current_replicas: nonzero(count(staying().filter(is_current))),
        updated_replicas: nonzero(count(staying().filter(|pod| world.is_updated(pod)))),
        current_revision: Some(world.current.to_owned()),
        update_revision: Some(world.update.to_owned()),
        observed_generation: world.set.metadata.generation,
        // Zero is written, as Kubernetes writes it once it has looked.
        collision_count: Some(before.collision_count.unwrap_or_default()),
        conditions: before.conditions,
    };
    let desired = world.desired();
    let is_complete = [status.updated_replicas, status.ready_replicas, Some(status.replicas)]
        .into_iter()
        .all(|count| count.unwrap_or_default() == desired);
    if is_complete && world.is_rolling() {
        status.current_revision.clone_from(&status.update_revision);
        status.current_replicas = status.updated_replicas;
    }
    status
}
