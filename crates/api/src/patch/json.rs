//! JSON patch (RFC 6902), with the error classes of `apiserver/pkg/endpoints/handlers/patch.go`.

use json_patch::{Patch, PatchErrorKind, PatchOperation};
use serde_json::Value;

use super::Error;
use crate::object::Object;

/// More operations than any honest client sends (`maxJSONPatchOperations`).
const OPERATIONS_MAX: usize = 10_000;
/// What `copy` operations may add together, in bytes of JSON: the size of a request body. Without it, a few hundred
/// bytes of patch could double a document again and again.
const COPY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Returns the document after the patch.
///
/// # Errors
/// [`Error::Malformed`] if the patch is no list of operations, [`Error::TestFailed`] if a test fails,
/// [`Error::Unprocessable`] if a path leads nowhere, [`Error::TooLarge`] if it is or makes too much.
pub fn json(object: &Object, patch: &Value) -> Result<Object, Error> {
    let operations = parse(patch)?;
    let mut document = Value::Object(object.0.clone());
    let mut copied = 0;
    for (index, operation) in operations.0.iter().enumerate() {
        if let PatchOperation::Copy(copy) = operation {
            let source = document.pointer(copy.from.as_str());
            copied += source.map_or(0, |value| value.to_string().len());
            if copied > COPY_BYTES_MAX {
                let text = format!("operation {index}: copies add more than {COPY_BYTES_MAX} bytes");
                return Err(Error::TooLarge(text));
            }
        }
        if let PatchOperation::Test(test) = operation
            && test.value.is_null()
            && is_absent(&document, test.path.as_str())
        {
            continue;
        }
        json_patch::patch_unsafe(&mut document, std::slice::from_ref(operation))
            .map_err(|error| refusal(operation, &error.kind))?;
    }
    match document {
        Value::Object(map) => Ok(Object(map)),
        _ => Err(Error::Unprocessable("the patch does not leave a JSON object".to_owned())),
    }
}

/// Whether an object has no such field. In Kubernetes a test for `null` then holds, unlike in RFC 6902 (`evanphx/json-patch`,
/// `Patch.test`); kube-rs' finalizers begin with one.
fn is_absent(document: &Value, path: &str) -> bool {
    let Some((parent, _)) = path.rsplit_once('/') else { return false };
    document.pointer(path).is_none() && document.pointer(parent).is_some_and(Value::is_object)
}

fn parse(patch: &Value) -> Result<Patch, Error> {
    let Value::Array(list) = patch else {
        return Err(Error::Malformed(
            "error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch".to_owned(),
        ));
    };
    if list.len() > OPERATIONS_MAX {
        let text = format!("The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}", list.len());
        return Err(Error::TooLarge(text));
    }
    serde_json::from_value(patch.clone()).map_err(|error| Error::Malformed(format!("error decoding patch: {error}")))
}

fn refusal(operation: &PatchOperation, kind: &PatchErrorKind) -> Error {
    let text = sentence(operation, kind);
    if matches!(kind, PatchErrorKind::TestFailed) { Error::TestFailed(text) } else { Error::Unprocessable(text) }
}

