//! What deleting means, and what its options say.

use serde_json::json;

use super::*;

fn options(document: Value) -> Result<DeleteOptions, u16> {
    let document: Object = serde_json::from_value(document).expect("an object");
    DeleteOptions::read(&document).map_err(|status| status.code)
}

fn resource(plural: &str) -> std::sync::Arc<Resource> {
    let rows = wkube_api::kinds::builtin();
    rows.iter().find(|row| row.plural == plural).expect("a built-in kind").clone()
}

fn object(kind: &str, metadata: impl Into<Value>) -> Object {
    let spec = json!({"nodeName": "n", "terminationGracePeriodSeconds": 30});
    serde_json::from_value(json!({"apiVersion": "v1", "kind": kind, "metadata": metadata.into(), "spec": spec}))
        .expect("an object")
}

/// Says what a deletion does: `removed`, `going`, or the marks it leaves.
fn check(plural: &str, object: &Object, options: &DeleteOptions, expected: &str) {
    let seen = match plan(object, &resource(plural), options, Timestamp::UNIX_EPOCH) {
        Deletion::Remove => "removed".to_owned(),
        Deletion::Going => "going".to_owned(),
        Deletion::Mark(marked) => format!(
            "{} {} {:?}",
            marked.str_at(&["metadata", "deletionTimestamp"]),
            marked.at(&["metadata", "deletionGracePeriodSeconds"]).cloned().unwrap_or_default(),
            marked.finalizers()
        ),
    };
    assert_eq!(seen, expected);
}

#[test]
fn an_object_without_finalizers_goes_at_once() {
    check("configmaps", &object("ConfigMap", json!({"name": "a"})), &DeleteOptions::default(), "removed");
}

#[test]
fn a_finalizer_keeps_it() {
    let held = object("ConfigMap", json!({"name": "a", "finalizers": ["x/y"]}));
    check("configmaps", &held, &DeleteOptions::default(), r#"1970-01-01T00:00:00Z 0 ["x/y"]"#);
}

#[test]
fn foreground_and_orphan_are_finalizers() {
    let plain = object("ConfigMap", json!({"name": "a"}));
    let foreground = DeleteOptions { propagation: Some(Propagation::Foreground), ..DeleteOptions::default() };
    check("configmaps", &plain, &foreground, r#"1970-01-01T00:00:00Z 0 ["foregroundDeletion"]"#);
    let orphan = DeleteOptions { propagation: Some(Propagation::Orphan), ..DeleteOptions::default() };
    check("configmaps", &plain, &orphan, r#"1970-01-01T00:00:00Z 0 ["orphan"]"#);
    let held = object("ConfigMap", json!({"name": "a", "finalizers": ["orphan"]}));
    let background = DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
    check("configmaps", &held, &background, "removed");
}

#[test]
fn a_running_pod_gets_its_grace_period() {
    let pod = object("Pod", json!({"name": "a"}));
    let five = DeleteOptions { grace: Some(5), ..DeleteOptions::default() };
    check("pods", &pod, &five, "1970-01-01T00:00:05Z 5 []");
    let now = DeleteOptions { grace: Some(0), ..DeleteOptions::default() };
    check("pods", &pod, &now, "removed");
}

#[test]
fn a_pod_that_runs_nowhere_goes_at_once() {
    let mut pod = object("Pod", json!({"name": "a"}));
    pod.remove(&["spec", "nodeName"]);
    check("pods", &pod, &DeleteOptions { grace: Some(5), ..DeleteOptions::default() }, "removed");
}

#[test]
fn grace_only_shrinks() {
    let dying = object(
        "Pod",
        json!({"name": "a", "deletionTimestamp": "1970-01-01T00:00:30Z", "deletionGracePeriodSeconds": 30}),
    );
    let grace = |seconds| DeleteOptions { grace: Some(seconds), ..DeleteOptions::default() };
    check("pods", &dying, &grace(60), "going");
    check("pods", &dying, &grace(30), "going");
    check("pods", &dying, &grace(10), "1970-01-01T00:00:10Z 10 []");
    check("pods", &dying, &grace(0), "removed");
}

#[test]
fn options_know_the_old_and_the_new_word_for_orphans() {
    assert_eq!(options(json!({"orphanDependents": true})).map(|o| o.propagation), Ok(Some(Propagation::Orphan)));
    assert_eq!(options(json!({"orphanDependents": true, "propagationPolicy": "Orphan"})), Err(422));
    assert_eq!(options(json!({"propagationPolicy": "Sideways"})), Err(422));
    assert_eq!(options(json!({"propagationPolicy": ""})), Err(422));
}

#[test]
fn everything_that_is_wrong_with_the_options_is_said() {
    let document = json!({"propagationPolicy": "Sideways", "orphanDependents": true, "dryRun": ["Some"]});
    let document: Object = serde_json::from_value(document).expect("an object");
    let refused = DeleteOptions::read(&document).expect_err("refused").message;
    assert_eq!(
        refused,
        "DeleteOptions.meta.k8s.io \"\" is invalid: [propagationPolicy: Invalid value: \"Sideways\": orphanDependents \
         and deletionPropagation cannot be both set, propagationPolicy: Unsupported value: \"Sideways\": supported \
         values: \"Foreground\", \"Background\", \"Orphan\", \"nil\", dryRun: Unsupported value: [\"Some\"]: supported \
         values: \"All\"]"
    );
}
