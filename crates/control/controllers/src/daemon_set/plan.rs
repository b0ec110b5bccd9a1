//! Decides what one `DaemonSet` needs next (`pkg/controller/daemon/daemon_controller.go`). No I/O, no clock, no
//! randomness.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod};

use super::nodes::{self, Fate};
use super::{rolling, status};
use crate::common::history::{History, Keeper, POD_HASH, Step, hash_of};
use crate::common::{Claim, ObjectRef, hash, meta, pods, selector};

/// The most pods that one look creates or deletes (`BurstReplicas`).
const BURST: usize = 250;

/// Everything the decision may look at.
pub(super) struct Observed<'a> {
    pub(super) set: &'a DaemonSet,
    /// Every pod of the namespace that the set controls, or that nobody does.
    pub(super) pods: &'a [Arc<Pod>],
    /// The same of revisions.
    pub(super) revisions: &'a [Arc<ControllerRevision>],
    pub(super) nodes: &'a [Arc<Node>],
    /// The nodes on which failed pods are not replaced before this time.
    pub(super) retry_at: &'a BTreeMap<String, Timestamp>,
    pub(super) now: Timestamp,
}

/// What to do, in order, and what to report.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// What is noted down before anything else, or forgotten.
    pub(super) history: Vec<Step>,
    pub(super) actions: Vec<Action>,
    /// The hash of the pods to create.
    pub(super) hash: String,
    pub(super) status: DaemonSetStatus,
    pub(super) revisit_at: Option<Timestamp>,
}

/// One step; each is safe alone and may be repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Becomes the controller of a pod that has none.
    Adopt(ObjectRef),
    /// Stops controlling a pod whose labels no longer match.
    Release(ObjectRef),
    /// Creates the pod of a node.
    Create(String),
    /// Deletes a pod.
    Delete(ObjectRef, Why),
}

/// Why a pod is deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Why {
    /// It has failed on this node.
    Failed(String),
    /// It has ended on this node, and a daemon never should.
    Succeeded(String),
    /// Another one does its work.
    Twin,
    /// It should not be on its node, or its node is gone.
    Misplaced,
    /// It is of an earlier template.
    Outdated,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Adopt(pod) => write!(f, "adopt {pod}: no controller, labels match"),
            Self::Release(pod) => write!(f, "release {pod}: labels no longer match"),
            Self::Create(node) => write!(f, "create on {node}"),
            Self::Delete(pod, Why::Failed(node)) => write!(f, "delete {pod}: it failed on {node}"),
            Self::Delete(pod, Why::Succeeded(node)) => write!(f, "delete {pod}: it ended on {node}"),
            Self::Delete(pod, Why::Twin) => write!(f, "delete {pod}: another does its work"),
            Self::Delete(pod, Why::Misplaced) => write!(f, "delete {pod}: it is not wanted there"),
            Self::Delete(pod, Why::Outdated) => write!(f, "delete {pod}: of an earlier template"),
        }
    }
}

/// The daemons and the nodes, as the parts of the decision look at them.
pub(super) struct World<'a> {
    pub(super) set: &'a DaemonSet,
    pub(super) now: Timestamp,
    /// By name.
    nodes: BTreeMap<&'a str, Fate>,
    /// By the node that they are on or are for, the one that counts first.
    pods: BTreeMap<&'a str, Vec<&'a Pod>>,
    current_hashes: BTreeSet<&'a str>,
}

