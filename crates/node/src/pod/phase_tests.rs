//! The phase machine: the sentences of Kubernetes' documentation. Its whole table is in `table`, random lives are in `random`.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::super::container::Ended;
use super::super::status::status_of;
use super::*;

#[path = "ephemeral_tests.rs"]
mod ephemeral;
#[path = "random_tests.rs"]
mod random;
#[path = "resize_tests.rs"]
mod resize;
#[path = "table_tests.rs"]
mod table;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn pod(spec: &Value) -> Arc<Pod> {
    let metadata = json!({ "name": "p", "namespace": "n", "uid": "u", "generation": 1 });
    Arc::new(serde_json::from_value(json!({ "metadata": metadata, "spec": spec })).unwrap())
}

fn one(policy: &str) -> Value {
    json!({ "restartPolicy": policy, "containers": [{ "name": "c", "image": "i:v1" }] })
}

fn deleted(pod: &Pod, grace: i64) -> Arc<Pod> {
    let mut pod = pod.clone();
    pod.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(0)));
    pod.metadata.deletion_grace_period_seconds = Some(grace);
    Arc::new(pod)
}

/// A pod under test: feeds inputs, answers `Prepare` by itself, and keeps what was asked for as text.
struct Bench {
    phase: Phase,
    now: i64,
    effects: Vec<String>,
}

impl Bench {
    fn new(spec: &Value) -> Self {
        Self::of(pod(spec))
    }

    fn of(pod: Arc<Pod>) -> Self {
        let (phase, effects) = Phase::begin(pod, at(0));
        let mut bench = Self { phase, now: 0, effects: Vec::new() };
        bench.take(effects);
        bench
    }

    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            if effect == Effect::Prepare {
                self.give(Input::Prepared { ip: IpAddr::from([10, 42, 0, 2]) });
            }
            self.effects.extend(describe(&effect));
        }
    }

    fn give(&mut self, input: Input) {
        let (next, effects) = self.phase.clone().step(input, at(self.now));
        self.phase = next;
        self.take(effects);
    }

    fn attempt(&self, name: &str) -> u32 {
        self.phase.life().containers.iter().find(|container| container.name == name).unwrap().restarts
    }

    fn started(&mut self, name: &str) -> &mut Self {
        let event = ContainerEvent::Started {
            container: name.into(),
            attempt: self.attempt(name),
            image_id: "i@sha256:0".into(),
        };
        self.give(Input::Runtime(event));
        self
    }

    fn exited(&mut self, name: &str, code: i32) -> &mut Self {
        let event = ContainerEvent::Exited {
            container: name.into(),
            attempt: self.attempt(name),
            ended: ended(code, self.now),
        };
        self.give(Input::Runtime(event));
        self
    }

    fn failed(&mut self, name: &str, failure: StartFailure) -> &mut Self {
        let event = ContainerEvent::StartFailed { container: name.into(), attempt: self.attempt(name), failure };
        self.give(Input::Runtime(event));
        self
    }

    fn probe(&mut self, name: &str, kind: ProbeKind, verdict: Verdict) -> &mut Self {
        self.give(Input::Probe { container: name.into(), attempt: self.attempt(name), kind, verdict });
        self
    }

    fn kill(&mut self, grace: u64, kill: Kill) -> &mut Self {
        self.give(Input::Kill { grace: Duration::from_secs(grace), kill });
        self
    }

    /// Lets time pass, waking the machine whenever it asked for it.
    fn wait(&mut self, seconds: i64) -> &mut Self {
        let end = self.now + seconds;
        while let Some(wake) = self.phase.wake_at().filter(|wake| *wake <= at(end)) {
            self.now = wake.as_second().max(self.now);
            self.give(Input::Timer);
        }
        self.now = end;
        self
    }

    /// Returns what was asked for since the last look.
    fn asked(&mut self) -> Vec<String> {
        std::mem::take(&mut self.effects)
    }

    fn starts(&mut self) -> Vec<String> {
        self.asked().into_iter().filter(|effect| effect.starts_with("start")).collect()
    }

    fn word(&self) -> String {
        self.status().phase.unwrap()
    }

    fn status(&self) -> k8s_openapi::api::core::v1::PodStatus {
        status_of(&self.phase, None, None, at(self.now))
    }

    fn waiting(&self) -> (String, String) {
        let status = self.status().container_statuses.unwrap().remove(0).state.unwrap().waiting.unwrap();
        (status.reason.unwrap(), status.message.unwrap_or_default())
    }

    fn condition(&self, name: &str) -> String {
        let condition =
            self.status().conditions.unwrap().into_iter().find(|condition| condition.type_ == name).unwrap();
        [Some(condition.status), condition.reason, condition.message]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(" ")
    }
}

