//! Pods from their start to their end, with what may come between.

use super::served::get;
use super::*;

#[tokio::test(start_paused = true)]
async fn a_pod_runs_is_deleted_and_leaves_nothing() {
    let world = World::new();
    let pod = pod("p", &one("i:v1", "Always"));
    world.pods.apply(&pod);
    world.until("running", World::is_running).await;
    let guest = world.guest(0);
    assert_eq!(guest.spec.args, ["c", "hello $(WHO)"]);
    assert!(guest.spec.env.contains(&("HOSTNAME".to_owned(), "p".to_owned())));
    let status = world.server.latest("p");
    assert_eq!((&status["phase"], &status["podIP"]), (&json!("Running"), &json!("10.42.0.2")));
    world.pods.apply(&deleted(&pod));
    world.until("object removed", |world| !world.server.0.lock().deletes.is_empty()).await;
    let options = world.server.0.lock().deletes[0].clone();
    assert_eq!((&options["gracePeriodSeconds"], &options["preconditions"]["uid"]), (&json!(0), &json!("uid-p")));
    let terminated = world.server.latest("p")["containerStatuses"][0]["state"]["terminated"].clone();
    assert_eq!(terminated["exitCode"], 143, "the last status came before the removal");
    std::fs::create_dir_all(volumes::pod_dir(world.dir.path(), &pod)).unwrap();
    world.pods.gone(&pod);
    world.until("worker gone", |world| world.pods.all().is_empty()).await;
    world.until("directory gone", |world| !volumes::pod_dir(world.dir.path(), &pod).exists()).await;
}

