//! Strategic merge patch (`apimachinery/pkg/util/strategicpatch`): a merge patch that knows which lists have keys.
//!
//! | directive | meaning |
//! |---|---|
//! | `$patch: replace` or `delete` | of an object or, in a list with keys, of the list or one item |
//! | `$retainKeys: [a, b]` | drops the other keys of the object |
//! | `$deleteFromPrimitiveList/x: [v]` | takes values out of list `x` |
//! | `$setElementOrder/x: [...]` | the order of list `x` |
//! | `null` | deletes |

use serde_json::{Map, Value};

use super::Error;
use crate::object::Object;
use crate::schema::{PatchRule, Type};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const ORDER: &str = "$setElementOrder/";

/// Returns the document after the patch. Without a type, lists are replaced.
///
/// # Errors
/// [`Error::Malformed`] for directives that make no sense, [`Error::NoMergeKey`] for list items without their key.
pub fn strategic(object: &Object, patch: &Value, of: Option<&Type>) -> Result<Object, Error> {
    let Value::Object(patch) = patch else {
        return Err(Error::Malformed("error decoding patch: a strategic merge patch must be a JSON object".to_owned()));
    };
    merge_map(object.0.clone(), patch.clone(), of).map(Object)
}

fn malformed<T>(text: impl Into<String>) -> Result<T, Error> {
    Err(Error::Malformed(text.into()))
}

fn merge_map(
    mut original: Map<String, Value>,
    mut patch: Map<String, Value>,
    of: Option<&Type>,
) -> Result<Map<String, Value>, Error> {
    if let Some(directive) = patch.remove(PATCH) {
        return match directive.as_str() {
            Some("replace") => Ok(without_directives(patch)),
            Some("delete") => Ok(Map::new()),
            Some("merge") => merge_map(original, patch, of),
            _ => malformed(format!("unknown patch type: {directive} in map: {}", Value::Object(patch))),
        };
    }
    retain_keys(&mut original, &mut patch)?;
    order_lists(&mut original, &mut patch, of)?;
    for (key, change) in patch {
        if let Some(list) = key.strip_prefix(DELETE_FROM) {
            delete_values(&mut original, list, &change)?;
            continue;
        }
        if change.is_null() {
            original.remove(&key);
            continue;
        }
        let merged = match original.remove(&key) {
            Some(value) => merge_value(value, change, of, &key)?,
            None => fresh(change),
        };
        original.insert(key, merged);
    }
    Ok(original)
}

fn merge_value(original: Value, change: Value, of: Option<&Type>, key: &str) -> Result<Value, Error> {
    let rule = rule(of, key);
    let inner = of.and_then(|of| of.member(key));
    match (original, change) {
        (Value::Object(original), Value::Object(change)) if !rule.is_some_and(|rule| rule.replace) => {
            merge_map(original, change, inner).map(Value::Object)
        }
        (Value::Array(original), Value::Array(change)) => match rule.filter(|rule| rule.merge) {
            Some(rule) => merge_list(original, change, rule, inner.and_then(Type::items)).map(Value::Array),
            None => Ok(fresh(Value::Array(change))),
        },
        (_, change) => Ok(fresh(change)),
    }
}

fn rule<'a>(of: Option<&'a Type>, key: &str) -> Option<&'a PatchRule> {
    of.and_then(|of| of.field(key)).map(|field| &field.patch)
}

/// `$retainKeys`: what the list does not name goes; what the patch sets must be named.
fn retain_keys(original: &mut Map<String, Value>, patch: &mut Map<String, Value>) -> Result<(), Error> {
    let Some(keep) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let Value::Array(keep) = keep else { return malformed("invalid patch format of retainKeys") };
    let is_kept = |key: &str| keep.iter().any(|name| name == key);
    if patch.iter().any(|(key, value)| !value.is_null() && !key.starts_with('$') && !is_kept(key)) {
        return malformed("invalid patch format of retainKeys: the patch sets keys that are not in the list");
    }
    original.retain(|key, _| is_kept(key));
    Ok(())
}

fn delete_values(original: &mut Map<String, Value>, key: &str, values: &Value) -> Result<(), Error> {
    let Value::Array(values) = values else { return malformed("invalid patch format of primitive list") };
    let Some(Value::Array(list)) = original.get_mut(key) else { return Ok(()) };
    list.retain(|item| !values.contains(item));
    Ok(())
}

/// `$setElementOrder`: merges the lists that have one, and puts them in that order.
fn order_lists(
    original: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
    of: Option<&Type>,
) -> Result<(), Error> {
    let directives: Vec<String> = patch.keys().filter(|key| key.starts_with(ORDER)).cloned().collect();
    for directive in directives {
        let Some(order) = patch.remove(&directive) else { continue };
        let Value::Array(order) = order else { return malformed("invalid patch format of setElementOrder list") };
        let key = &directive[ORDER.len()..];
        let keys = rule(of, key).map_or(&[][..], |rule| &rule.keys);
        let change = patch.remove(key);
        if let Some(Value::Array(items)) = &change {
            check_order(items, &order, keys)?;
        }
        let server = original.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
        let merged = match (original.remove(key), change) {
            (None, None) | (_, Some(Value::Null)) => continue,
            (Some(value), Some(change)) => merge_value(value, change, of, key)?,
            (Some(value), None) => value,
            (None, Some(change)) => fresh(change),
        };
        let Value::Array(items) = merged else { return malformed("invalid patch format of setElementOrder list") };
        original.insert(key.to_owned(), Value::Array(in_order(items, &order, &server, keys)));
    }
    Ok(())
}

