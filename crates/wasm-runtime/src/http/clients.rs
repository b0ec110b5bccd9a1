//! Who reads the answers of an instance, and who has gone.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use futures::channel::oneshot;
use futures::task::AtomicWaker;
use parking_lot::Mutex;

use crate::turns;

/// The far end of whoever reads the answer: a message when the body has been read, closed when they went away. Not one of
/// tokio's channels, which say nothing in the poll in which a guest has used up its slice.
pub(super) struct Client(pub(super) oneshot::Receiver<()>);

impl Client {
    /// Returns whether the answer has been read to its end, once the client has gone.
    pub(super) fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        Pin::new(&mut self.0).poll(context).map(|read| read.is_ok())
    }
}

/// Notes which clients of an instance have something to say, so that only those are looked at, however many there are.
#[derive(Default)]
pub(super) struct Departures(Arc<Noted>);

#[derive(Default)]
struct Noted {
    requests: Mutex<Vec<u64>>,
    instance: AtomicWaker,
}

/// Notes one request's client.
struct Note {
    request: u64,
    noted: Arc<Noted>,
}

impl Departures {
    /// Returns what the client of one request is to wake.
    pub(super) fn note(&self, request: u64) -> Waker {
        Arc::new(Note { request, noted: Arc::clone(&self.0) }).into()
    }

    /// Returns whose clients were noted since the last time; `waker` is woken for the next.
    pub(super) fn take(&self, waker: &Waker) -> Vec<u64> {
        // First, so that who is noted from now on wakes it.
        self.0.instance.register(waker);
        std::mem::take(&mut *self.0.requests.lock())
    }
}

impl Wake for Note {
    fn wake(self: Arc<Self>) {
        self.noted.requests.lock().push(self.request);
        // Nobody waits for it, and others may leave with it.
        if let Some(instance) = self.noted.instance.take() {
            turns::wake_after_look(&instance);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clients_that_have_gone_are_noted_and_each_once() {
        let departures = Departures::default();
        let (first_here, first) = oneshot::channel();
        let (_second_here, second) = oneshot::channel::<()>();
        let (third_here, third) = oneshot::channel();
        let mut clients = [Client(first), Client(second), Client(third)];
        for (request, client) in (0..).zip(&mut clients) {
            assert!(client.poll_gone(&mut Context::from_waker(&departures.note(request))).is_pending());
        }
        assert_eq!(departures.take(Waker::noop()), [0; 0]);
        drop(third_here);
        first_here.send(()).unwrap();
        assert_eq!(departures.take(Waker::noop()), [2, 0]);
        assert_eq!(departures.take(Waker::noop()), [0; 0]);
        let mut gone = |client: &mut Client| client.poll_gone(&mut Context::from_waker(Waker::noop()));
        assert_eq!(clients.each_mut().map(&mut gone), [Poll::Ready(true), Poll::Pending, Poll::Ready(false)]);
    }
}
