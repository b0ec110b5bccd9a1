//! `NodeMetrics` and `PodMetrics`, as metrics-server writes them. Pure.

use serde_json::{Map, Value, json};
use wkube_api::{Object, Status};

use super::samples::{Rate, Rates};

/// The group.
pub(crate) const GROUP: &str = "metrics.k8s.io";
/// Its only version.
pub(crate) const VERSION: &str = "v1beta1";

/// Returns what the group serves.
pub(crate) fn resource_list() -> Value {
    let kind = |name: &str, namespaced: bool, kind: &str| json!({"name": name, "singularName": "", "namespaced": namespaced, "kind": kind, "verbs": ["get", "list"]});
    json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": format!("{GROUP}/{VERSION}"),
        "resources": [kind("nodes", false, "NodeMetrics"), kind("pods", true, "PodMetrics")],
    })
}

/// Returns the right to read it, which those who may view things have (metrics-server's manifest).
pub(crate) fn rights() -> Value {
    let name = "system:aggregated-metrics-reader";
    let labels: Map<String, Value> = ["admin", "edit", "view"]
        .into_iter()
        .map(|role| (format!("rbac.authorization.k8s.io/aggregate-to-{role}"), "true".into()))
        .collect();
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": name, "labels": labels},
        "rules": [{"apiGroups": [GROUP], "resources": ["pods", "nodes"], "verbs": ["get", "list", "watch"]}],
    })
}

/// Returns what a node uses.
pub(super) fn node(node: &Object, rates: &Rates) -> Value {
    let mut document = document("NodeMetrics", node, rates);
    document["usage"] = usage(rates.machine);
    document
}

/// Returns what a pod's containers use; `None` if none of them runs.
pub(super) fn pod(pod: &Object, rates: &Rates) -> Option<Value> {
    let own = rates.containers.iter().filter(|((uid, _), _)| uid == pod.uid());
    let containers: Vec<Value> = own.map(|((_, name), rate)| json!({"name": name, "usage": usage(*rate)})).collect();
    if containers.is_empty() {
        return None;
    }
    let mut document = document("PodMetrics", pod, rates);
    document["containers"] = containers.into();
    Some(document)
}

fn document(kind: &str, of: &Object, rates: &Rates) -> Value {
    let time = wkube_api::object::format_time(rates.time);
    let mut metadata = json!({"name": of.name(), "creationTimestamp": time});
    if !of.namespace().is_empty() {
        metadata["namespace"] = of.namespace().into();
    }
    if !of.labels().is_empty() {
        metadata["labels"] = json!(of.labels());
    }
    json!({
        "kind": kind, "apiVersion": format!("{GROUP}/{VERSION}"), "metadata": metadata, "timestamp": time,
        "window": format!("{:.3}s", rates.window.as_secs_f64()),
    })
}

fn usage(rate: Rate) -> Value {
    json!({"cpu": format!("{}n", rate.cpu_nanos), "memory": format!("{}Ki", rate.memory_bytes >> 10)})
}

/// Returns a list.
pub(super) fn list(is_nodes: bool, items: &[Value]) -> Value {
    let kind = if is_nodes { "NodeMetricsList" } else { "PodMetricsList" };
    json!({"kind": kind, "apiVersion": format!("{GROUP}/{VERSION}"), "metadata": {}, "items": items})
}

/// The refusal for what does not exist or does not run.
pub(super) fn not_found(is_nodes: bool, namespace: &str, name: &str) -> Status {
    let message = if is_nodes {
        format!("nodemetrics.{GROUP} {name:?} not found")
    } else {
        format!("podmetrics.{GROUP} \"{namespace}/{name}\" not found")
    };
    Status::new(404, "NotFound", message)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;

    fn rates() -> Rates {
        let rate = Rate { cpu_nanos: 1_500_000, memory_bytes: 3 << 20 };
        Rates {
            time: Timestamp::UNIX_EPOCH,
            window: Duration::from_millis(1500),
            machine: rate,
            containers: BTreeMap::from([(("u".to_owned(), "c".to_owned()), rate)]),
        }
    }

    fn object(value: Value) -> Object {
        serde_json::from_value(value).expect("an object")
    }

    #[test]
    fn a_pod_shows_what_its_containers_use() {
        let running = object(json!({"metadata": {"name": "p", "namespace": "d", "uid": "u", "labels": {"a": "b"}}}));
        assert_eq!(
            pod(&running, &rates()),
            Some(json!({
                "kind": "PodMetrics", "apiVersion": "metrics.k8s.io/v1beta1",
                "metadata": {
                    "name": "p", "namespace": "d", "labels": {"a": "b"}, "creationTimestamp": "1970-01-01T00:00:00Z",
                },
                "timestamp": "1970-01-01T00:00:00Z", "window": "1.500s",
                "containers": [{"name": "c", "usage": {"cpu": "1500000n", "memory": "3072Ki"}}],
            }))
        );
        assert_eq!(pod(&object(json!({"metadata": {"name": "p", "uid": "other"}})), &rates()), None);
    }

    #[test]
    fn a_node_shows_what_the_machine_uses() {
        let document = node(&object(json!({"metadata": {"name": "n"}})), &rates());
        assert_eq!(document["usage"], json!({"cpu": "1500000n", "memory": "3072Ki"}));
        assert_eq!(document["metadata"].get("namespace"), None);
    }
}
