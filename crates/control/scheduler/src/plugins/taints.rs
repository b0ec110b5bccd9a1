//! `TaintToleration`: a node's taints keep pods away that do not tolerate them. A node that is not ready carries
//! `node.kubernetes.io/not-ready`, so this rule also keeps pods off dead nodes.

use k8s_openapi::api::core::v1::Taint;
use wkube_api::placement::tolerates_taint;

use crate::framework::{Check, ClusterEvent, Filter, Rate, Reason, Score, Verdict, scale_reversed};
use crate::plugins::unschedulable;
use crate::pod::PodInfo;
use crate::snapshot::{NodeInfo, Snapshot};

const REASON: &str = "node(s) had untolerated taint(s)";

/// The rule and the preference.
#[derive(Debug)]
pub struct Taints;

impl Filter for Taints {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn prepare<'c>(&'c self, pod: &'c PodInfo, _cluster: &'c Snapshot) -> Check<'c> {
        Check::per_node(
            move |node| {
                if admits(pod, node) { Verdict::Fits } else { Verdict::Unfit(Reason::Borrowed(REASON)) }
            },
        )
    }

    fn wakes_on(&self, event: &ClusterEvent) -> bool {
        matches!(event, ClusterEvent::NodeAdded | ClusterEvent::NodeTaintsChanged)
    }
}

impl Score for Taints {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn prepare<'c>(&'c self, pod: &'c PodInfo, _cluster: &'c Snapshot) -> Option<Rate<'c>> {
        let tolerations = pod.tolerations();
        Some(Box::new(move |node| {
            let discouraging = node.taints().iter().filter(|taint| taint.effect == "PreferNoSchedule");
            let count = discouraging.filter(|taint| !tolerates_taint(tolerations, taint)).count();
            i64::try_from(count).unwrap_or(i64::MAX)
        }))
    }

    fn normalize(&self, scores: &mut [i64]) {
        scale_reversed(scores);
    }
}

/// Whether a pod tolerates every taint that would keep it off a node. The taint of cordoned nodes does not count: it
/// follows `spec.unschedulable`, which `NodeUnschedulable` judges, and a node that was just uncordoned still carries it.
pub(crate) fn admits(pod: &PodInfo, node: &NodeInfo) -> bool {
    let forbidding = |taint: &&Taint| {
        matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute") && taint.key != unschedulable::TAINT
    };
    node.taints().iter().filter(forbidding).all(|taint| tolerates_taint(pod.tolerations(), taint))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::build::{PodBuilder, cluster, node, pod, scores, verdicts};

    fn fits(taint: &str, toleration: Option<Value>) -> bool {
        let pod = toleration.into_iter().fold(pod("web"), PodBuilder::tolerates);
        verdicts(&Taints, &pod, &node("n").taint(taint).in_snapshot()) == ["n: ok"]
    }

    #[test]
    fn a_taint_keeps_pods_away_that_do_not_tolerate_it() {
        assert!(!fits("dedicated=db:NoSchedule", None));
        assert!(!fits("dedicated=db:NoExecute", None));
        assert!(fits("dedicated=db:PreferNoSchedule", None), "that one only discourages");
        let cluster = node("n").taint("a:NoSchedule").taint("b:NoExecute").in_snapshot();
        assert_eq!(verdicts(&Taints, &pod("web"), &cluster), ["n: unfit: node(s) had untolerated taint(s)"]);
    }

    #[test]
    fn a_toleration_covers_its_key_value_and_effect() {
        let equal = |value: &str, effect: &str| Some(json!({ "key": "dedicated", "value": value, "effect": effect }));
        assert!(fits("dedicated=db:NoSchedule", equal("db", "NoSchedule")));
        assert!(!fits("dedicated=db:NoSchedule", equal("web", "NoSchedule")));
        assert!(!fits("dedicated=db:NoExecute", equal("db", "NoSchedule")));
        assert!(fits("dedicated=db:NoExecute", equal("db", "")), "no effect covers every effect");
        assert!(!fits("other=db:NoSchedule", equal("db", "")));
    }

    #[test]
    fn exists_covers_every_value_and_without_a_key_every_taint() {
        assert!(fits("dedicated=db:NoSchedule", Some(json!({ "key": "dedicated", "operator": "Exists" }))));
        assert!(fits("dedicated=db:NoSchedule", Some(json!({ "operator": "Exists" }))));
        assert!(!fits("dedicated=db:NoSchedule", Some(json!({ "operator": "Equal" }))), "Equal needs a key");
    }

    #[test]
    fn numbers_can_be_compared() {
        let above = |limit: &str| Some(json!({ "key": "sla", "operator": "Gt", "value": limit }));
        assert!(fits("sla=99:NoSchedule", above("95")));
        assert!(!fits("sla=90:NoSchedule", above("95")));
        assert!(!fits("sla=high:NoSchedule", above("95")));
    }

    #[test]
    fn every_taint_must_be_tolerated() {
        let both = node("n").taint("a:NoSchedule").taint("b:NoSchedule").in_snapshot();
        let pod = pod("web").tolerates(json!({ "key": "a", "operator": "Exists" }));
        assert_eq!(verdicts(&Taints, &pod, &both), ["n: unfit: node(s) had untolerated taint(s)"]);
    }

    #[test]
    fn a_node_that_is_not_ready_is_kept_free() {
        assert!(!fits("node.kubernetes.io/not-ready:NoSchedule", None));
    }

    #[test]
    fn a_node_that_was_just_uncordoned_takes_pods() {
        assert!(fits("node.kubernetes.io/unschedulable:NoSchedule", None));
    }

    #[test]
    fn nodes_with_fewer_discouraging_taints_are_preferred() {
        let nodes = [
            node("n1").taint("a:PreferNoSchedule").taint("b:PreferNoSchedule"),
            node("n2").taint("a:PreferNoSchedule"),
            node("n3"),
        ];
        assert_eq!(scores(&Taints, &pod("web"), &cluster(&nodes, &[])), [0, 50, 100]);
    }
}
