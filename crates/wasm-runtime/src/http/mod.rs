//! HTTP guests: a fresh instance for each request, on the guest threads.
//!
//! ```text
//!  handle --> admit (bounded queue) --> spawn --> instantiate --> call --> head ==> body ==> ended
//!               | full: Overloaded                  |              |        deadline up to here
//!               | closed: Closed                    trap before the head: Trapped; after it: the body breaks off
//!  the client goes away, or kill: the instance is dropped where it is
//! ```

mod body;
mod egress;
mod handler;

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
use self::handler::{Call, Client};
use crate::cpu::Metered;
use crate::ctx::Guest;
use crate::engine::Engine;
use crate::error::Error;
use crate::guest::{Allowance, Body, Exit, ExitReason, GuestSpec, StdStream};

/// Requests that may wait, for each that may run: at the default of 64, a thousand.
const QUEUED_PER_RUNNING: usize = 16;
/// What a client should wait before it tries an overloaded guest again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A guest that answers HTTP requests. Clones share it.
#[derive(Clone)]
pub struct HttpGuest(Arc<Shared>);

struct Shared {
    engine: Engine,
    handler: Handler,
    guest: Guest,
    running: Arc<Semaphore>,
    queued: AtomicUsize,
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

/// What a request holds while it runs.
struct Permits {
    _running: OwnedSemaphorePermit,
    _slot: OwnedSemaphorePermit,
}

impl HttpGuest {
    pub(crate) fn new(engine: Engine, handler: Handler, spec: GuestSpec) -> Result<Self, Error> {
        let guest = Guest::new(spec);
        guest.check_mounts()?;
        Ok(Self(Arc::new(Shared {
            running: Arc::new(Semaphore::new(guest.spec.limits.concurrency.clamp(1, Semaphore::MAX_PERMITS))),
            engine,
            handler,
            guest,
            queued: AtomicUsize::new(0),
            tasks: TaskTracker::new(),
            killed: CancellationToken::new(),
        })))
    }

    /// Answers a request with a fresh instance. Dropping the future, or the answer's body, drops the instance.
    ///
    /// # Errors
    /// [`HandleError::status`] says what the client should see.
    pub async fn handle(&self, request: Request<Body>) -> Result<Response<Body>, HandleError> {
        if request.uri().authority().is_none() && !request.headers().contains_key(http::header::HOST) {
            return Err(HandleError::BadRequest("it has neither a Host header nor an authority"));
        }
        let allowed = self.0.guest.spec.limits.request_deadline;
        let deadline = Instant::now().checked_add(allowed).unwrap_or_else(far_future);
        let permits = self.admit(deadline).await?;
        let (head, head_here) = oneshot::channel();
        let (client, client_there) = oneshot::channel();
        let broken = Broken::default();
        let task = self.spawn(Call { request, head, client: Client(client_there), broken: broken.clone() }, permits);
        match timeout_at(deadline, head_here).await {
            Err(_) => Err(HandleError::DeadlineExceeded(allowed)),
            Ok(Ok(Ok(response))) => Ok(response.map(|body| GuestBody::new(body, client, broken).boxed())),
            Ok(Ok(Err(code))) => Err(HandleError::NoResponse(format!("it returned the error {code}"))),
            Ok(Err(_)) => Err(unanswered(task).await),
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
        self.0.tasks.close();
    }

    /// Returns how many requests are under way.
    pub fn in_flight(&self) -> usize {
        self.0.tasks.len()
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

    /// Waits for a turn: one of the guest's, then one of the engine's instance slots.
    async fn admit(&self, deadline: Instant) -> Result<Permits, HandleError> {
        let running = match Arc::clone(&self.0.running).try_acquire_owned() {
            Ok(running) => running,
            Err(TryAcquireError::Closed) => return Err(HandleError::Closed),
            Err(TryAcquireError::NoPermits) => {
                let _queued = self.0.queue()?;
                let turn = timeout_at(deadline, Arc::clone(&self.0.running).acquire_owned()).await;
                turn.map_err(|_| HandleError::Overloaded)?.map_err(|_| HandleError::Closed)?
            }
        };
        let slot = match self.0.engine.try_slot() {
            Some(slot) => slot,
            None => timeout_at(deadline, self.0.engine.slot()).await.map_err(|_| HandleError::Overloaded)?,
        };
        Ok(Permits { _running: running, _slot: slot })
    }

    /// Runs the call on the guest threads; the result is why it failed, if it did.
    fn spawn(&self, call: Call, permits: Permits) -> JoinHandle<Option<Exit>> {
        let shared = Arc::clone(&self.0);
        let work = async move {
            let answer = shared.handler.answer(&shared.engine, &shared.guest, call);
            let failed = tokio::select! {
                biased;
                () = shared.killed.cancelled() => None,
                failed = Metered::new(answer, Arc::clone(&shared.guest.allowance.cpu), shared.engine.ticker()) => failed,
            };
            if let Some(exit) = &failed {
                shared.report(exit);
            }
            drop(permits);
            failed
        };
        self.0.tasks.spawn_on(work, self.0.engine.threads())
    }
}

impl Shared {
    fn queue(&self) -> Result<Queued<'_>, HandleError> {
        let bound = self.guest.spec.limits.concurrency.saturating_mul(QUEUED_PER_RUNNING);
        let queued = Queued(&self.queued);
        if self.queued.fetch_add(1, Ordering::Relaxed) < bound { Ok(queued) } else { Err(HandleError::Overloaded) }
    }

    /// Tells the guest's author why a request failed, where they look first.
    fn report(&self, exit: &Exit) {
        let Some(output) = &self.guest.spec.output else { return };
        if exit.reason != ExitReason::Exited {
            output.write(StdStream::Stderr, format!("{}\n", exit.message.trim_end()).as_bytes());
        }
    }
}

/// Counts a waiting request until it is dropped.
struct Queued<'a>(&'a AtomicUsize);

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
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
