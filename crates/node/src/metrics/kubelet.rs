//! `/metrics`: the kubelet's own numbers (`pkg/kubelet/metrics/metrics.go`).

use std::time::Duration;

use wkube_base::metrics::{Counter, Family, Histogram, Kind, Text};

use super::figures::Figures;

/// Pods of one node, by the signal that was short.
static EVICTIONS: Family<Counter> = Family::counters(
    "kubelet_evictions",
    "Cumulative number of pod evictions by eviction signal",
    &["eviction_signal"],
);
/// From the first sight of a pod to its first status `Running`.
static POD_STARTS: Family<Histogram> = Family::new(
    "kubelet_pod_start_duration_seconds",
    "Duration in seconds from kubelet seeing a pod for the first time to the pod starting to run",
    &[],
    || Histogram::new(&[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0]),
);

/// Counts an eviction.
pub fn evicted(signal: &str) {
    EVICTIONS.with(&[signal]).add(1);
}

/// Counts a pod that runs now, so long after it was first seen.
pub fn started(after: Duration) {
    POD_STARTS.with(&[]).observe(after.as_secs_f64());
}

/// Returns the metrics. What happened since the process began counts for all nodes in it.
pub fn write(figures: &Figures) -> Text {
    let mut text = Text::default();
    let running = figures.pods.iter().filter(|pod| !pod.containers.is_empty()).count();
    text.single("kubelet_running_pods", "Number of pods that have a running pod sandbox", Kind::Gauge, running);
    let containers: usize = figures.pods.iter().map(|pod| pod.containers.len()).sum();
    text.family("kubelet_running_containers", "Number of containers currently running", Kind::Gauge);
    text.sample("kubelet_running_containers", &[("container_state", "running")], containers);
    let desired = "The number of pods the kubelet is being instructed to run";
    text.single("kubelet_desired_pods", desired, Kind::Gauge, figures.pods.len());
    EVICTIONS.write(&mut text);
    POD_STARTS.write(&mut text);
    text
}
