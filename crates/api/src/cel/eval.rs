//! Running an expression.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ast::{Access, Element, Entry, Expr, Field, Fold, FoldKind, Joint, Literal, Node, OptionalMap};
use super::check;
use super::env::{Bindings, Lazy};
use super::error::EvalError;
use super::functions::Overload;
use super::library;
use super::meter::{CALL_LIMIT, Meter};
use super::value::{Key, Map, Text, Val};

/// How deep variables that use variables may be, all together. With the expression that uses them, this must fit on the
/// stack of a worker.
const VARIABLES_DEPTH_MAX: usize = 120;

type Evaluated<'a> = Result<Val<'a>, EvalError>;

/// A variable of a macro, and those around it.
struct Scope<'s, 'a> {
    name: &'s str,
    value: Val<'a>,
    outer: Option<&'s Scope<'s, 'a>>,
}

pub(super) struct Evaluator<'r, 'a> {
    bindings: &'r Bindings<'a>,
    pub(super) meter: Meter<'r>,
}

impl<'r, 'a> Evaluator<'r, 'a> {
    pub(super) fn new(bindings: &'r Bindings<'a>, limit: u64) -> Self {
        Self { bindings, meter: Meter::new(limit, bindings.authorizer) }
    }

    /// Runs a whole expression.
    pub(super) fn run(&mut self, root: &Node) -> Evaluated<'a> {
        self.eval(root, None)
    }

    fn eval(&mut self, node: &Node, scope: Option<&Scope<'_, 'a>>) -> Evaluated<'a> {
        match &node.expr {
            Expr::Literal(literal) => Ok(constant(literal)),
            Expr::Ident(name) => self.ident(name, scope),
            Expr::Select { of, field, access } => self.select(of, field, *access, scope),
            Expr::Index { of, index, optional } => self.index(of, index, *optional, scope),
            Expr::Call { args, overloads, .. } => self.call(args, overloads, scope),
            Expr::Logic { joint, parts } => self.logic(*joint, parts, scope),
            Expr::Conditional(parts) => self.conditional(parts, scope),
            Expr::List(elements) => self.list(elements, scope),
            Expr::Map(entries) => self.map(entries, scope),
            Expr::Struct { name, fields } => self.structure(name, fields, scope),
            Expr::Fold(fold) => self.fold(fold, scope),
            Expr::OptionalMap(map) => self.optional_map(map, scope),
        }
    }

    fn ident(&mut self, name: &str, scope: Option<&Scope<'_, 'a>>) -> Evaluated<'a> {
        self.meter.charge(1)?;
        let mut next = scope;
        while let Some(scope) = next {
            if scope.name == name {
                return Ok(scope.value.clone());
            }
            next = scope.outer;
        }
        if let Some(value) = self.bindings.get(name) {
            return Ok(value.clone());
        }
        if let Some(lazy) = self.bindings.lazy(name) {
            return self.variable(name, lazy);
        }
        check::type_named(name)
            .map(|name| Val::Type(name.into()))
            .ok_or_else(|| EvalError::failed(format!("no such attribute: {name}")))
    }

    /// Runs a variable's expression, once: it has a limit of its own, and its cost is owed by whoever runs.
    fn variable(&mut self, name: &str, lazy: Lazy<'a>) -> Evaluated<'a> {
        if let Some(known) = self.bindings.known(name) {
            return known;
        }
        if lazy.depth > VARIABLES_DEPTH_MAX {
            return Err(EvalError::failed("variables that use variables are nested too deeply"));
        }
        let mut inner = Evaluator::new(self.bindings, CALL_LIMIT);
        let value = inner.run(lazy.program.root());
        self.bindings.learn(name, value.clone(), inner.meter.spent());
        value
    }

    fn select(&mut self, of: &Node, field: &str, access: Access, scope: Option<&Scope<'_, 'a>>) -> Evaluated<'a> {
        let of = self.eval(of, scope)?;
        let (of, is_optional) = match of {
            Val::Optional(None) if access == Access::Presence => return Ok(Val::Bool(false)),
            Val::Optional(None) => return Ok(Val::Optional(None)),
            Val::Optional(Some(value)) => ((*value).clone(), true),
            other => (other, access == Access::Optional),
        };
        let found = match &of {
            Val::Map(map) => map.get(&Key::Text(field.into()))?,
            _ if is_optional => None,
            _ if access == Access::Presence => return Err(EvalError::no_overload()),
            _ => return Err(EvalError::no_key(field)),
        };
        if access == Access::Presence {
            return Ok(Val::Bool(found.is_some()));
        }
        self.meter.charge(1)?;
        if is_optional {
            return Ok(found.map_or(Val::Optional(None), Val::some));
        }
        found.ok_or_else(|| EvalError::no_key(field))
    }

    fn index(&mut self, of: &Node, index: &Node, optional: bool, scope: Option<&Scope<'_, 'a>>) -> Evaluated<'a> {
        let of = self.eval(of, scope)?;
        let index = self.eval(index, scope)?;
        self.meter.charge(1)?;
        let (of, is_optional) = match of {
            Val::Optional(None) => return Ok(Val::Optional(None)),
            Val::Optional(Some(value)) => ((*value).clone(), true),
            other => (other, optional),
        };
        let found = item(&of, &index);
        match found {
            Ok(found) if is_optional => Ok(found.map_or(Val::Optional(None), Val::some)),
            Ok(Some(found)) => Ok(found),
            Ok(None) if matches!(of, Val::List(_)) => {
                Err(EvalError::failed(format!("index out of bounds: {}", index.to_text()?)))
            }
            Ok(None) => Err(EvalError::no_key(&index.to_text()?)),
            Err(error) => Err(error),
        }
    }

    fn call(&mut self, args: &[Node], overloads: &[&'static Overload], scope: Option<&Scope<'_, 'a>>) -> Evaluated<'a> {
        let args = args.iter().map(|arg| self.eval(arg, scope)).collect::<Result<Vec<_>, _>>()?;
        let fits =
            |overload: &&&'static Overload| overload.params.iter().zip(&args).all(|(param, arg)| param.takes(arg));
        let overload = overloads.iter().find(fits).ok_or_else(EvalError::no_overload)?;
        self.meter.charge(overload.cost.of(&args))?;
        (overload.run)(&mut self.meter, &args)
    }

    /// A part that decides makes good what failed in the others.
    fn logic(&mut self, joint: Joint, parts: &[Node], scope: Option<&Scope<'_, 'a>>) -> Evaluated<'a> {
        let decisive = joint == Joint::Or;
        let mut failure = None;
        for part in parts {
            match self.eval(part, scope) {
                Ok(Val::Bool(value)) if value == decisive => return Ok(Val::Bool(decisive)),
                Ok(Val::Bool(_)) => {}
                Ok(_) => failure = failure.or(Some(EvalError::no_overload())),
                Err(error) if error.is_final() => return Err(error),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(Val::Bool(!decisive)), Err)
    }

    fn conditional(&mut self, parts: &[Node; 3], scope: Option<&Scope<'_, 'a>>) -> Evaluated<'a> {
        let [condition, yes, no] = parts;
        let holds = self.eval(condition, scope)?.as_bool().ok_or_else(EvalError::no_overload)?;
        self.eval(if holds { yes } else { no }, scope)
    }

    fn list(&mut self, elements: &[Element], scope: Option<&Scope<'_, 'a>>) -> Evaluated<'a> {
        self.meter.charge(10)?;
        let mut items = Vec::with_capacity(elements.len());
        for element in elements {
            items.extend(kept(self.eval(&element.value, scope)?, element.optional)?);
        }
        Ok(Val::list(items))
    }

    fn map(&mut self, entries: &[Entry], scope: Option<&Scope<'_, 'a>>) -> Evaluated<'a> {
        self.meter.charge(30)?;
        let mut made = BTreeMap::new();
        for entry in entries {
            let key = key(&self.eval(&entry.key, scope)?)?;
            let Some(value) = kept(self.eval(&entry.value, scope)?, entry.optional)? else { continue };
            insert(&mut made, key, value)?;
        }
        Ok(Val::Map(Map::Made(Arc::new(made))))
    }

    fn structure(&mut self, name: &str, fields: &[Field], scope: Option<&Scope<'_, 'a>>) -> Evaluated<'a> {
        self.meter.charge(40)?;
        let mut made = BTreeMap::new();
        for field in fields {
            let Some(value) = kept(self.eval(&field.value, scope)?, field.optional)? else { continue };
            made.insert(Key::Text(super::types::unescape(&field.name).into()), value);
        }
        Ok(Val::Map(Map::Struct(name.into(), Arc::new(made))))
    }

    fn optional_map(&mut self, map: &OptionalMap, scope: Option<&Scope<'_, 'a>>) -> Evaluated<'a> {
        let Val::Optional(target) = self.eval(&map.target, scope)? else { return Err(EvalError::no_overload()) };
        let Some(value) = target else { return Ok(Val::Optional(None)) };
        let inner = Scope { name: &map.name, value: (*value).clone(), outer: scope };
        let made = self.eval(&map.body, Some(&inner))?;
        Ok(if map.flat { made } else { Val::some(made) })
    }

    fn fold(&mut self, fold: &Fold, scope: Option<&Scope<'_, 'a>>) -> Evaluated<'a> {
        let range = self.eval(&fold.range, scope)?;
        let mut folding = Folding::new(fold.kind);
        match &range {
            Val::List(list) => {
                for (place, item) in list.iter().enumerate() {
                    let place = Val::Int(i64::try_from(place).unwrap_or(i64::MAX));
                    let (first, second) = if fold.second.is_some() { (place, Some(item?)) } else { (item?, None) };
                    if self.step(fold, &mut folding, first, second, scope)? {
                        break;
                    }
                }
            }
            Val::Map(map) => {
                // Their order in the document would be chance; Kubernetes leaves it open.
                for pair in map.iter() {
                    let (key, value) = pair?;
                    let second = fold.second.is_some().then_some(value);
                    if self.step(fold, &mut folding, key.into(), second, scope)? {
                        break;
                    }
                }
            }
            _ => return Err(EvalError::no_overload()),
        }
        self.meter.charge(1)?;
        folding.finish(&mut self.meter)
    }

    /// Takes one element; returns whether the result is known.
    fn step(
        &mut self,
        fold: &Fold,
        folding: &mut Folding<'a>,
        first: Val<'a>,
        second: Option<Val<'a>>,
        scope: Option<&Scope<'_, 'a>>,
    ) -> Result<bool, EvalError> {
        self.meter.charge(fold.kind.step_cost())?;
        let outer = Scope { name: &fold.name, value: first.clone(), outer: scope };
        let inner = match (&fold.second, second) {
            (Some(name), Some(value)) => Some(Scope { name, value, outer: Some(&outer) }),
            _ => None,
        };
        let scope = inner.as_ref().unwrap_or(&outer);
        if let Some(filter) = &fold.filter
            && !self.eval(filter, Some(scope))?.as_bool().ok_or_else(EvalError::no_overload)?
        {
            return Ok(false);
        }
        let value = self.eval(&fold.body, Some(scope));
        folding.take(first, value)
    }
}

