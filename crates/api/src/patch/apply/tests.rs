//! Server-side apply as a user sees it.

use serde_json::json;

use super::super::managed::{Tracking, update_managers};
use super::*;
use crate::schema::Schema;

const NOON: &str = "2026-01-01T12:00:00Z";

fn object(value: Value) -> Object {
    serde_json::from_value(value).unwrap()
}

fn of(object: &Object) -> Option<&'static Type> {
    Schema::of(match object.kind() {
        "Deployment" => "io.k8s.api.apps.v1.Deployment",
        "Service" => "io.k8s.api.core.v1.Service",
        "ConfigMap" => "io.k8s.api.core.v1.ConfigMap",
        other => panic!("{other} is not needed here"),
    })
}

fn writer(manager: &str) -> Writer<'_> {
    let now = NOON.parse().unwrap();
    Writer { manager, api_version: "apps/v1", subresource: "", now, reset: &[], tracking: Tracking::Fields }
}

fn applied(live: Option<&Object>, config: &Object, manager: &str, force: Force) -> Result<Object, ApplyError> {
    apply(live, config, of(config), &writer(manager), force)
}

#[track_caller]
fn applies(live: Option<&Object>, config: &Object, manager: &str) -> Object {
    applied(live, config, manager, Force::No).unwrap()
}

fn updates(live: Option<&Object>, mut new: Object, manager: &str) -> Object {
    let of = of(&new);
    update_managers(live, &mut new, of, &writer(manager));
    new
}

/// A config map with some data.
fn config(data: &Value) -> Object {
    object(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "n"}, "data": data}))
}

fn deployment(spec: &Value) -> Object {
    object(
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "n"}, "spec": spec}),
    )
}

fn data(object: &Object) -> Value {
    object.at(&["data"]).cloned().unwrap_or_default()
}

/// Returns who owns what: `manager: path path`.
fn owners(object: &Object) -> Vec<String> {
    let managers = Managers::read(object).unwrap();
    managers.list.iter().map(|manager| format!("{}: {}", manager.name, manager.set().paths().join(" "))).collect()
}

#[test]
fn the_first_apply_creates_and_owns() {
    let created = applies(None, &config(&json!({"a": "1"})), "me");
    assert_eq!(data(&created), json!({"a": "1"}));
    assert_eq!(owners(&created), ["me: .data.a"]);
    let entry = &created.at(&["metadata", "managedFields"]).unwrap()[0];
    assert_eq!((&entry["operation"], &entry["time"]), (&json!("Apply"), &json!(NOON)));
    assert_eq!(entry["fieldsV1"], json!({"f:data": {"f:a": {}}}));
}

#[test]
fn what_is_no_longer_applied_goes() {
    let live = applies(None, &config(&json!({"a": "1", "b": "2"})), "me");
    let next = applies(Some(&live), &config(&json!({"a": "1"})), "me");
    assert_eq!(data(&next), json!({"a": "1"}));
    assert_eq!(owners(&next), ["me: .data.a"]);
    let last = applies(
        Some(&next),
        &object(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "n"}})),
        "me",
    );
    assert_eq!(last.at(&["data"]), None);
    assert_eq!(last.at(&["metadata", "managedFields"]), None);
    assert_eq!(last.name(), "c");
}

#[test]
fn what_others_own_or_nobody_applied_stays() {
    let live = applies(None, &config(&json!({"a": "1", "b": "2"})), "me");
    let live = applies(Some(&live), &config(&json!({"b": "2"})), "you");
    let mut new = live.clone();
    new.set(&["data", "c"], "3");
    let live = updates(Some(&live), new, "controller");
    let next = applies(Some(&live), &config(&json!({})), "me");
    assert_eq!(data(&next), json!({"b": "2", "c": "3"}));
    assert_eq!(owners(&next), ["me: .data", "you: .data.b", "controller: .data.c"]);
}

#[test]
fn a_different_value_for_a_field_of_someone_else_conflicts() {
    let live = applies(None, &config(&json!({"a": "1"})), "me");
    let error = applied(Some(&live), &config(&json!({"a": "2"})), "you", Force::No).unwrap_err();
    assert_eq!(error.to_string(), "Apply failed with 1 conflict: conflict with \"me\": .data.a");
    let ApplyError::Conflicts(conflicts) = error else { panic!("no conflict") };
    let cause = &conflicts.causes()[0];
    assert_eq!((cause.reason.as_str(), cause.field.as_str()), ("FieldManagerConflict", ".data.a"));
    assert_eq!(cause.message, "conflict with \"me\"");
}

