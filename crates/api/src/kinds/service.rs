//! Services: ports, addresses that the server gives out, and which of them an update keeps (`pkg/registry/core/service`).

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::doc::{Doc, child, child_made, children, fill, has, list, number, text};
use super::pod_spec::port_name;
use super::print::{self, Col, Columns, Text};
use super::rules;
use crate::meta::{self, NameRule};
use crate::object::Object;
use crate::resource::{Column, Manners};
use crate::status::FieldError;

/// How long a client sticks to a pod.
const AFFINITY_SECONDS: i64 = 10_800;

/// The longest that a client sticks to a pod.
const AFFINITY_MAX: i64 = 86_400;

/// The manners of services.
pub(super) struct Service;

const COLUMNS: Columns = &[
    print::NAME,
    Col("Type", Text, "type determines how the Service is exposed."),
    Col("Cluster-IP", Text, "clusterIP is the IP address of the service and is usually assigned randomly."),
    Col("External-IP", Text, "IP addresses for which nodes in the cluster will also accept traffic for this service."),
    Col("Port(s)", Text, "The list of ports that are exposed by this service."),
    print::AGE,
    print::SELECTOR,
];

impl Manners for Service {
    fn default(&self, object: &mut Object) {
        let Some(spec) = child_made(&mut object.0, "spec") else { return };
        fill(spec, "sessionAffinity", "None");
        fill(spec, "type", "ClusterIP");
        if spec.get("sessionAffinity").and_then(Value::as_str) == Some("None") {
            spec.remove("sessionAffinityConfig");
        } else if let Some(config) = child_made(spec, "sessionAffinityConfig")
            && let Some(client) = child_made(config, "clientIP")
        {
            fill(client, "timeoutSeconds", AFFINITY_SECONDS);
        }
        for port in children(spec, "ports") {
            fill(port, "protocol", "TCP");
            let number = port.get("port").cloned().unwrap_or_default();
            // No target and a target of zero both mean "the same port".
            if port
                .get("targetPort")
                .is_none_or(|target| target.is_null() || *target == json!(0) || *target == json!(""))
            {
                port.insert("targetPort".to_owned(), number);
            }
        }
        let kind = spec.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
            fill(spec, "externalTrafficPolicy", "Cluster");
        }
        if kind == "LoadBalancer" {
            fill(spec, "allocateLoadBalancerNodePorts", true);
        }
        if kind != "ExternalName" {
            fill(spec, "internalTrafficPolicy", "Cluster");
            fill(spec, "ipFamilyPolicy", "SingleStack");
            fill(spec, "ipFamilies", json!(["IPv4"]));
        }
    }

    fn prepare_create(&self, object: &mut Object) {
        object.0.insert("status".to_owned(), json!({"loadBalancer": {}}));
        if let Some(spec) = child(&mut object.0, "spec") {
            sync_cluster_ips(spec);
        }
    }

    fn prepare_update(&self, object: &mut Object, old: &Object) {
        let Some(old_spec) = old.at(&["spec"]) else { return };
        let Some(spec) = child(&mut object.0, "spec") else { return };
        // This runs before defaults: a type that is left out is the default one.
        fill(spec, "type", "ClusterIP");
        release(spec, old_spec);
        keep_allocated(spec, old_spec);
        sync_cluster_ips(spec);
    }

    fn validate(&self, object: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let spec = object.at(&["spec"]).unwrap_or(&Value::Null);
        let mut errors = validate_type(spec);
        errors.extend(validate_ports(spec));
        errors.extend(validate_outside(spec));
        errors.extend(validate_ips(spec, old.and_then(|old| old.at(&["spec"]))));
        let selector = spec.get("selector").and_then(Value::as_object).into_iter().flatten();
        let selector = selector.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?))).collect();
        errors.extend(meta::validate_labels("spec.selector", &selector));
        errors
    }

    fn columns(&self) -> Vec<Column> {
        print::columns(COLUMNS)
    }

    fn cells(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        let null = Value::Null;
        let spec = object.at(&["spec"]).unwrap_or(&null);
        vec![
            object.name().into(),
            text(spec, "type").into(),
            print::or_none(text(spec, "clusterIP").to_owned()).into(),
            external_ip(spec, object).into(),
            ports(spec).into(),
            print::age(object, now),
            print::labels(spec.get("selector")).into(),
        ]
    }

    fn field(&self, object: &Object, path: &str) -> Option<String> {
        match path {
            "spec.clusterIP" => Some(object.str_at(&["spec", "clusterIP"]).to_owned()),
            "spec.type" => Some(object.str_at(&["spec", "type"]).to_owned()),
            _ => None,
        }
    }

    fn name_rule(&self) -> NameRule {
        NameRule::ServiceLabel
    }

    fn has_generation(&self) -> bool {
        false
    }
}

