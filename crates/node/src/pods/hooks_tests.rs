//! Hooks and probes that run commands.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_container_counts_as_started_after_its_hook() {
    let world = World::new();
    let hook = json!({ "postStart": { "sleep": { "seconds": 5 } } });
    let container = json!({ "name": "c", "image": "i:v1", "lifecycle": hook });
    world.pods.apply(&pod("p", &json!({ "containers": [container] })));
    let began = tokio::time::Instant::now();
    world.until("running", World::is_running).await;
    assert!(began.elapsed() >= Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_failed_post_start_hook_kills_the_container() {
    let world = World::new();
    let hook = json!({ "postStart": { "httpGet": { "port": 80 } } });
    let container = json!({ "name": "c", "image": "i:v1", "lifecycle": hook });
    world.pods.apply(&pod("p", &json!({ "restartPolicy": "Never", "containers": [container] })));
    world.until("Failed", |world| world.server.latest("p")["phase"] == "Failed").await;
    let events = world.server.0.lock().events.clone();
    assert!(events.iter().any(|event| event.starts_with("FailedPostStartHook")), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn an_exec_probe_runs_a_command_and_its_failure_restarts_the_container() {
    let world = World::new();
    let mut spec = one("i:v1", "Always");
    spec["containers"][0]["livenessProbe"] =
        json!({ "exec": { "command": ["check", "it"] }, "failureThreshold": 1, "timeoutSeconds": 2 });
    world.pods.apply(&pod("p", &spec));
    world.until("probed", |world| !world.runtime.0.lock().is_empty() && world.guest(0).command().is_some()).await;
    let command = world.guest(0).command().unwrap();
    assert_eq!(command.args, ["check", "it"]);
    command.write(Stream::Stdout, "well");
    command.end(0);
    world.until("again", |world| world.guest(0).command().unwrap().code().is_none()).await;
    let command = world.guest(0).command().unwrap();
    command.write(Stream::Stderr, "not well");
    command.end(1);
    let said = |world: &World, text: &str| world.server.0.lock().events.iter().any(|event| event == text);
    world.until("failed", |world| said(world, "Unhealthy: Liveness probe failed: not well")).await;
    world.until("restarted", |world| world.runtime.0.lock().len() == 2).await;
    world.until("hung", |world| world.guest(1).command().is_some()).await;
    world
        .until("timed out", |world| {
            said(world, "Unhealthy: Liveness probe failed: command \"check it\" timed out after 2s")
        })
        .await;
    assert_eq!(world.guest(1).command().unwrap().code(), Some(137), "a probe that takes too long is killed");
}

#[tokio::test(start_paused = true)]
async fn an_exec_hook_runs_before_the_container_counts_as_started() {
    let world = World::new();
    let mut spec = one("i:v1", "Always");
    spec["containers"][0]["lifecycle"] = json!({ "postStart": { "exec": { "command": ["prepare"] } } });
    world.pods.apply(&pod("p", &spec));
    world.until("hooked", |world| !world.runtime.0.lock().is_empty() && world.guest(0).command().is_some()).await;
    assert!(!world.is_running());
    world.guest(0).command().unwrap().end(0);
    world.until("running", World::is_running).await;
}
