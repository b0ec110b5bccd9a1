//! Decides what one Job needs next (`pkg/controller/job`). No I/O, no clock, no randomness.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use wkube_base::Backoff;

use super::finish::{self, Verdict};
use super::ledger::{Ledger, TRACKING};
use super::{completions_indexed, pod_index, replaces_only_failed};
use crate::common::counts::{count, nonzero};
use crate::common::{Claim, ObjectRef, meta, pods, selector};

/// The most pods that one look creates or deletes (`MaxPodCreateDeletePerSync`).
const BURST: usize = 500;

/// How long a Job waits after failures before the next pod (`DefaultJobPodFailureBackOff`, `MaxJobPodFailureBackOff`).
const POD_FAILURE: Backoff = Backoff { first: Duration::from_secs(10), max: Duration::from_mins(10) };

/// Everything the decision may look at.
pub(super) struct Observed<'a> {
    pub(super) job: &'a Job,
    /// Every pod of the namespace that the Job controls, or that nobody does.
    pub(super) pods: &'a [Arc<Pod>],
    pub(super) now: Timestamp,
}

/// What to do, in order, and what to report.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) actions: Vec<Action>,
    pub(super) status: JobStatus,
    /// The pods that lose their finalizer after the status, which names them, has been written; not before, or a pod
    /// could vanish uncounted.
    pub(super) release: Vec<ObjectRef>,
    pub(super) revisit_at: Option<Timestamp>,
}

/// One step; each is safe alone and may be repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Becomes the controller of a pod that has none.
    Adopt(ObjectRef),
    /// Stops controlling a pod whose labels no longer match; it counts as nothing.
    Release(ObjectRef),
    /// Creates a pod; of an Indexed Job, for this index.
    Create(Option<u32>),
    /// Deletes a pod.
    Delete(ObjectRef, Surplus),
    /// Deletes the Job, which has been finished for long enough.
    DeleteJob,
}

/// Why a pod is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Surplus {
    /// The Job has failed; the pod counts as a failure too.
    Failed,
    /// The Job needs fewer pods now, or none; the pod counts as nothing.
    NotNeeded,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Adopt(pod) => write!(f, "adopt {pod}: no controller, labels match"),
            Self::Release(pod) => write!(f, "release {pod}: labels no longer match"),
            Self::Create(None) => write!(f, "create"),
            Self::Create(Some(index)) => write!(f, "create index {index}"),
            Self::Delete(pod, Surplus::Failed) => write!(f, "delete {pod}: the job has failed"),
            Self::Delete(pod, Surplus::NotNeeded) => write!(f, "delete {pod}: not needed"),
            Self::DeleteJob => write!(f, "delete the job: finished long ago"),
        }
    }
}

/// The Job's pods, each in exactly one bucket; `all` holds them all.
struct Buckets<'a> {
    all: Vec<&'a Pod>,
    active: Vec<&'a Pod>,
    terminating: Vec<&'a Pod>,
    ended: Vec<&'a Pod>,
    adoptable: Vec<&'a Pod>,
    /// Ours until the next look.
    releasable: Vec<&'a Pod>,
}

/// Decides.
pub(super) fn plan(observed: &Observed<'_>) -> Plan {
    let job = observed.job;
    let buckets = classify(observed);
    let before = job.status.clone().unwrap_or_default();
    if !is_managed_here(job) {
        return Plan { status: before, ..Plan::default() };
    }
    if meta::is_deleting(&job.metadata) || finish::ended_at(job).is_some() {
        return wind_up(observed, &buckets, before);
    }
    let adopt = buckets.adoptable.iter().map(|pod| Action::Adopt(ObjectRef::of(&pod.metadata)));
    let release = buckets.releasable.iter().map(|pod| Action::Release(ObjectRef::of(&pod.metadata)));
    let claims: Vec<Action> = adopt.chain(release).collect();
    if !claims.is_empty() {
        return Plan { actions: claims, status: before, ..Plan::default() };
    }

    let ledger = Ledger::of(job, &buckets.all);
    let mut plan = Plan { status: before, ..Plan::default() };
    ledger.report(&mut plan.status);
    plan.status.active = nonzero(count(buckets.active.iter()));
    plan.status.ready = Some(count(buckets.active.iter().filter(|pod| pods::is_ready(pod))));
    plan.status.terminating = Some(count(buckets.terminating.iter()));
    run(observed, &buckets, &ledger, &mut plan);
    plan.release = ledger.release;
    plan
}

