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

fn with(mut base: Value, more: Value) -> Object {
    base.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    service(base)
}

#[test]
fn an_external_name_is_a_name_and_has_no_address() {
    let name = |spec: Value| with(json!({"type": "ExternalName", "externalName": "a.b."}), spec);
    check_errors(&Service, &name(json!({})), None, &[]);
    check_errors(&Service, &name(json!({"externalName": ""})), None, &["spec.externalName: Required value"]);
    check_errors(
        &Service,
        &name(json!({"clusterIP": "10.96.0.5", "ipFamilies": ["IPv4"], "ports": [{"port": 80, "nodePort": 30080}]})),
        None,
        &[
            "spec.clusterIPs: Forbidden: may not be set for ExternalName services",
            "spec.ipFamilies: Forbidden: may not be set for ExternalName services",
            "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ExternalName'",
        ],
    );
}

#[test]
fn addresses_are_of_the_families_that_are_named() {
    let check = |spec: Value, expected: &[&str]| {
        check_errors(&Service, &with(json!({"ports": [{"port": 80}]}), spec), None, expected);
    };
    check(
        json!({"clusterIPs": ["10.96.0.5", "fd00::5"], "ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "RequireDualStack"}),
        &[],
    );
    check(
        json!({"clusterIP": "10.96.0.5", "clusterIPs": ["10.96.0.6"]}),
        &["spec.clusterIPs: Invalid value: [\"10.96.0.6\"]: first value must match `clusterIP`"],
    );
    check(
        json!({"clusterIPs": ["None", "10.96.0.6"]}),
        &["spec.clusterIPs: Invalid value: [\"None\",\"10.96.0.6\"]: 'None' must be the first and only value"],
    );
    check(
        json!({"clusterIPs": ["10.96.0.5", "10.96.0.6"], "ipFamilies": ["IPv4", "IPv4", "IPv5"], "ipFamilyPolicy": "Both"}),
        &[
            "spec.ipFamilies[1]: Duplicate value: \"IPv4\"",
            "spec.ipFamilies[2]: Unsupported value: \"IPv5\": supported values: \"IPv4\", \"IPv6\"",
            "spec.ipFamilyPolicy: Unsupported value: \"Both\": supported values: \"PreferDualStack\", \"RequireDualStack\", \
             \"SingleStack\"",
            "spec.clusterIPs: Invalid value: [\"10.96.0.5\",\"10.96.0.6\"]: may specify no more than one IP for each IP family",
        ],
    );
    check(
        json!({"clusterIP": "fd00::5"}),
        &["spec.clusterIPs[0]: Invalid value: \"fd00::5\": expected an IPv4 value as indicated by `ipFamilies[0]`"],
    );
    check(
        json!({"clusterIP": "10.96.0"}),
        &[
            "spec.clusterIPs[0]: Invalid value: \"10.96.0\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        ],
    );
}

#[test]
fn a_second_family_may_come_and_go() {
    let one = service(json!({"clusterIP": "10.96.0.5", "ports": [{"port": 80}]}));
    let two = service(json!({"clusterIPs": ["10.96.0.5", "fd00::5"], "ipFamilies": ["IPv4", "IPv6"],
        "ipFamilyPolicy": "PreferDualStack", "ports": [{"port": 80}]}));
    check_errors(&Service, &two, Some(&one), &[]);
    check_errors(&Service, &one, Some(&two), &[]);
    let mut undecided = one.clone();
    undecided.set(&["spec", "ipFamilyPolicy"], "PreferDualStack");
    let why = "Invalid value: \"PreferDualStack\": must be set to 'SingleStack' when releasing the secondary";
    check_errors(
        &Service,
        &undecided,
        Some(&two),
        &[&format!("spec.ipFamilyPolicy: {why} clusterIP"), &format!("spec.ipFamilyPolicy: {why} ipFamily")],
    );
    let mut swapped = two.clone();
    swapped.set(&["spec", "clusterIPs"], json!(["fd00::5", "10.96.0.5"]));
    swapped.set(&["spec", "clusterIP"], "fd00::5");
    swapped.set(&["spec", "ipFamilies"], json!(["IPv6", "IPv4"]));
    assert_eq!(Service.validate(&swapped, Some(&two)).len(), 4);
}

#[test]
fn clients_stick_to_a_pod_for_at_most_a_day() {
    let check = |spec: Value, expected: &[&str]| {
        check_errors(&Service, &with(json!({"clusterIP": "None"}), spec), None, expected);
    };
    check(json!({"sessionAffinity": "ClientIP"}), &[]);
    check(
        json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86401}}}),
        &[
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 86401: must be greater than 0 and less than 86400",
        ],
    );
    check(
        json!({"sessionAffinity": "Cookie"}),
        &["spec.sessionAffinity: Unsupported value: \"Cookie\": supported values: \"ClientIP\", \"None\""],
    );
    check(
        json!({"internalTrafficPolicy": "Far", "trafficDistribution": "PreferFar"}),
        &[
            "spec.internalTrafficPolicy: Unsupported value: \"Far\": supported values: \"Cluster\", \"Local\"",
            "spec.trafficDistribution: Unsupported value: \"PreferFar\": supported values: \"PreferClose\", \"PreferSameNode\", \
             \"PreferSameZone\"",
        ],
    );
}

