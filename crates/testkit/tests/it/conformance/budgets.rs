//! What disruption budgets report, and what evictions may take.

use serde_json::{Value, json};

use super::world::{Answer, World, object, pod};

const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
const PODS: &str = "/api/v1/namespaces/default/pods";

async fn make(world: &World, limit: &Value) {
    let mut spec = json!({"selector": {"matchLabels": {"app": "web"}}});
    spec.as_object_mut().expect("a spec").extend(limit.as_object().expect("fields").clone());
    world.post(BUDGETS, &object("policy/v1", "PodDisruptionBudget", "web", &json!({"spec": spec}))).await.is(201);
}

async fn run(world: &World, name: &str) {
    let mut server = pod(name, &json!({"terminationGracePeriodSeconds": 1}));
    server["metadata"]["labels"] = json!({"app": "web"});
    world.post(PODS, &server).await.is(201);
}

/// Waits until the budget reports these numbers of expected, desired and healthy pods, and of disruptions allowed.
async fn reports(world: &World, numbers: [&str; 4]) -> Answer {
    let fields = ["expectedPods", "desiredHealthy", "currentHealthy", "disruptionsAllowed"];
    let holds = |answer: &Answer| {
        let status = |field: &str| answer.at(&format!("/status/{field}"));
        status("observedGeneration") == answer.at("/metadata/generation")
            && fields.iter().zip(numbers).all(|(field, number)| status(field) == number)
    };
    world.until("the budget is counted", &format!("{BUDGETS}/web"), holds).await
}

async fn evict(world: &World, name: &str) -> u16 {
    let eviction = object("policy/v1", "Eviction", name, &json!({}));
    world.post(&format!("{PODS}/{name}/eviction"), &eviction).await.code
}

#[tokio::test]
async fn the_status_of_a_budget_follows_its_pods_and_evictions_heed_it() {
    let world = World::new().await;
    world.node("n").await;
    make(&world, &json!({"minAvailable": 2})).await;
    let none = reports(&world, ["0", "2", "0", "0"]).await;
    assert_eq!(none.at("/status/conditions/0/reason"), "InsufficientPods");
    for name in ["a", "b", "c"] {
        run(&world, name).await;
    }
    let enough = reports(&world, ["3", "2", "3", "1"]).await;
    assert_eq!(enough.at("/status/conditions/0/reason"), "SufficientPods");
    assert_eq!(evict(&world, "a").await, 201);
    reports(&world, ["2", "2", "2", "0"]).await;
    assert_eq!(evict(&world, "b").await, 429, "two must stay");
    world.patch(&format!("{BUDGETS}/web"), &json!({"spec": {"minAvailable": 1}})).await.is(200);
    reports(&world, ["2", "1", "2", "1"]).await;
    assert_eq!(evict(&world, "b").await, 201);
    world.end().await;
}

#[tokio::test]
async fn a_budget_in_percent_asks_the_controller_of_its_pods() {
    let world = World::new().await;
    world.node("n").await;
    let template = json!({"metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "main", "image": "web:1"}]}});
    let spec = json!({"replicas": 4, "selector": {"matchLabels": {"app": "web"}}, "template": template});
    let deployment = object("apps/v1", "Deployment", "web", &json!({"spec": spec}));
    world.post("/apis/apps/v1/namespaces/default/deployments", &deployment).await.is(201);
    make(&world, &json!({"maxUnavailable": "30%"})).await;
    reports(&world, ["4", "2", "4", "2"]).await;
    world.end().await;
}
