//! Mutating admission policies at work: bound, parameterized, in order, again, failing.

use serde_json::{Value, json};

use super::{Answer, Server};

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn apply(expression: &str) -> Value {
    json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}})
}

fn json_patch(expression: &str) -> Value {
    json!({"patchType": "JSONPatch", "jsonPatch": {"expression": expression}})
}

fn joined(base: Value, more: Value) -> Value {
    let (Value::Object(mut base), Value::Object(more)) = (base, more) else { panic!("no objects") };
    base.extend(more);
    base.into()
}

/// Makes a policy about resources of any group, and a binding of it.
async fn policy(
    server: &Server,
    name: &str,
    resource: &str,
    mutations: &[Value],
    spec: Value,
    binding: Value,
) -> Answer {
    let rule =
        json!({"apiGroups": ["*"], "apiVersions": ["*"], "resources": [resource], "operations": ["CREATE", "UPDATE"]});
    let whole =
        json!({"matchConstraints": {"resourceRules": [rule]}, "mutations": mutations, "reinvocationPolicy": "Never"});
    let object = json!({"metadata": {"name": name}, "spec": joined(whole, spec)});
    let made = server.post(&format!("{GROUP}/mutatingadmissionpolicies"), object).await;
    assert_eq!(made.code, 201, "{}", made.body);
    let object = json!({"metadata": {"name": name}, "spec": joined(json!({"policyName": name}), binding)});
    let bound = server.post(&format!("{GROUP}/mutatingadmissionpolicybindings"), object).await;
    assert_eq!(bound.code, 201, "{}", bound.body);
    made
}

async fn on_maps(server: &Server, name: &str, mutations: &[Value], spec: Value) -> Answer {
    policy(server, name, "configmaps", mutations, spec, json!({})).await
}

fn map(name: &str, data: impl Into<Value>) -> Value {
    json!({"metadata": {"name": name}, "data": data.into()})
}

#[tokio::test(start_paused = true)]
async fn a_policy_changes_objects_from_the_request_after_its_binding() {
    let server = Server::new().await;
    let labels =
        "Object{metadata: Object.metadata{labels: {'by': 'policy'}}, data: {'user': request.userInfo.username}}";
    let made = on_maps(&server, "p", &[apply(labels)], json!({})).await;
    assert_eq!(made.body["spec"]["failurePolicy"], "Fail");
    assert_eq!(made.body["spec"]["matchConstraints"]["resourceRules"][0]["scope"], "*");
    let stored = server.post(MAPS, map("a", json!({"x": "1"}))).await;
    assert_eq!(stored.code, 201, "{}", stored.body);
    assert_eq!(stored.body["metadata"]["labels"], json!({"by": "policy"}));
    assert_eq!(stored.body["data"]["x"], "1");
    assert!(stored.body["data"]["user"].is_string(), "{}", stored.body);
    // The client's next write loses the labels, and gets them back.
    let put = server.put(&format!("{MAPS}/a"), map("a", json!({}))).await;
    assert_eq!((put.code, &put.body["metadata"]["labels"]["by"]), (200, &json!("policy")), "{}", put.body);
    assert_eq!(server.delete(&format!("{GROUP}/mutatingadmissionpolicybindings/p")).await.code, 200);
    assert_eq!(server.post(MAPS, map("b", json!({}))).await.body["metadata"]["labels"], Value::Null);
}

#[tokio::test(start_paused = true)]
async fn lists_are_merged_by_their_keys_and_results_are_defaulted() {
    let server = Server::new().await;
    let sidecar = "Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{containers: \
                   [Object.spec.template.spec.containers{name: 'proxy', image: 'mesh', \
                   ports: [Object.spec.template.spec.containers.ports{containerPort: 80}]}]}}}}";
    policy(&server, "sidecar", "deployments", &[apply(sidecar)], json!({}), json!({})).await;
    let labels = json!({"app": "web"});
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "web"}]}});
    let spec = json!({"selector": {"matchLabels": labels}, "template": template});
    let made = server
        .post("/apis/apps/v1/namespaces/default/deployments", json!({"metadata": {"name": "web"}, "spec": spec}))
        .await;
    assert_eq!(made.code, 201, "{}", made.body);
    let containers = &made.body["spec"]["template"]["spec"]["containers"];
    assert_eq!((&containers[0]["name"], &containers[1]["name"]), (&json!("main"), &json!("proxy")), "{containers}");
    assert_eq!(containers[1]["ports"], json!([{"containerPort": 80, "protocol": "TCP"}]));
    assert_eq!(containers[1]["terminationMessagePolicy"], "File");
}

