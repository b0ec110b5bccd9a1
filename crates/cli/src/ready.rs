//! Whether an applied object is ready, and what holds it up. Pure: decides on documents.

use serde_json::Value;
use wkube_api::Object;

/// How an object is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// Nothing more to wait for.
    Ready,
    /// Not yet; says how far it is.
    Waiting(String),
    /// It will not become ready by waiting; says why.
    Failed(String),
}

/// Judges an object as `kubectl rollout status` and `kubectl wait` do. Kinds without a notion of ready are ready.
pub(crate) fn of(object: &Object) -> Readiness {
    match object.kind() {
        "Deployment" => deployment(object),
        "ReplicaSet" => counted(object, "readyReplicas"),
        "Pod" => pod(object),
        "Job" => job(object),
        _ => Readiness::Ready,
    }
}

fn deployment(object: &Object) -> Readiness {
    if let Some(condition) = condition(object, "Progressing")
        && condition["reason"] == "ProgressDeadlineExceeded"
    {
        return Readiness::Failed("it exceeded its progress deadline".into());
    }
    let wanted = number(object, &["spec", "replicas"]).unwrap_or(1);
    let status = |field| number(object, &["status", field]).unwrap_or(0);
    let is_observed = status("observedGeneration") >= number(object, &["metadata", "generation"]).unwrap_or(0);
    let (updated, available, all) = (status("updatedReplicas"), status("availableReplicas"), status("replicas"));
    if is_observed && updated >= wanted && available >= wanted && all <= updated {
        return Readiness::Ready;
    }
    Readiness::Waiting(format!("{available} of {wanted} replicas are available"))
}

fn counted(object: &Object, field: &str) -> Readiness {
    let wanted = number(object, &["spec", "replicas"]).unwrap_or(1);
    let ready = number(object, &["status", field]).unwrap_or(0);
    if ready >= wanted {
        Readiness::Ready
    } else {
        Readiness::Waiting(format!("{ready} of {wanted} replicas are ready"))
    }
}

fn pod(object: &Object) -> Readiness {
    match object.str_at(&["status", "phase"]) {
        "Succeeded" => return Readiness::Ready,
        "Failed" => return Readiness::Failed(pod_trouble(object).unwrap_or_else(|| "it failed".into())),
        _ => {}
    }
    if condition(object, "Ready").is_some_and(|condition| condition["status"] == "True") {
        return Readiness::Ready;
    }
    Readiness::Waiting(pod_trouble(object).unwrap_or_else(|| "it is starting".into()))
}

fn job(object: &Object) -> Readiness {
    let holds = |kind| condition(object, kind).filter(|condition| condition["status"] == "True");
    if let Some(condition) = holds("Failed") {
        return Readiness::Failed(text(condition, "message"));
    }
    if holds("Complete").is_some() {
        return Readiness::Ready;
    }
    let (done, wanted) = (number(object, &["status", "succeeded"]), number(object, &["spec", "completions"]));
    Readiness::Waiting(format!("{} of {} completions", done.unwrap_or(0), wanted.unwrap_or(1)))
}

/// Returns what a pod's status says is wrong: a container that waits or ended with a reason, or that no node fits.
pub(crate) fn pod_trouble(pod: &Object) -> Option<String> {
    let scheduled = condition(pod, "PodScheduled").filter(|condition| condition["status"] == "False");
    if let Some(condition) = scheduled {
        return Some(text(condition, "message"));
    }
    let lists = ["initContainerStatuses", "containerStatuses"];
    let mut statuses = lists.iter().filter_map(|list| pod.at(&["status", list])?.as_array()).flatten();
    statuses.find_map(container_trouble)
}

fn container_trouble(status: &Value) -> Option<String> {
    let name = text(status, "name");
    let waiting = &status["state"]["waiting"];
    let quiet = ["", "ContainerCreating", "PodInitializing"];
    if !waiting.is_null() && !quiet.contains(&text(waiting, "reason").as_str()) {
        let last = &status["lastState"]["terminated"];
        let detail = if last.is_null() { text(waiting, "message") } else { ending(last) };
        return Some(format!("container {name}: {}: {detail}", text(waiting, "reason")));
    }
    let ended = &status["state"]["terminated"];
    (!ended.is_null() && ended["exitCode"] != 0).then(|| format!("container {name}: {}", ending(ended)))
}

fn ending(terminated: &Value) -> String {
    let message = text(terminated, "message");
    let first = message.lines().next().unwrap_or_default();
    let code = &terminated["exitCode"];
    let separator = if first.is_empty() { "" } else { ": " };
    format!("{} (exit code {code}){separator}{first}", text(terminated, "reason"))
}

fn condition<'o>(object: &'o Object, kind: &str) -> Option<&'o Value> {
    object.at(&["status", "conditions"])?.as_array()?.iter().find(|condition| condition["type"] == kind)
}

fn number(object: &Object, path: &[&str]) -> Option<i64> {
    object.at(path)?.as_i64()
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn judge(value: &Value) -> Readiness {
        of(&Object(value.as_object().expect("an object").clone()))
    }

    fn deployment_with(status: &Value) -> Value {
        json!({"kind": "Deployment", "metadata": {"generation": 2}, "spec": {"replicas": 2}, "status": status})
    }

    #[test]
    fn a_deployment_is_ready_when_its_newest_generation_is_available_and_the_old_is_gone() {
        let done = json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2});
        assert_eq!(judge(&deployment_with(&done)), Readiness::Ready);
        let stale = json!({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2});
        assert!(matches!(judge(&deployment_with(&stale)), Readiness::Waiting(_)));
        let old_left = json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 2, "availableReplicas": 2});
        assert!(matches!(judge(&deployment_with(&old_left)), Readiness::Waiting(_)));
    }

    #[test]
    fn a_missing_image_is_named() {
        let pod = json!({"kind": "Pod", "status": {"phase": "Pending", "containerStatuses": [
            {"name": "a", "state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}]}});
        assert_eq!(judge(&pod), Readiness::Waiting("container a: ErrImagePull: no such image".into()));
    }

    #[test]
    fn a_crash_loop_shows_how_the_guest_ended() {
        let pod = json!({"kind": "Pod", "status": {"phase": "Running", "containerStatuses": [{"name": "a",
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}},
            "lastState": {"terminated": {"reason": "Error", "exitCode": 134, "message": "unreachable\nat 1"}}}]}});
        let expected = "container a: CrashLoopBackOff: Error (exit code 134): unreachable";
        assert_eq!(judge(&pod), Readiness::Waiting(expected.into()));
    }

    #[test]
    fn a_pod_that_fits_nowhere_says_why() {
        let pod = json!({"kind": "Pod", "status": {"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}]}});
        assert_eq!(judge(&pod), Readiness::Waiting("0/1 nodes are available".into()));
    }

    #[test]
    fn a_job_ends_either_way() {
        let job = |kind: &str| {
            json!({"kind": "Job", "status": {"conditions": [
            {"type": kind, "status": "True", "message": "m"}]}})
        };
        assert_eq!(judge(&job("Complete")), Readiness::Ready);
        assert_eq!(judge(&job("Failed")), Readiness::Failed("m".into()));
    }

    #[test]
    fn kinds_without_a_notion_of_ready_are_ready() {
        assert_eq!(judge(&json!({"kind": "ConfigMap"})), Readiness::Ready);
    }
}
