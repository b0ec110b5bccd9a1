//! Whose turn it is: guests that want a thread at the same time get it in proportion to their weights.
//!
//! Every guest has a virtual clock that runs slower the more weight the guest has; the guest that is furthest behind
//! goes first (as in the kernel's fair scheduler). Guests that wait for nothing but a thread stand in one queue, which
//! is empty most of the time: requests that are answered within a slice never enter it.
//!
//! ```text
//!  polled --> may it run? -- yes --> on a thread --- waits for something, or ends ---> not our business
//!                 |                      ^   |
//!                 no                     |   slice over: queued again
//!                 v                      |   v
//!               queued ------------- first in the queue, and a thread is free: woken
//! ```

use std::cell::Cell;
use std::collections::BTreeMap;
use std::future::Future as _;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::coop;

/// The weight of one whole processor (`cpu.shares` of the kernel, and `MilliCPUToShares` of the kubelet).
pub(crate) const WEIGHT_OF_PROCESSOR: u32 = 1024;
/// How far behind the others a guest's clock may stay: one that slept goes first, but does not make up for the time.
const HEAD_START: Duration = Duration::from_millis(5);

thread_local! {
    /// Whether the guest that is polled on this thread has used up its slice.
    static SLICE_IS_OVER: Cell<bool> = const { Cell::new(false) };
}

/// More than tokio grants a task between two looks at what else there is to do.
const BUDGET_MAX: usize = 256;

/// What a guest awaits when its slice is over: it is polled again when it is its turn.
pub(crate) async fn next_slice() {
    SLICE_IS_OVER.set(true);
    spend_budget();
    tokio::task::yield_now().await;
}

/// Takes what tokio still grants this thread. With something left it would go on with the guests that are woken next
/// before it looks for tasks that were woken from outside, and a kill waited for twice as many slices.
fn spend_budget() {
    let mut nobody = Context::from_waker(Waker::noop());
    for _ in 0..BUDGET_MAX {
        let Poll::Ready(granted) = coop::poll_proceed(&mut nobody) else { return };
        granted.made_progress();
    }
}

/// Wakes a task when this thread has done what there was to do and has looked for timers and sockets, which is when tokio
/// wakes tasks that yield: one that many others wake meanwhile is polled once for all of them. At once outside of tokio.
pub(crate) fn wake_after_look(waker: &Waker) {
    let _ = pin!(tokio::task::yield_now()).poll(&mut Context::from_waker(waker));
}

/// Reports whether the guest that was just polled on this thread could have gone on, but its slice is over.
pub(crate) fn is_cut_short() -> bool {
    SLICE_IS_OVER.get()
}

/// The virtual clock of a guest: nanoseconds on a thread, over its weight.
#[derive(Debug)]
pub(crate) struct FairClock {
    nanos: AtomicU64,
    weight: AtomicU32,
}

impl FairClock {
    pub(crate) fn new(weight: u32) -> Self {
        Self { nanos: AtomicU64::new(0), weight: AtomicU32::new(weight.max(1)) }
    }

    pub(crate) fn set_weight(&self, weight: u32) {
        self.weight.store(weight.max(1), Ordering::Relaxed);
    }

    pub(crate) fn advance(&self, used: Duration) {
        let weighted =
            used.as_nanos() * u128::from(WEIGHT_OF_PROCESSOR) / u128::from(self.weight.load(Ordering::Relaxed));
        self.nanos.fetch_add(u64::try_from(weighted).unwrap_or(u64::MAX >> 1), Ordering::Relaxed);
    }

    /// Returns the time, which is `floor` at least.
    fn catch_up(&self, floor: u64) -> u64 {
        self.nanos.fetch_max(floor, Ordering::Relaxed).max(floor)
    }
}

/// A place in the queue: the virtual time, and a number by which the first comer goes first.
type Place = (u64, u64);

/// The threads of an engine and who waits for them.
#[derive(Debug)]
pub(crate) struct Turns(Mutex<Queue>);

#[derive(Debug)]
struct Queue {
    free: usize,
    /// The virtual time of the last one who got a thread; clocks do not go back behind it by more than `HEAD_START`.
    now: u64,
    comers: u64,
    waiting: BTreeMap<Place, Waker>,
}

impl Queue {
    fn new(threads: usize) -> Self {
        Self { free: threads, now: 0, comers: 0, waiting: BTreeMap::new() }
    }

    fn place(&mut self, clock: &FairClock) -> Place {
        let floor = self.now.saturating_sub(u64::try_from(HEAD_START.as_nanos()).unwrap_or(0));
        self.comers += 1;
        (clock.catch_up(floor), self.comers)
    }

