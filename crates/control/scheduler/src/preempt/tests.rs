//! Who goes, who stays, which node loses, and what is said if nobody goes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::{Value, json};
use wkube_base::Rng;

use super::*;
use crate::build::{NodeBuilder, PodBuilder, cluster, node, pod};
use crate::framework::default_profile;
use crate::schedule::schedule;

/// A pod on `node` that takes so many CPUs.
fn on(name: &str, node: &str, cpu: &str, priority: i32) -> PodBuilder {
    pod(name).on(node).cpu(cpu).priority(priority)
}

fn since(pod: PodBuilder, minute: u32) -> PodBuilder {
    pod.status("startTime", json!(format!("2026-01-01T00:{minute:02}:00Z")))
}

fn high(cpu: &str) -> PodBuilder {
    pod("high").cpu(cpu).priority(100)
}

fn budget(app: &str, allowed: i32, disrupted: &[&str]) -> Arc<PodDisruptionBudget> {
    let disrupted: BTreeMap<_, _> = disrupted.iter().map(|name| (*name, "2026-01-01T00:00:00Z")).collect();
    let budget = json!({
        "metadata": { "name": app, "namespace": "default" },
        "spec": { "selector": { "matchLabels": { "app": app } } },
        "status": { "disruptionsAllowed": allowed, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0,
            "disruptedPods": disrupted },
    });
    Arc::new(serde_json::from_value(budget).expect("a budget"))
}

/// Returns the decision as `node: victims`, or why there is none. The pod must have been turned away.
fn decide_with(pod: &PodBuilder, cluster: &Snapshot, budgets: &[Arc<PodDisruptionBudget>]) -> String {
    let (pod, profile) = (pod.info(), default_profile());
    let rejected = schedule(&pod, cluster, &profile, &mut |_| 0).expect_err("turned away");
    match preempt(&pod, &rejected, cluster, budgets, &profile, &mut |_| 0) {
        Ok(done) => format!("{}: {}", done.node, names(&done.victims)),
        Err(refusal) => refusal.to_string(),
    }
}

fn decide(pod: &PodBuilder, nodes: &[NodeBuilder], pods: &[PodBuilder]) -> String {
    decide_with(pod, &cluster(nodes, pods), &[])
}

fn names(pods: &[Arc<PodInfo>]) -> String {
    pods.iter().map(|pod| pod.key().name).collect::<Vec<_>>().join(" ")
}

fn two() -> [NodeBuilder; 2] {
    [node("n1"), node("n2")]
}

#[test]
fn a_less_important_pod_goes() {
    assert_eq!(decide(&high("2"), &[node("n1")], &[on("low", "n1", "4", 0)]), "n1: low");
}

#[test]
fn equals_and_betters_stay() {
    let message = "0/1 nodes are available: 1 No preemption victims found for incoming pod.";
    for priority in [100, 101] {
        assert_eq!(decide(&high("2"), &[node("n1")], &[on("other", "n1", "4", priority)]), message);
    }
}

#[test]
fn a_pod_that_never_preempts_says_so() {
    let meek = high("2").spec("preemptionPolicy", json!("Never"));
    let message = "not eligible due to preemptionPolicy=Never.";
    assert_eq!(decide(&meek, &[node("n1")], &[on("low", "n1", "4", 0)]), message);
    let bold = high("2").spec("preemptionPolicy", json!("PreemptLowerPriority"));
    assert_eq!(decide(&bold, &[node("n1")], &[on("low", "n1", "4", 0)]), "n1: low");
}

#[test]
fn nobody_goes_where_it_would_not_help() {
    let nodes = [node("n1").taint("a:NoSchedule"), node("n2").spec("unschedulable", json!(true)), node("n3")];
    let pods = [on("a", "n1", "4", 0), on("b", "n2", "4", 0), on("c", "n3", "4", 200)];
    let message = "0/3 nodes are available: 1 No preemption victims found for incoming pod, 2 Preemption is not helpful \
                   for scheduling.";
    assert_eq!(decide(&high("2"), &nodes, &pods), message);
}

#[test]
fn a_node_that_stays_too_full_says_what_is_missing() {
    let pods = [on("low", "n1", "1", 0), on("mighty", "n1", "3", 200)];
    let message = "0/1 nodes are available: 1 Insufficient cpu.";
    assert_eq!(decide(&high("2"), &[node("n1")], &pods), message);
}

