//! Which pod is decided next. Pure: time is a parameter.
//!
//! ```text
//!   add --> active --take--> deciding --rejected--> parked --wake, flush--> back-off --> active
//!                                     `--failed---------------------------> back-off
//! ```
//! As kube-scheduler's (`backend/queue/scheduling_queue.go`): active pods by priority, then by age; a rejected pod waits
//! for an event that its filters name, and at least its back-off.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use wkube_api::ObjectKey;
use wkube_base::Backoff;

use crate::pod::PodInfo;

/// How long a pod waits between two decisions: 1 s doubling to 10 s.
pub const BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(10) };

/// How long a pod stays parked at most. A hint that is wrong makes a pod slow, not stuck.
pub const PARKED_MAX: Duration = Duration::from_mins(5);

/// The order of active pods: high priority first, then who came first.
type Rank = (Reverse<i32>, u64);

/// The pods without a node.
#[derive(Debug, Default)]
pub struct PodQueue {
    pods: BTreeMap<ObjectKey, Waiting>,
    active: BTreeMap<Rank, ObjectKey>,
    later: BTreeSet<(Instant, ObjectKey)>,
    arrivals: u64,
}

#[derive(Debug)]
struct Waiting {
    pod: Arc<PodInfo>,
    arrival: u64,
    attempts: u32,
    place: Place,
}

impl Waiting {
    /// Whether this is the pod that was handed out, and not a namesake that came later.
    fn is_in_hand(&self, pod: &PodInfo) -> bool {
        self.place == Place::Deciding && self.pod.uid() == pod.uid()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// In `active`.
    Active,
    /// Handed out.
    Deciding,
    /// In `later`, until its back-off is over.
    BackingOff { until: Instant },
    /// In `later`, until it has been parked for too long; woken by events before that.
    Parked { rejected_by: BTreeSet<&'static str>, backoff_until: Instant, until: Instant },
}

impl PodQueue {
    /// Takes in a pod without a node, new or changed. A change that matters to scheduling ends its wait; another one
    /// (our own report in its status, say) only replaces what is known of it.
    pub fn set(&mut self, pod: Arc<PodInfo>) {
        let key = pod.key();
        let Some(known) = self.pods.get_mut(&key) else {
            self.insert(&key, pod);
            return;
        };
        let alike = known.pod.schedules_like(&pod);
        let same_pod = known.pod.uid() == pod.uid();
        let same_rank = known.pod.priority() == pod.priority();
        if alike || same_pod && known.place == Place::Deciding {
            known.pod = pod;
            return;
        }
        if same_pod && same_rank {
            known.pod = pod;
            self.activate(&key);
        } else {
            // Another pod of this name, or another place in the order.
            self.remove(&key);
            self.insert(&key, pod);
        }
    }

    /// Takes in that a pod needs no node any more: it has one, or is gone.
    pub fn remove(&mut self, key: &ObjectKey) {
        self.unqueue(key);
        self.pods.remove(key);
    }

    /// Hands out the pod to decide next. It comes back through `rejected`, `failed` or `remove`.
    pub fn take(&mut self, now: Instant) -> Option<Arc<PodInfo>> {
        self.promote(now);
        let (_, key) = self.active.pop_first()?;
        let waiting = self.pods.get_mut(&key).expect("an active pod is known");
        waiting.place = Place::Deciding;
        waiting.attempts = waiting.attempts.saturating_add(1);
        Some(Arc::clone(&waiting.pod))
    }

    /// Parks a pod that these filters turned away on every node.
    pub fn rejected(&mut self, pod: &PodInfo, rejected_by: BTreeSet<&'static str>, now: Instant) {
        let key = pod.key();
        let Some(waiting) = self.pods.get_mut(&key).filter(|waiting| waiting.is_in_hand(pod)) else { return };
        let backoff_until = now + BACKOFF.after(waiting.attempts);
        let until = now + PARKED_MAX;
        waiting.place = Place::Parked { rejected_by, backoff_until, until };
        self.later.insert((until, key));
    }

    /// Lets a pod be decided again after its back-off: something failed that has nothing to do with the cluster's state.
    pub fn failed(&mut self, pod: &PodInfo, now: Instant) {
        let key = pod.key();
        let Some(waiting) = self.pods.get(&key).filter(|waiting| waiting.is_in_hand(pod)) else { return };
        self.back_off(key, now + BACKOFF.after(waiting.attempts));
    }

    /// Wakes the parked pods that an event could help, by the filters that rejected them.
    pub fn wake(&mut self, helps: impl Fn(&BTreeSet<&'static str>) -> bool) {
        let woken: Vec<(ObjectKey, Instant)> = self
            .pods
            .iter()
            .filter_map(|(key, waiting)| match &waiting.place {
                Place::Parked { rejected_by, backoff_until, .. } if helps(rejected_by) => {
                    Some((key.clone(), *backoff_until))
                }
                Place::Parked { .. } | Place::Active | Place::Deciding | Place::BackingOff { .. } => None,
            })
            .collect();
        for (key, until) in woken {
            self.back_off(key, until);
        }
    }

    /// Returns when `take` will have something, if it has nothing now.
    pub fn wakes_at(&self) -> Option<Instant> {
        self.later.first().map(|(at, _)| *at)
    }

    /// Returns how many pods wait for a node.
    pub fn count(&self) -> usize {
        self.pods.len()
    }

    fn insert(&mut self, key: &ObjectKey, pod: Arc<PodInfo>) {
        self.arrivals += 1;
        let waiting = Waiting { pod, arrival: self.arrivals, attempts: 0, place: Place::Deciding };
        self.pods.insert(key.clone(), waiting);
        self.activate(key);
    }

    fn activate(&mut self, key: &ObjectKey) {
        self.unqueue(key);
        let Some(waiting) = self.pods.get_mut(key) else { return };
        waiting.place = Place::Active;
        self.active.insert((Reverse(waiting.pod.priority()), waiting.arrival), key.clone());
    }

    fn back_off(&mut self, key: ObjectKey, until: Instant) {
        self.unqueue(&key);
        if let Some(waiting) = self.pods.get_mut(&key) {
            waiting.place = Place::BackingOff { until };
            self.later.insert((until, key));
        }
    }

    /// Takes a pod out of whatever order it stands in.
    fn unqueue(&mut self, key: &ObjectKey) {
        let Some(waiting) = self.pods.get(key) else { return };
        match &waiting.place {
            Place::Active => {
                self.active.remove(&(Reverse(waiting.pod.priority()), waiting.arrival));
            }
            Place::BackingOff { until } | Place::Parked { until, .. } => {
                self.later.remove(&(*until, key.clone()));
            }
            Place::Deciding => {}
        }
    }

    fn promote(&mut self, now: Instant) {
        while let Some((at, key)) = self.later.first().cloned()
            && at <= now
        {
            self.activate(&key);
        }
    }
}

#[cfg(test)]
mod tests;
