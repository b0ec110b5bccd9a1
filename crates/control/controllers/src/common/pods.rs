//! What a workload asks about a pod: is it done, ready, available, and which one goes first when there are too many.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::common::meta;

/// The annotation that says how dear a pod is: cheaper ones are deleted first.
pub(crate) const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Returns `status.phase`, or `""`.
pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// Whether the pod has ended for good, well or not.
pub(crate) fn is_terminal(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Whether the pod counts as a replica: neither ended nor about to (`controller.IsPodActive`).
pub(crate) fn is_active(pod: &Pod) -> bool {
    !is_terminal(pod) && !meta::is_deleting(&pod.metadata)
}

/// Returns a condition of the pod.
pub(crate) fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

/// Whether the pod is ready to serve.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    ready_since(pod).is_some()
}

/// Returns since when the pod has been ready; `None` if it is not. A ready pod that does not say since when is taken to
/// have been so for ever.
pub(crate) fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let ready = condition(pod, "Ready").filter(|condition| condition.status == "True")?;
    Some(ready.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0))
}

/// Returns when the pod becomes (or became) available: ready for `min_ready_seconds` without a break.
pub(crate) fn available_at(pod: &Pod, min_ready_seconds: i32) -> Option<Timestamp> {
    Some(meta::after_seconds(ready_since(pod)?, i64::from(min_ready_seconds)))
}

/// Returns when the pod ended: when its last container did, or the best that is known instead (`getFinishedTime`).
pub(crate) fn ended_at(pod: &Pod) -> Timestamp {
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let ends = statuses.filter_map(|status| status.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref());
    let last = ends.map(|time| time.0).max();
    let not_ready = condition(pod, "Ready").and_then(|condition| condition.last_transition_time.as_ref());
    let deleted = pod.metadata.deletion_timestamp.as_ref();
    let other = not_ready.or(deleted).map_or_else(|| meta::created_at(&pod.metadata), |time| time.0);
    last.unwrap_or(other)
}

/// Returns the node that the pod is bound to.
pub(crate) fn node_name(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
}

/// Sorts pods so that those to be deleted first come first (`ActivePodsWithRanks`, `pkg/controller/controller_utils.go`).
/// `related` counts the workload's active pods on each node: crowded nodes give up pods first.
///
/// Kubernetes compares pods pair by pair, and pods whose ages fall into the same power of two by uid before it looks at
/// restarts; that order is not transitive. Here the same questions, in the same sequence, form one key.
pub(crate) fn sort_by_deletion_order(pods: &mut [&Pod], related: &BTreeMap<&str, usize>, now: Timestamp) {
    pods.sort_by_cached_key(|pod| {
        let on_same_node = node_name(pod).and_then(|node| related.get(node)).copied().unwrap_or_default();
        let phase_rank = match phase(pod) {
            "Running" => 2,
            "Unknown" => 1,
            _ => 0,
        };
        (
            node_name(pod).is_some(),
            phase_rank,
            is_ready(pod),
            deletion_cost(pod),
            Reverse(on_same_node),
            ready_since(pod).map(|since| age_bucket(since, now)),
            Reverse(restarts(pod)),
            age_bucket(meta::created_at(&pod.metadata), now),
            meta::uid(&pod.metadata).to_owned(),
        )
    });
}

/// Counts active pods per node.
pub(crate) fn count_by_node<'a>(pods: impl IntoIterator<Item = &'a Pod>) -> BTreeMap<&'a str, usize> {
    let mut counts = BTreeMap::new();
    for node in pods.into_iter().filter(|pod| is_active(pod)).filter_map(node_name) {
        *counts.entry(node).or_default() += 1;
    }
    counts
}

/// Returns the most restarts of any container of the pod.
fn restarts(pod: &Pod) -> i32 {
    let Some(status) = &pod.status else { return 0 };
    let containers = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
    containers.map(|container| container.restart_count).max().unwrap_or_default()
}

fn deletion_cost(pod: &Pod) -> i32 {
    meta::annotation(&pod.metadata, DELETION_COST).and_then(|cost| cost.parse().ok()).unwrap_or_default()
}

/// Returns the age's power of two in nanoseconds: pods of about the same age are alike, so that scaling down does not
/// always take the newest failure domain (`LogarithmicScaleDown`). No age, or one in the future, comes first.
fn age_bucket(since: Timestamp, now: Timestamp) -> i32 {
    let age = now.as_nanosecond() - since.as_nanosecond();
    u128::try_from(age).ok().and_then(u128::checked_ilog2).map_or(-1, u32::cast_signed)
}

/// Makes the pod of a template for its controller; the server completes the name.
pub(crate) fn from_template(
    template: &PodTemplateSpec,
    namespace: &str,
    name_prefix: String,
    owner: OwnerReference,
) -> Pod {
    let made_of = template.metadata.as_ref();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(name_prefix),
            namespace: Some(namespace.to_owned()),
            labels: made_of.and_then(|meta| meta.labels.clone()),
            annotations: made_of.and_then(|meta| meta.annotations.clone()),
            finalizers: made_of.and_then(|meta| meta.finalizers.clone()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}
