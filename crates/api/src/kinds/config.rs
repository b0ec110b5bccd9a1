//! Config maps and secrets: keys, sizes, and `immutable`.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::doc::{child_made, fill, flag};
use super::print::{self, Col, Columns, Text};
use crate::object::Object;
use crate::resource::{Column, Manners};
use crate::status::FieldError;

/// The most that a config map or secret holds: etcd keeps small values well.
const SIZE_MAX: usize = 1024 * 1024;
const KEY_MAX: usize = 253;
const KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or \
     'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
const SEALED: &str = "field is immutable when `immutable` is set";

/// The manners of config maps.
pub(super) struct ConfigMap;

/// The manners of secrets.
pub(super) struct Secret;

const CONFIG_MAP_COLUMNS: Columns =
    &[print::NAME, Col("Data", Text, "How many keys there are in data and binaryData."), print::AGE];
const SECRET_COLUMNS: Columns = &[
    print::NAME,
    Col("Type", Text, "Used to facilitate programmatic handling of secret data."),
    Col("Data", Text, "How many keys there are in data."),
    print::AGE,
];

impl Manners for ConfigMap {
    fn validate(&self, object: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let (data, binary) = (map(object, "data"), map(object, "binaryData"));
        let mut errors = Vec::new();
        for (field, map) in [("data", &data), ("binaryData", &binary)] {
            errors.extend(map.keys().flat_map(|key| validate_key(key, field)));
        }
        for key in binary.keys().filter(|key| data.contains_key(*key)) {
            let detail = "duplicate of key present in data";
            errors.push(FieldError::invalid(format!("data[{key}]"), key.as_str(), detail));
        }
        let size: usize = data.values().map(|value| value.as_str().unwrap_or_default().len()).sum();
        let size = size + binary.values().map(decoded_size).sum::<usize>();
        if size > SIZE_MAX {
            errors.push(FieldError::too_long("", SIZE_MAX));
        }
        errors.extend(validate_sealed(object, old, &["data", "binaryData"]));
        errors
    }

    fn columns(&self) -> Vec<Column> {
        print::columns(CONFIG_MAP_COLUMNS)
    }

    fn cells(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        let count = map(object, "data").len() + map(object, "binaryData").len();
        vec![object.name().into(), count.into(), print::age(object, now)]
    }

    fn has_generation(&self) -> bool {
        false
    }
}

impl Manners for Secret {
    fn default(&self, object: &mut Object) {
        fill(&mut object.0, "type", "Opaque");
        // Plain texts are taken in and never given out.
        let Some(Value::Object(texts)) = object.0.remove("stringData") else { return };
        let Some(data) = child_made(&mut object.0, "data") else { return };
        for (key, text) in texts {
            data.insert(key, STANDARD.encode(text.as_str().unwrap_or_default()).into());
        }
    }

    fn prepare_update(&self, object: &mut Object, old: &Object) {
        if object.str_at(&["type"]).is_empty() {
            object.set(&["type"], old.str_at(&["type"]));
        }
    }

    fn validate(&self, object: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let data = map(object, "data");
        let mut errors: Vec<FieldError> = data.keys().flat_map(|key| validate_key(key, "data")).collect();
        for (key, value) in data {
            if STANDARD.decode(value.as_str().unwrap_or_default()).is_err() {
                errors.push(FieldError::invalid(
                    format!("data[{key}]"),
                    "<secret contents redacted>",
                    "must be base64",
                ));
            }
        }
        if data.values().map(decoded_size).sum::<usize>() > SIZE_MAX {
            errors.push(FieldError::too_long("data", SIZE_MAX));
        }
        errors.extend(validate_type(object, data));
        if let Some(old) = old
            && old.str_at(&["type"]) != object.str_at(&["type"])
        {
            errors.push(FieldError::invalid("type", object.str_at(&["type"]), "field is immutable"));
        }
        errors.extend(validate_sealed(object, old, &["data"]));
        errors
    }

    fn columns(&self) -> Vec<Column> {
        print::columns(SECRET_COLUMNS)
    }

    fn cells(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        let kind = object.str_at(&["type"]).into();
        vec![object.name().into(), kind, map(object, "data").len().into(), print::age(object, now)]
    }

    fn field(&self, object: &Object, path: &str) -> Option<String> {
        (path == "type").then(|| object.str_at(&["type"]).to_owned())
    }

    fn has_generation(&self) -> bool {
        false
    }
}

fn map<'a>(object: &'a Object, field: &str) -> &'a Map<String, Value> {
    static EMPTY: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
    object.at(&[field]).and_then(Value::as_object).unwrap_or(&EMPTY)
}

