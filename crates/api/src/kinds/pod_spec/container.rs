//! What a container must look like (`validateContainers` and what it calls).

use std::collections::BTreeSet;

use serde_json::Value;

use super::validate::NOT_NEGATIVE;
use crate::kinds::doc::{at, has, is_set, list, number, text};
use crate::meta;
use crate::quantity::Quantity;
use crate::status::FieldError;

pub(super) const PORT_RANGE: &str = "must be between 1 and 65535, inclusive";
const QUANTITY: &str = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const HANDLERS: [&str; 4] = ["exec", "httpGet", "tcpSocket", "grpc"];
const HOOKS: [&str; 4] = ["exec", "httpGet", "tcpSocket", "sleep"];
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

/// Which list a container stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// `containers`.
    Main,
    /// `initContainers`.
    Init,
    /// `ephemeralContainers`.
    Ephemeral,
}

/// Returns everything that is wrong with a container under `path`.
pub(super) fn validate(container: &Value, path: &str, place: Place, volumes: &BTreeSet<&str>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let name = text(container, "name");
    if name.is_empty() {
        errors.push(FieldError::required(format!("{path}.name"), ""));
    } else {
        errors.extend(
            meta::dns1123_label(name).iter().map(|problem| FieldError::invalid(format!("{path}.name"), name, problem)),
        );
    }
    let image = text(container, "image");
    if image.is_empty() {
        errors.push(FieldError::required(format!("{path}.image"), ""));
    } else if image.trim() != image {
        errors.push(FieldError::invalid(
            format!("{path}.image"),
            image,
            "must not have leading or trailing whitespace",
        ));
    }
    errors.extend(one_of(container, path, "imagePullPolicy", &["Always", "IfNotPresent", "Never"]));
    errors.extend(one_of(container, path, "terminationMessagePolicy", &["FallbackToLogsOnError", "File"]));
    errors.extend(validate_ports(list(container, "ports"), &format!("{path}.ports")));
    errors.extend(validate_env(container, path));
    errors.extend(validate_mounts(list(container, "volumeMounts"), &format!("{path}.volumeMounts"), volumes));
    errors.extend(validate_resources(container.get("resources"), &format!("{path}.resources")));
    errors.extend(validate_probes(container, path, place));
    errors
}

/// Two containers of a pod cannot have the same port of the host.
pub(super) fn validate_host_ports(
    container: &Value,
    path: &str,
    host_network: bool,
    taken: &mut BTreeSet<String>,
) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, port) in list(container, "ports").iter().enumerate() {
        let host_port = number(port, "hostPort");
        if host_network && host_port != number(port, "containerPort") {
            let path = format!("{path}.ports[{index}].containerPort");
            let detail = "must match `hostPort` when `hostNetwork` is true";
            errors.push(FieldError::invalid(path, number(port, "containerPort"), detail));
        }
        let key = format!("{}/{}/{host_port}", text(port, "protocol"), text(port, "hostIP"));
        if host_port != 0 && !taken.insert(key.clone()) {
            errors.push(FieldError::duplicate(format!("{path}.ports[{index}].hostPort"), key));
        }
    }
    errors
}

/// Returns an error if a text field is set to something that is not allowed.
fn one_of(value: &Value, path: &str, field: &str, allowed: &[&str]) -> Option<FieldError> {
    let actual = text(value, field);
    (!actual.is_empty() && !allowed.contains(&actual))
        .then(|| FieldError::not_supported(format!("{path}.{field}"), actual, allowed))
}

fn validate_ports(ports: &[Value], path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut names = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let name = text(port, "name");
        if !name.is_empty() {
            errors.extend(
                port_name(name).into_iter().map(|problem| FieldError::invalid(format!("{path}.name"), name, problem)),
            );
            if !names.insert(name) {
                errors.push(FieldError::duplicate(format!("{path}.name"), name));
            }
        }
        match number(port, "containerPort") {
            0 => errors.push(FieldError::required(format!("{path}.containerPort"), "")),
            1..=65535 => {}
            other => errors.push(FieldError::invalid(format!("{path}.containerPort"), other, PORT_RANGE)),
        }
        let host_port = number(port, "hostPort");
        if !(0..=65535).contains(&host_port) {
            errors.push(FieldError::invalid(format!("{path}.hostPort"), host_port, PORT_RANGE));
        }
        let protocol = text(port, "protocol");
        if protocol.is_empty() {
            errors.push(FieldError::required(format!("{path}.protocol"), ""));
        }
        errors.extend(one_of(port, &path, "protocol", &PROTOCOLS));
    }
    errors
}

