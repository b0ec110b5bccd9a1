//! What keeps pods at their number: replication controllers and jobs, which adopt, release and report.

use serde_json::{Value, json};

use super::world::{Answer, World, at, object, pod};

const PODS: &str = "/api/v1/namespaces/default/pods";
const CONTROLLERS: &str = "/api/v1/namespaces/default/replicationcontrollers";
const JOBS: &str = "/apis/batch/v1/namespaces/default/jobs";

fn template(app: &str) -> Value {
    json!({"metadata": {"labels": {"app": app}}, "spec": {"containers": [{"name": "main", "image": "pause"}]}})
}

fn controller(name: &str, replicas: u32) -> Value {
    let spec = json!({"replicas": replicas, "selector": {"app": name}, "template": template(name)});
    object("v1", "ReplicationController", name, &json!({"metadata": {"labels": {"app": name}}, "spec": spec}))
}

fn labelled(name: &str, app: &str) -> Value {
    let mut pod = pod(name, &json!({}));
    pod["metadata"]["labels"] = json!({"app": app});
    pod
}

/// Returns the controller of a pod, as `KIND NAME`.
fn owner(pod: &Value) -> String {
    format!("{} {}", at(pod, "/metadata/ownerReferences/0/kind"), at(pod, "/metadata/ownerReferences/0/name"))
}

fn is_owned_by(whom: &str) -> impl Fn(&Answer) -> bool + '_ {
    move |answer| owner(&answer.body) == whom
}

fn selected(app: &str) -> String {
    format!("{PODS}?labelSelector=app%3D{app}")
}

fn has(count: usize) -> impl Fn(&Answer) -> bool {
    move |answer| answer.names().len() == count
}

#[tokio::test]
async fn a_replication_controller_adopts_a_matching_pod() {
    let world = World::new().await;
    world.post(PODS, &labelled("orphan", "adopter")).await.is(201);
    world.post(CONTROLLERS, &controller("adopter", 1)).await.is(201);
    let path = format!("{PODS}/orphan");
    world.until("it is adopted", &path, is_owned_by("ReplicationController adopter")).await;
    let path = format!("{CONTROLLERS}/adopter");
    world.until("it is counted", &path, |answer| answer.at("/status/replicas") == "1").await;
    assert_eq!(world.get(&selected("adopter")).await.names(), ["orphan"], "one is enough");
    world.end().await;
}

#[tokio::test]
async fn a_replication_controller_releases_a_pod_that_no_longer_matches_and_replaces_it() {
    let world = World::new().await;
    world.post(CONTROLLERS, &controller("releaser", 1)).await.is(201);
    let pods = world.until("its pod", &selected("releaser"), has(1)).await;
    let path = format!("{PODS}/{}", pods.names()[0]);
    assert_eq!(owner(&pods.body["items"][0]), "ReplicationController releaser");
    world.patch(&path, &json!({"metadata": {"labels": {"app": "free"}}})).await.is(200);
    world.until("it is released", &path, |answer| owner(&answer.body) == " ").await;
    world.until("another takes its place", &selected("releaser"), has(1)).await;
    world.end().await;
}

#[tokio::test]
async fn a_replication_controller_has_a_scale() {
    let world = World::new().await;
    world.post(CONTROLLERS, &controller("scaled", 1)).await.is(201);
    let path = format!("{CONTROLLERS}/scaled/scale");
    let mut scale = world.until("its pod", &path, |answer| answer.at("/status/replicas") == "1").await;
    assert_eq!((scale.at("/kind"), scale.at("/status/selector")), ("Scale".to_owned(), "app=scaled".to_owned()));
    scale.body["spec"]["replicas"] = 2.into();
    assert_eq!(world.put(&path, &scale.body).await.is(200).at("/spec/replicas"), "2");
    world.until("two pods", &selected("scaled"), has(2)).await;
    assert_eq!(world.get(&format!("{CONTROLLERS}/scaled")).await.is(200).at("/spec/replicas"), "2");
    world.end().await;
}

#[tokio::test]
async fn a_replication_controller_tells_that_a_quota_stops_it_until_it_does_not() {
    let world = World::new().await;
    let quota = object("v1", "ResourceQuota", "few", &json!({"spec": {"hard": {"pods": "2"}}}));
    world.post("/api/v1/namespaces/default/resourcequotas", &quota).await.is(201);
    let quota = "/api/v1/namespaces/default/resourcequotas/few";
    world.until("the quota counts", quota, |answer| answer.at("/status/hard/pods") == "2").await;
    world.post(CONTROLLERS, &controller("hungry", 3)).await.is(201);
    let path = format!("{CONTROLLERS}/hungry");
    let failed = |answer: &Answer| answer.at("/status/conditions/0/type") == "ReplicaFailure";
    let told = world.until("it tells", &path, failed).await;
    assert_eq!(told.at("/status/conditions/0/reason"), "FailedCreate");
    assert!(told.at("/status/conditions/0/message").contains("exceeded quota: few"), "{:#}", told.body);
    world.patch(&path, &json!({"spec": {"replicas": 2}})).await.is(200);
    world.until("it is content", &path, |answer| answer.at("/status/conditions").is_empty()).await;
    world.end().await;
}

