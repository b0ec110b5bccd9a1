//! `OpenAPI` v3 documents: an index, and one document for each group and version, made from the table of kinds.
//!
//! `kubectl explain`, `create`, `apply` and `diff` read them: schemas by their group, version and kind, and from the
//! PATCH operation whether the server validates fields and which kinds of patch it takes. A document is built when
//! somebody asks for it; the caller keeps it under the hash of the index.

pub mod gnostic;
mod operations;
pub mod v2;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::resource::{Resource, Subresource};
use crate::schema::{self, Schema};

const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";
const GVK: &str = "x-kubernetes-group-version-kind";

/// Schemas that are not built in, by their names: those of custom resources.
pub type Extra = BTreeMap<String, Value>;

/// Returns the index (`/openapi/v3`) of everything that the rows serve.
pub fn index<'a>(rows: impl IntoIterator<Item = &'a Resource>, extra: &Extra) -> Value {
    let mut groups: BTreeMap<String, Vec<&Resource>> = BTreeMap::new();
    for row in rows {
        groups.entry(group_path(&row.group, &row.version)).or_default().push(row);
    }
    let paths: Map<String, Value> = groups
        .into_iter()
        .map(|(path, rows)| {
            let url = format!("/openapi/v3/{path}?hash={}", hash(rows, extra));
            (path, json!({"serverRelativeURL": url}))
        })
        .collect();
    json!({"paths": paths})
}

/// Returns the part of the URL that names a group and version: `api/v1`, `apis/apps/v1`.
pub fn group_path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// Returns what changes when the document of these rows may have changed.
pub fn hash<'a>(rows: impl IntoIterator<Item = &'a Resource>, extra: &Extra) -> String {
    let mut hasher = Sha256::new();
    hasher.update(env!("CARGO_PKG_VERSION"));
    for row in rows {
        hasher.update(format!("\n{row:?} {:?} {:?}", row.verbs, row.subresources));
        if let Some(schema) = extra.get(row.schema.as_ref()) {
            hasher.update(schema.to_string());
        }
    }
    let digits = hasher.finalize().iter().flat_map(|byte| [byte >> 4, byte & 15]).collect::<Vec<_>>();
    digits.into_iter().filter_map(|digit| char::from_digit(u32::from(digit), 16)).collect()
}

/// Returns the document of a group and version, `None` if the rows have nothing of it.
pub fn document<'a>(
    rows: impl IntoIterator<Item = &'a Resource>,
    group: &str,
    version: &str,
    extra: &Extra,
) -> Option<Value> {
    let rows: Vec<&Resource> = rows.into_iter().filter(|row| row.group == group && row.version == version).collect();
    if rows.is_empty() {
        return None;
    }
    let mut paths = BTreeMap::new();
    for row in &rows {
        operations::add_paths(row, &mut paths);
    }
    Some(json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "unversioned"},
        "paths": paths,
        "components": {"schemas": schemas(&rows, extra)},
    }))
}

/// Returns every schema that the rows' documents refer to.
fn schemas(rows: &[&Resource], extra: &Extra) -> BTreeMap<String, Value> {
    let mut found: BTreeMap<String, Value> = BTreeMap::new();
    let mut roots: BTreeSet<String> = [STATUS, DELETE_OPTIONS, LIST_META].map(str::to_owned).into();
    for row in rows {
        roots.insert(row.schema.to_string());
        roots.extend(row.subresources.iter().map(|sub| schema_name(row, sub)));
    }
    for root in &roots {
        if let Some(schema) = extra.get(root) {
            found.insert(root.clone(), schema.clone());
            add_references(schema, &mut found);
        }
        add_closure(root, &mut found);
    }
    for row in rows {
        let schema = found.entry(row.schema.to_string()).or_insert_with(|| json!({"type": "object"}));
        schema[GVK] = json!([gvk(&row.group, &row.version, &row.kind)]);
        if row.verbs.contains(&"list") {
            found.insert(list_schema(row), list_of(row));
        }
        for sub in &row.subresources {
            let (group, version) = sub.api_version.split_once('/').unwrap_or(("", &sub.api_version));
            if let Some(schema) = found.get_mut(&schema_name(row, sub)) {
                schema[GVK] = json!([gvk(group, version, &sub.kind)]);
            }
        }
    }
    for (name, kind) in [(DELETE_OPTIONS, "DeleteOptions"), (STATUS, "Status")] {
        if let Some(schema) = found.get_mut(name) {
            schema[GVK] = json!([gvk("", "v1", kind)]);
        }
    }
    found.insert(PATCH.to_owned(), json!({"type": "object", "description": "Patch is provided to give a concrete name and type to the Kubernetes PATCH request body."}));
    found
}

fn add_closure(root: &str, found: &mut BTreeMap<String, Value>) {
    if found.contains_key(root) || Schema::json(root).is_none() {
        return;
    }
    for name in Schema::closure(root) {
        if let Some(schema) = Schema::json(name) {
            found.entry(name.to_owned()).or_insert_with(|| schema.clone());
        }
    }
}

/// Adds what a custom resource's schema refers to, such as `ObjectMeta`.
fn add_references(schema: &Value, found: &mut BTreeMap<String, Value>) {
    match schema {
        Value::Object(map) => {
            if let Some(name) =
                map.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix("#/components/schemas/"))
            {
                add_closure(name, found);
            }
            map.values().for_each(|value| add_references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| add_references(value, found)),
        _ => {}
    }
}

fn list_schema(row: &Resource) -> String {
    format!("{}List", row.schema)
}

fn list_of(row: &Resource) -> Value {
    json!({
        "description": format!("{}List is a list of {}.", row.kind, row.plural),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string", "description": "APIVersion defines the versioned schema of this representation of an object."},
            "kind": {"type": "string", "description": "Kind is a string value representing the REST resource this object represents."},
            "metadata": {"description": "Standard list metadata.", "default": {}, "allOf": [reference(LIST_META)]},
            "items": {"type": "array", "items": {"default": {}, "allOf": [reference(&row.schema)]}},
        },
        GVK: [gvk(&row.group, &row.version, &row.list_kind())],
    })
}

/// Returns the name of a subresource's schema: its parent's, or that of a built-in kind such as `Scale`.
fn schema_name(row: &Resource, sub: &Subresource) -> String {
    if sub.kind == row.kind && sub.api_version == row.api_version() {
        return row.schema.to_string();
    }
    let (group, version) = sub.api_version.split_once('/').unwrap_or(("", &sub.api_version));
    schema::builtin_name(group, version, &sub.kind)
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

fn gvk(group: &str, version: &str, kind: &str) -> Value {
    json!({"group": group, "version": version, "kind": kind})
}

#[cfg(test)]
mod tests;
