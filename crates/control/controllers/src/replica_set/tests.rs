//! One case per sentence of the `ReplicaSet`'s documentation, properties over random worlds, and one printed rollout.

use std::fmt::Write as _;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetSpec, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use wkube_base::Rng;

use super::plan::{Action, BURST, Failure, Observed, Plan, plan, status_after};
use crate::common::{meta, pods};
use crate::testing::{PodBuilder, app_selector, at, lines, metadata, pod, set_ready, shuffle, template};

fn set(replicas: i32) -> ReplicaSet {
    ReplicaSet {
        metadata: metadata("web"),
        spec: ReplicaSetSpec {
            replicas: Some(replicas),
            selector: app_selector("web"),
            template: Some(template("web", "hello:1")),
            ..ReplicaSetSpec::default()
        },
        status: None,
    }
}

fn own(name: &str) -> PodBuilder {
    pod(name).owned_by(meta::controller_ref(&set(0)))
}

fn look(set: &ReplicaSet, pods: &[Arc<Pod>], now: Timestamp) -> Plan {
    plan(&Observed { set, pods, related: pods, now })
}

#[track_caller]
fn check(set: &ReplicaSet, pods: &[PodBuilder], expected: &str) {
    let pods: Vec<Arc<Pod>> = pods.iter().map(|pod| Arc::new(pod.0.clone())).collect();
    let actual = lines(&look(set, &pods, at(100)).actions);
    assert_eq!(actual.trim_end(), expected);
}

#[test]
fn creates_as_many_as_are_missing() {
    check(&set(3), &[own("a").ready(0)], "create 2: too few replicas");
}

#[test]
fn replicas_default_to_one() {
    let mut one = set(0);
    one.spec.replicas = None;
    check(&one, &[], "create 1: too few replicas");
}

#[test]
fn creates_no_more_than_a_burst_at_once() {
    let actions = look(&set(2000), &[], at(0)).actions;
    assert_eq!(actions, [Action::Create(BURST)]);
}

#[test]
fn pods_that_ended_or_are_ending_are_replaced() {
    let pods = [own("a").phase("Succeeded"), own("b").phase("Failed"), own("c").ready(0).deleting(), own("d").ready(0)];
    check(&set(2), &pods, "create 1: too few replicas");
}

#[test]
fn adopts_an_orphan_that_matches_and_counts_it() {
    check(&set(1), &[pod("a")], "adopt a: no controller, labels match");
}

#[test]
fn does_not_adopt_what_is_being_deleted_or_has_ended() {
    check(&set(1), &[pod("a").deleting(), pod("b").phase("Failed")], "create 1: too few replicas");
}

#[test]
fn leaves_pods_of_another_controller_alone() {
    let mut other = set(1);
    other.metadata = metadata("other");
    check(&set(0), &[pod("a").owned_by(meta::controller_ref(&other))], "");
}

#[test]
fn releases_a_pod_whose_labels_no_longer_match_and_replaces_it() {
    let pods = [own("a").labelled(&[("app", "quarantine")])];
    check(&set(1), &pods, "release a: labels no longer match\ncreate 1: too few replicas");
}

#[test]
fn a_set_that_is_being_deleted_only_reports() {
    let mut doomed = set(5);
    doomed.metadata.deletion_timestamp = Some(meta::time(at(1)));
    let pods = [own("a"), pod("orphan"), own("b").labelled(&[("app", "other")])];
    check(&doomed, &pods, "");
}

#[test]
fn a_selector_without_terms_adopts_nothing() {
    let mut everything = set(0);
    everything.spec.selector.match_labels = None;
    check(&everything, &[pod("a")], "");
}

/// Each row: the pod that goes first and the one that stays, for one question of the ranking, in the order asked.
#[test]
fn deletes_in_the_documented_order() {
    let crowded = || own("crowd").on("n2").ready(0).annotated(pods::DELETION_COST, "9");
    let rows: Vec<(&str, PodBuilder, PodBuilder)> = vec![
        ("unassigned before assigned", own("x"), own("y").on("n1")),
        ("pending before unknown", own("x").on("n1"), own("y").on("n1").phase("Unknown")),
        ("unknown before running", own("x").on("n1").phase("Unknown"), own("y").on("n1").phase("Running")),
        ("not ready before ready", own("x").on("n1").phase("Running"), own("y").ready(0)),
        ("cheap before dear", own("x").ready(0).annotated(pods::DELETION_COST, "-1"), own("y").ready(90).created(90)),
        ("crowded node before quiet node", own("x").on("n2").ready(0), own("y").on("n1").ready(90)),
        ("ready for a short time before a long time", own("x").ready(99), own("y").ready(0).created(99)),
        ("more restarts before fewer", restarted("x", 3), restarted("y", 1)),
        ("newer before older", own("x").ready(0).created(99), own("y").ready(0).created(0)),
    ];
    for (question, first, last) in rows {
        let pods = [last.build(), crowded().build(), first.build()];
        let actions = look(&set(2), &pods, at(100)).actions;
        assert_eq!(lines(&actions), "delete x: too many replicas\n", "{question}");
    }
}

