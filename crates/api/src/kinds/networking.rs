//! Ingresses, ingress classes and network policies.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::doc::{Doc, child, children, fill, list, text};
use super::print::{self, Col, Text};
use super::rules;
use super::simple::{Parts, Simple};
use crate::object::Object;

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
    validate: rules::validate_ingress,
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
    use crate::kinds::testing::object;
    use crate::resource::Manners as _;

    #[test]
    fn an_ingress_shows_its_hosts_and_ports() {
        let ingress = object(json!({"metadata": {"name": "i"}, "spec": {"rules": [{"host": "a.b"}]}}));
        let cells = INGRESS.cells(&ingress, Timestamp::UNIX_EPOCH);
        assert_eq!(Value::from(cells[..5].to_vec()), json!(["i", "<none>", "a.b", "", "80"]));
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