#[test]
fn no_more_go_than_must_and_the_least_important_first() {
    let pods = [on("a", "n1", "1", 1), on("b", "n1", "1", 2), on("c", "n1", "1", 3), on("d", "n1", "1", 4)];
    assert_eq!(decide(&high("1"), &[node("n1")], &pods), "n1: a");
    assert_eq!(decide(&high("2"), &[node("n1")], &pods), "n1: b a");
    assert_eq!(decide(&high("4"), &[node("n1")], &pods), "n1: d c b a");
}

#[test]
fn a_small_pod_stays_if_a_larger_one_has_to_go_anyway() {
    let pods = [on("large", "n1", "3", 50), on("small", "n1", "1", 1)];
    assert_eq!(decide(&high("3"), &[node("n1")], &pods), "n1: large");
}

#[test]
fn of_equals_who_runs_longest_stays() {
    let pods = [since(on("old", "n1", "2", 0), 1), since(on("young", "n1", "2", 0), 2)];
    assert_eq!(decide(&high("2"), &[node("n1")], &pods), "n1: young");
    let pods = [since(on("a", "n1", "2", 0), 1), on("not-started", "n1", "2", 0)];
    assert_eq!(decide(&high("2"), &[node("n1")], &pods), "n1: not-started");
}

#[test]
fn places_and_ports_and_company_are_freed_too() {
    let crowded = [node("n1").allocatable("pods", "1")];
    assert_eq!(decide(&pod("high").priority(1), &crowded, &[on("low", "n1", "1", 0)]), "n1: low");
    let port = json!([{ "hostPort": 80 }]);
    let pods = [pod("web").on("n1").container("ports", port.clone()), on("other", "n1", "1", 0)];
    assert_eq!(decide(&high("1").container("ports", port), &[node("n1")], &pods), "n1: web");
    let term =
        json!([{ "labelSelector": { "matchLabels": { "app": "web" } }, "topologyKey": "kubernetes.io/hostname" }]);
    let alone = high("1")
        .spec("affinity", json!({ "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": term } }));
    let pods = [pod("web").label("app", "web").on("n1"), on("other", "n1", "1", 0)];
    assert_eq!(decide(&alone, &[node("n1")], &pods), "n1: web");
}

#[test]
fn whom_the_pod_must_be_near_stays() {
    let term =
        json!([{ "labelSelector": { "matchLabels": { "app": "db" } }, "topologyKey": "kubernetes.io/hostname" }]);
    let near = high("2")
        .spec("affinity", json!({ "podAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": term } }));
    let message = "0/1 nodes are available: 1 node(s) didn't match pod affinity rules.";
    assert_eq!(decide(&near, &[node("n1")], &[on("db", "n1", "3", 0).label("app", "db")]), message);
}

#[test]
fn pods_that_have_ended_are_no_victims() {
    let pods = [on("low", "n1", "4", 0), on("done", "n1", "4", 0).phase("Succeeded")];
    assert_eq!(decide(&high("4"), &[node("n1")], &pods), "n1: low");
}

#[test]
fn the_node_with_the_least_important_victim_loses() {
    let pods = [on("a", "n1", "4", 20), on("b", "n2", "4", 10)];
    assert_eq!(decide(&high("2"), &two(), &pods), "n2: b");
    let pods = [on("a", "n1", "4", 20), on("b", "n2", "2", 10), on("c", "n2", "2", 10)];
    assert_eq!(decide(&high("4"), &two(), &pods), "n2: b c", "two of 10 are better than one of 20");
}

#[test]
fn then_the_node_with_the_lower_sum_and_then_with_fewer_victims() {
    let pods = [on("a", "n1", "2", 10), on("b", "n1", "2", 5), on("c", "n2", "2", 10), on("d", "n2", "2", 4)];
    assert_eq!(decide(&high("4"), &two(), &pods), "n2: c d");
    let pods = [on("a", "n1", "2", -5), on("b", "n1", "2", -5), on("c", "n2", "4", -5)];
    assert_eq!(decide(&high("4"), &two(), &pods), "n2: c", "negative priorities do not make two cheaper than one");
}

#[test]
fn then_the_node_whose_most_important_victim_started_last() {
    let pods = [since(on("a", "n1", "4", 1), 1), since(on("b", "n2", "4", 1), 2)];
    assert_eq!(decide(&high("4"), &two(), &pods), "n2: b");
    let pods = [since(on("a", "n1", "4", 1), 2), since(on("b", "n2", "4", 1), 1)];
    assert_eq!(decide(&high("4"), &two(), &pods), "n1: a");
}

#[test]
fn and_then_the_first() {
    assert_eq!(decide(&high("4"), &two(), &[on("a", "n1", "4", 1), on("b", "n2", "4", 1)]), "n1: a");
}

