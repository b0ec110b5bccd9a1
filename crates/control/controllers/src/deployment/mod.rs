//! The Deployment controller: rolls `ReplicaSets` from one template to the next.

mod budget;
mod plan;
mod revision;
mod rolling;
mod scaling;
mod sets;
mod status;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use wkube_api::ObjectKey;
use wkube_base::{Clock, Tasks};
use wkube_client::{Api, Change, Client, Controller, Error, EventType, Kind, Lister, Next, Patch, Reconcile, Recorder};

use crate::Context;
use crate::common::{ObjectRef, children, perform, pods, selector};
use plan::{Action, Annotations, Observed, Scale};

struct Reconciler {
    deployments: Lister<Deployment>,
    sets: Lister<ReplicaSet>,
    pods: Lister<Pod>,
    recorder: Recorder,
    clock: Clock,
}

/// Starts the controller.
pub(crate) fn start(context: &Context, tasks: &Tasks) {
    let deployments = context.informers.lister::<Deployment>();
    let sets = children::lister::<ReplicaSet>(&context.informers);
    let pods = children::lister::<Pod>(&context.informers);
    let (may_adopt, owners, their_deployments) = (deployments.clone(), sets.clone(), deployments.clone());
    let reconciler = Reconciler {
        deployments: deployments.clone(),
        sets: sets.clone(),
        pods: pods.clone(),
        recorder: context.recorder("deployment-controller", tasks),
        clock: context.clock.clone(),
    };
    Controller::new(reconciler, &context.rng)
        .for_each(&deployments)
        .owned_by::<Deployment, ReplicaSet>(&sets)
        .watches(&sets, move |change| adopters(&may_adopt, change))
        .watches(&pods, move |change| waiting_for_end(&owners, &their_deployments, change))
        .start(&context.client, &context.clock, tasks);
}

/// Returns the Deployments that may adopt a set that nobody controls.
fn adopters(deployments: &Lister<Deployment>, change: &Change<ReplicaSet>) -> Vec<ObjectKey> {
    let set = change.object();
    if set.controller_owner().is_some() || matches!(change, Change::Deleted(_)) {
        return Vec::new();
    }
    let selects = |deployment: &Deployment| selector::of(&deployment.spec.selector).matches_owned(set.labels());
    deployments.matching(set.namespace(), selects).iter().map(|deployment| deployment.key()).collect()
}

/// Returns the `Recreate` Deployment that may have waited for this pod to end; others do not look at pods.
fn waiting_for_end(
    sets: &Lister<ReplicaSet>,
    deployments: &Lister<Deployment>,
    change: &Change<Pod>,
) -> Vec<ObjectKey> {
    let pod = change.object();
    if !matches!(change, Change::Deleted(_)) && !pods::is_terminal(pod) {
        return Vec::new();
    }
    let deployment = pod.controller_owner().and_then(|owner| {
        let set = sets.get(&ObjectKey::new(pod.namespace(), owner.name.as_str()))?;
        deployments.get(&ObjectKey::new(set.namespace(), set.controller_owner()?.name.as_str()))
    });
    deployment.filter(|deployment| is_recreate(deployment)).map(|deployment| deployment.key()).into_iter().collect()
}

fn is_recreate(deployment: &Deployment) -> bool {
    deployment.spec.strategy.as_ref().and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate")
}

impl Reconcile for Reconciler {
    fn name(&self) -> &'static str {
        "deployment"
    }

    async fn reconcile(&self, key: &ObjectKey, client: &Client) -> Result<Next, Error> {
        let Some(deployment) = self.deployments.get(key) else { return Ok(Next::Done) };
        let sets = children::of(deployment.as_ref(), &self.sets);
        let watched = sets.iter().filter(|_| is_recreate(&deployment));
        let pods: Vec<Arc<Pod>> = watched.flat_map(|set| self.pods.owned_by(set.uid())).collect();
        let plan = plan::plan(&Observed { deployment: &deployment, sets: &sets, pods: &pods, now: self.clock.now() });

        // Recording the revision writes the Deployment; its status then belongs to that newer version.
        let mut written = deployment.as_ref().clone();
        let mut status = plan.status;
        for action in plan.actions {
            self.perform(client, &mut written, &mut status, action).await?;
        }
        write_status(client, written, status).await?;
        Ok(plan.revisit_at.into())
    }
}

