use k8s_openapi::api::core::v1::{ObjectReference, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::*;
use crate::table::tests::{service, slice};

const HERE: [u8; 4] = [10, 42, 0, 2];

/// Gives every endpoint of a slice a pod, on the node of its address: 10.42.0.x is ours, 10.42.1.x another.
fn with_pods(mut slice: EndpointSlice) -> EndpointSlice {
    for (index, endpoint) in slice.endpoints.iter_mut().flatten().enumerate() {
        let is_ours = endpoint.addresses[0].starts_with("10.42.0.");
        endpoint.node_name = Some(if is_ours { "ours" } else { "other" }.to_owned());
        let (kind, name) = (Some("Pod".to_owned()), Some(format!("pod-{index}")));
        endpoint.target_ref = Some(ObjectReference { kind, name, ..ObjectReference::default() });
    }
    slice
}

fn at(ip: &str, name: &str, ports: &[(&str, i32)]) -> Service {
    let mut service = service(name, ports);
    service.spec.as_mut().unwrap().cluster_ip = Some(ip.to_owned());
    service
}

fn table(services: &[(Service, EndpointSlice)]) -> RouteTable {
    let mut table = RouteTable::default();
    for (service, slice) in services {
        let route = ServiceRoute::new(service, std::slice::from_ref(slice));
        table.set(&route.key.clone(), Some(route));
    }
    table
}

/// One line that says where `to` leads from pod 10.42.0.9; 10.42.0.2 is a pod of this process.
fn check(table: &RouteTable, to: &str) -> String {
    check_for(table, to, Protocol::Tcp)
}

fn check_for(table: &RouteTable, to: &str, protocol: Protocol) -> String {
    let view = View {
        pod: [10, 42, 0, 9].into(),
        table,
        is_here: &|ip| ip == IpAddr::from(HERE),
        is_our_node: &|node| node == Some("ours"),
    };
    match way(&view, to.parse().unwrap(), protocol) {
        Ok(Way::Own) => "own".to_owned(),
        Ok(Way::Here(to)) => format!("here {to}"),
        Ok(Way::There(to)) => format!("there {to}"),
        Ok(Way::Server(all)) => format!("server {all:?}"),
        Ok(Way::Outside(to)) => format!("outside {to}"),
        Err(error) => error.to_string(),
    }
}

fn web(addresses: &[(&str, bool)]) -> (Service, EndpointSlice) {
    (at("10.43.0.7", "web", &[("", 80)]), with_pods(slice("", 8080, addresses)))
}

#[test]
fn loopback_and_the_pods_own_address_lead_back_into_it() {
    for to in ["127.0.0.1:80", "127.1.2.3:80", "10.42.0.9:80", "[::1]:80"] {
        assert_eq!(check(&RouteTable::default(), to), "own", "{to}");
    }
}

#[test]
fn a_services_address_leads_to_its_ready_endpoints_in_turn() {
    let table = table(&[web(&[("10.42.0.2", true), ("10.42.1.5", true), ("10.42.1.6", false)])]);
    let seen: Vec<_> = (0..3).map(|_| check(&table, "10.43.0.7:80")).collect();
    assert_eq!(seen, ["here 10.42.0.2:8080", "there 10.42.1.5:8080", "here 10.42.0.2:8080"]);
}

#[test]
fn without_an_endpoint_or_at_another_port_a_service_refuses() {
    for addresses in [&[][..], &[("10.42.0.2", false)]] {
        assert_eq!(check(&table(&[web(addresses)]), "10.43.0.7:80"), "connection refused");
    }
    let table = table(&[web(&[("10.42.0.2", true)])]);
    assert_eq!(check(&table, "10.43.0.7:8080"), "connection refused", "a target port is no port of the service");
    assert_eq!(check_for(&table, "10.43.0.7:80", Protocol::Udp), "connection refused", "the port speaks TCP");
}

#[test]
fn one_number_may_be_two_ports() {
    let mut service = at("10.43.0.10", "dns", &[("dns", 53), ("dns-tcp", 53)]);
    service.spec.as_mut().unwrap().ports.as_mut().unwrap()[0].protocol = Some("UDP".to_owned());
    let mut slice = with_pods(slice("dns", 5353, &[("10.42.0.2", true)]));
    let mut tcp = slice.ports.as_ref().unwrap()[0].clone();
    (tcp.name, tcp.port) = (Some("dns-tcp".to_owned()), Some(5354));
    slice.ports.as_mut().unwrap().push(tcp);
    let table = table(&[(service, slice)]);
    assert_eq!(check_for(&table, "10.43.0.10:53", Protocol::Udp), "here 10.42.0.2:5353");
    assert_eq!(check_for(&table, "10.43.0.10:53", Protocol::Tcp), "here 10.42.0.2:5354");
}

#[test]
fn a_sticky_service_stays_with_one_endpoint() {
    let (mut service, slice) = web(&[("10.42.1.5", true), ("10.42.1.6", true), ("10.42.1.7", true)]);
    service.spec.as_mut().unwrap().session_affinity = Some("ClientIP".to_owned());
    let table = table(&[(service, slice)]);
    let first = check(&table, "10.43.0.7:80");
    assert!((0..9).all(|_| check(&table, "10.43.0.7:80") == first));
}

#[test]
fn a_service_for_its_own_node_leads_nowhere_else() {
    let (mut service, slice) = web(&[("10.42.1.5", true), ("10.42.0.2", true)]);
    service.spec.as_mut().unwrap().internal_traffic_policy = Some("Local".to_owned());
    let here = table(&[(service.clone(), slice)]);
    assert!((0..4).all(|_| check(&here, "10.43.0.7:80") == "here 10.42.0.2:8080"));
    let elsewhere = with_pods(crate::table::tests::slice("", 8080, &[("10.42.1.5", true)]));
    assert_eq!(check(&table(&[(service, elsewhere)]), "10.43.0.7:80"), "connection refused");
}

#[test]
fn a_pods_address_leads_to_it_on_any_port() {
    let table = table(&[web(&[("10.42.1.5", false)])]);
    assert_eq!(check(&table, "10.42.0.2:9"), "here 10.42.0.2:9");
    for elsewhere in ["10.42.1.5:9", "10.42.255.7:9", "10.128.0.2:9", "10.255.255.254:9"] {
        assert_eq!(check(&table, elsewhere), format!("there {elsewhere}"), "with a Service or without");
    }
    for outside in ["10.41.255.255:9", "10.127.0.1:9", "11.0.0.1:9"] {
        assert_eq!(check(&table, outside), format!("outside {outside}"));
    }
}

#[test]
fn a_pod_that_has_just_gone_from_this_node_is_not_looked_for_elsewhere() {
    assert_eq!(check(&table(&[web(&[("10.42.0.77", true)])]), "10.43.0.7:80"), "here 10.42.0.77:8080");
}

#[test]
fn the_api_server_is_where_its_service_says() {
    let server = (at("10.43.0.1", "kubernetes", &[("https", 443)]), slice("https", 6443, &[("127.0.0.1", true)]));
    assert_eq!(check(&table(&[server]), "10.43.0.1:443"), "server [127.0.0.1:6443]");
}

#[test]
fn endpoints_that_are_no_pods_are_outside() {
    let by_hand = (at("10.43.0.8", "db", &[("", 5432)]), slice("", 5432, &[("192.0.2.7", true)]));
    let table = table(&[by_hand]);
    assert_eq!(check(&table, "10.43.0.8:5432"), "outside 192.0.2.7:5432");
    assert_eq!(check(&table, "192.0.2.7:22"), "outside 192.0.2.7:22");
    let to_a_pod = (at("10.43.0.8", "db", &[("", 5432)]), slice("", 5432, &[("10.42.1.5", true)]));
    assert_eq!(check(&self::table(&[to_a_pod]), "10.43.0.8:5432"), "there 10.42.1.5:5432", "unless they are");
}

#[test]
fn an_address_follows_its_service() {
    let mut table = table(&[web(&[("10.42.0.2", true)])]);
    let (mut moved, slice) = web(&[("10.42.0.2", true)]);
    moved.spec.as_mut().unwrap().cluster_ip = Some("10.43.0.8".to_owned());
    moved.spec.as_mut().unwrap().external_ips = Some(vec!["192.0.2.1".to_owned()]);
    let route = ServiceRoute::new(&moved, &[slice]);
    let key = route.key.clone();
    table.set(&key, Some(route));
    assert_eq!(check(&table, "10.43.0.7:80"), "outside 10.43.0.7:80");
    assert_eq!(check(&table, "10.43.0.8:80"), "here 10.42.0.2:8080");
    assert_eq!(check(&table, "192.0.2.1:80"), "here 10.42.0.2:8080");
    table.set(&key, None);
    assert_eq!(check(&table, "10.43.0.8:80"), "outside 10.43.0.8:80");
}
