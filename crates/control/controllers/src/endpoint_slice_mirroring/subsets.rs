//! Reads the subsets of Endpoints as slices need them: each port once, and ports with the same addresses together
//! (`k8s.io/kubernetes/pkg/api/v1/endpoints`, `RepackSubsets`). Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort as OldPort, Endpoints};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort};

/// The most addresses of one subset that are mirrored (`--mirroring-max-endpoints-per-subset`).
pub(super) const ADDRESSES_MAX: usize = 1000;

/// What one slice is to say.
#[derive(Debug, PartialEq)]
pub(super) struct Wanted {
    /// `IPv4` or `IPv6`.
    pub(super) family: &'static str,
    pub(super) ports: Vec<EndpointPort>,
    pub(super) endpoints: Vec<Endpoint>,
}

/// The slices of one Endpoints, and how many of its addresses are in none of them.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Mirrored {
    pub(super) slices: Vec<Wanted>,
    /// These are no addresses.
    pub(super) invalid: usize,
    /// These and the invalid ones are left out.
    pub(super) skipped: usize,
}

/// What tells two addresses apart: the same address of two pods is two.
type Identity = (String, String);
/// The addresses behind a port, and whether each is ready.
type Behind<'a> = BTreeMap<Identity, (&'a EndpointAddress, bool)>;

/// Returns the slices that say what the Endpoints say.
pub(super) fn mirrored(endpoints: &Endpoints) -> Mirrored {
    let mut mirrored = Mirrored::default();
    for (ports, behind) in repacked(endpoints) {
        let (mut ready, not_ready): (Vec<_>, Vec<_>) = behind.into_values().partition(|(_, ready)| *ready);
        ready.extend(not_ready);
        let total = ready.len();
        let (mut four, mut six) = (Vec::new(), Vec::new());
        for (address, ready) in ready {
            if four.len() + six.len() == ADDRESSES_MAX {
                break;
            }
            match address.ip.parse() {
                Ok(ip @ IpAddr::V4(_)) => four.push(endpoint(address, ip, ready)),
                Ok(ip @ IpAddr::V6(_)) => six.push(endpoint(address, ip, ready)),
                Err(_) => mirrored.invalid += 1,
            }
        }
        mirrored.skipped += total - four.len() - six.len();
        for (family, endpoints) in [("IPv4", four), ("IPv6", six)] {
            if !endpoints.is_empty() {
                mirrored.slices.push(Wanted { family, ports: ports.clone(), endpoints });
            }
        }
    }
    mirrored
}

/// Groups ports that have the same addresses behind them. An address that one subset calls ready and another does not
/// is not ready.
fn repacked(endpoints: &Endpoints) -> Vec<(Vec<EndpointPort>, Behind<'_>)> {
    // No port at all is a port, too: a headless Service needs none.
    let mut by_port: Vec<(Option<EndpointPort>, Behind<'_>)> = Vec::new();
    for subset in endpoints.subsets.iter().flatten() {
        let ports: Vec<_> = subset.ports.iter().flatten().map(|port| Some(port_of(port))).collect();
        let ready = subset.addresses.iter().flatten().map(|address| (address, true));
        let not_ready = subset.not_ready_addresses.iter().flatten().map(|address| (address, false));
        for (address, ready) in ready.chain(not_ready) {
            for port in if ports.is_empty() { &[None][..] } else { &ports } {
                let index = by_port.iter().position(|(known, _)| known == port).unwrap_or_else(|| {
                    by_port.push((port.clone(), Behind::new()));
                    by_port.len() - 1
                });
                let entry = by_port[index].1.entry(identity(address)).or_insert((address, ready));
                entry.1 &= ready;
            }
        }
    }

    let mut groups: Vec<(Vec<EndpointPort>, Behind<'_>)> = Vec::new();
    for (port, behind) in by_port {
        // "No port" stands alone: beside a port, it would be lost.
        let same =
            |(ports, other): &&mut (Vec<EndpointPort>, _)| port.is_some() && !ports.is_empty() && *other == behind;
        match groups.iter_mut().find(same) {
            Some((ports, _)) => ports.extend(port),
            None => groups.push((port.into_iter().collect(), behind)),
        }
    }
    for (ports, _) in &mut groups {
        ports.sort_by(|one, two| (&one.name, one.port, &one.protocol).cmp(&(&two.name, two.port, &two.protocol)));
    }
    groups
}

fn identity(address: &EndpointAddress) -> Identity {
    let uid = address.target_ref.as_ref().and_then(|target| target.uid.clone());
    (address.ip.clone(), uid.unwrap_or_default())
}

fn endpoint(address: &EndpointAddress, ip: IpAddr, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![ip.to_string()],
        conditions: Some(EndpointConditions { ready: Some(ready), ..EndpointConditions::default() }),
        hostname: address.hostname.clone().filter(|hostname| !hostname.is_empty()),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    }
}

fn port_of(port: &OldPort) -> EndpointPort {
    EndpointPort {
        name: Some(port.name.clone().unwrap_or_default()),
        port: Some(port.port),
        protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
        app_protocol: port.app_protocol.clone(),
    }
}
