//! Quotas and limit ranges.

use serde_json::json;

use super::{check, check_update};
use crate::kinds::rules::{validate_limit_range, validate_quota};

#[test]
fn a_quota_counts_what_there_is_to_count() {
    let hard = json!({"pods": "4", "count/jobs.batch": "2", "gold.storageclass.storage.k8s.io/requests.storage": "1Gi", "requests.cpu": "1"});
    check(validate_quota, json!({"spec": {"hard": hard}}), &[]);
    check(
        validate_quota,
        json!({"spec": {"hard": {"cats": "1", "pods": "1.5", "cpu": "-1"}, "scopes": ["Terminating", "NotTerminating", "Odd"]}}),
        &[
            "spec.hard[cats]: Invalid value: \"cats\": must be a standard resource type or fully qualified",
            "spec.hard[cats]: Invalid value: \"cats\": must be a standard resource for quota",
            "spec.hard[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
            "spec.hard[pods]: Invalid value: \"1.5\": must be an integer",
            "spec.scopes: Invalid value: [\"Terminating\",\"NotTerminating\",\"Odd\"]: unsupported scope",
            "spec.scopes: Invalid value: [\"Terminating\",\"NotTerminating\",\"Odd\"]: conflicting scopes",
        ],
    );
    check_update(
        validate_quota,
        json!({"spec": {"hard": {}, "scopes": ["BestEffort"]}}),
        json!({"spec": {"hard": {}}}),
        &["spec.scopes: Invalid value: [\"BestEffort\"]: field is immutable"],
    );
}

#[test]
fn the_bounds_of_a_limit_range_agree() {
    check(
        validate_limit_range,
        json!({"spec": {"limits": [
            {"type": "Container", "min": {"cpu": "2"}, "max": {"cpu": "1"}, "default": {"cpu": "3"}},
            {"type": "Pod", "default": {"cpu": "1"}},
            {"type": "Pod"},
            {"type": "PersistentVolumeClaim"},
        ]}}),
        &[
            "spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1",
            "spec.limits[0].default[cpu]: Invalid value: \"3\": default value 3 is greater than max value 1",
            "spec.limits[1].default: Forbidden: may not be specified when `type` is 'Pod'",
            "spec.limits[2].type: Duplicate value: \"Pod\"",
            "spec.limits[3].limits: Required value: either minimum or maximum storage value is required, but neither was provided",
        ],
    );
}

#[test]
fn a_scope_is_about_pods_or_about_claims() {
    let quota = |hard: &str, scope: &str| json!({"spec": {"hard": {hard: "1"}, "scopes": [scope]}});
    for (hard, scope) in [
        ("pods", "BestEffort"),
        ("requests.cpu", "NotTerminating"),
        ("persistentvolumeclaims", "VolumeAttributesClass"),
        ("count/jobs.batch", "PriorityClass"),
    ] {
        check(validate_quota, quota(hard, scope), &[]);
    }
    for (hard, scope) in [("cpu", "BestEffort"), ("services", "Terminating"), ("pods", "VolumeAttributesClass")] {
        let expected = format!("spec.scopes: Invalid value: [{scope:?}]: unsupported scope applied to resource");
        check(validate_quota, quota(hard, scope), &[&expected]);
    }
    let selector = json!({"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]});
    check(
        validate_quota,
        json!({"spec": {"hard": {"secrets": "1"}, "scopeSelector": selector}}),
        &[
            "spec.scopeSelector.matchExpressions: Invalid value: {\"matchExpressions\":[{\"operator\":\"In\",\"scopeName\":\
            \"PriorityClass\",\"values\":[\"high\"]}]}: unsupported scope applied to resource",
        ],
    );
}

#[test]
fn a_limit_is_about_things_that_there_are() {
    check(
        validate_limit_range,
        json!({"spec": {"limits": [{"type": "Container", "max": {"storage": "1", "cats": "1"}}, {"type": "Planet"}]}}),
        &[
            "spec.limits[0].max[cats]: Invalid value: \"cats\": must be a standard resource type or fully qualified",
            "spec.limits[0].max[cats]: Invalid value: \"cats\": must be a standard resource for containers",
            "spec.limits[0].max[storage]: Invalid value: \"storage\": must be a standard resource for containers",
            "spec.limits[1].type: Invalid value: \"Planet\": must be a standard limit type or fully qualified",
        ],
    );
}
