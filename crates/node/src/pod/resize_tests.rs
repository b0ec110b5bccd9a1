//! Other resources for a pod that runs.

use super::*;
use crate::admission::Fit;

fn spec(cpu: &str, memory: &str, memory_policy: &str) -> Value {
    let resources = json!({ "requests": { "cpu": cpu, "memory": memory }, "limits": { "memory": memory } });
    let policy = json!([{ "resourceName": "memory", "restartPolicy": memory_policy }]);
    json!({ "restartPolicy": "Always", "containers": [{ "name": "c", "resources": resources, "resizePolicy": policy }] })
}

fn wants(bench: &mut Bench, spec: &Value) {
    let mut wanted = Pod::clone(&pod(spec));
    wanted.metadata.generation = bench.phase.life().pod.metadata.generation.map(|generation| generation + 1);
    wanted.status = Some(bench.status());
    bench.give(Input::Desired(Arc::new(wanted)));
}

fn answer(bench: &mut Bench, fit: Fit) {
    let generation = bench.phase.life().pod.metadata.generation;
    bench.give(Input::Allocated { generation, fit });
}

fn conditions(bench: &Bench) -> Vec<String> {
    let all = bench.status().conditions.unwrap().into_iter();
    let resizing = all.filter(|condition| condition.type_.starts_with("PodResize"));
    resizing
        .map(|it| format!("{} {} {}", it.type_, it.reason.unwrap_or_default(), it.message.unwrap_or_default()))
        .collect()
}

fn granted_cpu(bench: &Bench) -> String {
    let status = bench.status().container_statuses.unwrap().remove(0);
    assert_eq!(status.allocated_resources, status.resources.as_ref().unwrap().requests);
    status.allocated_resources.unwrap()["cpu"].0.clone()
}

fn running() -> Bench {
    let mut bench = Bench::new(&spec("1", "64Mi", "RestartContainer"));
    bench.started("c");
    bench.asked();
    bench
}

#[test]
fn what_the_node_grants_is_given_without_a_restart() {
    let mut bench = running();
    wants(&mut bench, &spec("2", "64Mi", "RestartContainer"));
    assert_eq!(bench.asked(), ["allocate"]);
    assert_eq!(granted_cpu(&bench), "1", "not before the node has said so");
    answer(&mut bench, Fit::Granted);
    assert_eq!(bench.asked(), ["resize c 0", "ResizeCompleted: Pod resize completed"]);
    assert_eq!((granted_cpu(&bench).as_str(), conditions(&bench)), ("2", vec![]));
}

#[test]
fn a_container_that_wants_a_restart_gets_one() {
    let mut bench = running();
    wants(&mut bench, &spec("1", "128Mi", "RestartContainer"));
    bench.asked();
    answer(&mut bench, Fit::Granted);
    assert_eq!(bench.asked()[..2], ["Killing: Container c resize requires restart", "stop c by 30"]);
    assert_eq!(conditions(&bench), ["PodResizeInProgress  "]);
    bench.exited("c", 143);
    assert_eq!(bench.starts(), ["start c 1"], "at once, without back-off");
    bench.started("c");
    assert!(conditions(&bench).is_empty());
    let spec = bench.phase.life().granted_spec("c").unwrap();
    assert_eq!(spec.resources.unwrap().limits.unwrap()["memory"].0, "128Mi");
}

#[test]
fn what_does_not_fit_now_is_tried_again_and_said_so() {
    let mut bench = running();
    wants(&mut bench, &spec("2", "64Mi", "RestartContainer"));
    answer(&mut bench, Fit::Deferred("too much for now".into()));
    assert_eq!(conditions(&bench), ["PodResizePending Deferred too much for now"]);
    assert_eq!(bench.asked().last().unwrap(), "ResizeDeferred: too much for now");
    bench.wait(9);
    assert!(bench.asked().is_empty());
    bench.wait(1);
    assert_eq!(bench.asked(), ["allocate"]);
    assert_eq!(conditions(&bench).len(), 1, "while it is tried, too");
    answer(&mut bench, Fit::Deferred("too much for now".into()));
    assert!(bench.asked().is_empty(), "nobody is told the same twice");
    bench.exited("c", 1);
    bench.asked();
    assert_eq!(granted_cpu(&bench), "1");
    let spec = bench.phase.life().granted_spec("c").unwrap();
    assert_eq!(spec.resources.unwrap().requests.unwrap()["cpu"].0, "1", "a restart has what was granted");
}

#[test]
fn what_can_never_fit_waits_for_another_wish() {
    let mut bench = running();
    wants(&mut bench, &spec("99", "64Mi", "RestartContainer"));
    answer(&mut bench, Fit::Infeasible("never".into()));
    assert_eq!(conditions(&bench), ["PodResizePending Infeasible never"]);
    bench.asked();
    let same = Arc::clone(&bench.phase.life().pod);
    bench.give(Input::Desired(same));
    bench.wait(600);
    assert!(bench.asked().is_empty(), "an echo of the object asks for nothing");
    wants(&mut bench, &spec("1", "64Mi", "RestartContainer"));
    assert!(bench.asked().is_empty() && conditions(&bench).is_empty(), "it has what it wants");
}

#[test]
fn an_answer_that_comes_too_late_changes_nothing() {
    let mut bench = running();
    wants(&mut bench, &spec("2", "64Mi", "RestartContainer"));
    bench.kill(30, Kill::Deleted);
    bench.asked();
    answer(&mut bench, Fit::Granted);
    assert!(bench.asked().is_empty());
}

#[test]
fn a_restarted_agent_remembers_what_was_granted() {
    let mut bench = running();
    wants(&mut bench, &spec("2", "64Mi", "RestartContainer"));
    answer(&mut bench, Fit::Deferred("no".into()));
    let mut pod = Pod::clone(&bench.phase.life().pod);
    pod.status = Some(bench.status());
    let mut bench = Bench::of(Arc::new(pod));
    assert_eq!(granted_cpu(&bench), "1");
    assert!(bench.asked().contains(&"allocate".to_owned()), "and asks again");
}
