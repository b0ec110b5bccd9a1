//! Ephemeral containers: they join a pod while it lives, run once, and nothing depends on them.

use super::*;

/// Returns the spec with an ephemeral container `e` that looks at `c`.
fn looked_at(spec: &Value) -> Value {
    let mut spec = spec.clone();
    spec["ephemeralContainers"] = json!([{ "name": "e", "image": "tool:v1", "targetContainerName": "c" }]);
    spec
}

fn joins(bench: &mut Bench, spec: &Value) {
    bench.give(Input::Desired(pod(&looked_at(spec))));
}

/// Returns the state of `e` as `waiting: REASON`, `running` or `terminated: CODE`.
fn state(bench: &Bench) -> String {
    let statuses = bench.status().ephemeral_container_statuses.expect("it is told");
    let [status] = statuses.as_slice() else { panic!("one ephemeral container: {statuses:?}") };
    assert_eq!((status.name.as_str(), status.image.as_str(), status.ready), ("e", "tool:v1", false));
    assert_eq!((status.restart_count, status.started), (0, None));
    let state = status.state.clone().unwrap();
    match (state.waiting, state.running, state.terminated) {
        (Some(waiting), None, None) => format!("waiting: {}", waiting.reason.unwrap()),
        (None, Some(_), None) => "running".into(),
        (None, None, Some(terminated)) => format!("terminated: {}", terminated.exit_code),
        several => panic!("one state: {several:?}"),
    }
}

#[test]
fn it_starts_once_when_it_appears_and_never_again() {
    let spec = one("Always");
    let mut bench = Bench::new(&spec);
    bench.started("c");
    assert_eq!((bench.starts(), bench.status().ephemeral_container_statuses), (vec!["start c 0".to_owned()], None));
    joins(&mut bench, &spec);
    assert_eq!((bench.starts(), state(&bench)), (vec!["start e 0".to_owned()], "waiting: ContainerCreating".into()));
    bench.started("e");
    assert_eq!(state(&bench), "running");
    joins(&mut bench, &spec);
    bench.exited("e", 3).wait(1_000);
    joins(&mut bench, &spec);
    assert_eq!((bench.starts(), state(&bench)), (vec![], "terminated: 3".into()));
}

#[test]
fn the_pod_is_as_ready_as_without_it() {
    for code in [0, 1] {
        let spec = one("Always");
        let mut bench = Bench::new(&spec);
        bench.started("c");
        joins(&mut bench, &spec);
        let looks = |bench: &Bench| ["Ready", "ContainersReady", "Initialized"].map(|name| bench.condition(name));
        assert_eq!((bench.word().as_str(), looks(&bench)), ("Running", ["True"; 3].map(str::to_owned)));
        bench.started("e").exited("e", code);
        assert_eq!((bench.word().as_str(), looks(&bench)), ("Running", ["True"; 3].map(str::to_owned)));
        assert_eq!(bench.status().container_statuses.unwrap().len(), 1);
        assert!(bench.phase.probes_wanted().is_empty());
    }
}

#[test]
fn it_joins_a_pod_that_does_not_get_past_its_init_containers() {
    let spec = json!({ "initContainers": [{ "name": "i" }], "containers": [{ "name": "c" }] });
    let mut bench = Bench::new(&spec);
    bench.started("i").exited("i", 1).started("i").exited("i", 1);
    assert_eq!(bench.starts(), ["start i 0", "start i 1"]);
    joins(&mut bench, &spec);
    assert_eq!(bench.starts(), ["start e 0"]);
    bench.started("e");
    assert_eq!((bench.word().as_str(), state(&bench).as_str()), ("Pending", "running"));
    assert_eq!(bench.condition("Initialized"), "False ContainersNotInitialized containers with incomplete status: [i]");
}

#[test]
fn it_joins_a_pod_whose_container_waits() {
    let spec = one("Always");
    let mut bench = Bench::new(&spec);
    bench.started("c").exited("c", 1).started("c").exited("c", 1);
    bench.asked();
    joins(&mut bench, &spec);
    assert_eq!((bench.starts(), bench.waiting().0.as_str()), (vec!["start e 0".to_owned()], "CrashLoopBackOff"));
}

#[test]
fn one_that_was_there_before_the_volumes_starts_with_the_pod() {
    let (phase, _) = Phase::begin(pod(&one("Always")), at(0));
    let (phase, effects) = phase.step(Input::Desired(pod(&looked_at(&one("Always")))), at(0));
    assert!(effects.is_empty());
    let (_, effects) = phase.step(Input::Prepared { ip: IpAddr::from([10, 42, 0, 2]) }, at(0));
    let starts: Vec<_> = effects.iter().filter(|effect| matches!(effect, Effect::Start { .. })).collect();
    assert_eq!(starts.into_iter().filter_map(describe).collect::<Vec<_>>(), ["start e 0", "start c 0"]);
}

#[test]
fn its_image_is_pulled_again_after_a_while() {
    let spec = one("Always");
    let mut bench = Bench::new(&spec);
    bench.started("c");
    joins(&mut bench, &spec);
    bench.failed("e", StartFailure::Pull { reason: "ErrImagePull", message: "no".into() });
    assert_eq!(state(&bench), "waiting: ErrImagePull");
    bench.wait(3);
    assert_eq!(state(&bench), "waiting: ImagePullBackOff");
    bench.asked();
    bench.wait(10);
    assert_eq!(bench.starts(), ["start e 0"]);
}

#[test]
fn it_ends_with_the_pod_and_does_not_decide_how_that_ended() {
    let spec = one("Never");
    let mut bench = Bench::new(&spec);
    bench.started("c");
    joins(&mut bench, &spec);
    bench.started("e").asked();
    bench.exited("c", 0);
    assert_eq!(bench.asked(), ["Killing: Stopping container e", "stop e by 30"]);
    assert_eq!(bench.word(), "Running", "until nothing runs");
    bench.exited("e", 137);
    assert_eq!((bench.word().as_str(), state(&bench).as_str()), ("Succeeded", "terminated: 137"));
}

#[test]
fn a_deletion_stops_it_with_the_others() {
    let spec = one("Always");
    let mut bench = Bench::new(&spec);
    bench.started("c");
    joins(&mut bench, &spec);
    bench.started("e").asked();
    bench.kill(9, Kill::Deleted);
    let stops = bench.asked().into_iter().filter(|asked| asked.starts_with("stop")).collect::<Vec<_>>();
    assert_eq!(stops, ["stop c by 9", "stop e by 9"]);
}

#[test]
fn a_restarted_agent_does_not_run_it_again() {
    let spec = one("Always");
    for (has_ended, expected) in [(false, "terminated: 137"), (true, "terminated: 0")] {
        let mut before = Bench::new(&spec);
        before.started("c");
        joins(&mut before, &spec);
        before.started("e");
        if has_ended {
            before.exited("e", 0);
        }
        let mut pod = Pod::clone(&before.phase.life().pod);
        pod.status = Some(before.status());
        let mut bench = Bench::of(Arc::new(pod));
        assert_eq!((bench.starts(), state(&bench).as_str()), (vec!["start c 1".to_owned()], expected));
    }
}