/// Found by a simulated cluster: a pod stayed `Ready: False` for ever once its node had been silent for a minute.
#[tokio::test(start_paused = true)]
async fn a_status_that_somebody_overruled_is_written_again() {
    let world = World::new();
    let mut pod = Pod::clone(&pod("p", &one("i:v1", "Always")));
    world.pods.apply(&Arc::new(pod.clone()));
    world.until("running", World::is_running).await;
    let written = |world: &World| world.server.0.lock().statuses.len();
    let (status, before) = (world.server.latest("p"), written(&world));
    pod.status = Some(serde_json::from_value(status).unwrap());
    pod.metadata.resource_version = Some("3".into());
    world.pods.apply(&Arc::new(pod.clone()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(written(&world), before, "what shows our own words is no news");
    let conditions = pod.status.as_mut().and_then(|status| status.conditions.as_mut()).unwrap();
    conditions
        .iter_mut()
        .filter(|condition| condition.type_ == "Ready")
        .for_each(|ready| ready.status = "False".into());
    pod.metadata.resource_version = Some("4".into());
    world.pods.apply(&Arc::new(pod));
    world.until("written again", |world| written(world) == before + 1).await;
    let ready = world.server.latest("p")["conditions"].as_array().unwrap().clone();
    assert!(ready.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True"));
}

/// Found by a simulated cluster: a 409 was taken for "another pod has the name", and the status was never told.
#[tokio::test(start_paused = true)]
async fn a_conflict_that_is_mere_contention_does_not_lose_the_status() {
    let world = World::new();
    world.server.0.lock().conflicts = 3;
    world.pods.apply(&pod("p", &one("i:v1", "Always")));
    world.until("running", World::is_running).await;
}

#[tokio::test(start_paused = true)]
async fn a_crashing_container_starts_again_at_once_and_then_after_ten_seconds() {
    let world = World::new();
    world.pods.apply(&pod("p", &one("i:v1", "Always")));
    let count = |world: &World| world.runtime.0.lock().len();
    let began = tokio::time::Instant::now();
    for round in 0..2 {
        world.until("started", |world| count(world) == round + 1).await;
        world.until("running", World::is_running).await;
        world.guest(round).end(1);
    }
    assert!(began.elapsed() < Duration::from_secs(5));
    world.until("third start", |world| count(world) == 3).await;
    assert!(began.elapsed() >= Duration::from_secs(10));
    world.until("told", |world| world.server.latest("p")["containerStatuses"][0]["restartCount"] == 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_missing_image_is_told_with_its_cause() {
    let world = World::new();
    world.pods.apply(&pod("p", &one("missing:v9", "Never")));
    let waiting =
        |world: &World| world.server.latest("p")["containerStatuses"][0]["state"]["waiting"]["reason"].clone();
    world.until("ErrImagePull", |world| waiting(world) == "ErrImagePull").await;
    world.until("ImagePullBackOff", |world| waiting(world) == "ImagePullBackOff").await;
    let event = "Failed: Failed to pull image \"missing:v9\": not found".to_owned();
    world.until("event", |world| world.server.0.lock().events.contains(&event)).await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_run_has_failed_to_start() {
    let world = World::new();
    world.pods.apply(&pod("p", &one("bad:v1", "Never")));
    world.until("Failed", |world| world.server.latest("p")["phase"] == "Failed").await;
    let terminated = world.server.latest("p")["containerStatuses"][0]["state"]["terminated"].clone();
    assert_eq!((&terminated["reason"], &terminated["message"]), (&json!("StartError"), &json!("no _start")));
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_stops_removes_nothing_and_the_next_one_goes_on() {
    let world = World::new();
    let first = pod("p", &one("i:v1", "Always"));
    world.pods.apply(&first);
    world.until("running", World::is_running).await;
    let status = world.server.latest("p");
    let dir = volumes::pod_dir(world.dir.path(), &first);
    std::fs::create_dir_all(&dir).unwrap();
    world.pods.shut_down(Duration::from_secs(10)).await;
    assert!(world.guest(0).exit.borrow().is_some(), "the guest was stopped");
    assert!(world.server.0.lock().deletes.is_empty());
    assert!(dir.exists());
    world.tasks.cancel();
    let next = World::again(Arc::clone(&world.dir));
    let mut pod = Pod::clone(&first);
    pod.status = Some(serde_json::from_value(status).unwrap());
    let pod = Arc::new(pod);
    next.pods.keep_addresses(std::slice::from_ref(&pod));
    next.pods.apply(&pod);
    next.until("running", World::is_running).await;
    let status = next.server.latest("p");
    assert_eq!((&status["containerStatuses"][0]["restartCount"], &status["podIP"]), (&json!(1), &json!("10.42.0.2")));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_does_not_wait_longer_than_its_deadline() {
    let world = World::new();
    let hook = json!({ "preStop": { "sleep": { "seconds": 600 } } });
    let container = json!({ "name": "c", "image": "i:v1", "lifecycle": hook });
    world.pods.apply(&pod("p", &json!({ "containers": [container] })));
    world.until("running", World::is_running).await;
    let began = tokio::time::Instant::now();
    world.pods.shut_down(Duration::from_secs(10)).await;
    assert!(began.elapsed() <= Duration::from_secs(10));
    assert!(world.guest(0).exit.borrow().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_thousand_pods_come_up_with_few_writes_at_once() {
    let world = World::new();
    for index in 0..1_000 {
        world.pods.apply(&pod(&format!("p{index}"), &one("i:v1", "Always")));
    }
    let ready = |world: &World| {
        let told = world.server.0.lock();
        let running = told.statuses.iter().filter(|(_, status)| status["phase"] == "Running").count();
        running >= 1_000
    };
    world.until("all running", ready).await;
    let addresses: BTreeSet<_> = world.pods.all().into_iter().filter_map(|known| known.status.pod_ip).collect();
    assert_eq!(addresses.len(), 1_000, "each has its own address");
    assert!(world.server.0.lock().writes_max <= 16);
    assert!(world.server.0.lock().statuses.len() <= 4_000, "progress is told, not every step of it");
}

#[tokio::test(start_paused = true)]
async fn an_ephemeral_container_joins_the_pod_is_told_and_is_found_by_name() {
    let world = World::new();
    let mut spec = one("i:v1", "Always");
    world.pods.apply(&pod("p", &spec));
    world.until("running", World::is_running).await;
    let env = json!([{ "name": "LOOK", "value": "around" }]);
    spec["ephemeralContainers"] = json!([{ "name": "e", "image": "tool:v1", "args": ["$(LOOK)"], "env": env, "tty": true,
        "stdin": true, "targetContainerName": "c" }]);
    world.pods.apply(&pod("p", &spec));
    let state = |world: &World| world.server.latest("p")["ephemeralContainerStatuses"][0]["state"].clone();
    world.until("it runs", |world| state(world)["running"].is_object()).await;
    assert!(world.is_running(), "and the other one still does");
    let (guest, uid) = (world.guest(1), "uid-p");
    assert_eq!((guest.spec.image.id.as_str(), &guest.spec.args[1..]), ("tool:v1@sha256:0", &["around".to_owned()][..]));
    assert!(guest.take_stdin().is_some() && world.pods.context().live.attached(uid, "e").is_some());
    guest.spec.output.write(Stream::Stdout, b"seen\n");
    assert_eq!(get(&world, "/containerLogs/n/p/e").await, (200, "seen\n".to_owned()));
    guest.end(5);
    world.until("it has ended", |world| state(world)["terminated"]["exitCode"] == 5).await;
    assert_eq!(get(&world, "/containerLogs/n/p/e").await, (200, "seen\n".to_owned()), "its log stays");
    world.pods.apply(&pod("p", &spec));
    world.guest(0).end(1);
    world.until("the other one starts again", |world| world.runtime.0.lock().len() == 3).await;
    assert_eq!(world.guest(2).spec.image.id, "i:v1@sha256:0", "an ephemeral container runs once");
}
