//! The route table: services by name, their ports, their endpoints. A value: updating makes a new one that shares
//! everything that did not change.

use std::borrow::Borrow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use wkube_api::ObjectKey;

use crate::balance::{self, Pick};
use crate::ingress::IngressTable;

/// A Deployment's annotation on its Service: requests may start it when nothing runs.
pub const SCALE_TO_ZERO: &str = "wkube.dev/scale-to-zero";

/// Where a request may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The pod's address.
    pub address: IpAddr,
    /// The port on the pod.
    pub port: u16,
    /// The node it runs on.
    pub node: Option<Arc<str>>,
    /// The pod.
    pub pod: Option<ObjectKey>,
    /// Takes new requests.
    pub is_ready: bool,
    /// Can still answer, also while it terminates.
    pub is_serving: bool,
    /// Is being deleted.
    pub is_terminating: bool,
    /// The pod's name below the service's, such as `web-0`.
    pub hostname: Option<Arc<str>>,
}

impl Endpoint {
    /// Returns where it is.
    pub fn socket(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }
}

/// What a port speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Protocol {
    /// Bytes in order.
    #[default]
    Tcp,
    /// Datagrams.
    Udp,
    /// What no guest can speak.
    Sctp,
}

/// One port of a service.
#[derive(Debug)]
pub struct PortRoute {
    /// The port's name, empty if it has none.
    pub name: String,
    /// The service's port.
    pub port: u16,
    /// What it speaks.
    pub protocol: Protocol,
    /// In the order of the slices.
    pub endpoints: Vec<Endpoint>,
    turn: AtomicUsize,
}

/// One service.
#[derive(Debug)]
pub struct ServiceRoute {
    /// Its namespace and name.
    pub key: ObjectKey,
    /// Its ports in the order of the Service.
    pub ports: Vec<PortRoute>,
    /// Its selector as `a=b,c=d`, for messages.
    pub selector: String,
    /// The name that an `ExternalName` service stands for.
    pub external_name: Option<String>,
    /// Whether a request may start the workload when nothing runs.
    pub may_wake: bool,
    /// Its own addresses: what names mean.
    pub cluster_ips: Vec<IpAddr>,
    /// Further addresses that lead to it inside the cluster.
    pub external_ips: Vec<IpAddr>,
    /// Whether a client meets the same endpoint again (`sessionAffinity: ClientIP`).
    pub is_sticky: bool,
    /// Whether only endpoints of the client's node may answer (`internalTrafficPolicy: Local`).
    pub is_local_only: bool,
    /// Of a headless service: its endpoints, whatever their ports.
    headless: Option<Vec<Endpoint>>,
}

/// All routes.
#[derive(Debug, Clone, Default)]
pub struct RouteTable {
    services: imbl::OrdMap<ObjectKey, Arc<ServiceRoute>>,
    /// Which service has an address.
    addresses: imbl::OrdMap<IpAddr, ObjectKey>,
    /// The Ingress rules.
    pub ingress: Arc<IngressTable>,
}

impl RouteTable {
    /// Returns a service's route.
    pub fn service(&self, key: &ObjectKey) -> Option<&Arc<ServiceRoute>> {
        self.services.get(key)
    }

    /// Returns all services in order.
    pub fn services(&self) -> impl Iterator<Item = &Arc<ServiceRoute>> {
        self.services.values()
    }

    /// Returns the service that has this address.
    pub fn service_at(&self, address: IpAddr) -> Option<&Arc<ServiceRoute>> {
        self.services.get(self.addresses.get(&address)?)
    }

    /// Replaces or removes one service.
    pub fn set(&mut self, key: &ObjectKey, route: Option<ServiceRoute>) {
        if let Some(before) = self.services.get(key) {
            for address in before.addresses() {
                if self.addresses.get(&address) == Some(key) {
                    self.addresses.remove(&address);
                }
            }
        }
        match route {
            Some(route) => {
                self.addresses.extend(route.addresses().map(|address| (address, key.clone())));
                self.services.insert(key.clone(), Arc::new(route));
            }
            None => drop(self.services.remove(key)),
        }
    }
}

