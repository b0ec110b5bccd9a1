//! When a daemon that fails on a node is tried again: later each time, or the controller and a node that refuses the pod
//! would keep each other busy. Pure: time is a parameter.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use wkube_base::Backoff;

/// 1 s doubling to 15 min (`failedPodsBackoff`).
const BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_mins(15) };

/// After how long without a failure one is forgotten: twice the longest wait, as in `flowcontrol.Backoff`.
const FORGET_AFTER: SignedDuration = SignedDuration::from_mins(30);

/// The failures of all daemons, by the uid of the set and the name of the node.
#[derive(Debug, Default)]
pub(super) struct Retries(BTreeMap<(String, String), Failures>);

#[derive(Debug)]
struct Failures {
    count: u32,
    last: Timestamp,
}

impl Retries {
    /// Notes that a failed pod is being replaced.
    pub(super) fn note(&mut self, set: &str, node: &str, now: Timestamp) {
        self.0.retain(|_, failures| now.duration_since(failures.last) <= FORGET_AFTER);
        let key = (set.to_owned(), node.to_owned());
        let failures = self.0.entry(key).or_insert(Failures { count: 0, last: now });
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
    }

    /// Returns the nodes on which failed pods of a set are not replaced yet, with the time when they may be.
    pub(super) fn waits(&self, set: &str, now: Timestamp) -> BTreeMap<String, Timestamp> {
        let of_set = self.0.iter().filter(|((uid, _), _)| uid == set);
        let until = |failures: &Failures| {
            let wait = SignedDuration::try_from(BACKOFF.after(failures.count)).unwrap_or(SignedDuration::MAX);
            failures.last.checked_add(wait).unwrap_or(Timestamp::MAX)
        };
        let waits = of_set.map(|((_, node), failures)| (node.clone(), until(failures)));
        waits.filter(|(_, until)| *until > now).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::at;

    #[test]
    fn the_first_failure_is_replaced_at_once_and_each_further_one_later() {
        let mut retries = Retries::default();
        assert!(retries.waits("set", at(0)).is_empty());
        retries.note("set", "n", at(0));
        assert_eq!(retries.waits("set", at(0)), BTreeMap::from([("n".to_owned(), at(1))]));
        retries.note("set", "n", at(1));
        assert_eq!(retries.waits("set", at(1)), BTreeMap::from([("n".to_owned(), at(3))]));
        assert!(retries.waits("set", at(3)).is_empty(), "the time has come");
        assert!(retries.waits("other", at(1)).is_empty());
    }

    #[test]
    fn what_has_not_failed_for_long_starts_anew() {
        let mut retries = Retries::default();
        for second in 0..20 {
            retries.note("set", "n", at(second));
        }
        assert_eq!(retries.waits("set", at(20))["n"], at(19 + 15 * 60), "never more than a quarter of an hour");
        retries.note("set", "n", at(19 + 31 * 60));
        assert_eq!(retries.waits("set", at(19 + 31 * 60))["n"], at(20 + 31 * 60));
    }
}
