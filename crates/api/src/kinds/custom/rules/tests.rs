//! Documents against rules.

use serde_json::{Value, json};

use super::*;

/// Returns a schema whose `spec` has these rules and properties.
fn schema(rules: impl Into<Value>, properties: impl Into<Value>) -> Value {
    let (rules, properties) = (rules.into(), properties.into());
    let spec = json!({"type": "object", "x-kubernetes-validations": rules, "properties": properties});
    json!({"type": "object", "properties": {"spec": spec}})
}

#[track_caller]
fn check(schema: &Value, new: impl Into<Value>, old: Option<Value>, expected: &[&str]) {
    let (new, old) = (new.into(), old.unwrap_or_default());
    let old = Some(&old).filter(|old| !old.is_null());
    let rules = Rules::parse(schema, Root::Yes).expect("the schema has rules");
    let shown = |error: &FieldError| format!("{}{error}", if error.is_warning() { "warning: " } else { "" });
    let found: Vec<String> = rules.check(&new, old).iter().map(shown).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_broken_rule_is_told_by_its_message_or_its_text() {
    let numbers = json!({"min": {"type": "integer"}, "max": {"type": "integer"}});
    let rule = |rest: Value| {
        let mut rule = json!({"rule": " self.min <= self.max "});
        rule.as_object_mut().expect("an object").extend(rest.as_object().cloned().expect("an object"));
        schema(json!([rule]), numbers.clone())
    };
    let broken = json!({"spec": {"min": 2, "max": 1}});
    check(&rule(json!({})), json!({"spec": {"min": 1, "max": 2}}), None, &[]);
    let text = "spec: Invalid value: failed rule: self.min <= self.max";
    check(&rule(json!({})), broken.clone(), None, &[text]);
    check(&rule(json!({"message": "too small"})), broken.clone(), None, &["spec: Invalid value: too small"]);
    let made = json!({"message": "m", "messageExpression": "'max is ' + string(self.max)"});
    check(&rule(made), broken.clone(), None, &["spec: Invalid value: max is 1"]);
    for useless in ["'  '", "'a\\nb'", "string(1 / 0)"] {
        let made = json!({"message": "m", "messageExpression": useless});
        check(&rule(made), broken.clone(), None, &["spec: Invalid value: m"]);
    }
    let placed = json!({"fieldPath": ".max", "message": "m"});
    check(&rule(placed), broken.clone(), None, &["spec.max: Invalid value: m"]);
    for (reason, expected) in [
        ("FieldValueForbidden", "spec: Forbidden: m"),
        ("FieldValueRequired", "spec: Required value: m"),
        ("FieldValueDuplicate", "spec: Duplicate value"),
        ("FieldValueInvalid", "spec: Invalid value: m"),
    ] {
        check(&rule(json!({"reason": reason, "message": "m"})), broken.clone(), None, &[expected]);
    }
}

#[test]
fn what_fails_while_it_runs_is_told_with_its_rule() {
    let of = schema(json!([{"rule": "10 / self.n > 1"}]), json!({"n": {"type": "integer"}}));
    let text = r#"spec: Invalid value: "object": division by zero evaluating rule: 10 / self.n > 1"#;
    check(&of, json!({"spec": {"n": 0}}), None, &[text]);
    let text = r#"spec: Invalid value: "object": no such key: n evaluating rule: 10 / self.n > 1"#;
    check(&of, json!({"spec": {}}), None, &[text]);
    let of = schema(json!([{"rule": "self.p < 5"}]), json!({"p": {"x-kubernetes-int-or-string": true}}));
    let text = r#"spec: Invalid value: "object": 'no such overload': call arguments did not match a supported operator, function or macro signature for rule: self.p < 5"#;
    check(&of, json!({"spec": {"p": "80%"}}), None, &[text]);
    check(&of, json!({"spec": {"p": 4}}), None, &[]);
}

#[test]
fn rules_stand_at_every_part_of_a_schema() {
    let rule = json!([{"rule": "self > 0", "message": "m"}]);
    let number = json!({"type": "integer", "x-kubernetes-validations": rule});
    let of = json!({"type": "object", "properties": {
        "list": {"type": "array", "items": number}, "map": {"type": "object", "additionalProperties": number}, "n": number,
    }});
    let document = json!({"list": [1, 0], "map": {"a": 1, "b": -1}, "n": 0});
    let expected = ["list[1]: Invalid value: 0: m", "map[b]: Invalid value: -1: m", "n: Invalid value: 0: m"];
    check(&of, document, None, &expected);
}

#[test]
fn the_root_knows_its_name_and_kind() {
    let of = json!({"type": "object", "x-kubernetes-validations": [{"rule": "self.metadata.name == self.kind.lowerAscii()"}]});
    check(&of, json!({"kind": "Gizmo", "metadata": {"name": "gizmo", "labels": {"a": "b"}}}), None, &[]);
    let text = "<nil>: Invalid value: failed rule: self.metadata.name == self.kind.lowerAscii()";
    check(&of, json!({"kind": "Gizmo", "metadata": {"name": "other"}}), None, &[text]);
    let inner = json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true,
        "x-kubernetes-validations": [{"rule": "self.apiVersion == 'v1' && has(self.metadata.name)", "message": "m"}]});
    let of = json!({"type": "object", "properties": {"inner": inner}});
    check(&of, json!({"inner": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}}), None, &[]);
    check(&of, json!({"inner": {"apiVersion": "v2", "kind": "Pod"}}), None, &["inner: Invalid value: m"]);
}

