//! JSON merge patch (RFC 7386).

use serde_json::{Map, Value};

use super::Error;
use crate::object::Object;

/// Returns the document after the patch: `null` deletes, objects merge, everything else replaces.
///
/// # Errors
/// If the patch is no JSON object.
pub fn merge(object: &Object, patch: &Value) -> Result<Object, Error> {
    let Value::Object(patch) = patch else {
        return Err(Error::Malformed("error decoding patch: a merge patch must be a JSON object".to_owned()));
    };
    let mut merged = object.clone();
    merge_maps(&mut merged.0, patch);
    Ok(merged)
}

/// Merges a patch into any JSON value.
pub fn merge_values(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        target.clone_from(patch);
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    if let Value::Object(target) = target {
        merge_maps(target, patch);
    }
}

fn merge_maps(target: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (key, change) in patch {
        if change.is_null() {
            target.remove(key);
        } else {
            merge_values(target.entry(key).or_insert(Value::Null), change);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_examples_of_the_rfc_hold() {
        for (original, patch, expected) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a": "b"}), json!(["c"]), json!(["c"])),
            (json!({"a": "foo"}), json!(null), json!(null)),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            let mut merged = original.clone();
            merge_values(&mut merged, &patch);
            assert_eq!(merged, expected, "{original} + {patch}");
        }
    }

    #[test]
    fn a_patch_of_an_object_is_an_object() {
        assert!(matches!(merge(&Object::default(), &json!([])), Err(Error::Malformed(_))));
        assert_eq!(merge(&Object::default(), &json!({"a": 1})).unwrap().at(&["a"]), Some(&json!(1)));
    }
}
