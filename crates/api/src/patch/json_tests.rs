//! JSON patches and the sentences that refuse them.

use serde_json::json as value;

use super::*;

fn object() -> Object {
    Object::from_typed(&value!({"metadata": {"labels": {"a": "b"}}, "list": [1, 2], "none": null})).unwrap()
}

/// Compares what a patch leaves.
#[track_caller]
fn check(patch: &Value, expected: &Value) {
    assert_eq!(Value::Object(json(&object(), patch).unwrap().0), *expected);
}

/// Compares the list that a patch leaves.
#[track_caller]
fn check_list(operation: Value, expected: &Value) {
    let patched = json(&object(), &Value::Array(vec![operation])).unwrap();
    assert_eq!(patched.at(&["list"]), Some(expected));
}

/// Compares the sentence that refuses one operation.
#[track_caller]
fn refused(operation: Value, sentence: &str) {
    let result = json(&object(), &Value::Array(vec![operation]));
    assert_eq!(result, Err(Error::Unprocessable(sentence.to_owned())));
}

#[test]
fn operations_apply_in_order() {
    check(
        &value!([
            {"op": "test", "path": "/metadata/labels/a", "value": "b"},
            {"op": "replace", "path": "/metadata/labels/a", "value": "c"},
            {"op": "add", "path": "/metadata/labels/x~1y~0z", "value": "z"},
            {"op": "add", "path": "/list/-", "value": 3},
            {"op": "remove", "path": "/list/0"},
            {"op": "move", "from": "/list", "path": "/numbers"},
            {"op": "copy", "from": "/metadata/labels/a", "path": "/copy"},
            {"op": "remove", "path": "/none"},
        ]),
        &value!({"metadata": {"labels": {"a": "c", "x/y~z": "z"}}, "numbers": [2, 3], "copy": "c"}),
    );
}

#[test]
fn an_index_may_count_from_the_end() {
    check_list(value!({"op": "add", "path": "/list/1", "value": 9}), &value!([1, 9, 2]));
    check_list(value!({"op": "add", "path": "/list/2", "value": 9}), &value!([1, 2, 9]));
    check_list(value!({"op": "add", "path": "/list/-1", "value": 9}), &value!([1, 2, 9]));
    check_list(value!({"op": "replace", "path": "/list/-1", "value": 9}), &value!([1, 9]));
    check_list(value!({"op": "remove", "path": "/list/-2"}), &value!([2]));
    refused(
        value!({"op": "remove", "path": "/list/-3"}),
        "error in remove for path: '/list/-3': Unable to access invalid index: -3: invalid index referenced",
    );
}

#[test]
fn a_replace_sets_what_an_object_lacks() {
    let patch = value!([{"op": "replace", "path": "/metadata/labels/c", "value": "d"}]);
    let expected = value!({"metadata": {"labels": {"a": "b", "c": "d"}}, "list": [1, 2], "none": null});
    check(&patch, &expected);
}

#[test]
fn a_replace_of_the_root_is_a_replace_of_everything() {
    check(&value!([{"op": "replace", "path": "", "value": {"x": 1}}]), &value!({"x": 1}));
    refused(value!({"op": "replace", "path": "", "value": 1}), "replace operation value must be object or array");
    refused(value!({"op": "replace", "path": "", "value": []}), "the patch does not leave a JSON object");
}

#[test]
fn a_failing_test_is_told_apart() {
    for (path, value) in [("/metadata/labels/a", "x"), ("/metadata/labels/z", "b"), ("", "")] {
        let patch = value!([{"op": "test", "path": path, "value": value}]);
        let text = format!("testing value {path} failed: test failed");
        assert_eq!(json(&object(), &patch), Err(Error::TestFailed(text)));
    }
}

#[test]
fn a_test_for_null_holds_where_nothing_is() {
    for operation in [
        value!({"op": "test", "path": "/metadata/finalizers", "value": null}),
        value!({"op": "test", "path": "/metadata/finalizers"}),
        value!({"op": "test", "path": "/none", "value": null}),
    ] {
        check_list(operation, &value!([1, 2]));
    }
    for operation in [
        value!({"op": "test", "path": "/metadata/labels", "value": null}),
        value!({"op": "test", "path": "/metadata/finalizers", "value": []}),
    ] {
        assert!(matches!(json(&object(), &value!([operation])), Err(Error::TestFailed(_))));
    }
}

