//! Autoscalers.

use serde_json::json;

use super::check;
use crate::kinds::rules::{default_behavior, validate_autoscaler};

#[test]
fn an_autoscaler_measures_something_and_stays_in_bounds() {
    check(
        validate_autoscaler,
        json!({"spec": {"minReplicas": 0, "maxReplicas": 0, "scaleTargetRef": {"kind": "Deployment"}, "metrics": [
            {"type": "Resource", "resource": {"target": {"type": "Utilization"}}}, {"type": "Pods"}, {"type": "Moon"},
        ]}}),
        &[
            "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1",
            "spec.maxReplicas: Invalid value: 0: must be greater than 0",
            "spec.scaleTargetRef.name: Required value",
            "spec.metrics[0].resource.name: Required value: must specify a resource name",
            "spec.metrics[0].resource.target.averageUtilization: Required value: must set either a target raw value or a target utilization",
            "spec.metrics[1].pods: Required value: must populate information for the given metric source",
            "spec.metrics[2].type: Unsupported value: \"Moon\": supported values: \"ContainerResource\", \"External\", \"Object\", \"Pods\", \"Resource\"",
        ],
    );
    let reference = json!({"kind": "Deployment", "name": "web"});
    check(
        validate_autoscaler,
        json!({"spec": {"minReplicas": 3, "maxReplicas": 2, "scaleTargetRef": reference, "behavior": {"scaleDown": {
            "stabilizationWindowSeconds": 4000, "selectPolicy": "Any", "policies": [{"type": "Pods", "value": 0, "periodSeconds": 2000}],
        }}}}),
        &[
            "spec.maxReplicas: Invalid value: 2: must be greater than or equal to `minReplicas`",
            "spec.behavior.scaleDown.stabilizationWindowSeconds: Invalid value: 4000: must be less than or equal to 3600",
            "spec.behavior.scaleDown.selectPolicy: Unsupported value: \"Any\": supported values: \"Disabled\", \"Max\", \"Min\"",
            "spec.behavior.scaleDown.policies[0].value: Invalid value: 0: must be greater than zero",
            "spec.behavior.scaleDown.policies[0].periodSeconds: Invalid value: 2000: must be less than or equal to 1800",
        ],
    );
}

#[test]
fn one_direction_of_scaling_brings_the_other() {
    let mut spec = json!({"behavior": {"scaleDown": {"stabilizationWindowSeconds": 5}}});
    default_behavior(spec.as_object_mut().unwrap());
    let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    assert_eq!(
        spec["behavior"]["scaleDown"],
        json!({"stabilizationWindowSeconds": 5, "selectPolicy": "Max", "policies": [percent]})
    );
    assert_eq!(
        spec["behavior"]["scaleUp"],
        json!({"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}, percent]})
    );
    let mut without = json!({});
    default_behavior(without.as_object_mut().unwrap());
    assert_eq!(without, json!({}));
}