#[test]
fn whom_a_budget_protects_stays_if_somebody_else_can_go() {
    let pods = [on("web", "n1", "2", 1).label("app", "web"), on("job", "n1", "2", 9)];
    let there = cluster(&[node("n1")], &pods);
    assert_eq!(decide_with(&high("2"), &there, &[budget("web", 0, &[])]), "n1: job");
    assert_eq!(decide_with(&high("2"), &there, &[budget("web", 1, &[])]), "n1: web", "one may go");
    assert_eq!(decide_with(&high("2"), &there, &[budget("web", 0, &["web"])]), "n1: web", "it was granted before");
    assert_eq!(decide_with(&high("4"), &there, &[budget("web", 0, &[])]), "n1: job web", "a budget is a wish");
}

#[test]
fn the_node_that_violates_no_budget_loses_whatever_it_loses() {
    let pods = [on("web", "n1", "4", 1).label("app", "web"), on("job", "n2", "4", 90)];
    let there = cluster(&two(), &pods);
    assert_eq!(decide_with(&high("2"), &there, &[budget("web", 0, &[])]), "n2: job");
    assert_eq!(decide_with(&high("2"), &there, &[]), "n1: web");
}

#[test]
fn a_budget_covers_as_many_as_it_allows() {
    let web = |name: &str, node: &str| on(name, node, "2", 1).label("app", "web");
    let pods = [web("a", "n1"), web("b", "n1"), web("c", "n2"), on("d", "n2", "2", 2)];
    assert_eq!(decide_with(&high("4"), &cluster(&two(), &pods), &[budget("web", 1, &[])]), "n2: d c");
}

#[test]
fn a_budget_of_another_namespace_or_without_a_selector_protects_nobody() {
    let pods = [on("web", "n1", "2", 1).label("app", "web"), on("job", "n1", "2", 9)];
    let there = cluster(&[node("n1")], &pods);
    let changed = |change: &dyn Fn(&mut PodDisruptionBudget)| {
        let mut budget = PodDisruptionBudget::clone(&budget("web", 0, &[]));
        change(&mut budget);
        decide_with(&high("2"), &there, &[Arc::new(budget)])
    };
    assert_eq!(changed(&|budget| budget.metadata.namespace = Some("other".into())), "n1: web");
    let selector = |budget: &mut PodDisruptionBudget, to| budget.spec.as_mut().expect("a spec").selector = to;
    assert_eq!(changed(&|budget| selector(budget, None)), "n1: web");
    assert_eq!(changed(&|budget| selector(budget, Some(LabelSelector::default()))), "n1: web");
}

/// A pod that leaves, for this reason.
fn leaving(pod: PodBuilder, reason: &str) -> PodBuilder {
    let condition: Value = json!([{ "type": "DisruptionTarget", "status": "True", "reason": reason }]);
    pod.meta("deletionTimestamp", json!("2026-01-01T00:00:00Z")).status("conditions", condition)
}

fn nominated(pod: &PodBuilder, to: &str, mut cluster: Snapshot) -> Snapshot {
    cluster.nominate(&pod.info(), &NodeName(to.to_owned()));
    cluster
}

#[test]
fn a_pod_whose_victims_are_still_leaving_waits_for_them() {
    let pods = [leaving(on("gone-soon", "n1", "2", 0), "PreemptionByScheduler"), on("low", "n1", "2", 0)];
    let there = nominated(&high("2"), "n1", cluster(&[node("n1")], &pods));
    let message = "not eligible due to a terminating pod on the nominated node.";
    assert_eq!(decide_with(&high("2"), &there, &[]), message);
    let otherwise = [leaving(on("gone-soon", "n1", "4", 0), "EvictionByEvictionAPI")];
    let there = nominated(&high("2"), "n1", cluster(&[node("n1")], &otherwise));
    assert_eq!(decide_with(&high("2"), &there, &[]), "n1: gone-soon");
}

#[test]
fn a_pod_whose_node_became_impossible_does_not_wait() {
    let pods = [leaving(on("gone-soon", "n1", "4", 0), "PreemptionByScheduler"), on("low", "n2", "4", 0)];
    let cordoned = [node("n1").spec("unschedulable", json!(true)), node("n2")];
    assert_eq!(decide_with(&high("2"), &nominated(&high("2"), "n1", cluster(&cordoned, &pods)), &[]), "n2: low");
    let gone = cluster(&[node("n2")], &pods);
    assert_eq!(decide_with(&high("2"), &nominated(&high("2"), "n1", gone), &[]), "n2: low");
}

