//! A document against its schema, in the words of kube-apiserver (`kube-openapi/pkg/validation`, and
//! `apiextensions/validation.kubeOpenAPIResultToFieldErrors`, which turns its results into field errors).

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::format;
use super::props::{Additional, Kind, ListRule, Props};
use crate::status::FieldError;

/// Returns everything that is wrong with a document.
pub(super) fn check(document: &Value, schema: &Props) -> Vec<FieldError> {
    let mut errors = Vec::new();
    value(document, schema, "", &mut errors);
    errors
}

fn value(found: &Value, schema: &Props, path: &str, errors: &mut Vec<FieldError>) {
    if found.is_null() && schema.nullable {
        return;
    }
    let type_fits = check_type(found, schema, path, errors);
    compositions(found, schema, path, errors);
    allowed(found, schema, path, errors);
    if !type_fits {
        return;
    }
    match found {
        Value::String(text) => string(text, schema, path, errors),
        Value::Number(_) => number(found, schema, path, errors),
        Value::Array(items) => array(items, schema, path, errors),
        Value::Object(map) => object(map, schema, path, errors),
        Value::Null | Value::Bool(_) => {}
    }
}

fn check_type(found: &Value, schema: &Props, path: &str, errors: &mut Vec<FieldError>) -> bool {
    let wanted: &[Kind] = match schema.kind {
        _ if schema.int_or_string => &[Kind::Integer, Kind::String],
        Some(Kind::Object) => &[Kind::Object],
        Some(Kind::Array) => &[Kind::Array],
        Some(Kind::String) => &[Kind::String],
        Some(Kind::Integer) => &[Kind::Integer],
        Some(Kind::Number) => &[Kind::Number, Kind::Integer],
        Some(Kind::Boolean) => &[Kind::Boolean],
        None => return true,
    };
    let is = kind_of(found);
    if is.is_some_and(|is| wanted.contains(&is)) {
        return true;
    }
    let is = if found.is_f64() { "number" } else { is.map_or("null", Kind::as_str) };
    let wanted = if schema.int_or_string { "integer,string" } else { wanted[0].as_str() };
    let text = format!("{path} in body must be of type {wanted}: \"{is}\"");
    errors.push(FieldError::type_invalid(path, is, &text));
    false
}

/// A number without a fraction is an integer, however it is written.
fn kind_of(value: &Value) -> Option<Kind> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(_) => Kind::Boolean,
        Value::String(_) => Kind::String,
        Value::Array(_) => Kind::Array,
        Value::Object(_) => Kind::Object,
        Value::Number(number) if number.as_f64().is_some_and(|number| number.fract() != 0.0) => Kind::Number,
        Value::Number(_) => Kind::Integer,
    })
}

fn allowed(found: &Value, schema: &Props, path: &str, errors: &mut Vec<FieldError>) {
    let allowed = &schema.limits.allowed;
    if allowed.is_empty() || allowed.iter().any(|one| same(one, found)) {
        return;
    }
    let names: Vec<String> =
        allowed.iter().map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    errors.push(FieldError::not_supported(path, found.clone(), &names));
}

fn same(one: &Value, other: &Value) -> bool {
    one == other || matches!((one.as_f64(), other.as_f64()), (Some(a), Some(b)) if a.total_cmp(&b).is_eq())
}

fn string(text: &str, schema: &Props, path: &str, errors: &mut Vec<FieldError>) {
    let limits = &schema.limits;
    let mut invalid = |detail: String| errors.push(FieldError::invalid(path, text, &detail));
    let length = text.chars().count();
    if let Some(min) = limits.length.min.filter(|min| length < *min) {
        invalid(format!("{path} in body should be at least {min} chars long"));
    }
    if let Some(pattern) = limits.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
        invalid(format!("{path} in body should match '{pattern}'"));
    }
    if !format::holds(&limits.format, text) {
        let detail = format!("{path} in body must be of type {}: {}", limits.format, Value::from(text));
        errors.push(FieldError::type_invalid(path, text, &detail));
    }
    if let Some(max) = limits.length.max.filter(|max| length > *max) {
        errors.push(FieldError::too_long(path, max));
    }
}

fn number(found: &Value, schema: &Props, path: &str, errors: &mut Vec<FieldError>) {
    let limits = &schema.limits;
    let number = found.as_f64().unwrap_or_default();
    let mut invalid = |detail: String| errors.push(FieldError::invalid(path, found.clone(), &detail));
    let fits = |format: &str| match format {
        "int32" => found.as_i64().is_none_or(|number| i32::try_from(number).is_ok()),
        _ => true,
    };
    if !fits(&limits.format) {
        invalid(format!("{path} in body must be of type {}: \"{found}\"", limits.format));
    }
    if let Some((bound, excluded)) = &limits.maximum {
        let limit = bound.as_f64().unwrap_or(f64::MAX);
        match excluded {
            true if number >= limit => invalid(format!("{path} in body should be less than {bound}")),
            false if number > limit => invalid(format!("{path} in body should be less than or equal to {bound}")),
            _ => {}
        }
    }
    if let Some((bound, excluded)) = &limits.minimum {
        let limit = bound.as_f64().unwrap_or(f64::MIN);
        match excluded {
            true if number <= limit => invalid(format!("{path} in body should be greater than {bound}")),
            false if number < limit => invalid(format!("{path} in body should be greater than or equal to {bound}")),
            _ => {}
        }
    }
    if let Some(factor) = &limits.multiple_of {
        let parts = number / factor.as_f64().unwrap_or(1.0);
        // 0.3 is a multiple of 0.1, although no double says so.
        if (parts - parts.round()).abs() > 1e-9 {
            invalid(format!("{path} in body should be a multiple of {factor}"));
        }
    }
}

