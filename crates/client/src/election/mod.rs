//! Leader election with a Lease: of several servers one runs what must run once.
//!
//! ```text
//! campaign ──lease is free──> lead: `start` on tasks of this term ──not renewed in time──> stop them ──> campaign
//! ```

mod plan;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};
use wkube_api::ObjectKey;
use wkube_base::{Clock, Rng, Tasks};

use crate::api::Api;
use crate::client::Client;
use crate::error::Error;
use plan::Observed;

/// How long what the leader runs may take to stop. It is told before the lease runs out.
const STOP_WITHIN: Duration = Duration::from_secs(4);
/// Giving up the lease on the way out is a courtesy, not worth a long wait.
const RELEASE_WITHIN: Duration = Duration::from_secs(1);

/// A candidate for one Lease.
pub struct Candidate {
    /// Who reads and writes the Lease.
    pub client: Client,
    /// The Lease.
    pub lease: ObjectKey,
    /// The candidate's name, different from all others'.
    pub identity: String,
    /// For the times in the Lease, which people read and no candidate trusts.
    pub clock: Clock,
    /// Spreads the attempts.
    pub rng: Rng,
}

impl Candidate {
    /// Campaigns until `tasks` stop; whenever elected, calls `start` with tasks that stop when the term ends.
    pub fn run(self, tasks: &Tasks, start: impl Fn(&Tasks) + Send + Sync + 'static) {
        let owner = tasks.clone();
        tasks.spawn_to_end("leader-election", async move { self.campaign(&owner, &start).await });
    }

    async fn campaign(&self, owner: &Tasks, start: &(impl Fn(&Tasks) + Send + Sync)) {
        // An attempt that hangs must fail before the lease runs out.
        let leases: Api<Lease> = Api::new(&self.client.with_timeout(plan::RENEW_WITHIN / 2));
        let (began, mut observed, stopping) = (Instant::now(), Observed::default(), owner.stopping());
        let mut term: Option<(Tasks, Instant)> = None;
        loop {
            let asked = Instant::now();
            let attempt = tokio::select! {
                () = stopping.cancelled() => break,
                attempt = self.attempt(&leases, &mut observed, began) => attempt,
            };
            match (attempt, &mut term) {
                // From when it was asked for: the answer may have taken its time.
                (Ok(true), Some((_, renewed))) => *renewed = asked,
                (Ok(true), None) => {
                    info!(lease = %self.lease.name, identity = self.identity, "leading");
                    // Tasks of their own: they end with the term, and only they are waited for then.
                    let tasks = Tasks::new();
                    start(&tasks);
                    term = Some((tasks, asked));
                }
                (Ok(false), Some(_)) => self.step_down(&mut term, "somebody else leads").await,
                (Ok(false), None) => {}
                (Err(error), _) => debug!(%error, "failed to read or write the lease"),
            }
            if term.as_ref().is_some_and(|(_, renewed)| renewed.elapsed() >= plan::RENEW_WITHIN) {
                self.step_down(&mut term, "the lease could not be renewed in time").await;
            }
            // Jitter, as client-go has, so that candidates do not try in step.
            let wait = plan::RETRY.mul_f64(1.0 + self.rng.unit() * 0.2);
            tokio::select! {
                () = stopping.cancelled() => break,
                () = tokio::time::sleep(wait) => {}
            }
        }
        if let Some((tasks, _)) = term {
            tasks.stop(STOP_WITHIN).await;
            // If it fails, the lease runs out by itself.
            let _ = timeout(RELEASE_WITHIN, self.release(&leases)).await;
        }
    }

    async fn step_down(&self, term: &mut Option<(Tasks, Instant)>, reason: &str) {
        if let Some((tasks, _)) = term.take() {
            warn!(lease = %self.lease.name, reason, "not leading any more");
            tasks.stop(STOP_WITHIN).await;
        }
    }

    /// Tries to get or to keep the lease; returns whether this candidate has it.
    async fn attempt(&self, leases: &Api<Lease>, observed: &mut Observed, began: Instant) -> Result<bool, Error> {
        let current = leases.find(&self.lease).await?;
        let now = began.elapsed();
        if let Some(lease) = &current {
            observed.note(lease, now);
        }
        let claim = plan::claim(&self.lease, current.as_ref(), observed, &self.identity, (now, self.clock.now()));
        let Some(claim) = claim else { return Ok(false) };
        let written = match current {
            Some(_) => leases.replace(&claim).await,
            None => leases.create(&claim).await,
        };
        match written {
            Ok(lease) => {
                observed.note(&lease, began.elapsed());
                Ok(true)
            }
            // Somebody was faster; the next attempt shows who.
            Err(error) if error.is_conflict() || error.is_already_exists() => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn release(&self, leases: &Api<Lease>) -> Result<(), Error> {
        let Some(lease) = leases.find(&self.lease).await? else { return Ok(()) };
        let mine = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()) == Some(&self.identity);
        let wall: Timestamp = self.clock.now();
        if mine { leases.replace(&plan::release(lease, wall)).await.map(drop) } else { Ok(()) }
    }
}
