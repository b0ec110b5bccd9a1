//! Sets of fields, as `metadata.managedFields` writes them (`structured-merge-diff/fieldpath`).
//!
//! ```text
//! {"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}}}}}
//! ```

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

/// One step of the way to a field. Keys and values are kept as their JSON text, which makes them cheap to compare.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathElement {
    /// A field of an object.
    Field(String),
    /// An item of a list, by its key fields: `{"name":"c"}` with the names in order.
    Key(String),
    /// An item of a set, by its value: `"x"`.
    Value(String),
    /// An item of a list, by its place.
    Index(usize),
}

/// A set of fields, as a tree. A node that is neither owned nor has children is not in the set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSet {
    /// Whether the field where the node stands is in the set itself.
    pub(super) owned: bool,
    pub(super) children: BTreeMap<PathElement, FieldSet>,
}

impl FieldSet {
    /// Whether nothing is in the set.
    pub fn is_empty(&self) -> bool {
        !self.owned && self.children.is_empty()
    }

    /// Puts a subset at an element; empty ones are left out.
    pub(super) fn put(&mut self, element: PathElement, subset: Self) {
        if !subset.is_empty() {
            self.children.insert(element, subset);
        }
    }

    /// Adds the field at a path of field names.
    #[must_use]
    pub fn with(mut self, path: &[&str]) -> Self {
        let mut node = &mut self;
        for name in path {
            node = node.children.entry(PathElement::Field((*name).to_owned())).or_default();
        }
        node.owned = true;
        self
    }

    /// Returns what is in the set below an element.
    pub fn child(&self, element: &PathElement) -> Option<&Self> {
        self.children.get(element)
    }

    /// Adds everything of another set.
    pub fn add(&mut self, other: &Self) {
        self.owned |= other.owned;
        for (element, theirs) in &other.children {
            match self.children.get_mut(element) {
                Some(ours) => ours.add(theirs),
                None => drop(self.children.insert(element.clone(), theirs.clone())),
            }
        }
    }

    /// Takes away the fields of another set; what lies below them stays.
    pub fn subtract(&mut self, other: &Self) {
        self.owned &= !other.owned;
        for (element, theirs) in &other.children {
            let Some(ours) = self.children.get_mut(element) else { continue };
            ours.subtract(theirs);
            if ours.is_empty() {
                self.children.remove(element);
            }
        }
    }

    /// Takes away the field at a path of names with everything below it.
    pub fn subtract_tree(&mut self, path: &[&str]) {
        let Some((first, rest)) = path.split_first() else { return };
        let element = PathElement::Field((*first).to_owned());
        if rest.is_empty() {
            self.children.remove(&element);
            return;
        }
        let Some(child) = self.children.get_mut(&element) else { return };
        child.subtract_tree(rest);
        if child.is_empty() {
            self.children.remove(&element);
        }
    }

    /// Returns the fields that are in both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let mut common = Self { owned: self.owned && other.owned, children: BTreeMap::new() };
        for (element, ours) in &self.children {
            if let Some(theirs) = other.children.get(element) {
                common.put(element.clone(), ours.intersection(theirs));
            }
        }
        common
    }

    /// Whether a set in its JSON form has a field in common with this one. Reads only what both name, so that the
    /// sets of uninvolved managers are never parsed.
    pub fn touches(&self, json: &Value) -> bool {
        let Value::Object(map) = json else { return false };
        let mut key = String::new();
        self.children.iter().any(|(element, subset)| {
            key.clear();
            element.write_key(&mut key);
            let Some(theirs) = map.get(key.as_str()) else { return false };
            let owned = theirs.as_object().is_none_or(|inner| inner.is_empty() || inner.contains_key("."));
            (subset.owned && owned) || subset.touches(theirs)
        })
    }

    /// Reads the JSON form; `None` if it is none.
    pub fn from_json(json: &Value) -> Option<Self> {
        let mut set = Self::default();
        for (key, inner) in json.as_object()? {
            if key == "." {
                set.owned = true;
                continue;
            }
            let mut child = Self::from_json(inner)?;
            if child.is_empty() {
                child.owned = true;
            }
            set.children.insert(PathElement::parse(key)?, child);
        }
        Some(set)
    }

    /// Writes the JSON form.
    pub fn to_json(&self) -> Value {
        let mut map = Map::new();
        if self.owned && !self.children.is_empty() {
            map.insert(".".to_owned(), Value::Object(Map::new()));
        }
        for (element, child) in &self.children {
            let mut key = String::new();
            element.write_key(&mut key);
            map.insert(key, child.to_json());
        }
        Value::Object(map)
    }

    /// Returns the paths of all fields, as conflicts print them: `.spec.containers[name="c"].image`.
    pub fn paths(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.collect_paths(&mut String::new(), &mut found);
        found
    }

    fn collect_paths(&self, prefix: &mut String, found: &mut Vec<String>) {
        if self.owned && !prefix.is_empty() {
            found.push(prefix.clone());
        }
        for (element, child) in &self.children {
            let length = prefix.len();
            prefix.push_str(&element.to_string());
            child.collect_paths(prefix, found);
            prefix.truncate(length);
        }
    }
}

