//! `binding`: the scheduler's decision, carried out (`pkg/registry/core/pod/storage`).

use std::sync::Arc;

use serde_json::json;
use wkube_api::{Object, Resource, Status, conditions};

use crate::Api;
use crate::admission::{self, Operation};
use crate::call::Call;
use crate::registry::object_rules::Part;
use crate::registry::update::{self, Origin};
use crate::registry::{Outcome, create, decode};

/// Answers POST of a `Binding`, on the pod or on the old collection.
pub(super) async fn bind(api: &Api, call: &Call, body: &[u8]) -> Result<Outcome, Status> {
    let mut binding = decode::body(call, body)?;
    admission::pass(&api.registry, call, Operation::Create, &mut binding).await?;
    let name = if call.name.is_empty() { binding.name() } else { &call.name };
    let pods = api.registry.catalog.core("pods").ok_or_else(Status::unknown_path)?.clone();
    let mut on_pod = call.on(&call.namespace, name);
    on_pod.resource = Arc::clone(&pods);
    let now = create::timestamp(&api.registry);
    let wanted = |pod: &Object| bound(&pods, pod, &binding, &now);
    update::change(&api.registry, &on_pod, Part::Whole, Origin::Server, wanted).await?;
    Ok(created())
}

/// The answer to actions that leave nothing behind to show.
pub(super) fn created() -> Outcome {
    let mut status = Status::success(None);
    status["code"] = json!(201);
    Outcome::Document { code: 201, object: Object(status.as_object().cloned().unwrap_or_default()) }
}

/// Returns the pod on its node, or why it cannot go there.
fn bound(pods: &Resource, pod: &Object, binding: &Object, now: &str) -> Result<Object, Status> {
    let conflict = |why: String| Status::conflict(pods, pod.name(), &why);
    let node = binding.str_at(&["target", "name"]);
    if !matches!(binding.str_at(&["target", "kind"]), "" | "Node") || node.is_empty() {
        return Err(Status::bad_request("the binding's target must be a Node with a name"));
    }
    if !binding.uid().is_empty() && binding.uid() != pod.uid() {
        return Err(conflict(format!(
            "Precondition failed: UID in precondition: {}, UID in object meta: {}",
            binding.uid(),
            pod.uid()
        )));
    }
    if pod.is_deleting() {
        return Err(conflict(format!("pod {} is being deleted, cannot be assigned to a host", pod.name())));
    }
    let assigned = pod.str_at(&["spec", "nodeName"]);
    if !assigned.is_empty() {
        return Err(conflict(format!("pod {} is already assigned to node {assigned:?}", pod.name())));
    }
    let mut new = pod.clone();
    new.set(&["spec", "nodeName"], node);
    // It is the pod's own node now (`ClearingNominatedNodeNameAfterBinding`).
    new.remove(&["status", "nominatedNodeName"]);
    for (key, value) in binding.annotations() {
        new.set(&["metadata", "annotations", key], value);
    }
    for (key, value) in binding.labels() {
        if !pod.labels().contains_key(key) {
            new.set(&["metadata", "labels", key], value);
        }
    }
    conditions::set(
        &mut new,
        json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now}),
    );
    Ok(new)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn check(pod: Value, binding: Value) -> Result<Object, String> {
        let pods = wkube_api::kinds::find("", "v1", "pods").expect("a built-in kind");
        let object = |value: Value| -> Object { serde_json::from_value(value).expect("an object") };
        bound(pods, &object(pod), &object(binding), "2026-01-01T00:00:00Z").map_err(|status| status.message)
    }

    #[test]
    fn a_binding_names_the_node_and_says_scheduled() {
        let pod =
            check(json!({"metadata": {"name": "p"}, "spec": {}}), json!({"target": {"name": "n"}})).expect("bound");
        assert_eq!(pod.str_at(&["spec", "nodeName"]), "n");
        assert_eq!(pod.at(&["status", "conditions"]).expect("conditions")[0]["type"], "PodScheduled");
    }

    #[test]
    fn no_node_is_kept_for_a_pod_that_has_one() {
        let waiting = json!({"metadata": {"name": "p"}, "spec": {}, "status": {"nominatedNodeName": "n"}});
        let pod = check(waiting, json!({"target": {"name": "n"}})).expect("bound");
        assert_eq!(pod.at(&["status", "nominatedNodeName"]), None);
    }

    #[test]
    fn a_pod_is_bound_once_and_not_while_it_goes() {
        let target = json!({"target": {"kind": "Node", "name": "n"}});
        let twice = check(json!({"metadata": {"name": "p"}, "spec": {"nodeName": "m"}}), target.clone());
        assert!(twice.expect_err("refused").contains(r#"pod p is already assigned to node "m""#));
        let going = json!({"metadata": {"name": "p", "deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": {}});
        assert!(check(going, target).expect_err("refused").contains("is being deleted"));
    }

    #[test]
    fn a_binding_for_an_earlier_pod_of_the_name_is_refused() {
        let pod = json!({"metadata": {"name": "p", "uid": "new"}, "spec": {}});
        assert!(check(pod, json!({"metadata": {"uid": "old"}, "target": {"name": "n"}})).is_err());
    }
}
