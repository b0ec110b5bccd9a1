//! The thread that carries the log into the database, and sweeps out what is obsolete.
//!
//! Frames wait here from the moment they are durable in the log until they are in the database. What waits is bounded: the
//! writer stands still while there is too much of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::{io, mem};

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::time::Instant;
use tracing::debug_span;

use super::log::{Failure, Log};
use super::wal::{Frame, Sizes};
use crate::history::Location;
use crate::metrics::Applied;

/// Each transaction takes along so many obsolete records, or twice as many as it adds: as fast as they come, and few enough
/// to go unnoticed.
const SWEEP_MIN: usize = 1_024;
/// About what a record occupies in a frame.
const RECORD_BYTES: usize = 2 << 10;

/// The thread, as the writer sees it.
#[derive(Debug)]
pub(super) struct Applier {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    sizes: Sizes,
    metrics: Applied,
}

/// A frame, and the records that nobody can ask for any more once it is in the database.
type Waiting = (Frame, Vec<Location>);

#[derive(Debug, Default)]
struct State {
    /// `None` while the writer has it.
    log: Option<Arc<Log>>,
    waiting: VecDeque<Waiting>,
    /// What waits, and what is being applied.
    bytes: usize,
    waiting_since: Option<Instant>,
    obsolete: Vec<Location>,
    is_busy: bool,
    is_hurried: bool,
    stops: bool,
    failure: Option<Failure>,
    applied: u64,
    /// Bytes of records that were removed.
    removed: u64,
}

impl Applier {
    /// Starts the thread. `failed` is called when it cannot go on.
    pub(super) fn start(sizes: Sizes, failed: impl Fn() + Send + 'static) -> io::Result<Self> {
        let shared =
            Arc::new(Shared { state: Mutex::default(), changed: Condvar::new(), sizes, metrics: Applied::default() });
        let its = shared.clone();
        let thread = Builder::new().name("store-applier".to_owned()).spawn(move || its.run(&failed))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Goes on with a database that has all frames up to `applied`.
    pub(super) fn attach(&self, log: Log, applied: u64, obsolete: Vec<Location>) {
        let mut state = self.shared.state.lock();
        while let Some((frame, _)) = state.waiting.pop_front_if(|(frame, _)| frame.number <= applied) {
            state.bytes -= frame.size();
        }
        (state.log, state.applied, state.obsolete, state.failure) = (Some(Arc::new(log)), applied, obsolete, None);
        state.waiting_since = (!state.waiting.is_empty()).then(Instant::now);
        self.shared.changed.notify_all();
    }

    /// Gives the database back, once nothing is under way; nobody else has it.
    pub(super) fn detach(&self) -> Option<Arc<Log>> {
        let mut state = self.shared.state.lock();
        while state.is_busy {
            self.shared.changed.wait(&mut state);
        }
        state.log.take()
    }

    /// Takes over frames that were found in the log, and what they make obsolete.
    pub(super) fn take_over(&self, frames: Vec<Frame>, obsolete: Vec<Location>) {
        let (mut obsolete, last) = (Some(obsolete), frames.len().saturating_sub(1));
        for (at, frame) in frames.into_iter().enumerate() {
            self.hand_over(frame, obsolete.take_if(|_| at == last).unwrap_or_default());
        }
    }

    /// Takes a frame over, and what it makes obsolete.
    pub(super) fn hand_over(&self, frame: Frame, obsolete: Vec<Location>) {
        let mut state = self.shared.state.lock();
        state.bytes += frame.size();
        let since = *state.waiting_since.get_or_insert_with(Instant::now);
        state.waiting.push_back((frame, obsolete));
        // It wakes up by itself when the oldest has waited long enough.
        if state.waiting.len() == 1 || self.shared.is_due(&state, since) {
            self.shared.changed.notify_all();
        }
    }

    /// Takes a frame back that could not be applied.
    pub(super) fn retract(&self, number: u64) {
        let mut state = self.shared.state.lock();
        if let Some((frame, _)) = state.waiting.pop_back_if(|(frame, _)| frame.number == number) {
            state.bytes -= frame.size();
        }
    }

    /// Tells if there is something to sweep.
    pub(super) fn has_obsolete(&self) -> bool {
        !self.shared.state.lock().obsolete.is_empty()
    }

    /// Waits until the backlog is small enough for more.
    pub(super) fn wait_for_room(&self) -> Result<(), Failure> {
        self.wait(|shared, state| state.bytes < shared.sizes.backlog)
    }

    /// Waits until everything is in the database.
    pub(super) fn drain(&self) -> Result<(), Failure> {
        self.shared.state.lock().is_hurried = true;
        self.shared.changed.notify_all();
        let drained = self.wait(|_, state| state.waiting.is_empty() && !state.is_busy);
        self.shared.state.lock().is_hurried = false;
        drained
    }

    fn wait(&self, is_done: impl Fn(&Shared, &State) -> bool) -> Result<(), Failure> {
        let mut state = self.shared.state.lock();
        loop {
            if let Some(failure) = state.failure.take() {
                return Err(failure);
            }
            if is_done(&self.shared, &state) {
                return Ok(());
            }
            if state.log.is_none() {
                return Err(Failure::Broken(io::ErrorKind::NotConnected.into()));
            }
            self.shared.changed.wait(&mut state);
        }
    }

    /// Returns why it cannot go on, once.
    pub(super) fn failure(&self) -> Option<Failure> {
        self.shared.state.lock().failure.take()
    }

    /// Returns the newest frame in the database.
    pub(super) fn applied(&self) -> u64 {
        self.shared.state.lock().applied
    }

    /// Returns how many bytes of records were removed since the last call.
    pub(super) fn take_removed(&self) -> u64 {
        mem::take(&mut self.shared.state.lock().removed)
    }
}

impl Drop for Applier {
    fn drop(&mut self) {
        self.shared.state.lock().stops = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic of it has been printed already.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self, failed: &impl Fn()) {
        let mut state = self.state.lock();
        while !state.stops {
            let can_go_on = state.log.is_some() && !state.waiting.is_empty();
            match state.waiting_since.filter(|_| can_go_on) {
                None => self.changed.wait(&mut state),
                Some(since) if self.is_due(&state, since) => {
                    if !self.apply(&mut state) {
                        failed();
                    }
                    self.changed.notify_all();
                }
                Some(since) => {
                    self.changed.wait_until(&mut state, (since + self.sizes.every).into_std());
                }
            }
        }
    }

