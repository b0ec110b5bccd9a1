//! Static pods: run by the node alone, shown by mirrors.

use super::*;
use crate::static_pods::Directory;

struct Files(tempfile::TempDir, Directory);

impl Files {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::new(dir.path().to_owned(), "n1".to_owned());
        Self(dir, directory)
    }

    /// Writes a manifest, and has the node look.
    fn write(&mut self, world: &World, image: &str) {
        let spec = one(image, "Always");
        let pod =
            json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "s", "namespace": "n" }, "spec": spec });
        std::fs::write(self.0.path().join("s.yaml"), pod.to_string()).unwrap();
        self.look(world);
    }

    fn remove(&mut self, world: &World) {
        std::fs::remove_file(self.0.path().join("s.yaml")).unwrap();
        self.look(world);
    }

    fn look(&mut self, world: &World) {
        world.pods.want_static(self.1.look().expect("something has changed"));
    }
}

fn world() -> World {
    let world = World::new();
    let node = json!({ "metadata": { "name": "n1", "uid": "uid-of-n1" } });
    world.server.0.lock().objects.insert("/nodes/n1".into(), node);
    world
}

fn mirror(world: &World) -> Option<Arc<Pod>> {
    let mirror = world.server.0.lock().mirrors.get("s-n1").cloned()?;
    Some(Arc::new(serde_json::from_value(mirror).unwrap()))
}

fn runs(world: &World) -> bool {
    world.server.latest("s-n1")["containerStatuses"][0]["state"]["running"].is_object()
}

fn made(world: &World) -> usize {
    world.server.0.lock().mirrors_made
}

#[tokio::test(start_paused = true)]
async fn a_file_is_a_pod_which_a_mirror_shows() {
    let (world, mut files) = (world(), Files::new());
    files.write(&world, "i:v1");
    world.until("running", runs).await;
    let mirror = mirror(&world).expect("a mirror");
    assert_eq!(mirror.metadata.owner_references.as_ref().unwrap()[0].uid, "uid-of-n1");
    assert_eq!(world.server.latest("s-n1")["podIP"], "10.42.0.2");
    assert_eq!(made(&world), 1, "one mirror for all its states");
    files.remove(&world);
    world.until("the mirror is gone", |world| self::mirror(world).is_none()).await;
    world.until("the pod is gone", |world| world.pods.all().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn who_deletes_the_mirror_gets_another_and_the_pod_runs_on() {
    let (world, mut files) = (world(), Files::new());
    files.write(&world, "i:v1");
    world.until("running", runs).await;
    let before = mirror(&world).unwrap();
    // Asked for, but not done yet: the node does it, and makes another.
    world.pods.take(&Change::Applied { now: deleted(&before), before: Some(Arc::clone(&before)) });
    world.server.0.lock().mirrors.insert("s-n1".into(), serde_json::to_value(&*deleted(&before)).unwrap());
    world.until("another mirror", |world| made(world) == 2).await;
    // Done at once, with --force.
    world.server.0.lock().mirrors.clear();
    world.pods.take(&Change::Deleted(before));
    world.until("a third one", |world| made(world) == 3).await;
    assert_eq!(world.guests(), 1, "nothing was restarted");
}

#[tokio::test(start_paused = true)]
async fn a_changed_file_ends_the_pod_and_then_begins_another() {
    let (world, mut files) = (world(), Files::new());
    files.write(&world, "i:v1");
    world.until("running", runs).await;
    let before = mirror(&world).unwrap();
    files.write(&world, "i:v2");
    world.until("the new one runs", |world| world.guests() == 2 && world.pods.all().len() == 1).await;
    assert_eq!(world.guest(1).spec.image.id, "i:v2@sha256:0");
    world.until("another mirror", |world| mirror(world).is_some_and(|now| mirrored(&now) != mirrored(&before))).await;
    let code = world.guest(0).exit.borrow().as_ref().map(|exit| exit.code);
    assert_eq!(code, Some(143), "the old one was stopped");
}

#[tokio::test(start_paused = true)]
async fn it_runs_without_a_server_and_is_shown_when_there_is_one() {
    let (world, mut files) = (world(), Files::new());
    world.server.0.lock().is_away = true;
    files.write(&world, "i:v1");
    world.until("a guest", |world| world.guests() == 1).await;
    assert!(mirror(&world).is_none());
    world.server.0.lock().is_away = false;
    world.until("shown", runs).await;
}

#[tokio::test(start_paused = true)]
async fn a_mirror_without_a_file_is_removed() {
    let (world, mut files) = (world(), Files::new());
    files.write(&world, "i:v1");
    world.until("running", runs).await;
    let mut orphan = Pod::clone(&mirror(&world).unwrap());
    orphan.metadata.name = Some("old-n1".into());
    orphan.metadata.annotations.as_mut().unwrap().insert("kubernetes.io/config.mirror".into(), "another".into());
    world.server.0.lock().mirrors.insert("old-n1".into(), serde_json::to_value(&orphan).unwrap());
    world.pods.take(&Change::Applied { now: Arc::new(orphan), before: None });
    world.until("removed", |world| !world.server.0.lock().mirrors.contains_key("old-n1")).await;
    assert!(mirror(&world).is_some());
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_comes_back_starts_it_from_its_file_only() {
    let (before, mut files) = (world(), Files::new());
    files.write(&before, "i:v1");
    before.until("running", runs).await;
    assert!(before.pods.context().kept.settle().await);
    before.tasks.cancel();
    let (dir, server) = (Arc::clone(&before.dir), before.server.clone());
    server.0.lock().is_away = true;
    let after = World::on(dir, server);
    after.pods.keep_all_addresses();
    let pods = Directory::new(files.0.path().to_owned(), "n1".to_owned()).look().unwrap();
    after.pods.want_static(pods);
    after.pods.start_from_disk().await;
    after.until("a guest", |world| world.guests() == 1).await;
    let all = after.pods.all();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].status.pod_ip.as_deref(), Some("10.42.0.2"), "with the address that it had");
}
