//! Endpoints and their slices: where a service's pods are (`ValidateEndpoints`, `pkg/apis/discovery/validation`).

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use super::{IP, PORT_RANGE, PROTOCOLS, check_immutable, document, in_range, named};
use crate::kinds::doc::{at, list, text};
use crate::meta;
use crate::object::Object;
use crate::status::FieldError;

const ENDPOINTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 100;
const PORTS_MAX: usize = 20_000;
/// How many zones, and how many nodes, may be named as those that should use an endpoint.
const HINTS_MAX: usize = 8;
const TYPES: [&str; 3] = ["FQDN", "IPv4", "IPv6"];

/// What endpoints must look like.
pub(in crate::kinds) fn validate_endpoints(object: &Object, _old: Option<&Object>) -> Vec<FieldError> {
    let endpoints = document(object);
    let mut errors = Vec::new();
    for (index, subset) in list(&endpoints, "subsets").iter().enumerate() {
        let path = format!("subsets[{index}]");
        if list(subset, "addresses").is_empty() && list(subset, "notReadyAddresses").is_empty() {
            errors.push(FieldError::required(&path, "must specify `addresses` or `notReadyAddresses`"));
        }
        for field in ["addresses", "notReadyAddresses"] {
            for (index, address) in list(subset, field).iter().enumerate() {
                let path = format!("{path}.{field}[{index}]");
                errors.extend(named(address, &path, "hostname", meta::dns1123_label));
                errors.extend(named(address, &path, "nodeName", meta::dns1123_subdomain));
                errors.extend(check_address(text(address, "ip"), &format!("{path}.ip")));
            }
        }
        let ports = list(subset, "ports");
        for (index, port) in ports.iter().enumerate() {
            errors.extend(check_port(port, ports.len() > 1, &format!("{path}.ports[{index}]")));
        }
    }
    errors
}

fn check_port(port: &Value, needs_name: bool, path: &str) -> Vec<FieldError> {
    let mut errors = named(port, path, "name", meta::dns1123_label);
    if needs_name && text(port, "name").is_empty() {
        errors.push(FieldError::required(format!("{path}.name"), ""));
    }
    errors.extend(in_range(port, path, "port", 1..=65535, PORT_RANGE));
    errors.extend(check_protocols(port, path));
    errors
}

/// Returns what is wrong with the protocol below a port, and the one above.
pub(in crate::kinds) fn check_protocols(port: &Value, path: &str) -> Vec<FieldError> {
    let (protocol, protocol_path) = (text(port, "protocol"), format!("{path}.protocol"));
    let mut errors = Vec::new();
    if protocol.is_empty() {
        errors.push(FieldError::required(protocol_path, ""));
    } else if !PROTOCOLS.contains(&protocol) {
        errors.push(FieldError::not_supported(protocol_path, protocol, &PROTOCOLS));
    }
    if let Some(protocol) = port.get("appProtocol").and_then(Value::as_str) {
        errors.extend(FieldError::invalid_each(
            &format!("{path}.appProtocol"),
            protocol,
            meta::qualified_name(protocol),
        ));
    }
    errors
}

