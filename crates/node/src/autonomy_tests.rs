//! A node whose control plane is away: what it starts from its disk, and what it does when the server is back.

use wkube_base::Rng;
use wkube_client::{Informers, Scope};

use super::*;

/// An agent that follows the server, as `Node` starts one.
fn agent(dir: &Arc<tempfile::TempDir>, server: Server) -> World {
    let world = World::on(Arc::clone(dir), server);
    let informers = Informers::new(&world.server.client(), &Rng::seeded(1), &world.tasks);
    let mine = informers.lister_of::<Pod>(Scope::all());
    world.tasks.spawn("pods", world.pods.clone().follow(mine));
    world
}

/// The agent stops at once, as when its process is killed; what it kept has reached the disk.
async fn crash(world: World) -> Server {
    assert!(world.pods.context().kept.settle().await);
    world.tasks.cancel();
    world.server
}

fn lists(server: &Server, pods: &[&Pod]) {
    server.0.lock().pods = pods.iter().map(|pod| serde_json::to_value(pod).unwrap()).collect();
}

fn with_config() -> Value {
    let mut spec = one("i:v1", "Always");
    spec["containers"][0]["envFrom"] = json!([{ "configMapRef": { "name": "m" } }, { "secretRef": { "name": "s" } }]);
    spec["containers"][0]["volumeMounts"] = json!([{ "name": "v", "mountPath": "/v" }]);
    spec["volumes"] = json!([{ "name": "v", "projected": { "sources": [
        { "configMap": { "name": "m" } }, { "serviceAccountToken": { "path": "token", "expirationSeconds": 3600 } }] } }]);
    spec
}

fn state(world: &World, pod: &str) -> Value {
    let known = world.pods.find("n", pod).map(|known| known.status);
    serde_json::to_value(known).unwrap()
}

fn runs(pod: &'static str) -> impl Fn(&World) -> bool {
    move |world| state(world, pod)["containerStatuses"][0]["state"]["running"].is_object()
}

