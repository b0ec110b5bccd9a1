//! Decides what one `StatefulSet` needs next (`pkg/controller/statefulset/stateful_set_control.go`). No I/O, no clock, no
//! randomness.
//!
//! In order means: a pod is made when all before it are available, and deleted when all after it are gone. `Parallel` does
//! not wait; updates go from the last pod to the first either way.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use wkube_api::intstr::{self, Round};

use super::claims::{self, Claims, Standing};
use super::{identity, status};
use crate::common::history::{History, Keeper, POD_HASH, Step, template_of};
use crate::common::{Claim, ObjectRef, meta, pods, selector};

/// The label under which a revision carries its hash (`ControllerRevisionHashLabel`); pods name the revision itself.
const HASH: &str = "controller.kubernetes.io/hash";

/// Everything the decision may look at.
pub(super) struct Observed<'a> {
    pub(super) set: &'a StatefulSet,
    /// Every pod of the namespace that the set controls, or that nobody does.
    pub(super) pods: &'a [Arc<Pod>],
    /// The same of revisions.
    pub(super) revisions: &'a [Arc<ControllerRevision>],
    pub(super) claims: &'a Claims,
    pub(super) now: Timestamp,
}

/// What to do, in order, and what to report.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// What is noted down before anything else, or forgotten.
    pub(super) history: Vec<Step>,
    pub(super) actions: Vec<Action>,
    pub(super) status: StatefulSetStatus,
    pub(super) revisit_at: Option<Timestamp>,
}

/// One step; each is safe alone and may be repeated.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Action {
    /// Becomes the controller of a pod that has none.
    Adopt(ObjectRef),
    /// Stops controlling a pod whose labels or name no longer match.
    Release(ObjectRef),
    /// Creates a claim.
    Claim(Box<PersistentVolumeClaim>),
    /// Makes a claim go with these owners.
    Own(ObjectRef, Vec<OwnerReference>),
    /// Creates a pod.
    Create(Box<Pod>),
    /// Gives a pod the labels of its number.
    Label(ObjectRef, i32),
    /// Deletes a pod.
    Delete(ObjectRef, Why),
}

/// Why a pod is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// It has ended, which it never should; another takes its place.
    Ended,
    /// The set has fewer replicas now.
    Surplus,
    /// It is of an earlier template.
    Outdated,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Adopt(pod) => write!(f, "adopt {pod}: no controller, labels match"),
            Self::Release(pod) => write!(f, "release {pod}: no longer one of ours"),
            Self::Claim(claim) => write!(f, "claim {}", meta::name(&claim.metadata)),
            Self::Own(claim, owners) => {
                let kinds: Vec<String> = owners.iter().map(|owner| format!("{} {}", owner.kind, owner.name)).collect();
                write!(f, "{claim} goes with [{}]", kinds.join(", "))
            }
            Self::Create(pod) => write!(f, "create {}", meta::name(&pod.metadata)),
            Self::Label(pod, ordinal) => write!(f, "label {pod} as number {ordinal}"),
            Self::Delete(pod, Why::Ended) => write!(f, "delete {pod}: it has ended"),
            Self::Delete(pod, Why::Surplus) => write!(f, "delete {pod}: too many replicas"),
            Self::Delete(pod, Why::Outdated) => write!(f, "delete {pod}: of an earlier template"),
        }
    }
}

/// The pods by their numbers, as the parts of the decision look at them.
pub(super) struct World<'a> {
    pub(super) set: &'a StatefulSet,
    /// The name of the revision that the set comes from.
    pub(super) current: &'a str,
    /// The name of the revision that the set goes to.
    pub(super) update: &'a str,
    updated: BTreeSet<&'a str>,
    now: Timestamp,
    /// One place per number that the set has now.
    replicas: Vec<(i32, Option<&'a Pod>)>,
    /// Those with other numbers, the highest first.
    condemned: Vec<(i32, &'a Pod)>,
}

impl<'a> World<'a> {
    /// Returns how many pods there should be.
    pub(super) fn desired(&self) -> i32 {
        desired(self.set)
    }

    /// Returns all pods.
    pub(super) fn pods(&self) -> impl Iterator<Item = &'a Pod> {
        self.replicas.iter().filter_map(|(_, pod)| *pod).chain(self.condemned.iter().map(|(_, pod)| *pod))
    }

    /// Whether a pod is of the newest template.
    pub(super) fn is_updated(&self, pod: &Pod) -> bool {
        revision_of(pod).is_some_and(|revision| self.updated.contains(revision))
    }

    /// Whether a pod has been ready for long enough.
    pub(super) fn is_available(&self, pod: &Pod) -> bool {
        is_ready(pod) && self.available_at(pod).is_some_and(|at| at <= self.now)
    }

    fn available_at(&self, pod: &Pod) -> Option<Timestamp> {
        pods::available_at(pod, self.set.spec.min_ready_seconds.unwrap_or_default())
    }

    fn is_healthy(&self, pod: Option<&Pod>) -> bool {
        pod.is_some_and(|pod| self.is_available(pod) && !meta::is_deleting(&pod.metadata))
    }

    /// Whether pods are replaced by the controller, and not by whoever deletes them.
    pub(super) fn is_rolling(&self) -> bool {
        let strategy = self.set.spec.update_strategy.as_ref();
        strategy.and_then(|strategy| strategy.type_.as_deref()) != Some("OnDelete")
    }

    /// Returns from which place on pods are of the newest template.
    fn partition(&self) -> usize {
        let strategy = self.set.spec.update_strategy.as_ref();
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let partition = rolling.and_then(|rolling| rolling.partition).filter(|_| self.is_rolling());
        usize::try_from(partition.unwrap_or_default()).unwrap_or_default()
    }

    /// Returns how many pods an update may take away at once; one unless the strategy says more.
    fn unavailable_max(&self) -> usize {
        let strategy = self.set.spec.update_strategy.as_ref();
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let limit = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
        let count = limit.and_then(|limit| intstr::scaled(limit, self.desired(), Round::Up).ok());
        usize::try_from(count.unwrap_or(1)).unwrap_or(1).max(1)
    }

    fn is_in_order(&self) -> bool {
        self.set.spec.pod_management_policy.as_deref() != Some("Parallel")
    }
}