fn needs_cluster_ip(kind: &str) -> bool {
    matches!(kind, "ClusterIP" | "NodePort" | "LoadBalancer")
}

fn needs_node_port(kind: &str) -> bool {
    matches!(kind, "NodePort" | "LoadBalancer")
}

/// Drops what the new type has no use for, unless the user changed it in the same breath (`dropTypeDependentFields`).
fn release(spec: &mut Doc, old: &Value) {
    let kind = spec.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    if needs_cluster_ip(text(old, "type")) && !needs_cluster_ip(&kind) {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"] {
            if spec.get(field) == old.get(field) {
                spec.remove(field);
            }
        }
    }
    if needs_node_port(text(old, "type")) && !needs_node_port(&kind) {
        let old_ports: Vec<i64> = list(old, "ports").iter().map(|port| number(port, "nodePort")).collect();
        for port in children(spec, "ports") {
            if port.get("nodePort").and_then(Value::as_i64).is_some_and(|port| old_ports.contains(&port)) {
                port.remove("nodePort");
            }
        }
        for field in ["externalTrafficPolicy", "healthCheckNodePort", "allocateLoadBalancerNodePorts"] {
            if spec.get(field) == old.get(field) {
                spec.remove(field);
            }
        }
    }
}

/// Keeps what the server gave out when the client leaves it out (`patchAllocatedValues`).
fn keep_allocated(spec: &mut Doc, old: &Value) {
    let kind = spec.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    if needs_cluster_ip(text(old, "type")) && needs_cluster_ip(&kind) {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            let is_missing =
                spec.get(field).is_none_or(|value| value.is_null() || *value == json!("") || *value == json!([]));
            if is_missing && let Some(value) = old.get(field) {
                spec.insert(field.to_owned(), value.clone());
            }
        }
    }
    if !(needs_node_port(text(old, "type")) && needs_node_port(&kind)) {
        return;
    }
    let key = |port: &Value| (number(port, "port"), text(port, "protocol").to_owned());
    let mut taken: BTreeSet<i64> = spec
        .get("ports")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|port| number(port, "nodePort"))
        .collect();
    for port in children(spec, "ports") {
        if port.get("nodePort").and_then(Value::as_i64).unwrap_or_default() != 0 {
            continue;
        }
        let wanted = key(&Value::Object(port.clone()));
        let wanted = (wanted.0, if wanted.1.is_empty() { "TCP".to_owned() } else { wanted.1 });
        let before = list(old, "ports").iter().find(|old| key(old) == wanted).map(|old| number(old, "nodePort"));
        if let Some(before) = before.filter(|before| *before != 0)
            && taken.insert(before)
        {
            port.insert("nodePort".to_owned(), before.into());
        }
    }
    let health = number(old, "healthCheckNodePort");
    if health != 0 && kind == "LoadBalancer" && spec.get("externalTrafficPolicy") == Some(&json!("Local")) {
        fill(spec, "healthCheckNodePort", health);
    }
}

/// `clusterIP` is the first of `clusterIPs`; clients set either.
fn sync_cluster_ips(spec: &mut Doc) {
    let first = spec.get("clusterIPs").and_then(|ips| ips.get(0)).and_then(Value::as_str).map(str::to_owned);
    let single = spec.get("clusterIP").and_then(Value::as_str).filter(|ip| !ip.is_empty()).map(str::to_owned);
    match (single, first) {
        (Some(single), None) => {
            spec.insert("clusterIPs".to_owned(), json!([single]));
        }
        (None, Some(first)) => {
            spec.insert("clusterIP".to_owned(), first.into());
        }
        _ => {}
    }
}