fn decoded_size(value: &Value) -> usize {
    value.as_str().unwrap_or_default().len() / 4 * 3
}

/// Returns what is wrong with a key (`IsConfigMapKey`): it becomes the name of a file.
fn validate_key(key: &str, field: &str) -> Vec<FieldError> {
    let path = format!("{field}[{key}]");
    let mut errors = Vec::new();
    if key.len() > KEY_MAX {
        errors.push(FieldError::invalid(&path, key, "must be no more than 253 characters"));
    }
    let is_plain = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    if !is_plain {
        errors.push(FieldError::invalid(&path, key, KEY));
    } else if key == "." {
        errors.push(FieldError::invalid(&path, key, "must not be '.'"));
    } else if key.starts_with("..") {
        let detail = if key == ".." { "must not be '..'" } else { "must not start with '..'" };
        errors.push(FieldError::invalid(&path, key, detail));
    }
    errors
}

fn validate_type(object: &Object, data: &Map<String, Value>) -> Vec<FieldError> {
    let needed: &[&str] = match object.str_at(&["type"]) {
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/service-account-token"
            if !object.annotations().contains_key("kubernetes.io/service-account.name") =>
        {
            return vec![FieldError::required("metadata.annotations[kubernetes.io/service-account.name]", "")];
        }
        _ => &[],
    };
    let missing = needed.iter().filter(|key| !data.contains_key(**key));
    missing.map(|key| FieldError::required(format!("data[{key}]"), "")).collect()
}

fn validate_sealed(object: &Object, old: Option<&Object>, fields: &[&str]) -> Vec<FieldError> {
    let Some(old) = old.filter(|old| flag(&Value::Object(old.0.clone()), "immutable")) else { return Vec::new() };
    let mut errors = Vec::new();
    if object.at(&["immutable"]) != Some(&Value::Bool(true)) {
        errors.push(FieldError::forbidden("immutable", SEALED));
    }
    let changed = fields.iter().filter(|field| map(object, field) != map(old, field));
    errors.extend(changed.map(|field| FieldError::forbidden(*field, SEALED)));
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::testing::{check_errors, object};

    #[test]
    fn string_data_is_merged_into_data_and_never_returned() {
        let mut secret = object(json!({"data": {"a": "b2xk", "b": "Yg=="}, "stringData": {"a": "new"}}));
        Secret.default(&mut secret);
        assert_eq!(secret, object(json!({"type": "Opaque", "data": {"a": "bmV3", "b": "Yg=="}})));
        check_errors(&Secret, &secret, None, &[]);
    }

    #[test]
    fn a_key_is_a_file_name() {
        let map = object(json!({"data": {"good.key_1-x": "", "": "", "a/b": "", "..x": ""}}));
        let errors = ConfigMap.validate(&map, None);
        let fields: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["data[]", "data[..x]", "data[a/b]"]);
    }

    #[test]
    fn binary_data_and_data_share_no_keys() {
        check_errors(
            &ConfigMap,
            &object(json!({"data": {"a": "x"}, "binaryData": {"a": "eA=="}})),
            None,
            &["data[a]: Invalid value: \"a\": duplicate of key present in data"],
        );
    }

    #[test]
    fn an_immutable_config_map_changes_only_its_metadata() {
        let old = object(json!({"immutable": true, "data": {"a": "x"}}));
        check_errors(
            &ConfigMap,
            &object(json!({"immutable": true, "data": {"a": "x"}, "metadata": {"labels": {"k": "v"}}})),
            Some(&old),
            &[],
        );
        check_errors(
            &ConfigMap,
            &object(json!({"data": {"a": "y"}})),
            Some(&old),
            &[
                "immutable: Forbidden: field is immutable when `immutable` is set",
                "data: Forbidden: field is immutable when `immutable` is set",
            ],
        );
    }

    #[test]
    fn the_type_of_a_secret_is_immutable_and_names_its_keys() {
        let old = object(json!({"type": "Opaque"}));
        check_errors(
            &Secret,
            &object(json!({"type": "kubernetes.io/tls", "data": {"tls.crt": "eA=="}})),
            Some(&old),
            &["data[tls.key]: Required value", "type: Invalid value: \"kubernetes.io/tls\": field is immutable"],
        );
    }

    #[test]
    fn a_megabyte_is_the_most() {
        let big = object(json!({"data": {"a": "x".repeat(SIZE_MAX + 1)}}));
        check_errors(&ConfigMap, &big, None, &["Too long: may not be more than 1048576 bytes"]);
    }
}
