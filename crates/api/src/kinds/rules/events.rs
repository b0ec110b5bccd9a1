//! Events (`pkg/apis/core/validation/events.go`): lenient in the core group, as they always were, and strict in their own.

use serde_json::Value;

use super::{check_immutable, check_named};
use crate::meta;
use crate::object::Object;
use crate::status::FieldError;

const LONGEST_WORD: usize = 128;
const LONGEST_NOTE: usize = 1024;

/// In which group's words an event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kinds) enum Shape {
    /// `v1`: an event with a message about an involved object.
    Core,
    /// `events.k8s.io/v1`: an event with a note, regarding something.
    Own,
}

impl Shape {
    /// Returns the name of a core field in these words.
    fn word(self, core: &'static str) -> &'static str {
        match (self, core) {
            (Self::Core, core) => core,
            (Self::Own, "involvedObject") => "regarding",
            (Self::Own, "message") => "note",
            (Self::Own, "reportingComponent") => "reportingController",
            (Self::Own, "source") => "deprecatedSource",
            (Self::Own, "firstTimestamp") => "deprecatedFirstTimestamp",
            (Self::Own, "lastTimestamp") => "deprecatedLastTimestamp",
            (Self::Own, "count") => "deprecatedCount",
            (Self::Own, other) => other,
        }
    }

    fn at<'a>(self, event: &'a Object, core: &'static str) -> Option<&'a Value> {
        event.at(&[self.word(core)]).filter(|value| !value.is_null())
    }

    fn text<'a>(self, event: &'a Object, core: &'static str) -> &'a str {
        event.str_at(&[self.word(core)])
    }
}

/// What an event must look like. Errors name fields as the core group does, but for the reporter.
pub(in crate::kinds) fn validate_event(event: &Object, shape: Shape, old: Option<&Object>) -> Vec<FieldError> {
    let mut errors = check_event(event, shape);
    if shape == Shape::Core {
        return errors;
    }
    match old {
        None => errors.extend(check_new(event, shape)),
        Some(old) => errors.extend(check_update(event, old, shape)),
    }
    errors
}

/// What both groups demand (`legacyValidateEvent`): an event with a time says who reports what, and one without stands in
/// the namespace of what it is about.
fn check_event(event: &Object, shape: Shape) -> Vec<FieldError> {
    let (namespace, about) = (event.namespace(), event.str_at(&[shape.word("involvedObject"), "namespace"]));
    let has_time = shape.at(event, "eventTime").is_some();
    let fits = match (about, has_time) {
        ("", false) => matches!(namespace, "" | "default"),
        ("", true) => matches!(namespace, "default" | "kube-system"),
        (about, false) => about == namespace,
        (_, true) => true,
    };
    let mut errors = Vec::new();
    if !fits {
        errors.push(FieldError::invalid("involvedObject.namespace", about, "does not match event.namespace"));
    }
    if !has_time {
        return errors;
    }
    let reporter = shape.text(event, "reportingComponent");
    errors.extend(check_named(reporter, shape.word("reportingComponent"), meta::qualified_name));
    for field in ["reportingInstance", "action", "reason"] {
        if shape.text(event, field).is_empty() {
            errors.push(FieldError::required(field, ""));
        }
        errors.extend(check_length(event, shape, field, LONGEST_WORD));
    }
    errors.extend(check_length(event, shape, "message", LONGEST_NOTE));
    errors
}

fn check_length(event: &Object, shape: Shape, field: &'static str, most: usize) -> Option<FieldError> {
    let detail = format!("can have at most {most} characters");
    (shape.text(event, field).len() > most).then(|| FieldError::invalid(field, "", &detail))
}

fn check_new(event: &Object, shape: Shape) -> Vec<FieldError> {
    let mut errors = check_series(event, shape);
    if shape.at(event, "eventTime").is_none() {
        errors.push(FieldError::required("eventTime", ""));
    }
    let kind = shape.text(event, "type");
    if !matches!(kind, "Normal" | "Warning") {
        errors.push(FieldError::invalid("type", "", &format!("has invalid value: {kind}")));
    }
    let is_set = |field: &&'static str| match shape.at(event, field) {
        None => false,
        Some(Value::Number(count)) => count.as_i64() != Some(0),
        Some(Value::Object(source)) => !source.is_empty(),
        Some(_) => true,
    };
    let old_words = ["firstTimestamp", "lastTimestamp", "count", "source"];
    errors.extend(
        old_words
            .iter()
            .filter(|field| is_set(field))
            .map(|field| FieldError::invalid(*field, "", "needs to be unset")),
    );
    errors
}

fn check_series(event: &Object, shape: Shape) -> Vec<FieldError> {
    let Some(series) = shape.at(event, "series") else { return Vec::new() };
    let mut errors = Vec::new();
    if series.get("count").and_then(Value::as_i64).unwrap_or_default() < 2 {
        errors.push(FieldError::invalid("series.count", "", "should be at least 2"));
    }
    if series.get("lastObservedTime").is_none_or(Value::is_null) {
        errors.push(FieldError::required("series.lastObservedTime", ""));
    }
    errors
}

/// Only the series of an event goes on.
fn check_update(event: &Object, old: &Object, shape: Shape) -> Vec<FieldError> {
    const FIXED: [&str; 12] = [
        "involvedObject",
        "reason",
        "message",
        "source",
        "firstTimestamp",
        "lastTimestamp",
        "count",
        "type",
        "eventTime",
        "action",
        "related",
        "reportingInstance",
    ];
    let mut errors = Vec::new();
    if shape.at(event, "series") != shape.at(old, "series") {
        errors.extend(check_series(event, shape));
    }
    let fixed = FIXED.into_iter().map(|field| (field, field)).chain([("reportingComponent", "reportingController")]);
    errors
        .extend(fixed.filter_map(|(field, path)| check_immutable(shape.at(event, field), shape.at(old, field), path)));
    errors
}
