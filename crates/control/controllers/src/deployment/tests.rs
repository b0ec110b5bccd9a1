//! One case per sentence of the Deployment's documentation, properties over random worlds, and printed rollouts.

use std::fmt::Write as _;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentSpec, DeploymentStatus, DeploymentStrategy, ReplicaSet, ReplicaSetCondition,
    ReplicaSetStatus, RollingUpdateDeployment,
};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use wkube_base::Rng;

use super::budget::Budget;
use super::plan::{Action, Observed, Plan, plan};
use super::revision::{DESIRED_REPLICAS, MAX_REPLICAS, REVISION, REVISION_HISTORY};
use super::sets::{self, Sets};
use crate::common::meta;
use crate::testing::{app_selector, at, labels, lines, metadata, pod, shuffle, template};

fn deployment(replicas: i32, image: &str) -> Deployment {
    let mut spec = DeploymentSpec { replicas: Some(replicas), ..DeploymentSpec::default() };
    spec.selector = app_selector("web");
    spec.template = template("web", image);
    spec.progress_deadline_seconds = Some(600);
    Deployment { metadata: metadata("web"), spec, status: None }
}

fn rolling(mut deployment: Deployment, surge: &str, unavailable: &str) -> Deployment {
    let value = |text: &str| text.parse().map_or_else(|_| IntOrString::String(text.to_owned()), IntOrString::Int);
    let rolling = RollingUpdateDeployment { max_surge: Some(value(surge)), max_unavailable: Some(value(unavailable)) };
    deployment.spec.strategy =
        Some(DeploymentStrategy { type_: Some("RollingUpdate".to_owned()), rolling_update: Some(rolling) });
    deployment
}

fn recreating(mut deployment: Deployment) -> Deployment {
    deployment.spec.strategy = Some(DeploymentStrategy { type_: Some("Recreate".to_owned()), rolling_update: None });
    deployment
}

/// A set as the controller itself would have made it, named by its image's version: `hello:2` gives `web-2`.
fn set(owner: &Deployment, version: u8, wanted: i32, available: i32) -> ReplicaSet {
    let mut maker = owner.clone();
    maker.spec.template = template("web", &format!("hello:{version}"));
    let sets = Sets { new: None, old: Vec::new() };
    let mut set = sets::build(&maker, &Budget::of(owner), &sets, wanted);
    set.metadata.name = Some(format!("web-{version}"));
    set.metadata.uid = Some(format!("uid-web-{version}"));
    set.metadata.generation = Some(1);
    set.metadata.creation_timestamp = Some(meta::time(at(i64::from(version))));
    annotate(&mut set, REVISION, &version.to_string());
    set.status = Some(ReplicaSetStatus {
        replicas: wanted,
        ready_replicas: Some(available),
        available_replicas: Some(available),
        observed_generation: Some(1),
        ..ReplicaSetStatus::default()
    });
    set
}

fn annotate(set: &mut ReplicaSet, key: &str, value: &str) {
    set.metadata.annotations.get_or_insert_default().insert(key.to_owned(), value.to_owned());
}

fn look(deployment: &Deployment, sets: &[ReplicaSet], pods: &[Arc<Pod>], now: Timestamp) -> Plan {
    let sets: Vec<Arc<ReplicaSet>> = sets.iter().cloned().map(Arc::new).collect();
    plan(&Observed { deployment, sets: &sets, pods, now })
}

/// Compares what is done about sizes; bookkeeping has its own tests.
#[track_caller]
fn check(deployment: &Deployment, sets: &[ReplicaSet], expected: &str) {
    let mut actions = look(deployment, sets, &[], at(100)).actions;
    actions.retain(|action| !matches!(action, Action::Annotate(..) | Action::SetRevision(_)));
    assert_eq!(lines(&actions).trim_end(), expected);
}

