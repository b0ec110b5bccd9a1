//! HTTP guests, on the guest threads: a fresh instance for each request, or one for many.
//!
//! ```text
//!  handle --> turn (bounded queue) --> fresh: spawn --> instantiate --> call --> head ==> body ==> ended
//!               | full: Overloaded       |                                        deadline up to here
//!               | closed: Closed         +-- reused: pool --> an instance at rest, or a new one
//!  a trap before the head: Trapped; after it: the body breaks off
//!  the client goes away, or kill: the instance is dropped where it is, unless others are in it
//! ```

mod answer;
mod body;
mod clients;
mod egress;
mod handler;
mod instance;
mod onward;
mod pool;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use self::body::Fuse;
pub(crate) use self::egress::Egress;
pub(crate) use self::handler::Handler;

use self::body::{Broken, GuestBody};
use self::clients::Client;
use self::handler::Call;
use self::instance::Plan;
use self::pool::Pool;
use crate::cpu::Metered;
use crate::ctx::Guest;
use crate::engine::Engine;
use crate::error::Error;
use crate::guest::{Allowance, Body, Exit, ExitReason, GuestSpec, Limits, StdStream};

/// What a client should wait before it tries an overloaded guest again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A guest that answers HTTP requests. Clones share it.
#[derive(Clone)]
pub struct HttpGuest(Arc<Shared>);

struct Shared {
    engine: Engine,
    /// How many of the engine's slots an instance takes.
    weight: u32,
    handler: Handler,
    guest: Guest,
    running: Arc<Semaphore>,
    queued: AtomicUsize,
    /// Where instances are reused.
    pool: Option<Pool<Call>>,
    instances: AtomicUsize,
    tasks: TaskTracker,
    killed: CancellationToken,
}

/// Why a request has no answer from the guest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandleError {
    /// As many requests run and wait as may.
    #[error("too many requests are waiting for the guest")]
    Overloaded,
    /// The guest has been stopped.
    #[error("the guest has been stopped")]
    Closed,
    /// The guest did not answer in time.
    #[error("the guest did not answer within {0:?}")]
    DeadlineExceeded(Duration),
    /// The guest trapped, or ran out of memory, before it answered.
    #[error("the guest failed with code {} before it answered", .0.code)]
    Trapped(Exit),
    /// The guest ended without an answer, or answered with an error.
    #[error("the guest did not answer: {0}")]
    NoResponse(String),
    /// The request cannot be shown to a guest.
    #[error("the request cannot be shown to the guest: {0}")]
    BadRequest(&'static str),
}

impl HandleError {
    /// Returns the status that a client should see.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Overloaded | Self::Closed => StatusCode::SERVICE_UNAVAILABLE,
            Self::DeadlineExceeded(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::Trapped(_) | Self::NoResponse(_) => StatusCode::BAD_GATEWAY,
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
        }
    }

    /// Returns how long a client should wait before it tries again, if that can help.
    pub fn retry_after(&self) -> Option<Duration> {
        matches!(self, Self::Overloaded | Self::Closed).then_some(RETRY_AFTER)
    }
}

impl HttpGuest {
    pub(crate) fn new(engine: Engine, weight: u32, handler: Handler, spec: GuestSpec) -> Result<Self, Error> {
        let guest = Guest::new(spec);
        guest.check_mounts()?;
        Ok(Self(Arc::new(Shared {
            running: Arc::new(Semaphore::new(permits(&guest.spec.limits))),
            pool: handler.reuse(&guest.spec.limits.reuse).map(Pool::new),
            instances: AtomicUsize::new(0),
            engine,
            weight,
            handler,
            guest,
            queued: AtomicUsize::new(0),
            tasks: TaskTracker::new(),
            killed: CancellationToken::new(),
        })))
    }

