//! Background tasks with a name and an owner. Cancellation goes down, completion comes up.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, error, info_span, warn};

/// The tasks of one component. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stopping: CancellationToken,
    /// Where they run, if not where they are started.
    runtime: Option<Handle>,
}

/// A task on the heap: what wraps it is the same code for all of them, and does not double the space it takes.
type Boxed = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Tasks {
    /// Returns an owner without tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns an owner that stops when this one does, and that this one waits for.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { stopping: self.stopping.child_token(), ..self.clone() }
    }

    /// Returns an owner like [`Tasks::child`] whose tasks run on the threads of another runtime.
    #[must_use]
    pub fn on(&self, runtime: Handle) -> Self {
        Self { runtime: Some(runtime), ..self.child() }
    }

    /// Starts a task that may be dropped at any await once the owner stops.
    pub fn spawn<F>(&self, name: &'static str, task: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (stopping, task): (_, Boxed) = (self.stopping.clone(), Box::pin(task));
        self.start(name, async move {
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
        let task: Boxed = Box::pin(task);
        self.start(name, task)
    }

    fn start(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        let guard = PanicReport(name);
        let task = async move {
            let guard = guard;
            task.await;
            std::mem::forget(guard);
        };
        let task = task.instrument(info_span!("task", name));
        match &self.runtime {
            Some(runtime) => self.tracker.spawn_on(task, runtime),
            None => self.tracker.spawn(task),
        }
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

    #[test]
    fn tasks_run_where_their_owner_says_and_stop_with_its_parent() {
        let thread = |name| {
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            runtime.worker_threads(1).thread_name(name).enable_all().build().expect("a runtime")
        };
        let (here, there) = (thread("here"), thread("there"));
        here.block_on(async {
            let tasks = Tasks::new();
            let (say, said) = tokio::sync::oneshot::channel();
            tasks.on(there.handle().clone()).spawn("traveller", async move {
                let _ = say.send(std::thread::current().name().map(str::to_owned));
                std::future::pending::<()>().await;
            });
            assert_eq!(said.await.expect("it ran").as_deref(), Some("there"));
            tasks.stop(Duration::from_secs(10)).await;
            assert!(tasks.tracker.is_empty());
        });
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
