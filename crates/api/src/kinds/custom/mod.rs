//! Custom resources: from a stored `CustomResourceDefinition` to rows of the table of kinds, one for each version.
//!
//! ```text
//! definition ─> Served { row, schema } ─> routing, discovery, RBAC, OpenAPI
//! document ─ fit (prune) ─ default (fill) ─ validate (check) ─> stored under the storage version
//! ```
//! The API server prunes and fills also what it reads: a definition may have changed since the object was written.

mod check;
mod columns;
mod fill;
pub(crate) mod format;
mod props;
mod prune;
mod publish;
mod rules;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::doc::{at, flag, list, text};
use super::{KEPT, Scope, Subresource};
use crate::cel::Root;
use crate::decode::{self, Problem, Unknown};
use crate::jsonpath::JsonPath;
use crate::object::Object;
use crate::resource::{Column, Conversion, CustomManners, Manners, Resource, ScalePaths};
use crate::schema::Type;
use crate::status::FieldError;
use columns::Columns;
use props::Props;
use rules::Rules;
pub(super) use rules::{Compiled, compile as compile_rule};

/// One version of a custom kind.
#[derive(Debug)]
pub struct Version {
    /// Its row of the table.
    pub resource: Arc<Resource>,
    /// Its `OpenAPI` schema, under the row's name for it.
    pub schema: Value,
    /// Whether clients may use it.
    pub served: bool,
    /// Whether objects are kept in it.
    pub stored: bool,
}

/// What clients may do with objects whose definition is going: make no new ones
/// (`customresource_discovery_controller.go`).
const TERMINATING: &[&str] = &["delete", "deletecollection", "get", "list", "patch", "update", "watch"];

impl Version {
    /// Returns the same version without the means to make new objects.
    #[must_use]
    pub fn terminating(&self) -> Self {
        let resource = Resource { verbs: TERMINATING.to_vec(), ..Resource::clone(&self.resource) };
        Self { resource: Arc::new(resource), schema: self.schema.clone(), ..*self }
    }
}

/// Returns every version of a definition; none as long as its names are not accepted.
pub fn versions(definition: &Object) -> Vec<Version> {
    let root = Value::Object(definition.0.clone());
    let Some(spec) = root.get("spec").filter(|_| super::definition::is_established(definition)) else {
        return Vec::new();
    };
    let versions = list(spec, "versions");
    let Some(storage) = versions.iter().find(|version| flag(version, "storage")) else { return Vec::new() };
    let verbs = if definition.is_deleting() { TERMINATING } else { KEPT };
    versions.iter().map(|version| self::version(spec, version, text(storage, "name"), verbs)).collect()
}

/// Returns the order in which clients prefer versions: stable ones before betas before alphas, newer before older
/// (`apimachinery/pkg/version.CompareKubeAwareVersionStrings`).
pub fn preference(version: &str) -> impl Ord + use<> {
    let parts = || {
        let rest = version.strip_prefix('v')?;
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let major: u64 = rest[..digits].parse().ok()?;
        let (stability, minor) = match &rest[digits..] {
            "" => (3, 0),
            rest => match (rest.strip_prefix("beta"), rest.strip_prefix("alpha")) {
                (Some(minor), _) => (2, minor.parse::<u64>().ok()?),
                (_, Some(minor)) => (1, minor.parse::<u64>().ok()?),
                _ => return None,
            },
        };
        Some((stability, major, minor))
    };
    (Reverse(parts()), version.to_owned())
}

fn version(spec: &Value, version: &Value, storage: &str, verbs: &[&'static str]) -> Version {
    let (group, name) = (text(spec, "group"), text(version, "name"));
    let names = &spec["names"];
    let texts =
        |field: &str| list(names, field).iter().filter_map(Value::as_str).map(|name| name.to_owned().into()).collect();
    let kind = text(names, "kind");
    let api_version = format!("{group}/{name}");
    let empty = json!({});
    let schema = at(version, "schema.openAPIV3Schema").unwrap_or(&empty);
    let custom = Custom::new(spec, version, schema, &api_version, &format!("{group}/{storage}"));
    let resource = Resource {
        group: group.to_owned().into(),
        version: name.to_owned().into(),
        kind: kind.to_owned().into(),
        plural: text(names, "plural").to_owned().into(),
        singular: text(names, "singular").to_owned().into(),
        short_names: texts("shortNames"),
        categories: texts("categories"),
        scope: if text(spec, "scope") == "Namespaced" { Scope::Namespaced } else { Scope::Cluster },
        verbs: verbs.to_vec(),
        subresources: subresources(version, &api_version, kind),
        schema: schema_name(group, name, kind).into(),
        manners: Arc::new(custom),
    };
    Version {
        resource: Arc::new(resource),
        schema: publish::published(schema),
        served: flag(version, "served"),
        stored: flag(version, "storage"),
    }
}

fn subresources(version: &Value, api_version: &str, kind: &str) -> Vec<Subresource> {
    const READ_WRITE: &[&str] = &["get", "patch", "update"];
    let one = |name: &'static str, api_version: &str, kind: &str| Subresource {
        name: name.into(),
        api_version: api_version.to_owned().into(),
        kind: kind.to_owned().into(),
        verbs: READ_WRITE.into(),
    };
    let has = |name: &str| at(version, "subresources").and_then(|all| all.get(name)).is_some_and(Value::is_object);
    let mut found = Vec::new();
    if has("scale") {
        found.push(one("scale", "autoscaling/v1", "Scale"));
    }
    if has("status") {
        found.push(one("status", api_version, kind));
    }
    found
}

