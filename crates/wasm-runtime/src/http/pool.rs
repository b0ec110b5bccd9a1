//! Which instance takes which request, where instances are reused: one queue, from which instances take when they are
//! at rest, so that no request waits behind a guest that computes while another could have it. Pure but for its wakers.

use std::collections::{BTreeMap, VecDeque};
use std::task::Waker;

use parking_lot::Mutex;

use crate::turns;

/// The requests of one guest that wait for an instance, and the instances that wait for requests.
pub(super) struct Pool<C> {
    state: Mutex<State<C>>,
    /// How many requests one instance takes at once.
    concurrency: usize,
}

struct State<C> {
    waiting: VecDeque<C>,
    /// Instances that would take a request when they were at rest the last time.
    ready: BTreeMap<u64, Seat>,
    /// Instances that have been started and were not at rest yet.
    starting: usize,
    members: u64,
}

/// An instance that would take a request.
struct Seat {
    waker: Waker,
    /// How many requests it has.
    load: usize,
    /// Whether its guest has the thread: it looks for requests when it comes to rest, which is within a slice of time.
    is_working: bool,
}

/// What an instance that has come to rest does next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rest<C> {
    /// It waits to be woken.
    Wait,
    /// It takes what waits.
    Take,
    /// It leaves what waits to a new instance, to be started with this request.
    Start(C),
}

impl<C> Pool<C> {
    pub(super) fn new(concurrency: usize) -> Self {
        let state = State { waiting: VecDeque::new(), ready: BTreeMap::new(), starting: 0, members: 0 };
        Self { state: Mutex::new(state), concurrency }
    }

    /// Takes a request in. Returns it if no instance is going to have it: then a new one is to be started with it.
    pub(super) fn push(&self, call: C) -> Option<C> {
        let mut state = self.state.lock();
        if let Some(seat) = state.ready.values().min_by_key(|seat| (seat.is_working, seat.load)) {
            if !seat.is_working {
                // The requests that the thread is about to read are answered with this one.
                turns::wake_after_look(&seat.waker);
            }
            state.waiting.push_back(call);
            return None;
        }
        // Instances on their way bring room for this many besides the requests that they are started with.
        if state.waiting.len() < state.starting * (self.concurrency - 1) {
            state.waiting.push_back(call);
            return None;
        }
        state.starting += 1;
        Some(call)
    }

    /// Returns the next request that is still `wanted`.
    pub(super) fn take(&self, wanted: impl Fn(&C) -> bool) -> Option<C> {
        let mut state = self.state.lock();
        while let Some(call) = state.waiting.pop_front() {
            if wanted(&call) {
                return Some(call);
            }
        }
        None
    }

    /// Notes an instance that was started because [`Self::push`] or [`Self::rest`] said so.
    pub(super) fn join(&self) -> Member<'_, C> {
        let mut state = self.state.lock();
        state.members += 1;
        Member { pool: self, id: state.members, is_starting: true }
    }

    /// Returns a request that waits although no instance is going to have it, to start one with it.
    pub(super) fn orphan(&self) -> Option<C> {
        self.state.lock().orphan()
    }

    /// Returns how many instances are at rest and would take a request.
    pub(super) fn ready(&self) -> usize {
        let state = self.state.lock();
        if state.waiting.is_empty() { state.ready.values().filter(|seat| !seat.is_working).count() } else { 0 }
    }

    /// Drops everything that waits.
    pub(super) fn clear(&self) {
        self.state.lock().waiting.clear();
    }
}

impl<C> State<C> {
    fn orphan(&mut self) -> Option<C> {
        if !self.ready.is_empty() || self.starting > 0 {
            return None;
        }
        let call = self.waiting.pop_front()?;
        self.starting += 1;
        Some(call)
    }
}

/// One instance's place in the pool.
pub(super) struct Member<'a, C> {
    pool: &'a Pool<C>,
    id: u64,
    is_starting: bool,
}

impl<C> Member<'_, C> {
    /// The instance's guest gets the thread.
    pub(super) fn work(&self) {
        if let Some(seat) = self.pool.state.lock().ready.get_mut(&self.id) {
            seat.is_working = true;
        }
    }

    /// The instance is at rest. `room` is how many requests it has if it would take another.
    pub(super) fn rest(&mut self, waker: &Waker, room: Option<usize>) -> Rest<C> {
        let mut state = self.pool.state.lock();
        if std::mem::take(&mut self.is_starting) {
            state.starting -= 1;
        }
        match room {
            Some(_) if !state.waiting.is_empty() => Rest::Take,
            Some(load) => {
                state.ready.insert(self.id, Seat { waker: waker.clone(), load, is_working: false });
                Rest::Wait
            }
            None => {
                state.ready.remove(&self.id);
                state.orphan().map_or(Rest::Wait, Rest::Start)
            }
        }
    }
}