fn desired(set: &StatefulSet) -> i32 {
    set.spec.replicas.unwrap_or(1).max(0)
}

/// Returns the name of a pod's revision.
pub(super) fn revision_of(pod: &Pod) -> Option<&str> {
    meta::labels(&pod.metadata).get(POD_HASH).map(String::as_str)
}

/// Whether a pod runs and is ready.
pub(super) fn is_ready(pod: &Pod) -> bool {
    pods::phase(pod) == "Running" && pods::is_ready(pod)
}

/// Decides.
pub(super) fn plan(observed: &Observed<'_>) -> Plan {
    let set = observed.set;
    let before = set.status.clone().unwrap_or_default();
    if meta::is_deleting(&set.metadata) || selector::of(&set.spec.selector).is_everything() {
        return Plan { status: before, ..Plan::default() };
    }
    let keeper = Keeper {
        meta: &set.metadata,
        owner: meta::controller_ref(set),
        selector: &set.spec.selector,
        template: &set.spec.template,
        collisions: before.collision_count.filter(|count| *count > 0),
        hash_label: HASH,
    };
    let history = History::read(&keeper, observed.revisions);
    let steps = history.steps(&keeper);
    let Some(update) = history.current.last().filter(|_| steps.is_empty()) else {
        return Plan { history: steps, status: before, ..Plan::default() };
    };
    let known = || history.current.iter().chain(&history.old);
    let is_current = |one: &&&ControllerRevision| one.metadata.name == before.current_revision;
    let current = known().find(is_current).unwrap_or(update);
    let (mut actions, ours) = claim(observed);
    let world = look(observed, &ours, (current, update), &history);
    actions.extend(manage(&world, observed.claims, &template_of(current).unwrap_or_default()));
    let status = status::of(&world, before);
    let is_used = |revision: &ControllerRevision| {
        let name = revision.metadata.name.as_deref();
        name == status.current_revision.as_deref() || world.pods().any(|pod| revision_of(pod) == name)
    };
    let history = history.surplus(set.spec.revision_history_limit, is_used);
    let pending = world.pods().filter_map(|pod| world.available_at(pod)).filter(|at| *at > observed.now);
    Plan { history, actions, revisit_at: pending.min(), status }
}

