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

/// How far a guest may run ahead of its share: the period of the kernel's own bandwidth control
/// (`cpu.cfs_period_us`, kubelet's default).
const PERIOD: Duration = Duration::from_millis(100);

/// What one guest has used, summed over everything that runs for it, and what it may use.
#[derive(Debug)]
pub(crate) struct Cpu {
    used: AtomicU64,
    quota: Option<Mutex<Quota>>,
}

impl Cpu {
    /// `millis` is the limit in thousandths of a processor.
    pub(crate) fn new(millis: Option<u32>) -> Self {
        let quota = millis.map(|millis| Mutex::new(Quota::new(millis, Instant::now())));
        Self { used: AtomicU64::new(0), quota }
    }

    pub(crate) fn used(&self) -> Duration {
        Duration::from_nanos(self.used.load(Ordering::Relaxed))
    }

    /// Charges time on a thread and returns how long the guest has to stay off.
    fn charge(&self, used: Duration) -> Option<Duration> {
        self.used.fetch_add(nanos(used), Ordering::Relaxed);
        self.quota.as_ref().and_then(|quota| quota.lock().charge(Instant::now(), used))
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

    fn charge(&mut self, now: Instant, used: Duration) -> Option<Duration> {
        let earned = now.saturating_duration_since(self.filled) * self.millis / 1000;
        self.filled = now;
        let surplus = earned.saturating_sub(self.owed);
        let saved = (self.saved + surplus).min(self.saved_max());
        self.owed = self.owed.saturating_sub(earned) + used.saturating_sub(saved);
        self.saved = saved.saturating_sub(used);
        (!self.owed.is_zero()).then(|| self.owed * 1000 / self.millis)
    }
}

/// A guest's future. Its polls are charged to the guest, and the epoch moves while they last; a guest over its share
/// is not polled until it has earned it. Whoever may end the guest must watch beside it, not inside.
pub(crate) struct Metered<F> {
    future: Pin<Box<F>>,
    cpu: Arc<Cpu>,
    ticker: Arc<Ticker>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl<F: Future> Metered<F> {
    pub(crate) fn new(future: F, cpu: Arc<Cpu>, ticker: Arc<Ticker>) -> Self {
        Self { future: Box::pin(future), cpu, ticker, pause: None }
    }
}

impl<F: Future> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        if let Some(pause) = &mut this.pause {
            ready!(pause.as_mut().poll(context));
            this.pause = None;
        }
        let on_thread = this.ticker.enter();
        let before = thread_time();
        let result = this.future.as_mut().poll(context);
        let used = thread_time().saturating_sub(before);
        drop(on_thread);
        if let Some(wait) = this.cpu.charge(used)
            && result.is_pending()
        {
            let mut pause = Box::pin(tokio::time::sleep(wait));
            // Registers for the wake-up: the guest's own may come earlier, and is answered after the pause.
            if pause.as_mut().poll(context).is_pending() {
                this.pause = Some(pause);
            }
        }
        result
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
            now += quota.charge(now, slice).unwrap_or_default();
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
        assert_eq!(quota.charge(later, 10 * MS), None);
        assert_eq!(quota.charge(later, 5 * MS), Some(50 * MS));
    }

    #[test]
    fn a_limit_of_nothing_is_a_thousandth() {
        let start = Instant::now();
        assert!(Quota::new(0, start).charge(start, MS).is_some());
    }
}
