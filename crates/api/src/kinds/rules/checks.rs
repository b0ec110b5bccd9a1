//! The checks that many kinds share, and their sentences (`apimachinery/pkg/api/validation`).

use std::net::IpAddr;
use std::ops::RangeInclusive;

use serde_json::Value;

use crate::kinds::doc::{at, has, list, number, strings, text};
use crate::meta;
use crate::object::Object;
use crate::quantity::Quantity;
use crate::selector::LabelSelector;
use crate::status::FieldError;

const IMMUTABLE: &str = "field is immutable";
pub(in crate::kinds) const NOT_NEGATIVE: &str = "must be greater than or equal to 0";
pub(in crate::kinds) const POSITIVE: &str = "must be greater than 0";
const QUANTITY: &str = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
pub(in crate::kinds) const IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
pub(in crate::kinds) const PORT_RANGE: &str = "must be between 1 and 65535, inclusive";
pub(in crate::kinds) const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
pub(in crate::kinds) const CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// Returns the document as a value, for the accessors.
pub(in crate::kinds) fn document(object: &Object) -> Value {
    Value::Object(object.0.clone())
}

/// Returns the spec, or null.
pub(in crate::kinds) fn spec(object: &Object) -> &Value {
    object.0.get("spec").unwrap_or(&Value::Null)
}

/// Returns an amount, written as text or number.
pub(in crate::kinds) fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

/// Returns what is wrong with one amount that must not be negative.
pub(in crate::kinds) fn check_amount(value: &Value, path: &str) -> Vec<FieldError> {
    match quantity(value) {
        None => vec![FieldError::invalid(path, value.clone(), QUANTITY)],
        Some(amount) if amount.is_negative() => vec![FieldError::invalid(path, amount.to_string(), NOT_NEGATIVE)],
        Some(_) => Vec::new(),
    }
}

/// What there is of its own, by these names and as huge pages.
const RESOURCES: [&str; 19] = [
    "configmaps",
    "cpu",
    "ephemeral-storage",
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "memory",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
    "storage",
];

/// Returns what is wrong with the name of a resource (`validateResourceName`).
pub(in crate::kinds) fn check_resource_name(name: &str, path: &str) -> Vec<FieldError> {
    let problems = meta::qualified_name(name);
    if !problems.is_empty() {
        return FieldError::invalid_each(path, name, problems);
    }
    let is_huge = name.starts_with("hugepages-") || name.starts_with("requests.hugepages-");
    if name.contains('/') || is_huge || RESOURCES.contains(&name) {
        return Vec::new();
    }
    vec![FieldError::invalid(path, name, "must be a standard resource type or fully qualified")]
}

/// Returns an error if a text field that is set is none of the allowed ones.
pub(in crate::kinds) fn one_of(value: &Value, path: &str, field: &str, allowed: &[&str]) -> Option<FieldError> {
    let actual = text(value, field);
    (!actual.is_empty() && !allowed.contains(&actual))
        .then(|| FieldError::not_supported(join(path, field), actual, allowed))
}

/// Returns what is wrong with a field by one of the naming rules, if it is set.
pub(in crate::kinds) fn named(
    value: &Value,
    path: &str,
    field: &str,
    rule: fn(&str) -> Vec<String>,
) -> Vec<FieldError> {
    let actual = text(value, field);
    if actual.is_empty() { Vec::new() } else { check_named(actual, &join(path, field), rule) }
}

/// Returns what is wrong with a name by one of the naming rules: that it is missing, or how it is written.
pub(in crate::kinds) fn check_named(name: &str, path: &str, rule: fn(&str) -> Vec<String>) -> Vec<FieldError> {
    if name.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    FieldError::invalid_each(path, name, rule(name))
}

/// Returns an error for each of these fields that is not set.
pub(in crate::kinds) fn required(value: &Value, path: &str, fields: &[&str]) -> Vec<FieldError> {
    let missing = fields.iter().filter(|field| !has(value, field));
    missing.map(|field| FieldError::required(join(path, field), "")).collect()
}

/// Returns an error for each of these numbers that is negative.
pub(in crate::kinds) fn check_not_negative(value: &Value, path: &str, fields: &[&str]) -> Vec<FieldError> {
    let negative = fields.iter().filter(|field| number(value, field) < 0);
    negative.map(|field| FieldError::invalid(join(path, field), number(value, field), NOT_NEGATIVE)).collect()
}

/// Returns an error if a number, 0 unless set, is outside of a range.
pub(in crate::kinds) fn in_range(
    value: &Value,
    path: &str,
    field: &str,
    range: RangeInclusive<i64>,
    detail: &str,
) -> Option<FieldError> {
    let actual = number(value, field);
    (!range.contains(&actual)).then(|| FieldError::invalid(join(path, field), actual, detail))
}

/// Returns what is wrong with a name such as `acme.io/foo` (`IsDomainPrefixedPath`).
pub(in crate::kinds) fn domain_prefixed_path(name: &str, path: &str) -> Vec<FieldError> {
    const FORM: &str = "must be a domain-prefixed path (such as \"acme.io/foo\")";
    const PATH: &str = "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')";
    if name.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    let Some((domain, rest)) = name.split_once('/').filter(|(domain, rest)| !domain.is_empty() && !rest.is_empty())
    else {
        return vec![FieldError::invalid(path, name, FORM)];
    };
    let mut errors = FieldError::invalid_each(path, domain, meta::dns1123_subdomain(domain));
    if !rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&byte)) {
        errors.push(FieldError::invalid(path, rest, PATH));
    }
    errors
}

/// Whether a text is a range of addresses such as `10.0.0.0/8`.
pub(in crate::kinds) fn is_cidr(range: &str) -> bool {
    parse_cidr(range).is_some()
}

/// Returns the address of a range and how many of its bits are fixed.
pub(in crate::kinds) fn parse_cidr(range: &str) -> Option<(IpAddr, u32)> {
    let (address, fixed) = range.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let width = if address.is_ipv4() { 32 } else { 128 };
    fixed.parse().ok().filter(|fixed| *fixed <= width).map(|fixed| (address, fixed))
}

fn join(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

/// Returns what is wrong with a label selector (`ValidateLabelSelector`).
pub(in crate::kinds) fn check_selector(selector: Option<&Value>, path: &str) -> Vec<FieldError> {
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
        errors.extend(FieldError::invalid_each(&format!("{path}.key"), key, meta::qualified_name(key)));
        for (index, value) in values.iter().filter_map(Value::as_str).enumerate() {
            errors.extend(FieldError::invalid_each(
                &format!("{path}.values[{index}]"),
                value,
                meta::label_value(value),
            ));
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
pub(in crate::kinds) fn check_fixed(new: &Value, old: &Value, dotted: &str) -> Option<FieldError> {
    check_immutable(at(new, dotted), at(old, dotted), dotted)
}

/// Returns an error if a value that may not change did (`ValidateImmutableField`).
pub(in crate::kinds) fn check_immutable(now: Option<&Value>, before: Option<&Value>, path: &str) -> Option<FieldError> {
    (now != before).then(|| FieldError::invalid(path, now.cloned().unwrap_or_default(), IMMUTABLE))
}
