//! Counts a guest's memory against its limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wasmtime::ResourceLimiter;

/// A table element is a pointer.
const TABLE_ELEMENT_BYTES: u64 = 8;

/// The memory of one guest, shared by all its concurrent instances.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: u64,
    used: AtomicU64,
    peak: AtomicU64,
}

impl Budget {
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit, used: AtomicU64::new(0), peak: AtomicU64::new(0) }
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    pub(crate) fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes `bytes` if they fit under the limit.
    fn take(&self, bytes: u64) -> bool {
        let fits = |used: u64| used.checked_add(bytes).filter(|after| *after <= self.limit);
        match self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits) {
            Ok(before) => {
                self.peak.fetch_max(before + bytes, Ordering::Relaxed);
                true
            }
            Err(_) => false,
        }
    }

    fn give_back(&self, bytes: u64) {
        let before = self.used.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(before >= bytes, "only what was taken is given back");
    }
}

/// What one instance holds of its guest's budget: all its memories and tables, where wasmtime's own limiter looks at
/// each alone.
#[derive(Debug)]
pub(crate) struct MemoryMeter {
    budget: Arc<Budget>,
    held: u64,
    /// What the growth under way added, in case the host then fails to provide it.
    growing: u64,
    /// The last growth that was refused and has not been outdone since, in bytes.
    refused: Option<u64>,
}

impl MemoryMeter {
    pub(crate) fn new(budget: Arc<Budget>) -> Self {
        Self { budget, held: 0, growing: 0, refused: None }
    }

    /// Reports whether the guest was refused memory and has not had as much since. A trap then is an abort for lack
    /// of memory: `memory.grow` answered -1 and the guest's allocator gave up, after a few pages perhaps for printing
    /// that it does.
    pub(crate) fn has_refused(&self) -> bool {
        self.refused.is_some()
    }

    pub(crate) fn limit(&self) -> u64 {
        self.budget.limit()
    }

    fn grow(&mut self, bytes: u64) -> bool {
        let taken = self.budget.take(bytes);
        if taken {
            self.held += bytes;
            self.growing = bytes;
            self.refused = self.refused.filter(|refused| bytes < *refused);
        } else {
            self.refused = Some(bytes);
        }
        taken
    }

    fn undo(&mut self) {
        self.budget.give_back(self.growing);
        self.held -= self.growing;
        self.growing = 0;
    }
}

impl Drop for MemoryMeter {
    fn drop(&mut self) {
        self.budget.give_back(self.held);
    }
}

impl ResourceLimiter for MemoryMeter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        // Over the memory's own maximum the growth fails anyway, and not for our reasons.
        if maximum.is_some_and(|maximum| desired > maximum) {
            self.growing = 0;
            return Ok(true);
        }
        Ok(self.grow((desired - current) as u64))
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.undo();
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            self.growing = 0;
            return Ok(true);
        }
        Ok(self.grow((desired - current) as u64 * TABLE_ELEMENT_BYTES))
    }

    fn table_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.undo();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_memories_and_tables_count_together() {
        let budget = Arc::new(Budget::new(1_000));
        let mut meter = MemoryMeter::new(Arc::clone(&budget));
        assert!(meter.memory_growing(0, 600, None).unwrap());
        assert!(meter.table_growing(0, 50, None).unwrap());
        assert!(!meter.has_refused());
        assert!(!meter.memory_growing(0, 1, None).unwrap());
        assert!(meter.has_refused());
        assert_eq!((budget.used(), budget.peak()), (1_000, 1_000));
    }

    #[test]
    fn concurrent_instances_share_one_budget_and_give_it_back() {
        let budget = Arc::new(Budget::new(1_000));
        let mut first = MemoryMeter::new(Arc::clone(&budget));
        let mut second = MemoryMeter::new(Arc::clone(&budget));
        assert!(first.memory_growing(0, 700, None).unwrap());
        assert!(!second.memory_growing(0, 700, None).unwrap());
        drop(first);
        assert!(second.memory_growing(0, 700, None).unwrap());
        drop(second);
        assert_eq!((budget.used(), budget.peak()), (0, 700));
    }

    #[test]
    fn a_growth_that_the_host_cannot_provide_is_not_charged() {
        let budget = Arc::new(Budget::new(1_000));
        let mut meter = MemoryMeter::new(Arc::clone(&budget));
        assert!(meter.memory_growing(0, 400, None).unwrap());
        assert!(meter.memory_growing(400, 900, None).unwrap());
        meter.memory_grow_failed(wasmtime::format_err!("no pages")).unwrap();
        assert_eq!(budget.used(), 400);
    }

    #[test]
    fn a_growth_over_the_memorys_own_maximum_is_not_a_lack_of_memory() {
        let mut meter = MemoryMeter::new(Arc::new(Budget::new(1_000)));
        assert!(meter.memory_growing(100, 5_000, Some(200)).unwrap());
        meter.memory_grow_failed(wasmtime::format_err!("over its maximum")).unwrap();
        assert!(!meter.has_refused());
    }

    #[test]
    fn a_refusal_is_forgotten_once_the_guest_has_had_as_much() {
        let mut meter = MemoryMeter::new(Arc::new(Budget::new(1_000)));
        let mut other = MemoryMeter::new(Arc::clone(&meter.budget));
        assert!(other.memory_growing(0, 700, None).unwrap());
        assert!(!meter.memory_growing(0, 500, None).unwrap());
        assert!(meter.memory_growing(0, 10, None).unwrap());
        assert!(meter.has_refused(), "a few bytes for a last message change nothing");
        drop(other);
        assert!(meter.memory_growing(10, 510, None).unwrap());
        assert!(!meter.has_refused());
    }
}
