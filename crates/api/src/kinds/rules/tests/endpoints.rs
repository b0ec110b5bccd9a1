//! Endpoints and slices.

use serde_json::{Value, json};

use super::{check, check_update};
use crate::kinds::rules::{validate_endpoints, validate_slice};

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
}

fn slice(kind: &str, endpoints: Value) -> Value {
    json!({"addressType": kind, "endpoints": endpoints, "ports": []})
}

#[test]
fn all_addresses_of_a_slice_are_of_one_type() {
    check(validate_slice, slice("IPv6", json!([{"addresses": ["fd00::1"]}])), &[]);
    check(
        validate_slice,
        slice("IPv4", json!([{"addresses": ["fd00::1", "x", "127.0.0.1"]}, {"addresses": []}])),
        &[
            "endpoints[0].addresses[0]: Invalid value: \"fd00::1\": must be an IPv4 address",
            "endpoints[0].addresses[1]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            "endpoints[0].addresses[2]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
            "endpoints[1].addresses: Required value: must contain at least 1 address",
        ],
    );
    check(validate_slice, slice("FQDN", json!([{"addresses": ["a.b."]}])), &[]);
    check(
        validate_slice,
        slice("FQDN", json!([{"addresses": ["a", ""]}])),
        &[
            "endpoints[0].addresses[0]: Invalid value: \"a\": should be a domain with at least two segments separated by dots",
            "endpoints[0].addresses[1]: Required value",
        ],
    );
    check(validate_slice, json!({}), &["addressType: Required value"]);
    check(
        validate_slice,
        slice("IPX", json!([])),
        &["addressType: Unsupported value: \"IPX\": supported values: \"FQDN\", \"IPv4\", \"IPv6\""],
    );
    check_update(
        validate_slice,
        slice("IPv6", json!([])),
        slice("IPv4", json!([])),
        &["addressType: Invalid value: \"IPv6\": field is immutable"],
    );
}

#[test]
fn a_slice_has_limits() {
    let many = |count: usize| vec!["10.0.0.1"; count];
    check(
        validate_slice,
        slice("IPv4", json!([{"addresses": many(101)}])),
        &["endpoints[0].addresses: Too many: 101: must have at most 100 items"],
    );
    check(
        validate_slice,
        slice("IPv4", json!(vec![json!({"addresses": []}); 1001])),
        &["endpoints: Too many: 1001: must have at most 1000 items"],
    );
    let zones = |zones: &[&str]| -> Vec<Value> { zones.iter().map(|zone| json!({"name": zone})).collect() };
    check(
        validate_slice,
        slice(
            "IPv4",
            json!([{"addresses": ["10.0.0.1"], "hints": {"forZones": zones(&["a", "a"]), "forNodes": zones(&["n"; 9])}}]),
        ),
        &[
            "endpoints[0].hints.forZones[1].name: Duplicate value: \"a\"",
            "endpoints[0].hints.forNodes: Too many: 9: must have at most 8 items",
        ],
    );
}

#[test]
fn the_ports_of_a_slice_have_protocols() {
    let ports = |ports: Value| json!({"addressType": "IPv4", "endpoints": [], "ports": ports});
    check(
        validate_slice,
        ports(json!([{"name": "", "protocol": "TCP"}, {"name": "a", "port": 80, "protocol": "UDP"}])),
        &[],
    );
    check(
        validate_slice,
        ports(json!([{"name": "a", "port": 0, "protocol": "ICMP"}, {"name": "a"}])),
        &[
            "ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
            "ports[0].protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
            "ports[1].name: Duplicate value: \"a\"",
            "ports[1].protocol: Required value",
        ],
    );
}
