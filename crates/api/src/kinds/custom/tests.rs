//! Custom resources as their definitions make them.

use serde_json::{Value, json};

use super::*;
use crate::kinds::testing::object;

fn definition(schema: impl Into<Value>) -> Object {
    object(json!({
        "metadata": {"name": "gizmos.acme.io"},
        "spec": {
            "group": "acme.io", "scope": "Namespaced",
            "names": {"plural": "gizmos", "singular": "gizmo", "kind": "Gizmo", "listKind": "Gizmos"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema.into()}}],
        },
        "status": {"conditions": [{"type": "Established", "status": "True"}]},
    }))
}

/// Returns the row of a kind whose `spec` has these properties.
fn gizmo(properties: impl Into<Value>) -> Arc<Resource> {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": properties.into()}}});
    versions(&definition(schema)).remove(0).resource
}

/// Checks what a schema for `spec.x` has against a value.
fn check(schema: impl Into<Value>, value: impl Into<Value>, expected: &[&str]) {
    let row = gizmo(json!({ "x": schema.into() }));
    let found = row.manners.validate(&object(json!({"spec": {"x": value.into()}})), None);
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(found, expected);
}

/// Checks what pruning leaves of a `spec`, and which fields it names.
fn check_pruned(properties: impl Into<Value>, spec: impl Into<Value>, left: impl Into<Value>, dropped: &[&str]) {
    let mut document =
        json!({"apiVersion": "acme.io/v1", "kind": "Gizmo", "metadata": {"name": "a"}, "spec": spec.into()});
    let found = gizmo(properties).fit(&mut document).expect("metadata can be read");
    assert_eq!(document["spec"], left.into());
    let names: Vec<String> = found
        .into_iter()
        .map(|problem| match problem {
            Problem::UnknownField(path) => path,
            other => other.to_string(),
        })
        .collect();
    assert_eq!(names, dropped);
}

fn check_filled(properties: impl Into<Value>, spec: impl Into<Value>, expected: impl Into<Value>) {
    let mut document = object(json!({ "spec": spec.into() }));
    gizmo(properties).manners.default(&mut document);
    assert_eq!(document.0["spec"], expected.into());
}

#[test]
fn a_value_of_the_wrong_type_is_named_by_its_type() {
    let text = |wanted: &str, is: &str| {
        format!("spec.x: Invalid value: \"{is}\": spec.x in body must be of type {wanted}: \"{is}\"")
    };
    for (wanted, value, is) in [
        ("integer", json!("a"), "string"),
        ("integer", json!(1.5), "number"),
        ("number", json!(true), "boolean"),
        ("string", json!(1), "integer"),
        ("boolean", json!({}), "object"),
        ("object", json!([]), "array"),
        ("array", json!(null), "null"),
    ] {
        check(json!({ "type": wanted }), value, &[&text(wanted, is)]);
    }
    check(json!({"x-kubernetes-int-or-string": true}), json!(true), &[&text("integer,string", "boolean")]);
}

#[test]
fn what_fits_is_not_mentioned() {
    check(json!({"type": "integer"}), json!(1.0), &[]);
    check(json!({"type": "number"}), json!(1), &[]);
    check(json!({"type": "string", "nullable": true}), json!(null), &[]);
    check(json!({"x-kubernetes-int-or-string": true}), json!("80%"), &[]);
    check(json!({"x-kubernetes-preserve-unknown-fields": true}), json!([{"a": 1}]), &[]);
    check(json!({"type": "string", "enum": ["a"]}), json!("a"), &[]);
}

#[test]
fn numbers_have_bounds() {
    let bound = |text: &str| format!("spec.x: Invalid value: 5: spec.x in body should be {text}");
    check(json!({"type": "integer", "minimum": 6}), json!(5), &[&bound("greater than or equal to 6")]);
    check(json!({"type": "integer", "maximum": 4}), json!(5), &[&bound("less than or equal to 4")]);
    check(json!({"type": "integer", "minimum": 5, "exclusiveMinimum": true}), json!(5), &[&bound("greater than 5")]);
    check(json!({"type": "integer", "maximum": 5, "exclusiveMaximum": true}), json!(5), &[&bound("less than 5")]);
    check(json!({"type": "integer", "multipleOf": 3}), json!(5), &[&bound("a multiple of 3")]);
    check(json!({"type": "number", "multipleOf": 0.1}), json!(0.3), &[]);
    check(json!({"type": "integer", "minimum": 5, "maximum": 5}), json!(5), &[]);
}

