//! `ConversionReview`: what is asked, and whether the answer is the same objects (`apiextensions-apiserver/pkg/apiserver/
//! conversion/webhook_converter.go`). Pure.

use serde_json::{Map, Value, json};
use wkube_api::Object;

const GROUP: &str = "apiextensions.k8s.io";

/// Returns the review to send, in one of the versions that the webhook reads.
///
/// # Errors
/// If it reads none that we write.
pub(super) fn request(reads: &[String], uid: &str, desired: &str, objects: &[Object]) -> Result<Value, String> {
    let version = reads.iter().find(|version| matches!(version.as_str(), "v1" | "v1beta1"));
    let version = version.ok_or_else(|| {
        let reads = reads.join(" ");
        format!("no supported conversion review versions: [{reads}]")
    })?;
    Ok(json!({
        "kind": "ConversionReview", "apiVersion": format!("{GROUP}/{version}"),
        "request": {
            "uid": uid, "desiredAPIVersion": desired,
            "objects": objects.iter().map(|object| &object.0).collect::<Vec<_>>(),
        },
    }))
}

/// Reads the converted documents out of an answer to `sent`.
///
/// # Errors
/// What is wrong with it, or what the webhook says went wrong.
pub(super) fn documents(answer: &[u8], sent: &Value) -> Result<Vec<Value>, String> {
    let unparsed = |error| format!("couldn't get version/kind; json parse error: {error}");
    let review: Map<String, Value> = serde_json::from_slice(answer).map_err(unparsed)?;
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let (expected, uid) = (text(sent.get("apiVersion")), text(sent["request"].get("uid")));
    let (version, kind) = (text(review.get("apiVersion")), text(review.get("kind")));
    if version != expected || kind != "ConversionReview" {
        return Err(format!(
            "expected webhook response of {expected}, Kind=ConversionReview, got {version}, Kind={kind}"
        ));
    }
    let response = review.get("response").filter(|response| response.is_object()).ok_or("no response provided")?;
    let answered = text(response.get("uid"));
    if answered != uid {
        return Err(format!("expected response.uid={uid:?}, got {answered:?}"));
    }
    let (status, message) = (text(response["result"].get("status")), text(response["result"].get("message")));
    if status != "Success" {
        let wordless = || format!("response.result.status was {status:?}, expected \"Success\"");
        return Err(if message.is_empty() { wordless() } else { message });
    }
    Ok(response["convertedObjects"].as_array().cloned().unwrap_or_default())
}

/// Which part of a converted object is wrong.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It is another object, or in another version.
    Object(String),
    /// Its metadata are none.
    Metadata(String),
}

/// Returns the converted object with the metadata that it had before, but for labels and annotations, which a
/// conversion may use to keep what the other version cannot say.
pub(super) fn accept(original: &Object, converted: Value, desired: &str) -> Result<Object, Wrong> {
    let Value::Object(converted) = converted else { return Err(Wrong::Object("it is no object".to_owned())) };
    let mut converted = Object(converted);
    for (what, expected, found) in
        [("groupVersion", desired, converted.api_version()), ("kind", original.kind(), converted.kind())]
    {
        if expected != found {
            return Err(Wrong::Object(format!("invalid {what} (expected {expected}, received {found})")));
        }
    }
    for (what, before, after) in [
        ("name", original.name(), converted.name()),
        ("namespace", original.namespace(), converted.namespace()),
        ("UID", original.uid(), converted.uid()),
    ] {
        if before != after {
            return Err(Wrong::Object(format!("must have the same {what}: {before} != {after}")));
        }
    }
    let answered = match converted.0.remove("metadata") {
        None => return Err(Wrong::Metadata("missing metadata".to_owned())),
        Some(Value::Object(metadata)) => metadata,
        Some(other) => return Err(Wrong::Metadata(format!("invalid metadata of type {}", type_of(&other)))),
    };
    let mut metadata = original.at(&["metadata"]).and_then(Value::as_object).cloned().unwrap_or_default();
    for field in ["labels", "annotations"] {
        match answered.get(field) {
            None | Some(Value::Null) => drop(metadata.remove(field)),
            Some(Value::Object(map)) if map.values().all(Value::is_string) => {
                metadata.insert(field.to_owned(), Value::Object(map.clone()));
            }
            Some(other) => {
                return Err(Wrong::Metadata(format!("invalid metadata.{field} of type {} in object", type_of(other))));
            }
        }
    }
    converted.0.insert("metadata".to_owned(), Value::Object(metadata));
    Ok(converted)
}

