//! What a service must look like (`ValidateService` and what it calls).

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::addresses::{self, is_external, is_headless};
use crate::kinds::doc::{at, has, list, number, strings, text};
use crate::kinds::pod_spec::port_name;
use crate::kinds::rules::{
    CIDR, PORT_RANGE, check_address, check_protocols, in_range, is_cidr, one_of, spec as spec_of,
};
use crate::meta;
use crate::object::Object;
use crate::status::FieldError;

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const DISTRIBUTIONS: [&str; 3] = ["PreferClose", "PreferSameNode", "PreferSameZone"];
const BALANCER_ONLY: &str = "may only be used when `type` is 'LoadBalancer'";
/// The port of the node itself, which balancers that open ports on nodes must not open.
const NODE_PORT: i64 = 10_250;
/// The longest that a client sticks to a pod, in seconds.
const AFFINITY_MAX: i64 = 86_400;

/// Returns everything that is wrong with a service, or with a change of one.
pub(super) fn validate(object: &Object, old: Option<&Object>) -> Vec<FieldError> {
    let (spec, old) = (spec_of(object), old.map(spec_of));
    let mut errors = old.map(|old| addresses::validate_update(spec, old)).unwrap_or_default();
    errors.extend(check_type(spec));
    errors.extend(check_ports(spec));
    errors.extend(meta::validate_labels("spec.selector", &strings(spec.get("selector"))));
    errors.extend(check_affinity(spec));
    errors.extend(addresses::validate(spec));
    errors.extend(check_outside(spec));
    errors.extend(check_balancer(spec, old));
    errors.extend(one_of(spec, "spec", "internalTrafficPolicy", &["Cluster", "Local"]));
    errors.extend(one_of(spec, "spec", "trafficDistribution", &DISTRIBUTIONS));
    errors
}

fn check_type(spec: &Value) -> Vec<FieldError> {
    let kind = text(spec, "type");
    let mut errors = Vec::new();
    if !TYPES.contains(&kind) {
        errors.push(FieldError::not_supported("spec.type", kind, &TYPES));
    }
    if kind == "ExternalName" {
        let set = ["clusterIPs", "ipFamilies", "ipFamilyPolicy"].into_iter().filter(|field| at(spec, field).is_some());
        errors.extend(
            set.map(|field| FieldError::forbidden(format!("spec.{field}"), "may not be set for ExternalName services")),
        );
        let name = text(spec, "externalName");
        match name.strip_suffix('.').unwrap_or(name) {
            "" => errors.push(FieldError::required("spec.externalName", "")),
            name => {
                errors.extend(FieldError::invalid_each("spec.externalName", name, meta::dns1123_subdomain(name)));
            }
        }
    }
    if matches!(kind, "NodePort" | "LoadBalancer") && is_headless(spec) {
        let detail = format!("may not be set to 'None' for {kind} services");
        errors.push(FieldError::invalid("spec.clusterIPs[0]", "None", &detail));
    }
    errors
}

fn check_ports(spec: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (kind, ports) = (text(spec, "type"), list(spec, "ports"));
    if ports.is_empty() && kind != "ExternalName" && !is_headless(spec) {
        errors.push(FieldError::required("spec.ports", ""));
    }
    let (mut names, mut numbers, mut node_ports) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (index, port) in ports.iter().enumerate() {
        let path = format!("spec.ports[{index}]");
        errors.extend(check_name(text(port, "name"), ports.len() > 1, &mut names, &format!("{path}.name")));
        errors.extend(check_port(port, &path));
        let (protocol, value) = (text(port, "protocol"), number(port, "port"));
        if kind == "LoadBalancer" && value == NODE_PORT {
            let detail = format!("may not expose port {NODE_PORT} externally since it is used by kubelet");
            errors.push(FieldError::invalid(&path, value, &detail));
        }
        let (node_port, node_path) = (number(port, "nodePort"), format!("{path}.nodePort"));
        if node_port != 0 && !matches!(kind, "NodePort" | "LoadBalancer") {
            errors.push(FieldError::forbidden(node_path, &format!("may not be used when `type` is '{kind}'")));
        } else if node_port != 0 && !node_ports.insert((protocol, node_port)) {
            errors.push(FieldError::duplicate(node_path, node_port));
        }
        if !numbers.insert((protocol, value)) {
            errors.push(FieldError::duplicate(path, json!({"port": value, "protocol": protocol})));
        }
    }
    errors
}

fn check_name<'a>(name: &'a str, is_needed: bool, names: &mut BTreeSet<&'a str>, path: &str) -> Vec<FieldError> {
    if name.is_empty() {
        return if is_needed { vec![FieldError::required(path, "")] } else { Vec::new() };
    }
    let mut errors = FieldError::invalid_each(path, name, meta::dns1123_label(name));
    if !names.insert(name) {
        errors.push(FieldError::duplicate(path, name));
    }
    errors
}

