//! Background tasks with a name and an owner. Cancellation goes down, completion comes up.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, error, info_span, warn};

/// The tasks of one component. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stopping: CancellationToken,
}

impl Tasks {
    /// Returns an owner without tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns an owner that stops when this one does, and that this one waits for.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { tracker: self.tracker.clone(), stopping: self.stopping.child_token() }
    }

    /// Starts a task that may be dropped at any await once the owner stops.
    pub fn spawn<F>(&self, name: &'static str, task: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stopping = self.stopping.clone();
        self.spawn_to_end(name, async move {
            tokio::select! {
                biased;
                () = stopping.cancelled() => {}
                () = task => {}
            }
        })
    }

    /// Starts a task that watches `stopping()` itself and is waited for to its end.
    pub fn spawn_to_end<F>(&self, name: &'static str, task: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let guard = PanicReport(name);
        let task = async move {
            let guard = guard;
            task.await;
            std::mem::forget(guard);
        };
        self.tracker.spawn(task.instrument(info_span!("task", name)))
    }

    /// Completes when the owner has been told to stop.
    pub fn stopping(&self) -> CancellationToken {
        self.stopping.clone()
    }

    /// Tells every task to stop, without waiting.
    pub fn cancel(&self) {
        self.stopping.cancel();
    }

    /// Tells every task to stop and waits for them up to `deadline`.
    pub async fn stop(&self, deadline: Duration) {
        self.stopping.cancel();
        self.tracker.close();
        if tokio::time::timeout(deadline, self.tracker.wait()).await.is_err() {
            warn!(left = self.tracker.len(), "tasks did not stop in time");
        }
    }
}

/// Says so when a task unwinds. A task that is cancelled at an await drops it without a panic, silently.
struct PanicReport(&'static str);

impl Drop for PanicReport {
    fn drop(&mut self) {
        if std::thread::panicking() {
            error!(task = self.0, "a task panicked; its component may be degraded");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn stop_ends_tasks_of_children_too() {
        let tasks = Tasks::new();
        tasks.child().spawn("sleeper", std::future::pending());
        tasks.stop(Duration::from_secs(1)).await;
        assert!(tasks.tracker.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_child_stops_alone() {
        let tasks = Tasks::new();
        let child = tasks.child();
        child.cancel();
        assert!(!tasks.stopping().is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_to_the_end_finishes_its_work() {
        let tasks = Tasks::new();
        let stopping = tasks.stopping();
        let (done, seen) = tokio::sync::oneshot::channel();
        tasks.spawn_to_end("drainer", async move {
            stopping.cancelled().await;
            tokio::time::sleep(Duration::from_millis(500)).await;
            let _ = done.send(());
        });
        tasks.stop(Duration::from_secs(1)).await;
        assert!(seen.await.is_ok());
    }
}
