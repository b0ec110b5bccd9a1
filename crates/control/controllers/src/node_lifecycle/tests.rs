//! What happens to a node that falls silent, to one that says it is not ready, and to their pods.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeCondition, NodeSpec, Pod, Taint, Toleration};

use super::plan::{Action, Observed, Plan, plan};
use super::{eviction, taints};
use crate::common::meta;
use crate::testing::{PodBuilder, at, lines, metadata, pod, set_ready};

fn node(ready: &str) -> Node {
    let mut node = Node { metadata: metadata("n1"), ..Node::default() };
    node.spec = Some(NodeSpec { pod_cidr: Some("10.42.0.0/24".to_owned()), ..NodeSpec::default() });
    let conditions = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"].map(|kind| NodeCondition {
        type_: kind.to_owned(),
        status: if kind == "Ready" { ready } else { "False" }.to_owned(),
        last_heartbeat_time: Some(meta::time(at(0))),
        ..NodeCondition::default()
    });
    node.status.get_or_insert_default().conditions = Some(conditions.to_vec());
    node
}

/// A pod with the tolerations that admission gives to every pod: 300 s.
fn tolerant(name: &str) -> PodBuilder {
    let mut built = pod(name).ready(0);
    let toleration = |key: &str| Toleration {
        key: Some(key.to_owned()),
        operator: Some("Exists".to_owned()),
        effect: Some("NoExecute".to_owned()),
        toleration_seconds: Some(300),
        ..Toleration::default()
    };
    let keys = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
    built.0.spec.get_or_insert_default().tolerations = Some(keys.map(toleration).to_vec());
    built
}

struct World {
    node: Node,
    pods: Vec<Arc<Pod>>,
    heard_at: Timestamp,
    any_alive: bool,
}

impl World {
    fn new(node: Node, pods: Vec<PodBuilder>) -> Self {
        Self { node, pods: pods.into_iter().map(PodBuilder::build).collect(), heard_at: at(0), any_alive: true }
    }

    fn look(&self, second: i64) -> Plan {
        plan(&Observed {
            node: &self.node,
            pods: &self.pods,
            heard_at: self.heard_at,
            any_alive: self.any_alive,
            free_cidr: Some("10.42.7.0/24"),
            now: at(second),
        })
    }

    /// Performs the plan and returns it as one line.
    fn step(&mut self, second: i64) -> String {
        let plan = self.look(second);
        for action in &plan.actions {
            match action {
                Action::AssignCidr(cidr) => self.node.spec.get_or_insert_default().pod_cidr = Some(cidr.clone()),
                Action::SetConditions(new) => {
                    let conditions = self.node.status.get_or_insert_default().conditions.get_or_insert_default();
                    conditions.retain(|known| !new.iter().any(|new| new.type_ == known.type_));
                    conditions.extend(new.iter().cloned());
                }
                Action::SetTaints(taints) => self.node.spec.get_or_insert_default().taints = Some(taints.clone()),
                Action::MarkNotReady(key) => {
                    let pod = self.pods.iter_mut().find(|pod| meta::uid(&pod.metadata) == key.pod.uid).expect("exists");
                    set_ready(Arc::make_mut(pod), false, at(second));
                }
                Action::Evict(key) => self.pods.retain(|pod| meta::uid(&pod.metadata) != key.pod.uid),
            }
        }
        plan.actions.iter().map(Action::to_string).collect::<Vec<_>>().join("; ")
    }
}

#[test]
fn a_node_without_pod_addresses_gets_them_once() {
    let mut fresh = node("True");
    fresh.spec = None;
    let mut world = World::new(fresh, vec![]);
    assert_eq!(world.step(1), "assign 10.42.7.0/24");
    assert_eq!(world.step(2), "");
}

#[test]
fn a_node_that_shows_life_is_looked_at_again_when_its_grace_ends() {
    let world = World::new(node("True"), vec![tolerant("a")]);
    assert_eq!(world.look(39), Plan { actions: vec![], revisit_at: Some(at(40)) });
}

#[test]
fn the_fall_of_a_node_reads_like_this() {
    let mut world = World::new(node("True"), vec![tolerant("a"), pod("b").ready(0)]);
    let steps: Vec<String> = [39, 40, 41, 340, 341].map(|second| format!("{second}: {}", world.step(second))).into();
    assert_eq!(
        steps,
        [
            "39: ",
            "40: conditions Ready=Unknown MemoryPressure=Unknown DiskPressure=Unknown PIDPressure=Unknown; \
             taints [node.kubernetes.io/unreachable:NoSchedule node.kubernetes.io/unreachable:NoExecute]; \
             mark a not ready; mark b not ready",
            "41: evict b",
            "340: evict a",
            "341: ",
        ]
    );
}