impl<'a> World<'a> {
    /// Returns the nodes that should have a daemon.
    pub(super) fn desired(&self) -> impl Iterator<Item = &'a str> {
        self.nodes.iter().filter(|(_, fate)| **fate == Fate::Run).map(|(node, _)| *node)
    }

    /// Returns the nodes that should have a daemon, and those that have one.
    pub(super) fn places(&self) -> BTreeSet<&'a str> {
        self.desired().chain(self.pods.keys().copied()).collect()
    }

    /// Returns the daemons of a node.
    pub(super) fn on(&self, node: &str) -> &[&'a Pod] {
        self.pods.get(node).map(Vec::as_slice).unwrap_or_default()
    }

    /// Returns what becomes of daemons on a node.
    pub(super) fn fate(&self, node: &str) -> Option<Fate> {
        self.nodes.get(node).copied()
    }

    /// Whether a pod is of the current template.
    pub(super) fn is_updated(&self, pod: &Pod) -> bool {
        meta::labels(&pod.metadata).get(POD_HASH).is_some_and(|hash| self.current_hashes.contains(hash.as_str()))
    }

    /// Returns when a pod becomes, or became, available.
    pub(super) fn available_at(&self, pod: &Pod) -> Option<Timestamp> {
        pods::available_at(pod, self.set.spec.min_ready_seconds.unwrap_or_default())
    }

    /// Whether a pod is available.
    pub(super) fn is_available(&self, pod: &Pod) -> bool {
        self.available_at(pod).is_some_and(|at| at <= self.now)
    }
}

/// Decides.
pub(super) fn plan(observed: &Observed<'_>) -> Plan {
    let set = observed.set;
    let before = set.status.clone().unwrap_or_default();
    let spec = &set.spec;
    if meta::is_deleting(&set.metadata) || selector::of(&spec.selector).is_everything() {
        return Plan { status: before, ..Plan::default() };
    }
    let keeper = Keeper {
        meta: &set.metadata,
        owner: meta::controller_ref(set),
        selector: &spec.selector,
        template: &spec.template,
        collisions: before.collision_count,
        hash_label: POD_HASH,
    };
    let history = History::read(&keeper, observed.revisions);
    let (claims, ours) = claim(observed);
    let world = look(observed, &ours, history.current_hashes(&keeper));
    let mut plan = Plan { actions: claims, status: status::of(&world, before), ..Plan::default() };
    plan.history = history.steps(&keeper);
    let current = history.current.last().and_then(|revision| hash_of(revision, POD_HASH));
    if let Some(current) = current.filter(|_| plan.history.is_empty()) {
        current.clone_into(&mut plan.hash);
        act(observed, &world, &mut plan);
        let used: BTreeSet<&String> = ours.iter().filter_map(|pod| meta::labels(&pod.metadata).get(POD_HASH)).collect();
        let is_used = |revision: &ControllerRevision| {
            meta::labels(&revision.metadata).get(POD_HASH).is_some_and(|hash| used.contains(hash))
        };
        plan.history = history.surplus(spec.revision_history_limit, is_used);
    } else if current.is_none() {
        plan.hash = hash::pod_template_hash(&spec.template, keeper.collisions);
    }
    plan.revisit_at = meta::earliest(plan.revisit_at, status::changes_at(&world));
    plan
}

/// First every node has its pod, then pods are replaced.
fn act(observed: &Observed<'_>, world: &World<'_>, plan: &mut Plan) {
    let mut actions = Vec::new();
    for node in world.places() {
        manage(observed, world, node, &mut actions, &mut plan.revisit_at);
    }
    let strategy = world.set.spec.update_strategy.as_ref();
    let is_on_delete = strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete");
    if actions.is_empty() && !is_on_delete {
        actions = rolling::roll(world);
    }
    let (creations, deletions): (Vec<Action>, Vec<Action>) =
        actions.into_iter().partition(|action| matches!(action, Action::Create(_)));
    plan.actions.extend(creations.into_iter().take(BURST));
    plan.actions.extend(deletions.into_iter().take(BURST));
}

