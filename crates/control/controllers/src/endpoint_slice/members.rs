//! Which pods stand behind a Service, at which addresses and ports, in which condition.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ContainerPort, ObjectReference, Pod, Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::common::{meta, pods};

/// One pod behind a Service, in one address family.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Member {
    /// `IPv4` or `IPv6`.
    pub(super) family: &'static str,
    /// The Service's ports as this pod answers them, sorted.
    pub(super) ports: Vec<EndpointPort>,
    pub(super) endpoint: Endpoint,
}

impl Member {
    /// Returns what tells this member from others: the pod and its address.
    pub(super) fn id(&self) -> String {
        id_of(&self.endpoint)
    }
}

/// Returns what tells an endpoint from others.
pub(super) fn id_of(endpoint: &Endpoint) -> String {
    let uid = endpoint.target_ref.as_ref().and_then(|target| target.uid.as_deref()).unwrap_or_default();
    format!("{uid}/{}", endpoint.addresses.join(","))
}

/// Returns the address families of a Service; IPv4 if it does not say.
pub(super) fn families(service: &Service) -> Vec<&'static str> {
    let families = service.spec.as_ref().and_then(|spec| spec.ip_families.as_deref()).unwrap_or_default();
    let named: Vec<&'static str> = families
        .iter()
        .filter_map(|family| match family.as_str() {
            "IPv4" => Some("IPv4"),
            "IPv6" => Some("IPv6"),
            _ => None,
        })
        .collect();
    if named.is_empty() { vec!["IPv4"] } else { named }
}

/// Returns the members of a Service among the pods that its selector matches, in the order of their names.
pub(super) fn of(service: &Service, pods: &[Arc<Pod>], zones: &BTreeMap<String, String>) -> Vec<Member> {
    let mut pods: Vec<&Pod> = pods.iter().map(Arc::as_ref).filter(|pod| !pods::is_terminal(pod)).collect();
    pods.sort_by_key(|pod| meta::name(&pod.metadata));
    let mut members = Vec::new();
    for pod in pods {
        for (family, address) in addresses(pod) {
            let ports = ports(service, pod);
            members.push(Member { family, ports, endpoint: endpoint(service, pod, address, zones) });
        }
    }
    members
}

/// Returns the pod's addresses with their families; a pod without any is not yet anywhere.
fn addresses(pod: &Pod) -> Vec<(&'static str, String)> {
    let Some(status) = &pod.status else { return Vec::new() };
    let listed = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str());
    let mut texts: Vec<&str> = listed.filter(|ip| !ip.is_empty()).collect();
    if texts.is_empty() {
        texts.extend(status.pod_ip.as_deref().filter(|ip| !ip.is_empty()));
    }
    let family = |text: &str| match text.parse::<IpAddr>().ok()? {
        IpAddr::V4(_) => Some("IPv4"),
        IpAddr::V6(_) => Some("IPv6"),
    };
    texts.into_iter().filter_map(|text| Some((family(text)?, text.to_owned()))).collect()
}

/// `ready` is never true for a pod that is ending, unless the Service publishes pods that are not ready; `serving` is,
/// so that proxies may fall back to pods that end but still answer.
fn endpoint(service: &Service, pod: &Pod, address: String, zones: &BTreeMap<String, String>) -> Endpoint {
    let publish = service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses) == Some(true);
    let serving = pods::is_ready(pod);
    let terminating = meta::is_deleting(&pod.metadata);
    let node = pods::node_name(pod);
    let spec = pod.spec.as_ref();
    let hostname = spec.and_then(|spec| spec.hostname.clone()).filter(|hostname| {
        let subdomain = spec.and_then(|spec| spec.subdomain.as_deref());
        !hostname.is_empty() && subdomain == Some(meta::name(&service.metadata))
    });
    Endpoint {
        addresses: vec![address],
        conditions: Some(EndpointConditions {
            ready: Some(publish || (serving && !terminating)),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname,
        node_name: node.map(str::to_owned),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
        zone: node.and_then(|node| zones.get(node)).cloned(),
        ..Endpoint::default()
    }
}

/// Returns the Service's ports as this pod has them. A named target that no container of the pod declares is left out:
/// nothing answers there.
fn ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let service_ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let mut ports: Vec<EndpointPort> = service_ports
        .filter_map(|port| {
            Some(EndpointPort {
                name: Some(port.name.clone().unwrap_or_default()),
                port: Some(target(port, pod)?),
                protocol: Some(protocol(port.protocol.as_ref()).to_owned()),
                app_protocol: port.app_protocol.clone(),
            })
        })
        .collect();
    ports.sort_by(|one, two| (&one.name, one.port, &one.protocol).cmp(&(&two.name, two.port, &two.protocol)));
    ports
}

/// Returns the number of the port that a Service's port leads to (`podutil.FindPort`).
fn target(port: &ServicePort, pod: &Pod) -> Option<i32> {
    match port.target_port.as_ref() {
        None | Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) if name.is_empty() => Some(port.port),
        Some(IntOrString::String(name)) => {
            let spec = pod.spec.as_ref()?;
            let sidecars = spec
                .init_containers
                .iter()
                .flatten()
                .filter(|container| container.restart_policy.as_deref() == Some("Always"));
            let declared =
                spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
            let is_meant = |declared: &&ContainerPort| {
                declared.name.as_ref() == Some(name)
                    && protocol(declared.protocol.as_ref()) == protocol(port.protocol.as_ref())
            };
            let found = declared.clone().find(is_meant);
            found.map(|declared| declared.container_port)
        }
    }
}

fn protocol(named: Option<&String>) -> &str {
    named.map_or("TCP", String::as_str)
}
