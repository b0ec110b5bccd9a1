//! How soon to look at the memory again: the less is left, the sooner. Pure.

use std::time::Duration;

/// What one processor can touch for the first time in a second: pages have to be cleared (measured: 1 to 1.5 GB).
const TOUCHED_PER_SECOND: u64 = 2 << 30;
/// More processors than this do not clear pages faster.
const PROCESSORS_MAX: u64 = 8;
/// Looks before guests that do nothing but touch memory could use up what is left.
const LOOKS: u64 = 4;
const SOONEST: Duration = Duration::from_millis(10);
/// Looking costs some microseconds: nothing, four times a second.
const LATEST: Duration = Duration::from_millis(250);

/// Returns how long to wait. Guests have memory that they never touched; when they do, they ask nobody.
pub fn until_next_look(available: Option<u64>, processors: usize) -> Duration {
    let Some(available) = available else { return LATEST };
    let processors = u64::try_from(processors).unwrap_or(u64::MAX).clamp(1, PROCESSORS_MAX);
    let millis = available.saturating_mul(1000) / (TOUCHED_PER_SECOND * processors) / LOOKS;
    Duration::from_millis(millis).clamp(SOONEST, LATEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_less_is_left_the_sooner_it_looks() {
        let wait = |mebibytes: u64, processors| until_next_look(Some(mebibytes << 20), processors).as_millis();
        assert_eq!(wait(16 << 10, 2), 250);
        assert_eq!(wait(512, 2), 31);
        assert_eq!(wait(512, 1), 62);
        assert_eq!(wait(10, 2), 10);
        assert_eq!(wait(4 << 10, 512), 62, "memory is not faster than eight processors");
        assert_eq!(until_next_look(None, 2), LATEST);
    }
}
