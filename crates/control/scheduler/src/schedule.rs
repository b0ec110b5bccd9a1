//! One scheduling decision: a node for a pod, or why there is none. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::framework::{Check, Profile, Reason, SCORE_MAX, Verdict};
use crate::pod::PodInfo;
use crate::snapshot::{NodeInfo, NodeName, Snapshot};

/// Why no node does. Prints as the message that kubectl shows, such as
/// `0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s).`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unschedulable {
    /// Who turned the pod away on each node, and why.
    pub nodes: BTreeMap<NodeName, Rejection>,
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
        write!(f, "0/{} nodes are available: {}.", self.nodes.len(), texts.join(", "))
    }
}

impl std::error::Error for Unschedulable {}

/// Decides where a pod goes. Among equally good nodes `tie` picks one, given how many there are.
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
    let best = match feasible.as_slice() {
        [only] => only,
        several => best_of(several, pod, cluster, profile, tie),
    };
    Ok(NodeName(best.name().to_owned()))
}

/// Returns the nodes that pass every filter; at least one.
fn feasible<'s>(pod: &PodInfo, cluster: &'s Snapshot, profile: &Profile) -> Result<Vec<&'s NodeInfo>, Unschedulable> {
    let checks: Vec<_> = profile
        .filters
        .iter()
        .filter_map(|filter| match filter.prepare(pod, cluster) {
            Check::NotApplicable => None,
            Check::PerNode(judge) => Some((filter.name(), judge)),
        })
        .collect();
    let mut fitting = Vec::new();
    let mut rejected = BTreeMap::new();
    for node in cluster.nodes() {
        let objection = checks.iter().find_map(|(filter, judge)| rejection(filter, judge(node)));
        match objection {
            None => fitting.push(node),
            Some(rejection) => drop(rejected.insert(NodeName(node.name().to_owned()), rejection)),
        }
    }
    if fitting.is_empty() { Err(Unschedulable { nodes: rejected }) } else { Ok(fitting) }
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
