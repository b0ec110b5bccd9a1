//! What would be if: the filters' judgement of one node with other pods on it. Pure.

use std::sync::Arc;

use crate::framework::Profile;
use crate::pod::PodInfo;
use crate::schedule::{Rejection, checks, objection};
use crate::snapshot::{NodeInfo, NodeName, Snapshot};

/// A copy of the cluster to try things on, for one pod.
pub(crate) struct Trial<'p> {
    cluster: Snapshot,
    pod: &'p PodInfo,
    profile: &'p Profile,
}

impl<'p> Trial<'p> {
    /// Copies the cluster.
    pub(crate) fn new(pod: &'p PodInfo, cluster: &Snapshot, profile: &'p Profile) -> Self {
        Self { cluster: cluster.what_if(), pod, profile }
    }

    /// Returns who objects to the pod on this node, if the node were so; with the pods that it is kept for, and without.
    pub(crate) fn objection_if(&mut self, node: &NodeInfo) -> Option<Rejection> {
        let name = NodeName(node.name().to_owned());
        let before = self.cluster.exchange(Arc::new(node.clone()));
        let objection = self.judge(&name).or_else(|| self.objection_when_crowded(&name));
        if let Some(before) = before {
            self.cluster.exchange(before);
        }
        objection
    }

    /// Returns who objects to the pod on a node if the pods that it is kept for, and that are no less important, were
    /// there already (`RunFilterPluginsWithNominatedPods`). It has to pass without them, too: they may never come, and it
    /// may need somebody's company.
    pub(crate) fn objection_when_crowded(&mut self, name: &NodeName) -> Option<Rejection> {
        let mut crowded = self.cluster.node(&name.0)?.clone();
        let before = crowded.pods.len();
        for other in self.cluster.nominated_to(name) {
            if other.priority() >= self.pod.priority() && other.uid() != self.pod.uid() {
                crowded.add(Arc::clone(other));
            }
        }
        if crowded.pods.len() == before {
            return None;
        }
        let empty = self.cluster.exchange(Arc::new(crowded))?;
        let objection = self.judge(name);
        self.cluster.exchange(empty);
        objection
    }

    fn judge(&self, name: &NodeName) -> Option<Rejection> {
        let node = self.cluster.node(&name.0)?;
        objection(&checks(self.pod, &self.cluster, self.profile), node)
    }
}