fn reason(status: &DeploymentStatus, kind: &str) -> String {
    let condition = status.conditions.iter().flatten().find(|condition| condition.type_.as_deref() == Some(kind));
    condition.map_or_else(String::new, |condition| {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        format!("{} {}: {}", text(&condition.status), text(&condition.reason), text(&condition.message))
    })
}

#[test]
fn the_first_set_has_all_replicas_a_hash_an_owner_and_a_revision() {
    let mut wanted = deployment(3, "hello:1");
    wanted.metadata.annotations =
        Some(labels(&[("team", "blue"), ("kubectl.kubernetes.io/last-applied-configuration", "{}")]));
    let actions = look(&wanted, &[], &[], at(0)).actions;
    let [Action::Create(set)] = actions.as_slice() else { panic!("{actions:?}") };

    let hash = set.metadata.labels.as_ref().and_then(|labels| labels.get("pod-template-hash")).expect("labelled");
    assert_eq!(set.metadata.name.as_deref(), Some(format!("web-{hash}").as_str()));
    assert_eq!(set.spec.selector.match_labels, Some(labels(&[("app", "web"), ("pod-template-hash", hash)])));
    let pod_labels = set.spec.template.as_ref().and_then(|template| template.metadata.as_ref()).expect("a template");
    assert_eq!(pod_labels.labels, set.spec.selector.match_labels);
    assert_eq!(set.spec.replicas, Some(3));
    let owner = meta::controller_of(&set.metadata).expect("owned");
    assert_eq!(
        (owner.kind.as_str(), owner.uid.as_str(), owner.block_owner_deletion),
        ("Deployment", "uid-web", Some(true))
    );
    let expected = labels(&[("team", "blue"), (REVISION, "1"), (DESIRED_REPLICAS, "3"), (MAX_REPLICAS, "4")]);
    assert_eq!(set.metadata.annotations, Some(expected));
}

#[test]
fn a_new_template_starts_within_the_surge() {
    let wanted = deployment(10, "hello:2");
    let actions = look(&wanted, &[set(&wanted, 1, 10, 10)], &[], at(0)).actions;
    let [Action::Create(new)] = actions.as_slice() else { panic!("{actions:?}") };
    assert_eq!(new.spec.replicas, Some(3), "25% of 10, rounded up");
    assert_eq!(meta::annotation(&new.metadata, REVISION), Some("2"));
}

#[test]
fn old_pods_go_as_far_as_the_budget_allows() {
    let wanted = deployment(10, "hello:2");
    check(&wanted, &[set(&wanted, 1, 10, 10), set(&wanted, 2, 3, 0)], "scale web-1 10 -> 8");
    check(&wanted, &[set(&wanted, 1, 8, 8), set(&wanted, 2, 5, 0)], "");
    check(&wanted, &[set(&wanted, 1, 8, 8), set(&wanted, 2, 5, 5)], "scale web-1 8 -> 3");
    check(&wanted, &[set(&wanted, 1, 3, 3), set(&wanted, 2, 5, 5)], "scale web-2 5 -> 10");
}

#[test]
fn unhealthy_old_pods_go_first() {
    let wanted = deployment(10, "hello:3");
    let sets = [set(&wanted, 1, 8, 8), set(&wanted, 2, 2, 0), set(&wanted, 3, 3, 0)];
    check(&wanted, &sets, "scale web-2 2 -> 0");
}

#[test]
fn a_new_template_during_a_rollout_takes_over() {
    let wanted = deployment(4, "hello:3");
    let sets = [set(&wanted, 1, 3, 3), set(&wanted, 2, 2, 0), set(&wanted, 3, 0, 0)];
    check(&wanted, &sets, "scale web-2 2 -> 0");
    let sets = [set(&wanted, 1, 3, 3), set(&wanted, 2, 0, 0), set(&wanted, 3, 0, 0)];
    check(&wanted, &sets, "scale web-3 0 -> 2");
}

