//! Ingresses, ingress classes and network policies.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::doc::{Doc, child, children, fill, has, list, text};
use super::print::{self, Col, Text};
use super::rules;
use super::simple::{Parts, Simple};
use crate::meta;
use crate::object::Object;
use crate::status::FieldError;

/// The manners of ingresses.
pub(super) const INGRESS: Simple = Simple {
    columns: &[
        print::NAME,
        Col("Class", Text, "The name of the IngressClass resource that should be used for additional configuration"),
        Col("Hosts", Text, "Hosts that incoming requests are matched against before the ingress rule"),
        Col("Address", Text, "Address is a list containing ingress points for the load-balancer"),
        Col("Ports", Text, "Ports of TLS configurations that open"),
        print::AGE,
    ],
    cells: ingress_cells,
    default: |_| {},
    validate: validate_ingress,
    parts: Parts::SpecAndStatus,
    ..Simple::PLAIN
};

/// The manners of ingress classes.
pub(super) const INGRESS_CLASS: Simple = Simple {
    columns: &[
        print::NAME,
        Col("Controller", Text, "Controller that is responsible for handling this class"),
        Col("Parameters", Text, "A reference to a resource with additional parameters"),
        print::AGE,
    ],
    cells: |object, now| {
        let null = Value::Null;
        let parameters = object.at(&["spec", "parameters"]).unwrap_or(&null);
        let (group, kind, name) = (text(parameters, "apiGroup"), text(parameters, "kind"), text(parameters, "name"));
        let shown = match (kind, group) {
            ("", _) => print::NONE.to_owned(),
            (kind, "") => format!("{kind}/{name}"),
            (kind, group) => format!("{kind}.{group}/{name}"),
        };
        vec![object.name().into(), object.str_at(&["spec", "controller"]).into(), shown.into(), print::age(object, now)]
    },
    default: |doc| {
        if let Some(parameters) = child(doc, "spec").and_then(|spec| child(spec, "parameters")) {
            fill(parameters, "scope", "Cluster");
        }
    },
    validate: rules::validate_ingress_class,
    parts: Parts::Spec,
    ..Simple::PLAIN
};

/// The manners of network policies.
pub(super) const NETWORK_POLICY: Simple = Simple {
    columns: &[print::NAME, Col("Pod-Selector", Text, "Selects the pods to which the policy applies."), print::AGE],
    cells: |object, now| {
        vec![object.name().into(), print::selector(object.at(&["spec", "podSelector"])).into(), print::age(object, now)]
    },
    default: default_policy,
    validate: rules::validate_network_policy,
    parts: Parts::Spec,
    ..Simple::PLAIN
};

fn default_policy(doc: &mut Doc) {
    let Some(spec) = child(doc, "spec") else { return };
    fill(spec, "podSelector", json!({}));
    for direction in ["ingress", "egress"] {
        for port in children(spec, direction).flat_map(|rule| children(rule, "ports")) {
            fill(port, "protocol", "TCP");
        }
    }
    let is_unset = spec.get("policyTypes").and_then(Value::as_array).is_none_or(Vec::is_empty);
    if is_unset {
        // A policy is about what comes in, and about what goes out only if it says so.
        let has_egress = spec.get("egress").and_then(Value::as_array).is_some_and(|rules| !rules.is_empty());
        let types = if has_egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
        spec.insert("policyTypes".to_owned(), types);
    }
}

fn validate_ingress(object: &Object, _old: Option<&Object>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let null = Value::Null;
    let spec = object.at(&["spec"]).unwrap_or(&null);
    let rules = list(spec, "rules");
    if rules.is_empty() && !has(spec, "defaultBackend") {
        errors.push(FieldError::invalid("spec", json!([]), "either `defaultBackend` or `rules` must be specified"));
    }
    if let Some(backend) = spec.get("defaultBackend").filter(|backend| !backend.is_null()) {
        errors.extend(validate_backend(backend, "spec.defaultBackend"));
    }
    for (index, rule) in rules.iter().enumerate() {
        let rule_path = format!("spec.rules[{index}]");
        errors.extend(check_host(text(rule, "host"), &format!("{rule_path}.host")));
        let Some(http) = rule.get("http").filter(|http| !http.is_null()) else { continue };
        if list(http, "paths").is_empty() {
            errors.push(FieldError::required(format!("{rule_path}.http.paths"), ""));
        }
        for (index, path) in list(http, "paths").iter().enumerate() {
            errors.extend(validate_path(path, &format!("{rule_path}.http.paths[{index}]")));
        }
    }
    errors
}

fn check_host(host: &str, path: &str) -> Vec<FieldError> {
    if host.is_empty() {
        return Vec::new();
    }
    let invalid = |detail: String| FieldError::invalid(path, host, &detail);
    let mut errors = Vec::new();
    if host.parse::<std::net::IpAddr>().is_ok() {
        errors.push(invalid("must be a DNS name, not an IP address".to_owned()));
    }
    let problems = if host.contains('*') { meta::wildcard_subdomain(host) } else { meta::dns1123_subdomain(host) };
    errors.extend(problems.into_iter().map(invalid));
    errors
}

fn validate_path(path: &Value, field: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (kind, kinds) = (text(path, "pathType"), ["Exact", "ImplementationSpecific", "Prefix"]);
    let value = text(path, "path");
    match kind {
        "" => errors.push(FieldError::required(format!("{field}.pathType"), "pathType must be specified")),
        "Exact" | "Prefix" if !value.starts_with('/') => {
            errors.push(FieldError::invalid(format!("{field}.path"), value, "must be an absolute path"));
        }
        _ if !kinds.contains(&kind) => {
            errors.push(FieldError::not_supported(format!("{field}.pathType"), kind, &kinds));
        }
        _ => {}
    }
    errors.extend(validate_backend(path.get("backend").unwrap_or(&Value::Null), &format!("{field}.backend")));
    errors
}