fn validate_type(spec: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let kinds = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    let kind = text(spec, "type");
    if !kinds.contains(&kind) {
        errors.push(FieldError::not_supported("spec.type", kind, &kinds));
    }
    if kind == "ExternalName" && !has(spec, "externalName") {
        errors.push(FieldError::required("spec.externalName", ""));
    }
    if kind == "ExternalName" && !matches!(text(spec, "clusterIP"), "" | "None") {
        errors.push(FieldError::forbidden("spec.clusterIPs[0]", "may not be set when `type` is 'ExternalName'"));
    }
    if matches!(kind, "NodePort" | "LoadBalancer") && text(spec, "clusterIP") == "None" {
        let detail = format!("may not be set to 'None' for {kind} services");
        errors.push(FieldError::invalid("spec.clusterIPs[0]", "None", &detail));
    }
    let (affinity, affinities) = (text(spec, "sessionAffinity"), ["ClientIP", "None"]);
    if !affinities.contains(&affinity) {
        errors.push(FieldError::not_supported("spec.sessionAffinity", affinity, &affinities));
    }
    for field in ["internalTrafficPolicy", "externalTrafficPolicy"] {
        let policy = text(spec, field);
        if !matches!(policy, "" | "Cluster" | "Local") {
            errors.push(FieldError::not_supported(format!("spec.{field}"), policy, &["Cluster", "Local"]));
        }
    }
    errors
}

/// What leads in from outside, and which clients stick to a pod.
fn validate_outside(spec: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let kind = text(spec, "type");
    if kind == "ExternalName" && has(spec, "externalName") {
        let name = text(spec, "externalName");
        let problems = meta::dns1123_subdomain(name.strip_suffix('.').unwrap_or(name));
        errors.extend(problems.iter().map(|problem| FieldError::invalid("spec.externalName", name, problem)));
    }
    for (index, address) in list(spec, "externalIPs").iter().filter_map(Value::as_str).enumerate() {
        errors.extend(rules::check_address(address, &format!("spec.externalIPs[{index}]")));
    }
    let is_external = matches!(kind, "NodePort" | "LoadBalancer") || !list(spec, "externalIPs").is_empty();
    let policy = text(spec, "externalTrafficPolicy");
    if !is_external && !policy.is_empty() {
        let detail = "may only be set for externally-accessible services";
        errors.push(FieldError::invalid("spec.externalTrafficPolicy", policy, detail));
    }
    for field in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
        if kind != "LoadBalancer" && spec.get(field).is_some_and(|value| !value.is_null()) {
            errors
                .push(FieldError::forbidden(format!("spec.{field}"), "may only be used when `type` is 'LoadBalancer'"));
        }
    }
    let health = number(spec, "healthCheckNodePort");
    if health != 0 && !(kind == "LoadBalancer" && policy == "Local") {
        let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errors.push(FieldError::invalid("spec.healthCheckNodePort", health, detail));
    }
    let seconds = spec.get("sessionAffinityConfig").and_then(|config| config.get("clientIP"));
    if let Some(seconds) = seconds.map(|client| number(client, "timeoutSeconds"))
        && !(1..=AFFINITY_MAX).contains(&seconds)
    {
        let detail = format!("must be greater than 0 and less than {AFFINITY_MAX}");
        errors.push(FieldError::invalid("spec.sessionAffinityConfig.clientIP.timeoutSeconds", seconds, &detail));
    }
    errors
}