#[test]
fn values_have_the_types_of_their_formats() {
    let of = schema(
        json!([
            {"rule": "self.when < timestamp('2025-01-01T00:00:00Z')", "message": "when"},
            {"rule": "self.wait >= duration('1m')", "message": "wait"},
            {"rule": "self.ratio == 1.0", "message": "ratio"},
            {"rule": "self.data == b'abc'", "message": "data"},
            {"rule": "self.__namespace__ == 'd' && self.a__dash__b == 'x'", "message": "names"},
        ]),
        json!({"when": {"type": "string", "format": "date-time"}, "wait": {"type": "string", "format": "duration"},
            "ratio": {"type": "number"}, "data": {"type": "string", "format": "byte"}, "namespace": {"type": "string"}, "a-b": {"type": "string"}}),
    );
    let good = json!({"spec": {"when": "2024-01-01T00:00:00Z", "wait": "90s", "ratio": 1, "data": "YWJj", "namespace": "d", "a-b": "x"}});
    check(&of, good, None, &[]);
    let bad = json!({"spec": {"when": "2026-01-01T00:00:00Z", "wait": "9s", "ratio": 2, "data": "", "namespace": "e", "a-b": "x"}});
    let expected = ["when", "wait", "ratio", "data", "names"].map(|text| format!("spec: Invalid value: {text}"));
    check(&of, bad, None, &expected.each_ref().map(String::as_str));
}

#[test]
fn transition_rules_wait_for_an_update() {
    let of =
        schema(json!([{"rule": "self.n == oldSelf.n", "message": "immutable"}]), json!({"n": {"type": "integer"}}));
    let text = "spec: Invalid value: immutable";
    check(&of, json!({"spec": {"n": 1}}), None, &[]);
    check(&of, json!({"spec": {"n": 1}}), Some(json!({})), &[]);
    check(&of, json!({"spec": {"n": 1}}), Some(json!({"spec": {"n": 1}})), &[]);
    check(&of, json!({"spec": {"n": 2}}), Some(json!({"spec": {"n": 1}})), &[text]);
    let rule =
        json!([{"rule": "oldSelf.hasValue() || self.n == 0", "optionalOldSelf": true, "message": "starts at 0"}]);
    let of = schema(rule, json!({"n": {"type": "integer"}}));
    check(&of, json!({"spec": {"n": 1}}), None, &["spec: Invalid value: starts at 0"]);
    check(&of, json!({"spec": {"n": 1}}), Some(json!({"spec": {"n": 0}})), &[]);
}

#[test]
fn items_with_keys_find_their_old_selves() {
    let rule = json!([{"rule": "self.size >= oldSelf.size", "message": "shrinks"}]);
    let item = json!({"type": "object", "x-kubernetes-validations": rule,
        "properties": {"name": {"type": "string"}, "size": {"type": "integer"}}, "required": ["name"]});
    let of = json!({"type": "object", "properties": {"list": {"type": "array", "items": item,
        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}}});
    let old = json!({"list": [{"name": "a", "size": 5}, {"name": "b", "size": 5}]});
    let new = json!({"list": [{"name": "c", "size": 1}, {"name": "b", "size": 4}, {"name": "a", "size": 6}]});
    check(&of, new, Some(old), &["list[1]: Invalid value: shrinks"]);
}

