//! What pods ask for and are limited to: room on the node, limits of guests, resizes.

use super::*;

#[tokio::test(start_paused = true)]
async fn limits_reach_the_runtime() {
    let world = World::new();
    let mut spec = one("i:v1", "Always");
    spec["containers"][0]["resources"] = json!({ "limits": { "cpu": "250m", "memory": "64Mi" } });
    world.pods.apply(&pod("p", &spec));
    world.pods.apply(&pod("q", &one("i:v1", "Always")));
    world.until("running", |world| world.runtime.0.lock().len() == 2).await;
    let guests = [world.guest(0), world.guest(1)];
    let limited = guests.iter().find(|guest| guest.spec.pod.name == "p").unwrap();
    let free = guests.iter().find(|guest| guest.spec.pod.name == "q").unwrap();
    assert_eq!((limited.spec.cpu_millis, limited.spec.memory_bytes), (Some(250), Some(64 << 20)));
    assert_eq!((free.spec.cpu_millis, free.spec.memory_bytes), (None, None));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_does_not_fit_is_rejected_and_one_that_went_makes_room() {
    let world = World::new();
    let wants = |cpu: &str| {
        let mut spec = one("i:v1", "Always");
        spec["containers"][0]["resources"] = json!({ "requests": { "cpu": cpu } });
        spec
    };
    let first = pod("p", &wants("1500m"));
    world.pods.apply(&first);
    world.until("running", World::is_running).await;
    world.pods.apply(&pod("q", &wants("1")));
    world.until("rejected", |world| world.server.latest("q")["phase"] == "Failed").await;
    let status = world.server.latest("q");
    let message =
        "Pod was rejected: Node didn't have enough resource: cpu, requested: 1000, used: 1500, capacity: 2000";
    assert_eq!((&status["reason"], &status["message"]), (&json!("OutOfcpu"), &json!(message)));
    world.pods.apply(&deleted(&first));
    world.until("removed", |world| !world.server.0.lock().deletes.is_empty()).await;
    world.pods.apply(&pod("r", &wants("1")));
    world.until("it fits", |world| world.server.latest("r")["phase"] == "Running").await;
    assert_eq!(world.runtime.0.lock().len(), 2, "what was rejected never ran");
}

#[tokio::test(start_paused = true)]
async fn a_resize_reaches_the_running_guest_if_the_node_has_room() {
    let world = World::new();
    let wants = |generation: i64, cpu: &str| {
        let mut spec = one("i:v1", "Always");
        spec["containers"][0]["resources"] = json!({ "requests": { "cpu": cpu }, "limits": { "cpu": cpu } });
        let mut pod = Pod::clone(&pod("p", &spec));
        pod.metadata.generation = Some(generation);
        Arc::new(pod)
    };
    world.pods.apply(&wants(1, "500m"));
    world.until("running", World::is_running).await;
    world.pods.apply(&wants(2, "1500m"));
    let told = |world: &World| world.server.latest("p")["containerStatuses"][0]["allocatedResources"]["cpu"].clone();
    world.until("told", |world| told(world) == "1500m").await;
    assert_eq!(world.guest(0).resized.lock().map(|to| to.cpu_millis), Some(Some(1500)));
    world.pods.apply(&wants(3, "3"));
    let pending = |world: &World| {
        let conditions = world.server.latest("p")["conditions"].as_array().cloned().unwrap_or_default();
        conditions.into_iter().find(|condition| condition["type"] == "PodResizePending")
    };
    world.until("refused", |world| pending(world).is_some()).await;
    let condition = pending(&world).unwrap();
    let message = "Node didn't have enough capacity: cpu, requested: 3000, capacity: 2000";
    assert_eq!((&condition["reason"], &condition["message"]), (&json!("Infeasible"), &json!(message)));
    assert_eq!((told(&world), world.runtime.0.lock().len()), (json!("1500m"), 1), "it runs on with what it has");
}
