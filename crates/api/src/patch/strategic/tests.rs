//! Cases from the Kubernetes documentation ("Update API Objects in Place", strategic-merge-patch.md).

use serde_json::json;

use super::*;
use crate::schema::Schema;

fn patched(original: &Value, patch: &Value) -> Result<Value, Error> {
    let object = Object::from_typed(original).unwrap();
    strategic(&object, patch, Schema::of("io.k8s.api.apps.v1.Deployment")).map(|object| Value::Object(object.0))
}

/// Patches a pod template's spec.
#[track_caller]
fn check(original: &Value, patch: &Value, expected: &Value) {
    let wrap = |spec: &Value| json!({"spec": {"template": {"spec": spec}}});
    let result = patched(&wrap(original), &wrap(patch)).unwrap();
    assert_eq!(result["spec"]["template"]["spec"], *expected);
}

#[test]
fn containers_merge_by_name_and_the_patched_ones_come_first() {
    check(
        &json!({"containers": [{"name": "patch-demo-ctr", "image": "nginx"}]}),
        &json!({"containers": [{"name": "patch-demo-ctr-2", "image": "redis"}]}),
        &json!({"containers": [{"name": "patch-demo-ctr-2", "image": "redis"}, {"name": "patch-demo-ctr", "image": "nginx"}]}),
    );
    check(
        &json!({"containers": [{"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}]}, {"name": "b"}]}),
        &json!({"containers": [{"name": "a", "image": "2", "env": [{"name": "Y", "value": "2"}]}]}),
        &json!({"containers": [{"name": "a", "image": "2", "env": [{"name": "Y", "value": "2"}, {"name": "X", "value": "1"}]},
            {"name": "b"}]}),
    );
}

#[test]
fn lists_without_a_key_are_replaced() {
    check(
        &json!({"tolerations": [{"effect": "NoSchedule", "key": "dedicated", "value": "test-team"}]}),
        &json!({"tolerations": [{"effect": "NoSchedule", "key": "disktype", "value": "ssd"}]}),
        &json!({"tolerations": [{"effect": "NoSchedule", "key": "disktype", "value": "ssd"}]}),
    );
    check(
        &json!({"containers": [{"name": "a", "args": ["x", "y"]}]}),
        &json!({"containers": [{"name": "a", "args": ["z"]}]}),
        &json!({"containers": [{"name": "a", "args": ["z"]}]}),
    );
}

#[test]
fn null_deletes() {
    check(
        &json!({"hostname": "h", "nodeName": "n"}),
        &json!({"hostname": null, "subdomain": null}),
        &json!({"nodeName": "n"}),
    );
    check(
        &json!({"containers": [{"name": "a", "image": "1"}]}),
        &json!({"containers": [{"name": "a", "image": null}]}),
        &json!({"containers": [{"name": "a"}]}),
    );
    check(
        &json!({}),
        &json!({"securityContext": {"runAsUser": null, "fsGroup": 1}}),
        &json!({"securityContext": {"fsGroup": 1}}),
    );
}

#[test]
fn items_and_maps_can_be_deleted_and_replaced() {
    check(
        &json!({"containers": [{"name": "a"}, {"name": "b"}]}),
        &json!({"containers": [{"name": "a", "$patch": "delete"}]}),
        &json!({"containers": [{"name": "b"}]}),
    );
    check(
        &json!({"containers": [{"name": "a"}, {"name": "b"}]}),
        &json!({"containers": [{"name": "c"}, {"$patch": "replace"}]}),
        &json!({"containers": [{"name": "c"}]}),
    );
    check(
        &json!({"securityContext": {"runAsUser": 1, "fsGroup": 2}}),
        &json!({"securityContext": {"$patch": "replace", "runAsUser": 3}}),
        &json!({"securityContext": {"runAsUser": 3}}),
    );
    check(
        &json!({"securityContext": {"runAsUser": 1}}),
        &json!({"securityContext": {"$patch": "delete"}}),
        &json!({"securityContext": {}}),
    );
    check(
        &json!({}),
        &json!({"containers": [{"name": "a", "$patch": "delete"}, {"name": "b"}]}),
        &json!({"containers": [{"name": "b"}]}),
    );
}

#[test]
fn retain_keys_drops_what_it_does_not_name() {
    let original = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "30%"}}}});
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
    assert_eq!(patched(&original, &patch).unwrap(), json!({"spec": {"strategy": {"type": "Recreate"}}}));
    let wrong = json!({"spec": {"strategy": {"$retainKeys": ["type"], "rollingUpdate": {}}}});
    assert!(matches!(patched(&original, &wrong), Err(Error::Malformed(_))));
    check(
        &json!({"volumes": [{"name": "v", "emptyDir": {}}]}),
        &json!({"volumes": [{"name": "v", "$retainKeys": ["name", "secret"], "secret": {"secretName": "s"}}]}),
        &json!({"volumes": [{"name": "v", "secret": {"secretName": "s"}}]}),
    );
}

