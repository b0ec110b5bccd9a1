//! Objects, lists and watch events as bytes, in the shape that the client wants. Stored bytes are spliced; only Table,
//! `PartialObjectMetadata`, YAML and protobuf need the document.

mod protobuf;

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use wkube_api::{Object, Resource, Status};
use wkube_base::metrics::Counter;
use wkube_store::Revision;

use crate::encoding::{self, TypeMeta};
use crate::metrics;
use crate::negotiate::{Format, Media, Shape};
use crate::registry::read::Listing;
use crate::table;
use crate::watch_cache::{Change, EventKind, Item};

/// What an event says besides the stored bytes: its type and the resourceVersion.
const EVENT_OVERHEAD: usize = 96;
/// The annotation on the bookmark that ends a watch's initial state.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

impl EventKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// Bytes and the format that they are in.
pub(crate) struct Rendered {
    pub(crate) format: Format,
    pub(crate) bytes: Bytes,
}

/// Renders one object. A revision of zero (a dry run's create) leaves the resourceVersion out.
pub(crate) fn one(media: Media, resource: &Resource, item: &Item, now: Timestamp) -> Rendered {
    let revision = item.entry.modified;
    if media.shape == Shape::Plain && media.format == Format::Json && !media.pretty {
        return Rendered { format: Format::Json, bytes: spliced(item, revision) };
    }
    document(media, &shaped(media.shape, resource, &item.object(), revision, now))
}

/// Renders a document that is not stored. What has no message is JSON also for those who prefer protobuf: they decode by
/// the response's `Content-Type`.
pub(crate) fn document(media: Media, value: &Value) -> Rendered {
    let rendered = |format, bytes: Vec<u8>| Rendered { format, bytes: bytes.into() };
    match media.format {
        Format::Yaml => rendered(Format::Yaml, serde_saphyr::to_string(value).unwrap_or_default().into_bytes()),
        Format::Protobuf if let Some(bytes) = protobuf::document(value) => rendered(Format::Protobuf, bytes),
        Format::Json | Format::Protobuf if media.pretty => {
            rendered(Format::Json, serde_json::to_vec_pretty(value).unwrap_or_default())
        }
        Format::Json | Format::Protobuf => rendered(Format::Json, serde_json::to_vec(value).unwrap_or_default()),
    }
}

/// Renders the answer to an action: a `Scale` may also be a row or only its metadata, anything else is what it is.
pub(crate) fn answer(media: Media, document: Map<String, Value>, now: Timestamp) -> Rendered {
    let value = match media.shape {
        Shape::Table(include) if document.get("kind").is_some_and(|kind| kind == "Scale") => {
            table::scale(&Object(document), include, now)
        }
        Shape::Partial if document.get("kind").is_some_and(|kind| kind == "Scale") => table::partial(&Object(document)),
        Shape::Plain | Shape::Partial | Shape::Table(_) => Value::Object(document),
    };
    self::document(media, &value)
}

/// Renders a collection.
pub(crate) fn list(media: Media, resource: &Resource, listing: &Listing, now: Timestamp) -> Rendered {
    if media.format == Format::Protobuf
        && let Some(bytes) = protobuf::list(media.shape, resource, listing, &list_metadata(listing))
    {
        return Rendered { format: Format::Protobuf, bytes: bytes.into() };
    }
    if media.shape == Shape::Plain && media.format != Format::Yaml && !media.pretty {
        return Rendered { format: Format::Json, bytes: spliced_list(resource, listing) };
    }
    let media = match media.format {
        Format::Protobuf => Media { format: Format::Json, ..media },
        Format::Json | Format::Yaml => media,
    };
    let metadata = list_metadata(listing);
    let objects: Vec<Arc<Object>> = listing.items.iter().map(|item| item.object()).collect();
    let value = match media.shape {
        Shape::Table(include) => table::table(resource, &objects, include, Some(metadata), now),
        Shape::Partial => json!({
            "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
            "items": objects.iter().map(|object| table::partial(object)).collect::<Vec<_>>(),
        }),
        Shape::Plain => json!({
            "kind": resource.list_kind(), "apiVersion": resource.api_version(), "metadata": metadata,
            "items": objects.iter().map(|object| item_of(object)).collect::<Vec<_>>(),
        }),
    };
    document(media, &value)
}

fn spliced(item: &Item, revision: Revision) -> Bytes {
    let mut out = Vec::with_capacity(item.entry.value.len() + 40);
    encoding::splice(&mut out, &item.entry.value, revision, TypeMeta::Keep);
    out.into()
}

fn spliced_list(resource: &Resource, listing: &Listing) -> Bytes {
    let size: usize = listing.items.iter().map(|item| item.entry.value.len() + 40).sum();
    let mut out = Vec::with_capacity(size + 200);
    let head = json!({
        "kind": resource.list_kind(), "apiVersion": resource.api_version(),
        "metadata": list_metadata(listing),
    });
    let head = head.to_string();
    // The head's closing brace makes room for the items.
    out.extend_from_slice(&head.as_bytes()[..head.len() - 1]);
    out.extend_from_slice(b",\"items\":[");
    for (index, item) in listing.items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        item.write(&mut out, TypeMeta::Drop);
    }
    out.extend_from_slice(b"]}");
    out.into()
}

fn list_metadata(listing: &Listing) -> Value {
    let mut metadata = Map::new();
    metadata.insert("resourceVersion".into(), listing.revision.0.to_string().into());
    if !listing.next.is_empty() {
        metadata.insert("continue".into(), listing.next.clone().into());
    }
    if let Some(remaining) = listing.remaining {
        metadata.insert("remainingItemCount".into(), remaining.into());
    }
    metadata.into()
}

