//! The controller of `StatefulSets`: pods with numbers, each with a name and claims of its own.

mod claims;
mod identity;
mod plan;
mod status;

#[cfg(test)]
mod tests;

use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use serde_json::json;
use wkube_api::ObjectKey;
use wkube_base::{Clock, Tasks};
use wkube_client::{Api, Change, Client, Controller, Error, EventType, Kind, Lister, Next, Patch, Reconcile, Recorder};

use crate::Context;
use crate::common::history::{self, Noted};
use crate::common::{ObjectRef, children, perform, selector};
use claims::Claims;
use plan::{Action, Observed, Why};

struct Reconciler {
    sets: Lister<StatefulSet>,
    pods: Lister<Pod>,
    revisions: Lister<ControllerRevision>,
    claims: Lister<PersistentVolumeClaim>,
    recorder: Recorder,
    clock: Clock,
}

/// Starts the controller.
pub(crate) fn start(context: &Context, tasks: &Tasks) {
    let sets = context.informers.lister::<StatefulSet>();
    let pods = children::lister::<Pod>(&context.informers);
    let revisions = children::lister::<ControllerRevision>(&context.informers);
    let claims = context.informers.lister::<PersistentVolumeClaim>();
    let reconciler = Reconciler {
        sets: sets.clone(),
        pods: pods.clone(),
        revisions: revisions.clone(),
        claims: claims.clone(),
        recorder: context.recorder("statefulset-controller", tasks),
        clock: context.clock.clone(),
    };
    let (may_adopt, may_wait) = (sets.clone(), sets.clone());
    Controller::new(reconciler, &context.rng)
        .for_each(&sets)
        .owned_by::<StatefulSet, Pod>(&pods)
        .owned_by::<StatefulSet, ControllerRevision>(&revisions)
        .watches(&pods, move |change| adopters(&may_adopt, change))
        .watches(&claims, move |change| claimants(&may_wait, change))
        .start(&context.client, &context.clock, tasks);
}

/// Returns the sets that may adopt a pod that nobody controls.
fn adopters(sets: &Lister<StatefulSet>, change: &Change<Pod>) -> Vec<ObjectKey> {
    let pod = change.object();
    if pod.controller_owner().is_some() || matches!(change, Change::Deleted(_)) {
        return Vec::new();
    }
    let selects = |set: &StatefulSet| selector::of(&set.spec.selector).matches_owned(pod.labels());
    sets.matching(pod.namespace(), selects).iter().map(|set| set.key()).collect()
}

/// Returns the sets that may wait for a claim to go, or miss one that has gone.
fn claimants(sets: &Lister<StatefulSet>, change: &Change<PersistentVolumeClaim>) -> Vec<ObjectKey> {
    let Change::Deleted(claim) = change else { return Vec::new() };
    let is_from = |set: &StatefulSet| {
        let mut templates = set.spec.volume_claim_templates.iter().flatten();
        templates.any(|template| claim.name().starts_with(&format!("{}-{}-", template.name(), set.name())))
    };
    sets.matching(claim.namespace(), is_from).iter().map(|set| set.key()).collect()
}

impl Reconcile for Reconciler {
    fn name(&self) -> &'static str {
        "statefulset"
    }

    async fn reconcile(&self, key: &ObjectKey, client: &Client) -> Result<Next, Error> {
        let Some(set) = self.sets.get(key) else { return Ok(Next::Done) };
        let plan = plan::plan(&Observed {
            set: &set,
            pods: &children::of(set.as_ref(), &self.pods),
            revisions: &children::of(set.as_ref(), &self.revisions),
            claims: &self.claims_of(&set),
            now: self.clock.now(),
        });
        let mut status = plan.status;
        for step in plan.history {
            if history::perform(client, set.as_ref(), step).await? == Noted::Collided {
                status.collision_count = Some(status.collision_count.unwrap_or_default() + 1);
            }
        }
        let performed = self.perform(client, &set, plan.actions).await;
        write_status(client, &set, status).await?;
        performed?;
        Ok(plan.revisit_at.into())
    }
}

