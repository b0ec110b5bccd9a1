//! Which of two pods matters more, and which of two nodes loses less.

use std::cmp::{Ordering, Reverse};

use jiff::Timestamp;

use super::Candidate;
use crate::pod::PodInfo;

/// Orders the more important pod first: of higher priority, or running for longer (`util.MoreImportantPod`). The uid
/// makes it an order of all.
pub(super) fn importance(one: &PodInfo, other: &PodInfo) -> Ordering {
    let rank = |pod: &PodInfo| (Reverse(pod.priority()), started(pod));
    rank(one).cmp(&rank(other)).then_with(|| one.uid().cmp(other.uid()))
}

/// Returns the candidate that does less harm, the first if they are alike (`pickOneNodeForPreemption`): fewer violated
/// budgets, then a lower highest priority, a lower sum of priorities, fewer victims, and those that started last.
pub(super) fn less_harmful(one: Candidate, other: Candidate) -> Candidate {
    if harm(&other) < harm(&one) { other } else { one }
}

fn harm(candidate: &Candidate) -> impl Ord + use<> {
    let victims = &candidate.victims;
    let highest = victims.iter().map(|pod| pod.priority()).max();
    // Every priority counts as positive, so that one victim of a negative priority is less than two.
    let sum: i64 = victims.iter().map(|pod| i64::from(pod.priority()) + i64::from(i32::MAX) + 1).sum();
    let most_important = victims.iter().filter(|pod| Some(pod.priority()) == highest);
    let earliest = most_important.map(|pod| started(pod)).min();
    (candidate.violations, highest, sum, victims.len(), Reverse(earliest))
}

/// Returns when a pod was accepted by its node. One that has not been yet started last.
fn started(pod: &PodInfo) -> Timestamp {
    let status = pod.pod.status.as_ref();
    status.and_then(|status| status.start_time.as_ref()).map_or(Timestamp::MAX, |time| time.0)
}
