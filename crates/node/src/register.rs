//! The node's own object: what it is (labels, capacity, versions) and how it is (conditions). Pure, but for `Registrar`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeSpec, NodeStatus, NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use serde_json::json;
use wkube_api::ObjectKey;
use wkube_api::quantity::Quantity;
use wkube_base::{Backoff, Clock};
use wkube_client::{Api, Client, Error, Patch, Recorder, Scope};

use crate::admission::Room;
use crate::eviction::signals::Condition;
use crate::eviction::vitals::Vitals;
use crate::ip::Cidr;
use crate::node_events;
use crate::reserved::Reserved;
use crate::resources::{Machine, to_wire};

/// How often the status is computed (`nodeStatusUpdateFrequency`).
const STATUS_PERIOD: Duration = Duration::from_secs(10);
/// How often it is written although nothing changed (`nodeStatusReportFrequency`).
const REPORT_PERIOD: Duration = Duration::from_mins(5);
/// Everything about the node that does not change while it runs.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The node's name.
    pub name: String,
    /// More labels.
    pub labels: BTreeMap<String, String>,
    /// Where others reach it, if they do.
    pub address: Option<IpAddr>,
    /// The machine.
    pub machine: Machine,
    /// What of it is not for pods.
    pub kept: Reserved,
    /// Name and version of the container runtime.
    pub runtime: String,
    /// The WASI worlds that guests may target.
    pub worlds: Vec<String>,
    /// How the node is, which changes all the time.
    pub vitals: Vitals,
}

impl Identity {
    /// Returns the labels that the node gives itself (`kubelet_node_status.go`, `initialNode`).
    fn labels(&self) -> BTreeMap<String, String> {
        let own = [
            ("kubernetes.io/hostname", self.name.clone()),
            ("kubernetes.io/os", std::env::consts::OS.to_owned()),
            ("kubernetes.io/arch", arch().to_owned()),
            ("beta.kubernetes.io/os", std::env::consts::OS.to_owned()),
            ("beta.kubernetes.io/arch", arch().to_owned()),
        ];
        let mut labels: BTreeMap<_, _> = own.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        labels.extend(self.worlds.iter().map(|world| (format!("wkube.dev/{world}"), "true".to_owned())));
        labels.extend(self.labels.clone());
        labels
    }

    /// Returns what pods may use.
    pub fn allocatable(&self) -> BTreeMap<String, Quantity> {
        self.machine.allocatable(&self.kept)
    }

    /// Returns what pods are measured against.
    pub fn room(&self) -> Room {
        Room { node: self.name.clone(), labels: self.labels(), allocatable: self.allocatable() }
    }

    /// Returns the object of a node that registers for the first time.
    pub fn node(&self, now: Timestamp) -> Node {
        let annotations = BTreeMap::from([("wkube.dev/wasi".to_owned(), self.worlds.join(","))]);
        Node {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                labels: Some(self.labels()),
                annotations: Some(annotations),
                ..ObjectMeta::default()
            },
            status: Some(self.status(None, now)),
            ..Node::default()
        }
    }

    /// Returns the status; a condition that did not change keeps its transition time.
    pub fn status(&self, previous: Option<&NodeStatus>, now: Timestamp) -> NodeStatus {
        let mut addresses = Vec::new();
        let address = |kind: &str, address: String| NodeAddress { type_: kind.to_owned(), address };
        addresses.extend(self.address.map(|ip| address("InternalIP", ip.to_string())));
        addresses.push(address("Hostname", self.name.clone()));
        NodeStatus {
            capacity: Some(to_wire(&self.machine.capacity())),
            allocatable: Some(to_wire(&self.allocatable())),
            conditions: Some(conditions(previous, &self.vitals.conditions(), now)),
            images: Some(self.vitals.images()).filter(|images| !images.is_empty()),
            addresses: Some(addresses),
            daemon_endpoints: Some(NodeDaemonEndpoints { kubelet_endpoint: Some(DaemonEndpoint { port: 10250 }) }),
            node_info: Some(self.system_info()),
            ..NodeStatus::default()
        }
    }

    fn system_info(&self) -> NodeSystemInfo {
        let read = |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
        let os = read("/etc/os-release");
        let pretty = os.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
        let version = format!("v1.37.0+wkube{}", env!("CARGO_PKG_VERSION"));
        NodeSystemInfo {
            architecture: arch().to_owned(),
            operating_system: std::env::consts::OS.to_owned(),
            container_runtime_version: self.runtime.clone(),
            kubelet_version: version.clone(),
            kube_proxy_version: version,
            kernel_version: read("/proc/sys/kernel/osrelease"),
            machine_id: read("/etc/machine-id"),
            boot_id: read("/proc/sys/kernel/random/boot_id"),
            os_image: pretty.map(|name| name.trim_matches('"').to_owned()).unwrap_or_default(),
            ..NodeSystemInfo::default()
        }
    }
}

fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// See `nodestatus/setters.go`.
fn conditions(previous: Option<&NodeStatus>, holding: &BTreeSet<Condition>, now: Timestamp) -> Vec<NodeCondition> {
    let old = previous.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let pressure = |condition: Condition| {
        let (is_so, is_not) = match condition {
            Condition::MemoryPressure => (
                ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
                ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            ),
            Condition::DiskPressure => (
                ("KubeletHasDiskPressure", "kubelet has disk pressure"),
                ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            ),
            Condition::PidPressure => (
                ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
                ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            ),
        };
        let holds = holding.contains(&condition);
        let (status, (reason, message)) = if holds { ("True", is_so) } else { ("False", is_not) };
        (condition.name(), status, reason, message)
    };
    let ready = ("Ready", "True", "KubeletReady", "kubelet is posting ready status");
    let wanted = Condition::ALL.map(pressure).into_iter().chain([ready]);
    let condition = |(name, status, reason, message): (&str, &str, &str, &str)| {
        let same = old.iter().find(|condition| condition.type_ == name && condition.status == status);
        NodeCondition {
            type_: name.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_heartbeat_time: Some(Time(now)),
            last_transition_time: Some(same.and_then(|same| same.last_transition_time.clone()).unwrap_or(Time(now))),
        }
    };
    wanted.map(condition).collect()
}

/// Keeps the node's object as it should be.
pub struct Registrar {
    nodes: Api<Node>,
    identity: Identity,
    clock: Clock,
    recorder: Recorder,
    cidr_before: Option<Cidr>,
}

impl Registrar {
    /// Returns a registrar that has not registered yet. `cidr_before` is the range of addresses that the node had in an
    /// earlier life: it asks for that one again.
    pub fn new(
        client: &Client,
        identity: Identity,
        clock: &Clock,
        recorder: &Recorder,
        cidr_before: Option<Cidr>,
    ) -> Self {
        let nodes = Api::new(&client.named("kubelet"));
        Self { nodes, identity, clock: clock.clone(), recorder: recorder.clone(), cidr_before }
    }

    fn key(&self) -> ObjectKey {
        ObjectKey::cluster(self.identity.name.clone())
    }

    /// Makes the object, or brings the one of an earlier life up to date. Tries until the server answers.
    pub async fn register(&self) -> Node {
        let mut failures = 0;
        loop {
            match self.try_register().await {
                Ok(node) => return node,
                Err(error) => {
                    failures += 1;
                    tracing::warn!(node = self.identity.name, %error, "failed to register; trying again");
                    tokio::time::sleep(Backoff::RECONNECT.after(failures)).await;
                }
            }
        }
    }

    async fn try_register(&self) -> Result<Node, Error> {
        let mut new = self.identity.node(self.clock.now());
        let known = self.nodes.find(&self.key()).await?;
        if known.is_none() {
            // Chosen before anybody can give a /24: that has room for a quarter of the pods that a node takes.
            let chosen = self.choose_cidr().await?.to_string();
            new.spec =
                Some(NodeSpec { pod_cidr: Some(chosen.clone()), pod_cidrs: Some(vec![chosen]), ..NodeSpec::default() });
            match self.nodes.create(&new).await {
                Ok(_) => {}
                Err(error) if error.is_already_exists() => {}
                Err(error) => return Err(error),
            }
        }
        let metadata = json!({ "labels": new.metadata.labels, "annotations": new.metadata.annotations });
        self.nodes.patch(&self.key(), &Patch::Merge(json!({ "metadata": metadata }))).await?;
        self.write(known.and_then(|node| node.status).as_ref()).await
    }

    async fn choose_cidr(&self) -> Result<Cidr, Error> {
        let others = self.nodes.list(&Scope::all()).await?.items;
        let taken: Vec<Cidr> = others.iter().filter_map(cidr_of).collect();
        if let Some(before) = self.cidr_before.filter(|before| !taken.iter().any(|other| before.overlaps(*other))) {
            return Ok(before);
        }
        Ok(Cidr::choose(&self.identity.name, self.identity.machine.pods, &taken))
    }

    async fn write(&self, previous: Option<&NodeStatus>) -> Result<Node, Error> {
        let status = self.identity.status(previous, self.clock.now());
        let written = self.nodes.patch_status(&self.key(), &Patch::Strategic(json!({ "status": status }))).await?;
        let name = &self.identity.name;
        for event in node_events::news(name, previous, &status) {
            self.recorder.event(&node_events::reference(name), event.kind, event.reason, event.message);
        }
        Ok(written)
    }