impl FoldKind {
    /// What a step costs in cel-go, where macros are made of other expressions, besides the body.
    pub(super) fn step_cost(self) -> u64 {
        match self {
            Self::All => 3,
            Self::Exists => 4,
            Self::ExistsOne => 2,
            // A list of one and joining it.
            Self::Map | Self::SortBy => 12,
            Self::Filter => 13,
            Self::TransformMap | Self::TransformMapEntry => 32,
        }
    }
}

/// What a macro has found so far.
struct Folding<'a> {
    kind: FoldKind,
    failure: Option<EvalError>,
    decided: bool,
    count: usize,
    items: Vec<Val<'a>>,
    /// What the items are sorted by.
    sort_keys: Vec<Val<'a>>,
    entries: BTreeMap<Key, Val<'a>>,
}

impl<'a> Folding<'a> {
    fn new(kind: FoldKind) -> Self {
        let (items, sort_keys, entries) = (Vec::new(), Vec::new(), BTreeMap::new());
        Self { kind, failure: None, decided: false, count: 0, items, sort_keys, entries }
    }

    /// Takes what the body made of an element; returns whether the result is known.
    fn take(&mut self, element: Val<'a>, made: Evaluated<'a>) -> Result<bool, EvalError> {
        match self.kind {
            FoldKind::All | FoldKind::Exists => {
                let decisive = self.kind == FoldKind::Exists;
                match made {
                    Ok(Val::Bool(value)) => self.decided = value == decisive,
                    Ok(_) => self.failure = self.failure.take().or(Some(EvalError::no_overload())),
                    Err(error) if error.is_final() => return Err(error),
                    Err(error) => self.failure = self.failure.take().or(Some(error)),
                }
                return Ok(self.decided);
            }
            FoldKind::ExistsOne => self.count += usize::from(truth(&made?)?),
            FoldKind::Map => self.items.push(made?),
            FoldKind::SortBy => {
                self.sort_keys.push(made?);
                self.items.push(element);
            }
            FoldKind::Filter => {
                if truth(&made?)? {
                    self.items.push(element);
                }
            }
            FoldKind::TransformMap => insert(&mut self.entries, key(&element)?, made?)?,
            FoldKind::TransformMapEntry => {
                let Val::Map(entries) = made? else { return Err(EvalError::no_overload()) };
                for pair in entries.iter() {
                    let (key, value) = pair?;
                    insert(&mut self.entries, key, value)?;
                }
            }
        }
        Ok(false)
    }

