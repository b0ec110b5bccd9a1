//! Flow schemas and priority levels.

use serde_json::{Value, json};

use super::check;
use crate::kinds::rules::{validate_flow_schema, validate_priority_level};

fn schema(change: fn(&mut Value)) -> Value {
    let mut schema = json!({"metadata": {"name": "mine"}, "spec": {
        "matchingPrecedence": 500, "priorityLevelConfiguration": {"name": "workload-low"},
        "distinguisherMethod": {"type": "ByUser"},
        "rules": [{
            "subjects": [{"kind": "ServiceAccount", "serviceAccount": {"name": "*", "namespace": "shop"}}],
            "resourceRules": [{"verbs": ["get"], "apiGroups": ["*"], "resources": ["pods"], "namespaces": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["/", "/healthz/*"]}],
        }],
    }});
    change(&mut schema["spec"]);
    schema
}

#[test]
fn a_schema_leads_requests_to_a_level() {
    check(validate_flow_schema, schema(|_| {}), &[]);
    check(
        validate_flow_schema,
        schema(|spec| {
            spec["matchingPrecedence"] = json!(1);
            spec["priorityLevelConfiguration"] = json!({});
            spec["distinguisherMethod"] = json!({"type": "ByMoon"});
            spec["rules"] = json!([{}]);
        }),
        &[
            "spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1",
            "spec.distinguisherMethod.type: Unsupported value: {\"type\":\"ByMoon\"}: supported values: \"ByNamespace\", \"ByUser\"",
            "spec.priorityLevelConfiguration.name: Required value: must reference a priority level",
            "spec.rules[0].subjects: Required value: subjects must contain at least one value",
            "spec.rules[0]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty",
        ],
    );
    for (precedence, why) in [(-1, "must be a positive value"), (10_001, "must not be greater than 10000")] {
        let mut schema = schema(|_| {});
        schema["spec"]["matchingPrecedence"] = json!(precedence);
        check(validate_flow_schema, schema, &[&format!("spec.matchingPrecedence: Invalid value: {precedence}: {why}")]);
    }
}

#[test]
fn a_subject_is_what_its_kind_says() {
    check(
        validate_flow_schema,
        schema(|spec| {
            spec["rules"][0]["subjects"] = json!([
                {"kind": "User"},
                {"kind": "Group", "group": {}, "user": {"name": "u"}},
                {"kind": "ServiceAccount", "serviceAccount": {"name": "A"}},
                {"kind": "Robot"},
            ]);
        }),
        &[
            "spec.rules[0].subjects[0].user: Required value: user is required when subject kind is 'User'",
            "spec.rules[0].subjects[1].group.name: Required value",
            "spec.rules[0].subjects[1].user: Forbidden: user is forbidden when subject kind is not 'User'",
            "spec.rules[0].subjects[2].serviceAccount.name: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of \
             lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. \
             'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            "spec.rules[0].subjects[2].serviceAccount.namespace: Required value: must specify namespace for service account",
            "spec.rules[0].subjects[3].kind: Unsupported value: \"Robot\": supported values: \"Group\", \"ServiceAccount\", \"User\"",
        ],
    );
}

