//! How a Job ends: its conditions, and the reasons for which it fails.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition};
use k8s_openapi::api::core::v1::Pod;

use super::ledger::Ledger;
use crate::common::meta;

/// The limit that `backoffLimit` has when it is left out.
const BACKOFF_LIMIT_DEFAULT: i32 = 6;

/// The Job has failed, but pods still run.
pub(super) const FAILURE_TARGET: &str = "FailureTarget";
/// The Job has succeeded, but pods are still ending.
pub(super) const SUCCESS_CRITERIA_MET: &str = "SuccessCriteriaMet";
/// The Job has failed, and nothing of it runs any more.
pub(super) const FAILED: &str = "Failed";
/// The Job has succeeded, and nothing of it runs any more.
pub(super) const COMPLETE: &str = "Complete";
/// The Job may not run pods.
pub(super) const SUSPENDED: &str = "Suspended";

/// Why a Job ends or waits, in the words of its conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) reason: String,
    pub(super) message: String,
}

impl Verdict {
    pub(super) fn new(reason: &str, message: &str) -> Self {
        Self { reason: reason.to_owned(), message: message.to_owned() }
    }
}

/// Returns why the Job has failed; once it has, it stays so.
pub(super) fn failure(job: &Job, ledger: &Ledger, pods: &[&Pod], now: Timestamp) -> Option<Verdict> {
    if let Some(target) = find(job, FAILURE_TARGET) {
        return Some(Verdict {
            reason: target.reason.clone().unwrap_or_default(),
            message: target.message.clone().unwrap_or_default(),
        });
    }
    let limit = job.spec.as_ref().and_then(|spec| spec.backoff_limit).unwrap_or(BACKOFF_LIMIT_DEFAULT);
    if ledger.failed() > limit || has_restarted_too_often(job, pods, limit) {
        return Some(Verdict::new("BackoffLimitExceeded", "Job has reached the specified backoff limit"));
    }
    if deadline(job).is_some_and(|deadline| deadline <= now) {
        return Some(Verdict::new("DeadlineExceeded", "Job was active longer than specified deadline"));
    }
    None
}

/// Returns when the Job has been active for too long; a suspended Job is not active.
pub(super) fn deadline(job: &Job) -> Option<Timestamp> {
    let spec = job.spec.as_ref()?;
    if spec.suspend == Some(true) {
        return None;
    }
    let started = job.status.as_ref()?.start_time.as_ref()?.0;
    Some(meta::after_seconds(started, spec.active_deadline_seconds?))
}

/// Returns when the Job ended, if it has.
pub(super) fn ended_at(job: &Job) -> Option<Timestamp> {
    let ended = find(job, COMPLETE).or_else(|| find(job, FAILED))?;
    Some(ended.last_transition_time.as_ref().map_or_else(|| meta::created_at(&job.metadata), |time| time.0))
}

/// Returns the condition if it is true.
pub(super) fn find<'a>(job: &'a Job, kind: &str) -> Option<&'a JobCondition> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == kind && condition.status == "True")
}

/// Sets a condition; one that says the same already stays as it is.
pub(super) fn set(conditions: &mut Vec<JobCondition>, kind: &str, status: &str, verdict: Verdict, now: Timestamp) {
    let known = conditions.iter().position(|condition| condition.type_ == kind);
    if let Some(index) = known
        && conditions[index].status == status
        && conditions[index].reason.as_deref() == Some(verdict.reason.as_str())
    {
        return;
    }
    let made = JobCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(verdict.reason),
        message: Some(verdict.message),
        last_probe_time: Some(meta::time(now)),
        last_transition_time: Some(meta::time(now)),
    };
    match known {
        Some(index) => conditions[index] = made,
        None => conditions.push(made),
    }
}

/// With `restartPolicy: OnFailure` containers restart in their pods, and those restarts count instead of pods
/// (`pastBackoffLimitOnFailure`).
fn has_restarted_too_often(job: &Job, pods: &[&Pod], limit: i32) -> bool {
    let template = job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    if template.and_then(|template| template.restart_policy.as_deref()) != Some("OnFailure") {
        return false;
    }
    let alive = pods.iter().filter(|pod| !crate::common::pods::is_terminal(pod));
    let statuses = alive.filter_map(|pod| pod.status.as_ref());
    let containers =
        statuses.flat_map(|status| status.init_container_statuses.iter().chain(&status.container_statuses).flatten());
    let restarts: i32 = containers.map(|container| container.restart_count).sum();
    if limit == 0 { restarts > 0 } else { restarts >= limit }
}