#[test]
fn new_pods_that_never_become_available_do_not_cost_old_ones() {
    let wanted = rolling(deployment(4, "hello:2"), "1", "0");
    check(&wanted, &[set(&wanted, 1, 4, 4), set(&wanted, 2, 1, 0)], "");
}

/// Found by a simulated cluster: the old set's status still counted a pod that its last shrinking was taking away.
#[test]
fn pods_that_a_set_is_taking_away_do_not_count_as_available() {
    let mut wanted = deployment(6, "hello:2");
    wanted.spec.strategy = None;
    check(&wanted, &[set(&wanted, 1, 3, 4), set(&wanted, 2, 5, 4)], "scale web-1 3 -> 1");
}

#[test]
fn scaling_alone_scales_the_only_set() {
    let wanted = deployment(5, "hello:1");
    check(&wanted, &[set(&deployment(2, "hello:1"), 1, 2, 2)], "scale web-1 2 -> 5");
    check(&deployment(0, "hello:1"), &[set(&wanted, 1, 5, 5)], "scale web-1 5 -> 0");
}

#[test]
fn scaling_during_a_rollout_is_proportional() {
    // The documentation's example: 10 replicas, surge 3, unavailable 2, at 8 old and 5 new pods; scaled to 15.
    let before = rolling(deployment(10, "hello:2"), "3", "2");
    let after = rolling(deployment(15, "hello:2"), "3", "2");
    let sets = [set(&before, 1, 8, 8), set(&before, 2, 5, 0)];
    check(&after, &sets, "scale web-1 8 -> 11\nscale web-2 5 -> 7");
}

#[test]
fn scaling_down_during_a_rollout_is_proportional_and_to_zero_complete() {
    let before = rolling(deployment(10, "hello:2"), "3", "2");
    let sets = [set(&before, 1, 8, 8), set(&before, 2, 5, 0)];
    check(&rolling(deployment(5, "hello:2"), "3", "2"), &sets, "scale web-1 8 -> 5\nscale web-2 5 -> 3");
    check(&rolling(deployment(0, "hello:2"), "3", "2"), &sets, "scale web-1 8 -> 0\nscale web-2 5 -> 0");
}

#[test]
fn what_rounding_leaves_over_goes_to_the_largest() {
    let before = rolling(deployment(5, "hello:2"), "0", "1");
    let after = rolling(deployment(6, "hello:2"), "0", "1");
    let sets = [set(&before, 1, 2, 2), set(&before, 2, 3, 3)];
    check(&after, &sets, "scale web-2 3 -> 4\nscale web-1 2 -> 2");
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    let mut wanted = deployment(5, "hello:2");
    wanted.spec.paused = Some(true);
    let plan = look(&wanted, &[set(&deployment(2, "hello:1"), 1, 2, 2)], &[], at(0));
    assert_eq!(lines(&plan.actions), "scale web-1 2 -> 5\n");
    assert_eq!(reason(&plan.status, "Progressing"), "Unknown DeploymentPaused: Deployment is paused");
    assert_eq!(plan.revisit_at, None, "the deadline does not run");

    wanted.status = Some(plan.status);
    wanted.spec.paused = None;
    let resumed = look(&wanted, &[set(&deployment(5, "hello:1"), 1, 5, 5)], &[], at(9000));
    assert_eq!(reason(&resumed.status, "Progressing").split(':').next(), Some("True NewReplicaSetCreated"));
}

#[test]
fn recreate_waits_until_the_old_pods_have_ended() {
    let wanted = recreating(deployment(2, "hello:2"));
    let old = set(&wanted, 1, 2, 2);
    check(&wanted, std::slice::from_ref(&old), "scale web-1 2 -> 0");

    let old = set(&wanted, 1, 0, 0);
    let leaving = [pod("a").owned_by(meta::controller_ref(&old)).ready(0).deleting().build()];
    assert_eq!(lines(&look(&wanted, std::slice::from_ref(&old), &leaving, at(9)).actions), "");

    let ended = [pod("a").owned_by(meta::controller_ref(&old)).phase("Failed").build()];
    let actions = look(&wanted, std::slice::from_ref(&old), &ended, at(9)).actions;
    assert!(matches!(actions.as_slice(), [Action::Create(set)] if set.spec.replicas == Some(2)), "{actions:?}");
}