    /// Returns the node's pod CIDR: the one that it was given, else one that no other node has, which it then keeps.
    pub async fn pod_cidr(&self, node: &Node) -> Cidr {
        if let Some(given) = cidr_of(node) {
            return given;
        }
        let Identity { name, machine, .. } = &self.identity;
        let chosen = self.choose_cidr().await.unwrap_or_else(|_| Cidr::choose(name, machine.pods, &[]));
        let spec = json!({ "podCIDR": chosen.to_string(), "podCIDRs": [chosen.to_string()] });
        // Somebody who allocates ranges may have been faster: what the object says then counts.
        match self.nodes.patch(&self.key(), &Patch::Merge(json!({ "spec": spec }))).await {
            Ok(node) => cidr_of(&node).unwrap_or(chosen),
            Err(error) => {
                tracing::warn!(node = self.identity.name, %error, cidr = %chosen, "pod CIDR not recorded; using it all the same");
                self.nodes.get(&self.key()).await.ok().as_ref().and_then(cidr_of).unwrap_or(chosen)
            }
        }
    }

    /// Writes the status whenever it changes, and now and then.
    pub async fn keep_status(self) {
        let mut ticks = tokio::time::interval(STATUS_PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut written_at: Option<tokio::time::Instant> = None;
        loop {
            ticks.tick().await;
            let Ok(seen) = self.nodes.find(&self.key()).await else { continue };
            let Some(node) = seen else {
                // Somebody deleted the node; a kubelet that lives registers again.
                self.register().await;
                continue;
            };
            let is_due = written_at.is_none_or(|at| at.elapsed() >= REPORT_PERIOD);
            if !is_due && !self.has_changed(node.status.as_ref()) {
                continue;
            }
            match self.write(node.status.as_ref()).await {
                Ok(_) => written_at = Some(tokio::time::Instant::now()),
                Err(error) => tracing::warn!(node = self.identity.name, %error, "failed to write the node's status"),
            }
        }
    }

    fn has_changed(&self, seen: Option<&NodeStatus>) -> bool {
        let Some(seen) = seen else { return true };
        let wanted = self.identity.status(Some(seen), self.clock.now());
        let words = |status: &NodeStatus| -> Vec<(String, String)> {
            let own = status.conditions.iter().flatten().filter(|c| wanted_condition(&c.type_));
            own.map(|c| (c.type_.clone(), c.status.clone())).collect()
        };
        let sorted = |status: &NodeStatus| {
            let mut words = words(status);
            words.sort();
            words
        };
        sorted(seen) != sorted(&wanted)
            || seen.images.as_deref().unwrap_or_default() != wanted.images.as_deref().unwrap_or_default()
            || seen.allocatable != wanted.allocatable
            || seen.addresses != wanted.addresses
    }
}

fn cidr_of(node: &Node) -> Option<Cidr> {
    Cidr::parse(node.spec.as_ref()?.pod_cidr.as_deref()?)
}

fn wanted_condition(name: &str) -> bool {
    ["MemoryPressure", "DiskPressure", "PIDPressure", "Ready"].contains(&name)
}

/// Returns the reference by which a lease belongs to its node.
pub fn owner(node: &Node) -> Option<OwnerReference> {
    Some(OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: node.metadata.name.clone()?,
        uid: node.metadata.uid.clone()?,
        ..OwnerReference::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            name: "n1".into(),
            labels: BTreeMap::from([("zone".into(), "a".into())]),
            address: Some(IpAddr::from([192, 0, 2, 1])),
            machine: Machine { cpus: 2, memory_bytes: 4 << 30, disk_bytes: 50 << 30, pods: 1100 },
            kept: Reserved::default(),
            runtime: "wasmtime://48.0.8".into(),
            worlds: vec!["wasi-http-0.2".into()],
            vitals: Vitals::default(),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_node_says_what_it_is() {
        let node = identity().node(at(0));
        let labels = node.metadata.labels.unwrap();
        for (label, value) in [("kubernetes.io/hostname", "n1"), ("zone", "a"), ("wkube.dev/wasi-http-0.2", "true")] {
            assert_eq!(labels.get(label).map(String::as_str), Some(value), "{label}");
        }
        let status = node.status.unwrap();
        assert_eq!(status.capacity.unwrap()["pods"].0, "1100");
        let info = status.node_info.unwrap();
        assert_eq!(info.container_runtime_version, "wasmtime://48.0.8");
        assert!(info.kubelet_version.starts_with("v1.37.0+wkube"));
    }

    #[test]
    fn a_condition_that_stays_keeps_its_transition_time() {
        let first = identity().status(None, at(0));
        let mut lost = first.clone();
        for condition in lost.conditions.iter_mut().flatten().filter(|condition| condition.type_ == "Ready") {
            condition.status = "Unknown".into();
        }
        let again = identity().status(Some(&lost), at(60));
        let times: Vec<_> =
            again.conditions.unwrap().into_iter().map(|c| c.last_transition_time.unwrap().0.as_second()).collect();
        assert_eq!(times, [0, 0, 0, 60]);
    }
}
