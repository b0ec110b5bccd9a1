//! Network policies and ingress classes.

use serde_json::{Value, json};

use super::{check, check_update};
use crate::kinds::rules::{validate_ingress_class, validate_network_policy};

#[test]
fn a_policy_names_its_peers_and_ports() {
    check(
        validate_network_policy,
        json!({"spec": {"podSelector": {}, "policyTypes": ["Sideways"], "ingress": [{
            "ports": [{"port": 80, "endPort": 70}, {"port": "http", "endPort": 90}, {"endPort": 1}, {"protocol": "ICMP"}],
            "from": [{}, {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "11.0.0.0/16", "10.0.0.0/8"]}},
                {"ipBlock": {"cidr": "10.0.0.0/40"}}, {"ipBlock": {"cidr": "::/200"}, "podSelector": {}}],
        }]}}),
        &[
            "spec.ingress[0].ports[0].endPort: Invalid value: 70: must be greater than or equal to `port`",
            "spec.ingress[0].ports[1].endPort: Invalid value: 90: may not be specified when `port` is non-numeric",
            "spec.ingress[0].ports[2].endPort: Invalid value: 1: may not be specified when `port` is not specified",
            "spec.ingress[0].ports[3].protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
            "spec.ingress[0].from[0]: Required value: must specify a peer",
            "spec.ingress[0].from[1].ipBlock.except[1]: Invalid value: \"11.0.0.0/16\": must be a strict subset of `cidr`",
            "spec.ingress[0].from[1].ipBlock.except[2]: Invalid value: \"10.0.0.0/8\": must be a strict subset of `cidr`",
            "spec.ingress[0].from[2].ipBlock.cidr: Invalid value: \"10.0.0.0/40\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
            "spec.ingress[0].from[3].ipBlock.cidr: Invalid value: \"::/200\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
            "spec.ingress[0].from[3]: Forbidden: may not specify both ipBlock and another peer",
            "spec.policyTypes[0]: Unsupported value: \"Sideways\": supported values: \"Egress\", \"Ingress\"",
        ],
    );
}

#[test]
fn an_ingress_class_refers_to_parameters_in_a_namespace_or_in_none() {
    let class = |parameters: Value| json!({"spec": {"controller": "a.io/b", "parameters": parameters}});
    check(
        validate_ingress_class,
        class(json!({"scope": "Namespace"})),
        &[
            "spec.parameters.kind: Required value: kind is required",
            "spec.parameters.name: Required value: name is required",
            "spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'",
        ],
    );
    check(
        validate_ingress_class,
        class(json!({"scope": "Cluster", "namespace": "n", "kind": "K", "name": "a/b"})),
        &[
            "spec.parameters.name: Invalid value: \"a/b\": may not contain '/'",
            "spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'",
        ],
    );
    check(
        validate_ingress_class,
        json!({"spec": {"controller": "a.io/b c"}}),
        &[
            "spec.controller: Invalid value: \"b c\": Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')",
        ],
    );
}

#[test]
fn an_ingress_class_names_its_controller_for_good() {
    check(validate_ingress_class, json!({"spec": {}}), &["spec.controller: Required value"]);
    check(
        validate_ingress_class,
        json!({"spec": {"controller": "nginx"}}),
        &["spec.controller: Invalid value: \"nginx\": must be a domain-prefixed path (such as \"acme.io/foo\")"],
    );
    check_update(
        validate_ingress_class,
        json!({"spec": {"controller": "a.io/b"}}),
        json!({"spec": {"controller": "a.io/a"}}),
        &["spec.controller: Invalid value: \"a.io/b\": field is immutable"],
    );
}
