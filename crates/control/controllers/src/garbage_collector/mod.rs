//! The garbage collector: what is owned goes with, before, or without its owners.

mod feed;
mod graph;
mod plan;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use parking_lot::Mutex;
use serde::Deserialize as _;
use serde_json::json;
use tokio::sync::Notify;
use tracing::{debug, warn};
use wkube_api::ObjectKey;
use wkube_base::{Backoff, Rng, Tasks};
use wkube_client::queue::{Outcome, Queue};
use wkube_client::{Client, DeleteOptions, Error, Patch, Propagation, Revision};

use crate::Context;
use crate::common::served::{self, ServedKind};
use graph::{Graph, Meta, Node};
use plan::{Action, Observed, Owner};

/// How often new kinds are looked for (`ResourceResyncTime`).
const DISCOVERY_PERIOD: Duration = Duration::from_secs(30);
/// How soon to try again while the server does not say what it serves.
const DISCOVERY_RETRY: Duration = Duration::from_secs(1);
/// A chart brings dozens of definitions; they are taken in together.
const DISCOVERY_PAUSE: Duration = Duration::from_millis(500);
/// How many absent owners are remembered (`absentOwnerCache`).
const ABSENT_MAX: usize = 500;
/// How many objects are worked on at once (`--concurrent-gc-syncs`).
const WORKERS: usize = 20;

/// The graph, and the uids that have to be looked at.
struct Shared {
    graph: Mutex<Graph>,
    queue: Queue<String>,
    /// Definitions of custom kinds have changed.
    kinds: Notify,
}

impl Shared {
    /// Changes the graph, and has a look taken at whatever that affects.
    fn change(&self, change: impl FnOnce(&mut Graph) -> BTreeSet<String>) {
        let affected = change(&mut self.graph.lock());
        for uid in affected {
            self.queue.add(uid);
        }
    }
}

/// Starts the collector.
pub(crate) fn start(context: &Context, tasks: &Tasks) {
    let queue = Queue::named("garbage_collector_attempt_to_delete", Backoff::CONTROLLER, context.rng.split());
    let shared = Arc::new(Shared { graph: Mutex::default(), queue, kinds: Notify::new() });
    let client = context.client.named("generic-garbage-collector");
    let collector = Collector { client: client.clone(), shared: Arc::clone(&shared), absent: Mutex::default() };
    tasks.spawn("garbagecollector", async move { collector.run().await });
    tasks.spawn("garbagecollector-kinds", follow_kinds(client, shared, context.rng.split(), tasks.clone()));
}

/// Watches every kind that can be deleted, and those that come later.
async fn follow_kinds(client: Client, shared: Arc<Shared>, rng: Rng, tasks: Tasks) {
    loop {
        let wait = match served::kinds(&client).await {
            Ok(kinds) => {
                // Events own nothing, are owned by nobody, and are by far the most (`ignoredResources`).
                let wanted = |kind: &ServedKind| kind.kind != "Event" && kind.can(&["list", "watch", "delete"]);
                for kind in kinds.into_iter().filter(wanted).map(Arc::new) {
                    if shared.graph.lock().watch(&kind) {
                        tasks.spawn(
                            "garbagecollector-feed",
                            feed::run(client.clone(), kind, Arc::clone(&shared), rng.split()),
                        );
                    }
                }
                DISCOVERY_PERIOD
            }
            Err(error) => {
                debug!(error = &error as &dyn std::error::Error, "discovery failed, trying again");
                DISCOVERY_RETRY
            }
        };
        // New kinds are looked for at once, so that owners are known before they go; the period is for the rest.
        let _ = tokio::time::timeout(wait, shared.kinds.notified()).await;
        tokio::time::sleep(DISCOVERY_PAUSE).await;
    }
}

struct Collector {
    client: Client,
    shared: Arc<Shared>,
    /// The uids that the server has said do not exist; no uid ever comes back. A thousand pods of one set ask once.
    absent: Mutex<BTreeSet<String>>,
}

