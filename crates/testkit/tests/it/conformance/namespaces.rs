//! Namespaces and the quotas in them.

use serde_json::{Value, json};

use super::world::{Answer, World, object, pod};

const QUOTA: &str = "/api/v1/namespaces/default/resourcequotas/q";

#[tokio::test]
async fn a_namespace_is_patched_and_updated() {
    let world = World::new().await;
    world.namespace("changed").await;
    let path = "/api/v1/namespaces/changed";
    let patched = world.patch(path, &json!({"metadata": {"labels": {"step": "patched"}}})).await.is(200);
    assert_eq!(patched.at("/metadata/labels/step"), "patched");
    assert_eq!(patched.at("/metadata/labels/kubernetes.io~1metadata.name"), "changed");
    let read = world.until("it has settled", path, |answer| answer.at("/status/phase") == "Active").await;
    let mut wanted = read.body;
    wanted["metadata"]["labels"]["step"] = "updated".into();
    assert_eq!(world.put(path, &wanted).await.is(200).at("/metadata/labels/step"), "updated");
    world.end().await;
}

#[tokio::test]
async fn a_namespace_has_a_status_of_its_own() {
    let world = World::new().await;
    world.namespace("told").await;
    let path = "/api/v1/namespaces/told/status";
    assert_eq!(world.get(path).await.is(200).at("/status/phase"), "Active");
    let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": "E2E", "message": "set", "lastTransitionTime": null});
    let patched = world.patch(path, &json!({"status": {"conditions": [condition("StatusPatched")]}})).await.is(200);
    assert_eq!(patched.at("/status/conditions/0/type"), "StatusPatched");
    let mut read = world.get(path).await.is(200).body;
    read["status"]["conditions"].as_array_mut().expect("conditions").push(condition("StatusUpdate"));
    assert_eq!(world.put(path, &read).await.is(200).at("/status/conditions/1/type"), "StatusUpdate");
    world.end().await;
}

#[tokio::test]
async fn a_finalizer_is_added_and_removed_by_finalize() {
    let world = World::new().await;
    world.namespace("held").await;
    let path = "/api/v1/namespaces/held";
    let mut read = world.get(path).await.is(200).body;
    let finalizers = read["spec"]["finalizers"].as_array_mut().expect("finalizers");
    assert_eq!(finalizers, &[json!("kubernetes")]);
    finalizers.push(json!("e2e.example.com/fake"));
    let held = world.put(&format!("{path}/finalize"), &read).await.is(200);
    assert_eq!(held.body["spec"]["finalizers"], json!(["kubernetes", "e2e.example.com/fake"]));
    world.delete(path).await.is(200);
    let is_emptied = |answer: &Answer| answer.body["spec"]["finalizers"] == json!(["e2e.example.com/fake"]);
    let mut emptied = world.until("its own finalizer is left", path, is_emptied).await.body;
    emptied["spec"]["finalizers"] = json!([]);
    world.put(&format!("{path}/finalize"), &emptied).await.is(200);
    world.until("it is gone", path, |answer| answer.code == 404).await;
    world.end().await;
}

#[tokio::test]
async fn services_go_with_their_namespace() {
    let world = World::new().await;
    world.namespace("served").await;
    let service = object("v1", "Service", "s", &json!({"spec": {"ports": [{"port": 80}]}}));
    world.post("/api/v1/namespaces/served/services", &service).await.is(201);
    world.delete("/api/v1/namespaces/served").await.is(200);
    world.until("it is gone", "/api/v1/namespaces/served", |answer| answer.code == 404).await;
    world.namespace("served").await;
    assert!(world.get("/api/v1/namespaces/served/services").await.names().is_empty());
    world.end().await;
}

/// Makes the quota and waits until it is counted.
async fn limit(world: &World, spec: &Value) {
    let quota = object("v1", "ResourceQuota", "q", &json!({"spec": spec}));
    world.post("/api/v1/namespaces/default/resourcequotas", &quota).await.is(201);
    world.until("the quota is calculated", QUOTA, |answer| answer.body["status"]["hard"] == spec["hard"]).await;
}

