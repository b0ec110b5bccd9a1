//! Which objects a quota with scopes is about (`podMatchesScopeFunc` and its likes). Pure.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wkube_api::Object;
use wkube_api::selector::LabelSelector;

use super::usage::Counted;
use crate::admission::amounts::{List, items, of_pod};

/// Whether all of a quota's scopes hold for an object. Only pods and claims have scopes.
pub(crate) fn holds(quota: &Object, counted: Counted, object: &Object) -> bool {
    requirements(quota).iter().all(|requirement| {
        let scope = requirement["scopeName"].as_str().unwrap_or_default();
        let spec = object.0.get("spec").unwrap_or(&Value::Null);
        match (counted, scope) {
            (Counted::Pods, "Terminating") => has_deadline(spec),
            (Counted::Pods, "NotTerminating") => !has_deadline(spec),
            (Counted::Pods, "BestEffort") => is_best_effort(spec),
            (Counted::Pods, "NotBestEffort") => !is_best_effort(spec),
            (Counted::Pods, "PriorityClass") => {
                matches_name(requirement, "PriorityClass", spec["priorityClassName"].as_str().unwrap_or_default())
            }
            (Counted::Pods, "CrossNamespacePodAffinity") => crosses_namespaces(spec),
            (Counted::Claims, "VolumeAttributesClass") => {
                let name = spec["volumeAttributesClassName"].as_str().unwrap_or_default();
                matches_name(requirement, "VolumeAttributesClass", name)
            }
            _ => false,
        }
    })
}

/// Returns `scopes` and `scopeSelector` in one form.
fn requirements(quota: &Object) -> Vec<Value> {
    let null = Value::Null;
    let spec = quota.0.get("spec").unwrap_or(&null);
    let plain = items(&spec["scopes"]).iter().map(|scope| json!({"scopeName": scope, "operator": "Exists"}));
    plain.chain(items(&spec["scopeSelector"]["matchExpressions"]).iter().cloned()).collect()
}

fn has_deadline(spec: &Value) -> bool {
    spec["activeDeadlineSeconds"].as_i64().is_some_and(|seconds| seconds >= 0)
}

fn is_best_effort(spec: &Value) -> bool {
    [List::Requests, List::Limits].into_iter().all(|list| {
        let asked = of_pod(spec, list);
        ["cpu", "memory"].iter().all(|name| asked.get(*name).is_none_or(|amount| amount.is_zero()))
    })
}

fn matches_name(requirement: &Value, key: &str, name: &str) -> bool {
    let expression = json!({"key": key, "operator": requirement["operator"], "values": requirement.get("values").unwrap_or(&json!([]))});
    let selector = LabelSelector::from_json(Some(&json!({"matchExpressions": [expression]})));
    let labels: BTreeMap<&str, &str> = if name.is_empty() { BTreeMap::new() } else { [(key, name)].into() };
    selector.is_ok_and(|selector| selector.matches(&labels))
}

fn crosses_namespaces(spec: &Value) -> bool {
    let affinity = &spec["affinity"];
    ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
        let required = items(&affinity[*kind]["requiredDuringSchedulingIgnoredDuringExecution"]).iter();
        let preferred = items(&affinity[*kind]["preferredDuringSchedulingIgnoredDuringExecution"]).iter();
        required
            .chain(preferred.map(|term| &term["podAffinityTerm"]))
            .any(|term| !items(&term["namespaces"]).is_empty() || !term["namespaceSelector"].is_null())
    })
}
