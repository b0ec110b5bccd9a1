//! Small accessors for JSON documents: reading what may be missing, and filling in what is.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// A JSON object.
pub(super) type Doc = Map<String, Value>;

/// Returns a text field, empty if it is missing.
pub(crate) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// Returns a whole-number field, 0 if it is missing.
pub(super) fn number(value: &Value, field: &str) -> i64 {
    value.get(field).and_then(Value::as_i64).unwrap_or_default()
}

/// Whether a boolean field is set and true.
pub(super) fn flag(value: &Value, field: &str) -> bool {
    value.get(field).and_then(Value::as_bool).unwrap_or_default()
}

/// Returns a list field, empty if it is missing.
pub(crate) fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Returns a map of texts, empty if it is missing.
pub(super) fn strings(map: Option<&Value>) -> BTreeMap<&str, &str> {
    let pairs = map.and_then(Value::as_object).into_iter().flatten();
    pairs.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?))).collect()
}

/// Returns the value under a dotted path.
pub(super) fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, field| value.get(field)).filter(|value| !value.is_null())
}

/// Whether a field says something: there, not null, and not Go's zero of a text.
pub(super) fn has(value: &Value, field: &str) -> bool {
    value.get(field).is_some_and(is_set)
}

/// Whether a value is neither null nor the empty text.
pub(super) fn is_set(value: &Value) -> bool {
    !value.is_null() && value.as_str() != Some("")
}

/// Fills a field in that is missing, null or an empty text.
pub(super) fn fill(doc: &mut Doc, field: &str, value: impl Into<Value>) {
    if !doc.get(field).is_some_and(is_set) {
        doc.insert(field.to_owned(), value.into());
    }
}

/// Fills a number in whose zero means "not said" (fields that are no pointers in Kubernetes).
pub(super) fn fill_zero(doc: &mut Doc, field: &str, value: i64) {
    if doc.get(field).and_then(Value::as_i64).unwrap_or_default() == 0 {
        doc.insert(field.to_owned(), json!(value));
    }
}

/// Returns an object field for writing, if it is there.
pub(super) fn child<'a>(doc: &'a mut Doc, field: &str) -> Option<&'a mut Doc> {
    doc.get_mut(field)?.as_object_mut()
}

/// Returns an object field for writing, made empty if it is missing; `None` if it is something else.
pub(super) fn child_made<'a>(doc: &'a mut Doc, field: &str) -> Option<&'a mut Doc> {
    let slot = doc.entry(field).or_insert(Value::Null);
    if slot.is_null() {
        *slot = json!({});
    }
    slot.as_object_mut()
}

/// Returns the objects of a list field for writing.
pub(super) fn children<'a>(doc: &'a mut Doc, field: &str) -> impl Iterator<Item = &'a mut Doc> + use<'a> {
    doc.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}
