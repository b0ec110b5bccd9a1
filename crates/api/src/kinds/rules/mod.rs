//! What the smaller kinds must look like (`pkg/apis/*/validation`): one file per group, in Kubernetes' words. Pure.

mod access;
mod autoscaling;
mod limits;
mod network;
mod node;
mod pod;
mod policy;
mod storage;
#[cfg(test)]
mod tests;

pub(super) use access::{validate_role, validate_subjects};
pub(super) use autoscaling::{default_behavior, validate_autoscaler};
pub(super) use limits::{validate_limit_range, validate_quota};
pub(super) use network::{
    check_address, validate_endpoints, validate_ingress_class, validate_network_policy, validate_slice_addresses,
};
pub(super) use node::{validate_namespace, validate_node};
pub(super) use pod::{validate_affinity, validate_extras, validate_security};
pub(super) use policy::{
    validate_disruption_budget, validate_event, validate_lease, validate_priority_class, validate_runtime_class,
};
pub(super) use storage::{
    validate_claim, validate_claim_spec, validate_csi_driver, validate_storage_class, validate_volume,
};

use serde_json::Value;

use super::doc::{at, list, strings, text};
use crate::meta;
use crate::object::Object;
use crate::quantity::Quantity;
use crate::selector::LabelSelector;
use crate::status::FieldError;

pub(super) const IMMUTABLE: &str = "field is immutable";
pub(super) const NOT_NEGATIVE: &str = "must be greater than or equal to 0";
pub(super) const POSITIVE: &str = "must be greater than 0";
const QUANTITY: &str = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
pub(super) const IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
pub(super) const CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// Returns the document as a value, for the accessors.
fn document(object: &Object) -> Value {
    Value::Object(object.0.clone())
}

/// Returns the spec, or null.
fn spec(object: &Object) -> &Value {
    object.0.get("spec").unwrap_or(&Value::Null)
}

/// Returns an amount, written as text or number.
pub(super) fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

/// Returns what is wrong with one amount that must not be negative.
fn check_amount(value: &Value, path: &str) -> Vec<FieldError> {
    match quantity(value) {
        None => vec![FieldError::invalid(path, value.clone(), QUANTITY)],
        Some(amount) if amount.is_negative() => vec![FieldError::invalid(path, amount.to_string(), NOT_NEGATIVE)],
        Some(_) => Vec::new(),
    }
}

/// Returns an error if a text field that is set is none of the allowed ones.
pub(super) fn one_of(value: &Value, path: &str, field: &str, allowed: &[&str]) -> Option<FieldError> {
    let actual = text(value, field);
    let path = if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") };
    (!actual.is_empty() && !allowed.contains(&actual)).then(|| FieldError::not_supported(path, actual, allowed))
}

/// Returns what is wrong with a field by one of the naming rules, if it is set.
fn named(value: &Value, path: &str, field: &str, rule: fn(&str) -> Vec<String>) -> Vec<FieldError> {
    let actual = text(value, field);
    if actual.is_empty() {
        return Vec::new();
    }
    rule(actual).iter().map(|problem| FieldError::invalid(format!("{path}.{field}"), actual, problem)).collect()
}

/// Returns what is wrong with a label selector (`ValidateLabelSelector`).
pub(super) fn check_selector(selector: Option<&Value>, path: &str) -> Vec<FieldError> {
    let Some(selector) = selector.filter(|selector| !selector.is_null()) else { return Vec::new() };
    let mut errors = meta::validate_labels(&format!("{path}.matchLabels"), &strings(selector.get("matchLabels")));
    let before = errors.len();
    for (index, requirement) in list(selector, "matchExpressions").iter().enumerate() {
        let path = format!("{path}.matchExpressions[{index}]");
        let (operator, values) = (text(requirement, "operator"), list(requirement, "values"));
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.push(FieldError::required(format!("{path}.values"), detail));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(FieldError::forbidden(format!("{path}.values"), detail));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                let detail = "not a valid selector operator";
                errors.push(FieldError::invalid(format!("{path}.operator"), other, detail));
            }
        }
        let key = text(requirement, "key");
        let problems = meta::qualified_name(key);
        errors.extend(problems.iter().map(|problem| FieldError::invalid(format!("{path}.key"), key, problem)));
        for (index, value) in values.iter().filter_map(Value::as_str).enumerate() {
            let problems = meta::label_value(value);
            let path = format!("{path}.values[{index}]");
            errors.extend(problems.iter().map(|problem| FieldError::invalid(&path, value, problem)));
        }
    }
    if errors.len() == before
        && let Err(error) = LabelSelector::from_json(Some(selector))
    {
        errors.push(FieldError::invalid(path, selector.clone(), &error.to_string()));
    }
    errors
}

/// Returns an error if a field that may not change did.
fn check_fixed(new: &Value, old: &Value, dotted: &str) -> Option<FieldError> {
    let (now, before) = (at(new, dotted), at(old, dotted));
    (now != before).then(|| FieldError::invalid(dotted, now.cloned().unwrap_or_default(), IMMUTABLE))
}