#[test]
fn conflicts_name_updaters_with_their_version() {
    let live = updates(None, deployment(&json!({"replicas": 1})), "kubectl-client-side-apply");
    let error = applied(Some(&live), &deployment(&json!({"replicas": 2})), "me", Force::No).unwrap_err();
    let text =
        "Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" using apps/v1: .spec.replicas";
    assert_eq!(error.to_string(), text);
}

#[test]
fn many_conflicts_are_listed_by_manager() {
    let live = applies(None, &config(&json!({"a": "1", "b": "1"})), "x");
    let live = applies(Some(&live), &config(&json!({"c": "1"})), "y");
    let error = applied(Some(&live), &config(&json!({"a": "2", "b": "2", "c": "2"})), "me", Force::No).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Apply failed with 3 conflicts: conflicts with \"x\":\n- .data.a\n- .data.b\nconflicts with \"y\":\n- .data.c"
    );
}

#[test]
fn force_takes_the_field() {
    let live = applies(None, &config(&json!({"a": "1", "b": "1"})), "me");
    let taken = applied(Some(&live), &config(&json!({"a": "2"})), "you", Force::Yes).unwrap();
    assert_eq!(data(&taken), json!({"a": "2", "b": "1"}));
    assert_eq!(owners(&taken), ["me: .data.b", "you: .data.a"]);
}

#[test]
fn the_same_value_is_owned_together() {
    let live = applies(None, &config(&json!({"a": "1"})), "me");
    let live = applies(Some(&live), &config(&json!({"a": "1"})), "you");
    assert_eq!(owners(&live), ["me: .data.a", "you: .data.a"]);
    let next = applies(Some(&live), &config(&json!({})), "me");
    assert_eq!(data(&next), json!({"a": "1"}));
}

#[test]
fn applying_the_same_again_changes_nothing_at_all() {
    let config = config(&json!({"a": "1"}));
    let live = applies(None, &config, "me");
    let later = Writer { now: "2027-01-01T00:00:00Z".parse().unwrap(), ..writer("me") };
    assert_eq!(apply(Some(&live), &config, of(&config), &later, Force::No).unwrap(), live);
}

#[test]
fn an_update_takes_a_field_from_its_applier() {
    let live = applies(None, &config(&json!({"a": "1"})), "me");
    let mut new = live.clone();
    new.set(&["data", "a"], "2");
    let live = updates(Some(&live), new, "editor");
    assert_eq!(owners(&live), ["editor: .data.a"]);
    let error = applied(Some(&live), &config(&json!({"a": "1"})), "me", Force::No).unwrap_err();
    assert!(error.to_string().contains("conflict with \"editor\" using apps/v1: .data.a"), "{error}");
}

#[test]
fn giving_a_field_to_a_controller_keeps_its_value() {
    // "Transferring ownership" in the documentation: the autoscaler updates replicas, the user stops applying it.
    let live = applies(None, &deployment(&json!({"replicas": 3, "paused": true})), "me");
    let live = applies(Some(&live), &deployment(&json!({"replicas": 3})), "autoscaler");
    let next = applies(Some(&live), &deployment(&json!({"paused": true})), "me");
    assert_eq!(next.at(&["spec", "replicas"]), Some(&json!(3)));
    assert_eq!(owners(&next), ["autoscaler: .spec.replicas", "me: .spec.paused"]);
}

fn containers(list: &Value) -> Object {
    deployment(&json!({"template": {"spec": {"containers": list}}}))
}

fn containers_of(object: &Object) -> Value {
    object.at(&["spec", "template", "spec", "containers"]).cloned().unwrap_or_default()
}

#[test]
fn list_items_have_owners_of_their_own() {
    let live = applies(None, &containers(&json!([{"name": "a", "image": "1"}])), "me");
    let live = applies(Some(&live), &containers(&json!([{"name": "side", "image": "s"}])), "injector");
    let next = applies(Some(&live), &containers(&json!([{"name": "b", "image": "2"}])), "me");
    assert_eq!(containers_of(&next), json!([{"name": "side", "image": "s"}, {"name": "b", "image": "2"}]));
}

#[test]
fn an_item_that_others_add_to_stays_with_their_part() {
    let live = applies(None, &containers(&json!([{"name": "a", "image": "1", "tty": true}])), "me");
    let live = applies(Some(&live), &containers(&json!([{"name": "a", "stdin": true}])), "you");
    let next = applies(Some(&live), &containers(&json!([{"name": "x", "image": "2"}])), "me");
    assert_eq!(containers_of(&next), json!([{"name": "a", "stdin": true}, {"name": "x", "image": "2"}]));
}

