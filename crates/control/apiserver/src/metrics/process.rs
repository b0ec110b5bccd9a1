//! What Prometheus' client libraries tell about every process, and what this one was built from.

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use wkube_base::Clock;
use wkube_base::metrics::{Kind, Text};

use crate::health;

/// Appends the metrics of the process, which began at `began`.
pub(super) fn write(text: &mut Text, clock: &Clock, began: Timestamp) {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    #[expect(clippy::cast_precision_loss, reason = "seconds of CPU time")]
    let cpu = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
    text.single("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", Kind::Counter, cpu);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    for (name, help, field) in [
        ("process_resident_memory_bytes", "Resident memory size in bytes.", "VmRSS:"),
        ("process_virtual_memory_bytes", "Virtual memory size in bytes.", "VmSize:"),
    ] {
        if let Some(bytes) = kilobytes(&status, field) {
            text.single(name, help, Kind::Gauge, bytes);
        }
    }
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        text.single("process_open_fds", "Number of open file descriptors.", Kind::Gauge, files.count());
    }
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    if let Some(files) = open_files(&limits) {
        text.single("process_max_fds", "Maximum number of open file descriptors.", Kind::Gauge, files);
    }
    let help = "Start time of the process since unix epoch in seconds.";
    text.single("process_start_time_seconds", help, Kind::Gauge, began.as_second());
    debug_assert!(clock.now() >= began, "the process began before now");
    build(text);
}

fn build(text: &mut Text) {
    let version = health::version();
    let labels = [
        ("build_date", "buildDate"),
        ("compiler", "compiler"),
        ("git_commit", "gitCommit"),
        ("git_tree_state", "gitTreeState"),
        ("git_version", "gitVersion"),
        ("go_version", "goVersion"),
        ("major", "major"),
        ("minor", "minor"),
        ("platform", "platform"),
    ];
    let labels = labels.map(|(label, field)| (label, version[field].as_str().unwrap_or_default()));
    let help = "A metric with a constant '1' value labeled by major, minor, git version, git commit, git tree state, build \
                date, Go version, and compiler from which Kubernetes was built, and platform on which it is running.";
    text.family("kubernetes_build_info", help, Kind::Gauge);
    text.sample("kubernetes_build_info", &labels, 1);
}

/// Reads a line such as `VmRSS:     1234 kB`.
fn kilobytes(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// Reads the soft limit of `Max open files            1024                 4096                 files`.
fn open_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read() {
        assert_eq!(kilobytes("VmSize:\t  10 kB\nVmRSS:\t    3 kB\n", "VmRSS:"), Some(3072));
        assert_eq!(open_files("Limit  Soft\nMax open files            1024      4096    files\n"), Some(1024));
        assert_eq!((kilobytes("", "VmRSS:"), open_files("")), (None, None));
    }
}
