//! Pods with numbers: how they come, come back, change and go.

use serde_json::{Value, json};

use super::pods::node;
use super::world::{Answer, World, at, object};

const SETS: &str = "/apis/apps/v1/namespaces/default/statefulsets";
const DB: &str = "/apis/apps/v1/namespaces/default/statefulsets/db";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn template(image: &str) -> Value {
    let container = json!({"name": "main", "image": image});
    json!({"metadata": {"labels": {"app": "db"}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]}})
}

async fn make(world: &World, replicas: u32) {
    let spec = json!({"replicas": replicas, "serviceName": "dbs", "selector": {"matchLabels": {"app": "db"}},
        "template": template("db:1")});
    world.post(SETS, &object("apps/v1", "StatefulSet", "db", &json!({"spec": spec}))).await.is(201);
}

/// Waits until the set is as it was last asked to be.
async fn is_settled(world: &World, replicas: u32) -> Answer {
    let count = replicas.to_string();
    let settled = |answer: &Answer| {
        let status = |field: &str| answer.at(&format!("/status/{field}"));
        let counts = ["replicas", "readyReplicas", "availableReplicas", "updatedReplicas", "currentReplicas"];
        status("observedGeneration") == answer.at("/metadata/generation")
            && counts.iter().all(|field| status(field) == count)
            && status("currentRevision") == status("updateRevision")
    };
    world.until("the set is settled", DB, settled).await
}

#[tokio::test]
async fn a_pod_that_was_evicted_comes_back_under_its_name() {
    let world = World::new().await;
    node(&world, "n").await;
    make(&world, 1).await;
    let path = format!("{PODS}/db-0");
    let first = world.until("it is placed", &path, |answer| answer.at("/spec/nodeName") == "n").await;
    let evicted = json!({"status": {"phase": "Failed", "reason": "Evicted"}});
    world.patch(&format!("{path}/status"), &evicted).await.is(200);
    let is_another = |answer: &Answer| answer.code == 200 && answer.at("/metadata/uid") != first.at("/metadata/uid");
    let second = world.until("another takes its name", &path, is_another).await;
    assert_eq!(second.at("/metadata/labels/apps.kubernetes.io~1pod-index"), "0");
    world.end().await;
}

#[tokio::test]
async fn a_stateful_set_has_a_scale() {
    let world = World::new().await;
    world.node("n").await;
    make(&world, 1).await;
    is_settled(&world, 1).await;
    let path = format!("{DB}/scale");
    let mut scale = world.get(&path).await.is(200);
    assert_eq!((scale.at("/spec/replicas"), scale.at("/status/replicas")), ("1".to_owned(), "1".to_owned()));
    assert_eq!(scale.at("/status/selector"), "app=db");
    scale.body["spec"]["replicas"] = 2.into();
    assert_eq!(world.put(&path, &scale.body).await.is(200).at("/spec/replicas"), "2");
    is_settled(&world, 2).await;
    assert_eq!(world.get(PODS).await.names(), ["db-0", "db-1"]);
    assert_eq!(world.patch(&path, &json!({"spec": {"replicas": 4}})).await.is(200).at("/spec/replicas"), "4");
    is_settled(&world, 4).await;
    world.patch(&path, &json!({"spec": {"replicas": 0}})).await.is(200);
    world.until("all of them go", PODS, |answer| answer.names().is_empty()).await;
    world.end().await;
}

#[tokio::test]
async fn a_stateful_set_comes_in_order_and_changes_from_its_last_pod_on() {
    let world = World::new().await;
    world.node("n").await;
    let since = world.get(PODS).await.is(200).at("/metadata/resourceVersion");
    let mut watch = world.watch(&format!("{PODS}?watch=true&resourceVersion={since}")).await;
    make(&world, 3).await;
    let first = is_settled(&world, 3).await;
    world.patch(DB, &json!({"spec": {"template": template("db:2")}})).await.is(200);
    let second = is_settled(&world, 3).await;
    assert_ne!(first.at("/status/currentRevision"), second.at("/status/currentRevision"));
    let mut story = Vec::new();
    while story.len() < 9 {
        let event = watch.next().await.expect("an event");
        let (kind, name) = (at(&event, "/type"), at(&event, "/object/metadata/name"));
        match kind.as_str() {
            "ADDED" => story.push(format!("+{name}")),
            "DELETED" => story.push(format!("-{name}")),
            _ => {}
        }
    }
    let expected = ["+db-0", "+db-1", "+db-2", "-db-2", "+db-2", "-db-1", "+db-1", "-db-0", "+db-0"];
    assert_eq!(story, expected);
    let pods = world.get(PODS).await.is(200);
    for pod in pods.body["items"].as_array().expect("a list") {
        assert_eq!(at(pod, "/spec/containers/0/image"), "db:2");
        let revision = second.at("/status/updateRevision");
        assert_eq!(at(pod, "/metadata/labels/controller-revision-hash"), revision);
    }
    world.end().await;
}