impl Reconciler {
    async fn perform(
        &self,
        client: &Client,
        deployment: &mut Deployment,
        status: &mut DeploymentStatus,
        action: Action,
    ) -> Result<(), Error> {
        match action {
            Action::Adopt(set) => perform::adopt::<_, ReplicaSet>(client, deployment, &set).await,
            Action::Release(set) => perform::release::<_, ReplicaSet>(client, deployment, &set).await,
            Action::Create(set) => self.create(client, deployment, status, &set).await,
            Action::Annotate(set, update) => annotate(client, deployment, &set, &update).await,
            Action::Scale(change) => self.scale(client, deployment, &change).await,
            Action::SetRevision(revision) => {
                let body = json!({ "metadata": { "annotations": { revision::REVISION: revision } } });
                *deployment = Api::new(client).patch(&deployment.key(), &Patch::Merge(body)).await?;
                Ok(())
            }
            Action::Forget(set) => {
                perform::delete::<ReplicaSet>(client, deployment.namespace(), &set).await?;
                Ok(())
            }
        }
    }

    /// Creates the set. If its name is taken by a set that is not the same, the template's hash has collided: the
    /// count in the status gives it another name next time.
    async fn create(
        &self,
        client: &Client,
        deployment: &Deployment,
        status: &mut DeploymentStatus,
        set: &ReplicaSet,
    ) -> Result<(), Error> {
        match Api::<ReplicaSet>::new(client).create(set).await {
            Ok(_) => {
                let (name, replicas) = (set.name(), sets::replicas(set));
                if replicas > 0 {
                    let message = format!("Scaled up replica set {name} from 0 to {replicas}");
                    self.recorder.event(deployment, EventType::Normal, "ScalingReplicaSet", message);
                }
                Ok(())
            }
            Err(error) if error.is_already_exists() => {
                let Some(known) = Api::<ReplicaSet>::new(client).find(&set.key()).await? else { return Err(error) };
                if sets::is_same(&known, set) {
                    return Ok(());
                }
                // The old conditions: nothing was created.
                *status = deployment.status.clone().unwrap_or_default();
                status.collision_count = Some(status.collision_count.unwrap_or_default() + 1);
                Ok(())
            }
            Err(error) if perform::is_namespace_terminating(&error) => Ok(()),
            Err(error) => {
                let message = format!("Failed to create new replica set {:?}: {error}", set.name());
                self.recorder.event(deployment, EventType::Warning, "ReplicaSetCreateError", message);
                Err(error)
            }
        }
    }

    async fn scale(&self, client: &Client, deployment: &Deployment, change: &Scale) -> Result<(), Error> {
        let Scale { set, from, to, desired, max } = change;
        let annotations = json!({
            revision::DESIRED_REPLICAS: desired.to_string(),
            revision::MAX_REPLICAS: max.to_string(),
        });
        let body = json!({ "metadata": { "uid": set.uid, "annotations": annotations }, "spec": { "replicas": to } });
        let key = ObjectKey::new(deployment.namespace(), set.name.as_str());
        Api::<ReplicaSet>::new(client).patch(&key, &Patch::Merge(body)).await?;
        if from != to {
            let direction = if to > from { "up" } else { "down" };
            let message = format!("Scaled {direction} replica set {set} from {from} to {to}");
            self.recorder.event(deployment, EventType::Normal, "ScalingReplicaSet", message);
        }
        Ok(())
    }
}

async fn annotate(client: &Client, owner: &Deployment, set: &ObjectRef, update: &Annotations) -> Result<(), Error> {
    let body = json!({
        "metadata": { "uid": set.uid, "annotations": update.annotations },
        "spec": { "minReadySeconds": update.min_ready_seconds },
    });
    let key = ObjectKey::new(owner.namespace(), set.name.as_str());
    Api::<ReplicaSet>::new(client).patch(&key, &Patch::Merge(body)).await?;
    Ok(())
}

async fn write_status(client: &Client, deployment: Deployment, status: DeploymentStatus) -> Result<(), Error> {
    if deployment.status.as_ref() == Some(&status) {
        return Ok(());
    }
    let deployment = Deployment { status: Some(status), ..deployment };
    Api::<Deployment>::new(client).replace_status(&deployment).await?;
    Ok(())
}