#[test]
fn a_path_that_leads_nowhere_is_named() {
    for (operation, sentence) in [
        (
            value!({"op": "add", "path": "/no/where", "value": 1}),
            "add operation does not apply: doc is missing path: \"/no/where\": missing value",
        ),
        (
            value!({"op": "add", "path": "", "value": 1}),
            "add operation does not apply: doc is missing path: \"\": missing value",
        ),
        (
            value!({"op": "add", "path": "/list/9", "value": 1}),
            "error in add for path: '/list/9': Unable to access invalid index: 9: invalid index referenced",
        ),
        (
            value!({"op": "add", "path": "/list/x", "value": 1}),
            "error in add for path: '/list/x': value was not a proper array index: 'x': strconv.Atoi: parsing \"x\": \
             invalid syntax",
        ),
        (
            value!({"op": "remove", "path": "/nowhere"}),
            "error in remove for path: '/nowhere': Unable to remove nonexistent key: nowhere: missing value",
        ),
        (
            value!({"op": "remove", "path": "/no/where"}),
            "remove operation does not apply: doc is missing path: \"/no/where\": missing value",
        ),
        (
            value!({"op": "remove", "path": "/list/99999999999999999999"}),
            "error in remove for path: '/list/99999999999999999999': strconv.Atoi: parsing \"99999999999999999999\": \
             value out of range",
        ),
        (
            value!({"op": "replace", "path": "/list/9", "value": 1}),
            "replace operation does not apply: doc is missing key: /list/9: missing value",
        ),
        (
            value!({"op": "replace", "path": "/none/x", "value": 1}),
            "replace operation does not apply: doc is missing path: /none/x: missing value",
        ),
        (
            value!({"op": "move", "from": "/nowhere", "path": "/x"}),
            "error in move for path: 'nowhere': Unable to remove nonexistent key: nowhere: missing value",
        ),
        (
            value!({"op": "copy", "from": "/list", "path": "/no/where"}),
            "copy operation does not apply: doc is missing destination path: /no/where: missing value",
        ),
        (
            value!({"op": "test", "path": "/no/where", "value": 1}),
            "test operation does not apply: is missing path: /no/where: missing value",
        ),
    ] {
        refused(operation, sentence);
    }
}

#[test]
fn an_operation_says_what_it_lacks() {
    refused(value!({"op": "make", "path": "/a"}), "Unexpected kind: make");
    refused(value!({"path": "/a"}), "Unexpected kind: unknown");
    refused(value!({"op": "add"}), "add operation failed to decode path: missing value");
    let missing = "test operation failed to decode path: operation missing path field: missing value";
    refused(value!({"op": "test"}), missing);
    let number = "replace operation failed to decode path: json: cannot unmarshal number into Go value of type string";
    refused(value!({"op": "replace", "path": 1}), number);
    let from = "move operation failed to decode from: operation, missing from field: missing value";
    refused(value!({"op": "move", "path": "/a"}), from);
}

#[test]
fn what_is_no_list_of_operations_is_malformed() {
    for (patch, sentence) in [
        (value!({}), "error decoding patch: json: cannot unmarshal object into Go value of type []interface {}"),
        (value!([1]), "json: cannot unmarshal number into Go value of type jsonpatch.Operation"),
    ] {
        assert_eq!(json(&object(), &patch), Err(Error::Malformed(sentence.to_owned())));
    }
    let many = Value::Array(vec![value!({"op": "test", "path": "/none"}); OPERATIONS_MAX + 1]);
    assert!(matches!(json(&object(), &many), Err(Error::TooLarge(_))));
}

#[test]
fn copies_cannot_blow_up_a_document() {
    let mut patch = vec![value!({"op": "add", "path": "/big", "value": {"x": "x".repeat(1024)}})];
    patch.extend((0..40).map(|n| value!({"op": "copy", "from": "/big", "path": format!("/big/copy{n}")})));
    assert!(matches!(json(&object(), &Value::Array(patch)), Err(Error::TooLarge(_))));
}
