//! Every state of a pod against every input, as a text that people read: `phase_table.txt`. What an input does not change is
//! listed in one line. A change of the machine shows there; `BLESS=1 cargo test -p wkube-node the_transition_table` writes it
//! anew.

use std::fmt::Write as _;

use super::*;
use crate::admission::Fit;

const TABLE: &str = "src/pod/phase_table.txt";

/// One container with everything that may be asked of it, after a sidecar and an init container.
fn full(policy: &str) -> Value {
    let probe = json!({ "tcpSocket": { "port": 80 } });
    json!({ "restartPolicy": policy,
        "initContainers": [{ "name": "s", "restartPolicy": "Always" }, { "name": "i" }],
        "containers": [{ "name": "c", "image": "i:v1", "startupProbe": probe, "livenessProbe": probe, "readinessProbe": probe,
            "resources": { "requests": { "cpu": "1" } } }] })
}

fn bare() -> Bench {
    let (phase, _) = Phase::begin(pod(&full("Always")), at(0));
    Bench { phase, now: 0, effects: Vec::new() }
}

/// What happens to a pod.
type Step = fn(&mut Bench);

fn after(policy: &str, steps: &[Step]) -> Bench {
    let mut bench = Bench::new(&full(policy));
    for step in steps {
        step(&mut bench);
    }
    bench
}

fn begun(bench: &mut Bench) {
    bench.started("s").started("i").exited("i", 0);
}

fn up(bench: &mut Bench) {
    begun(bench);
    bench.started("c");
}

fn ready(bench: &mut Bench) {
    up(bench);
    bench.probe("c", ProbeKind::Startup, Verdict::Success).probe("c", ProbeKind::Readiness, Verdict::Success);
}

fn without_image(bench: &mut Bench) {
    begun(bench);
    bench.failed("c", StartFailure::Pull { reason: "ErrImagePull", message: "no".into() });
}

fn wants_more(bench: &mut Bench) {
    ready(bench);
    bench.give(Input::Desired(resized(&bench.phase.life().pod)));
}

fn deleting(bench: &mut Bench) {
    bench.kill(30, Kill::Deleted);
}

fn shutting_down(bench: &mut Bench) {
    bench.kill(30, Kill::NodeShutdown);
}

fn all_exited(bench: &mut Bench) {
    bench.exited("c", 143).exited("s", 143);
}

/// The states that a pod can be in once it has been set up: a name, its restart policy, and what led there.
const RUNNING: [(&str, &str, &[Step]); 19] = [
    ("the sidecar starts", "Always", &[]),
    ("the init container runs", "Always", &[|bench| drop_it(bench.started("s").started("i"))]),
    ("the container starts", "Always", &[begun]),
    ("the container is up", "Always", &[up]),
    ("the container is ready", "Always", &[ready]),
    (
        "the container is to be killed",
        "Always",
        &[ready, |bench| {
            drop_it(bench.probe("c", ProbeKind::Liveness, Verdict::Failure));
        }],
    ),
    ("the container backs off", "Always", &[up, |bench| drop_it(bench.exited("c", 1).started("c").exited("c", 1))]),
    ("the pull has failed", "Always", &[without_image]),
    ("the pull backs off", "Always", &[without_image, |bench| drop_it(bench.wait(3))]),
    (
        "the configuration is wrong",
        "Always",
        &[begun, |bench| {
            let failure = StartFailure::Other { reason: "CreateContainerConfigError", message: "no".into() };
            drop_it(bench.failed("c", failure));
        }],
    ),
    ("the node was asked for more", "Always", &[wants_more]),
    (
        "the node has no more now",
        "Always",
        &[wants_more, |bench| {
            bench.give(Input::Allocated { generation: Some(2), fit: Fit::Deferred("no".into()) });
        }],
    ),
    ("the container ends", "Always", &[ready, deleting]),
    ("the container that starts ends", "Always", &[begun, deleting]),
    ("the sidecar ends", "Never", &[ready, |bench| drop_it(bench.exited("c", 0))]),
    ("the agent ends", "Always", &[ready, shutting_down]),
    ("it has finished", "Never", &[ready, |bench| drop_it(bench.exited("c", 0).exited("s", 143))]),
    ("it was deleted", "Always", &[ready, deleting, all_exited]),
    ("the agent has ended it", "Always", &[ready, shutting_down, all_exited]),
];

