//! What the node asks a container: probes, and hooks of its life (`validateProbe`, `validateLifecycle`).

use serde_json::Value;

use super::container::{Place, port_name};
use crate::kinds::doc::{at, has, is_set, list, number, text};
use crate::kinds::rules::{NOT_NEGATIVE, PORT_RANGE, one_of};
use crate::status::FieldError;

const HANDLERS: [&str; 4] = ["exec", "httpGet", "tcpSocket", "grpc"];
const HOOKS: [&str; 4] = ["exec", "httpGet", "tcpSocket", "sleep"];

/// Returns everything that is wrong with the probes and hooks of a container under `path`.
pub(super) fn validate(container: &Value, path: &str, place: Place) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let is_sidecar = place == Place::Init && text(container, "restartPolicy") == "Always";
    for field in ["livenessProbe", "readinessProbe", "startupProbe", "lifecycle"] {
        if !container.get(field).is_some_and(is_set) {
            continue;
        }
        let path = format!("{path}.{field}");
        match place {
            Place::Init if !is_sidecar => {
                errors.push(FieldError::forbidden(
                    path,
                    "may not be set for init containers without restartPolicy=Always",
                ));
            }
            // See `ephemeral`.
            Place::Ephemeral => {}
            Place::Main | Place::Init if field == "lifecycle" => {
                for hook in ["postStart", "preStop"] {
                    if let Some(hook_value) = at(&container[field], hook) {
                        errors.extend(validate_handler(hook_value, &format!("{path}.{hook}"), &HOOKS));
                    }
                }
            }
            Place::Main | Place::Init => errors.extend(validate_probe(&container[field], &path, field)),
        }
    }
    errors
}

fn validate_probe(probe: &Value, path: &str, field: &str) -> Vec<FieldError> {
    let mut errors = validate_handler(probe, path, &HANDLERS);
    for count in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        let value = number(probe, count);
        if value < 0 {
            errors.push(FieldError::invalid(format!("{path}.{count}"), value, NOT_NEGATIVE));
        }
    }
    let successes = number(probe, "successThreshold");
    if field != "readinessProbe" && successes != 1 {
        errors.push(FieldError::invalid(format!("{path}.successThreshold"), successes, "must be 1"));
    }
    if let Some(grace) = probe.get("terminationGracePeriodSeconds").and_then(Value::as_i64) {
        let path = format!("{path}.terminationGracePeriodSeconds");
        if field == "readinessProbe" {
            errors.push(FieldError::invalid(path, grace, "must not be set for readinessProbes"));
        } else if grace < 1 {
            errors.push(FieldError::invalid(path, grace, "must be greater than 0"));
        }
    }
    errors
}

fn validate_handler(handler: &Value, path: &str, kinds: &[&str]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut found = 0;
    for kind in kinds.iter().filter(|kind| has(handler, kind)) {
        let action = &handler[*kind];
        let path = format!("{path}.{kind}");
        if found > 0 {
            errors.push(FieldError::forbidden(path, "may not specify more than 1 handler type"));
            continue;
        }
        found += 1;
        match *kind {
            "exec" if list(action, "command").is_empty() => {
                errors.push(FieldError::required(format!("{path}.command"), ""));
            }
            "httpGet" => {
                errors.extend(validate_port(action, &path));
                errors.extend(one_of(action, &path, "scheme", &["HTTP", "HTTPS"]));
            }
            "tcpSocket" | "grpc" => errors.extend(validate_port(action, &path)),
            _ => {}
        }
    }
    if found == 0 {
        errors.push(FieldError::required(path, "must specify a handler type"));
    }
    errors
}

fn validate_port(action: &Value, path: &str) -> Vec<FieldError> {
    let path = format!("{path}.port");
    match action.get("port") {
        Some(Value::String(name)) if !name.is_empty() => {
            port_name(name).into_iter().map(|problem| FieldError::invalid(&path, name.as_str(), problem)).collect()
        }
        port => {
            let port = port.and_then(Value::as_i64).unwrap_or_default();
            if (1..=65535).contains(&port) { Vec::new() } else { vec![FieldError::invalid(path, port, PORT_RANGE)] }
        }
    }
}
