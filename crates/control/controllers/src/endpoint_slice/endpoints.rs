//! The Endpoints object of a Service: the older form of the same facts, which `kubectl` and older clients read
//! (`pkg/controller/endpoint`).

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::members::{self, Member};
use super::plan::{Action, HEADLESS};
use crate::common::meta;

/// The most addresses of one Endpoints; the rest is only in slices.
const ADDRESSES_MAX: usize = 1000;
/// The annotation that says that addresses were left out.
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// The label that says who keeps the object up to date.
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";

/// Returns what brings the Endpoints up to date. They have one family only, the Service's first.
pub(super) fn plan(service: &Service, members: &[Member], known: Option<&Endpoints>) -> Option<Action> {
    let family = members::families(service)[0];
    let (subsets, truncated) = subsets(members.iter().filter(|member| member.family == family));
    let mut labels = meta::labels(&service.metadata).clone();
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    if service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None") {
        labels.insert(HEADLESS.to_owned(), String::new());
    }

    let Some(known) = known else {
        let metadata = ObjectMeta {
            name: service.metadata.name.clone(),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: truncated.then(over_capacity),
            ..ObjectMeta::default()
        };
        return Some(Action::CreateEndpoints(Box::new(Endpoints { metadata, subsets })));
    };

    let mut annotations = known.metadata.annotations.clone().unwrap_or_default();
    annotations.remove(OVER_CAPACITY);
    if truncated {
        annotations.extend(over_capacity());
    }
    let same = known.subsets.as_deref().unwrap_or_default() == subsets.as_deref().unwrap_or_default()
        && meta::labels(&known.metadata) == &labels
        && known.metadata.annotations.as_ref().unwrap_or(&BTreeMap::new()) == &annotations;
    if same {
        return None;
    }
    let metadata = ObjectMeta { labels: Some(labels), annotations: Some(annotations), ..known.metadata.clone() };
    Some(Action::UpdateEndpoints(Box::new(Endpoints { metadata, subsets })))
}

/// Returns one line about the addresses.
pub(super) fn summary(endpoints: &Endpoints) -> String {
    let count = |pick: fn(&EndpointSubset) -> &Option<Vec<EndpointAddress>>| -> usize {
        endpoints.subsets.iter().flatten().map(|subset| pick(subset).as_ref().map_or(0, Vec::len)).sum()
    };
    format!("{} ready, {} not ready", count(|subset| &subset.addresses), count(|subset| &subset.not_ready_addresses))
}

fn over_capacity() -> BTreeMap<String, String> {
    BTreeMap::from([(OVER_CAPACITY.to_owned(), "truncated".to_owned())])
}

/// Groups members by their ports, sorted, and says whether some had to be left out. Pods that are ending are not
/// listed unless they are published anyway.
fn subsets<'a>(members: impl Iterator<Item = &'a Member>) -> (Option<Vec<EndpointSubset>>, bool) {
    let listed = members.filter(|member| {
        let conditions = member.endpoint.conditions.as_ref();
        conditions.is_some_and(|conditions| conditions.ready == Some(true) || conditions.terminating != Some(true))
    });
    let mut listed: Vec<&Member> = listed.collect();
    let truncated = listed.len() > ADDRESSES_MAX;
    // Ready ones first: those are the last to be left out.
    listed.sort_by_key(|member| !is_ready(member));
    listed.truncate(ADDRESSES_MAX);

    let mut subsets: Vec<EndpointSubset> = Vec::new();
    for member in listed {
        let ports = ports(member);
        let index = subsets.iter().position(|subset| subset.ports == ports).unwrap_or_else(|| {
            subsets.push(EndpointSubset { ports, ..EndpointSubset::default() });
            subsets.len() - 1
        });
        let subset = &mut subsets[index];
        let list = if is_ready(member) { &mut subset.addresses } else { &mut subset.not_ready_addresses };
        list.get_or_insert_default().push(address(member));
    }
    for subset in &mut subsets {
        for list in [&mut subset.addresses, &mut subset.not_ready_addresses].into_iter().flatten() {
            list.sort_by_cached_key(|address| (address.ip.parse::<IpAddr>().ok(), address.ip.clone()));
        }
    }
    subsets.sort_by_cached_key(|subset| format!("{:?}", subset.ports));
    ((!subsets.is_empty()).then_some(subsets), truncated)
}

fn is_ready(member: &Member) -> bool {
    member.endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) == Some(true)
}

fn address(member: &Member) -> EndpointAddress {
    let endpoint = &member.endpoint;
    EndpointAddress {
        ip: endpoint.addresses.first().cloned().unwrap_or_default(),
        hostname: endpoint.hostname.clone(),
        node_name: endpoint.node_name.clone(),
        target_ref: endpoint.target_ref.clone(),
    }
}

fn ports(member: &Member) -> Option<Vec<EndpointPort>> {
    let ports = member.ports.iter().map(|port| EndpointPort {
        // Unlike a slice, the Endpoints leave an empty name out.
        name: port.name.clone().filter(|name| !name.is_empty()),
        port: port.port.unwrap_or_default(),
        protocol: port.protocol.clone(),
        app_protocol: port.app_protocol.clone(),
    });
    let ports: Vec<EndpointPort> = ports.collect();
    (!ports.is_empty()).then_some(ports)
}

/// Whether this controller keeps the Endpoints; a selector-less Service's belong to the user.
pub(super) fn is_ours(endpoints: &Endpoints) -> bool {
    meta::labels(&endpoints.metadata).get(MANAGED_BY).map(String::as_str) == Some(MANAGER)
}
