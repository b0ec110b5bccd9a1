//! The rules of pods: what they get, what may change, and what kubectl says about them.

#![expect(clippy::needless_pass_by_value, reason = "literals read better without a reference")]

use super::update::FIXED;
use super::*;
use crate::kinds::testing::{check_errors, object};

fn pod(change: impl FnOnce(&mut Object)) -> Object {
    let mut object = object(json!({
        "metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"containers": [{"name": "c", "image": "i:1"}]},
    }));
    change(&mut object);
    Pod.default(&mut object);
    object
}

/// Returns READY, STATUS and RESTARTS.
fn row(spec: Value, status: Value) -> Vec<Value> {
    let object = object(json!({"metadata": {"name": "p"}, "spec": spec, "status": status}));
    Pod.cells(&object, "2026-01-01T01:00:00Z".parse().unwrap())[1..4].to_vec()
}

fn one_container() -> Value {
    json!({"containers": [{"name": "c"}]})
}

#[test]
fn a_new_pod_is_pending_whatever_its_author_says() {
    let mut pod = pod(|pod| pod.set(&["status"], json!({"phase": "Running", "podIP": "1.2.3.4"})));
    Pod.prepare_create(&mut pod);
    assert_eq!(pod.at(&["status"]), Some(&json!({"phase": "Pending", "qosClass": "BestEffort"})));
}

#[test]
fn a_gated_pod_says_why_it_is_not_scheduled() {
    let mut pod = pod(|pod| pod.set(&["spec", "schedulingGates"], json!([{"name": "g"}])));
    Pod.prepare_create(&mut pod);
    assert_eq!(pod.at(&["status", "conditions"]).unwrap()[0]["reason"], "SchedulingGated");
    assert_eq!(Pod.cells(&pod, Timestamp::UNIX_EPOCH)[2], "SchedulingGated");
}

#[test]
fn limits_are_requests_unless_requests_are_given() {
    let pod = pod(|pod| {
        pod.set(&["spec", "containers"], json!([{"name": "c", "image": "i", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}}]));
    });
    let resources = &pod.at(&["spec", "containers"]).unwrap()[0]["resources"];
    assert_eq!(resources["requests"], json!({"cpu": "500m", "memory": "1Gi"}));
}

#[test]
fn on_the_hosts_network_the_host_port_is_the_container_port() {
    let pod = pod(|pod| {
        pod.set(&["spec", "hostNetwork"], true);
        pod.set(&["spec", "containers"], json!([{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}]));
    });
    assert_eq!(pod.at(&["spec", "containers"]).unwrap()[0]["ports"][0]["hostPort"], 80);
    check_errors(&Pod, &pod, None, &[]);
}

