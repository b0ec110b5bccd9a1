//! `NodeAffinity`: which nodes a pod wants by their labels, as a must (`nodeSelector`, required affinity) or a wish.

use k8s_openapi::api::core::v1::NodeAffinity;
use wkube_api::placement;

use crate::framework::{Check, ClusterEvent, Filter, Rate, Reason, Score, Verdict, scale_to_max};
use crate::pod::PodInfo;
use crate::snapshot::{NodeInfo, Snapshot};

const REASON: &str = "node(s) didn't match Pod's node affinity/selector";

/// The rule and the preference.
#[derive(Debug)]
pub struct Affinity;

impl Filter for Affinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn prepare<'c>(&'c self, pod: &'c PodInfo, _cluster: &'c Snapshot) -> Check<'c> {
        if is_required(pod) {
            return Check::per_node(move |node| {
                if allows(pod, node) { Verdict::Fits } else { Verdict::Unfit(Reason::Borrowed(REASON)) }
            });
        }
        Check::NotApplicable
    }

    fn wakes_on(&self, event: &ClusterEvent) -> bool {
        matches!(event, ClusterEvent::NodeAdded | ClusterEvent::NodeLabelsChanged)
    }
}

impl Score for Affinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn prepare<'c>(&'c self, pod: &'c PodInfo, _cluster: &'c Snapshot) -> Option<Rate<'c>> {
        let preferred = affinity(pod)?.preferred_during_scheduling_ignored_during_execution.as_ref()?;
        Some(Box::new(move |node| {
            let wishes =
                preferred.iter().filter(|wish| placement::matches_term(&wish.preference, node.name(), node.labels()));
            wishes.map(|wish| i64::from(wish.weight)).sum()
        }))
    }

    fn normalize(&self, scores: &mut [i64]) {
        scale_to_max(scores);
    }
}

fn affinity(pod: &PodInfo) -> Option<&NodeAffinity> {
    pod.spec()?.affinity.as_ref()?.node_affinity.as_ref()
}

fn is_required(pod: &PodInfo) -> bool {
    let selector = pod.spec().and_then(|spec| spec.node_selector.as_ref());
    let required =
        affinity(pod).and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    selector.is_some_and(|selector| !selector.is_empty()) || required.is_some()
}

/// Whether a pod's node selector and required affinity allow a node.
pub(crate) fn allows(pod: &PodInfo, node: &NodeInfo) -> bool {
    pod.spec().is_none_or(|spec| placement::allows(spec, node.name(), node.labels()))
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "documents are written in place")]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::build::{PodBuilder, cluster, node, pod, scores, verdicts};

    fn requires(terms: Value) -> PodBuilder {
        let required = json!({ "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": terms } });
        pod("web").spec("affinity", json!({ "nodeAffinity": required }))
    }

    fn expression(key: &str, operator: &str, values: &[&str]) -> Value {
        json!({ "matchExpressions": [{ "key": key, "operator": operator, "values": values }] })
    }

    /// Which of the nodes `a` (zone=a, cores=4), `b` (zone=b, cores=8) and `c` (no labels) the pod may go to.
    fn allowed(pod: &PodBuilder) -> String {
        let nodes = [
            node("a").label("zone", "a").label("cores", "4"),
            node("b").label("zone", "b").label("cores", "8"),
            node("c"),
        ];
        let verdicts = verdicts(&Affinity, pod, &cluster(&nodes, &[]));
        verdicts.iter().filter_map(|verdict| verdict.strip_suffix(": ok")).collect()
    }

    #[test]
    fn a_node_selector_needs_every_label() {
        assert_eq!(allowed(&pod("web").spec("nodeSelector", json!({ "zone": "a" }))), "a");
        assert_eq!(allowed(&pod("web").spec("nodeSelector", json!({ "zone": "a", "cores": "8" }))), "");
        assert_eq!(allowed(&pod("web")), "abc");
    }

    #[test]
    fn each_operator_reads_as_its_name() {
        assert_eq!(allowed(&requires(json!([expression("zone", "In", &["a", "x"])]))), "a");
        assert_eq!(allowed(&requires(json!([expression("zone", "NotIn", &["a"])]))), "bc");
        assert_eq!(allowed(&requires(json!([expression("zone", "Exists", &[])]))), "ab");
        assert_eq!(allowed(&requires(json!([expression("zone", "DoesNotExist", &[])]))), "c");
        assert_eq!(allowed(&requires(json!([expression("cores", "Gt", &["4"])]))), "b");
        assert_eq!(allowed(&requires(json!([expression("cores", "Lt", &["8"])]))), "a");
    }

    #[test]
    fn one_term_is_enough_and_within_it_everything_must_hold() {
        let either = json!([expression("zone", "In", &["a"]), expression("zone", "DoesNotExist", &[])]);
        assert_eq!(allowed(&requires(either)), "ac");
        let both = json!([{ "matchExpressions": [
            { "key": "zone", "operator": "Exists" }, { "key": "cores", "operator": "In", "values": ["8"] }
        ]}]);
        assert_eq!(allowed(&requires(both)), "b");
    }

    #[test]
    fn empty_terms_match_nothing() {
        assert_eq!(allowed(&requires(json!([{}]))), "");
        assert_eq!(allowed(&requires(json!([]))), "");
    }

    #[test]
    fn a_node_can_be_named_by_field() {
        let by_name = json!([{ "matchFields": [{ "key": "metadata.name", "operator": "In", "values": ["c"] }] }]);
        assert_eq!(allowed(&requires(by_name)), "c");
    }

    #[test]
    fn the_selector_and_the_affinity_must_both_hold() {
        let both = requires(json!([expression("zone", "Exists", &[])])).spec("nodeSelector", json!({ "cores": "4" }));
        assert_eq!(allowed(&both), "a");
    }

    #[test]
    fn wishes_add_up_by_their_weight() {
        let wish =
            |weight: i32, value: &str| json!({ "weight": weight, "preference": expression("zone", "In", &[value]) });
        let pod = pod("web").spec(
            "affinity",
            json!({ "nodeAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [wish(20, "a"), wish(10, "b"), wish(60, "b")]
            }}),
        );
        let nodes = [node("a").label("zone", "a"), node("b").label("zone", "b"), node("c")];
        assert_eq!(scores(&Affinity, &pod, &cluster(&nodes, &[])), [28, 100, 0]);
    }
}
