//! One priority level at work: its seats, who waits for them, and the permits that give them back.
//!
//! ```text
//! seats free, nobody waits ─> one atomic subtraction ─────────────────┐
//! otherwise ─> fair queue ─ somebody's permit is dropped ─> dispatch ─┴─> Permit
//!                  └ full, or 15 s are over ─> Refusal
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::fair::{FairQueues, Queuing, Ticket};

/// A request waits this long for its turn: a quarter of the request timeout, as upstream.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(15);

/// What a level does with those for whom there is no seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// There is always a seat.
    Exempt,
    /// They are told to come back.
    Reject,
    /// They wait.
    Queue(Queuing),
}

/// Why a request got no seat; the words are the label of upstream's metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Refusal {
    /// The level does not queue.
    ConcurrencyLimit,
    /// Its queue is full.
    QueueFull,
    /// Its turn did not come.
    TimeOut,
}

impl Refusal {
    /// Returns the label.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::ConcurrencyLimit => "concurrency-limit",
            Self::QueueFull => "queue-full",
            Self::TimeOut => "time-out",
        }
    }
}

/// A priority level.
#[derive(Debug)]
pub(crate) struct Level {
    name: String,
    mode: Mode,
    /// Seats nobody sits on; negative for a while after the limit shrank.
    free: AtomicI64,
    limit: AtomicI64,
    /// Requests in the queues. Written under the lock of `queues`, read without it.
    waiting: AtomicUsize,
    /// The most seats that were wanted at once since `take_peak`.
    peak: AtomicI64,
    queues: Mutex<FairQueues<oneshot::Sender<Turn>>>,
}

impl Level {
    /// Returns a level without seats.
    pub(crate) fn new(name: &str, mode: Mode) -> Arc<Self> {
        let shape = match mode {
            Mode::Queue(shape) => shape,
            Mode::Exempt | Mode::Reject => Queuing { queues: 0, hand_size: 0, length_max: 0 },
        };
        Arc::new(Self {
            name: name.to_owned(),
            mode,
            free: AtomicI64::new(0),
            limit: AtomicI64::new(0),
            waiting: AtomicUsize::new(0),
            peak: AtomicI64::new(0),
            queues: Mutex::new(FairQueues::new(shape)),
        })
    }

    /// Returns its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns how it treats those who find no seat.
    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// Returns how many seats it has now.
    pub(crate) fn limit(&self) -> i64 {
        self.limit.load(Ordering::SeqCst)
    }

    /// Returns how many seats are taken.
    pub(crate) fn in_use(&self) -> i64 {
        self.limit() - self.free.load(Ordering::SeqCst)
    }

    /// Returns how many requests wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Returns the most seats that were wanted at once since the last call.
    pub(crate) fn take_peak(&self) -> i64 {
        let now = self.in_use() + i64::try_from(self.waiting()).unwrap_or(i64::MAX);
        self.peak.swap(now, Ordering::SeqCst).max(now)
    }

    /// Changes how many seats there are. Nobody is thrown out: a level that shrank lets nobody in for a while.
    pub(crate) fn resize(self: &Arc<Self>, seats: u32) {
        let mut queues = self.queues.lock();
        let before = self.limit.swap(i64::from(seats), Ordering::SeqCst);
        self.free.fetch_add(i64::from(seats) - before, Ordering::SeqCst);
        self.dispatch(&mut queues);
    }

    /// Gives a request its seats, after a wait if need be.
    ///
    /// # Errors
    /// Why it gets none.
    pub(crate) async fn enter(self: &Arc<Self>, flow: impl FnOnce() -> u64, seats: u32) -> Result<Turn, Refusal> {
        if self.mode == Mode::Exempt {
            self.free.fetch_sub(i64::from(seats), Ordering::SeqCst);
            return Ok(self.turn(seats, None));
        }
        if self.waiting.load(Ordering::SeqCst) == 0 && self.take(seats) {
            return Ok(self.turn(seats, None));
        }
        if self.mode == Mode::Reject {
            self.note_peak(i64::from(seats));
            return Err(Refusal::ConcurrencyLimit);
        }
        self.wait(flow(), seats).await
    }

    async fn wait(self: &Arc<Self>, flow: u64, seats: u32) -> Result<Turn, Refusal> {
        let (sender, receiver) = oneshot::channel();
        let ticket = {
            let mut queues = self.queues.lock();
            let ticket = queues.enqueue(flow, seats, sender).map_err(|_| Refusal::QueueFull)?;
            let waiting = self.waiting.fetch_add(1, Ordering::SeqCst) + 1;
            self.note_peak(i64::try_from(waiting).unwrap_or(i64::MAX));
            // Seats that became free before we were counted as waiting woke nobody.
            self.dispatch(&mut queues);
            ticket
        };
        // Also when the client goes away and this future is dropped.
        let _leave = Leave { level: self, ticket };
        match timeout(WAIT_MAX, receiver).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => Err(Refusal::TimeOut),
        }
    }

    /// Takes seats if so many are free. A request wider than the whole level gets it for itself.
    fn take(&self, seats: u32) -> bool {
        let (seats, limit) = (i64::from(seats), self.limit.load(Ordering::SeqCst));
        let taken = self.free.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |free| {
            (free >= seats || (free == limit && limit > 0)).then_some(free - seats)
        });
        if let Ok(free) = taken {
            let in_use = limit - free + seats;
            if in_use > self.peak.load(Ordering::Relaxed) {
                self.peak.fetch_max(in_use, Ordering::Relaxed);
            }
        }
        taken.is_ok()
    }

    fn note_peak(&self, more: i64) {
        self.peak.fetch_max(self.in_use() + more, Ordering::Relaxed);
    }

    /// Lets in whoever is next while there are seats.
    fn dispatch(self: &Arc<Self>, queues: &mut FairQueues<oneshot::Sender<Turn>>) {
        while let Some(next) = queues.dispatch(|seats| self.take(seats)) {
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            if let Err(mut turn) = next.item.send(self.turn(next.seats, Some(next.queue))) {
                // Gone in this very moment. Its end is noted here: dropping the turn would want the lock that we hold.
                turn.is_over = true;
                self.free.fetch_add(i64::from(next.seats), Ordering::SeqCst);
                queues.finish(next.queue, next.seats, Duration::ZERO);
            }
        }
    }

    fn turn(self: &Arc<Self>, seats: u32, queue: Option<usize>) -> Turn {
        let queued = queue.map(|queue| (queue, Instant::now()));
        Turn { level: self.clone(), seats, queued, is_over: false }
    }
}

/// Seats that somebody has; dropping it gives them back.
#[derive(Debug)]
pub(crate) struct Turn {
    level: Arc<Level>,
    seats: u32,
    /// Where it waited, and since when it runs.
    queued: Option<(usize, Instant)>,
    is_over: bool,
}

impl Turn {
    /// Whether it had to wait.
    pub(crate) fn has_waited(&self) -> bool {
        self.queued.is_some()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let level = &self.level;
        level.free.fetch_add(i64::from(self.seats), Ordering::SeqCst);
        if self.queued.is_none() && level.waiting.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut queues = level.queues.lock();
        if let Some((queue, since)) = self.queued {
            queues.finish(queue, self.seats, since.elapsed());
        }
        level.dispatch(&mut queues);
    }
}

/// Takes a request out of its queue when nobody waits for it any more.
struct Leave<'a> {
    level: &'a Level,
    ticket: Ticket,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let mut queues = self.level.queues.lock();
        if queues.remove(self.ticket).is_some() {
            self.level.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
#[path = "level_tests.rs"]
mod tests;
