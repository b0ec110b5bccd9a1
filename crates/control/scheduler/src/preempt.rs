//! Which pods must go so that a more important one has a node (`plugins/defaultpreemption`, `framework/preemption`). Pure.
//!
//! ```text
//!   may the pod preempt? --> nodes that could be helped --> per node: take all less important pods away, does it fit?
//!                                                                       | then let stay whom it fits beside
//!                                          the least harmful  <---------'
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use crate::framework::{Profile, Reason};
use crate::pod::PodInfo;
use crate::schedule::{Rejection, Unschedulable};
use crate::snapshot::{NodeInfo, NodeName, Snapshot};
use crate::trial::Trial;

mod budgets;
mod rank;

/// How many nodes are looked at: this many, or a tenth if that is more (`DefaultPreemptionArgs`). The best of a hundred
/// is good enough, and everybody else waits for the decision.
const CANDIDATES_MIN: usize = 100;

/// See `CANDIDATES_MIN`.
const CANDIDATES_PART: usize = 10;

const NO_VICTIMS: &str = "No preemption victims found for incoming pod";
const NOT_HELPFUL: &str = "Preemption is not helpful for scheduling";

/// Who has to go from where.
#[derive(Debug, Clone)]
pub struct Preemption {
    /// The node that will have room.
    pub node: NodeName,
    /// Who leaves it, the most important first; at least one.
    pub victims: Vec<Arc<PodInfo>>,
    /// Less important pods that this node was kept for. They should look elsewhere.
    pub outbid: Vec<Arc<PodInfo>>,
}

/// Why no pod will go. Prints as what follows `preemption: ` in the message that kubectl shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The pod may not make others go.
    Never,
    /// The pods that it made go are still leaving.
    Leaving,
    /// It would help nowhere.
    Helpless(Unschedulable),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("not eligible due to preemptionPolicy=Never."),
            Self::Leaving => f.write_str("not eligible due to a terminating pod on the nominated node."),
            Self::Helpless(nodes) => nodes.fmt(f),
        }
    }
}

/// A node that would do, and at what price.
struct Candidate {
    node: NodeName,
    /// The most important first.
    victims: Vec<Arc<PodInfo>>,
    /// How many of them their disruption budget would keep.
    violations: usize,
}

/// Decides who goes for a pod that was turned away everywhere. If there are very many nodes, `first` picks from which on
/// to look at them, given how many there are.
///
/// # Errors
/// If nobody does.
pub fn preempt(
    pod: &PodInfo,
    rejected: &Unschedulable,
    cluster: &Snapshot,
    budgets: &[Arc<PodDisruptionBudget>],
    profile: &Profile,
    first: &mut dyn FnMut(usize) -> usize,
) -> Result<Preemption, Refusal> {
    is_eligible(pod, rejected, cluster)?;
    let names: Vec<&NodeName> =
        rejected.nodes.iter().filter(|(_, rejection)| rejection.preemption_may_help).map(|(name, _)| name).collect();
    let wanted = CANDIDATES_MIN.max(rejected.nodes.len() / CANDIDATES_PART);
    let offset = if names.len() > wanted { first(names.len()) } else { 0 };
    let mut trial = Trial::new(pod, cluster, profile);
    let mut candidates: Vec<Candidate> = Vec::new();
    let mut helpless = BTreeMap::new();
    for name in names.iter().cycle().skip(offset).take(names.len()) {
        let Some(node) = cluster.node(&name.0) else { continue };
        match victims_on(node, pod, &mut trial, budgets) {
            Ok(candidate) => candidates.push(candidate),
            Err(rejection) => drop(helpless.insert((*name).clone(), rejection)),
        }
        if candidates.len() >= wanted && candidates.iter().any(|candidate| candidate.violations == 0) {
            break;
        }
    }
    let Some(best) = candidates.into_iter().reduce(rank::less_harmful) else {
        return Err(Refusal::Helpless(why_nowhere(rejected, helpless)));
    };
    let outbid = cluster.nominated_to(&best.node).filter(|other| other.priority() < pod.priority()).cloned().collect();
    Ok(Preemption { node: best.node, victims: best.victims, outbid })
}

/// Whether a pod may make others go now (`PodEligibleToPreemptOthers`). While those of its last time are still leaving,
/// it waits, unless the node has become one that will never do.
fn is_eligible(pod: &PodInfo, rejected: &Unschedulable, cluster: &Snapshot) -> Result<(), Refusal> {
    if !pod.may_preempt() {
        return Err(Refusal::Never);
    }
    let Some(nominated) = cluster.nomination(pod.uid()) else { return Ok(()) };
    if rejected.nodes.get(nominated).is_some_and(|rejection| !rejection.preemption_may_help) {
        return Ok(());
    }
    let mut others = cluster.node(&nominated.0).into_iter().flat_map(|node| node.pods.values());
    let leaving = others.any(|other| other.priority() < pod.priority() && other.is_preempted());
    if leaving { Err(Refusal::Leaving) } else { Ok(()) }
}

/// Finds whom a node must lose, and no more (`SelectVictimsOnNode`): without all less important pods the pod has to fit;
/// then, first of those that a budget protects and the most important first, everybody stays beside whom it still fits.
fn victims_on(
    node: &NodeInfo,
    pod: &PodInfo,
    trial: &mut Trial<'_>,
    budgets: &[Arc<PodDisruptionBudget>],
) -> Result<Candidate, Rejection> {
    let mut lower: Vec<Arc<PodInfo>> =
        node.pods.values().filter(|other| other.priority() < pod.priority()).cloned().collect();
    if lower.is_empty() {
        return Err(hopeless(NO_VICTIMS));
    }
    lower.sort_by(|one, other| rank::importance(one, other));
    let mut without = node.clone();
    for other in &lower {
        without.remove(other.uid());
    }
    if let Some(rejection) = trial.objection_if(&without) {
        return Err(rejection);
    }
    let (protected, others) = budgets::split(lower, budgets);
    let mut must_go = |pods: Vec<Arc<PodInfo>>| -> Vec<Arc<PodInfo>> {
        let pods = pods.into_iter();
        pods.filter(|other| {
            without.add(Arc::clone(other));
            let goes = trial.objection_if(&without).is_some();
            if goes {
                without.remove(other.uid());
            }
            goes
        })
        .collect()
    };
    let mut victims = must_go(protected);
    let violations = victims.len();
    victims.extend(must_go(others));
    if victims.is_empty() {
        // It was turned away here, so somebody has to go; otherwise a filter contradicts itself.
        return Err(hopeless(NO_VICTIMS));
    }
    victims.sort_by(|one, other| rank::importance(one, other));
    Ok(Candidate { node: NodeName(node.name().to_owned()), victims, violations })
}

fn hopeless(reason: &'static str) -> Rejection {
    Rejection { filter: "DefaultPreemption", reasons: vec![Reason::Borrowed(reason)], preemption_may_help: false }
}

/// Returns what each node says, those included that nothing could have helped.
fn why_nowhere(rejected: &Unschedulable, mut nodes: BTreeMap<NodeName, Rejection>) -> Unschedulable {
    for name in rejected.nodes.keys() {
        nodes.entry(name.clone()).or_insert_with(|| hopeless(NOT_HELPFUL));
    }
    Unschedulable { nodes, preemption: String::new() }
}

#[cfg(test)]
mod tests;
