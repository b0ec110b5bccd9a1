//! `NodeUnschedulable`: nothing new goes to a cordoned node.

use wkube_api::placement::tolerates;

use crate::framework::{Check, ClusterEvent, Filter, Reason, Verdict};
use crate::pod::PodInfo;
use crate::snapshot::Snapshot;

const REASON: &str = "node(s) were unschedulable";

/// The taint that stands for a cordoned node. Tolerating it means going there nevertheless, as daemons do.
pub(crate) const TAINT: &str = "node.kubernetes.io/unschedulable";

/// The rule.
#[derive(Debug)]
pub struct Unschedulable;

impl Filter for Unschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }

    fn prepare<'c>(&'c self, pod: &'c PodInfo, _cluster: &'c Snapshot) -> Check<'c> {
        let tolerated = tolerates(pod.tolerations(), TAINT, "", "NoSchedule");
        Check::per_node(move |node| {
            if node.is_unschedulable() && !tolerated { Verdict::Unfit(Reason::Borrowed(REASON)) } else { Verdict::Fits }
        })
    }

    fn wakes_on(&self, event: &ClusterEvent) -> bool {
        matches!(event, ClusterEvent::NodeAdded | ClusterEvent::NodeTaintsChanged)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::build::{cluster, node, pod, verdicts};

    #[test]
    fn a_cordoned_node_takes_only_pods_that_tolerate_it() {
        let nodes = cluster(&[node("n1").spec("unschedulable", json!(true)), node("n2")], &[]);
        assert_eq!(verdicts(&Unschedulable, &pod("web"), &nodes), ["n1: unfit: node(s) were unschedulable", "n2: ok"]);
        let daemon = pod("daemon").tolerates(json!({ "key": TAINT, "operator": "Exists", "effect": "NoSchedule" }));
        assert_eq!(verdicts(&Unschedulable, &daemon, &nodes), ["n1: ok", "n2: ok"]);
    }
}
