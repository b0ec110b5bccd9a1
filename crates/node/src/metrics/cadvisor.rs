//! `/metrics/cadvisor`: containers as control groups, with cadvisor's names and labels. Pure.

use wkube_base::metrics::{Kind, Text};

use super::figures::{ContainerFigures, Figures, PodFigures, epoch_seconds, seconds};
use crate::eviction::signals::Signal;

/// `cpu.cfs_period_us`, against which dashboards hold the quota.
const PERIOD_MICROS: u64 = 100_000;

/// Returns the metrics.
pub fn write(figures: &Figures) -> Text {
    let mut text = Text::default();
    let all = Groups(figures);
    let total = |group: &Group<'_>| Some(seconds(group.usage.cpu_nanos));
    all.write(
        &mut text,
        "container_cpu_usage_seconds_total",
        "Cumulative cpu time consumed in seconds.",
        Kind::Counter,
        total,
    );
    for (name, help) in [
        (
            "container_memory_usage_bytes",
            "Current memory usage in bytes, including all memory regardless of when it was accessed.",
        ),
        ("container_memory_working_set_bytes", "Current working set in bytes."),
        ("container_memory_rss", "Size of RSS in bytes."),
    ] {
        all.write(&mut text, name, help, Kind::Gauge, |group| Some(group.usage.memory_bytes));
    }
    let of = |value: fn(&ContainerFigures) -> Option<f64>| move |group: &Group<'_>| value(group.container?);
    all.write(
        &mut text,
        "container_start_time_seconds",
        "Start time of the container since unix epoch in seconds.",
        Kind::Gauge,
        of(|container| container.started_at.map(epoch_seconds)),
    );
    let limit = |group: &Group<'_>| Some(group.container?.memory_limit);
    all.write(&mut text, "container_spec_memory_limit_bytes", "Memory limit for the container.", Kind::Gauge, limit);
    let shares = |group: &Group<'_>| Some(group.container?.shares);
    all.write(&mut text, "container_spec_cpu_shares", "CPU share of the container.", Kind::Gauge, shares);
    let quota = |group: &Group<'_>| Some(group.container?.cpu_limit? * PERIOD_MICROS / 1000);
    all.write(&mut text, "container_spec_cpu_quota", "CPU quota of the container.", Kind::Gauge, quota);
    let period = |group: &Group<'_>| group.container?.cpu_limit.map(|_| PERIOD_MICROS);
    all.write(&mut text, "container_spec_cpu_period", "CPU period of the container.", Kind::Gauge, period);
    let disk = |group: &Group<'_>| Some(group.pod.disk.as_ref()?.of_container(&group.container?.name));
    all.write(
        &mut text,
        "container_fs_usage_bytes",
        "Number of bytes that are consumed by the container on this filesystem.",
        Kind::Gauge,
        disk,
    );
    let now = epoch_seconds(figures.now);
    all.write(
        &mut text,
        "container_last_seen",
        "Last time a container was seen by the exporter",
        Kind::Gauge,
        |group| group.container.map(|_| now),
    );
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    text.single("machine_cpu_cores", "Number of logical CPU cores.", Kind::Gauge, cores);
    if let Some(memory) = figures.of(Signal::Memory) {
        text.single("machine_memory_bytes", "Amount of memory installed on the machine.", Kind::Gauge, memory.capacity);
    }
    text
}

/// What cadvisor calls a container: one, or the pod around them.
struct Group<'a> {
    pod: &'a PodFigures,
    container: Option<&'a ContainerFigures>,
    usage: wkube_api::stats::Usage,
}

struct Groups<'a>(&'a Figures);

impl Groups<'_> {
    fn write<V: std::fmt::Display>(
        &self,
        text: &mut Text,
        name: &str,
        help: &str,
        kind: Kind,
        value: impl Fn(&Group<'_>) -> Option<V>,
    ) {
        text.family(name, help, kind);
        for pod in &self.0.pods {
            let around = Group { pod, container: None, usage: pod.usage() };
            let inside = pod.containers.iter();
            let inside = inside.map(|container| Group { pod, container: Some(container), usage: container.usage });
            for group in std::iter::once(around).chain(inside) {
                if let Some(value) = value(&group) {
                    line(text, name, &group, value);
                }
            }
        }
    }
}

fn line(text: &mut Text, name: &str, group: &Group<'_>, value: impl std::fmt::Display) {
    let Group { pod, container, .. } = group;
    let of = |value: fn(&ContainerFigures) -> &str| container.map_or("", |container| value(container));
    let of_pod = format!("/kubepods/pod{}", pod.uid);
    let id = container.map_or_else(|| of_pod.clone(), |container| format!("{of_pod}/{}", container.name));
    let mut labels = vec![
        ("container", of(|container| &container.name)),
        ("id", id.as_str()),
        ("image", of(|container| &container.image)),
        ("name", of(|container| &container.id)),
        ("namespace", pod.namespace.as_str()),
        ("pod", pod.name.as_str()),
    ];
    if name == "container_cpu_usage_seconds_total" {
        labels.insert(1, ("cpu", "total"));
    }
    text.sample(name, &labels, value);
}
