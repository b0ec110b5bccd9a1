//! Resource quotas and limit ranges (`ValidateResourceQuota`, `ValidateLimitRange`).

use std::collections::BTreeSet;

use serde_json::Value;

use super::{check_amount, check_fixed, check_resource_name, document, quantity, spec};
use crate::kinds::doc::{list, text};
use crate::kinds::pod_spec::check_container_resource;
use crate::object::Object;
use crate::quantity::Quantity;
use crate::status::FieldError;

const SCOPES: [&str; 7] = [
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];
const LIMIT_TYPES: [&str; 3] = ["Container", "PersistentVolumeClaim", "Pod"];
const BEYOND_SCOPE: &str = "unsupported scope applied to resource";
/// What pods compute with, as quotas name it.
const COMPUTE: [&str; 6] = ["cpu", "limits.cpu", "limits.memory", "memory", "requests.cpu", "requests.memory"];
const COUNTS: [&str; 9] = [
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
];
const AMOUNTS: [&str; 10] = [
    "cpu",
    "ephemeral-storage",
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
    "requests.storage",
];

/// What a quota must look like.
pub(in crate::kinds) fn validate_quota(object: &Object, old: Option<&Object>) -> Vec<FieldError> {
    let spec = spec(object);
    let mut errors = Vec::new();
    for (name, amount) in spec.get("hard").and_then(Value::as_object).into_iter().flatten() {
        let path = format!("spec.hard[{name}]");
        errors.extend(check_name(name, &path));
        errors.extend(check_amount(amount, &path));
        let is_count = COUNTS.contains(&name.as_str()) || name.starts_with("count/");
        if is_count && quantity(amount).is_some_and(|amount| amount.milli() % 1000 != 0) {
            errors.push(FieldError::invalid(path, amount.clone(), "must be an integer"));
        }
    }
    let scopes: Vec<&str> = list(spec, "scopes").iter().filter_map(Value::as_str).collect();
    let shown = || Value::from(scopes.clone());
    for scope in &scopes {
        if !SCOPES.contains(scope) {
            errors.push(FieldError::invalid("spec.scopes", shown(), "unsupported scope"));
        }
        let beyond = counted(spec).filter(|name| !scope_fits(scope, name));
        errors.extend(beyond.map(|_| FieldError::invalid("spec.scopes", shown(), BEYOND_SCOPE)));
    }
    let both = |a, b| scopes.contains(&a) && scopes.contains(&b);
    if both("BestEffort", "NotBestEffort") || both("Terminating", "NotTerminating") {
        errors.push(FieldError::invalid("spec.scopes", shown(), "conflicting scopes"));
    }
    errors.extend(check_scope_selector(spec));
    if let Some(old) = old {
        errors.extend(check_fixed(&document(object), &document(old), "spec.scopes"));
    }
    errors
}

fn check_name(name: &str, path: &str) -> Vec<FieldError> {
    let mut errors = check_resource_name(name, path);
    if !name.contains('/') && !is_standard(name) {
        errors.push(FieldError::invalid(path, name, "must be a standard resource for quota"));
    }
    errors
}

fn is_standard(name: &str) -> bool {
    COUNTS.contains(&name)
        || AMOUNTS.contains(&name)
        || name.starts_with("hugepages-")
        || name.starts_with("requests.hugepages-")
}

/// Returns the names of what is limited that scopes have a say in.
fn counted(spec: &Value) -> impl Iterator<Item = &str> {
    let names = spec.get("hard").and_then(Value::as_object).into_iter().flatten().map(|(name, _)| name.as_str());
    names.filter(|name| is_standard(name))
}

/// Whether a scope tells objects apart by which this is counted (`IsResourceQuotaScopeValidForResource`).
fn scope_fits(scope: &str, name: &str) -> bool {
    let is_of_pods = COMPUTE.contains(&name) || name == "pods";
    match scope {
        "Terminating" | "NotTerminating" | "NotBestEffort" | "PriorityClass" | "CrossNamespacePodAffinity" => {
            is_of_pods
        }
        "BestEffort" => name == "pods",
        "VolumeAttributesClass" => matches!(name, "persistentvolumeclaims" | "requests.storage"),
        _ => true,
    }
}

