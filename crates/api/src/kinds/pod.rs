//! Pods: defaults, the phase they start in, what may change later, and how kubectl shows them.

mod parts;
mod print;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::doc::{at, child_made, children, flag, list, number, text};
use super::pod_spec::{self, Owner};
use super::print as table;
use crate::object::Object;
use crate::quantity::Quantity;
use crate::resource::{Column, Manners, Part};
use crate::status::FieldError;

/// What the API says when an update touches a fixed field; clients match on its start.
const FIXED: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
    `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
    tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// The manners of pods.
pub(super) struct Pod;

impl Manners for Pod {
    fn default(&self, object: &mut Object) {
        let Some(spec) = child_made(&mut object.0, "spec") else { return };
        pod_spec::default_pod_spec(spec);
        pod_spec::requests_from_limits(spec);
        if spec.get("enableServiceLinks").is_none_or(Value::is_null) {
            spec.insert("enableServiceLinks".to_owned(), true.into());
        }
        if spec.get("hostNetwork") == Some(&json!(true)) {
            for port in children(spec, "containers").flat_map(|container| children(container, "ports")) {
                // On the host's network a container's port is the host's.
                let container_port = port.get("containerPort").cloned().unwrap_or_default();
                if port.get("hostPort").and_then(Value::as_i64).unwrap_or_default() == 0 {
                    port.insert("hostPort".to_owned(), container_port);
                }
            }
        }
    }

    fn prepare_create(&self, object: &mut Object) {
        let qos = qos_class(object.at(&["spec"]));
        object.0.insert("status".to_owned(), json!({"phase": "Pending", "qosClass": qos}));
        if object.at(&["spec", "schedulingGates"]).and_then(Value::as_array).is_some_and(|gates| !gates.is_empty()) {
            let condition = json!({
                "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
            });
            object.set(&["status", "conditions"], vec![condition]);
        }
    }

    fn prepare_update(&self, object: &mut Object, old: &Object) {
        object.set(&["status"], old.at(&["status"]).cloned().unwrap_or_else(|| json!({})));
    }

    fn validate(&self, object: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let mut errors = pod_spec::validate_pod_spec(object.at(&["spec"]), "spec", Owner::Pod);
        if let Some(old) = old {
            errors.extend(validate_update(object, old));
        }
        errors
    }

    fn columns(&self) -> Vec<Column> {
        table::columns(print::COLUMNS)
    }

    fn cells(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        print::cells(object, now)
    }

    fn field(&self, object: &Object, path: &str) -> Option<String> {
        let plain = |path: &[&str]| Some(object.str_at(path).to_owned());
        match path {
            "spec.nodeName" => plain(&["spec", "nodeName"]),
            "spec.restartPolicy" => plain(&["spec", "restartPolicy"]),
            "spec.schedulerName" => plain(&["spec", "schedulerName"]),
            "spec.serviceAccountName" => plain(&["spec", "serviceAccountName"]),
            "spec.hostNetwork" => Some(object.at(&["spec"]).is_some_and(|spec| flag(spec, "hostNetwork")).to_string()),
            "status.phase" => plain(&["status", "phase"]),
            "status.podIP" => plain(&["status", "podIP"]),
            "status.podIPs" => {
                let ips = object.at(&["status"]).map(|status| list(status, "podIPs")).unwrap_or_default();
                Some(table::joined(ips, "ip"))
            }
            "status.nominatedNodeName" => plain(&["status", "nominatedNodeName"]),
            _ => None,
        }
    }

    fn part(&self, subresource: &str) -> Option<&'static dyn Part> {
        match subresource {
            "ephemeralcontainers" => Some(&parts::EphemeralContainers),
            "resize" => Some(&parts::Resize),
            _ => None,
        }
    }

    fn grace_seconds(&self, object: &Object) -> Option<i64> {
        // What no node runs, or runs no more, has nothing to wait for (`podStrategy.CheckGracefulDelete`).
        let is_over = matches!(object.str_at(&["status", "phase"]), "Succeeded" | "Failed");
        if object.str_at(&["spec", "nodeName"]).is_empty() || is_over {
            return Some(0);
        }
        let asked = object.at(&["spec", "terminationGracePeriodSeconds"]).and_then(Value::as_i64).unwrap_or(30);
        Some(if asked < 0 { 1 } else { asked })
    }
}

/// Returns how well a pod is protected when memory runs out (`ComputePodQOS`).
fn qos_class(spec: Option<&Value>) -> &'static str {
    let Some(spec) = spec else { return "BestEffort" };
    let containers: Vec<&Value> = list(spec, "initContainers").iter().chain(list(spec, "containers")).collect();
    let amount = |container: &Value, kind: &str, name: &str| -> Option<Quantity> {
        at(container, &format!("resources.{kind}.{name}"))?
            .as_str()?
            .parse()
            .ok()
            .filter(|amount: &Quantity| !amount.is_zero())
    };
    let asks = |container: &&Value| {
        ["limits", "requests"]
            .iter()
            .any(|kind| ["cpu", "memory"].iter().any(|name| amount(container, kind, name).is_some()))
    };
    if !containers.iter().any(asks) {
        return "BestEffort";
    }
    let is_exact = |container: &&Value| {
        ["cpu", "memory"].iter().all(|name| {
            let limit = amount(container, "limits", name);
            limit.is_some()
                && (limit == amount(container, "requests", name) || amount(container, "requests", name).is_none())
        })
    };
    if containers.iter().all(is_exact) { "Guaranteed" } else { "Burstable" }
}

/// Returns what an update changed that is fixed (`ValidatePodUpdate`).
fn validate_update(object: &Object, old: &Object) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (Some(new_spec), Some(old_spec)) = (object.at(&["spec"]), old.at(&["spec"])) else { return errors };
    let deadline = |spec: &Value| spec.get("activeDeadlineSeconds").and_then(Value::as_i64);
    match (deadline(new_spec), deadline(old_spec)) {
        (None, Some(_)) => errors.push(FieldError::invalid(
            "spec.activeDeadlineSeconds",
            Value::Null,
            "must not update from a positive integer to nil value",
        )),
        (Some(new), Some(old)) if new > old => {
            errors.push(FieldError::invalid(
                "spec.activeDeadlineSeconds",
                new,
                "must be less than or equal to previous value",
            ));
        }
        _ => {}
    }
    let lost =
        list(old_spec, "tolerations").iter().any(|toleration| !list(new_spec, "tolerations").contains(toleration));
    if lost {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        errors.push(FieldError::forbidden("spec.tolerations", detail));
    }
    if fixed_part(new_spec, old_spec) != fixed_part(old_spec, old_spec) {
        errors.push(FieldError::forbidden("spec", FIXED));
    }
    errors
}

/// Returns a spec with everything that may change taken out; what only other endpoints change is taken from `old`.
fn fixed_part(spec: &Value, old: &Value) -> Value {
    let Some(mut fixed) = spec.as_object().cloned() else { return Value::Null };
    for field in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        fixed.remove(field);
    }
    for containers in ["containers", "initContainers"] {
        for container in children(&mut fixed, containers) {
            container.remove("image");
        }
    }
    let (new_grace, old_grace) =
        (number(spec, "terminationGracePeriodSeconds"), number(old, "terminationGracePeriodSeconds"));
    if old_grace < 0 && new_grace == 1 {
        fixed.insert("terminationGracePeriodSeconds".to_owned(), old_grace.into());
    }
    if !list(old, "schedulingGates").is_empty() {
        // A pod that is held back may still be narrowed down.
        fixed.remove("nodeSelector");
        fixed.remove("affinity");
    }
    // An empty value that one side leaves out is no change.
    fixed.retain(|_, value| !value.is_null());
    let empty = text(spec, "hostname").is_empty();
    if empty {
        fixed.remove("hostname");
    }
    Value::Object(fixed)
}

#[cfg(test)]
mod tests;
