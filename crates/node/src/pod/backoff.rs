//! How long a container that ended waits before it runs again, and how Kubernetes writes such a duration.

use std::time::Duration;

use jiff::Timestamp;
use wkube_base::Backoff;

/// A container that stayed away from trouble this long starts again from the shortest wait
/// (`client-go/util/flowcontrol/backoff.go`: twice the longest wait).
const RESET_AFTER: Duration = Duration::from_mins(10);

/// The memory of a container's recent ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CrashLoop {
    ends: u32,
    latest: Option<Timestamp>,
}

impl CrashLoop {
    /// Counts an end at `now` and returns how long to wait before the next start: nothing the first time, then 10 s
    /// doubling to 5 min.
    pub fn ended(&mut self, now: Timestamp) -> Duration {
        let quiet = self.latest.is_none_or(|latest| elapsed(latest, now) > RESET_AFTER);
        self.ends = if quiet { 0 } else { self.ends.saturating_add(1) };
        let wait = Backoff::CONTAINER_RESTART.after(self.ends);
        // The wait itself does not count as health: the clock of `RESET_AFTER` starts when the container may run again.
        self.latest = Some(later(now, wait));
        wait
    }
}

/// Returns `now + wait`, at most the end of time.
pub fn later(now: Timestamp, wait: Duration) -> Timestamp {
    jiff::SignedDuration::try_from(wait).ok().and_then(|wait| now.checked_add(wait).ok()).unwrap_or(Timestamp::MAX)
}

/// Returns how long ago `from` was, nothing if it is in the future (clocks step).
pub fn elapsed(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

/// Writes a duration as Go does: `10s`, `1m20s`, `5m0s`, `1.5s`, `250ms`.
pub fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds == 0 {
        return if duration.is_zero() { "0s".to_owned() } else { format!("{}ms", duration.subsec_millis()) };
    }
    let fraction = match duration.subsec_millis() {
        0 => String::new(),
        millis => format!(".{millis:03}").trim_end_matches('0').to_owned(),
    };
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}{fraction}s"),
        (0, m, s) => format!("{m}m{s}{fraction}s"),
        (h, m, s) => format!("{h}h{m}m{s}{fraction}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_first_restart_is_immediate_then_the_wait_doubles_to_five_minutes() {
        let mut crashes = CrashLoop::default();
        let mut now = at(0);
        let waits: Vec<u64> = std::iter::repeat_with(|| {
            let wait = crashes.ended(now);
            now = later(now, wait);
            wait.as_secs()
        })
        .take(8)
        .collect();
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn ten_quiet_minutes_forgive() {
        let mut crashes = CrashLoop::default();
        crashes.ended(at(0));
        assert_eq!(crashes.ended(at(1)).as_secs(), 10);
        assert_eq!(crashes.ended(at(1 + 10 + 600)).as_secs(), 20, "exactly ten minutes is not more than ten minutes");
        assert_eq!(crashes.ended(at(10_000)).as_secs(), 0);
    }

    #[test]
    fn a_clock_that_steps_back_does_not_forgive() {
        let mut crashes = CrashLoop::default();
        crashes.ended(at(5_000));
        assert_eq!(crashes.ended(at(0)).as_secs(), 10);
    }

    #[test]
    fn durations_read_as_in_go() {
        let texts: Vec<String> =
            [0, 250, 1_500, 10_000, 80_000, 300_000, 3_600_000].map(|ms| go_duration(Duration::from_millis(ms))).into();
        assert_eq!(texts, ["0s", "250ms", "1.5s", "10s", "1m20s", "5m0s", "1h0m0s"]);
    }
}
