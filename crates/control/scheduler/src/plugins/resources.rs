//! `NodeResourcesFit`, `NodeResourcesBalancedAllocation`: a node must have what a pod asks for, and should be emptier and
//! more evenly used than others afterwards.

use crate::framework::{Check, ClusterEvent, Filter, Rate, Reason, SCORE_MAX, Score, Verdict};
use crate::pod::PodInfo;
use crate::resources::Resources;
use crate::snapshot::{NodeInfo, Snapshot};

/// The rule: what is requested on a node never exceeds what it has.
#[derive(Debug)]
pub struct Fit;

impl Filter for Fit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn prepare<'c>(&'c self, pod: &'c PodInfo, _cluster: &'c Snapshot) -> Check<'c> {
        Check::per_node(move |node| judge(&pod.requests, node))
    }

    fn wakes_on(&self, event: &ClusterEvent) -> bool {
        matches!(
            event,
            ClusterEvent::NodeAdded
                | ClusterEvent::NodeAllocatableChanged
                | ClusterEvent::PodLeft
                | ClusterEvent::PodChanged
        )
    }
}

fn judge(wanted: &Resources, node: &NodeInfo) -> Verdict {
    let mut reasons = Vec::new();
    let mut never = None;
    if node.pods.len() >= node.pods_max {
        reasons.push(Reason::Borrowed("Too many pods"));
    }
    let mut compare = |name: &str, wanted: i64, used: i64, has: i64| {
        // What is not asked for may be overdrawn by others.
        if wanted > 0 && wanted > has.saturating_sub(used) {
            let reason = Reason::Owned(format!("Insufficient {name}"));
            if wanted > has {
                never = Some(reason.clone());
            }
            reasons.push(reason);
        }
    };
    let (used, has) = (&node.requested, &node.allocatable);
    compare("cpu", wanted.milli_cpu, used.milli_cpu, has.milli_cpu);
    compare("memory", wanted.memory, used.memory, has.memory);
    compare("ephemeral-storage", wanted.ephemeral_storage, used.ephemeral_storage, has.ephemeral_storage);
    for (name, amount) in &wanted.extended {
        let of = |resources: &Resources| resources.extended.get(name).copied().unwrap_or_default();
        compare(name, *amount, of(used), of(has));
    }
    match (never, reasons.as_slice()) {
        (_, []) => Verdict::Fits,
        (Some(only), [_]) => Verdict::Unfit(only),
        _ => Verdict::Full(reasons),
    }
}

/// The preference for nodes with more left, by CPU and memory alike.
#[derive(Debug)]
pub struct LeastAllocated;

impl Score for LeastAllocated {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn prepare<'c>(&'c self, pod: &'c PodInfo, _cluster: &'c Snapshot) -> Option<Rate<'c>> {
        Some(Box::new(move |node| {
            let free = |used: i64, has: i64| {
                if has == 0 || used > has {
                    0
                } else {
                    i64_of(i128::from(has - used) * i128::from(SCORE_MAX) / i128::from(has))
                }
            };
            let (used, more, has) = (&node.requested_stated, &pod.requests_stated, &node.allocatable);
            let cpu = free(used.milli_cpu + more.milli_cpu, has.milli_cpu);
            let memory = free(used.memory + more.memory, has.memory);
            i64::midpoint(cpu, memory)
        }))
    }
}

/// The preference for nodes whose CPU and memory would be used to the same degree.
#[derive(Debug)]
pub struct Balanced;

impl Score for Balanced {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    fn prepare<'c>(&'c self, pod: &'c PodInfo, _cluster: &'c Snapshot) -> Option<Rate<'c>> {
        // A pod that asks for nothing changes no balance; rating nodes for it would pile such pods up on one.
        if pod.requests.milli_cpu == 0 && pod.requests.memory == 0 {
            return None;
        }
        Some(Box::new(move |node| {
            let (used, more, has) = (&node.requested, &pod.requests, &node.allocatable);
            let cpu = permille(used.milli_cpu + more.milli_cpu, has.milli_cpu);
            let memory = permille(used.memory + more.memory, has.memory);
            // The standard deviation of two fractions is half their distance.
            SCORE_MAX - (cpu - memory).abs() * SCORE_MAX / 2_000
        }))
    }
}