#[test]
fn ports_are_told_apart_by_protocol_too_with_its_default() {
    let service = |ports: Value| {
        object(
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "n"}, "spec": {"ports": ports}}),
        )
    };
    let live =
        applies(None, &service(json!([{"port": 53, "name": "t"}, {"port": 53, "protocol": "UDP", "name": "u"}])), "me");
    let entry = &live.at(&["metadata", "managedFields"]).unwrap()[0]["fieldsV1"]["f:spec"]["f:ports"];
    assert!(entry.get("k:{\"port\":53,\"protocol\":\"TCP\"}").is_some(), "{entry}");
    let mut defaulted = live.clone();
    defaulted.set(&["spec", "ports"], json!([{"port": 53, "protocol": "TCP", "name": "t", "targetPort": 53}, {"port": 53, "protocol": "UDP", "name": "u"}]));
    let next = applies(Some(&defaulted), &service(json!([{"port": 53, "name": "t"}])), "me");
    let expected = json!([{"port": 53, "protocol": "TCP", "name": "t", "targetPort": 53}]);
    assert_eq!(next.at(&["spec", "ports"]), Some(&expected));
}

#[test]
fn sets_are_merged_value_by_value() {
    let with = |finalizers: Value| {
        object(
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "n", "finalizers": finalizers}}),
        )
    };
    let live = applies(None, &with(json!(["a/a", "b/b"])), "me");
    let live = applies(Some(&live), &with(json!(["c/c"])), "you");
    assert_eq!(live.finalizers(), ["a/a", "b/b", "c/c"]);
    let next = applies(Some(&live), &with(json!(["b/b"])), "me");
    assert_eq!(next.finalizers(), ["b/b", "c/c"]);
}

#[test]
fn atomic_lists_and_maps_belong_to_one() {
    let of = |value: Value| deployment(&json!({"template": {"spec": value}}));
    let live = applies(None, &of(json!({"tolerations": [{"key": "a"}], "nodeSelector": {"a": "1"}})), "me");
    let error = applied(Some(&live), &of(json!({"tolerations": [{"key": "b"}]})), "you", Force::No).unwrap_err();
    assert!(error.to_string().ends_with("conflict with \"me\": .spec.template.spec.tolerations"), "{error}");
    let taken = applied(Some(&live), &of(json!({"nodeSelector": {"b": "2"}})), "you", Force::Yes).unwrap();
    assert_eq!(taken.at(&["spec", "template", "spec", "nodeSelector"]), Some(&json!({"b": "2"})));
}

#[test]
fn what_was_never_tracked_belongs_to_before_first_apply() {
    let mut live = config(&json!({"a": "1", "b": "1"}));
    live.set(&["metadata", "uid"], "u");
    let error = applied(Some(&live), &config(&json!({"a": "2"})), "me", Force::No).unwrap_err();
    assert!(error.to_string().contains("\"before-first-apply\" using apps/v1: .data.a"), "{error}");
    let next = applies(Some(&live), &config(&json!({"a": "1"})), "me");
    assert_eq!(data(&next), json!({"a": "1", "b": "1"}));
    assert_eq!(owners(&next)[1], "before-first-apply: .data .data.a .data.b");
}

#[test]
fn kubectl_may_take_over_its_own_client_side_past() {
    let mut live = deployment(&json!({"replicas": 1}));
    live.set_annotation(
        "kubectl.kubernetes.io/last-applied-configuration",
        live.0.clone().into_iter().collect::<Value>().to_string(),
    );
    let live = updates(None, live, "kubectl-client-side-apply");
    let config = deployment(&json!({"replicas": 2}));
    assert!(applied(Some(&live), &config, "someone", Force::No).is_err());
    let next = applies(Some(&live), &config, "kubectl");
    assert_eq!(next.at(&["spec", "replicas"]), Some(&json!(2)));
    let annotation: Value = serde_json::from_str(next.str_at(&LAST_APPLIED)).unwrap();
    assert_eq!(annotation["spec"]["replicas"], 2);
    let mut scaled = live.clone();
    scaled.set(&["spec", "replicas"], 7);
    let scaled = updates(Some(&live), scaled, "kubectl-scale");
    assert!(applied(Some(&scaled), &config, "kubectl", Force::No).is_err(), "the scale was not client-side apply's");
}

