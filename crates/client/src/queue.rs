//! Which keys want attention: a pure state with time as a parameter, and a small async handle on it.
//!
//! ```text
//!            add                take               done(Settled | RevisitAt | Failed)
//! (unknown) -----> dirty+ready -----> active -----> (unknown) or later
//!                                       | add                        | due
//!                                       v                            v
//!                                  active+dirty -- done --> ready   ready
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use wkube_base::{Backoff, Rng};

use crate::metrics::QueueCounts;

/// How work on a key ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing more to do until somebody asks.
    Settled,
    /// Nothing more to do until then.
    RevisitAt(Instant),
    /// To be tried again with back-off.
    Failed {
        /// What the server asked for; zero if nothing.
        at_least: Duration,
    },
}

/// Which keys want attention. Guarantees: no key is handed out twice at once, and no request for attention is lost,
/// however many arrive.
#[derive(Debug)]
pub struct QueueState<K> {
    backoff: Backoff,
    /// Every ready key is dirty and not active.
    ready: VecDeque<K>,
    dirty: BTreeSet<K>,
    active: BTreeSet<K>,
    /// Keys by when they are due; `due` is the same the other way round.
    later: BTreeSet<(Instant, K)>,
    due: BTreeMap<K, Instant>,
    failures: BTreeMap<K, u32>,
}

impl<K: Ord + Clone> QueueState<K> {
    /// Returns an empty queue.
    pub fn new(backoff: Backoff) -> Self {
        Self {
            backoff,
            ready: VecDeque::new(),
            dirty: BTreeSet::new(),
            active: BTreeSet::new(),
            later: BTreeSet::new(),
            due: BTreeMap::new(),
            failures: BTreeMap::new(),
        }
    }

    /// Asks for attention to a key, now or as soon as the current work on it is done. A wait set for it is over.
    pub fn add(&mut self, key: K) {
        self.forget_later(&key);
        if self.dirty.insert(key.clone()) && !self.active.contains(&key) {
            self.ready.push_back(key);
        }
    }

    /// Asks for attention to a key at `at`. The earliest request wins.
    pub fn add_at(&mut self, key: K, at: Instant) {
        if self.due.get(&key).is_some_and(|due| *due <= at) || self.dirty.contains(&key) {
            return;
        }
        self.forget_later(&key);
        self.later.insert((at, key.clone()));
        self.due.insert(key, at);
    }

    /// Hands out the key that has waited longest. It must be given back with `done`.
    pub fn take(&mut self, now: Instant) -> Option<K> {
        self.promote(now);
        let key = self.ready.pop_front()?;
        self.dirty.remove(&key);
        let fresh = self.active.insert(key.clone());
        debug_assert!(fresh, "a ready key is not active");
        Some(key)
    }

    /// Takes a key back. `jitter` in 0..1 spreads the back-off over its second half, so that keys that failed
    /// together are not tried again together.
    pub fn done(&mut self, key: &K, outcome: Outcome, now: Instant, jitter: f64) {
        if !self.active.remove(key) {
            return;
        }
        match outcome {
            Outcome::Settled | Outcome::RevisitAt(_) => drop(self.failures.remove(key)),
            Outcome::Failed { .. } => *self.failures.entry(key.clone()).or_default() += 1,
        }
        if self.dirty.contains(key) {
            // Somebody asked meanwhile. After a failure the back-off still holds, or a busy neighbour would turn it
            // into a hot loop.
            match outcome {
                Outcome::Settled | Outcome::RevisitAt(_) => self.ready.push_back(key.clone()),
                Outcome::Failed { at_least } => {
                    self.dirty.remove(key);
                    self.add_at(key.clone(), now + self.wait(key, at_least, jitter));
                }
            }
            return;
        }
        match outcome {
            Outcome::Settled => {}
            Outcome::RevisitAt(at) => self.add_at(key.clone(), at),
            Outcome::Failed { at_least } => self.add_at(key.clone(), now + self.wait(key, at_least, jitter)),
        }
    }

    /// Returns when the next waiting key is due.
    pub fn wakes_at(&self) -> Option<Instant> {
        self.later.first().map(|(at, _)| *at)
    }

