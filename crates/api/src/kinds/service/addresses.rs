//! The addresses of services: one of each IP family, which stay (`ValidateServiceClusterIPsRelatedFields` and what an update
//! may do to them).

use std::net::IpAddr;

use serde_json::Value;

use crate::kinds::doc::{has, list, text};
use crate::kinds::rules::IP;
use crate::status::FieldError;

const IPS: &str = "spec.clusterIPs";
const FAMILIES: &str = "spec.ipFamilies";
const POLICY: &str = "spec.ipFamilyPolicy";
const POLICIES: [&str; 3] = ["PreferDualStack", "RequireDualStack", "SingleStack"];
const STAYS: &str = "may not change once set";

/// Whether clients from outside of the cluster reach a service.
pub(super) fn is_external(kind: &str, external_ips: Option<&Value>) -> bool {
    let has_ips = external_ips.and_then(Value::as_array).is_some_and(|ips| !ips.is_empty());
    matches!(kind, "NodePort" | "LoadBalancer") || kind == "ClusterIP" && has_ips
}

/// Whether a service is only a name for its pods.
pub(super) fn is_headless(spec: &Value) -> bool {
    text(spec, "clusterIP") == "None" || list(spec, "clusterIPs") == ["None"]
}

/// Returns everything that is wrong with the addresses of a service.
pub(super) fn validate(spec: &Value) -> Vec<FieldError> {
    if text(spec, "type") == "ExternalName" {
        return Vec::new();
    }
    let ips = texts(spec, "clusterIPs");
    let shown = || spec.get("clusterIPs").cloned().unwrap_or_default();
    let mut errors = Vec::new();
    match (text(spec, "clusterIP"), ips.first()) {
        ("", Some(_)) => {
            errors.push(FieldError::invalid(IPS, shown(), "must be empty when `clusterIP` is not specified"));
        }
        ("", None) => {}
        (_, None) => errors.push(FieldError::required(IPS, "")),
        (one, Some(first)) if one != *first => {
            errors.push(FieldError::invalid(IPS, shown(), "first value must match `clusterIP`"));
        }
        _ => {}
    }
    errors.extend(check_families(spec));
    if ips.len() > 1 && ips[0] == "None" {
        errors.push(FieldError::invalid(IPS, shown(), "'None' must be the first and only value"));
        return errors;
    }
    let wrong =
        ips.iter().enumerate().filter(|(index, ip)| !(*index == 0 && **ip == "None") && ip.parse::<IpAddr>().is_err());
    let wrong: Vec<FieldError> =
        wrong.map(|(index, ip)| FieldError::invalid(format!("{IPS}[{index}]"), *ip, IP)).collect();
    if ips.len() > 2 {
        errors.push(FieldError::invalid(IPS, shown(), "may only hold up to 2 values"));
    }
    if !wrong.is_empty() {
        errors.extend(wrong);
        return errors;
    }
    errors.extend(check_stacks(spec, &ips));
    errors
}

fn check_families(spec: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let families = texts(spec, "ipFamilies");
    for (index, family) in families.iter().enumerate() {
        let path = format!("{FAMILIES}[{index}]");
        if !matches!(*family, "IPv4" | "IPv6") {
            errors.push(FieldError::not_supported(&path, *family, &["IPv4", "IPv6"]));
        }
        if families[..index].contains(family) {
            errors.push(FieldError::duplicate(path, *family));
        }
    }
    let policy = text(spec, "ipFamilyPolicy");
    if has(spec, "ipFamilyPolicy") && !POLICIES.contains(&policy) {
        errors.push(FieldError::not_supported(POLICY, policy, &POLICIES));
    }
    errors
}

/// Two addresses are of two families, and of those that are named.
fn check_stacks(spec: &Value, ips: &[&str]) -> Vec<FieldError> {
    let is_six = |ip: &&str| ip.contains(':');
    let mut errors = Vec::new();
    if ips.len() > 1 && ips.iter().filter(|ip| is_six(ip)).count() != 1 {
        let shown = spec.get("clusterIPs").cloned().unwrap_or_default();
        errors.push(FieldError::invalid(IPS, shown, "may specify no more than one IP for each IP family"));
    }
    if is_headless(spec) {
        return errors;
    }
    for (index, (ip, family)) in ips.iter().zip(texts(spec, "ipFamilies")).enumerate() {
        if is_six(ip) != (family == "IPv6") {
            let detail = format!("expected an {family} value as indicated by `ipFamilies[{index}]`");
            errors.push(FieldError::invalid(format!("{IPS}[{index}]"), *ip, &detail));
        }
    }
    errors
}

/// A service keeps its addresses and families; it may get a second of each and give it back.
pub(super) fn validate_update(spec: &Value, old: &Value) -> Vec<FieldError> {
    let is_name = |spec: &Value| text(spec, "type") == "ExternalName";
    if is_name(spec) || is_name(old) {
        return Vec::new();
    }
    let mut errors = Vec::new();
    if !(is_headless(spec) && is_headless(old)) {
        errors.extend(check_kept(spec, old, "clusterIPs", "clusterIP"));
    }
    if !is_headless(spec) && !is_headless(old) {
        errors.extend(check_kept(spec, old, "ipFamilies", "ipFamily"));
    }
    errors
}

fn check_kept(spec: &Value, old: &Value, field: &str, one: &str) -> Vec<FieldError> {
    let (now, before) = (texts(spec, field), texts(old, field));
    let path = |index: usize| format!("spec.{field}[{index}]");
    let shown = || spec.get(field).cloned().unwrap_or_default();
    let mut errors = Vec::new();
    if now.is_empty() && !before.is_empty() {
        errors.push(FieldError::invalid(path(0), shown(), &format!("primary {one} can not be unset")));
    }
    for (index, (now, before)) in now.iter().zip(&before).enumerate() {
        if now != before {
            errors.push(FieldError::invalid(path(index), shown(), STAYS));
        }
    }
    let policy = text(spec, "ipFamilyPolicy");
    if before.len() > now.len() && now.len() == 1 && policy != "SingleStack" {
        let detail = format!("must be set to 'SingleStack' when releasing the secondary {one}");
        errors.push(FieldError::invalid(POLICY, policy, &detail));
    }
    errors
}

fn texts<'a>(spec: &'a Value, field: &str) -> Vec<&'a str> {
    list(spec, field).iter().filter_map(Value::as_str).collect()
}
