//! `TaintNodesByCondition`: a new node takes no pods until its conditions are known
//! (`plugin/pkg/admission/nodetaint`).

use serde_json::{Value, json};
use wkube_api::Object;

use super::Attributes;

const NOT_READY: &str = "node.kubernetes.io/not-ready";

/// Taints a new node; the node lifecycle controller takes the taint away.
pub(super) fn admit(attributes: &Attributes<'_>, node: &mut Object) {
    if attributes.creates("", "nodes") {
        taint(node);
    }
}

fn taint(node: &mut Object) {
    let mut taints = node.at(&["spec", "taints"]).and_then(Value::as_array).cloned().unwrap_or_default();
    let has = taints.iter().any(|taint| taint["key"] == NOT_READY && taint["effect"] == "NoSchedule");
    if !has {
        taints.push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
        node.set(&["spec", "taints"], taints);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_node_takes_no_pods_yet() {
        let mut node: Object = serde_json::from_value(json!({"spec": {"taints": [{"key": "a"}]}})).expect("an object");
        taint(&mut node);
        taint(&mut node);
        assert_eq!(
            node.at(&["spec", "taints"]),
            Some(&json!([{"key": "a"}, {"key": NOT_READY, "effect": "NoSchedule"}]))
        );
    }
}
