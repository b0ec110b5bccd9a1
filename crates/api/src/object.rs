//! `Object`: any Kubernetes object as a JSON document, with accessors for the metadata that generic code needs.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
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

/// One entry of `metadata.ownerReferences`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner<'a> {
    /// The owner's `group/version`.
    pub api_version: &'a str,
    /// The owner's kind.
    pub kind: &'a str,
    /// The owner's name, in the same namespace or cluster-scoped.
    pub name: &'a str,
    /// The owner's uid: a new object of the same name is another owner.
    pub uid: &'a str,
    /// Whether the owner manages this object; at most one does.
    pub controller: bool,
    /// Whether a foreground delete of the owner waits for this object.
    pub block_deletion: bool,
}

impl<'a> Owner<'a> {
    fn of(entry: &'a Value) -> Option<Self> {
        let entry = entry.as_object()?;
        let text = |field| entry.get(field).and_then(Value::as_str).unwrap_or_default();
        let flag = |field| entry.get(field).and_then(Value::as_bool).unwrap_or_default();
        Some(Self {
            api_version: text("apiVersion"),
            kind: text("kind"),
            name: text("name"),
            uid: text("uid"),
            controller: flag("controller"),
            block_deletion: flag("blockOwnerDeletion"),
        })
    }
}

/// Returns a time as Kubernetes writes it: UTC, whole seconds, `2006-01-02T15:04:05Z`.
pub fn format_time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Returns a time as `MicroTime` writes it (leases, events): UTC with six digits of the second.
pub fn format_micro_time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
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

    /// Sets `metadata.name`.
    pub fn set_name(&mut self, name: impl Into<String>) {
        self.set(&["metadata", "name"], name.into());
    }

    /// Sets `metadata.namespace`; an empty namespace removes it.
    pub fn set_namespace(&mut self, namespace: impl Into<String>) {
        let namespace = namespace.into();
        if namespace.is_empty() {
            self.remove(&["metadata", "namespace"]);
        } else {
            self.set(&["metadata", "namespace"], namespace);
        }
    }

    /// Sets `apiVersion` and `kind`, which objects in typed lists leave out.
    pub fn set_type(&mut self, api_version: &str, kind: &str) {
        self.set(&["apiVersion"], api_version);
        self.set(&["kind"], kind);
    }

    /// Sets `metadata.resourceVersion`; an empty version removes it.
    pub fn set_resource_version(&mut self, version: &str) {
        if version.is_empty() {
            self.remove(&["metadata", "resourceVersion"]);
        } else {
            self.set(&["metadata", "resourceVersion"], version);
        }
    }

    /// Sets one annotation.
    pub fn set_annotation(&mut self, key: &str, value: impl Into<String>) {
        self.set(&["metadata", "annotations", key], value.into());
    }

    /// Sets one label.
    pub fn set_label(&mut self, key: &str, value: impl Into<String>) {
        self.set(&["metadata", "labels", key], value.into());
    }

    /// Sets `metadata.finalizers`; an empty list removes the field, as Go's `omitempty` does.
    pub fn set_finalizers<S: Into<String>>(&mut self, finalizers: impl IntoIterator<Item = S>) {
        let list: Vec<Value> = finalizers.into_iter().map(|name| Value::String(name.into())).collect();
        if list.is_empty() {
            self.remove(&["metadata", "finalizers"]);
        } else {
            self.set(&["metadata", "finalizers"], list);
        }
    }

    /// Returns `metadata.generation`, 0 if the kind does not count.
    pub fn generation(&self) -> i64 {
        self.at(&["metadata", "generation"]).and_then(Value::as_i64).unwrap_or_default()
    }

    /// Returns `metadata.generateName`, or `""`.
    pub fn generate_name(&self) -> &str {
        self.str_at(&["metadata", "generateName"])
    }

    /// Returns `metadata.creationTimestamp`; `None` if it is missing or not a time.
    pub fn creation_timestamp(&self) -> Option<Timestamp> {
        self.time_at(&["metadata", "creationTimestamp"])
    }

    /// Returns `metadata.deletionTimestamp`; `None` if no delete was asked for.
    pub fn deletion_timestamp(&self) -> Option<Timestamp> {
        self.time_at(&["metadata", "deletionTimestamp"])
    }

    /// Returns the time at a path; `None` if it is missing or not RFC 3339.
    pub fn time_at(&self, path: &[&str]) -> Option<Timestamp> {
        self.str_at(path).parse().ok()
    }

    /// Returns `metadata.ownerReferences`; entries that are not objects are skipped.
    pub fn owners(&self) -> impl Iterator<Item = Owner<'_>> {
        let list = self.at(&["metadata", "ownerReferences"]).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Owner::of)
    }

    /// Returns the owner that manages this object (`metav1.GetControllerOf`).
    pub fn controller_of(&self) -> Option<Owner<'_>> {
        self.owners().find(|owner| owner.controller)
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Object {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn equal_documents_have_equal_bytes_whatever_the_order_of_keys() {
        let one: Object = serde_json::from_str(r#"{"kind":"Pod","apiVersion":"v1"}"#).unwrap();
        let two: Object = serde_json::from_str(r#"{"apiVersion":"v1","kind":"Pod"}"#).unwrap();
        assert_eq!(serde_json::to_string(&one).unwrap(), serde_json::to_string(&two).unwrap());
    }

    #[test]
    fn the_controller_is_the_owner_that_says_so() {
        let pod = object(json!({"metadata": {"ownerReferences": [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "1"},
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "b", "uid": "2", "controller": true},
        ]}}));
        assert_eq!(pod.owners().count(), 2);
        assert_eq!(pod.controller_of().map(|owner| owner.name), Some("b"));
        assert_eq!(Object::default().controller_of(), None);
    }

    #[test]
    fn setting_through_something_that_is_no_object_replaces_it() {
        let mut pod = object(json!({"metadata": null}));
        pod.set_name("p");
        pod.set_label("app", "x");
        assert_eq!(pod, object(json!({"metadata": {"name": "p", "labels": {"app": "x"}}})));
    }

    #[test]
    fn an_empty_value_removes_the_field() {
        let mut pod = object(json!({"metadata": {"namespace": "a", "resourceVersion": "1", "finalizers": ["x"]}}));
        pod.set_namespace("");
        pod.set_resource_version("");
        pod.set_finalizers::<&str>([]);
        assert_eq!(pod, object(json!({"metadata": {}})));
    }

    #[test]
    fn times_are_written_in_whole_seconds() {
        let time: Timestamp = "2026-01-02T03:04:05.678901Z".parse().unwrap();
        assert_eq!(format_time(time), "2026-01-02T03:04:05Z");
        assert_eq!(format_micro_time(time), "2026-01-02T03:04:05.678901Z");
        let pod = object(json!({"metadata": {"creationTimestamp": "2026-01-02T03:04:05Z"}}));
        assert_eq!(pod.creation_timestamp().map(format_time).as_deref(), Some("2026-01-02T03:04:05Z"));
        assert_eq!(pod.deletion_timestamp(), None);
    }
}
