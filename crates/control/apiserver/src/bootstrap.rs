//! The objects that every cluster has, made in one commit at the first start and brought up to date at every other.

use std::net::SocketAddr;

use serde_json::{Value, json};
use wkube_api::{Object, Status};
use wkube_store::{Error, Op, Precondition, TXN_MAX, Txn};

use crate::admission::claims;
use crate::admission::service_network::API_ADDRESS;
use crate::auth;
use crate::encoding;
use crate::flow;
use crate::reconcile::{self, Policy};
use crate::registry::{Registry, create, failed, keys, object_rules};

/// Starts of several servers on one store may race; each loser looks again.
const ATTEMPTS: usize = 5;

/// What the objects say about this server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addresses {
    /// Where the API listens.
    pub(crate) api: SocketAddr,
    /// Where the image registry listens.
    pub(crate) registry: Option<SocketAddr>,
}

/// Makes what is missing.
pub(crate) async fn run(registry: &Registry, addresses: Addresses) -> Result<(), Status> {
    keep(registry, || documents(addresses)).await
}

/// Makes what is missing of these documents, and brings the others up to date.
pub(crate) async fn keep(registry: &Registry, documents: impl Fn() -> Vec<(Policy, Value)>) -> Result<(), Status> {
    let mut conflicts = 0;
    while conflicts < ATTEMPTS {
        registry.store.newest().await;
        let txn = missing(registry, documents())?;
        if txn.ops.is_empty() {
            return Ok(());
        }
        match registry.store.commit(txn).await {
            Ok(_) => {}
            Err(Error::Conflict { .. }) => conflicts += 1,
            Err(error) => return Err(failed(&error)),
        }
    }
    Err(Status::internal("the cluster's first objects are being changed by somebody else all the time"))
}

/// Returns the objects of priority and fairness.
pub(crate) fn flow_control() -> Vec<(Policy, Value)> {
    flow::documents().into_iter().map(|document| (Policy::Flow, document)).collect()
}

fn missing(registry: &Registry, documents: Vec<(Policy, Value)>) -> Result<Txn, Status> {
    let mut txn = Txn::default();
    for (policy, document) in documents {
        // An object and its claims are a few operations; the rest waits for the next round.
        if txn.ops.len() > TXN_MAX / 2 {
            break;
        }
        add(registry, &mut txn, policy, Object(document.as_object().cloned().unwrap_or_default()))?;
    }
    Ok(txn)
}

fn add(registry: &Registry, txn: &mut Txn, policy: Policy, mut object: Object) -> Result<(), Status> {
    let row = registry
        .catalog
        .rows()
        .iter()
        .find(|row| row.kind == object.kind() && row.api_version() == object.api_version());
    let Some(resource) = row else { return Ok(()) };
    resource.manners.default(&mut object);
    let key = keys::of(resource, &object);
    let found = registry.store.get(&key).map_err(|error| failed(&error))?;
    let Some(entry) = found else {
        object_rules::metadata_mut(&mut object).extend([
            ("uid".to_owned(), registry.uid().into()),
            ("creationTimestamp".to_owned(), create::timestamp(registry).into()),
        ]);
        object_rules::bump_if_counted(&mut object, resource);
        txn.preconditions.push(Precondition::Absent(key.clone()));
        txn.ops.push(Op::Put(key, encoding::encode(&object)));
        for (claim, owner) in claims::of(resource, &object) {
            txn.ops.push(Op::Put(claim, owner.into()));
        }
        return Ok(());
    };
    let Some(old) = encoding::decode(&entry.value, entry.modified) else { return Ok(()) };
    if let Some(mut new) = reconcile::reconciled(policy, &old, &object) {
        object_rules::bump_if_counted(&mut new, resource);
        txn.preconditions.push(Precondition::Modified(key.clone(), entry.modified));
        txn.ops.push(Op::Put(key, encoding::encode(&new)));
    }
    Ok(())
}

