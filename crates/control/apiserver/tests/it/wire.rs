//! What goes over the wire beside JSON: protobuf, tables, `OpenAPI` v2, headers, old paths.

use http::Request;
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use wkube_api::protobuf;

use super::{Answer, CONFIG_MAPS, Server, at, pod};

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const PODS: &str = "/api/v1/namespaces/default/pods";

/// Asks for something in another format; returns the content type and the bytes.
async fn bytes(server: &Server, path: &str, accept: &str) -> (u16, String, Vec<u8>) {
    let request = Request::get(path).header("accept", accept).body(Full::default()).expect("a request");
    let response = server.stream(request).await;
    let content_type = response.headers().get("content-type").map(|value| value.to_str().expect("text").to_owned());
    let code = response.status().as_u16();
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    (code, content_type.unwrap_or_default(), body.to_vec())
}

async fn accepting(server: &Server, path: &str, accept: &str) -> Answer {
    server.send(Request::get(path).header("accept", accept).body(Full::default()).expect("a request")).await
}

#[tokio::test]
async fn client_go_gets_objects_in_the_protobuf_that_it_prefers() {
    let server = Server::new().await;
    let made = server.config_map("a", json!({"x": "1"})).await;
    let accept = format!("{PROTOBUF},application/json");
    let (code, content_type, body) = bytes(&server, &format!("{CONFIG_MAPS}/a"), &accept).await;
    assert_eq!((code, content_type.as_str()), (200, PROTOBUF));
    let read = protobuf::decode(&body).expect("protobuf");
    assert_eq!(at(&read, "metadata.resourceVersion"), at(&made, "metadata.resourceVersion"));
    assert_eq!((at(&read, "metadata.labels.x"), at(&read, "data.a")), ("1".into(), "1".into()));
}

#[tokio::test]
async fn lists_and_watches_are_protobuf_too() {
    let server = Server::new().await;
    server.config_map("a", json!({})).await;
    let (_, content_type, body) = bytes(&server, CONFIG_MAPS, PROTOBUF).await;
    assert_eq!(content_type, PROTOBUF);
    assert!(String::from_utf8_lossy(&body).contains("ConfigMapList"));
    let path = format!("{CONFIG_MAPS}?watch=true&timeoutSeconds=1&resourceVersion=0");
    let (_, content_type, body) = bytes(&server, &path, PROTOBUF).await;
    assert_eq!(content_type, "application/vnd.kubernetes.protobuf;stream=watch");
    let length = u32::from_be_bytes(body[..4].try_into().expect("a length")) as usize;
    let event = String::from_utf8_lossy(&body[4..4 + length]);
    assert!(event.contains("ADDED") && event.contains("k8s\0"), "{event}");
}

#[tokio::test]
async fn a_protobuf_body_makes_a_definition() {
    let server = Server::new().await;
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "deprecated": true, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"spec": {"type": "object", "properties": {
                    "on": {"type": "boolean", "default": false},
                    "tags": {"type": "array", "items": {"type": "string"}},
                    "more": {"type": "object", "additionalProperties": {"type": "integer"}},
                }}},
            }}}],
        },
    });
    let (api_version, kind) = ("apiextensions.k8s.io/v1", "CustomResourceDefinition");
    let message = protobuf::encode_kind(api_version, kind, definition.as_object().expect("a document")).expect("fits");
    let body = protobuf::envelope(api_version, kind, &message);
    let request = Request::post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions")
        .header("content-type", PROTOBUF)
        .body(Full::from(body))
        .expect("a request");
    let made = server.send(request).await;
    assert_eq!(made.code, 201, "{made:?}");
    let widget = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"more": {"a": 1}}});
    let widgets = "/apis/example.com/v1/namespaces/default/widgets";
    let made = server.post(widgets, widget).await;
    assert_eq!((made.code, made.at("spec.on")), (201, "false".into()), "{made:?}");
    assert_eq!(made.headers["warning"], "299 - \"example.com/v1 Widget is deprecated\"");
    // A custom resource has no message of its own, and metadata has one for everything.
    let refused = accepting(&server, &format!("{widgets}/w"), PROTOBUF).await;
    let expected = "only the following media types are accepted: application/json, application/yaml";
    assert_eq!((refused.code, refused.at("message")), (406, expected.to_owned()));
    let partial = format!("{PROTOBUF};as=PartialObjectMetadata;g=meta.k8s.io;v=v1");
    let (_, _, body) = bytes(&server, &format!("{widgets}/w"), &partial).await;
    let read = protobuf::decode(&body).expect("protobuf");
    assert_eq!((at(&read, "kind"), at(&read, "metadata.name")), ("PartialObjectMetadata".into(), "w".into()));
}