fn check_port(port: &Value, path: &str) -> Vec<FieldError> {
    let mut errors: Vec<FieldError> = in_range(port, path, "port", 1..=65535, PORT_RANGE).into_iter().collect();
    errors.extend(check_protocols(port, path));
    match port.get("targetPort") {
        Some(Value::String(target)) => {
            errors.extend(FieldError::invalid_each(&format!("{path}.targetPort"), target, port_name(target)));
        }
        Some(_) => errors.extend(in_range(port, path, "targetPort", 1..=65535, PORT_RANGE)),
        None => {}
    }
    errors
}

/// Which clients stick to a pod, and for how long.
fn check_affinity(spec: &Value) -> Vec<FieldError> {
    const PATH: &str = "spec.sessionAffinityConfig";
    let (affinity, config) = (text(spec, "sessionAffinity"), at(spec, "sessionAffinityConfig"));
    match (affinity, config) {
        ("None", Some(_)) => {
            vec![FieldError::forbidden(PATH, "must not be set when session affinity is None")]
        }
        ("None", None) => Vec::new(),
        ("ClientIP", None) => vec![FieldError::required(PATH, "when session affinity type is ClientIP")],
        ("ClientIP", Some(config)) => {
            let detail = format!("must be greater than 0 and less than {AFFINITY_MAX}");
            let client = config.get("clientIP").unwrap_or(&Value::Null);
            in_range(client, &format!("{PATH}.clientIP"), "timeoutSeconds", 1..=AFFINITY_MAX, &detail)
                .into_iter()
                .collect()
        }
        ("", _) => vec![FieldError::required("spec.sessionAffinity", "")],
        (other, _) => vec![FieldError::not_supported("spec.sessionAffinity", other, &["ClientIP", "None"])],
    }
}

/// What leads in from outside.
fn check_outside(spec: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, address) in list(spec, "externalIPs").iter().filter_map(Value::as_str).enumerate() {
        errors.extend(check_address(address, &format!("spec.externalIPs[{index}]")));
    }
    let (kind, policy) = (text(spec, "type"), text(spec, "externalTrafficPolicy"));
    if is_external(kind, spec.get("externalIPs")) {
        errors.extend(one_of(spec, "spec", "externalTrafficPolicy", &["Cluster", "Local"]));
    } else if !policy.is_empty() {
        let detail = "may only be set for externally-accessible services";
        errors.push(FieldError::invalid("spec.externalTrafficPolicy", policy, detail));
    }
    let health = number(spec, "healthCheckNodePort");
    if kind == "LoadBalancer" && policy == "Local" {
        errors.extend(in_range(spec, "spec", "healthCheckNodePort", 0..=65535, PORT_RANGE));
    } else if health != 0 {
        let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errors.push(FieldError::invalid("spec.healthCheckNodePort", health, detail));
    }
    errors
}

/// What only balancers have.
fn check_balancer(spec: &Value, old: Option<&Value>) -> Vec<FieldError> {
    const CLASS: &str = "spec.loadBalancerClass";
    let is_balancer = text(spec, "type") == "LoadBalancer";
    let mut errors = Vec::new();
    let ranges = list(spec, "loadBalancerSourceRanges");
    if !ranges.is_empty() && !is_balancer {
        errors.push(FieldError::forbidden("spec.LoadBalancerSourceRanges", BALANCER_ONLY));
    }
    for (index, range) in ranges.iter().filter_map(Value::as_str).map(str::trim).enumerate() {
        if !is_cidr(range) {
            errors.push(FieldError::invalid(format!("spec.LoadBalancerSourceRanges[{index}]"), range, CIDR));
        }
    }
    if !is_balancer {
        let set = ["allocateLoadBalancerNodePorts", "loadBalancerClass"].into_iter().filter(|field| has(spec, field));
        errors.extend(set.map(|field| FieldError::forbidden(format!("spec.{field}"), BALANCER_ONLY)));
        return errors;
    }
    let class = at(spec, "loadBalancerClass");
    let before = old.filter(|old| text(old, "type") == "LoadBalancer");
    if before.is_some_and(|old| at(old, "loadBalancerClass") != class) {
        errors.push(FieldError::invalid(CLASS, class.cloned().unwrap_or_default(), "may not change once set"));
    }
    if let Some(class) = class.and_then(Value::as_str) {
        errors.extend(FieldError::invalid_each(CLASS, class, meta::qualified_name(class)));
    }
    errors
}
