//! The node lifecycle controller: gives nodes their pod addresses, notices when they fall silent, and moves their pods.

mod cidr;
mod eviction;
mod plan;
mod taints;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use parking_lot::Mutex;
use serde_json::{Value, json};
use wkube_api::ObjectKey;
use wkube_base::{Clock, Tasks};
use wkube_client::{Api, Client, Controller, Error, EventType, Kind, Lister, Next, Patch, Reconcile, Recorder, Scope};

use crate::Context;
use crate::common::{meta, perform, pods};
use plan::{Action, GRACE, Observed, PodKey};

/// The namespace of the leases that nodes renew.
const LEASES: &str = "kube-node-lease";
/// The index of pods by their node; the scheduler and others may share it.
const BY_NODE: &str = "node";

struct Reconciler {
    nodes: Lister<Node>,
    leases: Lister<Lease>,
    pods: Lister<Pod>,
    recorder: Recorder,
    clock: Clock,
    /// The last sign of life of each node, and when we saw it change.
    heard: Mutex<BTreeMap<String, Sign>>,
    /// The ranges given away, also those that the cache does not show yet.
    assigned: Mutex<BTreeMap<String, String>>,
}

/// A node's own times are only compared with each other, never with our clock.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sign {
    renewed: Option<Timestamp>,
    reported: Option<Timestamp>,
    heard_at: Timestamp,
}

/// Starts the controller.
pub(crate) fn start(context: &Context, tasks: &Tasks) {
    let nodes = context.informers.lister::<Node>();
    let leases = context.informers.lister_of::<Lease>(Scope::namespace(LEASES));
    let pods =
        context.informers.indexed(BY_NODE, |pod: &Pod| pods::node_name(pod).map(str::to_owned).into_iter().collect());
    let reconciler = Reconciler {
        nodes: nodes.clone(),
        leases: leases.clone(),
        pods: pods.clone(),
        recorder: context.recorder("node-controller", tasks),
        clock: context.clock.clone(),
        heard: Mutex::default(),
        assigned: Mutex::default(),
    };
    Controller::new(reconciler, &context.rng)
        .for_each(&nodes)
        .watches(&leases, |change| vec![ObjectKey::cluster(change.object().name())])
        .watches(&pods, |change| {
            // Only pods that arrive matter: whether they tolerate the node. Others are looked at with their node.
            let is_new = change.before().and_then(|before| pods::node_name(before)).is_none();
            pods::node_name(change.object()).filter(|_| is_new).map(ObjectKey::cluster).into_iter().collect()
        })
        .start(&context.client, &context.clock, tasks);
}

impl Reconcile for Reconciler {
    fn name(&self) -> &'static str {
        "nodelifecycle"
    }

    async fn reconcile(&self, key: &ObjectKey, client: &Client) -> Result<Next, Error> {
        let now = self.clock.now();
        let Some(node) = self.nodes.get(key) else {
            self.heard.lock().remove(&key.name);
            self.assigned.lock().remove(&key.name);
            return Ok(Next::Done);
        };
        let heard_at = self.hear(&node, now);
        let pods = self.pods.by_index(BY_NODE, &key.name);
        let free_cidr = plan::pod_cidr(&node).is_none().then(|| self.reserve(&key.name)).flatten();
        let plan = plan::plan(&Observed {
            node: &node,
            pods: &pods,
            heard_at,
            any_alive: self.is_any_alive(now),
            free_cidr: free_cidr.as_deref(),
            now,
        });
        for action in plan.actions {
            self.perform(client, &node, &pods, action).await?;
        }
        Ok(plan.revisit_at.into())
    }
}

