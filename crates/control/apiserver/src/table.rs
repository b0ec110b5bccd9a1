//! The Table that `kubectl get` prints (`meta.k8s.io/v1`). Pure.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use wkube_api::{Object, Resource};

use crate::negotiate::Include;

/// Renders objects as a table. `metadata` is the list's.
pub(crate) fn table(
    resource: &Resource,
    objects: &[Arc<Object>],
    include: Include,
    metadata: Option<Value>,
    now: Timestamp,
) -> Value {
    let rows: Vec<Value> = objects.iter().map(|object| row(resource, object, include, now)).collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata.unwrap_or_else(|| json!({})),
        "columnDefinitions": columns(resource), "rows": rows,
    })
}

/// Renders a `Scale`, which is no kind with a row of its own (`printScale`).
pub(crate) fn scale(scale: &Object, include: Include, now: Timestamp) -> Value {
    let column = |name: &str, kind: &str, format: &str| json!({"name": name, "type": kind, "format": format, "description": "", "priority": 0});
    let count = |part: &str| scale.at(&[part, "replicas"]).cloned().unwrap_or_else(|| json!(0));
    let age = scale.creation_timestamp().map_or_else(
        || "<unknown>".to_owned(),
        |then| wkube_api::kinds::human_duration(now.as_second() - then.as_second()),
    );
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": scale.resource_version()},
        "columnDefinitions": [
            column("Name", "string", ""), column("Desired", "integer", ""), column("Available", "integer", ""),
            column("Age", "string", ""),
        ],
        "rows": [{"cells": [scale.name(), count("spec"), count("status"), age], "object": shown(scale, include)}],
    })
}

/// Returns the column definitions.
pub(crate) fn columns(resource: &Resource) -> Value {
    let columns = resource.manners.columns();
    let definition = |column: &wkube_api::resource::Column| {
        json!({
            "name": column.name, "type": column.kind, "format": column.format,
            "description": column.description, "priority": column.priority,
        })
    };
    columns.iter().map(definition).collect()
}

/// Returns an object's `PartialObjectMetadata`.
pub(crate) fn partial(object: &Object) -> Value {
    let metadata = object.at(&["metadata"]).cloned().unwrap_or_else(|| json!({}));
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
}

fn row(resource: &Resource, object: &Object, include: Include, now: Timestamp) -> Value {
    let mut row = json!({"cells": resource.manners.cells(object, now), "object": shown(object, include)});
    if let Some(condition) = completed(resource, object) {
        row["conditions"] = json!([condition]);
    }
    row
}

/// Returns as much of an object as was asked for.
fn shown(object: &Object, include: Include) -> Value {
    match include {
        Include::None => Value::Null,
        Include::Metadata => partial(object),
        Include::Object => Value::Object(object.0.clone()),
    }
}

/// A pod that has ended says so, so that clients can hide it (`printers.go`, `podSuccessConditions`).
fn completed(resource: &Resource, object: &Object) -> Option<Value> {
    if resource.plural != "pods" || !resource.group.is_empty() {
        return None;
    }
    let (reason, message) = match object.str_at(&["status", "phase"]) {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return None,
    };
    Some(json!({"type": "Completed", "status": "True", "reason": reason, "message": message}))
}
