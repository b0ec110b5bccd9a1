//! What the machine has and what of it pods may use.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Wire;
use wkube_api::quantity::Quantity;

/// Memory that the agent keeps for itself (`kubeReserved`): what it needs with a thousand pods, and some air.
const MEMORY_RESERVED: u64 = 256 << 20;

/// The machine's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// How many processors.
    pub cpus: usize,
    /// How many bytes of memory.
    pub memory_bytes: u64,
    /// How many pods.
    pub pods: u32,
}

impl Machine {
    /// Measures this machine, within the limits that its operating system sets for this process.
    pub fn measure(pods: u32) -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let cgroup =
            std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
        let total = memory_total(&meminfo).unwrap_or(4 << 30);
        Self { cpus, memory_bytes: cgroup.map_or(total, |limit: u64| limit.min(total)), pods }
    }

    /// Returns `status.capacity`.
    pub fn capacity(self) -> BTreeMap<String, Quantity> {
        let bytes = |bytes: u64| format!("{}Ki", bytes >> 10);
        let values = [
            ("cpu", self.cpus.to_string()),
            ("memory", bytes(self.memory_bytes)),
            ("pods", self.pods.to_string()),
            ("ephemeral-storage", "100Gi".to_owned()),
        ];
        values.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text.parse().ok()?))).collect()
    }

    /// Returns `status.allocatable`: the capacity without what the agent keeps, at least a quarter of it.
    pub fn allocatable(self) -> BTreeMap<String, Quantity> {
        let memory_bytes = self.memory_bytes.saturating_sub(MEMORY_RESERVED).max(self.memory_bytes / 4);
        Self { memory_bytes, ..self }.capacity()
    }
}

/// Returns quantities as the API writes them.
pub fn to_wire(quantities: &BTreeMap<String, Quantity>) -> BTreeMap<String, Wire> {
    quantities.iter().map(|(name, quantity)| (name.clone(), Wire(quantity.to_string()))).collect()
}

fn memory_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_keeps_some_memory_for_itself() {
        let machine = Machine { cpus: 2, memory_bytes: 4 << 30, pods: 1100 };
        assert_eq!(machine.capacity()["memory"].value(), 4 << 30);
        assert_eq!(machine.allocatable()["memory"].value(), (4 << 30) - (256 << 20));
        assert_eq!(machine.allocatable()["cpu"].value(), 2);
        assert_eq!(machine.allocatable()["pods"].value(), 1100);
        let tiny = Machine { memory_bytes: 128 << 20, ..machine };
        assert_eq!(tiny.allocatable()["memory"].value(), 32 << 20);
    }

    #[test]
    fn total_memory_is_read_from_the_kernel() {
        assert_eq!(memory_total("MemFree: 1 kB\nMemTotal:       2048 kB\n"), Some(2 << 20));
        assert_eq!(memory_total(""), None);
    }
}
