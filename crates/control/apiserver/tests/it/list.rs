//! List.

use serde_json::{Value, json};
use wkube_store::Store as _;

use super::{Answer, CONFIG_MAPS, Server, at};

fn names(answer: &Answer) -> Vec<String> {
    let items = answer.body["items"].as_array().expect("items is a list");
    items.iter().map(|item| at(item, "metadata.name")).collect()
}

async fn three() -> Server {
    let server = Server::new().await;
    for (name, labels) in [("b", json!({"x": "1"})), ("a", json!({"x": "2"})), ("c", json!({}))] {
        server.config_map(name, labels).await;
    }
    server
}

#[tokio::test]
async fn an_empty_list_has_items_and_a_version() {
    let server = Server::new().await;
    let list = server.get("/apis/apps/v1/deployments").await;
    assert_eq!((list.code, &list.body["items"], list.at("kind")), (200, &json!([]), "DeploymentList".into()));
    assert!(list.at("metadata.resourceVersion").parse::<u64>().expect("a number") > 0);
}

#[tokio::test]
async fn items_come_in_key_order_without_their_type() {
    let list = three().await.get(CONFIG_MAPS).await;
    assert_eq!(names(&list), ["a", "b", "c"]);
    assert_eq!(list.body["items"][0].get("kind"), None);
    assert_eq!(list.at("apiVersion"), "v1");
}

#[tokio::test]
async fn the_lists_version_is_the_stores_not_the_newest_items() {
    let server = three().await;
    let before = server.get(CONFIG_MAPS).await.at("metadata.resourceVersion");
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "t"}});
    server.post("/api/v1/namespaces", namespace).await;
    let after = server.get(CONFIG_MAPS).await.at("metadata.resourceVersion");
    let version = |text: &str| text.parse::<u64>().expect("a number");
    assert!(version(&after) > version(&before));
}

#[tokio::test]
async fn a_list_sees_every_write_before_it() {
    let server = Server::new().await;
    for n in 0..50 {
        server.config_map(&format!("n{n:02}"), json!({})).await;
        assert_eq!(names(&server.get(CONFIG_MAPS).await).len(), n + 1);
    }
}

#[tokio::test]
async fn selectors_choose_by_label_and_field() {
    let server = three().await;
    assert_eq!(names(&server.get(&format!("{CONFIG_MAPS}?labelSelector=x+in+(1,2),x!%3D2")).await), ["b"]);
    assert_eq!(names(&server.get(&format!("{CONFIG_MAPS}?labelSelector=!x")).await), ["c"]);
    assert_eq!(names(&server.get(&format!("{CONFIG_MAPS}?fieldSelector=metadata.name%3Da")).await), ["a"]);
}

#[tokio::test]
async fn an_unknown_field_or_broken_selector_is_a_bad_request() {
    let server = three().await;
    let refused = server.get(&format!("{CONFIG_MAPS}?fieldSelector=spec.x%3D1")).await;
    assert_eq!((refused.code, refused.at("message")), (400, "field label not supported: spec.x".to_owned()));
    assert_eq!(server.get(&format!("{CONFIG_MAPS}?labelSelector=a+in+(")).await.code, 400);
}

#[tokio::test]
async fn pages_are_of_the_first_pages_version() {
    let server = three().await;
    let first = server.get(&format!("{CONFIG_MAPS}?limit=1")).await;
    assert_eq!((names(&first), first.at("metadata.remainingItemCount")), (vec!["a".to_owned()], "2".into()));
    server.delete(&format!("{CONFIG_MAPS}/b")).await;
    let mut seen = names(&first);
    let mut page = first.at("metadata.continue");
    while !page.is_empty() {
        let next = server.get(&format!("{CONFIG_MAPS}?limit=1&continue={page}")).await;
        assert_eq!(next.at("metadata.resourceVersion"), first.at("metadata.resourceVersion"));
        seen.extend(names(&next));
        page = next.at("metadata.continue");
    }
    assert_eq!(seen, ["a", "b", "c"]);
}

#[tokio::test]
async fn pages_of_forgotten_history_expire_with_a_token_to_go_on() {
    let server = three().await;
    let first = server.get(&format!("{CONFIG_MAPS}?limit=1")).await;
    server.config_map("d", json!({})).await;
    server.store.compact(server.store.revision()).await.expect("compacts");
    let page = first.at("metadata.continue");
    let expired = server.get(&format!("{CONFIG_MAPS}?limit=1&continue={page}")).await;
    assert_eq!((expired.code, expired.at("reason")), (410, "Expired".into()));
    let next = expired.at("metadata.continue");
    let rest = server.get(&format!("{CONFIG_MAPS}?continue={next}")).await;
    assert_eq!(names(&rest), ["b", "c", "d"]);
}

#[tokio::test]
async fn an_exact_version_shows_the_past() {
    let server = three().await;
    let then = server.get(CONFIG_MAPS).await.at("metadata.resourceVersion");
    server.delete(&format!("{CONFIG_MAPS}/a")).await;
    let past = server.get(&format!("{CONFIG_MAPS}?resourceVersion={then}&resourceVersionMatch=Exact")).await;
    assert_eq!(names(&past), ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_version_from_the_future_times_out() {
    let server = three().await;
    let refused = server.get(&format!("{CONFIG_MAPS}?resourceVersion=100000")).await;
    assert_eq!((refused.code, refused.at("details.causes.0.reason")), (504, "ResourceVersionTooLarge".into()));
    assert_eq!(refused.headers["retry-after"], "1");
}

#[tokio::test]
async fn kubectl_gets_a_table() {
    let server = three().await;
    let request = http::Request::get(format!("{CONFIG_MAPS}?limit=500"))
        .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json")
        .body(http_body_util::Full::default())
        .expect("a request");
    let table = server.send(request).await;
    assert_eq!((table.at("kind"), table.at("columnDefinitions.0.name")), ("Table".into(), "Name".into()));
    assert_eq!(table.at("rows.0.cells.0"), "a");
    assert_eq!(table.at("rows.0.object.kind"), "PartialObjectMetadata");
}

#[tokio::test]
async fn collectors_get_only_metadata() {
    let server = three().await;
    let request = http::Request::get(CONFIG_MAPS)
        .header("accept", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io")
        .body(http_body_util::Full::default())
        .expect("a request");
    let list = server.send(request).await;
    assert_eq!(
        (list.at("kind"), list.at("items.0.kind")),
        ("PartialObjectMetadataList".into(), "PartialObjectMetadata".into())
    );
    assert_eq!(list.body["items"][0].get("data"), None::<&Value>);
}
