//! Good and bad webhooks.

use serde_json::{Value, json};

use super::*;
use crate::kinds::testing::object;

fn hook(changes: Value) -> Object {
    let mut hook = json!({
        "name": "a.example.org", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": "https://a"},
        "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
    });
    let Value::Object(changes) = changes else { panic!("changes are fields") };
    hook.as_object_mut().unwrap().extend(changes);
    let mut made = object(json!({"metadata": {"name": "c"}, "webhooks": [hook]}));
    Configuration::Mutating.default(&mut made);
    made
}

fn check(changes: Value, expected: &[&str]) {
    let found: Vec<String> =
        Configuration::Mutating.validate(&hook(changes), None).iter().map(ToString::to_string).collect();
    assert_eq!(found, expected);
}

fn check_rule_of(changes: Value, expected: &[&str]) {
    let mut rule = json!({"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]});
    let Value::Object(changes) = changes else { panic!("changes are fields") };
    rule.as_object_mut().unwrap().extend(changes);
    check(json!({"rules": [rule]}), expected);
}

#[test]
fn a_webhook_fails_closed_after_ten_seconds() {
    let mut hooks =
        object(json!({"webhooks": [{"name": "a", "clientConfig": {"service": {"name": "s"}}, "rules": [{}]}]}));
    Configuration::Mutating.default(&mut hooks);
    assert_eq!(
        hooks.at(&["webhooks"]).unwrap()[0],
        json!({"name": "a", "failurePolicy": "Fail", "matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {},
            "timeoutSeconds": 10, "reinvocationPolicy": "Never", "rules": [{"scope": "*"}],
            "clientConfig": {"service": {"name": "s", "port": 443}}})
    );
}

#[test]
fn a_usual_webhook_is_valid() {
    check(json!({}), &[]);
    check(json!({"clientConfig": {"service": {"namespace": "d", "name": "s", "path": "/mutate-v1/pods/"}}}), &[]);
}

#[test]
fn a_name_has_three_segments() {
    check(json!({"name": ""}), &["webhooks[0].name: Required value"]);
    check(
        json!({"name": "a.b"}),
        &[
            "webhooks[0].name: Invalid value: \"a.b\": should be a domain with at least three segments separated by dots",
        ],
    );
}

#[test]
fn side_effects_must_be_declared_and_harmless() {
    check(
        json!({"sideEffects": null}),
        &["webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun"],
    );
    check(
        json!({"sideEffects": "Some"}),
        &["webhooks[0].sideEffects: Unsupported value: \"Some\": supported values: \"None\", \"NoneOnDryRun\""],
    );
    let old = hook(json!({"sideEffects": "Some"}));
    assert_eq!(Configuration::Mutating.validate(&old, Some(&old)), []);
}

#[test]
fn a_timeout_is_between_one_and_thirty_seconds() {
    for seconds in [0, 31] {
        let expected = format!(
            "webhooks[0].timeoutSeconds: Invalid value: {seconds}: the timeout value must be between 1 and 30 seconds"
        );
        check(json!({"timeoutSeconds": seconds}), &[&expected]);
    }
}

#[test]
fn a_webhook_is_at_one_place() {
    let expected = "webhooks[0].clientConfig: Required value: exactly one of url or service is required";
    check(json!({"clientConfig": {}}), &[expected]);
    let both = json!({"url": "https://a", "service": {"name": "s", "namespace": "d"}});
    check(json!({"clientConfig": both}), &[expected]);
}

#[test]
fn a_url_is_a_host_and_a_path() {
    let url = |url: &str| json!({"clientConfig": {"url": url}});
    let path = "webhooks[0].clientConfig.url: Invalid value";
    let form = "; desired format: https://host[/path]";
    check(url("https://a:1/b/c"), &[]);
    check(url("http://a"), &[&format!("{path}: \"http\": 'https' is the only allowed URL scheme{form}")]);
    check(url("https:///b"), &[&format!("{path}: \"\": host must be provided{form}")]);
    check(url("https://u:p@a"), &[&format!("{path}: \"u:p\": user information is not permitted in the URL")]);
    check(url("https://a#f"), &[&format!("{path}: \"f\": fragments are not permitted in the URL")]);
    check(url("https://a?q=1"), &[&format!("{path}: \"q=1\": query parameters are not permitted in the URL")]);
}

#[test]
fn a_service_is_named_completely() {
    let service = |service: Value| json!({"clientConfig": {"service": service}});
    let path = "webhooks[0].clientConfig.service";
    check(
        service(json!({})),
        &[
            &format!("{path}.name: Required value: service name is required"),
            &format!("{path}.namespace: Required value: service namespace is required"),
        ],
    );
    let with = |field: &str, value: Value| service(json!({"name": "s", "namespace": "d", field: value}));
    check(
        with("port", json!(70000)),
        &[&format!("{path}.port: Invalid value: 70000: port is not valid: must be between 1 and 65535, inclusive")],
    );
    check(with("path", json!("//")), &[&format!("{path}.path: Invalid value: \"//\": segment[0] may not be empty")]);
    check(with("path", json!("a")), &[&format!("{path}.path: Invalid value: \"a\": must start with a '/'")]);
    check(
        with("path", json!("/a//b")),
        &[&format!("{path}.path: Invalid value: \"/a//b\": segment[1] may not be empty")],
    );
}

#[test]
fn wildcards_stand_alone() {
    let path = "webhooks[0].rules[0]";
    check_rule_of(
        json!({"operations": ["*", "CREATE"]}),
        &[&format!(
            "{path}.operations: Invalid value: [\"*\",\"CREATE\"]: if '*' is present, must not specify other operations"
        )],
    );
    check_rule_of(json!({"resources": ["*", "pods/status"]}), &[]);
    check_rule_of(
        json!({"resources": ["pods/*", "pods/status"]}),
        &[&format!(
            "{path}.resources[1]: Invalid value: \"pods/status\": if 'pods/*' is present, must not specify pods/status"
        )],
    );
    check_rule_of(
        json!({"resources": ["*", "pods"]}),
        &[&format!(
            "{path}.resources: Invalid value: [\"*\",\"pods\"]: if '*' is present, must not specify other resources without subresources"
        )],
    );
}

#[test]
fn a_rule_says_everything() {
    let path = "webhooks[0].rules[0]";
    let required = |field: &str| format!("{path}.{field}: Required value");
    let all = ["operations", "apiGroups", "apiVersions", "resources"].map(required);
    check(json!({"rules": [{}]}), &all.each_ref().map(String::as_str));
    check_rule_of(
        json!({"operations": ["READ"], "scope": "All"}),
        &[
            &format!(
                "{path}.operations[0]: Unsupported value: \"READ\": supported values: \"*\", \"CONNECT\", \"CREATE\", \"DELETE\", \"UPDATE\""
            ),
            &format!("{path}.scope: Unsupported value: \"All\": supported values: \"*\", \"Cluster\", \"Namespaced\""),
        ],
    );
}

#[test]
fn some_review_must_be_known() {
    let path = "webhooks[0].admissionReviewVersions";
    check(
        json!({"admissionReviewVersions": []}),
        &[&format!("{path}: Required value: must specify one of v1, v1beta1")],
    );
    check(
        json!({"admissionReviewVersions": ["v2", "v2"]}),
        &[
            &format!("{path}[1]: Invalid value: \"v2\": duplicate version"),
            &format!("{path}: Invalid value: [\"v2\",\"v2\"]: must include at least one of v1, v1beta1"),
        ],
    );
}

#[test]
fn names_are_unique_in_a_configuration() {
    let mut twice = hook(json!({}));
    let first = webhooks(&twice)[0].clone();
    twice.set(&["webhooks"], vec![first.clone(), first]);
    let errors = Configuration::Validating.validate(&twice, None);
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].to_string(), "webhooks[1].name: Duplicate value: \"a.example.org\"");
    assert_eq!(Configuration::Validating.validate(&twice, Some(&twice)), []);
}

#[test]
fn an_expression_must_decide_and_name_what_is_there() {
    let path = "webhooks[0].matchConditions[0].expression: Invalid value";
    let check_expression = |expression: &str, expected: &str| {
        let condition = json!({"name": "a", "expression": expression});
        let errors = Configuration::Mutating.validate(&hook(json!({"matchConditions": [condition]})), None);
        let found: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert!(found.len() == 1 && found[0].starts_with(&format!("{path}: {expected}")), "{found:?}");
    };
    check_expression("1 + 1", "\"1 + 1\": must evaluate to bool");
    check_expression(
        "params.a",
        "\"params.a\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'params'",
    );
    check(json!({"matchConditions": [{"name": "a", "expression": "object.metadata.name != 'a'"}]}), &[]);
}

#[test]
fn conditions_have_names_and_expressions() {
    let path = "webhooks[0].matchConditions";
    check(
        json!({"matchConditions": [{"name": "a", "expression": " "}, {"name": "a", "expression": "true"}, {"expression": "true"}]}),
        &[
            &format!("{path}[0].expression: Required value"),
            &format!("{path}[1].name: Duplicate value: \"a\""),
            &format!("{path}[2].name: Required value"),
        ],
    );
}
