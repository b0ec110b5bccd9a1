//! `Controller`: the shell around a reconciler. It decides which keys want attention and when; what to do about one
//! key is the reconciler's.
//!
//! A reconciler gathers what it may see from listers, calls its pure `plan`, and performs the plan with the client it
//! is given. The shell promises it: every cache it reads is ready; a key is worked on by one worker at a time; before
//! a key is looked at again, the caches show everything that was written for it (see [`barrier`](crate::barrier));
//! failures and panics are retried with back-off and stop nothing else.

use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use futures::stream::{FuturesUnordered, StreamExt as _};
use jiff::Timestamp;
use tokio::time::Instant;
use tracing::{debug, warn};
use wkube_api::ObjectKey;
use wkube_base::metrics::Histogram;
use wkube_base::{Backoff, Clock, Rng, Tasks};

use crate::barrier::Writes;
use crate::cache::{Change, Lister, Source};
use crate::client::Client;
use crate::error::Error;
use crate::kind::{Kind, Revision};
use crate::metrics;
use crate::queue::{Outcome, Queue};

/// How many keys one controller works on at once unless told otherwise (kube-controller-manager: 5 per controller).
const WORKERS: usize = 8;

/// How long a key waits for the caches to show its own writes. They normally do within milliseconds; a cut watch
/// needs its reconnect. Afterwards the key goes on: plans are safe on old data, only wasteful.
const CATCH_UP_MAX: Duration = Duration::from_secs(10);

/// Brings one object a step closer to what it should be.
pub trait Reconcile: Send + Sync + 'static {
    /// Returns the name in logs and metrics, such as `replicaset`.
    fn name(&self) -> &'static str;

    /// Looks at the object of this key, which may be gone, and does what is needed now. Every write goes through
    /// `client`: it notes them, so that the key is not looked at again before the caches show them.
    ///
    /// # Errors
    /// Anything; the key is tried again with back-off.
    fn reconcile(&self, key: &ObjectKey, client: &Client) -> impl Future<Output = Result<Next, Error>> + Send;
}

/// When to look at a key again, other than when something changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// When something changes.
    Done,
    /// After this long.
    After(Duration),
    /// At this time.
    At(Timestamp),
}

impl From<Option<Timestamp>> for Next {
    /// Turns a plan's `revisit_at` into when to look again.
    fn from(revisit_at: Option<Timestamp>) -> Self {
        revisit_at.map_or(Self::Done, Self::At)
    }
}

/// What a controller has done so far.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Reconciliations that ended well.
    pub succeeded: AtomicU64,
    /// Reconciliations that failed or panicked.
    pub failed: AtomicU64,
    /// Keys that went on although the caches had not caught up with their writes.
    pub impatient: AtomicU64,
}

/// A running controller.
#[derive(Debug, Clone)]
pub struct Handle {
    queue: Queue<ObjectKey>,
    metrics: Arc<Metrics>,
}

impl Handle {
    /// Asks for a key to be looked at.
    pub fn trigger(&self, key: ObjectKey) {
        self.queue.add(key);
    }

    /// Returns the counters.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Returns how many keys wait or are worked on, not counting those that wait for a time.
    pub fn depth(&self) -> usize {
        self.queue.depth()
    }
}

/// A controller under construction: what it watches, and how hard it works.
pub struct Controller<R> {
    reconciler: R,
    queue: Queue<ObjectKey>,
    sources: Vec<Arc<dyn Source>>,
    workers: usize,
}

impl<R: fmt::Debug> fmt::Debug for Controller<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Controller").field("reconciler", &self.reconciler).finish_non_exhaustive()
    }
}

impl<R: Reconcile> Controller<R> {
    /// Returns a controller that watches nothing yet.
    pub fn new(reconciler: R, rng: &Rng) -> Self {
        let queue = Queue::named(reconciler.name(), Backoff::CONTROLLER, rng.split());
        Self { reconciler, queue, sources: Vec::new(), workers: WORKERS }
    }

    /// Looks at every object of this kind when it changes.
    #[must_use]
    pub fn for_each<K: Kind>(self, lister: &Lister<K>) -> Self {
        self.watches(lister, |change| vec![change.key()])
    }

    /// Looks at the controlling owner, of kind `Owner`, of every object that changes, also when the owner changes.
    #[must_use]
    pub fn owned_by<Owner: Kind, K: Kind>(self, lister: &Lister<K>) -> Self {
        self.watches(lister, |change| {
            let objects = [Some(change.object()), change.before()];
            let mut owners: Vec<ObjectKey> =
                objects.into_iter().flatten().filter_map(|object| owner_key::<Owner, K>(object)).collect();
            owners.dedup();
            owners
        })
    }

    /// Looks at the keys that `affected` names for each change. It may read listers.
    #[must_use]
    pub fn watches<K: Kind>(
        self,
        lister: &Lister<K>,
        affected: impl Fn(&Change<K>) -> Vec<ObjectKey> + Send + 'static,
    ) -> Self {
        let queue = self.queue.clone();
        lister.on_change(move |change| {
            for key in affected(change) {
                queue.add(key);
            }
        });
        self.reads(lister)
    }

