//! The parts of a pod's spec that few pods have: security contexts, affinity, host aliases, gates, DNS
//! (`ValidatePodSpec` and what it calls).

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use super::{IP, check_amount, check_selector, one_of};
use crate::kinds::doc::{at, flag, has, list, number, text};
use crate::meta;
use crate::status::FieldError;

const ID_RANGE: &str = "must be between 0 and 2147483647, inclusive";
/// How long the name of a kernel parameter may be.
const SYSCTL_MAX: usize = 253;
const SYSCTL: &str = r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
const NAMESERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// What the security contexts of a pod and of its containers must look like.
pub(in crate::kinds) fn validate_security(spec: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if let Some(context) = at(spec, "securityContext") {
        let path = format!("{path}.securityContext");
        errors.extend(check_context(context, &path, &["runAsUser", "runAsGroup", "fsGroup"]));
        for (index, group) in list(context, "supplementalGroups").iter().filter_map(Value::as_i64).enumerate() {
            errors.extend(check_id(group, &format!("{path}.supplementalGroups[{index}]")));
        }
        errors.extend(one_of(context, &path, "fsGroupChangePolicy", &["Always", "OnRootMismatch"]));
        errors.extend(check_sysctls(list(context, "sysctls"), &format!("{path}.sysctls")));
    }
    for field in ["containers", "initContainers", "ephemeralContainers"] {
        for (index, container) in list(spec, field).iter().enumerate() {
            let Some(context) = at(container, "securityContext") else { continue };
            let path = format!("{path}.{field}[{index}].securityContext");
            errors.extend(check_context(context, &path, &["runAsUser", "runAsGroup"]));
            errors.extend(one_of(context, &path, "procMount", &["Default", "Unmasked"]));
            errors.extend(check_escalation(context, &path));
        }
    }
    errors
}

fn check_context(context: &Value, path: &str, ids: &[&str]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for field in ids {
        if let Some(id) = context.get(*field).and_then(Value::as_i64) {
            errors.extend(check_id(id, &format!("{path}.{field}")));
        }
    }
    for field in ["seccompProfile", "appArmorProfile"] {
        let Some(profile) = at(context, field) else { continue };
        let path = format!("{path}.{field}");
        let kinds = ["Localhost", "RuntimeDefault", "Unconfined"];
        match (text(profile, "type"), has(profile, "localhostProfile")) {
            ("", _) => errors.push(FieldError::required(format!("{path}.type"), "")),
            ("Localhost", false) => {
                let detail = "must be set when seccomp type is Localhost";
                let detail =
                    if field == "seccompProfile" { detail } else { "must be set when AppArmor type is Localhost" };
                errors.push(FieldError::required(format!("{path}.localhostProfile"), detail));
            }
            ("RuntimeDefault" | "Unconfined", true) => {
                let what = if field == "seccompProfile" { "seccomp" } else { "AppArmor" };
                let detail = format!("can only be set when {what} type is Localhost");
                let path = format!("{path}.localhostProfile");
                errors.push(FieldError::invalid(path, text(profile, "localhostProfile"), &detail));
            }
            _ => errors.extend(one_of(profile, &path, "type", &kinds)),
        }
    }
    errors
}

fn check_id(id: i64, path: &str) -> Option<FieldError> {
    (!(0..=i64::from(i32::MAX)).contains(&id)).then(|| FieldError::invalid(path, id, ID_RANGE))
}

fn check_escalation(context: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if context.get("allowPrivilegeEscalation") != Some(&Value::Bool(false)) {
        return errors;
    }
    if flag(context, "privileged") {
        let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
        errors.push(FieldError::invalid(path, context.clone(), detail));
    }
    let added = at(context, "capabilities").map(|capabilities| list(capabilities, "add")).unwrap_or_default();
    if added.iter().any(|name| name == "CAP_SYS_ADMIN") {
        let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
        errors.push(FieldError::invalid(path, context.clone(), detail));
    }
    errors
}

fn check_sysctls(sysctls: &[Value], path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, sysctl) in sysctls.iter().enumerate() {
        let name = text(sysctl, "name");
        let path = format!("{path}[{index}].name");
        if name.is_empty() {
            errors.push(FieldError::required(path, ""));
        } else if !is_sysctl(name) {
            let detail = format!("must have at most {SYSCTL_MAX} characters and match regex {SYSCTL}");
            errors.push(FieldError::invalid(path, name, &detail));
        } else if !seen.insert(name) {
            errors.push(FieldError::duplicate(path, name));
        }
    }
    errors
}

/// Segments of small letters, digits, dashes and underscores, between dots or slashes (`IsValidSysctlName`).
fn is_sysctl(name: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let fits = |part: &str| {
        part.starts_with(alphanumeric)
            && part.ends_with(alphanumeric)
            && part.chars().all(|c| alphanumeric(c) || matches!(c, '-' | '_'))
    };
    name.len() <= SYSCTL_MAX && name.split(['.', '/']).all(fits)
}

