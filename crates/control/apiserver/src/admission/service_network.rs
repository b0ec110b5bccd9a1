//! Service addresses from 10.43.0.0/16 and node ports from 30000-32767 (`pkg/registry/core/service/storage/alloc.go`).

use serde_json::{Value, json};
use wkube_api::{Object, Status};

use super::claims;
use crate::registry::{Registry, failed};

/// The first address of the service network.
const NETWORK: [u8; 2] = [10, 43];
/// `default/kubernetes` has the network's first address.
pub(crate) const API_ADDRESS: &str = "10.43.0.1";
/// Addresses that are handed out: the whole network but its first sixteen, which are for well-known services, and its last.
const FIRST_HOST: usize = 16;
const HOSTS: usize = 65_535 - FIRST_HOST;
/// The default `--service-node-port-range`.
const FIRST_PORT: usize = 30_000;
const PORTS: usize = 2768;
/// Random draws before the search goes through the range in order.
const DRAWS: usize = 16;

/// Gives a service its address and ports. What a change of its type gives back is gone already, and what its type
/// cannot have is for validation to say.
pub(super) fn settle(registry: &Registry, service: &mut Object, old: Option<&Object>) -> Result<(), Status> {
    let kind = service.str_at(&["spec", "type"]).to_owned();
    if kind == "ExternalName" {
        return Ok(());
    }
    settle_address(registry, service, old)?;
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
        let wanted = service.at(&["spec", "allocateLoadBalancerNodePorts"]) != Some(&Value::Bool(false));
        if kind == "NodePort" || wanted {
            settle_ports(registry, service, old)?;
        }
    }
    Ok(())
}

fn settle_address(registry: &Registry, service: &mut Object, old: Option<&Object>) -> Result<(), Status> {
    let given = service.str_at(&["spec", "clusterIP"]).to_owned();
    let before = old.map(|old| old.str_at(&["spec", "clusterIP"]).to_owned()).unwrap_or_default();
    let address = match (given.is_empty(), before.is_empty()) {
        (false, _) => given,
        (true, false) => before,
        (true, true) => free(registry, FIRST_HOST, HOSTS, |host| {
            let [high, low] = u16::try_from(host).unwrap_or_default().to_be_bytes();
            claims::address(&host_address(high, low))
        })?
        .map(|host| {
            let [high, low] = u16::try_from(host).unwrap_or_default().to_be_bytes();
            host_address(high, low)
        })
        .ok_or_else(|| Status::internal("failed to allocate a serviceIP: range is full"))?,
    };
    service.set(&["spec", "clusterIP"], address.as_str());
    if service.at(&["spec", "clusterIPs"]).and_then(Value::as_array).is_none_or(|list| list.len() < 2) {
        service.set(&["spec", "clusterIPs"], json!([address]));
    }
    if service.at(&["spec", "ipFamilies"]).is_none() {
        service.set(&["spec", "ipFamilies"], json!(["IPv4"]));
    }
    if service.at(&["spec", "ipFamilyPolicy"]).is_none() {
        service.set(&["spec", "ipFamilyPolicy"], "SingleStack");
    }
    Ok(())
}

fn host_address(high: u8, low: u8) -> String {
    let [a, b] = NETWORK;
    format!("{a}.{b}.{high}.{low}")
}

/// Ports that the update leaves out keep the numbers they had.
fn settle_ports(registry: &Registry, service: &mut Object, old: Option<&Object>) -> Result<(), Status> {
    let protocol = |port: &Value| port["protocol"].as_str().unwrap_or("TCP").to_owned();
    let held: Vec<Value> =
        old.and_then(|old| old.at(&["spec", "ports"]).and_then(Value::as_array)).cloned().unwrap_or_default();
    let mut chosen: Vec<(String, i64)> = Vec::new();
    for port in ports_mut(service) {
        let named = protocol(port);
        if port["nodePort"].as_i64().unwrap_or(0) == 0 {
            let kept = held.iter().find(|held| held["port"] == port["port"] && protocol(held) == named);
            let kept = kept.and_then(|held| held["nodePort"].as_i64()).filter(|number| *number > 0);
            let number = match kept {
                Some(number) => number,
                None => draw_port(registry, &named, &chosen)?,
            };
            port["nodePort"] = number.into();
        }
        chosen.push((named, port["nodePort"].as_i64().unwrap_or(0)));
    }
    Ok(())
}

fn draw_port(registry: &Registry, protocol: &str, chosen: &[(String, i64)]) -> Result<i64, Status> {
    let number = |drawn: usize| i64::try_from(drawn).unwrap_or_default();
    let taken = |drawn: usize| chosen.iter().any(|(named, port)| named == protocol && *port == number(drawn));
    for _ in 0..DRAWS {
        let drawn = free(registry, FIRST_PORT, PORTS, |port| claims::node_port(protocol, number(port)))?;
        match drawn {
            Some(port) if !taken(port) => return Ok(number(port)),
            Some(_) => {}
            None => break,
        }
    }
    Err(Status::internal("failed to allocate a nodePort: range is full"))
}

/// Returns a number from `first..first + count` whose claim nobody holds: at random, then in order.
fn free(
    registry: &Registry,
    first: usize,
    count: usize,
    claim: impl Fn(usize) -> wkube_store::Key,
) -> Result<Option<usize>, Status> {
    let drawn = (0..DRAWS).map(|_| first + registry.rng.below(count));
    for candidate in drawn.chain(first..first + count) {
        let held = registry.store.get(&claim(candidate)).map_err(|error| failed(&error))?;
        if held.is_none() {
            return Ok(Some(candidate));
        }
    }
    Ok(None)
}

fn ports_mut(service: &mut Object) -> impl Iterator<Item = &mut Value> {
    let ports = service.0.get_mut("spec").and_then(|spec| spec.get_mut("ports")).and_then(Value::as_array_mut);
    ports.into_iter().flatten()
}
