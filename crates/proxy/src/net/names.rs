//! What a name means to a pod: its search list, its hosts file, and the names of the cluster. Pure.
//!
//! The rules are those of `resolv.conf` (`pkg/kubelet/network/dns/dns.go`), of the hosts file that the kubelet writes
//! (`kubelet_pods.go`, `ensureHostsFile`), and of the DNS specification for Kubernetes, version 1.1.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use k8s_openapi::api::core::v1::Pod;
use wkube_api::ObjectKey;

use crate::name::CLUSTER_DOMAIN;
use crate::table::RouteTable;

/// A name with fewer dots is looked for in the search list first (`defaultDNSOptions` in `dns.go`).
const NDOTS_IN_CLUSTER: usize = 5;
/// What a resolver does without an option.
const NDOTS_ELSEWHERE: usize = 1;
/// The search list has an end (`MaxDNSSearchPaths`).
const SEARCHES_MAX: usize = 32;
/// A name is no longer than this (RFC 1035).
const NAME_BYTES_MAX: usize = 253;

/// How one pod looks names up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Names that need no asking. A handful, which every pod keeps.
    hosts: Box<[(String, Vec<IpAddr>)]>,
    /// What is appended to short names.
    searches: Vec<String>,
    ndots: usize,
    /// Whether the names of the cluster are known to whom it asks.
    knows_cluster: bool,
}

/// What a full name means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// These addresses.
    Addresses(Vec<IpAddr>),
    /// The same as another name.
    Alias(String),
    /// Nothing, for sure.
    NoName,
    /// The cluster does not know.
    Elsewhere,
}

impl Names {
    /// Reads what a pod's spec says; `ip` is the pod's address.
    pub fn of(pod: &Pod, ip: IpAddr) -> Self {
        let spec = pod.spec.as_ref();
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
        let policy = spec.and_then(|spec| spec.dns_policy.as_deref()).unwrap_or("ClusterFirst");
        let (mut searches, mut ndots, knows_cluster) = match policy {
            // The node's own, which has no search list here. A pod that says `None` brings everything itself.
            "Default" => (Vec::new(), NDOTS_ELSEWHERE, false),
            "None" => (Vec::new(), NDOTS_ELSEWHERE, true),
            _ => {
                let cluster = [format!("{namespace}.svc.{CLUSTER_DOMAIN}"), format!("svc.{CLUSTER_DOMAIN}")];
                let cluster = cluster.into_iter().chain([CLUSTER_DOMAIN.to_owned()]);
                (cluster.collect(), NDOTS_IN_CLUSTER, true)
            }
        };
        if let Some(config) = spec.and_then(|spec| spec.dns_config.as_ref()) {
            for search in config.searches.iter().flatten().map(|search| plain(search)) {
                if !searches.contains(&search) {
                    searches.push(search);
                }
            }
            let option = config.options.iter().flatten().rfind(|option| option.name.as_deref() == Some("ndots"));
            ndots = option.and_then(|option| option.value.as_deref()?.parse().ok()).unwrap_or(ndots);
        }
        searches.truncate(SEARCHES_MAX);
        Self { hosts: hosts_of(pod, namespace, ip), searches, ndots, knows_cluster }
    }

    /// Returns what the hosts file has for a name.
    pub fn hosts(&self, name: &str) -> Option<&[IpAddr]> {
        let name = plain(name);
        self.hosts.iter().find(|(host, _)| *host == name).map(|(_, ips)| ips.as_slice())
    }

    /// Returns the full names to ask for, in order.
    pub fn candidates(&self, name: &str) -> Vec<String> {
        let is_absolute = name.ends_with('.');
        let name = plain(name);
        if name.is_empty() {
            return Vec::new();
        }
        let searched = self.searches.iter().map(|search| format!("{name}.{search}"));
        let is_short = name.matches('.').count() < self.ndots;
        let mut all: Vec<String> = match (is_absolute, is_short) {
            (true, _) => vec![name],
            (false, true) => searched.chain([name.clone()]).collect(),
            (false, false) => std::iter::once(name.clone()).chain(searched).collect(),
        };
        all.retain(|candidate| candidate.len() <= NAME_BYTES_MAX);
        all
    }

