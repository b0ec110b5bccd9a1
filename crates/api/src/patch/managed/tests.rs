//! Tests of the bookkeeping of updates.

use super::*;
use crate::schema::Schema;

const NOON: &str = "2026-01-01T12:00:00Z";
const LATER: &str = "2026-01-01T13:00:00Z";

fn object(value: Value) -> Object {
    serde_json::from_value(value).unwrap()
}

fn writer<'a>(manager: &'a str, subresource: &'a str, now: &str) -> Writer<'a> {
    let now = now.parse().unwrap();
    Writer { manager, api_version: "apps/v1", subresource, now, reset: &[], tracking: Tracking::Fields }
}

fn deployment(replicas: i64) -> Object {
    object(json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "d", "namespace": "n", "uid": "u", "resourceVersion": "1", "creationTimestamp": NOON},
        "spec": {"replicas": replicas, "template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}}}))
}

/// Stores `new` over `live` as a manager and returns what is stored.
fn write(live: Option<&Object>, mut new: Object, writer: &Writer<'_>) -> Object {
    update_managers(live, &mut new, Schema::of("io.k8s.api.apps.v1.Deployment"), writer);
    new
}

/// One line per manager: who, how, when, which fields.
fn shown(object: &Object) -> Vec<String> {
    let managers = Managers::read(object).unwrap();
    let line = |manager: &Manager| {
        let time = manager.time.as_deref().unwrap_or_default();
        let sub = if manager.subresource.is_empty() { String::new() } else { format!("/{}", manager.subresource) };
        format!(
            "{}{sub} {:?} {} {}",
            manager.name,
            manager.operation,
            &time[11.min(time.len())..],
            manager.set().paths().join(" ")
        )
    };
    managers.list.iter().map(line).collect()
}

#[test]
fn a_create_owns_everything_but_what_the_server_sets() {
    let created = write(None, deployment(1), &writer("kubectl-create", "", NOON));
    assert_eq!(
        shown(&created),
        ["kubectl-create Update 12:00:00Z .spec.replicas .spec.template.spec.containers[name=\"c\"] \
          .spec.template.spec.containers[name=\"c\"].image .spec.template.spec.containers[name=\"c\"].name"]
    );
    let entry = &created.at(&["metadata", "managedFields"]).unwrap()[0];
    assert_eq!(entry["apiVersion"], "apps/v1");
    assert_eq!(entry["fieldsType"], "FieldsV1");
    assert_eq!(entry.get("subresource"), None);
}

#[test]
fn a_changed_field_changes_its_owner() {
    let live = write(None, deployment(1), &writer("a", "", NOON));
    let mut new = live.clone();
    new.set(&["spec", "replicas"], 2);
    let stored = write(Some(&live), new, &writer("b", "", LATER));
    let lines = shown(&stored);
    assert!(!lines[0].contains(".spec.replicas"), "{lines:?}");
    assert_eq!(lines[1], "b Update 13:00:00Z .spec.replicas");
}

#[test]
fn an_update_without_change_leaves_the_managers_untouched() {
    let live = write(None, deployment(1), &writer("a", "", NOON));
    let mut new = live.clone();
    new.set_resource_version("7");
    new.remove(&["metadata", "managedFields"]);
    let stored = write(Some(&live), new, &writer("b", "", LATER));
    assert_eq!(shown(&stored), shown(&live));
}

#[test]
fn the_status_has_its_own_entry() {
    let live = write(None, deployment(1), &writer("a", "", NOON));
    let mut new = live.clone();
    new.set(&["status", "replicas"], 1);
    let stored = write(Some(&live), new, &writer("a", "status", LATER));
    assert_eq!(shown(&stored)[1], "a/status Update 13:00:00Z .status.replicas");
}

#[test]
fn a_removed_field_has_no_owner_and_removing_takes_no_time() {
    let live = write(None, deployment(1), &writer("a", "", NOON));
    let mut new = live.clone();
    new.remove(&["spec", "replicas"]);
    let stored = write(Some(&live), new, &writer("a", "", LATER));
    assert!(shown(&stored)[0].starts_with("a Update 12:00:00Z .spec.template"), "{:?}", shown(&stored));
}

#[test]
fn the_oldest_updaters_are_merged() {
    let mut live = write(None, deployment(1), &writer("m0", "", NOON));
    for n in 1..=12_i32 {
        let mut new = live.clone();
        new.set(&["metadata", "annotations", &format!("k{n}")], "v");
        let now = format!("2026-01-01T13:00:{n:02}Z");
        live = write(Some(&live), new, &writer(&format!("m{n}"), "", &now));
    }
    let lines = shown(&live);
    assert_eq!(lines.len(), UPDATE_MANAGERS_MAX);
    assert!(lines[0].starts_with("ancient-changes Update 13:00:03Z"), "{}", lines[0]);
    assert!(lines[0].contains(".metadata.annotations.k3") && lines[0].contains(".spec.replicas"), "{}", lines[0]);
    assert!(lines[9].starts_with("m12 Update 13:00:12Z"), "{}", lines[9]);
}

#[test]
fn an_empty_entry_forgets_everyone_and_nobody_is_tracked_after() {
    let live = write(None, deployment(1), &writer("a", "", NOON));
    let mut new = live.clone();
    new.set(&["metadata", "managedFields"], json!([{}]));
    let forgotten = write(Some(&live), new, &writer("b", "", LATER));
    assert_eq!(forgotten.at(&["metadata", "managedFields"]), None);
    let mut new = forgotten.clone();
    new.set(&["spec", "replicas"], 5);
    let stored = write(Some(&forgotten), new, &writer("b", "", LATER));
    assert_eq!(stored.at(&["metadata", "managedFields"]), None);
}

#[test]
fn an_empty_or_broken_list_keeps_the_live_managers() {
    let live = write(None, deployment(1), &writer("a", "", NOON));
    for given in [json!([]), json!([{"manager": "x"}]), Value::Null] {
        let mut new = live.clone();
        new.set(&["metadata", "managedFields"], given);
        assert_eq!(shown(&write(Some(&live), new, &writer("b", "", LATER))), shown(&live));
    }
}

#[test]
fn clients_may_rewrite_managers_but_not_through_a_subresource() {
    let live = write(None, deployment(1), &writer("a", "", NOON));
    let mut new = live.clone();
    let entry = json!([{"manager": "z", "operation": "Apply", "apiVersion": "apps/v1", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:spec": {"f:template": {"f:spec": {"f:containers": {"k:{ \"name\": \"c\" }": {}}}}}}}]);
    new.set(&["metadata", "managedFields"], entry);
    let stored = write(Some(&live), new.clone(), &writer("b", "", LATER));
    assert_eq!(shown(&stored), ["z Apply  .spec.template.spec.containers[name=\"c\"]"]);
    assert_eq!(shown(&write(Some(&live), new, &writer("b", "status", LATER))), shown(&live));
}

