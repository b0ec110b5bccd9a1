//! Which objects of a collection a list, watch or deletecollection is about.

use wkube_api::selector::{FieldSelector, LabelSelector};
use wkube_api::{Object, Resource, Status};

use crate::router::Query;
use crate::watch_cache::Item;

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
            if fields.exact("metadata.name").is_some_and(|selected| selected != name) {
                return Err(Status::bad_request("both a name and a field selector for another name were given"));
            }
            let both = format!("metadata.name={name},{fields}");
            fields = FieldSelector::parse(&both).map_err(|error| bad("field", &both, &error))?;
        }
        Ok(Self { labels, fields })
    }

    /// Whether it leaves nothing out.
    pub(crate) fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }

    /// Whether an object is selected.
    pub(crate) fn matches(&self, resource: &Resource, object: &Object) -> bool {
        self.labels.matches(&object.labels()) && self.fields.matches(|path| field(resource, object, path))
    }

    /// Whether an item is selected; decodes it only if there is something to compare.
    pub(crate) fn matches_item(&self, resource: &Resource, item: &Item) -> bool {
        self.is_everything() || self.matches(resource, &item.object())
    }
}

fn field(resource: &Resource, object: &Object, path: &str) -> Option<String> {
    match path {
        "metadata.name" => Some(object.name().to_owned()),
        "metadata.namespace" => Some(object.namespace().to_owned()),
        other => resource.manners.field(object, other),
    }
}
