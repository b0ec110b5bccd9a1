//! What scheduling needs to know of a pod, worked out once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodAffinityTerm, PodSpec, Toleration};
use wkube_api::ObjectKey;
use wkube_api::selector::LabelSelector;
use wkube_client::Kind as _;

use crate::resources::{Resources, pod_requests, pod_requests_stated};

/// The scheduler's name in `spec.schedulerName`; pods that name another are left alone.
pub const SCHEDULER_NAME: &str = "default-scheduler";

/// The reason of the condition `DisruptionTarget` of pods that a scheduler made go.
pub const PREEMPTED: &str = "PreemptionByScheduler";

/// A pod with what its spec means for scheduling.
#[derive(Debug, Clone)]
pub struct PodInfo {
    /// The pod as last seen.
    pub pod: Arc<Pod>,
    /// What it asks for.
    pub requests: Resources,
    /// What it counts as when nodes are compared.
    pub requests_stated: Resources,
    /// The ports of its host that it takes.
    pub host_ports: Vec<HostPort>,
    /// Which pods must be near.
    pub affinity: Vec<Term>,
    /// Which pods must not be near.
    pub anti_affinity: Vec<Term>,
    /// Which pods should be near, by weight; a negative weight means that they should not.
    pub preferences: Vec<(i64, Term)>,
}

/// A port on the node itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    /// The address; `0.0.0.0` is every one.
    pub ip: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The number.
    pub port: i32,
}

impl HostPort {
    /// Whether both cannot be taken on one node.
    pub fn collides_with(&self, other: &Self) -> bool {
        const EVERY: &str = "0.0.0.0";
        let ips = self.ip == other.ip || self.ip == EVERY || other.ip == EVERY;
        ips && self.protocol == other.protocol && self.port == other.port
    }
}

/// Pods that something must be near to or far from.
#[derive(Debug, Clone)]
pub struct Term {
    selector: LabelSelector,
    /// `None` means all.
    namespaces: Option<BTreeSet<String>>,
    /// Nodes with the same value of this label are near each other.
    pub topology_key: String,
}

impl Term {
    /// Whether a pod is meant.
    pub fn selects(&self, pod: &Pod) -> bool {
        let here = self.namespaces.as_ref().is_none_or(|namespaces| namespaces.contains(pod.namespace()));
        here && self.selector.matches_owned(pod.labels())
    }

    fn read(term: &PodAffinityTerm, pod: &Pod) -> Self {
        // A selector by namespace labels would need the namespaces; the empty one means all of them. Any other means
        // the listed namespaces alone.
        let all = term.namespace_selector.as_ref().is_some_and(|selector| {
            selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
                && selector.match_expressions.as_ref().is_none_or(Vec::is_empty)
        });
        let mut listed: BTreeSet<String> = term.namespaces.iter().flatten().cloned().collect();
        if listed.is_empty() && term.namespace_selector.is_none() {
            listed.insert(pod.namespace().to_owned());
        }
        Self {
            // The API server has validated it; matching nothing is the safe reading of what is still malformed.
            selector: LabelSelector::from_typed(term.label_selector.as_ref())
                .unwrap_or_else(|_| LabelSelector::nothing()),
            namespaces: (!all).then_some(listed),
            topology_key: term.topology_key.clone(),
        }
    }
}

impl PodInfo {
    /// Works a pod out.
    pub fn new(pod: Arc<Pod>) -> Self {
        let empty = PodSpec::default();
        let spec = pod.spec.as_ref().unwrap_or(&empty);
        let affinity = spec.affinity.as_ref();
        let near = affinity.and_then(|affinity| affinity.pod_affinity.as_ref());
        let far = affinity.and_then(|affinity| affinity.pod_anti_affinity.as_ref());
        let near_required = near.and_then(|near| near.required_during_scheduling_ignored_during_execution.as_ref());
        let far_required = far.and_then(|far| far.required_during_scheduling_ignored_during_execution.as_ref());
        let near_preferred = near.and_then(|near| near.preferred_during_scheduling_ignored_during_execution.as_ref());
        let far_preferred = far.and_then(|far| far.preferred_during_scheduling_ignored_during_execution.as_ref());
        let wished = near_preferred.into_iter().flatten().map(|term| (i64::from(term.weight), &term.pod_affinity_term));
        let unwished =
            far_preferred.into_iter().flatten().map(|term| (-i64::from(term.weight), &term.pod_affinity_term));
        Self {
            requests: pod_requests(spec),
            requests_stated: pod_requests_stated(spec),
            host_ports: host_ports(spec),
            affinity: near_required.into_iter().flatten().map(|term| Term::read(term, &pod)).collect(),
            anti_affinity: far_required.into_iter().flatten().map(|term| Term::read(term, &pod)).collect(),
            preferences: wished.chain(unwished).map(|(weight, term)| (weight, Term::read(term, &pod))).collect(),
            pod,
        }
    }

