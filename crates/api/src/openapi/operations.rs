//! The paths of a kind: what can be asked of its collections, its objects and their subresources.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{DELETE_OPTIONS, GVK, PATCH, STATUS, group_path, gvk, list_schema, reference, schema_name};
use crate::resource::{Resource, Subresource};
use crate::schema::Schema;

/// The formats of bodies that are read and written.
const FORMATS: [&str; 3] = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
/// The formats of custom resources, which have no protobuf.
const CUSTOM_FORMATS: [&str; 2] = ["application/json", "application/yaml"];
/// The kinds of patch; kubectl looks here before it sends a strategic one, which custom resources do not take.
const CUSTOM_PATCHES: [&str; 3] =
    ["application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json"];
const PATCHES: [&str; 4] = [
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

/// A request that changes something: who did it, whether for real, and how strict the server shall be.
const WRITE: &[(&str, &str)] = &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
const APPLY: &[(&str, &str)] =
    &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string"), ("force", "boolean")];
const LIST: &[(&str, &str)] = &[
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];
const DELETE: &[(&str, &str)] = &[
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];

/// One operation before it is written down.
struct Operation<'a> {
    method: &'static str,
    action: &'static str,
    id: String,
    query: &'static [(&'static str, &'static str)],
    /// The schema of the body.
    body: Option<&'a str>,
    /// The schema of the answer; `None` for a stream of something else.
    answer: Option<&'a str>,
}

/// What a kind is read and patched in.
#[derive(Clone, Copy)]
struct Formats {
    documents: &'static [&'static str],
    patches: &'static [&'static str],
}

impl Formats {
    const BUILTIN: Self = Self { documents: &FORMATS, patches: &PATCHES };
    const CUSTOM: Self = Self { documents: &CUSTOM_FORMATS, patches: &CUSTOM_PATCHES };
}

/// Adds every path of a kind.
pub(super) fn add_paths(row: &Resource, paths: &mut BTreeMap<String, Value>) {
    let root = format!("/{}", group_path(&row.group, &row.version));
    let collection = if row.is_namespaced() {
        format!("{root}/namespaces/{{namespace}}/{}", row.plural)
    } else {
        format!("{root}/{}", row.plural)
    };
    let kind = gvk(&row.group, &row.version, &row.kind);
    let item = format!("{collection}/{{name}}");
    let list = list_schema(row);
    add(paths, &collection, row, &kind, &collection_operations(row, &list));
    if row.verbs.contains(&"get") {
        add(paths, &item, row, &kind, &item_operations(row));
        if row.is_namespaced() {
            let all = Operation {
                method: "get",
                action: "list",
                id: format!("list{}{}ForAllNamespaces", group_id(row), row.kind),
                query: LIST,
                body: None,
                answer: Some(&list),
            };
            add(paths, &format!("{root}/{}", row.plural), row, &kind, &[all]);
        }
    }
    for sub in &row.subresources {
        let (group, version) = sub.api_version.split_once('/').unwrap_or(("", &sub.api_version));
        let kind = gvk(group, version, &sub.kind);
        let schema = schema_name(row, sub);
        add(paths, &format!("{item}/{}", sub.name), row, &kind, &subresource_operations(row, sub, &schema));
    }
}

fn collection_operations<'a>(row: &'a Resource, list: &'a str) -> Vec<Operation<'a>> {
    let (group, scoped) = (group_id(row), scoped_kind(row));
    let mut operations = Vec::new();
    for verb in &row.verbs {
        operations.push(match *verb {
            "list" => Operation {
                method: "get",
                action: "list",
                id: format!("list{group}{scoped}"),
                query: LIST,
                body: None,
                answer: Some(list),
            },
            "create" => Operation {
                method: "post",
                action: "post",
                id: format!("create{group}{scoped}"),
                query: WRITE,
                body: Some(&row.schema),
                answer: Some(&row.schema),
            },
            "deletecollection" => Operation {
                method: "delete",
                action: "deletecollection",
                id: format!("delete{group}Collection{scoped}"),
                query: DELETE,
                body: Some(DELETE_OPTIONS),
                answer: Some(STATUS),
            },
            _ => continue,
        });
    }
    operations
}

fn item_operations(row: &Resource) -> Vec<Operation<'_>> {
    let (group, scoped) = (group_id(row), scoped_kind(row));
    let mut operations = Vec::new();
    for verb in &row.verbs {
        operations.push(match *verb {
            "delete" => Operation {
                method: "delete",
                action: "delete",
                id: format!("delete{group}{scoped}"),
                query: DELETE,
                body: Some(DELETE_OPTIONS),
                answer: Some(STATUS),
            },
            "get" | "update" | "patch" => read_write(verb, &format!("{group}{scoped}"), &row.schema),
            _ => continue,
        });
    }
    operations
}

