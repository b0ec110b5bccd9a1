//! Waiting for real parts: on a condition, with a deadline and a message.

use std::time::Duration;

use tokio::time::Instant;

/// How often a wait looks again.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Waits until `is_so`.
///
/// # Panics
/// After a minute, with what was waited for.
pub(crate) async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let ends = Instant::now() + Duration::from_mins(1);
    while !is_so().await {
        assert!(Instant::now() < ends, "{what}: not within a minute");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
