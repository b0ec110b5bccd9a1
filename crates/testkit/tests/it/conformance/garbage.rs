//! What goes with its owner or its namespace, what stays, and in which order.

use serde_json::{Value, json};

use super::world::{Answer, World, at, object, pod};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";
const CONTROLLERS: &str = "/api/v1/namespaces/default/replicationcontrollers";

fn is_gone(answer: &Answer) -> bool {
    answer.code == 404
}

/// Makes a replication controller and returns the path of its one pod.
async fn controller(world: &World, name: &str) -> String {
    let template =
        json!({"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "main", "image": "pause"}]}});
    let spec = json!({"replicas": 1, "selector": {"app": name}, "template": template});
    world.post(CONTROLLERS, &object("v1", "ReplicationController", name, &json!({"spec": spec}))).await.is(201);
    let pods = format!("{PODS}?labelSelector=app%3D{name}");
    let pods = world.until("its pod", &pods, |answer| answer.names().len() == 1).await;
    format!("{PODS}/{}", pods.names()[0])
}

#[tokio::test]
async fn pods_go_with_their_controller_in_the_background() {
    let world = World::new().await;
    let pod = controller(&world, "mortal").await;
    world.delete(&format!("{CONTROLLERS}/mortal?propagationPolicy=Background")).await.is(200);
    assert_eq!(world.get(&format!("{CONTROLLERS}/mortal")).await.code, 404, "at once");
    world.until("its pod goes", &pod, is_gone).await;
    world.end().await;
}

#[tokio::test]
async fn orphans_stay_and_forget_their_controller() {
    let world = World::new().await;
    let pod = controller(&world, "parent").await;
    world.delete(&format!("{CONTROLLERS}/parent?propagationPolicy=Orphan")).await.is(200);
    world.until("the controller goes", &format!("{CONTROLLERS}/parent"), is_gone).await;
    assert_eq!(world.get(&pod).await.is(200).at("/metadata/ownerReferences"), "");
    world.end().await;
}

#[tokio::test]
async fn a_controller_stays_until_its_pods_are_gone_if_asked_to() {
    let world = World::new().await;
    let pod = controller(&world, "last").await;
    world.patch(&pod, &json!({"metadata": {"finalizers": ["example.com/hold"]}})).await.is(200);
    let path = format!("{CONTROLLERS}/last");
    world.delete(&format!("{path}?propagationPolicy=Foreground")).await.is(200);
    let is_ending = |answer: &Answer| !answer.at("/metadata/deletionTimestamp").is_empty();
    world.until("its pod is to go", &pod, is_ending).await;
    let waiting = world.get(&path).await.is(200);
    assert_eq!(waiting.at("/metadata/finalizers/0"), "foregroundDeletion");
    world.patch(&pod, &json!({"metadata": {"finalizers": null}})).await.is(200);
    world.until("its pod goes", &pod, is_gone).await;
    world.until("the controller goes", &path, is_gone).await;
    world.end().await;
}

async fn map(world: &World, name: &str) -> Value {
    let made = world.post(MAPS, &object("v1", "ConfigMap", name, &json!({}))).await.is(201);
    json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": made.at("/metadata/uid"),
        "blockOwnerDeletion": true})
}

async fn own(world: &World, name: &str, owners: &[&Value]) {
    let change = json!({"metadata": {"ownerReferences": owners}});
    world.patch(&format!("{MAPS}/{name}"), &change).await.is(200);
}

#[tokio::test]
async fn who_has_another_owner_stays_when_one_waits_for_its_dependents() {
    let world = World::new().await;
    let (ending, staying) = (map(&world, "ending").await, map(&world, "staying").await);
    map(&world, "child").await;
    own(&world, "child", &[&ending, &staying]).await;
    world.delete(&format!("{MAPS}/ending?propagationPolicy=Foreground")).await.is(200);
    world.until("the one goes", &format!("{MAPS}/ending"), is_gone).await;
    let child = world.get(&format!("{MAPS}/child")).await.is(200);
    let owners = child.body["metadata"]["ownerReferences"].as_array().expect("owners");
    let names: Vec<String> = owners.iter().map(|owner| at(owner, "/name")).collect();
    assert_eq!(names, ["staying"]);
    world.end().await;
}

#[tokio::test]
async fn a_circle_of_owners_blocks_nobody() {
    let world = World::new().await;
    let names = ["pod1", "pod2", "pod3"];
    let mut uids = Vec::new();
    for name in names {
        uids.push(world.post(PODS, &pod(name, &json!({}))).await.is(201).at("/metadata/uid"));
    }
    for (name, owner) in names.iter().zip([2, 0, 1]) {
        let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": names[owner], "uid": uids[owner],
            "controller": true, "blockOwnerDeletion": true});
        let change = json!({"metadata": {"ownerReferences": [owner]}});
        world.patch(&format!("{PODS}/{name}"), &change).await.is(200);
    }
    world.delete(&format!("{PODS}/pod1?propagationPolicy=Foreground")).await.is(200);
    world.until("all of them go", PODS, |answer| answer.names().is_empty()).await;
    world.end().await;
}

#[tokio::test]
async fn the_pods_of_a_namespace_go_before_the_rest() {
    let world = World::new().await;
    world.namespace("ordered").await;
    let mut held = pod("held", &json!({}));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    world.post("/api/v1/namespaces/ordered/pods", &held).await.is(201);
    let map = "/api/v1/namespaces/ordered/configmaps/map";
    let body = object("v1", "ConfigMap", "map", &json!({}));
    world.post("/api/v1/namespaces/ordered/configmaps", &body).await.is(201);
    world.delete("/api/v1/namespaces/ordered").await.is(200);
    let pod = "/api/v1/namespaces/ordered/pods/held";
    world.until("the pod is to go", pod, |answer| !answer.at("/metadata/deletionTimestamp").is_empty()).await;
    let waits = |answer: &Answer| {
        let conditions = answer.body["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|one| one["type"] == "NamespaceFinalizersRemaining" && one["status"] == "True")
    };
    world.until("the namespace waits", "/api/v1/namespaces/ordered", waits).await;
    assert_eq!(world.get(map).await.is(200).at("/metadata/deletionTimestamp"), "");
    world.patch(pod, &json!({"metadata": {"finalizers": null}})).await.is(200);
    world.until("the map goes", map, is_gone).await;
    world.until("the namespace goes", "/api/v1/namespaces/ordered", is_gone).await;
    world.end().await;
}
