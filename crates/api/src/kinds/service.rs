//! Services: ports, addresses that the server gives out, and which of them an update keeps (`pkg/registry/core/service`).

mod addresses;
mod rules;

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::doc::{Doc, child, child_made, children, fill, list, number, text};
use super::print::{self, Col, Columns, Text};
use crate::meta::NameRule;
use crate::object::Object;
use crate::resource::{Column, Manners};
use crate::status::FieldError;

/// How long a client sticks to a pod.
const AFFINITY_SECONDS: i64 = 10_800;

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
        if addresses::is_external(&kind, spec.get("externalIPs")) {
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
        rules::validate(object, old)
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
