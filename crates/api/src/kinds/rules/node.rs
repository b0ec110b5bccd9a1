//! Nodes, their taints, and namespaces.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{CIDR, is_cidr, spec};
use crate::kinds::doc::{list, text};
use crate::meta;
use crate::object::Object;
use crate::status::FieldError;

const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "PreferNoSchedule"];

/// What a node must look like; what says where it is may be set once.
pub(in crate::kinds) fn validate_node(object: &Object, old: Option<&Object>) -> Vec<FieldError> {
    let spec = spec(object);
    let mut errors = validate_taints(list(spec, "taints"), "spec.taints");
    for (index, range) in list(spec, "podCIDRs").iter().filter_map(Value::as_str).enumerate() {
        if !is_cidr(range) {
            errors.push(FieldError::invalid(format!("spec.podCIDRs[{index}]"), range, CIDR));
        }
    }
    let Some(old) = old.map(self::spec) else { return errors };
    if !text(old, "providerID").is_empty() && text(old, "providerID") != text(spec, "providerID") {
        let detail = "node updates may not change providerID except from \"\" to valid";
        errors.push(FieldError::forbidden("spec.providerID", detail));
    }
    let (before, now) = (list(old, "podCIDRs"), list(spec, "podCIDRs"));
    if !before.is_empty() && before != now {
        let detail = "node updates may not change podCIDR except from \"\" to valid";
        errors.push(FieldError::forbidden("spec.podCIDRs", detail));
    }
    errors
}

/// What a list of taints must look like (`validateNodeTaints`).
fn validate_taints(taints: &[Value], path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, taint) in taints.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let (key, value, effect) = (text(taint, "key"), text(taint, "value"), text(taint, "effect"));
        let problems = meta::qualified_name(key);
        errors.extend(problems.iter().map(|problem| FieldError::invalid(format!("{path}.key"), key, problem)));
        let problems = meta::label_value(value);
        errors.extend(problems.iter().map(|problem| FieldError::invalid(format!("{path}.value"), value, problem)));
        if effect.is_empty() {
            errors.push(FieldError::required(format!("{path}.effect"), ""));
        } else if !EFFECTS.contains(&effect) {
            errors.push(FieldError::not_supported(format!("{path}.effect"), effect, &EFFECTS));
        }
        if !seen.insert((key, effect)) {
            let mut duplicate = FieldError::duplicate(&path, taint.clone());
            duplicate.message.push_str(": taints must be unique by key and effect pair");
            errors.push(duplicate);
        }
    }
    errors
}

/// What a namespace must look like: its finalizers have names like any other.
pub(in crate::kinds) fn validate_namespace(object: &Object) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, name) in list(spec(object), "finalizers").iter().filter_map(Value::as_str).enumerate() {
        let path = format!("spec.finalizers[{index}]");
        let problems = meta::qualified_name(name);
        errors.extend(problems.iter().map(|problem| FieldError::invalid(&path, name, problem)));
        if !name.contains('/') && name != "kubernetes" {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(FieldError::invalid(path, name, detail));
        }
    }
    errors
}
