//! One case per rule of the mirror, and what happens when the Endpoints change.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Endpoints, Service, ServiceSpec};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};

use super::plan::{Action, Observed, Plan, plan};
use crate::common::meta;
use crate::testing::{labels, lines, metadata};

fn endpoints(subsets: Value) -> Endpoints {
    let subsets = serde_json::from_value(subsets).expect("subsets");
    Endpoints { metadata: metadata("custom"), subsets: Some(subsets) }
}

fn one(ip: &str, port: u16) -> Value {
    json!({"addresses": [{"ip": ip}], "ports": [{"name": "http", "port": port, "protocol": "TCP"}]})
}

/// The Endpoints, their Service, and what the API server holds of their slices.
struct World {
    endpoints: Option<Endpoints>,
    service: Option<Service>,
    slices: Vec<Arc<EndpointSlice>>,
    born: usize,
}

impl World {
    fn new(subsets: Value) -> Self {
        let service = Service { metadata: metadata("custom"), spec: Some(ServiceSpec::default()), status: None };
        Self { endpoints: Some(endpoints(subsets)), service: Some(service), slices: Vec::new(), born: 0 }
    }

    fn look(&self) -> Plan {
        let (endpoints, service) = (self.endpoints.as_ref(), self.service.as_ref());
        plan(&Observed { endpoints, service, slices: &self.slices })
    }

    /// Performs the plan, checks that one look was enough, and returns what was done.
    fn settle(&mut self) -> String {
        let actions = self.look().actions;
        let done = lines(&actions);
        for action in actions {
            match action {
                Action::Create(mut slice) => {
                    self.born += 1;
                    slice.metadata.name = Some(format!("custom-{}", self.born));
                    slice.metadata.uid = Some(format!("uid-{}", self.born));
                    self.slices.push(Arc::new(*slice));
                }
                Action::Update(slice) => {
                    let known = self.slices.iter_mut().find(|known| known.metadata.uid == slice.metadata.uid);
                    *known.expect("updates what exists") = Arc::new(*slice);
                }
                Action::Delete(slice) => self.slices.retain(|known| meta::uid(&known.metadata) != slice.uid),
            }
        }
        assert_eq!(lines(&self.look().actions), "", "one look is enough");
        done
    }

    /// One line per endpoint: family, ports, address, whether it is ready.
    fn print(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for slice in &self.slices {
            let port = |port: &k8s_openapi::api::discovery::v1::EndpointPort| port.port.unwrap_or_default().to_string();
            let ports: Vec<String> = slice.ports.iter().flatten().map(port).collect();
            for endpoint in slice.endpoints.iter().flatten() {
                let ready = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready);
                let ready = if ready == Some(true) { "ready" } else { "not ready" };
                lines.push(format!("{} {} {} {ready}", slice.address_type, ports.join(","), endpoint.addresses[0]));
            }
        }
        lines.sort();
        lines
    }
}

#[test]
fn endpoints_are_mirrored_changed_and_deleted() {
    let mut world = World::new(json!([one("10.1.2.3", 80)]));
    assert_eq!(world.settle(), "create custom-: [\"10.1.2.3\"]\n");
    assert_eq!(world.print(), ["IPv4 80 10.1.2.3 ready"]);
    world.endpoints = Some(endpoints(json!([one("10.2.3.4", 80)])));
    assert_eq!(world.settle(), "update custom-1: [\"10.2.3.4\"]\n");
    // Another port takes over the slice of the old one.
    world.endpoints = Some(endpoints(json!([one("10.2.3.4", 81)])));
    assert_eq!(world.settle(), "update custom-1: [\"10.2.3.4\"]\n");
    assert_eq!(world.print(), ["IPv4 81 10.2.3.4 ready"]);
    world.endpoints = None;
    assert_eq!(world.settle(), "delete custom-1\n");
}

#[test]
fn a_slice_is_the_endpoints_own_and_says_who_made_it() {
    let mut world = World::new(json!([one("10.1.2.3", 80)]));
    let metadata = &mut world.endpoints.as_mut().unwrap().metadata;
    metadata.labels = Some(labels(&[("app", "db"), ("endpointslice.kubernetes.io/managed-by", "me")]));
    metadata.annotations =
        Some(labels(&[("note", "hand-made"), ("kubectl.kubernetes.io/last-applied-configuration", "{}")]));
    world.settle();
    let slice = &world.slices[0].metadata;
    let expected = [
        ("app", "db"),
        ("endpointslice.kubernetes.io/managed-by", "endpointslicemirroring-controller.k8s.io"),
        ("kubernetes.io/service-name", "custom"),
    ];
    assert_eq!(slice.labels, Some(labels(&expected)));
    assert_eq!(slice.annotations, Some(labels(&[("note", "hand-made")])));
    let owner = meta::controller_of(slice).expect("an owner");
    assert_eq!((owner.kind.as_str(), owner.uid.as_str()), ("Endpoints", "uid-custom"));
    // A label that is added later is mirrored, too.
    world.endpoints.as_mut().unwrap().metadata.labels = Some(labels(&[("app", "queue")]));
    assert_eq!(world.settle(), "update custom-1: [\"10.1.2.3\"]\n");
}

