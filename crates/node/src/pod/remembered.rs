//! What this node remembers of a pod against what the API server shows: of a pod's state the node knows best, but for
//! what others say about it. Pure.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};

use super::spec;
use super::status::is_own_condition;

/// Returns the pod as the node goes on with it: the object that the server shows, with the status that this node wrote
/// on its disk if that is newer. A status may never have been told (the server was away), and the disk may have missed
/// the last one (the power failed).
pub fn take_up(shown: &Pod, remembered: &PodStatus) -> Pod {
    let mut pod = shown.clone();
    // Whoever ended it meanwhile had the last word: its node was taken for lost.
    if spec::is_finished(shown) {
        return pod;
    }
    let shown = shown.status.clone().unwrap_or_default();
    if age(&shown) > age(remembered) {
        return pod;
    }
    let of_others = |condition: &&_| !is_own_condition(condition);
    let own = remembered.conditions.iter().flatten().filter(|condition| !of_others(condition));
    let others = shown.conditions.iter().flatten().filter(of_others);
    pod.status = Some(PodStatus {
        conditions: Some(own.chain(others).cloned().collect()),
        qos_class: shown.qos_class.or_else(|| remembered.qos_class.clone()),
        ..remembered.clone()
    });
    pod
}

/// How far a pod has come: starts of its containers, and how many of them have ended.
fn age(status: &PodStatus) -> (i64, usize, bool) {
    let all = || containers(status);
    let has_run = |one: &&ContainerStatus| one.state.as_ref().is_some_and(|state| state.waiting.is_none());
    let has_ended = |one: &&ContainerStatus| one.state.as_ref().is_some_and(|state| state.terminated.is_some());
    let starts = all().map(|one| i64::from(one.restart_count)).sum::<i64>();
    (starts, all().filter(has_run).count() + all().filter(has_ended).count(), status.pod_ip.is_some())
}

fn containers(status: &PodStatus) -> impl Iterator<Item = &ContainerStatus> {
    let init = status.init_container_statuses.iter().flatten();
    let ephemeral = status.ephemeral_container_statuses.iter().flatten();
    init.chain(status.container_statuses.iter().flatten()).chain(ephemeral)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn status(state: &str, restarts: i32, conditions: &Value) -> Value {
        let state = json!({ state: {} });
        json!({ "phase": "Running", "conditions": conditions, "podIP": "10.42.0.2",
            "containerStatuses": [{ "name": "c", "image": "i", "imageID": "i", "ready": true, "restartCount": restarts, "state": state }] })
    }

    fn pod(status: &Value) -> Pod {
        serde_json::from_value(json!({ "metadata": { "name": "p", "uid": "u" }, "status": status })).unwrap()
    }

    fn taken(shown: &Value, remembered: &Value) -> Value {
        let taken = take_up(&pod(shown), &serde_json::from_value(remembered.clone()).unwrap());
        serde_json::to_value(taken.status.unwrap()).unwrap()
    }

    fn none() -> Value {
        json!([])
    }

    #[test]
    fn what_was_never_told_counts() {
        let shown = json!({ "phase": "Pending" });
        assert_eq!(taken(&shown, &status("running", 0, &none()))["podIP"], "10.42.0.2");
        let restarted = taken(&status("running", 0, &none()), &status("running", 3, &none()));
        assert_eq!(restarted["containerStatuses"][0]["restartCount"], 3);
        let ended = taken(&status("running", 3, &none()), &status("terminated", 3, &none()));
        assert!(ended["containerStatuses"][0]["state"]["terminated"].is_object());
    }

    #[test]
    fn what_the_disk_missed_is_taken_from_the_server() {
        let restarted = taken(&status("running", 5, &none()), &status("running", 4, &none()));
        assert_eq!(restarted["containerStatuses"][0]["restartCount"], 5);
        let ended = taken(&status("terminated", 0, &none()), &status("running", 0, &none()));
        assert!(ended["containerStatuses"][0]["state"]["terminated"].is_object());
    }

    #[test]
    fn whoever_ended_the_pod_has_the_last_word() {
        let failed = json!({ "phase": "Failed", "reason": "NodeLost" });
        assert_eq!(taken(&failed, &status("running", 9, &none()))["reason"], "NodeLost");
    }

    #[test]
    fn conditions_of_others_are_the_servers_and_our_own_are_ours() {
        let condition = |name: &str, status: &str| json!({ "type": name, "status": status });
        let shown = status("running", 0, &json!([condition("Ready", "False"), condition("example.com/gate", "True")]));
        let remembered =
            status("running", 0, &json!([condition("Ready", "True"), condition("example.com/old", "True")]));
        let taken = taken(&shown, &remembered);
        let said: Vec<_> = taken["conditions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| (c["type"].as_str().unwrap(), c["status"].as_str().unwrap()))
            .collect();
        assert_eq!(said, [("Ready", "True"), ("example.com/gate", "True")]);
    }
}