    /// Takes a thread for `place`, unless those who come first need all that are free.
    fn take(&mut self, place: Place) -> bool {
        if self.waiting.range(..place).take(self.free).count() >= self.free {
            return false;
        }
        self.waiting.remove(&place);
        self.free -= 1;
        self.now = self.now.max(place.0);
        true
    }

    /// Returns those who may have a thread now.
    fn next(&self) -> impl Iterator<Item = &Waker> {
        self.waiting.values().take(self.free)
    }

    fn wake_next(&self) {
        self.next().for_each(Waker::wake_by_ref);
    }
}

impl Turns {
    /// Returns a queue for as many guests at once as there are `threads`.
    pub(crate) fn new(threads: usize) -> Self {
        Self(Mutex::new(Queue::new(threads.max(1))))
    }

    /// Gives the thread of the caller to the guest, or remembers whom to wake when it is its turn.
    fn take(&self, place: &mut Option<Place>, clock: &FairClock, waker: &Waker) -> bool {
        let mut queue = self.0.lock();
        let mine = place.unwrap_or_else(|| queue.place(clock));
        let is_taken = queue.take(mine);
        if is_taken {
            *place = None;
        } else {
            *place = Some(mine);
            queue.waiting.insert(mine, waker.clone());
        }
        is_taken
    }

    /// Takes the thread back, and queues the guest again if it could have gone on.
    fn give_back(&self, place: &mut Option<Place>, clock: &FairClock, waker: Option<&Waker>) {
        let mut queue = self.0.lock();
        queue.free += 1;
        if let Some(waker) = waker {
            let mine = queue.place(clock);
            queue.waiting.insert(mine, waker.clone());
            *place = Some(mine);
        }
        queue.wake_next();
    }

    fn leave(&self, place: Place) {
        let mut queue = self.0.lock();
        queue.waiting.remove(&place);
        // It may have been woken and not have come: the next one does not know.
        queue.wake_next();
    }
}

/// One guest's place among the others.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Arc<Turns>,
    place: Option<Place>,
}

impl Turn {
    pub(crate) fn new(turns: Arc<Turns>) -> Self {
        Self { turns, place: None }
    }

    /// Runs `poll` on this thread if it is the guest's turn; otherwise `waker` is woken when it is.
    pub(crate) fn run<T>(&mut self, clock: &FairClock, waker: &Waker, poll: impl FnOnce() -> Poll<T>) -> Poll<T> {
        if !self.turns.take(&mut self.place, clock, waker) {
            return Poll::Pending;
        }
        SLICE_IS_OVER.set(false);
        let mut on_thread = OnThread { turn: self, clock, waker: None };
        let polled = poll();
        on_thread.waker = (SLICE_IS_OVER.take() && polled.is_pending()).then_some(waker);
        polled
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.turns.leave(place);
        }
    }
}

/// Gives the thread back, also if the host panics on the guest's behalf.
struct OnThread<'a> {
    turn: &'a mut Turn,
    clock: &'a FairClock,
    waker: Option<&'a Waker>,
}

