//! Decides what one `ReplicaSet` needs next. No I/O, no clock, no randomness.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;

use crate::common::counts::{count, nonzero};
use crate::common::{Claim, ObjectRef, meta, pods, selector};

/// The most pods that one look creates or deletes (`BurstReplicas`): a wrong zero too many must stay stoppable.
pub(super) const BURST: usize = 500;

/// The condition that says that pods could not be created or deleted.
const REPLICA_FAILURE: &str = "ReplicaFailure";

/// Everything the decision may look at.
pub(super) struct Observed<'a> {
    pub(super) set: &'a ReplicaSet,
    /// Every pod of the namespace that the selector matches or that the set controls.
    pub(super) pods: &'a [Arc<Pod>],
    /// The pods of all sets with the same controller, this one's included; those on crowded nodes are deleted first.
    pub(super) related: &'a [Arc<Pod>],
    pub(super) now: Timestamp,
}

/// What to do, in order, and what to report.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) actions: Vec<Action>,
    /// As observed, before the actions.
    pub(super) status: ReplicaSetStatus,
    /// Look again then, even if nothing changes: a ready pod becomes available.
    pub(super) revisit_at: Option<Timestamp>,
}

/// One step; each is safe alone and may be repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Becomes the controller of a pod that has none.
    Adopt(ObjectRef),
    /// Stops controlling a pod whose labels no longer match.
    Release(ObjectRef),
    /// Creates that many pods.
    Create(usize),
    /// Deletes one pod too many.
    Delete(ObjectRef),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Adopt(pod) => write!(f, "adopt {pod}: no controller, labels match"),
            Self::Release(pod) => write!(f, "release {pod}: labels no longer match"),
            Self::Create(count) => write!(f, "create {count}: too few replicas"),
            Self::Delete(pod) => write!(f, "delete {pod}: too many replicas"),
        }
    }
}

/// Where performing a plan failed, for the `ReplicaFailure` condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// A pod could not be created; the server's message.
    Create(String),
    /// A pod could not be deleted; the server's message.
    Delete(String),
}

/// Every pod in exactly one bucket.
#[derive(Default)]
struct Buckets<'a> {
    /// Ours and a replica.
    active: Vec<&'a Pod>,
    /// Ours and on its way out.
    terminating: Vec<&'a Pod>,
    /// A replica that nobody controls.
    adoptable: Vec<&'a Pod>,
    /// Ours, but no longer selected.
    releasable: Vec<&'a Pod>,
}

/// Decides.
pub(super) fn plan(observed: &Observed<'_>) -> Plan {
    let buckets = classify(observed);
    let set = observed.set;

    let mut actions = Vec::new();
    actions.extend(buckets.adoptable.iter().map(|pod| Action::Adopt(ObjectRef::of(&pod.metadata))));
    actions.extend(buckets.releasable.iter().map(|pod| Action::Release(ObjectRef::of(&pod.metadata))));
    if !meta::is_deleting(&set.metadata) {
        actions.extend(scale(observed, &buckets));
    }

    Plan { actions, status: status(observed, &buckets), revisit_at: next_available(observed, &buckets) }
}

/// Returns the status to write once the plan has been performed, or has failed at some point.
pub(super) fn status_after(
    mut status: ReplicaSetStatus,
    failure: Option<&Failure>,
    now: Timestamp,
) -> ReplicaSetStatus {
    let mut conditions = status.conditions.take().unwrap_or_default();
    let known = conditions.iter().any(|condition| condition.type_.as_deref() == Some(REPLICA_FAILURE));
    match failure {
        None => conditions.retain(|condition| condition.type_.as_deref() != Some(REPLICA_FAILURE)),
        // The first failure stands until a success: a message that changes with every attempt would be a write loop.
        Some(_) if known => {}
        Some(failure) => {
            let (reason, message) = match failure {
                Failure::Create(message) => ("FailedCreate", message),
                Failure::Delete(message) => ("FailedDelete", message),
            };
            conditions.push(ReplicaSetCondition {
                type_: Some(REPLICA_FAILURE.to_owned()),
                status: Some("True".to_owned()),
                reason: Some(reason.to_owned()),
                message: Some(message.clone()),
                last_transition_time: Some(meta::time(now)),
            });
        }
    }
    status.conditions = (!conditions.is_empty()).then_some(conditions);
    status
}

