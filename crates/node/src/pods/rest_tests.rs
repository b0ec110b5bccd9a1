//! Pods to which nothing happens for a while are packed, and nobody notices.

use super::*;

/// Whether the pod's worker keeps it as text.
fn rests(world: &World) -> bool {
    world.pods.0.workers.lock().values().all(|handle| handle.view.lock().is_at_rest())
}

#[tokio::test(start_paused = true)]
async fn a_pod_at_rest_is_seen_whole_and_goes_on_where_it_was() {
    let world = World::new();
    world.pods.apply(&pod("p", &one("i:v1", "Always")));
    world.until("running", World::is_running).await;
    assert!(!rests(&world));
    let begun = world.latest("p")["conditions"][0].clone();
    world.until("it rests", rests).await;
    let known = world.pods.find("n", "p").unwrap();
    assert_eq!(
        (known.pod.spec.as_ref().map(|spec| spec.containers.len()), known.status.phase.as_deref()),
        (Some(1), Some("Running"))
    );
    assert!(world.pods.find("n", "q").is_none());
    tokio::time::sleep(Duration::from_mins(10)).await;
    world.guest(0).end(1);
    world.until("it runs again", |world| world.guests() == 2 && world.is_running()).await;
    let status = world.latest("p");
    assert_eq!(status["containerStatuses"][0]["lastState"]["terminated"]["exitCode"], 1);
    assert_eq!(status["conditions"][0], begun, "a condition that did not change keeps its time over the rest");
    world.until("it rests again", rests).await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_at_rest_wakes_to_end() {
    let world = World::new();
    let running = pod("p", &one("i:v1", "Always"));
    world.pods.apply(&running);
    world.until("it rests", rests).await;
    world.pods.apply(&deleted(&running));
    world.until("object removed", |world| !world.server.0.lock().deletes.is_empty()).await;
    assert_eq!(world.latest("p")["containerStatuses"][0]["state"]["terminated"]["exitCode"], 143);
    world.pods.gone(&running);
    world.until("worker gone", |world| world.pods.all().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_container_was_granted_outlasts_a_rest() {
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
    world.pods.apply(&wants(2, "3"));
    world.until("it rests", rests).await;
    world.guest(0).end(1);
    world.until("it runs again", |world| world.guests() == 2).await;
    assert_eq!(world.guest(1).spec.cpu_millis, Some(500), "the node has no room for three processors");
}
