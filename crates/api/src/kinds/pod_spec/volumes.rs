//! What volumes must look like (`ValidateVolumes`).

use std::collections::BTreeSet;

use serde_json::Value;

use crate::kinds::doc::{has, list, text};
use crate::kinds::rules;
use crate::meta;
use crate::status::FieldError;

const MODE_RANGE: &str = "must be a number between 0 and 0777 (octal), both inclusive";

/// Returns the names of the volumes, and everything that is wrong with them.
pub(super) fn validate<'a>(volumes: &'a [Value], path: &str) -> (BTreeSet<&'a str>, Vec<FieldError>) {
    let mut names = BTreeSet::new();
    let mut errors = Vec::new();
    for (index, volume) in volumes.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let name = text(volume, "name");
        if name.is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        } else {
            let problems = meta::dns1123_label(name);
            errors.extend(problems.iter().map(|problem| FieldError::invalid(format!("{path}.name"), name, problem)));
            if !names.insert(name) {
                errors.push(FieldError::duplicate(format!("{path}.name"), name));
            }
        }
        errors.extend(validate_source(volume, &path));
    }
    (names, errors)
}

fn validate_source(volume: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let sources =
        volume.as_object().into_iter().flatten().filter(|(field, value)| *field != "name" && !value.is_null());
    let mut found = 0;
    for (kind, source) in sources {
        let path = format!("{path}.{kind}");
        found += 1;
        if found > 1 {
            errors.push(FieldError::forbidden(path, "may not specify more than 1 volume type"));
            continue;
        }
        let needed: &[&str] = match kind.as_str() {
            "secret" => &["secretName"],
            "configMap" => &["name"],
            "persistentVolumeClaim" => &["claimName"],
            "hostPath" => &["path"],
            "nfs" => &["server", "path"],
            "csi" => &["driver"],
            "image" => &["reference"],
            _ => &[],
        };
        if kind == "ephemeral" {
            errors.extend(validate_ephemeral(source, &path));
        }
        let missing = needed.iter().filter(|field| !has(source, field));
        errors.extend(missing.map(|field| FieldError::required(format!("{path}.{field}"), "")));
        errors.extend(validate_mode(source, &path, "defaultMode"));
        errors.extend(validate_items(list(source, "items"), &format!("{path}.items"), kind));
    }
    if found == 0 {
        errors.push(FieldError::required(path, "must specify a volume type"));
    }
    errors
}

/// A claim that lives as long as its pod.
fn validate_ephemeral(source: &Value, path: &str) -> Vec<FieldError> {
    let path = format!("{path}.volumeClaimTemplate");
    match source.get("volumeClaimTemplate").and_then(|template| template.get("spec")) {
        Some(spec) => rules::validate_claim_spec(spec, &format!("{path}.spec")),
        None => vec![FieldError::required(path, "")],
    }
}

fn validate_items(items: &[Value], path: &str, kind: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if kind != "downwardAPI" && !has(item, "key") {
            errors.push(FieldError::required(format!("{path}.key"), ""));
        }
        let file = text(item, "path");
        if file.is_empty() {
            errors.push(FieldError::required(format!("{path}.path"), ""));
        }
        if file.starts_with('/') {
            errors.push(FieldError::invalid(format!("{path}.path"), file, "must be a relative path"));
        }
        if file.split('/').any(|part| part == "..") {
            errors.push(FieldError::invalid(format!("{path}.path"), file, "must not contain '..'"));
        }
        errors.extend(validate_mode(item, &path, "mode"));
    }
    errors
}

fn validate_mode(source: &Value, path: &str, field: &str) -> Option<FieldError> {
    let mode = source.get(field).and_then(Value::as_i64)?;
    (!(0..=0o777).contains(&mode)).then(|| FieldError::invalid(format!("{path}.{field}"), mode, MODE_RANGE))
}
