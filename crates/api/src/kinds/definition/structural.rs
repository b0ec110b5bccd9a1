//! Structural schemas: every part has a type, so that pruning and defaulting know what they do
//! (`structural-schema/validation.go`, `apiextensions/validation.ValidateCustomResourceDefinitionOpenAPISchema`).

use regex::Regex;
use serde_json::{Map, Value};

use crate::kinds::doc::{flag, list, text};
use crate::status::FieldError;

/// Words of JSON schema that Kubernetes does not take.
const UNSUPPORTED: [&str; 7] =
    ["$ref", "additionalItems", "definitions", "dependencies", "deprecated", "id", "patternProperties"];
const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
/// What only the schema itself may say, and not what stands inside `allOf`, `anyOf`, `oneOf` and `not`.
const STRUCTURAL: [&str; 11] = [
    "additionalProperties",
    "default",
    "description",
    "nullable",
    "title",
    "type",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-type",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
];

/// Where a schema stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    Field,
    Items,
    /// Inside `allOf` and its like: values only.
    Logic,
}

/// Returns everything that is wrong with the schema of a version.
pub(super) fn validate(schema: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    node(schema, path, Place::Root, &mut errors);
    errors
}

fn node(schema: &Value, path: &str, place: Place, errors: &mut Vec<FieldError>) {
    let Value::Object(map) = schema else { return };
    words(map, path, errors);
    if place == Place::Logic {
        for field in STRUCTURAL.iter().filter(|field| map.contains_key(**field)) {
            let is_union = *field == "type" && flag(schema, "x-kubernetes-int-or-string");
            if !is_union {
                errors.push(FieldError::forbidden(format!("{path}.{field}"), "must be empty to be structural"));
            }
        }
    } else {
        kind(schema, path, place, errors);
        extensions(schema, path, errors);
        default(schema, path, errors);
    }
    children(schema, path, place, errors);
}

fn words(map: &Map<String, Value>, path: &str, errors: &mut Vec<FieldError>) {
    for word in UNSUPPORTED.iter().filter(|word| map.contains_key(**word)) {
        errors.push(FieldError::forbidden(format!("{path}.{word}"), &format!("{word} is not supported")));
    }
    if map.get("uniqueItems") == Some(&Value::Bool(true)) {
        let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(FieldError::forbidden(format!("{path}.uniqueItems"), why));
    }
    if let Some(pattern) = map.get("pattern").and_then(Value::as_str)
        && let Err(error) = Regex::new(pattern)
    {
        let why = format!("must be a valid regular expression, but isn't: {error}");
        errors.push(FieldError::invalid(format!("{path}.pattern"), pattern, &why));
    }
    let has_fields = map.get("properties").and_then(Value::as_object).is_some_and(|fields| !fields.is_empty());
    match map.get("additionalProperties") {
        Some(Value::Bool(false)) => {
            let why = "additionalProperties cannot be set to false";
            errors.push(FieldError::forbidden(format!("{path}.additionalProperties"), why));
        }
        Some(Value::Object(_) | Value::Bool(true)) if has_fields => {
            let why = "additionalProperties and properties are mutual exclusive";
            errors.push(FieldError::forbidden(format!("{path}.additionalProperties"), why));
        }
        _ => {}
    }
    if map.get("items").is_some_and(Value::is_array) {
        let why = "items must be a schema object and not an array";
        errors.push(FieldError::forbidden(format!("{path}.items"), why));
    }
}

fn kind(schema: &Value, path: &str, place: Place, errors: &mut Vec<FieldError>) {
    let (kind, field) = (text(schema, "type"), format!("{path}.type"));
    let is_free = flag(schema, "x-kubernetes-preserve-unknown-fields") || flag(schema, "x-kubernetes-int-or-string");
    match (place, kind) {
        (Place::Root, "") => errors.push(FieldError::required(&field, "must not be empty at the root")),
        (Place::Root, other) if other != "object" => {
            errors.push(FieldError::invalid(&field, other, "must be object at the root"));
        }
        (Place::Field, "") if !is_free => {
            errors.push(FieldError::required(&field, "must not be empty for specified object fields"));
        }
        (Place::Items, "") if !is_free => {
            errors.push(FieldError::required(&field, "must not be empty for specified array items"));
        }
        _ => {}
    }
    if kind == "null" {
        errors.push(FieldError::forbidden(&field, "type cannot be set to null, use nullable as an alternative"));
    } else if !kind.is_empty() && !TYPES.contains(&kind) {
        errors.push(FieldError::not_supported(&field, kind, &TYPES));
    }
    if kind == "array" && schema.get("items").is_none_or(Value::is_null) {
        errors.push(FieldError::required(format!("{path}.items"), "must be specified"));
    }
    if place == Place::Root {
        let metadata = schema.get("properties").and_then(|properties| properties.get("metadata"));
        let fields = metadata.and_then(|metadata| metadata.get("properties")).and_then(Value::as_object);
        let allowed = |name: &String| matches!(name.as_str(), "name" | "generateName");
        if fields.is_some_and(|fields| !fields.keys().all(allowed)) {
            let why =
                "must not specify anything other than name and generateName, but metadata is implicitly specified";
            errors.push(FieldError::forbidden(format!("{path}.properties[metadata]"), why));
        }
    }
}

