//! Nodes and their taints.

use serde_json::json;

use super::{check, check_update};
use crate::kinds::rules::validate_node;

#[test]
fn taints_are_unique_and_have_an_effect() {
    let taint = json!({"key": "a", "effect": "NoSchedule"});
    check(
        validate_node,
        json!({"spec": {"taints": [taint, taint, {"key": "b"}, {"key": "c", "effect": "Maybe"}]}}),
        &[
            "spec.taints[1]: Duplicate value: {\"effect\":\"NoSchedule\",\"key\":\"a\"}: taints must be unique by key and effect pair",
            "spec.taints[2].effect: Required value",
            "spec.taints[3].effect: Unsupported value: \"Maybe\": supported values: \"NoExecute\", \"NoSchedule\", \"PreferNoSchedule\"",
        ],
    );
    check_update(
        validate_node,
        json!({"spec": {"providerID": "b", "podCIDRs": ["10.0.0.0/33"]}}),
        json!({"spec": {"providerID": "a"}}),
        &[
            "spec.podCIDRs[0]: Invalid value: \"10.0.0.0/33\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
            "spec.providerID: Forbidden: node updates may not change providerID except from \"\" to valid",
        ],
    );
}
