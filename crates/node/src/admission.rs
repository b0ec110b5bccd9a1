//! Whether a pod fits on this node, asked once more where it runs: the scheduler may have looked at an older picture, and
//! whoever writes `spec.nodeName` asks nobody (`pkg/kubelet/lifecycle/predicate.go`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod};
use parking_lot::Mutex;
use wkube_api::placement;
use wkube_api::quantity::Quantity;

use crate::pod::{qos, spec};

/// Amounts by the resource's name.
pub type Amounts = BTreeMap<String, Quantity>;

/// Why a pod may not run here: `status.reason` and `status.message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Such as `OutOfcpu`.
    pub reason: &'static str,
    /// The sentence.
    pub message: String,
}

/// The reason of a pod that wants another node.
pub const NODE_AFFINITY: &str = "NodeAffinity";

/// What the node thinks of a pod that wants other resources than it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fit {
    /// It has them now.
    Granted,
    /// Not while others have theirs.
    Deferred(String),
    /// Never on this node.
    Infeasible(String),
}

/// The node as pods are measured against it.
#[derive(Debug, Clone, Default)]
pub struct Room {
    /// The node's name.
    pub node: String,
    /// The labels that it gives itself.
    pub labels: BTreeMap<String, String>,
    /// What it has for pods.
    pub allocatable: Amounts,
}

/// What the pods of a node were granted. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Allocations(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    room: Room,
    /// The node's labels as they are now: others may have added some.
    labels: Mutex<BTreeMap<String, String>>,
    granted: Mutex<BTreeMap<String, Granted>>,
}

/// What one pod was granted. There is one for every pod, and a map has room for eleven.
type Granted = Box<[(String, Quantity)]>;

impl Allocations {
    /// Returns those of a node without pods.
    pub fn new(room: Room) -> Self {
        let labels = Mutex::new(room.labels.clone());
        Self(Arc::new(Inner { room, labels, granted: Mutex::default() }))
    }

    /// Takes a pod in.
    ///
    /// # Errors
    /// Why it may not run here. It holds nothing then.
    pub fn admit(&self, pod: &Pod) -> Result<(), Rejection> {
        may_be_here(pod, &self.0.room.node, &self.0.labels.lock())?;
        let wanted = requests(pod);
        let mut granted = self.0.granted.lock();
        if let Some((name, shortage)) = shortage(&wanted, spec::uid(pod), &granted, &self.0.room) {
            let message = format!("Node didn't have enough resource: {name}, {shortage}");
            return Err(Rejection { reason: out_of(name), message });
        }
        granted.insert(spec::uid(pod).to_owned(), wanted.into_iter().collect());
        Ok(())
    }

    /// Says which node this is.
    pub fn node(&self) -> &str {
        &self.0.room.node
    }

    /// Sets the labels that the node's object has.
    pub fn relabel(&self, labels: BTreeMap<String, String>) {
        *self.0.labels.lock() = labels;
    }

    /// Takes in a pod that this node ran before: it is here already.
    pub fn readmit(&self, pod: &Pod) {
        self.0.granted.lock().insert(spec::uid(pod).to_owned(), requests(pod).into_iter().collect());
    }

    /// Grants a pod what it asks for now instead of what it had, if it fits (`pkg/kubelet/allocation`, `canResizePod`).
    pub fn resize(&self, pod: &Pod) -> Fit {
        let (wanted, uid, room) = (requests(pod), spec::uid(pod), &self.0.room);
        if let Some((name, _)) = shortage(&wanted, uid, &BTreeMap::new(), room) {
            let number = |of: &Amounts| of.get(name).map_or(0, |amount| amount_of(name, *amount));
            let (asked, has) = (number(&wanted), number(&room.allocatable));
            return Fit::Infeasible(format!(
                "Node didn't have enough capacity: {name}, requested: {asked}, capacity: {has}"
            ));
        }
        let mut granted = self.0.granted.lock();
        if let Some((name, shortage)) = shortage(&wanted, uid, &granted, room) {
            return Fit::Deferred(format!("Node didn't have enough resource: {name}, {shortage}"));
        }
        granted.insert(uid.to_owned(), wanted.into_iter().collect());
        Fit::Granted
    }

    /// Takes back what a pod had.
    pub fn release(&self, uid: &str) {
        self.0.granted.lock().remove(uid);
    }
}