#[test]
fn what_only_balancers_have_is_for_balancers() {
    check_errors(
        &Service,
        &service(
            json!({"clusterIP": "None", "loadBalancerSourceRanges": ["10.0.0.0/8", "x"], "loadBalancerClass": "a.b/c",
            "externalTrafficPolicy": "Local", "healthCheckNodePort": 31000}),
        ),
        None,
        &[
            "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for externally-accessible services",
            "spec.healthCheckNodePort: Invalid value: 31000: may only be set when `type` is 'LoadBalancer' and \
             `externalTrafficPolicy` is 'Local'",
            "spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'",
            "spec.LoadBalancerSourceRanges[1]: Invalid value: \"x\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
            "spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'",
        ],
    );
    let balancer =
        |class: &str| service(json!({"type": "LoadBalancer", "loadBalancerClass": class, "ports": [{"port": 80}]}));
    check_errors(
        &Service,
        &balancer("a.b/c"),
        Some(&balancer("a.b/d")),
        &["spec.loadBalancerClass: Invalid value: \"a.b/c\": may not change once set"],
    );
    let node =
        service(json!({"type": "LoadBalancer", "clusterIP": "None", "ports": [{"port": 10250, "appProtocol": "-"}]}));
    let told: Vec<String> = Service.validate(&node, None).iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert_eq!(
        told[0],
        "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for LoadBalancer services"
    );
    assert!(
        told[1].starts_with("spec.ports[0].appProtocol: Invalid value: \"-\": name part must consist of"),
        "{told:?}"
    );
    assert_eq!(
        told[2],
        "spec.ports[0]: Invalid value: 10250: may not expose port 10250 externally since it is used by kubelet"
    );
}

#[test]
fn a_service_with_external_addresses_says_where_their_traffic_may_go() {
    let spec = json!({"externalIPs": ["203.0.113.1"], "clusterIP": "10.96.0.5", "ports": [{"port": 80}]});
    assert_eq!(service(spec).str_at(&["spec", "externalTrafficPolicy"]), "Cluster");
}

#[test]
fn an_external_address_leads_somewhere_else() {
    let spec = json!({"clusterIP": "None", "externalIPs": ["203.0.113.1", "127.0.0.1", "0.0.0.0", "x"]});
    let errors: Vec<String> = rules::validate(&service(spec), None).iter().map(ToString::to_string).collect();
    assert_eq!(
        errors,
        [
            "spec.externalIPs[1]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
            "spec.externalIPs[2]: Invalid value: \"0.0.0.0\": may not be unspecified (0.0.0.0 or ::)",
            "spec.externalIPs[3]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        ]
    );
}
