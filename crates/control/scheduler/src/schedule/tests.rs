//! Whole decisions: what is chosen, what is said, and what never happens.

use serde_json::json;
use wkube_base::Rng;

use super::*;
use crate::build::{NodeBuilder, PodBuilder, cluster, node, pod};
use crate::framework::default_profile;

fn decide(pod: &PodBuilder, cluster: &Snapshot) -> Result<String, String> {
    let decision = schedule(&pod.info(), cluster, &default_profile(), &mut |_| 0);
    decision.map(|node| node.0).map_err(|error| error.to_string())
}

#[test]
fn a_cluster_without_nodes_says_so() {
    assert_eq!(decide(&pod("web"), &Snapshot::default()), Err("no nodes available to schedule pods".into()));
}

#[test]
fn the_message_counts_reasons_over_nodes() {
    let nodes = cluster(&[node("n1"), node("n2").taint("a:NoSchedule")], &[]);
    let message = "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s).";
    assert_eq!(decide(&pod("web").cpu("5"), &nodes), Err(message.into()));
}

#[test]
fn reasons_are_ordered_as_texts_with_their_numbers() {
    let mut nodes: Vec<NodeBuilder> = (0..10).map(|number| node(&format!("full{number}"))).collect();
    nodes.push(node("a").taint("a:NoSchedule"));
    nodes.extend([node("b").spec("unschedulable", json!(true)), node("c").spec("unschedulable", json!(true))]);
    let message = "0/13 nodes are available: 1 node(s) had untolerated taint(s), 10 Insufficient cpu, \
                   2 node(s) were unschedulable.";
    assert_eq!(decide(&pod("web").cpu("5"), &cluster(&nodes, &[])), Err(message.into()));
}

#[test]
fn one_node_may_give_several_reasons() {
    let full = cluster(&[node("n1")], &[pod("a").cpu("4").request("memory", "8Gi").on("n1")]);
    let message = "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory.";
    assert_eq!(decide(&pod("web").cpu("1").request("memory", "1Gi"), &full), Err(message.into()));
}

#[test]
fn the_first_objecting_filter_gives_the_reason_and_the_hint() {
    let cordoned = cluster(&[node("n1").taint("a:NoSchedule").spec("unschedulable", json!(true))], &[]);
    let rejected =
        schedule(&pod("web").cpu("9").info(), &cordoned, &default_profile(), &mut |_| 0).expect_err("cordoned");
    assert_eq!(rejected.filters(), BTreeSet::from(["NodeUnschedulable"]));
    assert!(!rejected.nodes.values().any(|rejection| rejection.preemption_may_help));
}

#[test]
fn only_a_full_node_could_be_helped_by_preemption() {
    let full = cluster(&[node("n1")], &[pod("a").cpu("4").on("n1")]);
    let rejected = schedule(&pod("web").cpu("1").info(), &full, &default_profile(), &mut |_| 0).expect_err("full");
    assert!(rejected.nodes.values().all(|rejection| rejection.preemption_may_help));
}

#[test]
fn the_emptier_of_two_nodes_is_chosen() {
    let nodes = cluster(&[node("n1"), node("n2")], &[pod("a").cpu("2").on("n1")]);
    assert_eq!(decide(&pod("web").cpu("1"), &nodes), Ok("n2".into()));
}

#[test]
fn equally_good_nodes_are_chosen_by_chance() {
    let nodes = cluster(&[node("n1"), node("n2"), node("n3").spec("unschedulable", json!(true))], &[]);
    let choose = |index: usize| {
        let mut offered = 0;
        let chosen = schedule(&pod("web").info(), &nodes, &default_profile(), &mut |count| {
            offered = count;
            index
        });
        (chosen.expect("there is room").0, offered)
    };
    assert_eq!(choose(0), ("n1".into(), 2));
    assert_eq!(choose(1), ("n2".into(), 2));
}