/// Returns which part of `has` is used, in thousandths, at most all of it.
fn permille(used: i64, has: i64) -> i64 {
    if has == 0 { 0 } else { i64_of((i128::from(used) * 1_000 / i128::from(has)).min(1_000)) }
}

fn i64_of(number: i128) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::{cluster, node, pod, scores, verdicts};

    fn verdict(pod: &crate::build::PodBuilder, cluster: &Snapshot) -> String {
        verdicts(&Fit, pod, cluster).remove(0)
    }

    #[test]
    fn a_pod_fits_up_to_the_last_thousandth() {
        let used = cluster(&[node("n")], &[pod("a").cpu("3").on("n")]);
        assert_eq!(verdict(&pod("b").cpu("1"), &used), "n: ok");
        assert_eq!(verdict(&pod("b").cpu("1001m"), &used), "n: full: Insufficient cpu");
    }

    #[test]
    fn every_missing_resource_is_named() {
        let used = cluster(&[node("n")], &[pod("a").cpu("3").request("memory", "7Gi").on("n")]);
        assert_eq!(
            verdict(&pod("b").cpu("2").request("memory", "2Gi"), &used),
            "n: full: Insufficient cpu, Insufficient memory"
        );
    }

    #[test]
    fn more_than_a_node_ever_has_cannot_be_preempted() {
        assert_eq!(verdict(&pod("b").cpu("5"), &node("n").in_snapshot()), "n: unfit: Insufficient cpu");
    }

    #[test]
    fn a_node_takes_only_so_many_pods() {
        let one = cluster(&[node("n").allocatable("pods", "1")], &[pod("a").on("n")]);
        assert_eq!(verdict(&pod("b"), &one), "n: full: Too many pods");
    }

    #[test]
    fn what_is_not_asked_for_is_not_missing() {
        let overdrawn = cluster(&[node("n").allocatable("cpu", "1")], &[pod("a").cpu("3").on("n")]);
        assert_eq!(verdict(&pod("b"), &overdrawn), "n: ok");
    }

    #[test]
    fn extended_resources_count() {
        let gpu = "example.com/gpu";
        let nodes = cluster(&[node("n").allocatable(gpu, "1")], &[]);
        assert_eq!(verdict(&pod("b").request(gpu, "1"), &nodes), "n: ok");
        assert_eq!(verdict(&pod("b").request(gpu, "2"), &nodes), "n: unfit: Insufficient example.com/gpu");
        assert_eq!(
            verdict(&pod("b").request("example.com/none", "1"), &nodes),
            "n: unfit: Insufficient example.com/none"
        );
    }

    #[test]
    fn pods_that_have_ended_take_nothing() {
        let ended = cluster(&[node("n")], &[pod("a").cpu("4").on("n").phase("Failed")]);
        assert_eq!(verdict(&pod("b").cpu("4"), &ended), "n: ok");
    }

    #[test]
    fn emptier_nodes_are_preferred() {
        let nodes = cluster(&[node("n1"), node("n2")], &[pod("a").cpu("2").request("memory", "4Gi").on("n1")]);
        assert_eq!(scores(&LeastAllocated, &pod("b").cpu("1").request("memory", "2Gi"), &nodes), [25, 75]);
    }

    #[test]
    fn pods_without_requests_are_spread_too() {
        let nodes = cluster(&[node("n1"), node("n2")], &[pod("a").on("n1"), pod("b").on("n1")]);
        let scores = scores(&LeastAllocated, &pod("c"), &nodes);
        assert!(scores[0] < scores[1], "{scores:?}");
    }

    #[test]
    fn evenly_used_nodes_are_preferred() {
        let nodes = cluster(
            &[node("n1"), node("n2")],
            &[pod("a").cpu("2").on("n1"), pod("b").request("memory", "4Gi").on("n2")],
        );
        let scores = scores(&Balanced, &pod("c").request("memory", "4Gi"), &nodes);
        assert_eq!(scores, [100, 50], "n1 would use half of both, n2 all of its memory and no CPU");
    }

    #[test]
    fn balance_says_nothing_of_pods_without_requests() {
        assert_eq!(scores(&Balanced, &pod("c"), &node("n").in_snapshot()), [0; 0]);
    }
}
