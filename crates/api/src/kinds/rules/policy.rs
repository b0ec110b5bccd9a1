//! Disruption budgets, priority and runtime classes, leases, controller revisions.

use serde_json::Value;

use super::{
    NOT_NEGATIVE, POSITIVE, check_amount, check_fixed, check_not_negative, check_selector, document, one_of, spec,
};
use crate::kinds::doc::{at, has, number, strings, text};
use crate::kinds::workload;
use crate::meta;
use crate::object::Object;
use crate::status::FieldError;

/// What a disruption budget must look like.
pub(in crate::kinds) fn validate_disruption_budget(object: &Object, _old: Option<&Object>) -> Vec<FieldError> {
    let spec = spec(object);
    let mut errors = Vec::new();
    if has(spec, "minAvailable") && has(spec, "maxUnavailable") {
        let detail = "minAvailable and maxUnavailable cannot be both set";
        errors.push(FieldError::invalid("spec", spec.clone(), detail));
    }
    for field in ["minAvailable", "maxUnavailable"] {
        errors.extend(workload::validate_budget(spec, field, "spec"));
    }
    errors.extend(check_selector(spec.get("selector"), "spec.selector"));
    errors.extend(one_of(spec, "spec", "unhealthyPodEvictionPolicy", &["AlwaysAllow", "IfHealthyBudget"]));
    errors
}

/// The largest priority that is not the system's.
const PRIORITY_MAX: i64 = 1_000_000_000;
const SYSTEM_CLASSES: [(&str, i64); 2] =
    [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

/// What a priority class must look like.
pub(in crate::kinds) fn validate_priority_class(object: &Object, old: Option<&Object>) -> Vec<FieldError> {
    let class = document(object);
    let value = number(&class, "value");
    let mut errors = Vec::new();
    if object.name().starts_with("system-") {
        let known = SYSTEM_CLASSES.iter().any(|(name, known)| *name == object.name() && *known == value);
        if !known {
            let detail = format!(
                "priority class names with 'system-' prefix are reserved for system use only. error: {} is not a known \
                 system priority class",
                object.name()
            );
            errors.push(FieldError::forbidden("metadata.name", &detail));
        }
    } else if value > PRIORITY_MAX {
        let detail = format!("maximum allowed value of a user defined priority is {PRIORITY_MAX}");
        errors.push(FieldError::forbidden("value", &detail));
    }
    errors.extend(one_of(&class, "", "preemptionPolicy", &["Never", "PreemptLowerPriority"]));
    if let Some(old) = old.map(document) {
        if number(&old, "value") != value {
            errors.push(FieldError::forbidden("value", "may not be changed in an update."));
        }
        errors.extend(check_fixed(&class, &old, "preemptionPolicy"));
    }
    errors
}

/// What a runtime class must look like.
pub(in crate::kinds) fn validate_runtime_class(object: &Object, old: Option<&Object>) -> Vec<FieldError> {
    let class = document(object);
    let handler = text(&class, "handler");
    let problems = meta::dns1123_label(handler);
    let mut errors: Vec<FieldError> =
        problems.iter().map(|problem| FieldError::invalid("handler", handler, problem)).collect();
    if let Some(fixed) = class["overhead"]["podFixed"].as_object() {
        for (name, amount) in fixed {
            errors.extend(check_amount(amount, &format!("overhead.podFixed[{name}]")));
        }
    }
    let scheduling = &class["scheduling"];
    errors.extend(meta::validate_labels("scheduling.nodeSelector", &strings(scheduling.get("nodeSelector"))));
    if let Some(old) = old.map(document) {
        errors.extend(check_fixed(&class, &old, "handler"));
    }
    errors
}

/// What a lease must look like.
pub(in crate::kinds) fn validate_lease(object: &Object, _old: Option<&Object>) -> Vec<FieldError> {
    let spec = spec(object);
    let mut errors = Vec::new();
    let set = |field: &str| spec.get(field).and_then(Value::as_i64);
    if let Some(seconds) = set("leaseDurationSeconds").filter(|seconds| *seconds <= 0) {
        errors.push(FieldError::invalid("spec.leaseDurationSeconds", seconds, POSITIVE));
    }
    if let Some(count) = set("leaseTransitions").filter(|count| *count < 0) {
        errors.push(FieldError::invalid("spec.leaseTransitions", count, NOT_NEGATIVE));
    }
    if has(spec, "preferredHolder") && !has(spec, "strategy") {
        let detail = "may only be specified if `strategy` is defined";
        errors.push(FieldError::forbidden("spec.preferredHolder", detail));
    }
    errors
}

/// What a controller keeps of the past, which stays as it was.
pub(in crate::kinds) fn validate_revision(object: &Object, old: Option<&Object>) -> Vec<FieldError> {
    let revision = document(object);
    let mut errors = Vec::new();
    if at(&revision, "data").is_none() {
        errors.push(FieldError::required("data", "data is mandatory"));
    }
    errors.extend(check_not_negative(&revision, "", &["revision"]));
    errors.extend(old.and_then(|old| check_fixed(&revision, &document(old), "data")));
    errors
}
