//! Events of both groups.

use serde_json::{Value, json};

use crate::kinds::rules::{Shape, validate_event};
use crate::kinds::testing::object;

fn told(shape: Shape, event: Value, old: Option<Value>) -> Vec<String> {
    super::told(validate_event(&object(event), shape, old.map(object).as_ref()))
}

/// An event of `events.k8s.io`.
fn own(change: fn(&mut Value)) -> Value {
    let mut event = json!({"metadata": {"name": "e", "namespace": "shop"}, "eventTime": "2026-01-01T00:00:00.000000Z",
        "type": "Normal", "reason": "Made", "action": "Make", "reportingController": "a.b/c", "reportingInstance": "c-1",
        "regarding": {"kind": "Pod", "namespace": "shop", "name": "p"}});
    change(&mut event);
    event
}

#[test]
fn a_core_event_stands_in_the_namespace_of_what_it_is_about() {
    let about = |namespace: &str, about: &str| {
        let event = json!({"metadata": {"namespace": namespace}, "involvedObject": {"namespace": about}});
        told(Shape::Core, event, None)
    };
    assert_eq!(about("shop", "shop"), [""; 0]);
    assert_eq!(about("default", ""), [""; 0]);
    assert_eq!(about("shop", "x"), ["involvedObject.namespace: Invalid value: \"x\": does not match event.namespace"]);
    assert_eq!(
        about("kube-system", ""),
        ["involvedObject.namespace: Invalid value: \"\": does not match event.namespace"]
    );
    let timed = json!({"metadata": {"namespace": "shop"}, "eventTime": "2026-01-01T00:00:00Z", "involvedObject": {"namespace": "x"},
        "message": "m".repeat(1025)});
    assert_eq!(
        told(Shape::Core, timed, None),
        [
            "reportingComponent: Required value",
            "reportingInstance: Required value",
            "action: Required value",
            "reason: Required value",
            "message: Invalid value: \"\": can have at most 1024 characters",
        ]
    );
}

#[test]
fn an_event_of_its_own_group_has_no_old_words() {
    assert_eq!(told(Shape::Own, own(|_| {}), None), [""; 0]);
    assert_eq!(
        told(
            Shape::Own,
            own(|event| {
                event["type"] = json!("Odd");
                event["series"] = json!({"count": 1});
                event["deprecatedCount"] = json!(1);
                event["deprecatedSource"] = json!({"component": "x"});
                event["deprecatedFirstTimestamp"] = json!("2026-01-01T00:00:00Z");
            }),
            None
        ),
        [
            "series.count: Invalid value: \"\": should be at least 2",
            "series.lastObservedTime: Required value",
            "type: Invalid value: \"\": has invalid value: Odd",
            "firstTimestamp: Invalid value: \"\": needs to be unset",
            "count: Invalid value: \"\": needs to be unset",
            "source: Invalid value: \"\": needs to be unset",
        ]
    );
    assert_eq!(told(Shape::Own, own(|event| event["eventTime"] = Value::Null), None), ["eventTime: Required value"]);
}

#[test]
fn only_the_series_of_an_event_goes_on() {
    let going_on =
        own(|event| event["series"] = json!({"count": 2, "lastObservedTime": "2026-01-01T00:01:00.000000Z"}));
    assert_eq!(told(Shape::Own, going_on, Some(own(|_| {}))), [""; 0]);
    let rewritten = own(|event| {
        event["note"] = json!("other");
        event["reportingController"] = json!("a.b/d");
    });
    assert_eq!(
        told(Shape::Own, rewritten, Some(own(|_| {}))),
        [
            "message: Invalid value: \"other\": field is immutable",
            "reportingController: Invalid value: \"a.b/d\": field is immutable",
        ]
    );
}
