//! One case per sentence of the documentation of Services and `EndpointSlices`, and properties over random worlds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    Container, ContainerPort, EndpointAddress, Endpoints, Pod, PodIP, Service, ServicePort, ServiceSpec,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use wkube_base::Rng;

use super::plan::{Action, Observed, Plan, SLICE_ENDPOINTS_MAX, plan};
use crate::common::meta;
use crate::testing::{PodBuilder, labels, lines, metadata, pod, shuffle};

fn service() -> Service {
    let port = ServicePort {
        name: Some("http".to_owned()),
        port: 80,
        target_port: Some(IntOrString::Int(8080)),
        ..ServicePort::default()
    };
    let spec =
        ServiceSpec { selector: Some(labels(&[("app", "web")])), ports: Some(vec![port]), ..ServiceSpec::default() };
    Service { metadata: metadata("web"), spec: Some(spec), status: None }
}

fn at_ip(mut built: PodBuilder, ip: &str) -> PodBuilder {
    let status = built.0.status.get_or_insert_default();
    status.pod_ip = Some(ip.to_owned());
    status.pod_ips = Some(vec![PodIP { ip: ip.to_owned() }]);
    built
}

fn ready(name: &str, ip: &str) -> PodBuilder {
    at_ip(pod(name).ready(0), ip)
}

/// A Service with its pods, and what the API server holds of its endpoints.
struct World {
    service: Service,
    pods: Vec<Arc<Pod>>,
    slices: Vec<Arc<EndpointSlice>>,
    endpoints: Option<Endpoints>,
    born: usize,
}

impl World {
    fn new(service: Service, pods: Vec<PodBuilder>) -> Self {
        let pods = pods.into_iter().map(PodBuilder::build).collect();
        Self { service, pods, slices: Vec::new(), endpoints: None, born: 0 }
    }

    fn look(&self) -> Plan {
        let zones = BTreeMap::from([("n1".to_owned(), "z1".to_owned())]);
        plan(&Observed {
            service: &self.service,
            pods: &self.pods,
            slices: &self.slices,
            endpoints: self.endpoints.as_ref(),
            zones: &zones,
        })
    }

    fn perform(&mut self, actions: Vec<Action>, steps: usize) {
        for action in actions.into_iter().take(steps) {
            match action {
                Action::Create(mut slice) => {
                    self.born += 1;
                    let name = format!("web-{:03}", self.born);
                    slice.metadata.uid = Some(format!("uid-{name}"));
                    slice.metadata.name = Some(name);
                    self.slices.push(Arc::new(*slice));
                }
                Action::Update(slice) => {
                    let known = self.slices.iter_mut().find(|known| known.metadata.uid == slice.metadata.uid);
                    *known.expect("updates what exists") = Arc::new(*slice);
                }
                Action::Delete(slice) => self.slices.retain(|known| meta::uid(&known.metadata) != slice.uid),
                Action::CreateEndpoints(endpoints) | Action::UpdateEndpoints(endpoints) => {
                    self.endpoints = Some(*endpoints);
                }
            }
        }
    }

    fn settle(&mut self) -> &mut Self {
        let actions = self.look().actions;
        self.perform(actions, usize::MAX);
        assert_eq!(lines(&self.look().actions), "", "one look is enough");
        self
    }

    /// One line per endpoint of all slices: name, address, port, r(eady) s(erving) t(erminating).
    fn print(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for slice in &self.slices {
            let ports: Vec<String> = slice
                .ports
                .iter()
                .flatten()
                .map(|port| format!("{}:{}", port.name.clone().unwrap_or_default(), port.port.unwrap_or_default()))
                .collect();
            for endpoint in slice.endpoints.iter().flatten() {
                let conditions = endpoint.conditions.clone().unwrap_or_default();
                let flag = |set: Option<bool>, letter| if set == Some(true) { letter } else { '-' };
                lines.push(format!(
                    "{} {} {} {}{}{}",
                    endpoint.target_ref.as_ref().and_then(|target| target.name.clone()).unwrap_or_default(),
                    endpoint.addresses.join(","),
                    ports.join(","),
                    flag(conditions.ready, 'r'),
                    flag(conditions.serving, 's'),
                    flag(conditions.terminating, 't'),
                ));
            }
        }
        lines.sort();
        lines
    }
}