/// What the affinities of a pod must look like.
pub(in crate::kinds) fn validate_affinity(spec: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let path = format!("{path}.affinity");
    if let Some(node) = at(spec, "affinity.nodeAffinity") {
        let path = format!("{path}.nodeAffinity");
        let terms = at(node, REQUIRED).map(|required| list(required, "nodeSelectorTerms")).unwrap_or_default();
        for (index, term) in terms.iter().enumerate() {
            errors.extend(check_node_term(term, &format!("{path}.{REQUIRED}.nodeSelectorTerms[{index}]")));
        }
        for (index, term) in list(node, PREFERRED).iter().enumerate() {
            let path = format!("{path}.{PREFERRED}[{index}].preference");
            errors.extend(check_node_term(term.get("preference").unwrap_or(&Value::Null), &path));
        }
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(affinity) = at(spec, &format!("affinity.{kind}")) else { continue };
        for (index, term) in list(affinity, REQUIRED).iter().enumerate() {
            errors.extend(check_pod_term(term, &format!("{path}.{kind}.{REQUIRED}[{index}]")));
        }
        for (index, weighted) in list(affinity, PREFERRED).iter().enumerate() {
            let path = format!("{path}.{kind}.{PREFERRED}[{index}]");
            let weight = number(weighted, "weight");
            if !(1..=100).contains(&weight) {
                errors.push(FieldError::invalid(format!("{path}.weight"), weight, "must be in the range 1-100"));
            }
            let term = weighted.get("podAffinityTerm").unwrap_or(&Value::Null);
            errors.extend(check_pod_term(term, &format!("{path}.podAffinityTerm")));
        }
    }
    errors
}

fn check_node_term(term: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, requirement) in list(term, "matchExpressions").iter().enumerate() {
        let path = format!("{path}.matchExpressions[{index}]");
        let (operator, values) = (text(requirement, "operator"), list(requirement, "values"));
        let values_path = format!("{path}.values");
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.push(FieldError::required(values_path, detail));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(FieldError::forbidden(values_path, detail));
            }
            "Gt" | "Lt" if values.len() != 1 => {
                let detail = "must be specified single value when `operator` is 'Lt' or 'Gt'";
                errors.push(FieldError::required(values_path, detail));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            other => {
                let detail = "not a valid selector operator";
                errors.push(FieldError::invalid(format!("{path}.operator"), other, detail));
            }
        }
        let key = text(requirement, "key");
        let problems = meta::qualified_name(key);
        errors.extend(problems.iter().map(|problem| FieldError::invalid(format!("{path}.key"), key, problem)));
    }
    errors
}

fn check_pod_term(term: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for field in ["labelSelector", "namespaceSelector"] {
        errors.extend(check_selector(term.get(field), &format!("{path}.{field}")));
    }
    for name in list(term, "namespaces").iter().filter_map(Value::as_str) {
        let problems = meta::dns1123_label(name);
        errors.extend(problems.iter().map(|problem| FieldError::invalid(format!("{path}.namespace"), name, problem)));
    }
    let key = text(term, "topologyKey");
    if key.is_empty() {
        errors.push(FieldError::required(format!("{path}.topologyKey"), "can not be empty"));
    } else {
        let problems = meta::qualified_name(key);
        let path = format!("{path}.topologyKey");
        errors.extend(problems.iter().map(|problem| FieldError::invalid(&path, key, problem)));
    }
    errors
}

/// What host aliases, gates, DNS settings, the operating system and the overhead must look like.
pub(in crate::kinds) fn validate_extras(spec: &Value, path: &str) -> Vec<FieldError> {
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
    errors.extend(check_spread(spec, path));
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

/// Two constraints cannot be about the same domains in the same way; each selects by labels.
fn check_spread(spec: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, constraint) in list(spec, "topologySpreadConstraints").iter().enumerate() {
        let path = format!("{path}.topologySpreadConstraints[{index}]");
        let pair = (text(constraint, "topologyKey"), text(constraint, "whenUnsatisfiable"));
        if !seen.insert(pair) {
            let path = format!("{path}.{{topologyKey, whenUnsatisfiable}}");
            errors.push(FieldError::duplicate(path, format!("{{{}, {}}}", pair.0, pair.1)));
        }
        errors.extend(check_selector(constraint.get("labelSelector"), &format!("{path}.labelSelector")));
        if let Some(domains) = constraint.get("minDomains").and_then(Value::as_i64) {
            if domains <= 0 {
                errors.push(FieldError::invalid(format!("{path}.minDomains"), domains, "must be greater than zero"));
            } else if pair.1 != "DoNotSchedule" {
                let detail = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {}", pair.1);
                errors.push(FieldError::invalid(format!("{path}.minDomains"), domains, &detail));
            }
        }
        for field in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            errors.extend(one_of(constraint, &path, field, &["Honor", "Ignore"]));
        }
    }
    errors
}
