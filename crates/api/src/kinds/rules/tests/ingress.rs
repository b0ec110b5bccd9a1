//! Ingresses.

use serde_json::{Value, json};

use super::{check, check_update};
use crate::kinds::rules::validate_ingress;

/// An ingress with one path.
fn with(path: Value) -> Value {
    json!({"spec": {"rules": [{"host": "a.b", "http": {"paths": [path]}}]}})
}

fn service(port: Value) -> Value {
    json!({"service": {"name": "s", "port": port}})
}

#[test]
fn an_ingress_needs_a_rule_or_a_default_backend() {
    check(
        validate_ingress,
        json!({"spec": {}}),
        &["spec: Invalid value: []: either `defaultBackend` or `rules` must be specified"],
    );
    check(validate_ingress, json!({"spec": {"defaultBackend": service(json!({"number": 80}))}}), &[]);
    check(
        validate_ingress,
        json!({"spec": {"defaultBackend": {}, "rules": [{"http": {}}]}}),
        &[
            "spec.defaultBackend: Invalid value: \"\": resource or service backend is required",
            "spec.rules[0].http.paths: Required value",
        ],
    );
}

#[test]
fn a_path_says_how_it_is_compared() {
    let path = |kind: &str, path: &str| {
        with(json!({"path": path, "pathType": kind, "backend": service(json!({"number": 80}))}))
    };
    let at = |rest: &str| format!("spec.rules[0].http.paths[0].{rest}");
    for (kind, value) in
        [("Prefix", "/"), ("Exact", "/a/b"), ("ImplementationSpecific", ""), ("ImplementationSpecific", "/a//b")]
    {
        check(validate_ingress, path(kind, value), &[]);
    }
    check(validate_ingress, with(json!({"path": "x"})), &[&at("pathType: Required value: pathType must be specified")]);
    check(
        validate_ingress,
        path("Regex", "/"),
        &[&at(
            "pathType: Unsupported value: \"Regex\": supported values: \"Exact\", \"ImplementationSpecific\", \"Prefix\"",
        )],
    );
    for (kind, value) in [("Prefix", "x"), ("Exact", ""), ("ImplementationSpecific", "x")] {
        let expected = at(&format!("path: Invalid value: {value:?}: must be an absolute path"));
        check(validate_ingress, path(kind, value), &[&expected]);
    }
    check(
        validate_ingress,
        path("Prefix", "/a//b/.."),
        &[
            &at("path: Invalid value: \"/a//b/..\": must not contain '//'"),
            &at("path: Invalid value: \"/a//b/..\": cannot end with '/..'"),
        ],
    );
}

#[test]
fn a_path_leads_to_a_port_of_a_service_or_to_something_else() {
    let to = |backend: Value| with(json!({"path": "/", "pathType": "Prefix", "backend": backend}));
    let at = |rest: &str| format!("spec.rules[0].http.paths[0].backend{rest}");
    check(validate_ingress, to(service(json!({"name": "http"}))), &[]);
    check(validate_ingress, to(json!({"resource": {"apiGroup": "a.b", "kind": "Bucket", "name": "x"}})), &[]);
    for (port, expected) in [
        (json!({}), ": Required value: port name or number is required"),
        (json!({"name": "a", "number": 1}), ": Invalid value: \"\": cannot set both port name & port number"),
        (
            json!({"number": 70_000}),
            ".service.port.number: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ),
        (json!({"name": "-a"}), ".service.port.name: Invalid value: \"-a\": must not begin or end with a hyphen"),
    ] {
        check(validate_ingress, to(service(port)), &[&at(expected)]);
    }
    check(
        validate_ingress,
        to(json!({"resource": {}})),
        &[
            &at(".resource.kind: Required value: kind is required"),
            &at(".resource.name: Required value: name is required"),
        ],
    );
    check(
        validate_ingress,
        to(json!({"resource": {}, "service": {}})),
        &[&at(": Invalid value: \"\": cannot set both resource and service backends")],
    );
    check(validate_ingress, to(json!({"service": {"port": {"number": 80}}})), &[&at(".service.name: Required value")]);
    let uppercase = super::told(validate_ingress(
        &crate::kinds::testing::object(to(json!({"service": {"name": "X_", "port": {"number": 80}}}))),
        None,
    ));
    assert!(uppercase[0].contains(".service.name: Invalid value: \"X_\": a DNS-1035 label"), "{uppercase:?}");
}

#[test]
fn a_host_is_a_name_which_may_begin_with_one_star() {
    let hosts = |rule: &str, tls: &str| {
        let backend = service(json!({"number": 80}));
        let document = json!({"spec": {"defaultBackend": backend, "rules": [{"host": rule}], "tls": [{"hosts": [tls], "secretName": "s"}]}});
        let told = super::told(validate_ingress(&crate::kinds::testing::object(document), None));
        told.iter().map(|told| told.split(" must ").next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    for good in ["a.b", "*.a.b"] {
        assert_eq!(hosts(good, good), [""; 0], "{good}");
    }
    assert_eq!(hosts("", "a.b"), [""; 0]);
    for bad in ["*.*.foo", "a.*.foo", "*"] {
        let why = format!("Invalid value: {bad:?}: a wildcard DNS-1123 subdomain");
        assert_eq!(hosts(bad, bad), [format!("spec.rules[0].host: {why}"), format!("spec.tls[0].hosts[0]: {why}")]);
    }
    assert_eq!(hosts("A_", "a"), ["spec.rules[0].host: Invalid value: \"A_\": a lowercase RFC 1123 subdomain"]);
    assert_eq!(hosts("1.2.3.4", "a"), ["spec.rules[0].host: Invalid value: \"1.2.3.4\":"]);
}

#[test]
fn a_class_is_named_once() {
    let ingress = |annotation: &str| {
        json!({"metadata": {"annotations": {"kubernetes.io/ingress.class": annotation}},
            "spec": {"ingressClassName": "a", "defaultBackend": service(json!({"number": 80}))}})
    };
    let expected = "annotations.kubernetes.io/ingress.class: Invalid value: \"b\": must match `ingressClassName` when both are specified";
    check(validate_ingress, ingress("a"), &[]);
    check(validate_ingress, ingress("b"), &[expected]);
    check_update(validate_ingress, ingress("b"), ingress("b"), &[]);
}
