//! One pod per node: where it runs, how it is replaced, what is noted down and reported.

use serde_json::{Value, json};

use super::pods::node;
use super::world::{Answer, MERGE, World, at, object};

const SETS: &str = "/apis/apps/v1/namespaces/default/daemonsets";
const AGENT: &str = "/apis/apps/v1/namespaces/default/daemonsets/agent";
const PODS: &str = "/api/v1/namespaces/default/pods";
const REVISIONS: &str = "/apis/apps/v1/namespaces/default/controllerrevisions";

fn template(image: &str) -> Value {
    let container = json!({"name": "main", "image": image});
    json!({"metadata": {"labels": {"app": "agent"}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]}})
}

fn daemon_set(rest: &Value) -> Value {
    let mut spec = json!({"selector": {"matchLabels": {"app": "agent"}}, "template": template("agent:1")});
    spec.as_object_mut().expect("a spec").extend(rest.as_object().expect("fields").clone());
    object("apps/v1", "DaemonSet", "agent", &json!({"metadata": {"labels": {"app": "agent"}}, "spec": spec}))
}

async fn make(world: &World, rest: &Value) {
    world.post(SETS, &daemon_set(rest)).await.is(201);
}

async fn change(world: &World, template: &Value) {
    world.patch(AGENT, &json!({"spec": {"template": template}})).await.is(200);
}

/// Waits until so many nodes have a daemon of the newest template that is available, and nobody has another.
async fn is_everywhere(world: &World, nodes: usize) -> Vec<Value> {
    let count = nodes.to_string();
    let is_so = |answer: &Answer| {
        let status = |field: &str| answer.at(&format!("/status/{field}"));
        let all = ["desiredNumberScheduled", "numberReady", "updatedNumberScheduled", "numberAvailable"];
        status("observedGeneration") == answer.at("/metadata/generation") && all.iter().all(|one| status(one) == count)
    };
    world.until("a daemon on every node", AGENT, is_so).await;
    world.until("no more than that", PODS, |answer| answer.names().len() == nodes).await.body["items"]
        .as_array()
        .expect("a list")
        .clone()
}

fn nodes_of(pods: &[Value]) -> Vec<String> {
    let mut nodes: Vec<String> = pods.iter().map(|pod| at(pod, "/spec/nodeName")).collect();
    nodes.sort();
    nodes
}

fn is_empty(answer: &Answer) -> bool {
    answer.names().is_empty()
}

#[tokio::test]
async fn a_daemon_runs_on_every_node_and_comes_back() {
    let world = World::new().await;
    world.node("n1").await;
    make(&world, &json!({})).await;
    let first = is_everywhere(&world, 1).await;
    world.node("n2").await;
    assert_eq!(nodes_of(&is_everywhere(&world, 2).await), ["n1", "n2"]);
    let name = at(&first[0], "/metadata/name");
    world.delete(&format!("{PODS}/{name}")).await.is(200);
    world.until("it goes", &format!("{PODS}/{name}"), |answer| answer.code == 404).await;
    assert_eq!(nodes_of(&is_everywhere(&world, 2).await), ["n1", "n2"]);
    world.delete(&format!("{AGENT}?propagationPolicy=Background")).await.is(200);
    world.until("the daemons go with their set", PODS, is_empty).await;
    world.end().await;
}

#[tokio::test]
async fn a_daemon_follows_the_labels_of_nodes() {
    let world = World::new().await;
    world.node("n1").await;
    world.node("n2").await;
    let mut blue = template("agent:1");
    blue["spec"]["nodeSelector"] = json!({"color": "blue"});
    make(&world, &json!({"template": blue})).await;
    let seen = |answer: &Answer| answer.at("/status/observedGeneration") == "1";
    world.until("it is looked at", AGENT, seen).await;
    assert_eq!(world.get(PODS).await.names(), Vec::<String>::new(), "no node is blue");

    let paint = |color: &str| json!({"metadata": {"labels": {"color": color}}});
    world.patch("/api/v1/nodes/n2", &paint("blue")).await.is(200);
    assert_eq!(nodes_of(&is_everywhere(&world, 1).await), ["n2"]);
    world.patch("/api/v1/nodes/n2", &paint("green")).await.is(200);
    world.until("it leaves", PODS, is_empty).await;

    let green = json!({"spec": {"updateStrategy": {"type": "RollingUpdate"},
        "template": {"spec": {"nodeSelector": {"color": "green"}}}}});
    world.patch(AGENT, &green).await.is(200);
    assert_eq!(nodes_of(&is_everywhere(&world, 1).await), ["n2"]);
    world.end().await;
}

#[tokio::test]
async fn a_failed_daemon_is_replaced() {
    let world = World::new().await;
    node(&world, "n").await;
    make(&world, &json!({})).await;
    let bound = |answer: &Answer| !answer.at("/items/0/spec/nodeName").is_empty();
    let pods = world.until("it is placed", PODS, bound).await;
    let failed = format!("{PODS}/{}", pods.names()[0]);
    world.patch(&format!("{failed}/status"), &json!({"status": {"phase": "Failed"}})).await.is(200);
    world.until("it goes", &failed, |answer| answer.code == 404).await;
    world.until("another takes its place", PODS, bound).await;
    world.end().await;
}

