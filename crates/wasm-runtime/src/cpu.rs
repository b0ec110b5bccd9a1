//! Time on a thread: counted for each guest, and withheld from one that has had its share.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};
use tokio::time::{Instant, Sleep};

use crate::ticker::Ticker;
use crate::turns::{FairClock, Turn};

/// How far a guest may run ahead of its share: the period of the kernel's own bandwidth control
/// (`cpu.cfs_period_us`, kubelet's default).
const PERIOD: Duration = Duration::from_millis(100);

/// What one guest has used, summed over everything that runs for it, and what it may use.
#[derive(Debug)]
pub(crate) struct Cpu {
    used: AtomicU64,
    clock: FairClock,
    quota: Mutex<Option<Quota>>,
    /// What else is charged: the pod that the guest belongs to.
    within: Option<Arc<Cpu>>,
}

impl Cpu {
    /// `millis` is the limit in thousandths of a processor.
    pub(crate) fn new(millis: Option<u32>, weight: u32, within: Option<Arc<Self>>) -> Self {
        let quota = Mutex::new(millis.map(|millis| Quota::new(millis, Instant::now())));
        Self { used: AtomicU64::new(0), clock: FairClock::new(weight), quota, within }
    }

    /// Gives the guest another limit and weight. What it owes by the old limit, it pays by the new one.
    pub(crate) fn resize(&self, millis: Option<u32>, weight: u32) {
        self.clock.set_weight(weight);
        let mut quota = self.quota.lock();
        match (&mut *quota, millis) {
            (Some(quota), Some(millis)) => quota.millis = millis.max(1),
            (quota, millis) => *quota = millis.map(|millis| Quota::new(millis, Instant::now())),
        }
    }

    pub(crate) fn used(&self) -> Duration {
        Duration::from_nanos(self.used.load(Ordering::Relaxed))
    }

    /// Charges time on a thread.
    fn charge(&self, used: Duration) {
        let now = Instant::now();
        self.clock.advance(used);
        for cpu in self.all() {
            cpu.used.fetch_add(nanos(used), Ordering::Relaxed);
            if let Some(quota) = &mut *cpu.quota.lock() {
                quota.charge(now, used);
            }
        }
    }

    /// Returns how long the guest has to stay off.
    fn owes(&self) -> Option<Duration> {
        let now = Instant::now();
        self.all().filter_map(|cpu| cpu.quota.lock().as_mut()?.owes(now)).max()
    }

    fn all(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |cpu| cpu.within.as_deref())
    }
}

/// A bucket of processor time that fills at the guest's rate and may be overdrawn by one slice.
#[derive(Debug)]
struct Quota {
    millis: u32,
    filled: Instant,
    saved: Duration,
    owed: Duration,
}

impl Quota {
    fn new(millis: u32, now: Instant) -> Self {
        let millis = millis.max(1);
        let mut quota = Self { millis, filled: now, saved: Duration::ZERO, owed: Duration::ZERO };
        quota.saved = quota.saved_max();
        quota
    }

    fn saved_max(&self) -> Duration {
        PERIOD * self.millis / 1000
    }

    fn charge(&mut self, now: Instant, used: Duration) {
        self.fill(now);
        self.owed += used.saturating_sub(self.saved);
        self.saved = self.saved.saturating_sub(used);
    }

    fn owes(&mut self, now: Instant) -> Option<Duration> {
        self.fill(now);
        (!self.owed.is_zero()).then(|| self.owed * 1000 / self.millis)
    }

    fn fill(&mut self, now: Instant) {
        let earned = now.saturating_duration_since(self.filled) * self.millis / 1000;
        self.filled = now;
        self.saved = (self.saved + earned.saturating_sub(self.owed)).min(self.saved_max());
        self.owed = self.owed.saturating_sub(earned);
    }
}

/// A guest's future. It is polled when it is the guest's turn; its polls are charged to the guest, and the epoch moves
/// while they last. A guest over its share is not polled until it has earned it: asked before each poll and not after,
/// because requests that are answered in one poll use up the share as well. Whoever may end the guest must watch beside
/// it, not inside.
pub(crate) struct Metered<F> {
    future: Pin<Box<F>>,
    cpu: Arc<Cpu>,
    ticker: Arc<Ticker>,
    turn: Turn,
    pause: Option<Pin<Box<Sleep>>>,
}

impl<F: Future> Metered<F> {
    pub(crate) fn new(future: F, cpu: Arc<Cpu>, ticker: Arc<Ticker>) -> Self {
        let turn = Turn::new(ticker.turns());
        Self { future: Box::pin(future), cpu, ticker, turn, pause: None }
    }