/// Items of a typed list do not repeat what they are.
fn item_of(object: &Object) -> Value {
    let mut item = object.0.clone();
    item.remove("kind");
    item.remove("apiVersion");
    item.into()
}

fn shaped(shape: Shape, resource: &Resource, object: &Arc<Object>, revision: Revision, now: Timestamp) -> Value {
    match shape {
        Shape::Plain => {
            let mut object = object.0.clone();
            if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
                if revision == Revision::default() {
                    metadata.remove("resourceVersion");
                } else {
                    metadata.insert("resourceVersion".into(), revision.0.to_string().into());
                }
            }
            object.into()
        }
        Shape::Partial => table::partial(object),
        Shape::Table(include) => {
            let metadata = json!({"resourceVersion": revision.0.to_string()});
            table::table(resource, std::slice::from_ref(object), include, Some(metadata), now)
        }
    }
}

/// Renders the events of one watch.
pub(crate) struct Frames {
    media: Media,
    resource: Arc<Resource>,
    clock: wkube_base::Clock,
    /// A Table watch says its columns once.
    columns_sent: bool,
    sent: Arc<Counter>,
}

impl Frames {
    /// Returns a renderer of events about `resource`.
    pub(crate) fn new(media: Media, resource: Arc<Resource>, clock: wkube_base::Clock) -> Self {
        let sent = metrics::WATCH_EVENTS.with(&[&resource.group, &resource.version, &resource.plural]);
        Self { media, resource, clock, columns_sent: false, sent }
    }

    /// Returns the kind that is watched.
    pub(crate) fn resource(&self) -> &Resource {
        &self.resource
    }

    /// Appends an object of the initial state.
    pub(crate) fn initial(&mut self, out: &mut Vec<u8>, item: &Item) {
        self.sent.add(1);
        self.event(out, EventKind::Added, item, item.entry.modified);
    }

    /// Returns a change as an event. Watchers of whole objects share its bytes.
    pub(crate) fn change(&mut self, kind: EventKind, change: &Change) -> Option<Bytes> {
        // What stops matching is shown as it last matched.
        let item = if kind == EventKind::Deleted { &change.before } else { &change.now }.as_ref()?;
        self.sent.add(1);
        let (shape, protobuf) = (self.media.shape, self.media.format == Format::Protobuf);
        let mut write = || {
            let mut frame = Vec::with_capacity(item.entry.value.len() + EVENT_OVERHEAD);
            self.event(&mut frame, kind, item, change.revision);
            Bytes::from(frame)
        };
        Some(if shape == Shape::Plain { change.frame(kind, protobuf, write) } else { write() })
    }

    /// `revision` differs from the item's for deletions.
    fn event(&mut self, out: &mut Vec<u8>, kind: EventKind, item: &Item, revision: Revision) {
        if self.media.format == Format::Protobuf {
            protobuf::event(out, self.media.shape, &self.resource, (kind, item, revision));
            return;
        }
        out.extend_from_slice(b"{\"type\":\"");
        out.extend_from_slice(kind.as_str().as_bytes());
        out.extend_from_slice(b"\",\"object\":");
        if self.media.shape == Shape::Plain {
            encoding::splice(out, &item.entry.value, revision, TypeMeta::Keep);
        } else {
            let mut object = item.object();
            if revision != item.entry.modified {
                Arc::make_mut(&mut object).set(&["metadata", "resourceVersion"], revision.0.to_string());
            }
            let value = shaped(self.media.shape, &self.resource, &object, revision, self.clock.now());
            out.extend_from_slice(self.once(value).to_string().as_bytes());
        }
        out.extend_from_slice(b"}\n");
    }

    /// Returns a bookmark, which says that everything up to `revision` was sent.
    pub(crate) fn bookmark(&mut self, revision: Revision, ends_initial: bool) -> Bytes {
        let mut metadata = json!({"resourceVersion": revision.0.to_string(), "creationTimestamp": null});
        if ends_initial {
            metadata["annotations"] = json!({INITIAL_EVENTS_END: "true"});
        }
        let object = json!({
            "kind": self.resource.kind, "apiVersion": self.resource.api_version(), "metadata": metadata,
        });
        let object = match self.media.shape {
            Shape::Plain => object,
            Shape::Partial => {
                json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
            }
            Shape::Table(_) => {
                let metadata = json!({"resourceVersion": revision.0.to_string()});
                let row = json!({"cells": [], "object": object});
                self.once(json!({
                    "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
                    "columnDefinitions": table::columns(&self.resource), "rows": [row],
                }))
            }
        };
        self.frame("BOOKMARK", &object)
    }

    /// Returns the event that ends a failed watch.
    pub(crate) fn error(&self, status: &Status) -> Bytes {
        self.frame("ERROR", &status.to_json())
    }

    /// Returns the content type of the stream.
    pub(crate) fn content_type(&self) -> &'static str {
        match self.media.format {
            Format::Json | Format::Yaml => "application/json",
            Format::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        }
    }

    fn frame(&self, kind: &str, object: &Value) -> Bytes {
        match self.media.format {
            Format::Json | Format::Yaml => line(&json!({"type": kind, "object": object})),
            Format::Protobuf => protobuf::frame(kind, &protobuf::document(object).unwrap_or_default()).into(),
        }
    }

    fn once(&mut self, mut value: Value) -> Value {
        if std::mem::replace(&mut self.columns_sent, true)
            && let Some(columns) = value.get_mut("columnDefinitions")
        {
            *columns = Value::Null;
        }
        value
    }
}

fn line(value: &Value) -> Bytes {
    format!("{value}\n").into()
}