impl PathElement {
    fn parse(key: &str) -> Option<Self> {
        let (tag, rest) = key.split_once(':')?;
        // Foreign writers may space or order JSON differently; comparing texts needs one form.
        let canonical = || Some(serde_json::from_str::<Value>(rest).ok()?.to_string());
        match tag {
            "f" => Some(Self::Field(rest.to_owned())),
            "k" => canonical().map(Self::Key),
            "v" => canonical().map(Self::Value),
            "i" => rest.parse().ok().map(Self::Index),
            _ => None,
        }
    }

    fn write_key(&self, key: &mut String) {
        let (tag, text) = match self {
            Self::Field(name) => ("f:", name.as_str()),
            Self::Key(json) => ("k:", json.as_str()),
            Self::Value(json) => ("v:", json.as_str()),
            Self::Index(place) => {
                key.push_str("i:");
                key.push_str(&place.to_string());
                return;
            }
        };
        key.push_str(tag);
        key.push_str(text);
    }
}

impl fmt::Display for PathElement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Value(json) => write!(f, "[={json}]"),
            Self::Index(place) => write!(f, "[{place}]"),
            Self::Key(json) => {
                let fields: Map<String, Value> = serde_json::from_str(json).unwrap_or_default();
                let parts: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
                write!(f, "[{}]", parts.join(","))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(json: &Value) -> FieldSet {
        FieldSet::from_json(json).unwrap()
    }

    #[test]
    fn the_json_form_survives_reading_and_writing() {
        let json = json!({
            "f:metadata": {"f:labels": {".": {}, "f:app": {}}, "f:finalizers": {".": {}, "v:\"x/y\"": {}}},
            "f:spec": {"f:replicas": {}, "f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:name": {}}, "i:3": {}}},
        });
        assert_eq!(set(&json).to_json(), json);
        assert!(FieldSet::from_json(&json!({"x:y": {}})).is_none());
        assert!(FieldSet::from_json(&json!({"f:a": 1})).is_none());
    }

    #[test]
    fn keys_are_brought_into_one_form() {
        let spaced = set(&json!({"f:ports": {"k:{ \"protocol\": \"TCP\", \"port\": 80 }": {}}}));
        assert_eq!(spaced.to_json(), json!({"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {}}}));
    }

    #[test]
    fn paths_are_printed_as_kubectl_shows_them() {
        let of = set(&json!({"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}}},
            "f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {}}, "f:set": {"v:\"a\"": {}}, "f:list": {"i:1": {}}}}));
        assert_eq!(
            of.paths(),
            [
                ".spec.containers[name=\"c\"]",
                ".spec.containers[name=\"c\"].image",
                ".spec.list[1]",
                ".spec.ports[port=80,protocol=\"TCP\"]",
                ".spec.set[=\"a\"]",
            ]
        );
    }

    #[test]
    fn sets_are_added_subtracted_and_intersected() {
        let one = set(&json!({"f:a": {"f:x": {}, "f:y": {}}, "f:b": {".": {}, "f:z": {}}}));
        let two = set(&json!({"f:a": {"f:y": {}}, "f:b": {}, "f:c": {}}));
        let mut sum = one.clone();
        sum.add(&two);
        assert_eq!(sum.to_json(), json!({"f:a": {"f:x": {}, "f:y": {}}, "f:b": {".": {}, "f:z": {}}, "f:c": {}}));
        let mut rest = one.clone();
        rest.subtract(&two);
        assert_eq!(rest.to_json(), json!({"f:a": {"f:x": {}}, "f:b": {"f:z": {}}}));
        assert_eq!(one.intersection(&two).to_json(), json!({"f:a": {"f:y": {}}, "f:b": {}}));
        rest.subtract_tree(&["b"]);
        rest.subtract_tree(&["a", "x"]);
        assert!(rest.is_empty());
    }

    #[test]
    fn touching_looks_at_the_json_form_only() {
        let json = json!({"f:a": {"f:x": {}}, "f:b": {".": {}, "f:z": {}}});
        for (other, expected) in [
            (json!({"f:a": {"f:x": {}}}), true),
            (json!({"f:a": {"f:y": {}}}), false),
            (json!({"f:a": {}}), false),
            (json!({"f:b": {}}), true),
            (json!({"f:b": {"f:y": {}}}), false),
            (json!({}), false),
        ] {
            assert_eq!(set(&other).touches(&json), expected, "{other}");
        }
    }
}
