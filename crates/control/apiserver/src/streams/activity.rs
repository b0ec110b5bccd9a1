//! When something last moved, so that a connection on which nothing does can be ended.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The time of the last movement in either direction.
#[derive(Debug)]
pub(crate) struct Activity(Mutex<Instant>);

impl Default for Activity {
    fn default() -> Self {
        Self(Mutex::new(Instant::now()))
    }
}

impl Activity {
    /// Says that something moves now.
    pub(crate) fn touch(&self) {
        *self.0.lock() = Instant::now();
    }

    /// Completes when nothing has moved for so long.
    pub(crate) async fn idle_for(&self, limit: Duration) {
        loop {
            let end = *self.0.lock() + limit;
            if end <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_moves_is_not_idle() {
        let limit = Duration::from_mins(1);
        let (activity, began) = (Activity::default(), Instant::now());
        let moving = async {
            tokio::time::sleep(Duration::from_secs(45)).await;
            activity.touch();
        };
        tokio::join!(moving, activity.idle_for(limit));
        assert_eq!(began.elapsed(), Duration::from_secs(105));
    }
}
