//! The server's own loops: tasks that follow the store for as long as the server runs, and begin anew when a watch ends.

use std::error::Error as StdError;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tracing::warn;
use wkube_base::{Backoff, Tasks};
use wkube_store::Error;

/// Runs `follow` until the store is closed. `follow` looks at everything, then at every change, and returns why it could
/// not go on; `None` if the watch ended without a reason.
pub(crate) fn keep<F>(
    tasks: &Tasks,
    name: &'static str,
    follow: impl Fn() -> F + Send + Sync + 'static,
) -> JoinHandle<()>
where
    F: Future<Output = Option<Error>> + Send,
{
    tasks.spawn(name, async move {
        let mut failures = 0;
        loop {
            let began = Instant::now();
            let error = follow().await;
            if matches!(error, Some(Error::Closed)) {
                return;
            }
            // One that has worked for a while has not failed in a row.
            failures = if began.elapsed() > Backoff::RECONNECT.max { 1 } else { failures + 1 };
            warn!(error = error.as_ref().map(|error| error as &dyn StdError), "follows the store anew");
            sleep(Backoff::RECONNECT.after(failures)).await;
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use parking_lot::Mutex;
    use wkube_store::Revision;

    use super::*;

    /// Follows for the given seconds each time, then until the store is closed; returns the seconds between ends and
    /// new beginnings.
    async fn pauses(lasting: &'static [u64]) -> Vec<f64> {
        let (tasks, times) = (Tasks::new(), Arc::new(Mutex::new(Vec::new())));
        let seen = times.clone();
        let kept = keep(&tasks, "test", move || {
            let times = times.clone();
            async move {
                let turn = times.lock().len() / 2;
                times.lock().push(Instant::now());
                let Some(seconds) = lasting.get(turn) else { return Some(Error::Closed) };
                sleep(Duration::from_secs(*seconds)).await;
                times.lock().push(Instant::now());
                Some(Error::Compacted { requested: Revision(1), oldest: Revision(2) })
            }
        });
        kept.await.expect("it ends with the store");
        let times = seen.lock();
        times[1..].chunks_exact(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn it_begins_anew_ever_later_until_it_has_worked_for_a_while() {
        let rounded: Vec<_> = pauses(&[0, 0, 0, 60, 0]).await.iter().map(|pause| format!("{pause:.1}")).collect();
        assert_eq!(rounded, ["0.1", "0.2", "0.4", "0.1", "0.2"]);
    }
}
