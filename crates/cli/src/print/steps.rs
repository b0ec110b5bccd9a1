//! Named steps with their time: `✓ control plane ready  https://…  (123 ms)`. On a terminal a spinner runs meanwhile;
//! elsewhere each step is one plain line.

use std::cell::RefCell;
use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

/// How often the spinner moves.
const SPINNER_TICK: Duration = Duration::from_millis(100);

/// Prints the steps of a command.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Steps {
    on_terminal: bool,
}

/// A step that runs. Dropping it without `done` leaves no line.
#[derive(Debug)]
pub(crate) struct Step {
    began: Instant,
    bar: Option<ProgressBar>,
    warned: RefCell<String>,
}

impl Steps {
    /// Returns the printer for standard error's kind.
    pub(crate) fn new() -> Self {
        Self { on_terminal: std::io::stderr().is_terminal() }
    }

    /// Begins a step.
    pub(crate) fn begin(self, what: &str) -> Step {
        self.begin_at(what, Instant::now())
    }

    /// Begins a step whose time counts from `began`.
    pub(crate) fn begin_at(self, what: &str, began: Instant) -> Step {
        let bar = self.on_terminal.then(|| {
            let bar = ProgressBar::new_spinner().with_message(what.to_owned());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(SPINNER_TICK);
            bar
        });
        Step { began, bar, warned: RefCell::default() }
    }
}

impl Step {
    /// Says more about what is being waited for.
    pub(crate) fn tell(&self, what: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(what.to_owned());
        }
    }

    /// Says what holds the step up: beside the spinner, or as a line of its own where there is none, each thing once.
    pub(crate) fn warn(&self, trouble: &str) {
        self.tell(trouble);
        let mut warned = self.warned.borrow_mut();
        if self.bar.is_none() && *warned != trouble {
            super::note(format!("… {trouble}"));
            trouble.clone_into(&mut warned);
        }
    }

    /// Ends the step with a line that carries a check mark and the time it took.
    pub(crate) fn done(self, what: &str) {
        let millis = self.began.elapsed().as_millis();
        self.end(&format!("✓ {what} ({millis} ms)"));
    }

    /// Ends the step with a line that says what is wrong.
    pub(crate) fn failed(self, what: &str) {
        self.end(&format!("✗ {what}"));
    }

    fn end(mut self, line: &str) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        super::line(line);
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