/// A Job that is over, or about to vanish: its pods need not be counted any more, and may go.
fn wind_up(observed: &Observed<'_>, buckets: &Buckets<'_>, status: JobStatus) -> Plan {
    let is_over = |pod: &&&Pod| pods::is_terminal(pod) || meta::is_deleting(&pod.metadata);
    let tracked = buckets.all.iter().filter(is_over).filter(|pod| meta::has_finalizer(&pod.metadata, TRACKING));
    let release = tracked.map(|pod| ObjectRef::of(&pod.metadata)).collect();

    let ttl = observed.job.spec.as_ref().and_then(|spec| spec.ttl_seconds_after_finished);
    let expires = finish::ended_at(observed.job).zip(ttl);
    let expires = expires.map(|(ended, ttl)| meta::after_seconds(ended, i64::from(ttl)));
    let (mut actions, mut revisit_at) = (Vec::new(), None);
    match expires {
        Some(expires) if meta::is_deleting(&observed.job.metadata) || expires > observed.now => {
            revisit_at = Some(expires);
        }
        Some(_) => actions.push(Action::DeleteJob),
        None => {}
    }
    Plan { actions, status, release, revisit_at }
}

/// A Job that is not over: does it fail, succeed, wait, or go on?
fn run(observed: &Observed<'_>, buckets: &Buckets<'_>, ledger: &Ledger, plan: &mut Plan) {
    let (job, now) = (observed.job, observed.now);
    let mut conditions = plan.status.conditions.take().unwrap_or_default();
    let is_quiet = buckets.active.is_empty() && buckets.terminating.is_empty() && ledger.is_balanced();

    if let Some(verdict) = finish::failure(job, ledger, &buckets.all, now) {
        let deletions = buckets.active.iter().take(BURST);
        plan.actions = deletions.map(|pod| Action::Delete(ObjectRef::of(&pod.metadata), Surplus::Failed)).collect();
        finish::set(&mut conditions, finish::FAILURE_TARGET, "True", verdict.clone(), now);
        if is_quiet {
            finish::set(&mut conditions, finish::FAILED, "True", verdict, now);
        }
    } else if has_succeeded(job, buckets, ledger) {
        let verdict = Verdict::new("CompletionsReached", "Reached expected number of succeeded pods");
        finish::set(&mut conditions, finish::SUCCESS_CRITERIA_MET, "True", verdict.clone(), now);
        if is_quiet {
            finish::set(&mut conditions, finish::COMPLETE, "True", verdict, now);
            plan.status.completion_time = Some(meta::time(now));
        }
    } else if job.spec.as_ref().and_then(|spec| spec.suspend) == Some(true) {
        plan.actions = delete_surplus(buckets, buckets.active.len(), now);
        plan.status.start_time = None;
        let verdict = Verdict::new("JobSuspended", "Job suspended");
        finish::set(&mut conditions, finish::SUSPENDED, "True", verdict, now);
    } else {
        if finish::find(job, finish::SUSPENDED).is_some() {
            finish::set(&mut conditions, finish::SUSPENDED, "False", Verdict::new("JobResumed", "Job resumed"), now);
            plan.status.start_time = None;
        }
        plan.status.start_time.get_or_insert_with(|| meta::time(now));
        (plan.actions, plan.revisit_at) = manage(observed, buckets, ledger);
        plan.revisit_at = meta::earliest(plan.revisit_at, deadline_of(job, &plan.status));
    }
    plan.status.conditions = (!conditions.is_empty()).then_some(conditions);
}

/// Returns the deadline as the status that is about to be written has it.
fn deadline_of(job: &Job, status: &JobStatus) -> Option<Timestamp> {
    let seconds = job.spec.as_ref()?.active_deadline_seconds?;
    Some(meta::after_seconds(status.start_time.as_ref()?.0, seconds))
}

/// Without `completions` one success is enough, once the others have ended; else all of them are needed.
fn has_succeeded(job: &Job, buckets: &Buckets<'_>, ledger: &Ledger) -> bool {
    if finish::find(job, finish::SUCCESS_CRITERIA_MET).is_some() {
        return true;
    }
    let enough = match job.spec.as_ref().and_then(|spec| spec.completions) {
        Some(completions) => ledger.succeeded() >= completions,
        None => ledger.succeeded() > 0,
    };
    enough && buckets.active.is_empty()
}

/// Creates what is missing, unless failures make it wait, or deletes what is too much.
fn manage(observed: &Observed<'_>, buckets: &Buckets<'_>, ledger: &Ledger) -> (Vec<Action>, Option<Timestamp>) {
    let active = buckets.active.len();
    let wanted = wanted_active(observed.job, active, ledger);
    let surplus = delete_surplus(buckets, active.saturating_sub(wanted), observed.now);
    if !surplus.is_empty() {
        return (surplus, None);
    }
    let leaving = if replaces_only_failed(observed.job) { buckets.terminating.len() } else { 0 };
    let missing = wanted.saturating_sub(active + leaving).min(BURST);
    if missing == 0 {
        return (Vec::new(), None);
    }
    if let Some(until) = waits_until(buckets).filter(|until| *until > observed.now) {
        return (Vec::new(), Some(until));
    }
    let actions = match (completions_indexed(observed.job), &ledger.completed) {
        (Some(completions), Some(completed)) => {
            let mut taken: BTreeSet<u32> = buckets.active.iter().filter_map(|pod| pod_index(pod)).collect();
            if replaces_only_failed(observed.job) {
                taken.extend(buckets.terminating.iter().filter_map(|pod| pod_index(pod)));
            }
            let free = (0..completions).filter(|index| !completed.contains(*index) && !taken.contains(index));
            free.take(missing).map(|index| Action::Create(Some(index))).collect()
        }
        _ => vec![Action::Create(None); missing],
    };
    (actions, None)
}

