//! `NodeAffinity`: which nodes a pod wants by their labels, as a must (`nodeSelector`, required affinity) or a wish.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{NodeAffinity, NodeSelectorRequirement, NodeSelectorTerm};

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
            let wishes = preferred.iter().filter(|wish| matches_term(&wish.preference, node));
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

/// Whether a pod's node selector and required affinity allow a node
/// (`component-helpers/scheduling/corev1/nodeaffinity`).
pub(crate) fn allows(pod: &PodInfo, node: &NodeInfo) -> bool {
    let selector = pod.spec().and_then(|spec| spec.node_selector.as_ref());
    if !selector.into_iter().flatten().all(|(key, value)| node.labels().get(key) == Some(value)) {
        return false;
    }
    let required =
        affinity(pod).and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    // One term is enough. No term at all allows nothing.
    required.is_none_or(|required| required.node_selector_terms.iter().any(|term| matches_term(term, node)))
}

/// Whether all of a term's requirements hold. A term without any matches nothing.
fn matches_term(term: &NodeSelectorTerm, node: &NodeInfo) -> bool {
    let labels = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if labels.is_empty() && fields.is_empty() {
        return false;
    }
    // The only field that may be named.
    let name = BTreeMap::from([("metadata.name".to_owned(), node.name().to_owned())]);
    labels.iter().all(|requirement| holds(requirement, node.labels()))
        && fields.iter().all(|requirement| holds(requirement, &name))
}

fn holds(requirement: &NodeSelectorRequirement, labels: &BTreeMap<String, String>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let label = labels.get(&requirement.key);
    let compared = |holds: fn(&i64, &i64) -> bool| {
        let limit = values.first().and_then(|value| value.parse().ok());
        label.and_then(|label| label.parse().ok()).zip(limit).is_some_and(|(label, limit)| holds(&label, &limit))
    };
    match requirement.operator.as_str() {
        "In" => label.is_some_and(|label| values.contains(label)),
        "NotIn" => label.is_none_or(|label| !values.contains(label)),
        "Exists" => label.is_some(),
        "DoesNotExist" => label.is_none(),
        "Gt" => compared(i64::gt),
        "Lt" => compared(i64::lt),
        _ => false,
    }
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