fn restarted(name: &str, restarts: i32) -> PodBuilder {
    let mut built = own(name).ready(0);
    let status = k8s_openapi::api::core::v1::ContainerStatus { restart_count: restarts, ..Default::default() };
    built.0.status.get_or_insert_default().container_statuses = Some(vec![status]);
    built
}

#[test]
fn pods_of_about_the_same_age_are_alike() {
    // 64 s and 100 s lie in one power of two of nanoseconds, so the uid decides, not the age.
    let pods = [own("a").ready(0).build(), own("b").ready(30).build()];
    assert_eq!(lines(&look(&set(1), &pods, at(100)).actions), "delete a: too many replicas\n");
}

#[test]
fn status_counts_replicas_labels_ready_available_and_terminating() {
    let mut slow = set(4);
    slow.spec.min_ready_seconds = Some(30);
    slow.spec.template.get_or_insert_default().metadata.get_or_insert_default().labels =
        Some(crate::testing::labels(&[("app", "web"), ("tier", "front")]));
    slow.metadata.generation = Some(7);
    let pods = [
        own("a").ready(0).labelled(&[("app", "web"), ("tier", "front")]).build(),
        own("b").ready(80).build(),
        own("c").build(),
        own("d").ready(0).deleting().build(),
        own("e").phase("Failed").build(),
    ];
    let plan = look(&slow, &pods, at(100));
    let expected = ReplicaSetStatus {
        replicas: 3,
        fully_labeled_replicas: Some(1),
        ready_replicas: Some(2),
        available_replicas: Some(1),
        terminating_replicas: Some(1),
        observed_generation: Some(7),
        conditions: None,
    };
    assert_eq!(plan.status, expected);
    assert_eq!(plan.revisit_at, Some(at(110)), "looks again when b becomes available");
}

#[test]
fn a_failure_becomes_a_condition_that_stays_until_a_success() {
    let failure = Failure::Create("pods \"web-\" is forbidden".to_owned());
    let failed = status_after(ReplicaSetStatus::default(), Some(&failure), at(5));
    let condition = &failed.conditions.as_ref().expect("a condition")[0];
    assert_eq!(
        (condition.type_.as_deref(), condition.reason.as_deref()),
        (Some("ReplicaFailure"), Some("FailedCreate"))
    );

    let again = status_after(failed.clone(), Some(&Failure::Delete("later".to_owned())), at(9));
    assert_eq!(again, failed, "the first failure stands, or every retry would be a write");
    assert_eq!(status_after(failed, None, at(9)).conditions, None);
}

/// A set, pods that live and die by chance, and whoever performs plans.
struct World {
    set: ReplicaSet,
    pods: Vec<Arc<Pod>>,
    second: i64,
    born: usize,
    rng: Rng,
}

impl World {
    fn arbitrary(seed: u64) -> Self {
        let rng = Rng::seeded(seed);
        let mut world = Self { set: set(0), pods: Vec::new(), second: 100, born: 0, rng };
        world.set.spec.replicas = i32::try_from(world.rng.below(8)).ok();
        world.set.spec.min_ready_seconds = i32::try_from(world.rng.below(3) * 10).ok();
        for index in 0..world.rng.below(12) {
            let name = format!("old-{index}");
            let mut built = match world.rng.below(4) {
                0 => pod(&name),
                1 => own(&name).labelled(&[("app", "other")]),
                2 => pod(&name).owned_by(meta::controller_ref(&Self::stranger())),
                _ => own(&name),
            };
            built = match world.rng.below(5) {
                0 => built.ready(50),
                1 => built.phase("Failed"),
                2 => built.deleting(),
                3 => built.on("n2").phase("Running"),
                _ => built,
            };
            world.pods.push(built.build());
        }
        world
    }

    fn stranger() -> ReplicaSet {
        ReplicaSet { metadata: metadata("stranger"), ..set(1) }
    }

    fn look(&self) -> Plan {
        look(&self.set, &self.pods, at(self.second))
    }

    /// Performs the first `steps` of the actions.
    fn perform(&mut self, actions: &[Action], steps: usize) {
        for action in actions.iter().take(steps) {
            match action {
                Action::Adopt(pod) => {
                    let owner = meta::controller_ref(&self.set);
                    self.change(&pod.uid, |pod| pod.metadata.owner_references = Some(vec![owner]));
                }
                Action::Release(pod) => self.change(&pod.uid, |pod| pod.metadata.owner_references = None),
                Action::Delete(pod) => {
                    self.change(&pod.uid, |pod| pod.metadata.deletion_timestamp = Some(meta::time(at(1))));
                }
                Action::Create(count) => {
                    for _ in 0..*count {
                        self.born += 1;
                        self.pods.push(own(&format!("new-{}", self.born)).created(self.second).build());
                    }
                }
            }
        }
    }