/// A step returns nothing.
fn drop_it(_: &mut Bench) {}

fn states() -> Vec<(&'static str, Bench)> {
    let mut failed = bare();
    failed.give(Input::PrepareFailed { reason: "FailedMount", message: "no".into() });
    let ended = after("Never", &[up, |bench| drop_it(bench.exited("c", 0).exited("s", 143))]);
    let mut pod = Pod::clone(&ended.phase.life().pod);
    pod.status = Some(ended.status());
    let remembered = Bench::of(Arc::new(pod));
    let running = RUNNING.iter().map(|(name, policy, steps)| (*name, after(policy, steps)));
    let before = [("a try is under way", bare()), ("a try has failed", failed)];
    before.into_iter().chain(running).chain([("it had ended before", remembered)]).collect()
}

fn changed(pod: &Pod, change: impl FnOnce(&mut Pod)) -> Arc<Pod> {
    let mut pod = pod.clone();
    pod.metadata.generation = Some(2);
    change(&mut pod);
    Arc::new(pod)
}

fn resized(pod: &Pod) -> Arc<Pod> {
    let resources = serde_json::from_value(json!({ "requests": { "cpu": "2" } })).unwrap();
    changed(pod, |pod| pod.spec.as_mut().unwrap().containers[0].resources = Some(resources))
}

fn looked_into(pod: &Pod) -> Arc<Pod> {
    let ephemeral = serde_json::from_value(json!([{ "name": "e", "image": "tool:v1" }])).unwrap();
    changed(pod, |pod| pod.spec.as_mut().unwrap().ephemeral_containers = ephemeral)
}

fn inputs(bench: &Bench) -> Vec<(&'static str, Input)> {
    let pod = &bench.phase.life().pod;
    let upgraded = changed(pod, |pod| pod.spec.as_mut().unwrap().containers[0].image = Some("i:v2".into()));
    let kill = |kill| Input::Kill { grace: Duration::from_secs(5), kill };
    let event = Input::Runtime;
    let (c, s, i) = (|| "c".to_owned(), || "s".to_owned(), || "i".to_owned());
    let of = |name: &str| bench.attempt(name);
    let started =
        |container: String, attempt| event(ContainerEvent::Started { container, attempt, image_id: "i".into() });
    let failed = |failure| event(ContainerEvent::StartFailed { container: c(), attempt: of("c"), failure });
    let exited = |container, attempt, code| event(ContainerEvent::Exited { container, attempt, ended: ended(code, 0) });
    let probe = |kind, verdict| Input::Probe { container: c(), attempt: of("c"), kind, verdict };
    let (generation, allocated) = (pod.metadata.generation, |generation, fit| Input::Allocated { generation, fit });
    let rejected = Kill::Rejected { reason: "OutOfcpu", message: "no".into() };
    vec![
        ("the same object", Input::Desired(Arc::clone(pod))),
        ("another image", Input::Desired(upgraded)),
        ("other resources", Input::Desired(resized(pod))),
        ("an ephemeral container", Input::Desired(looked_into(pod))),
        ("the object is deleted", Input::Desired(deleted(pod, 9))),
        ("kill: deleted", kill(Kill::Deleted)),
        ("kill: deadline", kill(Kill::DeadlineExceeded)),
        ("kill: rejected", kill(rejected)),
        ("kill: evicted", kill(Kill::Evicted { message: "no".into() })),
        ("kill: shutdown", kill(Kill::NodeShutdown)),
        ("prepared", Input::Prepared { ip: IpAddr::from([10, 42, 0, 2]) }),
        ("not prepared", Input::PrepareFailed { reason: "FailedMount", message: "no".into() }),
        ("s has started", started(s(), of("s"))),
        ("s has exited 143", exited(s(), of("s"), 143)),
        ("i has started", started(i(), of("i"))),
        ("i has exited 0", exited(i(), of("i"), 0)),
        ("i has exited 1", exited(i(), of("i"), 1)),
        ("c has started", started(c(), of("c"))),
        ("c has no image", failed(StartFailure::Pull { reason: "ErrImagePull", message: "no".into() })),
        ("c has no config", failed(StartFailure::Other { reason: "CreateContainerConfigError", message: "no".into() })),
        ("c has not started", failed(StartFailure::Cancelled)),
        ("c has exited 0", exited(c(), of("c"), 0)),
        ("c has exited 1", exited(c(), of("c"), 1)),
        ("an older c has exited", exited(c(), of("c").wrapping_sub(1), 1)),
        ("an unknown one has exited", exited("x".into(), 0, 1)),
        ("startup succeeds", probe(ProbeKind::Startup, Verdict::Success)),
        ("startup fails", probe(ProbeKind::Startup, Verdict::Failure)),
        ("liveness succeeds", probe(ProbeKind::Liveness, Verdict::Success)),
        ("liveness fails", probe(ProbeKind::Liveness, Verdict::Failure)),
        ("readiness succeeds", probe(ProbeKind::Readiness, Verdict::Success)),
        ("readiness fails", probe(ProbeKind::Readiness, Verdict::Failure)),
        ("granted", allocated(generation, Fit::Granted)),
        ("an older spec is granted", allocated(Some(0), Fit::Granted)),
        ("not granted now", allocated(generation, Fit::Deferred("later".into()))),
        ("never granted", allocated(generation, Fit::Infeasible("never".into()))),
        ("timer", Input::Timer),
    ]
}

