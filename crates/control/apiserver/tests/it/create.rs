//! Create.

use serde_json::json;

use super::{CONFIG_MAPS, Server, at, config_map};

#[tokio::test]
async fn the_server_sets_uid_time_and_version() {
    let server = Server::new().await;
    let made = server.config_map("a", json!({})).await;
    assert_eq!(at(&made, "metadata.namespace"), "default");
    assert_eq!(at(&made, "metadata.uid").len(), 36);
    assert!(at(&made, "metadata.creationTimestamp").ends_with('Z'));
    let read = server.get(&format!("{CONFIG_MAPS}/a")).await;
    assert_eq!(read.body, made);
    assert!(at(&made, "metadata.resourceVersion").parse::<u64>().expect("a number") > 1);
}

#[tokio::test]
async fn a_second_create_already_exists() {
    let server = Server::new().await;
    server.config_map("a", json!({})).await;
    let again = server.post(CONFIG_MAPS, config_map("a", json!({}))).await;
    assert_eq!((again.code, again.at("message")), (409, r#"configmaps "a" already exists"#.to_owned()));
}

#[tokio::test]
async fn a_generated_name_is_the_prefix_and_five_characters() {
    let server = Server::new().await;
    let mut body = config_map("", json!({}));
    body["metadata"] = json!({"generateName": "web-"});
    let made = server.post(CONFIG_MAPS, body).await;
    assert_eq!((made.code, made.at("metadata.name").len()), (201, 9));
}

#[tokio::test]
async fn a_resource_version_must_not_be_set() {
    let server = Server::new().await;
    let mut body = config_map("a", json!({}));
    body["metadata"]["resourceVersion"] = "5".into();
    let refused = server.post(CONFIG_MAPS, body).await;
    assert_eq!(refused.code, 500);
    assert_eq!(refused.at("message"), "resourceVersion should not be set on objects to be created");
}

#[tokio::test]
async fn the_body_must_agree_with_the_url() {
    let server = Server::new().await;
    let mut other = config_map("a", json!({}));
    other["metadata"]["namespace"] = "other".into();
    assert_eq!(server.post(CONFIG_MAPS, other).await.code, 400);
    let mut kind = config_map("a", json!({}));
    kind["kind"] = "Secret".into();
    assert_eq!(server.post(CONFIG_MAPS, kind).await.code, 400);
    let mut version = config_map("a", json!({}));
    version["apiVersion"] = "v2".into();
    let refused = server.post(CONFIG_MAPS, version).await;
    let expected = "the API version in the data (v2) does not match the expected API version (v1)";
    assert_eq!((refused.code, refused.at("message")), (400, expected.to_owned()));
}

#[tokio::test]
async fn a_missing_namespace_is_not_found() {
    let server = Server::new().await;
    let refused = server.post("/api/v1/namespaces/nope/configmaps", config_map("a", json!({}))).await;
    assert_eq!((refused.code, refused.at("message")), (404, r#"namespaces "nope" not found"#.to_owned()));
}

#[tokio::test]
async fn a_dry_run_answers_as_if_and_writes_nothing() {
    let server = Server::new().await;
    let dry = server.post(&format!("{CONFIG_MAPS}?dryRun=All"), config_map("a", json!({}))).await;
    assert_eq!((dry.code, dry.at("metadata.resourceVersion")), (201, String::new()));
    assert_eq!(server.get(&format!("{CONFIG_MAPS}/a")).await.code, 404);
    server.config_map("a", json!({})).await;
    let taken = server.post(&format!("{CONFIG_MAPS}?dryRun=All"), config_map("a", json!({}))).await;
    assert_eq!(taken.code, 409);
}

#[tokio::test]
async fn bodies_may_be_yaml() {
    let server = Server::new().await;
    let request = http::Request::post(CONFIG_MAPS)
        .header("content-type", "application/yaml")
        .body("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: written}\ndata: {k: v}\n".into())
        .expect("a request");
    let made = server.send(request).await;
    assert_eq!((made.code, made.at("data.k")), (201, "v".to_owned()));
}

#[tokio::test]
async fn a_body_over_three_mebibytes_is_too_large() {
    let server = Server::new().await;
    let mut body = config_map("big", json!({}));
    body["data"]["a"] = "x".repeat(3 << 20).into();
    assert_eq!(server.post(CONFIG_MAPS, body).await.code, 413);
}

#[tokio::test]
async fn an_object_without_a_name_is_invalid() {
    let server = Server::new().await;
    let refused = server.post(CONFIG_MAPS, json!({"apiVersion": "v1", "kind": "ConfigMap"})).await;
    assert_eq!(refused.code, 422);
    assert!(refused.at("message").contains("metadata.name: Required value: name or generateName is required"));
}

#[tokio::test]
async fn a_service_gets_an_address_of_its_own() {
    let server = Server::new().await;
    let service = |name: &str, ip: &str| {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"clusterIP": ip, "ports": [{"port": 80}], "type": "ClusterIP"},
        })
    };
    let path = "/api/v1/namespaces/default/services";
    let first = server.post(path, service("a", "")).await;
    let address = first.at("spec.clusterIP");
    assert!(address.starts_with("10.43."), "{first:?}");
    let second = server.post(path, service("b", &address)).await;
    assert_eq!(second.code, 422, "{second:?}");
    assert!(second.at("message").contains("provided IP is already allocated"), "{second:?}");
    assert_eq!(server.delete(&format!("{path}/a")).await.code, 200);
    assert_eq!(server.post(path, service("b", &address)).await.code, 201);
}

#[tokio::test]
async fn names_and_labels_are_judged_once_and_all_problems_are_told() {
    let server = Server::new().await;
    let mut map = config_map("Not_A_Name", json!({"a": "not a value!"}));
    map["metadata"]["finalizers"] = json!(["mine"]);
    let refused = server.post(CONFIG_MAPS, map).await;
    assert_eq!((refused.code, refused.at("reason")), (422, "Invalid".into()));
    let causes = refused.body["details"]["causes"].as_array().expect("causes");
    let fields: Vec<_> = causes.iter().map(|cause| cause["field"].as_str().unwrap_or_default()).collect();
    assert_eq!(fields, ["metadata.name", "metadata.labels", "metadata.finalizers"]);
    let nameless = server.post(CONFIG_MAPS, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}})).await;
    assert_eq!(nameless.body["details"]["causes"].as_array().map(Vec::len), Some(1), "{nameless:?}");
}