#[test]
fn conditions_say_ready_serving_and_terminating() {
    let mut world = World::new(
        service(),
        vec![
            ready("a", "10.42.0.1"),
            at_ip(pod("b").on("n1").phase("Running"), "10.42.0.2"),
            ready("c", "10.42.0.3").deleting(),
            at_ip(pod("d").on("n1").phase("Running").deleting(), "10.42.0.4"),
            at_ip(pod("e").phase("Succeeded"), "10.42.0.5"),
            pod("f").on("n1"),
        ],
    );
    assert_eq!(
        world.settle().print(),
        [
            "a 10.42.0.1 http:8080 rs-",
            "b 10.42.0.2 http:8080 ---",
            "c 10.42.0.3 http:8080 -st",
            "d 10.42.0.4 http:8080 --t"
        ]
    );
}

#[test]
fn publishing_addresses_that_are_not_ready_makes_all_ready() {
    let mut publishing = service();
    publishing.spec.get_or_insert_default().publish_not_ready_addresses = Some(true);
    let pods = vec![at_ip(pod("b").on("n1").phase("Running"), "10.42.0.2"), ready("c", "10.42.0.3").deleting()];
    let mut world = World::new(publishing, pods);
    assert_eq!(world.settle().print(), ["b 10.42.0.2 http:8080 r--", "c 10.42.0.3 http:8080 rst"]);
    let subsets = world.endpoints.expect("endpoints").subsets.expect("subsets");
    assert_eq!(subsets[0].addresses.as_ref().map(Vec::len), Some(2));
}

#[test]
fn a_slice_is_labelled_owned_named_and_placed() {
    let mut headless = service();
    headless.metadata.labels = Some(labels(&[("team", "blue")]));
    headless.spec.get_or_insert_default().cluster_ip = Some("None".to_owned());
    let mut world = World::new(headless, vec![ready("a", "10.42.0.1")]);
    let slice = Arc::clone(&world.settle().slices[0]);
    let expected = labels(&[
        ("team", "blue"),
        ("kubernetes.io/service-name", "web"),
        ("endpointslice.kubernetes.io/managed-by", "endpointslice-controller.k8s.io"),
        ("service.kubernetes.io/headless", ""),
    ]);
    assert_eq!(slice.metadata.labels, Some(expected));
    assert_eq!(slice.metadata.generate_name.as_deref(), Some("web-"));
    assert_eq!(meta::controller_of(&slice.metadata).map(|owner| owner.kind.as_str()), Some("Service"));
    assert_eq!(slice.address_type, "IPv4");
    let endpoint = &slice.endpoints.as_ref().expect("endpoints")[0];
    assert_eq!((endpoint.node_name.as_deref(), endpoint.zone.as_deref()), (Some("n1"), Some("z1")));
}

#[test]
fn a_named_target_port_is_looked_up_in_each_pod() {
    let mut named = service();
    let spec = named.spec.get_or_insert_default();
    spec.ports.get_or_insert_default()[0].target_port = Some(IntOrString::String("web".to_owned()));
    let declaring = |name: &str, ip: &str, number| {
        let mut built = ready(name, ip);
        let port = ContainerPort { name: Some("web".to_owned()), container_port: number, ..ContainerPort::default() };
        let container = Container { ports: Some(vec![port]), ..Container::default() };
        built.0.spec.get_or_insert_default().containers = vec![container];
        built
    };
    let pods = vec![declaring("a", "10.42.0.1", 8080), declaring("b", "10.42.0.2", 9090), ready("c", "10.42.0.3")];
    let mut world = World::new(named, pods);
    assert_eq!(
        world.settle().print(),
        ["a 10.42.0.1 web:8080 rs-", "b 10.42.0.2 web:9090 rs-", "c 10.42.0.3  rs-"]
            .map(|line| line.replace("web:", "http:"))
    );
    assert_eq!(world.slices.len(), 3, "each set of ports has a slice of its own");
}

#[test]
fn a_selector_that_matches_nothing_still_has_an_empty_slice_and_endpoints() {
    let mut world = World::new(service(), vec![]);
    let actions = world.look().actions;
    assert_eq!(lines(&actions), "create slice: {}\ncreate endpoints: 0 ready, 0 not ready\n");
    world.settle();
    assert_eq!(world.slices[0].endpoints, Some(Vec::new()));
}

