//! One case per sentence of the Job's documentation, properties over random worlds, and one printed run.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec, JobStatus, UncountedTerminatedPods};
use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus, Pod};
use wkube_base::Rng;

use super::ledger::TRACKING;
use super::plan::{Action, Observed, Plan, Surplus, plan};
use super::{COMPLETION_INDEX, build, pod_index};
use crate::common::{meta, pods};
use crate::testing::{PodBuilder, app_selector, at, lines, metadata, pod, shuffle, template};

fn job(completions: i32, parallelism: i32) -> Job {
    let spec = JobSpec {
        completions: Some(completions),
        parallelism: Some(parallelism),
        backoff_limit: Some(6),
        template: template("work", "hello:1"),
        ..JobSpec::default()
    };
    Job { metadata: metadata("work"), spec: Some(spec), status: None }
}

fn indexed(completions: i32, parallelism: i32) -> Job {
    let mut job = job(completions, parallelism);
    spec(&mut job).completion_mode = Some("Indexed".to_owned());
    job
}

fn spec(job: &mut Job) -> &mut JobSpec {
    job.spec.get_or_insert_default()
}

/// A pod of the Job that still has to be counted.
fn own(name: &str) -> PodBuilder {
    let mut built = pod(name).owned_by(meta::controller_ref(&job(1, 1)));
    built.0.metadata.finalizers = Some(vec![TRACKING.to_owned()]);
    built
}

fn failed(name: &str, second: i64) -> PodBuilder {
    let mut built = own(name).phase("Failed");
    let ended =
        ContainerStateTerminated { finished_at: Some(meta::time(at(second))), exit_code: 1, ..Default::default() };
    let state = Some(ContainerState { terminated: Some(ended), ..ContainerState::default() });
    let status = ContainerStatus { state, ..ContainerStatus::default() };
    built.0.status.get_or_insert_default().container_statuses = Some(vec![status]);
    built
}

fn of_index(mut built: PodBuilder, index: u32) -> PodBuilder {
    built = built.annotated(COMPLETION_INDEX, &index.to_string());
    built
}

fn look(job: &Job, pods: &[Arc<Pod>], now: Timestamp) -> Plan {
    plan(&Observed { job, pods, now })
}

fn arcs(pods: &[PodBuilder]) -> Vec<Arc<Pod>> {
    pods.iter().map(|pod| Arc::new(pod.0.clone())).collect()
}

#[track_caller]
fn check(job: &Job, pods: &[PodBuilder], expected: &str) {
    assert_eq!(lines(&look(job, &arcs(pods), at(1000)).actions).trim_end(), expected);
}

fn conditions(status: &JobStatus) -> Vec<String> {
    let conditions = status.conditions.iter().flatten();
    conditions
        .map(|condition| {
            format!("{}={} {}", condition.type_, condition.status, condition.reason.clone().unwrap_or_default())
        })
        .collect()
}

#[test]
fn starts_as_many_as_may_run_at_once_and_no_more_than_are_needed() {
    check(&job(5, 2), &[], "create\ncreate");
    check(&job(1, 4), &[], "create");
    check(&job(5, 2), &[own("a")], "create");
    check(&job(5, 0), &[], "");
}

#[test]
fn parallelism_and_completions_default_to_one() {
    let mut plain = job(1, 1);
    (spec(&mut plain).parallelism, spec(&mut plain).completions) = (None, Some(1));
    check(&plain, &[], "create");
}

#[test]
fn a_work_queue_starts_none_after_the_first_success_and_completes_when_the_others_have_ended() {
    let mut queue = job(1, 3);
    spec(&mut queue).completions = None;
    check(&queue, &[], "create\ncreate\ncreate");
    check(&queue, &[own("a").phase("Succeeded"), own("b")], "");
    let status = look(&queue, &arcs(&[own("a").phase("Succeeded")]), at(9)).status;
    assert_eq!(conditions(&status), ["SuccessCriteriaMet=True CompletionsReached"]);
}