/// The items of the patch must appear in the order, and in that order.
fn check_order(items: &[Value], order: &[Value], keys: &[String]) -> Result<(), Error> {
    let mut rest = order.iter();
    for item in items.iter().filter(|item| item.get(PATCH).is_none()) {
        if !rest.any(|next| is_same(next, item, keys)) {
            return malformed(format!(
                "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}",
                Value::from(items),
                Value::from(order)
            ));
        }
    }
    Ok(())
}

fn is_same(one: &Value, other: &Value, keys: &[String]) -> bool {
    if keys.is_empty() { one == other } else { keys.iter().all(|key| one.get(key) == other.get(key)) }
}

fn merge_list(
    original: Vec<Value>,
    change: Vec<Value>,
    rule: &PatchRule,
    of: Option<&Type>,
) -> Result<Vec<Value>, Error> {
    let keys = &rule.keys;
    if keys.is_empty() {
        let mut merged: Vec<Value> = Vec::with_capacity(original.len() + change.len());
        for item in original.iter().chain(&change) {
            if !merged.contains(item) {
                merged.push(item.clone());
            }
        }
        return Ok(in_order(merged, &change, &original, keys));
    }
    let (mut merged, change) = match special_items(original, change, keys)? {
        Special::Replaced(items) => return Ok(items.into_iter().map(fresh).collect()),
        Special::Rest { original, change } => (original, change),
    };
    let (server, order) = (merged.clone(), change.clone());
    for item in change {
        let Value::Object(item) = item else { return malformed("invalid patch format: list item is no map") };
        if let Some(key) = keys.iter().find(|key| !item.contains_key(*key) && keys.len() == 1) {
            let text = format!("map: {} does not contain declared merge key: {key}", Value::Object(item));
            return Err(Error::NoMergeKey(text));
        }
        let item = Value::Object(item);
        let place = merged.iter().position(|known| is_same(known, &item, keys));
        match (place, item) {
            (Some(place), Value::Object(item)) => {
                let Value::Object(known) = merged[place].take() else { continue };
                merged[place] = Value::Object(merge_map(known, item, of)?);
            }
            (_, item) => merged.push(fresh(item)),
        }
    }
    Ok(in_order(merged, &order, &server, keys))
}

enum Special {
    /// The patch says what the whole list is.
    Replaced(Vec<Value>),
    /// What is left to merge after items were deleted.
    Rest { original: Vec<Value>, change: Vec<Value> },
}

/// Carries out `$patch` in the items of a list.
fn special_items(mut original: Vec<Value>, change: Vec<Value>, keys: &[String]) -> Result<Special, Error> {
    let (mut rest, mut replace) = (Vec::new(), false);
    for item in change {
        match item.get(PATCH) {
            None => rest.push(item),
            Some(Value::String(directive)) if directive == "delete" => {
                if let Some(key) = keys.iter().find(|key| item.get(*key).is_none()) {
                    return Err(Error::NoMergeKey(format!("map: {item} does not contain declared merge key: {key}")));
                }
                original.retain(|known| !is_same(known, &item, keys));
            }
            Some(Value::String(directive)) if directive == "replace" => replace = true,
            Some(Value::String(directive)) if directive == "merge" => {
                return malformed("merging lists cannot yet be specified in the patch");
            }
            Some(directive) => return malformed(format!("unknown patch type: {directive} in map: {item}")),
        }
    }
    Ok(if replace { Special::Replaced(rest) } else { Special::Rest { original, change: rest } })
}

/// Puts items that `order` names in that order, and the others where the server had them, as well as that goes
/// (`normalizeElementOrder`).
fn in_order(items: Vec<Value>, order: &[Value], server: &[Value], keys: &[String]) -> Vec<Value> {
    let place = |list: &[Value], item: &Value| list.iter().position(|known| is_same(known, item, keys));
    let (mut named, mut others): (Vec<Value>, Vec<Value>) =
        items.into_iter().partition(|item| place(order, item).is_some());
    named.sort_by_key(|item| place(order, item));
    others.sort_by_key(|item| (place(server, item).is_none(), place(server, item)));
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    let mut all = Vec::new();
    loop {
        let take_other = match (others.peek(), named.peek()) {
            (Some(other), Some(next)) => {
                let places = place(server, other).zip(place(server, next));
                places.is_some_and(|(other, next)| other < next)
            }
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => return all,
        };
        all.extend(if take_other { others.next() } else { named.next() });
    }
}

/// Returns a value that had nothing to merge with: without nulls and without directives.
fn fresh(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(without_directives(map)),
        Value::Array(items) => {
            let is_kept = |item: &Value| item.get(PATCH).is_none_or(|directive| directive == "merge");
            items.into_iter().filter(is_kept).map(fresh).collect()
        }
        other => other,
    }
}

fn without_directives(map: Map<String, Value>) -> Map<String, Value> {
    let is_kept = |key: &str, value: &Value| {
        let is_directive = key == PATCH || key == RETAIN_KEYS || key.starts_with(DELETE_FROM) || key.starts_with(ORDER);
        !value.is_null() && !is_directive
    };
    map.into_iter().filter(|(key, value)| is_kept(key, value)).map(|(key, value)| (key, fresh(value))).collect()
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