impl ServiceRoute {
    /// Joins a Service with its slices.
    pub fn new<S: Borrow<EndpointSlice>>(service: &Service, slices: &[S]) -> Self {
        let metadata = &service.metadata;
        let spec = service.spec.clone().unwrap_or_default();
        let selector: Vec<String> =
            spec.selector.unwrap_or_default().iter().map(|(key, value)| format!("{key}={value}")).collect();
        let ports = spec.ports.unwrap_or_default();
        let ports = ports.iter().filter_map(|port| {
            let name = port.name.clone().unwrap_or_default();
            let endpoints = slices.iter().flat_map(|slice| endpoints_of(slice.borrow(), &name)).collect();
            let protocol = protocol_of(port.protocol.as_deref());
            let number = u16::try_from(port.port).ok()?;
            Some(PortRoute { name, port: number, protocol, endpoints, turn: AtomicUsize::new(0) })
        });
        let addresses = |texts: Option<Vec<String>>| -> Vec<IpAddr> {
            texts.into_iter().flatten().filter_map(|text| text.parse().ok()).collect()
        };
        let is_headless = spec.cluster_ip.as_deref() == Some("None");
        let members = || slices.iter().flat_map(|slice| members_of(slice.borrow(), 0)).collect();
        Self {
            key: ObjectKey::new(
                metadata.namespace.clone().unwrap_or_default(),
                metadata.name.clone().unwrap_or_default(),
            ),
            ports: ports.collect(),
            selector: selector.join(","),
            external_name: spec.external_name.filter(|_| spec.type_.as_deref() == Some("ExternalName")),
            may_wake: metadata.annotations.as_ref().is_some_and(|map| map.contains_key(SCALE_TO_ZERO)),
            cluster_ips: addresses(spec.cluster_ips.or_else(|| spec.cluster_ip.map(|ip| vec![ip]))),
            external_ips: addresses(spec.external_ips),
            is_sticky: spec.session_affinity.as_deref() == Some("ClientIP"),
            is_local_only: spec.internal_traffic_policy.as_deref() == Some("Local"),
            headless: is_headless.then(members),
        }
    }

    /// Returns the pods behind it, by address; the ports of the endpoints say nothing.
    pub fn members(&self) -> &[Endpoint] {
        self.headless.as_deref().unwrap_or_else(|| self.ports.first().map_or(&[], |port| &port.endpoints))
    }

    /// Whether it has no address of its own, so that its name means its pods.
    pub fn is_headless(&self) -> bool {
        self.headless.is_some()
    }

    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.cluster_ips.iter().chain(&self.external_ips).copied()
    }

    /// Whether one of its ports leads to this endpoint, which can still answer.
    pub(crate) fn leads_to(&self, endpoint: SocketAddr) -> bool {
        let mut all = self.ports.iter().flat_map(|port| &port.endpoints);
        all.any(|known| known.socket() == endpoint && (known.is_ready || known.is_serving))
    }

    /// Returns the port with this number that speaks `protocol`.
    pub fn port_for(&self, number: u16, protocol: Protocol) -> Option<&PortRoute> {
        self.ports.iter().find(|port| port.port == number && port.protocol == protocol)
    }

    /// Returns the port with this number.
    pub fn port(&self, number: u16) -> Option<&PortRoute> {
        self.ports.iter().find(|port| port.port == number)
    }

    /// Returns the port that a plain browser means: the one named `http`, else 80, else the first.
    pub fn web_port(&self) -> Option<&PortRoute> {
        let named = self.ports.iter().find(|port| port.name == "http");
        named.or_else(|| self.port(80)).or_else(|| self.ports.first())
    }

    /// Returns the port of this name.
    pub fn port_named(&self, name: &str) -> Option<&PortRoute> {
        self.ports.iter().find(|port| port.name == name)
    }
}

impl PortRoute {
    /// Takes a turn. Each request takes one and keeps it over its retries.
    pub fn next_turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    /// Picks an endpoint; see [`balance::pick`].
    pub fn pick(&self, may_wake: bool, turn: usize, skip: usize) -> Pick<'_> {
        balance::pick(&self.endpoints, may_wake, turn, skip)
    }
}

/// Returns the endpoints of a slice for the port of this name.
fn endpoints_of(slice: &EndpointSlice, port_name: &str) -> Vec<Endpoint> {
    let ports = slice.ports.as_deref().unwrap_or_default();
    let port = ports.iter().find(|port| port.name.as_deref().unwrap_or_default() == port_name);
    port.and_then(|port| u16::try_from(port.port?).ok()).map_or_else(Vec::new, |port| members_of(slice, port))
}

fn protocol_of(text: Option<&str>) -> Protocol {
    match text {
        Some("UDP") => Protocol::Udp,
        Some("SCTP") => Protocol::Sctp,
        _ => Protocol::Tcp,
    }
}

/// Returns the endpoints of a slice with `port`.
fn members_of(slice: &EndpointSlice, port: u16) -> Vec<Endpoint> {
    let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
    let endpoints = slice.endpoints.iter().flatten().filter_map(|endpoint| {
        let conditions = endpoint.conditions.as_ref();
        // A missing condition means ready (`discovery/v1`, EndpointConditions).
        let is_ready = conditions.and_then(|conditions| conditions.ready).unwrap_or(true);
        let target = endpoint.target_ref.as_ref().filter(|target| target.kind.as_deref() == Some("Pod"));
        Some(Endpoint {
            address: endpoint.addresses.first()?.parse().ok()?,
            port,
            node: endpoint.node_name.as_deref().map(Arc::from),
            pod: target
                .and_then(|target| target.name.clone())
                .filter(|name| is_name(name))
                .map(|name| ObjectKey::new(namespace, name)),
            is_ready,
            is_serving: conditions.and_then(|conditions| conditions.serving).unwrap_or(is_ready),
            is_terminating: conditions.and_then(|conditions| conditions.terminating).unwrap_or(false),
            hostname: endpoint.hostname.as_deref().map(Arc::from),
        })
    });
    endpoints.collect()
}

