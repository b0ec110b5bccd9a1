//! Which nodes a daemon belongs on, and what its pods look like there (`pkg/controller/daemon/util`). Pure.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{
    Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, Taint, Toleration,
};
use wkube_api::placement::{self, NODE_NAME_FIELD};

use crate::common::history::POD_HASH;
use crate::common::{meta, pods};

/// What becomes of a daemon on one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is to run there.
    Run,
    /// It would not be started there, but stays if it is there: the node is tainted against new pods only.
    Stay,
    /// It is not to be there.
    Leave,
}

/// What daemons put up with, besides what their template says: taints that tell of the state of a node, for daemons are
/// often what repairs it (`AddOrUpdateDaemonPodTolerations`).
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

/// A daemon that uses its node's network runs without any other.
const NO_NETWORK: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");

/// Judges one node (`NodeShouldRunDaemonPod`).
pub(super) fn fate(set: &DaemonSet, node: &Node) -> Fate {
    let mut spec = spec_of(set);
    let name = meta::name(&node.metadata);
    let pinned = spec.node_name.as_deref().filter(|pinned| !pinned.is_empty());
    if pinned.is_some_and(|pinned| pinned != name) || !placement::allows(&spec, name, meta::labels(&node.metadata)) {
        return Fate::Leave;
    }
    tolerate(&mut spec);
    let tolerations = spec.tolerations.unwrap_or_default();
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    let repels = |effect: &str| {
        let of_effect = |taint: &&Taint| taint.effect == effect;
        taints.iter().filter(of_effect).any(|taint| !placement::tolerates_taint(&tolerations, taint))
    };
    match (repels("NoExecute"), repels("NoSchedule")) {
        (true, _) => Fate::Leave,
        (false, true) => Fate::Stay,
        (false, false) => Fate::Run,
    }
}

fn spec_of(set: &DaemonSet) -> PodSpec {
    set.spec.template.spec.clone().unwrap_or_default()
}

fn tolerate(spec: &mut PodSpec) {
    let no_network = spec.host_network.unwrap_or_default().then_some(NO_NETWORK);
    let tolerations = spec.tolerations.get_or_insert_default();
    for (key, effect) in TOLERATED.into_iter().chain(no_network) {
        let toleration = Toleration {
            key: Some(key.to_owned()),
            operator: Some("Exists".to_owned()),
            effect: Some(effect.to_owned()),
            ..Toleration::default()
        };
        if !tolerations.contains(&toleration) {
            tolerations.push(toleration);
        }
    }
}

/// Makes the daemon's pod for one node. The scheduler binds it: it may go to that node only.
pub(super) fn build(set: &DaemonSet, node: &str, hash: &str) -> Pod {
    let prefix = format!("{}-", meta::name(&set.metadata));
    let owner = meta::controller_ref(set);
    let mut pod = pods::from_template(&set.spec.template, meta::namespace(&set.metadata), prefix, owner);
    pod.metadata.labels.get_or_insert_default().insert(POD_HASH.to_owned(), hash.to_owned());
    let spec = pod.spec.get_or_insert_default();
    tolerate(spec);
    let named = NodeSelectorRequirement {
        key: NODE_NAME_FIELD.to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let affinity = spec.affinity.get_or_insert_default().node_affinity.get_or_insert_default();
    // In place of what the template demands, which this node meets (`ReplaceDaemonSetPodNodeNameNodeAffinity`).
    affinity.required_during_scheduling_ignored_during_execution = Some(NodeSelector {
        node_selector_terms: vec![NodeSelectorTerm { match_fields: Some(vec![named]), match_expressions: None }],
    });
    pod
}

/// Returns the node that a daemon's pod is on, or may go to (`GetTargetNodeName`).
pub(super) fn target(pod: &Pod) -> Option<&str> {
    if let Some(node) = pods::node_name(pod) {
        return Some(node);
    }
    let affinity = pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()?;
    let terms = &affinity.required_during_scheduling_ignored_during_execution.as_ref()?.node_selector_terms;
    let mut fields = terms.iter().flat_map(|term| term.match_fields.iter().flatten());
    let named = fields.find(|field| field.key == NODE_NAME_FIELD && field.operator == "In")?;
    match named.values.as_deref() {
        Some([only]) => Some(only),
        Some(_) | None => None,
    }
}