#[test]
fn rolling_back_gives_the_old_set_the_next_revision_and_keeps_its_history() {
    let mut wanted = deployment(2, "hello:1");
    wanted.metadata.annotations = Some(labels(&[(REVISION, "2")]));
    let sets = [set(&wanted, 1, 0, 0), set(&wanted, 2, 2, 2)];
    let actions = look(&wanted, &sets, &[], at(0)).actions;
    let [Action::Annotate(target, update), Action::SetRevision(revision), Action::Scale(scale)] = actions.as_slice()
    else {
        panic!("{actions:?}")
    };
    assert_eq!((target.name.as_str(), revision.as_str(), scale.to), ("web-1", "3", 1));
    assert_eq!(update.annotations.get(REVISION).map(String::as_str), Some("3"));
    assert_eq!(update.annotations.get(REVISION_HISTORY).map(String::as_str), Some("1"));
}

#[test]
fn of_two_sets_with_the_template_the_older_is_the_new_one() {
    let wanted = deployment(2, "hello:1");
    let mut twin = set(&wanted, 1, 1, 1);
    twin.metadata.name = Some("web-0".to_owned());
    twin.metadata.uid = Some("uid-twin".to_owned());
    twin.metadata.creation_timestamp = Some(meta::time(at(50)));
    check(&wanted, &[twin, set(&wanted, 1, 2, 2)], "scale web-0 1 -> 0");
}

#[test]
fn old_revisions_beyond_the_limit_are_forgotten_when_the_rollout_is_complete() {
    let mut wanted = deployment(1, "hello:5");
    wanted.spec.revision_history_limit = Some(2);
    let history = |available| {
        let mut sets: Vec<ReplicaSet> = (1..5).map(|version| set(&wanted, version, 0, 0)).collect();
        sets.push(set(&wanted, 5, 1, available));
        sets
    };
    check(&wanted, &history(1), "forget web-1: beyond the history limit\nforget web-2: beyond the history limit");
    check(&wanted, &history(0), "");

    // The ReplicaSet controller has not seen the latest size of this one yet.
    let mut busy = history(1);
    busy[0].metadata.generation = Some(2);
    check(&wanted, &busy, "forget web-2: beyond the history limit");
}

#[test]
fn sets_are_adopted_and_released_before_anything_is_counted() {
    let wanted = deployment(2, "hello:1");
    let mut orphan = set(&wanted, 1, 2, 2);
    orphan.metadata.owner_references = None;
    let mut stray = set(&wanted, 2, 1, 1);
    stray.metadata.labels = Some(labels(&[("app", "other")]));
    check(&wanted, &[stray, orphan], "adopt web-1: no controller, labels match\nrelease web-2: labels no longer match");
}

#[test]
fn status_sums_the_sets() {
    let mut wanted = deployment(4, "hello:2");
    wanted.metadata.generation = Some(9);
    let status = look(&wanted, &[set(&wanted, 1, 3, 3), set(&wanted, 2, 2, 1)], &[], at(0)).status;
    assert_eq!(
        DeploymentStatus { conditions: None, ..status.clone() },
        DeploymentStatus {
            observed_generation: Some(9),
            replicas: Some(5),
            updated_replicas: Some(2),
            ready_replicas: Some(4),
            available_replicas: Some(4),
            unavailable_replicas: Some(1),
            terminating_replicas: Some(0),
            ..DeploymentStatus::default()
        }
    );
    assert_eq!(reason(&status, "Available"), "True MinimumReplicasAvailable: Deployment has minimum availability.");
}

