//! Walks over documents along their type: which fields there are, which differ, merging, removing
//! (`structured-merge-diff/typed`).
//!
//! Where nothing is known of a value (`None`), objects merge key by key and lists as a whole.

mod problems;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::fieldset::{FieldSet, PathElement};
use crate::schema::{List, ListMerge, Shape, Struct, Type};

pub(super) use problems::problems;

/// Fields that are plain structs in Go, not pointers: they are there even in an empty object, so that a new object does
/// not bring them and nobody owns them as such. (Their contents are owned as usual.)
const ALWAYS_THERE: [&str; 16] = [
    "claimRef",
    "containers",
    "daemonEndpoints",
    "involvedObject",
    "jobTemplate",
    "kubeletEndpoint",
    "loadBalancer",
    "metadata",
    "nodeInfo",
    "resources",
    "roleRef",
    "spec",
    "status",
    "strategy",
    "template",
    "updateStrategy",
];

/// How a value is owned and merged.
enum Form<'a> {
    Leaf,
    Object(&'a Map<String, Value>),
    List(&'a [Value], &'a List),
}

fn form<'a>(value: &'a Value, of: Option<&'a Type>) -> Form<'a> {
    if of.is_some_and(Type::is_leaf) {
        return Form::Leaf;
    }
    match (value, of.map(Type::shape)) {
        (Value::Object(map), None | Some(Shape::Struct(_) | Shape::Map(_) | Shape::Untyped)) => Form::Object(map),
        (Value::Array(items), Some(Shape::List(list))) => Form::List(items, list),
        _ => Form::Leaf,
    }
}

fn struct_of(of: Option<&Type>) -> Option<&Struct> {
    match of?.shape() {
        Shape::Struct(object) => Some(object),
        _ => None,
    }
}

fn member<'a>(of: Option<&'a Type>, key: &str) -> Option<&'a Type> {
    of.and_then(|of| of.member(key))
}

fn field(name: &str) -> PathElement {
    PathElement::Field(name.to_owned())
}

/// Returns what tells an item of a merged list apart. Missing parts of a key have defaults (`protocol: TCP`).
fn element(item: &Value, list: &List) -> PathElement {
    match &list.merge {
        ListMerge::Map(keys) => {
            let key: Map<String, Value> =
                keys.iter().map(|key| (key.clone(), key_part(item, list, key).clone())).collect();
            PathElement::Key(Value::Object(key).to_string())
        }
        ListMerge::Set | ListMerge::Atomic => PathElement::Value(item.to_string()),
    }
}

fn key_part<'a>(item: &'a Value, list: &'a List, key: &str) -> &'a Value {
    let default = || list.items().field(key).and_then(|field| field.default.as_ref());
    item.get(key).filter(|part| !part.is_null()).or_else(default).unwrap_or(&Value::Null)
}

/// Whether two items have the same key; spares the texts of [`element`] in lists that did not move.
fn same_key(one: &Value, two: &Value, list: &List) -> bool {
    match &list.merge {
        ListMerge::Map(keys) => keys.iter().all(|key| key_part(one, list, key) == key_part(two, list, key)),
        ListMerge::Set | ListMerge::Atomic => one == two,
    }
}

/// Returns the fields of a document: what a manager owns that applies it.
pub(super) fn set_of(value: &Value, of: Option<&Type>) -> FieldSet {
    let mut set = FieldSet::default();
    match form(value, of) {
        Form::Leaf => set.owned = true,
        Form::Object(map) => {
            let named = struct_of(of);
            for (key, inner) in map {
                let mut child = set_of(inner, member(of, key));
                let is_empty = inner.is_null() || inner.as_object().is_some_and(Map::is_empty);
                child.owned |= is_empty || named.is_none_or(|named| named.field(key).is_none());
                set.put(field(key), child);
            }
        }
        Form::List(items, list) => {
            for item in items {
                let element = element(item, list);
                let mut child = set_of(item, Some(list.items()));
                if set.children.contains_key(&element) {
                    // An item that is there twice is owned as a whole.
                    child = FieldSet::default();
                }
                child.owned = true;
                set.children.insert(element, child);
            }
        }
    }
    set
}

/// What changed between two documents.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Fields that are new or have another value: whoever made the change owns them now.
    pub(super) taken: FieldSet,
    /// Fields that are gone: nobody owns them any more.
    pub(super) removed: FieldSet,
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.taken.is_empty() && self.removed.is_empty()
    }

    fn put(&mut self, element: impl Fn() -> PathElement, inner: Self) {
        if !inner.taken.is_empty() {
            self.taken.children.insert(element(), inner.taken);
        }
        if !inner.removed.is_empty() {
            self.removed.children.insert(element(), inner.removed);
        }
    }
}

