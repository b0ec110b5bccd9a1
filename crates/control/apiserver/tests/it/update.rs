//! Update.

use serde_json::json;

use super::{CONFIG_MAPS, Server, at, config_map, pod};

#[tokio::test]
async fn an_old_version_is_a_conflict() {
    let server = Server::new().await;
    let mut first = server.config_map("a", json!({})).await;
    let path = format!("{CONFIG_MAPS}/a");
    first["data"]["a"] = "2".into();
    assert_eq!(server.put(&path, first.clone()).await.code, 200);
    let stale = server.put(&path, first).await;
    assert_eq!(stale.code, 409);
    assert_eq!(
        stale.at("message"),
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to \
         the latest version and try again"
    );
}

#[tokio::test]
async fn without_a_version_the_update_is_unconditional() {
    let server = Server::new().await;
    server.config_map("a", json!({})).await;
    let mut body = config_map("a", json!({}));
    body["data"]["a"] = "3".into();
    let updated = server.put(&format!("{CONFIG_MAPS}/a"), body).await;
    assert_eq!((updated.code, updated.at("data.a")), (200, "3".to_owned()));
}

#[tokio::test]
async fn an_update_that_changes_nothing_writes_nothing() {
    let server = Server::new().await;
    let made = server.config_map("a", json!({})).await;
    let again = server.put(&format!("{CONFIG_MAPS}/a"), made.clone()).await;
    assert_eq!(again.body, made);
}

#[tokio::test]
async fn identity_does_not_change() {
    let server = Server::new().await;
    let made = server.config_map("a", json!({})).await;
    let mut body = made.clone();
    body["metadata"]["creationTimestamp"] = "2001-01-01T00:00:00Z".into();
    body["data"]["a"] = "9".into();
    let updated = server.put(&format!("{CONFIG_MAPS}/a"), body.clone()).await;
    assert_eq!(updated.at("metadata.creationTimestamp"), at(&made, "metadata.creationTimestamp"));
    body["metadata"]["uid"] = "00000000-0000-0000-0000-000000000000".into();
    body["metadata"]["resourceVersion"] = "".into();
    assert_eq!(server.put(&format!("{CONFIG_MAPS}/a"), body).await.code, 409);
}

#[tokio::test]
async fn what_is_missing_is_not_found_but_a_lease_is_made() {
    let server = Server::new().await;
    assert_eq!(server.put(&format!("{CONFIG_MAPS}/a"), config_map("a", json!({}))).await.code, 404);
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}});
    let path = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l";
    assert_eq!(server.put(path, lease).await.code, 201);
}

#[tokio::test]
async fn the_status_has_an_endpoint_of_its_own() {
    let server = Server::new().await;
    let made = server.post("/api/v1/namespaces/default/pods", pod("p")).await;
    assert_eq!(made.code, 201, "{made:?}");
    let mut body = made.body.clone();
    body["status"] = json!({"phase": "Running"});
    body["spec"]["nodeName"] = "n".into();
    let path = "/api/v1/namespaces/default/pods/p";
    let status = server.put(&format!("{path}/status"), body.clone()).await;
    assert_eq!((status.code, status.at("status.phase")), (200, "Running".to_owned()), "{status:?}");
    assert_eq!(status.at("spec.nodeName"), "");
    let mut main = status.body.clone();
    main["status"] = json!({"phase": "Failed"});
    main["metadata"]["labels"] = json!({"x": "y"});
    let updated = server.put(path, main).await;
    assert_eq!((updated.at("status.phase"), updated.at("metadata.labels.x")), ("Running".into(), "y".into()));
}

#[tokio::test]
async fn the_generation_counts_changes_of_the_spec() {
    let server = Server::new().await;
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let body = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}},
        },
    });
    let made = server.post(path, body).await;
    assert_eq!(made.at("metadata.generation"), "1", "{made:?}");
    let mut labelled = made.body.clone();
    labelled["metadata"]["labels"] = json!({"x": "y"});
    let labelled = server.put(&format!("{path}/d"), labelled).await;
    assert_eq!(labelled.at("metadata.generation"), "1");
    let mut scaled = labelled.body.clone();
    scaled["spec"]["replicas"] = 2.into();
    assert_eq!(server.put(&format!("{path}/d"), scaled).await.at("metadata.generation"), "2");
}