    /// Says what a full name means.
    pub fn answer(&self, table: &RouteTable, name: &str) -> Answer {
        if self.knows_cluster { answer(table, name) } else { Answer::Elsewhere }
    }
}

/// Lower case, without the final dot.
fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

fn hosts_of(pod: &Pod, namespace: &str, ip: IpAddr) -> Box<[(String, Vec<IpAddr>)]> {
    let mut hosts: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
    let mut add = |name: &str, ip: IpAddr| {
        let all = hosts.entry(plain(name)).or_default();
        if !all.contains(&ip) {
            all.push(ip);
        }
    };
    add("localhost", Ipv4Addr::LOCALHOST.into());
    add("localhost", Ipv6Addr::LOCALHOST.into());
    add("ip6-localhost", Ipv6Addr::LOCALHOST.into());
    let spec = pod.spec.as_ref();
    let own = spec.and_then(|spec| spec.hostname.as_deref()).or(pod.metadata.name.as_deref());
    if let Some(own) = own {
        add(own, ip);
        if let Some(subdomain) = spec.and_then(|spec| spec.subdomain.as_deref()).filter(|text| !text.is_empty()) {
            add(&format!("{own}.{subdomain}.{namespace}.svc.{CLUSTER_DOMAIN}"), ip);
        }
    }
    for alias in spec.and_then(|spec| spec.host_aliases.as_ref()).into_iter().flatten() {
        let Ok(ip) = alias.ip.parse() else { continue };
        alias.hostnames.iter().flatten().for_each(|name| add(name, ip));
    }
    hosts.into_iter().collect()
}

/// Says what a full name means in the cluster with these routes.
pub fn answer(table: &RouteTable, name: &str) -> Answer {
    if name == CLUSTER_DOMAIN {
        return Answer::NoName;
    }
    let Some(rest) = name.strip_suffix(CLUSTER_DOMAIN).and_then(|rest| rest.strip_suffix('.')) else {
        return Answer::Elsewhere;
    };
    let labels: Vec<&str> = rest.split('.').collect();
    match labels[..] {
        [service, namespace, "svc"] => of_service(table, &ObjectKey::new(namespace, service)),
        [host, service, namespace, "svc"] => of_member(table, &ObjectKey::new(namespace, service), host),
        [dashed, _, "pod"] => undash(dashed).map_or(Answer::NoName, |ip| Answer::Addresses(vec![ip])),
        _ => Answer::NoName,
    }
}

fn of_service(table: &RouteTable, key: &ObjectKey) -> Answer {
    let Some(service) = table.service(key) else { return Answer::NoName };
    if let Some(name) = &service.external_name {
        return Answer::Alias(plain(name));
    }
    if !service.is_headless() {
        return some(service.cluster_ips.clone());
    }
    some(service.members().iter().filter(|member| member.is_ready).map(|member| member.address).collect())
}

/// The pods of a Service have names below its own: their hostname, or else their address with dashes.
fn of_member(table: &RouteTable, key: &ObjectKey, host: &str) -> Answer {
    let Some(service) = table.service(key) else { return Answer::NoName };
    let members = service.members().iter().filter(|member| member.is_ready);
    let named = members.filter(|member| match &member.hostname {
        Some(hostname) => **hostname == *host,
        None => undash(host) == Some(member.address),
    });
    some(named.map(|member| member.address).collect())
}

fn some(mut addresses: Vec<IpAddr>) -> Answer {
    addresses.sort();
    addresses.dedup();
    if addresses.is_empty() { Answer::NoName } else { Answer::Addresses(addresses) }
}

/// Reads `10-42-0-7`, or an address of IPv6 in the same way.
fn undash(text: &str) -> Option<IpAddr> {
    text.replace('-', ".").parse().ok().map(IpAddr::V4).or_else(|| text.replace('-', ":").parse().ok().map(IpAddr::V6))
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
