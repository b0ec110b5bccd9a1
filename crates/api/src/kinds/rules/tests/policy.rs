//! Disruption budgets, classes, leases.

use serde_json::json;

use super::{check, check_update};
use crate::kinds::rules::{
    validate_disruption_budget, validate_lease, validate_priority_class, validate_revision, validate_runtime_class,
};
use crate::kinds::testing::object;

#[test]
fn a_budget_says_one_thing() {
    check(
        validate_disruption_budget,
        json!({"spec": {"minAvailable": 1, "maxUnavailable": "x%"}}),
        &[
            "spec: Invalid value: {\"maxUnavailable\":\"x%\",\"minAvailable\":1}: minAvailable and maxUnavailable cannot be both set",
            "spec.maxUnavailable: Invalid value: \"x%\": a valid percent string must be a numeric followed by an ending '%' \
             (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
        ],
    );
    check(
        validate_disruption_budget,
        json!({"spec": {"minAvailable": -1, "unhealthyPodEvictionPolicy": "Maybe"}}),
        &[
            "spec.minAvailable: Invalid value: -1: must be greater than or equal to 0",
            "spec.unhealthyPodEvictionPolicy: Unsupported value: \"Maybe\": supported values: \"AlwaysAllow\", \"IfHealthyBudget\"",
        ],
    );
}

#[test]
fn the_highest_priorities_are_the_systems() {
    check(
        validate_priority_class,
        json!({"metadata": {"name": "system-mine"}, "value": 1}),
        &["metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. \
            error: system-mine is not a known system priority class"],
    );
    check(
        validate_priority_class,
        json!({"metadata": {"name": "high"}, "value": 1_000_000_001}),
        &["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"],
    );
    check(validate_priority_class, json!({"metadata": {"name": "system-node-critical"}, "value": 2_000_001_000}), &[]);
    check_update(
        validate_priority_class,
        json!({"value": 2}),
        json!({"value": 1}),
        &["value: Forbidden: may not be changed in an update."],
    );
}

#[test]
fn runtime_classes_and_leases_are_looked_at() {
    let told = validate_runtime_class(&object(json!({"handler": "No"})), None);
    assert!(told[0].to_string().starts_with("handler: Invalid value: \"No\": a lowercase RFC 1123 label"), "{told:?}");
    check_update(
        validate_runtime_class,
        json!({"handler": "b"}),
        json!({"handler": "a"}),
        &["handler: Invalid value: \"b\": field is immutable"],
    );
    check(
        validate_lease,
        json!({"spec": {"leaseDurationSeconds": 0, "leaseTransitions": -1}}),
        &[
            "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
            "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
        ],
    );
}

#[test]
fn what_a_controller_keeps_of_the_past_stays() {
    check(
        validate_revision,
        json!({"revision": -1}),
        &["data: Required value: data is mandatory", "revision: Invalid value: -1: must be greater than or equal to 0"],
    );
    let revision = |image: &str, revision: i64| json!({"revision": revision, "data": {"image": image}});
    check_update(validate_revision, revision("a", 2), revision("a", 1), &[]);
    check_update(
        validate_revision,
        revision("b", 1),
        revision("a", 1),
        &["data: Invalid value: {\"image\":\"b\"}: field is immutable"],
    );
}