fn ended(code: i32, now: i64) -> Ended {
    let reason = if code == 0 { "Completed" } else { "Error" };
    Ended { code, reason: reason.into(), message: String::new(), started_at: Some(at(now)), finished_at: at(now) }
}

fn describe(effect: &Effect) -> Option<String> {
    Some(match effect {
        Effect::Prepare => "prepare".into(),
        Effect::Start { container, attempt } => format!("start {container} {attempt}"),
        Effect::Stop { container, deadline, .. } => format!("stop {container} by {}", deadline.as_second()),
        Effect::Allocate => "allocate".into(),
        Effect::Resize { container, attempt } => format!("resize {container} {attempt}"),
        Effect::Release => "release".into(),
        Effect::Publish(Report::Progress) => return None,
        Effect::Publish(Report::Final) => "publish final".into(),
        Effect::Forget => "forget".into(),
        Effect::Record(note) => format!("{}: {}", note.reason, note.message),
    })
}

#[test]
fn containers_start_together_and_the_pod_is_ready_when_all_run() {
    let mut bench = Bench::new(&json!({ "containers": [{ "name": "a" }, { "name": "b" }] }));
    assert_eq!(bench.starts(), ["start a 0", "start b 0"]);
    bench.started("a");
    assert_eq!(
        (bench.word().as_str(), bench.condition("Ready").as_str()),
        ("Pending", "False ContainersNotReady containers with unready status: [b]")
    );
    bench.started("b");
    assert_eq!((bench.word().as_str(), bench.condition("Ready").as_str()), ("Running", "True"));
    assert_eq!(bench.condition("PodReadyToStartContainers"), "True");
}

#[test]
fn init_containers_run_one_after_the_other() {
    let spec = json!({ "initContainers": [{ "name": "i" }, { "name": "j" }], "containers": [{ "name": "c" }] });
    let mut bench = Bench::new(&spec);
    assert_eq!(
        bench.condition("Initialized"),
        "False ContainersNotInitialized containers with incomplete status: [i j]"
    );
    assert_eq!(bench.waiting().0, "PodInitializing");
    bench.started("i").exited("i", 0);
    assert_eq!(bench.starts(), ["start i 0", "start j 0"]);
    bench.started("j").exited("j", 0);
    assert_eq!(bench.starts(), ["start c 0"]);
    assert_eq!(bench.condition("Initialized"), "True");
}

#[test]
fn a_failed_init_container_is_repeated_unless_the_policy_is_never() {
    let spec = |policy: &str| json!({ "restartPolicy": policy, "initContainers": [{ "name": "i" }], "containers": [{ "name": "c" }] });
    let mut bench = Bench::new(&spec("Always"));
    bench.started("i").exited("i", 1);
    assert_eq!(bench.starts(), ["start i 0", "start i 1"]);
    let mut bench = Bench::new(&spec("Never"));
    bench.started("i").exited("i", 1);
    assert_eq!((bench.starts(), bench.word().as_str()), (vec!["start i 0".to_owned()], "Failed"));
}

#[test]
fn a_sidecar_lets_others_start_and_ends_after_them() {
    let spec = json!({ "restartPolicy": "Never", "containers": [{ "name": "c" }],
        "initContainers": [{ "name": "s", "restartPolicy": "Always" }, { "name": "t", "restartPolicy": "Always" }] });
    let mut bench = Bench::new(&spec);
    assert_eq!(bench.starts(), ["start s 0"]);
    bench.started("s").started("t").started("c");
    bench.asked();
    bench.exited("c", 0);
    assert_eq!(bench.asked(), ["Killing: Stopping container t", "stop t by 30"]);
    bench.exited("t", 143);
    assert_eq!(bench.asked(), ["Killing: Stopping container s", "stop s by 30"]);
    bench.exited("s", 143);
    assert_eq!(bench.word(), "Succeeded");
}

#[test]
fn restart_policies_decide_by_exit_code() {
    for (policy, code, restarts) in [
        ("Always", 0, true),
        ("Always", 1, true),
        ("OnFailure", 0, false),
        ("OnFailure", 1, true),
        ("Never", 0, false),
        ("Never", 1, false),
    ] {
        let mut bench = Bench::new(&one(policy));
        bench.started("c").exited("c", code);
        assert_eq!(bench.starts().len() == 2, restarts, "{policy} {code}");
        let word = if restarts {
            "Running"
        } else if code == 0 {
            "Succeeded"
        } else {
            "Failed"
        };
        assert_eq!(bench.word(), word, "{policy} {code}");
    }
}