    /// Answers a request. Dropping the future, or the answer's body, drops the instance unless it has other requests.
    ///
    /// # Errors
    /// [`HandleError::status`] says what the client should see.
    pub async fn handle(&self, request: Request<Body>) -> Result<Response<Body>, HandleError> {
        if request.uri().authority().is_none() && !request.headers().contains_key(http::header::HOST) {
            return Err(HandleError::BadRequest("it has neither a Host header nor an authority"));
        }
        let allowed = self.0.guest.spec.limits.request_deadline;
        let deadline = Instant::now().checked_add(allowed).unwrap_or_else(far_future);
        let permit = self.turn(deadline).await?;
        let (head, head_here) = oneshot::channel();
        let (client, client_there) = futures::channel::oneshot::channel();
        let broken = Broken::default();
        let call = Call { request, head, client: Client(client_there), broken: broken.clone(), permit };
        let task = match &self.0.pool {
            None => Some(self.spawn(call, self.slot(deadline).await?)),
            Some(pool) => {
                if let Some(call) = pool.push(call) {
                    self.0.start_instance(call);
                }
                None
            }
        };
        match timeout_at(deadline, head_here).await {
            Err(_) => Err(HandleError::DeadlineExceeded(allowed)),
            Ok(Ok(given)) => Ok(given?.map(|body| GuestBody::new(body, client, broken).boxed())),
            Ok(Err(_)) => match task {
                Some(task) => Err(unanswered(task).await),
                None => Err(HandleError::Closed),
            },
        }
    }

    /// Tells the guest to stop, lets the requests under way end for up to `grace`, and drops the rest. New requests
    /// are still answered while others are under way, because the news may not have reached every client.
    pub async fn drain(&self, grace: Duration) {
        self.0.guest.stop.cancel();
        self.0.tasks.close();
        let _ = tokio::time::timeout(grace, self.0.tasks.wait()).await;
        self.kill();
        self.0.tasks.wait().await;
    }

    /// Drops every request under way and refuses all others.
    pub fn kill(&self) {
        self.0.running.close();
        self.0.killed.cancel();
        if let Some(pool) = &self.0.pool {
            pool.clear();
        }
        self.0.tasks.close();
    }

    /// Returns how many requests are under way.
    pub fn in_flight(&self) -> usize {
        permits(&self.0.guest.spec.limits) - self.0.running.available_permits()
    }

    /// Returns how many instances live. A guest that nobody has asked for a while has none.
    pub fn instances(&self) -> usize {
        self.0.instances.load(Ordering::Relaxed)
    }

    /// Returns how many instances would take another request, where instances are reused.
    pub fn instances_at_rest(&self) -> usize {
        self.0.pool.as_ref().map_or(0, Pool::ready)
    }

    /// Returns the most memory that all instances together have had, in bytes.
    pub fn memory_peak(&self) -> u64 {
        self.0.guest.allowance.budget.peak()
    }

    /// Returns the memory that all instances together have now, in bytes.
    pub fn memory_used(&self) -> u64 {
        self.0.guest.allowance.budget.used()
    }

    /// Returns how long the guest has been on a thread.
    pub fn cpu_time(&self) -> Duration {
        self.0.guest.allowance.cpu.used()
    }

    /// Returns what all instances together may still use, for others that run inside the guest's limits.
    pub fn allowance(&self) -> Allowance {
        self.0.guest.allowance.clone()
    }

    /// Waits for one of the guest's turns.
    async fn turn(&self, deadline: Instant) -> Result<OwnedSemaphorePermit, HandleError> {
        match Arc::clone(&self.0.running).try_acquire_owned() {
            Ok(permit) => Ok(permit),
            Err(TryAcquireError::Closed) => Err(HandleError::Closed),
            Err(TryAcquireError::NoPermits) => {
                let _queued = self.0.queue()?;
                let turn = timeout_at(deadline, Arc::clone(&self.0.running).acquire_owned()).await;
                turn.map_err(|_| HandleError::Overloaded)?.map_err(|_| HandleError::Closed)
            }
        }
    }