    /// Returns the namespace and name.
    pub fn key(&self) -> ObjectKey {
        self.pod.key()
    }

    /// Returns the uid.
    pub fn uid(&self) -> &str {
        self.pod.uid()
    }

    /// Returns `spec`.
    pub fn spec(&self) -> Option<&PodSpec> {
        self.pod.spec.as_ref()
    }

    /// Returns the priority; without one, zero.
    pub fn priority(&self) -> i32 {
        self.spec().and_then(|spec| spec.priority).unwrap_or_default()
    }

    /// Returns the node that the pod is bound to.
    pub fn node_name(&self) -> Option<&str> {
        self.spec()?.node_name.as_deref().filter(|name| !name.is_empty())
    }

    /// Whether the pod may make others go.
    pub fn may_preempt(&self) -> bool {
        self.spec().and_then(|spec| spec.preemption_policy.as_deref()) != Some("Never")
    }

    /// Whether the pod is on its way out because a scheduler preempted it.
    pub fn is_preempted(&self) -> bool {
        let conditions = self.pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        self.pod.is_deleting()
            && conditions.iter().any(|condition| {
                condition.type_ == "DisruptionTarget"
                    && condition.status == "True"
                    && condition.reason.as_deref() == Some(PREEMPTED)
            })
    }

    /// Returns the node that its status says is kept for it.
    pub fn nominated_node(&self) -> Option<&str> {
        nominated_node(&self.pod)
    }

    /// Returns its tolerations.
    pub fn tolerations(&self) -> &[Toleration] {
        self.spec().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default()
    }

    /// Whether the pod has ended for good, so that it takes nothing from its node any more.
    pub fn is_terminal(&self) -> bool {
        let phase = self.pod.status.as_ref().and_then(|status| status.phase.as_deref());
        matches!(phase, Some("Succeeded" | "Failed"))
    }

    /// Whether this scheduler should find a node for it now.
    pub fn wants_a_node(&self) -> bool {
        let Some(spec) = self.spec() else { return false };
        let ours = spec.scheduler_name.as_deref().is_none_or(|name| name.is_empty() || name == SCHEDULER_NAME);
        let gated = spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty());
        ours && !gated && self.node_name().is_none() && !self.is_terminal() && !self.pod.is_deleting()
    }

    /// Whether two states of a pod are scheduled alike, so that what rejected the one rejects the other.
    pub fn schedules_like(&self, other: &Self) -> bool {
        self.uid() == other.uid() && self.pod.spec == other.pod.spec && self.pod.labels() == other.pod.labels()
    }
}

/// Returns `status.nominatedNodeName`.
pub(crate) fn nominated_node(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.nominated_node_name.as_deref().filter(|name| !name.is_empty())
}

fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let ports = spec.containers.iter().chain(spec.init_containers.iter().flatten().filter(|container| {
        // Only sidecars keep their ports while the pod runs.
        container.restart_policy.as_deref() == Some("Always")
    }));
    ports
        .flat_map(|container| container.ports.iter().flatten())
        .filter_map(|port| {
            let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
            Some(HostPort {
                ip: some(&port.host_ip).unwrap_or_else(|| "0.0.0.0".to_owned()),
                protocol: some(&port.protocol).unwrap_or_else(|| "TCP".to_owned()),
                port: port.host_port.filter(|port| *port > 0)?,
            })
        })
        .collect()
}