#[test]
fn room_that_is_kept_for_a_better_or_equal_pod_is_taken() {
    for (priority, decision) in [(100, "n2: b"), (101, "n2: b"), (99, "n1: a")] {
        let rival = pod("rival").cpu("4").priority(priority);
        let pods = [on("a", "n1", "4", 0), on("b", "n2", "4", 50)];
        let there = nominated(&rival, "n1", cluster(&two(), &pods));
        assert_eq!(decide_with(&high("2"), &there, &[]), decision, "{priority}");
    }
}

#[test]
fn a_less_important_pod_that_the_node_was_kept_for_is_outbid() {
    let there = cluster(&[node("n1")], &[on("low", "n1", "4", 0)]);
    let there = nominated(&pod("middle").cpu("4").priority(50), "n1", there);
    let (high, profile) = (high("4").info(), default_profile());
    let rejected = schedule(&high, &there, &profile, &mut |_| 0).expect_err("full");
    let done = preempt(&high, &rejected, &there, &[], &profile, &mut |_| 0).expect("low goes");
    assert_eq!((names(&done.victims), names(&done.outbid)), ("low".to_owned(), "middle".to_owned()));
}

#[test]
fn of_very_many_nodes_a_hundred_are_looked_at_from_anywhere_on() {
    let nodes: Vec<NodeBuilder> = (0..150).map(|number| node(&format!("n{number:03}"))).collect();
    let pods: Vec<PodBuilder> =
        (0..150).map(|number| on(&format!("p{number:03}"), &format!("n{number:03}"), "4", 150 - number)).collect();
    let (high, profile, there) =
        (pod("high").cpu("2").priority(1_000).info(), default_profile(), cluster(&nodes, &pods));
    let rejected = schedule(&high, &there, &profile, &mut |_| 0).expect_err("full");
    let from = |offset| preempt(&high, &rejected, &there, &[], &profile, &mut |_| offset).expect("one goes").node.0;
    assert_eq!((from(0), from(10), from(120)), ("n099".to_owned(), "n109".to_owned(), "n149".to_owned()));
}

fn arbitrary(rng: &Rng) -> (Snapshot, Vec<Arc<PodDisruptionBudget>>) {
    let nodes: Vec<NodeBuilder> = (0..=rng.below(4)).map(|number| node(&format!("n{number}"))).collect();
    let mut there = cluster(&nodes, &[]);
    for number in 0..rng.below(30) {
        let pod = pod(&format!("p{number}")).cpu(&format!("{}m", 200 + rng.below(1_500)));
        let pod = pod.priority(i32::try_from(rng.below(5)).expect("small")).label("app", ["web", "db"][rng.below(2)]);
        let pod = if rng.below(4) == 0 { pod.container("ports", json!([{ "hostPort": 80 }])) } else { pod };
        if let Ok(node) = schedule(&pod.info(), &there, &default_profile(), &mut |count| rng.below(count)) {
            there.set_pod(&pod.on(&node.0).info());
        }
    }
    let budgets = ["web", "db"].map(|app| budget(app, i32::try_from(rng.below(3)).expect("small"), &[]));
    (there, budgets.to_vec())
}

#[test]
fn only_lesser_pods_of_one_node_go_all_of_them_are_needed_and_then_the_pod_has_its_node() {
    let mut preemptions = 0;
    for seed in 0..300 {
        let rng = Rng::seeded(seed);
        let (there, budgets) = arbitrary(&rng);
        let wanted = pod("new").priority(3).cpu(&format!("{}m", 500 + rng.below(3_000)));
        let (wanted, profile) = (wanted.container("ports", json!([{ "hostPort": 80 }])).info(), default_profile());
        let Err(rejected) = schedule(&wanted, &there, &profile, &mut |_| 0) else { continue };
        let Ok(done) = preempt(&wanted, &rejected, &there, &budgets, &profile, &mut |_| 0) else { continue };
        preemptions += 1;
        let mut after = there.clone();
        for victim in &done.victims {
            assert_eq!(victim.node_name(), Some(done.node.0.as_str()), "seed {seed}");
            assert!(victim.priority() < 3, "seed {seed}");
            after.remove_pod(victim.uid());
        }
        assert_eq!(schedule(&wanted, &after, &profile, &mut |_| 0).as_ref(), Ok(&done.node), "seed {seed}");
        for victim in &done.victims {
            let mut with = after.clone();
            with.set_pod(victim);
            assert!(
                schedule(&wanted, &with, &profile, &mut |_| 0).is_err(),
                "seed {seed}: {} could stay",
                victim.uid()
            );
        }
    }
    assert!(preemptions > 50, "{preemptions} say nothing");
}
