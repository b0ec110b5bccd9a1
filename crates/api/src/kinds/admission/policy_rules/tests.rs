//! Good and bad policies.

use serde_json::{Value, json};

use super::{validate_binding, validate_policy};
use crate::kinds::testing::object;

fn policy(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let rule =
        json!({"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]});
    let mut spec = json!({"failurePolicy": "Fail", "matchConstraints": {"resourceRules": [rule]},
        "validations": [{"expression": "object.spec.replicas <= 5"}]});
    change(&mut spec);
    validate_policy(&object(json!({"spec": spec})), None).iter().map(ToString::to_string).collect()
}

#[test]
fn a_good_policy_is_silent() {
    assert_eq!(policy(|_| {}), [""; 0]);
    let full = policy(|spec| {
        spec["paramKind"] = json!({"apiVersion": "v1", "kind": "ConfigMap"});
        spec["matchConditions"] =
            json!([{"name": "not-system", "expression": "!request.userInfo.username.startsWith('system:')"}]);
        spec["variables"] = json!([{"name": "n", "expression": "object.spec.replicas"}, {"name": "m", "expression": "variables.n * 2"}]);
        spec["validations"] = json!([{"expression": "variables.m <= int(params.data.max)", "messageExpression": "'at most ' + params.data.max", "reason": "Forbidden"},
            {"expression": "authorizer.group('apps').resource('deployments').namespace(request.namespace).check('delete').allowed()"},
            {"expression": "authorizer.requestResource.check('create').allowed()"},
            {"expression": "namespaceObject.metadata.name != 'x' && has(namespaceObject.metadata.labels)"},
            {"expression": "!has(request.subResource) && request.kind.group == 'apps' && request.dryRun == false"}]);
        spec["auditAnnotations"] = json!([{"key": "replicas", "valueExpression": "string(variables.n)"}]);
    });
    assert_eq!(full, [""; 0]);
}

#[test]
fn what_is_wrong_is_told_with_its_path() {
    assert_eq!(
        policy(|spec| spec["validations"] =
            json!([{"expression": "object.x +"}, {"expression": "object.x"}, {"expression": " "}]))
        .len(),
        3
    );
    assert_eq!(
        policy(|spec| spec["validations"] = json!([{"expression": "request.foo == 1"}])),
        [
            "spec.validations[0].expression: Invalid value: \"request.foo == 1\": compilation failed: ERROR: <input>:1:8: undefined field 'foo'\n | request.foo == 1\n | .......^"
        ]
    );
    assert_eq!(
        policy(|spec| spec["validations"] = json!([{"expression": "1"}])),
        ["spec.validations[0].expression: Invalid value: \"1\": must evaluate to bool"]
    );
    assert_eq!(
        policy(|spec| spec["auditAnnotations"] = json!([{"key": "k", "valueExpression": "1"}])),
        ["spec.auditAnnotations[0].valueExpression: Invalid value: \"1\": must evaluate to one of [string null_type]"]
    );
    // Parameters are there only for policies that have a kind of them, variables only for those after them.
    assert!(
        policy(|spec| spec["validations"] = json!([{"expression": "params.x == 1"}]))[0]
            .contains("undeclared reference to 'params'")
    );
    let early = policy(|spec| {
        spec["variables"] = json!([{"name": "a", "expression": "variables.b"}, {"name": "b", "expression": "1"}]);
    });
    assert!(early.len() == 1 && early[0].contains("undeclared reference to 'variables'"), "{early:?}");
    assert_eq!(
        policy(
            |spec| spec["variables"] = json!([{"name": "a-b", "expression": "1"}, {"name": "c", "expression": "1"}, {"name": "c", "expression": "1"}])
        ),
        [
            "spec.variables[0].name: Invalid value: \"a-b\": name is not a valid CEL identifier",
            "spec.variables[2].name: Duplicate value: \"c\""
        ]
    );
    assert_eq!(policy(|spec| spec["matchConstraints"] = Value::Null), ["spec.matchConstraints: Required value"]);
    assert_eq!(policy(|spec| spec["validations"] = json!([])).len(), 2);
    assert!(
        policy(|spec| spec["validations"][0]["reason"] = "Teapot".into())[0]
            .starts_with("spec.validations[0].reason: Unsupported value")
    );
    assert_eq!(
        policy(|spec| spec["matchConstraints"]["resourceRules"][0]["operations"] = json!([])),
        ["spec.matchConstraints.resourceRules[0].operations: Required value"]
    );
}

#[test]
fn bindings_say_what_happens() {
    let check = |spec: Value| {
        validate_binding(&object(json!({ "spec": spec })), None).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(check(json!({"policyName": "p", "validationActions": ["Deny", "Audit"]})), [""; 0]);
    assert_eq!(check(json!({"validationActions": ["Deny"]})), ["spec.policyName: Required value"]);
    assert_eq!(
        check(json!({"policyName": "p"})),
        ["spec.validationActions: Required value: at least one validation action is required"]
    );
    assert_eq!(
        check(json!({"policyName": "p", "validationActions": ["Deny", "Deny"]})),
        ["spec.validationActions[1]: Duplicate value: \"Deny\""]
    );
    assert!(
        check(json!({"policyName": "p", "validationActions": ["Deny", "Warn"]}))[0]
            .contains("must not contain both Deny and Warn")
    );
    assert_eq!(
        check(json!({"policyName": "p", "validationActions": ["Warn"], "paramRef": {}})),
        [
            "spec.paramRef: Required value: one of name or selector must be specified",
            "spec.paramRef.parameterNotFoundAction: Required value"
        ]
    );
}

#[test]
fn rules_of_a_policy_are_judged_like_those_of_a_webhook() {
    let path = "spec.matchConstraints.resourceRules[0]";
    for (field, value, expected) in [
        (
            "operations",
            json!(["*", "CREATE"]),
            format!(
                "{path}.operations: Invalid value: [\"*\",\"CREATE\"]: if '*' is present, must not specify other operations"
            ),
        ),
        (
            "operations",
            json!(["READ"]),
            format!(
                "{path}.operations[0]: Unsupported value: \"READ\": supported values: \"*\", \"CONNECT\", \"CREATE\", \"DELETE\", \"UPDATE\""
            ),
        ),
        ("apiVersions", json!([""]), format!("{path}.apiVersions[0]: Required value")),
        (
            "resources",
            json!(["pods/*", "pods/log"]),
            format!(
                "{path}.resources[1]: Invalid value: \"pods/log\": if 'pods/*' is present, must not specify pods/log"
            ),
        ),
        ("resources", json!([]), format!("{path}.resources: Required value")),
        (
            "scope",
            json!("Galaxy"),
            format!(
                "{path}.scope: Unsupported value: \"Galaxy\": supported values: \"*\", \"Cluster\", \"Namespaced\""
            ),
        ),
        ("resourceNames", json!(["a", "a"]), format!("{path}.resourceNames[1]: Duplicate value: \"a\"")),
        (
            "resourceNames",
            json!(["a/b"]),
            format!("{path}.resourceNames[0]: Invalid value: \"a/b\": may not contain '/'"),
        ),
    ] {
        let found = policy(|spec| spec["matchConstraints"]["resourceRules"][0][field] = value.clone());
        assert_eq!(found, [expected], "{field}: {value}");
    }
}

#[test]
fn selectors_of_a_policy_are_selectors() {
    let found = policy(|spec| {
        spec["matchConstraints"]["matchPolicy"] = json!("Roughly");
        spec["matchConstraints"]["namespaceSelector"] = json!({"matchExpressions": [{"key": "a", "operator": "Near"}]});
    });
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("spec.matchConstraints.matchPolicy: Unsupported value: \"Roughly\""), "{found:?}");
    assert!(
        found[1].starts_with("spec.matchConstraints.namespaceSelector.matchExpressions[0].operator: "),
        "{found:?}"
    );
}