#[test]
fn a_rollout_reports_created_progressing_and_available() {
    let mut wanted = deployment(1, "hello:1");
    let created = look(&wanted, &[], &[], at(0));
    assert!(
        reason(&created.status, "Progressing").starts_with("True NewReplicaSetCreated: Created new replica set \"web-")
    );
    assert_eq!(
        reason(&created.status, "Available"),
        "False MinimumReplicasUnavailable: Deployment does not have minimum availability."
    );

    wanted.status = Some(created.status);
    let progressing = look(&wanted, &[set(&wanted, 1, 1, 0)], &[], at(10));
    assert_eq!(
        reason(&progressing.status, "Progressing"),
        "True ReplicaSetUpdated: ReplicaSet \"web-1\" is progressing."
    );
    assert_eq!(progressing.revisit_at, Some(at(611)));

    wanted.status = Some(progressing.status);
    let done = look(&wanted, &[set(&wanted, 1, 1, 1)], &[], at(20));
    assert_eq!(
        reason(&done.status, "Progressing"),
        "True NewReplicaSetAvailable: ReplicaSet \"web-1\" has successfully progressed."
    );
    assert_eq!(done.revisit_at, None);

    wanted.status = Some(done.status.clone());
    let failed_later = look(&wanted, &[set(&wanted, 1, 1, 0)], &[], at(9000));
    assert_eq!(reason(&failed_later.status, "Progressing"), reason(&done.status, "Progressing"));
}

#[test]
fn without_progress_the_deadline_is_exceeded_once_it_has_passed() {
    let mut wanted = deployment(1, "hello:1");
    let stuck = [set(&wanted, 1, 1, 0)];
    wanted.status = Some(look(&wanted, &stuck, &[], at(0)).status);
    let just_before = look(&wanted, &stuck, &[], at(600));
    assert_eq!(Some(&just_before.status), wanted.status.as_ref(), "nothing changed, nothing to write");
    let after = look(&wanted, &stuck, &[], at(601));
    assert_eq!(
        reason(&after.status, "Progressing"),
        "False ProgressDeadlineExceeded: ReplicaSet \"web-1\" has timed out progressing."
    );
    wanted.spec.progress_deadline_seconds = Some(i32::MAX);
    assert_eq!(reason(&look(&wanted, &stuck, &[], at(601)).status, "Progressing"), "", "no deadline, no condition");
}

#[test]
fn a_failure_of_the_new_set_is_reported_until_it_is_gone() {
    let mut wanted = deployment(1, "hello:1");
    let mut failing = set(&wanted, 1, 1, 0);
    failing.status.get_or_insert_default().conditions = Some(vec![ReplicaSetCondition {
        type_: Some("ReplicaFailure".to_owned()),
        status: Some("True".to_owned()),
        reason: Some("FailedCreate".to_owned()),
        message: Some("quota exceeded".to_owned()),
        last_transition_time: None,
    }]);
    let status = look(&wanted, &[failing], &[], at(0)).status;
    assert_eq!(reason(&status, "ReplicaFailure"), "True FailedCreate: quota exceeded");
    wanted.status = Some(status);
    assert_eq!(reason(&look(&wanted, &[set(&wanted, 1, 1, 0)], &[], at(0)).status, "ReplicaFailure"), "");
}

#[test]
fn a_deployment_that_is_being_deleted_only_reports() {
    let mut doomed = deployment(3, "hello:2");
    doomed.metadata.deletion_timestamp = Some(meta::time(at(1)));
    assert_eq!(lines(&look(&doomed, &[set(&doomed, 1, 1, 1)], &[], at(9)).actions), "");
}

/// A Deployment, its sets, and a model of the `ReplicaSet` controller and the nodes.
struct World {
    deployment: Deployment,
    sets: Vec<ReplicaSet>,
    second: i64,
    rng: Rng,
}

