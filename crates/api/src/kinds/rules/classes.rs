//! Storage classes, and the drivers behind them (`pkg/apis/storage/validation`).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    check_amount, check_fixed, check_immutable, check_not_negative, check_selector, document, one_of, required, spec,
};
use crate::kinds::doc::{at, has, list, strings, text};
use crate::meta;
use crate::object::Object;
use crate::status::FieldError;

/// How many parameters a class may have, and how large all of them.
const PARAMETERS_MAX: usize = 512;
const PARAMETERS_SIZE_MAX: usize = 256 * 1024;
const DRIVER_NAME_MAX: usize = 63;
const NODE_ID_MAX: usize = 192;
const TOKEN_SECONDS_MIN: i64 = 600;
const TOKEN_SECONDS_MAX: i64 = 1 << 32;
const ALLOCATABLE_SECONDS_MIN: i64 = 10;

/// What a storage class must look like; little of it may change.
pub(in crate::kinds) fn validate_storage_class(object: &Object, old: Option<&Object>) -> Vec<FieldError> {
    let class = document(object);
    let mut errors = check_provisioner(&class, "provisioner");
    errors.extend(check_parameters(&class));
    errors.extend(one_of(&class, "", "reclaimPolicy", &["Delete", "Retain"]));
    errors.extend(one_of(&class, "", "volumeBindingMode", &["Immediate", "WaitForFirstConsumer"]));
    errors.extend(check_topologies(list(&class, "allowedTopologies")));
    let Some(old) = old.map(document) else { return errors };
    errors.extend(check_unchanged(&class, &old, &["parameters", "provisioner", "reclaimPolicy"]));
    errors.extend(check_fixed(&class, &old, "volumeBindingMode"));
    errors
}

/// What a class of attributes must look like, which is parameters for good.
pub(in crate::kinds) fn validate_attributes_class(object: &Object, old: Option<&Object>) -> Vec<FieldError> {
    let class = document(object);
    let mut errors =
        old.map(|old| check_unchanged(&class, &document(old), &["driverName", "parameters"])).unwrap_or_default();
    errors.extend(check_provisioner(&class, "driverName"));
    errors.extend(check_parameters(&class));
    if class.get("parameters").and_then(Value::as_object).is_none_or(serde_json::Map::is_empty) {
        errors.push(FieldError::required("parameters", "must contain at least one key/value pair"));
    }
    errors
}

fn check_provisioner(class: &Value, field: &str) -> Vec<FieldError> {
    match text(class, field) {
        "" => vec![FieldError::required(field, "")],
        name => FieldError::invalid_each(field, name, meta::qualified_name(&name.to_lowercase())),
    }
}

fn check_parameters(class: &Value) -> Vec<FieldError> {
    const PATH: &str = "parameters";
    let parameters = strings(class.get(PATH));
    if parameters.len() > PARAMETERS_MAX {
        return vec![FieldError::too_long(PATH, PARAMETERS_MAX)];
    }
    let mut errors = Vec::new();
    if parameters.contains_key("") {
        errors.push(FieldError::invalid(PATH, "", "field can not be empty."));
    }
    if parameters.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() > PARAMETERS_SIZE_MAX {
        errors.push(FieldError::too_long(PATH, PARAMETERS_SIZE_MAX));
    }
    errors
}

fn check_unchanged(class: &Value, old: &Value, fields: &[&str]) -> Vec<FieldError> {
    let changed = fields.iter().filter(|field| at(class, field) != at(old, field));
    changed.map(|field| FieldError::forbidden(*field, &format!("updates to {field} are forbidden."))).collect()
}