#[tokio::test]
async fn an_error_is_json_also_for_those_who_prefer_protobuf() {
    let server = Server::new().await;
    let (code, content_type, body) = bytes(&server, &format!("{CONFIG_MAPS}/nope"), PROTOBUF).await;
    assert_eq!((code, content_type.as_str()), (404, "application/json"));
    assert!(serde_json::from_slice::<Value>(&body).is_ok());
}

#[tokio::test]
async fn old_kubectl_gets_openapi_v2_with_custom_kinds() {
    let server = Server::new().await;
    let json = server.get("/openapi/v2").await;
    assert_eq!((json.code, json.at("swagger")), (200, "2.0".into()));
    assert!(json.body["definitions"]["io.k8s.api.core.v1.Pod"].is_object());
    let asked = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let (code, content_type, body) = bytes(&server, "/openapi/v2", asked).await;
    assert_eq!((code, content_type.as_str()), (200, "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"));
    // Field 1 of the document is its version.
    assert_eq!(&body[..5], b"\x0a\x032.0");
    let tag = json.headers["etag"].clone();
    let again = Request::get("/openapi/v2").header("if-none-match", tag).body(Full::default()).expect("a request");
    assert_eq!(server.send(again).await.code, 304);
}

#[tokio::test]
async fn component_statuses_are_healthy_and_deprecated() {
    let server = Server::new().await;
    let all = server.get("/api/v1/componentstatuses").await;
    assert_eq!((all.at("kind"), all.at("items.1.metadata.name")), ("ComponentStatusList".into(), "etcd-0".into()));
    assert_eq!(all.headers["warning"], "299 - \"v1 ComponentStatus is deprecated in v1.19+\"");
    let one = server.get("/api/v1/componentstatuses/scheduler").await;
    assert_eq!((one.at("conditions.0.type"), one.at("metadata.resourceVersion")), ("Healthy".into(), String::new()));
    assert_eq!(server.get("/api/v1/componentstatuses/nope").await.code, 404);
    let table = accepting(&server, "/api/v1/componentstatuses", "application/json;as=Table;v=v1;g=meta.k8s.io").await;
    assert_eq!(table.body["rows"][2]["cells"], json!(["scheduler", "Healthy", "ok", ""]));
}

#[tokio::test]
async fn endpoints_point_to_slices() {
    let server = Server::new().await;
    let list = server.get("/api/v1/namespaces/default/endpoints").await;
    let expected = "299 - \"v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice\"";
    assert_eq!(list.headers["warning"], expected);
}

#[tokio::test]
async fn a_review_as_a_table_is_not_acceptable() {
    let server = Server::new().await;
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}});
    let request = Request::post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")
        .header("content-type", "application/json")
        .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
        .body(Full::from(review.to_string()))
        .expect("a request");
    let refused = server.send(request).await;
    assert_eq!((refused.code, refused.at("reason")), (406, "NotAcceptable".into()));
}

