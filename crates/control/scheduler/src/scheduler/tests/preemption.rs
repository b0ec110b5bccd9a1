//! Those that must go are told, once, and their room is kept.

use super::*;

fn nominated(api: &Api, pod: &str) -> Value {
    api.0.lock().objects[&format!("pods/{pod}")]["status"]["nominatedNodeName"].clone()
}

#[tokio::test(start_paused = true)]
async fn a_more_important_pod_has_a_node_once_its_victim_has_left() {
    let api = Api::default();
    api.add_node(&node("n1"));
    api.add_pod(&pod("low").cpu("4").on("n1"));
    api.add_pod(&pod("high").cpu("4").priority(10));
    let _tasks = start_over(&api);
    eventually("low is told to leave", || !api.0.lock().deletions.is_empty()).await;
    assert_eq!(nominated(&api, "high"), "n1");
    assert_eq!(api.condition("low")["type"], "DisruptionTarget");
    assert_eq!(api.condition("low")["reason"], "PreemptionByScheduler");
    let why = "default-scheduler: preempting to accommodate a higher priority pod";
    assert_eq!(api.condition("low")["message"], why);
    let waits = "0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to a terminating pod on the \
                 nominated node.";
    eventually("high waits for it", || api.condition("high")["message"] == waits).await;
    tokio::time::sleep(Duration::from_secs(400)).await;
    assert_eq!(api.0.lock().deletions, ["low"], "once");
    let told = |event: &String| event == "Normal Preempted: Preempted by pod high on node n1";
    assert!(api.0.lock().events.iter().any(told));
    api.delete("pods/low");
    let took = eventually("high is bound", || api.node_of("high").is_some()).await;
    assert!(took < Duration::from_secs(11), "at most a back-off: {took:?}");
}

#[tokio::test(start_paused = true)]
async fn nobody_takes_the_room_that_is_made_for_a_more_important_pod() {
    let api = Api::default();
    api.add_node(&node("n1"));
    api.add_pod(&pod("low").cpu("4").on("n1"));
    api.add_pod(&pod("high").cpu("3").priority(10));
    let _tasks = start_over(&api);
    eventually("low is told to leave", || !api.0.lock().deletions.is_empty()).await;
    api.add_pod(&pod("thief").cpu("2"));
    eventually("the thief says why", || api.condition("thief")["reason"] == "Unschedulable").await;
    api.delete("pods/low");
    eventually("high is bound", || api.node_of("high").is_some()).await;
    tokio::time::sleep(Duration::from_secs(400)).await;
    assert_eq!(api.node_of("thief"), None);
    assert_eq!(api.0.lock().bindings, ["high"]);
}

#[tokio::test(start_paused = true)]
async fn a_victim_that_was_not_reached_is_told_again() {
    let api = Api::default();
    api.0.lock().faults.push_back(Fault::RequestLost);
    api.add_node(&node("n1"));
    api.add_pod(&pod("low").cpu("4").on("n1"));
    api.add_pod(&pod("high").cpu("4").priority(10));
    let _tasks = start_over(&api);
    let took = eventually("low is told to leave", || !api.0.lock().deletions.is_empty()).await;
    assert!(took < Duration::from_mins(1), "after a back-off, not at the next event: {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_is_not_kept_for_a_pod_that_it_can_never_have() {
    let api = Api::default();
    api.add_node(&node("n1").spec("unschedulable", json!(true)));
    api.add_pod(&pod("high").priority(10).status("nominatedNodeName", json!("n1")));
    let _tasks = start_over(&api);
    eventually("the nomination is cleared", || nominated(&api, "high").is_null()).await;
    assert_eq!(api.condition("high")["reason"], "Unschedulable");
}