#[test]
fn sets_and_keyed_lists_compare_without_their_order() {
    let of = schema(
        json!([{"rule": "self.set == oldSelf.set", "message": "set"}, {"rule": "self.map == oldSelf.map", "message": "map"},
            {"rule": "(self.set + oldSelf.set).size() == self.set.size()", "message": "union"}]),
        json!({"set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "integer"}}}}}),
    );
    let old = json!({"spec": {"set": ["a", "b"], "map": [{"k": "a", "v": 1}, {"k": "b", "v": 2}]}});
    let same = json!({"spec": {"set": ["b", "a"], "map": [{"k": "b", "v": 2}, {"k": "a", "v": 1}]}});
    check(&of, same, Some(old.clone()), &[]);
    let other = json!({"spec": {"set": ["b", "c"], "map": [{"k": "b", "v": 1}, {"k": "a", "v": 1}]}});
    let expected = ["set", "map", "union"].map(|text| format!("spec: Invalid value: {text}"));
    check(&of, other, Some(old), &expected.each_ref().map(String::as_str));
}

#[test]
fn what_was_wrong_before_may_stay_with_a_warning() {
    let number = json!({"type": "integer", "x-kubernetes-validations": [{"rule": "self > 0", "message": "m"}]});
    let of = json!({"type": "object", "properties": {"a": number, "list": {"type": "array", "items": number}, "b": {"type": "integer"}}});
    let old = json!({"a": 0, "list": [0], "b": 1});
    let warnings = ["warning: a: Invalid value: 0: m", "warning: list[0]: Invalid value: 0: m"];
    check(&of, json!({"a": 0, "list": [0], "b": 2}), Some(old.clone()), &warnings);
    check(&of, json!({"a": -1, "list": [0], "b": 2}), Some(old.clone()), &["a: Invalid value: -1: m", warnings[1]]);
    // An item of a plain list is the same only if the whole list is.
    check(&of, json!({"a": 0, "list": [0, 1], "b": 2}), Some(old), &[warnings[0], "list[0]: Invalid value: 0: m"]);
}

#[test]
fn a_rule_that_explodes_is_stopped_and_ends_the_checks() {
    let list = json!({"type": "array", "items": {"type": "integer"}});
    let deep = "self.l.all(a, self.l.all(b, self.l.all(c, a + b + c >= 0)))";
    let of = schema(json!([{"rule": deep}, {"rule": "false", "message": "never told"}]), json!({"l": list}));
    let numbers: Vec<usize> = (0..200).collect();
    let text = format!(
        "spec: Invalid value: \"object\": 'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit for rule: {deep}"
    );
    check(&of, json!({"spec": {"l": numbers}}), None, &[&text]);
    // Each run stays below its limit, but together they do not.
    let item = json!({"type": "integer", "x-kubernetes-validations": [{"rule": "[0,1,2,3,4,5,6,7,8,9].all(a, [0,1,2,3,4,5,6,7,8,9].all(b, [0,1,2,3,4,5,6,7,8,9].all(c, a + b + c >= 0)))"}]});
    let of = json!({"type": "object", "properties": {"l": {"type": "array", "items": item}}});
    let rules = Rules::parse(&of, Root::Yes).expect("the schema has rules");
    let numbers: Vec<usize> = (0..5000).collect();
    let found = rules.check(&json!({"l": numbers}), None);
    assert_eq!(found.len(), 1);
    assert!(
        found[0]
            .to_string()
            .contains("validation failed due to running out of cost budget, no further validation rules will be run")
    );
}

#[test]
fn rules_wait_until_the_document_fits_its_schema() {
    let blocking = FieldError::type_invalid("spec", "a", "no");
    let text = r#"<nil>: Invalid value: "null": some validation rules were not checked because the object was invalid; correct the existing errors to complete validation"#;
    assert_eq!(blocked(&[blocking]).map(|error| error.to_string()).as_deref(), Some(text));
    assert_eq!(blocked(&[FieldError::invalid("spec", "a", "no")]), None);
}