/// Whether a pod can have this name. It becomes part of a URL that is asked with the gateway's rights, and whoever writes a
/// slice by hand may put anything there: `p/exec?command=sh` must not be a pod.
fn is_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    !name.is_empty() && name.chars().all(is_plain) && !name.starts_with('.')
}

#[cfg(test)]
pub(crate) mod tests {
    use k8s_openapi::api::core::v1::{ObjectReference, ServicePort, ServiceSpec};
    use k8s_openapi::api::discovery::v1::{Endpoint as SliceEndpoint, EndpointConditions, EndpointPort};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;

    pub(crate) fn service(name: &str, ports: &[(&str, i32)]) -> Service {
        let port = |&(name, port): &(&str, i32)| ServicePort {
            name: Some(name.to_owned()).filter(|name| !name.is_empty()),
            port,
            ..ServicePort::default()
        };
        Service {
            metadata: ObjectMeta {
                name: Some(name.into()),
                namespace: Some("default".into()),
                ..ObjectMeta::default()
            },
            spec: Some(ServiceSpec {
                ports: Some(ports.iter().map(port).collect()),
                selector: Some([("app".to_owned(), name.to_owned())].into()),
                ..ServiceSpec::default()
            }),
            status: None,
        }
    }

    pub(crate) fn slice(port_name: &str, port: i32, addresses: &[(&str, bool)]) -> EndpointSlice {
        let endpoint = |&(address, ready): &(&str, bool)| SliceEndpoint {
            addresses: vec![address.to_owned()],
            conditions: Some(EndpointConditions { ready: Some(ready), ..EndpointConditions::default() }),
            ..SliceEndpoint::default()
        };
        EndpointSlice {
            address_type: "IPv4".into(),
            endpoints: Some(addresses.iter().map(endpoint).collect()),
            metadata: ObjectMeta { namespace: Some("default".into()), ..ObjectMeta::default() },
            ports: Some(vec![EndpointPort {
                name: Some(port_name.into()),
                port: Some(port),
                ..EndpointPort::default()
            }]),
        }
    }

    #[test]
    fn slices_are_joined_by_port_name() {
        let slices = [slice("http", 8080, &[("10.42.0.2", true), ("10.42.0.3", false)]), slice("admin", 9090, &[])];
        let route = ServiceRoute::new(&service("web", &[("http", 80), ("admin", 81)]), &slices);
        let http = route.port(80).expect("port 80");
        assert_eq!(http.endpoints.len(), 2);
        assert_eq!(http.endpoints[0].port, 8080);
        assert!(!http.endpoints[1].is_ready && !http.endpoints[1].is_serving);
        assert!(route.port(81).expect("port 81").endpoints.is_empty());
        assert_eq!(route.selector, "app=web");
    }

    #[test]
    fn only_what_can_be_a_pod_is_asked_as_one() {
        let pod_of = |name: &str| {
            let mut slice = slice("", 80, &[("10.42.0.2", true)]);
            let reference = ObjectReference { kind: Some("Pod".into()), name: Some(name.into()), ..Default::default() };
            slice.endpoints.as_mut().expect("endpoints")[0].target_ref = Some(reference);
            endpoints_of(&slice, "")[0].pod.clone()
        };
        assert_eq!(pod_of("web-1.a"), Some(ObjectKey::new("default", "web-1.a")));
        for name in ["p/exec?command=sh&x=", "..", "p?x=", "p:1", "P", ""] {
            assert_eq!(pod_of(name), None, "{name}");
        }
    }

    #[test]
    fn the_web_port_is_http_then_80_then_the_first() {
        let of = |ports: &[(&str, i32)]| {
            ServiceRoute::new::<EndpointSlice>(&service("web", ports), &[]).web_port().map(|port| port.port)
        };
        assert_eq!(of(&[("x", 80), ("http", 8000)]), Some(8000));
        assert_eq!(of(&[("x", 81), ("y", 80)]), Some(80));
        assert_eq!(of(&[("x", 81), ("y", 82)]), Some(81));
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn an_update_leaves_older_tables_as_they_were() {
        let mut table = RouteTable::default();
        let key = ObjectKey::new("default", "web");
        table.set(&key, Some(ServiceRoute::new::<EndpointSlice>(&service("web", &[("", 80)]), &[])));
        let before = table.clone();
        table.set(&key, None);
        assert!(before.service(&key).is_some() && table.service(&key).is_none());
    }
}