    /// Waits for this cache too before planning, and for it to show our own writes, without being triggered by it.
    #[must_use]
    pub fn reads<K: Kind>(mut self, lister: &Lister<K>) -> Self {
        self.sources.push(Arc::new(lister.clone()));
        self
    }

    /// Sets how many keys are worked on at once.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers.max(1);
        self
    }

    /// Starts the controller; it stops with `tasks`.
    pub fn start(self, client: &Client, clock: &Clock, tasks: &Tasks) -> Handle {
        let handle = Handle { queue: self.queue.clone(), metrics: Arc::default() };
        let name = self.reconciler.name();
        let shell = Shell {
            work_duration: metrics::work_duration(name),
            reconciler: self.reconciler,
            queue: self.queue,
            sources: self.sources,
            client: client.clone(),
            clock: clock.clone(),
            metrics: Arc::clone(&handle.metrics),
        };
        let workers = self.workers;
        tasks.spawn(name, async move { shell.run(workers).await });
        handle
    }
}

/// Returns the key of the controlling owner, if it is of kind `Owner`.
fn owner_key<Owner: Kind, K: Kind>(object: &K) -> Option<ObjectKey> {
    let owner = object.controller_owner()?;
    let group = owner.api_version.rsplit_once('/').map_or("", |(group, _)| group);
    (owner.kind == Owner::KIND && group == Owner::GROUP).then(|| ObjectKey::new(object.namespace(), owner.name.clone()))
}

struct Shell<R> {
    reconciler: R,
    queue: Queue<ObjectKey>,
    sources: Vec<Arc<dyn Source>>,
    client: Client,
    clock: Clock,
    metrics: Arc<Metrics>,
    work_duration: Arc<Histogram>,
}

impl<R: Reconcile> Shell<R> {
    /// Works on keys for ever. All workers are futures of this one task: reconciling waits far more than it computes,
    /// and a simulation replays it exactly.
    async fn run(&self, workers: usize) {
        for source in &self.sources {
            source.caught_up(Revision(1)).await;
        }
        debug!(controller = self.reconciler.name(), "caches are ready");
        let mut working = FuturesUnordered::new();
        let mut settling = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                Some((key, outcome, writes)) = working.next() => settling.push(self.settle(key, outcome, writes)),
                Some((key, outcome)) = settling.next() => self.queue.done(&key, outcome),
                key = self.queue.take(), if working.len() < workers => working.push(self.work(key)),
            }
        }
    }

    async fn work(&self, key: ObjectKey) -> (ObjectKey, Outcome, Arc<Writes>) {
        let writes = Arc::new(Writes::new());
        let client = self.client.recording(&writes);
        let began = Instant::now();
        let reconciling = AssertUnwindSafe(self.reconciler.reconcile(&key, &client)).catch_unwind();
        let outcome = match reconciling.await {
            Ok(Ok(next)) => {
                self.metrics.succeeded.fetch_add(1, Ordering::Relaxed);
                self.outcome(next)
            }
            Ok(Err(error)) => {
                self.metrics.failed.fetch_add(1, Ordering::Relaxed);
                report(self.reconciler.name(), &key, &error);
                Outcome::Failed { at_least: error.retry_after().unwrap_or_default() }
            }
            Err(_panic) => {
                self.metrics.failed.fetch_add(1, Ordering::Relaxed);
                tracing::error!(controller = self.reconciler.name(), %key, "reconciling panicked");
                Outcome::Failed { at_least: Duration::ZERO }
            }
        };
        self.work_duration.observe(began.elapsed().as_secs_f64());
        (key, outcome, writes)
    }

    fn outcome(&self, next: Next) -> Outcome {
        match next {
            Next::Done => Outcome::Settled,
            Next::After(wait) => Outcome::RevisitAt(Instant::now() + wait),
            Next::At(time) => {
                let wait = Duration::try_from(time.duration_since(self.clock.now())).unwrap_or_default();
                Outcome::RevisitAt(Instant::now() + wait)
            }
        }
    }

    /// Keeps the key until the caches show what was written for it.
    async fn settle(&self, key: ObjectKey, outcome: Outcome, writes: Arc<Writes>) -> (ObjectKey, Outcome) {
        if writes.is_empty() {
            return (key, outcome);
        }
        let catching_up = async {
            for source in &self.sources {
                source.caught_up(writes.needed(source.kind())).await;
            }
        };
        if tokio::time::timeout(CATCH_UP_MAX, catching_up).await.is_err() {
            self.metrics.impatient.fetch_add(1, Ordering::Relaxed);
            warn!(controller = self.reconciler.name(), %key, "the caches do not show our own writes yet; going on");
        }
        (key, outcome)
    }
}

/// Losing a race is the normal way of life; everything else is worth a line.
fn report(controller: &'static str, key: &ObjectKey, error: &Error) {
    if error.is_conflict() || error.is_already_exists() || error.is_not_found() {
        debug!(controller, %key, %error, "lost a race, looking again");
        return;
    }
    warn!(controller, %key, error = error as &dyn std::error::Error, "reconciling failed, trying again later");
}

#[cfg(test)]
mod tests;
