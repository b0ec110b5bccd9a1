//! What a container asks for, and what it may use (`ValidateContainerResourceRequirements`).

use serde_json::{Map, Value};

use crate::kinds::doc::at;
use crate::kinds::rules::{check_amount, check_resource_name, quantity};
use crate::quantity::Quantity;
use crate::status::FieldError;

/// Returns everything that is wrong with requests and limits.
pub(super) fn validate(resources: Option<&Value>, path: &str) -> Vec<FieldError> {
    let Some(resources) = resources else { return Vec::new() };
    let (limits, requests) = (amounts(resources, "limits"), amounts(resources, "requests"));
    let mut errors = Vec::new();
    for (field, amounts) in [("limits", limits), ("requests", requests)] {
        for (name, amount) in amounts.into_iter().flatten() {
            errors.extend(check_one(name, amount, &format!("{path}.{field}[{name}]")));
        }
    }
    for (name, request) in requests.into_iter().flatten() {
        let limit = limits.and_then(|limits| limits.get(name)).and_then(quantity);
        errors.extend(quantity(request).and_then(|request| check_pair(name, request, limit, path)));
    }
    let has =
        |wanted: fn(&str) -> bool| [limits, requests].into_iter().flatten().flatten().any(|(name, _)| wanted(name));
    if has(is_huge_pages) && !has(|name| matches!(name, "cpu" | "memory")) {
        errors.push(FieldError::forbidden(path, "HugePages require cpu or memory"));
    }
    errors
}

fn amounts<'a>(resources: &'a Value, field: &str) -> Option<&'a Map<String, Value>> {
    at(resources, field).and_then(Value::as_object)
}

/// A resource has a name, and an amount that there can be of it.
fn check_one(name: &str, amount: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = check_container_resource(name, path);
    errors.extend(check_amount(amount, path));
    // Devices and the like come one by one.
    let is_counted = name.contains('/') && !is_native(name);
    if is_counted && quantity(amount).is_some_and(|amount| amount.milli() % 1000 != 0) {
        errors.push(FieldError::invalid(path, amount.clone(), "must be an integer"));
    }
    errors
}

/// Nobody asks for more than they may use; what is not shared is asked for as it is used.
fn check_pair(name: &str, request: Quantity, limit: Option<Quantity>, path: &str) -> Option<FieldError> {
    let is_shared = is_native(name) && !is_huge_pages(name);
    let Some(limit) = limit else {
        let detail = "Limit must be set for non overcommitable resources";
        return (!is_shared).then(|| FieldError::required(format!("{path}.limits"), detail));
    };
    let detail = match is_shared {
        false if request != limit => format!("must be equal to {name} limit of {limit}"),
        true if request > limit => format!("must be less than or equal to {name} limit of {limit}"),
        _ => return None,
    };
    Some(FieldError::invalid(format!("{path}.requests"), request.to_string(), &detail))
}

/// Returns what is wrong with the name of something that containers use (`validateContainerResourceName`).
pub(in crate::kinds) fn check_container_resource(name: &str, path: &str) -> Vec<FieldError> {
    let mut errors = check_resource_name(name, path);
    let is_known = matches!(name, "cpu" | "memory" | "ephemeral-storage") || is_huge_pages(name);
    if !name.contains('/') && !is_known {
        errors.push(FieldError::invalid(path, name, "must be a standard resource for containers"));
    } else if !is_native(name) && name.starts_with("requests.") {
        errors.push(FieldError::invalid(path, name, "doesn't follow extended resource name standard"));
    }
    errors
}

fn is_huge_pages(name: &str) -> bool {
    name.starts_with("hugepages-")
}

fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}
