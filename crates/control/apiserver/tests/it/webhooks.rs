//! Admission webhooks at real HTTPS servers, good and bad.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use wkube_store::{Op, Store as _, Txn};

use super::https::{Asked, Certificate, Https, Reply};
use super::{Answer, Server};

const CONFIGURATIONS: &str = "/apis/admissionregistration.k8s.io/v1";

/// Which kind of configuration.
#[derive(Clone, Copy)]
enum Kind {
    Mutating,
    Validating,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Mutating => "MutatingWebhookConfiguration",
            Self::Validating => "ValidatingWebhookConfiguration",
        }
    }
}

/// Answers a review.
fn respond(asked: &Asked, mut response: Value) -> Reply {
    response["uid"] = asked.body["request"]["uid"].clone();
    Reply::Json(json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}))
}

fn allow(asked: &Asked) -> Reply {
    respond(asked, json!({"allowed": true}))
}

fn patch(asked: &Asked, operations: &Value) -> Reply {
    let patch = STANDARD.encode(operations.to_string());
    respond(asked, json!({"allowed": true, "patchType": "JSONPatch", "patch": patch}))
}

async fn https(reply: fn(&Asked) -> Reply) -> Https {
    Https::start(Certificate::Signed, &[], reply).await
}

/// Configures one webhook for config maps, or as `changes` say.
async fn configure(server: &Server, kind: Kind, name: &str, at: &Https, changes: Value) {
    let mut hook = json!({
        "name": format!("{name}.example.org"), "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": at.url("/review"), "caBundle": at.bundle}, "timeoutSeconds": 2,
        "rules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
    });
    hook.as_object_mut().expect("an object").extend(changes.as_object().cloned().expect("an object"));
    let configuration = json!({"metadata": {"name": name}, "webhooks": [hook]});
    let path = format!("{CONFIGURATIONS}/{}s", kind.name().to_lowercase());
    let answer = server.call("POST", &path, Some(configuration)).await;
    assert_eq!(answer.code, 201, "{}", answer.body);
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn map(name: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"a": "1"}})
}

async fn create(server: &Server, name: &str) -> Answer {
    server.call("POST", MAPS, Some(map(name))).await
}

/// Creates a config map before a validating webhook that answers so; the answer must be this.
async fn check_refusal(reply: fn(&Asked) -> Reply, code: u16, message: &str) {
    let (server, hook) = (Server::new().await, https(reply).await);
    configure(&server, Kind::Validating, "check", &hook, json!({})).await;
    let answer = create(&server, "m").await;
    let seen = answer.at("message").replace(&hook.url(""), "URL");
    assert_eq!((answer.code, seen.as_str()), (code, message), "{}", answer.body);
    assert_eq!(server.call("GET", &format!("{MAPS}/m"), None).await.code, 404, "nothing may be stored");
}

const FAILED: &str = "Internal error occurred: failed calling webhook \"check.example.org\"";

#[tokio::test]
async fn a_webhook_sees_the_whole_request() {
    let (server, hook) = (Server::new().await, https(allow).await);
    configure(&server, Kind::Validating, "see", &hook, json!({})).await;
    assert_eq!(create(&server, "m").await.code, 201);
    let mut changed = map("m");
    changed["data"]["a"] = "2".into();
    let path = format!("{MAPS}/m?dryRun=All&fieldManager=me");
    assert_eq!(server.call("PUT", &path, Some(changed)).await.code, 200);
    assert_eq!(server.call("DELETE", &format!("{MAPS}/m"), None).await.code, 200);
    let asked = hook.asked();
    assert_eq!(asked.len(), 3);
    assert_eq!(asked[0].uri, "/review?timeout=2s");
    assert_eq!(hook.connections(), 1, "the calls share a connection");
    let [create, update, delete] = [0, 1, 2].map(|place: usize| asked[place].body["request"].clone());
    for (field, expected) in [
        ("kind", json!({"group": "", "version": "v1", "kind": "ConfigMap"})),
        ("resource", json!({"group": "", "version": "v1", "resource": "configmaps"})),
        ("requestKind", json!({"group": "", "version": "v1", "kind": "ConfigMap"})),
        ("requestResource", json!({"group": "", "version": "v1", "resource": "configmaps"})),
        ("name", json!("m")),
        ("namespace", json!("default")),
        ("operation", json!("CREATE")),
        ("oldObject", Value::Null),
        ("dryRun", json!(false)),
    ] {
        assert_eq!(create[field], expected, "{field}");
    }
    assert_eq!(create["object"]["kind"], "ConfigMap");
    assert_eq!(create["options"]["kind"], "CreateOptions");
    assert_eq!(create["userInfo"]["username"], "admin");
    assert_eq!(update["operation"], "UPDATE");
    assert_eq!((&update["object"]["data"]["a"], &update["oldObject"]["data"]["a"]), (&json!("2"), &json!("1")));
    assert_eq!(update["dryRun"], true);
    assert_eq!(update["options"]["fieldManager"], "me");
    assert_eq!((&delete["operation"], &delete["object"]), (&json!("DELETE"), &Value::Null));
    assert_eq!(delete["oldObject"]["metadata"]["name"], "m");
    assert_eq!(delete["options"]["kind"], "DeleteOptions");
}

