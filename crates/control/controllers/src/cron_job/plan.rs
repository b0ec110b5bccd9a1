//! Decides what one `CronJob` needs next (`pkg/controller/cronjob/cronjob_controllerv2.go`). No I/O, no clock, no
//! randomness.

use std::fmt;
use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::Resource as _;
use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, CronJobStatus, Job, JobCondition};
use k8s_openapi::api::core::v1::ObjectReference;
use wkube_api::cron::Schedule;

use super::SCHEDULED_AT;
use crate::common::{ObjectRef, meta};

/// More missed times than this are worth a warning: a clock is wrong, or a deadline is missing.
const MISSED_MAX: i64 = 100;

/// Everything the decision may look at.
pub(super) struct Observed<'a> {
    pub(super) cron_job: &'a CronJob,
    /// Every Job that it controls.
    pub(super) jobs: &'a [Arc<Job>],
    /// The zone of the schedule; `None` if nobody knows it.
    pub(super) zone: Option<&'a TimeZone>,
    pub(super) now: Timestamp,
}

/// What to do, in order, and what to report.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) notes: Vec<Note>,
    pub(super) actions: Vec<Action>,
    /// The Job to make, once the actions are done.
    pub(super) start: Option<Start>,
    /// Without the Job that is made now.
    pub(super) status: CronJobStatus,
    /// When the next Job is due.
    pub(super) revisit_at: Option<Timestamp>,
}

/// One step; each is safe alone and may be repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Deletes a Job that ended long ago.
    DeleteOld(ObjectRef),
    /// Deletes a Job that runs, because the next is due.
    Replace(ObjectRef),
}

/// The Job of one scheduled time. Its name is made of the time, so that the server lets only one be made.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Start {
    pub(super) name: String,
    pub(super) scheduled: Timestamp,
    pub(super) zone: TimeZone,
}

/// What people should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Note {
    /// A Job of ours has ended, with this condition.
    Completed(String, String),
    /// A Job that ran is gone.
    Missing(String),
    /// A Job that nobody scheduled has this `CronJob` as its owner.
    Unexpected(String),
    /// The schedule cannot be read.
    Unparseable(String),
    /// The zone is not in the database.
    UnknownZone(String),
    /// Too many times have passed.
    TooManyMissed,
    /// It is too late for this time.
    Missed(Timestamp),
    /// The last Job still runs.
    StillActive,
}

impl Note {
    /// Returns the event's reason.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Completed(..) => "SawCompletedJob",
            Self::Missing(_) => "MissingJob",
            Self::Unexpected(_) => "UnexpectedJob",
            Self::Unparseable(_) => "UnparseableSchedule",
            Self::UnknownZone(_) => "UnknownTimeZone",
            Self::TooManyMissed => "TooManyMissedTimes",
            Self::Missed(_) => "MissSchedule",
            Self::StillActive => "JobAlreadyActive",
        }
    }

    /// Whether somebody should do something.
    pub(super) fn is_warning(&self) -> bool {
        match self {
            Self::Completed(..) | Self::Missing(_) | Self::StillActive => false,
            Self::Unexpected(_)
            | Self::Unparseable(_)
            | Self::UnknownZone(_)
            | Self::TooManyMissed
            | Self::Missed(_) => true,
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Completed(job, condition) => write!(f, "Saw completed job: {job}, condition: {condition}"),
            Self::Missing(job) => write!(f, "Active job went missing: {job}"),
            Self::Unexpected(job) => {
                write!(f, "Saw a job that the controller did not create or forgot: {job}")
            }
            Self::Unparseable(why) => write!(f, "unparseable schedule: {why}"),
            Self::UnknownZone(zone) => write!(f, "invalid timeZone: {zone:?}: unknown time zone {zone}"),
            Self::TooManyMissed => f.write_str(
                "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew",
            ),
            Self::Missed(at) => {
                write!(f, "Missed scheduled time to start a job: {}", at.strftime("%a, %d %b %Y %H:%M:%S +0000"))
            }
            Self::StillActive => {
                f.write_str("Not starting job because prior execution is running and concurrency policy is Forbid")
            }
        }
    }
}

/// The Jobs, each in exactly one bucket, oldest first.
#[derive(Default)]
struct Buckets<'a> {
    active: Vec<&'a Job>,
    succeeded: Vec<&'a Job>,
    failed: Vec<&'a Job>,
    /// Running, made by hand.
    unexpected: Vec<&'a Job>,
}

