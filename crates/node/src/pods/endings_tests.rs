//! What the status and the events say about how containers ended, or why they never began.

use super::*;

/// Runs a pod of one container to its end, and returns what its status says of that.
async fn ended(container: Value, end: impl FnOnce(&FakeGuest)) -> Value {
    let world = World::new();
    let mut container = container;
    container["name"] = json!("c");
    container["image"] = json!("i:v1");
    world.pods.apply(&pod("p", &json!({ "restartPolicy": "Never", "containers": [container] })));
    world.until("running", World::is_running).await;
    end(&world.guest(0));
    world.until("over", |world| ["Succeeded", "Failed"].contains(&world.latest("p")["phase"].as_str().unwrap())).await;
    world.latest("p")["containerStatuses"][0]["state"]["terminated"].clone()
}

fn writes(path: &'static str, words: &'static str, code: i32) -> impl FnOnce(&FakeGuest) {
    move |guest| {
        std::fs::write(guest.spec.mounts[0].host.join(path), words).unwrap();
        guest.spec.output.write(Stream::Stderr, b"printed\nat the end\n");
        guest.end(code);
    }
}

#[tokio::test(start_paused = true)]
async fn a_containers_last_words_are_told() {
    let said = ended(json!({}), writes("dev/termination-log", "the disk is full", 3)).await;
    assert_eq!((&said["exitCode"], &said["message"]), (&json!(3), &json!("the disk is full")));
    let own = json!({ "terminationMessagePath": "/last" });
    assert_eq!(ended(own, writes("last", "done", 0)).await["message"], "done");
    assert!(ended(json!({}), writes("else", "x", 1)).await.get("message").is_none(), "the log is not asked");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_log_stands_in_for_last_words_after_a_failure() {
    let fallback = || json!({ "terminationMessagePolicy": "FallbackToLogsOnError" });
    assert_eq!(ended(fallback(), writes("else", "x", 1)).await["message"], "printed\nat the end\n");
    assert!(ended(fallback(), writes("else", "x", 0)).await.get("message").is_none());
    assert_eq!(ended(fallback(), writes("dev/termination-log", "words", 1)).await["message"], "words");
}

#[tokio::test(start_paused = true)]
async fn a_container_behind_a_failed_init_container_goes_on_waiting() {
    let world = World::new();
    let init = |name: &str| json!({ "name": name, "image": "i:v1" });
    let mut spec = one("i:v1", "Never");
    spec["initContainers"] = json!([init("first"), init("second")]);
    world.pods.apply(&pod("p", &spec));
    world.until("first begins", |world| world.guests() == 1).await;
    world.guest(0).end(2);
    world.until("over", |world| world.latest("p")["phase"] == "Failed").await;
    let status = world.latest("p");
    assert_eq!(status["initContainerStatuses"][0]["state"]["terminated"]["exitCode"], 2);
    for waiting in [&status["initContainerStatuses"][1], &status["containerStatuses"][0]] {
        assert_eq!(waiting["state"]["waiting"]["reason"], "PodInitializing", "{waiting}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_container_has_started_before_its_hook_fails() {
    let world = World::new();
    let hook = json!({ "postStart": { "exec": { "command": ["greet"] } } });
    let container = json!({ "name": "c", "image": "i:v1", "lifecycle": hook });
    world.pods.apply(&pod("p", &json!({ "restartPolicy": "Never", "containers": [container] })));
    world.until("the hook runs", |world| world.guests() == 1 && world.guest(0).command().is_some()).await;
    world.until("it is told", |world| world.events().iter().any(|event| event.starts_with("Started"))).await;
    assert_ne!(world.latest("p")["phase"], "Running", "a container is not running before its hook is through");
    world.guest(0).command().unwrap().end(1);
    let is_told = |world: &World| world.events().iter().any(|event| event == "Killing: FailedPostStartHook");
    world.until("killed", is_told).await;
}
