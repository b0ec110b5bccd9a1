//! The Job controller: pods that run to their end, counted exactly once.

mod finish;
mod indexes;
mod ledger;
mod plan;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use k8s_openapi::Resource as _;
use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::core::v1::{EnvVar, Pod};
use serde_json::json;
use wkube_api::ObjectKey;
use wkube_base::{Clock, Tasks};
use wkube_client::{
    Api, Change, Client, Controller, DeleteOptions, Error, EventType, Kind, Lister, Next, Patch, Propagation,
    Reconcile, Recorder,
};

use crate::Context;
use crate::common::{ObjectRef, children, meta, perform, pods, selector};
use ledger::TRACKING;
use plan::{Action, Observed, Surplus};

/// The index of pods that must be counted, by the namespace and name of their Job; it finds them when the Job is gone.
const BY_JOB: &str = "tracked-by-job";

const COMPLETION_INDEX: &str = "batch.kubernetes.io/job-completion-index";
const CONTROLLER_UID: &str = "batch.kubernetes.io/controller-uid";
const JOB_NAME: &str = "batch.kubernetes.io/job-name";

/// Returns how many indexes an Indexed Job has; `None` for other Jobs.
fn completions_indexed(job: &Job) -> Option<u32> {
    let spec = job.spec.as_ref().filter(|spec| spec.completion_mode.as_deref() == Some("Indexed"))?;
    Some(spec.completions.and_then(|completions| u32::try_from(completions).ok()).unwrap_or_default())
}

/// Returns the completion index of a pod.
fn pod_index(pod: &Pod) -> Option<u32> {
    meta::annotation(&pod.metadata, COMPLETION_INDEX)?.parse().ok()
}

/// Whether pods are replaced only after they have ended, not when they begin to.
fn replaces_only_failed(job: &Job) -> bool {
    let spec = job.spec.as_ref();
    let policy = spec.and_then(|spec| spec.pod_replacement_policy.as_deref());
    policy == Some("Failed") || (policy.is_none() && spec.is_some_and(|spec| spec.pod_failure_policy.is_some()))
}

struct Reconciler {
    jobs: Lister<Job>,
    pods: Lister<Pod>,
    recorder: Recorder,
    clock: Clock,
}

/// Starts the controller.
pub(crate) fn start(context: &Context, tasks: &Tasks) {
    let jobs = context.informers.lister::<Job>();
    context.informers.indexed(BY_JOB, |pod: &Pod| tracking_job(pod).map(|job| job.to_string()).into_iter().collect());
    let pods = children::lister::<Pod>(&context.informers);
    let reconciler = Reconciler {
        jobs: jobs.clone(),
        pods: pods.clone(),
        recorder: context.recorder("job-controller", tasks),
        clock: context.clock.clone(),
    };
    let may_adopt = jobs.clone();
    Controller::new(reconciler, &context.rng)
        .for_each(&jobs)
        .watches(&pods, jobs_of)
        .watches(&pods, move |change| adopters(&may_adopt, change))
        .start(&context.client, &context.clock, tasks);
}

/// Returns the Job that a pod belongs to, whether or not it still has to be counted, and the one that it belonged to.
fn jobs_of(change: &Change<Pod>) -> Vec<ObjectKey> {
    let job_of = |pod: &Pod| {
        let owner = pod.controller_owner()?;
        let is_job = owner.kind == Job::KIND && owner.api_version == Job::API_VERSION;
        is_job.then(|| ObjectKey::new(pod.namespace(), owner.name.as_str()))
    };
    let mut jobs: Vec<ObjectKey> =
        [Some(change.object()), change.before()].into_iter().flatten().filter_map(|pod| job_of(pod)).collect();
    jobs.dedup();
    jobs
}

/// Returns the Jobs that may adopt a pod that nobody controls.
fn adopters(jobs: &Lister<Job>, change: &Change<Pod>) -> Vec<ObjectKey> {
    let pod = change.object();
    if pod.controller_owner().is_some() || matches!(change, Change::Deleted(_)) {
        return Vec::new();
    }
    let selector = |job: &Job| job.spec.as_ref().and_then(|spec| spec.selector.as_ref()).map(selector::of);
    let selects = |job: &Job| selector(job).is_some_and(|selector| selector.matches_owned(pod.labels()));
    jobs.matching(pod.namespace(), selects).iter().map(|job| job.key()).collect()
}