#[test]
fn the_configuration_may_not_name_managers() {
    let mut config = config(&json!({}));
    config.set(&["metadata", "managedFields"], json!([]));
    assert_eq!(applied(None, &config, "me", Force::No), Err(ApplyError::ManagedFields));
    config.set(&["metadata", "managedFields"], Value::Null);
    assert!(applied(None, &config, "me", Force::No).is_ok());
}

#[test]
fn what_does_not_fit_the_type_is_refused() {
    let error = applied(None, &deployment(&json!({"replicaz": 1})), "me", Force::No).unwrap_err();
    assert_eq!(
        error.to_string(),
        "failed to create typed patch object (n/d; apps/v1, Kind=Deployment): .spec.replicaz: field not declared in schema"
    );
}

#[test]
fn null_means_owned_but_not_there() {
    let live = updates(None, deployment(&json!({"replicas": 1})), "me");
    let next =
        applied(Some(&live), &deployment(&json!({"replicas": null, "paused": true})), "you", Force::Yes).unwrap();
    assert_eq!(next.at(&["spec"]), Some(&json!({"paused": true})));
    assert_eq!(owners(&next), ["you: .spec.paused .spec.replicas"]);
}

#[test]
fn the_status_cannot_be_applied_through_the_object() {
    let mut config = deployment(&json!({"replicas": 1}));
    config.set(&["status", "replicas"], 5);
    let reset: &[&[&str]] = &[&["status"]];
    let created = apply(None, &config, of(&config), &Writer { reset, ..writer("me") }, Force::No).unwrap();
    assert_eq!(owners(&created), ["me: .spec.replicas"]);
}

#[test]
fn an_applied_status_is_no_conflict_with_who_owns_the_status() {
    let mut live = applies(None, &deployment(&json!({"replicas": 1})), "me");
    let before = live.clone();
    live.set(&["status", "replicas"], 1);
    let controller = Writer { subresource: "status", ..writer("controller") };
    update_managers(Some(&before), &mut live, of(&before), &controller);
    let mut config = deployment(&json!({"replicas": 1}));
    config.set(&["status", "replicas"], 7);
    let reset: &[&[&str]] = &[&["status"]];
    let next = apply(Some(&live), &config, of(&config), &Writer { reset, ..writer("me") }, Force::No).unwrap();
    assert_eq!(owners(&next), ["me: .spec.replicas", "controller: .status.replicas"]);
}

#[test]
fn a_precondition_survives_an_apply_without_change() {
    let mut config = config(&json!({"a": "1"}));
    let mut live = applies(None, &config, "me");
    live.set_resource_version("7");
    config.set_resource_version("5");
    assert_eq!(applies(Some(&live), &config, "me").resource_version(), "5");
}

#[test]
fn values_of_the_wrong_type_cannot_be_applied() {
    for (spec, problem) in [
        (json!({"replicas": "1"}), ".spec.replicas: expected numeric (int or float), got string"),
        (json!({"template": {"spec": {"overhead": {"cpu": "much"}}}}), "^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"),
        (json!({"paused": 1}), ".spec.paused: expected boolean, got number"),
        (json!({"template": []}), ".spec.template: expected map, got list"),
        (json!({"template": {"spec": {"containers": {}}}}), ".spec.template.spec.containers: expected list, got map"),
    ] {
        let error = applied(None, &deployment(&spec), "me", Force::No).unwrap_err().to_string();
        assert!(error.ends_with(problem), "{error}");
    }
}

#[test]
fn another_spelling_of_an_amount_is_no_change() {
    let with = |cpu: Value| deployment(&json!({"template": {"spec": {"overhead": {"cpu": cpu}}}}));
    let live = applies(None, &with(json!(0.5)), "me");
    assert_eq!(live.at(&["spec", "template", "spec", "overhead", "cpu"]), Some(&json!("500m")));
    assert_eq!(owners(&applies(Some(&live), &with(json!("0.5")), "you")).len(), 2);
    assert_eq!(applies(Some(&live), &with(json!("500m")), "me"), live);
}

#[test]
fn without_a_type_maps_are_granular() {
    let thing =
        |spec: Value| object(json!({"apiVersion": "x/v1", "kind": "Thing", "metadata": {"name": "t"}, "spec": spec}));
    let live = apply(None, &thing(json!({"a": 1, "list": [1]})), None, &writer("me"), Force::No).unwrap();
    let live = apply(Some(&live), &thing(json!({"b": 2})), None, &writer("you"), Force::No).unwrap();
    let next = apply(Some(&live), &thing(json!({"list": [2]})), None, &writer("me"), Force::No).unwrap();
    assert_eq!(next.at(&["spec"]), Some(&json!({"b": 2, "list": [2]})));
}
