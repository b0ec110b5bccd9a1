//! The `CronJob` controller: Jobs by the clock, each scheduled time at most once.

mod plan;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use k8s_openapi::api::batch::v1::{CronJob, CronJobStatus, Job};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use wkube_api::{ObjectKey, cron};
use wkube_base::{Clock, Tasks};
use wkube_client::{
    Api, Client, Controller, DeleteOptions, Error, EventType, Kind, Lister, Next, Propagation, Reconcile, Recorder,
};

use crate::Context;
use crate::common::{meta, perform};
use plan::{Action, Note, Observed, Start};

/// Says which scheduled time a Job is for; Jobs of this owner without it were made by hand.
const SCHEDULED_AT: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

struct Reconciler {
    cron_jobs: Lister<CronJob>,
    jobs: Lister<Job>,
    recorder: Recorder,
    clock: Clock,
}

/// Starts the controller.
pub(crate) fn start(context: &Context, tasks: &Tasks) {
    let cron_jobs = context.informers.lister::<CronJob>();
    let jobs = context.informers.lister::<Job>();
    let reconciler = Reconciler {
        cron_jobs: cron_jobs.clone(),
        jobs: jobs.clone(),
        recorder: context.recorder("cronjob-controller", tasks),
        clock: context.clock.clone(),
    };
    Controller::new(reconciler, &context.rng).for_each(&cron_jobs).owned_by::<CronJob, Job>(&jobs).start(
        &context.client,
        &context.clock,
        tasks,
    );
}

impl Reconcile for Reconciler {
    fn name(&self) -> &'static str {
        "cronjob"
    }

    async fn reconcile(&self, key: &ObjectKey, client: &Client) -> Result<Next, Error> {
        let Some(cron_job) = self.cron_jobs.get(key) else { return Ok(Next::Done) };
        let jobs = self.jobs.owned_by(cron_job.uid());
        let zone = zone(&cron_job);
        let observed = Observed { cron_job: &cron_job, jobs: &jobs, zone: zone.as_ref(), now: self.clock.now() };
        let plan = plan::plan(&observed);
        for note in &plan.notes {
            self.tell(&cron_job, note);
        }
        for action in plan.actions {
            self.delete(client, &cron_job, action).await?;
        }
        let mut status = plan.status;
        if let Some(start) = plan.start {
            let at = start.scheduled;
            if self.create(client, &cron_job, start).await? {
                status.last_schedule_time = Some(meta::time(at));
            }
        }
        write_status(client, &cron_job, status).await?;
        Ok(plan.revisit_at.into())
    }
}

impl Reconciler {
    fn tell(&self, cron_job: &CronJob, note: &Note) {
        let kind = if note.is_warning() { EventType::Warning } else { EventType::Normal };
        self.recorder.event(cron_job, kind, note.reason(), note.to_string());
    }

    async fn delete(&self, client: &Client, cron_job: &CronJob, action: Action) -> Result<(), Error> {
        let (Action::DeleteOld(job) | Action::Replace(job)) = action;
        let options = DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
        if perform::delete_with::<Job>(client, cron_job.namespace(), &job, options).await? {
            self.recorder.event(cron_job, EventType::Normal, "SuccessfulDelete", format!("Deleted job {job}"));
        }
        Ok(())
    }

    /// Creates the Job of one scheduled time; `false` if it could not be and must not be tried again.
    async fn create(&self, client: &Client, cron_job: &CronJob, start: Start) -> Result<bool, Error> {
        let job = build(cron_job, &start);
        match Api::<Job>::new(client).create(&job).await {
            Ok(job) => {
                let message = format!("Created job {}", job.name());
                self.recorder.event(cron_job, EventType::Normal, "SuccessfulCreate", message);
                Ok(true)
            }
            // Made before, by a controller that did not live to write it down.
            Err(error) if error.is_already_exists() => Ok(true),
            Err(error) if perform::is_namespace_terminating(&error) => Ok(false),
            Err(error) => {
                let message = format!("Error creating job: {error}");
                self.recorder.event(cron_job, EventType::Warning, "FailedCreate", message);
                Err(error)
            }
        }
    }
}

/// Returns the zone of the schedule, UTC unless named; `None` if nobody knows it.
fn zone(cron_job: &CronJob) -> Option<TimeZone> {
    match cron_job.spec.time_zone.as_deref() {
        Some(name) if !name.is_empty() => cron::zone(name),
        _ => Some(TimeZone::UTC),
    }
}

/// Makes the Job of one scheduled time (`getJobFromTemplate2`).
fn build(cron_job: &CronJob, start: &Start) -> Job {
    let template = cron_job.spec.job_template.clone();
    let given = template.metadata.unwrap_or_default();
    let mut annotations: BTreeMap<String, String> = given.annotations.unwrap_or_default();
    annotations.insert(SCHEDULED_AT.to_owned(), shown(start.scheduled, &start.zone));
    Job {
        metadata: ObjectMeta {
            name: Some(start.name.clone()),
            namespace: Some(cron_job.namespace().to_owned()),
            labels: given.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![meta::controller_ref(cron_job)]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    }
}

/// Writes a time as RFC 3339, as the zone's clock shows it.
fn shown(at: Timestamp, zone: &TimeZone) -> String {
    let offset = zone.to_offset(at);
    if offset.seconds() == 0 { at.to_string() } else { at.display_with_offset(offset).to_string() }
}

async fn write_status(client: &Client, cron_job: &CronJob, status: CronJobStatus) -> Result<(), Error> {
    if cron_job.status.as_ref() == Some(&status) {
        return Ok(());
    }
    let after = CronJob { status: Some(status), ..cron_job.clone() };
    Api::<CronJob>::new(client).replace_status(&after).await?;
    Ok(())
}