/// Where volumes of a class may be: each place once.
fn check_topologies(terms: &[Value]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, term) in terms.iter().enumerate() {
        let path = format!("allowedTopologies[{index}].matchLabelExpressions");
        let mut place = BTreeMap::new();
        for (index, requirement) in list(term, "matchLabelExpressions").iter().enumerate() {
            let (path, key) = (format!("{path}[{index}]"), text(requirement, "key"));
            let mut values = BTreeSet::new();
            if list(requirement, "values").is_empty() {
                errors.push(FieldError::required(format!("{path}.values"), ""));
            }
            for (index, value) in list(requirement, "values").iter().filter_map(Value::as_str).enumerate() {
                if !values.insert(value) {
                    errors.push(FieldError::duplicate(format!("{path}.values[{index}]"), value));
                }
            }
            errors.extend(FieldError::invalid_each(&format!("{path}.key"), key, meta::qualified_name(key)));
            if place.insert(key, values).is_some() {
                errors.push(FieldError::duplicate(format!("{path}.key"), key));
            }
        }
        if !seen.insert(place) {
            errors.push(FieldError::duplicate(path, ""));
        }
    }
    errors
}

/// Returns what is wrong with the name of a driver, which is set (`ValidateCSIDriverName`).
pub(super) fn check_driver_name(name: &str, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if name.len() > DRIVER_NAME_MAX {
        errors.push(FieldError::too_long(path, DRIVER_NAME_MAX));
    }
    errors.extend(FieldError::invalid_each(path, name, meta::dns1123_subdomain(&name.to_lowercase())));
    errors
}

/// What a CSI driver must look like.
pub(in crate::kinds) fn validate_csi_driver(object: &Object, old: Option<&Object>) -> Vec<FieldError> {
    let spec = spec(object);
    let policies = ["File", "None", "ReadWriteOnceWithFSType"];
    let mut errors: Vec<FieldError> = one_of(spec, "spec", "fsGroupPolicy", &policies).into_iter().collect();
    errors.extend(check_tokens(list(spec, "tokenRequests")));
    for mode in list(spec, "volumeLifecycleModes").iter().filter_map(Value::as_str) {
        let modes = ["Persistent", "Ephemeral"];
        if !modes.contains(&mode) {
            errors.push(FieldError::not_supported("spec.volumeLifecycleModes", mode, &modes));
        }
    }
    let period = spec.get("nodeAllocatableUpdatePeriodSeconds").and_then(Value::as_i64);
    if let Some(period) = period.filter(|period| *period < ALLOCATABLE_SECONDS_MIN) {
        let detail = format!("must be greater than or equal to {ALLOCATABLE_SECONDS_MIN} seconds");
        errors.push(FieldError::invalid("spec.nodeAllocatableUpdatePeriodSeconds", period, &detail));
    }
    let Some(old) = old.map(super::spec) else { return errors };
    // Kubernetes names the first of these by a name that it does not have.
    for (field, path) in
        [("attachRequired", "spec.attachedRequired"), ("volumeLifecycleModes", "spec.volumeLifecycleModes")]
    {
        errors.extend(check_immutable(at(spec, field), at(old, field), path));
    }
    errors
}

/// A driver gets one token for an audience.
fn check_tokens(requests: &[Value]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut audiences = BTreeSet::new();
    for (index, request) in requests.iter().enumerate() {
        let (path, audience) = (format!("spec.tokenRequests[{index}]"), text(request, "audience"));
        if !audiences.insert(audience) {
            errors.push(FieldError::duplicate(format!("{path}.audience"), audience));
            continue;
        }
        let Some(seconds) = request.get("expirationSeconds").and_then(Value::as_i64) else { continue };
        let why = match seconds {
            ..TOKEN_SECONDS_MIN => "may not specify a duration less than 10 minutes",
            TOKEN_SECONDS_MIN..=TOKEN_SECONDS_MAX => continue,
            _ => "may not specify a duration larger than 2^32 seconds",
        };
        errors.push(FieldError::invalid(format!("{path}.expirationSeconds"), seconds, why));
    }
    errors
}