#[tokio::test]
async fn a_denial_reaches_the_client_with_its_code() {
    let deny = |asked: &Asked| respond(asked, json!({"allowed": false, "status": {"code": 403, "message": "not you"}}));
    check_refusal(deny, 403, "admission webhook \"check.example.org\" denied the request: not you").await;
    let wordless = |asked: &Asked| respond(asked, json!({"allowed": false}));
    check_refusal(wordless, 400, "admission webhook \"check.example.org\" denied the request without explanation")
        .await;
}

#[tokio::test]
async fn a_webhook_that_hangs_or_lies_fails_the_request() {
    let call = "failed to call webhook: Post \"URL/review?timeout=2s\"";
    check_refusal(|_| Reply::Hang, 500, &format!("{FAILED}: {call}: context deadline exceeded")).await;
    let too_long = format!("{FAILED}: {call}: the answer is longer than 8388608 bytes");
    check_refusal(|_| Reply::Endless, 500, &too_long).await;
    let absent = format!("{FAILED}: received invalid webhook response: webhook response was absent");
    check_refusal(|_| Reply::Json(json!({"kind": "AdmissionReview"})), 500, &absent).await;
    let missing = format!("{FAILED}: failed to call webhook: the server could not find the requested resource");
    check_refusal(|_| Reply::Text(404, "x", "y", "nothing here".into()), 500, &missing).await;
}

#[tokio::test]
async fn a_failure_may_be_ignored_but_a_denial_may_not() {
    let server = Server::new().await;
    let (hanging, denying) = (
        https(|_| Reply::Text(500, "x", "y", String::new())).await,
        https(|asked| respond(asked, json!({"allowed": asked.body["request"]["name"] != "bad"}))).await,
    );
    configure(&server, Kind::Validating, "broken", &hanging, json!({"failurePolicy": "Ignore"})).await;
    configure(&server, Kind::Mutating, "broken", &hanging, json!({"failurePolicy": "Ignore"})).await;
    configure(&server, Kind::Validating, "strict", &denying, json!({"failurePolicy": "Ignore"})).await;
    assert_eq!(create(&server, "good").await.code, 201);
    assert_eq!(create(&server, "bad").await.code, 400);
}

#[tokio::test]
async fn patches_are_applied_in_the_order_of_names_and_defaulted() {
    let server = Server::new().await;
    let second = https(|asked| {
        let seen = asked.body["request"]["object"]["data"]["seen"].as_str().unwrap_or("nothing").to_owned();
        patch(asked, &json!([{"op": "add", "path": "/data/order", "value": format!("after {seen}")}]))
    })
    .await;
    let first = https(|asked| patch(asked, &json!([{"op": "add", "path": "/data/seen", "value": "first"}]))).await;
    configure(&server, Kind::Mutating, "b", &second, json!({})).await;
    configure(&server, Kind::Mutating, "a", &first, json!({})).await;
    let made = create(&server, "m").await;
    assert_eq!((made.code, made.at("data.order")), (201, "after first".to_owned()));
    let stored = server.call("GET", &format!("{MAPS}/m"), None).await;
    assert_eq!(stored.body["data"], json!({"a": "1", "seen": "first", "order": "after first"}));
}

