//! CEL, the Common Expression Language, as Kubernetes speaks it: rules of custom resources, admission policies and match
//! conditions (`apiserver/pkg/cel`).
//!
//! ```text
//! text ─ lex, parse ─> tree ─ check against Env ─> Program ─ estimate ─> how much it may cost at most
//!                                                     └──── evaluate with Bindings, Budget ─> Val
//! ```
//! Everything ends: texts, trees and costs have limits, and documents are looked at where they are. Why the parser and the
//! evaluator are our own: `docs/decisions`.

pub mod admission;
mod ast;
pub mod authorizer;
mod check;
mod declare;
mod env;
mod error;
mod estimate;
mod eval;
mod functions;
mod lex;
mod library;
mod macros;
mod meter;
pub mod mutation;
mod parse;
#[cfg(test)]
mod tests;
mod types;
mod value;

pub use declare::{Decl, Root};
pub use env::{Bindings, Env, Structs};
pub use error::{CompileError, EvalError};
pub use meter::{Budget, CALL_LIMIT, MATCH_CONDITIONS_BUDGET, REQUEST_BUDGET};
pub use types::{FieldType, ListKind, ObjectType, Type, escape};
pub use value::{Key, List, Map, Opaque, Text, Val};

use ast::{Expr, Node};
use eval::Evaluator;

/// An expression that has been checked and can run.
#[derive(Debug, Clone)]
pub struct Program {
    root: Node,
    of: Type,
}

impl Program {
    /// Reads and checks an expression.
    ///
    /// # Errors
    /// If it is not one, or uses what the environment does not have.
    pub fn compile(source: &str, env: &Env) -> Result<Self, CompileError> {
        let mut root = parse::parse(source).map_err(|problem| CompileError::new(&[problem], source))?;
        let of = check::check(&mut root, env).map_err(|problems| CompileError::new(&problems, source))?;
        let bad = bad_literals(&root);
        if bad.is_empty() { Ok(Self { root, of }) } else { Err(CompileError::new(&bad, source)) }
    }

    /// Returns the type of its value.
    pub fn result(&self) -> &Type {
        &self.of
    }

    /// Whether it names a variable.
    pub fn uses(&self, name: &str) -> bool {
        let mut found = false;
        self.root.walk(&mut |node| found |= matches!(&node.expr, Expr::Ident(used) if used == name));
        found
    }

    /// Runs it. The run pays from the budget, and has a limit of its own ([`CALL_LIMIT`]).
    ///
    /// # Errors
    /// If it met something without a meaning, or cost too much.
    pub fn evaluate<'a>(&self, bindings: &Bindings<'a>, budget: &mut Budget) -> Result<Val<'a>, EvalError> {
        let mut evaluator = Evaluator::new(bindings, CALL_LIMIT);
        let value = evaluator.run(&self.root);
        budget.take(evaluator.meter.spent().saturating_add(bindings.take_owed()))?;
        value
    }

    /// Returns how much a run costs at most, if the variables are as the declarations say.
    pub fn cost_max<'d>(&self, variables: impl IntoIterator<Item = (&'d str, &'d Decl)>) -> u64 {
        estimate::cost(&self.root, variables.into_iter().collect())
    }

    fn root(&self) -> &Node {
        &self.root
    }
}

/// Finds patterns, durations and times that stand in the text and are none, as cel-go's validators do.
fn bad_literals(root: &Node) -> Vec<error::Problem> {
    let mut problems = Vec::new();
    root.walk(&mut |node| {
        let Expr::Call { function, args, .. } = &node.expr else { return };
        let text = |place: usize| match args.get(place) {
            Some(Node { at, expr: Expr::Literal(ast::Literal::Text(text)), .. }) => Some((*at, text)),
            _ => None,
        };
        let (at, why) = match function.as_str() {
            "matches" | "find" | "findAll" => {
                let Some((at, pattern)) = text(1) else { return };
                let Err(error) = library::compile_regex(pattern) else { return };
                (at, format!("invalid matches argument: {error}"))
            }
            "duration" | "timestamp" => {
                let Some((at, text)) = text(0) else { return };
                let is_read = match function.as_str() {
                    "duration" => library::time::parse_duration(text).is_some(),
                    _ => library::time::parse_time(text).is_some(),
                };
                if is_read {
                    return;
                }
                (at, format!("invalid {function} argument"))
            }
            _ => return,
        };
        problems.push(error::Problem::new(at, why));
    });
    problems
}
