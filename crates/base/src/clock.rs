//! Wall time. Intervals use `tokio::time`; this is for what gets written into objects.

use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;

/// A source of wall time: the system's, or one that a test moves by hand.
#[derive(Debug, Clone, Default)]
pub struct Clock(Source);

#[derive(Debug, Clone, Default)]
enum Source {
    #[default]
    System,
    Manual(Arc<Mutex<Timestamp>>),
    /// Starts at a given time and advances with tokio's (possibly paused) clock.
    Simulated {
        start: Timestamp,
        since: tokio::time::Instant,
    },
}

impl Clock {
    /// Returns the system's clock.
    pub fn system() -> Self {
        Self::default()
    }

    /// Returns a clock that stands still until `set`.
    pub fn manual(now: Timestamp) -> Self {
        Self(Source::Manual(Arc::new(Mutex::new(now))))
    }

    /// Returns a clock that starts at `start` and follows `tokio::time`, for simulations with paused time.
    pub fn simulated(start: Timestamp) -> Self {
        Self(Source::Simulated { start, since: tokio::time::Instant::now() })
    }

    /// Returns the time now.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => Timestamp::now(),
            Source::Manual(now) => *now.lock(),
            Source::Simulated { start, since } => {
                *start + jiff::SignedDuration::try_from(since.elapsed()).unwrap_or(jiff::SignedDuration::MAX)
            }
        }
    }

    /// Moves a manual clock; does nothing to the others.
    pub fn set(&self, to: Timestamp) {
        if let Source::Manual(now) = &self.0 {
            *now.lock() = to;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_stands_still_until_it_is_set() {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        assert_eq!(clock.now(), Timestamp::UNIX_EPOCH);
        let later = Timestamp::from_second(60).expect("in range");
        clock.clone().set(later);
        assert_eq!(clock.now(), later);
    }

    #[tokio::test(start_paused = true)]
    async fn a_simulated_clock_follows_paused_time() {
        let clock = Clock::simulated(Timestamp::UNIX_EPOCH);
        tokio::time::advance(std::time::Duration::from_secs(5)).await;
        assert_eq!(clock.now().as_second(), 5);
    }
}