#[tokio::test]
async fn what_a_patch_adds_gets_its_defaults_and_is_validated() {
    let server = Server::new().await;
    let hook = https(|asked| {
        let container = json!({"name": "side", "image": if asked.body["request"]["name"] == "bad" { "" } else { "i" }});
        patch(asked, &json!([{"op": "add", "path": "/spec/containers/-", "value": container}]))
    })
    .await;
    let pods = json!([{"operations": ["CREATE"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["pods"]}]);
    configure(&server, Kind::Mutating, "sidecar", &hook, json!({"rules": pods})).await;
    let pod = |name: &str| json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let made = server.call("POST", "/api/v1/namespaces/default/pods", Some(pod("good"))).await;
    assert_eq!(made.at("spec.containers.1.terminationMessagePath"), "/dev/termination-log", "{}", made.body);
    let bad = server.call("POST", "/api/v1/namespaces/default/pods", Some(pod("bad"))).await;
    assert_eq!(bad.code, 422);
    assert!(bad.at("message").contains("spec.containers[1].image: Required value"), "{}", bad.body);
}

#[tokio::test]
async fn a_patch_cannot_change_what_is_the_servers() {
    let server = Server::new().await;
    let hook = https(|asked| {
        patch(
            asked,
            &match asked.body["request"]["name"].as_str() {
                Some("moved") => json!([{"op": "replace", "path": "/metadata/namespace", "value": "kube-system"}]),
                Some("broken") => json!([{"op": "replace", "path": "/missing/path", "value": 1}]),
                Some("typed") => json!([{"op": "replace", "path": "/data", "value": 1}]),
                _ => json!([{"op": "replace", "path": "/metadata/uid", "value": "mine"}]),
            },
        )
    })
    .await;
    configure(&server, Kind::Mutating, "thief", &hook, json!({})).await;
    assert_ne!(create(&server, "m").await.at("metadata.uid"), "mine");
    assert_eq!(create(&server, "moved").await.code, 400);
    assert_eq!(create(&server, "broken").await.code, 500);
    assert_eq!(create(&server, "typed").await.code, 500);
}

#[tokio::test]
async fn a_webhook_is_asked_again_about_what_came_after_it() {
    let server = Server::new().await;
    let early = https(|asked| {
        let late = asked.body["request"]["object"]["data"]["late"].as_str().unwrap_or("not yet");
        patch(asked, &json!([{"op": "add", "path": "/data/saw", "value": late}]))
    })
    .await;
    let late = https(|asked| patch(asked, &json!([{"op": "add", "path": "/data/late", "value": "done"}]))).await;
    configure(&server, Kind::Mutating, "early", &early, json!({"reinvocationPolicy": "IfNeeded"})).await;
    configure(&server, Kind::Mutating, "late", &late, json!({})).await;
    assert_eq!(create(&server, "m").await.at("data.saw"), "done");
    assert_eq!((early.asked().len(), late.asked().len()), (2, 1));
}

#[tokio::test]
async fn selectors_and_scopes_narrow_a_webhook() {
    let server = Server::new().await;
    let hook = https(|asked| respond(asked, json!({"allowed": false}))).await;
    let only = json!({
        "objectSelector": {"matchLabels": {"watched": "yes"}},
        "namespaceSelector": {"matchExpressions": [
            {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system"]},
        ]},
    });
    configure(&server, Kind::Validating, "some", &hook, only).await;
    assert_eq!(create(&server, "m").await.code, 201);
    let labelled = json!({"metadata": {"name": "n", "labels": {"watched": "yes"}}});
    assert_eq!(server.call("POST", MAPS, Some(labelled.clone())).await.code, 400);
    let elsewhere = "/api/v1/namespaces/kube-system/configmaps";
    assert_eq!(server.call("POST", elsewhere, Some(labelled)).await.code, 201);
}

#[tokio::test]
async fn conditions_narrow_a_webhook_further() {
    let server = Server::new().await;
    let (hook, open) = (https(|asked| respond(asked, json!({"allowed": false}))).await, https(allow).await);
    let conditions = json!([
        {"name": "not-mine", "expression": "request.userInfo.username != 'somebody'"},
        {"name": "big", "expression": "int(object.data.size) > 10"},
    ]);
    configure(&server, Kind::Validating, "big", &hook, json!({"matchConditions": conditions})).await;
    let ignoring = json!({"matchConditions": conditions, "failurePolicy": "Ignore"});
    configure(&server, Kind::Mutating, "open", &open, ignoring).await;
    let create = async |name: &str, data: Value| {
        server.call("POST", MAPS, Some(json!({"metadata": {"name": name}, "data": data}))).await
    };
    assert_eq!(create("small", json!({"size": "3"})).await.code, 201);
    assert_eq!(create("large", json!({"size": "30"})).await.code, 400);
    let unclear = create("unclear", json!({})).await;
    assert_eq!(unclear.code, 403, "a condition that cannot be told is as bad as one that fails: {}", unclear.body);
    assert!(unclear.at("message").starts_with("configmaps \"unclear\" is forbidden: "), "{}", unclear.body);
    assert_eq!((hook.asked().len(), open.asked().len()), (1, 1));
}

#[tokio::test]
async fn a_rule_for_one_version_is_meant_for_all_unless_it_says_exact() {
    let server = Server::new().await;
    let (equivalent, exact) = (https(allow).await, https(allow).await);
    let rules = json!([{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["events"]}]);
    configure(&server, Kind::Validating, "equivalent", &equivalent, json!({"rules": rules})).await;
    configure(&server, Kind::Validating, "exact", &exact, json!({"rules": rules, "matchPolicy": "Exact"})).await;
    let event = json!({
        "metadata": {"name": "e"}, "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "a.b/c",
        "reportingInstance": "i", "action": "A", "reason": "R", "type": "Normal", "note": "said",
        "regarding": {"kind": "Pod", "name": "p", "namespace": "default"},
    });
    let made = server.call("POST", "/apis/events.k8s.io/v1/namespaces/default/events", Some(event)).await;
    assert_eq!(made.code, 201, "{}", made.body);
    let request = equivalent.asked()[0].body["request"].clone();
    assert_eq!(request["kind"], json!({"group": "", "version": "v1", "kind": "Event"}));
    assert_eq!(request["requestKind"]["group"], "events.k8s.io");
    assert_eq!(request["object"]["message"], "said");
    assert_eq!(exact.asked().len(), 0);
}

#[tokio::test]
async fn a_dry_run_is_refused_by_what_has_side_effects() {
    let server = Server::new().await;
    let hook = https(allow).await;
    configure(&server, Kind::Validating, "harmless", &hook, json!({})).await;
    let dry = format!("{MAPS}?dryRun=All");
    assert_eq!(server.call("POST", &dry, Some(map("m"))).await.code, 201);
    assert_eq!(hook.asked()[0].body["request"]["dryRun"], true);
    // No longer let in, but a store may have it from earlier days.
    let key = "/registry/admissionregistration.k8s.io/validatingwebhookconfigurations/harmless";
    let stored = server.store.get(key).expect("a store").expect("stored").value;
    let harmful = String::from_utf8_lossy(&stored).replace(r#""sideEffects":"None""#, r#""sideEffects":"Some""#);
    let txn = Txn { ops: vec![Op::Put(key.to_owned().into(), harmful.into())], ..Txn::default() };
    server.store.commit(txn).await.expect("written");
    // A relabelled configuration is one that this server has seen.
    let path = format!("{CONFIGURATIONS}/validatingwebhookconfigurations/harmless");
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    let labelled = server.call_as("PATCH", &path, "application/merge-patch+json", Some(label)).await;
    assert_eq!(labelled.code, 200, "what was there may stay: {}", labelled.body);
    let refused = server.call("POST", &dry, Some(map("m"))).await;
    let expected = "admission webhook \"harmless.example.org\" does not support dry run";
    assert_eq!((refused.code, refused.at("message").as_str()), (400, expected));
}

#[tokio::test]
async fn warnings_and_streams_pass_through_webhooks() {
    let server = Server::new().await;
    let hook = https(|asked| {
        let connects = asked.body["request"]["operation"] == "CONNECT";
        respond(asked, json!({"allowed": !connects, "warnings": ["mind the gap"]}))
    })
    .await;
    let rules = json!([{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps", "pods/*", "services/proxy"]}]);
    configure(&server, Kind::Validating, "gate", &hook, json!({"rules": rules})).await;
    let made = create(&server, "m").await;
    assert_eq!(made.headers["warning"], "299 - \"mind the gap\"");
    let path = "/api/v1/namespaces/default/services/kubernetes:https/proxy/x";
    let refused = server.call("GET", path, None).await;
    assert_eq!(refused.at("message"), "admission webhook \"gate.example.org\" denied the request without explanation");
    let request = hook.asked()[1].body["request"].clone();
    assert_eq!(request["subResource"], "proxy");
    assert_eq!(request["kind"]["kind"], "ServiceProxyOptions");
    assert_eq!(request["options"], Value::Null);
}

#[tokio::test]
async fn configurations_are_beyond_the_reach_of_webhooks() {
    let server = Server::new().await;
    let hook = https(|asked| respond(asked, json!({"allowed": false}))).await;
    let all = json!([{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}]);
    configure(&server, Kind::Validating, "all", &hook, json!({"rules": all})).await;
    assert_eq!(create(&server, "m").await.code, 400);
    let path = format!("{CONFIGURATIONS}/validatingwebhookconfigurations/all");
    assert_eq!(server.call("DELETE", &path, None).await.code, 200);
    assert_eq!(create(&server, "m").await.code, 201, "a configuration that is gone counts no more");
}
