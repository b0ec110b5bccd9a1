//! `/metrics/resource`: what metrics-server reads (`pkg/kubelet/metrics/collectors/resource_metrics.go`). Pure.

use std::fmt::Display;

use wkube_base::metrics::{Kind, Text};

use super::figures::{ContainerFigures, Figures, PodFigures, epoch_seconds, seconds};

/// Returns the metrics.
pub fn write(figures: &Figures) -> Text {
    let mut text = Text::default();
    let cpu = "Cumulative cpu time consumed by the container in core-seconds";
    containers(&mut text, figures, "container_cpu_usage_seconds_total", cpu, Kind::Counter, |container| {
        Some(seconds(container.usage.cpu_nanos))
    });
    let memory = "Current working set of the container in bytes";
    containers(&mut text, figures, "container_memory_working_set_bytes", memory, Kind::Gauge, |container| {
        Some(container.usage.memory_bytes)
    });
    let start = "Start time of the container since unix epoch in seconds";
    containers(&mut text, figures, "container_start_time_seconds", start, Kind::Gauge, |container| {
        container.started_at.map(epoch_seconds)
    });
    let cpu = "Cumulative cpu time consumed by the node in core-seconds";
    text.single("node_cpu_usage_seconds_total", cpu, Kind::Counter, seconds(figures.machine.cpu_nanos));
    let memory = "Current working set of the node in bytes";
    text.single("node_memory_working_set_bytes", memory, Kind::Gauge, figures.machine.memory_bytes);
    let cpu = "Cumulative cpu time consumed by the pod in core-seconds";
    pods(&mut text, figures, "pod_cpu_usage_seconds_total", cpu, Kind::Counter, |pod| seconds(pod.usage().cpu_nanos));
    let memory = "Current working set of the pod in bytes";
    pods(&mut text, figures, "pod_memory_working_set_bytes", memory, Kind::Gauge, |pod| pod.usage().memory_bytes);
    let errors = "1 if there was an error while getting container metrics, 0 otherwise";
    text.single("resource_scrape_error", errors, Kind::Gauge, 0);
    text
}

fn containers<V: Display>(
    text: &mut Text,
    figures: &Figures,
    name: &str,
    help: &str,
    kind: Kind,
    value: impl Fn(&ContainerFigures) -> Option<V>,
) {
    text.family(name, help, kind);
    for pod in &figures.pods {
        for container in &pod.containers {
            let labels = [("container", &*container.name), ("namespace", &*pod.namespace), ("pod", &*pod.name)];
            if let Some(value) = value(container) {
                text.sample(name, &labels, value);
            }
        }
    }
}

fn pods<V: Display>(
    text: &mut Text,
    figures: &Figures,
    name: &str,
    help: &str,
    kind: Kind,
    value: impl Fn(&PodFigures) -> V,
) {
    text.family(name, help, kind);
    for pod in figures.pods.iter().filter(|pod| !pod.containers.is_empty()) {
        text.sample(name, &[("namespace", &*pod.namespace), ("pod", &*pod.name)], value(pod));
    }
}
