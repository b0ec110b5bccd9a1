//! Pruning: fields that the schema does not name go (`structural-schema/pruning/algorithm.go`).

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::props::{Additional, Props};
use crate::decode::Problem;

/// Removes every field that the schema does not name; returns their paths. `apiVersion`, `kind` and `metadata` of the
/// object and of embedded objects stay.
pub(super) fn prune(document: &mut Value, schema: &Props) -> Vec<Problem> {
    run(document, schema, IsObject::Yes)
}

/// The same for a value inside an object.
pub(super) fn prune_value(value: &mut Value, schema: &Props) -> Vec<Problem> {
    run(value, schema, IsObject::No)
}

fn run(value: &mut Value, schema: &Props, is_object: IsObject) -> Vec<Problem> {
    let mut walk = Walk { path: String::new(), dropped: Vec::new() };
    walk.value(value, Some(schema), is_object);
    walk.dropped
}

/// Whether a value is an object of the API, which has metadata whatever its schema says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum IsObject {
    Yes,
    No,
}

struct Walk {
    path: String,
    dropped: Vec<Problem>,
}

impl Walk {
    /// A value without a schema keeps no fields: nothing was said about them.
    fn value(&mut self, value: &mut Value, schema: Option<&Props>, is_object: IsObject) {
        match value {
            Value::Object(map) => self.map(map, schema, is_object),
            Value::Array(items) => {
                let keeps = schema.is_some_and(|schema| schema.preserves);
                let of = schema.and_then(|schema| schema.items.as_deref());
                let length = self.path.len();
                for (place, item) in items.iter_mut().enumerate() {
                    let _ = write!(self.path, "[{place}]");
                    if of.is_some() || !keeps {
                        self.value(item, of, IsObject::No);
                    }
                    self.path.truncate(length);
                }
            }
            _ => {}
        }
    }

    fn map(&mut self, map: &mut Map<String, Value>, schema: Option<&Props>, is_object: IsObject) {
        let is_object = is_object == IsObject::Yes || schema.is_some_and(|schema| schema.embedded);
        let length = self.path.len();
        map.retain(|name, value| {
            if is_object && matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
                return true;
            }
            if length > 0 {
                self.path.push('.');
            }
            self.path.push_str(name);
            let known = schema.is_some_and(|schema| self.field(name, value, schema));
            if !known {
                self.dropped.push(Problem::UnknownField(self.path.clone()));
            }
            self.path.truncate(length);
            known
        });
    }

    /// Prunes inside a field; returns whether it may stay.
    fn field(&mut self, name: &str, value: &mut Value, schema: &Props) -> bool {
        if let Some(of) = schema.field(name) {
            self.value(value, Some(of), IsObject::No);
            return true;
        }
        match schema.additional {
            // What is allowed without a schema keeps its fields only if it is also said to preserve them.
            Additional::Any if !schema.preserves => {
                self.value(value, None, IsObject::No);
                true
            }
            Additional::Any | Additional::Of(_) => true,
            Additional::None => schema.preserves,
        }
    }
}