#[test]
fn texts_have_lengths_patterns_and_formats() {
    check(
        json!({"type": "string", "minLength": 3}),
        json!("äö"),
        &["spec.x: Invalid value: \"äö\": spec.x in body should be at least 3 chars long"],
    );
    check(json!({"type": "string", "maxLength": 2}), json!("äö"), &[]);
    check(json!({"type": "string", "maxLength": 1}), json!("ab"), &["spec.x: Too long: may not be more than 1 byte"]);
    check(
        json!({"type": "string", "pattern": "^a+$"}),
        json!("b"),
        &["spec.x: Invalid value: \"b\": spec.x in body should match '^a+$'"],
    );
    check(
        json!({"type": "string", "format": "date-time"}),
        json!("today"),
        &["spec.x: Invalid value: \"today\": spec.x in body must be of type date-time: \"today\""],
    );
    check(
        json!({"type": "string", "enum": ["a", "b"]}),
        json!("c"),
        &["spec.x: Unsupported value: \"c\": supported values: \"a\", \"b\""],
    );
}

#[test]
fn lists_have_sizes_and_may_be_sets_and_maps() {
    let list = |more: Value| {
        let mut schema = json!({"type": "array", "items": {"x-kubernetes-preserve-unknown-fields": true}});
        schema.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        schema
    };
    check(
        list(json!({"minItems": 1})),
        json!([]),
        &["spec.x: Invalid value: 0: spec.x in body should have at least 1 items"],
    );
    check(list(json!({"maxItems": 1})), json!([1, 2]), &["spec.x: Too many: 2: must have at most 1 item"]);
    check(
        list(json!({"x-kubernetes-list-type": "set"})),
        json!(["a", "b", "a"]),
        &["spec.x[2]: Duplicate value: \"a\""],
    );
    check(
        list(json!({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]})),
        json!([{"name": "a", "v": 1}, {"name": "b"}, {"name": "a", "v": 2}]),
        &["spec.x[2]: Duplicate value: {\"name\":\"a\"}"],
    );
    check(list(json!({})), json!([1, 1]), &[]);
}

#[test]
fn problems_are_named_by_their_place() {
    let item = json!({"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}});
    check(
        json!({"type": "array", "items": item}),
        json!([{"name": "a"}, {}, {"name": 1}]),
        &[
            "spec.x[1].name: Required value",
            "spec.x[2].name: Invalid value: \"integer\": spec.x[2].name in body must be of type string: \"integer\"",
        ],
    );
    check(
        json!({"type": "object", "additionalProperties": {"type": "integer", "maximum": 1}, "maxProperties": 1}),
        json!({"a": 2, "b": 1}),
        &[
            "spec.x: Too many: 2: must have at most 1 item",
            "spec.x.a: Invalid value: 2: spec.x.a in body should be less than or equal to 1",
        ],
    );
}

#[test]
fn alternatives_are_counted() {
    let either = json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
        "oneOf": [{"required": ["a"]}, {"required": ["b"]}]});
    check(either.clone(), json!({"a": "1"}), &[]);
    check(
        either.clone(),
        json!({}),
        &[
            "<nil>: Invalid value: \"\": \"spec.x\" must validate one and only one schema (oneOf). Found none valid",
            "spec.x.a: Required value",
        ],
    );
    check(
        either,
        json!({"a": "1", "b": "2"}),
        &[
            "<nil>: Invalid value: \"\": \"spec.x\" must validate one and only one schema (oneOf). Found 2 valid alternatives",
        ],
    );
    check(
        json!({"type": "integer", "anyOf": [{"minimum": 9}, {"maximum": 1}]}),
        json!(5),
        &[
            "<nil>: Invalid value: \"\": \"spec.x\" must validate at least one schema (anyOf)",
            "spec.x: Invalid value: 5: spec.x in body should be greater than or equal to 9",
        ],
    );
    check(
        json!({"type": "integer", "not": {"enum": [5]}}),
        json!(5),
        &["<nil>: Invalid value: \"\": \"spec.x\" must not validate the schema (not)"],
    );
}