#[test]
fn less_parallelism_deletes_pods_that_then_count_as_nothing() {
    let actions = look(&job(5, 1), &arcs(&[own("a").ready(0), own("b")]), at(9)).actions;
    assert!(matches!(actions.as_slice(), [Action::Delete(pod, Surplus::NotNeeded)] if pod.name == "b"), "{actions:?}");
}

#[test]
fn pods_of_other_controllers_and_orphans_are_not_ours() {
    let mut other = job(1, 1);
    other.metadata = metadata("other");
    check(&job(1, 1), &[pod("x").owned_by(meta::controller_ref(&other)), pod("y")], "create");
}

fn selecting(app: &str) -> Job {
    let mut job = job(2, 2);
    spec(&mut job).selector = Some(app_selector(app));
    job
}

#[test]
fn an_orphan_that_matches_is_adopted_before_anything_else_is_decided() {
    let pods = [pod("orphan").labelled(&[("app", "work")]), pod("other").labelled(&[("app", "else")])];
    check(&selecting("work"), &pods, "adopt orphan: no controller, labels match");
    let gone =
        [pod("a").labelled(&[("app", "work")]).phase("Failed"), pod("b").labelled(&[("app", "work")]).deleting()];
    check(&selecting("work"), &gone, "create\ncreate");
}

#[test]
fn a_pod_that_no_longer_matches_is_released_and_then_replaced() {
    let stray = || own("stray").labelled(&[("app", "free")]).ready(0);
    let mine = || own("mine").labelled(&[("app", "work")]).ready(0);
    check(&selecting("work"), &[stray(), mine()], "release stray: labels no longer match");
    let released = || pod("stray").labelled(&[("app", "free")]).ready(0);
    check(&selecting("work"), &[released(), mine()], "create");
}

#[test]
fn a_job_that_is_over_or_going_takes_nobody_in_and_lets_nobody_go() {
    let pods = [own("stray").labelled(&[("app", "free")]), pod("orphan").labelled(&[("app", "work")])];
    let mut going = selecting("work");
    going.metadata.deletion_timestamp = Some(meta::time(at(1)));
    check(&going, &pods, "");
    let mut over = selecting("work");
    let complete = JobCondition { type_: "Complete".to_owned(), status: "True".to_owned(), ..JobCondition::default() };
    over.status = Some(JobStatus { conditions: Some(vec![complete]), ..JobStatus::default() });
    check(&over, &pods, "");
}

#[test]
fn a_finished_pod_is_first_named_in_the_status_then_released_then_counted() {
    let mut one = job(2, 1);
    let done = own("a").phase("Succeeded");
    let first = look(&one, &arcs(std::slice::from_ref(&done)), at(9));
    let uncounted = first.status.uncounted_terminated_pods.clone().expect("always there");
    assert_eq!(uncounted.succeeded, Some(vec!["uid-a".to_owned()]));
    assert_eq!(first.status.succeeded, None, "not counted yet");
    assert_eq!(first.release.iter().map(|pod| pod.name.as_str()).collect::<Vec<_>>(), ["a"]);
    assert_eq!(lines(&first.actions), "create\n", "but the next one may start");

    one.status = Some(first.status);
    let mut released = done;
    released.0.metadata.finalizers = None;
    for pods in [arcs(&[released]), vec![]] {
        let second = look(&one, &pods, at(10));
        assert_eq!(second.status.succeeded, Some(1));
        assert_eq!(second.status.uncounted_terminated_pods, Some(UncountedTerminatedPods::default()));
        assert_eq!(second.release, []);
    }
}

#[test]
fn a_pod_that_is_being_deleted_counts_as_failed_and_is_replaced() {
    let plan = look(&job(1, 1), &arcs(&[own("a").ready(0).deleting()]), at(9));
    assert_eq!(
        plan.status.uncounted_terminated_pods.and_then(|uncounted| uncounted.failed),
        Some(vec!["uid-a".to_owned()])
    );
    assert_eq!(lines(&plan.actions), "create\n");
    assert_eq!(plan.status.terminating, Some(1));
}

