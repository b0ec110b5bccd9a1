//! Where a connection leads, by the address that a pod asked for. Pure.

use std::net::{IpAddr, SocketAddr};

use wkube_api::cidr::Cidr;

use super::NetError;
use super::ports::is_own;
use crate::balance;
use crate::table::{Endpoint, Protocol, RouteTable, ServiceRoute};

/// The service by which pods know the API server.
const API_SERVER: (&str, &str) = ("default", "kubernetes");
/// Where the addresses of all nodes' pods are: in ranges that the control plane gives out, and in those that nodes choose
/// (docs/decisions/06-pod-ranges.md).
const POD_RANGES: [([u8; 4], u8); 2] = [([10, 42, 0, 0], 16), ([10, 128, 0, 0], 9)];

/// What the decision looks at besides the routes.
pub struct View<'v> {
    /// The address of the pod that asks.
    pub pod: IpAddr,
    /// The routes.
    pub table: &'v RouteTable,
    /// Whether a pod with this address is in this process.
    pub is_here: &'v dyn Fn(IpAddr) -> bool,
    /// Whether this is our node's name.
    pub is_our_node: &'v dyn Fn(Option<&str>) -> bool,
}

/// Where a connection leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// Back into the pod.
    Own,
    /// To a pod of this process.
    Here(SocketAddr),
    /// To a pod of another node.
    There(SocketAddr),
    /// To the API server, at the first of these that answers.
    Server(Vec<SocketAddr>),
    /// Out of the cluster.
    Outside(SocketAddr),
}

/// Decides where `to` leads.
///
/// # Errors
/// `Refused` where kube-proxy rejects: a port that the service does not have, or no endpoint that could answer.
pub fn way(view: &View<'_>, to: SocketAddr, protocol: Protocol) -> Result<Way, NetError> {
    if is_own(view.pod, to.ip()) {
        return Ok(Way::Own);
    }
    if let Some(service) = view.table.service_at(to.ip()) {
        return through(view, service, to.port(), protocol);
    }
    Ok(beyond(view, to))
}

/// Returns the way to an address of which nothing else is known.
fn beyond(view: &View<'_>, to: SocketAddr) -> Way {
    if (view.is_here)(to.ip()) {
        Way::Here(to)
    } else if is_pods(to.ip()) {
        Way::There(to)
    } else {
        Way::Outside(to)
    }
}

/// Whether an address is one that a pod may have.
fn is_pods(ip: IpAddr) -> bool {
    POD_RANGES.iter().any(|(first, bits)| Cidr::new((*first).into(), *bits).is_some_and(|range| range.contains(ip)))
}

fn through(view: &View<'_>, service: &ServiceRoute, port: u16, protocol: Protocol) -> Result<Way, NetError> {
    let port = service.port_for(port, protocol).ok_or(NetError::Refused)?;
    if (service.key.namespace.as_str(), service.key.name.as_str()) == API_SERVER {
        let servers = port.endpoints.iter().map(Endpoint::socket);
        return Ok(Way::Server(servers.collect()));
    }
    let is_near = |endpoint: &Endpoint| !service.is_local_only || (view.is_our_node)(endpoint.node.as_deref());
    let picked = balance::pick_for(&port.endpoints, view.pod, service.is_sticky, port.next_turn(), is_near);
    let endpoint = picked.ok_or(NetError::Refused)?;
    if endpoint.pod.is_none() {
        // Written by hand, so it may be anything.
        return Ok(beyond(view, endpoint.socket()));
    }
    // A pod may be its own endpoint; the table may know of a pod that has just gone.
    let is_ours = (view.is_here)(endpoint.address) || (view.is_our_node)(endpoint.node.as_deref());
    Ok(if is_ours { Way::Here(endpoint.socket()) } else { Way::There(endpoint.socket()) })
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