fn validate_backend(backend: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    match (backend.get("service").filter(|service| !service.is_null()), has(backend, "resource")) {
        (None, false) => errors.push(FieldError::required(format!("{path}.service.name"), "")),
        (Some(_), true) => errors.push(FieldError::invalid(path, "", "cannot set both resource and service backends")),
        (None, true) => {}
        (Some(service), false) => {
            let (name, name_path) = (text(service, "name"), format!("{path}.service.name"));
            errors.extend(rules::check_named(name, &name_path, meta::dns1035_label));
            let port = service.get("port").unwrap_or(&Value::Null);
            let (has_name, has_number) =
                (has(port, "name"), port.get("number").is_some_and(|number| *number != json!(0)));
            if !has_name && !has_number {
                errors.push(FieldError::required(format!("{path}.service.port"), "port name or number is required"));
            }
            if has_name && has_number {
                let detail = "cannot set both port name & port number";
                errors.push(FieldError::invalid(format!("{path}.service.port"), port.clone(), detail));
            }
        }
    }
    errors
}

fn ingress_cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let null = Value::Null;
    let spec = object.at(&["spec"]).unwrap_or(&null);
    let hosts: Vec<String> =
        list(spec, "rules").iter().map(|rule| text(rule, "host").to_owned()).filter(|host| !host.is_empty()).collect();
    vec![
        object.name().into(),
        print::or_none(text(spec, "ingressClassName").to_owned()).into(),
        if hosts.is_empty() { "*".to_owned() } else { print::shortened(&hosts, 3) }.into(),
        print::load_balancer(object.at(&["status"])).join(",").into(),
        if list(spec, "tls").is_empty() { "80" } else { "80, 443" }.into(),
        print::age(object, now),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{check_errors, object};
    use crate::resource::Manners as _;

    #[expect(clippy::needless_pass_by_value, reason = "literals read better without a reference")]
    fn rule(path: Value) -> Object {
        object(json!({"metadata": {"name": "i"}, "spec": {"rules": [{"host": "a.b", "http": {"paths": [path]}}]}}))
    }

    #[test]
    fn an_ingress_needs_a_rule_or_a_default_backend() {
        check_errors(
            &INGRESS,
            &object(json!({"spec": {}})),
            None,
            &["spec: Invalid value: []: either `defaultBackend` or `rules` must be specified"],
        );
    }

    #[test]
    fn a_path_says_how_it_is_compared_and_where_it_leads() {
        check_errors(
            &INGRESS,
            &rule(json!({"path": "x", "backend": {}})),
            None,
            &[
                "spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified",
                "spec.rules[0].http.paths[0].backend.service.name: Required value",
            ],
        );
        check_errors(
            &INGRESS,
            &rule(json!({"path": "x", "pathType": "Prefix", "backend": {"service": {"name": "s"}}})),
            None,
            &[
                "spec.rules[0].http.paths[0].path: Invalid value: \"x\": must be an absolute path",
                "spec.rules[0].http.paths[0].backend.service.port: Required value: port name or number is required",
            ],
        );
        let good = rule(
            json!({"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "s", "port": {"number": 80}}}}),
        );
        check_errors(&INGRESS, &good, None, &[]);
        let cells = INGRESS.cells(&good, Timestamp::UNIX_EPOCH);
        assert_eq!(Value::from(cells[..5].to_vec()), json!(["i", "<none>", "a.b", "", "80"]));
    }

    #[test]
    fn a_host_is_a_name_which_may_begin_with_one_star() {
        let problem = |host: &str| -> String {
            let errors = check_host(host, "h");
            errors.iter().map(|error| error.to_string().split(" must ").next().unwrap_or_default().to_owned()).collect()
        };
        for good in ["", "a.b", "*.a.b"] {
            assert_eq!(problem(good), "", "{good}");
        }
        for bad in ["*.*.foo", "a.*.foo", "*"] {
            assert_eq!(problem(bad), format!("h: Invalid value: \"{bad}\": a wildcard DNS-1123 subdomain"));
        }
        assert_eq!(problem("A_"), "h: Invalid value: \"A_\": a lowercase RFC 1123 subdomain");
        assert_eq!(
            check_host("1.2.3.4", "h")[0].to_string(),
            "h: Invalid value: \"1.2.3.4\": must be a DNS name, not an IP address"
        );
    }

    #[test]
    fn a_backend_is_named_as_services_are() {
        let path =
            json!({"path": "/", "pathType": "Exact", "backend": {"service": {"name": "X_", "port": {"number": 1}}}});
        let errors = INGRESS.validate(&rule(path), None);
        assert_eq!(errors.len(), 1);
        let start = "spec.rules[0].http.paths[0].backend.service.name: Invalid value: \"X_\": a DNS-1035 label";
        assert!(errors[0].to_string().starts_with(start), "{}", errors[0]);
    }

    #[test]
    fn a_policy_is_about_egress_only_if_it_has_egress_rules() {
        let types = |spec: Value| {
            let mut policy = object(json!({"spec": spec}));
            NETWORK_POLICY.default(&mut policy);
            policy.at(&["spec", "policyTypes"]).cloned()
        };
        assert_eq!(types(json!({})), Some(json!(["Ingress"])));
        assert_eq!(types(json!({"egress": [{}]})), Some(json!(["Ingress", "Egress"])));
        assert_eq!(types(json!({"policyTypes": ["Egress"]})), Some(json!(["Egress"])));
    }
}
