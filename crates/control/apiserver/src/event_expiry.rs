//! Events live for an hour after their last change, as etcd's leases have it (`--event-ttl`).
//!
//! ```text
//! store.watch(events) ─> Expiries (by time) ── the first is due ─> delete, if it has not changed since
//! ```
//! A sweep looks only at what has expired, however many events there are.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, sleep_until};
use tracing::warn;
use wkube_api::Object;
use wkube_base::{Clock, Tasks};
use wkube_store::{Entry, Error, Key, Op, Precondition, Range, Revision, Signal, Store, Txn};

use crate::encoding;
use crate::follow;
use crate::limits;

/// Where they are kept; `events.k8s.io` is another view of the same objects.
const PREFIX: &str = "/registry/core/events/";

/// When which event expires. Pure.
#[derive(Debug, Default, PartialEq, Eq)]
struct Expiries {
    by_time: BTreeMap<Timestamp, BTreeSet<Key>>,
    // Looked up for every change and never iterated.
    by_key: HashMap<Key, (Timestamp, Revision)>,
}

impl Expiries {
    /// Notes a new state of an event that lasts until `at`.
    fn put(&mut self, key: &Key, at: Timestamp, modified: Revision) {
        self.forget(key);
        self.by_time.entry(at).or_default().insert(key.clone());
        self.by_key.insert(key.clone(), (at, modified));
    }

    /// Drops an event that is gone.
    fn forget(&mut self, key: &Key) {
        let Some((at, _)) = self.by_key.remove(key) else { return };
        if let Some(keys) = self.by_time.get_mut(&at) {
            keys.remove(key);
            if keys.is_empty() {
                self.by_time.remove(&at);
            }
        }
    }

    /// Returns when the next one expires.
    fn next(&self) -> Option<Timestamp> {
        self.by_time.first_key_value().map(|(at, _)| *at)
    }

    /// Returns at most `limit` that have expired, in the state that was noted.
    fn due(&self, now: Timestamp, limit: usize) -> Vec<(Key, Revision)> {
        let expired = self.by_time.range(..=now).flat_map(|(_, keys)| keys);
        expired.take(limit).filter_map(|key| Some((key.clone(), self.by_key.get(key)?.1))).collect()
    }
}

/// Starts deleting what has expired.
pub(crate) fn start(store: Arc<dyn Store>, clock: Clock, tasks: &Tasks) {
    follow::keep(tasks, "event-expiry", move || {
        let (store, clock) = (store.clone(), clock.clone());
        async move { follow(&*store, &clock).await }
    });
}

/// Follows all events until the watch ends; returns why.
async fn follow(store: &dyn Store, clock: &Clock) -> Option<Error> {
    let listed = match store.list(&Range { prefix: PREFIX.to_owned(), ..Range::default() }) {
        Ok(listed) => listed,
        Err(error) => return Some(error),
    };
    let mut expiries = Expiries::default();
    for entry in &listed.entries {
        expiries.put(
            &entry.key,
            expiry(last_change(entry).unwrap_or_else(|| clock.now()).min(clock.now())),
            entry.modified,
        );
    }
    let mut watch = match store.watch(PREFIX, listed.revision) {
        Ok(watch) => watch,
        Err(error) => return Some(error),
    };
    loop {
        let wake = wake_at(&expiries, clock.now());
        tokio::select! {
            biased;
            signal = watch.next() => match signal? {
                Ok(Signal::Progress(_)) => {}
                Ok(Signal::Event(event)) => match &event.now {
                    Some(entry) => expiries.put(&event.key, expiry(clock.now()), entry.modified),
                    None => expiries.forget(&event.key),
                },
                Err(error) => return Some(error),
            },
            () = sleep_until(wake) => {
                if let Err(error) = sweep(store, &mut expiries, clock.now()).await {
                    return Some(error);
                }
            }
        }
    }
}

/// Returns when to look next: at the first expiry, but so late that several go at once, and so soon that a machine that
/// slept (which stops tokio's clock) does not keep old events.
fn wake_at(expiries: &Expiries, now: Timestamp) -> Instant {
    let wait = expiries
        .next()
        .map_or(limits::EXPIRY_LOOK_MAX, |at| Duration::try_from(at.duration_since(now)).unwrap_or_default());
    Instant::now() + wait.clamp(limits::EXPIRY_LOOK_MIN, limits::EXPIRY_LOOK_MAX)
}

