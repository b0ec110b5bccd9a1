//! Answers in Kubernetes' protobuf, which clients made with client-go prefer. Pure.
//!
//! A list encodes its items anew; a watch event is made once for all watchers, as its JSON bytes are.

use serde_json::Value;
use wkube_api::{Object, Resource, Status, protobuf};
use wkube_store::Revision;

use super::EventKind;
use crate::negotiate::Shape;
use crate::registry::read::Listing;
use crate::watch_cache::Item;

const META: &str = "meta.k8s.io/v1";
const PARTIAL: &str = "PartialObjectMetadata";

/// Returns a document in its envelope; `None` if its kind has no message, or it does not fit it.
pub(super) fn document(value: &Value) -> Option<Vec<u8>> {
    let document = value.as_object()?;
    let text = |field: &str| document.get(field).and_then(Value::as_str);
    let (api_version, kind) = (text("apiVersion")?, text("kind")?);
    let message = protobuf::encode_kind(api_version, kind, document).ok()?;
    Some(protobuf::envelope(api_version, kind, &message))
}

/// Returns a collection in its envelope; `None` if the kind has no message, or an item does not fit it.
pub(super) fn list(shape: Shape, resource: &Resource, listing: &Listing, metadata: &Value) -> Option<Vec<u8>> {
    let (api_version, kind, list_kind) = match shape {
        Shape::Plain => (resource.api_version(), resource.kind.to_string(), resource.list_kind()),
        Shape::Partial => (META.to_owned(), PARTIAL.to_owned(), format!("{PARTIAL}List")),
        Shape::Table(_) => return None,
    };
    let items: Option<Vec<Vec<u8>>> =
        listing.items.iter().map(|item| protobuf::encode_kind(&api_version, &kind, &item.peek().0).ok()).collect();
    let items = items?;
    let message = protobuf::list(metadata.as_object()?, items.iter().map(Vec::as_slice)).ok()?;
    Some(protobuf::envelope(&api_version, &list_kind, &message))
}

/// Appends one event of a watch. `revision` differs from the item's for deletions.
pub(super) fn event(
    out: &mut Vec<u8>,
    shape: Shape,
    resource: &Resource,
    (kind, item, revision): (EventKind, &Item, Revision),
) {
    let (api_version, of) = match shape {
        Shape::Partial => (META.to_owned(), PARTIAL),
        Shape::Plain | Shape::Table(_) => (resource.api_version(), resource.kind.as_ref()),
    };
    let encode = |object: &Object| protobuf::encode_kind(&api_version, of, &object.0).ok();
    let message = if revision == item.entry.modified {
        encode(&item.object())
    } else {
        let mut object = Object::clone(&item.object());
        object.set(&["metadata", "resourceVersion"], revision.0.to_string());
        encode(&object)
    };
    let piece = match message {
        Some(message) => frame(kind.as_str(), &protobuf::envelope(&api_version, of, &message)),
        None => unwritten(&item.object()),
    };
    out.extend_from_slice(&piece);
}

/// Returns the frame of an event: its length, and the event with the object's envelope inside.
pub(super) fn frame(kind: &str, envelope: &[u8]) -> Vec<u8> {
    let event = protobuf::watch_event(kind, envelope);
    let length = u32::try_from(event.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), event.as_slice()].concat()
}

/// An object that does not fit its kind's message was kept by an earlier version of this server, or is damaged.
fn unwritten(object: &Object) -> Vec<u8> {
    let status = Status::internal(&format!("{} {:?} cannot be written as protobuf", object.kind(), object.name()));
    frame("ERROR", &document(&status.to_json()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use wkube_api::kinds;
    use wkube_store::Entry;

    use super::*;
    use crate::encoding;

    fn item(name: &str) -> Arc<Item> {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}});
        let object: Object = serde_json::from_value(object).expect("an object");
        let value = encoding::encode(&object);
        let (key, at) = (format!("configmaps/d/{name}").into(), Revision(7));
        Arc::new(Item::new(Entry { key, value, created: at, modified: at, version: 1 }))
    }

    fn config_maps() -> &'static Resource {
        kinds::find("", "v1", "configmaps").expect("a built-in kind")
    }

    #[test]
    fn a_status_is_a_message_and_a_custom_resource_is_none() {
        let status = document(&Status::bad_request("no").to_json()).expect("a message");
        assert_eq!(protobuf::decode(&status).expect("protobuf")["message"], "no");
        assert_eq!(document(&json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {}})), None);
    }

    #[test]
    fn a_list_has_its_version_and_every_item_with_its_own() {
        let listing =
            Listing { items: vec![item("a"), item("b")], revision: Revision(9), next: String::new(), remaining: None };
        let bytes = list(Shape::Plain, config_maps(), &listing, &json!({"resourceVersion": "9"})).expect("a list");
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.starts_with("k8s\0") && text.contains("ConfigMapList"), "{text}");
        // The items stand one after the other, each with the name and version of its own metadata.
        assert_eq!((text.matches("configmaps/d").count(), text.matches('7').count()), (0, 2), "{text}");
    }

    #[test]
    fn an_event_is_framed_by_its_length() {
        let mut out = Vec::new();
        event(&mut out, Shape::Plain, config_maps(), (EventKind::Added, &item("a"), Revision(7)));
        let (length, rest) = out.split_at(4);
        assert_eq!(u32::from_be_bytes(length.try_into().expect("four bytes")) as usize, rest.len());
        let text = String::from_utf8_lossy(rest);
        assert!(text.contains("ADDED") && text.contains("k8s\0"), "{text}");
    }

    #[test]
    fn metadata_alone_is_written_for_every_kind() {
        let mut out = Vec::new();
        event(&mut out, Shape::Partial, config_maps(), (EventKind::Deleted, &item("a"), Revision(8)));
        let text = String::from_utf8_lossy(&out);
        assert!(text.contains("DELETED") && text.contains("PartialObjectMetadata") && text.contains('8'), "{text}");
    }
}
