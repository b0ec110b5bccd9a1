//! What a rule of scheduling looks like, and which rules there are.
//!
//! kube-scheduler's twelve extension points are two here. A rule looks at the pod and the cluster once per decision and
//! returns a closure that judges each node; what it worked out lives in the closure, so there is no `CycleState`.

use std::borrow::Cow;

use crate::plugins;
use crate::pod::PodInfo;
use crate::snapshot::{NodeInfo, Snapshot};

/// Why a node does not do, as kubectl shows it, such as `Insufficient cpu`.
pub type Reason = Cow<'static, str>;

/// The best score a node can get from one rule, after normalizing.
pub const SCORE_MAX: i64 = 100;

/// A rule that can forbid a node.
pub trait Filter: Send + Sync {
    /// Returns the name that Kubernetes has for it.
    fn name(&self) -> &'static str;

    /// Looks at the pod once per decision; the closure then judges each node.
    fn prepare<'c>(&'c self, pod: &'c PodInfo, cluster: &'c Snapshot) -> Check<'c>;

    /// Whether this event could let a pod pass that was turned away. Too eager costs a decision; too shy costs the
    /// pod up to five minutes.
    fn wakes_on(&self, event: &ClusterEvent) -> bool;
}

/// What a filter has to say about one pod.
pub enum Check<'c> {
    /// Every node does.
    NotApplicable,
    /// Some nodes do.
    PerNode(Box<dyn Fn(&NodeInfo) -> Verdict + 'c>),
}

impl<'c> Check<'c> {
    /// Returns the check that asks `judge` of each node.
    pub fn per_node(judge: impl Fn(&NodeInfo) -> Verdict + 'c) -> Self {
        Self::PerNode(Box::new(judge))
    }
}

/// What a filter says of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The pod may go there.
    Fits,
    /// It may not now; it might if other pods left.
    Full(Vec<Reason>),
    /// It may not, whatever other pods do.
    Unfit(Reason),
}

/// A preference among nodes that fit.
pub trait Score: Send + Sync {
    /// Returns the name that Kubernetes has for it.
    fn name(&self) -> &'static str;

    /// Looks at the pod once per decision; the closure then rates each node. `None` if the pod has no preference.
    fn prepare<'c>(&'c self, pod: &'c PodInfo, cluster: &'c Snapshot) -> Option<Rate<'c>>;

    /// Brings the ratings of all nodes to 0 (worst) to [`SCORE_MAX`] (best).
    fn normalize(&self, _scores: &mut [i64]) {}
}

/// Rates one node.
pub type Rate<'c> = Box<dyn Fn(&NodeInfo) -> i64 + 'c>;

/// What happened in the cluster that may let a rejected pod pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterEvent {
    /// There is a new node.
    NodeAdded,
    /// A node has other amounts to give.
    NodeAllocatableChanged,
    /// A node has other labels.
    NodeLabelsChanged,
    /// A node has other taints, or was uncordoned.
    NodeTaintsChanged,
    /// A pod appeared on a node.
    PodPlaced,
    /// A pod on a node has other labels or amounts.
    PodChanged,
    /// A pod left its node.
    PodLeft,
}

/// The rules that decide, in order, and their weights.
pub struct Profile {
    /// A node must pass all of these; the first that objects gives the reason.
    pub filters: Vec<Box<dyn Filter>>,
    /// The best sum of these, times their weights, wins.
    pub scores: Vec<(Box<dyn Score>, i64)>,
}

impl Profile {
    /// Whether an event could help a pod that these filters turned away. No filter at all means that there was no node.
    pub fn wakes<'f>(
        &self,
        mut rejected_by: impl ExactSizeIterator<Item = &'f &'static str>,
        event: &ClusterEvent,
    ) -> bool {
        if rejected_by.len() == 0 {
            return *event == ClusterEvent::NodeAdded;
        }
        rejected_by.any(|name| self.filters.iter().any(|filter| filter.name() == *name && filter.wakes_on(event)))
    }
}

/// Returns the rules of kube-scheduler's default profile that apply here, in its order and with its weights
/// (`apis/config/v1/default_plugins.go`). The volume rules are missing: volumes follow their pods.
pub fn default_profile() -> Profile {
    Profile {
        filters: vec![
            Box::new(plugins::unschedulable::Unschedulable),
            Box::new(plugins::node_name::NodeName),
            Box::new(plugins::taints::Taints),
            Box::new(plugins::affinity::Affinity),
            Box::new(plugins::ports::Ports),
            Box::new(plugins::resources::Fit),
            Box::new(plugins::spread::Spread),
            Box::new(plugins::pod_affinity::PodAffinity),
        ],
        scores: vec![
            (Box::new(plugins::taints::Taints), 3),
            (Box::new(plugins::affinity::Affinity), 2),
            (Box::new(plugins::resources::LeastAllocated), 1),
            (Box::new(plugins::spread::Spread), 2),
            (Box::new(plugins::pod_affinity::PodAffinity), 2),
            (Box::new(plugins::resources::Balanced), 1),
            (Box::new(plugins::images::ImageLocality), 1),
        ],
    }
}

/// Scales ratings so that the highest becomes [`SCORE_MAX`] (`helper.DefaultNormalizeScore`).
pub fn scale_to_max(scores: &mut [i64]) {
    let highest = scores.iter().copied().max().unwrap_or_default();
    for score in scores.iter_mut() {
        *score = if highest == 0 { 0 } else { *score * SCORE_MAX / highest };
    }
}

/// As [`scale_to_max`], for ratings where less is better.
pub fn scale_reversed(scores: &mut [i64]) {
    let highest = scores.iter().copied().max().unwrap_or_default();
    for score in scores.iter_mut() {
        *score = if highest == 0 { SCORE_MAX } else { SCORE_MAX - *score * SCORE_MAX / highest };
    }
}