fn may_be_here(pod: &Pod, node: &str, labels: &BTreeMap<String, String>) -> Result<(), Rejection> {
    let Some(spec) = &pod.spec else { return Ok(()) };
    let os = spec.os.as_ref().map(|os| os.name.as_str());
    if os.is_some_and(|os| os != std::env::consts::OS) {
        let message = "Failed to admit pod as the OS field doesn't match node OS".to_owned();
        return Err(Rejection { reason: "PodOSNotSupported", message });
    }
    if !placement::allows(spec, node, labels) {
        let message = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector".to_owned();
        return Err(Rejection { reason: NODE_AFFINITY, message });
    }
    Ok(())
}

/// Returns the first resource of which there is not enough, with the kubelet's words (`InsufficientResourceError`).
fn shortage<'a>(
    wanted: &'a Amounts,
    uid: &str,
    granted: &BTreeMap<String, Granted>,
    room: &Room,
) -> Option<(&'a str, String)> {
    let others = || granted.iter().filter(|(other, _)| other.as_str() != uid);
    wanted.iter().find_map(|(name, wanted)| {
        if wanted.is_zero() {
            return None;
        }
        let used = if name == PODS {
            Quantity::new(i64::try_from(others().count()).unwrap_or(i64::MAX))
        } else {
            let amounts = others().flat_map(|(_, amounts)| amounts.iter()).filter(|(other, _)| other == name);
            amounts.fold(Quantity::new(0), |sum, (_, one)| sum.plus(*one))
        };
        let capacity = room.allocatable.get(name).copied().unwrap_or(Quantity::new(0));
        let number = |amount: Quantity| amount_of(name, amount);
        (used.plus(*wanted) > capacity).then(|| {
            let (wanted, used, capacity) = (number(*wanted), number(used), number(capacity));
            (name.as_str(), format!("requested: {wanted}, used: {used}, capacity: {capacity}"))
        })
    })
}

const PODS: &str = "pods";

/// Processors are counted in thousandths, everything else in units.
fn amount_of(name: &str, amount: Quantity) -> i128 {
    if name == "cpu" { amount.milli() } else { amount.value() }
}

fn out_of(name: &str) -> &'static str {
    match name {
        "cpu" => "OutOfcpu",
        "memory" => "OutOfmemory",
        "ephemeral-storage" => "OutOfephemeral-storage",
        PODS => "OutOfpods",
        // Words of the API are fixed here; extended resources share one.
        _ => "OutOfextended-resources",
    }
}

/// Returns what a pod asks for, itself among it.
pub fn requests(pod: &Pod) -> Amounts {
    let names: BTreeSet<String> = spec::containers(pod).flat_map(|(container, _)| names_of(&container)).collect();
    let overhead = pod.spec.as_ref().and_then(|spec| spec.overhead.as_ref()).into_iter().flat_map(BTreeMap::keys);
    let whole = pod.spec.as_ref().and_then(|spec| spec.resources.as_ref()?.requests.as_ref());
    let names = names.iter().chain(overhead).chain(whole.into_iter().flat_map(BTreeMap::keys));
    let mut amounts: Amounts = names.filter_map(|name| Some((name.clone(), qos::pod_request(pod, name)?))).collect();
    amounts.insert(PODS.to_owned(), Quantity::new(1));
    amounts
}

