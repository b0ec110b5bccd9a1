//! Events, under both of their groups: `events.k8s.io` shows what the core group keeps, with other names.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::doc::text;
use super::print::{self, Col, Columns, Text, Wide, WideName};
use super::rules::{self, Shape};
use crate::object::Object;
use crate::resource::{Column, Manners, StoredAs};
use crate::status::FieldError;

/// The manners of core events.
pub(super) struct CoreEvent;

/// The manners of `events.k8s.io` events.
pub(super) struct NewEvent;

const COLUMNS: Columns = &[
    Col("Last Seen", Text, "The time at which the most recent occurrence of this event was recorded."),
    Col("Type", Text, "Type of this event (Normal, Warning), new types could be added in the future."),
    Col(
        "Reason",
        Text,
        "This should be a short, machine understandable string that gives the reason for this event being generated.",
    ),
    Col("Object", Text, "The object that this event is about."),
    Col("Subobject", Wide, "The part of the object that this event is about."),
    Col("Source", Wide, "The component reporting this event. Should be a short machine understandable string."),
    Col("Message", Text, "A human-readable description of the status of this operation."),
    Col("First Seen", Wide, "The time at which the event was first recorded. (Time of server receipt is in TypeMeta.)"),
    Col("Count", Wide, "The number of times this event has occurred."),
    Col("Name", WideName, "Name must be unique within a namespace."),
];

/// Core's name of a field beside that of `events.k8s.io`.
const RENAMED: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

impl Manners for CoreEvent {
    fn validate(&self, object: &Object, old: Option<&Object>) -> Vec<FieldError> {
        rules::validate_event(object, Shape::Core, old)
    }

    fn columns(&self) -> Vec<Column> {
        print::columns(COLUMNS)
    }

    fn cells(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        cells(object, now)
    }

    fn field(&self, object: &Object, path: &str) -> Option<String> {
        match path.split_once('.') {
            Some(("involvedObject", field)) => object_field(object, "involvedObject", field),
            Some(_) => None,
            // The component is an older word for the controller.
            None if path == "source" => {
                let component = object.str_at(&["source", "component"]);
                let controller = object.str_at(&["reportingComponent"]);
                Some(if component.is_empty() { controller } else { component }.to_owned())
            }
            None => matches!(path, "reason" | "type" | "reportingComponent").then(|| object.str_at(&[path]).to_owned()),
        }
    }

    fn has_generation(&self) -> bool {
        false
    }
}

impl Manners for NewEvent {
    fn validate(&self, object: &Object, old: Option<&Object>) -> Vec<FieldError> {
        rules::validate_event(object, Shape::Own, old)
    }

    fn columns(&self) -> Vec<Column> {
        print::columns(COLUMNS)
    }

    fn cells(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        let mut stored = object.clone();
        self.to_stored(&mut stored);
        cells(&stored, now)
    }

    fn field(&self, object: &Object, path: &str) -> Option<String> {
        match path.split_once('.') {
            Some(("regarding", field)) => object_field(object, "regarding", field),
            Some(_) => None,
            None => {
                matches!(path, "reason" | "type" | "reportingController").then(|| object.str_at(&[path]).to_owned())
            }
        }
    }

    fn stored_as(&self) -> Option<StoredAs> {
        Some(StoredAs { group: "", version: "v1", plural: "events" })
    }

    fn to_stored(&self, object: &mut Object) {
        for (core, new) in RENAMED {
            rename(object, new, core);
        }
        if object.0.contains_key("apiVersion") {
            object.set(&["apiVersion"], "v1");
        }
    }

    fn to_served(&self, object: &mut Object) {
        for (core, new) in RENAMED {
            rename(object, core, new);
        }
        if object.0.contains_key("apiVersion") {
            object.set(&["apiVersion"], "events.k8s.io/v1");
        }
    }

    fn has_generation(&self) -> bool {
        false
    }
}

fn rename(object: &mut Object, from: &str, to: &str) {
    if let Some(value) = object.0.remove(from) {
        object.0.insert(to.to_owned(), value);
    }
}

fn object_field(object: &Object, reference: &str, field: &str) -> Option<String> {
    let known = ["kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath"];
    known.contains(&field).then(|| object.str_at(&[reference, field]).to_owned())
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let null = Value::Null;
    let time = |field: &str| object.str_at(&[field]);
    let first = if time("firstTimestamp").is_empty() { time("eventTime") } else { time("firstTimestamp") };
    let mut last = if time("lastTimestamp").is_empty() { first } else { time("lastTimestamp") };
    let mut count = object.at(&["count"]).and_then(Value::as_i64).unwrap_or_default().max(1);
    if let Some(series) = object.at(&["series"]).filter(|series| series.is_object()) {
        last = text(series, "lastObservedTime");
        count = series.get("count").and_then(Value::as_i64).unwrap_or_default();
    }
    let about = object.at(&["involvedObject"]).unwrap_or(&null);
    let kind = text(about, "kind").to_lowercase();
    let target = if text(about, "name").is_empty() { kind } else { format!("{kind}/{}", text(about, "name")) };
    vec![
        print::since(last, now).into(),
        object.str_at(&["type"]).into(),
        object.str_at(&["reason"]).into(),
        target.into(),
        text(about, "fieldPath").into(),
        source(object).into(),
        object.str_at(&["message"]).trim().into(),
        print::since(first, now).into(),
        json!(count),
        object.name().into(),
    ]
}

fn source(object: &Object) -> String {
    let (component, host) = (object.str_at(&["source", "component"]), object.str_at(&["source", "host"]));
    let (component, host) = if component.is_empty() {
        (object.str_at(&["reportingComponent"]), object.str_at(&["reportingInstance"]))
    } else {
        (component, host)
    };
    if host.is_empty() { component.to_owned() } else { format!("{component}, {host}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::object;

    fn event() -> Object {
        object(json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": "web.1"},
            "involvedObject": {"kind": "Pod", "name": "web"}, "type": "Warning", "reason": "BackOff", "message": "back-off ",
            "source": {"component": "kubelet", "host": "n1"}, "firstTimestamp": "2026-01-01T00:00:00Z",
            "lastTimestamp": "2026-01-01T00:01:00Z", "count": 3,
        }))
    }

    #[test]
    fn an_event_shows_when_it_was_last_seen_and_on_what() {
        let cells = CoreEvent.cells(&event(), "2026-01-01T00:01:30Z".parse().unwrap());
        assert_eq!(
            Value::from(cells),
            json!(["30s", "Warning", "BackOff", "pod/web", "", "kubelet, n1", "back-off", "90s", 3, "web.1"])
        );
    }

    #[test]
    fn an_event_of_one_group_is_the_same_event_in_the_other() {
        let mut new = event();
        NewEvent.to_served(&mut new);
        assert_eq!((new.str_at(&["regarding", "name"]), new.str_at(&["note"])), ("web", "back-off "));
        assert_eq!(new.api_version(), "events.k8s.io/v1");
        NewEvent.to_stored(&mut new);
        assert_eq!(new, event());
    }

    #[test]
    fn describe_finds_events_by_the_object_they_are_about() {
        assert_eq!(CoreEvent.field(&event(), "involvedObject.kind").as_deref(), Some("Pod"));
        assert_eq!(CoreEvent.field(&event(), "source").as_deref(), Some("kubelet"));
        assert_eq!(CoreEvent.field(&event(), "regarding.kind"), None);
    }
}