impl Collector {
    async fn run(&self) {
        let mut working = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                Some((uid, outcome)) = working.next() => self.shared.queue.done(&uid, outcome),
                uid = self.shared.queue.take(), if working.len() < WORKERS => working.push(self.work(uid)),
            }
        }
    }

    async fn work(&self, uid: String) -> (String, Outcome) {
        let outcome = match self.look(&uid).await {
            Ok(()) => Outcome::Settled,
            Err(error) => {
                if !error.is_conflict() {
                    warn!(uid, error = &error as &dyn std::error::Error, "collecting failed, trying again later");
                }
                Outcome::Failed { at_least: error.retry_after().unwrap_or_default() }
            }
        };
        (uid, outcome)
    }

    /// Looks at the cached object first; only if something is to be done is the server asked how it is now.
    async fn look(&self, uid: &str) -> Result<(), Error> {
        let Some(cached) = self.shared.graph.lock().get(uid) else { return Ok(()) };
        if self.plan(&cached).await?.is_empty() {
            return Ok(());
        }
        let Some(live) = self.fetch(&cached).await? else {
            self.shared.change(|graph| graph.remove(uid));
            return Ok(());
        };
        for action in self.plan(&live).await? {
            debug!(%action, "collecting");
            self.perform(action).await?;
        }
        Ok(())
    }

    async fn plan(&self, object: &Node) -> Result<Vec<Action>, Error> {
        let mut owners = Vec::new();
        if !object.is_deleting() {
            for reference in &object.meta.owner_references {
                owners.push((reference.uid.clone(), self.owner(object, reference).await?));
            }
        }
        let graph = self.shared.graph.lock();
        let dependents = graph.dependents(&object.meta.uid);
        let waits_in_circle = object.waits_for_dependents() && graph.waits_in_circle(&object.meta.uid);
        let is_complete = graph.is_complete();
        drop(graph);
        let observed = Observed { object, owners: &owners, dependents: &dependents, waits_in_circle, is_complete };
        Ok(plan::plan(&observed))
    }

    /// Finds out about an owner: from the graph, or from the server before anybody believes that it does not exist.
    async fn owner(&self, object: &Node, reference: &OwnerReference) -> Result<Owner, Error> {
        if let Some(known) = self.shared.graph.lock().get(&reference.uid) {
            return Ok(match is_reachable(object, reference, &known) {
                true if known.waits_for_dependents() => Owner::WaitsForUs,
                true => Owner::Solid,
                // A namespaced owner of a cluster-scoped object, or one of another namespace, is no owner.
                false => Owner::Absent,
            });
        }
        if self.absent.lock().contains(&reference.uid) {
            return Ok(Owner::Absent);
        }
        let Some(kind) = self.kind_of(reference).await? else { return Ok(Owner::Unknown) };
        if kind.is_namespaced && object.meta.namespace.is_empty() {
            return Ok(Owner::Unknown);
        }
        let namespace = if kind.is_namespaced { object.meta.namespace.as_str() } else { "" };
        let key = ObjectKey::new(namespace, reference.name.as_str());
        let live = kind.api(&self.client).find(&key).await?;
        if live.is_some_and(|live| live.uid() == reference.uid) {
            return Ok(Owner::Solid);
        }
        let mut absent = self.absent.lock();
        if absent.len() >= ABSENT_MAX {
            absent.clear();
        }
        absent.insert(reference.uid.clone());
        Ok(Owner::Absent)
    }

    /// Returns the kind that a reference names; `None` if the server does not serve it.
    async fn kind_of(&self, reference: &OwnerReference) -> Result<Option<Arc<ServedKind>>, Error> {
        let group = group_of(reference);
        if let Some(watched) = self.shared.graph.lock().kind(group, &reference.kind) {
            return Ok(Some(watched));
        }
        let kinds = served::kinds(&self.client).await?;
        Ok(kinds.into_iter().find(|kind| kind.group == group && kind.kind == reference.kind).map(Arc::new))
    }

    async fn fetch(&self, node: &Node) -> Result<Option<Node>, Error> {
        let live = node.kind.api(&self.client).find(&key(node)).await?;
        let meta = live.and_then(|live| Meta::deserialize(live.0.get("metadata")?).ok());
        let same = meta.filter(|meta| meta.uid == node.meta.uid);
        Ok(same.map(|meta| Node { kind: Arc::clone(&node.kind), meta }))
    }

    async fn perform(&self, action: Action) -> Result<(), Error> {
        let done = match action {
            Action::Delete(node, propagation) => self.delete(&node, propagation).await,
            Action::Forget(node, owners) => {
                let Some(node) = self.fetch(&node).await? else { return Ok(()) };
                let kept: Vec<&OwnerReference> =
                    node.meta.owner_references.iter().filter(|owner| !owners.contains(&owner.uid)).collect();
                self.patch(&node, json!({ "ownerReferences": kept })).await
            }
            Action::RemoveFinalizer(node, finalizer) => {
                let kept: Vec<&String> = node.meta.finalizers.iter().filter(|known| *known != finalizer).collect();
                self.patch(&node, json!({ "finalizers": kept })).await
            }
        };
        match done {
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        }
    }

    /// Only as it was when it was judged: if it has been written since, it may have found another owner.
    async fn delete(&self, node: &Node, propagation: Propagation) -> Result<(), Error> {
        let options = DeleteOptions {
            uid: Some(node.meta.uid.clone()),
            revision: Some(Revision::parse(&node.meta.resource_version)),
            propagation: Some(propagation),
            ..DeleteOptions::default()
        };
        node.kind.api(&self.client).delete(&key(node), &options).await
    }

    /// Patches metadata as it was when it was judged; a merge patch, as custom resources know no other.
    async fn patch(&self, node: &Node, mut metadata: serde_json::Value) -> Result<(), Error> {
        metadata["uid"] = json!(node.meta.uid);
        metadata["resourceVersion"] = json!(node.meta.resource_version);
        let body = Patch::Merge(json!({ "metadata": metadata }));
        node.kind.api(&self.client).patch(&key(node), &body).await?;
        Ok(())
    }
}

fn key(node: &Node) -> ObjectKey {
    ObjectKey::new(node.meta.namespace.as_str(), node.meta.name.as_str())
}

/// Whether the object of this uid can be the owner that the reference means: the kind fits, and it is cluster-scoped or
/// lives in the same namespace.
fn is_reachable(object: &Node, reference: &OwnerReference, owner: &Node) -> bool {
    owner.kind.kind == reference.kind
        && owner.kind.group == group_of(reference)
        && (!owner.kind.is_namespaced || owner.meta.namespace == object.meta.namespace)
}

fn group_of(reference: &OwnerReference) -> &str {
    reference.api_version.split_once('/').map_or("", |(group, _)| group)
}
