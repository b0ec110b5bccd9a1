//! Goes on with a guest that yields: a guest by WASI 0.3 does so between the head of its answer and the body
//! (`wit-bindgen` yields to run what it spawned). To let go of the thread there costs a turn for each request, and the
//! head is sent in a packet of its own.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures::task::AtomicWaker;
use tokio::task::coop;
use tokio::time::Instant;

use crate::turns;

/// How long a guest stays on its thread although it yields, and how long an instance goes on taking requests, before
/// others get the thread.
pub(super) const LONG_TURN: Duration = Duration::from_millis(1);

/// A future that is polled again at once when it woke itself, unless it has had a long turn or its slice is over.
pub(super) struct Onward<F> {
    future: F,
    wakes: Arc<Wakes>,
    waker: Waker,
}

/// Tells wakes during a poll, which are ours to answer, from those after it, which are the task's.
#[derive(Default)]
struct Wakes {
    is_woken: AtomicBool,
    /// Empty during a poll.
    task: AtomicWaker,
}

impl<F> Onward<F> {
    pub(super) fn new(future: F) -> Self {
        let wakes = Arc::new(Wakes::default());
        Self { future, waker: Waker::from(Arc::clone(&wakes)), wakes }
    }
}

impl<F: Future + Unpin> Future for Onward<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Self { future, wakes, waker } = &mut *self;
        let mut begun = None;
        loop {
            drop(wakes.task.take());
            wakes.is_woken.store(false, Ordering::SeqCst);
            if let Poll::Ready(output) = Pin::new(&mut *future).poll(&mut Context::from_waker(waker)) {
                return Poll::Ready(output);
            }
            // Before the look, so that who comes after it wakes the task.
            wakes.task.register(context.waker());
            if !wakes.is_woken.load(Ordering::SeqCst) {
                return Poll::Pending;
            }
            let is_long = begun.get_or_insert_with(Instant::now).elapsed() >= LONG_TURN;
            if is_long || turns::is_cut_short() || !coop::has_budget_remaining() {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_woken.store(true, Ordering::SeqCst);
        self.task.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    /// Polls once what `future` does at each of its polls. Returns how many those were, and whether the task was woken.
    async fn poll_once(mut future: impl FnMut(&mut Context<'_>, u32) -> Poll<()>) -> (u32, bool) {
        let mut count = 0;
        let mut onward = Onward::new(poll_fn(|context| {
            count += 1;
            future(context, count)
        }));
        let task = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&task));
        // In a task of its own, for the budget.
        let polled = poll_fn(|_| Poll::Ready(Pin::new(&mut onward).poll(&mut Context::from_waker(&waker)))).await;
        assert!(polled.is_pending());
        drop(onward);
        (count, task.is_woken.load(Ordering::SeqCst))
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_yields_goes_on_until_it_waits_for_something() {
        let yields_twice = |context: &mut Context<'_>, count| {
            if count <= 2 {
                context.waker().wake_by_ref();
            }
            Poll::Pending
        };
        assert_eq!(poll_once(yields_twice).await, (3, false));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_has_had_its_slice_lets_go_although_it_is_woken() {
        let mut slice = Box::pin(turns::next_slice());
        let ends_its_slice = move |context: &mut Context<'_>, _| {
            context.waker().wake_by_ref();
            slice.as_mut().poll(context)
        };
        assert_eq!(poll_once(ends_its_slice).await, (1, true));
    }

    #[tokio::test]
    async fn one_that_only_yields_lets_go_after_a_long_turn_and_is_woken_again() {
        let yields = |context: &mut Context<'_>, _| {
            context.waker().wake_by_ref();
            Poll::Pending
        };
        let (_, is_woken) = poll_once(yields).await;
        assert!(is_woken);
    }

    #[tokio::test]
    async fn a_wake_from_elsewhere_reaches_the_task() {
        let (sender, there) = tokio::sync::oneshot::channel();
        let (answer, ()) = tokio::join!(Onward::new(there), async { sender.send(7).unwrap() });
        assert_eq!(answer, Ok(7));
    }
}