    /// Completes when the guest owes nothing.
    fn poll_share(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(context));
                self.pause = None;
            }
            // Others may have used the guest's share meanwhile.
            let Some(wait) = self.cpu.owes() else { return Poll::Ready(()) };
            self.pause = Some(Box::pin(tokio::time::sleep(wait)));
        }
    }
}

impl<F: Future> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        ready!(self.poll_share(context));
        let Self { future, cpu, ticker, turn, .. } = &mut *self;
        let waker = context.waker().clone();
        turn.run(&cpu.clock, &waker, || {
            let _on_thread = ticker.enter();
            let before = thread_time();
            let result = future.as_mut().poll(context);
            cpu.charge(thread_time().saturating_sub(before));
            result
        })
    }
}

/// Returns how long this thread has run.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Runs a guest that always wants the processor, in slices, and returns what it got.
    fn spin(millis: u32, slice: Duration, total: Duration) -> Duration {
        let start = Instant::now();
        let mut quota = Quota::new(millis, start);
        let (mut now, mut used) = (start, Duration::ZERO);
        while now - start < total {
            now += slice;
            used += slice;
            quota.charge(now, slice);
            now += quota.owes(now).unwrap_or_default();
        }
        used
    }

    #[test]
    fn a_spinning_guest_gets_its_share_and_a_burst() {
        for (millis, expected) in [(100, 1_010), (250, 2_525), (500, 5_050), (900, 9_090), (1_000, 10_000)] {
            let used = spin(millis, 5 * MS, 10_000 * MS);
            assert!(used.abs_diff(expected * MS) <= 10 * MS, "{millis}m: {used:?}");
        }
    }

    #[test]
    fn more_than_one_processor_is_never_withheld_from_one_thread() {
        assert_eq!(spin(2_000, 5 * MS, 1_000 * MS), 1_000 * MS);
    }

    #[test]
    fn an_idle_guest_saves_no_more_than_one_period() {
        let start = Instant::now();
        let mut quota = Quota::new(100, start);
        let later = start + Duration::from_hours(1);
        quota.charge(later, 10 * MS);
        assert_eq!(quota.owes(later), None);
        quota.charge(later, 5 * MS);
        assert_eq!(quota.owes(later), Some(50 * MS));
        assert_eq!(quota.owes(later + 30 * MS), Some(20 * MS), "a debt is paid by waiting");
        assert_eq!(quota.owes(later + 50 * MS), None);
    }

    #[test]
    fn a_limit_of_nothing_is_a_thousandth() {
        let start = Instant::now();
        let mut quota = Quota::new(0, start);
        quota.charge(start, MS);
        assert!(quota.owes(start).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_debt_is_paid_by_the_limit_that_holds() {
        let cpu = Cpu::new(Some(100), 2, None);
        cpu.charge(20 * MS);
        assert_eq!(cpu.owes(), Some(100 * MS));
        cpu.resize(Some(500), 2);
        assert_eq!(cpu.owes(), Some(20 * MS));
        cpu.resize(None, 2);
        assert_eq!(cpu.owes(), None);
        cpu.resize(Some(100), 2);
        cpu.charge(11 * MS);
        assert_eq!(cpu.owes(), Some(10 * MS));
    }

    #[tokio::test(start_paused = true)]
    async fn containers_of_one_pod_share_its_limit() {
        let pod = Arc::new(Cpu::new(Some(100), 2, None));
        let first = Cpu::new(Some(1_000), 2, Some(Arc::clone(&pod)));
        let second = Cpu::new(None, 2, Some(Arc::clone(&pod)));
        first.charge(15 * MS);
        assert_eq!(second.owes(), Some(50 * MS));
        assert_eq!((first.used(), second.used(), pod.used()), (15 * MS, Duration::ZERO, 15 * MS));
    }

    /// Does its work at once, as an HTTP guest answers a short request.
    async fn answer(cpu: &Arc<Cpu>, ticker: &Arc<Ticker>, work: Duration) {
        let charged = Arc::clone(cpu);
        Metered::new(async move { charged.charge(work) }, Arc::clone(cpu), Arc::clone(ticker)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_are_answered_in_one_poll_use_up_the_share_too() {
        let engine = wasmtime::Engine::default();
        let ticker = Arc::new(Ticker::start(engine.weak(), 1).unwrap());
        let cpu = Arc::new(Cpu::new(Some(100), 2, None));
        let start = Instant::now();
        for _ in 0..100 {
            answer(&cpu, &ticker, 5 * MS).await;
        }
        let took = start.elapsed();
        assert!(took.abs_diff(4_850 * MS) < 150 * MS, "half a second's work at a tenth: {took:?}");
    }
}