#[tokio::test]
async fn a_rolling_update_replaces_every_daemon() {
    let world = World::new().await;
    world.node("n1").await;
    world.node("n2").await;
    make(&world, &json!({})).await;
    is_everywhere(&world, 2).await;
    change(&world, &template("agent:2")).await;
    let pods = is_everywhere(&world, 2).await;
    assert_eq!(nodes_of(&pods), ["n1", "n2"]);
    let revisions = world.get(&format!("{REVISIONS}?labelSelector=app%3Dagent")).await.is(200);
    let newest = revisions.body["items"].as_array().expect("a list").iter().max_by_key(|one| one["revision"].as_i64());
    let hash = at(newest.expect("one"), "/metadata/labels/controller-revision-hash");
    for pod in &pods {
        assert_eq!(at(pod, "/spec/containers/0/image"), "agent:2");
        assert_eq!(at(pod, "/metadata/labels/controller-revision-hash"), hash);
    }
    world.end().await;
}

#[tokio::test]
async fn going_back_restarts_only_what_was_replaced() {
    let world = World::new().await;
    world.node("n1").await;
    world.node("n2").await;
    make(&world, &json!({})).await;
    let before = is_everywhere(&world, 2).await;

    let mut stuck = template("agent:2");
    stuck["spec"]["volumes"] = json!([{"name": "v", "configMap": {"name": "missing"}}]);
    change(&world, &stuck).await;
    let is_new = |pod: &Value| at(pod, "/spec/containers/0/image") == "agent:2";
    let has_new = |answer: &Answer| answer.body["items"].as_array().is_some_and(|pods| pods.iter().any(is_new));
    world.until("the rollout hangs", PODS, has_new).await;

    let mut back = template("agent:1");
    back["spec"]["volumes"] = Value::Null;
    change(&world, &back).await;
    let after = is_everywhere(&world, 2).await;
    let uids = |pods: &[Value]| pods.iter().map(|pod| at(pod, "/metadata/uid")).collect::<Vec<_>>();
    let (old, new) = (uids(&before), uids(&after));
    assert_eq!(new.iter().filter(|uid| old.contains(uid)).count(), 1, "the one that was not replaced runs on");
    world.end().await;
}

#[tokio::test]
async fn daemon_sets_are_listed_and_deleted_as_a_collection() {
    let world = World::new().await;
    world.node("n").await;
    make(&world, &json!({})).await;
    is_everywhere(&world, 1).await;
    let selected = "/apis/apps/v1/daemonsets?labelSelector=app%3Dagent";
    assert_eq!(world.get(selected).await.is(200).names(), ["agent"]);
    world.delete(&format!("{SETS}?labelSelector=app%3Dagent")).await.is(200);
    world.until("none is left", selected, is_empty).await;
    world.end().await;
}

#[tokio::test]
async fn a_daemon_set_has_a_status_of_its_own() {
    let world = World::new().await;
    world.node("n").await;
    make(&world, &json!({})).await;
    is_everywhere(&world, 1).await;
    let path = format!("{AGENT}/status");
    let condition = json!({"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test"});
    // The controller writes too: a conflict is tried again, as clients do.
    crate::wait::until("it is written", async || {
        let mut read = world.get(&path).await.is(200);
        read.body["status"]["conditions"] = json!([condition]);
        world.put(&path, &read.body).await.code == 200
    })
    .await;
    assert_eq!(world.get(AGENT).await.at("/status/conditions/0/type"), "StatusUpdate");
    let patched = json!({"status": {"conditions": [{"type": "StatusPatched", "status": "True"}]}});
    let answer = world.call("PATCH", &path, MERGE, &patched).await.is(200);
    assert_eq!(answer.at("/status/conditions/0/type"), "StatusPatched");
    assert_eq!(answer.at("/status/numberReady"), "1", "the rest stays");
    world.end().await;
}

#[tokio::test]
async fn the_revisions_of_a_daemon_set_live_and_go() {
    let world = World::new().await;
    world.node("n").await;
    make(&world, &json!({})).await;
    is_everywhere(&world, 1).await;
    let selected = format!("{REVISIONS}?labelSelector=app%3Dagent");
    let has = |count: usize| move |answer: &Answer| answer.names().len() == count;
    let initial = world.until("one revision", &selected, has(1)).await.body["items"][0].clone();
    assert_eq!(
        (at(&initial, "/revision"), at(&initial, "/metadata/ownerReferences/0/kind")),
        ("1".into(), "DaemonSet".into())
    );
    let path = format!("{REVISIONS}/{}", at(&initial, "/metadata/name"));
    world.patch(&path, &json!({"metadata": {"labels": {"step": "patched"}}})).await.is(200);

    let mut copy = object("apps/v1", "ControllerRevision", "copy", &json!({"revision": 2, "data": initial["data"]}));
    copy["metadata"]["labels"] = json!({"app": "agent", "controller-revision-hash": "copy"});
    copy["metadata"]["ownerReferences"] = initial["metadata"]["ownerReferences"].clone();
    world.post(REVISIONS, &copy).await.is(201);
    assert_eq!(world.get(&selected).await.names().len(), 2, "a copy stays");
    world.delete(&path).await.is(200);
    assert_eq!(world.until("one is left", &selected, has(1)).await.names(), ["copy"]);

    let path = format!("{REVISIONS}/copy");
    let mut read = world.get(&path).await.is(200);
    read.body["metadata"]["labels"]["step"] = "updated".into();
    world.put(&path, &read.body).await.is(200);
    world.patch(AGENT, &json!({"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 2}}}})).await.is(200);
    let two = world.until("another template is noted down", &selected, has(2)).await;
    let revisions: Vec<String> =
        two.body["items"].as_array().expect("a list").iter().map(|one| at(one, "/revision")).collect();
    assert!(revisions.contains(&"3".to_owned()), "{revisions:?}");
    world.delete(&format!("{REVISIONS}?labelSelector=step%3Dupdated")).await.is(200);
    world.until("the new one is left", &selected, has(1)).await;
    world.end().await;
}
