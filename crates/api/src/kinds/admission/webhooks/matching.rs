//! Which requests a webhook or a policy is about (`pkg/apis/admissionregistration/validation`).

use std::collections::BTreeSet;

use serde_json::Value;

use crate::kinds::doc::list;
use crate::kinds::rules::one_of;
use crate::status::FieldError;

/// `validateRuleWithOperations`
pub(in crate::kinds::admission) fn check_rule(rule: &Value, path: &str, errors: &mut Vec<FieldError>) {
    const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
    check_list(rule, "operations", "operations", path, errors);
    for (place, operation) in list(rule, "operations").iter().enumerate() {
        if !OPERATIONS.iter().any(|known| operation == known) {
            let path = format!("{path}.operations[{place}]");
            errors.push(FieldError::not_supported(path, operation.clone(), &OPERATIONS));
        }
    }
    check_list(rule, "apiGroups", "API groups", path, errors);
    check_list(rule, "apiVersions", "API versions", path, errors);
    for (place, version) in list(rule, "apiVersions").iter().enumerate() {
        if version == "" {
            errors.push(FieldError::required(format!("{path}.apiVersions[{place}]"), ""));
        }
    }
    check_resources(rule, &format!("{path}.resources"), errors);
    errors.extend(one_of(rule, path, "scope", &["*", "Cluster", "Namespaced"]));
}

/// A list that is needed, and in which `*` stands alone.
fn check_list(rule: &Value, field: &str, what: &str, path: &str, errors: &mut Vec<FieldError>) {
    let (values, path) = (list(rule, field), format!("{path}.{field}"));
    if values.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else if values.len() > 1 && values.iter().any(|value| value == "*") {
        let why = format!("if '*' is present, must not specify other {what}");
        errors.push(FieldError::invalid(path, values.to_vec(), &why));
    }
}

/// `validateResources`: no entry may repeat what a wildcard before it says.
fn check_resources(rule: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let resources: Vec<&str> = list(rule, "resources").iter().map(|one| one.as_str().unwrap_or_default()).collect();
    if resources.is_empty() {
        errors.push(FieldError::required(path, ""));
    }
    let (mut all_parts_of, mut part_of_all) = (BTreeSet::new(), BTreeSet::new());
    for (place, resource) in resources.iter().enumerate() {
        let path = format!("{path}[{place}]");
        if resource.is_empty() {
            errors.push(FieldError::required(path, ""));
            continue;
        }
        let Some((name, part)) = resource.split_once('/') else { continue };
        if all_parts_of.contains(name) {
            let why = format!("if '{name}/*' is present, must not specify {resource}");
            errors.push(FieldError::invalid(&path, *resource, &why));
        }
        if part_of_all.contains(part) {
            let why = format!("if '*/{part}' is present, must not specify {resource}");
            errors.push(FieldError::invalid(&path, *resource, &why));
        }
        if part == "*" {
            all_parts_of.insert(name);
        }
        if name == "*" {
            part_of_all.insert(part);
        }
    }
    if resources.len() > 1 && resources.contains(&"*/*") {
        let why = "if '*/*' is present, must not specify other resources";
        errors.push(FieldError::invalid(path, resources.clone(), why));
    }
    let named = resources.iter().any(|one| *one != "*" && !one.contains('/'));
    if resources.contains(&"*") && named {
        let why = "if '*' is present, must not specify other resources without subresources";
        errors.push(FieldError::invalid(path, resources.clone(), why));
    }
}
