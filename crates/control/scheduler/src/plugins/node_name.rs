//! `NodeName`: a pod that names its node goes nowhere else.

use crate::framework::{Check, ClusterEvent, Filter, Reason, Verdict};
use crate::pod::PodInfo;
use crate::snapshot::Snapshot;

const REASON: &str = "node(s) didn't match the requested node name";

/// The rule. Pods with a node are not scheduled at all; this judges them for those who ask nevertheless.
#[derive(Debug)]
pub struct NodeName;

impl Filter for NodeName {
    fn name(&self) -> &'static str {
        "NodeName"
    }

    fn prepare<'c>(&'c self, pod: &'c PodInfo, _cluster: &'c Snapshot) -> Check<'c> {
        let Some(wanted) = pod.node_name() else { return Check::NotApplicable };
        Check::per_node(
            move |node| if node.name() == wanted { Verdict::Fits } else { Verdict::Unfit(Reason::Borrowed(REASON)) },
        )
    }

    fn wakes_on(&self, event: &ClusterEvent) -> bool {
        *event == ClusterEvent::NodeAdded
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::{cluster, node, pod, verdicts};

    #[test]
    fn only_the_named_node_does() {
        let nodes = cluster(&[node("n1"), node("n2")], &[]);
        assert_eq!(
            verdicts(&NodeName, &pod("web").on("n2"), &nodes),
            ["n1: unfit: node(s) didn't match the requested node name", "n2: ok"]
        );
        assert_eq!(verdicts(&NodeName, &pod("web"), &nodes), ["n1: ok", "n2: ok"]);
    }
}
