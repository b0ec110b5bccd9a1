//! Where a container's environment comes from (`ValidateEnv`, `ValidateEnvFrom`).

use serde_json::Value;

use crate::kinds::doc::{at, has, list, text};
use crate::status::FieldError;

const FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// Returns everything that is wrong with the environment of a container under `path`.
pub(super) fn validate(container: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, env) in list(container, "env").iter().enumerate() {
        let path = format!("{path}.env[{index}]");
        let name = text(env, "name");
        if name.is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        } else if !name.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'=') {
            let detail =
                "a valid environment variable name must consist only of printable ASCII characters other than '='";
            errors.push(FieldError::invalid(format!("{path}.name"), name, detail));
        }
        if let Some(source) = env.get("valueFrom").filter(|source| !source.is_null()) {
            errors.extend(validate_env_source(source, has(env, "value"), &format!("{path}.valueFrom")));
        }
    }
    for (index, source) in list(container, "envFrom").iter().enumerate() {
        let path = format!("{path}.envFrom[{index}]");
        let found: Vec<&str> = ["configMapRef", "secretRef"].into_iter().filter(|field| has(source, field)).collect();
        match found.as_slice() {
            [] => errors.push(FieldError::invalid(&path, "", "must specify one of: `configMapRef` or `secretRef`")),
            [only] if !has(&source[*only], "name") => {
                errors.push(FieldError::required(format!("{path}.{only}.name"), ""));
            }
            [_] => {}
            _ => errors.push(FieldError::invalid(&path, "", "may not have more than one field specified at a time")),
        }
    }
    errors
}

fn validate_env_source(source: &Value, has_value: bool, path: &str) -> Vec<FieldError> {
    const SOURCES: [&str; 5] = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];
    let mut errors = Vec::new();
    let found: Vec<&str> = SOURCES.into_iter().filter(|field| has(source, field)).collect();
    match found.as_slice() {
        [] => {
            let detail = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
            errors.push(FieldError::invalid(path, "", detail));
        }
        _ if has_value => errors.push(FieldError::invalid(path, "", "may not be specified when `value` is not empty")),
        [_] => {}
        _ => errors.push(FieldError::invalid(path, "", "may not have more than one field specified at a time")),
    }
    if let Some(field) = at(source, "fieldRef") {
        errors.extend(validate_field_path(text(field, "fieldPath"), &format!("{path}.fieldRef.fieldPath")));
    }
    for reference in ["configMapKeyRef", "secretKeyRef"] {
        if let Some(reference_value) = at(source, reference) {
            for needed in ["name", "key"] {
                if !has(reference_value, needed) {
                    errors.push(FieldError::required(format!("{path}.{reference}.{needed}"), ""));
                }
            }
        }
    }
    errors
}

fn validate_field_path(field: &str, path: &str) -> Option<FieldError> {
    if field.is_empty() {
        return Some(FieldError::required(path, ""));
    }
    let is_subscript = ["metadata.labels['", "metadata.annotations['"].iter().any(|start| field.starts_with(start));
    (!is_subscript && !FIELDS.contains(&field)).then(|| FieldError::not_supported(path, field, &FIELDS))
}
