//! Which nodes a pod may be on, by their labels and taints: asked by the scheduler and by those who run a pod per node
//! (`component-helpers/scheduling/corev1`). Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm, PodSpec, Taint, Toleration};

/// The only field of a node that a term may name.
pub const NODE_NAME_FIELD: &str = "metadata.name";

/// Whether a pod's node selector and required affinity allow the node of this name and these labels.
pub fn allows(pod: &PodSpec, node: &str, labels: &BTreeMap<String, String>) -> bool {
    let selected = pod.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let affinity = pod.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    // One term is enough. No term at all allows nothing.
    let matches = |term: &NodeSelectorTerm| matches_term(term, node, labels);
    selected && required.is_none_or(|required| required.node_selector_terms.iter().any(matches))
}

/// Whether all of a term's requirements hold. A term without any matches nothing.
pub fn matches_term(term: &NodeSelectorTerm, node: &str, labels: &BTreeMap<String, String>) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    let name = BTreeMap::from([(NODE_NAME_FIELD.to_owned(), node.to_owned())]);
    expressions.iter().all(|requirement| holds(requirement, labels))
        && fields.iter().all(|requirement| holds(requirement, &name))
}

/// Whether one of the tolerations covers a taint.
pub fn tolerates_taint(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerates(tolerations, &taint.key, taint.value.as_deref().unwrap_or_default(), &taint.effect)
}

/// Whether one of the tolerations covers the taint of this key, value and effect.
pub fn tolerates(tolerations: &[Toleration], key: &str, value: &str, effect: &str) -> bool {
    tolerations.iter().any(|toleration| {
        let stated = |field: &Option<String>| field.clone().unwrap_or_default();
        let (own_key, own_effect) = (stated(&toleration.key), stated(&toleration.effect));
        if !own_effect.is_empty() && own_effect != effect || !own_key.is_empty() && own_key != key {
            return false;
        }
        let own_value = stated(&toleration.value);
        match toleration.operator.as_deref().unwrap_or_default() {
            // An empty key with Exists tolerates everything.
            "Exists" => true,
            "" | "Equal" => !own_key.is_empty() && own_value == value,
            "Gt" => compare(value, &own_value, i64::gt),
            "Lt" => compare(value, &own_value, i64::lt),
            _ => false,
        }
    })
}

fn compare(taint: &str, toleration: &str, holds: fn(&i64, &i64) -> bool) -> bool {
    taint.parse().ok().zip(toleration.parse().ok()).is_some_and(|(taint, toleration)| holds(&taint, &toleration))
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
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(document: serde_json::Value) -> PodSpec {
        let mut spec = document;
        spec["containers"] = json!([]);
        serde_json::from_value(spec).expect("a pod's spec")
    }

    #[test]
    fn selector_and_affinity_must_both_allow_a_node() {
        let labels = BTreeMap::from([("zone".to_owned(), "a".to_owned())]);
        let term = |key: &str| json!({"matchExpressions": [{"key": key, "operator": "Exists"}]});
        let affinity = |terms| json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}});
        assert!(allows(&spec(json!({})), "n", &labels));
        assert!(allows(&spec(json!({"nodeSelector": {"zone": "a"}})), "n", &labels));
        assert!(!allows(&spec(json!({"nodeSelector": {"zone": "b"}})), "n", &labels));
        assert!(allows(&spec(json!({"affinity": affinity(json!([term("disk"), term("zone")]))})), "n", &labels));
        let both = json!({"nodeSelector": {"zone": "a"}, "affinity": affinity(json!([term("disk")]))});
        assert!(!allows(&spec(both), "n", &labels));
        assert!(!allows(&spec(json!({"affinity": affinity(json!([]))})), "n", &labels), "no term allows nothing");
    }

    #[test]
    fn a_node_is_named_by_a_field() {
        let term = |values| {
            let named = json!({"matchFields": [{"key": NODE_NAME_FIELD, "operator": "In", "values": values}]});
            serde_json::from_value::<NodeSelectorTerm>(named).expect("a term")
        };
        assert!(matches_term(&term(json!(["n"])), "n", &BTreeMap::new()));
        assert!(!matches_term(&term(json!(["m"])), "n", &BTreeMap::new()));
        assert!(!matches_term(&NodeSelectorTerm::default(), "n", &BTreeMap::new()));
    }

    #[test]
    fn a_toleration_covers_its_key_value_and_effect() {
        let taint = |key: &str| Taint { key: key.to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() };
        let read = |toleration| vec![serde_json::from_value::<Toleration>(toleration).expect("a toleration")];
        assert!(!tolerates_taint(&[], &taint("k")));
        assert!(tolerates_taint(&read(json!({"operator": "Exists"})), &taint("k")), "everything");
        assert!(tolerates_taint(&read(json!({"key": "k", "operator": "Exists"})), &taint("k")));
        assert!(!tolerates_taint(&read(json!({"key": "k", "value": "v"})), &taint("k")));
        assert!(!tolerates_taint(&read(json!({"key": "k", "operator": "Exists", "effect": "NoExecute"})), &taint("k")));
    }
}