#[test]
fn with_the_policy_failed_a_replacement_waits_for_the_end() {
    let mut patient = job(1, 1);
    spec(&mut patient).pod_replacement_policy = Some("Failed".to_owned());
    let plan = look(&patient, &arcs(&[own("a").ready(0).deleting()]), at(9));
    assert_eq!((lines(&plan.actions).as_str(), plan.release), ("", vec![]));
}

#[test]
fn after_failures_the_next_pod_waits_ten_seconds_doubling_up_to_ten_minutes() {
    let mut patient = job(1, 1);
    spec(&mut patient).backoff_limit = Some(100);
    for (failures, wait) in [(1, 10), (2, 20), (3, 40), (6, 320), (7, 600), (50, 600)] {
        let pods: Vec<PodBuilder> = (0..failures).map(|index| failed(&format!("f{index}"), 100)).collect();
        let waiting = look(&patient, &arcs(&pods), at(100 + wait - 1));
        assert_eq!(lines(&waiting.actions), "", "{failures} failures");
        assert_eq!(waiting.revisit_at, Some(at(100 + wait)), "{failures} failures");
        assert_eq!(lines(&look(&patient, &arcs(&pods), at(100 + wait)).actions), "create\n");
    }
}

#[test]
fn a_success_ends_the_back_off() {
    let mut success = failed("s", 200).phase("Succeeded");
    success.0.metadata.name = Some("s".to_owned());
    let pods = arcs(&[failed("a", 100), failed("b", 150), success]);
    assert_eq!(lines(&look(&job(2, 1), &pods, at(201)).actions), "create\n");
}

#[test]
fn more_failures_than_the_limit_fail_the_job_once_nothing_runs_any_more() {
    let mut fragile = job(5, 3);
    spec(&mut fragile).backoff_limit = Some(0);
    let first = look(&fragile, &arcs(&[failed("a", 1), own("b").ready(0)]), at(2));
    assert_eq!(lines(&first.actions), "delete b: the job has failed\n");
    assert_eq!(conditions(&first.status), ["FailureTarget=True BackoffLimitExceeded"]);

    fragile.status = Some(first.status);
    let leaving = look(&fragile, &arcs(&[own("b").ready(0).deleting()]), at(3));
    assert_eq!(conditions(&leaving.status), ["FailureTarget=True BackoffLimitExceeded"]);

    fragile.status = Some(leaving.status);
    let over = look(&fragile, &[], at(4));
    assert_eq!(
        conditions(&over.status),
        ["FailureTarget=True BackoffLimitExceeded", "Failed=True BackoffLimitExceeded"]
    );
    assert_eq!(over.status.failed, Some(2), "the deleted pod counts too");
    assert_eq!(over.status.completion_time, None);
}

#[test]
fn with_restarts_in_place_restarts_count_against_the_limit() {
    let mut restarting = job(1, 1);
    spec(&mut restarting).backoff_limit = Some(3);
    spec(&mut restarting).template.spec.get_or_insert_default().restart_policy = Some("OnFailure".to_owned());
    let with_restarts = |restarts| {
        let mut built = own("a").phase("Running");
        let status = ContainerStatus { restart_count: restarts, ..ContainerStatus::default() };
        built.0.status.get_or_insert_default().container_statuses = Some(vec![status]);
        arcs(&[built])
    };
    assert_eq!(conditions(&look(&restarting, &with_restarts(2), at(2)).status), Vec::<String>::new());
    assert_eq!(
        conditions(&look(&restarting, &with_restarts(3), at(2)).status),
        ["FailureTarget=True BackoffLimitExceeded"]
    );
}

#[test]
fn a_deadline_ends_the_job_whatever_it_does() {
    let mut slow = job(1, 1);
    spec(&mut slow).active_deadline_seconds = Some(30);
    let first = look(&slow, &[], at(0));
    assert_eq!(first.status.start_time, Some(meta::time(at(0))));
    assert_eq!(first.revisit_at, Some(at(30)));
    slow.status = Some(first.status);
    assert_eq!(conditions(&look(&slow, &arcs(&[own("a")]), at(29)).status), Vec::<String>::new());
    let late = look(&slow, &arcs(&[own("a")]), at(30));
    assert_eq!(conditions(&late.status), ["FailureTarget=True DeadlineExceeded"]);
    assert_eq!(lines(&late.actions), "delete a: the job has failed\n");
}