/// Returns what is wrong with the name of a port (`IsValidPortName`, RFC 6335).
pub(crate) fn port_name(name: &str) -> Vec<&'static str> {
    let mut problems = Vec::new();
    if name.len() > 15 {
        problems.push("must be no more than 15 characters");
    }
    if !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-') {
        problems.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
    }
    if !name.bytes().any(|byte| byte.is_ascii_lowercase()) {
        problems.push("must contain at least one letter (a-z)");
    }
    if name.contains("--") {
        problems.push("must not contain consecutive hyphens");
    }
    if name.starts_with('-') || name.ends_with('-') {
        problems.push("must not begin or end with a hyphen");
    }
    problems
}

fn validate_env(container: &Value, path: &str) -> Vec<FieldError> {
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

fn validate_mounts(mounts: &[Value], path: &str, volumes: &BTreeSet<&str>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut paths = BTreeSet::new();
    for (index, mount) in mounts.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let name = text(mount, "name");
        if name.is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        } else if !volumes.contains(name) {
            errors.push(FieldError::not_found(format!("{path}.name"), name));
        }
        let mount_path = text(mount, "mountPath");
        if mount_path.is_empty() {
            errors.push(FieldError::required(format!("{path}.mountPath"), ""));
        } else if !paths.insert(mount_path) {
            errors.push(FieldError::invalid(format!("{path}.mountPath"), mount_path, "must be unique"));
        }
        let sub_path = text(mount, "subPath");
        if sub_path.starts_with('/') {
            errors.push(FieldError::invalid(format!("{path}.subPath"), sub_path, "must be a relative path"));
        }
        if sub_path.split('/').any(|part| part == "..") {
            errors.push(FieldError::invalid(format!("{path}.subPath"), sub_path, "must not contain '..'"));
        }
    }
    errors
}

fn validate_resources(resources: Option<&Value>, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let Some(resources) = resources else { return errors };
    for list in ["limits", "requests"] {
        for (name, value) in resources.get(list).and_then(Value::as_object).into_iter().flatten() {
            let path = format!("{path}.{list}[{name}]");
            if !is_container_resource(name) {
                let detail = "must be a standard resource type or fully qualified";
                errors.push(FieldError::invalid(&path, name.as_str(), detail));
            }
            match quantity(value) {
                None => errors.push(FieldError::invalid(&path, value.clone(), QUANTITY)),
                Some(amount) if amount.is_negative() => {
                    errors.push(FieldError::invalid(&path, amount.to_string(), NOT_NEGATIVE));
                }
                Some(_) => {}
            }
        }
    }
    for (name, request) in resources.get("requests").and_then(Value::as_object).into_iter().flatten() {
        let limit = at(resources, "limits").and_then(|limits| limits.get(name)).and_then(quantity);
        let (Some(request), Some(limit)) = (quantity(request), limit) else { continue };
        if request > limit {
            let detail = format!("must be less than or equal to {name} limit of {limit}");
            errors.push(FieldError::invalid(format!("{path}.requests"), request.to_string(), &detail));
        }
    }
    errors
}

fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

fn is_container_resource(name: &str) -> bool {
    matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-") || name.contains('/')
}

fn validate_probes(container: &Value, path: &str, place: Place) -> Vec<FieldError> {
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
            Place::Ephemeral => errors.push(FieldError::forbidden(path, "cannot be set for an Ephemeral Container")),
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
    if place == Place::Init {
        errors.extend(one_of(container, path, "restartPolicy", &["Always"]));
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
