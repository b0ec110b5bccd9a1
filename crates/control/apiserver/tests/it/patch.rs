//! Patch: four kinds, field validation, managed fields.

use serde_json::{Value, json};

use super::{Answer, CONFIG_MAPS, Server, at};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const JSON: &str = "application/json-patch+json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

async fn patch(server: &Server, path: &str, kind: &str, body: Value) -> Answer {
    server.call_as("PATCH", path, kind, Some(body)).await
}

async fn server() -> Server {
    let server = Server::new().await;
    server.config_map("a", json!({"x": "1"})).await;
    server
}

fn deployment(name: &str, replicas: i64) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"a": "b"}},
            "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{"name": "main", "image": "x"}, {"name": "side", "image": "y"}]},
            },
        },
    })
}

#[tokio::test]
async fn a_json_patch_is_a_list_of_operations() {
    let server = server().await;
    let path = format!("{CONFIG_MAPS}/a");
    let ops = json!([{"op": "test", "path": "/data/a", "value": "1"}, {"op": "add", "path": "/data/b", "value": "2"}]);
    let patched = patch(&server, &path, JSON, ops).await;
    assert_eq!((patched.code, patched.at("data.b")), (200, "2".to_owned()), "{patched:?}");
    let failed = patch(&server, &path, JSON, json!([{"op": "test", "path": "/data/a", "value": "9"}])).await;
    assert_eq!(failed.code, 422);
    assert_eq!(failed.at("message"), "the server rejected our request due to an error in our request");
    assert_eq!(failed.at("details.causes.0.message"), "testing value /data/a failed: test failed");
    let malformed = patch(&server, &path, JSON, json!({"op": "add"})).await;
    assert_eq!(malformed.code, 400);
}

#[tokio::test]
async fn a_merge_patch_sets_and_a_null_deletes() {
    let server = server().await;
    let path = format!("{CONFIG_MAPS}/a");
    let patched = patch(&server, &path, MERGE, json!({"data": {"a": null, "b": "2"}})).await;
    assert_eq!(patched.body["data"], json!({"b": "2"}));
}

#[tokio::test]
async fn a_strategic_patch_merges_lists_by_their_key() {
    let server = server().await;
    assert_eq!(server.post(DEPLOYMENTS, deployment("d", 1)).await.code, 201);
    let body = json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "z"}]}}}});
    let patched = patch(&server, &format!("{DEPLOYMENTS}/d"), STRATEGIC, body).await;
    let containers = &patched.body["spec"]["template"]["spec"]["containers"];
    assert_eq!((at(containers, "0.image"), at(containers, "1.name")), ("z".into(), "side".into()), "{patched:?}");
}

#[tokio::test]
async fn a_patch_with_an_old_version_is_a_conflict() {
    let server = server().await;
    let path = format!("{CONFIG_MAPS}/a");
    let stale = patch(&server, &path, MERGE, json!({"metadata": {"resourceVersion": "1"}, "data": {"b": "2"}})).await;
    assert_eq!((stale.code, stale.at("reason")), (409, "Conflict".into()));
}

#[tokio::test]
async fn a_patch_to_nothing_is_not_found_but_an_apply_creates() {
    let server = server().await;
    let path = format!("{CONFIG_MAPS}/new");
    assert_eq!(patch(&server, &path, MERGE, json!({"data": {}})).await.code, 404);
    let applied = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "new"}, "data": {"k": "v"}});
    let made = patch(&server, &format!("{path}?fieldManager=me"), APPLY, applied.clone()).await;
    assert_eq!((made.code, made.at("metadata.managedFields.0.manager")), (201, "me".into()), "{made:?}");
    let again = patch(&server, &format!("{path}?fieldManager=me"), APPLY, applied).await;
    assert_eq!((again.code, again.at("metadata.resourceVersion")), (200, made.at("metadata.resourceVersion")));
}

#[tokio::test]
async fn options_that_make_no_sense_are_invalid() {
    let server = server().await;
    let path = format!("{CONFIG_MAPS}/a");
    let refused = patch(&server, &format!("{path}?force=true&dryRun=Some"), MERGE, json!({})).await;
    let message = "PatchOptions.meta.k8s.io \"\" is invalid: [force: Forbidden: may not be specified for non-apply patch, \
                   dryRun: Unsupported value: [\"Some\"]: supported values: \"All\"]";
    assert_eq!((refused.code, refused.at("message")), (422, message.to_owned()));
    assert_eq!(
        (refused.at("details.kind"), refused.at("details.group")),
        ("PatchOptions".into(), "meta.k8s.io".into())
    );
    assert_eq!(server.get(&format!("{path}?dryRun=Some&fieldValidation=Some")).await.code, 200, "a read has none");
}

#[tokio::test]
async fn an_apply_needs_a_field_manager() {
    let server = server().await;
    let applied = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    let refused = patch(&server, &format!("{CONFIG_MAPS}/a"), APPLY, applied).await;
    assert_eq!(refused.code, 422);
    assert!(refused.at("message").contains("fieldManager: Required value: is required for apply patch"));
}