    /// Waits for one of the engine's instance slots.
    async fn slot(&self, deadline: Instant) -> Result<OwnedSemaphorePermit, HandleError> {
        match self.0.engine.try_slot(self.0.weight) {
            Some(slot) => Ok(slot),
            None => timeout_at(deadline, self.0.engine.slot(self.0.weight)).await.map_err(|_| HandleError::Overloaded),
        }
    }

    /// Runs the call in an instance of its own; the result is why it failed, if it did.
    fn spawn(&self, call: Call, slot: OwnedSemaphorePermit) -> JoinHandle<Option<Exit>> {
        let shared = Arc::clone(&self.0);
        let work = async move {
            let answer = shared.handler.answer(&shared.engine, &shared.guest, call);
            let failed = shared.attend(answer).await;
            drop(slot);
            failed
        };
        self.0.tasks.spawn_on(work, self.0.engine.threads())
    }
}

impl Shared {
    /// Starts an instance for `first` and whoever comes while it lives.
    fn start_instance(self: &Arc<Self>, first: Call) {
        let shared = Arc::clone(self);
        let work = async move {
            let Some(pool) = &shared.pool else { return };
            let member = pool.join();
            let slot = tokio::select! {
                biased;
                () = shared.killed.cancelled() => return,
                slot = shared.engine.slot(shared.weight) => slot,
            };
            let plan = Plan { engine: &shared.engine, guest: &shared.guest, handler: &shared.handler };
            let take = || pool.take(|call| !call.head.is_closed());
            shared.attend(instance::run(plan, first, member, take, |call| shared.start_instance(call))).await;
            drop(slot);
            if let Some(call) = pool.orphan() {
                shared.start_instance(call);
            }
        };
        self.tasks.spawn_on(work, self.engine.threads());
    }

    /// Stays with an instance to its end, and returns how it failed, if it did.
    async fn attend(&self, instance: impl Future<Output = Option<Exit>>) -> Option<Exit> {
        let _alive = Counted::new(&self.instances);
        let failed = tokio::select! {
            biased;
            () = self.killed.cancelled() => None,
            failed = Metered::new(instance, Arc::clone(&self.guest.allowance.cpu), self.engine.ticker()) => failed,
        };
        if let Some(exit) = &failed {
            self.report(exit);
        }
        failed
    }

    fn queue(&self) -> Result<Counted<'_>, HandleError> {
        let queued = Counted::new(&self.queued);
        if queued.before < self.guest.spec.limits.queue { Ok(queued) } else { Err(HandleError::Overloaded) }
    }

    /// Tells the guest's author why a request failed, where they look first.
    fn report(&self, exit: &Exit) {
        let Some(output) = &self.guest.spec.output else { return };
        if exit.reason != ExitReason::Exited {
            output.write(StdStream::Stderr, format!("{}\n", exit.message.trim_end()).as_bytes());
        }
    }
}

/// Counts something until it is dropped.
struct Counted<'a> {
    count: &'a AtomicUsize,
    before: usize,
}

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        Self { count, before: count.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Returns how many requests the guest may have at once.
fn permits(limits: &Limits) -> usize {
    limits.concurrency.clamp(1, Semaphore::MAX_PERMITS)
}

/// Says why the task ended without a head.
async fn unanswered(task: JoinHandle<Option<Exit>>) -> HandleError {
    match task.await {
        Ok(None) => HandleError::Closed,
        Ok(Some(exit)) if exit.reason == ExitReason::Exited => {
            HandleError::NoResponse(format!("it ended with code {}", exit.code))
        }
        Ok(Some(exit)) => HandleError::Trapped(exit),
        Err(error) => HandleError::Trapped(Exit::host_failure(format!("the host failed: {error}"))),
    }
}

/// A deadline too far to represent; nobody waits a day for a response.
fn far_future() -> Instant {
    Instant::now() + Duration::from_hours(24)
}
