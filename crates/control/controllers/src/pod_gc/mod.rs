//! The pod garbage collector: sweeps pods that no node will ever report on again.

mod plan;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use parking_lot::Mutex;
use serde_json::json;
use wkube_api::ObjectKey;
use wkube_base::{Clock, Tasks};
use wkube_client::{Api, Client, Controller, DeleteOptions, Error, Lister, Next, Patch, Reconcile};

use crate::Context;
use crate::common::{meta, perform, pods};
use plan::{Action, Observed, TERMINATED_MAX, Why};

/// How often the sweep runs (`gcCheckPeriod`).
const PERIOD: Duration = Duration::from_secs(20);
/// How long a node must have been missing, in seconds: a restored backup or a new cache may show it late.
const QUARANTINE: i64 = 40;

struct Sweeper {
    pods: Lister<Pod>,
    nodes: Lister<Node>,
    clock: Clock,
    /// Since when each missing node has been missed.
    missed: Mutex<BTreeMap<String, Timestamp>>,
}

/// Starts the controller. It has one key: the whole cluster.
pub(crate) fn start(context: &Context, tasks: &Tasks) {
    let pods = context.informers.lister::<Pod>();
    let nodes = context.informers.lister::<Node>();
    let reconciler =
        Sweeper { pods: pods.clone(), nodes: nodes.clone(), clock: context.clock.clone(), missed: Mutex::default() };
    let handle = Controller::new(reconciler, &context.rng).reads(&pods).reads(&nodes).start(
        &context.client,
        &context.clock,
        tasks,
    );
    handle.trigger(ObjectKey::default());
}

impl Reconcile for Sweeper {
    fn name(&self) -> &'static str {
        "podgc"
    }

    async fn reconcile(&self, _key: &ObjectKey, client: &Client) -> Result<Next, Error> {
        let pods = self.pods.all();
        let gone = self.gone_nodes(&pods, client).await?;
        let is_gone = |node: &str| gone.contains(&node.to_owned());
        let actions = plan::plan(&Observed { pods: &pods, is_gone: &is_gone, terminated_max: TERMINATED_MAX });
        let requests = actions.into_iter().map(|action| Box::pin(sweep(client, action)) as _);
        perform::all_ok(requests.collect()).await?;
        Ok(Next::After(PERIOD))
    }
}

impl Sweeper {
    /// Returns the nodes that pods name, that have been missing for the whole quarantine, and that the server does not
    /// know either.
    async fn gone_nodes(&self, pods: &[Arc<Pod>], client: &Client) -> Result<Vec<String>, Error> {
        let now = self.clock.now();
        let mut names: Vec<&str> = pods.iter().filter_map(|pod| pods::node_name(pod)).collect();
        names.sort_unstable();
        names.dedup();
        names.retain(|name| self.nodes.get(&ObjectKey::cluster(*name)).is_none());
        let suspects: Vec<String> = {
            let mut missed = self.missed.lock();
            missed.retain(|name, _| names.contains(&name.as_str()));
            for name in names {
                missed.entry(name.to_owned()).or_insert(now);
            }
            let over = missed.iter().filter(|(_, since)| meta::after_seconds(**since, QUARANTINE) <= now);
            over.map(|(name, _)| name.clone()).collect()
        };
        let mut gone = Vec::new();
        for name in suspects {
            if Api::<Node>::new(client).find(&ObjectKey::cluster(name.as_str())).await?.is_none() {
                gone.push(name);
            }
        }
        Ok(gone)
    }
}

/// Deletes a pod at once; one that has not ended is reported as failed first, so that its Job or its user learns of it.
async fn sweep(client: &Client, action: Action) -> Result<(), Error> {
    let key = ObjectKey::new(action.namespace.as_str(), action.pod.name.as_str());
    if action.why == Why::NodeIsGone {
        let condition = json!({
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "DeletionByPodGC",
            "message": "PodGC: node no longer exists",
        });
        let body = json!({ "metadata": { "uid": action.pod.uid }, "status": { "phase": "Failed", "conditions": [condition] } });
        match Api::<Pod>::new(client).patch_status(&key, &Patch::Strategic(body)).await {
            Ok(_) => {}
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    let options = DeleteOptions::default().grace(0);
    perform::delete_with::<Pod>(client, key.namespace.as_str(), &action.pod, options).await?;
    Ok(())
}