/// What the address of an endpoint must be: one that leads somewhere else (`ValidateEndpointIP`).
pub(in crate::kinds) fn check_address(address: &str, path: &str) -> Option<FieldError> {
    let Ok(parsed) = address.parse::<IpAddr>() else { return Some(FieldError::invalid(path, address, IP)) };
    let is_link_local = match parsed {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    let is_link_multicast = match parsed {
        IpAddr::V4(address) => address.octets()[..3] == [224, 0, 0],
        IpAddr::V6(address) => address.segments()[0] == 0xff02,
    };
    let why = match parsed {
        _ if parsed.is_unspecified() => "may not be unspecified (0.0.0.0 or ::)",
        _ if parsed.is_loopback() => "may not be in the loopback range (127.0.0.0/8, ::1/128)",
        _ if is_link_local => "may not be in the link-local range (169.254.0.0/16, fe80::/10)",
        _ if is_link_multicast => "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)",
        _ => return None,
    };
    Some(FieldError::invalid(path, address, why))
}

/// What a slice must look like; all of its addresses are of one type, which stays.
pub(in crate::kinds) fn validate_slice(object: &Object, old: Option<&Object>) -> Vec<FieldError> {
    const TYPE: &str = "addressType";
    let slice = document(object);
    let kind = text(&slice, TYPE);
    let mut errors = Vec::new();
    if kind.is_empty() {
        errors.push(FieldError::required(TYPE, ""));
    } else if !TYPES.contains(&kind) {
        errors.push(FieldError::not_supported(TYPE, kind, &TYPES));
    }
    let (endpoints, ports) = (list(&slice, "endpoints"), list(&slice, "ports"));
    if endpoints.len() > ENDPOINTS_MAX {
        errors.push(FieldError::too_many("endpoints", endpoints.len(), ENDPOINTS_MAX));
    } else {
        let endpoints = endpoints.iter().enumerate();
        errors.extend(endpoints.flat_map(|(index, one)| check_endpoint(one, kind, &format!("endpoints[{index}]"))));
    }
    if ports.len() > PORTS_MAX {
        errors.push(FieldError::too_many("ports", ports.len(), PORTS_MAX));
    } else {
        errors.extend(check_slice_ports(ports));
    }
    errors.extend(old.and_then(|old| check_immutable(object.at(&[TYPE]), old.at(&[TYPE]), TYPE)));
    errors
}

fn check_endpoint(endpoint: &Value, kind: &str, path: &str) -> Vec<FieldError> {
    let (addresses, addresses_path) = (list(endpoint, "addresses"), format!("{path}.addresses"));
    let mut errors = Vec::new();
    match addresses.len() {
        0 => errors.push(FieldError::required(&addresses_path, "must contain at least 1 address")),
        1..=ADDRESSES_MAX => {}
        many => errors.push(FieldError::too_many(&addresses_path, many, ADDRESSES_MAX)),
    }
    for (index, address) in addresses.iter().filter_map(Value::as_str).enumerate() {
        errors.extend(check_typed(address, kind, &format!("{addresses_path}[{index}]")));
    }
    for (field, rule) in [("nodeName", meta::dns1123_subdomain as fn(&str) -> _), ("hostname", meta::dns1123_label)] {
        if let Some(name) = endpoint.get(field).and_then(Value::as_str) {
            errors.extend(FieldError::invalid_each(&format!("{path}.{field}"), name, rule(name)));
        }
    }
    let hints = endpoint.get("hints").unwrap_or(&Value::Null);
    errors.extend(check_hints(list(hints, "forZones"), &format!("{path}.hints.forZones"), meta::label_value));
    errors.extend(check_hints(list(hints, "forNodes"), &format!("{path}.hints.forNodes"), meta::dns1123_subdomain));
    errors
}

/// An address of the slice's type.
fn check_typed(address: &str, kind: &str, path: &str) -> Vec<FieldError> {
    let wrong = |detail| FieldError::invalid(path, address, detail);
    match (kind, address.parse::<IpAddr>()) {
        ("FQDN", _) => check_domain(address, path),
        ("IPv4" | "IPv6", Err(_)) => vec![wrong(IP)],
        ("IPv4", Ok(IpAddr::V6(_))) => {
            std::iter::once(wrong("must be an IPv4 address")).chain(check_address(address, path)).collect()
        }
        ("IPv6", Ok(IpAddr::V4(_))) => {
            std::iter::once(wrong("must be an IPv6 address")).chain(check_address(address, path)).collect()
        }
        ("IPv4" | "IPv6", Ok(_)) => check_address(address, path).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// A name of several parts, which may end with a dot (`IsFullyQualifiedDomainName`).
fn check_domain(name: &str, path: &str) -> Vec<FieldError> {
    if name.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let problems = meta::dns1123_subdomain(name);
    if !problems.is_empty() {
        return vec![FieldError::invalid(path, name, &problems.join(","))];
    }
    if name.contains('.') {
        return Vec::new();
    }
    vec![FieldError::invalid(path, name, "should be a domain with at least two segments separated by dots")]
}

/// Who should use an endpoint: a few names, each once.
fn check_hints(hints: &[Value], path: &str, rule: fn(&str) -> Vec<String>) -> Vec<FieldError> {
    if hints.len() > HINTS_MAX {
        return vec![FieldError::too_many(path, hints.len(), HINTS_MAX)];
    }
    let mut errors = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, hint) in hints.iter().enumerate() {
        let (path, name) = (format!("{path}[{index}].name"), text(hint, "name"));
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&path, name));
        }
        errors.extend(FieldError::invalid_each(&path, name, rule(name)));
    }
    errors
}

fn check_slice_ports(ports: &[Value]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut names = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let (path, name) = (format!("ports[{index}]"), text(port, "name"));
        errors.extend(named(port, &path, "name", meta::dns1123_label));
        if !names.insert(name) {
            errors.push(FieldError::duplicate(format!("{path}.name"), name));
        }
        if at(port, "port").is_some() {
            errors.extend(in_range(port, &path, "port", 1..=65535, PORT_RANGE));
        }
        errors.extend(check_protocols(port, &path));
    }
    errors
}
