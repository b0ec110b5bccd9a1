use k8s_openapi::api::core::v1::{HostAlias, PodDNSConfig, PodDNSConfigOption, PodSpec, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::*;
use crate::table::ServiceRoute;
use crate::table::tests::{service, slice};

const IP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 42, 0, 9));

fn names(spec: PodSpec) -> Names {
    let metadata = ObjectMeta { name: Some("web-0".into()), namespace: Some("shop".into()), ..ObjectMeta::default() };
    Names::of(&Pod { metadata, spec: Some(spec), status: None }, IP)
}

fn with_dns(policy: &str, searches: &[&str], ndots: Option<&str>) -> Names {
    let ndots = ndots.map(|value| vec![PodDNSConfigOption { name: Some("ndots".into()), value: Some(value.into()) }]);
    names(PodSpec {
        dns_policy: Some(policy.into()),
        dns_config: Some(PodDNSConfig {
            searches: Some(searches.iter().map(|search| (*search).to_owned()).collect()),
            options: ndots,
            ..PodDNSConfig::default()
        }),
        ..PodSpec::default()
    })
}

#[test]
fn a_short_name_is_searched_for_before_it_is_taken_as_it_is() {
    let names = names(PodSpec::default());
    let expected = ["db.shop.svc.cluster.local", "db.svc.cluster.local", "db.cluster.local", "db"];
    assert_eq!(names.candidates("db"), expected);
    assert_eq!(names.candidates("DB"), expected, "names have no case");
    assert_eq!(names.candidates("db.other")[1], "db.other.svc.cluster.local");
    assert_eq!(names.candidates("db.other.svc.cluster.local").last().unwrap(), "db.other.svc.cluster.local");
}

#[test]
fn a_name_with_five_dots_is_taken_as_it_is_first() {
    let names = names(PodSpec::default());
    assert_eq!(names.candidates("web-0.web.shop.svc.cluster.local")[0], "web-0.web.shop.svc.cluster.local");
    assert_eq!(names.candidates("a.b.c.d.e")[0], "a.b.c.d.e.shop.svc.cluster.local", "four dots are fewer than five");
}

#[test]
fn a_final_dot_ends_the_search() {
    assert_eq!(names(PodSpec::default()).candidates("db."), ["db"]);
}

#[test]
fn what_cannot_be_a_name_is_not_asked_for() {
    let names = names(PodSpec::default());
    assert!(names.candidates("").is_empty() && names.candidates(".").is_empty());
    assert!(names.candidates(&"a".repeat(254)).is_empty());
    assert_eq!(names.candidates(&"a".repeat(250)), ["a".repeat(250)], "too long only with what is appended");
}

#[test]
fn a_dns_config_adds_to_the_search_list_and_sets_the_dots() {
    let names = with_dns("ClusterFirst", &["example.com", "svc.cluster.local"], Some("2"));
    let expected = ["db.shop.svc.cluster.local", "db.svc.cluster.local", "db.cluster.local", "db.example.com", "db"];
    assert_eq!(names.candidates("db"), expected, "what is there already is not added again");
    assert_eq!(names.candidates("a.b.c")[0], "a.b.c");
    assert_eq!(with_dns("ClusterFirst", &[], Some("many")).candidates("db")[0], "db.shop.svc.cluster.local");
}

#[test]
fn a_pod_without_a_policy_of_the_cluster_brings_its_own_list() {
    assert_eq!(with_dns("None", &["example.com."], None).candidates("db"), ["db.example.com", "db"]);
    assert_eq!(with_dns("None", &["example.com"], None).candidates("db.x"), ["db.x", "db.x.example.com"]);
    assert_eq!(names(PodSpec { dns_policy: Some("None".into()), ..PodSpec::default() }).candidates("db"), ["db"]);
}

#[test]
fn a_pod_with_the_nodes_policy_does_not_know_the_cluster() {
    let names = with_dns("Default", &[], None);
    assert_eq!(names.candidates("db"), ["db"]);
    assert_eq!(names.answer(&table(), "web.shop.svc.cluster.local"), Answer::Elsewhere);
}