#[test]
fn a_suspended_job_has_no_pods_and_no_start_and_resumes_with_a_new_one() {
    let mut paused = job(2, 2);
    spec(&mut paused).suspend = Some(true);
    spec(&mut paused).active_deadline_seconds = Some(5);
    paused.status = Some(JobStatus { start_time: Some(meta::time(at(0))), ..JobStatus::default() });
    let suspended = look(&paused, &arcs(&[own("a").ready(0)]), at(100));
    assert_eq!(lines(&suspended.actions), "delete a: not needed\n");
    assert_eq!(conditions(&suspended.status), ["Suspended=True JobSuspended"]);
    assert_eq!(suspended.status.start_time, None);

    paused.status = Some(suspended.status);
    spec(&mut paused).suspend = Some(false);
    let resumed = look(&paused, &[], at(200));
    assert_eq!(lines(&resumed.actions), "create\ncreate\n");
    assert_eq!(conditions(&resumed.status), ["Suspended=False JobResumed"]);
    assert_eq!(resumed.status.start_time, Some(meta::time(at(200))));
}

#[test]
fn an_indexed_job_runs_the_lowest_indexes_first_and_each_once() {
    check(&indexed(5, 2), &[], "create index 0\ncreate index 1");
    let pods = [of_index(own("a").phase("Succeeded"), 0), of_index(own("b"), 2)];
    check(&indexed(5, 3), &pods, "create index 1\ncreate index 3");
}

#[test]
fn completed_indexes_are_written_as_ranges_and_count_as_successes() {
    let pods: Vec<PodBuilder> =
        [0, 1, 2, 4].iter().map(|index| of_index(own(&format!("p{index}")).phase("Succeeded"), *index)).collect();
    let status = look(&indexed(6, 2), &arcs(&pods), at(9)).status;
    assert_eq!((status.completed_indexes.as_deref(), status.succeeded), (Some("0-2,4"), Some(4)));
}

#[test]
fn two_pods_of_one_index_are_one_too_many() {
    let pods = [of_index(own("a").ready(0), 0), of_index(own("b").ready(0), 0), of_index(own("c"), 1)];
    check(&indexed(3, 2), &pods, "delete b: not needed");
    // Also while fewer pods run than could: found by a simulated cluster that lost the reply to a creation.
    check(&indexed(5, 4), &pods, "delete b: not needed");
}

#[test]
fn a_pod_of_an_index_knows_it_by_label_annotation_host_name_and_environment() {
    let pod = build(&indexed(3, 1), Some(2));
    assert_eq!(pod.metadata.generate_name.as_deref(), Some("work-2-"));
    assert_eq!(pod_index(&pod), Some(2));
    assert_eq!(meta::labels(&pod.metadata).get(COMPLETION_INDEX).map(String::as_str), Some("2"));
    assert!(meta::has_finalizer(&pod.metadata, TRACKING));
    let spec = pod.spec.expect("a spec");
    assert_eq!(spec.hostname.as_deref(), Some("work-2"));
    let env = spec.containers[0].env.as_ref().expect("an environment");
    assert_eq!((env[0].name.as_str(), env[0].value.as_deref()), ("JOB_COMPLETION_INDEX", Some("2")));
}

#[test]
fn a_finished_job_only_releases_its_pods_and_expires() {
    let mut done = job(1, 1);
    let mut status = look(&done, &[], at(0)).status;
    super::finish::set(
        status.conditions.get_or_insert_default(),
        "Complete",
        "True",
        super::finish::Verdict::new("CompletionsReached", ""),
        at(50),
    );
    done.status = Some(status.clone());
    let plan = look(&done, &arcs(&[failed("late", 60)]), at(60));
    assert_eq!((plan.actions.len(), plan.release.len(), &plan.status), (0, 1, &status));

    spec(&mut done).ttl_seconds_after_finished = Some(30);
    assert_eq!(look(&done, &[], at(79)).revisit_at, Some(at(80)));
    check(&done, &[], "delete the job: finished long ago");
}

