//! What expressions may name before they run (`Env`), and what that is when they do (`Bindings`).

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use super::Program;
use super::ast::Expr;
use super::authorizer::{AUTHORIZER, Authorize, Question};
use super::error::EvalError;
use super::types::Type;
use super::value::{Opaque, Val};

/// The variables of an expression, with their types.
#[derive(Debug, Clone, Default)]
pub struct Env {
    pub(super) variables: BTreeMap<String, Type>,
    pub(super) structs: Structs,
}

/// Which objects an expression may make.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Structs {
    /// None.
    #[default]
    None,
    /// `Object{…}`, `Object.spec{…}` and `JSONPatch{…}`: the mutations of policies. They may call `jsonpatch.escapeKey`,
    /// too.
    Mutations,
}

impl Env {
    /// Returns an environment with one more variable. A name with a dot is a field of a variable that is not there as a
    /// whole, such as `variables.replicas`.
    #[must_use]
    pub fn with(mut self, name: &str, of: Type) -> Self {
        self.variables.insert(name.to_owned(), of);
        self
    }

    /// Returns an environment with `authorizer`.
    #[must_use]
    pub fn with_authorizer(self) -> Self {
        self.with("authorizer", Type::Opaque(AUTHORIZER))
            .with("authorizer.requestResource", Type::Opaque(super::authorizer::RESOURCE_CHECK))
    }

    /// Returns an environment in which expressions may make objects.
    #[must_use]
    pub fn with_structs(mut self, structs: Structs) -> Self {
        self.structs = structs;
        self
    }
}

/// The values of variables in one run. Variables that are expressions themselves run when they are first needed.
#[derive(Default)]
pub struct Bindings<'a> {
    values: BTreeMap<String, Val<'a>>,
    lazy: BTreeMap<String, Lazy<'a>>,
    known: RefCell<BTreeMap<String, Result<Val<'a>, EvalError>>>,
    /// What lazy variables have cost and nobody has paid for.
    owed: Cell<u64>,
    pub(super) authorizer: Option<&'a dyn Authorize>,
}

/// A variable that is an expression.
#[derive(Clone, Copy)]
pub(super) struct Lazy<'a> {
    pub(super) program: &'a Program,
    /// How deep it is, with the variables that it uses. What it makes is as deep at most.
    pub(super) depth: usize,
}

impl<'a> Bindings<'a> {
    /// Returns no bindings.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: Val<'a>) -> Self {
        self.values.insert(name.to_owned(), value);
        self
    }

    /// Adds a document, of whose type nothing is known.
    #[must_use]
    pub fn with_json(self, name: &str, value: &'a Json) -> Self {
        self.with(name, Val::untyped(value))
    }

    /// Adds a variable that is an expression over those that were there before.
    #[must_use]
    pub fn with_lazy(mut self, name: &str, program: &'a Program) -> Self {
        let mut below = 0;
        program.root().walk(&mut |node| {
            if let Expr::Ident(used) = &node.expr {
                below = below.max(self.lazy.get(used).map_or(0, |lazy| lazy.depth));
            }
        });
        let depth = program.root().depth.saturating_add(below);
        self.lazy.insert(name.to_owned(), Lazy { program, depth });
        self
    }

    /// Adds whoever answers the questions to `authorizer`, and the question about the request itself.
    #[must_use]
    pub fn with_authorizer(mut self, authorizer: &'a dyn Authorize, request: Question) -> Self {
        self.authorizer = Some(authorizer);
        self.with("authorizer", Val::Opaque(Opaque::Question(Arc::new(Question::default()))))
            .with("authorizer.requestResource", Val::Opaque(Opaque::Question(Arc::new(request))))
    }

    pub(super) fn get(&self, name: &str) -> Option<&Val<'a>> {
        self.values.get(name)
    }

    pub(super) fn lazy(&self, name: &str) -> Option<Lazy<'a>> {
        self.lazy.get(name).copied()
    }

    pub(super) fn known(&self, name: &str) -> Option<Result<Val<'a>, EvalError>> {
        self.known.borrow().get(name).cloned()
    }

    pub(super) fn learn(&self, name: &str, value: Result<Val<'a>, EvalError>, cost: u64) {
        self.owed.set(self.owed.get().saturating_add(cost));
        self.known.borrow_mut().insert(name.to_owned(), value);
    }

    /// Returns what lazy variables cost since the last time.
    pub(super) fn take_owed(&self) -> u64 {
        self.owed.replace(0)
    }
}
