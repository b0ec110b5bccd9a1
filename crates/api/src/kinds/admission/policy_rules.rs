//! What admission policies and their bindings must look like (`pkg/apis/admissionregistration/validation`).

use std::collections::BTreeSet;

use serde_json::Value;

use crate::cel::admission::{Policy, is_name};
use crate::kinds::admission::webhooks::check_rule;
use crate::kinds::doc::{at, has, list, text};
use crate::kinds::rules::{check_selector, one_of};
use crate::meta;
use crate::object::Object;
use crate::status::FieldError;

mod mutating;

pub(super) use mutating::{validate_mutating_binding, validate_mutating_policy};

const REASONS: [&str; 4] = ["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"];
const ACTIONS: [&str; 3] = ["Audit", "Deny", "Warn"];

/// Returns everything that is wrong with a validating policy.
pub(super) fn validate_policy(object: &Object, _old: Option<&Object>) -> Vec<FieldError> {
    let null = Value::Null;
    let spec = object.at(&["spec"]).unwrap_or(&null);
    let mut errors = Vec::new();
    common(spec, &mut errors);
    if list(spec, "validations").is_empty() && list(spec, "auditAnnotations").is_empty() {
        let why = "validations or auditAnnotations must contain at least one item";
        errors.push(FieldError::required("spec.validations", why));
        errors.push(FieldError::required("spec.auditAnnotations", why));
    }
    names(spec, &mut errors);
    messages(spec, &mut errors);
    errors.extend(Policy::compile(spec).err().into_iter().flatten());
    errors
}

/// What all policies have: what happens if they fail, their parameters, and what they are about.
fn common(spec: &Value, errors: &mut Vec<FieldError>) {
    match text(spec, "failurePolicy") {
        "" => errors.push(FieldError::required("spec.failurePolicy", "")),
        "Fail" | "Ignore" => {}
        other => errors.push(FieldError::not_supported("spec.failurePolicy", other, &["Fail", "Ignore"])),
    }
    if let Some(kind) = spec.get("paramKind").filter(|kind| kind.is_object()) {
        for field in ["apiVersion", "kind"].into_iter().filter(|field| text(kind, field).is_empty()) {
            errors.push(FieldError::required(format!("spec.paramKind.{field}"), ""));
        }
    }
    match spec.get("matchConstraints").filter(|constraints| constraints.is_object()) {
        None => errors.push(FieldError::required("spec.matchConstraints", "")),
        Some(constraints) => {
            if list(constraints, "resourceRules").is_empty() {
                errors.push(FieldError::required("spec.matchConstraints.resourceRules", ""));
            }
            resources(constraints, "spec.matchConstraints", errors);
        }
    }
}

/// Returns everything that is wrong with a binding of a validating policy.
pub(super) fn validate_binding(object: &Object, _old: Option<&Object>) -> Vec<FieldError> {
    let null = Value::Null;
    let spec = object.at(&["spec"]).unwrap_or(&null);
    let mut errors = binding(spec);
    let actions = list(spec, "validationActions");
    if actions.is_empty() {
        errors.push(FieldError::required("spec.validationActions", "at least one validation action is required"));
    }
    let mut seen = BTreeSet::new();
    for (place, action) in actions.iter().filter_map(Value::as_str).enumerate() {
        let path = format!("spec.validationActions[{place}]");
        if !ACTIONS.contains(&action) {
            errors.push(FieldError::not_supported(path, action, &ACTIONS));
        } else if !seen.insert(action) {
            errors.push(FieldError::duplicate(path, action));
        }
    }
    if seen.contains("Deny") && seen.contains("Warn") {
        let why = "must not contain both Deny and Warn (repeating the same validation failure information in the API \
                   response and headers serves no purpose)";
        errors.push(FieldError::invalid("spec.validationActions", Value::from(actions.to_vec()), why));
    }
    errors
}

/// What all bindings have: a policy, parameters, and what it is used for.
fn binding(spec: &Value) -> Vec<FieldError> {
    let mut errors = policy_name(spec);
    if let Some(reference) = spec.get("paramRef").filter(|reference| reference.is_object()) {
        param_ref(reference, &mut errors);
    }
    if let Some(constraints) = spec.get("matchResources").filter(|constraints| constraints.is_object()) {
        resources(constraints, "spec.matchResources", &mut errors);
    }
    errors
}

