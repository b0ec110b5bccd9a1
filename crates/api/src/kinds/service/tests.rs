//! The rules of services, one test a rule.

#![expect(clippy::needless_pass_by_value, reason = "literals read better without a reference")]

use super::*;
use crate::kinds::testing::{check_errors, object};

fn service(spec: Value) -> Object {
    let mut object = object(json!({"metadata": {"name": "s"}, "spec": spec}));
    Service.default(&mut object);
    Service.prepare_create(&mut object);
    object
}

fn updated(old: &Object, spec: Value) -> Object {
    let mut new = object(json!({"metadata": {"name": "s"}, "spec": spec}));
    Service.prepare_update(&mut new, old);
    Service.default(&mut new);
    new
}

#[test]
fn by_default_the_target_port_is_the_port() {
    let object =
        service(json!({"ports": [{"port": 80}, {"port": 81, "targetPort": "http"}, {"port": 82, "targetPort": 0}]}));
    let targets: Vec<_> =
        list(object.at(&["spec"]).unwrap(), "ports").iter().map(|port| port["targetPort"].clone()).collect();
    assert_eq!(targets, [json!(80), json!("http"), json!(82)]);
}

#[test]
fn a_service_is_a_cluster_ip_service_for_tcp_without_affinity() {
    let object = service(json!({"ports": [{"port": 80}]}));
    assert_eq!(
        object.at(&["spec"]).unwrap(),
        &json!({"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster", "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack", "ports": [{"port": 80, "targetPort": 80, "protocol": "TCP"}]})
    );
}

#[test]
fn client_ip_affinity_lasts_three_hours() {
    let object = service(json!({"sessionAffinity": "ClientIP", "ports": [{"port": 80}]}));
    assert_eq!(object.at(&["spec", "sessionAffinityConfig", "clientIP", "timeoutSeconds"]), Some(&json!(10_800)));
}

#[test]
fn an_update_that_leaves_the_cluster_ip_out_keeps_it() {
    let old = service(json!({"clusterIP": "10.96.0.5", "ports": [{"port": 80}]}));
    assert_eq!(old.at(&["spec", "clusterIPs"]), Some(&json!(["10.96.0.5"])));
    let new = updated(&old, json!({"ports": [{"port": 81}]}));
    assert_eq!(new.str_at(&["spec", "clusterIP"]), "10.96.0.5");
    check_errors(&Service, &new, Some(&old), &[]);
}

#[test]
fn a_cluster_ip_may_not_change_once_set() {
    let old = service(json!({"clusterIP": "10.96.0.5", "ports": [{"port": 80}]}));
    let new = service(json!({"clusterIP": "10.96.0.6", "ports": [{"port": 80}]}));
    check_errors(
        &Service,
        &new,
        Some(&old),
        &["spec.clusterIPs[0]: Invalid value: [\"10.96.0.6\"]: may not change once set"],
    );
}

#[test]
fn a_service_that_becomes_an_external_name_gives_its_address_back() {
    let old = service(json!({"clusterIP": "10.96.0.5", "ports": [{"port": 80}]}));
    let mut spec = old.at(&["spec"]).unwrap().clone();
    spec["type"] = json!("ExternalName");
    spec["externalName"] = json!("example.com");
    let new = updated(&old, spec);
    assert_eq!((new.at(&["spec", "clusterIP"]), new.at(&["spec", "clusterIPs"])), (None, None));
    check_errors(&Service, &new, Some(&old), &[]);
}

#[test]
fn node_ports_stay_with_their_port_and_go_with_the_type() {
    let old =
        service(json!({"type": "NodePort", "clusterIP": "10.96.0.5", "ports": [{"port": 80, "nodePort": 30080}]}));
    let kept = updated(&old, json!({"type": "NodePort", "ports": [{"port": 80}, {"name": "b", "port": 81}]}));
    let ports = list(kept.at(&["spec"]).unwrap(), "ports");
    assert_eq!((&ports[0]["nodePort"], ports[1].get("nodePort")), (&json!(30080), None));
    let mut spec = old.at(&["spec"]).unwrap().clone();
    spec["type"] = json!("ClusterIP");
    let gone = updated(&old, spec);
    assert_eq!(list(gone.at(&["spec"]).unwrap(), "ports")[0].get("nodePort"), None);
    check_errors(&Service, &gone, Some(&old), &[]);
}

#[test]
fn every_port_has_a_name_if_there_are_several() {
    check_errors(
        &Service,
        &service(json!({"ports": [{"port": 80, "name": "a"}, {"port": 80}]})),
        None,
        &["spec.ports[1].name: Required value", "spec.ports[1]: Duplicate value: {\"port\":80,\"protocol\":\"TCP\"}"],
    );
}

#[test]
fn only_headless_and_external_services_may_have_no_ports() {
    check_errors(&Service, &service(json!({})), None, &["spec.ports: Required value"]);
    check_errors(&Service, &service(json!({"clusterIP": "None"})), None, &[]);
    check_errors(&Service, &service(json!({"type": "ExternalName", "externalName": "a.b"})), None, &[]);
}

#[test]
fn a_cluster_ip_service_has_no_node_port() {
    check_errors(
        &Service,
        &service(json!({"ports": [{"port": 80, "nodePort": 30080}]})),
        None,
        &["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
    );
}

#[test]
fn ports_and_types_outside_the_range_are_refused() {
    check_errors(
        &Service,
        &service(json!({"type": "Magic", "ports": [{"port": 70000, "targetPort": 80}]})),
        None,
        &[
            "spec.type: Unsupported value: \"Magic\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\"",
            "spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ],
    );
}

#[test]
fn the_row_shows_addresses_and_ports_as_kubectl_does() {
    let show = |spec: Value| Value::from(Service.cells(&service(spec), Timestamp::UNIX_EPOCH)[1..5].to_vec());
    assert_eq!(
        show(json!({"clusterIP": "10.96.0.5", "ports": [{"port": 80}, {"name": "d", "port": 53, "protocol": "UDP"}]})),
        json!(["ClusterIP", "10.96.0.5", "<none>", "80/TCP,53/UDP"])
    );
    assert_eq!(
        show(json!({"type": "LoadBalancer", "clusterIP": "10.96.0.5", "ports": [{"port": 80, "nodePort": 30080}]})),
        json!(["LoadBalancer", "10.96.0.5", "<pending>", "80:30080/TCP"])
    );
    assert_eq!(show(json!({"clusterIP": "None"})), json!(["ClusterIP", "None", "<none>", "<none>"]));
}

#[test]
fn an_external_address_leads_somewhere_else() {
    let spec = json!({"type": "ClusterIP", "externalIPs": ["203.0.113.1", "127.0.0.1", "0.0.0.0", "x"]});
    let errors: Vec<String> = validate_outside(&spec).iter().map(ToString::to_string).collect();
    assert_eq!(
        errors,
        [
            "spec.externalIPs[1]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
            "spec.externalIPs[2]: Invalid value: \"0.0.0.0\": may not be unspecified (0.0.0.0 or ::)",
            "spec.externalIPs[3]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        ]
    );
}
