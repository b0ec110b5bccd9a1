//! What a Deployment reports: counts, and the conditions `Available`, `Progressing` and `ReplicaFailure`
//! (`pkg/controller/deployment/progress.go`).

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet, ReplicaSetStatus};

use super::budget::Budget;
use super::sets::Sets;
use crate::common::counts::nonzero;
use crate::common::meta;

/// The deadline that `progressDeadlineSeconds` has when it is left out, in seconds.
const PROGRESS_DEADLINE_DEFAULT: i32 = 600;

const AVAILABLE: &str = "Available";
const PROGRESSING: &str = "Progressing";
const REPLICA_FAILURE: &str = "ReplicaFailure";

const NEW_SET_AVAILABLE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

/// What the plan did about the rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing: it is paused, being scaled, or being deleted.
    Untouched,
    /// It creates the set of this name.
    Created(String),
    /// It takes the next step, or waits for the last one.
    Rolling,
}

/// Returns the whole status.
pub(super) fn status(deployment: &Deployment, sets: &Sets<'_>, progress: Progress, now: Timestamp) -> DeploymentStatus {
    let mut status = count(deployment, sets);
    let mut conditions = Conditions::of(deployment, now);
    conditions.set(availability(deployment, &status));
    pause(deployment, &mut conditions);
    match progress {
        Progress::Untouched => {}
        Progress::Created(name) if has_deadline(deployment) => {
            let message = format!("Created new replica set \"{name}\"");
            conditions.set(Condition { kind: PROGRESSING, status: "True", reason: "NewReplicaSetCreated", message });
        }
        Progress::Created(_) => conditions.remove(PROGRESSING),
        Progress::Rolling => report_rollout(deployment, sets, &status, &mut conditions),
    }
    status.conditions = conditions.into_list();
    status
}

/// Returns the counts alone, with the rest as it was.
pub(super) fn count(deployment: &Deployment, sets: &Sets<'_>) -> DeploymentStatus {
    let sum = |field: fn(&ReplicaSetStatus) -> i32| -> i32 {
        sets.all().filter_map(|set| set.status.as_ref()).map(field).sum()
    };
    let available = sum(|status| status.available_replicas.unwrap_or_default());
    let updated = sets.new.and_then(|set| set.status.as_ref()).map(|status| status.replicas).unwrap_or_default();
    let before = deployment.status.as_ref();
    DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: nonzero(sum(|status| status.replicas)),
        updated_replicas: nonzero(updated),
        ready_replicas: nonzero(sum(|status| status.ready_replicas.unwrap_or_default())),
        available_replicas: nonzero(available),
        unavailable_replicas: nonzero((sets.replicas() - available).max(0)),
        terminating_replicas: Some(sum(|status| status.terminating_replicas.unwrap_or_default())),
        collision_count: before.and_then(|status| status.collision_count),
        conditions: before.and_then(|status| status.conditions.clone()),
    }
}

/// Whether every pod is of the current template and available (`DeploymentComplete`).
pub(super) fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = deployment.spec.replicas.unwrap_or(1);
    let counts = [status.updated_replicas, status.replicas, status.available_replicas];
    counts.iter().all(|count| count.unwrap_or_default() == wanted)
        && status.observed_generation >= deployment.metadata.generation
}

/// Returns when a rollout that makes no progress will have timed out; `None` if that is no question.
pub(super) fn progress_deadline(
    deployment: &Deployment,
    status: &DeploymentStatus,
    now: Timestamp,
) -> Option<Timestamp> {
    if is_complete(deployment, status) || deployment.spec.paused == Some(true) {
        return None;
    }
    let progressing = find(status.conditions.iter().flatten(), PROGRESSING)?;
    let reason = progressing.reason.as_deref().unwrap_or_default();
    if reason == TIMED_OUT || reason == NEW_SET_AVAILABLE {
        return None;
    }
    // One second more: a deadline is exceeded once it has passed, not when it is reached.
    let deadline = meta::after_seconds(deadline(deployment, progressing)?, 1);
    (deadline > now).then_some(deadline)
}

