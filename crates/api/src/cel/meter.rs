//! What an expression may cost, and who answers its questions while it runs.

use std::collections::HashMap;

use regex::Regex;

use super::authorizer::Authorize;
use super::error::EvalError;
use super::library;

/// What one run of one expression may cost (`apis/cel/config.go`: `PerCallLimit`): about a tenth of a second.
pub const CALL_LIMIT: u64 = 1_000_000;
/// What all rules of one request, or all expressions of one policy, may cost (`RuntimeCELCostBudget`).
pub const REQUEST_BUDGET: u64 = 10_000_000;
/// What the match conditions of one webhook or policy may cost (`RuntimeCELCostBudgetMatchConditions`).
pub const MATCH_CONDITIONS_BUDGET: u64 = 2_500_000;

/// What is left for the expressions that share it.
#[derive(Debug)]
pub struct Budget {
    left: u64,
}

impl Budget {
    /// Returns a budget of this size.
    pub fn new(size: u64) -> Self {
        Self { left: size }
    }

    /// Takes the cost of one run.
    ///
    /// # Errors
    /// If there is less left than that; then nothing is left.
    pub(super) fn take(&mut self, cost: u64) -> Result<(), EvalError> {
        let left = self.left.checked_sub(cost);
        self.left = left.unwrap_or(0);
        left.map(|_| ()).ok_or(EvalError::OutOfBudget)
    }

    /// Returns what is left.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Whether nothing more may run.
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }
}

/// What compiling a regular expression costs besides its length, if it repeats parts: those grow. Kubernetes takes
/// nothing for it, but an expression may make as many patterns as it has elements to go through.
const REPETITION: u64 = 5_000;
/// How many patterns one run keeps.
const PATTERNS_MAX: usize = 64;

/// The cost of one run, so far.
pub(super) struct Meter<'r> {
    spent: u64,
    limit: u64,
    /// Only looked up by their text.
    patterns: HashMap<String, Regex>,
    pub(super) authorizer: Option<&'r dyn Authorize>,
}

impl<'r> Meter<'r> {
    pub(super) fn new(limit: u64, authorizer: Option<&'r dyn Authorize>) -> Self {
        Self { spent: 0, limit, patterns: HashMap::new(), authorizer }
    }

    /// Adds to the cost, before the work is done.
    pub(super) fn charge(&mut self, cost: u64) -> Result<(), EvalError> {
        self.spent = self.spent.saturating_add(cost);
        if self.spent > self.limit { Err(EvalError::CallLimit) } else { Ok(()) }
    }

    /// Returns a compiled regular expression; the first time it is paid for.
    pub(super) fn pattern(&mut self, text: &str) -> Result<Regex, EvalError> {
        if let Some(known) = self.patterns.get(text) {
            return Ok(known.clone());
        }
        let repetitions = if text.contains('{') { REPETITION } else { 0 };
        self.charge(repetitions + text.len() as u64)?;
        let compiled = library::compile_regex(text)?;
        if self.patterns.len() < PATTERNS_MAX {
            self.patterns.insert(text.to_owned(), compiled.clone());
        }
        Ok(compiled)
    }

    pub(super) fn spent(&self) -> u64 {
        self.spent
    }
}
