//! The event log: who did what when, in columns. One seed gives one log.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How much of the log a failure shows.
const TAIL_LINES: usize = 60;

/// The log of one run. Clones share it.
#[derive(Debug, Clone)]
pub struct Log(Arc<Mutex<Vec<String>>>, Instant);

impl Log {
    /// Returns an empty log that begins now.
    pub(super) fn new() -> Self {
        Self(Arc::default(), Instant::now())
    }

    /// Adds something that is no request.
    pub fn note(&self, actor: &str, what: &str) {
        self.line(actor, what, "");
    }

    /// Adds a request and what became of it.
    pub(super) fn request(&self, actor: &str, method: &str, path: &str, outcome: &str) {
        self.line(actor, outcome, &format!("{method} {path}"));
    }

    /// Adds a change in the store.
    pub(super) fn change(&self, revision: u64, verb: &str, key: &str) {
        self.line("store", &format!("r{revision} {verb}"), key);
    }

    fn line(&self, actor: &str, what: &str, object: &str) {
        let at = self.1.elapsed();
        let time = format!("{:>6}.{:03}", at.as_secs(), at.subsec_millis());
        self.0.lock().push(format!("{time}  {actor:<30}  {what:<18}  {object}").trim_end().to_owned());
    }

    /// Returns every line.
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().clone()
    }

    /// Returns the last lines that are no signs of life, for a failure.
    pub fn tail(&self) -> String {
        let lines = self.0.lock();
        let mut tail: Vec<&str> =
            lines.iter().rev().map(String::as_str).filter(|line| !line.contains("/leases/")).take(TAIL_LINES).collect();
        tail.reverse();
        tail.join("\n")
    }
}