    fn finish(self, meter: &mut Meter<'_>) -> Evaluated<'a> {
        match self.kind {
            FoldKind::All | FoldKind::Exists => match (self.decided, self.failure) {
                (false, Some(error)) => Err(error),
                (decided, _) => Ok(Val::Bool(decided == (self.kind == FoldKind::Exists))),
            },
            FoldKind::ExistsOne => Ok(Val::Bool(self.count == 1)),
            FoldKind::Map | FoldKind::Filter => Ok(Val::list(self.items)),
            FoldKind::SortBy => library::sort_by(meter, self.items, &self.sort_keys),
            FoldKind::TransformMap | FoldKind::TransformMapEntry => Ok(Val::Map(Map::Made(Arc::new(self.entries)))),
        }
    }
}

fn truth(value: &Val<'_>) -> Result<bool, EvalError> {
    value.as_bool().ok_or_else(EvalError::no_overload)
}

fn constant<'a>(literal: &Literal) -> Val<'a> {
    match literal {
        Literal::Null => Val::Null,
        Literal::Bool(value) => Val::Bool(*value),
        Literal::Int(number) => Val::Int(*number),
        Literal::Uint(number) => Val::Uint(*number),
        Literal::Double(number) => Val::Double(*number),
        Literal::Text(text) => Val::Text(Text::Shared(text.clone())),
        Literal::Bytes(bytes) => Val::Bytes(bytes.clone()),
    }
}

/// Returns what is at a place of a list or under a key of a map.
fn item<'a>(of: &Val<'a>, index: &Val<'a>) -> Result<Option<Val<'a>>, EvalError> {
    match (of, index.key()) {
        (Val::List(list), Some(Key::Number(place))) => match usize::try_from(place) {
            Ok(place) => list.get(place),
            Err(_) => Ok(None),
        },
        (Val::Map(map), Some(key)) => map.get(&key),
        _ => Err(EvalError::no_overload()),
    }
}

fn key(value: &Val<'_>) -> Result<Key, EvalError> {
    let is_key = matches!(value, Val::Bool(_) | Val::Int(_) | Val::Uint(_) | Val::Text(_));
    value
        .key()
        .filter(|_| is_key)
        .ok_or_else(|| EvalError::failed(format!("unsupported key type: {}", value.type_name())))
}

fn insert<'a>(map: &mut BTreeMap<Key, Val<'a>>, key: Key, value: Val<'a>) -> Result<(), EvalError> {
    let text = Val::from(key.clone()).to_text()?;
    match map.insert(key, value) {
        None => Ok(()),
        Some(_) => Err(EvalError::failed(format!("insert failed: key {text} already exists"))),
    }
}

/// Unwraps an optional part of a literal; `None` leaves it out.
fn kept(value: Val<'_>, optional: bool) -> Result<Option<Val<'_>>, EvalError> {
    match (value, optional) {
        (value, false) => Ok(Some(value)),
        (Val::Optional(value), true) => Ok(value.map(|value| (*value).clone())),
        (_, true) => Err(EvalError::no_overload()),
    }
}
