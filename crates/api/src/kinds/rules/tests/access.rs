//! Roles and bindings.

use serde_json::json;

use super::check;
use crate::kinds::rules::{validate_role, validate_subjects};
use crate::kinds::testing::object;

#[test]
fn a_rule_is_about_resources_or_about_paths() {
    check(
        validate_role,
        json!({"metadata": {"namespace": "d"}, "rules": [{"verbs": []}, {"verbs": ["get"], "nonResourceURLs": ["/x"]}]}),
        &[
            "rules[0].verbs: Required value: verbs must contain at least one value",
            "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
            "rules[0].resources: Required value: resource rules must supply at least one resource",
            "rules[1].nonResourceURLs: Invalid value: [\"/x\"]: namespaced rules cannot apply to non-resource URLs",
        ],
    );
    check(
        validate_role,
        json!({"rules": [{"verbs": ["get"], "nonResourceURLs": ["/x"], "resources": ["pods"]}], "aggregationRule": {}}),
        &[
            "rules[0].nonResourceURLs: Invalid value: [\"/x\"]: rules cannot apply to both regular resources and non-resource URLs",
            "aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if aggregationRule is non-nil",
        ],
    );
    let binding =
        json!({"roleRef": {"apiGroup": "x"}, "subjects": [{"kind": "ServiceAccount", "name": "s", "apiGroup": "y"}]});
    let told: Vec<String> = validate_subjects(&object(binding)).iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "roleRef.apiGroup: Unsupported value: \"x\": supported values: \"rbac.authorization.k8s.io\"",
            "subjects[0].apiGroup: Unsupported value: \"y\": supported values: \"\"",
        ]
    );
}
