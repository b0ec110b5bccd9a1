//! `CustomResourceDefinition`: what makes a definition right, and what the API server says about it in its status.
//!
//! A definition that is accepted is served at once: its names are settled in the same write that stores it.

mod rules;
mod settle;
mod structural;
#[cfg(test)]
mod tests;
mod validations;

use jiff::Timestamp;
use serde_json::Value;

use super::doc::{child, child_made, fill, fill_zero, list, text};
use super::print;
use crate::object::Object;
use crate::resource::{Column, Manners};
use crate::status::FieldError;
pub use settle::settle;

/// The group of the kind.
pub const GROUP: &str = "apiextensions.k8s.io";
/// The plural of the kind.
pub const PLURAL: &str = "customresourcedefinitions";
/// Keeps a definition until its objects are gone.
pub const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// The manners of definitions.
pub(super) struct Definition;

impl Manners for Definition {
    fn default(&self, object: &mut Object) {
        let Some(spec) = child_made(&mut object.0, "spec") else { return };
        if let Some(names) = child(spec, "names") {
            let kind = names.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
            if !kind.is_empty() {
                fill(names, "singular", kind.to_lowercase());
                fill(names, "listKind", format!("{kind}List"));
            }
        }
        if let Some(conversion) = child_made(spec, "conversion") {
            fill(conversion, "strategy", "None");
            let config = child(conversion, "webhook").and_then(|webhook| child(webhook, "clientConfig"));
            if let Some(service) = config.and_then(|config| child(config, "service")) {
                fill_zero(service, "port", 443);
            }
        }
    }

    fn validate(&self, object: &Object, old: Option<&Object>) -> Vec<FieldError> {
        rules::validate(object, old)
    }

    fn columns(&self) -> Vec<Column> {
        print::columns(print::CREATED_AT_COLUMNS)
    }

    fn cells(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        print::created_at_cells(object, now)
    }

    fn prepare_delete(&self, object: &mut Object, now: Timestamp) {
        let mut finalizers: Vec<String> = object.finalizers().into_iter().map(str::to_owned).collect();
        if !finalizers.iter().any(|name| name == CLEANUP) {
            finalizers.push(CLEANUP.to_owned());
        }
        object.set_finalizers(finalizers);
        let message =
            "CustomResourceDefinition marked for deletion; CustomResource deletion will occur as soon as possible";
        settle::write_condition(object, "Terminating", true, "InstanceDeletionPending", message, now);
    }

    fn updates_unconditionally(&self) -> bool {
        false
    }
}

/// Whether the API serves the definition's kinds.
pub fn is_established(definition: &Object) -> bool {
    condition(definition, "Established") == "True"
}

/// Whether all names of the definition are its own.
pub fn has_its_names(definition: &Object) -> bool {
    condition(definition, "NamesAccepted") == "True"
}

fn condition<'a>(definition: &'a Object, kind: &str) -> &'a str {
    let status = definition.0.get("status").unwrap_or(&Value::Null);
    list(status, "conditions").iter().find(|one| text(one, "type") == kind).map_or("", |one| text(one, "status"))
}