fn check_scope_selector(spec: &Value) -> Vec<FieldError> {
    const PATH: &str = "spec.scopeSelector.matchExpressions";
    let mut errors = Vec::new();
    let Some(selector) = spec.get("scopeSelector") else { return errors };
    for expression in list(selector, "matchExpressions") {
        let (scope, operator) = (text(expression, "scopeName"), text(expression, "operator"));
        let values = list(expression, "values");
        if !SCOPES.contains(&scope) {
            errors.push(FieldError::invalid(format!("{PATH}.scopeName"), scope, "unsupported scope"));
        }
        let beyond = counted(spec).filter(|name| !scope_fits(scope, name));
        errors.extend(beyond.map(|_| FieldError::invalid(PATH, selector.clone(), BEYOND_SCOPE)));
        if !matches!(scope, "PriorityClass" | "VolumeAttributesClass") && operator != "Exists" {
            let detail = "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, \
                          ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, \
                          ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            errors.push(FieldError::invalid(format!("{PATH}.operator"), operator, detail));
        }
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                let detail = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.push(FieldError::required(format!("{PATH}.values"), detail));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail = "must be no value when `operator` is 'Exists' or 'DoesNotExist' for scope selector";
                errors.push(FieldError::invalid(format!("{PATH}.values"), values.to_vec(), detail));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                errors.push(FieldError::invalid(format!("{PATH}.operator"), other, "not a valid selector operator"));
            }
        }
    }
    errors
}

/// What a limit range must look like.
pub(in crate::kinds) fn validate_limit_range(object: &Object, _old: Option<&Object>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut types = BTreeSet::new();
    for (index, limit) in list(spec(object), "limits").iter().enumerate() {
        let path = format!("spec.limits[{index}]");
        let kind = text(limit, "type");
        if kind.is_empty() {
            errors.push(FieldError::required(format!("{path}.type"), ""));
        } else if !kind.contains('/') && !LIMIT_TYPES.contains(&kind) {
            let detail = "must be a standard limit type or fully qualified";
            errors.push(FieldError::invalid(format!("{path}.type"), kind, detail));
        }
        if !types.insert(kind) {
            errors.push(FieldError::duplicate(format!("{path}.type"), kind));
        }
        if kind == "Pod" {
            for field in ["default", "defaultRequest"] {
                if limit.get(field).and_then(Value::as_object).is_some_and(|map| !map.is_empty()) {
                    let detail = "may not be specified when `type` is 'Pod'";
                    errors.push(FieldError::forbidden(format!("{path}.{field}"), detail));
                }
            }
        }
        if kind == "PersistentVolumeClaim"
            && bound(limit, "min", "storage").or(bound(limit, "max", "storage")).is_none()
        {
            let detail = "either minimum or maximum storage value is required, but neither was provided";
            errors.push(FieldError::required(format!("{path}.limits"), detail));
        }
        errors.extend(check_limit(limit, &path));
    }
    errors
}

fn bound(limit: &Value, field: &str, name: &str) -> Option<Quantity> {
    limit.get(field).and_then(|map| map.get(name)).and_then(quantity)
}

/// Checks that a limit's bounds and defaults agree, resource by resource.
fn check_limit(limit: &Value, path: &str) -> Vec<FieldError> {
    const FIELDS: [&str; 5] = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];
    let mut errors = Vec::new();
    let mut names = BTreeSet::new();
    for field in FIELDS {
        for (name, amount) in limit.get(field).and_then(Value::as_object).into_iter().flatten() {
            let path = format!("{path}.{field}[{name}]");
            errors.extend(match text(limit, "type") {
                "Pod" | "Container" => check_container_resource(name, &path),
                _ => check_resource_name(name, &path),
            });
            errors.extend(check_amount(amount, &path));
            names.insert(name.as_str());
        }
    }
    for name in names {
        let of = |field| bound(limit, field, name);
        let (max, min, default, request) = (of("max"), of("min"), of("default"), of("defaultRequest"));
        // The smaller, its words, the larger, its words, and which field is to blame.
        let pairs = [
            (min, "min value", max, "max value", "min"),
            (min, "min value", request, "default request value", "defaultRequest"),
            (request, "default request value", max, "max value", "defaultRequest"),
            (request, "default request value", default, "default limit value", "defaultRequest"),
            (min, "min value", default, "default value", "default"),
            (default, "default value", max, "max value", "default"),
        ];
        for (small, small_words, large, large_words, blamed) in pairs {
            let (Some(small), Some(large)) = (small, large) else { continue };
            if small > large {
                let shown = of(blamed).map(|amount| amount.to_string()).unwrap_or_default();
                let detail = format!("{small_words} {small} is greater than {large_words} {large}");
                errors.push(FieldError::invalid(format!("{path}.{blamed}[{name}]"), shown, &detail));
            }
        }
        if let Some(ratio) = of("maxLimitRequestRatio").filter(|ratio| *ratio < Quantity::new(1)) {
            let path = format!("{path}.maxLimitRequestRatio[{name}]");
            errors.push(FieldError::invalid(path, ratio.to_string(), &format!("ratio {ratio} is less than 1")));
        }
    }
    errors
}