#[test]
fn a_crash_loop_backs_off_and_says_so() {
    let mut bench = Bench::new(&one("Always"));
    bench.started("c").exited("c", 1).started("c").exited("c", 1);
    let message = "back-off 10s restarting failed container=c pod=p_n(u)";
    assert_eq!(bench.waiting(), ("CrashLoopBackOff".to_owned(), message.to_owned()));
    assert!(bench.asked().contains(&"BackOff: Back-off restarting failed container c in pod p_n(u)".to_owned()));
    bench.wait(9);
    assert!(bench.starts().is_empty());
    bench.wait(1);
    assert_eq!(bench.starts(), ["start c 2"]);
    let status = bench.status().container_statuses.unwrap().remove(0);
    assert_eq!(status.restart_count, 2);
    assert_eq!(status.last_state.unwrap().terminated.unwrap().container_id.unwrap(), "wasmtime://u.c.1");
}

#[test]
fn a_failed_pull_is_named_then_backs_off_then_is_tried_again() {
    let mut bench = Bench::new(&one("Never"));
    bench.failed("c", StartFailure::Pull { reason: "ErrImagePull", message: "no".into() });
    assert_eq!(bench.waiting(), ("ErrImagePull".to_owned(), "no".to_owned()));
    bench.asked();
    bench.wait(3);
    assert_eq!(bench.waiting().0, "ImagePullBackOff");
    assert_eq!(bench.asked(), ["BackOff: Back-off pulling image \"i:v1\"", "Failed: Error: ImagePullBackOff"]);
    bench.wait(7);
    assert_eq!(bench.starts(), ["start c 0"], "a failed start is not a restart");
    assert_eq!(bench.word(), "Pending");
}

#[test]
fn startup_gates_the_other_probes_and_readiness_gates_traffic() {
    let probe = json!({ "httpGet": { "port": 80 } });
    let spec = json!({ "containers": [{ "name": "c", "startupProbe": probe, "livenessProbe": probe, "readinessProbe": probe }] });
    let mut bench = Bench::new(&spec);
    let kinds = |bench: &Bench| bench.phase.probes_wanted().into_iter().map(|(_, _, kind)| kind).collect::<Vec<_>>();
    assert!(kinds(&bench).is_empty());
    bench.started("c");
    assert_eq!(kinds(&bench), [ProbeKind::Startup]);
    bench.probe("c", ProbeKind::Readiness, Verdict::Success);
    assert!(bench.condition("Ready").starts_with("False"), "not before startup");
    bench.probe("c", ProbeKind::Startup, Verdict::Success);
    assert_eq!(kinds(&bench), [ProbeKind::Liveness, ProbeKind::Readiness]);
    assert!(bench.condition("Ready").starts_with("False"), "not before readiness");
    bench.probe("c", ProbeKind::Readiness, Verdict::Success);
    assert_eq!(bench.condition("Ready"), "True");
    bench.probe("c", ProbeKind::Readiness, Verdict::Failure);
    assert!(bench.condition("Ready").starts_with("False"));
}

#[test]
fn a_failed_liveness_probe_restarts_with_the_probes_own_grace() {
    let probe = json!({ "tcpSocket": { "port": 80 }, "terminationGracePeriodSeconds": 7 });
    let mut bench = Bench::new(&json!({ "containers": [{ "name": "c", "livenessProbe": probe }] }));
    bench.started("c");
    bench.asked();
    bench.probe("c", ProbeKind::Liveness, Verdict::Failure);
    assert_eq!(bench.asked(), ["Killing: Container c failed liveness probe, will be restarted", "stop c by 7"]);
    assert!(bench.phase.probes_wanted().is_empty(), "what is being stopped is not probed");
    bench.exited("c", 143);
    assert_eq!(bench.starts(), ["start c 1"]);
}

#[test]
fn a_verdict_about_an_earlier_attempt_is_ignored() {
    let probe = json!({ "tcpSocket": { "port": 80 } });
    let mut bench = Bench::new(&json!({ "containers": [{ "name": "c", "livenessProbe": probe }] }));
    bench.started("c").exited("c", 1).started("c");
    bench.asked();
    bench.give(Input::Probe {
        container: "c".into(),
        attempt: 0,
        kind: ProbeKind::Liveness,
        verdict: Verdict::Failure,
    });
    assert!(bench.asked().is_empty());
}

#[test]
fn deletion_stops_tells_and_removes_in_this_order() {
    let mut bench = Bench::new(&one("Always"));
    bench.started("c");
    bench.asked();
    let pod = deleted(&bench.phase.life().pod, 5);
    bench.give(Input::Desired(pod));
    assert_eq!(bench.asked(), ["Killing: Stopping container c", "stop c by 5"]);
    bench.exited("c", 143);
    assert_eq!(bench.asked(), ["release", "publish final", "forget"]);
    assert_eq!((bench.word().as_str(), bench.condition("Ready").as_str()), ("Failed", "False PodFailed"));
}