/// Groups are named backwards in `OpenAPI`: `io.acme.v1.Gizmo`.
fn schema_name(group: &str, version: &str, kind: &str) -> String {
    let reversed: Vec<&str> = group.split('.').rev().collect();
    format!("{}.{version}.{kind}", reversed.join("."))
}

/// The manners of one version of a custom kind.
struct Custom {
    api_version: String,
    /// The version in which objects are kept. Without a webhook, conversion changes nothing else.
    storage: String,
    list_kind: String,
    of: Type,
    props: Props,
    rules: Option<Rules>,
    columns: Columns,
    /// `spec.color`, as selectors name it.
    selectable: Vec<(String, JsonPath)>,
    scale: Option<ScalePaths>,
    conversion: Option<Conversion>,
    has_status: bool,
    deprecation: Option<String>,
}

impl Custom {
    fn new(spec: &Value, version: &Value, schema: &Value, api_version: &str, storage: &str) -> Self {
        let selectable = list(version, "selectableFields").iter().filter_map(|field| {
            let path = text(field, "jsonPath");
            Some((path.trim_start_matches('.').to_owned(), path.parse().ok()?))
        });
        Self {
            api_version: api_version.to_owned(),
            storage: storage.to_owned(),
            list_kind: at(spec, "names.listKind").and_then(Value::as_str).unwrap_or_default().to_owned(),
            of: Type::custom_resource(schema),
            props: Props::parse(schema),
            rules: Rules::parse(schema, Root::Yes),
            columns: Columns::parse(version),
            selectable: selectable.collect(),
            scale: at(version, "subresources.scale").map(scale_paths),
            conversion: conversion(spec, storage),
            has_status: at(version, "subresources.status").is_some(),
            deprecation: deprecation(spec, version, api_version),
        }
    }
}

/// Returns what users of a version that is about to go are told (`apiextensions/apiserver/customresource_handler.go`).
fn deprecation(spec: &Value, version: &Value, api_version: &str) -> Option<String> {
    if version.get("deprecated") != Some(&Value::Bool(true)) {
        return None;
    }
    let kind = at(spec, "names.kind").and_then(Value::as_str).unwrap_or_default();
    let given = version.get("deprecationWarning").and_then(Value::as_str);
    Some(given.map_or_else(|| format!("{api_version} {kind} is deprecated"), str::to_owned))
}

fn conversion(spec: &Value, storage: &str) -> Option<Conversion> {
    let conversion = at(spec, "conversion").filter(|conversion| text(conversion, "strategy") == "Webhook")?;
    let webhook = at(conversion, "webhook")?;
    let reviews = list(webhook, "conversionReviewVersions").iter().filter_map(Value::as_str);
    Some(Conversion {
        storage: storage.to_owned(),
        client: webhook.get("clientConfig").cloned().unwrap_or_default(),
        reviews: reviews.map(str::to_owned).collect(),
    })
}

fn scale_paths(scale: &Value) -> ScalePaths {
    let path = |field: &str| -> Vec<String> {
        text(scale, field).split('.').filter(|name| !name.is_empty()).map(str::to_owned).collect()
    };
    let selector = path("labelSelectorPath");
    ScalePaths {
        wanted: path("specReplicasPath"),
        found: path("statusReplicasPath"),
        selector: (!selector.is_empty()).then_some(selector),
    }
}

/// Runs a function on the object as one JSON value.
fn on_value<T>(object: &mut Object, change: impl FnOnce(&mut Value) -> T) -> T {
    let mut document = Value::Object(std::mem::take(&mut object.0));
    let result = change(&mut document);
    if let Value::Object(map) = document {
        object.0 = map;
    }
    result
}

