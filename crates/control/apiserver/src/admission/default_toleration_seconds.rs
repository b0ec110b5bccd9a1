//! `DefaultTolerationSeconds`: a pod stays five minutes on a node that is not ready or not reachable.

use serde_json::{Value, json};
use wkube_api::Object;

use super::Attributes;

const SECONDS: i64 = 300;
const TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

/// Lets new pods stay for a while.
pub(super) fn admit(attributes: &Attributes<'_>, object: &mut Object) {
    if attributes.creates("", "pods") {
        tolerate(object);
    }
}

/// Adds the tolerations that the pod does not have.
fn tolerate(pod: &mut Object) {
    let mut tolerations = pod.at(&["spec", "tolerations"]).and_then(Value::as_array).cloned().unwrap_or_default();
    for taint in TAINTS {
        let covers = |toleration: &Value| {
            let key = toleration["key"].as_str().unwrap_or_default();
            let effect = toleration["effect"].as_str().unwrap_or_default();
            (key == taint || key.is_empty()) && (effect == "NoExecute" || effect.is_empty())
        };
        if !tolerations.iter().any(covers) {
            tolerations.push(json!({
                "key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS,
            }));
        }
    }
    pod.set(&["spec", "tolerations"], tolerations);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(tolerations: &Value) -> Vec<String> {
        let mut pod: Object = serde_json::from_value(json!({"spec": {"tolerations": tolerations}})).expect("an object");
        tolerate(&mut pod);
        let list = pod.at(&["spec", "tolerations"]).and_then(Value::as_array).cloned().unwrap_or_default();
        list.iter().map(|toleration| toleration["key"].as_str().unwrap_or("*").to_owned()).collect()
    }

    #[test]
    fn a_pod_tolerates_a_lost_node_for_five_minutes() {
        assert_eq!(keys(&json!([])), TAINTS);
    }

    #[test]
    fn what_the_pod_says_itself_counts() {
        assert_eq!(keys(&json!([{"operator": "Exists"}])), ["*"]);
        let own = json!([{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}]);
        assert_eq!(keys(&own), TAINTS);
    }
}
