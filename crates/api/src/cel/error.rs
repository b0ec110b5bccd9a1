//! What can be wrong with an expression, before it runs and while it does.

use std::fmt::Write as _;

/// One mistake in an expression's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    /// In characters from the start.
    pub(super) at: usize,
    pub(super) text: String,
}

impl Problem {
    pub(super) fn new(at: usize, text: impl Into<String>) -> Self {
        Self { at, text: text.into() }
    }

    /// Shows the mistake under its line, as cel-go does (`common/error.go`).
    fn show(&self, source: &str) -> String {
        let before: Vec<char> = source.chars().take(self.at).collect();
        let line = before.iter().filter(|c| **c == '\n').count();
        let column = before.iter().rev().take_while(|c| **c != '\n').count();
        let text = source.split('\n').nth(line).unwrap_or_default().replace('\t', " ");
        let dots = ".".repeat(column);
        format!("ERROR: <input>:{}:{}: {}\n | {text}\n | {dots}^", line + 1, column + 1, self.text)
    }
}

/// Why an expression cannot be used: every mistake, shown in its line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct CompileError {
    text: String,
}

impl CompileError {
    pub(super) fn new(problems: &[Problem], source: &str) -> Self {
        // What follows from the first hundred mistakes helps nobody.
        const SHOWN: usize = 100;
        let mut text = String::new();
        for problem in problems.iter().take(SHOWN) {
            let gap = if text.is_empty() { "" } else { "\n" };
            let _ = write!(text, "{gap}{}", problem.show(source));
        }
        Self { text }
    }
}

/// Why an expression has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// It met something that has no meaning, such as a division by zero.
    #[error("{0}")]
    Failed(String),
    /// This one run costs too much.
    #[error("operation cancelled: actual cost limit exceeded")]
    CallLimit,
    /// All runs together cost too much.
    #[error("validation failed due to running out of cost budget, no further validation rules will be run")]
    OutOfBudget,
}

impl EvalError {
    pub(super) fn failed(text: impl Into<String>) -> Self {
        Self::Failed(text.into())
    }

    pub(super) fn no_overload() -> Self {
        Self::failed("no such overload")
    }

    pub(super) fn no_key(key: &str) -> Self {
        Self::Failed(format!("no such key: {key}"))
    }

    /// Whether the expression may not go on, whatever stands beside the failing part.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::CallLimit | Self::OutOfBudget)
    }
}