    fn change(&mut self, uid: &str, change: impl FnOnce(&mut Pod)) {
        let pod = self.pods.iter_mut().find(|pod| meta::uid(&pod.metadata) == uid).expect("acts on pods that exist");
        change(Arc::make_mut(pod));
    }

    /// Pods move on: those being deleted vanish, others start, and while the storm lasts some fail.
    fn live(&mut self, storm: bool) {
        self.second += 11;
        let (rng, now) = (self.rng.clone(), at(self.second));
        self.pods.retain(|pod| !meta::is_deleting(&pod.metadata) || rng.below(2) == 0);
        for pod in &mut self.pods {
            let pod = Arc::make_mut(pod);
            if storm && rng.below(10) == 0 {
                pod.status.get_or_insert_default().phase = Some("Failed".to_owned());
            } else if pods::is_active(pod) && !pods::is_ready(pod) && rng.below(2) == 0 {
                pod.spec.get_or_insert_default().node_name = Some(format!("n{}", rng.below(3)));
                pod.status.get_or_insert_default().phase = Some("Running".to_owned());
                set_ready(pod, true, now);
            }
        }
    }

    fn check_safe(&self, plan: &Plan, seed: u64) {
        let active_owned = |uid: &str| {
            let pod = self.pods.iter().find(|pod| meta::uid(&pod.metadata) == uid).expect("exists");
            let owner = meta::controller_of(&pod.metadata).map(|owner| owner.uid.as_str());
            pods::is_active(pod) && owner.is_none_or(|owner| owner == "uid-web")
        };
        let (mut created, mut deleted) = (0, 0);
        for action in &plan.actions {
            match action {
                Action::Adopt(pod) | Action::Delete(pod) => {
                    assert!(active_owned(&pod.uid), "seed {seed}: {action} is not ours");
                    deleted += usize::from(matches!(action, Action::Delete(_)));
                }
                Action::Release(_) => {}
                Action::Create(count) => created += count,
            }
        }
        assert!(created == 0 || deleted == 0, "seed {seed}: creates and deletes in one look");
    }
}

#[test]
fn is_safe_converges_and_rests_whatever_prefix_is_performed() {
    for seed in 0..500 {
        let mut world = World::arbitrary(seed);
        for round in 0..60 {
            let plan = world.look();
            world.check_safe(&plan, seed);
            let steps = if round < 20 { world.rng.below(plan.actions.len() + 1) } else { usize::MAX };
            world.perform(&plan.actions, steps);
            world.live(round < 20);
        }
        let plan = world.look();
        assert_eq!(lines(&plan.actions), "", "seed {seed}: no rest");
        assert_eq!(Some(plan.status.replicas), world.set.spec.replicas, "seed {seed}");
        assert_eq!(plan.status.available_replicas.unwrap_or_default(), plan.status.replicas, "seed {seed}");
        assert_eq!(plan, world.look(), "seed {seed}: the same look gives the same plan");
    }
}

#[test]
fn the_order_of_pods_does_not_matter() {
    for seed in 0..300 {
        let mut world = World::arbitrary(seed);
        let expected = world.look();
        let rng = world.rng.split();
        shuffle(&mut world.pods, &rng);
        assert_eq!(world.look(), expected, "seed {seed}");
    }
}

#[test]
fn a_scale_up_and_down_reads_like_this() {
    let mut world = World { set: set(2), pods: Vec::new(), second: 100, born: 0, rng: Rng::seeded(1) };
    let mut printed = String::new();
    for round in 0..8 {
        if round == 4 {
            world.set.spec.replicas = Some(1);
        }
        let plan = world.look();
        let status = &plan.status;
        let actions: Vec<String> = plan.actions.iter().map(Action::to_string).collect();
        let ready = status.ready_replicas.unwrap_or_default();
        let want = world.set.spec.replicas.unwrap_or_default();
        writeln!(printed, "{ready}/{want} of {}  {}", status.replicas, actions.join("; ")).expect("a string grows");
        world.perform(&plan.actions, usize::MAX);
        world.second += 10;
        let now = at(world.second);
        world.pods.retain(|pod| !meta::is_deleting(&pod.metadata));
        if let Some(pod) = world.pods.iter_mut().find(|pod| !pods::is_ready(pod)) {
            set_ready(Arc::make_mut(pod), true, now);
        }
    }
    let printed: Vec<&str> = printed.lines().map(str::trim_end).collect();
    assert_eq!(
        printed,
        [
            "0/2 of 0  create 2: too few replicas",
            "1/2 of 2",
            "2/2 of 2",
            "2/2 of 2",
            "2/1 of 2  delete new-1: too many replicas",
            "1/1 of 1",
            "1/1 of 1",
            "1/1 of 1",
        ]
    );
}
