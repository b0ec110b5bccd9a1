//! Roles and bindings (`pkg/apis/rbac/validation`).

use serde_json::Value;

use super::{check_selector, document};
use crate::kinds::doc::{has, list, text};
use crate::meta;
use crate::object::Object;
use crate::status::FieldError;

const GROUP: &str = "rbac.authorization.k8s.io";

/// What a role or cluster role must look like.
pub(in crate::kinds) fn validate_role(object: &Object, _old: Option<&Object>) -> Vec<FieldError> {
    let role = document(object);
    let is_namespaced = !object.namespace().is_empty();
    let mut errors = Vec::new();
    for (index, rule) in list(&role, "rules").iter().enumerate() {
        errors.extend(check_rule(rule, &format!("rules[{index}]"), is_namespaced));
    }
    if let Some(aggregation) = role.get("aggregationRule").filter(|rule| !rule.is_null()) {
        let selectors = list(aggregation, "clusterRoleSelectors");
        let path = "aggregationRule.clusterRoleSelectors";
        if selectors.is_empty() {
            let detail = "at least one clusterRoleSelector required if aggregationRule is non-nil";
            errors.push(FieldError::required(path, detail));
        }
        for (index, selector) in selectors.iter().enumerate() {
            errors.extend(check_selector(Some(selector), &format!("{path}[{index}]")));
        }
    }
    errors
}

fn check_rule(rule: &Value, path: &str, is_namespaced: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if list(rule, "verbs").is_empty() {
        errors.push(FieldError::required(format!("{path}.verbs"), "verbs must contain at least one value"));
    }
    let urls = list(rule, "nonResourceURLs");
    if !urls.is_empty() {
        let path = format!("{path}.nonResourceURLs");
        if is_namespaced {
            let detail = "namespaced rules cannot apply to non-resource URLs";
            errors.push(FieldError::invalid(&path, urls.to_vec(), detail));
        }
        if ["apiGroups", "resources", "resourceNames"].iter().any(|field| !list(rule, field).is_empty()) {
            let detail = "rules cannot apply to both regular resources and non-resource URLs";
            errors.push(FieldError::invalid(path, urls.to_vec(), detail));
        }
        return errors;
    }
    for (field, what) in [("apiGroups", "api group"), ("resources", "resource")] {
        if list(rule, field).is_empty() {
            let detail = format!("resource rules must supply at least one {what}");
            errors.push(FieldError::required(format!("{path}.{field}"), &detail));
        }
    }
    errors
}

/// What the reference and the subjects of a binding must look like, beyond being there.
pub(in crate::kinds) fn validate_subjects(object: &Object) -> Vec<FieldError> {
    let binding = document(object);
    let mut errors = Vec::new();
    let group = object.str_at(&["roleRef", "apiGroup"]);
    if group != GROUP {
        errors.push(FieldError::not_supported("roleRef.apiGroup", group, &[GROUP]));
    }
    for (index, subject) in list(&binding, "subjects").iter().enumerate() {
        let path = format!("subjects[{index}]");
        let (group, name) = (text(subject, "apiGroup"), text(subject, "name"));
        match text(subject, "kind") {
            "ServiceAccount" => {
                if !name.is_empty() {
                    let problems = meta::dns1123_subdomain(name);
                    let path = format!("{path}.name");
                    errors.extend(problems.iter().map(|problem| FieldError::invalid(&path, name, problem)));
                }
                if has(subject, "apiGroup") {
                    errors.push(FieldError::not_supported(format!("{path}.apiGroup"), group, &[""]));
                }
            }
            "User" | "Group" if group != GROUP => {
                errors.push(FieldError::not_supported(format!("{path}.apiGroup"), group, &[GROUP]));
            }
            _ => {}
        }
    }
    errors
}