fn documents(addresses: Addresses) -> Vec<(Policy, Value)> {
    let mut all: Vec<_> = ["default", "kube-system", "kube-public", "kube-node-lease"].map(namespace).into();
    all.extend([
        priority_class(
            "system-cluster-critical",
            2_000_000_000,
            "critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
        priority_class(
            "system-node-critical",
            2_000_001_000,
            "critical pods that must not be moved from their current node.",
        ),
    ]);
    all.extend(runtime_classes());
    let mut all: Vec<_> = all.into_iter().map(|document| (Policy::Keep, document)).collect();
    let roles = auth::bootstrap::documents().into_iter().chain(auth::bootstrap::of_controllers());
    all.extend(roles.map(|document| (Policy::Grant, document)));
    all.extend(flow_control());
    all.push((Policy::Keep, api_service(addresses.api.port())));
    all.push((Policy::Refresh, api_endpoints(addresses.api)));
    all.push((Policy::Refresh, api_slice(addresses.api)));
    if let Some(listen) = addresses.registry {
        all.extend(registry_hosting(listen));
    }
    all
}

fn namespace(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
        "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"},
    })
}

fn priority_class(name: &str, value: i64, use_for: &str) -> Value {
    json!({
        "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
        "value": value, "preemptionPolicy": "PreemptLowerPriority", "description": format!("Used for system {use_for}"),
    })
}

/// How nodes isolate pods. A process of its own costs a pod some memory, which the scheduler should know of.
fn runtime_classes() -> [Value; 2] {
    let class = |name: &str| json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": name}, "handler": name});
    let mut process = class("wasm-process");
    process["overhead"] = json!({"podFixed": {"memory": "24Mi"}});
    [class("wasm"), process]
}

/// The service by which guests find the API.
fn api_service(port: u16) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "type": "ClusterIP", "clusterIP": API_ADDRESS, "clusterIPs": [API_ADDRESS],
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "sessionAffinity": "None",
            "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": port}],
        },
        "status": {"loadBalancer": {}},
    })
}

/// Where the API is, for clients that read no slices. The server writes the slice itself, so nobody has to mirror this
/// (`controlplane/reconcilers/endpointsadapter.go`).
fn api_endpoints(listen: SocketAddr) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [{
            "addresses": [{"ip": reachable(listen).ip()}],
            "ports": [{"name": "https", "protocol": "TCP", "port": listen.port()}],
        }],
    })
}

fn api_slice(listen: SocketAddr) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": "kubernetes", "namespace": "default", "labels": {"kubernetes.io/service-name": "kubernetes"},
        },
        "addressType": if listen.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{"addresses": [reachable(listen).ip()], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "protocol": "TCP", "port": listen.port()}],
    })
}

/// Where tools find the image registry (KEP-1755), and the right to look.
fn registry_hosting(listen: SocketAddr) -> Vec<(Policy, Value)> {
    let name = "local-registry-hosting";
    let metadata = json!({"name": name, "namespace": "kube-public"});
    let rbac = "rbac.authorization.k8s.io";
    vec![
        (
            Policy::Refresh,
            json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata,
                "data": {"localRegistryHosting.v1": format!("host: \"{}\"\nhelp: \"wkube push FILE.wasm NAME:TAG\"\n", reachable(listen))},
            }),
        ),
        (
            Policy::Keep,
            json!({
                "apiVersion": format!("{rbac}/v1"), "kind": "Role", "metadata": metadata,
                "rules": [{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [name], "verbs": ["get"]}],
            }),
        ),
        (
            Policy::Keep,
            json!({
                "apiVersion": format!("{rbac}/v1"), "kind": "RoleBinding", "metadata": metadata,
                "roleRef": {"apiGroup": rbac, "kind": "Role", "name": name},
                "subjects": [{"apiGroup": rbac, "kind": "Group", "name": auth::AUTHENTICATED}],
            }),
        ),
    ]
}

/// "Everywhere" is reached through the loopback address.
pub(crate) fn reachable(mut listen: SocketAddr) -> SocketAddr {
    if listen.ip().is_unspecified() {
        listen.set_ip(if listen.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
    }
    listen
}