#[tokio::test(start_paused = true)]
async fn a_json_patch_is_carried_out_unless_its_test_fails() {
    let server = Server::new().await;
    let patch = "[JSONPatch{op: 'test', path: '/data/env', value: 'test'}, \
                 JSONPatch{op: 'add', path: '/data/' + jsonpatch.escapeKey('a/b'), value: string(variables.count)}, \
                 JSONPatch{op: 'remove', path: '/data/gone'}]";
    let spec = json!({"variables": [{"name": "count", "expression": "object.data.size()"}]});
    // A key with a slash is none of a config map: only validation, after all mutations, says so.
    let fixed = "has(object.data) && 'a/b' in object.data ? [JSONPatch{op: 'move', from: '/data/a~1b', path: '/data/count'}] : []";
    on_maps(&server, "p", &[json_patch(patch), json_patch(fixed)], spec).await;
    let made = server.post(MAPS, map("a", json!({"env": "test", "gone": "x"}))).await;
    assert_eq!((made.code, &made.body["data"]), (201, &json!({"env": "test", "count": "2"})), "{}", made.body);
    let kept = server.post(MAPS, map("b", json!({"env": "prod", "gone": "x"}))).await;
    assert_eq!((kept.code, &kept.body["data"]), (201, &json!({"env": "prod", "gone": "x"})), "{}", kept.body);
}

#[tokio::test(start_paused = true)]
async fn policies_follow_each_other_by_name_and_see_what_was_done() {
    let server = Server::new().await;
    let add = |letter: &str| apply(&format!("Object{{data: {{'log': object.?data.?log.orValue('') + '{letter}'}}}}"));
    on_maps(&server, "b", &[add("b")], json!({})).await;
    on_maps(&server, "a", &[add("1"), add("2")], json!({})).await;
    let condition = json!({"matchConditions": [{"name": "long", "expression": "object.data.log == '12b'"}]});
    on_maps(&server, "c", &[add("c")], condition).await;
    let made = server.post(MAPS, map("m", json!({}))).await;
    assert_eq!((made.code, &made.body["data"]["log"]), (201, &json!("12bc")), "{}", made.body);
}

#[tokio::test(start_paused = true)]
async fn who_wishes_to_is_asked_again_after_others_changed_the_object() {
    let server = Server::new().await;
    let count = "Object{data: {'count': string(size(object.data))}}";
    on_maps(&server, "a-counts", &[apply(count)], json!({"reinvocationPolicy": "IfNeeded"})).await;
    on_maps(&server, "b-counts-once", &[apply("Object{data: {'once': string(size(object.data))}}")], json!({})).await;
    let made = server.post(MAPS, map("m", json!({"x": "1"}))).await;
    // a: x → 1; b: x, count → 2; a again: x, count, once → 3.
    assert_eq!(made.body["data"], json!({"x": "1", "count": "3", "once": "2"}), "{}", made.body);
}

#[tokio::test(start_paused = true)]
async fn parameters_and_namespaces_choose() {
    let server = Server::new().await;
    let other = json!({"metadata": {"name": "other", "labels": {"env": "test"}}});
    assert_eq!(server.post("/api/v1/namespaces", other).await.code, 201);
    let spec = json!({"paramKind": {"apiVersion": "v1", "kind": "Secret"}});
    let binding = json!({"paramRef": {"name": "p", "namespace": "default", "parameterNotFoundAction": "Deny"},
        "matchResources": {"namespaceSelector": {"matchLabels": {"env": "test"}}}});
    let team = apply("Object{metadata: Object.metadata{labels: params.metadata.labels}}");
    policy(&server, "team", "configmaps", &[team], spec, binding).await;
    assert_eq!(server.post(MAPS, map("a", json!({}))).await.body["metadata"]["labels"], Value::Null);
    let others = "/api/v1/namespaces/other/configmaps";
    let missing = server.post(others, map("a", json!({}))).await;
    let text = "policy 'team' with binding 'team' denied request: failed to configure binding: no params found for policy \
                binding with `Deny` parameterNotFoundAction";
    assert_eq!((missing.code, missing.at("reason").as_str(), missing.at("message").as_str()), (403, "Forbidden", text));
    let params = json!({"metadata": {"name": "p", "labels": {"team": "blue"}}});
    assert_eq!(server.post("/api/v1/namespaces/default/secrets", params).await.code, 201);
    let made = server.post(others, map("a", json!({}))).await;
    assert_eq!((made.code, &made.body["metadata"]["labels"]), (201, &json!({"team": "blue"})), "{}", made.body);
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_for_the_failure_policy_to_say() {
    let failing = [
        (
            apply("Object{data: {'a': object.data.none}}"),
            "expression 'Object{data: {'a': object.data.none}}' resulted in error: no such key: none",
        ),
        (
            apply("Object{nope: 1}"),
            "error applying patch: failed to convert patch object to typed object: .nope: field not declared in schema",
        ),
        (
            apply("Object{data: Object.wrong{a: '1'}}"),
            "type mismatch: unexpected type name \"Object.wrong\", expected \"Object.data\"",
        ),
        (
            apply("Object{metadata: Object.metadata{ownerReferences: [Object.metadata.ownerReferences{name: 'x'}]}}"),
            "omits key field \"uid\"",
        ),
        (
            json_patch("[JSONPatch{op: 'remove', path: '/data/none'}]"),
            "JSONPath: error in remove for path: '/data/none': Unable to remove nonexistent key: none: missing value",
        ),
    ];
    for (mutation, expected) in failing {
        for (failure, code) in [("Fail", 403), ("Ignore", 201)] {
            let server = Server::new().await;
            on_maps(&server, "p", std::slice::from_ref(&mutation), json!({"failurePolicy": failure})).await;
            let answer = server.post(MAPS, map("a", json!({"a": "1"}))).await;
            assert_eq!(answer.code, code, "{}", answer.body);
            if code == 403 {
                let prefix = "policy 'p' with binding 'p' denied request: ";
                let message = answer.at("message");
                assert!(message.starts_with(prefix) && message.contains(expected), "{message}");
                assert_eq!((answer.at("reason").as_str(), answer.at("details.causes.0.message")), ("Invalid", message));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_replaced_as_a_whole_must_be_patched() {
    let server = Server::new().await;
    let args = "Object{spec: Object.spec{containers: [Object.spec.containers{name: 'main', args: ['x']}]}}";
    policy(&server, "args", "pods", &[apply(args)], json!({}), json!({})).await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "main", "image": "i"}]}});
    let refused = server.post("/api/v1/namespaces/default/pods", pod).await;
    let text = "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.containers[0].args";
    assert!(refused.at("message").ends_with(text), "{}", refused.body);
}

