//! Which objects of a collection a list, watch or deletecollection is about.

use wkube_api::selector::{FieldSelector, FieldTerm, LabelSelector};
use wkube_api::{Object, Resource, Scope, Status};

use super::keys;
use crate::router::Query;
use crate::watch_cache::Item;

const NAME: &str = "metadata.name";
const NAMESPACE: &str = "metadata.namespace";

/// A label and a field selector together.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    labels: LabelSelector,
    fields: FieldSelector,
}

impl Selection {
    /// Reads `labelSelector` and `fieldSelector`. A `name` from the URL selects that one object.
    pub(crate) fn parse(resource: &Resource, query: &Query, name: &str) -> Result<Self, Status> {
        let bad = |what: &str, text: &str, error: &dyn std::fmt::Display| {
            Status::bad_request(format!("Unable to find {text:?} that match {what} selector: {error}"))
        };
        let text = query.get("labelSelector");
        let labels = LabelSelector::parse(text).map_err(|error| bad("label", text, &error))?;
        let text = query.get("fieldSelector");
        let mut fields = FieldSelector::parse(text).map_err(|error| bad("field", text, &error))?;
        let empty = Object::default();
        if let Some(unknown) = fields.terms().iter().find(|term| field(resource, &empty, &term.field).is_none()) {
            return Err(Status::bad_request(format!("field label not supported: {}", unknown.field)));
        }
        if !name.is_empty() {
            if fields.exact(NAME).is_some_and(|selected| selected != name) {
                return Err(Status::bad_request("both a name and a field selector for another name were given"));
            }
            let both = format!("metadata.name={name},{fields}");
            fields = FieldSelector::parse(&both).map_err(|error| bad("field", &both, &error))?;
        }
        Ok(Self { labels, fields })
    }

    /// Returns the prefix of everything that it may select in a namespace (empty: everywhere). An object that is named has
    /// a key of its own, and whoever watches it is not woken by its neighbours.
    pub(crate) fn prefix(&self, resource: &Resource, namespace: &str) -> String {
        let collection = keys::collection(resource, namespace);
        let is_one_place = resource.scope == Scope::Cluster || !namespace.is_empty();
        match self.fields.exact(NAME).filter(|_| is_one_place) {
            Some(name) => collection + name,
            None => collection,
        }
    }

    /// Whether it leaves nothing out.
    pub(crate) fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }

    /// Whether an object is selected.
    pub(crate) fn matches(&self, resource: &Resource, object: &Object) -> bool {
        let labels = object.at(&["metadata", "labels"]);
        self.labels.matches_by(|key| labels?.get(key)?.as_str())
            && self.fields.matches(|path| field(resource, object, path))
    }

    /// Whether an item is selected. Its key tells namespace and name; it is decoded only if that does not decide.
    pub(crate) fn matches_item(&self, resource: &Resource, item: &Item) -> bool {
        if self.is_everything() {
            return true;
        }
        let (namespace, name) = keys::place(resource, &item.entry.key);
        let holds = |term: &FieldTerm| match term.field.as_str() {
            NAME => Some((term.value == name) != term.negated),
            NAMESPACE => Some((term.value == namespace) != term.negated),
            _ => None,
        };
        let mut undecided = !self.labels.is_everything();
        for term in self.fields.terms() {
            match holds(term) {
                Some(false) => return false,
                Some(true) => {}
                None => undecided = true,
            }
        }
        !undecided || self.matches(resource, &item.object())
    }
}

fn field(resource: &Resource, object: &Object, path: &str) -> Option<String> {
    match path {
        NAME => Some(object.name().to_owned()),
        NAMESPACE => Some(object.namespace().to_owned()),
        other => resource.manners.field(object, other),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use wkube_api::kinds;
    use wkube_store::{Entry, Revision};

    use super::*;

    fn selected(query: &str, plural: &str, key: &str, value: &'static str) -> bool {
        let resource = kinds::find("", "v1", plural).expect("a built-in kind");
        let selection = Selection::parse(resource, &Query::parse(Some(query)), "").expect("a selection");
        let at = Revision(7);
        let entry = Entry { key: key.into(), value: Bytes::from(value), created: at, modified: at, version: 1 };
        selection.matches_item(resource, &Item::new(entry))
    }

    #[test]
    fn namespace_and_name_are_read_from_the_key() {
        // Nothing that could be decoded.
        let config_map = |query: &str| selected(query, "configmaps", "/registry/core/configmaps/d/a", "");
        assert!(config_map("fieldSelector=metadata.name=a"));
        assert!(config_map("fieldSelector=metadata.name=a,metadata.namespace=d"));
        assert!(config_map("fieldSelector=metadata.namespace!=e"));
        assert!(!config_map("fieldSelector=metadata.name=d"));
        assert!(!config_map("fieldSelector=metadata.name=a,metadata.namespace!=d"));
        let node = |query: &str| selected(query, "nodes", "/registry/core/nodes/n", "");
        assert!(node("fieldSelector=metadata.name=n,metadata.namespace="));
        assert!(!node("fieldSelector=metadata.namespace=nodes"));
    }

    #[test]
    fn a_name_is_looked_for_where_it_is_kept() {
        let prefix = |query: &str, plural: &str, namespace: &str| {
            let resource = kinds::find("", "v1", plural).expect("a built-in kind");
            let selection = Selection::parse(resource, &Query::parse(Some(query)), "").expect("a selection");
            selection.prefix(resource, namespace)
        };
        let named = "fieldSelector=metadata.name=a";
        assert_eq!(prefix(named, "configmaps", "d"), "/registry/core/configmaps/d/a");
        assert_eq!(prefix(named, "nodes", ""), "/registry/core/nodes/a");
        assert_eq!(prefix(named, "configmaps", ""), "/registry/core/configmaps/", "it may be in any namespace");
        assert_eq!(prefix("fieldSelector=metadata.name!=a", "nodes", ""), "/registry/core/nodes/");
        assert_eq!(prefix("labelSelector=a", "configmaps", "d"), "/registry/core/configmaps/d/");
    }

    #[test]
    fn the_rest_is_read_from_the_object() {
        let pod = |query: &str| {
            let value = r#"{"metadata":{"name":"a","labels":{"x":"1"}},"spec":{"nodeName":"n"}}"#;
            selected(query, "pods", "/registry/core/pods/d/a", value)
        };
        assert!(pod("fieldSelector=metadata.name=a,spec.nodeName=n"));
        assert!(!pod("fieldSelector=metadata.name=a,spec.nodeName=m"));
        assert!(pod("fieldSelector=metadata.name=a&labelSelector=x=1,!y"));
        assert!(!pod("fieldSelector=metadata.name=a&labelSelector=x=2"));
    }
}
