//! What a container must look like (`validateContainers` and what it calls).

use std::collections::BTreeSet;

use serde_json::Value;

use super::{env, probes, resources, restart};
use crate::kinds::doc::{list, number, text};
use crate::kinds::rules::{PORT_RANGE, PROTOCOLS, one_of};
use crate::meta;
use crate::status::FieldError;

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
    errors.extend(env::validate(container, path));
    errors.extend(validate_mounts(list(container, "volumeMounts"), &format!("{path}.volumeMounts"), volumes));
    errors.extend(resources::validate(container.get("resources"), &format!("{path}.resources")));
    errors.extend(probes::validate(container, path, place));
    errors.extend(restart::validate(container, path, place));
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