fn report_rollout(deployment: &Deployment, sets: &Sets<'_>, status: &DeploymentStatus, conditions: &mut Conditions) {
    match failure(sets) {
        Some(failure) => conditions.set(failure),
        None => conditions.remove(REPLICA_FAILURE),
    }
    if !has_deadline(deployment) {
        conditions.remove(PROGRESSING);
        return;
    }
    let set_name = sets.new.map(|set| meta::name(&set.metadata));
    if let (Some(name), None) = (set_name, conditions.get(PROGRESSING)) {
        let message = format!("Found new replica set \"{name}\"");
        conditions.set(Condition { kind: PROGRESSING, status: "True", reason: "FoundNewReplicaSet", message });
    }
    let was_available = conditions.reason(PROGRESSING) == Some(NEW_SET_AVAILABLE);
    if was_available && status.replicas == status.updated_replicas {
        // Pods that fail after the rollout do not start it again.
        return;
    }
    let subject = match set_name {
        Some(name) => format!("ReplicaSet \"{name}\""),
        None => format!("Deployment \"{}\"", meta::name(&deployment.metadata)),
    };
    if is_complete(deployment, status) {
        let message = format!("{subject} has successfully progressed.");
        conditions.set(Condition { kind: PROGRESSING, status: "True", reason: NEW_SET_AVAILABLE, message });
    } else if has_progressed(deployment.status.as_ref(), status) {
        let message = format!("{subject} is progressing.");
        conditions.renew(Condition { kind: PROGRESSING, status: "True", reason: "ReplicaSetUpdated", message });
    } else if has_timed_out(deployment, conditions) {
        let message = format!("{subject} has timed out progressing.");
        conditions.set(Condition { kind: PROGRESSING, status: "False", reason: TIMED_OUT, message });
    }
}

fn availability(deployment: &Deployment, status: &DeploymentStatus) -> Condition {
    if status.available_replicas.unwrap_or_default() >= Budget::of(deployment).min_available() {
        let message = "Deployment has minimum availability.".to_owned();
        return Condition { kind: AVAILABLE, status: "True", reason: "MinimumReplicasAvailable", message };
    }
    let message = "Deployment does not have minimum availability.".to_owned();
    Condition { kind: AVAILABLE, status: "False", reason: "MinimumReplicasUnavailable", message }
}

/// Says that the rollout is paused, or was until now, so that the deadline does not count the pause.
fn pause(deployment: &Deployment, conditions: &mut Conditions) {
    if !has_deadline(deployment) || conditions.reason(PROGRESSING) == Some(TIMED_OUT) {
        return;
    }
    let says_paused = conditions.reason(PROGRESSING) == Some(PAUSED);
    let (reason, message) = match deployment.spec.paused == Some(true) {
        true if !says_paused => (PAUSED, "Deployment is paused"),
        false if says_paused => ("DeploymentResumed", "Deployment is resumed"),
        true | false => return,
    };
    conditions.set(Condition { kind: PROGRESSING, status: "Unknown", reason, message: message.to_owned() });
}

/// Returns why pods cannot be created or deleted: the new set's reason, else an old one's.
fn failure(sets: &Sets<'_>) -> Option<Condition> {
    let of_set = |set: &ReplicaSet| {
        let conditions = set.status.as_ref()?.conditions.as_ref()?;
        let failure = conditions.iter().find(|condition| condition.type_.as_deref() == Some(REPLICA_FAILURE))?;
        let reason = match failure.reason.as_deref() {
            Some("FailedDelete") => "FailedDelete",
            _ => "FailedCreate",
        };
        let message = failure.message.clone().unwrap_or_default();
        Some(Condition { kind: REPLICA_FAILURE, status: "True", reason, message })
    };
    sets.new.and_then(of_set).or_else(|| sets.old.iter().copied().find_map(of_set))
}

