//! Defaulting: what the schema fills in where the user said nothing (`structural-schema/defaulting/algorithm.go`).

use serde_json::Value;

use super::props::{Additional, Props};

/// Fills in defaults, and drops nulls where null is no value: there it means "not said".
pub(super) fn fill(value: &mut Value, schema: &Props) {
    match value {
        Value::Object(map) => {
            map.retain(|name, value| match schema.properties.get(name) {
                Some(of) => !value.is_null() || of.nullable,
                None => true,
            });
            for (name, of) in &schema.properties {
                if let (Some(default), false) = (&of.default, map.contains_key(name)) {
                    map.insert(name.clone(), default.clone());
                }
            }
            for (name, value) in map.iter_mut() {
                match (schema.properties.get(name), &schema.additional) {
                    (Some(of), _) => fill(value, of),
                    (None, Additional::Of(of)) => item(value, of),
                    (None, Additional::Any | Additional::None) => {}
                }
            }
        }
        Value::Array(items) => {
            if let Some(of) = &schema.items {
                for value in items {
                    item(value, of);
                }
            }
        }
        _ => {}
    }
}

fn item(value: &mut Value, of: &Props) {
    if let (true, false, Some(default)) = (value.is_null(), of.nullable, &of.default) {
        *value = default.clone();
    }
    fill(value, of);
}