/// Compares two objects, the older of which may be missing. Nothing is allocated for what is equal.
pub(super) fn compare_documents(
    old: Option<&Map<String, Value>>,
    new: &Map<String, Value>,
    of: Option<&Type>,
) -> Changes {
    compare_objects(old.unwrap_or(&Map::new()), new, of)
}

fn compare(old: Option<&Value>, new: Option<&Value>, of: Option<&Type>) -> Changes {
    let mut changes = match (old, new) {
        (Some(old), Some(new)) => compare_both(old, new, of),
        (Some(_), None) | (None, Some(_)) => compare_one(old, new, of),
        (None, None) => Changes::default(),
    };
    changes.taken.owned |= old.is_none() && new.is_some();
    changes.removed.owned |= old.is_some() && new.is_none();
    changes
}

fn compare_both(old: &Value, new: &Value, of: Option<&Type>) -> Changes {
    match (form(old, of), form(new, of)) {
        (Form::Object(before), Form::Object(after)) => compare_objects(before, after, of),
        (Form::List(before, list), Form::List(after, _)) if !before.is_empty() || !after.is_empty() => {
            compare_lists(before, after, list)
        }
        _ => Changes { taken: FieldSet { owned: old != new, ..FieldSet::default() }, removed: FieldSet::default() },
    }
}

fn compare_one(old: Option<&Value>, new: Option<&Value>, of: Option<&Type>) -> Changes {
    let empty = Map::new();
    let Some(value) = old.or(new) else { return Changes::default() };
    let (before, after) = (old.is_some(), new.is_some());
    match form(value, of) {
        Form::Leaf => Changes::default(),
        Form::Object(map) if before => compare_objects(map, &empty, of),
        Form::Object(map) => compare_objects(&empty, map, of),
        Form::List(items, list) => {
            debug_assert!(before != after, "one side is missing");
            if before { compare_lists(items, &[], list) } else { compare_lists(&[], items, list) }
        }
    }
}

fn compare_objects(before: &Map<String, Value>, after: &Map<String, Value>, of: Option<&Type>) -> Changes {
    let mut changes = Changes::default();
    let named = struct_of(of);
    let mut visit = |key: &str, old: Option<&Value>, new: Option<&Value>| {
        let mut inner = compare(old, new, member(of, key));
        if named.is_some() && ALWAYS_THERE.contains(&key) && (old.is_none() || new.is_none()) {
            let value = old.or(new);
            let owned = member(of, key).is_none_or(Type::is_leaf)
                || (key == "resources" && value.and_then(Value::as_object).is_some_and(Map::is_empty));
            inner.taken.owned &= owned;
            inner.removed.owned &= owned;
        }
        changes.put(|| field(key), inner);
    };
    for (key, old) in before {
        visit(key, Some(old), after.get(key));
    }
    for (key, new) in after.iter().filter(|(key, _)| !before.contains_key(*key)) {
        visit(key, None, Some(new));
    }
    changes
}

fn compare_lists(before: &[Value], after: &[Value], list: &List) -> Changes {
    let mut changes = Changes::default();
    if before.len() == after.len() && before.iter().zip(after).all(|(old, new)| same_key(old, new, list)) {
        for (old, new) in before.iter().zip(after).filter(|(old, new)| old != new) {
            changes.put(|| element(new, list), compare(Some(old), Some(new), Some(list.items())));
        }
        return changes;
    }
    let (old_items, new_items) = (by_element(before, list), by_element(after, list));
    let elements: BTreeSet<&PathElement> = old_items.keys().chain(new_items.keys()).collect();
    for element in elements {
        let old = old_items.get(element).map_or(&[][..], Vec::as_slice);
        let new = new_items.get(element).map_or(&[][..], Vec::as_slice);
        let inner = if old.len() > 1 || new.len() > 1 {
            duplicates(old, new)
        } else {
            compare(old.first().copied(), new.first().copied(), Some(list.items()))
        };
        changes.put(|| element.clone(), inner);
    }
    changes
}

/// Items that share a key are compared as one.
fn duplicates(old: &[&Value], new: &[&Value]) -> Changes {
    let leaf = |owned| FieldSet { owned, ..FieldSet::default() };
    Changes { taken: leaf(!new.is_empty() && old != new), removed: leaf(new.is_empty()) }
}

