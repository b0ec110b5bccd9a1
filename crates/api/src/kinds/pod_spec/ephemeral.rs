//! What only concerns ephemeral containers (`validateEphemeralContainers` in `pkg/apis/core/validation`).

use std::collections::BTreeSet;

use serde_json::Value;

use crate::kinds::doc::{list, text};
use crate::status::FieldError;

/// What is for containers that were there when the pod started (`allowedEphemeralContainerFields` names the others).
const FORBIDDEN: [&str; 9] = [
    "lifecycle",
    "livenessProbe",
    "ports",
    "readinessProbe",
    "resizePolicy",
    "resources",
    "restartPolicy",
    "restartPolicyRules",
    "startupProbe",
];
const DETAIL: &str = "cannot be set for an Ephemeral Container";

/// Returns what is wrong with the ephemeral containers of the pod spec under `path`, besides what is wrong in any container.
pub(super) fn validate(spec: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let targets: BTreeSet<&str> =
        ["containers", "initContainers"].iter().flat_map(|field| list(spec, field)).map(|c| text(c, "name")).collect();
    for (index, container) in list(spec, "ephemeralContainers").iter().enumerate() {
        let path = format!("{path}.ephemeralContainers[{index}]");
        let target = text(container, "targetContainerName");
        if !target.is_empty() && !targets.contains(target) {
            errors.push(FieldError::not_found(format!("{path}.targetContainerName"), target));
        }
        let is_set = |field: &str| container.get(field).is_some_and(|value| !is_empty(value));
        for field in FORBIDDEN.iter().filter(|field| is_set(field)) {
            errors.push(FieldError::forbidden(format!("{path}.{field}"), DETAIL));
        }
        for (index, mount) in list(container, "volumeMounts").iter().enumerate() {
            for field in ["subPath", "subPathExpr"].iter().filter(|field| !text(mount, field).is_empty()) {
                errors.push(FieldError::forbidden(format!("{path}.volumeMounts[{index}].{field}"), DETAIL));
            }
        }
    }
    errors
}

/// Go's zero value: `resources: {}` says nothing.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}
