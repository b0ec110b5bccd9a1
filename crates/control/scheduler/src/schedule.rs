//! One scheduling decision: a node for a pod, or why there is none. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::framework::{Check, Profile, Reason, SCORE_MAX, Verdict};
use crate::pod::PodInfo;
use crate::snapshot::{NodeInfo, NodeName, Snapshot};
use crate::trial::Trial;

/// Why no node does. Prints as the message that kubectl shows, such as
/// `0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s).`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unschedulable {
    /// Who turned the pod away on each node, and why.
    pub nodes: BTreeMap<NodeName, Rejection>,
    /// Why making other pods go did not help; empty if it did, or was not tried.
    pub preemption: String,
}

/// Why one node does not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The first filter that objected.
    pub filter: &'static str,
    /// What it said.
    pub reasons: Vec<Reason>,
    /// Whether the node would do if other pods left it.
    pub preemption_may_help: bool,
}

impl Unschedulable {
    /// Returns the filters that turned the pod away; empty if there was no node at all.
    pub fn filters(&self) -> BTreeSet<&'static str> {
        self.nodes.values().map(|rejection| rejection.filter).collect()
    }
}

impl fmt::Display for Unschedulable {
    /// Writes `FitError`'s message (`pkg/scheduler/framework/types.go`): each reason with how many nodes gave it, in
    /// the order of the texts, number included.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nodes.is_empty() {
            return f.write_str("no nodes available to schedule pods");
        }
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for reason in self.nodes.values().flat_map(|rejection| &rejection.reasons) {
            *counts.entry(reason).or_default() += 1;
        }
        let mut texts: Vec<String> = counts.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        texts.sort();
        write!(f, "0/{} nodes are available: {}.", self.nodes.len(), texts.join(", "))?;
        if self.preemption.is_empty() { Ok(()) } else { write!(f, " preemption: {}", self.preemption) }
    }
}

impl std::error::Error for Unschedulable {}

/// Decides where a pod goes: to the node that is kept for it if that does now, else to the best. Among equally good nodes
/// `tie` picks one, given how many there are.
///
/// # Errors
/// If no node does.
pub fn schedule(
    pod: &PodInfo,
    cluster: &Snapshot,
    profile: &Profile,
    tie: &mut dyn FnMut(usize) -> usize,
) -> Result<NodeName, Unschedulable> {
    let feasible = feasible(pod, cluster, profile)?;
    let kept = cluster.nomination(pod.uid());
    if let Some(kept) = kept.filter(|kept| feasible.iter().any(|node| node.name() == kept.0)) {
        return Ok(kept.clone());
    }
    let best = match feasible.as_slice() {
        [only] => only,
        several => best_of(several, pod, cluster, profile, tie),
    };
    Ok(NodeName(best.name().to_owned()))
}

/// Returns the nodes that pass every filter, also with the pods that room is kept for; at least one.
fn feasible<'s>(pod: &PodInfo, cluster: &'s Snapshot, profile: &Profile) -> Result<Vec<&'s NodeInfo>, Unschedulable> {
    let checks = checks(pod, cluster, profile);
    let mut crowded = cluster.has_nominations().then(|| Trial::new(pod, cluster, profile));
    let mut fitting = Vec::new();
    let mut rejected = BTreeMap::new();
    for node in cluster.nodes() {
        let name = NodeName(node.name().to_owned());
        let objection = objection(&checks, node).or_else(|| crowded.as_mut()?.objection_when_crowded(&name));
        match objection {
            None => fitting.push(node),
            Some(rejection) => drop(rejected.insert(name, rejection)),
        }
    }
    if fitting.is_empty() { Err(Unschedulable { nodes: rejected, preemption: String::new() }) } else { Ok(fitting) }
}

/// A filter's name, and how it judges a node.
type NamedCheck<'c> = (&'static str, Box<dyn Fn(&NodeInfo) -> Verdict + 'c>);

/// Lets the filters look at the pod and the cluster.
pub(crate) fn checks<'c>(pod: &'c PodInfo, cluster: &'c Snapshot, profile: &'c Profile) -> Vec<NamedCheck<'c>> {
    let filters = profile.filters.iter();
    filters
        .filter_map(|filter| match filter.prepare(pod, cluster) {
            Check::NotApplicable => None,
            Check::PerNode(judge) => Some((filter.name(), judge)),
        })
        .collect()
}

/// Returns what the first filter that objects to a node says.
pub(crate) fn objection(checks: &[NamedCheck<'_>], node: &NodeInfo) -> Option<Rejection> {
    checks.iter().find_map(|(filter, judge)| rejection(filter, judge(node)))
}

fn rejection(filter: &'static str, verdict: Verdict) -> Option<Rejection> {
    match verdict {
        Verdict::Fits => None,
        Verdict::Full(reasons) => Some(Rejection { filter, reasons, preemption_may_help: true }),
        Verdict::Unfit(reason) => Some(Rejection { filter, reasons: vec![reason], preemption_may_help: false }),
    }
}

fn best_of<'s>(
    nodes: &[&'s NodeInfo],
    pod: &PodInfo,
    cluster: &Snapshot,
    profile: &Profile,
    tie: &mut dyn FnMut(usize) -> usize,
) -> &'s NodeInfo {
    let mut totals = vec![0; nodes.len()];
    for (score, weight) in &profile.scores {
        let Some(rate) = score.prepare(pod, cluster) else { continue };
        let mut ratings: Vec<i64> = nodes.iter().map(|node| rate(node)).collect();
        score.normalize(&mut ratings);
        debug_assert!(
            ratings.iter().all(|rating| (0..=SCORE_MAX).contains(rating)),
            "{} rates from 0 to 100: {ratings:?}",
            score.name()
        );
        for (total, rating) in totals.iter_mut().zip(ratings) {
            *total += rating * weight;
        }
    }
    let highest = totals.iter().copied().max().unwrap_or_default();
    let best: Vec<&NodeInfo> =
        nodes.iter().zip(&totals).filter(|(_, total)| **total == highest).map(|(node, _)| *node).collect();
    best[tie(best.len())]
}

#[cfg(test)]
mod tests;
