//! What the controllers of pods have in common: a selector, a template, replicas and a rollout.

use serde_json::{Value, json};

use super::doc::{self, Doc, at, child_made, fill, text};
use super::pod_spec::{self, Owner};
use super::rules::{self, NOT_NEGATIVE};
use crate::intstr;
use crate::object::Object;
use crate::selector::LabelSelector;
use crate::status::FieldError;

const PERCENT: &str = "a valid percent string must be a numeric followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";

/// Fills in the pod template of `spec`.
pub(super) fn default_template(spec: &mut Doc) {
    if let Some(template) = child_made(spec, "template") {
        default_template_itself(template);
    }
}

/// Fills in a pod template. What Go holds by value is there even if nobody wrote it: its rules then name what is missing
/// inside.
pub(super) fn default_template_itself(template: &mut Doc) {
    if let Some(metadata) = child_made(template, "metadata") {
        // Go clients write `creationTimestamp: null`, which says nothing and must not make two templates differ.
        metadata.retain(|_, value| !value.is_null());
    }
    if let Some(pod) = child_made(template, "spec") {
        pod_spec::default_pod_spec(pod);
    }
}

/// Fills in a rolling update's pair of budgets, if the strategy is one.
pub(super) fn default_rollout(spec: &mut Doc, field: &str, budgets: [(&str, Value); 2]) {
    let Some(strategy) = child_made(spec, field) else { return };
    fill(strategy, "type", "RollingUpdate");
    if strategy.get("type").and_then(Value::as_str) != Some("RollingUpdate") {
        return;
    }
    if let Some(rolling) = child_made(strategy, "rollingUpdate") {
        for (budget, value) in budgets {
            fill(rolling, budget, value);
        }
    }
}

/// Takes the status out of a new object: only controllers write it.
pub(super) fn clear_status(object: &mut Object) {
    object.0.insert("status".to_owned(), json!({}));
}

/// Returns what is wrong with the parts that every workload has; `what` is who needs a selector.
pub(super) fn validate(object: &Object, what: &str, owner: Owner) -> Vec<FieldError> {
    let spec = rules::spec(object);
    validate_with(spec, spec.get("template"), what, owner)
}

/// As [`validate`], for pods that get more than their template has.
pub(super) fn validate_with(spec: &Value, template: Option<&Value>, what: &str, owner: Owner) -> Vec<FieldError> {
    const PATH: &str = "spec.selector";
    let mut errors = validate_counts(spec, &["replicas", "minReadySeconds", "revisionHistoryLimit"]);
    match at(spec, "selector") {
        None => errors.push(FieldError::required(PATH, "")),
        Some(selector) => {
            errors.extend(rules::check_selector(Some(selector), PATH));
            if LabelSelector::from_json(Some(selector)).is_ok_and(|selector| selector.is_everything()) {
                let detail = format!("empty selector is invalid for {what}");
                errors.push(FieldError::invalid(PATH, selector.clone(), &detail));
            }
        }
    }
    // No selector selects nothing, whatever the labels are.
    let selector = spec.get("selector").unwrap_or(&Value::Null);
    errors.extend(pod_spec::validate_template(template, Some(selector), "spec.template", owner));
    errors
}

/// Returns an error for each count that is negative.
pub(super) fn validate_counts(spec: &Value, fields: &[&str]) -> Vec<FieldError> {
    rules::check_not_negative(spec, "spec", fields)
}

/// Returns what is wrong with a budget such as `25%` or `1`, which is a part of all pods.
pub(super) fn validate_budget(rolling: &Value, field: &str, path: &str) -> Vec<FieldError> {
    const TOO_MANY: &str = "must not be greater than 100%";
    let mut errors = validate_surge(rolling, field, path);
    let value = text(rolling, field);
    if errors.is_empty() && intstr::percentage(value).is_ok_and(|percent| percent > 100) {
        errors.push(FieldError::invalid(format!("{path}.{field}"), value, TOO_MANY));
    }
    errors
}

/// Returns what is wrong with how many pods there may be beyond those that are wanted (`ValidatePositiveIntOrPercent`).
pub(super) fn validate_surge(rolling: &Value, field: &str, path: &str) -> Vec<FieldError> {
    let path = format!("{path}.{field}");
    match rolling.get(field) {
        Some(Value::String(text)) => match intstr::percentage(text) {
            Ok(percent) if percent >= 0 => Vec::new(),
            _ => vec![FieldError::invalid(path, text.as_str(), PERCENT)],
        },
        Some(Value::Number(count)) if count.as_i64().is_some_and(|count| count < 0) => {
            vec![FieldError::invalid(path, count.clone(), NOT_NEGATIVE)]
        }
        _ => Vec::new(),
    }
}

/// Whether a budget is 0 or `0%`.
pub(super) fn is_zero_budget(rolling: &Value, field: &str) -> bool {
    match rolling.get(field) {
        Some(Value::String(text)) => intstr::percentage(text).is_ok_and(|percent| percent == 0),
        Some(Value::Number(count)) => count.as_i64() == Some(0),
        _ => false,
    }
}

/// Returns an error for each field of the spec that an update changed but may not.
pub(super) fn validate_fixed(object: &Object, old: Option<&Object>, fields: &[&str]) -> Vec<FieldError> {
    let (spec, Some(old)) = (rules::spec(object), old.map(rules::spec)) else { return Vec::new() };
    let value = |spec: &Value, field: &str| spec.get(field).filter(|value| doc::is_set(value)).cloned();
    let check = |field: &&str| {
        rules::check_immutable(value(spec, field).as_ref(), value(old, field).as_ref(), &format!("spec.{field}"))
    };
    fields.iter().filter_map(check).collect()
}

/// Returns the spec of the pod template.
pub(super) fn template_spec(object: &Object) -> Option<&Value> {
    object.at(&["spec"]).and_then(|spec| at(spec, "template.spec"))
}

/// Returns a number of the status or spec as a cell.
pub(super) fn count(object: &Object, path: &[&str]) -> Value {
    object.at(path).and_then(Value::as_i64).unwrap_or_default().into()
}