#[test]
fn quality_of_service_follows_from_requests_and_limits() {
    let qos = |resources: &[Value]| {
        let containers: Vec<Value> = resources.iter().map(|resources| json!({"resources": resources})).collect();
        qos_class(Some(&json!({"containers": containers})))
    };
    let exact = json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1024Mi"}});
    assert_eq!(qos(&[json!({})]), "BestEffort");
    assert_eq!(qos(&[json!({"requests": {"example.com/gpu": "1"}})]), "BestEffort");
    assert_eq!(qos(&[json!({"requests": {"cpu": "0"}})]), "BestEffort");
    assert_eq!(qos(std::slice::from_ref(&exact)), "Guaranteed");
    assert_eq!(qos(&[exact.clone(), json!({})]), "Burstable");
    assert_eq!(qos(&[json!({"limits": {"cpu": "1"}, "requests": {"cpu": "1"}})]), "Burstable");
    assert_eq!(
        qos(&[json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"}})]),
        "Burstable"
    );
}

#[test]
fn an_update_may_change_images_and_add_tolerations() {
    let old = pod(|_| {});
    let mut new = old.clone();
    new.set(&["spec", "containers"], old.at(&["spec", "containers"]).unwrap().clone());
    new.0["spec"]["containers"][0]["image"] = json!("i:2");
    new.set(&["spec", "tolerations"], json!([{"key": "a", "operator": "Exists"}]));
    new.set(&["spec", "activeDeadlineSeconds"], 60);
    check_errors(&Pod, &new, Some(&old), &[]);
}

#[test]
fn an_update_may_not_change_anything_else() {
    let old = pod(|_| {});
    let mut new = old.clone();
    new.set(&["spec", "nodeName"], "n");
    let expected = format!("spec: Forbidden: {FIXED}");
    check_errors(&Pod, &new, Some(&old), &[&expected]);
}

#[test]
fn tolerations_cannot_be_taken_away_and_deadlines_only_shrink() {
    let old = pod(|pod| {
        pod.set(&["spec", "tolerations"], json!([{"key": "a", "operator": "Exists"}]));
        pod.set(&["spec", "activeDeadlineSeconds"], 60);
    });
    let mut new = old.clone();
    new.remove(&["spec", "tolerations"]);
    new.set(&["spec", "activeDeadlineSeconds"], 61);
    check_errors(
        &Pod,
        &new,
        Some(&old),
        &[
            "spec.activeDeadlineSeconds: Invalid value: 61: must be less than or equal to previous value",
            "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds",
        ],
    );
}

#[test]
fn a_pod_that_no_node_runs_is_deleted_at_once() {
    let running = |phase: &str, grace: Value| {
        object(json!({"spec": {"nodeName": "n", "terminationGracePeriodSeconds": grace}, "status": {"phase": phase}}))
    };
    assert_eq!(Pod.grace_seconds(&pod(|_| {})), Some(0));
    assert_eq!(Pod.grace_seconds(&running("Running", json!(5))), Some(5));
    assert_eq!(Pod.grace_seconds(&running("Running", Value::Null)), Some(30));
    assert_eq!(Pod.grace_seconds(&running("Running", json!(-1))), Some(1));
    assert_eq!(Pod.grace_seconds(&running("Succeeded", json!(5))), Some(0));
}

#[test]
fn pods_are_selected_by_node_phase_and_address() {
    let pod =
        object(json!({"spec": {"nodeName": "n"}, "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}]}}));
    assert_eq!(Pod.field(&pod, "spec.nodeName").as_deref(), Some("n"));
    assert_eq!(Pod.field(&pod, "status.phase").as_deref(), Some("Running"));
    assert_eq!(Pod.field(&pod, "status.podIPs").as_deref(), Some("10.0.0.1"));
    assert_eq!(Pod.field(&pod, "spec.hostNetwork").as_deref(), Some("false"));
    assert_eq!(Pod.field(&pod, "spec.containers"), None);
}

#[test]
fn a_running_pod_counts_its_ready_containers() {
    let status = json!({"phase": "Running", "containerStatuses": [
        {"name": "a", "ready": true, "state": {"running": {}}}, {"name": "b", "ready": false, "state": {"running": {}}}]});
    assert_eq!(row(json!({"containers": [{"name": "a"}, {"name": "b"}]}), status), ["1/2", "Running", "0"]);
}

#[test]
fn a_crash_loop_shows_the_restarts_and_when_the_last_one_was() {
    let status = json!({"phase": "Running", "containerStatuses": [{"name": "c", "restartCount": 4,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"finishedAt": "2026-01-01T00:55:00Z"}}}]});
    assert_eq!(row(one_container(), status), ["0/1", "CrashLoopBackOff", "4 (5m ago)"]);
}

#[test]
fn an_ended_container_shows_its_reason_signal_or_exit_code() {
    let ended = |terminated: Value| {
        row(
            one_container(),
            json!({"phase": "Failed", "containerStatuses": [{"name": "c", "state": {"terminated": terminated}}]}),
        )[1]
        .clone()
    };
    assert_eq!(ended(json!({"exitCode": 0, "reason": "Completed"})), "Completed");
    assert_eq!(ended(json!({"exitCode": 3})), "ExitCode:3");
    assert_eq!(ended(json!({"exitCode": 137, "signal": 9})), "Signal:9");
}

#[test]
fn a_completed_container_beside_a_running_one_is_a_running_pod() {
    let status = |ready: &str| {
        json!({"phase": "Running", "conditions": [{"type": "Ready", "status": ready}], "containerStatuses": [
            {"name": "a", "state": {"terminated": {"reason": "Completed"}}}, {"name": "b", "ready": true, "state": {"running": {}}}]})
    };
    let spec = json!({"containers": [{"name": "a"}, {"name": "b"}]});
    assert_eq!(row(spec.clone(), status("True"))[1], "Running");
    assert_eq!(row(spec, status("False"))[1], "NotReady");
}

#[test]
fn initialization_shows_how_far_it_is_or_what_it_waits_for() {
    let spec = json!({"initContainers": [{"name": "a"}, {"name": "b"}], "containers": [{"name": "c"}]});
    let show = |second: Value| {
        let first = json!({"name": "a", "restartCount": 1, "state": {"terminated": {"exitCode": 0}}});
        row(spec.clone(), json!({"phase": "Pending", "initContainerStatuses": [first, second]}))
    };
    assert_eq!(show(json!({"name": "b", "state": {"running": {}}})), ["0/1", "Init:1/2", "1"]);
    assert_eq!(show(json!({"name": "b", "state": {"waiting": {"reason": "PodInitializing"}}}))[1], "Init:1/2");
    assert_eq!(
        show(json!({"name": "b", "state": {"waiting": {"reason": "ImagePullBackOff"}}}))[1],
        "Init:ImagePullBackOff"
    );
    assert_eq!(show(json!({"name": "b", "state": {"terminated": {"exitCode": 2}}}))[1], "Init:ExitCode:2");
    assert_eq!(
        show(json!({"name": "b", "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}))[1],
        "Init:Error"
    );
}

#[test]
fn a_started_sidecar_counts_like_a_container() {
    let spec = json!({"initContainers": [{"name": "s", "restartPolicy": "Always"}], "containers": [{"name": "c"}]});
    let status = json!({"phase": "Running",
        "initContainerStatuses": [{"name": "s", "started": true, "ready": true, "state": {"running": {}}}],
        "containerStatuses": [{"name": "c", "ready": true, "state": {"running": {}}}]});
    assert_eq!(row(spec, status), ["2/2", "Running", "0"]);
}

#[test]
fn a_deleted_pod_is_terminating_until_it_has_ended() {
    let show = |status: Value| {
        let object = object(json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": status}));
        Pod.cells(&object, Timestamp::UNIX_EPOCH)[2].clone()
    };
    assert_eq!(show(json!({"phase": "Running"})), "Terminating");
    assert_eq!(show(json!({"phase": "Succeeded"})), "Succeeded");
    assert_eq!(show(json!({"phase": "Running", "reason": "NodeLost"})), "Unknown");
}

#[test]
fn an_evicted_pod_shows_the_reason_and_not_the_phase() {
    assert_eq!(row(one_container(), json!({"phase": "Failed", "reason": "Evicted"})), ["0/1", "Evicted", "0"]);
}

#[test]
fn wide_shows_address_node_and_readiness_gates() {
    let pod =
        object(json!({"spec": {"nodeName": "n", "readinessGates": [{"conditionType": "x"}, {"conditionType": "y"}]},
        "status": {"podIPs": [{"ip": "10.0.0.1"}], "conditions": [{"type": "x", "status": "True"}]}}));
    let cells = Pod.cells(&pod, Timestamp::UNIX_EPOCH);
    assert_eq!(Value::from(cells[5..].to_vec()), json!(["10.0.0.1", "n", "<none>", "1/2"]));
}