#[test]
fn a_job_of_another_controller_is_left_alone() {
    let mut theirs = job(1, 1);
    spec(&mut theirs).managed_by = Some("example.com/queue".to_owned());
    assert_eq!(look(&theirs, &[], at(0)), Plan::default());
}

/// A Job, its pods, and whoever runs them.
struct World {
    job: Job,
    pods: Vec<Arc<Pod>>,
    second: i64,
    born: usize,
    rng: Rng,
    /// The pods that really ended well, by uid: what the status must say in the end.
    succeeded: BTreeSet<String>,
    failed: BTreeSet<String>,
}

impl World {
    fn new(job: Job, seed: u64) -> Self {
        let rng = Rng::seeded(seed);
        Self { job, pods: vec![], second: 0, born: 0, rng, succeeded: BTreeSet::new(), failed: BTreeSet::new() }
    }

    /// Performs the first `steps` steps; then the process may die at any point.
    fn perform(&mut self, plan: Plan, mut steps: usize) {
        let mut may_go_on = || {
            let may = steps > 0;
            steps = steps.saturating_sub(1);
            may
        };
        for action in plan.actions {
            if !may_go_on() {
                return;
            }
            match action {
                Action::Adopt(_) | Action::Release(_) | Action::DeleteJob => unreachable!("not in this world"),
                Action::Create(index) => {
                    self.born += 1;
                    let mut pod = build(&self.job, index);
                    let name = format!("p{}", self.born);
                    pod.metadata = k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                        creation_timestamp: Some(meta::time(at(self.second))),
                        uid: Some(format!("uid-{name}")),
                        name: Some(name),
                        ..pod.metadata
                    };
                    self.pods.push(Arc::new(pod));
                }
                Action::Delete(target, why) => {
                    let pod = self.pods.iter_mut().find(|pod| meta::uid(&pod.metadata) == target.uid).expect("exists");
                    let pod = Arc::make_mut(pod);
                    assert!(!pods::is_terminal(pod), "deletes only pods that run");
                    if why == Surplus::NotNeeded {
                        pod.metadata.finalizers = None;
                    } else {
                        self.failed.insert(target.uid);
                    }
                    pod.metadata.deletion_timestamp = Some(meta::time(at(self.second)));
                }
            }
        }
        if !may_go_on() {
            return;
        }
        self.job.status = Some(plan.status);
        for target in plan.release {
            if !may_go_on() {
                return;
            }
            let pod = self.pods.iter_mut().find(|pod| meta::uid(&pod.metadata) == target.uid).expect("exists");
            Arc::make_mut(pod).metadata.finalizers = None;
        }
    }

    /// Pods end, well or not; somebody deletes ended ones; what is deleted goes when nothing holds it.
    fn live(&mut self, failures_in_ten: usize) {
        self.second += 300;
        let (rng, now) = (self.rng.clone(), at(self.second));
        for pod in &mut self.pods {
            let pod = Arc::make_mut(pod);
            let uid = meta::uid(&pod.metadata).to_owned();
            if !pods::is_terminal(pod) && !meta::is_deleting(&pod.metadata) && rng.below(2) == 0 {
                let fails = rng.below(10) < failures_in_ten;
                if fails {
                    self.failed.insert(uid)
                } else {
                    self.succeeded.insert(uid)
                };
                let phase = if fails { "Failed" } else { "Succeeded" };
                pod.status.get_or_insert_default().phase = Some(phase.to_owned());
            } else if pods::is_terminal(pod) && rng.below(5) == 0 {
                pod.metadata.deletion_timestamp = Some(meta::time(now));
            }
        }
        let is_held = |pod: &Pod| pod.metadata.finalizers.is_some();
        self.pods.retain(|pod| !meta::is_deleting(&pod.metadata) || is_held(pod));
    }

    fn look(&self) -> Plan {
        look(&self.job, &self.pods, at(self.second))
    }

    fn is_over(&self) -> bool {
        super::finish::ended_at(&self.job).is_some()
    }
}

