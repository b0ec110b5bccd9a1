//! What a guest has answered and nobody has been told yet.

use std::sync::Arc;

use parking_lot::Mutex;

use super::handler::{Given, Head};

/// The answers of one instance, held until its guest lets go of the thread. A short answer is complete by then, so that
/// its reader wakes up once instead of for each part; and a guest that fails first has not answered at all.
#[derive(Clone, Default)]
pub(super) struct Answers(Arc<Mutex<Vec<(u64, Given)>>>);

impl Answers {
    /// Returns where the answer to one request goes.
    pub(super) fn to(&self, request: u64) -> Answer {
        Answer { request, answers: self.clone() }
    }

    /// Hands out what was given since the last time, with the number of its request. A guest may have answered one
    /// twice: the first answer counts.
    pub(super) fn each(&self, mut take: impl FnMut(u64, Given)) {
        for (request, given) in self.0.lock().drain(..) {
            take(request, given);
        }
    }

    /// Tells the only one who waits.
    pub(super) fn deliver(&self, head: &mut Option<Head>) {
        self.each(|_, given| {
            if let Some(head) = head.take() {
                // A receiver that is gone means that nobody waits any more: not the guest's fault.
                let _ = head.send(given);
            }
        });
    }
}

/// Where the answer to one request goes.
#[derive(Clone)]
pub(super) struct Answer {
    request: u64,
    answers: Answers,
}

impl Answer {
    pub(super) fn give(&self, given: Given) {
        self.answers.0.lock().push((self.request, given));
    }
}