/// Deletes what has expired, in commits of bounded size.
async fn sweep(store: &dyn Store, expiries: &mut Expiries, now: Timestamp) -> Result<(), Error> {
    loop {
        let due = expiries.due(now, limits::EXPIRY_BATCH);
        if due.is_empty() {
            return Ok(());
        }
        let mut txn = Txn::default();
        for (key, modified) in &due {
            txn.preconditions.push(Precondition::Modified(key.clone(), *modified));
            txn.ops.push(Op::Delete(key.clone()));
        }
        match store.commit(txn).await {
            Ok(_) => due.iter().for_each(|(key, _)| expiries.forget(key)),
            // It was changed or deleted meanwhile; the watch will say how.
            Err(Error::Conflict { key, .. }) => expiries.forget(&key),
            Err(error) => {
                warn!(%error, "expired events cannot be deleted");
                return Err(error);
            }
        }
    }
}

fn expiry(changed: Timestamp) -> Timestamp {
    let ttl = SignedDuration::try_from(limits::EVENT_TTL).unwrap_or(SignedDuration::MAX);
    changed.saturating_add(ttl).unwrap_or(Timestamp::MAX)
}

/// Returns when an event that was found at start was last changed, as far as it says so itself.
fn last_change(entry: &Entry) -> Option<Timestamp> {
    const TIMES: [&[&str]; 4] =
        [&["series", "lastObservedTime"], &["lastTimestamp"], &["eventTime"], &["metadata", "creationTimestamp"]];
    let event: Object = encoding::decode(&entry.value, entry.modified)?;
    TIMES.iter().filter_map(|path| event.str_at(path).parse().ok()).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn keys(due: Vec<(Key, Revision)>) -> Vec<String> {
        due.into_iter().map(|(key, revision)| format!("{key}@{}", revision.0)).collect()
    }

    #[test]
    fn what_expires_first_goes_first_and_no_more_than_asked_for() {
        let mut expiries = Expiries::default();
        for (key, second) in [("c", 30), ("a", 10), ("b", 20)] {
            expiries.put(&key.into(), at(second), Revision(7));
        }
        assert_eq!(expiries.next(), Some(at(10)));
        assert_eq!(keys(expiries.due(at(9), 10)), [""; 0]);
        assert_eq!(keys(expiries.due(at(20), 10)), ["a@7", "b@7"]);
        assert_eq!(keys(expiries.due(at(99), 2)), ["a@7", "b@7"]);
    }

    #[test]
    fn a_change_gives_a_new_hour_and_the_new_state_is_the_one_that_expires() {
        let mut expiries = Expiries::default();
        expiries.put(&"a".into(), at(10), Revision(1));
        expiries.put(&"a".into(), at(50), Revision(2));
        assert_eq!(keys(expiries.due(at(49), 9)), [""; 0]);
        assert_eq!(keys(expiries.due(at(50), 9)), ["a@2"]);
    }

    #[test]
    fn nothing_is_left_of_what_is_gone() {
        let mut expiries = Expiries::default();
        expiries.put(&"a".into(), at(10), Revision(1));
        expiries.forget(&"a".into());
        expiries.forget(&"never".into());
        assert_eq!(expiries, Expiries::default());
    }

    #[test]
    fn an_old_event_tells_its_age_itself() {
        let entry = |json: &str| Entry {
            key: "k".into(),
            value: json.to_owned().into(),
            created: Revision(2),
            modified: Revision(2),
            version: 1,
        };
        let event =
            r#"{"metadata":{"creationTimestamp":"2026-01-01T00:00:00Z"},"lastTimestamp":"2026-01-01T00:10:00Z"}"#;
        assert_eq!(last_change(&entry(event)), "2026-01-01T00:10:00Z".parse().ok());
        assert_eq!(last_change(&entry(r#"{"metadata":{},"eventTime":null}"#)), None);
    }
}
