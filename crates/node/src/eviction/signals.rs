//! What a node can run out of, and how much of each is left. Reading is thin, parsing is pure.

use std::fs;
use std::path::Path;

/// Something that can become scarce (`pkg/kubelet/eviction/api/types.go`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signal {
    /// Memory that can be had without swapping.
    Memory,
    /// Bytes of the file system with volumes and logs.
    NodeDisk,
    /// Files of the same.
    NodeInodes,
    /// Bytes of the file system with images and compiled code.
    ImageDisk,
    /// Tasks that the kernel can still start.
    Pids,
}

impl Signal {
    /// All of them, in the order in which they are relieved: memory first (`byEvictionPriority`).
    pub const ALL: [Self; 5] = [Self::Memory, Self::NodeDisk, Self::NodeInodes, Self::ImageDisk, Self::Pids];

    /// Returns its name in `--eviction-hard`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory.available",
            Self::NodeDisk => "nodefs.available",
            Self::NodeInodes => "nodefs.inodesFree",
            Self::ImageDisk => "imagefs.available",
            Self::Pids => "pid.available",
        }
    }

    /// Returns the resource that pods use up, as messages name it.
    pub fn resource(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::NodeDisk | Self::ImageDisk => "ephemeral-storage",
            Self::NodeInodes => "inodes",
            Self::Pids => "pids",
        }
    }

    /// Returns the node's condition.
    pub fn condition(self) -> Condition {
        match self {
            Self::Memory => Condition::MemoryPressure,
            Self::NodeDisk | Self::NodeInodes | Self::ImageDisk => Condition::DiskPressure,
            Self::Pids => Condition::PidPressure,
        }
    }
}

/// A condition of the node that keeps pods away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// Too little memory.
    MemoryPressure,
    /// Too little disk.
    DiskPressure,
    /// Too few tasks.
    PidPressure,
}

impl Condition {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::MemoryPressure, Self::DiskPressure, Self::PidPressure];

    /// Returns its name in `status.conditions`.
    pub fn name(self) -> &'static str {
        match self {
            Self::MemoryPressure => "MemoryPressure",
            Self::DiskPressure => "DiskPressure",
            Self::PidPressure => "PIDPressure",
        }
    }
}

/// How much there is of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation {
    /// Of what.
    pub signal: Signal,
    /// What is left.
    pub available: u64,
    /// What there is altogether.
    pub capacity: u64,
}

/// Reads what is left on this machine; what cannot be read is left out. `data_dir` holds volumes and logs, `image_dir`
/// images and compiled code; they are often one file system.
pub fn observe(data_dir: &Path, image_dir: &Path) -> Vec<Observation> {
    let mut all = Vec::new();
    all.extend(memory());
    if let Ok(disk) = rustix::fs::statvfs(data_dir) {
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        all.push(Observation {
            signal: Signal::NodeDisk,
            available: bytes(disk.f_bavail),
            capacity: bytes(disk.f_blocks),
        });
        // Some file systems make files as they need them and count none.
        if disk.f_files > 0 {
            all.push(Observation { signal: Signal::NodeInodes, available: disk.f_favail, capacity: disk.f_files });
        }
    }
    if let Ok(disk) = rustix::fs::statvfs(image_dir) {
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        all.push(Observation {
            signal: Signal::ImageDisk,
            available: bytes(disk.f_bavail),
            capacity: bytes(disk.f_blocks),
        });
    }
    all.extend(pids());
    all
}

/// Reads how much memory is left to this process: of the machine, and of its control group.
pub fn memory() -> Option<Observation> {
    let machine = of_machine(&fs::read_to_string("/proc/meminfo").ok()?)?;
    let cgroup = |file: &str| fs::read_to_string(format!("/sys/fs/cgroup/{file}")).ok();
    let group = cgroup("memory.max").and_then(|max| {
        of_group(&max, &cgroup("memory.current")?, cgroup("memory.stat").as_deref().unwrap_or_default())
    });
    Some(tighter(machine, group))
}

fn of_machine(meminfo: &str) -> Option<Observation> {
    let kib = |name: &str| -> Option<u64> {
        let line = meminfo.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    let (available, capacity) = (kib("MemAvailable:")? << 10, kib("MemTotal:")? << 10);
    Some(Observation { signal: Signal::Memory, available, capacity })
}

/// What could be dropped at any time counts as available (the kubelet's working set).
fn of_group(max: &str, current: &str, stat: &str) -> Option<Observation> {
    let capacity: u64 = max.trim().parse().ok()?;
    let current: u64 = current.trim().parse().ok()?;
    let inactive = stat.lines().find_map(|line| line.strip_prefix("inactive_file ")?.trim().parse().ok());
    let used = current.saturating_sub(inactive.unwrap_or(0));
    Some(Observation { signal: Signal::Memory, available: capacity.saturating_sub(used), capacity })
}

fn tighter(machine: Observation, group: Option<Observation>) -> Observation {
    let Some(group) = group.filter(|group| group.capacity < machine.capacity) else { return machine };
    Observation { available: group.available.min(machine.available), ..group }
}

/// As `pkg/kubelet/stats/pidlimit` reads it: the kernel's limits, and how many tasks there are.
fn pids() -> Option<Observation> {
    let number = |file: &str| fs::read_to_string(file).ok()?.trim().parse::<u64>().ok();
    let capacity =
        [number("/proc/sys/kernel/pid_max"), number("/proc/sys/kernel/threads-max")].into_iter().flatten().min();
    let used = tasks_in(&fs::read_to_string("/proc/loadavg").ok()?)?;
    let capacity = capacity?;
    Some(Observation { signal: Signal::Pids, available: capacity.saturating_sub(used), capacity })
}

/// Returns the number of tasks: `0.20 0.18 0.12 1/80 11206`.
fn tasks_in(loadavg: &str) -> Option<u64> {
    loadavg.split_whitespace().nth(3)?.split_once('/')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read() {
        let machine = of_machine("MemTotal: 4096 kB\nMemFree: 1 kB\nMemAvailable: 1024 kB\n").unwrap();
        assert_eq!((machine.available, machine.capacity), (1 << 20, 4 << 20));
        assert_eq!(of_machine("MemTotal: 10 kB\n"), None);
        assert_eq!(tasks_in("0.20 0.18 0.12 1/80 11206\n"), Some(80));
        assert_eq!(tasks_in(""), None);
    }

    #[test]
    fn a_control_group_counts_if_it_is_smaller_than_the_machine() {
        let machine = of_machine("MemTotal: 4096 kB\nMemAvailable: 1024 kB\n").unwrap();
        let small = of_group("2097152\n", "1572864\n", "anon 1\ninactive_file 524288\n").unwrap();
        assert_eq!((small.available, small.capacity), (1 << 20, 2 << 20));
        assert_eq!(tighter(machine, Some(small)), small);
        let free = of_group("3145728", "0", "").unwrap();
        assert_eq!(tighter(machine, Some(free)).available, 1 << 20, "a machine without memory has none for its groups");
        assert_eq!(of_group("max\n", "1", ""), None);
        let large = of_group("8388608", "0", "").unwrap();
        assert_eq!(tighter(machine, Some(large)), machine);
    }

    #[test]
    fn this_machine_can_be_observed() {
        let dir = tempfile::tempdir().unwrap();
        for seen in observe(dir.path(), dir.path()) {
            assert!(seen.available <= seen.capacity && seen.capacity > 0, "{seen:?}");
        }
    }
}