/// What one node needs (`podsShouldBeOnNode`).
fn manage(
    observed: &Observed<'_>,
    world: &World<'_>,
    node: &str,
    actions: &mut Vec<Action>,
    revisit_at: &mut Option<Timestamp>,
) {
    let there = world.on(node);
    let staying = || there.iter().copied().filter(|pod| !meta::is_deleting(&pod.metadata));
    let delete = |pod: &Pod, why: Why| Action::Delete(ObjectRef::of(&pod.metadata), why);
    let fate = world.fate(node);
    match fate {
        // The pods of a node that is gone are collected with it; those that wait for it would wait for ever.
        None => {
            let waiting = staying().filter(|pod| pods::node_name(pod).is_none());
            actions.extend(waiting.map(|pod| delete(pod, Why::Misplaced)));
            return;
        }
        Some(Fate::Leave) => {
            actions.extend(staying().map(|pod| delete(pod, Why::Misplaced)));
            return;
        }
        Some(Fate::Run) if there.is_empty() => {
            actions.push(Action::Create(node.to_owned()));
            return;
        }
        Some(Fate::Run | Fate::Stay) => {}
    }
    let mut running = Vec::new();
    for pod in staying() {
        match pods::phase(pod) {
            "Failed" => match observed.retry_at.get(node) {
                Some(at) => *revisit_at = meta::earliest(*revisit_at, Some(*at)),
                None => actions.push(delete(pod, Why::Failed(node.to_owned()))),
            },
            "Succeeded" => actions.push(delete(pod, Why::Succeeded(node.to_owned()))),
            _ => running.push(pod),
        }
    }
    if rolling::allows_surge(world.set) {
        if running.is_empty() && fate == Some(Fate::Run) {
            actions.push(Action::Create(node.to_owned()));
        }
        actions.extend(surplus_of_surge(world, &running).into_iter().map(|pod| delete(pod, Why::Twin)));
    } else {
        actions.extend(running.into_iter().skip(1).map(|pod| delete(pod, Why::Twin)));
    }
}

/// With a surge two pods may be on a node: an old one that is ready, and a new one that is not available yet.
fn surplus_of_surge<'a>(world: &World<'_>, running: &[&'a Pod]) -> Vec<&'a Pod> {
    let (new, old): (Vec<&Pod>, Vec<&Pod>) = running.iter().partition(|pod| world.is_updated(pod));
    let twins = new.iter().skip(1).chain(old.iter().skip(1)).copied();
    let replaced = match (new.first(), old.first()) {
        (Some(new), Some(old)) if !pods::is_ready(old) || world.is_available(new) => Some(*old),
        _ => None,
    };
    twins.chain(replaced).collect()
}

/// Returns whom to adopt and to release, and the pods that are the set's.
fn claim<'a>(observed: &Observed<'a>) -> (Vec<Action>, Vec<&'a Pod>) {
    let selector = selector::of(&observed.set.spec.selector);
    let (mut actions, mut ours) = (Vec::new(), Vec::new());
    for pod in observed.pods.iter().map(Arc::as_ref) {
        match Claim::judge(&observed.set.metadata, &selector, &pod.metadata) {
            Claim::Owned => ours.push(pod),
            Claim::Adoptable => {
                actions.push(Action::Adopt(ObjectRef::of(&pod.metadata)));
                ours.push(pod);
            }
            Claim::Releasable => actions.push(Action::Release(ObjectRef::of(&pod.metadata))),
            Claim::Foreign => {}
        }
    }
    (actions, ours)
}

fn look<'a>(observed: &Observed<'a>, ours: &[&'a Pod], current_hashes: BTreeSet<&'a str>) -> World<'a> {
    let judged = |node: &'a Arc<Node>| (meta::name(&node.metadata), nodes::fate(observed.set, node));
    let mut pods: BTreeMap<&str, Vec<&Pod>> = BTreeMap::new();
    // What has ended and is being deleted only waits for a finalizer of somebody else.
    for pod in ours.iter().filter(|pod| !(pods::is_terminal(pod) && meta::is_deleting(&pod.metadata))) {
        if let Some(node) = nodes::target(pod) {
            pods.entry(node).or_default().push(pod);
        }
    }
    for on_node in pods.values_mut() {
        on_node.sort_by_key(|pod| {
            (pods::node_name(pod).is_none(), meta::created_at(&pod.metadata), meta::name(&pod.metadata))
        });
    }
    let nodes = observed.nodes.iter().map(judged).collect();
    World { set: observed.set, now: observed.now, nodes, pods, current_hashes }
}