#[test]
fn who_does_not_track_leaves_managers_as_they_are() {
    let live = write(None, deployment(1), &writer("a", "", NOON));
    let mut new = live.clone();
    new.set(&["spec", "replicas"], 5);
    let silent = Writer { tracking: Tracking::Nothing, ..writer("b", "", LATER) };
    assert_eq!(shown(&write(Some(&live), new, &silent)), shown(&live));
    assert_eq!(write(None, deployment(1), &silent).at(&["metadata", "managedFields"]), None);
}

#[test]
fn reset_parts_are_owned_by_nobody() {
    let mut new = deployment(1);
    new.set(&["status", "replicas"], 1);
    let reset: &[&[&str]] = &[&["status"]];
    let created = write(None, new, &Writer { reset, ..writer("a", "", NOON) });
    assert!(!shown(&created)[0].contains("status"));
}

#[test]
fn a_manager_is_named_by_the_request() {
    assert_eq!(Writer::name_of(Some("me"), "kubectl/v1"), "me");
    assert_eq!(Writer::name_of(None, "kubectl/v1.37 (linux)"), "kubectl");
    assert_eq!(Writer::name_of(Some(""), ""), "unknown");
    assert_eq!(Writer::name_of(Some(&"x".repeat(200)), "").len(), NAME_MAX);
}
