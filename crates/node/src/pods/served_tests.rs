//! What the node says of its pods when it is asked: figures and logs.

use super::*;

pub(super) async fn get(world: &World, path: &str) -> (u16, String) {
    use tower::ServiceExt as _;
    let request = Request::get(path).body(axum::body::Body::empty()).unwrap();
    let answer = crate::server::router(world.pods.clone()).oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test(start_paused = true)]
async fn the_node_says_what_its_running_containers_use() {
    let world = World::new();
    world.pods.apply(&pod("p", &one("i:v1", "Always")));
    world.until("running", World::is_running).await;
    let (status, text) = get(&world, wkube_api::stats::PATH).await;
    assert_eq!(status, 200);
    let summary: Summary = serde_json::from_str(&text).unwrap();
    let used: Vec<_> = summary.containers.iter().map(|one| (one.name.as_str(), one.usage)).collect();
    assert_eq!(used, [("c", Usage { cpu_nanos: 7, memory_bytes: 42 })]);
    assert!(summary.machine.memory_bytes > 0, "{summary:?}");
}

#[tokio::test(start_paused = true)]
async fn logs_are_served_or_the_reason_why_not() {
    let world = World::new();
    world.pods.apply(&pod("p", &one("i:v1", "Always")));
    world.until("running", World::is_running).await;
    world.guest(0).spec.output.write(Stream::Stdout, b"one\ntwo\n");
    assert_eq!(get(&world, "/containerLogs/n/p/c?tailLines=1").await, (200, "two\n".to_owned()));
    let refused = get(&world, "/containerLogs/n/p/c?previous=true").await;
    assert_eq!(refused, (400, "previous terminated container \"c\" in pod \"p\" not found".to_owned()));
    assert_eq!(get(&world, "/containerLogs/n/p/x").await, (400, "container x is not valid for pod p".to_owned()));
    assert_eq!(get(&world, "/containerLogs/n/q/c").await.0, 404);
    world.guest(0).end(1);
    world.until("restarted", |world| world.runtime.0.lock().len() == 2).await;
    world.until("running", World::is_running).await;
    world.guest(1).spec.output.write(Stream::Stdout, b"three\n");
    assert_eq!(get(&world, "/containerLogs/n/p/c").await, (200, "three\n".to_owned()));
    assert_eq!(get(&world, "/containerLogs/n/p/c?previous=true").await, (200, "one\ntwo\n".to_owned()));
}
