//! Claims and volumes (`pkg/apis/core/validation`).

use serde_json::Value;

use super::classes::check_driver_name;
use super::{check_fixed, check_selector, document, named, one_of, quantity, required, spec};
use crate::kinds::doc::{at, has, list, text};
use crate::kinds::pod_spec::check_node_selector;
use crate::meta;
use crate::object::Object;
use crate::status::FieldError;

const MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const VOLUME_MODES: [&str; 2] = ["Block", "Filesystem"];
const GREATER_THAN_ZERO: &str = "must be greater than zero";
/// Fields of a volume's spec that are no source.
const NO_SOURCES: [&str; 9] = [
    "accessModes",
    "capacity",
    "claimRef",
    "mountOptions",
    "nodeAffinity",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "volumeAttributesClassName",
    "volumeMode",
];

/// What a claim must look like, and what of it may change.
pub(in crate::kinds) fn validate_claim(object: &Object, old: Option<&Object>) -> Vec<FieldError> {
    let mut errors = validate_claim_spec(spec(object), "spec");
    let Some(old) = old else { return errors };
    let was_bound = old.str_at(&["status", "phase"]) == "Bound";
    if fixed_claim(spec(object), spec(old), was_bound) != fixed_claim(spec(old), spec(old), was_bound) {
        let detail = "spec is immutable after creation except resources.requests and volumeAttributesClassName for \
                      bound claims";
        errors.push(FieldError::forbidden("spec", detail));
    }
    let storage = |value: Option<&Value>| value.and_then(quantity);
    let asked = |object: &Object| storage(object.at(&["spec", "resources", "requests", "storage"]));
    if asked(object) < asked(old) && asked(object) < storage(old.at(&["status", "capacity", "storage"])) {
        let detail = "field can not be less than status.capacity";
        errors.push(FieldError::forbidden("spec.resources.requests.storage", detail));
    }
    errors
}

/// Returns a claim's spec without what may change: its name of a volume once, its size while it is bound.
fn fixed_claim(new: &Value, old: &Value, was_bound: bool) -> Value {
    let Some(mut fixed) = new.as_object().cloned() else { return Value::Null };
    fixed.remove("volumeAttributesClassName");
    if !has(old, "volumeName") {
        fixed.remove("volumeName");
    }
    if !has(old, "storageClassName") {
        // Claims that were made before there was a default class get it later.
        fixed.remove("storageClassName");
    }
    if was_bound {
        fixed.remove("resources");
    }
    Value::Object(fixed)
}

/// What the spec of a claim must look like, also that of a template.
pub(in crate::kinds) fn validate_claim_spec(spec: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = check_modes(spec, path, "at least 1 access mode is required");
    errors.extend(check_selector(spec.get("selector"), &format!("{path}.selector")));
    match at(spec, "resources.requests.storage") {
        None => errors.push(FieldError::required(format!("{path}.resources[storage]"), "")),
        Some(size) => errors.extend(check_size(size, &format!("{path}.resources[storage]"))),
    }
    errors.extend(named(spec, path, "storageClassName", meta::dns1123_subdomain));
    errors.extend(one_of(spec, path, "volumeMode", &VOLUME_MODES));
    errors.extend(check_data_source(spec, path));
    errors
}

/// What a volume is filled from (`validateDataSource`).
fn check_data_source(spec: &Value, path: &str) -> Vec<FieldError> {
    let (source, reference) = (at(spec, "dataSource"), at(spec, "dataSourceRef"));
    let mut errors = Vec::new();
    for (field, value) in [("dataSource", source), ("dataSourceRef", reference)] {
        let Some(value) = value else { continue };
        let path = format!("{path}.{field}");
        errors.extend(required(value, &path, &["name", "kind"]));
        let kind = text(value, "kind");
        if text(value, "apiGroup").is_empty() && kind != "PersistentVolumeClaim" {
            errors.push(FieldError::invalid(
                path,
                kind,
                "must be 'PersistentVolumeClaim' when referencing the default apiGroup",
            ));
        }
    }
    let differs = source.zip(reference).is_some_and(|(source, reference)| {
        has(reference, "namespace")
            || ["apiGroup", "kind", "name"].iter().any(|field| text(source, field) != text(reference, field))
    });
    if differs {
        let shown = format!("{path}.dataSource");
        errors.push(FieldError::invalid(path, shown, "must match dataSourceRef"));
    }
    errors
}