impl World {
    fn arbitrary(seed: u64) -> Self {
        let rng = Rng::seeded(seed);
        let mut wanted = deployment(i32::try_from(rng.below(9)).unwrap_or_default(), "hello:9");
        let percent = [0, 1, 25, 50, 100];
        let (surge, unavailable) = (percent[rng.below(5)], percent[rng.below(5)]);
        wanted = rolling(wanted, &format!("{surge}%"), &format!("{unavailable}%"));
        let sets = (1..=rng.below(4)).map(|version| {
            let mut set = set(&wanted, u8::try_from(version).unwrap_or_default(), 0, 0);
            set.spec.replicas = i32::try_from(rng.below(5)).ok();
            set
        });
        let sets = sets.collect();
        let mut world = Self { deployment: wanted, sets, second: 100, rng };
        world.live();
        world
    }

    fn look(&self) -> Plan {
        look(&self.deployment, &self.sets, &[], at(self.second))
    }

    fn change(&mut self, uid: &str, change: impl FnOnce(&mut ReplicaSet)) {
        let set = self.sets.iter_mut().find(|set| meta::uid(&set.metadata) == uid).expect("acts on sets that exist");
        change(set);
    }

    fn perform(&mut self, actions: &[Action], steps: usize) {
        for action in actions.iter().take(steps) {
            match action {
                Action::Adopt(set) => {
                    let owner = meta::controller_ref(&self.deployment);
                    self.change(&set.uid, |set| set.metadata.owner_references = Some(vec![owner]));
                }
                Action::Release(set) => self.change(&set.uid, |set| set.metadata.owner_references = None),
                Action::Create(set) => {
                    let mut set = set.as_ref().clone();
                    set.metadata.uid = Some(format!("uid-{}", meta::name(&set.metadata)));
                    set.metadata.creation_timestamp = Some(meta::time(at(self.second)));
                    self.sets.push(set);
                }
                Action::Annotate(set, update) => self.change(&set.uid, |set| {
                    set.metadata.annotations = Some(update.annotations.clone());
                    set.spec.min_ready_seconds = update.min_ready_seconds;
                }),
                Action::Scale(scale) => self.change(&scale.set.uid, |set| {
                    set.spec.replicas = Some(scale.to);
                    annotate(set, DESIRED_REPLICAS, &scale.desired.to_string());
                    annotate(set, MAX_REPLICAS, &scale.max.to_string());
                }),
                Action::SetRevision(revision) => {
                    let annotations = self.deployment.metadata.annotations.get_or_insert_default();
                    annotations.insert(REVISION.to_owned(), revision.clone());
                }
                Action::Forget(set) => self.sets.retain(|known| meta::uid(&known.metadata) != set.uid),
            }
        }
    }

    /// Sets reach their size; some of their pods become available, and none is lost by itself.
    fn live(&mut self) {
        self.second += 5;
        for set in &mut self.sets {
            let wanted = set.spec.replicas.unwrap_or_default();
            let before = sets::available(set).min(wanted);
            let gained = usize::try_from(wanted - before).unwrap_or_default();
            let available = before + i32::try_from(self.rng.below(gained + 1)).unwrap_or_default();
            let status = set.status.get_or_insert_default();
            status.replicas = wanted;
            status.available_replicas = Some(available);
            status.ready_replicas = Some(available);
            status.observed_generation = set.metadata.generation;
        }
    }

    fn total(&self) -> i32 {
        self.sets.iter().map(sets::replicas).sum()
    }

    fn available(&self) -> i32 {
        self.sets.iter().map(|set| sets::available(set).min(sets::replicas(set))).sum()
    }
}

