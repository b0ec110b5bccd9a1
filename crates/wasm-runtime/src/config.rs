//! The one place that configures wasmtime: it decides the compatibility key of everything compiled.

use wasmtime::{Config, Enabled, PoolingAllocationConfig, ResourcesRequired, WasmBacktraceDetails};

use crate::memory::TABLE_ELEMENTS_MAX;

/// What the process may map besides guests: libraries, heaps, threads, files.
const MAPS_RESERVED: u32 = 5_000;
/// Mappings of one slot: two for its stack from the start, four for a live memory (measured).
const MAPS_PER_SLOT: u32 = 6;
/// 47 bits of address space hold about 32,000 memories of 4 GiB.
const SLOTS_MAX: u32 = 30_000;
/// `vm.max_map_count` where it cannot be read: the kernel's default.
const MAX_MAP_COUNT_DEFAULT: u32 = 65_530;

/// Core instances of one component.
const CORE_INSTANCES_MAX: u32 = 200;
/// Tables for each slot.
const TABLES_PER_SLOT: u32 = 2;

/// Returns how many slots an instance takes: one, which is a memory and its tables, unless it has more of them.
pub(crate) fn weight(required: &ResourcesRequired) -> u32 {
    required.num_memories.max(required.num_tables.div_ceil(TABLES_PER_SLOT)).max(1)
}

/// Returns how many instances may live at once: `wanted`, capped by what the kernel lets one process map.
pub(crate) fn slots(wanted: u32, max_map_count: Option<u32>) -> u32 {
    let maps = max_map_count.unwrap_or(MAX_MAP_COUNT_DEFAULT);
    let fitting = maps.saturating_sub(MAPS_RESERVED) / MAPS_PER_SLOT;
    wanted.min(fitting).clamp(1, SLOTS_MAX)
}

/// Reads the kernel's limit on mappings of one process.
pub(crate) fn max_map_count() -> Option<u32> {
    std::fs::read_to_string("/proc/sys/vm/max_map_count").ok()?.trim().parse().ok()
}

/// Which allocator holds the guests' memories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Allocation {
    /// Slots reserved at the start: instances start in microseconds.
    Pooling(u32),
    /// Mappings as needed, where address space is scarce (39-bit hosts, `vm.overcommit_memory=2`).
    OnDemand,
}

/// Returns the configuration for compiling and running.
pub(crate) fn engine(allocation: Allocation) -> Config {
    let mut config = Config::new();
    // Compiled in because 48.0.8 can abort in builds without them, off because no guest here needs them.
    config.gc_support(false).wasm_threads(false).wasm_memory64(false);
    config.epoch_interruption(true);
    // The default reads an environment variable and changes the generated code, so it would change the key too.
    config.wasm_backtrace_details(WasmBacktraceDetails::Disable);
    if let Allocation::Pooling(slots) = allocation {
        config.allocation_strategy(pool(slots));
    }
    config
}

fn pool(slots: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        // Their number reserves nothing: what a component has besides memories and tables is on the heap.
        .total_core_instances(slots.saturating_mul(CORE_INSTANCES_MAX))
        .total_memories(slots)
        .total_tables(slots.saturating_mul(TABLES_PER_SLOT))
        .total_stacks(slots)
        .total_gc_heaps(1)
        .max_core_instance_size(10 << 20)
        .max_component_instance_size(10 << 20)
        .table_elements(TABLE_ELEMENTS_MAX)
        .max_tables_per_module(2)
        .max_memories_per_module(2)
        .max_memories_per_component(32)
        .max_tables_per_component(64)
        .max_core_instances_per_component(CORE_INSTANCES_MAX)
        .max_unused_warm_slots(200)
        // Resetting pages in place instead of unmapping them: three times the requests per second on two cores,
        // because unmapping serialises on the process's memory lock.
        .linear_memory_keep_resident(256 << 10)
        .table_keep_resident(64 << 10)
        .pagemap_scan(Enabled::Auto);
    pool
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_with_many_memories_or_tables_takes_many_slots() {
        let weight = |num_memories, num_tables| {
            let (max_initial_memory_size, max_initial_table_size) = (None, None);
            weight(&ResourcesRequired { num_memories, max_initial_memory_size, num_tables, max_initial_table_size })
        };
        assert_eq!([weight(0, 0), weight(1, 1), weight(1, 2), weight(1, 3), weight(32, 2)], [1, 1, 1, 2, 32]);
    }

    #[test]
    fn slots_stay_below_the_kernels_limit_on_mappings() {
        assert_eq!(slots(2_000, Some(65_530)), 2_000);
        assert_eq!(slots(20_000, Some(65_530)), 10_088);
        assert_eq!(slots(20_000, None), 10_088);
        assert_eq!(slots(100_000, Some(10_000_000)), SLOTS_MAX);
        assert_eq!(slots(2_000, Some(100)), 1);
    }
}
