//! What Kubernetes says about metadata.

use serde_json::json;

use super::*;

#[track_caller]
fn check(metadata: &Value, expected: &[&str]) {
    let object = Object::from_typed(&json!({ "metadata": metadata })).unwrap();
    let errors = validate(&object, Scope::Namespaced, NameRule::Subdomain);
    let texts: Vec<String> = errors.iter().map(|error| format!("{}: {}", error.field, error.message)).collect();
    assert_eq!(texts.len(), expected.len(), "{texts:?}");
    for (text, expected) in texts.iter().zip(expected) {
        assert!(text.starts_with(expected), "{text} starts not with {expected}");
    }
}

#[test]
fn a_plain_object_is_fine() {
    check(
        &json!({"name": "a.b-c", "namespace": "default", "labels": {"app.kubernetes.io/name": "x", "empty": ""},
            "annotations": {"Some.Thing/KEY": "any text!"}, "finalizers": ["example.com/hold", "orphan"]}),
        &[],
    );
}

#[test]
fn every_problem_is_reported_with_its_path() {
    check(
        &json!({"name": "A", "labels": {"-x": "y$"}, "finalizers": ["hold"], "generation": -1,
            "ownerReferences": [{"apiVersion": "v1", "kind": "", "name": "n", "uid": ""}]}),
        &[
            "metadata.name: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist",
            "metadata.namespace: Required value",
            "metadata.generation: Invalid value: -1: must be greater than or equal to 0",
            "metadata.labels: Invalid value: \"-x\": name part must consist",
            "metadata.labels: Invalid value: \"y$\": a valid label must be",
            "metadata.ownerReferences.kind: Invalid value: \"\": must not be empty",
            "metadata.ownerReferences.uid: Invalid value: \"\": must not be empty",
            "metadata.finalizers: Invalid value: \"hold\": name is neither a standard finalizer name",
        ],
    );
}

#[test]
fn names_follow_the_rule_of_their_kind() {
    let bad = |rule: NameRule, name: &str| !rule.check(name, NamePart::Whole).is_empty();
    assert!(!bad(NameRule::Subdomain, "a.b"));
    assert!(bad(NameRule::Subdomain, "a..b"));
    assert!(bad(NameRule::Subdomain, &"a".repeat(254)));
    assert!(bad(NameRule::Label, "a.b"));
    assert!(bad(NameRule::Label, &"a".repeat(64)));
    assert!(!bad(NameRule::Label, "1a"));
    assert!(bad(NameRule::ServiceLabel, "1a"));
    assert!(bad(NameRule::Label, "a-"));
    assert!(!bad(NameRule::PathSegment, "system:node"));
    assert!(bad(NameRule::PathSegment, "a/b"));
    assert!(bad(NameRule::PathSegment, ".."));
}

#[test]
fn sentences_are_those_of_kubernetes() {
    assert_eq!(
        dns1123_label("A"),
        ["a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and \
          end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
          '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"]
    );
    assert_eq!(qualified_name("a/b/c").len(), 1);
    assert_eq!(qualified_name("/x"), ["prefix part must be non-empty"]);
    assert_eq!(qualified_name(&"x".repeat(64)), ["name part must be no more than 63 bytes"]);
}

#[test]
fn a_prefix_may_end_with_a_dash() {
    check(&json!({"name": "web-abcde", "generateName": "web-", "namespace": "d"}), &[]);
    check(&json!({"name": "x", "generateName": "-", "namespace": "d"}), &["metadata.generateName: Invalid value"]);
}

#[test]
fn generated_names_fit_into_a_label() {
    let mut next = 0;
    let mut pick = |limit: usize| {
        next += 7;
        next % limit
    };
    let name = generate_name("web-", &mut pick);
    assert_eq!(name.len(), 9);
    assert!(name[4..].bytes().all(|letter| GENERATED_LETTERS.contains(&letter)), "{name}");
    assert_eq!(generate_name(&"a".repeat(80), &mut pick).len(), LABEL_MAX);
    assert!(generate_name(&"ä".repeat(40), &mut pick).len() <= LABEL_MAX);
}

#[test]
fn annotations_have_a_size() {
    let big = "x".repeat(ANNOTATIONS_BYTES_MAX);
    check(
        &json!({"name": "a", "namespace": "d", "annotations": {"k": big}}),
        &["metadata.annotations: Too long: may not be more than 262144 bytes"],
    );
}

#[test]
fn only_one_owner_is_the_controller() {
    let owner = |name: &str| json!({"apiVersion": "v1", "kind": "K", "name": name, "uid": name, "controller": true});
    check(
        &json!({"name": "a", "namespace": "d", "ownerReferences": [owner("x"), owner("y")]}),
        &["metadata.ownerReferences: Invalid value: Only one reference can have Controller set to true. Found \
           \"true\" in references for K/x and K/y"],
    );
}

#[test]
fn updates_keep_the_identity_and_add_no_finalizer_to_a_dying_object() {
    let meta = |value: Value| Object::from_typed(&json!({ "metadata": value })).unwrap();
    let old =
        meta(json!({"name": "a", "uid": "1", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["x/y"]}));
    let new = meta(
        json!({"name": "a", "uid": "2", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["x/y", "x/z"]}),
    );
    let errors = validate_update(&new, &old);
    assert_eq!(errors[0].message, "Invalid value: \"2\": field is immutable");
    assert!(errors[1].message.ends_with("found new finalizers []string{\"x/z\"}"), "{}", errors[1].message);
    assert_eq!(errors.len(), 2);
    assert!(validate_update(&old, &old).is_empty());
}