#[test]
fn the_hosts_file_knows_the_pod_itself_and_its_aliases() {
    let alias = |ip: &str, names: &[&str]| HostAlias {
        ip: ip.into(),
        hostnames: Some(names.iter().map(|name| (*name).to_owned()).collect()),
    };
    let spec = PodSpec {
        hostname: Some("zero".into()),
        subdomain: Some("web".into()),
        host_aliases: Some(vec![
            alias("192.0.2.1", &["foo.local", "bar.local"]),
            alias("192.0.2.2", &["Foo.local"]),
            alias("no address", &["baz.local"]),
        ]),
        ..PodSpec::default()
    };
    let names = names(spec);
    let hosts =
        |name: &str| -> Vec<String> { names.hosts(name).unwrap_or_default().iter().map(IpAddr::to_string).collect() };
    assert_eq!(hosts("localhost"), ["127.0.0.1", "::1"]);
    assert_eq!(hosts("zero"), ["10.42.0.9"]);
    assert_eq!(hosts("zero.web.shop.svc.cluster.local"), ["10.42.0.9"]);
    assert_eq!(hosts("foo.local."), ["192.0.2.1", "192.0.2.2"]);
    assert_eq!(hosts("bar.local"), ["192.0.2.1"]);
    assert!(hosts("baz.local").is_empty() && hosts("web-0").is_empty(), "its name is not its hostname");
}

fn headless(name: &str) -> Service {
    let mut service = service(name, &[]);
    service.spec.as_mut().unwrap().cluster_ip = Some("None".into());
    service
}

/// Services `web` (an address), `peers` (headless, with names), `gone` (headless, nobody ready) and `out` (a name).
fn table() -> RouteTable {
    let mut web = service("web", &[("", 80)]);
    web.spec.as_mut().unwrap().cluster_ip = Some("10.43.0.7".into());
    let mut peers = slice("", 80, &[("10.42.0.3", true), ("10.42.0.2", true), ("10.42.0.4", false)]);
    for (index, endpoint) in peers.endpoints.iter_mut().flatten().enumerate() {
        endpoint.hostname = (index != 1).then(|| format!("peer-{index}"));
    }
    peers.ports = None;
    let mut out = service("out", &[]);
    let spec = out.spec.as_mut().unwrap();
    (spec.type_, spec.external_name) = (Some("ExternalName".into()), Some("DB.example.com.".into()));
    let mut table = RouteTable::default();
    for (mut service, slices) in [
        (web, vec![slice("", 8080, &[("10.42.0.2", true)])]),
        (headless("peers"), vec![peers]),
        (headless("gone"), vec![slice("", 80, &[("10.42.0.5", false)])]),
        (out, Vec::new()),
    ] {
        service.metadata.namespace = Some("shop".into());
        let route = ServiceRoute::new(&service, &slices);
        table.set(&route.key.clone(), Some(route));
    }
    table
}

fn check(name: &str) -> String {
    match answer(&table(), name) {
        Answer::Addresses(all) => all.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" "),
        Answer::Alias(name) => format!("alias {name}"),
        Answer::NoName => "no name".to_owned(),
        Answer::Elsewhere => "elsewhere".to_owned(),
    }
}

#[test]
fn a_service_has_its_address() {
    assert_eq!(check("web.shop.svc.cluster.local"), "10.43.0.7");
    assert_eq!(check("10-42-0-2.web.shop.svc.cluster.local"), "10.42.0.2");
    for other in ["web.other.svc.cluster.local", "db.shop.svc.cluster.local", "web.shop.cluster.local"] {
        assert_eq!(check(other), "no name", "{other}");
    }
}

#[test]
fn a_headless_service_has_the_addresses_of_its_ready_pods() {
    assert_eq!(check("peers.shop.svc.cluster.local"), "10.42.0.2 10.42.0.3", "also without ports");
    assert_eq!(check("gone.shop.svc.cluster.local"), "no name");
}

#[test]
fn pods_of_a_headless_service_have_names_below_its_own() {
    assert_eq!(check("peer-0.peers.shop.svc.cluster.local"), "10.42.0.3");
    assert_eq!(check("10-42-0-2.peers.shop.svc.cluster.local"), "10.42.0.2", "one without a hostname");
    assert_eq!(check("peer-2.peers.shop.svc.cluster.local"), "no name", "not ready");
    assert_eq!(check("peer-9.peers.shop.svc.cluster.local"), "no name");
}

#[test]
fn a_pods_address_is_in_its_name() {
    assert_eq!(check("10-42-0-77.shop.pod.cluster.local"), "10.42.0.77");
    assert_eq!(check("fd00--1.shop.pod.cluster.local"), "fd00::1");
    assert_eq!(check("web.shop.pod.cluster.local"), "no name");
}

#[test]
fn an_external_name_is_an_alias() {
    assert_eq!(check("out.shop.svc.cluster.local"), "alias db.example.com");
}

#[test]
fn the_cluster_answers_for_its_own_domain_only() {
    for other in ["example.com", "web", "mycluster.local", "shop.svc.cluster.local.example.com"] {
        assert_eq!(check(other), "elsewhere", "{other}");
    }
    for own in ["cluster.local", "svc.cluster.local", "shop.svc.cluster.local", "a.b.c.d.svc.cluster.local"] {
        assert_eq!(check(own), "no name", "{own}");
    }
}
