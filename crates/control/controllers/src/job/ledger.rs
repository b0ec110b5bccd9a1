//! Counting finished pods exactly once, although pods are deleted and controllers die
//! (`pkg/controller/job/job_controller.go`, `trackJobStatusAndRemoveFinalizers`).
//!
//! ```text
//! pod ends, has the finalizer ─▶ its uid is written to status.uncountedTerminatedPods
//!                             ─▶ its finalizer is removed (only now may the pod vanish)
//!                             ─▶ the uid becomes one more in status.succeeded or status.failed
//! ```

use k8s_openapi::api::batch::v1::{Job, JobStatus, UncountedTerminatedPods};
use k8s_openapi::api::core::v1::Pod;

use super::indexes::Indexes;
use super::pod_index;
use crate::common::counts::nonzero;
use crate::common::{ObjectRef, meta, pods};

/// Keeps a finished pod until it has been counted.
pub(super) const TRACKING: &str = "batch.kubernetes.io/job-tracking";

/// The most uids in the status at once; more wait for the next look.
const UNCOUNTED_MAX: usize = 500;

/// How many pods have ended, and what is still to be done to count them.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    counted_succeeded: i32,
    counted_failed: i32,
    uncounted_succeeded: Vec<String>,
    uncounted_failed: Vec<String>,
    /// Of an Indexed Job: the indexes that have succeeded.
    pub(super) completed: Option<Indexes>,
    /// The pods whose finalizer goes once the status is written.
    pub(super) release: Vec<ObjectRef>,
}

impl Ledger {
    /// Balances the Job's status with its pods, given in the order of their names.
    pub(super) fn of(job: &Job, pods: &[&Pod]) -> Self {
        let none = JobStatus::default();
        let status = job.status.as_ref().unwrap_or(&none);
        let uncounted = status.uncounted_terminated_pods.clone().unwrap_or_default();
        let mut ledger = Self {
            counted_succeeded: status.succeeded.unwrap_or_default(),
            counted_failed: status.failed.unwrap_or_default(),
            completed: super::completions_indexed(job).map(|completions| {
                Indexes::parse(status.completed_indexes.as_deref().unwrap_or_default(), completions)
            }),
            ..Self::default()
        };
        for uid in uncounted.succeeded.unwrap_or_default() {
            match tracked(pods, &uid) {
                Some(pod) => ledger.add_succeeded(pod),
                None => ledger.counted_succeeded += 1,
            }
        }
        for uid in uncounted.failed.unwrap_or_default() {
            match tracked(pods, &uid) {
                Some(pod) => ledger.add_failed(pod),
                None => ledger.counted_failed += 1,
            }
        }
        ledger.add_new(job, pods);
        ledger
    }

    fn add_new(&mut self, job: &Job, pods: &[&Pod]) {
        for pod in pods.iter().filter(|pod| meta::has_finalizer(&pod.metadata, TRACKING)) {
            let uid = meta::uid(&pod.metadata);
            let known = self.uncounted_succeeded.iter().chain(&self.uncounted_failed).any(|known| known == uid);
            if known || self.release.len() >= UNCOUNTED_MAX {
                continue;
            }
            if pods::phase(pod) == "Succeeded" {
                self.add_succeeded(pod);
            } else if has_failed(job, pod) {
                self.add_failed(pod);
            }
        }
    }

    fn add_succeeded(&mut self, pod: &Pod) {
        self.uncounted_succeeded.push(meta::uid(&pod.metadata).to_owned());
        self.release.push(ObjectRef::of(&pod.metadata));
        if let (Some(completed), Some(index)) = (&mut self.completed, pod_index(pod)) {
            completed.insert(index);
        }
    }

    fn add_failed(&mut self, pod: &Pod) {
        self.uncounted_failed.push(meta::uid(&pod.metadata).to_owned());
        self.release.push(ObjectRef::of(&pod.metadata));
    }

    /// Returns how many pods have succeeded, counted or not; of an Indexed Job, how many indexes.
    pub(super) fn succeeded(&self) -> i32 {
        match &self.completed {
            Some(completed) => completed.count(),
            None => self.counted_succeeded + length(&self.uncounted_succeeded),
        }
    }

    /// Returns how many pods have failed, counted or not.
    pub(super) fn failed(&self) -> i32 {
        self.counted_failed + length(&self.uncounted_failed)
    }

    /// Whether every pod that ended has been counted.
    pub(super) fn is_balanced(&self) -> bool {
        self.uncounted_succeeded.is_empty() && self.uncounted_failed.is_empty()
    }

    /// Writes the balance into a status.
    pub(super) fn report(&self, status: &mut JobStatus) {
        let some = |uids: &Vec<String>| (!uids.is_empty()).then(|| uids.clone());
        status.succeeded = nonzero(match &self.completed {
            Some(completed) => completed.count(),
            None => self.counted_succeeded,
        });
        status.failed = nonzero(self.counted_failed);
        status.completed_indexes = self.completed.as_ref().map(Indexes::to_string).filter(|text| !text.is_empty());
        status.uncounted_terminated_pods = Some(UncountedTerminatedPods {
            succeeded: some(&self.uncounted_succeeded),
            failed: some(&self.uncounted_failed),
        });
    }
}

/// Whether the pod counts as a failure. One that is being deleted does, unless replacements wait for its end
/// (`podReplacementPolicy: Failed`).
fn has_failed(job: &Job, pod: &Pod) -> bool {
    pods::phase(pod) == "Failed" || (!super::replaces_only_failed(job) && meta::is_deleting(&pod.metadata))
}

/// Returns the pod of this uid if its finalizer is still there.
fn tracked<'a>(pods: &[&'a Pod], uid: &str) -> Option<&'a Pod> {
    let is_meant = |pod: &&&Pod| meta::uid(&pod.metadata) == uid && meta::has_finalizer(&pod.metadata, TRACKING);
    pods.iter().find(is_meant).copied()
}

fn length(uids: &[String]) -> i32 {
    i32::try_from(uids.len()).unwrap_or(i32::MAX)
}
