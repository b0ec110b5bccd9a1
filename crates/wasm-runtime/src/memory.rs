//! Counts a guest's memory against its limit, that of those it shares with, and what the machine has left.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wasmtime::ResourceLimiter;

/// A table element is a pointer.
const TABLE_ELEMENT_BYTES: u64 = 8;
/// No table is larger: Ruby and `CPython` need more than wasmtime's default of 20,000, and copying or filling so many
/// elements is one instruction that nothing interrupts (a third of a millisecond).
pub(crate) const TABLE_ELEMENTS_MAX: usize = 100_000;

/// What an instance costs the host besides its memories: stack, store, tables of handles (measured: 50 to 90 KiB).
pub(crate) const INSTANCE_BYTES: u64 = 64 << 10;
/// What of the machine's memory is kept for guests within their promises, when others are refused already.
const KEPT_FOR_PROMISES: u64 = 64 << 20;

/// Whose memory it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// One guest's, or that of several which belong together.
    Guest,
    /// The machine's.
    Machine,
}

/// Memory that several may use: the instances of a guest, the guests of a pod, all guests of the machine.
#[derive(Debug)]
pub(crate) struct Budget {
    owner: Owner,
    /// Fixed, except for the machine's.
    limit: AtomicU64,
    /// Up to here it may grow even if the machine runs short.
    promised: AtomicU64,
    used: AtomicU64,
    peak: AtomicU64,
    within: Option<Arc<Budget>>,
}

/// Whose memory did not suffice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shortage {
    /// The guest's own, of so many bytes.
    Own(u64),
    /// What it shares with others.
    Shared(u64),
    /// The machine's.
    Machine,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(limit) => write!(f, "its limit of {limit} bytes"),
            Self::Shared(limit) => write!(f, "is left of the {limit} bytes that it shares with others"),
            Self::Machine => write!(f, "the node has left"),
        }
    }
}

impl Budget {
    pub(crate) fn new(limit: u64, promised: u64, within: Option<Arc<Self>>) -> Self {
        let [limit, promised, used, peak] = [limit, promised, 0, 0].map(AtomicU64::new);
        Self { owner: Owner::Guest, limit, promised, used, peak, within }
    }

    /// Sets other limits. What is used above them stays until it is given back.
    pub(crate) fn resize(&self, limit: u64, promised: u64) {
        self.limit.store(limit, Ordering::Relaxed);
        self.promised.store(promised, Ordering::Relaxed);
    }

    /// Returns that of a machine which has enough, until [`set_room`](Self::set_room) says otherwise.
    pub(crate) fn of_machine() -> Self {
        Self { owner: Owner::Machine, ..Self::new(u64::MAX, 0, None) }
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    pub(crate) fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Says how much more may be taken from now on. Most of what guests take they never touch, so what the machine has
    /// left is measured again and again instead of being added up.
    pub(crate) fn set_room(&self, bytes: u64) {
        self.limit.store(self.used().saturating_add(bytes), Ordering::Relaxed);
    }

    /// Holds `bytes` until what is returned is dropped, if they fit under every limit.
    pub(crate) fn hold(self: &Arc<Self>, bytes: u64) -> Result<Held, Shortage> {
        self.take(bytes)?;
        Ok(Held { budget: Arc::clone(self), bytes })
    }

    /// Takes `bytes` if they fit under every limit.
    fn take(&self, bytes: u64) -> Result<(), Shortage> {
        let is_promised = self.used().saturating_add(bytes) <= self.promised.load(Ordering::Relaxed);
        self.take_as(bytes, is_promised, Shortage::Own)
    }

    fn take_as(&self, bytes: u64, is_promised: bool, shortage: fn(u64) -> Shortage) -> Result<(), Shortage> {
        let limit = self.limit();
        let (limit, shortage) = match self.owner {
            Owner::Guest => (limit, shortage(limit)),
            Owner::Machine if is_promised => (limit, Shortage::Machine),
            Owner::Machine => (limit.saturating_sub(KEPT_FOR_PROMISES), Shortage::Machine),
        };
        let fits = |used: u64| used.checked_add(bytes).filter(|after| *after <= limit);
        let before = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).map_err(|_| shortage)?;
        if let Some(within) = &self.within
            && let Err(shortage) = within.take_as(bytes, is_promised, Shortage::Shared)
        {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
            return Err(shortage);
        }
        self.peak.fetch_max(before + bytes, Ordering::Relaxed);
        Ok(())
    }

