//! Decides what one Deployment needs next (`pkg/controller/deployment`). No I/O, no clock, no randomness.
//!
//! ```text
//!  classify sets: new | old     (same template as the Deployment, or not)
//!  paused or just scaled  ->  scale what is there, in proportion
//!  Recreate               ->  old to 0, wait for their pods, then new
//!  RollingUpdate          ->  new up within the surge, else old down within the budget
//!  complete               ->  forget old revisions beyond the history limit
//! ```

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;

use super::budget::Budget;
use super::revision;
use super::sets::{self, Sets};
use super::status::{self, Progress};
use super::{rolling, scaling};
use crate::common::{Claim, ObjectRef, meta, pods, selector};

/// The limit that `revisionHistoryLimit` has when it is left out.
const HISTORY_LIMIT_DEFAULT: i32 = 10;

/// Everything the decision may look at.
pub(super) struct Observed<'a> {
    pub(super) deployment: &'a Deployment,
    /// Every `ReplicaSet` of the namespace that the selector matches or that the Deployment controls.
    pub(super) sets: &'a [Arc<ReplicaSet>],
    /// The pods of those sets; `Recreate` waits for the old ones to end.
    pub(super) pods: &'a [Arc<Pod>],
    pub(super) now: Timestamp,
}

/// What to do, in order, and what to report.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) actions: Vec<Action>,
    pub(super) status: DeploymentStatus,
    /// Look again then, even if nothing changes: the progress deadline.
    pub(super) revisit_at: Option<Timestamp>,
}

/// One step; each is safe alone and may be repeated.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Action {
    /// Becomes the controller of a set that has none.
    Adopt(ObjectRef),
    /// Stops controlling a set whose labels no longer match.
    Release(ObjectRef),
    /// Creates the set of the current template.
    Create(Box<ReplicaSet>),
    /// Brings a set's annotations and `minReadySeconds` up to date.
    Annotate(ObjectRef, Annotations),
    /// Changes a set's number of replicas.
    Scale(Scale),
    /// Records the revision on the Deployment.
    SetRevision(String),
    /// Deletes an old set beyond the history limit.
    Forget(ObjectRef),
}

/// A set's new size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scale {
    pub(super) set: ObjectRef,
    pub(super) from: i32,
    pub(super) to: i32,
    /// The Deployment's replicas, and its replicas with the surge: a later proportional scaling starts from them.
    pub(super) desired: i32,
    pub(super) max: i32,
}

/// What a set's metadata is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Annotations {
    pub(super) annotations: std::collections::BTreeMap<String, String>,
    pub(super) min_ready_seconds: Option<i32>,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Adopt(set) => write!(f, "adopt {set}: no controller, labels match"),
            Self::Release(set) => write!(f, "release {set}: labels no longer match"),
            Self::Create(set) => {
                let replicas = set.spec.replicas.unwrap_or_default();
                write!(f, "create {} with {replicas}: new template", meta::name(&set.metadata))
            }
            Self::Annotate(set, _) => write!(f, "annotate {set}"),
            Self::Scale(Scale { set, from, to, .. }) => write!(f, "scale {set} {from} -> {to}"),
            Self::SetRevision(revision) => write!(f, "revision {revision}"),
            Self::Forget(set) => write!(f, "forget {set}: beyond the history limit"),
        }
    }
}

/// Decides.
pub(super) fn plan(observed: &Observed<'_>) -> Plan {
    let deployment = observed.deployment;
    let (claims, sets) = classify(observed);
    let budget = Budget::of(deployment);

    if meta::is_deleting(&deployment.metadata) || selector::of(&deployment.spec.selector).is_everything() {
        return finish(observed, Vec::new(), &sets, Progress::Untouched);
    }
    // What was adopted is seen as ours in the next look; until then nothing is counted twice.
    if !claims.is_empty() {
        return finish(observed, claims, &sets, Progress::Untouched);
    }

    let mut actions = revision::sync(deployment, &sets);
    if is_paused(deployment) {
        actions.extend(scaling::scale(deployment, &budget, &sets));
        actions.extend(forget(deployment, &sets));
        return finish(observed, actions, &sets, Progress::Untouched);
    }
    if scaling::is_due(&budget, &sets) {
        let scaled = scaling::scale(deployment, &budget, &sets);
        // `Recreate` does not scale several sets in proportion; it goes on to end the old ones.
        if !scaled.is_empty() {
            actions.extend(scaled);
            return finish(observed, actions, &sets, Progress::Untouched);
        }
    }

    let steps = match budget {
        Budget::Recreate { .. } => recreate(observed, &budget, &sets),
        Budget::Rolling { .. } => roll(deployment, &budget, &sets),
    };
    let progress = match steps.iter().find_map(created) {
        Some(name) => Progress::Created(name),
        None => Progress::Rolling,
    };
    actions.extend(steps);
    if status::is_complete(deployment, &status::count(deployment, &sets)) {
        actions.extend(forget(deployment, &sets));
    }
    finish(observed, actions, &sets, progress)
}

