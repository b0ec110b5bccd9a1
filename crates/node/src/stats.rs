//! What the machine and the containers use, for `kubectl top` and autoscalers.

use std::fs;

use axum::Json;
use axum::extract::State;
use wkube_api::stats::{ContainerUsage, Summary, Usage};

use crate::pods::Pods;

/// A tick of `/proc/stat` (`USER_HZ`, which is 100 on every architecture that Linux runs on today).
const TICK_NANOS: u64 = 10_000_000;

/// Answers with what is used.
pub(crate) async fn summary(State(pods): State<Pods>) -> Json<Summary> {
    let containers = pods.context().live.usage();
    Json(Summary { machine: machine_or_sum(&containers), containers })
}

/// Returns what the machine uses, or if nobody knows that, what the containers use together.
pub(crate) fn machine_or_sum(containers: &[ContainerUsage]) -> Usage {
    // Some small files of the kernel, which are never on a disk.
    machine().unwrap_or_else(|| total(containers))
}

/// Reads what the machine uses: the limits that the operating system sets for this process come first, as in
/// [`Machine::measure`](crate::resources::Machine::measure).
fn machine() -> Option<Usage> {
    let cgroup = |file: &str| fs::read_to_string(format!("/sys/fs/cgroup/{file}")).ok();
    let proc = |file: &str| fs::read_to_string(format!("/proc/{file}")).ok();
    let cpu_nanos = cgroup("cpu.stat")
        .and_then(|text| field(&text, "usage_usec"))
        .map(|micros| micros.saturating_mul(1000))
        .or_else(|| busy_ticks(&proc("stat")?).map(|ticks| ticks.saturating_mul(TICK_NANOS)))?;
    let in_group = || {
        let current: u64 = cgroup("memory.current")?.trim().parse().ok()?;
        // What could be dropped at any time is not in use (the kubelet's working set).
        let inactive = cgroup("memory.stat").and_then(|text| field(&text, "inactive_file")).unwrap_or(0);
        Some(current.saturating_sub(inactive))
    };
    let memory_bytes = in_group().or_else(|| memory_used(&proc("meminfo")?))?;
    Some(Usage { cpu_nanos, memory_bytes })
}

/// On other systems the guests are all that is known.
fn total(containers: &[ContainerUsage]) -> Usage {
    containers.iter().fold(Usage::default(), |sum, one| Usage {
        cpu_nanos: sum.cpu_nanos.saturating_add(one.usage.cpu_nanos),
        memory_bytes: sum.memory_bytes.saturating_add(one.usage.memory_bytes),
    })
}

/// Returns the number behind a name, one pair a line.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.split_once(' ').filter(|(key, _)| *key == name)?.1.trim().parse().ok())
}

/// Returns the time that all processors were not idle: `cpu user nice system idle iowait irq softirq steal ...`.
fn busy_ticks(stat: &str) -> Option<u64> {
    let line = stat.lines().find(|line| line.starts_with("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().skip(1).map(|word| word.parse().unwrap_or(0)).collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, steal, ..] = ticks.as_slice() else { return None };
    Some(user + nice + system + irq + softirq + steal)
}

fn memory_used(meminfo: &str) -> Option<u64> {
    let kib = |name: &str| -> Option<u64> {
        let line = meminfo.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    Some(kib("MemTotal:")?.saturating_sub(kib("MemAvailable:")?) << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read() {
        assert_eq!(field("usage_usec 12\nuser_usec 7\n", "usage_usec"), Some(12));
        assert_eq!(field("usage_usec 12\n", "usage"), None);
        assert_eq!(busy_ticks("cpu  1 2 3 100 50 4 5 6 0 0\ncpu0 1\n"), Some(21));
        assert_eq!(busy_ticks("intr 1\n"), None);
        assert_eq!(memory_used("MemTotal: 10 kB\nMemFree: 1 kB\nMemAvailable: 4 kB\n"), Some(6 << 10));
        assert_eq!(memory_used(""), None);
    }

    #[test]
    fn without_a_kernel_to_ask_the_guests_are_added_up() {
        let of = |cpu_nanos, memory_bytes| ContainerUsage {
            usage: Usage { cpu_nanos, memory_bytes },
            ..ContainerUsage::default()
        };
        assert_eq!(total(&[of(1, 10), of(2, 20)]), Usage { cpu_nanos: 3, memory_bytes: 30 });
    }
}