#[tokio::test]
async fn a_scale_is_a_row_of_its_own() {
    let server = Server::new().await;
    let body = json!({"apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": "r"},
        "spec": {"replicas": 3, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    let path = "/api/v1/namespaces/default/replicationcontrollers";
    assert_eq!(server.post(path, body).await.code, 201);
    let table = accepting(&server, &format!("{path}/r/scale"), "application/json;as=Table;v=v1;g=meta.k8s.io").await;
    assert_eq!(table.at("columnDefinitions.1.name"), "Desired");
    let cells = table.body["rows"][0]["cells"].as_array().expect("cells");
    assert_eq!(cells[..3], [json!("r"), json!(3), json!(0)]);
}

#[tokio::test]
async fn rows_carry_as_much_of_the_object_as_was_asked_for() {
    let server = Server::new().await;
    server.config_map("a", json!({})).await;
    for (include, kind) in [("None", ""), ("Metadata", "PartialObjectMetadata"), ("Object", "ConfigMap")] {
        let path = format!("{CONFIG_MAPS}?includeObject={include}");
        let table = accepting(&server, &path, "application/json;as=Table;v=v1;g=meta.k8s.io").await;
        assert_eq!(table.at("rows.0.object.kind"), kind, "{include}");
    }
}

#[tokio::test]
async fn the_old_watch_paths_watch() {
    let server = Server::new().await;
    server.config_map("a", json!({})).await;
    let mut all = server.watch("/api/v1/watch/namespaces/default/configmaps").await;
    assert_eq!(all.line().await, "ADDED a");
    let mut one = server.watch("/api/v1/watch/namespaces/default/configmaps/a").await;
    assert_eq!(one.line().await, "ADDED a");
}

#[tokio::test]
async fn answers_are_yaml_if_asked_and_watches_never() {
    let server = Server::new().await;
    server.config_map("a", json!({})).await;
    let (code, content_type, body) = bytes(&server, &format!("{CONFIG_MAPS}/a"), "application/yaml").await;
    assert_eq!((code, content_type.as_str()), (200, "application/yaml"));
    assert!(String::from_utf8_lossy(&body).contains("kind: ConfigMap"));
    let refused = accepting(&server, &format!("{CONFIG_MAPS}?watch=true"), "application/yaml").await;
    assert_eq!(refused.code, 406);
}

#[tokio::test]
async fn people_with_curl_get_indented_json() {
    let server = Server::new().await;
    let ask = async |path: &str, agent: &str| {
        let request = Request::get(path).header("user-agent", agent).body(Full::default()).expect("a request");
        let body = server.stream(request).await.into_body().collect().await.expect("a body").to_bytes();
        String::from_utf8_lossy(&body).contains("\n  ")
    };
    assert!(ask("/api/v1/namespaces/default", "curl/8").await);
    assert!(!ask("/api/v1/namespaces/default", "kubectl/v1").await);
    assert!(ask("/api/v1/namespaces/default?pretty=true", "kubectl/v1").await);
}

#[tokio::test]
async fn large_answers_are_compressed_if_the_client_reads_gzip() {
    let server = Server::new().await;
    let mut big = super::config_map("big", json!({}));
    big["data"]["a"] = "x".repeat(200 * 1024).into();
    assert_eq!(server.post(CONFIG_MAPS, big).await.code, 201);
    let request = Request::get(format!("{CONFIG_MAPS}/big")).header("accept-encoding", "gzip");
    let response = server.stream(request.body(Full::default()).expect("a request")).await;
    assert_eq!(response.headers()["content-encoding"], "gzip");
    let size = response.into_body().collect().await.expect("a body").to_bytes().len();
    assert!(size < 10 * 1024, "{size}");
    assert_eq!(server.get(&format!("{CONFIG_MAPS}/big")).await.headers.get("content-encoding"), None);
}

#[tokio::test]
async fn every_answer_has_an_audit_id_and_is_not_cached() {
    let server = Server::new().await;
    for path in ["/api", "/version", "/nope", CONFIG_MAPS, "/healthz", "/api/v1/namespaces/default/configmaps/nope"] {
        let answer = server.get(path).await;
        assert!(answer.headers.contains_key("audit-id"), "{path}");
        assert_eq!(answer.headers["cache-control"], "no-cache, private", "{path}");
    }
}

#[tokio::test]
async fn unknown_formats_are_refused_with_the_list_of_known_ones() {
    let server = Server::new().await;
    let refused = accepting(&server, CONFIG_MAPS, "application/cbor").await;
    let known = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
    assert_eq!(
        (refused.code, refused.at("message")),
        (406, format!("only the following media types are accepted: {known}"))
    );
    let refused = server.call_as("POST", CONFIG_MAPS, "text/csv", Some(json!({}))).await;
    let expected = format!("the body of the request was in an unknown format - accepted media types include: {known}");
    assert_eq!(
        (refused.code, refused.at("reason"), refused.at("message")),
        (415, "UnsupportedMediaType".into(), expected)
    );
}

#[tokio::test]
async fn a_pod_is_resized_through_its_subresource_only() {
    let server = Server::new().await;
    let mut body = pod("p");
    body["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "1"}});
    assert_eq!(server.post(PODS, body).await.code, 201);
    let patch = json!({"spec": {"containers": [{"name": "main", "resources": {"requests": {"cpu": "2"}}}]}, "metadata": {"labels": {"a": "b"}}});
    let strategic = "application/strategic-merge-patch+json";
    let refused = server.call_as("PATCH", &format!("{PODS}/p"), strategic, Some(patch.clone())).await;
    assert_eq!(refused.code, 422, "{refused:?}");
    let resized = server.call_as("PATCH", &format!("{PODS}/p/resize"), strategic, Some(patch)).await;
    assert_eq!(
        (resized.code, resized.at("spec.containers.0.resources.requests.cpu")),
        (200, "2".into()),
        "{resized:?}"
    );
    assert_eq!((resized.at("metadata.labels.a"), resized.at("metadata.generation")), (String::new(), "2".into()));
    let storage =
        json!({"spec": {"containers": [{"name": "main", "resources": {"limits": {"ephemeral-storage": "1Gi"}}}]}});
    let refused = server.call_as("PATCH", &format!("{PODS}/p/resize"), strategic, Some(storage)).await;
    let expected = "Pod \"p\" is invalid: spec: Forbidden: only cpu and memory resources are mutable";
    assert_eq!((refused.code, refused.at("message")), (422, expected.to_owned()));
}

#[tokio::test]
async fn a_debugger_joins_a_pod_and_stays() {
    let server = Server::new().await;
    assert_eq!(server.post(PODS, pod("p")).await.code, 201);
    let path = format!("{PODS}/p/ephemeralcontainers");
    let strategic = "application/strategic-merge-patch+json";
    let debugger = |image: &str| Some(json!({"spec": {"ephemeralContainers": [{"name": "debug", "image": image}]}}));
    let joined = server.call_as("PATCH", &path, strategic, debugger("a")).await;
    assert_eq!((joined.code, joined.at("spec.ephemeralContainers.0.name")), (200, "debug".into()), "{joined:?}");
    let refused = server.call_as("PATCH", &path, strategic, debugger("b")).await;
    assert_eq!(refused.code, 422);
    assert!(
        refused.at("message").contains("existing ephemeral containers \"debug\" may not be changed"),
        "{refused:?}"
    );
    let direct = server.call_as("PATCH", &format!("{PODS}/p"), strategic, debugger("b")).await;
    assert_eq!(direct.code, 422, "{direct:?}");
}

#[tokio::test]
async fn an_approval_does_not_issue_and_an_issue_does_not_approve() {
    let server = Server::new().await;
    let requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let pem = rcgen::KeyPair::generate().and_then(|key| {
        let params = rcgen::CertificateParams::new(Vec::<String>::new())?;
        params.serialize_request(&key)?.pem()
    });
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pem.expect("a request"));
    let body = json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": "r"},
        "spec": {"signerName": "example.com/s", "usages": ["client auth"], "request": encoded}});
    let made = server.post(requests, body).await;
    assert_eq!(made.code, 201, "{made:?}");
    let approved = json!({"status": {"conditions": [{"type": "Approved", "status": "True", "reason": "x"}], "certificate": "eA=="}});
    let merge = "application/merge-patch+json";
    let after = server.call_as("PATCH", &format!("{requests}/r/approval"), merge, Some(approved)).await;
    assert_eq!(
        (after.code, after.at("status.conditions.0.type"), after.at("status.certificate")),
        (200, "Approved".into(), String::new()),
        "{after:?}"
    );
    let denied = json!({"status": {"conditions": [{"type": "Denied", "status": "True"}]}});
    let refused = server.call_as("PATCH", &format!("{requests}/r/approval"), merge, Some(denied)).await;
    assert!(refused.at("message").contains("updates may not remove a condition of type \"Approved\""), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_quiet_watch_gets_a_bookmark_every_minute() {
    let server = Server::new().await;
    let version = server.get(CONFIG_MAPS).await.at("metadata.resourceVersion");
    let query = format!("watch=1&resourceVersion={version}&allowWatchBookmarks=true&timeoutSeconds=600");
    let mut watch = server.watch(&format!("{CONFIG_MAPS}?{query}")).await;
    let start = tokio::time::Instant::now();
    for minute in 1..=3 {
        assert_eq!(watch.line().await, "BOOKMARK ");
        assert_eq!(start.elapsed().as_secs(), minute * 60);
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_without_a_timeout_ends_between_half_an_hour_and_an_hour() {
    let server = Server::new().await;
    let version = server.get(CONFIG_MAPS).await.at("metadata.resourceVersion");
    let mut watch = server.watch(&format!("{CONFIG_MAPS}?watch=1&resourceVersion={version}")).await;
    let start = tokio::time::Instant::now();
    assert_eq!(watch.next().await, None);
    let minutes = start.elapsed().as_secs() / 60;
    assert!((30..60).contains(&minutes), "{minutes}");
}

#[tokio::test]
async fn versions_and_matches_that_contradict_each_other_are_invalid() {
    let server = Server::new().await;
    for (query, code, message) in [
        ("resourceVersionMatch=Exact", 422, "resourceVersionMatch is forbidden unless resourceVersion is provided"),
        ("resourceVersion=0&resourceVersionMatch=Exact", 422, "is forbidden for resourceVersion \"0\""),
        ("resourceVersion=1&resourceVersionMatch=Newest", 422, "supported values: \"Exact\", \"NotOlderThan\""),
        ("sendInitialEvents=true", 422, "sendInitialEvents is forbidden for list"),
        ("resourceVersion=abc", 400, "invalid resource version"),
        ("continue=abc", 400, "continue key is not valid"),
    ] {
        let refused = server.get(&format!("{CONFIG_MAPS}?{query}")).await;
        assert_eq!(refused.code, code, "{query}: {refused:?}");
        assert!(refused.at("message").contains(message), "{query}: {}", refused.at("message"));
    }
}