    /// Returns how many keys are ready or worked on.
    pub fn depth(&self) -> usize {
        self.ready.len() + self.active.len()
    }

    /// Returns how often work on a key has failed in a row.
    pub fn failures(&self, key: &K) -> u32 {
        self.failures.get(key).copied().unwrap_or_default()
    }

    fn wait(&self, key: &K, at_least: Duration, jitter: f64) -> Duration {
        let full = self.backoff.after(self.failures(key));
        full.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0).max(at_least)
    }

    fn promote(&mut self, now: Instant) {
        while let Some((at, _)) = self.later.first()
            && *at <= now
        {
            let (_, key) = self.later.pop_first().expect("first() found one");
            self.due.remove(&key);
            self.add(key);
        }
    }

    fn forget_later(&mut self, key: &K) {
        if let Some(at) = self.due.remove(key) {
            self.later.remove(&(at, key.clone()));
        }
    }
}

/// A shared queue. Clones are handles on the same one.
pub struct Queue<K>(Arc<Shared<K>>);

struct Shared<K> {
    state: Mutex<QueueState<K>>,
    changed: Notify,
    rng: Rng,
    counts: Option<QueueCounts>,
}

impl<K> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K> fmt::Debug for Queue<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

impl<K: Ord + Clone> Queue<K> {
    /// Returns an empty queue.
    pub fn new(backoff: Backoff, rng: Rng) -> Self {
        Self::counted(None, backoff, rng)
    }

    /// Returns an empty queue whose work is counted under `name`.
    pub fn named(name: &str, backoff: Backoff, rng: Rng) -> Self {
        Self::counted(Some(QueueCounts::of(name)), backoff, rng)
    }

    fn counted(counts: Option<QueueCounts>, backoff: Backoff, rng: Rng) -> Self {
        let state = Mutex::new(QueueState::new(backoff));
        Self(Arc::new(Shared { state, changed: Notify::new(), rng, counts }))
    }

    /// Notes how deep the queue is, and what else happened to it.
    fn count(&self, state: &QueueState<K>, more: impl FnOnce(&QueueCounts)) {
        if let Some(counts) = &self.0.counts {
            counts.depth.set(i64::try_from(state.ready.len()).unwrap_or(i64::MAX));
            more(counts);
        }
    }

    /// Asks for attention to a key.
    pub fn add(&self, key: K) {
        let mut state = self.0.state.lock();
        state.add(key);
        self.count(&state, |counts| counts.adds.add(1));
        drop(state);
        self.0.changed.notify_one();
    }

    /// Asks for attention to a key at `at`.
    pub fn add_at(&self, key: K, at: Instant) {
        self.0.state.lock().add_at(key, at);
        self.0.changed.notify_one();
    }

    /// Waits for the next key. Cancel safe: a key is only taken when it is returned. One caller at a time.
    pub async fn take(&self) -> K {
        loop {
            let wakes_at = {
                let mut state = self.0.state.lock();
                if let Some(key) = state.take(Instant::now()) {
                    self.count(&state, |_| {});
                    return key;
                }
                state.wakes_at()
            };
            match wakes_at {
                // `notify_one` keeps a permit, so a change between the look above and this wait is not missed.
                None => self.0.changed.notified().await,
                Some(at) => tokio::select! {
                    biased;
                    () = self.0.changed.notified() => {}
                    () = tokio::time::sleep_until(at) => {}
                },
            }
        }
    }

    /// Takes a key back.
    pub fn done(&self, key: &K, outcome: Outcome) {
        let jitter = self.0.rng.unit();
        let mut state = self.0.state.lock();
        state.done(key, outcome, Instant::now(), jitter);
        let retries = u64::from(matches!(outcome, Outcome::Failed { .. }));
        self.count(&state, |counts| counts.retries.add(retries));
        drop(state);
        self.0.changed.notify_one();
    }

    /// Returns how many keys are ready or worked on.
    pub fn depth(&self) -> usize {
        self.0.state.lock().depth()
    }
}

#[cfg(test)]
mod tests;
