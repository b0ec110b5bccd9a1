//! The table of functions: one row says what a function takes, makes, costs and does. The checker, the evaluator and the
//! estimator of costs all read it.

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

use super::error::EvalError;
use super::library;
use super::meter::Meter;
use super::types::Type;
use super::value::{Map, Val};

/// One function, for arguments of certain types.
pub(super) struct Overload {
    pub(super) name: &'static str,
    /// Whether its first argument stands before the dot.
    pub(super) receiver: bool,
    pub(super) params: &'static [Sig],
    pub(super) result: Sig,
    pub(super) cost: Cost,
    pub(super) run: Run,
}

pub(super) type Run = for<'a> fn(&mut Meter<'_>, &[Val<'a>]) -> Result<Val<'a>, EvalError>;

/// A type in a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sig {
    Dyn,
    Bool,
    Int,
    Uint,
    Double,
    Text,
    Bytes,
    Duration,
    Timestamp,
    List(&'static Sig),
    Map(&'static Sig, &'static Sig),
    Optional(&'static Sig),
    Type,
    Opaque(&'static str),
    /// Any one type.
    A,
    /// Any other one type.
    B,
}

/// What a call costs besides its arguments (`cel-go/interpreter/runtimecost.go`, `cel/library/cost.go`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cost {
    Fixed(u64),
    /// Going through the text of the first argument so many times.
    Text(u64),
    /// Comparing two values, as far as the smaller one goes.
    Compare,
    /// Copying two texts.
    Concat,
    /// Joining two lists.
    ConcatList,
    /// Looking for the second text in the first one.
    Contains,
    /// Looking at every element of the second argument.
    In,
    /// Matching the first argument with the expression in the second.
    Regex,
    /// Going through everything in the first argument.
    Walk,
    /// Joining the texts of a list.
    Join,
    /// Comparing every element of one list with every element of the other.
    Pairs,
    /// Comparing addresses; texts are read first.
    Address,
}

impl fmt::Debug for Overload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", self.name, self.params)
    }
}

/// A function: `name(a, b)`.
pub(super) const fn function(
    name: &'static str,
    params: &'static [Sig],
    result: Sig,
    cost: Cost,
    run: Run,
) -> Overload {
    Overload { name, receiver: false, params, result, cost, run }
}

/// A method: `a.name(b)`.
pub(super) const fn method(name: &'static str, params: &'static [Sig], result: Sig, cost: Cost, run: Run) -> Overload {
    Overload { name, receiver: true, params, result, cost, run }
}

static TABLE: LazyLock<HashMap<&'static str, Vec<&'static Overload>>> = LazyLock::new(|| {
    let mut table: HashMap<_, Vec<_>> = HashMap::new();
    for overload in library::ALL.iter().copied().flatten() {
        table.entry(overload.name).or_default().push(overload);
    }
    table
});

/// Returns every function of a name.
pub(super) fn named(name: &str) -> &'static [&'static Overload] {
    TABLE.get(name).map_or(&[], Vec::as_slice)
}

/// Whether a name with dots is a function's, such as `sets.contains`.
pub(super) fn is_qualified(name: &str) -> bool {
    name.contains('.') && !named(name).is_empty()
}

/// How much of a text costs one.
pub(super) fn tenth(size: u64) -> u64 {
    size.div_ceil(10)
}

impl Cost {
    /// Returns what a call with these arguments costs.
    pub(super) fn of(self, args: &[Val<'_>]) -> u64 {
        let size = |place: usize| args.get(place).map_or(0, Val::size);
        match self {
            Self::Fixed(cost) => cost,
            Self::Text(times) => tenth(size(0).saturating_mul(times)),
            Self::Compare => tenth(size(0).min(size(1))),
            Self::Concat => tenth(size(0) + size(1)),
            // Kubernetes counts 1, but these lists are copied.
            Self::ConcatList => 1 + size(0) + size(1),
            Self::Contains => tenth(size(0)).saturating_mul(tenth(size(1))),
            Self::In => match args.get(1) {
                Some(Val::List(list)) => list.len() as u64,
                _ => 1,
            },
            Self::Regex => tenth(size(0) + 1).saturating_mul(size(1).div_ceil(4)),
            Self::Walk => args.first().map_or(0, walk),
            Self::Join => match args.first() {
                Some(Val::List(list)) => {
                    let texts: u64 = list.iter().flatten().map(|item| item.size()).sum();
                    tenth(2 * (texts + size(1) * list.len().saturating_sub(1) as u64))
                }
                _ => 1,
            },
            Self::Pairs => size(0).saturating_mul(size(1)).max(1),
            Self::Address => {
                tenth(2 * size(0)) + tenth(args.get(1).and_then(Val::as_str).map_or(0, |t| t.len() as u64))
            }
        }
    }
}

/// Returns the cost of going through a value (`traversalCost`).
fn walk(value: &Val<'_>) -> u64 {
    match value {
        Val::Text(text) => text.as_str().len() as u64 / 10,
        Val::Bytes(bytes) => bytes.len() as u64 / 10,
        Val::List(list) => list.iter().flatten().map(|item| walk(&item)).sum(),
        Val::Map(map) => map.iter().flatten().map(|(key, value)| walk(&key.into()) + walk(&value)).sum(),
        _ => 1,
    }
}

impl Sig {
    /// Returns the type that it stands for.
    pub(super) fn to_type(self) -> Type {
        match self {
            Self::Dyn => Type::Dyn,
            Self::Bool => Type::Bool,
            Self::Int => Type::Int,
            Self::Uint => Type::Uint,
            Self::Double => Type::Double,
            Self::Text => Type::String,
            Self::Bytes => Type::Bytes,
            Self::Duration => Type::Duration,
            Self::Timestamp => Type::Timestamp,
            Self::List(of) => Type::list(of.to_type()),
            Self::Map(key, value) => Type::map(key.to_type(), value.to_type()),
            Self::Optional(of) => Type::optional(of.to_type()),
            Self::Type => Type::Type,
            Self::Opaque(name) => Type::Opaque(name),
            Self::A => Type::Param(0),
            Self::B => Type::Param(1),
        }
    }

    /// Whether a value may be passed here.
    pub(super) fn takes(self, value: &Val<'_>) -> bool {
        match (self, value) {
            (Self::Dyn | Self::A | Self::B, _)
            | (Self::Bool, Val::Bool(_))
            | (Self::Int, Val::Int(_))
            | (Self::Uint, Val::Uint(_))
            | (Self::Double, Val::Double(_))
            | (Self::Text, Val::Text(_))
            | (Self::Bytes, Val::Bytes(_))
            | (Self::Duration, Val::Duration(_))
            | (Self::Timestamp, Val::Timestamp(_))
            | (Self::List(_), Val::List(_))
            | (Self::Optional(_), Val::Optional(_))
            | (Self::Type, Val::Type(_)) => true,
            (Self::Map(..), Val::Map(map)) => !matches!(map, Map::Object(..)),
            (Self::Opaque(name), Val::Opaque(opaque)) => opaque.type_name() == name,
            _ => false,
        }
    }
}
