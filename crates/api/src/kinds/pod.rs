//! Pods: defaults, the phase they start in, what may change later, and how kubectl shows them.

mod parts;
mod print;
mod update;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::doc::{at, child_made, children, flag, list};
use super::pod_spec::{self, Owner};
use super::print as table;
use crate::object::Object;
use crate::quantity::Quantity;
use crate::resource::{Column, Manners, Part};
use crate::status::FieldError;

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
            errors.extend(update::validate(object, old));
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

#[cfg(test)]
mod tests;