#[test]
fn a_node_that_comes_back_loses_its_taints_and_keeps_its_pods() {
    let mut world = World::new(node("True"), vec![tolerant("a")]);
    world.step(40);
    assert_eq!(world.look(60).revisit_at, Some(at(340)), "when the toleration ends");
    let spec = world.node.spec.clone();
    world.node = Node { spec, ..node("True") };
    world.heard_at = at(100);
    assert_eq!(world.step(101), "taints []");
    assert_eq!(
        world.step(400).split(';').next(),
        Some("conditions Ready=Unknown MemoryPressure=Unknown DiskPressure=Unknown PIDPressure=Unknown")
    );
    assert_eq!(world.look(600).actions, [], "and the time counts from the new taint");
}

#[test]
fn a_node_that_says_it_is_not_ready_is_tainted_so() {
    let mut world = World::new(node("False"), vec![tolerant("a")]);
    assert_eq!(
        world.step(5),
        "taints [node.kubernetes.io/not-ready:NoSchedule node.kubernetes.io/not-ready:NoExecute]; mark a not ready"
    );
    assert_eq!(world.step(6), "");
    world.heard_at = at(304);
    assert_eq!(world.step(305), "evict a");
}

#[test]
fn if_nobody_is_heard_of_nothing_is_driven_out() {
    let mut world = World::new(node("True"), vec![tolerant("a"), pod("b").ready(0)]);
    world.any_alive = false;
    let step = world.step(40);
    assert!(step.contains("taints [node.kubernetes.io/unreachable:NoSchedule];"), "{step}");
    assert_eq!(world.step(10_000), "");
}

#[test]
fn cordoned_and_pressed_nodes_are_tainted_and_foreign_taints_stay() {
    let mut cordoned = node("True");
    let foreign = Taint { key: "gpu".to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() };
    let spec = cordoned.spec.get_or_insert_default();
    (spec.unschedulable, spec.taints) = (Some(true), Some(vec![foreign]));
    if let Some(conditions) = cordoned.status.as_mut().and_then(|status| status.conditions.as_mut()) {
        conditions[1].status = "True".to_owned();
    }
    let mut world = World::new(cordoned, vec![]);
    let expected = "taints [gpu:NoSchedule node.kubernetes.io/unschedulable:NoSchedule node.kubernetes.io/memory-pressure:NoSchedule]";
    assert_eq!(world.step(1), expected);
    world.node.spec.get_or_insert_default().unschedulable = None;
    assert_eq!(world.step(2), "taints [gpu:NoSchedule node.kubernetes.io/memory-pressure:NoSchedule]");
}

#[test]
fn the_shortest_toleration_counts_and_one_without_limit_is_for_ever() {
    let taint = |key: &str| Taint {
        key: key.to_owned(),
        effect: taints::NO_EXECUTE.to_owned(),
        time_added: Some(meta::time(at(100))),
        value: None,
    };
    let with = |tolerations: &[(&str, Option<i64>)]| {
        let mut built = pod("a").on("n1");
        let toleration = |&(key, seconds): &(&str, Option<i64>)| Toleration {
            key: Some(key.to_owned()).filter(|key| !key.is_empty()),
            operator: Some("Exists".to_owned()),
            toleration_seconds: seconds,
            ..Toleration::default()
        };
        built.0.spec.get_or_insert_default().tolerations = Some(tolerations.iter().map(toleration).collect());
        built.0
    };
    for (tolerations, due) in [
        (&[][..], Some(at(100))),
        (&[("x", Some(30)), ("x", Some(10)), ("x", None)], Some(at(110))),
        (&[("x", None)], None),
        (&[("", None)], None),
        (&[("y", None)], Some(at(100))),
        (&[("x", Some(-5))], Some(at(100))),
    ] {
        assert_eq!(eviction::due_at(&with(tolerations), &[taint("x")], at(0)), due, "{tolerations:?}");
    }
    let two = [taint("x"), taint("y")];
    assert_eq!(eviction::due_at(&with(&[("x", Some(50)), ("y", Some(20))]), &two, at(0)), Some(at(120)));
}

#[test]
fn a_node_that_is_being_deleted_is_left_alone() {
    let mut leaving = node("False");
    leaving.metadata.deletion_timestamp = Some(meta::time(at(0)));
    assert_eq!(lines(&World::new(leaving, vec![tolerant("a")]).look(100).actions), "");
}