async fn used(world: &World, resource: &str, amount: &str) {
    let pointer = format!("/status/used/{}", resource.replace('/', "~1"));
    let what = format!("{amount} {resource} are used");
    world.until(&what, QUOTA, |answer| answer.at(&pointer) == amount).await;
}

#[tokio::test]
async fn a_quota_is_calculated_promptly() {
    let world = World::new().await;
    limit(&world, &json!({"hard": {"pods": "5", "services": "10", "secrets": "10", "count/replicasets.apps": "5"}}))
        .await;
    // One service is there from the beginning: the API server's.
    for (resource, amount) in [("pods", "0"), ("services", "1"), ("secrets", "0"), ("count/replicasets.apps", "0")] {
        used(&world, resource, amount).await;
    }
    world.end().await;
}

/// Creates objects up to a quota of one more than there are, is refused one more, and is given back what it deletes.
async fn captures(resource: &str, collection: &str, api_version: &str, kind: &str, body: &Value) {
    let world = World::new().await;
    // What every namespace has must be there before it is counted.
    let root = "/api/v1/namespaces/default/configmaps/kube-root-ca.crt";
    world.until("the namespace is furnished", root, |answer| answer.code == 200).await;
    let path = format!("{collection}/namespaces/default/{}", collection_name(resource));
    let there = world.get(&path).await.is(200).names().len();
    limit(&world, &json!({"hard": {resource: (there + 1).to_string()}})).await;
    used(&world, resource, &there.to_string()).await;
    world.post(&path, &object(api_version, kind, "fits", body)).await.is(201);
    used(&world, resource, &(there + 1).to_string()).await;
    let refused = world.post(&path, &object(api_version, kind, "too-much", body)).await.is(403);
    assert!(refused.at("/message").contains("exceeded quota: q"), "{}", refused.at("/message"));
    world.delete(&format!("{path}/fits?propagationPolicy=Background")).await.is(200);
    used(&world, resource, &there.to_string()).await;
    world.end().await;
}

fn collection_name(resource: &str) -> &str {
    let name = resource.strip_prefix("count/").unwrap_or(resource);
    name.split('.').next().expect("a name")
}

fn template() -> Value {
    json!({"metadata": {"labels": {"app": "q"}}, "spec": {"containers": [{"name": "main", "image": "pause"}]}})
}

#[tokio::test]
async fn a_quota_captures_the_life_of_a_service() {
    captures("services", "/api/v1", "v1", "Service", &json!({"spec": {"ports": [{"port": 80}]}})).await;
}

#[tokio::test]
async fn a_quota_captures_the_life_of_a_secret() {
    captures("secrets", "/api/v1", "v1", "Secret", &json!({"data": {"a": "YQ=="}})).await;
}

#[tokio::test]
async fn a_quota_captures_the_life_of_a_config_map() {
    captures("configmaps", "/api/v1", "v1", "ConfigMap", &json!({"data": {"a": "b"}})).await;
}

#[tokio::test]
async fn a_quota_captures_the_life_of_a_replication_controller() {
    let body = json!({"spec": {"replicas": 0, "selector": {"app": "q"}, "template": template()}});
    captures("replicationcontrollers", "/api/v1", "v1", "ReplicationController", &body).await;
}

#[tokio::test]
async fn a_quota_captures_the_life_of_a_replica_set() {
    let body = json!({"spec": {"replicas": 0, "selector": {"matchLabels": {"app": "q"}}, "template": template()}});
    captures("count/replicasets.apps", "/apis/apps/v1", "apps/v1", "ReplicaSet", &body).await;
}

fn asking(cpu: &str, memory: &str) -> Value {
    json!({"containers": [{"name": "main", "image": "pause", "resources": {"requests": {"cpu": cpu, "memory": memory}}}]})
}

