//! Which nodes and which neighbours a pod wants (`validateAffinity`).

use serde_json::Value;

use crate::kinds::doc::{at, list, number, text};
use crate::kinds::rules::check_selector;
use crate::meta;
use crate::status::FieldError;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const WEIGHT: &str = "must be in the range 1-100";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// What the affinities of a pod must look like.
pub(super) fn validate(spec: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let path = format!("{path}.affinity");
    if let Some(node) = at(spec, "affinity.nodeAffinity") {
        errors.extend(check_node_affinity(node, &format!("{path}.nodeAffinity")));
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(affinity) = at(spec, &format!("affinity.{kind}")) else { continue };
        for (index, term) in list(affinity, REQUIRED).iter().enumerate() {
            errors.extend(check_pod_term(term, &format!("{path}.{kind}.{REQUIRED}[{index}]")));
        }
        for (index, weighted) in list(affinity, PREFERRED).iter().enumerate() {
            let path = format!("{path}.{kind}.{PREFERRED}[{index}]");
            let weight = number(weighted, "weight");
            if !(1..=100).contains(&weight) {
                errors.push(FieldError::invalid(format!("{path}.weight"), weight, WEIGHT));
            }
            let term = weighted.get("podAffinityTerm").unwrap_or(&Value::Null);
            errors.extend(check_pod_term(term, &format!("{path}.podAffinityTerm")));
        }
    }
    errors
}

fn check_node_affinity(node: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if let Some(required) = at(node, REQUIRED) {
        errors.extend(check_node_selector(required, &format!("{path}.{REQUIRED}")));
    }
    for (index, term) in list(node, PREFERRED).iter().enumerate() {
        let path = format!("{path}.{PREFERRED}[{index}]");
        let weight = number(term, "weight");
        if !(1..=100).contains(&weight) {
            errors.push(FieldError::invalid(format!("{path}.weight"), weight, WEIGHT));
        }
        let preference = term.get("preference").unwrap_or(&Value::Null);
        errors.extend(check_node_term(preference, &format!("{path}.preference")));
    }
    errors
}

/// Returns everything that is wrong with a selector of nodes: one of its terms must fit (`ValidateNodeSelector`).
pub(in crate::kinds) fn check_node_selector(selector: &Value, path: &str) -> Vec<FieldError> {
    let path = format!("{path}.nodeSelectorTerms");
    let terms = list(selector, "nodeSelectorTerms");
    if terms.is_empty() {
        return vec![FieldError::required(path, "must have at least one node selector term")];
    }
    terms.iter().enumerate().flat_map(|(index, term)| check_node_term(term, &format!("{path}[{index}]"))).collect()
}

fn check_node_term(term: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, requirement) in list(term, "matchExpressions").iter().enumerate() {
        let path = format!("{path}.matchExpressions[{index}]");
        let (operator, values) = (text(requirement, "operator"), list(requirement, "values"));
        let values_path = format!("{path}.values");
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.push(FieldError::required(values_path, detail));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(FieldError::forbidden(values_path, detail));
            }
            "Gt" | "Lt" if values.len() != 1 => {
                let detail = "must be specified single value when `operator` is 'Lt' or 'Gt'";
                errors.push(FieldError::required(values_path, detail));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            other => {
                let detail = "not a valid selector operator";
                errors.push(FieldError::invalid(format!("{path}.operator"), other, detail));
            }
        }
        let key = text(requirement, "key");
        errors.extend(FieldError::invalid_each(&format!("{path}.key"), key, meta::qualified_name(key)));
    }
    for (index, requirement) in list(term, "matchFields").iter().enumerate() {
        errors.extend(check_field_requirement(requirement, &format!("{path}.matchFields[{index}]")));
    }
    errors
}

/// A node is found by its name, and by no other field (`ValidateNodeFieldSelectorRequirement`).
fn check_field_requirement(requirement: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (key, operator, values) =
        (text(requirement, "key"), text(requirement, "operator"), list(requirement, "values"));
    match operator {
        "In" | "NotIn" if values.len() != 1 => {
            let detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
            errors.push(FieldError::required(format!("{path}.values"), detail));
        }
        "In" | "NotIn" => {}
        other => {
            let detail = "not a valid selector operator";
            errors.push(FieldError::invalid(format!("{path}.operator"), other, detail));
        }
    }
    if key != "metadata.name" {
        errors.push(FieldError::invalid(format!("{path}.key"), key, "not a valid field selector key"));
        return errors;
    }
    for (index, name) in values.iter().filter_map(Value::as_str).enumerate() {
        errors.extend(FieldError::invalid_each(
            &format!("{path}.values[{index}]"),
            name,
            meta::dns1123_subdomain(name),
        ));
    }
    errors
}

fn check_pod_term(term: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for field in ["labelSelector", "namespaceSelector"] {
        errors.extend(check_selector(term.get(field), &format!("{path}.{field}")));
    }
    for name in list(term, "namespaces").iter().filter_map(Value::as_str) {
        errors.extend(FieldError::invalid_each(&format!("{path}.namespace"), name, meta::dns1123_label(name)));
    }
    let key = text(term, "topologyKey");
    if key.is_empty() {
        errors.push(FieldError::required(format!("{path}.topologyKey"), "can not be empty"));
    } else {
        errors.extend(FieldError::invalid_each(&format!("{path}.topologyKey"), key, meta::qualified_name(key)));
    }
    errors
}