#[test]
fn a_service_without_selector_or_that_is_an_alias_is_the_users() {
    let mut without = service();
    without.spec.get_or_insert_default().selector = None;
    assert_eq!(World::new(without, vec![]).look(), Plan::default());
    let mut alias = service();
    alias.spec.get_or_insert_default().type_ = Some("ExternalName".to_owned());
    assert_eq!(World::new(alias, vec![]).look(), Plan::default());
}

#[test]
fn slices_of_another_manager_stay_untouched() {
    let mut world = World::new(service(), vec![ready("a", "10.42.0.1")]);
    let mut foreign =
        EndpointSlice { metadata: metadata("mine"), address_type: "IPv4".to_owned(), ..Default::default() };
    foreign.metadata.labels = Some(labels(&[("kubernetes.io/service-name", "web")]));
    world.slices.push(Arc::new(foreign.clone()));
    world.settle();
    assert!(world.slices.iter().any(|slice| **slice == foreign));
}

#[test]
fn a_slice_holds_a_hundred_and_only_the_slice_that_changes_is_written() {
    let pods =
        (0..250).map(|index| ready(&format!("p{index:03}"), &format!("10.42.{}.{}", index / 200, index % 200 + 1)));
    let mut world = World::new(service(), pods.collect());
    world.settle();
    let sizes: Vec<usize> = world.slices.iter().map(|slice| slice.endpoints.as_ref().map_or(0, Vec::len)).collect();
    assert_eq!(sizes, [100, 100, 50]);

    world.pods.remove(120);
    let actions = world.look().actions;
    assert_eq!(lines(&actions), "update web-002: 99 endpoints\nupdate endpoints: 249 ready, 0 not ready\n");
    world.settle();

    // One pod goes and two come: the slice that loses one takes one, the last one takes the other.
    world.pods.remove(0);
    world.pods.push(ready("x", "10.43.0.1").build());
    assert_eq!(world.look().actions.iter().filter(|action| matches!(action, Action::Update(_))).count(), 1);
}

#[test]
fn endpoints_list_ready_and_not_ready_addresses_in_order_of_address() {
    let pods = vec![
        ready("a", "10.42.0.10"),
        ready("b", "10.42.0.9"),
        at_ip(pod("c").on("n1").phase("Running"), "10.42.0.3"),
        ready("d", "10.42.0.4").deleting(),
    ];
    let mut world = World::new(service(), pods);
    world.settle();
    let subsets = world.endpoints.expect("endpoints").subsets.expect("subsets");
    let ips = |list: &Option<Vec<EndpointAddress>>| -> Vec<String> {
        list.iter().flatten().map(|address| address.ip.clone()).collect()
    };
    assert_eq!(subsets.len(), 1);
    assert_eq!(ips(&subsets[0].addresses), ["10.42.0.9", "10.42.0.10"]);
    assert_eq!(ips(&subsets[0].not_ready_addresses), ["10.42.0.3"]);
    let port = &subsets[0].ports.as_ref().expect("ports")[0];
    assert_eq!((port.name.as_deref(), port.port, port.protocol.as_deref()), (Some("http"), 8080, Some("TCP")));
}

#[test]
fn a_port_without_a_name_is_named_empty_in_slices_and_not_at_all_in_endpoints() {
    let mut unnamed = service();
    unnamed.spec.get_or_insert_default().ports.get_or_insert_default()[0].name = None;
    let mut world = World::new(unnamed, vec![ready("a", "10.42.0.1")]);
    world.settle();
    assert_eq!(world.slices[0].ports.as_ref().expect("ports")[0].name.as_deref(), Some(""));
    let subsets = world.endpoints.expect("endpoints").subsets.expect("subsets");
    assert_eq!(subsets[0].ports.as_ref().expect("ports")[0].name, None);
}

#[test]
fn endpoints_beyond_a_thousand_are_left_out_and_it_says_so() {
    let pods =
        (0..1001).map(|index| ready(&format!("p{index:04}"), &format!("10.42.{}.{}", index / 200, index % 200 + 1)));
    let mut world = World::new(service(), pods.collect());
    world.settle();
    let endpoints = world.endpoints.expect("endpoints");
    let count = |list: &Option<Vec<EndpointAddress>>| list.as_ref().map_or(0, Vec::len);
    assert_eq!(endpoints.subsets.iter().flatten().map(|subset| count(&subset.addresses)).sum::<usize>(), 1000);
    assert_eq!(meta::annotation(&endpoints.metadata, "endpoints.kubernetes.io/over-capacity"), Some("truncated"));
}