    fn give_back(&self, bytes: u64) {
        let before = self.used.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(before >= bytes, "only what was taken is given back");
        if let Some(within) = &self.within {
            within.give_back(bytes);
        }
    }
}

/// Some memory of a budget.
#[derive(Debug)]
pub(crate) struct Held {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
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
    /// The last growth that was refused and has not been outdone since: its bytes, and who had not enough.
    refused: Option<(u64, Shortage)>,
}

impl MemoryMeter {
    pub(crate) fn new(budget: Arc<Budget>) -> Self {
        Self { budget, held: 0, growing: 0, refused: None }
    }

    /// Returns the meter of one more instance, which holds what every instance costs.
    pub(crate) fn of_instance(budget: Arc<Budget>) -> Result<Self, Shortage> {
        budget.take(INSTANCE_BYTES)?;
        let mut meter = Self::new(budget);
        meter.held = INSTANCE_BYTES;
        Ok(meter)
    }

    /// Returns why the guest was refused memory, if it has not had as much since. A trap then is an abort for lack of
    /// memory: `memory.grow` answered -1 and the guest's allocator gave up, after a few pages perhaps for printing that
    /// it does.
    pub(crate) fn refused(&self) -> Option<Shortage> {
        self.refused.map(|(_, shortage)| shortage)
    }

    /// Returns what this instance has of the budget.
    pub(crate) fn held(&self) -> u64 {
        self.held
    }

