//! What the machine has and what of it pods may use.

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Wire;
use wkube_api::quantity::Quantity;
use wkube_wasm_runtime::EngineOptions;

use crate::reserved::Reserved;

/// What a pod takes at least: 50 to 100 KiB of its guest, as much for the instance, and what the agent knows of it; most
/// guests touch more. Pods that take more than there is are refused memory, or evicted.
const POD_BYTES: u64 = 1 << 20;
/// As many as there are addresses in the range that a node chooses (`ip.rs`). Kubernetes' 110 is about processes.
const PODS_MAX: u32 = 4_000;
/// Less would not hold a cluster's own pods.
const PODS_MIN: u32 = 16;
/// Instances for requests to HTTP guests, whatever the pods.
const SLOTS_MIN: u32 = 2_000;

/// The machine's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// How many processors.
    pub cpus: usize,
    /// How many bytes of memory.
    pub memory_bytes: u64,
    /// How many bytes the disk has that volumes and logs are on.
    pub disk_bytes: u64,
    /// How many pods.
    pub pods: u32,
}

impl Machine {
    /// Measures this machine, within the limits that its operating system sets for this process. It takes `pods_max` pods,
    /// or as many as its memory and the kernel's limit on mappings have room for.
    pub fn measure(data_dir: &Path, pods_max: Option<u32>) -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let memory_bytes = memory();
        let disk = rustix::fs::statvfs(data_dir).ok();
        let disk_bytes = disk.map_or(0, |disk| disk.f_blocks.saturating_mul(disk.f_frsize));
        let pods = pods_max.unwrap_or_else(|| pods_for(memory_bytes, EngineOptions::slots_max()));
        Self { cpus, memory_bytes, disk_bytes, pods }
    }

    /// Returns `status.capacity`.
    pub fn capacity(self) -> BTreeMap<String, Quantity> {
        self.without(&Reserved::default())
    }

    /// Returns `status.allocatable`: the capacity without what is kept.
    pub fn allocatable(self, kept: &Reserved) -> BTreeMap<String, Quantity> {
        self.without(kept)
    }

    fn without(self, kept: &Reserved) -> BTreeMap<String, Quantity> {
        let millis = (self.cpus as u64 * 1000).saturating_sub(kept.cpu_millis);
        let kibibytes = |bytes: u64, kept: u64| (bytes.saturating_sub(kept) >> 10 << 10).try_into().unwrap_or(i64::MAX);
        let values = [
            ("cpu", Quantity::from_milli(millis.try_into().unwrap_or(i64::MAX))),
            ("memory", Quantity::from_bytes(kibibytes(self.memory_bytes, kept.memory_bytes))),
            ("pods", Quantity::new(self.pods.into())),
            ("ephemeral-storage", Quantity::from_bytes(kibibytes(self.disk_bytes, kept.disk_bytes))),
        ];
        values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// Returns how an engine is made for the pods that this machine takes: a command has an instance for as long as it runs.
pub fn engine_options(cache_dir: &Path, pods_max: Option<u32>) -> EngineOptions {
    let mut options = EngineOptions::new(cache_dir);
    let pods = pods_max.unwrap_or_else(|| pods_for(memory(), EngineOptions::slots_max()));
    options.slots = pods.saturating_add(pods / 4).max(SLOTS_MIN);
    options
}

/// Returns how many pods there is room for. A fifth of the instances are for requests to HTTP guests.
fn pods_for(memory_bytes: u64, slots_max: u32) -> u32 {
    let fitting = memory_bytes.saturating_sub(Reserved::of_agent(memory_bytes).memory_bytes) / POD_BYTES;
    let fitting = u32::try_from(fitting).unwrap_or(u32::MAX);
    fitting.min(slots_max / 5 * 4).clamp(PODS_MIN, PODS_MAX)
}

/// Returns quantities as the API writes them.
pub fn to_wire(quantities: &BTreeMap<String, Quantity>) -> BTreeMap<String, Wire> {
    quantities.iter().map(|(name, quantity)| (name.clone(), Wire(quantity.to_string()))).collect()
}

/// Returns how much memory this process may use.
fn memory() -> u64 {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let cgroup = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    let total = memory_total(&meminfo).unwrap_or(4 << 30);
    cgroup.map_or(total, |limit: u64| limit.min(total))
}

fn memory_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine { cpus: 2, memory_bytes: 4 << 30, disk_bytes: 50 << 30, pods: 1100 }
    }

    fn shown(quantities: &BTreeMap<String, Quantity>) -> Vec<String> {
        quantities.iter().map(|(name, quantity)| format!("{name}={quantity}")).collect()
    }

    #[test]
    fn pods_may_use_what_is_not_kept() {
        assert_eq!(shown(&machine().capacity()), ["cpu=2", "ephemeral-storage=50Gi", "memory=4Gi", "pods=1100"]);
        let kept: Reserved = "cpu=250m,memory=1Gi,ephemeral-storage=2Gi".parse().unwrap();
        let left = machine().allocatable(&kept);
        assert_eq!(shown(&left), ["cpu=1750m", "ephemeral-storage=48Gi", "memory=3Gi", "pods=1100"]);
        let all: Reserved = "cpu=3,memory=5Gi".parse().unwrap();
        assert_eq!(shown(&machine().allocatable(&all))[..3], ["cpu=0", "ephemeral-storage=50Gi", "memory=0"]);
    }

    #[test]
    fn memory_decides_how_many_pods_a_small_machine_takes_and_mappings_a_large_one() {
        let default = 10_088;
        assert_eq!(pods_for(64 << 20, default), 16);
        assert_eq!(pods_for(1 << 30, default), 768);
        assert_eq!(pods_for(4 << 30, default), 3_840);
        assert_eq!(pods_for(64 << 30, default), PODS_MAX);
        assert_eq!(pods_for(64 << 30, 1_000), 800);
    }

    #[test]
    fn an_engine_has_an_instance_for_every_pod_and_some_for_requests() {
        let options = |pods| engine_options(Path::new("/nowhere"), Some(pods)).slots;
        assert_eq!((options(10), options(4_000), options(20_000)), (2_000, 5_000, 25_000));
    }

    #[test]
    fn total_memory_is_read_from_the_kernel() {
        assert_eq!(memory_total("MemFree: 1 kB\nMemTotal:       2048 kB\n"), Some(2 << 20));
        assert_eq!(memory_total(""), None);
    }
}
