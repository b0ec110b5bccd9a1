//! Why a document cannot be applied (`structured-merge-diff/typed/validate.go`).

use std::collections::BTreeSet;

use serde_json::Value;

use super::{element, key_part};
use crate::decode;
use crate::schema::{List, ListMerge, Scalar, Shape, Type};

/// Returns everything that is wrong: fields the type lacks, items without their key, duplicate items.
pub(in crate::patch) fn problems(value: &Value, of: Option<&Type>) -> Vec<String> {
    let mut found = Vec::new();
    find_problems(value, of, &mut String::new(), &mut found);
    found
}

fn find_problems(value: &Value, of: Option<&Type>, path: &mut String, found: &mut Vec<String>) {
    let length = path.len();
    match (value, of.map(Type::shape)) {
        (Value::Object(map), Some(Shape::Struct(object))) => {
            for (key, inner) in map {
                path.push('.');
                path.push_str(key);
                match object.field(key) {
                    Some(field) => find_problems(inner, Some(field.of()), path, found),
                    None if object.preserves_unknown => {}
                    None => found.push(format!("{path}: field not declared in schema")),
                }
                path.truncate(length);
            }
        }
        (Value::Object(map), Some(Shape::Map(values))) => {
            for (key, inner) in map {
                path.push('.');
                path.push_str(key);
                find_problems(inner, Some(values.values()), path, found);
                path.truncate(length);
            }
        }
        (Value::Array(items), Some(Shape::List(list))) => {
            let mut seen = BTreeSet::new();
            for (place, item) in items.iter().enumerate() {
                if let Some(problem) = key_problem(item, list) {
                    found.push(format!("{path}: element {place}: {problem}"));
                    continue;
                }
                let element = element(item, list);
                path.push_str(&element.to_string());
                find_problems(item, Some(list.items()), path, found);
                path.truncate(length);
                if list.merge != ListMerge::Atomic && !seen.insert(element.clone()) {
                    found.push(format!("{path}: duplicate entries for key {element}"));
                }
            }
        }
        (_, Some(shape)) => {
            let problem = type_problem(value, shape).or_else(|| decode::text_problem(value, of?));
            found.extend(problem.map(|problem| format!("{path}: {problem}")));
        }
        (_, None) => {}
    }
}

/// Words a wrong type. `null` fits everywhere.
fn type_problem(value: &Value, shape: &Shape) -> Option<String> {
    let expected = match (shape, value) {
        (_, Value::Null) | (Shape::Raw | Shape::Untyped, _) => return None,
        (Shape::Struct(_) | Shape::Map(_), _) => "map",
        (Shape::List(_), _) => "list",
        (Shape::Scalar(scalar), _) => match (scalar, value) {
            (Scalar::Boolean, Value::Bool(_))
            | (Scalar::Int32 | Scalar::Int64 | Scalar::Number, Value::Number(_))
            | (Scalar::String | Scalar::Bytes | Scalar::Time, Value::String(_))
            | (Scalar::IntOrString | Scalar::Quantity, Value::String(_) | Value::Number(_)) => return None,
            (Scalar::Boolean, _) => "boolean",
            (Scalar::Int32 | Scalar::Int64 | Scalar::Number, _) => "numeric (int or float)",
            (Scalar::String | Scalar::Bytes | Scalar::Time, _) => "string",
            (Scalar::IntOrString | Scalar::Quantity, _) => "scalar",
        },
    };
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "map",
    };
    Some(format!("expected {expected}, got {found}"))
}

fn key_problem(item: &Value, list: &List) -> Option<String> {
    let ListMerge::Map(keys) = &list.merge else { return None };
    if !item.is_object() {
        return Some("associative list with keys may not have non-map elements".to_owned());
    }
    let missing = keys.iter().find(|key| key_part(item, list, key).is_null())?;
    Some(format!(
        "associative list with keys has an element that omits key field {missing:?} (and doesn't have default value)"
    ))
}