#[test]
fn keeps_its_budget_converges_and_rests_whatever_prefix_is_performed() {
    for seed in 0..400 {
        let mut world = World::arbitrary(seed);
        let budget = Budget::of(&world.deployment);
        for round in 0..120 {
            let plan = world.look();
            let (total, available) = (world.total(), world.available());
            let steps = if round < 40 { world.rng.below(plan.actions.len() + 1) } else { usize::MAX };
            world.perform(&plan.actions, steps);
            assert!(
                world.total() <= total.max(budget.max()),
                "seed {seed}: {total} -> {} pods, at most {}\n{}",
                world.total(),
                budget.max(),
                lines(&plan.actions)
            );
            // The random start may already be short of available pods; it must not get worse then.
            assert!(
                world.available() >= available.min(budget.min_available()),
                "seed {seed}: {available} -> {} available, at least {}\n{}",
                world.available(),
                budget.min_available(),
                lines(&plan.actions)
            );
            world.deployment.status = Some(plan.status);
            world.live();
        }
        let plan = world.look();
        assert_eq!(lines(&plan.actions), "", "seed {seed}: no rest");
        assert_eq!(Some(&plan.status), world.deployment.status.as_ref(), "seed {seed}: the status still changes");
        assert!(reason(&plan.status, "Progressing").starts_with("True NewReplicaSetAvailable"), "seed {seed}");
        assert_eq!(plan.status.updated_replicas.unwrap_or_default(), budget.replicas(), "seed {seed}");
    }
}

#[test]
fn the_order_of_sets_does_not_matter() {
    for seed in 0..300 {
        let mut world = World::arbitrary(seed);
        let expected = world.look();
        let rng = world.rng.split();
        shuffle(&mut world.sets, &rng);
        assert_eq!(world.look(), expected, "seed {seed}");
    }
}

fn print_rollout(world: &mut World, rounds: usize) -> Vec<String> {
    let mut printed = Vec::new();
    for _ in 0..rounds {
        let plan = world.look();
        let mut line = String::new();
        for set in &world.sets {
            let version = set.spec.template.as_ref().and_then(|template| template.spec.as_ref());
            let image = version.and_then(|spec| spec.containers[0].image.clone()).unwrap_or_default();
            write!(line, "{image} {}/{}  ", sets::available(set), sets::replicas(set)).expect("a string grows");
        }
        let steps = plan.actions.iter().filter_map(|action| match action {
            Action::Create(set) => Some(format!("create with {}", sets::replicas(set))),
            Action::Scale(scale) => Some(format!("scale {} -> {}", scale.from, scale.to)),
            Action::Forget(_) => Some("forget".to_owned()),
            Action::Adopt(_) | Action::Release(_) | Action::Annotate(..) | Action::SetRevision(_) => None,
        });
        let steps: Vec<String> = steps.collect();
        printed.push(format!("{line}| {}", steps.join(", ")).trim_end().to_owned());
        world.perform(&plan.actions, usize::MAX);
        world.deployment.status = Some(plan.status);
        world.second += 5;
        for set in &mut world.sets {
            let wanted = sets::replicas(set);
            let available = (sets::available(set) + 1).min(wanted);
            let status = set.status.get_or_insert_default();
            (status.replicas, status.available_replicas, status.ready_replicas) =
                (wanted, Some(available), Some(available));
        }
    }
    printed
}

#[test]
fn a_rolling_update_reads_like_this() {
    let wanted = rolling(deployment(3, "hello:2"), "1", "1");
    let old = set(&wanted, 1, 3, 3);
    let mut world = World { deployment: wanted, sets: vec![old], second: 100, rng: Rng::seeded(0) };
    assert_eq!(
        print_rollout(&mut world, 7),
        [
            "hello:1 3/3  | create with 1",
            "hello:1 3/3  hello:2 1/1  | scale 3 -> 1",
            "hello:1 1/1  hello:2 1/1  | scale 1 -> 3",
            "hello:1 1/1  hello:2 2/3  | scale 1 -> 0",
            "hello:1 0/0  hello:2 3/3  |",
            "hello:1 0/0  hello:2 3/3  |",
            "hello:1 0/0  hello:2 3/3  |",
        ]
    );
}
