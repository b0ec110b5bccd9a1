//! What a command says while it works on many keys: a line on standard error, at most one per second.

use std::time::Duration;

use tokio::time::Instant;

use crate::print;

const EVERY: Duration = Duration::from_secs(1);

/// How far one step is.
#[derive(Debug)]
pub(super) struct Progress {
    doing: &'static str,
    keys: u64,
    said: Instant,
}

impl Progress {
    /// Begins a step that concerns about so many keys.
    pub(super) fn begin(doing: &'static str, keys: u64) -> Self {
        print::note(format!("{doing} {keys} keys"));
        Self { doing, keys, said: Instant::now() }
    }

    /// Notes that so many are done.
    pub(super) fn at(&mut self, done: usize) {
        if self.said.elapsed() >= EVERY {
            self.said = Instant::now();
            print::note(format!("{}: {done} of {} keys", self.doing, self.keys));
        }
    }
}