#[test]
fn each_family_of_the_service_has_its_own_slices() {
    let mut dual = service();
    dual.spec.get_or_insert_default().ip_families = Some(vec!["IPv6".to_owned(), "IPv4".to_owned()]);
    let mut both = ready("a", "10.42.0.1");
    both.0.status.get_or_insert_default().pod_ips.get_or_insert_default().push(PodIP { ip: "fd00::1".to_owned() });
    let mut world = World::new(dual, vec![both]);
    world.settle();
    let types: BTreeSet<&str> = world.slices.iter().map(|slice| slice.address_type.as_str()).collect();
    assert_eq!(types, BTreeSet::from(["IPv4", "IPv6"]));
    let subsets = world.endpoints.as_ref().and_then(|endpoints| endpoints.subsets.clone()).expect("subsets");
    assert_eq!(subsets[0].addresses.as_ref().expect("addresses")[0].ip, "fd00::1", "Endpoints have the first family");

    world.service.spec.get_or_insert_default().ip_families = Some(vec!["IPv4".to_owned()]);
    world.settle();
    assert!(world.slices.iter().all(|slice| slice.address_type == "IPv4"));
}

/// Changes the pods by chance: some go, some come, some change.
fn stir(world: &mut World, rng: &Rng, round: usize) {
    world.pods.retain(|_| rng.below(5) != 0);
    for pod in &mut world.pods {
        if rng.below(6) == 0 {
            Arc::make_mut(pod).metadata.deletion_timestamp = Some(meta::time(crate::testing::at(1)));
        }
    }
    for index in 0..rng.below(60) {
        let ip = format!("10.{round}.{}.{}", rng.below(200), index + 1);
        world.pods.push(ready(&format!("p{round}-{index}"), &ip).build());
    }
}

#[test]
fn every_pod_is_listed_exactly_once_and_no_slice_overflows() {
    for seed in 0..40 {
        let rng = Rng::seeded(seed);
        let mut world = World::new(service(), vec![]);
        for round in 0..12 {
            stir(&mut world, &rng, round);
            let actions = world.look().actions;
            let steps = rng.below(actions.len() + 1);
            world.perform(actions, steps);
            world.settle();
            let listed = world.print();
            assert_eq!(listed.len(), world.pods.len(), "seed {seed} round {round}");
            assert_eq!(listed.iter().collect::<BTreeSet<_>>().len(), listed.len(), "seed {seed}: listed twice");
            let most = world.slices.iter().filter_map(|slice| slice.endpoints.as_ref()).map(Vec::len).max();
            assert!(most <= Some(SLICE_ENDPOINTS_MAX), "seed {seed}: {most:?}");
        }
    }
}

#[test]
fn the_order_of_pods_and_slices_does_not_matter() {
    for seed in 0..40 {
        let rng = Rng::seeded(seed);
        let mut world = World::new(service(), vec![]);
        for round in 0..6 {
            stir(&mut world, &rng, round);
            let expected = world.look();
            shuffle(&mut world.pods, &rng);
            shuffle(&mut world.slices, &rng);
            assert_eq!(world.look(), expected, "seed {seed}");
            world.settle();
        }
    }
}

#[test]
fn a_pod_coming_and_going_reads_like_this() {
    let mut world = World::new(service(), vec![at_ip(pod("a").on("n1").phase("Running"), "10.42.0.1")]);
    let mut printed = Vec::new();
    let mut step = |world: &mut World| {
        let actions = world.look().actions;
        let done: Vec<String> = actions.iter().map(Action::to_string).collect();
        world.perform(actions, usize::MAX);
        printed.push(format!("{} | {}", done.join("; "), world.print().join("; ")));
    };
    step(&mut world);
    world.pods = vec![ready("a", "10.42.0.1").build()];
    step(&mut world);
    world.pods = vec![ready("a", "10.42.0.1").deleting().build()];
    step(&mut world);
    world.pods.clear();
    step(&mut world);
    assert_eq!(
        printed,
        [
            "create slice: {\"a\"}; create endpoints: 0 ready, 1 not ready | a 10.42.0.1 http:8080 ---",
            "update web-001: {\"a\"}; update endpoints: 1 ready, 0 not ready | a 10.42.0.1 http:8080 rs-",
            "update web-001: {\"a\"}; update endpoints: 0 ready, 0 not ready | a 10.42.0.1 http:8080 -st",
            "update web-001: {} | ",
        ]
    );
}
