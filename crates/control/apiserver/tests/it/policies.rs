//! Validating admission policies at work: bound, parameterized, removed.

use serde_json::{Value, json};
use wkube_apiserver::auth::User;

use super::{Answer, Server};

const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
const BINDINGS: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Makes a policy about config maps, and a binding of it.
async fn policy(server: &Server, spec: impl Into<Value>, binding: impl Into<Value>) -> Answer {
    let (spec, binding): (Value, Value) = (spec.into(), binding.into());
    let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
        "operations": ["CREATE", "UPDATE", "DELETE"]});
    let mut whole = json!({"matchConstraints": {"resourceRules": [rule]}});
    whole.as_object_mut().expect("an object").extend(spec.as_object().cloned().expect("an object"));
    let made = server.post(POLICIES, json!({"metadata": {"name": "p"}, "spec": whole})).await;
    assert_eq!(made.code, 201, "{}", made.body);
    let mut bound = json!({"policyName": "p", "validationActions": ["Deny"]});
    bound.as_object_mut().expect("an object").extend(binding.as_object().cloned().expect("an object"));
    let answer = server.post(BINDINGS, json!({"metadata": {"name": "b"}, "spec": bound})).await;
    assert_eq!(answer.code, 201, "{}", answer.body);
    made
}

async fn server() -> Server {
    let server = Server::new().await;
    let made =
        server.post("/api/v1/namespaces", json!({"metadata": {"name": "other", "labels": {"env": "test"}}})).await;
    assert!(matches!(made.code, 201 | 409), "{}", made.body);
    server
}

fn map(name: &str, data: impl Into<Value>) -> Value {
    json!({"metadata": {"name": name}, "data": data.into()})
}

#[tokio::test(start_paused = true)]
async fn a_policy_refuses_from_the_request_after_its_binding() {
    let server = server().await;
    let validation = json!([{"expression": "request.operation == 'DELETE' || object.data.size() < 2"}]);
    let made = policy(&server, json!({ "validations": validation }), json!({})).await;
    assert_eq!(made.body["spec"]["failurePolicy"], "Fail");
    assert_eq!(made.body["status"]["observedGeneration"], 1);
    assert!(made.body["status"]["typeChecking"].is_object(), "{}", made.body);

    let refused = server.post(MAPS, map("a", json!({"a": "1", "b": "2"}))).await;
    let text = "configmaps \"a\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: failed expression: request.operation == 'DELETE' || object.data.size() < 2";
    assert_eq!((refused.code, refused.at("reason").as_str(), refused.at("message").as_str()), (422, "Invalid", text));
    let metrics = server.get("/metrics").await;
    let checked =
        r#"policy_check_total{policy="p",policy_binding="b",error_type="no_error",enforcement_action="deny"}"#;
    assert!(metrics.body.as_str().expect("text").contains(checked));
    assert_eq!(server.post(MAPS, map("a", json!({"a": "1"}))).await.code, 201);
    let grown = server.put(&format!("{MAPS}/a"), map("a", json!({"a": "1", "b": "2"}))).await;
    assert_eq!(grown.code, 422, "{}", grown.body);
    assert_eq!(server.delete(&format!("{MAPS}/a")).await.code, 200);
    assert_eq!(server.delete(&format!("{BINDINGS}/b")).await.code, 200);
    assert_eq!(server.post(MAPS, map("a", json!({"a": "1", "b": "2"}))).await.code, 201);
}

#[tokio::test(start_paused = true)]
async fn messages_reasons_and_variables_are_the_policys() {
    let server = server().await;
    let spec = json!({
        "variables": [{"name": "count", "expression": "object.data.size()"}, {"name": "big", "expression": "variables.count > 1"}],
        "matchConditions": [{"name": "creates", "expression": "request.operation == 'CREATE'"}],
        "validations": [
            {"expression": "!variables.big", "messageExpression": "'found ' + string(variables.count)", "reason": "Forbidden"},
        ],
    });
    policy(&server, spec, json!({})).await;
    let refused = server.post(MAPS, map("a", json!({"a": "1", "b": "2"}))).await;
    assert_eq!((refused.code, refused.at("reason").as_str()), (403, "Forbidden"), "{}", refused.body);
    assert!(refused.at("message").ends_with("denied request: found 2"), "{}", refused.body);
    // The condition lets updates pass.
    assert_eq!(server.post(MAPS, map("a", json!({"a": "1"}))).await.code, 201);
    assert_eq!(server.put(&format!("{MAPS}/a"), map("a", json!({"a": "1", "b": "2"}))).await.code, 200);
}

#[tokio::test(start_paused = true)]
async fn parameters_come_from_objects() {
    let server = server().await;
    let spec = json!({
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "matchConditions": [{"name": "no-limits", "expression": "!object.metadata.name.startsWith('limit')"}],
        "validations": [{"expression": "object.data.size() <= int(params.data.max)", "messageExpression": "'at most ' + params.data.max"}],
    });
    let reference = json!({"paramRef": {"name": "limit", "parameterNotFoundAction": "Deny"}});
    policy(&server, spec, reference).await;
    let missing = server.post(MAPS, map("a", json!({"a": "1"}))).await;
    let text = "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction";
    assert!(missing.at("message").ends_with(text), "{}", missing.body);
    server.delete(&format!("{BINDINGS}/b")).await;
    assert_eq!(server.post(MAPS, map("limit", json!({"max": "1"}))).await.code, 201);
    let bound = json!({"policyName": "p", "validationActions": ["Deny"], "paramRef": {"name": "limit", "namespace": "default", "parameterNotFoundAction": "Deny"}});
    assert_eq!(server.post(BINDINGS, json!({"metadata": {"name": "b"}, "spec": bound})).await.code, 201);
    assert_eq!(server.post(MAPS, map("a", json!({"a": "1"}))).await.code, 201);
    let refused = server.post(MAPS, map("b", json!({"a": "1", "b": "2"}))).await;
    assert!(refused.at("message").ends_with("denied request: at most 1"), "{}", refused.body);
}