#[tokio::test]
async fn fields_of_others_conflict_unless_forced() {
    let server = server().await;
    let path = format!("{DEPLOYMENTS}/d");
    let first = patch(&server, &format!("{path}?fieldManager=one"), APPLY, deployment("d", 2)).await;
    assert_eq!(first.code, 201, "{first:?}");
    let other =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"replicas": 5}});
    let conflict = patch(&server, &format!("{path}?fieldManager=two"), APPLY, other.clone()).await;
    assert_eq!((conflict.code, conflict.at("details.causes.0.reason")), (409, "FieldManagerConflict".into()));
    assert_eq!(conflict.at("details.causes.0.field"), ".spec.replicas");
    assert!(conflict.at("message").starts_with("Apply failed with 1 conflict: conflict with \"one\""), "{conflict:?}");
    let forced = patch(&server, &format!("{path}?fieldManager=two&force=true"), APPLY, other).await;
    assert_eq!((forced.code, forced.at("spec.replicas")), (200, "5".into()));
}

#[tokio::test]
async fn unknown_fields_are_refused_warned_about_or_ignored() {
    let server = Server::new().await;
    let mut body = deployment("d", 1);
    body["spec"]["replicaz"] = 3.into();
    let strict = server.post(&format!("{DEPLOYMENTS}?fieldValidation=Strict"), body.clone()).await;
    assert_eq!(strict.code, 400);
    assert!(strict.at("message").contains("strict decoding error: unknown field \"spec.replicaz\""), "{strict:?}");
    let warned = server.post(&format!("{DEPLOYMENTS}?fieldValidation=Warn&dryRun=All"), body.clone()).await;
    assert_eq!(warned.code, 201, "{warned:?}");
    assert_eq!(warned.headers["warning"], r#"299 - "unknown field \"spec.replicaz\"""#);
    let ignored = server.post(&format!("{DEPLOYMENTS}?fieldValidation=Ignore"), body).await;
    assert_eq!((ignored.code, ignored.headers.get("warning")), (201, None));
    assert_eq!(ignored.body["spec"].get("replicaz"), None);
}

#[tokio::test]
async fn a_strict_patch_with_an_unknown_field_is_invalid() {
    let server = Server::new().await;
    server.post(DEPLOYMENTS, deployment("d", 1)).await;
    let path = format!("{DEPLOYMENTS}/d?fieldValidation=Strict");
    let refused = patch(&server, &path, MERGE, json!({"spec": {"replicaz": 3}})).await;
    assert_eq!((refused.code, refused.at("details.causes.0.field")), (422, "patch".into()), "{refused:?}");
}

#[tokio::test]
async fn the_writer_owns_what_it_wrote() {
    let server = server().await;
    let read = server.get(&format!("{CONFIG_MAPS}/a")).await;
    let entry = &read.body["metadata"]["managedFields"][0];
    assert_eq!((at(entry, "manager"), at(entry, "operation")), ("tester".into(), "Update".into()), "{read:?}");
    assert!(entry["fieldsV1"]["f:data"]["f:a"].is_object());
}

#[tokio::test]
async fn what_is_no_patch_is_an_unsupported_media_type() {
    let server = server().await;
    let refused = patch(&server, &format!("{CONFIG_MAPS}/a"), "application/json", json!({})).await;
    assert_eq!((refused.code, refused.at("reason")), (415, "UnsupportedMediaType".into()));
}

#[tokio::test]
async fn a_patch_of_the_status_changes_the_status_only() {
    let server = Server::new().await;
    server.post("/api/v1/namespaces/default/pods", super::pod("p")).await;
    let path = "/api/v1/namespaces/default/pods/p/status";
    let body = json!({
        "metadata": {"annotations": {"k": "v"}}, "spec": {"nodeName": "n"},
        "status": {"conditions": [{"type": "Ready", "status": "True"}], "podIP": "10.42.0.1"},
    });
    let patched = patch(&server, path, STRATEGIC, body).await;
    assert_eq!((patched.code, patched.at("status.podIP")), (200, "10.42.0.1".into()), "{patched:?}");
    assert_eq!((patched.at("spec.nodeName"), patched.at("metadata.annotations.k")), (String::new(), "v".into()));
}

#[tokio::test]
async fn no_patch_makes_something_else_of_an_object() {
    let server = server().await;
    let path = format!("{CONFIG_MAPS}/a");
    let json_patch = json!([{"op": "replace", "path": "/kind", "value": "Secret"}]);
    let other = json!({"kind": "Secret"});
    for (kind, body) in [(JSON, json_patch), (MERGE, other.clone()), (MERGE, json!({"apiVersion": "v2"}))] {
        let refused = patch(&server, &path, kind, body).await;
        assert_eq!(refused.code, 422, "{refused:?}");
        assert!(refused.at("message").contains("is registered for version"), "{refused:?}");
    }
    assert_eq!(patch(&server, &path, STRATEGIC, other).await.at("kind"), "ConfigMap");
    assert_eq!(server.get(&path).await.at("kind"), "ConfigMap");
}
