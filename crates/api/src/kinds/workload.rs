//! What the controllers of pods have in common: a selector, a template, replicas and a rollout.

use serde_json::{Value, json};

use super::doc::{Doc, at, child_made, fill, has};
use super::pod_spec::{self, Owner};
use super::rules::{self, IMMUTABLE, NOT_NEGATIVE};
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

/// Returns what is wrong with the parts that every workload has.
pub(super) fn validate(object: &Object, old: Option<&Object>, what: &str, owner: Owner) -> Vec<FieldError> {
    let spec = object.at(&["spec"]).unwrap_or(&Value::Null);
    let mut errors = validate_counts(spec, &["replicas", "minReadySeconds", "revisionHistoryLimit"]);
    match spec.get("selector").filter(|selector| !selector.is_null()) {
        None => errors.push(FieldError::required("spec.selector", "")),
        Some(selector) => match LabelSelector::from_json(Some(selector)) {
            Ok(parsed) if parsed.is_everything() => {
                let detail = format!("empty selector is invalid for {what}");
                errors.push(FieldError::invalid("spec.selector", selector.clone(), &detail));
            }
            Ok(_) => {}
            Err(error) => {
                errors.push(FieldError::invalid("spec.selector", selector.clone(), &error.to_string()));
            }
        },
    }
    // No selector selects nothing, whatever the labels are.
    let selector = spec.get("selector").unwrap_or(&Value::Null);
    errors.extend(pod_spec::validate_template(spec.get("template"), Some(selector), "spec.template", owner));
    if let Some(old) = old
        && old.at(&["spec", "selector"]) != spec.get("selector")
    {
        errors.push(FieldError::invalid("spec.selector", selector.clone(), IMMUTABLE));
    }
    errors
}

/// Returns an error for each count that is negative.
pub(super) fn validate_counts(spec: &Value, fields: &[&str]) -> Vec<FieldError> {
    rules::check_not_negative(spec, "spec", fields)
}

/// Returns what is wrong with a budget such as `25%` or `1`.
pub(super) fn validate_budget(rolling: &Value, field: &str, path: &str) -> Vec<FieldError> {
    let path = format!("{path}.{field}");
    match rolling.get(field) {
        Some(Value::String(text)) => match intstr::percentage(text) {
            Err(_) => vec![FieldError::invalid(path, text.as_str(), PERCENT)],
            Ok(percent) if percent > 100 && field == "maxUnavailable" => {
                vec![FieldError::invalid(path, text.as_str(), "must not be greater than 100%")]
            }
            Ok(_) => Vec::new(),
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
    let (Some(spec), Some(old)) = (object.at(&["spec"]), old.and_then(|old| old.at(&["spec"]))) else {
        return Vec::new();
    };
    let value = |spec: &Value, field: &str| if has(spec, field) { spec[field].clone() } else { Value::Null };
    let changed = fields.iter().filter(|field| value(spec, field) != value(old, field));
    changed.map(|field| FieldError::invalid(format!("spec.{field}"), value(spec, field), IMMUTABLE)).collect()
}

/// Returns the spec of the pod template.
pub(super) fn template_spec(object: &Object) -> Option<&Value> {
    object.at(&["spec"]).and_then(|spec| at(spec, "template.spec"))
}

/// Returns a number of the status or spec as a cell.
pub(super) fn count(object: &Object, path: &[&str]) -> Value {
    object.at(path).and_then(Value::as_i64).unwrap_or_default().into()
}