#[test]
fn whoever_says_everything_says_nothing_else() {
    check(
        validate_flow_schema,
        schema(|spec| {
            spec["rules"][0]["resourceRules"] = json!([
                {"verbs": ["*", "get"], "apiGroups": ["*", "apps"], "resources": [], "namespaces": ["*", "shop"]},
                {"verbs": ["fly"], "apiGroups": [""], "resources": ["pods"]},
            ]);
            spec["rules"][0]["nonResourceRules"] =
                json!([{"verbs": [], "nonResourceURLs": ["x", "/a b", "/a//b", "/a*", ""]}]);
        }),
        &[
            "spec.rules[0].resourceRules[0].verbs: Invalid value: [\"*\",\"get\"]: if '*' is present, must not specify other verbs",
            "spec.rules[0].resourceRules[0].apiGroups: Invalid value: [\"*\",\"apps\"]: if '*' is present, must not specify other \
             api groups",
            "spec.rules[0].resourceRules[0].resources: Required value: resource rules must supply at least one resource",
            "spec.rules[0].resourceRules[0].namespaces: Invalid value: [\"*\",\"shop\"]: if '*' is present, must not specify other \
             namespaces",
            "spec.rules[0].resourceRules[1].verbs: Unsupported value: [\"fly\"]: supported values: \"create\", \"delete\", \
             \"deletecollection\", \"get\", \"list\", \"patch\", \"proxy\", \"update\", \"watch\"",
            "spec.rules[0].resourceRules[1].namespaces: Required value: resource rules that are not cluster scoped must supply at \
             least one namespace",
            "spec.rules[0].nonResourceRules[0].verbs: Required value: verbs must contain at least one value",
            "spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: \"x\": must start with slash",
            "spec.rules[0].nonResourceRules[0].nonResourceURLs[1]: Invalid value: \"/a b\": must not contain white-space",
            "spec.rules[0].nonResourceRules[0].nonResourceURLs[2]: Invalid value: \"/a//b\": must not contain double slash",
            "spec.rules[0].nonResourceRules[0].nonResourceURLs[3]: Invalid value: \"/a*\": wildcard can only do suffix matching",
            "spec.rules[0].nonResourceRules[0].nonResourceURLs[4]: Invalid value: \"\": must not be empty",
        ],
    );
}

#[test]
fn a_level_is_exempt_or_has_limits() {
    let level = |name: &str, spec: Value| json!({"metadata": {"name": name}, "spec": spec});
    let queuing = json!({"queues": 64, "handSize": 8, "queueLengthLimit": 50});
    let limited = |response: Value| json!({"type": "Limited", "limited": {"nominalConcurrencyShares": 30, "limitResponse": response}});
    check(validate_priority_level, level("l", limited(json!({"type": "Queue", "queuing": queuing}))), &[]);
    check(validate_priority_level, level("l", limited(json!({"type": "Reject"}))), &[]);
    check(validate_priority_level, level("exempt", json!({"type": "Exempt", "exempt": {"lendablePercent": 50}})), &[]);
    check(
        validate_priority_level,
        level("l", json!({"type": "Exempt", "limited": {}, "exempt": {"lendablePercent": 101}})),
        &[
            "spec.type: Invalid value: \"Exempt\": type must be 'Exempt' if and only if name is 'exempt'",
            "spec.limited: Forbidden: must be nil if the type is not Limited",
            "spec.exempt.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive",
        ],
    );
    check(
        validate_priority_level,
        level("l", json!({"type": "Limited", "exempt": {}})),
        &[
            "spec.limited: Required value: must not be empty when type is Limited",
            "spec.exempt: Forbidden: must be nil if the type is Limited",
        ],
    );
    check(
        validate_priority_level,
        level("l", limited(json!({"type": "Queue", "queuing": {"queues": 4, "handSize": 5, "queueLengthLimit": 0}}))),
        &[
            "spec.limited.limitResponse.queuing.queueLengthLimit: Invalid value: 0: must be positive",
            "spec.limited.limitResponse.queuing.handSize: Invalid value: 5: should not be greater than queues (4)",
        ],
    );
    check(
        validate_priority_level,
        level(
            "l",
            limited(json!({"type": "Queue", "queuing": {"queues": 1024, "handSize": 8, "queueLengthLimit": 1}})),
        ),
        &[
            "spec.limited.limitResponse.queuing.handSize: Invalid value: 8: required entropy bits of deckSize 1024 and handSize 8 \
            should not be greater than 60",
        ],
    );
    check(
        validate_priority_level,
        level(
            "l",
            json!({"type": "Limited", "limited": {"nominalConcurrencyShares": -1, "borrowingLimitPercent": -1,
            "limitResponse": {"type": "Wait"}}}),
        ),
        &[
            "spec.limited.nominalConcurrencyShares: Invalid value: -1: must be a non-negative integer",
            "spec.limited.borrowingLimitPercent: Invalid value: -1: if specified, must be a non-negative integer",
            "spec.limited.limitResponse.type: Unsupported value: \"Wait\": supported values: \"Queue\", \"Reject\"",
        ],
    );
}