/// Whether more new pods, fewer old ones, or more ready or available ones are there than last reported.
fn has_progressed(before: Option<&DeploymentStatus>, after: &DeploymentStatus) -> bool {
    let Some(before) = before else { return true };
    let updated = |status: &DeploymentStatus| status.updated_replicas.unwrap_or_default();
    let old = |status: &DeploymentStatus| status.replicas.unwrap_or_default() - updated(status);
    updated(after) > updated(before)
        || old(after) < old(before)
        || after.ready_replicas > before.ready_replicas
        || after.available_replicas > before.available_replicas
}

fn has_timed_out(deployment: &Deployment, conditions: &Conditions) -> bool {
    let Some(progressing) = conditions.get(PROGRESSING) else { return false };
    match progressing.reason.as_deref() {
        Some(NEW_SET_AVAILABLE) => false,
        Some(TIMED_OUT) => true,
        _ => deadline(deployment, progressing).is_some_and(|deadline| deadline < conditions.now),
    }
}

fn has_deadline(deployment: &Deployment) -> bool {
    deployment.spec.progress_deadline_seconds != Some(i32::MAX)
}

fn deadline(deployment: &Deployment, progressing: &DeploymentCondition) -> Option<Timestamp> {
    let seconds = deployment.spec.progress_deadline_seconds.unwrap_or(PROGRESS_DEADLINE_DEFAULT);
    Some(meta::after_seconds(progressing.last_update_time.as_ref()?.0, i64::from(seconds)))
}

/// A condition before it has times.
struct Condition {
    kind: &'static str,
    status: &'static str,
    reason: &'static str,
    message: String,
}

/// The conditions under construction; their times change only when they say something new.
struct Conditions {
    list: Vec<DeploymentCondition>,
    now: Timestamp,
}

impl Conditions {
    fn of(deployment: &Deployment, now: Timestamp) -> Self {
        let list = deployment.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
        Self { list, now }
    }

    fn get(&self, kind: &str) -> Option<&DeploymentCondition> {
        find(self.list.iter(), kind)
    }

    fn reason(&self, kind: &str) -> Option<&str> {
        self.get(kind)?.reason.as_deref()
    }

    fn remove(&mut self, kind: &str) {
        self.list.retain(|condition| condition.type_.as_deref() != Some(kind));
    }

    /// Sets a condition; one with the same status and reason stays as it is, message and times included
    /// (`SetDeploymentCondition`).
    fn set(&mut self, condition: Condition) {
        let same = |known: &DeploymentCondition| {
            known.status.as_deref() == Some(condition.status) && known.reason.as_deref() == Some(condition.reason)
        };
        if !self.get(condition.kind).is_some_and(same) {
            self.renew(condition);
        }
    }

    /// Sets a condition with a new update time in any case.
    fn renew(&mut self, condition: Condition) {
        let now = meta::time(self.now);
        let known = self.get(condition.kind).filter(|known| known.status.as_deref() == Some(condition.status));
        let since = known.and_then(|known| known.last_transition_time.clone()).unwrap_or_else(|| now.clone());
        let made = DeploymentCondition {
            type_: Some(condition.kind.to_owned()),
            status: Some(condition.status.to_owned()),
            reason: Some(condition.reason.to_owned()),
            message: Some(condition.message),
            last_update_time: Some(now),
            last_transition_time: Some(since),
        };
        match self.list.iter_mut().find(|known| known.type_.as_deref() == Some(condition.kind)) {
            Some(slot) => *slot = made,
            None => self.list.push(made),
        }
    }

    fn into_list(self) -> Option<Vec<DeploymentCondition>> {
        (!self.list.is_empty()).then_some(self.list)
    }
}

fn find<'a>(mut list: impl Iterator<Item = &'a DeploymentCondition>, kind: &str) -> Option<&'a DeploymentCondition> {
    list.find(|condition| condition.type_.as_deref() == Some(kind))
}