fn created(action: &Action) -> Option<String> {
    match action {
        Action::Create(set) => Some(meta::name(&set.metadata).to_owned()),
        Action::Adopt(_)
        | Action::Release(_)
        | Action::Annotate(..)
        | Action::Scale(_)
        | Action::SetRevision(_)
        | Action::Forget(_) => None,
    }
}

fn finish(observed: &Observed<'_>, actions: Vec<Action>, sets: &Sets<'_>, progress: Progress) -> Plan {
    let status = status::status(observed.deployment, sets, progress, observed.now);
    let revisit_at = status::progress_deadline(observed.deployment, &status, observed.now);
    Plan { actions, status, revisit_at }
}

/// Sorts the sets into ours, new and old, and returns the claims that have to be settled first.
fn classify<'a>(observed: &Observed<'a>) -> (Vec<Action>, Sets<'a>) {
    let (owner, selector) = (&observed.deployment.metadata, selector::of(&observed.deployment.spec.selector));
    let (mut claims, mut ours) = (Vec::new(), Vec::new());
    for set in observed.sets {
        match Claim::judge(owner, &selector, &set.metadata) {
            Claim::Owned => ours.push(set.as_ref()),
            Claim::Adoptable => claims.push(Action::Adopt(ObjectRef::of(&set.metadata))),
            Claim::Releasable => claims.push(Action::Release(ObjectRef::of(&set.metadata))),
            Claim::Foreign => {}
        }
    }
    claims.sort_by_key(ToString::to_string);
    (claims, Sets::split(&observed.deployment.spec.template, ours))
}

fn is_paused(deployment: &Deployment) -> bool {
    deployment.spec.paused == Some(true)
}

/// One step of a rolling update: up if the surge leaves room, else down if the budget does.
fn roll(deployment: &Deployment, budget: &Budget, sets: &Sets<'_>) -> Vec<Action> {
    let Some(new) = sets.new else {
        let replicas = rolling::new_size(budget, sets);
        return vec![Action::Create(Box::new(sets::build(deployment, budget, sets, replicas)))];
    };
    let target = rolling::new_size(budget, sets);
    if target != sets::replicas(new) {
        return vec![scaling::action(new, target, budget)];
    }
    rolling::shrink_old(budget, sets).into_iter().map(|(set, target)| scaling::action(set, target, budget)).collect()
}

/// One step of `Recreate`: old sets to zero, then wait for their pods to end, then the new set.
fn recreate(observed: &Observed<'_>, budget: &Budget, sets: &Sets<'_>) -> Vec<Action> {
    let down: Vec<Action> = sets.old_active().map(|set| scaling::action(set, 0, budget)).collect();
    if !down.is_empty() {
        return down;
    }
    if old_pods_remain(observed, sets) {
        return Vec::new();
    }
    let deployment = observed.deployment;
    match sets.new {
        None => vec![Action::Create(Box::new(sets::build(deployment, budget, sets, budget.replicas())))],
        Some(new) if sets::replicas(new) != budget.replicas() => {
            vec![scaling::action(new, budget.replicas(), budget)]
        }
        Some(_) => Vec::new(),
    }
}

/// Whether a pod of an old set has not ended yet (`oldPodsRunning`). A pod that is being deleted still runs.
fn old_pods_remain(observed: &Observed<'_>, sets: &Sets<'_>) -> bool {
    let new_uid = sets.new.map(|set| meta::uid(&set.metadata));
    let old = |uid: &str| sets.all().any(|set| meta::uid(&set.metadata) == uid) && Some(uid) != new_uid;
    observed.pods.iter().any(|pod| {
        let owner = meta::controller_of(&pod.metadata);
        !pods::is_terminal(pod) && owner.is_some_and(|owner| old(&owner.uid))
    })
}

/// Returns the deletion of old sets beyond the history limit, the oldest revisions first (`cleanupDeployment`).
fn forget(deployment: &Deployment, sets: &Sets<'_>) -> Vec<Action> {
    let limit = deployment.spec.revision_history_limit.unwrap_or(HISTORY_LIMIT_DEFAULT);
    let mut old: Vec<&ReplicaSet> = sets.old.iter().copied().filter(|set| !meta::is_deleting(&set.metadata)).collect();
    let surplus = old.len().saturating_sub(usize::try_from(limit).unwrap_or_default());
    old.sort_by_key(|set| (revision::of(&set.metadata), meta::created_at(&set.metadata), meta::name(&set.metadata)));
    let is_idle = |set: &&ReplicaSet| {
        let status = set.status.as_ref();
        sets::replicas(set) == 0
            && status
                .is_some_and(|status| status.replicas == 0 && status.observed_generation >= set.metadata.generation)
    };
    let idle = old.into_iter().take(surplus).filter(is_idle);
    idle.map(|set| Action::Forget(ObjectRef::of(&set.metadata))).collect()
}