fn by_element<'a>(items: &'a [Value], list: &List) -> BTreeMap<PathElement, Vec<&'a Value>> {
    let mut map: BTreeMap<PathElement, Vec<&Value>> = BTreeMap::new();
    for item in items {
        map.entry(element(item, list)).or_default().push(item);
    }
    map
}

/// Returns a document with another laid over it; what the other does not name stays.
pub(super) fn merge(live: &Value, applied: &Value, of: Option<&Type>) -> Value {
    match (form(live, of), form(applied, of)) {
        (Form::Object(lower), Form::Object(upper)) => {
            let mut merged = lower.clone();
            for (key, above) in upper {
                let value = match lower.get(key) {
                    Some(below) => merge(below, above, member(of, key)),
                    None => above.clone(),
                };
                merged.insert(key.clone(), value);
            }
            Value::Object(merged)
        }
        (Form::List(lower, list), Form::List(upper, _)) => Value::Array(merge_lists(lower, upper, list)),
        _ => applied.clone(),
    }
}

/// Merges lists item by item. The applied order wins; live items that were not applied keep their place between
/// their neighbours (`mergingWalker.visitListItems`).
fn merge_lists(lower: &[Value], upper: &[Value], list: &List) -> Vec<Value> {
    let keys = |items: &[Value]| items.iter().map(|item| element(item, list)).collect::<Vec<_>>();
    let (below, above) = (keys(lower), keys(upper));
    let find_lower: BTreeMap<&PathElement, &Value> = below.iter().zip(lower).rev().collect();
    let find_upper: BTreeSet<&PathElement> = above.iter().collect();
    let mut shared = above.iter().filter(|key| find_lower.contains_key(key)).peekable();
    let mut done: BTreeSet<&PathElement> = BTreeSet::new();
    let mut merged = Vec::with_capacity(lower.len().max(upper.len()));
    let (mut left, mut right) = (0, 0);
    while left < below.len() || right < above.len() {
        if left < below.len() {
            let key = &below[left];
            if !find_upper.contains(key) {
                merged.push(lower[left].clone());
                left += 1;
                continue;
            }
            let waits_for_other = shared.peek().is_some_and(|next| *next != key);
            if done.contains(key) || (right < above.len() && *key != above[right] && waits_for_other) {
                left += 1;
                continue;
            }
        }
        let Some(key) = above.get(right) else { continue };
        let item = match find_lower.get(key) {
            Some(live) if !done.contains(key) => merge(live, &upper[right], Some(list.items())),
            _ => upper[right].clone(),
        };
        merged.push(item);
        done.insert(key);
        shared.next_if(|next| *next == key);
        if below.get(left) == Some(key) {
            left += 1;
        }
        right += 1;
    }
    merged
}

/// Takes fields out of a document; an object or list that becomes empty goes too. Atomic values are never entered.
pub(super) fn remove(value: &mut Value, set: &FieldSet, of: Option<&Type>) {
    if of.is_some_and(Type::is_leaf) {
        return;
    }
    match (value, of.map(Type::shape)) {
        (Value::Object(map), None | Some(Shape::Struct(_) | Shape::Map(_) | Shape::Untyped)) => {
            for (element, subset) in &set.children {
                let PathElement::Field(key) = element else { continue };
                let Some(inner) = map.get_mut(key) else { continue };
                if !subset.owned {
                    remove(inner, subset, member(of, key));
                }
                if subset.owned || became_empty(inner) {
                    map.remove(key);
                }
            }
        }
        (Value::Array(items), Some(Shape::List(list))) => items.retain_mut(|item| {
            let Some(subset) = set.child(&element(item, list)) else { return true };
            if !subset.owned {
                remove(item, subset, Some(list.items()));
            }
            !subset.owned && !became_empty(item)
        }),
        _ => {}
    }
}

fn became_empty(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

/// Adds the fields of structs on the way to owned ones, because a struct goes when nothing of it is owned
/// (`EnsureNamedFieldsAreMembers`).
pub(super) fn with_named_fields(set: &FieldSet, of: Option<&Type>) -> FieldSet {
    let named = struct_of(of);
    let children = set.children.iter().map(|(element, subset)| {
        let (inner, is_named) = match element {
            PathElement::Field(name) => (member(of, name), named.is_some_and(|named| named.field(name).is_some())),
            _ => (of.and_then(Type::items), false),
        };
        let mut child = with_named_fields(subset, inner);
        child.owned |= is_named;
        (element.clone(), child)
    });
    FieldSet { owned: set.owned, children: children.collect() }
}

#[cfg(test)]
mod tests;