#[test]
fn replicas_end_up_spread_evenly() {
    let owner =
        json!([{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": "rs", "controller": true }]);
    let mut snapshot = cluster(&[node("n1"), node("n2"), node("n3")], &[]);
    for number in 0..9 {
        let pod = pod(&format!("web-{number}")).meta("ownerReferences", owner.clone()).info();
        let node = schedule(&pod, &snapshot, &default_profile(), &mut |_| 0).expect("there is room");
        snapshot.assume(&pod, &node);
    }
    assert_eq!(snapshot.nodes().map(|node| node.pods.len()).collect::<Vec<_>>(), [3, 3, 3]);
}

/// A random cluster of small, partly tainted and cordoned nodes.
fn arbitrary_nodes(rng: &Rng) -> Vec<NodeBuilder> {
    (0..=rng.below(5))
        .map(|number| {
            let node = node(&format!("n{number}"))
                .allocatable("cpu", &format!("{}m", 200 + rng.below(2_000)))
                .allocatable("memory", &format!("{}Mi", 64 + rng.below(1_000)))
                .allocatable("pods", &(1 + rng.below(12)).to_string());
            match rng.below(6) {
                0 => node.taint("dedicated=db:NoSchedule"),
                1 => node.spec("unschedulable", json!(true)),
                _ => node,
            }
        })
        .collect()
}

fn arbitrary_pod(rng: &Rng, number: usize) -> PodBuilder {
    let pod = pod(&format!("p{number}"));
    let pod = if rng.below(4) == 0 { pod } else { pod.cpu(&format!("{}m", rng.below(700))) };
    let pod = if rng.below(3) == 0 { pod } else { pod.request("memory", &format!("{}Mi", rng.below(300))) };
    let pod = if rng.below(5) == 0 { pod.container("ports", json!([{ "hostPort": 80 + rng.below(3) }])) } else { pod };
    if rng.below(3) == 0 { pod.tolerates(json!({ "key": "dedicated", "operator": "Exists" })) } else { pod }
}

#[test]
fn no_node_is_ever_over_committed_and_taints_and_ports_are_respected() {
    for seed in 0..300 {
        let rng = Rng::seeded(seed);
        let mut snapshot = cluster(&arbitrary_nodes(&rng), &[]);
        let mut tie = |count| rng.below(count);
        for number in 0..40 {
            let builder = arbitrary_pod(&rng, number);
            let pod = builder.info();
            if let Ok(chosen) = schedule(&pod, &snapshot, &default_profile(), &mut tie) {
                let node = snapshot.node(&chosen.0).expect("it exists");
                assert!(!node.is_unschedulable(), "seed {seed}");
                assert!(node.taints().is_empty() || !pod.tolerations().is_empty(), "seed {seed}");
                snapshot.assume(&pod, &chosen);
            }
        }
        for node in snapshot.nodes() {
            assert!(node.requested.milli_cpu <= node.allocatable.milli_cpu, "seed {seed} {}", node.name());
            assert!(node.requested.memory <= node.allocatable.memory, "seed {seed} {}", node.name());
            assert!(node.pods.len() <= node.pods_max, "seed {seed} {}", node.name());
            let mut ports: Vec<_> = node.pods.values().flat_map(|pod| &pod.host_ports).collect();
            ports.sort();
            assert!(ports.windows(2).all(|pair| pair[0] != pair[1]), "seed {seed} {}: {ports:?}", node.name());
        }
    }
}

#[test]
fn a_pod_is_turned_away_only_if_every_node_objects_and_the_message_accounts_for_all_of_them() {
    for seed in 0..200 {
        let rng = Rng::seeded(seed);
        let nodes = arbitrary_nodes(&rng);
        let snapshot = cluster(&nodes, &[]);
        let pod = arbitrary_pod(&rng, 0).cpu("1500m").info();
        if let Err(rejected) = schedule(&pod, &snapshot, &default_profile(), &mut |_| 0) {
            assert_eq!(rejected.nodes.len(), nodes.len(), "seed {seed}");
            assert!(rejected.nodes.values().all(|rejection| !rejection.reasons.is_empty()), "seed {seed}");
            assert!(
                rejected.to_string().starts_with(&format!("0/{} nodes are available: ", nodes.len())),
                "seed {seed}"
            );
        }
    }
}

fn kept(pod: &PodBuilder, node: &str, mut cluster: Snapshot) -> Snapshot {
    cluster.nominate(&pod.info(), &NodeName(node.to_owned()));
    cluster
}

#[test]
fn room_that_is_kept_for_a_pod_counts_as_taken_for_its_equals_and_lessers() {
    let waiting = pod("waiting").cpu("3").priority(5);
    let there = kept(&waiting, "n1", cluster(&[node("n1")], &[]));
    let full = "0/1 nodes are available: 1 Insufficient cpu.";
    for (priority, decision) in [(4, Err(full.to_owned())), (5, Err(full.to_owned())), (6, Ok("n1".to_owned()))] {
        assert_eq!(decide(&pod("web").cpu("2").priority(priority), &there), decision, "{priority}");
    }
    assert_eq!(decide(&pod("small").cpu("1"), &there), Ok("n1".into()), "beside it there is room");
    assert_eq!(decide(&waiting, &there), Ok("n1".into()), "it does not stand in its own way");
}

#[test]
fn company_that_may_never_come_is_not_counted_on() {
    let term =
        json!([{ "labelSelector": { "matchLabels": { "app": "db" } }, "topologyKey": "kubernetes.io/hostname" }]);
    let near = json!({ "podAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": term } });
    let there = kept(&pod("db").label("app", "db").priority(5), "n1", cluster(&[node("n1")], &[]));
    let message = "0/1 nodes are available: 1 node(s) didn't match pod affinity rules.";
    assert_eq!(decide(&pod("web").spec("affinity", near), &there), Err(message.into()));
}

#[test]
fn a_pod_goes_to_the_node_that_is_kept_for_it_even_if_another_is_emptier() {
    let (web, nodes) = (pod("web").cpu("1"), cluster(&[node("n1"), node("n2")], &[pod("a").cpu("2").on("n1")]));
    assert_eq!(decide(&web, &kept(&web, "n1", nodes.clone())), Ok("n1".into()));
    assert_eq!(decide(&web, &kept(&web, "gone", nodes)), Ok("n2".into()));
}
