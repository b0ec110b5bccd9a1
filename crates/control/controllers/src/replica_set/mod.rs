//! The controllers of `ReplicaSets` and of their ancestors, `ReplicationControllers`: as many pods as asked for.

mod plan;
mod replicated;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use futures::future::BoxFuture;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use wkube_api::ObjectKey;
use wkube_base::{Clock, Tasks};
use wkube_client::{Api, Change, Client, Controller, Error, EventType, Kind, Lister, Next, Reconcile, Recorder};

use crate::Context;
use crate::common::{children, meta, perform, pods, selector};
use plan::{Action, Failure, Observed};
use replicated::Replicated;

struct Reconciler<S: Replicated> {
    sets: Lister<S>,
    pods: Lister<Pod>,
    recorder: Recorder,
    clock: Clock,
}

/// Starts the controller of `ReplicaSets`.
pub(crate) fn start(context: &Context, tasks: &Tasks) {
    start_for::<ReplicaSet>(context, tasks);
}

/// Starts the controller of `ReplicationControllers`.
pub(crate) fn start_replication(context: &Context, tasks: &Tasks) {
    start_for::<ReplicationController>(context, tasks);
}

fn start_for<S: Replicated>(context: &Context, tasks: &Tasks) {
    let sets = children::lister::<S>(&context.informers);
    let pods = children::lister::<Pod>(&context.informers);
    let may_adopt = sets.clone();
    let reconciler = Reconciler {
        sets: sets.clone(),
        pods: pods.clone(),
        recorder: context.recorder(S::COMPONENT, tasks),
        clock: context.clock.clone(),
    };
    Controller::new(reconciler, &context.rng)
        .for_each(&sets)
        .owned_by::<S, Pod>(&pods)
        .watches(&pods, move |change| adopters(&may_adopt, change))
        .start(&context.client, &context.clock, tasks);
}

/// Returns the sets that may adopt a pod that nobody controls.
fn adopters<S: Replicated>(sets: &Lister<S>, change: &Change<Pod>) -> Vec<ObjectKey> {
    let pod = change.object();
    if pod.controller_owner().is_some() || matches!(change, Change::Deleted(_)) {
        return Vec::new();
    }
    let selects = |set: &S| selector::of(&set.as_set().spec.selector).matches_owned(pod.labels());
    sets.matching(pod.namespace(), selects).iter().map(|set| set.key()).collect()
}

impl<S: Replicated> Reconcile for Reconciler<S> {
    fn name(&self) -> &'static str {
        S::CONTROLLER
    }

    async fn reconcile(&self, key: &ObjectKey, client: &Client) -> Result<Next, Error> {
        let Some(set) = self.sets.get(key) else { return Ok(Next::Done) };
        let now = self.clock.now();
        let children = children::of(set.as_ref(), &self.pods);
        let observed = Observed { set: &set.as_set(), pods: &children, related: &self.related(&set), now };
        let plan = plan::plan(&observed);

        let performed = self.perform(client, &set, plan.actions).await;
        let failure = performed.as_ref().err().and_then(|(failure, _)| failure.as_ref());
        let status = plan::status_after(plan.status, failure, now);
        write_status(client, set.as_ref(), status).await?;
        match performed {
            Ok(()) => Ok(plan.revisit_at.into()),
            Err((_, error)) => Err(error),
        }
    }
}

impl<S: Replicated> Reconciler<S> {
    /// Returns the pods of all sets with the same controller.
    fn related(&self, set: &S) -> Vec<Arc<Pod>> {
        let Some(controller) = set.controller_owner() else { return self.pods.owned_by(set.uid()) };
        let siblings = self.sets.owned_by(&controller.uid);
        siblings.iter().flat_map(|sibling| self.pods.owned_by(sibling.uid())).collect()
    }

    /// Performs the actions in order; deletions all at once, as they are many.
    async fn perform(&self, client: &Client, set: &S, actions: Vec<Action>) -> Result<(), (Option<Failure>, Error)> {
        let mut deletions: Vec<BoxFuture<'_, Result<(), Error>>> = Vec::new();
        for action in actions {
            match action {
                Action::Adopt(pod) => {
                    perform::adopt::<_, Pod>(client, set, &pod).await.map_err(|error| (None, error))?;
                }
                Action::Release(pod) => {
                    perform::release::<_, Pod>(client, set, &pod).await.map_err(|error| (None, error))?;
                }
                Action::Create(count) => {
                    let created = perform::slow_start(vec![(); count], |()| self.create(client, set)).await;
                    created.map_err(|error| (Some(Failure::Create(error.to_string())), error))?;
                }
                Action::Delete(pod) => deletions.push(Box::pin(async move {
                    if perform::delete::<Pod>(client, set.namespace(), &pod).await? {
                        let message = format!("Deleted pod: {pod}");
                        self.recorder.event(set, EventType::Normal, "SuccessfulDelete", message);
                    }
                    Ok(())
                })),
            }
        }
        let deleted = perform::all_ok(deletions).await;
        deleted.map_err(|error| (Some(Failure::Delete(error.to_string())), error))
    }

    async fn create(&self, client: &Client, set: &S) -> Result<(), Error> {
        let template = set.as_set().spec.template.clone().unwrap_or_default();
        let prefix = format!("{}-", set.name());
        let pod = pods::from_template(&template, set.namespace(), prefix, meta::controller_ref(set));
        match Api::<Pod>::new(client).create(&pod).await {
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
}

async fn write_status<S: Replicated>(client: &Client, set: &S, status: ReplicaSetStatus) -> Result<(), Error> {
    if set.as_set().status.as_ref() == Some(&status) {
        return Ok(());
    }
    Api::<S>::new(client).replace_status(&set.with_status(status)).await?;
    Ok(())
}
