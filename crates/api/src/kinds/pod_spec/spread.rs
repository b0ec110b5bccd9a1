//! How a pod's kind is spread over the parts of the cluster (`validateTopologySpreadConstraints`).

use std::collections::BTreeSet;

use serde_json::Value;

use crate::kinds::doc::{has, list, number, strings, text};
use crate::kinds::rules::{check_selector, one_of};
use crate::meta;
use crate::status::FieldError;

const POSITIVE: &str = "must be greater than zero";

/// Returns everything that is wrong with the constraints of a pod's spec under `path`: two cannot be about the same domains
/// in the same way, and each selects by labels.
pub(super) fn validate(spec: &Value, path: &str) -> Vec<FieldError> {
    let constraints = list(spec, "topologySpreadConstraints");
    let mut errors = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, constraint) in constraints.iter().enumerate() {
        let path = format!("{path}.topologySpreadConstraints[{index}]");
        errors.extend(check_constraint(constraint, &path));
        let pair = (text(constraint, "topologyKey"), text(constraint, "whenUnsatisfiable"));
        if !seen.insert(pair) {
            let path = format!("{path}.{{topologyKey, whenUnsatisfiable}}");
            errors.push(FieldError::duplicate(path, format!("{{{}, {}}}", pair.0, pair.1)));
        }
        errors.extend(check_selector(constraint.get("labelSelector"), &format!("{path}.labelSelector")));
        errors.extend(check_domains(constraint, &path));
        for field in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            errors.extend(one_of(constraint, &path, field, &["Honor", "Ignore"]));
        }
        errors.extend(check_label_keys(constraint, "matchLabelKeys", &path));
    }
    errors
}

fn check_constraint(constraint: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let skew = number(constraint, "maxSkew");
    if skew <= 0 {
        errors.push(FieldError::invalid(format!("{path}.maxSkew"), skew, POSITIVE));
    }
    if !has(constraint, "topologyKey") {
        errors.push(FieldError::required(format!("{path}.topologyKey"), "can not be empty"));
    }
    let (action, actions) = (text(constraint, "whenUnsatisfiable"), ["DoNotSchedule", "ScheduleAnyway"]);
    if !actions.contains(&action) {
        errors.push(FieldError::not_supported(format!("{path}.whenUnsatisfiable"), action, &actions));
    }
    errors
}

fn check_domains(constraint: &Value, path: &str) -> Vec<FieldError> {
    let Some(domains) = constraint.get("minDomains").and_then(Value::as_i64) else { return Vec::new() };
    let (path, action) = (format!("{path}.minDomains"), text(constraint, "whenUnsatisfiable"));
    let mut errors = Vec::new();
    if domains <= 0 {
        errors.push(FieldError::invalid(&path, domains, POSITIVE));
    }
    if action != "DoNotSchedule" {
        let detail = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
        errors.push(FieldError::invalid(path, domains, &detail));
    }
    errors
}

/// Keys whose values are taken from the pod's own labels: they narrow down a selector that does not name them
/// (`validateMatchLabelKeys`).
fn check_label_keys(constraint: &Value, field: &str, path: &str) -> Vec<FieldError> {
    let selector = constraint.get("labelSelector").unwrap_or(&Value::Null);
    let selects = |key: &str| {
        strings(selector.get("matchLabels")).contains_key(key)
            || list(selector, "matchExpressions").iter().any(|requirement| text(requirement, "key") == key)
    };
    let mut errors = Vec::new();
    for (index, key) in list(constraint, field).iter().filter_map(Value::as_str).enumerate() {
        let path = format!("{path}.{field}[{index}]");
        errors.extend(FieldError::invalid_each(&path, key, meta::qualified_name(key)));
        if selects(key) {
            errors.push(FieldError::invalid(path, key, "exists in both matchLabelKeys and labelSelector"));
        }
    }
    errors
}