#[tokio::test(start_paused = true)]
async fn what_is_the_servers_stays_the_servers() {
    let server = Server::new().await;
    let patch = "[JSONPatch{op: 'replace', path: '/metadata/uid', value: 'mine'}, \
                 JSONPatch{op: 'add', path: '/metadata/resourceVersion', value: '7'}]";
    on_maps(&server, "p", &[json_patch(patch)], json!({})).await;
    let made = server.post(MAPS, map("a", json!({}))).await;
    assert_eq!(made.code, 201, "{}", made.body);
    assert_ne!(made.body["metadata"]["uid"], "mine");
    let spoiled = "[JSONPatch{op: 'add', path: '/nope', value: 1}]";
    on_maps(&server, "q", &[json_patch(spoiled)], json!({"failurePolicy": "Ignore"})).await;
    let refused = server.post(MAPS, map("b", json!({}))).await;
    assert_eq!(refused.code, 500, "{}", refused.body);
    assert!(refused.at("message").contains("strict decoding error: unknown field \"nope\""), "{}", refused.body);
}

#[tokio::test(start_paused = true)]
async fn custom_resources_are_changed_by_their_schema() {
    let server = Server::new().await;
    let item = json!({"type": "object", "properties": {"name": {"type": "string"}, "size": {"type": "integer", "default": 3}}});
    let list = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
        "items": joined(item, json!({"required": ["name"]}))});
    let properties = json!({"items": list, "tags": {"type": "array", "items": {"type": "string"}}});
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}});
    let definition = json!({"metadata": {"name": "boxes.acme.io"}, "spec": {"group": "acme.io", "scope": "Namespaced",
        "names": {"kind": "Box", "plural": "boxes", "singular": "box", "listKind": "BoxList"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}});
    assert_eq!(server.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition).await.code, 201);
    let add = "Object{spec: Object.spec{items: [Object.spec.items{name: 'b'}]}}";
    policy(&server, "p", "boxes", &[apply(add)], json!({}), json!({})).await;
    let boxes = "/apis/acme.io/v1/namespaces/default/boxes";
    let object = json!({"apiVersion": "acme.io/v1", "kind": "Box", "metadata": {"name": "x"}, "spec": {"items": [{"name": "a", "size": 1}]}});
    let made = server.post(boxes, object).await;
    assert_eq!(made.code, 201, "{}", made.body);
    assert_eq!(made.body["spec"]["items"], json!([{"name": "a", "size": 1}, {"name": "b", "size": 3}]));
}

#[tokio::test(start_paused = true)]
async fn a_bad_policy_is_refused() {
    let server = Server::new().await;
    let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["DELETE"]});
    let spec = json!({"matchConstraints": {"resourceRules": [rule]}, "mutations": [apply("Object{a: [1, 'x']}")]});
    let refused = server
        .post(&format!("{GROUP}/mutatingadmissionpolicies"), json!({"metadata": {"name": "p"}, "spec": spec}))
        .await;
    assert_eq!(refused.code, 422, "{}", refused.body);
    let message = refused.at("message");
    for part in [
        "MutatingAdmissionPolicy.admissionregistration.k8s.io \"p\" is invalid: ",
        "spec.matchConstraints.resourceRules.operations: Unsupported value: \"DELETE\"",
        "spec.reinvocationPolicy: Required value",
        "expected type 'int' but found 'string'",
    ] {
        assert!(message.contains(part), "{part} is not in {message}");
    }
}