#[test]
fn families_and_ports_have_slices_of_their_own_and_equal_ports_share_one() {
    let mut world = World::new(json!([
        {"addresses": [{"ip": "10.0.0.1"}], "notReadyAddresses": [{"ip": "fd00::1"}],
         "ports": [{"name": "b", "port": 81}, {"name": "a", "port": 80}]},
        {"addresses": [{"ip": "10.0.0.2"}], "ports": [{"name": "c", "port": 82}]},
    ]));
    world.settle();
    assert_eq!(world.slices.len(), 3);
    let expected = ["IPv4 80,81 10.0.0.1 ready", "IPv4 82 10.0.0.2 ready", "IPv6 80,81 fd00::1 not ready"];
    assert_eq!(world.print(), expected);
}

#[test]
fn subsets_are_packed_and_not_ready_trumps_ready() {
    let mut world = World::new(json!([
        one("10.0.0.1", 80),
        {"addresses": [{"ip": "10.0.0.1"}], "ports": [{"name": "metrics", "port": 9090, "protocol": "TCP"}]},
        {"notReadyAddresses": [{"ip": "10.0.0.9"}], "ports": [{"name": "x", "port": 7}]},
        {"addresses": [{"ip": "10.0.0.9"}], "ports": [{"name": "x", "port": 7}]},
    ]));
    world.settle();
    assert_eq!(world.slices.len(), 2, "ports with the same addresses share a slice");
    assert_eq!(world.print(), ["IPv4 7 10.0.0.9 not ready", "IPv4 80,9090 10.0.0.1 ready"]);
}

#[test]
fn addresses_without_a_port_are_mirrored() {
    let mut world = World::new(json!([{"addresses": [{"ip": "10.0.0.1"}]}, one("10.0.0.1", 80)]));
    world.settle();
    assert_eq!(world.print(), ["IPv4  10.0.0.1 ready", "IPv4 80 10.0.0.1 ready"]);
}

#[test]
fn what_is_not_to_be_mirrored_has_no_slices_and_loses_those_it_had() {
    type Change = fn(&mut World);
    let changes: [(&str, Change); 6] = [
        ("label", |world| {
            world.endpoints.as_mut().unwrap().metadata.labels =
                Some(labels(&[("endpointslice.kubernetes.io/skip-mirror", "true")]));
        }),
        ("lock", |world| {
            world.endpoints.as_mut().unwrap().metadata.annotations =
                Some(labels(&[("control-plane.alpha.kubernetes.io/leader", "{}")]));
        }),
        ("selector", |world| {
            world.service.as_mut().unwrap().spec.as_mut().unwrap().selector = Some(labels(&[("app", "web")]));
        }),
        ("no service", |world| world.service = None),
        ("no endpoints", |world| world.endpoints = None),
        ("no addresses", |world| world.endpoints = Some(endpoints(json!([])))),
    ];
    for (what, change) in changes {
        let mut world = World::new(json!([one("10.1.2.3", 80)]));
        world.settle();
        change(&mut world);
        assert_eq!(world.settle(), "delete custom-1\n", "{what}");
    }
}

#[test]
fn a_label_that_says_something_else_than_true_does_not_stop_the_mirror() {
    let mut world = World::new(json!([one("10.1.2.3", 80)]));
    world.endpoints.as_mut().unwrap().metadata.labels =
        Some(labels(&[("endpointslice.kubernetes.io/skip-mirror", "false")]));
    assert_eq!(world.settle(), "create custom-: [\"10.1.2.3\"]\n");
}

#[test]
fn slices_of_others_are_left_alone() {
    let mut world = World::new(json!([one("10.1.2.3", 80)]));
    let mut foreign = EndpointSlice { metadata: metadata("foreign"), ..EndpointSlice::default() };
    foreign.metadata.labels = Some(labels(&[
        ("kubernetes.io/service-name", "custom"),
        ("endpointslice.kubernetes.io/managed-by", "endpointslice-controller.k8s.io"),
    ]));
    world.slices.push(Arc::new(foreign.clone()));
    world.settle();
    world.endpoints = None;
    world.settle();
    assert_eq!(world.slices, [Arc::new(foreign)]);
}

#[test]
fn too_many_addresses_and_what_is_none_are_left_out_with_a_warning() {
    let ip = |index: usize| json!({"ip": format!("10.0.{}.{}", index / 250, index % 250)});
    let mut addresses: Vec<Value> = (0..999).map(ip).collect();
    addresses.push(json!({"ip": "nowhere"}));
    let not_ready: Vec<Value> = (999..1003).map(ip).collect();
    let world = World::new(json!([{"addresses": addresses, "notReadyAddresses": not_ready, "ports": [{"port": 80}]}]));
    let plan = world.look();
    let Action::Create(slice) = &plan.actions[0] else { panic!("{:?}", plan.actions) };
    assert_eq!(slice.endpoints.as_ref().unwrap().len(), 1000, "ready ones first, and one that is not");
    let warnings: Vec<String> =
        plan.warnings.iter().map(|warning| format!("{}: {}", warning.reason, warning.message)).collect();
    assert_eq!(
        warnings,
        [
            "InvalidIPAddress: Skipped 1 invalid IP addresses when mirroring to EndpointSlices",
            "TooManyAddressesToMirror: A max of 1000 addresses can be mirrored to EndpointSlices per Endpoints subset. 4 addresses were skipped",
        ]
    );
}
