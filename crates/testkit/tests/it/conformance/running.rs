//! Pods that run on a node, whose containers do nothing.

use serde_json::{Value, json};

use super::world::{Answer, NODE_ADDRESS, World, object, pod};

const PODS: &str = "/api/v1/namespaces/default/pods";

fn is_running(answer: &Answer) -> bool {
    answer.at("/status/phase") == "Running"
}

async fn running(world: &World, body: &Value) -> Answer {
    let name = body["metadata"]["name"].as_str().expect("a name");
    world.post(PODS, body).await.is(201);
    world.until("the pod runs", &format!("{PODS}/{name}"), is_running).await
}

#[tokio::test]
async fn a_pod_knows_the_address_of_its_node() {
    let world = World::new().await;
    world.node("n").await;
    let pod = running(&world, &pod("hosted", &json!({}))).await;
    assert_eq!(pod.at("/status/hostIP"), NODE_ADDRESS.to_string());
    assert_eq!(pod.at("/status/hostIPs/0/ip"), NODE_ADDRESS.to_string());
    world.end().await;
}

#[tokio::test]
async fn a_running_pod_is_given_a_deadline_and_fails_at_it() {
    let world = World::new().await;
    world.node("n").await;
    running(&world, &pod("late", &json!({"terminationGracePeriodSeconds": 1}))).await;
    let path = format!("{PODS}/late");
    world.patch(&path, &json!({"spec": {"activeDeadlineSeconds": 1}})).await.is(200);
    world.patch(&path, &json!({"spec": {"activeDeadlineSeconds": 2}})).await.is(422);
    let failed = world.until("it fails", &path, |answer| answer.at("/status/phase") == "Failed").await;
    assert_eq!(failed.at("/status/reason"), "DeadlineExceeded");
    world.end().await;
}

#[tokio::test]
async fn the_generation_of_a_pod_starts_at_one_and_counts_changes_of_its_spec() {
    let world = World::new().await;
    world.node("n").await;
    let pod = running(&world, &pod("counted", &json!({}))).await;
    assert_eq!(pod.at("/metadata/generation"), "1");
    let path = format!("{PODS}/counted");
    let toleration = json!([{"key": "k", "operator": "Exists", "effect": "NoSchedule"}]);
    let tolerations = |pod: &Answer| {
        let mut all = pod.body["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
        all.extend(toleration.as_array().expect("a list").iter().cloned());
        all
    };
    for (change, generation) in [
        (json!({"metadata": {"labels": {"a": "b"}}}), "1"),
        (json!({"metadata": {"generation": 17}}), "1"),
        (json!({"spec": {"containers": [{"name": "main", "image": "other", "resources": {}}]}}), "2"),
        (json!({"spec": {"tolerations": tolerations(&pod)}}), "3"),
        (json!({"spec": {"activeDeadlineSeconds": 5000}}), "4"),
    ] {
        let media = "application/strategic-merge-patch+json";
        let changed = world.call("PATCH", &path, media, &change).await.is(200);
        assert_eq!(changed.at("/metadata/generation"), generation, "{change}");
    }
    let seen = |answer: &Answer| answer.at("/status/observedGeneration") == "4";
    world.until("the node has seen it", &path, seen).await;
    world.end().await;
}

#[tokio::test]
async fn the_node_sees_the_last_of_five_hundred_quick_changes_of_a_pod() {
    let world = World::new().await;
    world.node("n").await;
    running(&world, &pod("hasty", &json!({}))).await;
    let path = format!("{PODS}/hasty");
    for change in 0..500 {
        let sooner = json!({"spec": {"activeDeadlineSeconds": 5000 - change}});
        world.patch(&path, &sooner).await.is(200);
    }
    let is_seen = |answer: &Answer| answer.at("/status/observedGeneration") == "501";
    let seen = world.until("the node has seen the last", &path, is_seen).await;
    assert_eq!(seen.at("/metadata/generation"), "501");
    let conditions = seen.body["status"]["conditions"].as_array().expect("conditions");
    assert!(conditions.iter().any(|one| one["type"] == "Ready" && one["observedGeneration"] == 501), "{conditions:?}");
    world.end().await;
}

#[tokio::test]
async fn a_pod_does_not_choose_its_generation_and_its_deletion_is_one_more() {
    let world = World::new().await;
    world.node("n").await;
    let mut wish = pod("wishful", &json!({}));
    wish["metadata"]["generation"] = 100.into();
    wish["metadata"]["finalizers"] = json!(["example.com/hold"]);
    assert_eq!(running(&world, &wish).await.at("/metadata/generation"), "1");
    let path = format!("{PODS}/wishful");
    assert_eq!(world.delete(&path).await.is(200).at("/metadata/generation"), "2");
    world.patch(&path, &json!({"metadata": {"finalizers": null}})).await.is(200);
    world.until("it goes", &path, |answer| answer.code == 404).await;
    world.end().await;
}

#[tokio::test]
async fn volumes_of_secrets_and_config_maps_stand_side_by_side() {
    let world = World::new().await;
    world.node("n").await;
    let (mut volumes, mut mounts) = (Vec::new(), Vec::new());
    for index in 0..25 {
        let (config, secret) = (format!("config-{index}"), format!("secret-{index}"));
        let data = object("v1", "ConfigMap", &config, &json!({"data": {"key": "value"}}));
        world.post("/api/v1/namespaces/default/configmaps", &data).await.is(201);
        let data = object("v1", "Secret", &secret, &json!({"data": {"key": "dmFsdWU="}}));
        world.post("/api/v1/namespaces/default/secrets", &data).await.is(201);
        volumes.push(json!({"name": config, "configMap": {"name": config}}));
        volumes.push(json!({"name": secret, "secret": {"secretName": secret}}));
        mounts.extend([config, secret].map(|name| json!({"name": name, "mountPath": format!("/etc/{name}")})));
    }
    volumes.push(json!({"name": "scratch", "emptyDir": {}}));
    mounts.push(json!({"name": "scratch", "mountPath": "/scratch"}));
    let container = json!({"name": "main", "image": "pause", "volumeMounts": mounts});
    let spec = json!({"volumes": volumes, "containers": [container]});
    for name in ["one", "two", "three"] {
        running(&world, &pod(name, &spec)).await;
    }
    world.end().await;
}

#[tokio::test]
async fn services_find_their_endpoints_soon() {
    let world = World::new().await;
    world.node("n").await;
    let mut server = pod("server", &json!({}));
    server["metadata"]["labels"] = json!({"app": "server"});
    running(&world, &server).await;
    for index in 0..20 {
        let name = format!("latency-{index}");
        let spec = json!({"selector": {"app": "server"}, "ports": [{"port": 80}]});
        let service = object("v1", "Service", &name, &json!({"spec": spec}));
        world.post("/api/v1/namespaces/default/services", &service).await.is(201);
        let path = format!("/api/v1/namespaces/default/endpoints/{name}");
        let is_served = |answer: &Answer| !answer.at("/subsets/0/addresses/0/ip").is_empty();
        world.until("its endpoints", &path, is_served).await;
    }
    world.end().await;
}

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const SETS: &str = "/apis/apps/v1/namespaces/default/replicasets";

/// Makes a Deployment of two pods and waits until it is complete.
async fn deployed(world: &World, rest: &Value) {
    let labels = json!({"app": "web"});
    let template = json!({"metadata": {"labels": labels},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "main", "image": "web:1"}]}});
    let spec = json!({"replicas": 2, "selector": {"matchLabels": labels}, "template": template});
    let mut body = object("apps/v1", "Deployment", "web", &json!({"spec": spec}));
    body["spec"].as_object_mut().expect("a spec").extend(rest.as_object().expect("fields").clone());
    world.post(DEPLOYMENTS, &body).await.is(201);
    complete(world, "1").await;
}