fn extensions(schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let (kind, at) = (text(schema, "type"), |word: &str| format!("{path}.x-kubernetes-{word}"));
    if schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
        errors.push(FieldError::invalid(at("preserve-unknown-fields"), false, "must be true or undefined"));
    }
    if flag(schema, "x-kubernetes-int-or-string") && !kind.is_empty() {
        let why = "must be empty if x-kubernetes-int-or-string is true";
        errors.push(FieldError::forbidden(format!("{path}.type"), why));
    }
    if flag(schema, "x-kubernetes-embedded-resource") {
        if kind != "object" {
            let why = "must be object if x-kubernetes-embedded-resource is true";
            errors.push(if kind.is_empty() {
                FieldError::required(format!("{path}.type"), why)
            } else {
                FieldError::invalid(format!("{path}.type"), kind, why)
            });
        }
        let preserves = flag(schema, "x-kubernetes-preserve-unknown-fields");
        if !preserves && schema.get("properties").and_then(Value::as_object).is_none_or(Map::is_empty) {
            let why = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
            errors.push(FieldError::required(format!("{path}.properties"), why));
        }
    }
    match text(schema, "x-kubernetes-map-type") {
        "" | "atomic" | "granular" => {}
        other => errors.push(FieldError::not_supported(at("map-type"), other, &["atomic", "granular"])),
    }
    list_rules(schema, path, errors);
}

fn list_rules(schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let (rule, keys) = (text(schema, "x-kubernetes-list-type"), list(schema, "x-kubernetes-list-map-keys"));
    let at = |word: &str| format!("{path}.x-kubernetes-{word}");
    if rule.is_empty() {
        if !keys.is_empty() {
            let why = "must be map if x-kubernetes-list-map-keys is non-empty";
            errors.push(FieldError::required(at("list-type"), why));
        }
        return;
    }
    if text(schema, "type") != "array" {
        let why = "must be array if x-kubernetes-list-type is specified";
        errors.push(FieldError::invalid(format!("{path}.type"), text(schema, "type"), why));
    }
    let items = schema.get("items").unwrap_or(&Value::Null);
    match rule {
        "atomic" | "set" => {}
        "map" => {
            if keys.is_empty() {
                let why = "must not be empty if x-kubernetes-list-type is map";
                errors.push(FieldError::required(at("list-map-keys"), why));
            }
            if text(items, "type") != "object" {
                let why = "must be object if parent array's x-kubernetes-list-type is map";
                errors.push(FieldError::invalid(format!("{path}.items.type"), text(items, "type"), why));
            }
            for (place, key) in keys.iter().filter_map(Value::as_str).enumerate() {
                list_key(items, key, &at(&format!("list-map-keys[{place}]")), path, errors);
            }
        }
        other => errors.push(FieldError::not_supported(at("list-type"), other, &["atomic", "map", "set"])),
    }
}

fn list_key(items: &Value, key: &str, at: &str, path: &str, errors: &mut Vec<FieldError>) {
    let field = items.get("properties").and_then(|properties| properties.get(key));
    let Some(field) = field else {
        errors.push(FieldError::invalid(at, key, "entries must all be names of item properties"));
        return;
    };
    if matches!(text(field, "type"), "array" | "object") {
        let why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
        errors.push(FieldError::invalid(format!("{path}.items.properties[{key}].type"), text(field, "type"), why));
    }
    let required = list(items, "required").iter().any(|name| name == key);
    if !required && field.get("default").is_none() {
        let why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
        errors.push(FieldError::required(format!("{path}.items.properties[{key}].default"), why));
    }
}

/// A default must be a value that the schema takes, and nothing of it may be pruned.
fn default(schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let Some(value) = schema.get("default").filter(|value| !value.is_null()) else { return };
    let path = format!("{path}.default");
    if crate::kinds::custom::is_pruned(value, schema) {
        errors.push(FieldError::invalid(&path, value.clone(), "must not have unspecified fields"));
    }
    for error in crate::kinds::custom::problems(value, schema) {
        let inner = error.field.trim_start_matches("<nil>");
        let field = match inner.chars().next() {
            None => path.clone(),
            Some('[') => format!("{path}{inner}"),
            Some(_) => format!("{path}.{inner}"),
        };
        errors.push(FieldError { field, ..error });
    }
}

fn children(schema: &Value, path: &str, place: Place, errors: &mut Vec<FieldError>) {
    let inside = |wanted: Place| if place == Place::Logic { Place::Logic } else { wanted };
    for (name, of) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        node(of, &format!("{path}.properties[{name}]"), inside(Place::Field), errors);
    }
    if let Some(of) = schema.get("additionalProperties") {
        node(of, &format!("{path}.additionalProperties"), inside(Place::Field), errors);
    }
    if let Some(of) = schema.get("items") {
        node(of, &format!("{path}.items"), inside(Place::Items), errors);
    }
    for field in ["allOf", "anyOf", "oneOf"] {
        // The union that clients write out for numbers that may be texts.
        let is_union = flag(schema, "x-kubernetes-int-or-string") && field != "oneOf";
        for (place, of) in list(schema, field).iter().enumerate().filter(|_| !is_union) {
            node(of, &format!("{path}.{field}[{place}]"), Place::Logic, errors);
        }
    }
    if let Some(of) = schema.get("not") {
        node(of, &format!("{path}.not"), Place::Logic, errors);
    }
}