fn tracking_job(pod: &Pod) -> Option<ObjectKey> {
    let owner = pod.controller_owner().filter(|owner| owner.kind == Job::KIND)?;
    meta::has_finalizer(&pod.metadata, TRACKING).then(|| ObjectKey::new(pod.namespace(), owner.name.as_str()))
}

impl Reconcile for Reconciler {
    fn name(&self) -> &'static str {
        "job"
    }

    async fn reconcile(&self, key: &ObjectKey, client: &Client) -> Result<Next, Error> {
        let Some(job) = self.jobs.get(key) else { return self.release_orphans(key, None, client).await };
        self.release_orphans(key, Some(job.uid()), client).await?;

        let pods = children::of(job.as_ref(), &self.pods);
        let plan = plan::plan(&Observed { job: &job, pods: &pods, now: self.clock.now() });
        self.perform(client, &job, plan.actions).await?;
        self.write_status(client, &job, plan.status).await?;
        release_all(client, key, plan.release).await?;
        Ok(plan.revisit_at.into())
    }
}

impl Reconciler {
    /// Lets go of the pods of a Job that is gone, or of an earlier one of the same name.
    async fn release_orphans(&self, key: &ObjectKey, uid: Option<&str>, client: &Client) -> Result<Next, Error> {
        let tracked = self.pods.by_index(BY_JOB, &key.to_string());
        let is_orphan = |pod: &&std::sync::Arc<Pod>| pod.controller_owner().map(|owner| owner.uid.as_str()) != uid;
        let orphans: Vec<ObjectRef> =
            tracked.iter().filter(is_orphan).map(|pod| ObjectRef::of(&pod.metadata)).collect();
        // The cache of Jobs may lag behind that of pods: only the server knows that a Job does not exist.
        if orphans.is_empty()
            || Api::<Job>::new(client).find(key).await?.map(|job| job.uid().to_owned()).as_deref() != uid
        {
            return Ok(Next::Done);
        }
        release_all(client, key, orphans).await?;
        Ok(Next::Done)
    }

    async fn perform(&self, client: &Client, job: &Job, actions: Vec<Action>) -> Result<(), Error> {
        let mut indexes = Vec::new();
        let mut deletions: Vec<BoxFuture<'_, Result<(), Error>>> = Vec::new();
        for action in actions {
            match action {
                // A pod of a Job is counted before it goes; one that is none any more is not.
                Action::Adopt(pod) => {
                    let tracked = json!({ "finalizers": [TRACKING] });
                    perform::adopt_with::<_, Pod>(client, job, &pod, tracked).await?;
                }
                Action::Release(pod) => {
                    let untracked = json!({ "$deleteFromPrimitiveList/finalizers": [TRACKING] });
                    perform::release_with::<_, Pod>(client, job, &pod, untracked).await?;
                }
                Action::Create(index) => indexes.push(index),
                Action::Delete(pod, why) => deletions.push(Box::pin(self.delete(client, job, pod, why))),
                Action::DeleteJob => {
                    let options =
                        DeleteOptions { propagation: Some(Propagation::Foreground), ..DeleteOptions::default() };
                    perform::delete_with::<Job>(client, job.namespace(), &ObjectRef::of(&job.metadata), options)
                        .await?;
                }
            }
        }
        perform::all_ok(deletions).await?;
        perform::slow_start(indexes, |index| self.create(client, job, index)).await
    }

    async fn delete(&self, client: &Client, job: &Job, pod: ObjectRef, why: Surplus) -> Result<(), Error> {
        match why {
            Surplus::Failed => {}
            // Without its finalizer the pod is not counted as a failure.
            Surplus::NotNeeded => release_one(client, &job.key(), &pod).await?,
        }
        if perform::delete::<Pod>(client, job.namespace(), &pod).await? {
            self.recorder.event(job, EventType::Normal, "SuccessfulDelete", format!("Deleted pod: {pod}"));
        }
        Ok(())
    }

