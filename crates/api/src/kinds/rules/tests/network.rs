//! Policies, ingress classes, endpoints.

use serde_json::json;

use super::{check, check_update};
use crate::kinds::rules::{
    validate_endpoints, validate_ingress_class, validate_network_policy, validate_slice_addresses,
};

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

#[test]
fn endpoints_lead_somewhere_else() {
    check(
        validate_endpoints,
        json!({"subsets": [{}, {"addresses": [{"ip": "127.0.0.1"}, {"ip": "x"}, {"ip": "10.0.0.1"}], "ports": [{"port": 0, "protocol": "TCP"}]}]}),
        &[
            "subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`",
            "subsets[1].addresses[0].ip: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
            "subsets[1].addresses[1].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            "subsets[1].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
        ],
    );
    let slice = json!({"addressType": "IPv4", "endpoints": [{"addresses": ["::1", "10.0.0.1", "10.0.0.1"]}]});
    let told: Vec<String> = validate_slice_addresses(&slice).iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "endpoints[0].addresses[0]: Invalid value: \"::1\": must be an IPv4 address",
            "endpoints[0].addresses[2]: Duplicate value: \"10.0.0.1\"",
        ]
    );
}