#[tokio::test]
async fn a_replication_controller_lives_from_its_first_pods_to_its_last() {
    let world = World::new().await;
    world.node("n").await;
    let everywhere = "/api/v1/replicationcontrollers?watch=true&labelSelector=app%3Dlife";
    let mut watch = world.watch(everywhere).await;
    world.post(CONTROLLERS, &controller("life", 1)).await.is(201);
    watch.find("ADDED life").await;
    let path = format!("{CONTROLLERS}/life");
    let ready = |count: &'static str| move |answer: &Answer| answer.at("/status/availableReplicas") == count;
    world.until("one is available", &path, ready("1")).await;
    world.patch(&path, &json!({"metadata": {"labels": {"step": "patched"}}})).await.is(200);
    world.patch(&format!("{path}/scale"), &json!({"spec": {"replicas": 2}})).await.is(200);
    world.until("two are available", &path, ready("2")).await;
    let status = json!({"status": {"readyReplicas": 0, "availableReplicas": 0}});
    assert_eq!(world.patch(&format!("{path}/status"), &status).await.is(200).at("/metadata/labels/step"), "patched");
    world.until("the controller knows better", &path, ready("2")).await;
    assert_eq!(world.get("/api/v1/replicationcontrollers?labelSelector=app%3Dlife").await.names(), ["life"]);
    world.delete(&format!("{CONTROLLERS}?labelSelector=app%3Dlife&propagationPolicy=Background")).await.is(200);
    watch.find("DELETED life").await;
    world.until("its pods go", &selected("life"), has(0)).await;
    world.end().await;
}

fn job(name: &str) -> Value {
    let mut template = template(name);
    template["spec"]["restartPolicy"] = "Never".into();
    let spec = json!({"parallelism": 2, "completions": 2, "template": template});
    object("batch/v1", "Job", name, &json!({"spec": spec}))
}

#[tokio::test]
async fn a_job_that_is_deleted_takes_its_pods_along() {
    let world = World::new().await;
    world.post(JOBS, &job("gone")).await.is(201);
    world.until("its pods", &selected("gone"), has(2)).await;
    world.delete(&format!("{JOBS}/gone?propagationPolicy=Background")).await.is(200);
    world.until("the job goes", &format!("{JOBS}/gone"), |answer| answer.code == 404).await;
    world.until("its pods go", &selected("gone"), has(0)).await;
    world.end().await;
}

#[tokio::test]
async fn a_job_adopts_a_matching_orphan_and_releases_a_pod_that_no_longer_matches() {
    let world = World::new().await;
    world.node("n").await;
    world.post(JOBS, &job("adopter")).await.is(201);
    let pods = world.until("its pods", &selected("adopter"), has(2)).await;
    let path = format!("{PODS}/{}", pods.names()[0]);
    let owned = "Job adopter";
    assert_eq!(owner(&pods.body["items"][0]), owned);

    world.patch(&path, &json!({"metadata": {"ownerReferences": null}})).await.is(200);
    let adopted = world.until("it is adopted again", &path, is_owned_by(owned)).await;
    assert_eq!(adopted.at("/metadata/finalizers/0"), "batch.kubernetes.io/job-tracking");

    world.patch(&path, &json!({"metadata": {"labels": null}})).await.is(200);
    let released = world.until("it is released", &path, is_owned_by(" ")).await;
    assert_eq!(released.at("/metadata/finalizers"), "", "nobody counts it any more");
    world.until("another takes its place", &selected("adopter"), has(2)).await;
    world.end().await;
}

#[tokio::test]
async fn a_replica_set_adopts_a_matching_pod_and_releases_it_when_it_no_longer_matches() {
    let world = World::new().await;
    world.post(PODS, &labelled("orphan", "set")).await.is(201);
    let spec = json!({"replicas": 1, "selector": {"matchLabels": {"app": "set"}}, "template": template("set")});
    let set = object("apps/v1", "ReplicaSet", "set", &json!({"spec": spec}));
    world.post("/apis/apps/v1/namespaces/default/replicasets", &set).await.is(201);
    let path = format!("{PODS}/orphan");
    world.until("it is adopted", &path, is_owned_by("ReplicaSet set")).await;
    world.patch(&path, &json!({"metadata": {"labels": {"app": "free"}}})).await.is(200);
    world.until("it is released", &path, |answer| owner(&answer.body) == " ").await;
    world.until("another takes its place", &selected("set"), has(1)).await;
    world.end().await;
}