    fn grow(&mut self, bytes: u64) -> bool {
        match self.budget.take(bytes) {
            Ok(()) => {
                self.held += bytes;
                self.growing = bytes;
                self.refused = self.refused.filter(|(refused, _)| bytes < *refused);
                true
            }
            Err(shortage) => {
                self.refused = Some((bytes, shortage));
                false
            }
        }
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
        // A pool has no larger ones; this is for engines without.
        if desired > TABLE_ELEMENTS_MAX {
            return Ok(false);
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
        let budget = Arc::new(Budget::new(1_000, 0, None));
        let mut meter = MemoryMeter::new(Arc::clone(&budget));
        assert!(meter.memory_growing(0, 600, None).unwrap());
        assert!(meter.table_growing(0, 50, None).unwrap());
        assert!(meter.refused().is_none());
        assert!(!meter.memory_growing(0, 1, None).unwrap());
        assert!(meter.refused().is_some());
        assert_eq!((budget.used(), budget.peak()), (1_000, 1_000));
    }

    #[test]
    fn concurrent_instances_share_one_budget_and_give_it_back() {
        let budget = Arc::new(Budget::new(1_000, 0, None));
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
        let budget = Arc::new(Budget::new(1_000, 0, None));
        let mut meter = MemoryMeter::new(Arc::clone(&budget));
        assert!(meter.memory_growing(0, 400, None).unwrap());
        assert!(meter.memory_growing(400, 900, None).unwrap());
        meter.memory_grow_failed(wasmtime::format_err!("no pages")).unwrap();
        assert_eq!(budget.used(), 400);
    }

    #[test]
    fn a_growth_over_the_memorys_own_maximum_is_not_a_lack_of_memory() {
        let mut meter = MemoryMeter::new(Arc::new(Budget::new(1_000, 0, None)));
        assert!(meter.memory_growing(100, 5_000, Some(200)).unwrap());
        meter.memory_grow_failed(wasmtime::format_err!("over its maximum")).unwrap();
        assert!(meter.refused().is_none());
    }

    #[test]
    fn a_table_never_grows_so_large_that_filling_it_would_hold_a_thread() {
        let budget = Arc::new(Budget::new(1 << 30, 0, None));
        let mut meter = MemoryMeter::new(Arc::clone(&budget));
        assert!(meter.table_growing(0, TABLE_ELEMENTS_MAX, None).unwrap());
        assert!(!meter.table_growing(TABLE_ELEMENTS_MAX, TABLE_ELEMENTS_MAX + 1, None).unwrap());
        assert_eq!(budget.used(), TABLE_ELEMENTS_MAX as u64 * TABLE_ELEMENT_BYTES);
        assert!(meter.refused().is_none(), "that is no lack of memory");
    }

    #[test]
    fn a_refusal_is_forgotten_once_the_guest_has_had_as_much() {
        let mut meter = MemoryMeter::new(Arc::new(Budget::new(1_000, 0, None)));
        let mut other = MemoryMeter::new(Arc::clone(&meter.budget));
        assert!(other.memory_growing(0, 700, None).unwrap());
        assert!(!meter.memory_growing(0, 500, None).unwrap());
        assert!(meter.memory_growing(0, 10, None).unwrap());
        assert!(meter.refused().is_some(), "a few bytes for a last message change nothing");
        drop(other);
        assert!(meter.memory_growing(10, 510, None).unwrap());
        assert!(meter.refused().is_none());
    }

    fn take(budget: &Arc<Budget>, bytes: usize) -> Result<MemoryMeter, Shortage> {
        let mut meter = MemoryMeter::new(Arc::clone(budget));
        if meter.memory_growing(0, bytes, None).unwrap() { Ok(meter) } else { Err(meter.refused().unwrap()) }
    }

    #[test]
    fn containers_of_one_pod_share_its_memory_and_each_has_its_own_limit() {
        let pod = Arc::new(Budget::new(1_000, 0, None));
        let first = Arc::new(Budget::new(800, 0, Some(Arc::clone(&pod))));
        let second = Arc::new(Budget::new(800, 0, Some(Arc::clone(&pod))));
        assert_eq!(take(&first, 801).unwrap_err(), Shortage::Own(800));
        let held = take(&first, 700).unwrap();
        assert_eq!(take(&second, 400).unwrap_err(), Shortage::Shared(1_000));
        assert_eq!((second.used(), pod.used()), (0, 700), "what was refused above is not kept below");
        drop(held);
        assert!(take(&second, 400).is_ok());
        assert_eq!((pod.used(), pod.peak()), (0, 700));
    }

    #[test]
    fn an_instance_costs_something_even_without_a_memory() {
        let budget = Arc::new(Budget::new(3 * INSTANCE_BYTES, 0, None));
        let held: Vec<_> = (0..3).map(|_| MemoryMeter::of_instance(Arc::clone(&budget)).unwrap()).collect();
        assert!(MemoryMeter::of_instance(Arc::clone(&budget)).is_err());
        drop(held);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn when_the_machine_runs_short_those_without_a_promise_are_refused_first() {
        let machine = Arc::new(Budget::of_machine());
        let best_effort = Arc::new(Budget::new(u64::MAX, 0, Some(Arc::clone(&machine))));
        let promised = Arc::new(Budget::new(u64::MAX, 1 << 20, Some(Arc::clone(&machine))));
        let before = take(&best_effort, 1 << 30).unwrap();
        machine.set_room(KEPT_FOR_PROMISES + 1_000);
        assert!(take(&best_effort, 1_000).is_ok());
        assert_eq!(take(&best_effort, 1_001).unwrap_err(), Shortage::Machine);
        assert!(take(&promised, 1 << 20).is_ok());
        assert_eq!(take(&promised, 64 << 20).unwrap_err(), Shortage::Machine, "more than promised");
        machine.set_room(0);
        assert_eq!(take(&promised, 1).unwrap_err(), Shortage::Machine, "the node's own share is for nobody");
        drop(before);
        assert!(take(&best_effort, 1_000).is_ok(), "what others give back can be had at once");
    }
}
