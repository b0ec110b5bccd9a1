//! Who leads: a pure decision over a Lease and when it was last seen to change (`client-go/tools/leaderelection`).

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use wkube_api::ObjectKey;

/// How long a leader counts after its last sign of life (`--leader-elect-lease-duration`).
pub(super) const DURATION: Duration = Duration::from_secs(15);
/// A leader that could not renew for this long stops acting; shorter than `DURATION`, so that two never act.
pub(super) const RENEW_WITHIN: Duration = Duration::from_secs(10);
/// How often everyone tries.
pub(super) const RETRY: Duration = Duration::from_secs(2);

/// What a claim of the lease is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// The first of a term. Also where the candidate holds the lease already, say because an answer got lost.
    Begin,
    /// Going on to lead.
    Renew,
}

/// What a candidate has seen. Times are the local monotonic clock's: other machines' clocks prove nothing.
#[derive(Debug, Default)]
pub(super) struct Observed {
    spec: Option<LeaseSpec>,
    since: Duration,
}

impl Observed {
    /// Notes the lease as it is `now`.
    pub(super) fn note(&mut self, lease: &Lease, now: Duration) {
        if self.spec != lease.spec {
            self.spec.clone_from(&lease.spec);
            self.since = now;
        }
    }

    /// Whether whoever holds the lease may still be acting.
    fn holds(&self, now: Duration) -> bool {
        let held =
            self.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).is_some_and(|name| !name.is_empty());
        held && now.saturating_sub(self.since) < DURATION
    }
}

/// Returns the lease to write so that `identity` leads, or goes on leading; `None` while somebody else does.
pub(super) fn claim(
    key: &ObjectKey,
    current: Option<&Lease>,
    observed: &Observed,
    (identity, claim): (&str, Claim),
    (now, wall): (Duration, Timestamp),
) -> Option<Lease> {
    let mut lease = current.cloned().unwrap_or_else(|| Lease {
        metadata: ObjectMeta {
            name: Some(key.name.clone()),
            namespace: Some(key.namespace.clone()),
            ..ObjectMeta::default()
        },
        spec: None,
    });
    let before = lease.spec.take().unwrap_or_default();
    let mine = before.holder_identity.as_deref() == Some(identity);
    if !mine && observed.holds(now) {
        return None;
    }
    let renews = mine && claim == Claim::Renew;
    // As in client-go: the first leader is no transition, and a leader that comes back after a release is one.
    let transitions = before.lease_transitions.unwrap_or(0) + i32::from(!mine && current.is_some());
    lease.spec = Some(LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
        // A new one for each term, also of one holder: the server tells terms apart by it (`apiserver/fence.rs`).
        acquire_time: if renews { before.acquire_time.clone() } else { Some(MicroTime(wall)) },
        renew_time: Some(MicroTime(wall)),
        lease_transitions: Some(transitions),
        ..before
    });
    Some(lease)
}

/// Returns the lease given up, so that the next leader need not wait for it to run out.
pub(super) fn release(mut lease: Lease, wall: Timestamp) -> Lease {
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = Some(String::new());
    spec.lease_duration_seconds = Some(1);
    spec.renew_time = Some(MicroTime(wall));
    lease
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn key() -> ObjectKey {
        ObjectKey::new("kube-system", "x")
    }

    fn claimed(current: Option<&Lease>, observed: &Observed, identity: &str, now: u64) -> Option<Lease> {
        claim(&key(), current, observed, (identity, Claim::Renew), (seconds(now), Timestamp::UNIX_EPOCH))
    }

    fn spec(lease: &Lease) -> &LeaseSpec {
        lease.spec.as_ref().expect("a spec")
    }

    fn held_by_a() -> Lease {
        claimed(None, &Observed::default(), "a", 0).expect("free")
    }

    #[test]
    fn a_lease_that_does_not_exist_is_made_without_a_transition() {
        let lease = held_by_a();
        assert_eq!((spec(&lease).holder_identity.as_deref(), spec(&lease).lease_transitions), (Some("a"), Some(0)));
        assert_eq!(lease.metadata.namespace.as_deref(), Some("kube-system"));
    }

    #[test]
    fn the_leader_renews_without_a_transition() {
        let mut lease = held_by_a();
        spec(&lease);
        lease.metadata.resource_version = Some("7".to_owned());
        let mut observed = Observed::default();
        observed.note(&lease, seconds(0));
        let renewed = claimed(Some(&lease), &observed, "a", 2).expect("mine");
        assert_eq!(
            (spec(&renewed).lease_transitions, &spec(&renewed).acquire_time),
            (Some(0), &spec(&lease).acquire_time)
        );
        assert_eq!(renewed.metadata.resource_version.as_deref(), Some("7"), "only that version is replaced");
    }

    #[test]
    fn a_term_of_the_same_holder_begins_at_another_time() {
        let lease = held_by_a();
        let later = Timestamp::from_second(60).expect("a time");
        let begin = |identity| claim(&key(), Some(&lease), &Observed::default(), identity, (seconds(60), later));
        let again = begin(("a", Claim::Begin)).expect("mine");
        assert_eq!(
            (spec(&again).acquire_time.as_ref(), spec(&again).lease_transitions),
            (Some(&MicroTime(later)), Some(0))
        );
        let renewed = begin(("a", Claim::Renew)).expect("mine");
        assert_eq!(spec(&renewed).acquire_time, spec(&lease).acquire_time);
    }

    #[test]
    fn others_wait_until_it_has_not_changed_for_its_duration_by_their_own_clock() {
        let (lease, mut observed) = (held_by_a(), Observed::default());
        observed.note(&lease, seconds(100));
        // The same again: no sign of life, although it was read.
        observed.note(&lease, seconds(110));
        assert_eq!(claimed(Some(&lease), &observed, "b", 114), None);
        let taken = claimed(Some(&lease), &observed, "b", 115).expect("run out");
        assert_eq!((spec(&taken).holder_identity.as_deref(), spec(&taken).lease_transitions), (Some("b"), Some(1)));
    }

    #[test]
    fn a_renewal_starts_the_wait_again_whatever_its_timestamp_says() {
        let (lease, mut observed) = (held_by_a(), Observed::default());
        observed.note(&lease, seconds(0));
        let mut renewed = lease.clone();
        // A leader whose clock is an hour behind.
        renewed.spec.get_or_insert_default().renew_time = Some(MicroTime(Timestamp::MIN));
        observed.note(&renewed, seconds(14));
        assert_eq!(claimed(Some(&renewed), &observed, "b", 28), None);
    }

    #[test]
    fn a_released_lease_is_taken_at_once() {
        let (lease, mut observed) = (release(held_by_a(), Timestamp::UNIX_EPOCH), Observed::default());
        observed.note(&lease, seconds(5));
        assert!(claimed(Some(&lease), &observed, "b", 5).is_some());
    }
}