impl Drop for OnThread<'_> {
    fn drop(&mut self) {
        self.turn.turns.give_back(&mut self.turn.place, self.clock, self.waker);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::task::Wake;

    use super::*;

    const SLICE: Duration = Duration::from_millis(5);

    /// Guests that always want a thread, in virtual time. Returns how many slices each got.
    fn spin(weights: &[u32], threads: usize, slices: usize) -> Vec<usize> {
        let clocks: Vec<_> = weights.iter().map(|weight| FairClock::new(*weight)).collect();
        let mut queue = Queue::new(threads);
        let mut places: Vec<Place> = Vec::new();
        for clock in &clocks {
            let place = queue.place(clock);
            queue.waiting.insert(place, Waker::noop().clone());
            places.push(place);
        }
        let mut got = vec![0; weights.len()];
        while got.iter().sum::<usize>() < slices {
            let on_thread: Vec<_> = (0..clocks.len()).filter(|guest| queue.take(places[*guest])).collect();
            assert_eq!(on_thread.len(), threads.min(clocks.len()), "no thread stays idle");
            for guest in on_thread {
                got[guest] += 1;
                clocks[guest].advance(SLICE);
                queue.free += 1;
                places[guest] = queue.place(&clocks[guest]);
                queue.waiting.insert(places[guest], Waker::noop().clone());
            }
        }
        got
    }

    /// Expects what each guest gets of a number of slices, give or take one.
    #[track_caller]
    fn check(weights: &[u32], threads: usize, expected: &[usize]) {
        let got = spin(weights, threads, expected.iter().sum());
        let is_close = got.iter().zip(expected).all(|(got, expected)| got.abs_diff(*expected) <= 1);
        assert!(is_close, "{weights:?} on {threads}: {got:?} instead of {expected:?}");
    }

    #[test]
    fn threads_are_shared_by_weight() {
        check(&[1024, 1024], 1, &[200, 200]);
        check(&[256, 768], 1, &[100, 300]);
        check(&[102, 204, 717], 1, &[100, 200, 700]);
        check(&[1024, 1024, 1024], 2, &[200, 200, 200]);
    }

    #[test]
    fn nobody_runs_on_two_threads_at_once() {
        check(&[512, 512, 1024], 2, &[100, 100, 200]);
        // What the heavy one cannot use is shared evenly, and not saved for it.
        check(&[100_000, 100, 100], 2, &[200, 100, 100]);
    }

    #[test]
    fn one_without_a_request_runs_seldom_beside_one_with_but_it_runs() {
        check(&[2, 1024], 1, &[10, 5_120]);
    }

    #[test]
    fn one_that_slept_goes_first_but_does_not_make_up_for_it() {
        let (busy, sleeper) = (FairClock::new(1024), FairClock::new(1024));
        let mut queue = Queue::new(1);
        for _ in 0..1_000 {
            let place = queue.place(&busy);
            assert!(queue.take(place));
            busy.advance(SLICE);
            queue.free += 1;
        }
        let place = queue.place(&busy);
        queue.waiting.insert(place, Waker::noop().clone());
        let mut ahead = 0;
        loop {
            let place = queue.place(&sleeper);
            if !queue.take(place) {
                break;
            }
            ahead += 1;
            sleeper.advance(SLICE);
            queue.free += 1;
        }
        assert_eq!(ahead, 2);
    }

    /// Spins like a guest: every poll is a slice, which `slice` is told about.
    async fn spinner(turns: Arc<Turns>, slice: impl Fn()) {
        let (clock, mut turn) = (FairClock::new(1024), Turn::new(turns));
        let mut guest = std::pin::pin!(async {
            loop {
                slice();
                clock.advance(SLICE);
                next_slice().await;
            }
        });
        std::future::poll_fn(|context| {
            let waker = context.waker().clone();
            turn.run(&clock, &waker, || guest.as_mut().poll(context))
        })
        .await;
    }

    #[test]
    fn who_is_woken_from_outside_waits_for_few_slices() {
        const ROUNDS: u64 = 500;
        let threads = crate::engine::guest_runtime(1).unwrap();
        let turns = Arc::new(Turns::new(1));
        let (slices, woken_at) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let wake = Arc::new(tokio::sync::Notify::new());
        let (now, then, woken) = (Arc::clone(&slices), Arc::clone(&woken_at), Arc::clone(&wake));
        let waiting = threads.spawn(async move {
            let mut waited = 0;
            for _ in 0..ROUNDS {
                woken.notified().await;
                waited = waited.max(now.load(Ordering::SeqCst) - then.load(Ordering::SeqCst));
            }
            waited
        });
        for _ in 0..16 {
            let (now, then, wake) = (Arc::clone(&slices), Arc::clone(&woken_at), Arc::clone(&wake));
            threads.spawn(spinner(Arc::clone(&turns), move || {
                let slice = now.fetch_add(1, Ordering::SeqCst);
                if slice % 37 == 0 {
                    then.store(slice, Ordering::SeqCst);
                    let wake = Arc::clone(&wake);
                    std::thread::spawn(move || wake.notify_one()).join().unwrap();
                }
            }));
        }
        let waited = threads.block_on(waiting).unwrap();
        threads.shutdown_background();
        assert!(waited <= 3, "{waited} slices");
    }

    #[test]
    fn a_guest_that_leaves_hands_its_turn_on() {
        struct Flag(AtomicBool);
        impl Wake for Flag {
            fn wake(self: Arc<Self>) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let turns = Arc::new(Turns::new(1));
        let (first, second) = (FairClock::new(1024), FairClock::new(1024));
        let mut running = Turn::new(Arc::clone(&turns));
        let mut place = None;
        assert!(turns.take(&mut place, &first, Waker::noop()), "the thread is taken");
        let flag = Arc::new(Flag(AtomicBool::new(false)));
        let mut waiting = Turn::new(Arc::clone(&turns));
        assert!(running.run(&first, Waker::noop(), || Poll::Ready(())).is_pending());
        assert!(waiting.run(&second, &Arc::clone(&flag).into(), || Poll::Ready(())).is_pending());
        turns.give_back(&mut place, &first, None);
        assert!(!flag.0.load(Ordering::SeqCst), "the first in the queue is woken, and only that one");
        drop(running);
        assert!(flag.0.load(Ordering::SeqCst));
        assert_eq!(waiting.run(&second, Waker::noop(), || Poll::Ready(7)), Poll::Ready(7));
    }
}