/// Decides.
pub(super) fn plan(observed: &Observed<'_>) -> Plan {
    let buckets = classify(observed.jobs);
    let mut plan =
        Plan { notes: news(observed, &buckets), status: status(observed.cron_job, &buckets), ..Plan::default() };
    let spec = &observed.cron_job.spec;
    if meta::is_deleting(&observed.cron_job.metadata) {
        return plan;
    }
    plan.actions = expired(spec, &buckets);
    if spec.suspend != Some(true) {
        schedule(observed, spec, &buckets, &mut plan);
    }
    plan
}

fn classify(jobs: &[Arc<Job>]) -> Buckets<'_> {
    let mut sorted: Vec<&Job> = jobs.iter().map(Arc::as_ref).collect();
    sorted.sort_by_key(|job| (started_at(job), meta::name(&job.metadata)));
    let mut buckets = Buckets::default();
    for job in sorted {
        let is_ours = meta::annotation(&job.metadata, SCHEDULED_AT).is_some();
        match finished(job).map(|condition| condition.type_.as_str()) {
            Some("Complete") => buckets.succeeded.push(job),
            Some(_) => buckets.failed.push(job),
            None if is_ours => buckets.active.push(job),
            None => buckets.unexpected.push(job),
        }
    }
    buckets
}

/// Returns the condition with which a Job has ended.
fn finished(job: &Job) -> Option<&JobCondition> {
    let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().find(|one| matches!(one.type_.as_str(), "Complete" | "Failed") && one.status == "True")
}

fn started_at(job: &Job) -> Timestamp {
    let started = job.status.as_ref().and_then(|status| status.start_time.as_ref());
    started.map_or_else(|| meta::created_at(&job.metadata), |time| time.0)
}

/// Tells what became of the Jobs that the status still calls active.
fn news(observed: &Observed<'_>, buckets: &Buckets<'_>) -> Vec<Note> {
    let listed = active_of(observed.cron_job);
    let mut notes = Vec::new();
    for reference in listed {
        let name = reference.name.clone().unwrap_or_default();
        let job = observed.jobs.iter().find(|job| job.metadata.uid == reference.uid);
        match job.map(|job| finished(job)) {
            None => notes.push(Note::Missing(name)),
            Some(Some(condition)) => notes.push(Note::Completed(name, condition.type_.clone())),
            Some(None) => {}
        }
    }
    let unexpected = buckets.unexpected.iter().map(|job| meta::name(&job.metadata).to_owned());
    notes.extend(unexpected.map(Note::Unexpected));
    notes
}

fn active_of(cron_job: &CronJob) -> &[ObjectReference] {
    cron_job.status.as_ref().and_then(|status| status.active.as_deref()).unwrap_or_default()
}

fn status(cron_job: &CronJob, buckets: &Buckets<'_>) -> CronJobStatus {
    let old = cron_job.status.clone().unwrap_or_default();
    let reference = |job: &&Job| ObjectReference {
        api_version: Some(Job::API_VERSION.to_owned()),
        kind: Some(Job::KIND.to_owned()),
        name: job.metadata.name.clone(),
        namespace: job.metadata.namespace.clone(),
        uid: job.metadata.uid.clone(),
        // Kept from the first look: a version that follows every change of the Job would be a write loop.
        resource_version: active_of(cron_job)
            .iter()
            .find(|known| known.uid == job.metadata.uid)
            .map_or_else(|| job.metadata.resource_version.clone(), |known| known.resource_version.clone()),
        ..ObjectReference::default()
    };
    let active: Vec<_> = buckets.active.iter().map(reference).collect();
    let completed = |job: &&Job| job.status.as_ref()?.completion_time.clone();
    let succeeded = buckets.succeeded.iter().filter_map(completed).max_by_key(|time| time.0);
    // A Job that exists was scheduled, whatever the status had time to say.
    let scheduled = |job: &&Job| meta::annotation(&job.metadata, SCHEDULED_AT)?.parse::<Timestamp>().ok();
    let known =
        [&buckets.active, &buckets.succeeded, &buckets.failed].into_iter().flatten().filter_map(scheduled).max();
    CronJobStatus {
        active: (!active.is_empty()).then_some(active),
        last_schedule_time: later(old.last_schedule_time.map(|time| time.0), known).map(meta::time),
        last_successful_time: later(old.last_successful_time.map(|time| time.0), succeeded.map(|time| time.0))
            .map(meta::time),
    }
}

