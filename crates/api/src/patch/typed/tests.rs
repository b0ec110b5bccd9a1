//! Tests of the walks along a type.

use serde_json::json;

use super::*;
use crate::schema::Schema;

fn deployment() -> Option<&'static Type> {
    Schema::of("io.k8s.api.apps.v1.Deployment")
}

fn pod_spec() -> Option<&'static Type> {
    Schema::of("io.k8s.api.core.v1.PodSpec")
}

#[test]
fn lists_by_key_sets_and_atoms_are_told_apart() {
    let spec = json!({
        "containers": [{"name": "c", "image": "i", "command": ["a"], "ports": [{"containerPort": 80}], "resources": {}}],
        "nodeSelector": {"a": "b"}, "tolerations": [{"key": "x"}],
    });
    assert_eq!(
        set_of(&spec, pod_spec()).to_json(),
        json!({
            "f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:name": {}, "f:image": {}, "f:command": {},
                "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
                "f:resources": {}}},
            "f:nodeSelector": {}, "f:tolerations": {},
        })
    );
    let meta = json!({"metadata": {"labels": {"a": "b"}, "finalizers": ["x/y"]}, "spec": {"selector": {"matchLabels": {"a": "b"}}}});
    assert_eq!(
        set_of(&meta, deployment()).to_json(),
        json!({"f:metadata": {"f:labels": {"f:a": {}}, "f:finalizers": {"v:\"x/y\"": {}}}, "f:spec": {"f:selector": {}}})
    );
}

#[test]
fn without_a_type_maps_are_granular_and_lists_atomic() {
    let of = set_of(&json!({"spec": {"list": [{"a": 1}], "map": {"x": {}}}}), None);
    assert_eq!(of.to_json(), json!({"f:spec": {".": {}, "f:list": {}, "f:map": {".": {}, "f:x": {}}}}));
}

#[test]
fn a_new_object_is_owned_as_kubernetes_shows_it() {
    let new = json!({"metadata": {"labels": {"app": "x"}}, "spec": {"replicas": 1, "strategy": {"type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 1}}, "template": {"spec": {"containers": [{"name": "c", "env": [{"name": "A"}],
        "resources": {}}], "securityContext": {}}}}, "status": {}});
    let changes = compare(Some(&json!({})), Some(&new), deployment());
    assert!(changes.removed.is_empty());
    assert_eq!(
        changes.taken.to_json(),
        json!({
            "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
            "f:spec": {"f:replicas": {}, "f:strategy": {"f:type": {}, "f:rollingUpdate": {".": {}, "f:maxSurge": {}}},
                "f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:name": {},
                    "f:env": {".": {}, "k:{\"name\":\"A\"}": {".": {}, "f:name": {}}}, "f:resources": {}}},
                    "f:securityContext": {}}}},
        })
    );
}

#[test]
fn only_what_differs_is_in_the_changes() {
    let spec = |image: &str, names: [&str; 2]| json!({"containers": names.map(|name| json!({"name": name, "image": image})), "hostname": "h"});
    assert!(compare(Some(&spec("1", ["a", "b"])), Some(&spec("1", ["a", "b"])), pod_spec()).is_empty());
    assert!(compare(Some(&spec("1", ["a", "b"])), Some(&spec("1", ["b", "a"])), pod_spec()).is_empty());
    let changes = compare(Some(&spec("1", ["a", "b"])), Some(&spec("1", ["a", "c"])), pod_spec());
    assert_eq!(changes.taken.paths()[0], ".containers[name=\"c\"]");
    assert_eq!(changes.removed.paths()[0], ".containers[name=\"b\"]");
    let changes = compare(Some(&spec("1", ["a", "b"])), Some(&spec("2", ["a", "b"])), pod_spec());
    assert_eq!(changes.taken.paths(), [".containers[name=\"a\"].image", ".containers[name=\"b\"].image"]);
    assert!(changes.removed.is_empty());
}

#[track_caller]
fn merges(lower: &[&str], upper: &[&str], expected: &[&str]) {
    let spec =
        |names: &[&str]| json!({"containers": names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>()});
    assert_eq!(merge(&spec(lower), &spec(upper), pod_spec()), spec(expected), "{lower:?} + {upper:?}");
}

#[test]
fn merged_lists_follow_the_applied_order() {
    merges(&["a", "b"], &["b", "a"], &["b", "a"]);
    merges(&["a", "b", "c"], &["b"], &["a", "b", "c"]);
    merges(&["a", "b", "c"], &["c", "a"], &["b", "c", "a"]);
    merges(&["a"], &["x", "a", "y"], &["x", "a", "y"]);
    merges(&["a"], &["x"], &["a", "x"]);
    merges(&[], &["x"], &["x"]);
    merges(&["x"], &[], &["x"]);
}

#[test]
fn merged_items_keep_what_was_not_applied() {
    let live = json!({"containers": [{"name": "a", "image": "1", "ports": [{"containerPort": 80, "protocol": "TCP", "name": "x"}]}],
        "nodeSelector": {"a": "b"}});
    let applied = json!({"containers": [{"name": "a", "ports": [{"containerPort": 80, "hostPort": 8}]}], "nodeSelector": {"c": "d"}});
    assert_eq!(
        merge(&live, &applied, pod_spec()),
        json!({"containers": [{"name": "a", "image": "1",
            "ports": [{"containerPort": 80, "protocol": "TCP", "name": "x", "hostPort": 8}]}],
            "nodeSelector": {"c": "d"}})
    );
}

#[test]
fn removing_the_last_item_removes_the_list() {
    let mut spec = json!({"containers": [{"name": "a", "image": "1"}], "hostname": "h"});
    let set = FieldSet::from_json(&json!({"f:containers": {"k:{\"name\":\"a\"}": {}}})).unwrap();
    remove(&mut spec, &set, pod_spec());
    assert_eq!(spec, json!({"hostname": "h"}));
}

#[test]
fn what_cannot_be_applied_is_told() {
    let spec = json!({"containers": [{"image": "1"}, {"name": "a", "imagez": "1"}, {"name": "a"}]});
    assert_eq!(
        problems(&spec, pod_spec()),
        [
            ".containers: element 0: associative list with keys has an element that omits key field \"name\" (and \
             doesn't have default value)",
            ".containers[name=\"a\"].imagez: field not declared in schema",
            ".containers: duplicate entries for key [name=\"a\"]",
        ]
    );
}
