//! Exponential back-off as a pure value: how long to wait after the n-th failure in a row.

use std::time::Duration;

/// Doubles from `first` up to `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The wait after the first failure.
    pub first: Duration,
    /// The longest wait.
    pub max: Duration,
}

impl Backoff {
    /// Container restarts: 10 s doubling to 5 min (`pkg/kubelet/kubelet.go`, `MaxContainerBackOff`).
    pub const CONTAINER_RESTART: Self = Self { first: Duration::from_secs(10), max: Duration::from_mins(5) };
    /// Image pulls: 10 s doubling to 5 min.
    pub const IMAGE_PULL: Self = Self { first: Duration::from_secs(10), max: Duration::from_mins(5) };
    /// Work-queue retries of controllers: 5 ms doubling to 1000 s in Kubernetes; we stop at 60 s, so that a
    /// repaired cause is noticed within a minute.
    pub const CONTROLLER: Self = Self { first: Duration::from_millis(5), max: Duration::from_mins(1) };
    /// Reconnecting a watch or a tunnel: 100 ms doubling to 10 s.
    pub const RECONNECT: Self = Self { first: Duration::from_millis(100), max: Duration::from_secs(10) };

    /// Returns the wait after `failures` failures in a row; zero failures wait nothing.
    pub fn after(self, failures: u32) -> Duration {
        let Some(doublings) = failures.checked_sub(1) else { return Duration::ZERO };
        // 2^31 times any `first` of a millisecond or more is past every sensible `max`.
        self.first.saturating_mul(1 << doublings.min(31)).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_from_first_to_max_and_stays_there() {
        let waits: Vec<u64> = (0..9).map(|n| Backoff::CONTAINER_RESTART.after(n).as_secs()).collect();
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300, 300]);
    }

    #[test]
    fn never_overflows() {
        assert_eq!(Backoff::CONTAINER_RESTART.after(u32::MAX), Duration::from_mins(5));
    }
}
