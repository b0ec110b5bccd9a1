//! Custom resources whose versions a webhook converts.

use serde_json::{Value, json};
use wkube_store::Store as _;

use super::https::{Asked, Certificate, Https, Reply};
use super::{Answer, Server, at};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const OLD: &str = "/apis/acme.io/v1/namespaces/default/gizmos";
const NEW: &str = "/apis/acme.io/v2/namespaces/default/gizmos";

/// `v1` says `spec.size` where `v2` (the stored one) says `spec.width` and `spec.height`.
fn converted(object: &Value, desired: &str) -> Value {
    let mut object = object.clone();
    let spec = object["spec"].clone();
    object["spec"] = if desired == "acme.io/v1" {
        json!({"size": format!("{}x{}", spec["width"], spec["height"])})
    } else {
        let size = spec["size"].as_str().unwrap_or_default();
        let (width, height) = size.split_once('x').unwrap_or(("0", "0"));
        json!({"width": width.parse::<i64>().unwrap_or(0), "height": height.parse::<i64>().unwrap_or(0)})
    };
    object["apiVersion"] = desired.into();
    object
}

fn respond(asked: &Asked, change: impl Fn(Value) -> Value) -> Reply {
    let request = &asked.body["request"];
    let desired = request["desiredAPIVersion"].as_str().unwrap_or_default();
    let objects = request["objects"].as_array().cloned().unwrap_or_default();
    let objects: Vec<Value> = objects.iter().map(|object| change(converted(object, desired))).collect();
    let response = json!({"uid": request["uid"], "convertedObjects": objects, "result": {"status": "Success"}});
    Reply::Json(json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response": response}))
}

async fn server(reply: fn(&Asked) -> Reply) -> (Server, Https) {
    let (server, hook) = (Server::new().await, Https::start(Certificate::SelfSigned, &[], reply).await);
    let version = |name: &str, properties: Value, storage: bool| {
        let spec = json!({"type": "object", "properties": properties});
        let schema = json!({"type": "object", "properties": {"spec": spec}});
        json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": schema}})
    };
    let definition = json!({
        "metadata": {"name": "gizmos.acme.io"},
        "spec": {
            "group": "acme.io", "scope": "Namespaced", "names": {"plural": "gizmos", "kind": "Gizmo"},
            "versions": [
                version("v1", json!({"size": {"type": "string"}}), false),
                version("v2", json!({"width": {"type": "integer"}, "height": {"type": "integer"}}), true),
            ],
            "conversion": {"strategy": "Webhook", "webhook": {
                "conversionReviewVersions": ["v1"],
                "clientConfig": {"url": hook.url("/convert"), "caBundle": hook.bundle},
            }},
        },
    });
    let made = server.call("POST", DEFINITIONS, Some(definition)).await;
    assert_eq!(made.code, 201, "{}", made.body);
    (server, hook)
}

fn gizmo(name: &str, size: &str) -> Value {
    json!({"apiVersion": "acme.io/v1", "kind": "Gizmo", "metadata": {"name": name}, "spec": {"size": size}})
}

async fn create(server: &Server, name: &str) -> Answer {
    let made = server.call("POST", OLD, Some(gizmo(name, "3x4"))).await;
    assert_eq!((made.code, made.at("spec.size")), (201, "3x4".to_owned()), "{}", made.body);
    made
}

#[tokio::test]
async fn an_object_is_kept_in_one_version_and_read_in_every() {
    let (server, _hook) = server(|asked| respond(asked, |object| object)).await;
    create(&server, "g").await;
    let stored = server.store.get("/registry/acme.io/gizmos/default/g").expect("a store").expect("stored").value;
    let stored: Value = serde_json::from_slice(&stored).expect("JSON");
    assert_eq!((at(&stored, "apiVersion"), at(&stored, "spec.height")), ("acme.io/v2".into(), "4".into()));
    let new = server.call("GET", &format!("{NEW}/g"), None).await;
    assert_eq!(
        (new.at("apiVersion"), new.body["spec"].clone()),
        ("acme.io/v2".into(), json!({"width": 3, "height": 4}))
    );
    let old = server.call("GET", &format!("{OLD}/g"), None).await;
    assert_eq!((old.at("apiVersion"), old.at("spec.size")), ("acme.io/v1".into(), "3x4".into()));
}

#[tokio::test]
async fn changes_in_one_version_show_in_the_other() {
    let (server, _hook) = server(|asked| respond(asked, |object| object)).await;
    create(&server, "g").await;
    let wider = json!({"spec": {"width": 9}});
    let changed = server.call_as("PATCH", &format!("{NEW}/g"), "application/merge-patch+json", Some(wider)).await;
    assert_eq!(changed.at("spec.width"), "9", "{}", changed.body);
    let size = json!({"spec": {"size": "1x2"}});
    let old = server.call_as("PATCH", &format!("{OLD}/g"), "application/merge-patch+json", Some(size)).await;
    assert_eq!((old.code, old.at("spec.size")), (200, "1x2".into()), "{}", old.body);
    assert_eq!(old.at("metadata.generation"), "3");
    assert_eq!(server.call("GET", &format!("{NEW}/g"), None).await.at("spec.width"), "1");
    assert_eq!(server.call("DELETE", &format!("{OLD}/g"), None).await.code, 200);
}

#[tokio::test]
async fn a_list_is_converted_in_one_call() {
    let (server, hook) = server(|asked| respond(asked, |object| object)).await;
    for name in ["a", "b", "c"] {
        create(&server, name).await;
    }
    let before = hook.asked().len();
    let list = server.call("GET", OLD, None).await;
    assert_eq!(list.body["items"].as_array().map(Vec::len), Some(3));
    assert_eq!(list.at("items.2.spec.size"), "3x4");
    assert_eq!(hook.asked().len(), before + 1);
    assert_eq!(server.call("GET", NEW, None).await.at("items.0.spec.width"), "3");
    assert_eq!(hook.asked().len(), before + 1, "nobody is asked about what is in the right version");
    let page = server.call("GET", &format!("{OLD}?limit=2"), None).await;
    let next = format!("{OLD}?limit=2&continue={}", page.at("metadata.continue"));
    assert_eq!(server.call("GET", &next, None).await.at("items.0.spec.size"), "3x4");
}

#[tokio::test]
async fn a_watch_shows_its_own_version() {
    let (server, _hook) = server(|asked| respond(asked, |object| object)).await;
    create(&server, "a").await;
    let mut watch = server.watch(&format!("{OLD}?watch=true&timeoutSeconds=5")).await;
    assert_eq!(at(&watch.next().await.expect("an event"), "object.spec.size"), "3x4");
    let made = json!({"apiVersion": "acme.io/v2", "kind": "Gizmo", "metadata": {"name": "b"}, "spec": {"width": 5, "height": 6}});
    assert_eq!(server.call("POST", NEW, Some(made)).await.code, 201);
    let event = watch.next().await.expect("an event");
    assert_eq!((at(&event, "type"), at(&event, "object.spec.size")), ("ADDED".into(), "5x6".into()));
}

/// Creates an object through a webhook that answers so.
async fn check_failure(reply: fn(&Asked) -> Reply, message: &str) {
    let (server, hook) = server(reply).await;
    let answer = server.call("POST", OLD, Some(gizmo("g", "3x4"))).await;
    let seen = answer.at("message").replace(&hook.url(""), "URL");
    assert_eq!((answer.code, seen.as_str()), (500, message), "{}", answer.body);
    assert_eq!(server.call("GET", NEW, None).await.body["items"], json!([]));
}

const FOR: &str = "conversion webhook for acme.io/v1, Kind=Gizmo";

#[tokio::test]
async fn a_conversion_that_fails_fails_the_request() {
    let broken = format!("{FOR} failed: an error on the server (\"boom\") has prevented the request from succeeding");
    check_failure(|_| Reply::Text(500, "x", "y", "boom".into()), &broken).await;
    let renamed = |asked: &Asked| {
        respond(asked, |mut object| {
            object["metadata"]["name"] = "other".into();
            object
        })
    };
    check_failure(renamed, &format!("{FOR} returned invalid object: must have the same name: g != other")).await;
    let same = |asked: &Asked| {
        respond(asked, |mut object| {
            object["apiVersion"] = "acme.io/v1".into();
            object
        })
    };
    let wrong = "returned invalid object: invalid groupVersion (expected acme.io/v2, received acme.io/v1)";
    check_failure(same, &format!("{FOR} {wrong}")).await;
    let refusing = |asked: &Asked| {
        let response =
            json!({"uid": asked.body["request"]["uid"], "result": {"status": "Failed", "message": "not today"}});
        Reply::Json(json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response": response}))
    };
    check_failure(refusing, &format!("{FOR} failed: not today")).await;
}

#[tokio::test]
async fn a_definition_goes_although_its_webhook_is_gone() {
    let (server, hook) = server(|asked| respond(asked, |object| object)).await;
    create(&server, "g").await;
    drop(hook);
    let path = format!("{DEFINITIONS}/gizmos.acme.io");
    assert_eq!(server.call("DELETE", &path, None).await.code, 200);
    let gone = async {
        while server.call("GET", &path, None).await.code != 404 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), gone).await.expect("the definition goes");
}