#[test]
fn an_unchanged_mistake_does_not_stop_an_update() {
    let row = gizmo(json!({"x": {"type": "string", "maxLength": 1}, "y": {"type": "integer"}}));
    let judge = |new: Value, old: Value| {
        let found = row.manners.validate(&object(json!({ "spec": new })), Some(&object(json!({ "spec": old }))));
        found.len()
    };
    assert_eq!(judge(json!({"x": "long", "y": 2}), json!({"x": "long", "y": 1})), 0);
    assert_eq!(judge(json!({"x": "other"}), json!({"x": "long"})), 1, "still wrong, but not the same");
    assert_eq!(judge(json!({"x": "long"}), json!({"x": "a"})), 1);
}

#[test]
fn unknown_fields_go_at_every_depth() {
    check_pruned(
        json!({"a": {"type": "object", "properties": {"b": {"type": "integer"}}}, "l": {"type": "array",
            "items": {"type": "object", "properties": {"n": {"type": "string"}}}}}),
        json!({"a": {"b": 1, "c": 2}, "l": [{"n": "x"}, {"m": "y"}], "z": 0}),
        json!({"a": {"b": 1}, "l": [{"n": "x"}, {}]}),
        &["spec.a.c", "spec.l[1].m", "spec.z"],
    );
}

#[test]
fn preserved_fields_stay_but_what_is_known_is_pruned_inside() {
    check_pruned(
        json!({"free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
            "properties": {"known": {"type": "object", "properties": {"a": {"type": "integer"}}}}}}),
        json!({"free": {"any": {"deep": [1, {"x": 2}]}, "known": {"a": 1, "b": 2}}}),
        json!({"free": {"any": {"deep": [1, {"x": 2}]}, "known": {"a": 1}}}),
        &["spec.free.known.b"],
    );
}

#[test]
fn free_maps_keep_their_keys() {
    check_pruned(
        json!({"m": {"type": "object", "additionalProperties": {"type": "object", "properties": {"a": {"type": "integer"}}}}}),
        json!({"m": {"one": {"a": 1, "b": 2}}}),
        json!({"m": {"one": {"a": 1}}}),
        &["spec.m.one.b"],
    );
}

#[test]
fn embedded_objects_keep_their_identity_and_lose_unknown_metadata() {
    check_pruned(
        json!({"template": {"type": "object", "x-kubernetes-embedded-resource": true,
            "x-kubernetes-preserve-unknown-fields": true}}),
        json!({"template": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "nam": "b"}, "spec": {"a": 1}}}),
        json!({"template": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"a": 1}}}),
        &["spec.template.metadata.nam"],
    );
    check(
        json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}),
        json!({"kind": "Pod"}),
        &["spec.x.apiVersion: Required value: must not be empty"],
    );
}

#[test]
fn metadata_of_the_wrong_type_cannot_be_read() {
    let mut document = json!({"metadata": {"labels": {"a": 1}}});
    assert!(gizmo(json!({})).fit(&mut document).is_err());
}

#[test]
fn defaults_fill_what_is_missing_from_the_outside_in() {
    let properties = json!({
        "a": {"type": "object", "default": {}, "properties": {"b": {"type": "integer", "default": 1}}},
        "l": {"type": "array", "items": {"type": "object", "properties": {"p": {"type": "string", "default": "TCP"}}}},
        "m": {"type": "object", "additionalProperties": {"type": "object", "properties": {"on": {"type": "boolean", "default": true}}}},
    });
    check_filled(properties.clone(), json!({}), json!({"a": {"b": 1}}));
    check_filled(
        properties,
        json!({"a": {"b": 2}, "l": [{}, {"p": "UDP"}], "m": {"x": {}}}),
        json!({"a": {"b": 2}, "l": [{"p": "TCP"}, {"p": "UDP"}], "m": {"x": {"on": true}}}),
    );
}

