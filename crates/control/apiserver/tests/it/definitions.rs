//! The life of custom kinds: defined, used at once, watched, changed, removed.

use serde_json::{Value, json};

use super::{Answer, Server};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const GIZMO: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gizmos.acme.io";
const GIZMOS: &str = "/apis/acme.io/v1/namespaces/default/gizmos";

fn version(name: &str, storage: bool) -> Value {
    json!({
        "name": name, "served": true, "storage": storage, "subresources": {"status": {}},
        "additionalPrinterColumns": [
            {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
            {"name": "Since", "type": "date", "jsonPath": ".spec.since"},
        ],
        "selectableFields": [{"jsonPath": ".spec.color"}],
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {
            "spec": {"type": "object", "required": ["size"], "properties": {
                "size": {"type": "integer", "minimum": 1},
                "color": {"type": "string", "default": "red"},
                "since": {"type": "string", "format": "date-time"},
                "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                    "items": {"type": "object", "required": ["name"], "properties": {
                        "name": {"type": "string"}, "port": {"type": "integer"}}}},
            }},
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        }}},
    })
}

fn definition(versions: &[Value]) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "gizmos.acme.io"},
        "spec": {
            "group": "acme.io", "scope": "Namespaced", "versions": versions,
            "names": {"plural": "gizmos", "kind": "Gizmo", "shortNames": ["gz"], "categories": ["all"]},
        },
    })
}

fn gizmo(name: &str, spec: impl Into<Value>) -> Value {
    json!({"apiVersion": "acme.io/v1", "kind": "Gizmo", "metadata": {"name": name}, "spec": spec.into()})
}

async fn server() -> Server {
    let server = Server::new().await;
    let made = server.post(DEFINITIONS, definition(&[version("v1", true)])).await;
    assert_eq!(made.code, 201, "{made:?}");
    server
}

async fn post(server: &Server, name: &str, spec: impl Into<Value>) -> Answer {
    server.post(GIZMOS, gizmo(name, spec)).await
}

#[tokio::test(start_paused = true)]
async fn a_kind_is_served_for_the_next_request_after_its_definition() {
    let server = Server::new().await;
    assert_eq!(server.get(GIZMOS).await.code, 404);
    let made = server.post(DEFINITIONS, definition(&[version("v1", true)])).await;
    assert_eq!(made.code, 201, "{made:?}");
    assert_eq!(made.at("status.conditions.0.type"), "NamesAccepted");
    assert_eq!(made.at("status.conditions.1.type"), "Established");
    assert_eq!(made.at("status.conditions.1.status"), "True");
    assert_eq!(made.at("status.acceptedNames.listKind"), "GizmoList");
    assert_eq!(made.at("status.storedVersions.0"), "v1");
    let created = post(&server, "g", json!({"size": 3})).await;
    assert_eq!(created.code, 201, "{created:?}");
    assert_eq!(created.at("spec.color"), "red");
    assert_eq!(created.at("metadata.generation"), "1");
    let list = server.get(GIZMOS).await;
    assert_eq!((list.at("kind"), list.at("apiVersion")), ("GizmoList".into(), "acme.io/v1".into()));
    assert_eq!(list.at("items.0.spec.size"), "3");
}

#[tokio::test(start_paused = true)]
async fn the_schema_judges_every_write() {
    let server = server().await;
    let small = post(&server, "g", json!({"size": 0})).await;
    assert_eq!(small.code, 422);
    let message = "Gizmo.acme.io \"g\" is invalid: spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1";
    assert_eq!(small.at("message"), message);
    let missing = post(&server, "g", json!({})).await;
    assert_eq!(missing.at("message"), "Gizmo.acme.io \"g\" is invalid: spec.size: Required value");
    let wrong = post(&server, "g", json!({"size": "big"})).await;
    let message = "Gizmo.acme.io \"g\" is invalid: spec.size: Invalid value: \"string\": spec.size in body must be of type integer: \"string\"";
    assert_eq!(wrong.at("message"), message);
    post(&server, "g", json!({"size": 1})).await;
    let patch = json!({"spec": {"size": -1}});
    let patched = server.call_as("PATCH", &format!("{GIZMOS}/g"), "application/merge-patch+json", Some(patch)).await;
    assert_eq!(patched.code, 422, "{patched:?}");
}

