//! Decides what becomes of one node and its pods (`pkg/controller/nodelifecycle`, `tainteviction`, `nodeipam`). Pure.
//!
//! ```text
//! no sign of life for 40 s ─▶ conditions Unknown, taint unreachable ─▶ pods not ready ─▶ pods evicted when their
//! kubelet says not ready   ─▶ taint not-ready                        ─▶ pods not ready      tolerations have run out
//! ```

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod, Taint};

use super::eviction;
use super::taints;
use crate::common::{ObjectRef, meta, pods};

/// How long a node may be silent, in seconds (`--node-monitor-grace-period`).
pub(super) const GRACE: i64 = 40;

/// The conditions that a kubelet reports, and that nobody knows when it does not.
const CONDITIONS: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// Everything the decision may look at.
pub(super) struct Observed<'a> {
    pub(super) node: &'a Node,
    /// The pods bound to it.
    pub(super) pods: &'a [Arc<Pod>],
    /// When, by our own clock, the node last showed a sign of life: its clock may be wrong.
    pub(super) heard_at: Timestamp,
    /// Whether any node shows signs of life. If none does, it is we who are cut off, and nothing is evicted.
    pub(super) any_alive: bool,
    /// The pod addresses to give to this node if it has none.
    pub(super) free_cidr: Option<&'a str>,
    pub(super) now: Timestamp,
}

/// What to do, in order.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) actions: Vec<Action>,
    pub(super) revisit_at: Option<Timestamp>,
}

/// One step; each is safe alone and may be repeated.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Action {
    /// Gives the node the addresses of its pods.
    AssignCidr(String),
    /// Reports what nobody knows any more.
    SetConditions(Vec<NodeCondition>),
    /// Replaces all taints.
    SetTaints(Vec<Taint>),
    /// Takes a pod out of service.
    MarkNotReady(PodKey),
    /// Deletes a pod that does not tolerate the node's state any longer.
    Evict(PodKey),
}

/// A pod of any namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PodKey {
    pub(super) namespace: String,
    pub(super) pod: ObjectRef,
}

impl PodKey {
    pub(super) fn of(pod: &Pod) -> Self {
        Self { namespace: meta::namespace(&pod.metadata).to_owned(), pod: ObjectRef::of(&pod.metadata) }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AssignCidr(cidr) => write!(f, "assign {cidr}"),
            Self::SetConditions(conditions) => {
                let texts: Vec<String> =
                    conditions.iter().map(|condition| format!("{}={}", condition.type_, condition.status)).collect();
                write!(f, "conditions {}", texts.join(" "))
            }
            Self::SetTaints(taints) => {
                let texts: Vec<String> = taints.iter().map(|taint| format!("{}:{}", taint.key, taint.effect)).collect();
                write!(f, "taints [{}]", texts.join(" "))
            }
            Self::MarkNotReady(pod) => write!(f, "mark {} not ready", pod.pod),
            Self::Evict(pod) => write!(f, "evict {}", pod.pod),
        }
    }
}

/// Decides.
pub(super) fn plan(observed: &Observed<'_>) -> Plan {
    let (node, now) = (observed.node, observed.now);
    if meta::is_deleting(&node.metadata) {
        return Plan::default();
    }
    let mut plan = Plan::default();
    if let Some(cidr) = observed.free_cidr.filter(|_| pod_cidr(node).is_none()) {
        plan.actions.push(Action::AssignCidr(cidr.to_owned()));
    }

    let silent_at = meta::after_seconds(observed.heard_at, GRACE);
    let is_silent = silent_at <= now;
    if is_silent {
        let unknown = unknown_conditions(node, now);
        if !unknown.is_empty() {
            plan.actions.push(Action::SetConditions(unknown));
        }
    } else {
        plan.revisit_at = Some(silent_at);
    }

    let readiness = if is_silent { Readiness::Unknown } else { Readiness::of(node) };
    let wanted = taints::wanted(node, readiness, observed.any_alive, now);
    let current = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    if wanted != current {
        plan.actions.push(Action::SetTaints(wanted));
    }
    if readiness != Readiness::Ready && condition(node, "Ready").is_some() {
        let in_service = observed.pods.iter().filter(|pod| pods::is_ready(pod) && !pods::is_terminal(pod));
        plan.actions.extend(in_service.map(|pod| Action::MarkNotReady(PodKey::of(pod))));
    }

    // Judged by the taints that are there, so that their times say when pods may no longer tolerate them.
    for pod in observed.pods.iter().filter(|pod| pods::is_active(pod)) {
        match eviction::due_at(pod, current, observed.heard_at) {
            Some(due) if due <= now && observed.any_alive => plan.actions.push(Action::Evict(PodKey::of(pod))),
            due => plan.revisit_at = meta::earliest(plan.revisit_at, due.filter(|due| *due > now)),
        }
    }
    plan
}

/// What is known about a node's readiness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readiness {
    /// It is ready.
    Ready,
    /// It says that it is not, or has not said anything yet.
    NotReady,
    /// It does not say anything any more.
    Unknown,
}

impl Readiness {
    /// Returns what the node's condition says.
    pub(super) fn of(node: &Node) -> Self {
        match condition(node, "Ready").map(|condition| condition.status.as_str()) {
            Some("True") => Self::Ready,
            Some("Unknown") => Self::Unknown,
            Some(_) | None => Self::NotReady,
        }
    }
}

/// Returns a condition of the node.
pub(super) fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    node.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

/// Returns the addresses of the node's pods.
pub(super) fn pod_cidr(node: &Node) -> Option<&str> {
    node.spec.as_ref()?.pod_cidr.as_deref().filter(|cidr| !cidr.is_empty())
}

/// Returns the conditions that turn to `Unknown`; none if they all have already.
fn unknown_conditions(node: &Node, now: Timestamp) -> Vec<NodeCondition> {
    let turned = CONDITIONS.iter().filter_map(|kind| {
        let known = condition(node, kind);
        if known.is_some_and(|known| known.status == "Unknown") {
            return None;
        }
        let (reason, message) = match known {
            Some(_) => ("NodeStatusUnknown", "Kubelet stopped posting node status."),
            None => ("NodeStatusNeverUpdated", "Kubelet never posted node status."),
        };
        let created = || meta::time(meta::created_at(&node.metadata));
        let heartbeat = known.map_or_else(|| Some(created()), |known| known.last_heartbeat_time.clone());
        Some(NodeCondition {
            type_: (*kind).to_owned(),
            status: "Unknown".to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_heartbeat_time: heartbeat,
            last_transition_time: Some(meta::time(now)),
        })
    });
    turned.collect()
}