fn subresource_operations<'a>(row: &Resource, sub: &Subresource, schema: &'a str) -> Vec<Operation<'a>> {
    let id = format!("{}{}{}", group_id(row), scoped_kind(row), capitalized(&sub.name));
    let is_stream = matches!(sub.name.as_ref(), "attach" | "exec" | "log" | "portforward" | "proxy");
    let mut operations = Vec::new();
    for verb in sub.verbs.iter() {
        operations.push(match *verb {
            "get" | "create" | "update" | "patch" | "delete" if is_stream && sub.name != "log" => {
                let method = match *verb {
                    "create" => "post",
                    "update" => "put",
                    other => other_method(other),
                };
                Operation {
                    method,
                    action: "connect",
                    id: format!("connect{}{id}", capitalized(method)),
                    query: &[],
                    body: None,
                    answer: None,
                }
            }
            "get" if is_stream => Operation {
                method: "get",
                action: "get",
                id: format!("read{id}"),
                query: &[],
                body: None,
                answer: None,
            },
            "get" | "update" | "patch" => read_write(verb, &id, schema),
            "create" => Operation {
                method: "post",
                action: "post",
                id: format!("create{id}"),
                query: WRITE,
                body: Some(schema),
                answer: Some(schema),
            },
            _ => continue,
        });
    }
    operations
}

fn other_method(verb: &str) -> &'static str {
    match verb {
        "patch" => "patch",
        "delete" => "delete",
        _ => "get",
    }
}

fn read_write<'a>(verb: &str, id: &str, schema: &'a str) -> Operation<'a> {
    match verb {
        "update" => Operation {
            method: "put",
            action: "put",
            id: format!("replace{id}"),
            query: WRITE,
            body: Some(schema),
            answer: Some(schema),
        },
        "patch" => Operation {
            method: "patch",
            action: "patch",
            id: format!("patch{id}"),
            query: APPLY,
            body: Some(PATCH),
            answer: Some(schema),
        },
        _ => Operation {
            method: "get",
            action: "get",
            id: format!("read{id}"),
            query: &[],
            body: None,
            answer: Some(schema),
        },
    }
}

/// Adds a path with its operations.
fn add(paths: &mut BTreeMap<String, Value>, path: &str, row: &Resource, kind: &Value, operations: &[Operation<'_>]) {
    if operations.is_empty() {
        return;
    }
    let group = if row.group.is_empty() { "core" } else { row.group.trim_end_matches(".k8s.io") };
    let tag = format!("{}_{}", group.split('.').next().unwrap_or_default(), row.version);
    let formats = if Schema::json(&row.schema).is_some() { Formats::BUILTIN } else { Formats::CUSTOM };
    let mut document = json!({"parameters": path_parameters(path)});
    for operation in operations {
        document[operation.method] = operation.document(&tag, kind, formats);
    }
    paths.insert(path.to_owned(), document);
}

fn path_parameters(path: &str) -> Vec<Value> {
    let in_path = |name: &str, description: &str| json!({"name": name, "in": "path", "required": true, "description": description, "schema": {"type": "string", "uniqueItems": true}});
    let mut parameters = Vec::new();
    if path.contains("{name}") {
        parameters.push(in_path("name", "name of the object"));
    }
    if path.contains("{namespace}") {
        parameters.push(in_path("namespace", "object name and auth scope, such as for teams and projects"));
    }
    parameters.push(query("pretty", "string"));
    parameters
}

fn query(name: &str, kind: &str) -> Value {
    json!({"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": true}})
}

impl Operation<'_> {
    fn document(&self, tag: &str, kind: &Value, formats: Formats) -> Value {
        let parameters: Vec<Value> = self.query.iter().map(|(name, kind)| query(name, kind)).collect();
        let content = |schema: &Value, formats: &[&str]| -> Value {
            formats
                .iter()
                .map(|format| ((*format).to_owned(), json!({"schema": schema})))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        let answer = match self.answer {
            Some(schema) => content(&reference(schema), formats.documents),
            None => content(&json!({"type": "string"}), &["*/*"]),
        };
        let mut document = json!({
            "tags": [tag],
            "operationId": self.id,
            "parameters": parameters,
            "responses": {"200": {"description": "OK", "content": answer}, "401": {"description": "Unauthorized"}},
            "x-kubernetes-action": self.action,
            GVK: kind,
        });
        if let Some(schema) = self.body {
            let formats = if self.method == "patch" { formats.patches } else { formats.documents };
            document["requestBody"] =
                json!({"required": self.method != "delete", "content": content(&reference(schema), formats)});
        }
        document
    }
}

/// Returns `AppsV1`, `CoreV1`, `RbacAuthorizationV1`: what operation ids are made of.
fn group_id(row: &Resource) -> String {
    let group = if row.group.is_empty() { "core" } else { row.group.trim_end_matches(".k8s.io") };
    let group: String = group.split('.').map(capitalized).collect();
    format!("{group}{}", capitalized(&row.version))
}

fn scoped_kind(row: &Resource) -> String {
    if row.is_namespaced() { format!("Namespaced{}", row.kind) } else { row.kind.to_string() }
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
