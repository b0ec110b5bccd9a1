//! Leader election with a Lease: of several servers one runs what must run once.
//!
//! ```text
//! campaign ──lease is free──> lead: `start` on tasks of this term ──not renewed in time──> stop them ──> campaign
//!                                                                  └─a write was fenced─┘
//! ```
//! A leader that was paused does not know that its term is over. Its writes are tied to the term (`Client::in_term`), so
//! that the server refuses them.

mod plan;
mod term;

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
use plan::{Claim, Observed};

pub use self::term::Term;

/// How long what the leader runs may take to stop. It is told before the lease runs out.
const STOP_WITHIN: Duration = Duration::from_secs(4);
/// Giving up the lease on the way out is a courtesy, not worth a long wait.
const RELEASE_WITHIN: Duration = Duration::from_secs(1);

/// A term, and what runs in it.
struct Leading {
    term: Term,
    tasks: Tasks,
    /// When the last renewal that succeeded was asked for.
    renewed: Instant,
}

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
    /// Campaigns until `tasks` stop; whenever elected, calls `start` with the term and tasks that stop when it ends.
    pub fn run(self, tasks: &Tasks, start: impl Fn(&Term, &Tasks) + Send + Sync + 'static) {
        let owner = tasks.clone();
        tasks.spawn_to_end("leader-election", async move { self.campaign(&owner, &start).await });
    }

    async fn campaign(&self, owner: &Tasks, start: &(impl Fn(&Term, &Tasks) + Send + Sync)) {
        // An attempt that hangs must fail before the lease runs out.
        let leases: Api<Lease> = Api::new(&self.client.with_timeout(plan::RENEW_WITHIN / 2));
        let (began, mut observed, stopping) = (Instant::now(), Observed::default(), owner.stopping());
        let mut leading: Option<Leading> = None;
        loop {
            let asked = Instant::now();
            let attempt = tokio::select! {
                () = stopping.cancelled() => break,
                attempt = self.attempt(&leases, &mut observed, claim_of(leading.as_ref()), began) => attempt,
            };
            match (attempt, &mut leading) {
                // From when it was asked for: the answer may have taken its time.
                (Ok(Some(_)), Some(leading)) => leading.renewed = asked,
                (Ok(Some(claimed)), None) => leading = Some(self.lead(claimed, asked, start)),
                (Ok(None), Some(_)) => self.step_down(&mut leading, "somebody else leads").await,
                (Ok(None), None) => {}
                (Err(error), _) => debug!(%error, "failed to read or write the lease"),
            }
            if leading.as_ref().is_some_and(|leading| leading.renewed.elapsed() >= plan::RENEW_WITHIN) {
                self.step_down(&mut leading, "the lease could not be renewed in time").await;
            }
            // Jitter, as client-go has, so that candidates do not try in step.
            let wait = plan::RETRY.mul_f64(1.0 + self.rng.unit() * 0.2);
            tokio::select! {
                () = stopping.cancelled() => break,
                () = over(leading.as_ref()) => {
                    self.step_down(&mut leading, "a write came after the term").await;
                }
                () = tokio::time::sleep(wait) => {}
            }
        }
        if let Some(Leading { tasks, .. }) = leading {
            tasks.stop(STOP_WITHIN).await;
            // If it fails, the lease runs out by itself.
            let _ = timeout(RELEASE_WITHIN, self.release(&leases)).await;
        }
    }

    /// Begins the term of a Lease that was `claimed` at this revision.
    fn lead(&self, claimed: u64, asked: Instant, start: &(impl Fn(&Term, &Tasks) + Send + Sync)) -> Leading {
        info!(lease = %self.lease.name, identity = self.identity, "leading");
        // Tasks of their own: they end with the term, and only they are waited for then.
        let (term, tasks) = (Term::new(&self.lease, claimed), Tasks::new());
        start(&term, &tasks);
        Leading { term, tasks, renewed: asked }
    }

    async fn step_down(&self, leading: &mut Option<Leading>, reason: &str) {
        if let Some(Leading { tasks, .. }) = leading.take() {
            warn!(lease = %self.lease.name, reason, "not leading any more");
            tasks.stop(STOP_WITHIN).await;
        }
    }

    /// Tries to get or to keep the lease; returns its revision if this candidate has it.
    async fn attempt(
        &self,
        leases: &Api<Lease>,
        observed: &mut Observed,
        claim: Claim,
        began: Instant,
    ) -> Result<Option<u64>, Error> {
        let current = leases.find(&self.lease).await?;
        let now = began.elapsed();
        if let Some(lease) = &current {
            observed.note(lease, now);
        }
        let times = (now, self.clock.now());
        let claimed = plan::claim(&self.lease, current.as_ref(), observed, (&self.identity, claim), times);
        let Some(claimed) = claimed else { return Ok(None) };
        let written = match current {
            Some(_) => leases.replace(&claimed).await,
            None => leases.create(&claimed).await,
        };
        match written {
            Ok(lease) => {
                observed.note(&lease, began.elapsed());
                let revision = lease.metadata.resource_version.and_then(|revision| revision.parse().ok());
                revision.map(Some).ok_or_else(|| Error::other("the lease was written without a resourceVersion"))
            }
            // Somebody was faster; the next attempt shows who.
            Err(error) if error.is_conflict() || error.is_already_exists() => Ok(None),
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

/// Returns what the next attempt is.
fn claim_of(leading: Option<&Leading>) -> Claim {
    if leading.is_some() { Claim::Renew } else { Claim::Begin }
}

/// Completes when the term is known to be over; never while there is none.
async fn over(leading: Option<&Leading>) {
    match leading {
        Some(leading) => leading.term.over().await,
        None => std::future::pending().await,
    }
}