/// What a node says of its drivers; a driver's entry stays, but for how many volumes it holds.
pub(in crate::kinds) fn validate_csi_node(object: &Object, old: Option<&Object>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let drivers = list(spec(object), "drivers");
    let mut names = BTreeSet::new();
    for (index, driver) in drivers.iter().enumerate() {
        let path = format!("spec.drivers[{index}]");
        errors.extend(check_node_driver(driver, &path));
        let name = text(driver, "name");
        if !names.insert(name) {
            errors.push(FieldError::duplicate(format!("{path}.name"), name));
        }
    }
    let fixed = |driver: &Value| {
        let mut driver = driver.as_object().cloned().unwrap_or_default();
        driver.remove("allocatable");
        Value::Object(driver)
    };
    for before in old.map(|old| list(spec(old), "drivers")).unwrap_or_default() {
        let same = drivers.iter().filter(|driver| text(driver, "name") == text(before, "name"));
        errors.extend(
            same.filter_map(|driver| check_immutable(Some(&fixed(driver)), Some(&fixed(before)), "spec.drivers")),
        );
    }
    errors
}

fn check_node_driver(driver: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = required(driver, path, &["name", "nodeID"]);
    if has(driver, "name") {
        errors.extend(check_driver_name(text(driver, "name"), &format!("{path}.name")));
    }
    let id = text(driver, "nodeID");
    if id.len() > NODE_ID_MAX {
        let detail = format!("must be {NODE_ID_MAX} characters or less");
        errors.push(FieldError::invalid(format!("{path}.nodeID"), id, &detail));
    }
    if let Some(allocatable) = at(driver, "allocatable") {
        errors.extend(check_not_negative(allocatable, &format!("{path}.allocatable"), &["count"]));
    }
    let mut keys = BTreeSet::new();
    for key in list(driver, "topologyKeys").iter().filter_map(Value::as_str) {
        if !keys.insert(key) {
            errors.push(FieldError::duplicate(path, key));
        }
        errors.extend(FieldError::invalid_each(path, key, meta::qualified_name(key)));
    }
    errors
}

/// What the attachment of a volume must look like, which is made once.
pub(in crate::kinds) fn validate_attachment(object: &Object, old: Option<&Object>) -> Vec<FieldError> {
    const SOURCE: &str = "spec.source";
    const EITHER: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    let spec = spec(object);
    let mut errors = required(spec, "spec", &["attacher"]);
    if has(spec, "attacher") {
        errors.extend(check_driver_name(text(spec, "attacher"), "spec.attacher"));
    }
    let source = spec.get("source").unwrap_or(&Value::Null);
    let volume = source.get("persistentVolumeName").and_then(Value::as_str);
    match (at(source, "inlineVolumeSpec"), volume) {
        (None, None) => errors.push(FieldError::required(SOURCE, EITHER)),
        (Some(_), Some(_)) => errors.push(FieldError::forbidden(SOURCE, EITHER)),
        (None, Some("")) => {
            let detail = "must specify non empty persistentVolumeName";
            errors.push(FieldError::required(format!("{SOURCE}.persistentVolumeName"), detail));
        }
        (None, Some(name)) => {
            let path = format!("{SOURCE}.persistentVolumeName");
            errors.extend(FieldError::invalid_each(&path, name, meta::dns1123_subdomain(name)));
        }
        (Some(_), None) => {}
    }
    let node = text(spec, "nodeName");
    errors.extend(FieldError::invalid_each("spec.nodeName", node, meta::dns1123_subdomain(node)));
    errors.extend(old.and_then(|old| check_fixed(&document(object), &document(old), "spec")));
    errors
}

/// What is said about the room that is left for volumes of a class in a place.
pub(in crate::kinds) fn validate_storage_capacity(object: &Object, old: Option<&Object>) -> Vec<FieldError> {
    let capacity = document(object);
    let mut errors = check_selector(capacity.get("nodeTopology"), "nodeTopology");
    let class = text(&capacity, "storageClassName");
    errors.extend(FieldError::invalid_each("storageClassName", class, meta::dns1123_subdomain(class)));
    if let Some(amount) = at(&capacity, "capacity") {
        errors.extend(check_amount(amount, "capacity"));
    }
    if let Some(old) = old.map(document) {
        let fixed = ["nodeTopology", "storageClassName"];
        errors.extend(fixed.into_iter().filter_map(|field| check_fixed(&capacity, &old, field)));
    }
    errors
}
