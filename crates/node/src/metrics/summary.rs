//! `/stats/summary` (`k8s.io/kubelet/pkg/apis/stats/v1alpha1`). Pure.

use serde_json::{Value, json};
use wkube_api::stats::Usage;

use super::figures::{ContainerFigures, Figures, PodFigures};
use crate::eviction::local::Size;
use crate::eviction::signals::Signal;

/// Returns the document. The rate of use is left to whoever reads twice.
pub fn of(figures: &Figures) -> Value {
    let memory = figures.of(Signal::Memory);
    let mut node = json!({
        "cpu": cpu(figures, figures.machine),
        "memory": memory_of(figures, figures.machine),
        "fs": file_system(figures, Signal::NodeDisk),
        "runtime": { "imageFs": file_system(figures, Signal::ImageDisk) },
    });
    if let Some(memory) = memory {
        node["memory"]["availableBytes"] = json!(memory.available);
    }
    let pods: Vec<Value> = figures.pods.iter().map(|pod| of_pod(figures, pod)).collect();
    json!({ "node": node, "pods": pods })
}

fn of_pod(figures: &Figures, pod: &PodFigures) -> Value {
    let volumes = pod.disk.iter().flat_map(|disk| &disk.volumes);
    let volumes: Vec<Value> = volumes
        .map(|(name, size)| {
            json!({ "time": figures.now, "name": name, "usedBytes": size.bytes, "inodesUsed": size.inodes })
        })
        .collect();
    json!({
        "podRef": { "name": pod.name, "namespace": pod.namespace, "uid": pod.uid },
        "startTime": pod.started_at,
        "cpu": cpu(figures, pod.usage()),
        "memory": memory_of(figures, pod.usage()),
        "containers": pod.containers.iter().map(|container| of_container(figures, pod, container)).collect::<Vec<_>>(),
        "volume": volumes,
        "ephemeral-storage": { "time": figures.now, "usedBytes": pod.disk_bytes, "inodesUsed": pod.disk_inodes },
    })
}

fn of_container(figures: &Figures, pod: &PodFigures, container: &ContainerFigures) -> Value {
    let size = |sizes: Option<&Size>| {
        sizes.map(|size| json!({ "time": figures.now, "usedBytes": size.bytes, "inodesUsed": size.inodes }))
    };
    let disk = pod.disk.as_ref();
    json!({
        "name": container.name,
        "startTime": container.started_at,
        "cpu": cpu(figures, container.usage),
        "memory": memory_of(figures, container.usage),
        "rootfs": size(disk.and_then(|disk| disk.roots.get(&container.name))),
        "logs": size(disk.and_then(|disk| disk.logs.get(&container.name))),
    })
}

fn cpu(figures: &Figures, usage: Usage) -> Value {
    json!({ "time": figures.now, "usageCoreNanoSeconds": usage.cpu_nanos })
}

fn memory_of(figures: &Figures, usage: Usage) -> Value {
    let bytes = usage.memory_bytes;
    json!({ "time": figures.now, "usageBytes": bytes, "workingSetBytes": bytes, "rssBytes": bytes })
}

fn file_system(figures: &Figures, signal: Signal) -> Value {
    let Some(bytes) = figures.of(signal) else { return Value::Null };
    let mut seen = json!({
        "time": figures.now,
        "availableBytes": bytes.available,
        "capacityBytes": bytes.capacity,
        "usedBytes": bytes.capacity.saturating_sub(bytes.available),
    });
    if let Some(inodes) = figures.of(Signal::NodeInodes) {
        seen["inodesFree"] = json!(inodes.available);
        seen["inodes"] = json!(inodes.capacity);
        seen["inodesUsed"] = json!(inodes.capacity.saturating_sub(inodes.available));
    }
    seen
}
