//! Services and the addresses behind them, without a pod.

use serde_json::{Value, json};

use super::world::{Answer, World, object};

const SERVICES: &str = "/api/v1/namespaces/default/services";
const ENDPOINTS: &str = "/api/v1/namespaces/default/endpoints";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

fn service(name: &str, spec: &Value) -> Value {
    object("v1", "Service", name, &json!({"metadata": {"labels": {"of": "conformance"}}, "spec": spec}))
}

#[tokio::test]
async fn the_api_server_is_a_service() {
    let world = World::new().await;
    let service = world.get(&format!("{SERVICES}/kubernetes")).await.is(200);
    let port = &service.body["spec"]["ports"][0];
    assert_eq!((&port["name"], &port["port"], &port["protocol"]), (&json!("https"), &json!(443), &json!("TCP")));
    assert!(service.at("/spec/clusterIP").parse::<std::net::IpAddr>().is_ok());
    world.end().await;
}

#[tokio::test]
async fn a_service_that_selects_nothing_has_empty_endpoints_that_go_with_it() {
    let world = World::new().await;
    let spec = json!({"selector": {"nobody": "has"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]});
    let made = world.post(SERVICES, &service("empty", &spec)).await.is(201);
    let endpoints = format!("{ENDPOINTS}/empty");
    world.until("the endpoints", &endpoints, |answer| answer.code == 200).await;
    let slices = format!("{SLICES}?labelSelector=kubernetes.io%2Fservice-name%3Dempty");
    let slice = world.until("the slice", &slices, |answer| answer.names().len() == 1).await;
    assert_eq!(slice.at("/items/0/metadata/ownerReferences/0/uid"), made.at("/metadata/uid"));
    assert_eq!(
        slice.at("/items/0/metadata/labels/endpointslice.kubernetes.io~1managed-by"),
        "endpointslice-controller.k8s.io"
    );
    assert!(["", "[]"].contains(&slice.at("/items/0/endpoints").as_str()));
    world.delete(&format!("{SERVICES}/empty")).await.is(200);
    world.until("the endpoints go", &endpoints, |answer| answer.code == 404).await;
    world.until("the slice goes", &slices, |answer| answer.names().is_empty()).await;
    world.end().await;
}

#[tokio::test]
async fn a_service_is_found_in_all_namespaces() {
    let world = World::new().await;
    assert_eq!(world.get("/api/v1/services").await.is(200).names(), ["kubernetes"]);
    world.end().await;
}

#[tokio::test]
async fn a_collection_of_services_is_deleted() {
    let world = World::new().await;
    for name in ["one", "two", "three"] {
        let mut body = service(name, &json!({"ports": [{"port": 80}]}));
        if name == "three" {
            body["metadata"]["labels"] = json!({});
        }
        world.post(SERVICES, &body).await.is(201);
    }
    world.delete(&format!("{SERVICES}?labelSelector=of%3Dconformance")).await.is(200);
    let left = |answer: &Answer| answer.names() == ["kubernetes", "three"];
    world.until("two are gone", SERVICES, left).await;
    world.end().await;
}

#[tokio::test]
async fn endpoints_written_by_hand_are_mirrored_changed_and_deleted() {
    let world = World::new().await;
    world.post(SERVICES, &service("custom", &json!({"ports": [{"name": "example", "port": 80}]}))).await.is(201);
    let subset = |ip: &str, port: u16| json!({"subsets": [{"addresses": [{"ip": ip}], "ports": [{"port": port}]}]});
    let made = object("v1", "Endpoints", "custom", &subset("10.1.2.3", 80));
    let made = world.post(ENDPOINTS, &made).await.is(201);
    let slices = format!(
        "{SLICES}?labelSelector=kubernetes.io%2Fservice-name%3Dcustom,\
         endpointslice.kubernetes.io%2Fmanaged-by%3Dendpointslicemirroring-controller.k8s.io"
    );
    let says = |answer: &Answer, ip: &str, port: &str| {
        answer.names().len() == 1
            && answer.at("/items/0/endpoints/0/addresses/0") == ip
            && answer.at("/items/0/endpoints/0/conditions/ready") == "true"
            && answer.at("/items/0/ports/0/port") == port
    };
    let slice = world.until("the mirror", &slices, |answer| says(answer, "10.1.2.3", "80")).await;
    assert_eq!(slice.at("/items/0/metadata/ownerReferences/0/uid"), made.at("/metadata/uid"));
    let path = format!("{ENDPOINTS}/custom");
    world.patch(&path, &subset("10.2.3.4", 9090)).await.is(200);
    world.until("the change", &slices, |answer| says(answer, "10.2.3.4", "9090")).await;
    world.delete(&path).await.is(200);
    world.until("the mirror goes", &slices, |answer| answer.names().is_empty()).await;
    world.end().await;
}