fn array(items: &[Value], schema: &Props, path: &str, errors: &mut Vec<FieldError>) {
    let bounds = schema.limits.items;
    if let Some(min) = bounds.min.filter(|min| items.len() < *min) {
        let detail = format!("{path} in body should have at least {min} items");
        errors.push(FieldError::invalid(path, items.len(), &detail));
    }
    if let Some(max) = bounds.max.filter(|max| items.len() > *max) {
        errors.push(FieldError::too_many(path, items.len(), max));
    }
    if let Some(of) = &schema.items {
        for (place, item) in items.iter().enumerate() {
            value(item, of, &format!("{path}[{place}]"), errors);
        }
    }
    repeated(items, schema, path, errors);
}

/// Sets hold a value once, maps hold a key once (`structural-schema/listtype`).
fn repeated(items: &[Value], schema: &Props, path: &str, errors: &mut Vec<FieldError>) {
    let key = |item: &Value| -> Option<Value> {
        match &schema.list {
            ListRule::Free => None,
            ListRule::Set => Some(item.clone()),
            ListRule::Map(keys) => {
                let pairs = keys.iter().filter_map(|key| Some((key.clone(), item.get(key)?.clone())));
                Some(pairs.collect::<Map<String, Value>>().into())
            }
        }
    };
    // Only asked whether a key was there.
    let mut seen = HashSet::new();
    for (place, item) in items.iter().enumerate() {
        let Some(key) = key(item) else { continue };
        if !seen.insert(key.to_string()) {
            errors.push(FieldError::duplicate(format!("{path}[{place}]"), key));
        }
    }
}

fn object(map: &Map<String, Value>, schema: &Props, path: &str, errors: &mut Vec<FieldError>) {
    let bounds = schema.limits.properties;
    if let Some(min) = bounds.min.filter(|min| map.len() < *min) {
        let detail = format!("{path} in body should have at least {min} properties");
        errors.push(FieldError::invalid(path, map.len(), &detail));
    }
    if let Some(max) = bounds.max.filter(|max| map.len() > *max) {
        errors.push(FieldError::too_many(path, map.len(), max));
    }
    for name in schema.required.iter().filter(|name| !map.contains_key(*name)) {
        errors.push(FieldError::required(below(path, name), ""));
    }
    if schema.embedded {
        for name in ["apiVersion", "kind"] {
            if map.get(name).and_then(Value::as_str).unwrap_or_default().is_empty() {
                errors.push(FieldError::required(below(path, name), "must not be empty"));
            }
        }
    }
    for (name, found) in map {
        let of = schema.properties.get(name).or(match &schema.additional {
            Additional::Of(of) => Some(&**of),
            Additional::Any | Additional::None => None,
        });
        if let Some(of) = of {
            value(found, of, &below(path, name), errors);
        }
    }
}

fn compositions(found: &Value, schema: &Props, path: &str, errors: &mut Vec<FieldError>) {
    let judge = |of: &Props| {
        let mut errors = Vec::new();
        value(found, of, path, &mut errors);
        errors
    };
    let quoted = Value::from(path);
    if !schema.any_of.is_empty() {
        let verdicts: Vec<_> = schema.any_of.iter().map(judge).collect();
        if !verdicts.iter().any(Vec::is_empty) {
            errors.push(composite(&format!("{quoted} must validate at least one schema (anyOf)")));
            errors.extend(nearest(verdicts));
        }
    }
    if !schema.one_of.is_empty() {
        let verdicts: Vec<_> = schema.one_of.iter().map(judge).collect();
        let fitting = verdicts.iter().filter(|errors| errors.is_empty()).count();
        let only = format!("{quoted} must validate one and only one schema (oneOf)");
        match fitting {
            0 => {
                errors.push(composite(&format!("{only}. Found none valid")));
                errors.extend(nearest(verdicts));
            }
            1 => {}
            several => errors.push(composite(&format!("{only}. Found {several} valid alternatives"))),
        }
    }
    let before = errors.len();
    errors.extend(schema.all_of.iter().flat_map(judge));
    if errors.len() > before {
        let text = format!("{quoted} must validate all the schemas (allOf)");
        errors.insert(before, composite(&text));
    }
    if schema.not.as_deref().is_some_and(|not| judge(not).is_empty()) {
        errors.push(composite(&format!("{quoted} must not validate the schema (not)")));
    }
}

/// These errors have no field in Kubernetes, which prints the missing path as Go does.
fn composite(detail: &str) -> FieldError {
    FieldError::invalid("<nil>", "", detail)
}

/// Returns the errors of the alternative that was closest.
fn nearest(verdicts: Vec<Vec<FieldError>>) -> Vec<FieldError> {
    verdicts.into_iter().min_by_key(Vec::len).unwrap_or_default()
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
