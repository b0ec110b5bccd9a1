//! Definitions with good and bad rules.

use serde_json::{Value, json};

use super::validate;

/// Returns what is wrong with a rule at the field `x` of a schema, without the path to it.
fn wrong(mut schema: Value, rules: Value) -> Vec<String> {
    schema["x-kubernetes-validations"] = rules;
    let root = json!({"type": "object", "properties": {"x": schema}});
    validate(&root, "S")
        .iter()
        .map(|error| error.to_string().replace("S.properties[x].x-kubernetes-validations", "R"))
        .collect()
}

#[track_caller]
fn check(schema: Value, rule: impl Into<Value>, expected: &[&str]) {
    assert_eq!(wrong(schema, vec![rule.into()].into()), expected);
}

fn object() -> Value {
    json!({"type": "object", "properties": {"a": {"type": "string", "maxLength": 10}, "n": {"type": "integer"},
        "m": {"type": "object", "additionalProperties": {"type": "object", "properties": {"deep": {"type": "string"}}}}}})
}

#[test]
fn good_rules_are_silent() {
    check(
        object(),
        json!({"rule": "self.a == 'x'", "message": "m", "messageExpression": "'m' + self.a", "reason": "FieldValueInvalid", "fieldPath": ".a"}),
        &[],
    );
    check(object(), json!({"rule": "self.a == oldSelf.a", "fieldPath": ".m['key'].deep"}), &[]);
    check(
        object(),
        json!({"rule": "!oldSelf.hasValue() || self.a == oldSelf.value().a", "optionalOldSelf": true}),
        &[],
    );
}

#[test]
fn the_form_of_a_rule_is_checked() {
    check(object(), json!({"rule": " "}), &["R[0].rule: Required value: rule is not specified"]);
    check(
        object(),
        json!({"rule": "true", "message": " "}),
        &["R[0].message: Invalid value: \" \": message must be non-empty if specified"],
    );
    check(
        object(),
        json!({"rule": "true", "message": "a\nb"}),
        &["R[0].message: Invalid value: \"a\\nb\": message must not contain line breaks"],
    );
    check(
        object(),
        json!({"rule": "true\n&& true"}),
        &["R[0].message: Required value: message must be specified if rule contains line breaks"],
    );
    check(
        object(),
        json!({"rule": "true", "messageExpression": " "}),
        &["R[0].messageExpression: Required value: messageExpression must be non-empty if specified"],
    );
    check(
        object(),
        json!({"rule": "true", "reason": "Because"}),
        &[
            "R[0].reason: Unsupported value: \"Because\": supported values: \"FieldValueDuplicate\", \"FieldValueForbidden\", \"FieldValueInvalid\", \"FieldValueRequired\"",
        ],
    );
    for (path, why) in [
        (".none", "does not refer to a valid field"),
        ("a", "expected [ or . but got: a"),
        (".m[key]", "expected single quoted string but got key"),
        (".a.b", "does not refer to a valid field"),
        (".m['key'", "unexpected end of JSON path"),
        (".", "unexpected end of JSON path"),
    ] {
        let text = format!("R[0].fieldPath: Invalid value: \"{path}\": fieldPath must be a valid path: {why}");
        check(object(), json!({"rule": "true", "fieldPath": path}), &[&text]);
    }
}

#[test]
fn rules_that_are_no_expressions_are_shown() {
    let shown = |rule: &str| {
        format!(
            "apiextensions.ValidationRule{{Rule:{rule:?}, Message:\"\", MessageExpression:\"\", Reason:(*apiextensions.FieldValueErrorReason)(nil), FieldPath:\"\", OptionalOldSelf:(*bool)(nil)}}"
        )
    };
    let text = format!(
        "R[0].rule: Invalid value: {}: compilation failed: ERROR: <input>:1:5: undefined field 'b'\n | self.b\n | ....^",
        shown("self.b")
    );
    check(object(), json!({"rule": "self.b"}), &[&text]);
    let text = format!("R[0].rule: Invalid value: {}: cel expression must evaluate to a bool", shown("self.a"));
    check(object(), json!({"rule": "self.a"}), &[&text]);
    for (rule, expected) in [
        ("self.a == 1", "found no matching overload for '_==_' applied to '(string, int)'"),
        ("self.a ==", "Syntax error"),
        ("object.a == 'a'", "undeclared reference to 'object' (in container '')"),
        ("self.a.matches('(')", "error parsing regexp"),
    ] {
        let found = wrong(object(), json!([{ "rule": rule }]));
        assert!(found.len() == 1 && found[0].contains(expected), "{found:?}");
    }
    let found = wrong(object(), json!([{"rule": "true", "messageExpression": "self.n"}]));
    assert!(
        found[0].starts_with("R[0].messageExpression: ")
            && found[0].ends_with("messageExpression must evaluate to a string"),
        "{found:?}"
    );
}