fn policy_name(spec: &Value) -> Vec<FieldError> {
    let name = text(spec, "policyName");
    if name.is_empty() {
        return vec![FieldError::required("spec.policyName", "")];
    }
    let problems = meta::dns1123_subdomain(name);
    problems.iter().map(|why| FieldError::invalid("spec.policyName", name, why)).collect()
}

fn param_ref(reference: &Value, errors: &mut Vec<FieldError>) {
    let (named, selected) = (!text(reference, "name").is_empty(), has(reference, "selector"));
    if named == selected {
        if named {
            let why = "name and selector are mutually exclusive";
            errors.push(FieldError::forbidden("spec.paramRef.name", why));
        } else {
            errors.push(FieldError::required("spec.paramRef", "one of name or selector must be specified"));
        }
    }
    match text(reference, "parameterNotFoundAction") {
        "" => errors.push(FieldError::required("spec.paramRef.parameterNotFoundAction", "")),
        "Allow" | "Deny" => {}
        other => {
            let path = "spec.paramRef.parameterNotFoundAction";
            errors.push(FieldError::not_supported(path, other, &["Allow", "Deny"]));
        }
    }
}

/// What a policy or a binding is about (`validateMatchResources`).
fn resources(constraints: &Value, path: &str, errors: &mut Vec<FieldError>) {
    errors.extend(one_of(constraints, path, "matchPolicy", &["Equivalent", "Exact"]));
    for field in ["namespaceSelector", "objectSelector"] {
        errors.extend(check_selector(constraints.get(field), &format!("{path}.{field}")));
    }
    for field in ["resourceRules", "excludeResourceRules"] {
        for (place, rule) in list(constraints, field).iter().enumerate() {
            let path = format!("{path}.{field}[{place}]");
            resource_names(rule, &path, errors);
            check_rule(rule, &path, errors);
        }
    }
}

/// The names that a rule is about; it is about all if it has none.
fn resource_names(rule: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let mut seen = BTreeSet::new();
    for (place, name) in list(rule, "resourceNames").iter().filter_map(Value::as_str).enumerate() {
        let path = format!("{path}.resourceNames[{place}]");
        errors.extend(meta::path_segment(name).iter().map(|why| FieldError::invalid(&path, name, why)));
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(path, name));
        }
    }
}

fn names(spec: &Value, errors: &mut Vec<FieldError>) {
    for (field, key) in [("matchConditions", "name"), ("auditAnnotations", "key"), ("variables", "name")] {
        let mut seen = BTreeSet::new();
        for (place, item) in list(spec, field).iter().enumerate() {
            let (path, name) = (format!("spec.{field}[{place}].{key}"), text(item, key));
            if name.is_empty() {
                errors.push(FieldError::required(path, ""));
            } else if !seen.insert(name) {
                errors.push(FieldError::duplicate(path, name));
            } else if field == "variables" {
                if !is_name(name) {
                    errors.push(FieldError::invalid(path, name, "name is not a valid CEL identifier"));
                }
            } else {
                errors.extend(meta::qualified_name(name).iter().map(|why| FieldError::invalid(&path, name, why)));
            }
        }
    }
}

fn messages(spec: &Value, errors: &mut Vec<FieldError>) {
    for (place, validation) in list(spec, "validations").iter().enumerate() {
        let path = format!("spec.validations[{place}]");
        let message = text(validation, "message");
        if message.contains('\n') {
            errors.push(FieldError::invalid(
                format!("{path}.message"),
                message,
                "message must not contain line breaks",
            ));
        } else if !message.is_empty() && message.trim().is_empty() {
            let why = "message must be non-empty if specified";
            errors.push(FieldError::invalid(format!("{path}.message"), message, why));
        } else if message.is_empty() && text(validation, "expression").trim().contains('\n') {
            let why = "message must be specified if expression contains line breaks";
            errors.push(FieldError::required(format!("{path}.message"), why));
        }
        let reason = text(validation, "reason");
        if at(validation, "reason").is_some() && !REASONS.contains(&reason) {
            errors.push(FieldError::not_supported(format!("{path}.reason"), reason, &REASONS));
        }
    }
}

#[cfg(test)]
mod tests;