    async fn create(&self, client: &Client, job: &Job, index: Option<u32>) -> Result<(), Error> {
        match Api::<Pod>::new(client).create(&build(job, index)).await {
            Ok(pod) => {
                let message = format!("Created pod: {}", pod.name());
                self.recorder.event(job, EventType::Normal, "SuccessfulCreate", message);
                Ok(())
            }
            Err(error) if perform::is_namespace_terminating(&error) => Ok(()),
            Err(error) => {
                self.recorder.event(job, EventType::Warning, "FailedCreate", format!("Error creating: {error}"));
                Err(error)
            }
        }
    }

    async fn write_status(&self, client: &Client, job: &Job, status: JobStatus) -> Result<(), Error> {
        if job.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let after = Job { status: Some(status), ..job.clone() };
        Api::<Job>::new(client).replace_status(&after).await?;
        self.announce(job, &after);
        Ok(())
    }

    /// Tells of every condition that has just become true, as Kubernetes does.
    fn announce(&self, before: &Job, after: &Job) {
        let turned = |kind| finish::find(before, kind).is_none() && finish::find(after, kind).is_some();
        if turned(finish::COMPLETE) {
            self.recorder.event(after, EventType::Normal, "Completed", "Job completed");
        }
        if turned(finish::SUSPENDED) {
            self.recorder.event(after, EventType::Normal, "Suspended", "Job suspended");
        }
        if finish::find(before, finish::SUSPENDED).is_some() && finish::find(after, finish::SUSPENDED).is_none() {
            self.recorder.event(after, EventType::Normal, "Resumed", "Job resumed");
        }
        if let Some(failed) = finish::find(after, finish::FAILED).filter(|_| turned(finish::FAILED)) {
            let reason = failed.reason.as_deref().unwrap_or("Failed");
            let message = failed.message.clone().unwrap_or_default();
            self.recorder.event(after, EventType::Warning, reason, message);
        }
    }
}

async fn release_all(client: &Client, job: &ObjectKey, pods: Vec<ObjectRef>) -> Result<(), Error> {
    let requests = pods.into_iter().map(|pod| Box::pin(async move { release_one(client, job, &pod).await }) as _);
    perform::all_ok(requests.collect()).await
}

/// Removes the finalizer from exactly this pod, if it still exists.
async fn release_one(client: &Client, job: &ObjectKey, pod: &ObjectRef) -> Result<(), Error> {
    let key = ObjectKey::new(job.namespace.as_str(), pod.name.as_str());
    let body = json!({ "metadata": { "uid": pod.uid, "$deleteFromPrimitiveList/finalizers": [TRACKING] } });
    match Api::<Pod>::new(client).patch(&key, &Patch::Strategic(body)).await {
        Ok(_) => Ok(()),
        // A conflict may be mere contention: the next look knows whether the pod is another one.
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes a pod of the Job, for an index if it has any.
fn build(job: &Job, index: Option<u32>) -> Pod {
    let template = job.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default();
    let prefix = match index {
        Some(index) => format!("{}-{index}-", job.name()),
        None => format!("{}-", job.name()),
    };
    let mut pod = pods::from_template(&template, job.namespace(), prefix, meta::controller_ref(job));
    pod.metadata.finalizers.get_or_insert_default().push(TRACKING.to_owned());
    let labels: &mut BTreeMap<String, String> = pod.metadata.labels.get_or_insert_default();
    labels.entry(CONTROLLER_UID.to_owned()).or_insert_with(|| job.uid().to_owned());
    labels.entry(JOB_NAME.to_owned()).or_insert_with(|| job.name().to_owned());
    if let Some(index) = index {
        labels.insert(COMPLETION_INDEX.to_owned(), index.to_string());
        pod.metadata.annotations.get_or_insert_default().insert(COMPLETION_INDEX.to_owned(), index.to_string());
        let spec = pod.spec.get_or_insert_default();
        spec.hostname = Some(format!("{}-{index}", job.name()));
        // Kubernetes takes the value from the pod's own label by the downward API; the guest sees the same.
        let variable =
            EnvVar { name: "JOB_COMPLETION_INDEX".to_owned(), value: Some(index.to_string()), ..EnvVar::default() };
        for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
            let env = container.env.get_or_insert_default();
            if !env.iter().any(|known| known.name == variable.name) {
                env.push(variable.clone());
            }
        }
    }
    pod
}