#[test]
fn null_means_not_said_unless_it_is_a_value() {
    let properties = json!({
        "given": {"type": "string", "default": "d"},
        "gone": {"type": "string"},
        "kept": {"type": "string", "nullable": true, "default": "d"},
    });
    check_filled(properties, json!({"given": null, "gone": null, "kept": null}), json!({"given": "d", "kept": null}));
}

#[test]
fn columns_show_values_of_their_type() {
    let mut definition = definition(json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}));
    let columns = json!([
        {"name": "Text", "type": "string", "jsonPath": ".spec.text"},
        {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
        {"name": "On", "type": "boolean", "jsonPath": ".spec.on", "priority": 1},
        {"name": "Since", "type": "date", "jsonPath": ".spec.since"},
        {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"},
    ]);
    definition.0["spec"]["versions"][0]["additionalPrinterColumns"] = columns;
    let row = versions(&definition).remove(0).resource;
    let shown: Vec<_> =
        row.manners.columns().iter().map(|column| format!("{} {}", column.name, column.priority)).collect();
    assert_eq!(shown, ["Name 0", "Text 0", "Size 0", "On 1", "Since 0", "Ready 0"]);
    let cells = |document: Value| row.manners.cells(&object(document), Timestamp::from_second(600).expect("in range"));
    let full = json!({
        "metadata": {"name": "a"}, "status": {"conditions": [{"type": "Other"}, {"type": "Ready", "status": "True"}]},
        "spec": {"text": "t", "size": 3, "on": false, "since": "1970-01-01T00:05:00Z"},
    });
    assert_eq!(cells(full), [json!("a"), json!("t"), json!(3), json!(false), json!("5m"), json!("True")]);
    let odd = json!({"metadata": {"name": "a"}, "spec": {"text": {"a": 1}, "size": "3", "since": "soon"}});
    let unknown = json!("<unknown>");
    assert_eq!(cells(odd), [json!("a"), json!(r#"{"a":1}"#), json!(null), json!(null), unknown, json!(null)]);
}

#[test]
fn without_columns_the_age_is_shown() {
    let row = gizmo(json!({}));
    let names: Vec<_> = row.manners.columns().into_iter().map(|column| column.name).collect();
    assert_eq!(names, ["Name", "Age"]);
}

#[test]
fn nothing_is_served_before_the_names_are_accepted() {
    let mut early = definition(json!({"type": "object"}));
    early.0.remove("status");
    assert!(versions(&early).is_empty());
}

#[test]
fn a_kind_that_goes_takes_no_new_objects() {
    let mut going = definition(json!({"type": "object"}));
    going.set(&["metadata", "deletionTimestamp"], "1970-01-01T00:00:00Z");
    let row = versions(&going).remove(0).resource;
    assert!(!row.verbs.contains(&"create") && row.verbs.contains(&"patch"));
}

#[test]
fn rows_carry_the_names_of_the_definition() {
    let row = gizmo(json!({}));
    assert_eq!((row.api_version(), row.qualified()), ("acme.io/v1".into(), "gizmos.acme.io".into()));
    assert_eq!((row.list_kind(), row.schema.as_ref()), ("Gizmos".into(), "io.acme.v1.Gizmo"));
    assert!(row.is_custom() && row.type_of().is_some());
}

#[test]
fn stable_versions_come_first_and_newer_before_older() {
    let mut names = ["v1alpha1", "foo", "v2", "v1beta2", "v10", "v1", "v11beta1", "bar", "v1beta1"];
    names.sort_by_key(|name| preference(name));
    assert_eq!(names, ["v10", "v2", "v1", "v11beta1", "v1beta2", "v1beta1", "v1alpha1", "bar", "foo"]);
}