/// Returns how many pods should run at once.
fn wanted_active(job: &Job, active: usize, ledger: &Ledger) -> usize {
    let Some(spec) = &job.spec else { return 0 };
    let parallelism = spec.parallelism.unwrap_or(1);
    match spec.completions {
        Some(completions) => usize::try_from((completions - ledger.succeeded()).min(parallelism)).unwrap_or_default(),
        // A work queue: after the first success the others finish what they have, and none is started.
        None if ledger.succeeded() > 0 => active,
        None => usize::try_from(parallelism).unwrap_or_default(),
    }
}

/// Deletes pods that are not needed: of an Indexed Job every second pod of an index, which a lost reply may have made
/// (`appendDuplicatedIndexPodsForRemoval`), then the least useful ones up to `surplus`.
fn delete_surplus(buckets: &Buckets<'_>, surplus: usize, now: Timestamp) -> Vec<Action> {
    let mut seen = BTreeSet::new();
    let (unique, twins): (Vec<&Pod>, Vec<&Pod>) =
        buckets.active.iter().partition(|pod| pod_index(pod).is_none_or(|index| seen.insert(index)));
    let mut candidates = unique;
    pods::sort_by_deletion_order(&mut candidates, &pods::count_by_node(buckets.active.iter().copied()), now);
    let others = surplus.saturating_sub(twins.len());
    let doomed = twins.into_iter().chain(candidates.into_iter().take(others)).take(BURST);
    doomed.map(|pod| Action::Delete(ObjectRef::of(&pod.metadata), Surplus::NotNeeded)).collect()
}

/// Returns until when no pod is created, because the last ones failed: 10 s after one failure since the last success,
/// doubling with each further one.
fn waits_until(buckets: &Buckets<'_>) -> Option<Timestamp> {
    let ended_at = |phase: &'static str| {
        buckets.ended.iter().filter(move |pod| pods::phase(pod) == phase).map(|pod| pods::ended_at(pod))
    };
    let success = ended_at("Succeeded").max();
    let failures: Vec<Timestamp> =
        ended_at("Failed").filter(|at| success.is_none_or(|success| *at > success)).collect();
    let last = failures.iter().max()?;
    let wait = POD_FAILURE.after(u32::try_from(failures.len()).unwrap_or(u32::MAX));
    Some(meta::after_seconds(*last, i64::try_from(wait.as_secs()).unwrap_or(i64::MAX)))
}

/// Whether another controller takes care of this Job.
fn is_managed_here(job: &Job) -> bool {
    let manager = job.spec.as_ref().and_then(|spec| spec.managed_by.as_deref());
    manager.is_none_or(|manager| manager == "kubernetes.io/job-controller")
}

fn classify<'a>(observed: &Observed<'a>) -> Buckets<'a> {
    let job = observed.job;
    let wanted = job.spec.as_ref().and_then(|spec| spec.selector.as_ref()).map(selector::of);
    let mut sorted: Vec<&Pod> = observed.pods.iter().map(Arc::as_ref).collect();
    sorted.sort_by_key(|pod| meta::name(&pod.metadata));
    let (mut all, mut active, mut terminating, mut ended) = (vec![], vec![], vec![], vec![]);
    let (mut adoptable, mut releasable) = (vec![], vec![]);
    for pod in sorted {
        let claim = wanted.as_ref().map(|wanted| Claim::judge(&job.metadata, wanted, &pod.metadata));
        let is_ours = meta::controller_of(&pod.metadata).is_some_and(|owner| owner.uid == meta::uid(&job.metadata));
        match claim {
            Some(Claim::Adoptable)
                if pods::is_active(pod) && wanted.as_ref().is_some_and(|wanted| !wanted.is_everything()) =>
            {
                adoptable.push(pod);
            }
            Some(Claim::Releasable) => releasable.push(pod),
            // Without a selector, which the server writes into every Job, the owner alone counts.
            _ if is_ours => {
                all.push(pod);
                let bucket = match (pods::is_terminal(pod), meta::is_deleting(&pod.metadata)) {
                    (true, _) => &mut ended,
                    (false, true) => &mut terminating,
                    (false, false) => &mut active,
                };
                bucket.push(pod);
            }
            Some(_) | None => {}
        }
    }
    Buckets { all, active, terminating, ended, adoptable, releasable }
}