/// Says what failed as `evanphx/json-patch` does, because users search for these sentences.
fn sentence(operation: &PatchOperation, kind: &PatchErrorKind) -> String {
    let path = operation.path();
    match (operation, kind) {
        (_, PatchErrorKind::TestFailed) => format!("testing value {path} failed: test failed"),
        (PatchOperation::Test(_), _) => format!("error in test for path: '{path}': missing value"),
        (PatchOperation::Remove(_), _) => {
            format!("remove operation does not apply: doc is missing path: \"{path}\": missing value")
        }
        (PatchOperation::Replace(_), _) => {
            format!("replace operation does not apply: doc is missing path: {path}: missing value")
        }
        (PatchOperation::Add(_), _) => {
            format!("add operation does not apply: doc is missing path: \"{path}\": missing value")
        }
        (PatchOperation::Move(of), _) => {
            format!("move operation does not apply: from {:?} to {path:?}: {kind}", of.from)
        }
        (PatchOperation::Copy(of), _) => {
            format!("copy operation does not apply: from {:?} to {path:?}: {kind}", of.from)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json as value;

    use super::*;

    fn object() -> Object {
        Object::from_typed(&value!({"metadata": {"labels": {"a": "b"}}, "list": [1, 2]})).unwrap()
    }

    #[track_caller]
    fn check(patch: &Value, expected: &Value) {
        assert_eq!(Value::Object(json(&object(), patch).unwrap().0), *expected);
    }

    #[test]
    fn operations_apply_in_order() {
        check(
            &value!([
                {"op": "test", "path": "/metadata/labels/a", "value": "b"},
                {"op": "replace", "path": "/metadata/labels/a", "value": "c"},
                {"op": "add", "path": "/metadata/labels/x~1y", "value": "z"},
                {"op": "add", "path": "/list/-", "value": 3},
                {"op": "remove", "path": "/list/0"},
                {"op": "move", "from": "/list", "path": "/numbers"},
                {"op": "copy", "from": "/metadata/labels/a", "path": "/copy"},
            ]),
            &value!({"metadata": {"labels": {"a": "c", "x/y": "z"}}, "numbers": [2, 3], "copy": "c"}),
        );
    }

    #[test]
    fn a_failing_test_is_unprocessable() {
        let patch = value!([{"op": "test", "path": "/metadata/labels/a", "value": "x"}]);
        let text = "testing value /metadata/labels/a failed: test failed";
        assert_eq!(json(&object(), &patch), Err(Error::TestFailed(text.into())));
    }

    #[test]
    fn a_test_for_null_holds_where_nothing_is() {
        let patch = value!([
            {"op": "test", "path": "/metadata/finalizers", "value": null},
            {"op": "add", "path": "/metadata/finalizers", "value": ["x"]},
        ]);
        check(&patch, &value!({"metadata": {"labels": {"a": "b"}, "finalizers": ["x"]}, "list": [1, 2]}));
        for patch in [
            value!([{"op": "test", "path": "/metadata/labels", "value": null}]),
            value!([{"op": "test", "path": "/no/where", "value": null}]),
            value!([{"op": "test", "path": "/metadata/finalizers", "value": []}]),
        ] {
            let refused = json(&object(), &patch);
            assert!(matches!(refused, Err(Error::Unprocessable(_) | Error::TestFailed(_))), "{patch}");
        }
    }

    #[test]
    fn a_missing_path_is_unprocessable() {
        for patch in [
            value!([{"op": "remove", "path": "/nowhere"}]),
            value!([{"op": "replace", "path": "/nowhere", "value": 1}]),
            value!([{"op": "add", "path": "/no/where", "value": 1}]),
            value!([{"op": "add", "path": "/list/9", "value": 1}]),
            value!([{"op": "copy", "from": "/nowhere", "path": "/x"}]),
            value!([{"op": "replace", "path": "", "value": 1}]),
        ] {
            assert!(matches!(json(&object(), &patch), Err(Error::Unprocessable(_))), "{patch}");
        }
    }

    #[test]
    fn what_is_no_patch_is_malformed() {
        for patch in [value!({}), value!([{"op": "make", "path": "/a"}]), value!([{"op": "add"}]), value!([1])] {
            assert!(matches!(json(&object(), &patch), Err(Error::Malformed(_))), "{patch}");
        }
    }

    #[test]
    fn copies_cannot_blow_up_a_document() {
        let mut patch = vec![value!({"op": "add", "path": "/big", "value": "x".repeat(1024)})];
        patch.extend((0..40).map(|n| value!({"op": "copy", "from": "", "path": format!("/copy{n}")})));
        assert!(matches!(json(&object(), &Value::Array(patch)), Err(Error::TooLarge(_))));
    }
}
