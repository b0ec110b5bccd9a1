//! Addresses, ranges, and parts of the API that others serve.

use serde_json::{Value, json};

use super::{check, check_update};
use crate::kinds::rules::{validate_api_service, validate_ip_address, validate_service_cidr};

#[test]
fn an_address_is_its_name_and_has_an_owner() {
    let parent = json!({"resource": "services", "namespace": "d", "name": "web"});
    let address = |name: &str| json!({"metadata": {"name": name}, "spec": {"parentRef": parent}});
    check(validate_ip_address, address("10.0.0.1"), &[]);
    check(validate_ip_address, address("2001:db8::1"), &[]);
    for (name, why) in [
        ("web", "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"),
        ("2001:DB8::1", "must be in canonical form (\"2001:db8::1\")"),
        ("::ffff:1.2.3.4", "must not be an IPv4-mapped IPv6 address"),
    ] {
        check(validate_ip_address, address(name), &[&format!("metadata.name: Invalid value: {name:?}: {why}")]);
    }
    let orphan = json!({"metadata": {"name": "10.0.0.1"}, "spec": {}});
    check(validate_ip_address, orphan.clone(), &["spec.parentRef: Required value"]);
    check(
        validate_ip_address,
        json!({"metadata": {"name": "10.0.0.1"}, "spec": {"parentRef": {"namespace": "a/b"}}}),
        &[
            "spec.parentRef.resource: Required value",
            "spec.parentRef.name: Required value",
            "spec.parentRef.namespace: Invalid value: \"a/b\": may not contain '/'",
        ],
    );
    check_update(
        validate_ip_address,
        orphan,
        address("10.0.0.1"),
        &["spec.parentRef: Required value", "spec.parentRef: Invalid value: null: field is immutable"],
    );
}

#[test]
fn services_have_one_range_of_each_family() {
    let ranges = |ranges: Value| json!({"spec": {"cidrs": ranges}});
    for good in [json!(["10.0.0.0/8"]), json!(["fd00::/8", "10.0.0.0/8"])] {
        check(validate_service_cidr, ranges(good), &[]);
    }
    check(validate_service_cidr, ranges(json!([])), &["spec.cidrs: Required value: at least one CIDR required"]);
    check(
        validate_service_cidr,
        ranges(json!(["10.0.0.0/8", "11.0.0.0/8"])),
        &[
            "spec.cidrs: Invalid value: {\"cidrs\":[\"10.0.0.0/8\",\"11.0.0.0/8\"]}: may specify no more than one IP for each \
            IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
        ],
    );
    for (range, why) in [
        ("10.0.0.0", "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"),
        ("10.0.0.1/24", "must not have bits set beyond the prefix length"),
        ("FD00::/8", "must be in canonical form (\"fd00::/8\")"),
    ] {
        check(
            validate_service_cidr,
            ranges(json!([range])),
            &[&format!("spec.cidrs[0]: Invalid value: {range:?}: {why}")],
        );
    }
    check_update(
        validate_service_cidr,
        ranges(json!(["10.0.0.0/16"])),
        ranges(json!(["10.0.0.0/8"])),
        &["spec.cidrs: Invalid value: [\"10.0.0.0/16\"]: field is immutable"],
    );
}

#[test]
fn an_api_service_is_named_by_what_it_serves() {
    let service = |change: fn(&mut Value)| {
        let mut service = json!({"metadata": {"name": "v1.a.b"}, "spec": {"group": "a.b", "version": "v1",
            "groupPriorityMinimum": 100, "versionPriority": 10, "service": {"namespace": "n", "name": "s", "port": 443}}});
        change(&mut service);
        service
    };
    check(validate_api_service, service(|_| {}), &[]);
    check(
        validate_api_service,
        service(|service| {
            service["spec"] = json!({"version": "V", "groupPriorityMinimum": 20_001, "insecureSkipTLSVerify": true, "caBundle": "eHh4"});
        }),
        &[
            "metadata.name: Invalid value: \"v1.a.b\": must be `spec.version+\".\"+spec.group`: \"V.\"",
            "spec.group: Required value: only v1 may have an empty group and it better be legacy kube",
            "spec.version: Invalid value: \"V\": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start \
             with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for \
             validation is '[a-z]([-a-z0-9]*[a-z0-9])?')",
            "spec.groupPriorityMinimum: Invalid value: 20001: must be positive and less than 20000",
            "spec.versionPriority: Invalid value: 0: must be positive and less than 1000",
            "spec.caBundle: Invalid value: \"3 bytes\": local APIServices may not have a caBundle",
            "spec.insecureSkipTLSVerify: Invalid value: true: local APIServices may not have insecureSkipTLSVerify",
        ],
    );
    check(
        validate_api_service,
        service(|service| service["spec"]["service"] = json!({"port": 0})),
        &[
            "spec.service.namespace: Required value",
            "spec.service.name: Required value",
            "spec.service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive",
        ],
    );
}
