//! The controller of `DaemonSets`: one pod on every node that should have one.

mod nodes;
mod plan;
mod retries;
mod rolling;
mod status;

#[cfg(test)]
mod tests;

use futures::future::BoxFuture;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod};
use parking_lot::Mutex;
use wkube_api::ObjectKey;
use wkube_base::{Clock, Tasks};
use wkube_client::{Api, Change, Client, Controller, Error, EventType, Kind, Lister, Next, Reconcile, Recorder};

use crate::Context;
use crate::common::history::{self, Noted, Step};
use crate::common::{ObjectRef, children, perform, selector};
use plan::{Action, Observed, Why};
use retries::Retries;

struct Reconciler {
    sets: Lister<DaemonSet>,
    pods: Lister<Pod>,
    revisions: Lister<ControllerRevision>,
    nodes: Lister<Node>,
    retries: Mutex<Retries>,
    recorder: Recorder,
    clock: Clock,
}

/// Starts the controller.
pub(crate) fn start(context: &Context, tasks: &Tasks) {
    let sets = context.informers.lister::<DaemonSet>();
    let pods = children::lister::<Pod>(&context.informers);
    let revisions = children::lister::<ControllerRevision>(&context.informers);
    let nodes = context.informers.lister::<Node>();
    let reconciler = Reconciler {
        sets: sets.clone(),
        pods: pods.clone(),
        revisions: revisions.clone(),
        nodes: nodes.clone(),
        retries: Mutex::default(),
        recorder: context.recorder("daemonset-controller", tasks),
        clock: context.clock.clone(),
    };
    let (may_adopt, may_move) = (sets.clone(), sets.clone());
    Controller::new(reconciler, &context.rng)
        .for_each(&sets)
        .owned_by::<DaemonSet, Pod>(&pods)
        .owned_by::<DaemonSet, ControllerRevision>(&revisions)
        .watches(&pods, move |change| adopters(&may_adopt, change))
        .watches(&nodes, move |change| if may_move_daemons(change) { keys(&may_move) } else { Vec::new() })
        .start(&context.client, &context.clock, tasks);
}

/// Returns the sets that may adopt a pod that nobody controls.
fn adopters(sets: &Lister<DaemonSet>, change: &Change<Pod>) -> Vec<ObjectKey> {
    let pod = change.object();
    if pod.controller_owner().is_some() || matches!(change, Change::Deleted(_)) {
        return Vec::new();
    }
    let selects = |set: &DaemonSet| selector::of(&set.spec.selector).matches_owned(pod.labels());
    sets.matching(pod.namespace(), selects).iter().map(|set| set.key()).collect()
}

fn keys(sets: &Lister<DaemonSet>) -> Vec<ObjectKey> {
    sets.all().iter().map(|set| set.key()).collect()
}

/// Whether daemons may have to come or go; heartbeats move nobody.
fn may_move_daemons(change: &Change<Node>) -> bool {
    let taints = |node: &Node| node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    match change {
        Change::Applied { now, before: Some(before) } => {
            now.labels() != before.labels() || taints(now) != taints(before)
        }
        Change::Applied { before: None, .. } | Change::Deleted(_) => true,
    }
}

impl Reconcile for Reconciler {
    fn name(&self) -> &'static str {
        "daemonset"
    }

    async fn reconcile(&self, key: &ObjectKey, client: &Client) -> Result<Next, Error> {
        let Some(set) = self.sets.get(key) else { return Ok(Next::Done) };
        let now = self.clock.now();
        let retry_at = self.retries.lock().waits(set.uid(), now);
        let plan = plan::plan(&Observed {
            set: &set,
            pods: &children::of(set.as_ref(), &self.pods),
            revisions: &children::of(set.as_ref(), &self.revisions),
            nodes: &self.nodes.all(),
            retry_at: &retry_at,
            now,
        });
        let mut status = plan.status;
        keep_history(client, &set, plan.history, &mut status).await?;
        let performed = self.perform(client, &set, plan.actions, &plan.hash).await;
        write_status(client, &set, status).await?;
        performed?;
        Ok(plan.revisit_at.into())
    }
}

async fn keep_history(
    client: &Client,
    set: &DaemonSet,
    steps: Vec<Step>,
    status: &mut DaemonSetStatus,
) -> Result<(), Error> {
    for step in steps {
        if history::perform(client, set, step).await? == Noted::Collided {
            status.collision_count = Some(status.collision_count.unwrap_or_default() + 1);
        }
    }
    Ok(())
}

impl Reconciler {
    async fn perform(&self, client: &Client, set: &DaemonSet, actions: Vec<Action>, hash: &str) -> Result<(), Error> {
        let mut nodes = Vec::new();
        let mut deletions: Vec<BoxFuture<'_, Result<(), Error>>> = Vec::new();
        for action in actions {
            match action {
                Action::Adopt(pod) => perform::adopt::<_, Pod>(client, set, &pod).await?,
                Action::Release(pod) => perform::release::<_, Pod>(client, set, &pod).await?,
                Action::Create(node) => nodes.push(node),
                Action::Delete(pod, why) => deletions.push(Box::pin(self.delete(client, set, pod, why))),
            }
        }
        let created = perform::slow_start(nodes, |node| self.create(client, set, node, hash)).await;
        perform::all_ok(deletions).await?;
        created
    }

    async fn create(&self, client: &Client, set: &DaemonSet, node: String, hash: &str) -> Result<(), Error> {
        match Api::<Pod>::new(client).create(&nodes::build(set, &node, hash)).await {
            Ok(pod) => {
                let message = format!("Created pod: {}", pod.name());
                self.recorder.event(set, EventType::Normal, "SuccessfulCreate", message);
                Ok(())
            }
            Err(error) if perform::is_namespace_terminating(&error) => Ok(()),
            Err(error) => {
                self.recorder.event(set, EventType::Warning, "FailedCreate", format!("Error creating: {error}"));
                Err(error)
            }
        }
    }

    async fn delete(&self, client: &Client, set: &DaemonSet, pod: ObjectRef, why: Why) -> Result<(), Error> {
        let place = format!("daemon pod {}/{pod} on node", set.namespace());
        match why {
            Why::Failed(node) => {
                self.retries.lock().note(set.uid(), &node, self.clock.now());
                let message = format!("Found failed {place} {node}, will try to kill it");
                self.recorder.event(set, EventType::Warning, "FailedDaemonPod", message);
            }
            Why::Succeeded(node) => {
                let message = format!("Found succeeded {place} {node}, will try to delete it");
                self.recorder.event(set, EventType::Normal, "SucceededDaemonPod", message);
            }
            Why::Twin | Why::Misplaced | Why::Outdated => {}
        }
        if perform::delete::<Pod>(client, set.namespace(), &pod).await? {
            self.recorder.event(set, EventType::Normal, "SuccessfulDelete", format!("Deleted pod: {pod}"));
        }
        Ok(())
    }
}

async fn write_status(client: &Client, set: &DaemonSet, status: DaemonSetStatus) -> Result<(), Error> {
    if set.status.as_ref() == Some(&status) {
        return Ok(());
    }
    Api::<DaemonSet>::new(client).replace_status(&DaemonSet { status: Some(status), ..set.clone() }).await?;
    Ok(())
}