fn check_modes(spec: &Value, path: &str, missing: &str) -> Vec<FieldError> {
    let path = format!("{path}.accessModes");
    let modes = list(spec, "accessModes");
    if modes.is_empty() {
        return vec![FieldError::required(path, missing)];
    }
    let names = modes.iter().filter_map(Value::as_str);
    let unknown = names.clone().filter(|mode| !MODES.contains(mode));
    let mut errors: Vec<FieldError> = unknown.map(|mode| FieldError::not_supported(&path, mode, &MODES)).collect();
    if modes.len() > 1 && names.clone().any(|mode| mode == "ReadWriteOncePod") {
        errors.push(FieldError::forbidden(path, "may not use ReadWriteOncePod with other access modes"));
    }
    errors
}

fn check_size(size: &Value, path: &str) -> Option<FieldError> {
    match quantity(size) {
        Some(amount) if amount.is_negative() || amount.is_zero() => {
            Some(FieldError::invalid(path, amount.to_string(), GREATER_THAN_ZERO))
        }
        Some(_) => None,
        None => super::check_amount(size, path).pop(),
    }
}

/// What a volume must look like.
pub(in crate::kinds) fn validate_volume(object: &Object, old: Option<&Object>) -> Vec<FieldError> {
    let spec = spec(object);
    let mut errors = check_modes(spec, "spec", "");
    match spec.get("capacity").and_then(Value::as_object) {
        None => errors.extend([
            FieldError::required("spec.capacity", ""),
            FieldError::not_supported("spec.capacity", Value::Null, &["storage"]),
        ]),
        Some(capacity) if capacity.is_empty() => errors.extend([
            FieldError::required("spec.capacity", ""),
            FieldError::not_supported("spec.capacity", Value::Object(capacity.clone()), &["storage"]),
        ]),
        Some(capacity) if capacity.len() != 1 || !capacity.contains_key("storage") => {
            errors.push(FieldError::not_supported("spec.capacity", Value::Object(capacity.clone()), &["storage"]));
        }
        Some(capacity) => errors.extend(check_size(&capacity["storage"], "spec.capacity[storage]")),
    }
    errors.extend(one_of(spec, "spec", "persistentVolumeReclaimPolicy", &["Delete", "Recycle", "Retain"]));
    errors.extend(one_of(spec, "spec", "volumeMode", &VOLUME_MODES));
    errors.extend(named(spec, "spec", "storageClassName", meta::dns1123_subdomain));
    errors.extend(check_source(spec));
    if let Some(affinity) = at(spec, "nodeAffinity") {
        errors.extend(match at(affinity, "required") {
            Some(required) => check_node_selector(required, "spec.nodeAffinity.required"),
            None => vec![FieldError::required("spec.nodeAffinity.required", "must specify required node constraints")],
        });
    }
    if has(spec, "local") && at(spec, "nodeAffinity.required").is_none() {
        errors.push(FieldError::required("metadata.annotations", "Local volume requires node affinity"));
    }
    if let Some(old) = old {
        if sources(spec) != sources(super::spec(old)) {
            let detail = "spec.persistentvolumesource is immutable after creation";
            errors.push(FieldError::forbidden("spec.persistentvolumesource", detail));
        }
        errors.extend(check_fixed(&document(object), &document(old), "spec.volumeMode"));
    }
    errors
}

fn sources(spec: &Value) -> Vec<(&String, &Value)> {
    let fields = spec.as_object().into_iter().flatten();
    fields.filter(|(field, value)| !NO_SOURCES.contains(&field.as_str()) && !value.is_null()).collect()
}

fn check_source(spec: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, (kind, source)) in sources(spec).into_iter().enumerate() {
        let path = format!("spec.{kind}");
        if index > 0 {
            errors.push(FieldError::forbidden(path, "may not specify more than 1 volume type"));
            continue;
        }
        let needed: &[&str] = match kind.as_str() {
            "hostPath" | "local" => &["path"],
            "nfs" => &["server", "path"],
            "csi" => &["driver", "volumeHandle"],
            _ => &[],
        };
        errors.extend(required(source, &path, needed));
        if kind == "csi" && has(source, "driver") {
            errors.extend(check_driver_name(text(source, "driver"), &format!("{path}.driver")));
        }
        if text(source, "path").split('/').any(|part| part == "..") {
            errors.push(FieldError::invalid(format!("{path}.path"), text(source, "path"), "must not contain '..'"));
        }
    }
    if sources(spec).is_empty() {
        errors.push(FieldError::required("spec", "must specify a volume type"));
    }
    errors
}
