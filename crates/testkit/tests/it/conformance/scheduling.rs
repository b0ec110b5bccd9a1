//! Where the scheduler puts pods, where it does not, and who must leave a node.

use serde_json::{Value, json};

use super::pods::node;
use super::world::{Answer, World, pod};

const PODS: &str = "/api/v1/namespaces/default/pods";

async fn is_placed(world: &World, name: &str, spec: &Value) {
    world.post(PODS, &pod(name, spec)).await.is(201);
    let placed = |answer: &Answer| !answer.at("/spec/nodeName").is_empty();
    world.until("it is placed", &format!("{PODS}/{name}"), placed).await;
}

async fn is_left(world: &World, name: &str, spec: &Value, why: &str) {
    world.post(PODS, &pod(name, spec)).await.is(201);
    let left = |answer: &Answer| {
        answer.at("/status/conditions/0/reason") == "Unschedulable"
            && answer.at("/status/conditions/0/message").contains(why)
    };
    world.until(why, &format!("{PODS}/{name}"), left).await;
}

fn requesting(cpu: &str) -> Value {
    json!({"containers": [{"name": "main", "image": "pause", "resources": {"requests": {"cpu": cpu}}}]})
}

#[tokio::test]
async fn pods_are_placed_until_their_requests_fill_the_node() {
    let world = World::new().await;
    node(&world, "n").await;
    is_placed(&world, "large", &requesting("3500m")).await;
    is_left(&world, "more", &requesting("600m"), "Insufficient cpu").await;
    is_placed(&world, "rest", &requesting("500m")).await;
    world.end().await;
}

#[tokio::test]
async fn a_node_selector_is_heeded() {
    let world = World::new().await;
    node(&world, "n").await;
    let wish = json!({"nodeSelector": {"disk": "fast"}});
    is_left(&world, "too-early", &wish, "didn't match Pod's node affinity/selector").await;
    world.patch("/api/v1/nodes/n", &json!({"metadata": {"labels": {"disk": "fast"}}})).await.is(200);
    let placed = |answer: &Answer| answer.at("/spec/nodeName") == "n";
    world.until("it is placed after all", &format!("{PODS}/too-early"), placed).await;
    is_placed(&world, "in-time", &wish).await;
    world.end().await;
}

#[tokio::test]
async fn a_port_of_every_address_conflicts_with_that_of_one() {
    let world = World::new().await;
    node(&world, "n").await;
    let port = |ip: &str, protocol: &str| {
        let port = json!({"containerPort": 80, "hostPort": 8080, "hostIP": ip, "protocol": protocol});
        json!({"containers": [{"name": "main", "image": "pause", "ports": [port]}]})
    };
    is_placed(&world, "everywhere", &port("0.0.0.0", "TCP")).await;
    is_left(&world, "there", &port("127.0.0.1", "TCP"), "didn't have free ports").await;
    is_placed(&world, "other", &port("127.0.0.1", "UDP")).await;
    world.end().await;
}

#[tokio::test]
async fn a_taint_evicts_who_does_not_tolerate_it_or_not_for_long() {
    let world = World::new().await;
    node(&world, "n").await;
    let tolerating = |seconds: u32| {
        let toleration = json!({"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds});
        json!({"tolerations": [toleration], "terminationGracePeriodSeconds": 0})
    };
    is_placed(&world, "strict", &json!({"terminationGracePeriodSeconds": 0})).await;
    is_placed(&world, "short", &tolerating(1)).await;
    is_placed(&world, "long", &tolerating(5)).await;
    let taints = json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoExecute"}]}});
    world.patch("/api/v1/nodes/n", &taints).await.is(200);
    let since = jiff::Timestamp::now();
    let leaves = |answer: &Answer| answer.code == 404 || !answer.at("/metadata/deletionTimestamp").is_empty();
    for name in ["strict", "short"] {
        world.until("it is evicted", &format!("{PODS}/{name}"), leaves).await;
    }
    world.patch("/api/v1/nodes/n", &json!({"spec": {"taints": []}})).await.is(200);
    assert_eq!(world.get("/api/v1/nodes/n").await.is(200).at("/spec/taints"), "", "an empty list is not kept");
    let long = world.get(&format!("{PODS}/long")).await.is(200);
    let over = || jiff::Timestamp::now().duration_since(since).as_secs() > 5;
    crate::wait::until("its time is over", async || over()).await;
    let after = world.get(&format!("{PODS}/long")).await.is(200);
    assert_eq!(after.at("/metadata/resourceVersion"), long.at("/metadata/resourceVersion"), "nobody evicts it");
    world.end().await;
}