#[test]
fn plain_values_are_added_and_taken_out() {
    let original = json!({"metadata": {"finalizers": ["a/a", "b/b", "c/c"]}});
    let add = json!({"metadata": {"finalizers": ["d/d", "a/a"]}});
    assert_eq!(patched(&original, &add).unwrap()["metadata"]["finalizers"], json!(["d/d", "a/a", "b/b", "c/c"]));
    let delete = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["b/b"]}});
    assert_eq!(patched(&original, &delete).unwrap()["metadata"]["finalizers"], json!(["a/a", "c/c"]));
    let both = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["b/b"], "$setElementOrder/finalizers": ["c/c", "a/a"]}});
    assert_eq!(patched(&original, &both).unwrap()["metadata"]["finalizers"], json!(["c/c", "a/a"]));
}

#[test]
fn the_order_of_items_can_be_set() {
    check(
        &json!({"containers": [{"name": "a"}, {"name": "server"}, {"name": "b"}]}),
        &json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "new"}, {"name": "a"}], "containers": [{"name": "new", "image": "1"}]}),
        &json!({"containers": [{"name": "server"}, {"name": "b"}, {"name": "new", "image": "1"}, {"name": "a"}]}),
    );
    check(
        &json!({"containers": [{"name": "a"}, {"name": "b"}, {"name": "server"}]}),
        &json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}),
        &json!({"containers": [{"name": "b"}, {"name": "a"}, {"name": "server"}]}),
    );
    let wrong = json!({"spec": {"template": {"spec": {"$setElementOrder/containers": [{"name": "b"}], "containers": [{"name": "a"}]}}}});
    let original = json!({"spec": {"template": {"spec": {}}}});
    assert!(matches!(patched(&original, &wrong), Err(Error::Malformed(_))));
}

#[test]
fn ports_merge_by_number_alone_as_upstream() {
    let of = Schema::of("io.k8s.api.core.v1.Service");
    let object = Object::from_typed(&json!({"spec": {"ports": [{"port": 53, "protocol": "TCP"}]}})).unwrap();
    let patch = json!({"spec": {"ports": [{"port": 53, "protocol": "UDP"}]}});
    let patched = strategic(&object, &patch, of).unwrap();
    assert_eq!(patched.at(&["spec", "ports"]), Some(&json!([{"port": 53, "protocol": "UDP"}])));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let original = json!({"spec": {"template": {"spec": {"containers": [{"name": "a"}]}}}});
    let spec = |spec: Value| json!({"spec": {"template": {"spec": spec}}});
    assert!(matches!(patched(&original, &json!({"$patch": "explode"})), Err(Error::Malformed(_))));
    assert!(matches!(patched(&original, &json!([])), Err(Error::Malformed(_))));
    let no_key = spec(json!({"containers": [{"image": "1"}]}));
    let text = "map: {\"image\":\"1\"} does not contain declared merge key: name";
    assert_eq!(patched(&original, &no_key), Err(Error::NoMergeKey(text.into())));
    let no_key = spec(json!({"containers": [{"$patch": "delete"}]}));
    assert!(matches!(patched(&original, &no_key), Err(Error::NoMergeKey(_))));
}

#[test]
fn selectors_of_disruption_budgets_are_replaced() {
    let of = Schema::of("io.k8s.api.policy.v1.PodDisruptionBudget");
    let object = Object::from_typed(&json!({"spec": {"selector": {"matchLabels": {"a": "1"}}}})).unwrap();
    let patch = json!({"spec": {"selector": {"matchLabels": {"b": "2"}}}});
    let patched = strategic(&object, &patch, of).unwrap();
    assert_eq!(patched.at(&["spec", "selector", "matchLabels"]), Some(&json!({"b": "2"})));
}

#[test]
fn without_a_type_lists_are_replaced_and_maps_merged() {
    let object = Object::from_typed(&json!({"spec": {"list": [{"name": "a"}], "map": {"x": 1}}})).unwrap();
    let patch = json!({"spec": {"list": [{"name": "b"}], "map": {"y": 2}}});
    let patched = strategic(&object, &patch, None).unwrap();
    assert_eq!(Value::Object(patched.0), json!({"spec": {"list": [{"name": "b"}], "map": {"x": 1, "y": 2}}}));
}

#[test]
fn a_merged_list_of_plain_values_has_each_of_them_once() {
    let finalizers = |values: &[&str]| json!({"metadata": {"finalizers": values}});
    let merged = patched(&finalizers(&["a/1", "b/2", "a/1"]), &finalizers(&["c/3", "b/2", "c/3"])).unwrap();
    let mut found: Vec<&str> =
        merged["metadata"]["finalizers"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    found.sort_unstable();
    assert_eq!(found, ["a/1", "b/2", "c/3"]);
}
