//! Network policies and ingress classes (`pkg/apis/networking/validation`).

use std::net::IpAddr;

use serde_json::Value;

use super::ingress::check_reference;
use super::{
    CIDR, PORT_RANGE, PROTOCOLS, check_fixed, check_selector, document, domain_prefixed_path, named, parse_cidr, spec,
};
use crate::kinds::doc::{has, list, text};
use crate::kinds::pod_spec::port_name;
use crate::meta;
use crate::object::Object;
use crate::status::FieldError;

/// How long the name of an ingress controller may be.
const CONTROLLER_MAX: usize = 250;

/// What an ingress class must look like.
pub(in crate::kinds) fn validate_ingress_class(object: &Object, old: Option<&Object>) -> Vec<FieldError> {
    const PATH: &str = "spec.controller";
    let controller = text(spec(object), "controller");
    let mut errors = Vec::new();
    if controller.len() > CONTROLLER_MAX {
        errors.push(FieldError::too_long(PATH, CONTROLLER_MAX));
    }
    errors.extend(domain_prefixed_path(controller, PATH));
    if let Some(parameters) = spec(object).get("parameters").filter(|parameters| !parameters.is_null()) {
        errors.extend(check_reference(parameters, "spec.parameters"));
        let (scope, namespace) = (text(parameters, "scope"), has(parameters, "namespace"));
        if scope == "Namespace" {
            errors.extend(named(parameters, "spec.parameters", "namespace", meta::dns1123_label));
        }
        match scope {
            "Namespace" if !namespace => {
                let detail = "`parameters.scope` is set to 'Namespace'";
                errors.push(FieldError::required("spec.parameters.namespace", detail));
            }
            "Cluster" if namespace => {
                let detail = "`parameters.scope` is set to 'Cluster'";
                errors.push(FieldError::forbidden("spec.parameters.namespace", detail));
            }
            "Namespace" | "Cluster" => {}
            other => {
                let scopes = ["Cluster", "Namespace"];
                errors.push(FieldError::not_supported("spec.parameters.scope", other, &scopes));
            }
        }
    }
    errors.extend(old.and_then(|old| check_fixed(&document(object), &document(old), PATH)));
    errors
}

/// What a network policy must look like.
pub(in crate::kinds) fn validate_network_policy(object: &Object, _old: Option<&Object>) -> Vec<FieldError> {
    let spec = spec(object);
    let mut errors = check_selector(spec.get("podSelector"), "spec.podSelector");
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for (index, rule) in list(spec, direction).iter().enumerate() {
            let path = format!("spec.{direction}[{index}]");
            for (index, port) in list(rule, "ports").iter().enumerate() {
                errors.extend(check_policy_port(port, &format!("{path}.ports[{index}]")));
            }
            for (index, peer) in list(rule, peers).iter().enumerate() {
                errors.extend(check_peer(peer, &format!("{path}.{peers}[{index}]")));
            }
        }
    }
    let types = list(spec, "policyTypes");
    if types.len() > 2 {
        let detail = "may not specify more than two policyTypes";
        errors.push(FieldError::invalid("spec.policyTypes", types.to_vec(), detail));
        return errors;
    }
    for (index, kind) in types.iter().filter_map(Value::as_str).enumerate() {
        let kinds = ["Egress", "Ingress"];
        if !kinds.contains(&kind) {
            errors.push(FieldError::not_supported(format!("spec.policyTypes[{index}]"), kind, &kinds));
        }
    }
    errors
}

fn check_policy_port(port: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let protocol = text(port, "protocol");
    if !protocol.is_empty() && !PROTOCOLS.contains(&protocol) {
        errors.push(FieldError::not_supported(format!("{path}.protocol"), protocol, &PROTOCOLS));
    }
    let end = port.get("endPort").and_then(Value::as_i64);
    let end_path = format!("{path}.endPort");
    match port.get("port").filter(|port| !port.is_null()) {
        Some(Value::Number(first)) => {
            let first = first.as_i64().unwrap_or_default();
            if !(1..=65535).contains(&first) {
                errors.push(FieldError::invalid(format!("{path}.port"), first, PORT_RANGE));
            }
            if let Some(end) = end.filter(|end| *end < first) {
                errors.push(FieldError::invalid(&end_path, end, "must be greater than or equal to `port`"));
            }
            if let Some(end) = end.filter(|end| !(1..=65535).contains(end)) {
                errors.push(FieldError::invalid(end_path, end, PORT_RANGE));
            }
        }
        Some(Value::String(name)) => {
            if let Some(end) = end {
                errors.push(FieldError::invalid(end_path, end, "may not be specified when `port` is non-numeric"));
            }
            let path = format!("{path}.port");
            errors.extend(port_name(name).into_iter().map(|why| FieldError::invalid(&path, name.as_str(), why)));
        }
        _ => {
            if let Some(end) = end {
                errors.push(FieldError::invalid(end_path, end, "may not be specified when `port` is not specified"));
            }
        }
    }
    errors
}

fn check_peer(peer: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut found = 0;
    for field in ["podSelector", "namespaceSelector"] {
        if let Some(selector) = peer.get(field).filter(|selector| !selector.is_null()) {
            found += 1;
            errors.extend(check_selector(Some(selector), &format!("{path}.{field}")));
        }
    }
    let block = peer.get("ipBlock").filter(|block| !block.is_null());
    if let Some(block) = block {
        errors.extend(check_block(block, &format!("{path}.ipBlock")));
    }
    match block {
        Some(_) if found > 0 => {
            errors.push(FieldError::forbidden(path, "may not specify both ipBlock and another peer"));
        }
        None if found == 0 => errors.push(FieldError::required(path, "must specify a peer")),
        _ => {}
    }
    errors
}

fn check_block(block: &Value, path: &str) -> Vec<FieldError> {
    let cidr = text(block, "cidr");
    if cidr.is_empty() {
        return vec![FieldError::required(format!("{path}.cidr"), "")];
    }
    let Some(range) = Range::parse(cidr) else {
        return vec![FieldError::invalid(format!("{path}.cidr"), cidr, CIDR)];
    };
    let mut errors = Vec::new();
    for (index, except) in list(block, "except").iter().filter_map(Value::as_str).enumerate() {
        let path = format!("{path}.except[{index}]");
        match Range::parse(except) {
            None => errors.push(FieldError::invalid(path, except, CIDR)),
            Some(inner) if !range.strictly_contains(&inner) => {
                errors.push(FieldError::invalid(path, except, "must be a strict subset of `cidr`"));
            }
            Some(_) => {}
        }
    }
    errors
}

/// A range of addresses: the bits of its first address, and how many of them it fixes.
struct Range {
    bits: u128,
    fixed: u32,
    width: u32,
}

impl Range {
    fn parse(text: &str) -> Option<Self> {
        let (address, fixed) = parse_cidr(text)?;
        let (bits, width) = match address {
            IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, 32),
            IpAddr::V6(address) => (address.to_bits(), 128),
        };
        Some(Self { bits, fixed, width })
    }

    fn strictly_contains(&self, inner: &Self) -> bool {
        let prefix = |bits: u128| if self.fixed == 0 { 0 } else { bits >> (128 - self.fixed) };
        self.width == inner.width && inner.fixed > self.fixed && prefix(self.bits) == prefix(inner.bits)
    }
}