fn later(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.max(other)
}

/// Returns the Jobs that the history has no room for. A limit that is not given is no limit.
fn expired(spec: &CronJobSpec, buckets: &Buckets<'_>) -> Vec<Action> {
    let beyond = |jobs: &[&Job], limit: Option<i32>| {
        let kept = limit.map_or(jobs.len(), |limit| usize::try_from(limit).unwrap_or_default());
        let old = jobs.len().saturating_sub(kept);
        jobs[..old].iter().map(|job| Action::DeleteOld(ObjectRef::of(&job.metadata))).collect::<Vec<_>>()
    };
    let mut actions = beyond(&buckets.succeeded, spec.successful_jobs_history_limit);
    actions.extend(beyond(&buckets.failed, spec.failed_jobs_history_limit));
    actions
}

/// Decides whether a Job is due.
fn schedule(observed: &Observed<'_>, spec: &CronJobSpec, buckets: &Buckets<'_>, plan: &mut Plan) {
    let Some(zone) = observed.zone else {
        plan.notes.push(Note::UnknownZone(spec.time_zone.clone().unwrap_or_default()));
        return;
    };
    let times: Schedule = match spec.schedule.parse() {
        Ok(times) => times,
        Err(error) => {
            plan.notes.push(Note::Unparseable(error.to_string()));
            return;
        }
    };
    plan.revisit_at = times.next(observed.now, zone);
    let last = plan.status.last_schedule_time.as_ref().map(|time| time.0);
    let Some(missed) = latest_due(observed, spec, &times, zone, last) else { return };
    if missed.is_many {
        plan.notes.push(Note::TooManyMissed);
    }
    let deadline = spec.starting_deadline_seconds.map(|seconds| meta::after_seconds(missed.latest, seconds));
    if deadline.is_some_and(|deadline| deadline < observed.now) {
        plan.notes.push(Note::Missed(missed.latest));
        return;
    }
    if spec.concurrency_policy.as_deref() == Some("Forbid") && !buckets.active.is_empty() {
        plan.notes.push(Note::StillActive);
        return;
    }
    if spec.concurrency_policy.as_deref() == Some("Replace") {
        plan.actions.extend(buckets.active.iter().map(|job| Action::Replace(ObjectRef::of(&job.metadata))));
    }
    let minutes = missed.latest.as_second().div_euclid(60);
    let name = format!("{}-{minutes}", meta::name(&observed.cron_job.metadata));
    plan.start = Some(Start { name, scheduled: missed.latest, zone: zone.clone() });
}

/// Times that have come since the last Job.
struct Due {
    latest: Timestamp,
    is_many: bool,
}

/// Returns the latest time that has come and has no Job yet (`mostRecentScheduleTime`): those before it are lost.
fn latest_due(
    observed: &Observed<'_>,
    spec: &CronJobSpec,
    times: &Schedule,
    zone: &TimeZone,
    last: Option<Timestamp>,
) -> Option<Due> {
    let mut from = last.unwrap_or_else(|| meta::created_at(&observed.cron_job.metadata));
    if let Some(seconds) = spec.starting_deadline_seconds {
        // Nobody may start what is older; no need to count it.
        from = from.max(meta::after_seconds(observed.now, -seconds));
    }
    let first = times.next(from, zone).filter(|first| *first <= observed.now)?;
    let Some(second) = times.next(first, zone).filter(|second| *second <= observed.now) else {
        return Some(Due { latest: first, is_many: false });
    };
    // After a long sleep there may be millions: jump close to now, and walk the rest.
    let step = second.duration_since(first).as_secs().max(1);
    let count = observed.now.duration_since(first).as_secs() / step + 1;
    let near = observed.now.checked_sub(SignedDuration::from_secs(step.saturating_mul(2))).unwrap_or(first);
    let mut latest = second.max(times.next(near.max(second), zone).filter(|at| *at <= observed.now).unwrap_or(second));
    while let Some(next) = times.next(latest, zone).filter(|next| *next <= observed.now) {
        latest = next;
    }
    Some(Due { latest, is_many: count > MISSED_MAX })
}
