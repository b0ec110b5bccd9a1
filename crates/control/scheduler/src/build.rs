//! Minimal nodes and pods for tests.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};

use crate::framework::{Check, Filter, Score, Verdict};
use crate::pod::PodInfo;
use crate::snapshot::Snapshot;

/// A node with 4 CPUs, 8 GiB and room for 110 pods, labelled with its name.
pub(crate) fn node(name: &str) -> NodeBuilder {
    NodeBuilder(json!({
        "metadata": { "name": name, "labels": { "kubernetes.io/hostname": name } },
        "spec": {},
        "status": { "allocatable": { "cpu": "4", "memory": "8Gi", "pods": "110" } },
    }))
}

/// A pod in `default` whose uid is its name, with one container that asks for nothing.
pub(crate) fn pod(name: &str) -> PodBuilder {
    PodBuilder(json!({
        "metadata": { "name": name, "namespace": "default", "uid": name, "labels": {} },
        "spec": { "containers": [{ "name": "c", "resources": { "requests": {} } }] },
        "status": { "phase": "Pending" },
    }))
}

#[derive(Clone)]
pub(crate) struct NodeBuilder(Value);

impl NodeBuilder {
    pub(crate) fn allocatable(mut self, resource: &str, amount: &str) -> Self {
        self.0["status"]["allocatable"][resource] = json!(amount);
        self
    }

    pub(crate) fn label(mut self, key: &str, value: &str) -> Self {
        self.0["metadata"]["labels"][key] = json!(value);
        self
    }

    /// Adds a taint written as `key=value:Effect` or `key:Effect`.
    pub(crate) fn taint(mut self, taint: &str) -> Self {
        let (key, effect) = taint.rsplit_once(':').expect("key:Effect");
        let (key, value) = key.split_once('=').unwrap_or((key, ""));
        let taint = json!({ "key": key, "value": value, "effect": effect });
        let taints = self.0["spec"].as_object_mut().expect("a spec").entry("taints").or_insert_with(|| json!([]));
        taints.as_array_mut().expect("a list").push(taint);
        self
    }

    pub(crate) fn spec(mut self, field: &str, value: Value) -> Self {
        self.0["spec"][field] = value;
        self
    }

    pub(crate) fn status(mut self, field: &str, value: Value) -> Self {
        self.0["status"][field] = value;
        self
    }

    pub(crate) fn build(&self) -> Arc<Node> {
        Arc::new(serde_json::from_value(self.0.clone()).expect("a node"))
    }

    pub(crate) fn in_snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        snapshot.set_node(self.build());
        snapshot
    }
}

#[derive(Clone)]
pub(crate) struct PodBuilder(Value);

impl PodBuilder {
    pub(crate) fn request(mut self, resource: &str, amount: &str) -> Self {
        self.0["spec"]["containers"][0]["resources"]["requests"][resource] = json!(amount);
        self
    }

    pub(crate) fn cpu(self, amount: &str) -> Self {
        self.request("cpu", amount)
    }

    pub(crate) fn on(self, node: &str) -> Self {
        self.spec("nodeName", json!(node))
    }

    pub(crate) fn label(mut self, key: &str, value: &str) -> Self {
        self.0["metadata"]["labels"][key] = json!(value);
        self
    }

    pub(crate) fn meta(mut self, field: &str, value: Value) -> Self {
        self.0["metadata"][field] = value;
        self
    }

    pub(crate) fn spec(mut self, field: &str, value: Value) -> Self {
        self.0["spec"][field] = value;
        self
    }

    pub(crate) fn container(mut self, field: &str, value: Value) -> Self {
        self.0["spec"]["containers"][0][field] = value;
        self
    }

    pub(crate) fn tolerates(mut self, toleration: Value) -> Self {
        let list = self.0["spec"].as_object_mut().expect("a spec").entry("tolerations").or_insert_with(|| json!([]));
        list.as_array_mut().expect("a list").push(toleration);
        self
    }

    pub(crate) fn phase(self, phase: &str) -> Self {
        self.status("phase", json!(phase))
    }

    pub(crate) fn status(mut self, field: &str, value: Value) -> Self {
        self.0["status"][field] = value;
        self
    }

    pub(crate) fn priority(self, priority: i32) -> Self {
        self.spec("priority", json!(priority))
    }

    pub(crate) fn build(&self) -> Arc<Pod> {
        Arc::new(serde_json::from_value(self.0.clone()).expect("a pod"))
    }

    pub(crate) fn info(&self) -> Arc<PodInfo> {
        Arc::new(PodInfo::new(self.build()))
    }
}

/// Builds a cluster of nodes and of pods that are on them (`PodBuilder::on`).
pub(crate) fn cluster(nodes: &[NodeBuilder], pods: &[PodBuilder]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for node in nodes {
        snapshot.set_node(node.build());
    }
    for pod in pods {
        snapshot.set_pod(&pod.info());
    }
    snapshot
}

/// Returns what a filter says of each node, as `name: reasons` or `name: ok`, in name order.
pub(crate) fn verdicts(filter: &dyn Filter, pod: &PodBuilder, cluster: &Snapshot) -> Vec<String> {
    let pod = pod.info();
    let check = filter.prepare(&pod, cluster);
    cluster
        .nodes()
        .map(|node| {
            let verdict = match &check {
                Check::NotApplicable => Verdict::Fits,
                Check::PerNode(judge) => judge(node),
            };
            match verdict {
                Verdict::Fits => format!("{}: ok", node.name()),
                Verdict::Full(reasons) => format!("{}: full: {}", node.name(), reasons.join(", ")),
                Verdict::Unfit(reason) => format!("{}: unfit: {reason}", node.name()),
            }
        })
        .collect()
}

/// Returns the normalized score of each node, in name order; empty if the rule has no preference.
pub(crate) fn scores(score: &dyn Score, pod: &PodBuilder, cluster: &Snapshot) -> Vec<i64> {
    let pod = pod.info();
    let Some(rate) = score.prepare(&pod, cluster) else { return Vec::new() };
    let mut ratings: Vec<i64> = cluster.nodes().map(rate).collect();
    score.normalize(&mut ratings);
    ratings
}