async fn complete(world: &World, generation: &str) {
    let is_complete = |answer: &Answer| {
        let status = |field: &str| answer.at(&format!("/status/{field}"));
        status("observedGeneration") == generation
            && ["replicas", "updatedReplicas", "availableReplicas"].iter().all(|field| status(field) == "2")
    };
    world.until("the rollout is complete", &format!("{DEPLOYMENTS}/web"), is_complete).await;
}

async fn update(world: &World) {
    let image = json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "web:2"}]);
    world.call("PATCH", &format!("{DEPLOYMENTS}/web"), "application/json-patch+json", &image).await.is(200);
}

#[tokio::test]
async fn a_deployment_that_recreates_has_never_pods_of_two_kinds() {
    let world = World::new().await;
    world.node("n").await;
    deployed(&world, &json!({"strategy": {"type": "Recreate"}})).await;
    let list = world.get(PODS).await.is(200);
    let mut old = list.names();
    let path = format!("{PODS}?watch=true&resourceVersion={}", list.at("/metadata/resourceVersion"));
    let mut watch = world.watch(&path).await;
    update(&world).await;
    loop {
        let event = watch.next().await.expect("an event");
        let name = event["object"]["metadata"]["name"].as_str().expect("a name");
        match event["type"].as_str() {
            Some("DELETED") => old.retain(|known| known != name),
            Some("ADDED") => break assert!(old.is_empty(), "{name} is there with {old:?}"),
            _ => {}
        }
    }
    complete(&world, "2").await;
    world.end().await;
}

#[tokio::test]
async fn a_deployment_forgets_old_replica_sets() {
    let world = World::new().await;
    world.node("n").await;
    deployed(&world, &json!({"revisionHistoryLimit": 0})).await;
    let old = world.get(SETS).await.is(200).names();
    update(&world).await;
    complete(&world, "2").await;
    let left = world.until("one is left", SETS, |answer| answer.names().len() == 1).await;
    assert_ne!(left.names(), old);
    world.end().await;
}