#[tokio::test(start_paused = true)]
async fn bindings_choose_namespaces_and_what_happens() {
    let server = server().await;
    let spec = json!({"validations": [{"expression": "false", "message": "never"}]});
    let matching = json!({"matchResources": {"namespaceSelector": {"matchLabels": {"env": "test"}}}, "validationActions": ["Warn", "Audit"]});
    policy(&server, spec, matching).await;
    let quiet = server.post(MAPS, map("a", json!({}))).await;
    assert_eq!((quiet.code, quiet.headers.get("warning")), (201, None));
    let warned = server.post("/api/v1/namespaces/other/configmaps", map("a", json!({}))).await;
    assert_eq!(warned.code, 201, "{}", warned.body);
    let warning = warned.headers["warning"].to_str().expect("text");
    assert!(
        warning.contains("Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': never"),
        "{warning}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_for_the_failure_policy_to_say() {
    for (failure, code) in [("Fail", 422), ("Ignore", 201)] {
        let server = server().await;
        let spec = json!({"failurePolicy": failure, "validations": [{"expression": "object.data.missing == 'x'"}]});
        policy(&server, spec, json!({})).await;
        let answer = server.post(MAPS, map("a", json!({"a": "1"}))).await;
        assert_eq!(answer.code, code, "{}", answer.body);
        if code == 422 {
            let text =
                "denied request: expression 'object.data.missing == 'x'' resulted in error: no such key: missing";
            assert!(answer.at("message").ends_with(text), "{}", answer.body);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_explodes_is_stopped() {
    let server = server().await;
    let deep = "[1,2,3,4,5,6,7,8,9,0].all(a, [1,2,3,4,5,6,7,8,9,0].all(b, [1,2,3,4,5,6,7,8,9,0].all(c, [1,2,3,4,5,6,7,8,9,0].all(d, [1,2,3,4,5,6,7,8,9,0].all(e, [1,2,3,4,5,6,7,8,9,0].all(f, true))))))";
    policy(&server, json!({"validations": [{"expression": deep}]}), json!({})).await;
    let answer = server.post(MAPS, map("a", json!({}))).await;
    assert!(answer.at("message").ends_with("operation cancelled: actual cost limit exceeded"), "{}", answer.body);
}

#[tokio::test(start_paused = true)]
async fn expressions_ask_what_users_may_do() {
    let server = server().await;
    let spec = json!({"validations": [
        {"expression": "authorizer.group('').resource('secrets').namespace(request.namespace).check('list').allowed()", "message": "may not list secrets"},
        {"expression": "!authorizer.serviceAccount('default', 'nobody').group('').resource('configmaps').namespace('default').check('create').allowed()", "message": "nobody may"},
        {"expression": "authorizer.requestResource.check('create').allowed() || request.operation != 'CREATE'", "message": "not this one"},
        {"expression": "namespaceObject.metadata.name == request.namespace && request.userInfo.username != ''", "message": "request"},
    ]});
    policy(&server, spec, json!({})).await;
    assert_eq!(server.post(MAPS, map("a", json!({}))).await.code, 201);
    let role = json!({"metadata": {"name": "maps"}, "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]}]});
    let roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    assert_eq!(server.post(&format!("{roles}/roles"), role).await.code, 201);
    let bound = json!({"metadata": {"name": "maps"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "maps"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "u"}]});
    assert_eq!(server.post(&format!("{roles}/rolebindings"), bound).await.code, 201);
    let refused = server.as_user(User::known("u", [""; 0]), "POST", MAPS, map("b", json!({}))).await;
    assert!(refused.at("message").ends_with("denied request: may not list secrets"), "{}", refused.body);
}

#[tokio::test(start_paused = true)]
async fn policies_are_judged_themselves_and_cannot_lock_themselves_in() {
    let server = server().await;
    let rule = json!({"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"], "operations": ["*"]});
    let broken = json!({"metadata": {"name": "x"}, "spec": {"matchConstraints": {"resourceRules": [rule]}, "validations": [{"expression": "object. >"}]}});
    let refused = server.post(POLICIES, broken).await;
    assert_eq!(refused.code, 422);
    assert_eq!(refused.at("details.causes.0.field"), "spec.validations[0].expression");
    let spec = json!({"matchConstraints": {"resourceRules": [rule]}, "validations": [{"expression": "false"}]});
    policy(&server, spec, json!({})).await;
    assert_eq!(server.post(MAPS, map("a", json!({}))).await.code, 422);
    assert_eq!(server.delete(&format!("{BINDINGS}/b")).await.code, 200);
    assert_eq!(server.delete(&format!("{POLICIES}/p")).await.code, 200);
}
