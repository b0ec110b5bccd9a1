//! The requests that the verbs make, and what they make of the answers.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Node};

use super::*;
use crate::barrier::Writes;
use crate::scripted::{Answer, Server, config_map, failure};

fn key() -> ObjectKey {
    ObjectKey::new("default", "a")
}

/// Answers one request with a `ConfigMap` at revision 9 and returns the server.
fn one() -> Server {
    Server::new([Answer::Document(200, config_map("a", 9, "1"))])
}

fn typed() -> ConfigMap {
    serde_json::from_value(config_map("a", 7, "1")).expect("a ConfigMap")
}

const OBJECT: &str = "/api/v1/namespaces/default/configmaps/a";

#[tokio::test]
async fn every_object_that_comes_back_has_its_revision() {
    let server = one();
    let map = Api::<ConfigMap>::new(&server.client()).get(&key()).await.expect("found");
    assert_eq!((map.revision(), map.key()), (Revision(9), key()));
    assert_eq!(server.lines(), [format!("GET {OBJECT}")]);
}

#[tokio::test]
async fn find_tells_a_missing_object_from_a_failure() {
    let server = Server::new([
        Answer::Document(404, failure(404, "NotFound")),
        Answer::Document(503, failure(503, "ServiceUnavailable")),
    ]);
    let maps = Api::<ConfigMap>::new(&server.client());
    assert!(maps.find(&key()).await.expect("an answer").is_none());
    assert!(maps.find(&key()).await.expect_err("a failure").is_transient());
}

#[tokio::test]
async fn objects_are_sent_with_their_kind_to_where_their_metadata_says() {
    let server = Server::new([
        Answer::Document(201, config_map("a", 9, "1")),
        Answer::Document(200, config_map("a", 9, "1")),
        Answer::Document(200, config_map("a", 9, "1")),
    ]);
    let maps = Api::<ConfigMap>::new(&server.client());
    maps.create(&typed()).await.expect("created");
    maps.replace(&typed()).await.expect("replaced");
    maps.replace_status(&typed()).await.expect("replaced");
    let collection = "/api/v1/namespaces/default/configmaps";
    assert_eq!(server.lines(), [format!("POST {collection}"), format!("PUT {OBJECT}"), format!("PUT {OBJECT}/status")]);
    let body = &server.requests()[0].body;
    assert_eq!((&body["apiVersion"], &body["kind"]), (&json!("v1"), &json!("ConfigMap")));
    assert_eq!(body["metadata"]["resourceVersion"], "7", "so that only that state is replaced");
}

#[test]
fn each_patch_has_its_media_type() {
    let apply = Patch::Apply { object: json!({}), manager: "me".into(), conflicts: Conflicts::Force };
    let patches = [Patch::Merge(json!({})), Patch::Strategic(json!({})), Patch::Json(json!([])), apply];
    let types: Vec<&str> = patches.iter().map(Patch::media_type).collect();
    assert_eq!(
        types,
        [
            "application/merge-patch+json",
            "application/strategic-merge-patch+json",
            "application/json-patch+json",
            "application/apply-patch+yaml"
        ]
    );
}

#[tokio::test]
async fn an_apply_names_its_manager() {
    let server = one();
    let patch =
        Patch::Apply { object: json!({ "data": {} }), manager: "kubectl me".into(), conflicts: Conflicts::Fail };
    Api::<ConfigMap>::new(&server.client()).patch(&key(), &patch).await.expect("applied");
    assert_eq!(server.lines(), [format!("PATCH {OBJECT}?fieldManager=kubectl%20me&force=false")]);
}

#[tokio::test]
async fn a_delete_carries_its_conditions_and_accepts_both_kinds_of_answer() {
    let server = Server::new([
        Answer::Document(200, config_map("a", 9, "1")),
        Answer::Document(200, json!({ "kind": "Status", "status": "Success" })),
    ]);
    let maps = Api::<ConfigMap>::new(&server.client());
    let options = DeleteOptions {
        revision: Some(Revision(7)),
        propagation: Some(Propagation::Foreground),
        ..DeleteOptions::of_uid("u-1").grace(5)
    };
    maps.delete(&key(), &options).await.expect("going");
    maps.delete(&key(), &DeleteOptions::default()).await.expect("gone");
    assert_eq!(
        server.requests()[0].body,
        json!({
            "apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 5, "propagationPolicy": "Foreground",
            "preconditions": { "uid": "u-1", "resourceVersion": "7" }
        })
    );
    assert_eq!(server.requests()[1].body, json!({ "apiVersion": "v1", "kind": "DeleteOptions" }));
}

#[tokio::test]
async fn a_list_is_fetched_page_by_page_and_null_items_are_none() {
    let page = |items: Value, more: &str| {
        Answer::Document(200, json!({ "metadata": { "resourceVersion": "12", "continue": more }, "items": items }))
    };
    let server = Server::new([page(json!([config_map("a", 3, "1")]), "a b"), page(Value::Null, "")]);
    let scope = Scope::namespace("default").labels("app=web").fields("metadata.name!=x");
    let list = Api::<ConfigMap>::new(&server.client()).list(&scope).await.expect("listed");
    assert_eq!((list.items.len(), list.revision), (1, Revision(12)));
    let selectors = "labelSelector=app%3Dweb&fieldSelector=metadata.name%21%3Dx";
    assert_eq!(
        server.lines(),
        [
            format!("GET /api/v1/namespaces/default/configmaps?{selectors}&limit=500"),
            format!("GET /api/v1/namespaces/default/configmaps?{selectors}&limit=500&continue=a%20b"),
        ]
    );
}

#[tokio::test]
async fn documents_of_any_kind_are_reached_by_its_names() {
    let server = one();
    let widgets = Api::of_collection(&server.client(), "example.com", "v1", "widgets");
    let document = widgets.get(&key()).await.expect("found");
    assert_eq!(document.name(), "a");
    assert_eq!(server.lines(), ["GET /apis/example.com/v1/namespaces/default/widgets/a"]);
}

#[tokio::test]
async fn a_recording_client_notes_writes_and_not_reads() {
    let server = Server::new([
        Answer::Document(200, config_map("a", 20, "1")),
        Answer::Document(200, config_map("a", 9, "1")),
        Answer::Document(409, failure(409, "Conflict")),
    ]);
    let writes = Arc::new(Writes::new());
    let maps = Api::<ConfigMap>::new(&server.client().recording(&writes));
    maps.get(&key()).await.expect("found");
    assert!(writes.is_empty());
    maps.patch(&key(), &Patch::Merge(json!({}))).await.expect("patched");
    assert!(maps.replace(&typed()).await.expect_err("refused").is_conflict());
    assert_eq!(writes.needed(ConfigMap::NAME), Revision(9));
    assert_eq!(writes.needed(Node::NAME), Revision(0));
}
