//! Checking an expression before it runs: names, fields, and the types of what is passed to functions
//! (`cel-go/checker/checker.go`).

use std::collections::BTreeMap;

use super::ast::{Access, Element, Entry, Expr, Field, Fold, FoldKind, Joint, Literal, Node, OptionalMap};
use super::env::{Env, Structs};
use super::error::Problem;
use super::functions::{self, Overload};
use super::parse::struct_name;
use super::types::{FieldType, Type};

/// Types that expressions may name, and their names.
const TYPES: [&str; 13] = [
    "bool",
    "bytes",
    "double",
    "int",
    "list",
    "map",
    "null_type",
    "string",
    "type",
    "uint",
    "dyn",
    "google.protobuf.Duration",
    "google.protobuf.Timestamp",
];
/// The types of libraries.
const LIBRARY_TYPES: [&str; 5] = ["kubernetes.Quantity", "kubernetes.Semver", "kubernetes.URL", "net.CIDR", "net.IP"];

/// Returns the name of a type that expressions may name.
pub(super) fn type_named(name: &str) -> Option<&'static str> {
    TYPES.iter().chain(&LIBRARY_TYPES).copied().find(|known| *known == name)
}

/// Checks an expression; returns its type. Names with dots that are one variable become one.
pub(super) fn check(root: &mut Node, env: &Env) -> Result<Type, Vec<Problem>> {
    let mut checker = Checker { env, scopes: Vec::new(), problems: Vec::new(), mixtures: Vec::new(), mixes: false };
    let of = checker.node(root);
    // What is mixed only because a mistake made it so needs no telling.
    if checker.problems.is_empty() {
        checker.problems = checker.mixtures;
    }
    if checker.problems.is_empty() { Ok(of) } else { Err(checker.problems) }
}

struct Checker<'e> {
    env: &'e Env,
    scopes: Vec<(String, Type)>,
    problems: Vec<Problem>,
    /// Literals that mix what is known with what is not.
    mixtures: Vec<Problem>,
    /// Whether a literal may do so here: among the values of a format.
    mixes: bool,
}

/// What is known of the elements of a literal: the type of the first, and what all may be.
struct Elements {
    first: Type,
    all: Type,
}

