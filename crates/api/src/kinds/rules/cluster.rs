//! Addresses that are taken, the ranges they come from, and parts of the API that others serve.

use std::net::IpAddr;

use serde_json::Value;

use super::{CIDR, IP, check_fixed, check_named, document, in_range, named, parse_cidr, required, spec};
use crate::kinds::doc::{at, flag, has, list, number, text};
use crate::kinds::rules::PORT_RANGE;
use crate::meta;
use crate::object::Object;
use crate::status::FieldError;

/// The largest priorities of a group and of a version within it.
const GROUP_PRIORITY_MAX: i64 = 20_000;
const VERSION_PRIORITY_MAX: i64 = 1000;

/// What an address that is taken must look like: it is its name, and somebody has it.
pub(in crate::kinds) fn validate_ip_address(object: &Object, old: Option<&Object>) -> Vec<FieldError> {
    const PARENT: &str = "spec.parentRef";
    let mut errors = Vec::new();
    if !object.name().is_empty() {
        errors.extend(check_canonical(object.name(), "metadata.name"));
    }
    match at(spec(object), "parentRef") {
        None => errors.push(FieldError::required(PARENT, "")),
        Some(parent) => {
            errors.extend(named(parent, PARENT, "group", meta::dns1123_subdomain));
            for field in ["resource", "name"] {
                errors.extend(check_named(text(parent, field), &format!("{PARENT}.{field}"), meta::path_segment));
            }
            errors.extend(named(parent, PARENT, "namespace", meta::path_segment));
        }
    }
    errors.extend(old.and_then(|old| check_fixed(&document(object), &document(old), PARENT)));
    errors
}

/// An address has one name (`IsValidIP`).
fn check_canonical(address: &str, path: &str) -> Option<FieldError> {
    let Ok(parsed) = address.parse::<IpAddr>() else { return Some(FieldError::invalid(path, address, IP)) };
    if let IpAddr::V6(six) = parsed
        && six.to_ipv4_mapped().is_some()
    {
        return Some(FieldError::invalid(path, address, "must not be an IPv4-mapped IPv6 address"));
    }
    let canonical = parsed.to_string();
    (canonical != address)
        .then(|| FieldError::invalid(path, address, &format!("must be in canonical form ({canonical:?})")))
}

/// What the ranges of services must look like: one of each IP family, for good.
pub(in crate::kinds) fn validate_service_cidr(object: &Object, old: Option<&Object>) -> Vec<FieldError> {
    const PATH: &str = "spec.cidrs";
    const ONE_EACH: &str = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
    let spec = spec(object);
    let ranges: Vec<&str> = list(spec, "cidrs").iter().filter_map(Value::as_str).collect();
    let mut errors = match ranges.as_slice() {
        [] => vec![FieldError::required(PATH, "at least one CIDR required")],
        [_, _, _, ..] => vec![FieldError::invalid(PATH, spec.clone(), "may only hold up to 2 values")],
        [one, other] if !are_of_two_families(one, other) => vec![FieldError::invalid(PATH, spec.clone(), ONE_EACH)],
        few => {
            let ranges = few.iter().enumerate();
            ranges.filter_map(|(index, range)| check_range(range, &format!("{PATH}[{index}]"))).collect()
        }
    };
    errors.extend(old.and_then(|old| check_fixed(&document(object), &document(old), PATH)));
    errors
}

fn are_of_two_families(one: &str, other: &str) -> bool {
    let is_v4 = |range| parse_cidr(range).map(|(address, _)| address.is_ipv4());
    is_v4(one).zip(is_v4(other)).is_some_and(|(one, other)| one != other)
}

/// A range has one name: that of its first address (`IsValidCIDR`).
fn check_range(range: &str, path: &str) -> Option<FieldError> {
    let Some((address, bits)) = parse_cidr(range) else { return Some(FieldError::invalid(path, range, CIDR)) };
    let host_bits = match address {
        IpAddr::V4(address) => address.to_bits().checked_shl(bits).unwrap_or_default() != 0,
        IpAddr::V6(address) => address.to_bits().checked_shl(bits).unwrap_or_default() != 0,
    };
    if host_bits {
        return Some(FieldError::invalid(path, range, "must not have bits set beyond the prefix length"));
    }
    let canonical = format!("{address}/{bits}");
    (canonical != range)
        .then(|| FieldError::invalid(path, range, &format!("must be in canonical form ({canonical:?})")))
}

/// What a part of the API that others serve must look like (`pkg/apis/apiregistration/validation` of `kube-aggregator`).
pub(in crate::kinds) fn validate_api_service(object: &Object, _old: Option<&Object>) -> Vec<FieldError> {
    let spec = spec(object);
    let (group, version) = (text(spec, "group"), text(spec, "version"));
    let mut errors = Vec::new();
    let name = format!("{version}.{group}");
    if object.name() != name {
        let detail = format!("must be `spec.version+\".\"+spec.group`: {name:?}");
        errors.push(FieldError::invalid("metadata.name", object.name(), &detail));
    }
    if group.is_empty() && version != "v1" {
        let detail = "only v1 may have an empty group and it better be legacy kube";
        errors.push(FieldError::required("spec.group", detail));
    }
    errors.extend(named(spec, "spec", "group", meta::dns1123_subdomain));
    errors.extend(FieldError::invalid_each("spec.version", version, meta::dns1035_label(version)));
    for (field, most) in [("groupPriorityMinimum", GROUP_PRIORITY_MAX), ("versionPriority", VERSION_PRIORITY_MAX)] {
        let detail = format!("must be positive and less than {most}");
        errors.extend(in_range(spec, "spec", field, 1..=most, &detail));
    }
    let (has_bundle, is_insecure) = (has(spec, "caBundle"), flag(spec, "insecureSkipTLSVerify"));
    let Some(service) = at(spec, "service") else {
        if has_bundle {
            let shown = format!("{} bytes", text(spec, "caBundle").len() / 4 * 3);
            errors.push(FieldError::invalid("spec.caBundle", shown, "local APIServices may not have a caBundle"));
        }
        if is_insecure {
            let detail = "local APIServices may not have insecureSkipTLSVerify";
            errors.push(FieldError::invalid("spec.insecureSkipTLSVerify", true, detail));
        }
        return errors;
    };
    errors.extend(required(service, "spec.service", &["namespace", "name"]));
    let port = number(service, "port");
    if !(1..=65535).contains(&port) {
        errors.push(FieldError::invalid("spec.service.port", port, &format!("port is not valid: {PORT_RANGE}")));
    }
    if is_insecure && has_bundle {
        let detail = "may not be true if caBundle is present";
        errors.push(FieldError::invalid("spec.insecureSkipTLSVerify", true, detail));
    }
    errors
}