impl Reconciler {
    /// Returns when, by our clock, the node last showed a sign of life: when its lease or its status last changed.
    fn hear(&self, node: &Node, now: Timestamp) -> Timestamp {
        let lease = self.leases.get(&ObjectKey::new(LEASES, node.name()));
        let renewed = lease.and_then(|lease| Some(lease.spec.as_ref()?.renew_time.as_ref()?.0));
        let reported = plan::condition(node, "Ready")
            .and_then(|condition| condition.last_heartbeat_time.as_ref())
            .map(|time| time.0);
        let mut heard = self.heard.lock();
        let sign = heard.entry(node.name().to_owned()).or_insert(Sign { renewed, reported, heard_at: now });
        if (sign.renewed, sign.reported) != (renewed, reported) {
            *sign = Sign { renewed, reported, heard_at: now };
        }
        sign.heard_at
    }

    fn is_any_alive(&self, now: Timestamp) -> bool {
        self.heard.lock().values().any(|sign| meta::after_seconds(sign.heard_at, GRACE) > now)
    }

    /// Returns a range for the node, always the same until it is gone, and never another node's.
    fn reserve(&self, name: &str) -> Option<String> {
        let mut assigned = self.assigned.lock();
        let nodes = self.nodes.all();
        let taken: BTreeSet<String> = nodes
            .iter()
            .filter_map(|node| plan::pod_cidr(node).map(str::to_owned))
            .chain(assigned.values().cloned())
            .collect();
        if let Some(reserved) = assigned.get(name) {
            return Some(reserved.clone());
        }
        let free = cidr::first_free(&taken)?;
        assigned.insert(name.to_owned(), free.clone());
        Some(free)
    }

    async fn perform(&self, client: &Client, node: &Node, pods: &[Arc<Pod>], action: Action) -> Result<(), Error> {
        match action {
            Action::AssignCidr(cidr) => {
                let body =
                    json!({ "metadata": { "uid": node.uid() }, "spec": { "podCIDR": cidr, "podCIDRs": [cidr] } });
                Api::<Node>::new(client).patch(&node.key(), &Patch::Merge(body)).await?;
            }
            Action::SetConditions(conditions) => {
                let body = json!({ "status": { "conditions": conditions } });
                Api::<Node>::new(client).patch_status(&node.key(), &Patch::Strategic(body)).await?;
                let message = format!("Node {} status is now: NodeNotReady", node.name());
                self.recorder.event(node, EventType::Normal, "NodeNotReady", message);
            }
            Action::SetTaints(taints) => {
                // With the revision: somebody else's taint, set in between, must not be lost.
                let metadata = json!({ "resourceVersion": node.metadata.resource_version, "uid": node.uid() });
                let body = json!({ "metadata": metadata, "spec": { "taints": taints } });
                Api::<Node>::new(client).patch(&node.key(), &Patch::Merge(body)).await?;
            }
            Action::MarkNotReady(pod) => {
                let condition = not_ready(self.clock.now());
                patch_pod_status(client, &pod, condition).await?;
            }
            Action::Evict(pod) => self.evict(client, pods, &pod).await?,
        }
        Ok(())
    }

    async fn evict(&self, client: &Client, pods: &[Arc<Pod>], key: &PodKey) -> Result<(), Error> {
        let condition = json!({
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint",
            "lastTransitionTime": meta::time(self.clock.now()),
        });
        patch_pod_status(client, key, condition).await?;
        if perform::delete::<Pod>(client, &key.namespace, &key.pod).await?
            && let Some(pod) = pods.iter().find(|pod| pod.uid() == key.pod.uid)
        {
            let message = format!("Marking for deletion Pod {}/{}", key.namespace, key.pod);
            self.recorder.event(pod.as_ref(), EventType::Normal, "TaintManagerEviction", message);
        }
        Ok(())
    }
}

fn not_ready(now: Timestamp) -> Value {
    json!({ "type": "Ready", "status": "False", "reason": "NodeNotReady", "lastTransitionTime": meta::time(now) })
}

async fn patch_pod_status(client: &Client, key: &PodKey, condition: Value) -> Result<(), Error> {
    let body = json!({ "metadata": { "uid": key.pod.uid }, "status": { "conditions": [condition] } });
    let object = ObjectKey::new(key.namespace.as_str(), key.pod.name.as_str());
    match Api::<Pod>::new(client).patch_status(&object, &Patch::Strategic(body)).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}