/// Returns whom to adopt and to release, and the pods that are the set's.
fn claim<'a>(observed: &Observed<'a>) -> (Vec<Action>, Vec<(i32, &'a Pod)>) {
    let set = observed.set;
    let selector = selector::of(&set.spec.selector);
    let (mut actions, mut ours) = (Vec::new(), Vec::new());
    for pod in observed.pods.iter().map(Arc::as_ref) {
        // A name that is no number of ours makes it a stranger, whatever its labels.
        let ordinal = identity::ordinal_of(set, pod);
        match (Claim::judge(&set.metadata, &selector, &pod.metadata), ordinal) {
            (Claim::Owned, Some(ordinal)) => ours.push((ordinal, pod)),
            (Claim::Adoptable, Some(ordinal)) => {
                actions.push(Action::Adopt(ObjectRef::of(&pod.metadata)));
                ours.push((ordinal, pod));
            }
            (Claim::Releasable, _) | (Claim::Owned, None) => {
                actions.push(Action::Release(ObjectRef::of(&pod.metadata)));
            }
            (Claim::Adoptable, None) | (Claim::Foreign, _) => {}
        }
    }
    (actions, ours)
}

fn look<'a>(
    observed: &Observed<'a>,
    ours: &[(i32, &'a Pod)],
    (current, update): (&'a ControllerRevision, &'a ControllerRevision),
    history: &History<'a>,
) -> World<'a> {
    let set = observed.set;
    let start = set.spec.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or_default();
    let numbers = start..start.saturating_add(desired(set));
    let of_number = |number: i32| ours.iter().find(|(ordinal, _)| *ordinal == number).map(|(_, pod)| *pod);
    let replicas = numbers.clone().map(|number| (number, of_number(number))).collect();
    let mut condemned: Vec<(i32, &Pod)> =
        ours.iter().filter(|(ordinal, _)| !numbers.contains(ordinal)).copied().collect();
    condemned.sort_by_key(|(ordinal, _)| std::cmp::Reverse(*ordinal));
    World {
        set,
        current: meta::name(&current.metadata),
        update: meta::name(&update.metadata),
        updated: history.current.iter().map(|revision| meta::name(&revision.metadata)).collect(),
        now: observed.now,
        replicas,
        condemned,
    }
}

/// First every number has its pod, then those too many go, then pods are replaced. In order, each waits for the one before.
fn manage(world: &World<'_>, claims: &Claims, current: &PodTemplateSpec) -> Vec<Action> {
    let mut actions = own_claims(world, claims);
    for (place, (ordinal, pod)) in world.replicas.iter().enumerate() {
        let is_done = replica(world, claims, current, (place, *ordinal, *pod), &mut actions);
        if !is_done && world.is_in_order() {
            return actions;
        }
    }
    let surplus = condemn(world);
    if !surplus.is_empty() || (world.is_in_order() && !world.condemned.is_empty()) {
        actions.extend(surplus);
        return actions;
    }
    if actions.is_empty() && world.is_rolling() {
        actions = roll(world);
    }
    actions
}

/// What one number needs; returns whether those after it may go on (`processReplica`).
fn replica(
    world: &World<'_>,
    claims: &Claims,
    current: &PodTemplateSpec,
    (place, ordinal, pod): (usize, i32, Option<&Pod>),
    actions: &mut Vec<Action>,
) -> bool {
    let set = world.set;
    let Some(pod) = pod else {
        if claims::are_stale(set, claims, ordinal) {
            return false;
        }
        actions.extend(claims::missing(set, claims, ordinal));
        let (template, revision) =
            if place < world.partition() { (current, world.current) } else { (&set.spec.template, world.update) };
        let made = identity::build(set, template, revision, ordinal);
        actions.push(Action::Create(Box::new(made)));
        return false;
    };
    let named = || ObjectRef::of(&pod.metadata);
    if pods::is_terminal(pod) {
        if !meta::is_deleting(&pod.metadata) {
            actions.push(Action::Delete(named(), Why::Ended));
        }
        return false;
    }
    if matches!(pods::phase(pod), "" | "Pending") && !meta::is_deleting(&pod.metadata) {
        actions.extend(claims::missing(set, claims, ordinal));
    }
    if !meta::is_deleting(&pod.metadata) && !identity::is_labelled(set, ordinal, pod) {
        actions.push(Action::Label(named(), ordinal));
    }
    world.is_healthy(Some(pod))
}

/// Makes all claims go with whom they should, before any pod goes.
fn own_claims(world: &World<'_>, claims: &Claims) -> Vec<Action> {
    let wanted = world.replicas.iter().filter_map(|(ordinal, pod)| Some((*ordinal, (*pod)?, Standing::Wanted)));
    let condemned = world.condemned.iter().map(|(ordinal, pod)| (*ordinal, *pod, Standing::Condemned));
    let all = wanted.chain(condemned);
    all.flat_map(|(ordinal, pod, standing)| claims::owned(world.set, claims, pod, ordinal, standing)).collect()
}

/// Deletes pods with numbers that the set no longer has: all, or in order the last one, once everything else is well
/// (`processCondemned`).
fn condemn(world: &World<'_>) -> Vec<Action> {
    let delete = |pod: &Pod| Action::Delete(ObjectRef::of(&pod.metadata), Why::Surplus);
    if !world.is_in_order() {
        let staying = world.condemned.iter().filter(|(_, pod)| !meta::is_deleting(&pod.metadata));
        return staying.map(|(_, pod)| delete(pod)).collect();
    }
    let Some((ordinal, last)) = world.condemned.first() else { return Vec::new() };
    // The first that is not well may go all the same: it holds up nobody but itself. So may one that has ended, for which
    // Kubernetes would wait for ever if another one before it had ended too.
    let first_unhealthy = world.condemned.iter().rev().find(|(_, pod)| !world.is_healthy(Some(pod)));
    let is_first = first_unhealthy.is_some_and(|(unhealthy, _)| unhealthy == ordinal);
    let may_go = world.is_available(last) || is_first || pods::is_terminal(last);
    if meta::is_deleting(&last.metadata) || !may_go { Vec::new() } else { vec![delete(last)] }
}

/// Deletes pods of earlier templates, the last first, as many as may be missing; the next look makes new ones.
fn roll(world: &World<'_>) -> Vec<Action> {
    let (mut left, mut actions) = (world.unavailable_max(), Vec::new());
    for (_, pod) in world.replicas.iter().skip(world.partition()).rev() {
        if left == 0 {
            break;
        }
        match pod {
            Some(pod) if !world.is_updated(pod) && !meta::is_deleting(&pod.metadata) => {
                actions.push(Action::Delete(ObjectRef::of(&pod.metadata), Why::Outdated));
                left -= 1;
            }
            pod if !world.is_healthy(*pod) => left -= 1,
            _ => {}
        }
    }
    actions
}