#[test]
fn rules_that_may_become_too_dear_are_refused() {
    let advice = "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)";
    let list = |bound: Value| {
        let mut list = json!({"type": "array", "items": {"type": "string", "maxLength": 10}});
        list.as_object_mut().expect("an object").extend(bound.as_object().cloned().expect("an object"));
        list
    };
    let quadratic = json!([{"rule": "self.all(a, self.exists_one(b, a == b))"}]);
    assert_eq!(wrong(list(json!({"maxItems": 100})), quadratic.clone()), [""; 0]);
    let found = wrong(list(json!({})), quadratic);
    assert_eq!(
        found[0],
        format!("R[0].rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x {advice}")
    );
    assert_eq!(
        found[1..],
        [
            "R[0].rule: Forbidden: contributed to estimated rule & messageExpression cost total exceeding cost limit for entire OpenAPIv3 schema".to_owned(),
            format!("S: Forbidden: x-kubernetes-validations estimated rule & messageExpression cost total for entire OpenAPIv3 schema exceeds budget by factor of more than 100x {advice}"),
        ]
    );
    // One rule is cheap, but not as often as the list is long.
    let item =
        json!({"type": "string", "maxLength": 500, "x-kubernetes-validations": [{"rule": "self.contains('keyword')"}]});
    let root = json!({"type": "object", "properties": {"list": {"type": "array", "maxItems": 100_000, "items": item}}});
    let found: Vec<String> = validate(&root, "S").iter().map(ToString::to_string).collect();
    let path = "S.properties[list].items.x-kubernetes-validations[0].rule";
    // 2 for naming, and 200 for every place at which a text of 2,000 bytes could hold one of 7: 201 * 100,000.
    assert_eq!(found, [format!("{path}: Forbidden: estimated rule cost exceeds budget by factor of 2.0x {advice}")]);
}

#[test]
fn many_rules_together_may_be_too_dear() {
    let of = json!({"type": "string", "maxLength": 10_000, "x-kubernetes-validations": [
        {"rule": "self.contains('keyword of some length, which is searched for')"}, {"rule": "self.matches('[a-z]+[0-9]+[a-z]+[0-9]+[a-z]+[0-9]+')"}]});
    let lists = |count: usize| {
        let one = json!({"type": "array", "maxItems": 180, "items": of});
        let fields: serde_json::Map<String, Value> =
            (0..count).map(|place| (format!("f{place:02}"), one.clone())).collect();
        validate(&json!({"type": "object", "properties": fields}), "S")
    };
    assert_eq!(lists(4), []);
    let found: Vec<String> = lists(20).iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), 5, "{found:?}");
    assert!(found[4].starts_with("S: Forbidden: x-kubernetes-validations estimated rule"), "{found:?}");
}

#[test]
fn an_item_without_a_key_has_no_old_self() {
    let item = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "x-kubernetes-validations": [{"rule": "self.n == oldSelf.n"}]});
    let list = |kind: &str| {
        let of = json!({"type": "array", "maxItems": 10, "items": item, "x-kubernetes-list-type": kind});
        let root = json!({"type": "object", "properties": {"list": of}});
        validate(&root, "S").iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let path = "S.properties[list].items.x-kubernetes-validations[0].rule";
    let text = format!(
        "{path}: Invalid value: \"self.n == oldSelf.n\": oldSelf cannot be used on the uncorrelatable portion of the schema within S.properties[list]"
    );
    assert_eq!(list("atomic"), [text.as_str()]);
    assert_eq!(list("set"), [text.as_str()]);
    assert_eq!(list("map"), [""; 0]);
}