#[test]
fn every_pod_is_counted_exactly_once_whatever_prefix_is_performed() {
    for seed in 0..400 {
        let completions = 1 + i32::try_from(seed % 7).unwrap_or_default();
        let mut wanted = if seed % 2 == 0 { job(completions, 3) } else { indexed(completions, 3) };
        spec(&mut wanted).backoff_limit = Some(if seed % 3 == 0 { 2 } else { 1000 });
        let mut world = World::new(wanted, seed);
        for round in 0..200 {
            let plan = world.look();
            let parallel = plan.actions.iter().filter(|action| matches!(action, Action::Create(_))).count();
            assert!(parallel <= 3, "seed {seed}: starts {parallel} at once");
            let steps = if round < 100 { world.rng.below(8) } else { usize::MAX };
            world.perform(plan, steps);
            world.live(if round < 20 { 4 } else { 0 });
        }
        assert!(world.is_over(), "seed {seed}: not over: {:?}", world.job.status);
        let status = world.job.status.clone().unwrap_or_default();
        let total = |count: Option<i32>| usize::try_from(count.unwrap_or_default()).unwrap_or_default();
        assert_eq!(total(status.failed), world.failed.len(), "seed {seed}");
        if seed % 2 == 0 {
            assert_eq!(total(status.succeeded), world.succeeded.len(), "seed {seed}");
        }
        if conditions(&status).iter().any(|condition| condition.starts_with("Complete")) {
            assert_eq!(status.succeeded, Some(completions), "seed {seed}");
        }
        assert_eq!(world.look().actions, [], "seed {seed}: rests");
        assert_eq!(Some(world.look().status), world.job.status, "seed {seed}: rests");
    }
}

#[test]
fn the_order_of_pods_does_not_matter() {
    for seed in 0..100 {
        let mut world = World::new(indexed(9, 4), seed);
        for _ in 0..6 {
            let expected = world.look();
            let rng = world.rng.split();
            shuffle(&mut world.pods, &rng);
            assert_eq!(world.look(), expected, "seed {seed}");
            world.perform(expected, usize::MAX);
            world.live(3);
        }
    }
}

#[test]
fn a_run_reads_like_this() {
    let mut world = World::new(indexed(3, 2), 0);
    let mut printed = Vec::new();
    for end in ["", "Succeeded", "Failed", "Succeeded", "Succeeded", "", "", ""] {
        for pod in &mut world.pods {
            let pod = Arc::make_mut(pod);
            if pods::is_active(pod) && !end.is_empty() {
                pod.status.get_or_insert_default().phase = Some(end.to_owned());
                break;
            }
        }
        world.second += 60;
        let plan = world.look();
        let count = |count: Option<i32>| count.unwrap_or_default();
        let status = &plan.status;
        printed.push(format!(
            "active {} succeeded {} failed {} [{}] | {} | {}",
            count(status.active),
            count(status.succeeded),
            count(status.failed),
            status.completed_indexes.clone().unwrap_or_default(),
            plan.actions.iter().map(Action::to_string).collect::<Vec<_>>().join(", "),
            conditions(status).join(", "),
        ));
        world.perform(plan, usize::MAX);
    }
    assert_eq!(
        printed,
        [
            "active 0 succeeded 0 failed 0 [] | create index 0, create index 1 | ",
            "active 1 succeeded 1 failed 0 [0] | create index 2 | ",
            "active 1 succeeded 1 failed 0 [0] | create index 1 | ",
            "active 1 succeeded 2 failed 1 [0,2] |  | ",
            "active 0 succeeded 3 failed 1 [0-2] |  | SuccessCriteriaMet=True CompletionsReached",
            "active 0 succeeded 3 failed 1 [0-2] |  | SuccessCriteriaMet=True CompletionsReached, Complete=True CompletionsReached",
            "active 0 succeeded 3 failed 1 [0-2] |  | SuccessCriteriaMet=True CompletionsReached, Complete=True CompletionsReached",
            "active 0 succeeded 3 failed 1 [0-2] |  | SuccessCriteriaMet=True CompletionsReached, Complete=True CompletionsReached",
        ]
    );
}
