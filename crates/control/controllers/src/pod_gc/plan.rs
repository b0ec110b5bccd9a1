//! Decides which pods nobody will ever finish (`pkg/controller/podgc`): those of vanished nodes, those that end before
//! they were placed, and the oldest of too many ended ones. Pure.

use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use crate::common::{ObjectRef, meta, pods};

/// How many ended pods are kept in the cluster (`--terminated-pod-gc-threshold`).
pub(super) const TERMINATED_MAX: usize = 12_500;

/// Everything the decision may look at.
pub(super) struct Observed<'a> {
    pub(super) pods: &'a [Arc<Pod>],
    /// Whether this node has been missing for longer than the quarantine.
    pub(super) is_gone: &'a dyn Fn(&str) -> bool,
    /// How many ended pods are kept.
    pub(super) terminated_max: usize,
}

/// One pod to delete without a grace period: nobody is there to grant it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Action {
    pub(super) namespace: String,
    pub(super) pod: ObjectRef,
    pub(super) why: Why,
}

/// Why a pod is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Its node does not exist any more; it is reported as failed first.
    NodeIsGone,
    /// As above, but it had ended already.
    EndedOnGoneNode,
    /// It was deleted before it was placed.
    NeverPlaced,
    /// There are too many ended pods, and it is among the oldest.
    TooManyEnded,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.why {
            Why::NodeIsGone => "its node is gone",
            Why::EndedOnGoneNode => "ended, and its node is gone",
            Why::NeverPlaced => "deleted before it was placed",
            Why::TooManyEnded => "too many pods have ended",
        };
        write!(f, "delete {}: {why}", self.pod)
    }
}

/// Decides.
pub(super) fn plan(observed: &Observed<'_>) -> Vec<Action> {
    let action = |pod: &Pod, why| Action {
        namespace: meta::namespace(&pod.metadata).to_owned(),
        pod: ObjectRef::of(&pod.metadata),
        why,
    };
    let (mut actions, mut ended) = (Vec::new(), Vec::new());
    for pod in observed.pods {
        match pods::node_name(pod) {
            Some(node) if (observed.is_gone)(node) => {
                let why = if pods::is_terminal(pod) { Why::EndedOnGoneNode } else { Why::NodeIsGone };
                actions.push(action(pod, why));
            }
            None if meta::is_deleting(&pod.metadata) => actions.push(action(pod, Why::NeverPlaced)),
            Some(_) | None if pods::is_terminal(pod) && !meta::is_deleting(&pod.metadata) => ended.push(pod.as_ref()),
            Some(_) | None => {}
        }
    }
    let surplus = ended.len().saturating_sub(observed.terminated_max);
    ended.sort_by_key(|pod| (meta::created_at(&pod.metadata), meta::name(&pod.metadata)));
    actions.extend(ended.into_iter().take(surplus).map(|pod| action(pod, Why::TooManyEnded)));
    actions
}