    fn is_due(&self, state: &State, since: Instant) -> bool {
        state.is_hurried || state.bytes >= self.sizes.applied_at_once || since.elapsed() >= self.sizes.every
    }

    /// Applies some of what waits. Returns whether that succeeded.
    fn apply(&self, state: &mut MutexGuard<'_, State>) -> bool {
        let (Some(log), Some((first, _))) = (state.log.clone(), state.waiting.front()) else { return true };
        let (mut newest, mut taken, mut bytes) = (first.number, Vec::new(), 0);
        while bytes < self.sizes.applied_at_once
            && let Some(waiting) = state.waiting.pop_front()
        {
            newest = waiting.0.number;
            bytes += waiting.0.size();
            taken.push(waiting);
        }
        let swept = SWEEP_MIN.max(2 * bytes / RECORD_BYTES);
        let kept = state.obsolete.len().saturating_sub(swept);
        let obsolete = state.obsolete.split_off(kept);
        state.is_busy = true;
        state.waiting_since = (!state.waiting.is_empty()).then(Instant::now);
        let applied = MutexGuard::unlocked(state, || {
            let _span = debug_span!("apply", frames = taken.len(), newest, obsolete = obsolete.len()).entered();
            let began = Instant::now();
            let applied = log.apply(taken.iter().map(|(frame, _)| &*frame.payload), newest, &obsolete);
            // Nobody but the state has it when nothing is under way.
            drop(log);
            applied.inspect(|_| self.metrics.count(began.elapsed(), obsolete.len()))
        });
        state.is_busy = false;
        match applied {
            Ok(removed) => {
                state.bytes -= bytes;
                state.applied = newest;
                state.removed += removed;
                // Not earlier: as long as the file says that the past is there, it is.
                state.obsolete.extend(taken.into_iter().flat_map(|(_, obsolete)| obsolete));
                true
            }
            Err(failure) => {
                taken.into_iter().rev().for_each(|frame| state.waiting.push_front(frame));
                state.obsolete.extend(obsolete);
                // It writes nothing more before it has been opened again.
                (state.failure, state.log) = (Some(failure), None);
                false
            }
        }
    }
}