fn names_of(container: &Container) -> Vec<String> {
    let resources = container.resources.as_ref();
    let lists = resources.into_iter().flat_map(|of| [of.requests.as_ref(), of.limits.as_ref()]);
    lists.flatten().flat_map(BTreeMap::keys).cloned().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(uid: &str, spec: &Value) -> Pod {
        serde_json::from_value(json!({ "metadata": { "name": uid, "uid": uid }, "spec": spec })).unwrap()
    }

    fn wants(cpu: &str, memory: &str) -> Value {
        json!({ "containers": [{ "name": "c", "resources": { "requests": { "cpu": cpu, "memory": memory } } }] })
    }

    fn node() -> Allocations {
        let amounts = [("cpu", "2"), ("memory", "1Gi"), ("pods", "3"), ("ephemeral-storage", "1Gi")];
        let allocatable = amounts.map(|(name, amount)| (name.to_owned(), amount.parse().unwrap())).into();
        let labels = BTreeMap::from([("zone".to_owned(), "a".to_owned())]);
        Allocations::new(Room { node: "n1".into(), labels, allocatable })
    }

    fn check(node: &Allocations, uid: &str, spec: &Value) -> Result<(), String> {
        node.admit(&pod(uid, spec)).map_err(|rejection| format!("{}: {}", rejection.reason, rejection.message))
    }

    #[test]
    fn what_does_not_fit_is_rejected_in_the_kubelets_words() {
        let node = node();
        assert_eq!(check(&node, "a", &wants("1500m", "100Mi")), Ok(()));
        assert_eq!(
            check(&node, "b", &wants("600m", "1Mi")).unwrap_err(),
            "OutOfcpu: Node didn't have enough resource: cpu, requested: 600, used: 1500, capacity: 2000"
        );
        assert_eq!(
            check(&node, "b", &wants("0", "1000Mi")).unwrap_err(),
            "OutOfmemory: Node didn't have enough resource: memory, requested: 1048576000, used: 104857600, capacity: 1073741824"
        );
        let gpu = json!({ "containers": [{ "name": "c", "resources": { "requests": { "example.com/gpu": "1" } } }] });
        assert!(check(&node, "b", &gpu).unwrap_err().contains("example.com/gpu, requested: 1, used: 0, capacity: 0"));
        node.release("a");
        assert_eq!(check(&node, "b", &wants("2", "1Gi")), Ok(()));
    }

    #[test]
    fn there_is_room_for_so_many_pods() {
        let node = node();
        for uid in ["a", "b", "c"] {
            assert_eq!(check(&node, uid, &wants("0", "0")), Ok(()));
        }
        assert_eq!(check(&node, "c", &wants("0", "0")), Ok(()), "it is here already");
        assert_eq!(
            check(&node, "d", &wants("0", "0")).unwrap_err(),
            "OutOfpods: Node didn't have enough resource: pods, requested: 1, used: 3, capacity: 3"
        );
    }

    #[test]
    fn a_pod_for_another_kind_of_node_is_rejected() {
        let mut elsewhere = wants("0", "0");
        elsewhere["nodeSelector"] = json!({ "zone": "b" });
        assert!(
            check(&node(), "a", &elsewhere).unwrap_err().starts_with("NodeAffinity: Predicate NodeAffinity failed")
        );
        let mut windows = wants("0", "0");
        windows["os"] = json!({ "name": "windows" });
        assert!(check(&node(), "a", &windows).unwrap_err().starts_with("PodOSNotSupported: "));
    }

    #[test]
    fn a_resize_is_granted_deferred_or_infeasible() {
        let node = node();
        assert_eq!(check(&node, "a", &wants("500m", "100Mi")), Ok(()));
        assert_eq!(check(&node, "b", &wants("1", "100Mi")), Ok(()));
        assert_eq!(node.resize(&pod("a", &wants("1", "50Mi"))), Fit::Granted);
        assert_eq!(
            node.resize(&pod("a", &wants("1500m", "50Mi"))),
            Fit::Deferred("Node didn't have enough resource: cpu, requested: 1500, used: 1000, capacity: 2000".into())
        );
        assert_eq!(
            node.resize(&pod("a", &wants("3", "50Mi"))),
            Fit::Infeasible("Node didn't have enough capacity: cpu, requested: 3000, capacity: 2000".into())
        );
        node.release("b");
        assert_eq!(node.resize(&pod("a", &wants("1500m", "50Mi"))), Fit::Granted);
    }

    #[test]
    fn requests_are_the_peak_with_sidecars_and_overhead() {
        let container = |name: &str, cpu: &str| json!({ "name": name, "resources": { "requests": { "cpu": cpu } } });
        let mut sidecar = container("s", "1");
        sidecar["restartPolicy"] = json!("Always");
        let spec = json!({ "initContainers": [sidecar, container("i", "3")], "containers": [container("c", "500m")],
            "overhead": { "cpu": "100m" } });
        assert_eq!(
            requests(&pod("a", &spec))["cpu"].milli(),
            4_100,
            "the init container beside the sidecar is the peak"
        );
        let mut whole = spec.clone();
        whole["resources"] = json!({ "requests": { "cpu": "2" } });
        assert_eq!(requests(&pod("a", &whole))["cpu"].milli(), 2_100, "what the pod states for all counts");
    }
}