#[tokio::test]
async fn a_quota_captures_the_life_of_a_pod() {
    let world = World::new().await;
    let pods = "/api/v1/namespaces/default/pods";
    limit(&world, &json!({"hard": {"pods": "5", "requests.cpu": "1", "requests.memory": "500Mi"}})).await;
    world.post(pods, &pod("fits", &asking("500m", "252Mi"))).await.is(201);
    for (resource, amount) in [("pods", "1"), ("requests.cpu", "500m"), ("requests.memory", "252Mi")] {
        used(&world, resource, amount).await;
    }
    let refused = world.post(pods, &pod("too-much", &asking("600m", "100Mi"))).await.is(403);
    let message = refused.at("/message");
    assert!(
        message.contains(
            "exceeded quota: q, requested: requests.cpu=600m, used: requests.cpu=500m, limited: requests.cpu=1"
        ),
        "{message}"
    );
    let silent = world.post(pods, &pod("silent", &json!({}))).await.is(403);
    assert!(silent.at("/message").contains("must specify requests.cpu"), "{}", silent.at("/message"));
    // A change of labels costs nothing.
    world.patch(&format!("{pods}/fits"), &json!({"metadata": {"labels": {"a": "b"}}})).await.is(200);
    used(&world, "requests.cpu", "500m").await;
    world.delete(&format!("{pods}/fits?gracePeriodSeconds=0")).await.is(200);
    for (resource, amount) in [("pods", "0"), ("requests.cpu", "0"), ("requests.memory", "0")] {
        used(&world, resource, amount).await;
    }
    world.end().await;
}

#[tokio::test]
async fn a_quota_of_best_effort_pods_counts_only_those() {
    let world = World::new().await;
    let pods = "/api/v1/namespaces/default/pods";
    limit(&world, &json!({"hard": {"pods": "1"}, "scopes": ["BestEffort"]})).await;
    world.post(pods, &pod("guaranteed", &asking("100m", "10Mi"))).await.is(201);
    world.post(pods, &pod("careless", &json!({}))).await.is(201);
    used(&world, "pods", "1").await;
    world.post(pods, &pod("careless-too", &json!({}))).await.is(403);
    world.post(pods, &pod("guaranteed-too", &asking("100m", "10Mi"))).await.is(201);
    world.delete(&format!("{pods}/careless?gracePeriodSeconds=0")).await.is(200);
    used(&world, "pods", "0").await;
    world.end().await;
}

#[tokio::test]
async fn a_quota_of_terminating_pods_counts_those_with_a_deadline() {
    let world = World::new().await;
    let pods = "/api/v1/namespaces/default/pods";
    limit(&world, &json!({"hard": {"pods": "1"}, "scopes": ["Terminating"]})).await;
    world.post(pods, &pod("endless", &json!({}))).await.is(201);
    world.post(pods, &pod("limited", &json!({"activeDeadlineSeconds": 3600}))).await.is(201);
    used(&world, "pods", "1").await;
    world.post(pods, &pod("limited-too", &json!({"activeDeadlineSeconds": 3600}))).await.is(403);
    world.delete(&format!("{pods}/limited?gracePeriodSeconds=0")).await.is(200);
    used(&world, "pods", "0").await;
    world.end().await;
}

#[tokio::test]
async fn a_quota_is_raised_and_deleted() {
    let world = World::new().await;
    limit(&world, &json!({"hard": {"configmaps": "1"}})).await;
    let raised = world.patch(QUOTA, &json!({"spec": {"hard": {"configmaps": "100"}}})).await.is(200);
    assert_eq!(raised.at("/spec/hard/configmaps"), "100");
    world.until("the status follows", QUOTA, |answer| answer.at("/status/hard/configmaps") == "100").await;
    let map = object("v1", "ConfigMap", "fits-now", &json!({}));
    world.post("/api/v1/namespaces/default/configmaps", &map).await.is(201);
    world.delete(QUOTA).await.is(200);
    world.get(QUOTA).await.is(404);
    world.end().await;
}

#[tokio::test]
async fn a_quota_s_status_is_recalculated_after_somebody_wrote_it() {
    let world = World::new().await;
    limit(&world, &json!({"hard": {"pods": "3"}})).await;
    let written = world.patch(&format!("{QUOTA}/status"), &json!({"status": {"hard": {"pods": "9"}}})).await.is(200);
    assert_eq!(written.at("/status/hard/pods"), "9");
    assert_eq!(written.at("/spec/hard/pods"), "3");
    world.until("what is true comes back", QUOTA, |answer| answer.at("/status/hard/pods") == "3").await;
    world.end().await;
}
