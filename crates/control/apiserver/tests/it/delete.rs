//! Delete and deletecollection.

use serde_json::json;

use super::{CONFIG_MAPS, Server, at, config_map, pod};

#[tokio::test]
async fn an_object_without_finalizers_is_gone_at_once() {
    let server = Server::new().await;
    let made = server.config_map("a", json!({})).await;
    let gone = server.delete(&format!("{CONFIG_MAPS}/a")).await;
    assert_eq!(
        (gone.code, gone.at("status"), gone.at("details.uid")),
        (200, "Success".into(), at(&made, "metadata.uid"))
    );
    assert_eq!(server.get(&format!("{CONFIG_MAPS}/a")).await.code, 404);
}

#[tokio::test]
async fn the_last_finalizer_ends_a_deleted_object() {
    let server = Server::new().await;
    let mut body = config_map("a", json!({}));
    body["metadata"]["finalizers"] = json!(["x/y"]);
    server.post(CONFIG_MAPS, body).await;
    let path = format!("{CONFIG_MAPS}/a");
    let marked = server.delete(&path).await;
    assert!(!marked.at("metadata.deletionTimestamp").is_empty(), "{marked:?}");
    let mut freed = marked.body.clone();
    freed["metadata"]["finalizers"] = json!([]);
    assert_eq!(server.put(&path, freed).await.code, 200);
    assert_eq!(server.get(&path).await.code, 404);
}

#[tokio::test]
async fn preconditions_must_hold() {
    let server = Server::new().await;
    server.config_map("a", json!({})).await;
    let path = format!("{CONFIG_MAPS}/a");
    let wrong = json!({"preconditions": {"uid": "other"}});
    assert_eq!(server.call("DELETE", &path, Some(wrong)).await.code, 409);
    let stale = json!({"preconditions": {"resourceVersion": "1"}});
    assert_eq!(server.call("DELETE", &path, Some(stale)).await.code, 409);
}

#[tokio::test]
async fn a_dry_run_deletes_nothing() {
    let server = Server::new().await;
    server.config_map("a", json!({})).await;
    let path = format!("{CONFIG_MAPS}/a");
    assert_eq!(server.delete(&format!("{path}?dryRun=All")).await.code, 200);
    let body = json!({"dryRun": ["All"]});
    assert_eq!(server.call("DELETE", &path, Some(body)).await.code, 200);
    assert_eq!(server.get(&path).await.code, 200);
}

#[tokio::test]
async fn an_unscheduled_pod_goes_at_once_and_answers_with_itself() {
    let server = Server::new().await;
    server.post("/api/v1/namespaces/default/pods", pod("p")).await;
    let gone = server.delete("/api/v1/namespaces/default/pods/p").await;
    assert_eq!((gone.code, gone.at("kind")), (200, "Pod".into()));
    assert_eq!(server.get("/api/v1/namespaces/default/pods/p").await.code, 404);
}

#[tokio::test]
async fn a_collection_is_deleted_by_selector() {
    let server = Server::new().await;
    server.config_map("a", json!({"x": "1"})).await;
    server.config_map("b", json!({"x": "2"})).await;
    let gone = server.delete(&format!("{CONFIG_MAPS}?labelSelector=x%3D1")).await;
    assert_eq!((gone.code, gone.at("items.0.metadata.name")), (200, "a".into()));
    assert_eq!(server.get(&format!("{CONFIG_MAPS}/a")).await.code, 404);
    assert_eq!(server.get(&format!("{CONFIG_MAPS}/b")).await.code, 200);
}

#[tokio::test]
async fn a_large_collection_goes_but_for_what_has_finalizers() {
    let server = Server::new().await;
    for index in 0..200 {
        let mut body = config_map(&format!("c{index}"), json!({}));
        if index == 77 {
            body["metadata"]["finalizers"] = json!(["x/y"]);
        }
        assert_eq!(server.post(CONFIG_MAPS, body).await.code, 201);
    }
    assert_eq!(server.delete(CONFIG_MAPS).await.code, 200);
    let left = server.get(CONFIG_MAPS).await;
    assert_eq!((left.at("items.0.metadata.name"), left.at("items.1.metadata.name")), ("c77".into(), String::new()));
    assert!(!left.at("items.0.metadata.deletionTimestamp").is_empty());
}

#[tokio::test]
async fn a_collection_that_cannot_be_deleted_says_why() {
    let server = Server::new().await;
    server.config_map("a", json!({})).await;
    let wrong = json!({"preconditions": {"uid": "other"}});
    let refused = server.call("DELETE", CONFIG_MAPS, Some(wrong)).await;
    assert_eq!((refused.code, refused.at("details.name")), (409, "a".into()));
    assert_eq!(server.get(&format!("{CONFIG_MAPS}/a")).await.code, 200);
}

#[tokio::test]
async fn namespaces_that_every_cluster_has_stay() {
    let server = Server::new().await;
    assert_eq!(server.delete("/api/v1/namespaces/default").await.code, 403);
}

#[tokio::test]
async fn nothing_is_created_in_a_terminating_namespace() {
    let server = Server::new().await;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "t"}});
    assert_eq!(server.post("/api/v1/namespaces", namespace).await.code, 201);
    let marked = server.delete("/api/v1/namespaces/t").await;
    assert_eq!(marked.at("status.phase"), "Terminating", "{marked:?}");
    let refused = server.post("/api/v1/namespaces/t/configmaps", config_map("a", json!({}))).await;
    assert_eq!((refused.code, refused.at("details.causes.0.reason")), (403, "NamespaceTerminating".into()));
}
