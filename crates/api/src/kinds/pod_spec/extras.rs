//! The parts of a pod's spec that few pods have: host aliases, gates, DNS settings, the operating system, overhead.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use crate::kinds::doc::{at, has, list, text};
use crate::kinds::rules::{IP, check_amount, one_of};
use crate::meta;
use crate::status::FieldError;

const NAMESERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;

/// What host aliases, gates, DNS settings, the operating system and the overhead must look like.
pub(super) fn validate(spec: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, alias) in list(spec, "hostAliases").iter().enumerate() {
        let path = format!("{path}.hostAliases[{index}]");
        if text(alias, "ip").parse::<IpAddr>().is_err() {
            errors.push(FieldError::invalid(format!("{path}.ip"), text(alias, "ip"), IP));
        }
        for name in list(alias, "hostnames").iter().filter_map(Value::as_str) {
            let problems = meta::dns1123_subdomain(name);
            errors
                .extend(problems.iter().map(|problem| FieldError::invalid(format!("{path}.hostnames"), name, problem)));
        }
    }
    let mut gates = BTreeSet::new();
    for (index, gate) in list(spec, "schedulingGates").iter().enumerate() {
        let (path, name) = (format!("{path}.schedulingGates[{index}]"), text(gate, "name"));
        let problems = meta::qualified_name(name);
        errors.extend(problems.iter().map(|problem| FieldError::invalid(&path, name, problem)));
        if !gates.insert(name) {
            errors.push(FieldError::duplicate(path, name));
        }
    }
    if !gates.is_empty() && has(spec, "nodeName") && path == "spec" {
        errors.push(FieldError::forbidden(
            format!("{path}.nodeName"),
            "cannot be set until all schedulingGates have been cleared",
        ));
    }
    for (index, gate) in list(spec, "readinessGates").iter().enumerate() {
        let (path, name) = (format!("{path}.readinessGates[{index}].conditionType"), text(gate, "conditionType"));
        let problems = meta::qualified_name(name);
        errors.extend(problems.iter().map(|problem| FieldError::invalid(&path, name, problem)));
    }
    errors.extend(check_dns(spec, path));
    errors.extend(one_of(spec.get("os").unwrap_or(&Value::Null), &format!("{path}.os"), "name", &["linux", "windows"]));
    errors.extend(one_of(spec, path, "preemptionPolicy", &["Never", "PreemptLowerPriority"]));
    for (name, amount) in spec.get("overhead").and_then(Value::as_object).into_iter().flatten() {
        errors.extend(check_amount(amount, &format!("{path}.overhead[{name}]")));
    }
    errors
}

fn check_dns(spec: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let Some(config) = at(spec, "dnsConfig") else { return errors };
    let path = format!("{path}.dnsConfig");
    for (field, limit, what) in
        [("nameservers", NAMESERVERS_MAX, "nameservers"), ("searches", SEARCHES_MAX, "search paths")]
    {
        let entries = list(config, field);
        if entries.len() > limit {
            let detail = format!("must not have more than {limit} {what}");
            errors.push(FieldError::invalid(format!("{path}.{field}"), entries.to_vec(), &detail));
        }
    }
    for (index, server) in list(config, "nameservers").iter().filter_map(Value::as_str).enumerate() {
        if server.parse::<IpAddr>().is_err() {
            errors.push(FieldError::invalid(format!("{path}.nameservers[{index}]"), server, IP));
        }
    }
    for (index, option) in list(config, "options").iter().enumerate() {
        if !has(option, "name") {
            errors.push(FieldError::required(format!("{path}.options[{index}]"), "must not be empty"));
        }
    }
    errors
}
