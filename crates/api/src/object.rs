//! `Object`: any Kubernetes object as a JSON document, with accessors for the metadata that generic code needs.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A JSON document that is an object. Keys are sorted, so that equal documents have equal bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Object(pub Map<String, Value>);

/// Where an object is: its namespace (empty for cluster-scoped kinds) and its name.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// The namespace, empty for cluster-scoped objects.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl ObjectKey {
    /// Returns the key of a namespaced object.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// Returns the key of a cluster-scoped object.
    pub fn cluster(name: impl Into<String>) -> Self {
        Self::new("", name)
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() { f.write_str(&self.name) } else { write!(f, "{}/{}", self.namespace, self.name) }
    }
}

impl Object {
    /// Returns the document of a typed value.
    ///
    /// # Errors
    /// If the value does not serialize to a JSON object.
    pub fn from_typed<K: Serialize>(value: &K) -> Result<Self, serde_json::Error> {
        serde_json::from_value(serde_json::to_value(value)?)
    }

    /// Returns the typed form. Unknown fields are dropped, as in Kubernetes.
    ///
    /// # Errors
    /// If a field has the wrong type.
    pub fn to_typed<K: DeserializeOwned>(&self) -> Result<K, serde_json::Error> {
        K::deserialize(Value::Object(self.0.clone()))
    }

    /// Returns the value at a path of field names.
    pub fn at(&self, path: &[&str]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        rest.iter().try_fold(self.0.get(*first)?, |value, field| value.get(field))
    }

    /// Returns the string at a path, or `""`.
    pub fn str_at(&self, path: &[&str]) -> &str {
        self.at(path).and_then(Value::as_str).unwrap_or_default()
    }

    /// Sets the value at a path, making objects on the way.
    pub fn set(&mut self, path: &[&str], value: impl Into<Value>) {
        let Some((last, parents)) = path.split_last() else { return };
        let mut map = &mut self.0;
        for field in parents {
            let slot = map.entry(*field).or_insert_with(|| Value::Object(Map::new()));
            if !slot.is_object() {
                *slot = Value::Object(Map::new());
            }
            let Value::Object(inner) = slot else { return };
            map = inner;
        }
        map.insert((*last).to_owned(), value.into());
    }

    /// Removes and returns the value at a path.
    pub fn remove(&mut self, path: &[&str]) -> Option<Value> {
        let (last, parents) = path.split_last()?;
        let mut map = &mut self.0;
        for field in parents {
            map = map.get_mut(*field)?.as_object_mut()?;
        }
        map.remove(*last)
    }

    /// Returns `apiVersion`.
    pub fn api_version(&self) -> &str {
        self.str_at(&["apiVersion"])
    }

    /// Returns `kind`.
    pub fn kind(&self) -> &str {
        self.str_at(&["kind"])
    }

    /// Returns `metadata.name`.
    pub fn name(&self) -> &str {
        self.str_at(&["metadata", "name"])
    }

    /// Returns `metadata.namespace`, empty for cluster-scoped objects.
    pub fn namespace(&self) -> &str {
        self.str_at(&["metadata", "namespace"])
    }

    /// Returns `metadata.uid`.
    pub fn uid(&self) -> &str {
        self.str_at(&["metadata", "uid"])
    }

    /// Returns `metadata.resourceVersion`.
    pub fn resource_version(&self) -> &str {
        self.str_at(&["metadata", "resourceVersion"])
    }

    /// Returns the namespace and name.
    pub fn key(&self) -> ObjectKey {
        ObjectKey::new(self.namespace(), self.name())
    }

    /// Returns `metadata.labels`.
    pub fn labels(&self) -> BTreeMap<&str, &str> {
        self.strings_at(&["metadata", "labels"])
    }

    /// Returns `metadata.annotations`.
    pub fn annotations(&self) -> BTreeMap<&str, &str> {
        self.strings_at(&["metadata", "annotations"])
    }

    /// Returns `metadata.finalizers`.
    pub fn finalizers(&self) -> Vec<&str> {
        let list = self.at(&["metadata", "finalizers"]).and_then(Value::as_array);
        list.map(|list| list.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
    }

    /// Whether a delete has been asked for.
    pub fn is_deleting(&self) -> bool {
        !self.str_at(&["metadata", "deletionTimestamp"]).is_empty()
    }

    fn strings_at(&self, path: &[&str]) -> BTreeMap<&str, &str> {
        let map = self.at(path).and_then(Value::as_object);
        map.map(|map| map.iter().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?))).collect())
            .unwrap_or_default()
    }
}

impl From<Map<String, Value>> for Object {
    fn from(map: Map<String, Value>) -> Self {
        Self(map)
    }
}