impl<C> Drop for Member<'_, C> {
    fn drop(&mut self) {
        let mut state = self.pool.state.lock();
        state.ready.remove(&self.id);
        if self.is_starting {
            state.starting -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn waker() -> (Arc<Woken>, Waker) {
        let woken = Arc::new(Woken::default());
        (Arc::clone(&woken), Waker::from(woken))
    }

    #[test]
    fn the_first_request_starts_an_instance_and_the_next_ones_wait_for_it_as_far_as_it_has_room() {
        let pool = Pool::new(3);
        assert_eq!(pool.push(1), Some(1));
        assert_eq!((pool.push(2), pool.push(3)), (None, None));
        assert_eq!(pool.push(4), Some(4), "one more than a new instance takes");
    }

    #[test]
    fn an_instance_of_one_request_at_a_time_is_started_for_each() {
        let pool = Pool::new(1);
        assert_eq!((pool.push(1), pool.push(2)), (Some(1), Some(2)));
    }

    #[test]
    fn a_request_wakes_the_instance_that_has_least_to_do() {
        let pool = Pool::new(4);
        let (_, _) = (pool.push(1), pool.push(5));
        let (busy, idle) = (waker(), waker());
        let (mut first, mut second) = (pool.join(), pool.join());
        pool.clear();
        assert_eq!(first.rest(&busy.1, Some(2)), Rest::Wait);
        second.is_starting = false;
        assert_eq!(second.rest(&idle.1, Some(0)), Rest::Wait);
        assert_eq!(pool.push(6), None);
        assert_eq!((busy.0.0.load(Ordering::Relaxed), idle.0.0.load(Ordering::Relaxed)), (0, 1));
        assert_eq!(pool.take(|_| true), Some(6));
    }

    #[test]
    fn an_instance_that_computes_leaves_what_waits_to_a_new_one() {
        let pool = Pool::new(2);
        assert_eq!(pool.push(1), Some(1));
        let mut member = pool.join();
        assert_eq!(pool.push(2), None, "the new instance may have it");
        let (_, waker) = waker();
        assert_eq!(member.rest(&waker, None), Rest::Start(2), "but it computes");
        assert_eq!(pool.push(3), None, "there is one on its way again");
    }

    #[test]
    fn an_instance_that_works_takes_what_comes_meanwhile_when_it_is_at_rest_or_leaves_it_to_a_new_one() {
        let pool = Pool::new(2);
        assert_eq!(pool.push(1), Some(1));
        let mut member = pool.join();
        assert_eq!(pool.push(2), None);
        let (woken, waker) = waker();
        assert_eq!(member.rest(&waker, Some(1)), Rest::Take);
        assert_eq!(pool.take(|_| true), Some(2));
        assert_eq!(member.rest(&waker, Some(0)), Rest::Wait);
        member.work();
        assert_eq!((pool.push(3), pool.ready()), (None, 0));
        assert_eq!(woken.0.load(Ordering::Relaxed), 0, "it looks by itself");
        assert_eq!(member.rest(&waker, Some(0)), Rest::Take);
        assert_eq!(pool.take(|_| true), Some(3));
        member.work();
        assert_eq!(pool.push(4), None);
        assert_eq!(member.rest(&waker, None), Rest::Start(4));
    }

    #[test]
    fn an_instance_that_goes_leaves_no_request_behind() {
        let pool = Pool::new(2);
        assert_eq!(pool.push(1), Some(1));
        let member = pool.join();
        assert_eq!(pool.push(2), None);
        assert_eq!(pool.orphan(), None, "somebody is on the way");
        drop(member);
        assert_eq!(pool.orphan(), Some(2));
        assert_eq!(pool.orphan(), None);
    }

    #[test]
    fn requests_that_nobody_waits_for_are_passed_over() {
        let pool = Pool::new(4);
        assert_eq!(pool.push(1), Some(1));
        assert_eq!((pool.push(2), pool.push(3)), (None, None));
        assert_eq!(pool.take(|call| *call == 3), Some(3));
        assert_eq!(pool.take(|_| true), None);
    }
}