impl Reconciler {
    fn claims_of(&self, set: &StatefulSet) -> Claims {
        if set.spec.volume_claim_templates.as_ref().is_none_or(Vec::is_empty) {
            return Claims::new();
        }
        let claims = self.claims.in_namespace(set.namespace());
        claims.into_iter().map(|claim| (claim.name().to_owned(), claim)).collect()
    }

    /// Performs the actions one after the other: what failed for one number holds up those after it.
    async fn perform(&self, client: &Client, set: &StatefulSet, actions: Vec<Action>) -> Result<(), Error> {
        for action in actions {
            match action {
                Action::Adopt(pod) => perform::adopt::<_, Pod>(client, set, &pod).await?,
                Action::Release(pod) => perform::release::<_, Pod>(client, set, &pod).await?,
                Action::Claim(claim) => self.create(client, set, claim.as_ref(), "Claim").await?,
                Action::Create(pod) => self.create(client, set, pod.as_ref(), "Pod").await?,
                Action::Own(claim, owners) => {
                    let metadata = json!({ "ownerReferences": owners });
                    change::<PersistentVolumeClaim>(client, set, &claim, metadata).await?;
                }
                Action::Label(pod, ordinal) => {
                    let metadata = json!({ "labels": identity::labels(set, ordinal) });
                    change::<Pod>(client, set, &pod, metadata).await?;
                }
                Action::Delete(pod, why) => self.delete(client, set, &pod, why).await?,
            }
        }
        Ok(())
    }

    async fn create<K: Kind>(&self, client: &Client, set: &StatefulSet, object: &K, what: &str) -> Result<(), Error> {
        let about = format!("create {what} {} in StatefulSet {}", object.name(), set.name());
        match Api::<K>::new(client).create(object).await {
            Ok(_) => {
                self.recorder.event(set, EventType::Normal, "SuccessfulCreate", format!("{about} successful"));
                Ok(())
            }
            Err(error) if perform::is_namespace_terminating(&error) => Ok(()),
            Err(error) => {
                let message = format!("{about} failed error: {error}");
                self.recorder.event(set, EventType::Warning, "FailedCreate", message);
                Err(error)
            }
        }
    }

    async fn delete(&self, client: &Client, set: &StatefulSet, pod: &ObjectRef, why: Why) -> Result<(), Error> {
        match why {
            Why::Ended => {
                let message =
                    format!("StatefulSet {}/{} is recreating terminated Pod {pod}", set.namespace(), set.name());
                self.recorder.event(set, EventType::Normal, "RecreatingTerminatedPod", message);
            }
            Why::Surplus | Why::Outdated => {}
        }
        if perform::delete::<Pod>(client, set.namespace(), pod).await? {
            let message = format!("delete Pod {pod} in StatefulSet {} successful", set.name());
            self.recorder.event(set, EventType::Normal, "SuccessfulDelete", message);
        }
        Ok(())
    }
}

/// Changes the metadata of exactly this object; one that is gone needs no change.
async fn change<K: Kind>(
    client: &Client,
    set: &StatefulSet,
    object: &ObjectRef,
    mut metadata: serde_json::Value,
) -> Result<(), Error> {
    metadata["uid"] = json!(object.uid);
    let key = ObjectKey::new(set.namespace(), object.name.as_str());
    match Api::<K>::new(client).patch(&key, &Patch::Merge(json!({ "metadata": metadata }))).await {
        Err(error) if !error.is_not_found() => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

async fn write_status(client: &Client, set: &StatefulSet, status: StatefulSetStatus) -> Result<(), Error> {
    if set.status.as_ref() == Some(&status) {
        return Ok(());
    }
    Api::<StatefulSet>::new(client).replace_status(&StatefulSet { status: Some(status), ..set.clone() }).await?;
    Ok(())
}