#[tokio::test(start_paused = true)]
async fn unknown_fields_are_pruned_with_a_warning_or_refused() {
    let server = server().await;
    let spec = json!({"size": 1, "sizee": 2, "ports": [{"name": "a", "prt": 1}]});
    let warned = post(&server, "g", spec.clone()).await;
    assert_eq!(warned.at("spec.sizee"), "");
    let warnings: Vec<&str> = warned.headers.get_all("warning").iter().filter_map(|text| text.to_str().ok()).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings.iter().any(|text| text.contains("spec.ports[0].prt")), "{warnings:?}");
    let strict = server.post(&format!("{GIZMOS}?fieldValidation=Strict"), gizmo("h", spec)).await;
    assert_eq!(strict.code, 400);
    assert!(strict.at("message").contains("strict decoding error: unknown field"), "{strict:?}");
}

#[tokio::test(start_paused = true)]
async fn a_status_has_a_life_of_its_own() {
    let server = server().await;
    let mut body = gizmo("g", json!({"size": 1}));
    body["status"] = json!({"phase": "Made up"});
    let created = server.post(GIZMOS, body).await;
    assert_eq!(created.at("status.phase"), "");
    let path = format!("{GIZMOS}/g/status");
    let mut wanted = created.body.clone();
    wanted["spec"]["size"] = 7.into();
    wanted["status"] = json!({"phase": "Ready", "anything": {"goes": true}});
    let updated = server.put(&path, wanted).await;
    assert_eq!(updated.code, 200, "{updated:?}");
    assert_eq!((updated.at("spec.size"), updated.at("status.phase")), ("1".into(), "Ready".into()));
    assert_eq!(updated.at("status.anything.goes"), "true");
    assert_eq!(updated.at("metadata.generation"), "1");
}

#[tokio::test(start_paused = true)]
async fn an_update_must_name_the_version_that_it_replaces() {
    let server = server().await;
    post(&server, "g", json!({"size": 1})).await;
    let blind = server.put(&format!("{GIZMOS}/g"), gizmo("g", json!({"size": 2}))).await;
    assert_eq!(blind.code, 422);
    let message = "gizmos.acme.io \"g\" is invalid: metadata.resourceVersion: Invalid value: 0x0: must be specified for an update";
    assert_eq!(blind.at("message"), message);
}

