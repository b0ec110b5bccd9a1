//! Ingresses: which hosts and paths lead to which services (`pkg/apis/networking/validation`).

use serde_json::{Value, json};

use super::{check_named, one_of, spec};
use crate::kinds::doc::{at, has, is_set, list, number, text};
use crate::kinds::pod_spec::port_name;
use crate::kinds::rules::PORT_RANGE;
use crate::meta;
use crate::object::Object;
use crate::status::FieldError;

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const PATH_TYPES: [&str; 3] = ["Exact", "ImplementationSpecific", "Prefix"];
/// What no path that is compared as it stands may contain, because servers read it in several ways.
const SEQUENCES: [&str; 6] = ["//", "/./", "/../", "%2f", "%2F", "\0"];
/// What no such path may end with.
const SUFFIXES: [&str; 2] = ["/..", "/."];

/// What an ingress must look like.
pub(in crate::kinds) fn validate_ingress(object: &Object, old: Option<&Object>) -> Vec<FieldError> {
    let spec = spec(object);
    let (rules, backend) = (list(spec, "rules"), at(spec, "defaultBackend"));
    let mut errors = Vec::new();
    if rules.is_empty() && backend.is_none() {
        errors.push(FieldError::invalid("spec", json!([]), "either `defaultBackend` or `rules` must be specified"));
    }
    if let Some(backend) = backend {
        errors.extend(check_backend(backend, "spec.defaultBackend"));
    }
    for (index, rule) in rules.iter().enumerate() {
        errors.extend(check_rule(rule, &format!("spec.rules[{index}]")));
    }
    for (index, tls) in list(spec, "tls").iter().enumerate() {
        errors.extend(check_tls(tls, &format!("spec.tls[{index}]")));
    }
    let class = spec.get("ingressClassName").and_then(Value::as_str);
    if let Some(class) = class {
        errors.extend(FieldError::invalid_each("spec.ingressClassName", class, meta::dns1123_subdomain(class)));
    }
    // Who has had both for long is left alone.
    let annotation = object.annotations().get(CLASS_ANNOTATION).copied().filter(|_| old.is_none());
    if let (Some(annotation), Some(class)) = (annotation, class)
        && annotation != class
    {
        let detail = "must match `ingressClassName` when both are specified";
        errors.push(FieldError::invalid(format!("annotations.{CLASS_ANNOTATION}"), annotation, detail));
    }
    errors
}

fn check_rule(rule: &Value, path: &str) -> Vec<FieldError> {
    let (host, host_path) = (text(rule, "host"), format!("{path}.host"));
    let mut errors = Vec::new();
    if host.parse::<std::net::IpAddr>().is_ok() {
        errors.push(FieldError::invalid(&host_path, host, "must be a DNS name, not an IP address"));
    }
    if !host.is_empty() {
        errors.extend(check_host(host, &host_path));
    }
    let Some(http) = at(rule, "http") else { return errors };
    let (paths, path) = (list(http, "paths"), format!("{path}.http.paths"));
    if paths.is_empty() {
        errors.push(FieldError::required(&path, ""));
    }
    for (index, one) in paths.iter().enumerate() {
        errors.extend(check_path(one, &format!("{path}[{index}]")));
    }
    errors
}

/// A name, which may begin with one star.
fn check_host(host: &str, path: &str) -> Vec<FieldError> {
    let problems = if host.contains('*') { meta::wildcard_subdomain(host) } else { meta::dns1123_subdomain(host) };
    FieldError::invalid_each(path, host, problems)
}

fn check_tls(tls: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, host) in list(tls, "hosts").iter().filter_map(Value::as_str).enumerate() {
        errors.extend(check_host(host, &format!("{path}.hosts[{index}]")));
    }
    errors.extend(super::named(tls, path, "secretName", meta::dns1123_subdomain));
    errors
}

fn check_path(path: &Value, field: &str) -> Vec<FieldError> {
    let (kind, value, value_field) = (text(path, "pathType"), text(path, "path"), format!("{field}.path"));
    if kind.is_empty() {
        return vec![FieldError::required(format!("{field}.pathType"), "pathType must be specified")];
    }
    let mut errors: Vec<FieldError> = one_of(path, field, "pathType", &PATH_TYPES).into_iter().collect();
    let is_exact = matches!(kind, "Exact" | "Prefix");
    let is_relative = !value.starts_with('/') && (is_exact || kind == "ImplementationSpecific" && !value.is_empty());
    if is_relative {
        errors.push(FieldError::invalid(&value_field, value, "must be an absolute path"));
    }
    if is_exact {
        let sequences = SEQUENCES.iter().filter(|sequence| value.contains(**sequence));
        errors.extend(
            sequences
                .map(|sequence| FieldError::invalid(&value_field, value, &format!("must not contain '{sequence}'"))),
        );
        let suffixes = SUFFIXES.iter().filter(|suffix| value.ends_with(**suffix));
        errors.extend(
            suffixes.map(|suffix| FieldError::invalid(&value_field, value, &format!("cannot end with '{suffix}'"))),
        );
    }
    errors.extend(check_backend(path.get("backend").unwrap_or(&Value::Null), &format!("{field}.backend")));
    errors
}

fn check_backend(backend: &Value, path: &str) -> Vec<FieldError> {
    match (at(backend, "service"), at(backend, "resource")) {
        (None, None) => vec![FieldError::invalid(path, "", "resource or service backend is required")],
        (Some(_), Some(_)) => vec![FieldError::invalid(path, "", "cannot set both resource and service backends")],
        (None, Some(resource)) => check_reference(resource, &format!("{path}.resource")),
        (Some(service), None) => {
            let mut errors = check_named(text(service, "name"), &format!("{path}.service.name"), meta::dns1035_label);
            errors.extend(check_port(service.get("port").unwrap_or(&Value::Null), path));
            errors
        }
    }
}

fn check_port(port: &Value, path: &str) -> Vec<FieldError> {
    let (name, value) = (text(port, "name"), number(port, "number"));
    match (is_set(&name.into()), value) {
        (true, 0) => FieldError::invalid_each(&format!("{path}.service.port.name"), name, port_name(name)),
        (true, _) => vec![FieldError::invalid(path, "", "cannot set both port name & port number")],
        (false, 0) => vec![FieldError::required(path, "port name or number is required")],
        (false, 1..=65535) => Vec::new(),
        (false, _) => vec![FieldError::invalid(format!("{path}.service.port.number"), value, PORT_RANGE)],
    }
}

/// What names an object of some kind (`validateIngressTypedLocalObjectReference`).
pub(super) fn check_reference(reference: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = super::named(reference, path, "apiGroup", meta::dns1123_subdomain);
    for (field, missing) in [("kind", "kind is required"), ("name", "name is required")] {
        let (value, path) = (text(reference, field), format!("{path}.{field}"));
        if has(reference, field) {
            errors.extend(FieldError::invalid_each(&path, value, meta::path_segment(value)));
        } else {
            errors.push(FieldError::required(path, missing));
        }
    }
    errors
}
