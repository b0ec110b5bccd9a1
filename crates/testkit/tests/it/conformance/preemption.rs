//! Important pods make less important ones go when there is no room for them.

use serde_json::{Value, json};

use super::pods::node;
use super::world::{Answer, World, at, object, pod};

const CLASSES: &str = "/apis/scheduling.k8s.io/v1/priorityclasses";
const PODS: &str = "/api/v1/namespaces/default/pods";

/// A class of pods, made for a test.
async fn class(world: &World, name: &str, value: i32) {
    let class = object("scheduling.k8s.io/v1", "PriorityClass", name, &json!({"value": value}));
    world.post(CLASSES, &class).await.is(201);
}

/// What a pod of a class asks for. Nobody runs it, so it goes at once when it has to.
fn spec(class: &str, cpu: &str) -> Value {
    let main = json!({"name": "main", "image": "pause", "resources": {"requests": {"cpu": cpu}}});
    json!({"priorityClassName": class, "terminationGracePeriodSeconds": 0, "containers": [main]})
}

async fn is_placed(world: &World, path: &str, node: &str) -> Answer {
    world.until("it is placed", path, |answer| answer.at("/spec/nodeName") == node).await
}

async fn place(world: &World, name: &str, spec: &Value, node: &str) {
    world.post(PODS, &pod(name, spec)).await.is(201);
    is_placed(world, &format!("{PODS}/{name}"), node).await;
}

/// Two nodes with a large pod each; the less important one is on `n1`.
async fn full(world: &World) {
    class(world, "low", 1).await;
    class(world, "medium", 100).await;
    class(world, "high", 1000).await;
    for (number, class) in [(1, "low"), (2, "medium")] {
        let name = format!("n{number}");
        node(world, &name).await;
        world.patch(&format!("/api/v1/nodes/{name}"), &json!({"metadata": {"labels": {"name": name}}})).await.is(200);
        // Without it, the second would make the first go while its own node is not ready yet.
        let mut there = spec(class, "3");
        there["nodeSelector"] = json!({"name": name});
        place(world, &format!("{class}-{number}"), &there, &name).await;
    }
}

/// Waits until a pod has been told to make room, and checks that users can see it.
async fn is_preempted(world: &World, name: &str, node: &str) {
    world.until("it goes", &format!("{PODS}/{name}"), |answer| answer.code == 404).await;
    let events = format!("/api/v1/namespaces/default/events?fieldSelector=reason=Preempted,involvedObject.name={name}");
    let told = world.until("it is told", &events, |answer| !answer.names().is_empty()).await;
    let message = told.at("/items/0/message");
    assert!(message.starts_with("Preempted by pod ") && message.ends_with(&format!(" on node {node}")), "{message}");
}

#[tokio::test]
async fn the_least_important_pod_makes_room_for_an_important_one() {
    let world = World::new().await;
    full(&world).await;
    place(&world, "important", &spec("high", "2"), "n1").await;
    is_preempted(&world, "low-1", "n1").await;
    assert_eq!(world.get(&format!("{PODS}/medium-2")).await.is(200).at("/metadata/deletionTimestamp"), "");
    let important = world.get(&format!("{PODS}/important")).await.is(200);
    assert_eq!(important.at("/status/nominatedNodeName"), "", "the node is its own now");
    let mut meek = spec("high", "4");
    meek["preemptionPolicy"] = json!("Never");
    world.post(PODS, &pod("meek", &meek)).await.is(403);
    world.end().await;
}

#[tokio::test]
async fn a_pod_of_the_system_makes_others_go() {
    let world = World::new().await;
    full(&world).await;
    let system = "/api/v1/namespaces/kube-system/pods";
    world.post(system, &pod("critical", &spec("system-cluster-critical", "2"))).await.is(201);
    is_placed(&world, &format!("{system}/critical"), "n1").await;
    is_preempted(&world, "low-1", "n1").await;
    world.end().await;
}

#[tokio::test]
async fn a_preempted_pod_says_why_it_is_disrupted() {
    let world = World::new().await;
    node(&world, "n").await;
    class(&world, "low", 1).await;
    class(&world, "high", 1000).await;
    let mut victim = pod("victim", &spec("low", "3"));
    victim["metadata"]["finalizers"] = json!(["example.com/hold"]);
    world.post(PODS, &victim).await.is(201);
    let path = format!("{PODS}/victim");
    is_placed(&world, &path, "n").await;
    world.post(PODS, &pod("important", &spec("high", "3"))).await.is(201);
    let going = world.until("it goes", &path, |answer| !answer.at("/metadata/deletionTimestamp").is_empty()).await;
    let conditions = going.body["status"]["conditions"].as_array().expect("conditions");
    let disrupted =
        conditions.iter().find(|condition| at(condition, "/type") == "DisruptionTarget").expect("a condition");
    assert_eq!((at(disrupted, "/status"), at(disrupted, "/reason")), ("True".into(), "PreemptionByScheduler".into()));
    assert_eq!(at(disrupted, "/message"), "default-scheduler: preempting to accommodate a higher priority pod");
    let waiting = world.get(&format!("{PODS}/important")).await.is(200);
    assert_eq!((waiting.at("/status/nominatedNodeName"), waiting.at("/spec/nodeName")), ("n".into(), String::new()));
    world.patch(&path, &json!({"metadata": {"finalizers": null}})).await.is(200);
    is_placed(&world, &format!("{PODS}/important"), "n").await;
    world.end().await;
}

/// Returns the only pod of a replica set, once it is as wanted.
async fn only(world: &World, app: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let path = format!("{PODS}?labelSelector=app={app}");
    let one = |answer: &Answer| answer.names().len() == 1 && is_so(&answer.body["items"][0]);
    world.until("its pod is as wanted", &path, one).await.body["items"][0].take()
}

#[tokio::test]
async fn replica_sets_replace_the_pods_that_had_to_go_and_the_others_stay() {
    let world = World::new().await;
    node(&world, "n").await;
    let placed = |pod: &Value| at(pod, "/spec/nodeName") == "n";
    let mut before = Vec::new();
    // 3.8 of 4 CPUs; the last wants 2, so the first two have to go.
    for (app, value, cpu) in [("p1", 1, "800m"), ("p2", 2, "1200m"), ("p3", 3, "1800m"), ("p4", 4, "2")] {
        class(&world, app, value).await;
        let labels = json!({"app": app});
        let template = json!({"metadata": {"labels": labels}, "spec": spec(app, cpu)});
        let set = json!({"spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}});
        let set = object("apps/v1", "ReplicaSet", app, &set);
        world.post("/apis/apps/v1/namespaces/default/replicasets", &set).await.is(201);
        before.push(at(&only(&world, app, placed).await, "/metadata/uid"));
    }
    for (app, uid) in ["p1", "p2"].into_iter().zip(&before) {
        only(&world, app, |pod| at(pod, "/metadata/uid") != *uid && at(pod, "/spec/nodeName").is_empty()).await;
    }
    for (app, uid) in ["p3", "p4"].into_iter().zip(&before[2..]) {
        assert_eq!(at(&only(&world, app, placed).await, "/metadata/uid"), *uid, "{app}");
    }
    world.end().await;
}