#[test]
fn grace_only_shrinks() {
    let mut bench = Bench::new(&one("Always"));
    bench.started("c").kill(30, Kill::Deleted);
    bench.asked();
    bench.kill(60, Kill::Deleted);
    assert!(bench.asked().is_empty());
    bench.kill(3, Kill::Deleted).kill(0, Kill::Deleted);
    assert_eq!(bench.asked(), ["stop c by 3", "stop c by 0"]);
}

#[test]
fn a_finished_pod_waits_for_its_deletion() {
    let mut bench = Bench::new(&one("Never"));
    bench.started("c").exited("c", 0);
    assert_eq!(bench.condition("Ready"), "False PodCompleted");
    assert_eq!(bench.condition("Initialized"), "True PodCompleted");
    bench.asked();
    let pod = deleted(&bench.phase.life().pod, 30);
    bench.give(Input::Desired(Arc::clone(&pod)));
    bench.give(Input::Desired(pod));
    assert_eq!(bench.asked(), ["forget"], "once");
}

#[test]
fn the_agents_shutdown_tells_nothing_and_removes_nothing() {
    let mut bench = Bench::new(&one("Never"));
    bench.started("c").kill(10, Kill::NodeShutdown).exited("c", 143);
    assert_eq!(bench.asked().last().unwrap(), "release");
    assert!(!bench.effects.iter().any(|effect| effect == "publish final" || effect == "forget"));
}

#[test]
fn the_active_deadline_fails_the_pod() {
    let mut spec = one("Always");
    spec["activeDeadlineSeconds"] = json!(20);
    let mut bench = Bench::new(&spec);
    bench.started("c").wait(20).exited("c", 0);
    assert_eq!((bench.word().as_str(), bench.status().reason.as_deref()), ("Failed", Some("DeadlineExceeded")));
}

#[test]
fn an_exit_in_the_instant_of_the_deadline_is_not_lost() {
    let mut spec = one("Never");
    spec["activeDeadlineSeconds"] = json!(20);
    let mut bench = Bench::new(&spec);
    bench.started("c");
    bench.now = 20;
    bench.exited("c", 3);
    let state = bench.status().container_statuses.unwrap().remove(0).state.unwrap();
    assert_eq!(state.terminated.unwrap().exit_code, 3);
    assert!(matches!(bench.phase, Phase::Stopped(_)));
}

#[test]
fn a_changed_image_restarts_the_container_whatever_its_policy() {
    let mut bench = Bench::new(&one("Never"));
    bench.started("c");
    bench.asked();
    let mut changed = Pod::clone(&bench.phase.life().pod);
    changed.spec.as_mut().unwrap().containers[0].image = Some("i:v2".into());
    bench.give(Input::Desired(Arc::new(changed)));
    bench.exited("c", 143);
    assert_eq!(bench.starts(), ["start c 1"]);
}

#[test]
fn a_restarted_agent_goes_on_under_the_same_uid() {
    let before = |policy: &str| {
        let mut bench = Bench::new(&one(policy));
        bench.started("c");
        let mut pod = Pod::clone(&bench.phase.life().pod);
        pod.status = Some(bench.status());
        Arc::new(pod)
    };
    let mut bench = Bench::of(before("Always"));
    assert_eq!(bench.starts(), ["start c 1"]);
    bench.started("c");
    let status = bench.status().container_statuses.unwrap().remove(0);
    let last = status.last_state.unwrap().terminated.unwrap();
    assert_eq!(
        (status.restart_count, last.exit_code, last.reason.as_deref()),
        (1, 137, Some("ContainerStatusUnknown"))
    );
    let bench = Bench::of(before("Never"));
    assert_eq!(bench.word(), "Failed", "what may not run twice has failed");
}

#[test]
fn a_restarted_agent_leaves_a_finished_pod_alone() {
    let mut bench = Bench::new(&one("Never"));
    bench.started("c").exited("c", 0);
    let mut pod = Pod::clone(&bench.phase.life().pod);
    pod.status = Some(bench.status());
    let status = pod.status.clone();
    let mut bench = Bench::of(Arc::new(pod));
    assert!(bench.asked().is_empty());
    assert_eq!(Some(bench.status()), status);
}

#[test]
fn volumes_that_fail_are_tried_again() {
    let (phase, _) = Phase::begin(pod(&one("Always")), at(0));
    let failed = || Input::PrepareFailed { reason: "FailedMount", message: "no".into() };
    let (phase, effects) = phase.step(failed(), at(0));
    assert_eq!(effects.iter().filter_map(describe).collect::<Vec<_>>(), ["FailedMount: no"]);
    let wake = phase.wake_at().unwrap();
    assert_eq!(wake, later(at(0), Duration::from_millis(500)));
    let (_, effects) = phase.step(Input::Timer, wake);
    assert_eq!(effects, [Effect::Prepare]);
}
