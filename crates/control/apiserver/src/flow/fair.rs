//! Which waiting request is next: fair queues over a virtual clock (start-time fair queueing, the idea behind
//! `apiserver/pkg/util/flowcontrol/fairqueuing/queueset`). Pure.
//!
//! Every queue has a start time on a virtual clock that counts seat-seconds. The queue with the earliest start goes next
//! and pays for the work: its start moves by seats x seconds, first by an estimate, then by what it really took. A flow
//! that asks for more than its share only moves its own queues into the future.

use std::collections::VecDeque;
use std::time::Duration;

use super::shuffle;

/// What a request is charged before it has finished; `estimatedServiceDuration` upstream.
const ESTIMATE: Duration = Duration::from_millis(3);

/// How many queues, how many of them one flow may use, and how long each may get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Queuing {
    /// All queues of a priority level.
    pub(crate) queues: usize,
    /// The queues of one flow.
    pub(crate) hand_size: usize,
    /// Requests in one queue.
    pub(crate) length_max: usize,
}

/// Where a request waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    queue: usize,
    id: u64,
}

/// A request whose turn it is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Dispatched<T> {
    /// What was waiting.
    pub(crate) item: T,
    /// Where it waited; wanted by `finish`.
    pub(crate) queue: usize,
    /// What it occupies.
    pub(crate) seats: u32,
}

/// The queues of one priority level.
#[derive(Debug)]
pub(crate) struct FairQueues<T> {
    shape: Queuing,
    queues: Vec<Queue<T>>,
    /// The virtual clock, in seat-seconds: the start of what was dispatched last.
    now: f64,
    /// The queue that was served last. Among equals, the next one goes first.
    served: usize,
    next_id: u64,
}

#[derive(Debug)]
struct Queue<T> {
    waiting: VecDeque<Waiting<T>>,
    /// When its next request may start, on the virtual clock.
    start: f64,
    /// Seats of its requests that run.
    running: u32,
}

#[derive(Debug)]
struct Waiting<T> {
    id: u64,
    seats: u32,
    item: T,
}

impl<T> Queue<T> {
    fn load(&self) -> u32 {
        self.running + self.waiting.iter().map(|waiting| waiting.seats).sum::<u32>()
    }
}

impl<T> FairQueues<T> {
    /// Returns empty queues.
    pub(crate) fn new(shape: Queuing) -> Self {
        let queues = (0..shape.queues).map(|_| Queue { waiting: VecDeque::new(), start: 0.0, running: 0 }).collect();
        Self { shape, queues, now: 0.0, served: 0, next_id: 0 }
    }

    /// Puts a request into the shortest queue of its flow's hand.
    ///
    /// # Errors
    /// Gives the request back if even that one is full.
    pub(crate) fn enqueue(&mut self, flow: u64, seats: u32, item: T) -> Result<Ticket, T> {
        let mut best: Option<(u32, usize)> = None;
        shuffle::deal(flow, self.queues.len(), self.shape.hand_size, |card| {
            let load = self.queues[card].load();
            if best.is_none_or(|(least, _)| load < least) {
                best = Some((load, card));
            }
        });
        let Some((_, index)) = best else { return Err(item) };
        let queue = &mut self.queues[index];
        if queue.waiting.len() >= self.shape.length_max {
            return Err(item);
        }
        if queue.waiting.is_empty() && queue.running == 0 {
            // Time in which it wanted nothing cannot be saved up.
            queue.start = queue.start.max(self.now);
        }
        self.next_id += 1;
        queue.waiting.push_back(Waiting { id: self.next_id, seats, item });
        Ok(Ticket { queue: index, id: self.next_id })
    }

    /// Returns the next request if it fits into `free` seats. Nothing overtakes one that does not fit: wide requests would
    /// wait for ever otherwise.
    pub(crate) fn dispatch(&mut self, fits: impl Fn(u32) -> bool) -> Option<Dispatched<T>> {
        let count = self.queues.len();
        let rotation = (1..=count).map(|step| (self.served + step) % count);
        let next = rotation
            .filter(|index| !self.queues[*index].waiting.is_empty())
            .reduce(|best, index| if self.queues[index].start < self.queues[best].start { index } else { best })?;
        let queue = &mut self.queues[next];
        if !fits(queue.waiting.front()?.seats) {
            return None;
        }
        let Waiting { seats, item, .. } = queue.waiting.pop_front()?;
        self.now = self.now.max(queue.start);
        queue.start += work(seats, ESTIMATE);
        queue.running += seats;
        self.served = next;
        Some(Dispatched { item, queue: next, seats })
    }

    /// Notes the end of a request that was dispatched from `queue`, and charges what it really cost.
    pub(crate) fn finish(&mut self, queue: usize, seats: u32, took: Duration) {
        let queue = &mut self.queues[queue];
        debug_assert!(queue.running >= seats, "only what was dispatched finishes");
        queue.running = queue.running.saturating_sub(seats);
        queue.start += work(seats, took) - work(seats, ESTIMATE);
    }

    /// Takes a request out that nobody waits for any more. `None` if its turn has come already.
    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<T> {
        let waiting = &mut self.queues[ticket.queue].waiting;
        let place = waiting.iter().position(|waiting| waiting.id == ticket.id)?;
        waiting.remove(place).map(|waiting| waiting.item)
    }
}

fn work(seats: u32, time: Duration) -> f64 {
    f64::from(seats) * time.as_secs_f64()
}

#[cfg(test)]
#[path = "fair_tests.rs"]
mod tests;