impl Manners for Custom {
    fn deprecation(&self) -> Option<String> {
        self.deprecation.clone()
    }

    fn default(&self, object: &mut Object) {
        on_value(object, |document| fill::fill(document, &self.props));
    }

    fn prepare_create(&self, object: &mut Object) {
        if self.has_status {
            object.0.remove("status");
        }
    }

    /// What was wrong before and is the same still may stay: a stricter schema must not lock out its old objects
    /// (`CRDValidationRatcheting`).
    fn validate(&self, object: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let new = Value::Object(object.0.clone());
        let old = old.map(|old| Value::Object(old.0.clone()));
        let mut errors = check::check(&new, &self.props);
        if let (Some(old), false) = (&old, errors.is_empty()) {
            let before = check::check(old, &self.props);
            errors.retain(|error| !before.contains(error) || !is_unchanged(&error.field, &new, old));
        }
        if let Some(rules) = &self.rules {
            match rules::blocked(&errors) {
                Some(error) => errors.push(error),
                None => errors.extend(rules.check(&new, old.as_ref())),
            }
        }
        errors
    }

    fn columns(&self) -> Vec<Column> {
        self.columns.definitions()
    }

    fn cells(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        self.columns.cells(object, now)
    }

    fn field(&self, object: &Object, path: &str) -> Option<String> {
        let (_, json_path) = self.selectable.iter().find(|(name, _)| name == path)?;
        Some(json_path.text(&Value::Object(object.0.clone())))
    }

    fn is_view(&self) -> bool {
        true
    }

    fn to_stored(&self, object: &mut Object) {
        object.set(&["apiVersion"], self.storage.as_str());
    }

    fn to_served(&self, object: &mut Object) {
        object.set(&["apiVersion"], self.api_version.as_str());
        on_value(object, |document| {
            prune::prune(document, &self.props);
            if self.props.has_defaults() {
                fill::fill(document, &self.props);
            }
        });
    }

    fn updates_unconditionally(&self) -> bool {
        false
    }

    fn custom(&self) -> Option<&dyn CustomManners> {
        Some(self)
    }
}

impl CustomManners for Custom {
    fn schema(&self) -> &Type {
        &self.of
    }

    fn fit(&self, document: &mut Value) -> Result<Vec<Problem>, decode::Error> {
        let mut problems = fit_metadata(document, &self.props, "")?;
        problems.extend(prune::prune(document, &self.props));
        Ok(problems)
    }

    fn scale(&self) -> Option<&ScalePaths> {
        self.scale.as_ref()
    }

    fn list_kind(&self) -> &str {
        &self.list_kind
    }

    fn conversion(&self) -> Option<&Conversion> {
        self.conversion.as_ref()
    }
}

/// Reads the metadata of the object, and of objects inside it, as Go does (`structural-schema/objectmeta`).
fn fit_metadata(document: &mut Value, schema: &Props, path: &str) -> Result<Vec<Problem>, decode::Error> {
    static OBJECT: LazyLock<Type> = LazyLock::new(|| {
        Type::custom_resource(&json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}))
    });
    let mut problems = Vec::new();
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    if path.is_empty() || schema.embedded {
        problems = decode::check(document, &OBJECT, Unknown::Prune)?;
        for problem in &mut problems {
            if let Problem::UnknownField(field) = problem {
                *field = below(field);
            }
        }
    }
    match document {
        Value::Object(map) => {
            for (name, value) in map.iter_mut() {
                if let Some(of) = schema.field(name) {
                    problems.extend(fit_metadata(value, of, &below(name))?);
                }
            }
        }
        Value::Array(items) => {
            for (place, item) in items.iter_mut().enumerate() {
                if let Some(of) = &schema.items {
                    problems.extend(fit_metadata(item, of, &format!("{path}[{place}]"))?);
                }
            }
        }
        _ => {}
    }
    Ok(problems)
}

fn is_unchanged(field: &str, new: &Value, old: &Value) -> bool {
    let Ok(path) = field.parse::<JsonPath>() else { return new == old };
    path.first(new) == path.first(old)
}

/// Returns what a schema has against a value.
pub(super) fn problems(value: &Value, schema: &Value) -> Vec<FieldError> {
    let mut errors = check::check(value, &Props::parse(schema));
    if errors.is_empty() {
        errors.extend(Rules::parse(schema, Root::No).iter().flat_map(|rules| rules.check(value, None)));
    }
    errors
}

/// Whether pruning would take something from a value.
pub(super) fn is_pruned(value: &Value, schema: &Value) -> bool {
    !prune::prune_value(&mut value.clone(), &Props::parse(schema)).is_empty()
}