impl Checker<'_> {
    /// After a mistake anything goes, so that it is told once.
    fn wrong(&mut self, at: usize, text: impl Into<String>) -> Type {
        self.problems.push(Problem::new(at, text));
        Type::Dyn
    }

    fn node(&mut self, node: &mut Node) -> Type {
        let at = node.at;
        let mixes = std::mem::take(&mut self.mixes);
        if let Some(of) = self.qualified(node) {
            return of;
        }
        match &mut node.expr {
            Expr::Literal(literal) => literal.of(),
            Expr::Ident(name) => {
                let text = || format!("undeclared reference to '{name}' (in container '')");
                self.variable(name).unwrap_or_else(|| self.wrong(at, text()))
            }
            Expr::Select { of, field, access } => {
                let of = self.node(of);
                self.select(at, &of, field, *access)
            }
            Expr::Index { of, index, optional } => {
                let (of, index) = (self.node(of), self.node(index));
                self.index(at, &of, &index, *optional)
            }
            Expr::Call { function, args, receiver, overloads } => {
                let mut types = Vec::with_capacity(args.len());
                for arg in args {
                    self.mixes = function == "format";
                    types.push(self.node(arg));
                }
                self.call(at, function, *receiver, &types, overloads)
            }
            Expr::Logic { joint, parts } => self.logic(at, *joint, parts),
            Expr::Conditional(parts) => self.conditional(at, parts),
            Expr::List(elements) => self.list(elements, mixes),
            Expr::Map(entries) => self.map(entries, mixes),
            Expr::Struct { name, fields } => self.structure(at, name, fields),
            Expr::Fold(fold) => self.fold(at, fold),
            Expr::OptionalMap(map) => self.optional_map(at, map),
        }
    }

    fn variable(&self, name: &str) -> Option<Type> {
        let local = self.scopes.iter().rev().find(|(local, _)| local == name).map(|(_, of)| of.clone());
        local.or_else(|| self.env.variables.get(name).cloned()).or_else(|| type_named(name).map(|_| Type::Type))
    }

    /// Turns `variables.x` and `google.protobuf.Timestamp` into one name.
    fn qualified(&self, node: &mut Node) -> Option<Type> {
        let Expr::Select { of, field, access } = &node.expr else { return None };
        let name = format!("{}.{field}", struct_name(of)?);
        let root = name.split('.').next().unwrap_or_default();
        if self.scopes.iter().any(|(local, _)| local == root) {
            return None;
        }
        let found = self.env.variables.get(&name).cloned().or_else(|| type_named(&name).map(|_| Type::Type))?;
        match access {
            Access::Value => {
                (node.expr, node.depth) = (Expr::Ident(name), 1);
                Some(found)
            }
            Access::Presence => {
                (node.expr, node.depth) = (Expr::Literal(Literal::Bool(true)), 1);
                Some(Type::Bool)
            }
            Access::Optional => None,
        }
    }

    fn select(&mut self, at: usize, of: &Type, field: &str, access: Access) -> Type {
        let (inner, is_optional) = match of {
            Type::Optional(inner) => (&**inner, true),
            other => (other, access == Access::Optional),
        };
        let found = match inner {
            Type::Object(object) => match object.fields.get(field) {
                Some(FieldType { of, .. }) => of.clone(),
                None => self.wrong(at, format!("undefined field '{field}'")),
            },
            Type::Map(_, value) => (**value).clone(),
            Type::Struct(name) => match struct_field(name, field) {
                Some(of) => of,
                None => self.wrong(at, format!("undefined field '{field}'")),
            },
            Type::Dyn | Type::Param(_) => Type::Dyn,
            other => self.wrong(at, format!("type '{other}' does not support field selection")),
        };
        match access {
            Access::Presence => Type::Bool,
            Access::Value | Access::Optional if is_optional => Type::optional(found),
            Access::Value | Access::Optional => found,
        }
    }

    fn index(&mut self, at: usize, of: &Type, index: &Type, optional: bool) -> Type {
        let (inner, is_optional) = match of {
            Type::Optional(inner) => (&**inner, true),
            other => (other, optional),
        };
        let found = match inner {
            Type::List(of, _) if matches!(index, Type::Int | Type::Dyn) => (**of).clone(),
            Type::Map(key, value) if key.fits(index, &mut BTreeMap::new()) => (**value).clone(),
            Type::Dyn | Type::Param(_) => Type::Dyn,
            _ => self.wrong(at, format!("found no matching overload for '_[_]' applied to '({of}, {index})'")),
        };
        if is_optional { Type::optional(found) } else { found }
    }

    fn call(
        &mut self,
        at: usize,
        name: &str,
        receiver: bool,
        args: &[Type],
        kept: &mut Vec<&'static Overload>,
    ) -> Type {
        let named = functions::named(name);
        if named.is_empty() || (named.iter().all(|row| row.is_for_mutations()) && self.env.structs == Structs::None) {
            return self.wrong(at, format!("undeclared reference to '{name}' (in container '')"));
        }
        let mut result: Option<Type> = None;
        for overload in named.iter().filter(|row| row.receiver == receiver && row.params.len() == args.len()) {
            let mut params = BTreeMap::new();
            if !overload.params.iter().zip(args).all(|(param, arg)| param.to_type().fits(arg, &mut params)) {
                continue;
            }
            kept.push(overload);
            let mut made = overload.result.to_type().filled(&params);
            // What two sets make is a set.
            if let (Type::List(of, _), Some(Type::List(_, kind))) = (&made, args.first()) {
                made = Type::List(of.clone(), kind.clone());
            }
            result = Some(match result {
                None => made,
                Some(other) if other == made => other,
                Some(_) => Type::Dyn,
            });
        }
        result.unwrap_or_else(|| {
            let texts: Vec<String> = args.iter().map(ToString::to_string).collect();
            let applied = match texts.split_first() {
                Some((target, rest)) if receiver => format!("{target}.({})", rest.join(", ")),
                _ => format!("({})", texts.join(", ")),
            };
            self.wrong(at, format!("found no matching overload for '{name}' applied to '{applied}'"))
        })
    }

    fn logic(&mut self, at: usize, joint: Joint, parts: &mut [Node]) -> Type {
        let types: Vec<Type> = parts.iter_mut().map(|part| self.node(part)).collect();
        if let Some(place) = types.iter().position(|of| !is_truth(of)) {
            let name = if joint == Joint::And { "_&&_" } else { "_||_" };
            let (left, right) = if place == 0 { (0, 1) } else { (place - 1, place) };
            let applied = format!("({}, {})", types[left], types[right]);
            self.wrong(at, format!("found no matching overload for '{name}' applied to '{applied}'"));
        }
        Type::Bool
    }

    fn conditional(&mut self, at: usize, parts: &mut [Node; 3]) -> Type {
        let [condition, yes, no] = parts.each_mut().map(|part| self.node(part));
        let mut params = BTreeMap::new();
        if is_truth(&condition) && Type::Param(0).fits(&yes, &mut params) && Type::Param(0).fits(&no, &mut params) {
            return Type::Param(0).filled(&params);
        }
        self.wrong(at, format!("found no matching overload for '_?_:_' applied to '({condition}, {yes}, {no})'"))
    }

    /// Unwraps the type of an optional part of a literal.
    fn part(&mut self, value: &mut Node, optional: bool) -> Type {
        match (self.node(value), optional) {
            (Type::Optional(of), true) => (*of).clone(),
            (of, false) => of,
            (Type::Dyn, true) => Type::Dyn,
            (of, true) => self.wrong(value.at, format!("expected type 'optional_type({of})' but found '{of}'")),
        }
    }

    fn list(&mut self, elements: &mut [Element], mixes: bool) -> Type {
        let mut known = None;
        for Element { value, optional } in elements {
            self.mixes = mixes;
            let of = self.part(value, *optional);
            known = Some(self.join(known, value.at, of, mixes));
        }
        Type::list(known.map_or(Type::Param(9), |known| known.all))
    }

    fn map(&mut self, entries: &mut [Entry], mixes: bool) -> Type {
        let (mut keys, mut values) = (None, None);
        for Entry { key, value, optional } in entries {
            let of = self.node(key);
            keys = Some(self.join(keys, key.at, of, mixes));
            self.mixes = mixes;
            let of = self.part(value, *optional);
            values = Some(self.join(values, value.at, of, mixes));
        }
        let all = |known: Option<Elements>, param| known.map_or(Type::Param(param), |known| known.all);
        Type::map(all(keys, 8), all(values, 9))
    }

    /// Adds an element to those before it. All must be of one type (`HomogeneousAggregateLiterals`), and it must be
    /// known of all or of none (`ValidateHomogeneousAggregateLiterals`).
    fn join(&mut self, known: Option<Elements>, at: usize, of: Type, mixes: bool) -> Elements {
        let Some(Elements { first, all }) = known else { return Elements { first: of.clone(), all: of } };
        let text = |expected: &Type| format!("expected type '{expected}' but found '{of}'");
        let mut params = BTreeMap::new();
        if !(Type::Param(0).fits(&all, &mut params) && Type::Param(0).fits(&of, &mut params)) {
            self.wrong(at, text(&all));
            return Elements { first, all };
        }
        if !mixes && !first.is_like(&of) {
            self.mixtures.push(Problem::new(at, text(&first)));
        }
        Elements { first, all: Type::Param(0).filled(&params) }
    }

    fn structure(&mut self, at: usize, name: &str, fields: &mut [Field]) -> Type {
        let found: Vec<Type> = fields.iter_mut().map(|field| self.part(&mut field.value, field.optional)).collect();
        if self.env.structs == Structs::None || struct_field(name, "value").is_none() {
            return self.wrong(at, format!("undeclared reference to '{name}' (in container '')"));
        }
        for (Field { name: field, value, .. }, found) in fields.iter().zip(found) {
            match struct_field(name, field) {
                None => drop(self.wrong(value.at, format!("undefined field '{field}'"))),
                Some(wanted) if wanted.fits(&found, &mut BTreeMap::new()) => {}
                Some(wanted) => {
                    let text = format!("expected type of field '{field}' is '{wanted}' but provided type is '{found}'");
                    self.wrong(value.at, text);
                }
            }
        }
        Type::Struct(name.into())
    }

    fn fold(&mut self, at: usize, fold: &mut Fold) -> Type {
        let range = self.node(&mut fold.range);
        let (first, second) = match &range {
            Type::List(of, _) if fold.second.is_some() => (Type::Int, (**of).clone()),
            Type::List(of, _) => ((**of).clone(), Type::Dyn),
            Type::Map(key, value) => ((**key).clone(), (**value).clone()),
            Type::Dyn | Type::Param(_) => (Type::Dyn, Type::Dyn),
            other => {
                let text = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                let at = fold.range.at;
                (self.wrong(at, text), Type::Dyn)
            }
        };
        let outer = self.scopes.len();
        self.scopes.push((fold.name.clone(), first.clone()));
        if let Some(name) = &fold.second {
            self.scopes.push((name.clone(), second));
        }
        if let Some(filter) = &mut fold.filter {
            let of = self.node(filter);
            self.truth(at, "_?_:_", &of);
        }
        let body = self.node(&mut fold.body);
        self.scopes.truncate(outer);
        match fold.kind {
            FoldKind::All => self.truth(at, "_&&_", &body),
            FoldKind::Exists => self.truth(at, "_||_", &body),
            FoldKind::ExistsOne => self.truth(at, "_?_:_", &body),
            FoldKind::Filter => {
                self.truth(at, "_?_:_", &body);
                Type::list(first)
            }
            FoldKind::Map => Type::list(body),
            FoldKind::SortBy if matches!(range, Type::Map(..)) || !body.is_ordered() => {
                let applied = format!("{range}.(list({body}))");
                self.wrong(at, format!("found no matching overload for '@sortByAssociatedKeys' applied to '{applied}'"))
            }
            FoldKind::SortBy => range,
            FoldKind::TransformMap => Type::map(first, body),
            FoldKind::TransformMapEntry => match body {
                of @ (Type::Map(..) | Type::Dyn) => of,
                other => self.wrong(at, format!("expected type 'map' but found '{other}'")),
            },
        }
    }

    fn truth(&mut self, at: usize, function: &str, found: &Type) -> Type {
        if !is_truth(found) {
            self.wrong(at, format!("found no matching overload for '{function}' applied to '(bool, {found})'"));
        }
        Type::Bool
    }

    fn optional_map(&mut self, at: usize, map: &mut OptionalMap) -> Type {
        let of = match self.node(&mut map.target) {
            Type::Optional(of) => (*of).clone(),
            Type::Dyn => Type::Dyn,
            other => {
                let name = if map.flat { "optFlatMap" } else { "optMap" };
                self.wrong(at, format!("found no matching overload for '{name}' applied to '{other}'"))
            }
        };
        self.scopes.push((map.name.clone(), of));
        let body = self.node(&mut map.body);
        self.scopes.pop();
        match body {
            body if !map.flat => Type::optional(body),
            body @ (Type::Optional(_) | Type::Dyn) => body,
            other => self.wrong(at, format!("expected type 'optional_type' but found '{other}'")),
        }
    }
}

fn is_truth(of: &Type) -> bool {
    matches!(of, Type::Bool | Type::Dyn | Type::Param(_))
}

/// Returns the type of a field of what mutations are written in: objects have any.
fn struct_field(name: &str, field: &str) -> Option<Type> {
    match (name, field) {
        ("JSONPatch", "op" | "path" | "from") => Some(Type::String),
        ("JSONPatch", "value") => Some(Type::Dyn),
        ("JSONPatch", _) => None,
        _ => (name == "Object" || name.starts_with("Object.")).then_some(Type::Dyn),
    }
}
