//! What an object holds that no other object may hold: service addresses and node ports. Pure.
//!
//! A claim is a key in the store, written in the same transaction as its object and removed with it. So two services
//! cannot get one address, and an address cannot leak, whatever fails in between.

use std::collections::BTreeMap;

use serde_json::Value;
use wkube_api::status::FieldError;
use wkube_api::{Object, Resource, Status};
use wkube_store::Key;

use super::resource_quota;
use crate::call::Call;

const ADDRESSES: &str = "/registry/claims/addresses/";
/// What a writer is told whose quota changed too often under him.
const STALE: &str = "the object has been modified; please apply your changes to the latest version and try again";
const PORTS: &str = "/registry/claims/nodeports/";

/// Returns the key that claims a service address.
pub(crate) fn address(address: &str) -> Key {
    format!("{ADDRESSES}{address}").into()
}

/// Returns the key that claims a node port of a protocol.
pub(crate) fn node_port(protocol: &str, port: i64) -> Key {
    format!("{PORTS}{protocol}/{port}").into()
}

/// Returns what an object claims, with the owner's name as the value.
pub(crate) fn of(resource: &Resource, object: &Object) -> BTreeMap<Key, String> {
    if !resource.group.is_empty() || resource.plural != "services" {
        return BTreeMap::new();
    }
    let owner = object.key().to_string();
    let listed = object.at(&["spec", "clusterIPs"]).and_then(Value::as_array).into_iter().flatten();
    let addresses = listed.chain(object.at(&["spec", "clusterIP"])).filter_map(Value::as_str);
    let addresses = addresses.filter(|address| !address.is_empty() && *address != "None").map(address);
    let ports = object.at(&["spec", "ports"]).and_then(Value::as_array).into_iter().flatten();
    let ports = ports.filter_map(|port| {
        let number = port["nodePort"].as_i64().filter(|number| *number > 0)?;
        Some(node_port(port["protocol"].as_str().unwrap_or("TCP"), number))
    });
    let health = object.at(&["spec", "healthCheckNodePort"]).and_then(Value::as_i64).filter(|port| *port > 0);
    let health = health.map(|port| node_port("TCP", port));
    addresses.chain(ports).chain(health).map(|key| (key, owner.clone())).collect()
}

/// The refusal of a write whose claim is somebody else's (`ipallocator.ErrAllocated`, `portallocator.ErrAllocated`).
pub(crate) fn taken(call: &Call, object: &Object, key: &Key) -> Status {
    if resource_quota::is_quota(key) {
        let name = key.rsplit('/').next().unwrap_or_default();
        return Status::new(
            409,
            "Conflict",
            format!("Operation cannot be fulfilled on resourcequotas \"{name}\": {STALE}"),
        );
    }
    let error = if let Some(address) = key.strip_prefix(ADDRESSES) {
        let detail = "failed to allocate IP: provided IP is already allocated";
        FieldError::invalid("spec.clusterIPs", vec![address.to_owned()], detail)
    } else {
        let port = key.rsplit('/').next().and_then(|port| port.parse::<i64>().ok()).unwrap_or_default();
        FieldError::invalid("spec.ports[0].nodePort", port, "provided port is already allocated")
    };
    Status::invalid_object(&call.resource, object.name(), vec![error])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_service_claims_its_addresses_and_node_ports_once() {
        let service: Object = serde_json::from_value(json!({
            "metadata": {"namespace": "d", "name": "s"},
            "spec": {"clusterIP": "10.43.0.9", "clusterIPs": ["10.43.0.9"], "ports": [
                {"port": 80, "nodePort": 30080}, {"port": 53, "protocol": "UDP", "nodePort": 30080}, {"port": 1},
            ]},
        }))
        .expect("an object");
        let resource = wkube_api::kinds::find("", "v1", "services").expect("a built-in kind");
        let keys: Vec<_> = of(resource, &service).into_keys().map(|key| key.to_string()).collect();
        assert_eq!(
            keys,
            [
                "/registry/claims/addresses/10.43.0.9",
                "/registry/claims/nodeports/TCP/30080",
                "/registry/claims/nodeports/UDP/30080",
            ]
        );
    }

    #[test]
    fn a_headless_service_claims_nothing() {
        let service: Object =
            serde_json::from_value(json!({"spec": {"clusterIP": "None", "clusterIPs": ["None"]}})).expect("an object");
        let resource = wkube_api::kinds::find("", "v1", "services").expect("a built-in kind");
        assert!(of(resource, &service).is_empty());
    }
}