/// Returns a pod in a few words: its phase and where its containers are.
fn words(phase: &Phase) -> String {
    let name = match phase {
        Phase::Setup(_) => "Setup",
        Phase::Running(_) => "Running",
        Phase::Stopping(_) => "Stopping",
        Phase::Stopped(stopped) if stopped.is_forgotten => "Stopped, forgotten",
        Phase::Stopped(_) => "Stopped",
    };
    let containers = phase.life().containers.iter().map(|container| {
        let state = match &container.state {
            State::Pending => "pending".to_owned(),
            State::Starting => "starting".to_owned(),
            State::Waiting { why, .. } => {
                let why = format!("{why:?}");
                why.split([' ', '{']).next().unwrap_or_default().to_owned()
            }
            State::Up { ready: true, .. } => "ready".to_owned(),
            State::Up { started: true, .. } => "started".to_owned(),
            State::Up { .. } => "up".to_owned(),
            State::Exited(ended) => format!("exited {}", ended.code),
        };
        let stop = if container.stop.is_some() && container.is_live() { ", stopping" } else { "" };
        format!(
            "{}{} {state}{stop}",
            container.name,
            if container.restarts > 0 { container.restarts.to_string() } else { String::new() }
        )
    });
    format!("{name} [{}]", containers.collect::<Vec<_>>().join("; "))
}

fn table() -> String {
    let mut table = String::new();
    for (name, bench) in states() {
        let before = words(&bench.phase);
        writeln!(table, "{name}: {before}").unwrap();
        let mut unchanged = Vec::new();
        for (input_name, input) in inputs(&bench) {
            let now = bench.phase.wake_at().filter(|_| matches!(input, Input::Timer)).unwrap_or(at(bench.now + 1));
            let (next, effects) = bench.phase.clone().step(input, now);
            let effects: Vec<String> = effects.iter().filter_map(describe).collect();
            let (after, effects) = (words(&next), effects.join(" · "));
            if after == before && effects.is_empty() {
                unchanged.push(input_name);
                continue;
            }
            let after = if after == before { "=" } else { &after };
            writeln!(table, "  {input_name:26} {}", format!("{after}  {effects}").trim_end()).unwrap();
        }
        writeln!(table, "  {:26} {}\n", "nothing:", unchanged.join(", ")).unwrap();
    }
    table
}

#[test]
fn the_transition_table() {
    let now = table();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(TABLE, &now).unwrap();
    }
    let before = std::fs::read_to_string(TABLE).unwrap();
    let differs = now.lines().zip(before.lines()).find(|(now, before)| now != before);
    assert!(now == before, "the first line that differs: {differs:#?}\nBLESS=1 writes the table anew");
}