#[tokio::test(start_paused = true)]
async fn tables_selectors_and_short_names_come_from_the_definition() {
    let server = server().await;
    post(&server, "a", json!({"size": 1, "color": "blue"})).await;
    post(&server, "b", json!({"size": 2})).await;
    let blue = server.get(&format!("{GIZMOS}?fieldSelector=spec.color=blue")).await;
    assert_eq!((blue.at("items.0.metadata.name"), blue.at("items.1")), ("a".into(), String::new()));
    assert_eq!(server.get(&format!("{GIZMOS}?fieldSelector=spec.size=1")).await.code, 400);
    let request = http::Request::get(GIZMOS).header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    let table = server.send(request.body(http_body_util::Full::default()).expect("a request")).await;
    assert_eq!(table.at("columnDefinitions.1.name"), "Size");
    assert_eq!(table.at("rows.1.cells"), r#"["b",2,null]"#);
    let resources = server.get("/apis/acme.io/v1").await;
    assert_eq!(resources.at("resources.0.shortNames.0"), "gz");
    assert_eq!(resources.at("resources.1.name"), "gizmos/status");
}

#[tokio::test(start_paused = true)]
async fn discovery_and_openapi_show_the_kind_at_once() {
    let server = server().await;
    let schema = |document: &Answer| document.body["components"]["schemas"]["io.acme.v1.Gizmo"].clone();
    let first = server.get("/openapi/v3/apis/acme.io/v1").await;
    assert_eq!(schema(&first)["properties"]["spec"]["properties"]["size"]["minimum"], 1);
    assert_eq!(schema(&first)["x-kubernetes-group-version-kind"][0]["kind"], "Gizmo");
    assert!(schema(&first)["properties"]["metadata"]["allOf"][0]["$ref"].is_string());
    let index = |answer: Answer| answer.body["paths"]["apis/acme.io/v1"]["serverRelativeURL"].clone();
    let before = index(server.get("/openapi/v3").await);
    let mut wider = server.get(GIZMO).await.body;
    wider["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["more"] =
        json!({"type": "string"});
    assert_eq!(server.put(GIZMO, wider).await.code, 200);
    let after = server.get("/openapi/v3/apis/acme.io/v1").await;
    assert_eq!(schema(&after)["properties"]["spec"]["properties"]["more"]["type"], "string");
    assert_ne!(before, index(server.get("/openapi/v3").await), "clients keep documents by this address");
    let group = server.get("/apis/acme.io").await;
    assert_eq!(group.at("preferredVersion.groupVersion"), "acme.io/v1");
}

#[tokio::test(start_paused = true)]
async fn watchers_see_custom_resources_as_they_are_read() {
    let server = server().await;
    let mut watch = server.watch(&format!("{GIZMOS}?watch=true")).await;
    assert_eq!(watch.code, 200);
    post(&server, "g", json!({"size": 1})).await;
    let event = watch.next().await.expect("an event");
    assert_eq!(super::at(&event, "object.spec.color"), "red");
    server.delete(&format!("{GIZMOS}/g")).await;
    assert_eq!(watch.line().await, "DELETED g");
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_with_the_schema_that_it_started_with() {
    let server = server().await;
    let mut watch = server.watch(&format!("{GIZMOS}?watch=true")).await;
    let label = Some(json!({"metadata": {"labels": {"a": "b"}}}));
    server.call_as("PATCH", GIZMO, "application/merge-patch+json", label).await;
    post(&server, "g", json!({"size": 1})).await;
    assert_eq!(watch.line().await, "ADDED g", "a label changes no schema");
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let patch = json!([{"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema", "value": schema},
        {"op": "remove", "path": "/spec/versions/0/selectableFields"}]);
    let changed = server.call_as("PATCH", GIZMO, "application/json-patch+json", Some(patch)).await;
    assert_eq!(changed.code, 200, "{changed:?}");
    assert_eq!(watch.line().await, "end");
    let mut watch =
        server.watch(&format!("{GIZMOS}?watch=true&resourceVersion={}", changed.at("metadata.resourceVersion"))).await;
    server.delete(GIZMO).await;
    assert_eq!(watch.line().await, "DELETED g", "a kind that goes shows how its objects go");
    assert_eq!(watch.line().await, "end");
}

#[tokio::test(start_paused = true)]
async fn versions_show_the_same_object() {
    let server = Server::new().await;
    let made = server.post(DEFINITIONS, definition(&[version("v1beta1", false), version("v1", true)])).await;
    assert_eq!(made.code, 201, "{made:?}");
    post(&server, "g", json!({"size": 1})).await;
    let beta = server.get("/apis/acme.io/v1beta1/namespaces/default/gizmos").await;
    assert_eq!(beta.at("items.0.metadata.name"), "g");
    assert_eq!(beta.at("apiVersion"), "acme.io/v1beta1");
    let one = server.get("/apis/acme.io/v1beta1/namespaces/default/gizmos/g").await;
    assert_eq!(one.at("apiVersion"), "acme.io/v1beta1");
    let mut changed = one.body.clone();
    changed["spec"]["size"] = 9.into();
    let updated = server.put("/apis/acme.io/v1beta1/namespaces/default/gizmos/g", changed).await;
    assert_eq!((updated.code, updated.at("apiVersion")), (200, "acme.io/v1beta1".into()));
    assert_eq!(server.get(&format!("{GIZMOS}/g")).await.at("spec.size"), "9");
    assert_eq!(server.get("/apis/acme.io").await.at("preferredVersion.version"), "v1");
}

#[tokio::test(start_paused = true)]
async fn a_changed_schema_completes_what_was_stored_before() {
    let server = server().await;
    post(&server, "g", json!({"size": 1})).await;
    let mut wider = server.get(GIZMO).await.body;
    let spec = &mut wider["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
    spec["shape"] = json!({"type": "string", "default": "round"});
    spec.as_object_mut().expect("properties").remove("color");
    wider["spec"]["versions"][0].as_object_mut().expect("a version").remove("selectableFields");
    assert_eq!(server.put(GIZMO, wider).await.code, 200);
    let read = server.get(&format!("{GIZMOS}/g")).await;
    assert_eq!((read.at("spec.shape"), read.at("spec.color")), ("round".into(), String::new()));
    assert_eq!(server.get(GIZMOS).await.at("items.0.spec.shape"), "round");
}

#[tokio::test(start_paused = true)]
async fn server_side_apply_merges_lists_by_the_schema() {
    let server = server().await;
    let apply = |manager: &str, port: &str| {
        let path = format!("{GIZMOS}/g?fieldManager={manager}");
        let body = gizmo("g", json!({"size": 1, "ports": [{"name": port, "port": 80}]}));
        let server = &server;
        async move { server.call_as("PATCH", &path, "application/apply-patch+yaml", Some(body)).await }
    };
    let first = apply("one", "a").await;
    assert_eq!(first.code, 201, "{first:?}");
    let second = apply("two", "b").await;
    assert_eq!(second.code, 200, "{second:?}");
    assert_eq!((second.at("spec.ports.0.name"), second.at("spec.ports.1.name")), ("a".into(), "b".into()));
    let (path, strategic) = (format!("{GIZMOS}/g"), "application/strategic-merge-patch+json");
    let strategic = server.call_as("PATCH", &path, strategic, Some(json!({"spec": {"size": 2}}))).await;
    assert_eq!(strategic.code, 415);
}

#[tokio::test(start_paused = true)]
async fn scale_reads_and_writes_where_the_definition_says() {
    let server = Server::new().await;
    let mut scalable = version("v1", true);
    scalable["subresources"]["scale"] = json!({"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.ready", "labelSelectorPath": ".status.who"});
    let made = server.post(DEFINITIONS, definition(&[scalable])).await;
    assert_eq!(made.code, 201, "{made:?}");
    let mut full = post(&server, "g", json!({"size": 3})).await.body;
    full["status"] = json!({"ready": 2, "who": "app=g"});
    server.put(&format!("{GIZMOS}/g/status"), full).await;
    let path = format!("{GIZMOS}/g/scale");
    let scale = server.get(&path).await;
    let seen = (scale.at("spec.replicas"), scale.at("status.replicas"), scale.at("status.selector"));
    assert_eq!(seen, ("3".into(), "2".into(), "app=g".into()));
    let mut wanted = scale.body.clone();
    wanted["spec"]["replicas"] = 5.into();
    assert_eq!(server.put(&path, wanted).await.at("spec.replicas"), "5");
    assert_eq!(server.get(&format!("{GIZMOS}/g")).await.at("spec.size"), "5");
}

#[tokio::test(start_paused = true)]
async fn a_definition_goes_after_its_objects() {
    let server = server().await;
    post(&server, "a", json!({"size": 1})).await;
    let mut held = gizmo("b", json!({"size": 1}));
    held["metadata"]["finalizers"] = json!(["acme.io/hold"]);
    assert_eq!(server.post(GIZMOS, held).await.code, 201);
    let mut watch = server.watch(&format!("{DEFINITIONS}?watch=true&fieldSelector=metadata.name=gizmos.acme.io")).await;
    assert_eq!(watch.line().await, "ADDED gizmos.acme.io");
    let deleted = server.delete(GIZMO).await;
    assert_eq!(deleted.at("metadata.finalizers.0"), "customresourcecleanup.apiextensions.k8s.io");
    assert_eq!(watch.line().await, "MODIFIED gizmos.acme.io");
    let late = post(&server, "c", json!({"size": 1})).await;
    assert_eq!(late.code, 405, "{late:?}");
    let (url, apply) = (format!("{GIZMOS}/c?fieldManager=me"), "application/apply-patch+yaml");
    let late = server.call_as("PATCH", &url, apply, Some(gizmo("c", json!({"size": 1})))).await;
    assert_eq!(late.code, 405, "{late:?}");
    // Whoever holds an object may still let it go.
    let patch = Some(json!({"metadata": {"finalizers": null}}));
    let freed = server.call_as("PATCH", &format!("{GIZMOS}/b"), "application/merge-patch+json", patch).await;
    assert_eq!(freed.code, 200, "{freed:?}");
    server.delete(&format!("{GIZMOS}/b")).await;
    assert_eq!(watch.line().await, "DELETED gizmos.acme.io");
    assert_eq!(server.get(GIZMO).await.code, 404);
    assert_eq!(server.get(GIZMOS).await.code, 404);
    assert_eq!(server.get("/apis/acme.io").await.code, 404);
    assert_eq!(server.get("/openapi/v3/apis/acme.io/v1").await.code, 404);
    let again = server.post(DEFINITIONS, definition(&[version("v1", true)])).await;
    assert_eq!(again.code, 201, "{again:?}");
    assert_eq!(server.get(GIZMOS).await.at("items"), "[]");
}

#[tokio::test(start_paused = true)]
async fn names_belong_to_the_first_definition_and_are_free_after_it() {
    let server = server().await;
    let mut rival = definition(&[version("v1", true)]);
    rival["metadata"]["name"] = "gadgets.acme.io".into();
    rival["spec"]["names"] = json!({"plural": "gadgets", "kind": "Gizmo", "listKind": "GadgetList"});
    let made = server.post(DEFINITIONS, rival).await;
    assert_eq!(made.code, 201, "{made:?}");
    assert_eq!(made.at("status.conditions.0.reason"), "KindConflict");
    assert_eq!(made.at("status.conditions.1.status"), "False");
    let gadgets = "/apis/acme.io/v1/namespaces/default/gadgets";
    assert_eq!(server.get(gadgets).await.code, 404);
    let mut watch =
        server.watch(&format!("{DEFINITIONS}?watch=true&fieldSelector=metadata.name=gadgets.acme.io")).await;
    assert_eq!(watch.line().await, "ADDED gadgets.acme.io");
    server.delete(GIZMO).await;
    assert_eq!(watch.line().await, "MODIFIED gadgets.acme.io");
    assert_eq!(server.get(gadgets).await.code, 200);
}

#[tokio::test(start_paused = true)]
async fn definitions_are_judged_themselves() {
    let server = Server::new().await;
    let mut bad = definition(&[version("v1", true)]);
    bad["metadata"]["name"] = "gizmo.acme.io".into();
    bad["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["free"] = json!({});
    let refused = server.post(DEFINITIONS, bad).await;
    assert_eq!(refused.code, 422);
    let fields: Vec<&str> = refused.body["details"]["causes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|cause| cause["field"].as_str())
        .collect();
    let path = "spec.validation.openAPIV3Schema.properties[spec].properties[free].type";
    assert_eq!(fields, ["metadata.name", path]);
    let mut hooked = definition(&[version("v1", true)]);
    hooked["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"]}});
    let refused = server.post(DEFINITIONS, hooked).await;
    assert!(refused.at("message").contains("required when strategy is set to Webhook"), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn rules_in_cel_judge_definitions_and_objects() {
    let server = Server::new().await;
    let ruled = |validations: Value| {
        let mut ruled = definition(&[version("v1", true)]);
        let properties = &mut ruled["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
        properties["spec"]["properties"]["ruled"] = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "x-kubernetes-validations": validations});
        ruled
    };
    let refused = server.post(DEFINITIONS, ruled(json!([{"rule": "self.m < 10"}]))).await;
    assert_eq!(refused.code, 422);
    assert!(refused.at("message").contains("undefined field 'm'"), "{refused:?}");
    let two = json!([{"rule": "self.n < 10"}, {"rule": "self.n >= oldSelf.n", "message": "n cannot shrink"}]);
    let made = server.post(DEFINITIONS, ruled(two)).await;
    assert_eq!((made.code, made.headers.get("warning")), (201, None), "{made:?}");

    let gizmos = "/apis/acme.io/v1/namespaces/default/gizmos";
    let gizmo = |n: i64| json!({"apiVersion": "acme.io/v1", "kind": "Gizmo", "metadata": {"name": "a"}, "spec": {"size": 1, "ruled": {"n": n}}});
    let refused = server.post(gizmos, gizmo(10)).await;
    let text = "Gizmo.acme.io \"a\" is invalid: spec.ruled: Invalid value: failed rule: self.n < 10";
    assert_eq!((refused.code, refused.at("message").as_str()), (422, text));
    assert_eq!(refused.at("details.causes.0.reason"), "FieldValueInvalid");
    assert_eq!(server.post(gizmos, gizmo(5)).await.code, 201);
    let patch = |n: i64| Some(json!({"spec": {"ruled": {"n": n}}}));
    let refused = server.call_as("PATCH", &format!("{gizmos}/a"), "application/merge-patch+json", patch(4)).await;
    assert!(refused.at("message").ends_with("spec.ruled: Invalid value: n cannot shrink"), "{refused:?}");
    let taken = server.call_as("PATCH", &format!("{gizmos}/a"), "application/merge-patch+json", patch(6)).await;
    assert_eq!(taken.code, 200, "{taken:?}");
}