/// Names a type as Go's `%T` does for decoded JSON.
fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Object {
        serde_json::from_value(value).expect("an object")
    }

    fn sent() -> Value {
        request(&["v1".to_owned()], "u", "a.b/v2", &[]).expect("a review")
    }

    fn check_answer(changes: &Value, expected: Result<usize, &str>) {
        let mut answer = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
            "response": {"uid": "u", "result": {"status": "Success"}, "convertedObjects": [{}, {}]},
        });
        answer.as_object_mut().expect("an object").extend(changes.as_object().cloned().expect("an object"));
        let found = documents(answer.to_string().as_bytes(), &sent()).map(|documents| documents.len());
        assert_eq!(found.as_ref().map_err(String::as_str), expected.as_ref().map_err(|text| *text));
    }

    #[test]
    fn a_webhook_is_asked_in_a_version_that_it_reads() {
        let version = |reads: &[&str]| {
            let reads: Vec<String> = reads.iter().map(|one| (*one).to_owned()).collect();
            request(&reads, "u", "a.b/v2", &[])
                .map(|review| review["apiVersion"].as_str().unwrap_or_default().to_owned())
        };
        assert_eq!(version(&["v9", "v1beta1", "v1"]).as_deref(), Ok("apiextensions.k8s.io/v1beta1"));
        assert_eq!(version(&["v9"]), Err("no supported conversion review versions: [v9]".to_owned()));
    }

    #[test]
    fn an_answer_is_to_this_question_and_successful() {
        check_answer(&json!({}), Ok(2));
        check_answer(&json!({"response": null}), Err("no response provided"));
        check_answer(&json!({"response": {"uid": "x"}}), Err("expected response.uid=\"u\", got \"x\""));
        let failed = json!({"response": {"uid": "u", "result": {"status": "Failure", "message": "cannot"}}});
        check_answer(&failed, Err("cannot"));
        let wordless = "response.result.status was \"\", expected \"Success\"";
        check_answer(&json!({"response": {"uid": "u"}}), Err(wordless));
        let other = "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got v1, Kind=Pod";
        check_answer(&json!({"apiVersion": "v1", "kind": "Pod"}), Err(other));
    }

    fn check(changes: &Value, expected: &Result<Value, Wrong>) {
        let original = object(json!({
            "apiVersion": "a.b/v1", "kind": "G",
            "metadata": {"name": "n", "namespace": "d", "uid": "1", "labels": {"a": "b"}, "finalizers": ["x/y"]},
        }));
        let mut converted = json!({
            "apiVersion": "a.b/v2", "kind": "G", "metadata": {"name": "n", "namespace": "d", "uid": "1"}, "spec": {"x": 1},
        });
        converted.as_object_mut().expect("an object").extend(changes.as_object().cloned().expect("an object"));
        let found = accept(&original, converted, "a.b/v2").map(|object| object.0["metadata"].clone());
        assert_eq!(&found, expected, "{changes}");
    }

    #[test]
    fn a_conversion_changes_labels_and_annotations_but_no_other_metadata() {
        let kept = json!({"name": "n", "namespace": "d", "uid": "1", "finalizers": ["x/y"]});
        check(&json!({}), &Ok(kept));
        let with = json!({"name": "n", "namespace": "d", "uid": "1", "annotations": {"old": "2"}, "finalizers": []});
        let expected =
            json!({"name": "n", "namespace": "d", "uid": "1", "annotations": {"old": "2"}, "finalizers": ["x/y"]});
        check(&json!({"metadata": with}), &Ok(expected));
    }

    #[test]
    fn a_conversion_returns_the_same_object() {
        let wrong = |text: &str| Err(Wrong::Object(text.to_owned()));
        check(&json!({"apiVersion": "a.b/v1"}), &wrong("invalid groupVersion (expected a.b/v2, received a.b/v1)"));
        check(&json!({"kind": "H"}), &wrong("invalid kind (expected G, received H)"));
        let renamed = json!({"name": "m", "namespace": "d", "uid": "1"});
        check(&json!({"metadata": renamed}), &wrong("must have the same name: n != m"));
        let reborn = json!({"name": "n", "namespace": "d", "uid": "2"});
        check(&json!({"metadata": reborn}), &wrong("must have the same UID: 1 != 2"));
    }

    #[test]
    fn metadata_of_a_wrong_type_are_told() {
        let labels = json!({"name": "n", "namespace": "d", "uid": "1", "labels": ["a"]});
        let why = "invalid metadata.labels of type []interface {} in object";
        check(&json!({"metadata": labels}), &Err(Wrong::Metadata(why.to_owned())));
    }
}