#[tokio::test(start_paused = true)]
async fn an_agent_without_a_control_plane_starts_its_pods_from_disk() {
    let (dir, server) = (Arc::new(tempfile::tempdir().unwrap()), Server::default());
    let pod = pod("p", &with_config());
    lists(&server, &[&pod]);
    server.0.lock().objects.insert("configmaps/m".into(), json!({ "metadata": { "name": "m" }, "data": { "A": "1" } }));
    server.0.lock().objects.insert("secrets/s".into(), json!({ "metadata": { "name": "s" }, "data": { "B": "Mg==" } }));
    let before = agent(&dir, server);
    before.until("running", runs("p")).await;
    let (address, started) = (state(&before, "p")["podIP"].clone(), state(&before, "p")["startTime"].clone());
    let server = crash(before).await;

    server.0.lock().is_away = true;
    let after = agent(&dir, server);
    after.until("running again", runs("p")).await;
    let status = state(&after, "p");
    assert_eq!((&status["podIP"], &status["startTime"]), (&address, &started));
    assert_eq!(status["containerStatuses"][0]["restartCount"], 1, "its guest was lost with the agent");
    let guest = after.guest(0);
    for pair in [("A", "1"), ("B", "2")] {
        assert!(guest.spec.env.contains(&(pair.0.to_owned(), pair.1.to_owned())), "{:?}", guest.spec.env);
    }
    let volume = guest.spec.mounts.iter().find(|mount| mount.guest == "/v").unwrap();
    let read = |name: &str| std::fs::read_to_string(volume.host.join(name)).unwrap();
    assert_eq!((read("A"), read("token")), ("1".to_owned(), "token-1".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_back_restarts_nothing_and_hears_what_it_missed() {
    let (dir, server) = (Arc::new(tempfile::tempdir().unwrap()), Server::default());
    let pod = pod("p", &one("i:v1", "Always"));
    lists(&server, &[&pod]);
    let before = agent(&dir, server);
    before.until("running", runs("p")).await;
    let server = crash(before).await;

    server.0.lock().is_away = true;
    server.0.lock().statuses.clear();
    let after = agent(&dir, server);
    after.until("running again", runs("p")).await;
    let then = state(&after, "p");
    after.server.0.lock().is_away = false;
    after.until("told", |world| world.server.latest("p")["containerStatuses"][0]["restartCount"] == 1).await;
    // Long enough for a worker that wanted to start something.
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert_eq!(after.runtime.0.lock().len(), 1, "one start since the agent came back");
    assert_eq!(state(&after, "p"), then);
}

#[tokio::test(start_paused = true)]
async fn pods_that_were_deleted_meanwhile_end_when_the_server_is_back() {
    let (dir, server) = (Arc::new(tempfile::tempdir().unwrap()), Server::default());
    let (kept, deleted) = (pod("kept", &one("i:v1", "Always")), pod("deleted", &one("i:v1", "Always")));
    lists(&server, &[&kept, &deleted]);
    let before = agent(&dir, server);
    before.until("both run", |world| runs("kept")(world) && runs("deleted")(world)).await;
    let server = crash(before).await;

    server.0.lock().is_away = true;
    let after = agent(&dir, server);
    after.until("both run", |world| runs("kept")(world) && runs("deleted")(world)).await;
    lists(&after.server, &[&kept]);
    after.server.0.lock().is_away = false;
    after.until("one is gone", |world| world.pods.find("n", "deleted").is_none()).await;
    assert!(runs("kept")(&after));
    assert!(after.pods.context().kept.settle().await);
    assert_eq!(after.pods.context().kept.keys(Kept::Pods), ["uid-kept"]);
    assert!(!volumes::pod_dir(dir.path(), &deleted).exists());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_answers_in_time_is_asked_first() {
    let (dir, server) = (Arc::new(tempfile::tempdir().unwrap()), Server::default());
    lists(&server, &[&pod("p", &one("i:v1", "Always"))]);
    let before = agent(&dir, server);
    before.until("running", runs("p")).await;
    let server = crash(before).await;

    lists(&server, &[]);
    let after = agent(&dir, server);
    tokio::time::sleep(OFFLINE_AFTER * 2).await;
    assert!(after.runtime.0.lock().is_empty(), "a pod that was deleted does not run again");
    assert!(after.pods.context().kept.keys(Kept::Pods).is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_end_that_nobody_heard_of_is_told_later_and_not_repeated() {
    let (dir, server) = (Arc::new(tempfile::tempdir().unwrap()), Server::default());
    let job = pod("p", &one("i:v1", "Never"));
    lists(&server, &[&job]);
    let before = agent(&dir, server);
    before.until("running", runs("p")).await;
    before.server.0.lock().is_away = true;
    before.guest(0).end(0);
    before.until("over", |world| state(world, "p")["phase"] == "Succeeded").await;
    let server = crash(before).await;

    server.0.lock().is_away = false;
    server.0.lock().statuses.clear();
    let after = agent(&dir, server);
    after.until("told", |world| world.server.latest("p")["phase"] == "Succeeded").await;
    assert!(after.runtime.0.lock().is_empty(), "what has succeeded does not run again");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_was_running_when_the_agent_died_has_failed() {
    let (dir, server) = (Arc::new(tempfile::tempdir().unwrap()), Server::default());
    lists(&server, &[&pod("p", &one("i:v1", "Never"))]);
    let before = agent(&dir, server);
    before.until("running", runs("p")).await;
    let server = crash(before).await;
    server.0.lock().is_away = true;
    let after = agent(&dir, server);
    after.until("failed", |world| state(world, "p")["phase"] == "Failed").await;
    let ended = state(&after, "p")["containerStatuses"][0]["state"]["terminated"].clone();
    assert_eq!((&ended["exitCode"], &ended["reason"]), (&json!(137), &json!("ContainerStatusUnknown")));
    assert!(after.runtime.0.lock().is_empty(), "what may not run twice does not");
}
