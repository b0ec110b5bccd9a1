//! The clock of the fence: a thread that advances the engine's epoch while guest code runs.
//!
//! An OS thread and not a task, because the runtime may be the thing that is stuck. It parks while no guest is on a
//! thread, so that a node full of waiting guests costs no wake-ups.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use wasmtime::EngineWeak;

use crate::turns::Turns;

/// How long a guest may hold a thread before it has to let others run.
const PERIOD: Duration = Duration::from_millis(2);
/// Ticks without a guest on a thread until the ticker parks: waking it again costs a system call.
const IDLE_TICKS: u32 = 20;

/// Counts guests on threads and keeps the epoch moving while there are any.
#[derive(Debug)]
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
    turns: Arc<Turns>,
}

#[derive(Debug, Default)]
struct Shared {
    on_thread: AtomicUsize,
    parked: AtomicBool,
    closed: AtomicBool,
}

impl Ticker {
    /// Starts the thread; it holds no engine alive. Guests share `threads` threads.
    pub(crate) fn start(engine: EngineWeak, threads: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let its = Arc::clone(&shared);
        let thread = thread::Builder::new().name("guest-epoch".to_owned()).spawn(move || its.run(&engine))?;
        Ok(Self { shared, thread, turns: Arc::new(Turns::new(threads)) })
    }

    /// Returns the queue of the guests that the epoch drives from their threads.
    pub(crate) fn turns(&self) -> Arc<Turns> {
        Arc::clone(&self.turns)
    }

    /// Notes that guest code runs until the returned guard is dropped.
    pub(crate) fn enter(&self) -> OnThread<'_> {
        // Sequentially consistent with `park`: either we see that it parked, or it sees us.
        if self.shared.on_thread.fetch_add(1, Ordering::SeqCst) == 0 && self.shared.parked.load(Ordering::SeqCst) {
            self.thread.thread().unpark();
        }
        OnThread(&self.shared)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        self.thread.thread().unpark();
    }
}

/// Guest code is on this thread.
pub(crate) struct OnThread<'a>(&'a Shared);

impl Drop for OnThread<'_> {
    fn drop(&mut self) {
        self.0.on_thread.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Shared {
    fn run(&self, engine: &EngineWeak) {
        let mut idle = 0;
        while !self.closed.load(Ordering::SeqCst) {
            thread::sleep(PERIOD);
            let Some(engine) = engine.upgrade() else { return };
            engine.increment_epoch();
            idle = if self.on_thread.load(Ordering::SeqCst) == 0 { idle + 1 } else { 0 };
            if idle >= IDLE_TICKS {
                drop(engine);
                self.park();
                idle = 0;
            }
        }
    }

    fn park(&self) {
        self.parked.store(true, Ordering::SeqCst);
        while self.on_thread.load(Ordering::SeqCst) == 0 && !self.closed.load(Ordering::SeqCst) {
            thread::park();
        }
        self.parked.store(false, Ordering::SeqCst);
    }
}
