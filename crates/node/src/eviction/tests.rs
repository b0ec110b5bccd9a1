//! Evictions with workers, a fake runtime and a scripted API server, in paused time.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::signals::Condition;
use super::thresholds::Least;
use super::*;
use crate::pods::tests::{World, one, pod};

fn evictor(world: &World) -> Evictor {
    // No thresholds: the machine on which the tests run may be short of anything.
    Evictor::new(world.pods.clone(), "n1".to_owned(), "".parse().unwrap())
}

async fn run(world: &World, pod: &Arc<Pod>) {
    let name = spec::name(pod).to_owned();
    world.apply(pod);
    world.until("running", |world| phase(world, &name) == "Running").await;
}

fn phase(world: &World, name: &str) -> String {
    world.latest(name)["phase"].as_str().unwrap_or_default().to_owned()
}

async fn failed(world: &World, name: &str) -> Value {
    world.until("failed", |world| phase(world, name) == "Failed").await;
    world.latest(name)
}

fn memory_is_short() -> (Threshold, Observation) {
    let threshold = Threshold { signal: Signal::Memory, least: Least::Amount(100 << 20) };
    (threshold, Observation { signal: Signal::Memory, available: 50 << 20, capacity: 4 << 30 })
}

fn with_request(memory: &str) -> Value {
    let mut spec = one("i:v1", "Always");
    spec["containers"][0]["resources"] = json!({ "requests": { "memory": memory } });
    spec
}

#[tokio::test(start_paused = true)]
async fn an_evicted_pod_says_why_and_never_runs_again() {
    let world = World::new();
    run(&world, &pod("p", &one("i:v1", "Always"))).await;
    let known = world.pods.find("n", "p").unwrap();
    assert!(evict(&world.pods, &known, "Usage of EmptyDir volume \"x\" exceeds the limit \"1Mi\". ".to_owned()));
    let status = failed(&world, "p").await;
    assert_eq!(status["reason"], "Evicted");
    assert_eq!(status["message"], "Usage of EmptyDir volume \"x\" exceeds the limit \"1Mi\". ");
    let conditions = status["conditions"].as_array().unwrap();
    let target = conditions.iter().find(|condition| condition["type"] == "DisruptionTarget").unwrap();
    assert_eq!((&target["status"], &target["reason"]), (&json!("True"), &json!("TerminationByKubelet")));
    assert_eq!(world.guests(), 1, "restartPolicy does not bring it back");
    world.until("event", |world| world.events().iter().any(|event| event.contains("Evicted"))).await;
}

#[tokio::test(start_paused = true)]
async fn what_the_node_needs_itself_is_not_evicted() {
    let world = World::new();
    let mut critical = one("i:v1", "Always");
    critical["priority"] = json!(2_000_001_000);
    run(&world, &pod("p", &critical)).await;
    let known = world.pods.find("n", "p").unwrap();
    assert!(!evict(&world.pods, &known, "no room".to_owned()));
    assert_eq!(phase(&world, "p"), "Running");
}

#[tokio::test(start_paused = true)]
async fn under_memory_pressure_a_new_pod_without_requests_fails_at_once() {
    let world = World::new();
    let pressure = BTreeSet::from([Condition::MemoryPressure]);
    world.pods.context().vitals.set_state(pressure, Vec::new());
    world.apply(&pod("p", &one("i:v1", "Always")));
    let status = failed(&world, "p").await;
    assert_eq!(status["reason"], "Evicted");
    assert_eq!(status["message"], "Pod was rejected: The node had condition: [MemoryPressure]. ");
    assert_eq!(world.guests(), 0);
    run(&world, &pod("promised", &with_request("1Mi"))).await;
}

#[tokio::test(start_paused = true)]
async fn memory_is_relieved_by_who_was_promised_none() {
    let world = World::new();
    // The fake guests use 42 bytes each.
    run(&world, &pod("p", &with_request("1Mi"))).await;
    run(&world, &pod("guest", &one("i:v1", "Always"))).await;
    let (threshold, seen) = memory_is_short();
    evictor(&world).relieve(&threshold, &seen);
    let status = failed(&world, "guest").await;
    assert_eq!(
        status["message"],
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. \
         Container c was using 42, request is 0, has larger consumption of memory. "
    );
    assert_eq!(phase(&world, "p"), "Running");
    let about_node = |world: &World| world.events().iter().any(|event| event.contains("EvictionThresholdMet"));
    world.until("event about the node", about_node).await;
}

#[tokio::test(start_paused = true)]
async fn one_pod_goes_at_a_time() {
    let world = World::new();
    for name in ["p", "q"] {
        run(&world, &pod(name, &one("i:v1", "Always"))).await;
    }
    let mut evictor = evictor(&world);
    let (threshold, seen) = memory_is_short();
    evictor.relieve(&threshold, &seen);
    evictor.relieve(&threshold, &seen);
    failed(&world, "p").await;
    assert_eq!(phase(&world, "q"), "Running");
}

#[tokio::test(start_paused = true)]
async fn a_volume_over_its_limit_ends_its_pod() {
    let world = World::new();
    let mut spec = one("i:v1", "Always");
    spec["volumes"] = json!([{ "name": "x", "emptyDir": { "sizeLimit": "64Ki" } }]);
    let pod = pod("p", &spec);
    run(&world, &pod).await;
    let mut evictor = evictor(&world);
    evictor.look().await;
    assert_eq!(phase(&world, "p"), "Running");
    let volume = volumes::dir_of(&volumes::pod_dir(&world.pods.context().data_dir, &pod), "x");
    std::fs::write(volume.join("large"), vec![1; 256 << 10]).unwrap();
    evictor.look().await;
    let status = failed(&world, "p").await;
    assert_eq!(status["message"], "Usage of EmptyDir volume \"x\" exceeds the limit \"64Ki\". ");
}