fn validate_ports(spec: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (kind, ports) = (text(spec, "type"), list(spec, "ports"));
    if ports.is_empty() && kind != "ExternalName" && text(spec, "clusterIP") != "None" {
        errors.push(FieldError::required("spec.ports", ""));
    }
    let (mut names, mut numbers, mut node_ports) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (index, port) in ports.iter().enumerate() {
        let path = format!("spec.ports[{index}]");
        let name = text(port, "name");
        if name.is_empty() && ports.len() > 1 {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        } else if !name.is_empty() {
            let problems = meta::dns1123_label(name);
            errors.extend(problems.iter().map(|problem| FieldError::invalid(format!("{path}.name"), name, problem)));
            if !names.insert(name) {
                errors.push(FieldError::duplicate(format!("{path}.name"), name));
            }
        }
        errors.extend(validate_port(port, &path));
        let (protocol, value) = (text(port, "protocol"), number(port, "port"));
        if !numbers.insert((protocol, value)) {
            errors.push(FieldError::duplicate(&path, json!({"port": value, "protocol": protocol})));
        }
        let node_port = number(port, "nodePort");
        if node_port != 0 && !matches!(kind, "NodePort" | "LoadBalancer") {
            let detail = format!("may not be used when `type` is '{kind}'");
            errors.push(FieldError::forbidden(format!("{path}.nodePort"), &detail));
        } else if node_port != 0 && !node_ports.insert((protocol, node_port)) {
            errors.push(FieldError::duplicate(format!("{path}.nodePort"), node_port));
        }
    }
    errors
}

fn validate_port(port: &Value, path: &str) -> Vec<FieldError> {
    const RANGE: &str = "must be between 1 and 65535, inclusive";
    let mut errors = Vec::new();
    let value = number(port, "port");
    if !(1..=65535).contains(&value) {
        errors.push(FieldError::invalid(format!("{path}.port"), value, RANGE));
    }
    let (protocol, protocols) = (text(port, "protocol"), ["SCTP", "TCP", "UDP"]);
    if !protocols.contains(&protocol) {
        errors.push(FieldError::not_supported(format!("{path}.protocol"), protocol, &protocols));
    }
    let path = format!("{path}.targetPort");
    match port.get("targetPort") {
        Some(Value::Number(target)) if !target.as_i64().is_some_and(|target| (1..=65535).contains(&target)) => {
            errors.push(FieldError::invalid(path, target.clone(), RANGE));
        }
        Some(Value::String(target)) => {
            errors.extend(
                port_name(target).into_iter().map(|problem| FieldError::invalid(&path, target.as_str(), problem)),
            );
        }
        _ => {}
    }
    errors
}

fn validate_ips(spec: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let ip = text(spec, "clusterIP");
    if !matches!(ip, "" | "None") && ip.parse::<std::net::IpAddr>().is_err() {
        let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        errors.push(FieldError::invalid("spec.clusterIPs[0]", ip, detail));
    }
    let Some(old) = old else { return errors };
    let old_ip = text(old, "clusterIP");
    let both_need_one = needs_cluster_ip(text(spec, "type")) && needs_cluster_ip(text(old, "type"));
    if both_need_one && !old_ip.is_empty() && ip != old_ip {
        let ips = spec.get("clusterIPs").cloned().unwrap_or_else(|| json!([ip]));
        errors.push(FieldError::invalid("spec.clusterIPs[0]", ips, "may not change once set"));
    }
    errors
}

fn external_ip(spec: &Value, object: &Object) -> String {
    let mut ips: Vec<String> = list(spec, "externalIPs").iter().filter_map(Value::as_str).map(str::to_owned).collect();
    match text(spec, "type") {
        "ExternalName" => text(spec, "externalName").to_owned(),
        "LoadBalancer" => {
            let mut all = print::load_balancer(object.at(&["status"]));
            all.append(&mut ips);
            if all.is_empty() { "<pending>".to_owned() } else { all.join(",") }
        }
        _ => print::or_none(ips.join(",")),
    }
}

fn ports(spec: &Value) -> String {
    let port = |port: &Value| {
        let (value, node_port, protocol) = (number(port, "port"), number(port, "nodePort"), text(port, "protocol"));
        if node_port > 0 { format!("{value}:{node_port}/{protocol}") } else { format!("{value}/{protocol}") }
    };
    print::or_none(list(spec, "ports").iter().map(port).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests;