fn classify<'a>(observed: &Observed<'a>) -> Buckets<'a> {
    let mut buckets = Buckets::default();
    let (owner, selector) = (&observed.set.metadata, selector::of(&observed.set.spec.selector));
    let mut pods: Vec<&Pod> = observed.pods.iter().map(Arc::as_ref).collect();
    pods.sort_by_key(|pod| meta::name(&pod.metadata));
    for pod in pods {
        match Claim::judge(owner, &selector, &pod.metadata) {
            // Pods that have ended stay with whoever has them: they are no replicas any more.
            Claim::Owned | Claim::Adoptable | Claim::Releasable if pods::is_terminal(pod) => {}
            Claim::Owned if meta::is_deleting(&pod.metadata) => buckets.terminating.push(pod),
            Claim::Owned => buckets.active.push(pod),
            // A selector without terms would adopt the whole namespace; validation refuses it, and so do we.
            Claim::Adoptable if selector.is_everything() => {}
            Claim::Adoptable => buckets.adoptable.push(pod),
            Claim::Releasable if meta::is_deleting(&pod.metadata) => {}
            Claim::Releasable => buckets.releasable.push(pod),
            Claim::Foreign => {}
        }
    }
    buckets
}

fn scale(observed: &Observed<'_>, buckets: &Buckets<'_>) -> Vec<Action> {
    let desired = usize::try_from(observed.set.spec.replicas.unwrap_or(1)).unwrap_or_default();
    let current = buckets.active.len() + buckets.adoptable.len();
    if current < desired {
        return vec![Action::Create((desired - current).min(BURST))];
    }
    let related = pods::count_by_node(observed.related.iter().map(Arc::as_ref));
    let mut candidates: Vec<&Pod> = buckets.active.iter().chain(&buckets.adoptable).copied().collect();
    pods::sort_by_deletion_order(&mut candidates, &related, observed.now);
    let surplus = (current - desired).min(BURST);
    candidates.into_iter().take(surplus).map(|pod| Action::Delete(ObjectRef::of(&pod.metadata))).collect()
}

fn status(observed: &Observed<'_>, buckets: &Buckets<'_>) -> ReplicaSetStatus {
    let set = observed.set;
    let min_ready_seconds = set.spec.min_ready_seconds.unwrap_or_default();
    let template_labels = set.spec.template.as_ref().and_then(|template| template.metadata.as_ref()).map(meta::labels);
    let fully_labeled = |pod: &Pod| {
        let labels = meta::labels(&pod.metadata);
        template_labels.is_none_or(|wanted| wanted.iter().all(|(key, value)| labels.get(key) == Some(value)))
    };
    let is_available =
        |pod: &Pod| pods::available_at(pod, min_ready_seconds).is_some_and(|available| available <= observed.now);

    let active = || buckets.active.iter().chain(&buckets.adoptable).copied();
    ReplicaSetStatus {
        replicas: count(active()),
        fully_labeled_replicas: nonzero(count(active().filter(|pod| fully_labeled(pod)))),
        ready_replicas: nonzero(count(active().filter(|pod| pods::is_ready(pod)))),
        available_replicas: nonzero(count(active().filter(|pod| is_available(pod)))),
        terminating_replicas: Some(count(buckets.terminating.iter())),
        observed_generation: set.metadata.generation,
        conditions: set.status.as_ref().and_then(|status| status.conditions.clone()),
    }
}

fn next_available(observed: &Observed<'_>, buckets: &Buckets<'_>) -> Option<Timestamp> {
    let min_ready_seconds = observed.set.spec.min_ready_seconds.unwrap_or_default();
    let pending = buckets.active.iter().filter_map(|pod| pods::available_at(pod, min_ready_seconds));
    pending.filter(|at| *at > observed.now).min()
}
