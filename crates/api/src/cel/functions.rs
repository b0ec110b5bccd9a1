//! The table of functions: one row says what a function takes, makes, costs and does. The checker, the evaluator and the
//! estimator of costs all read it.

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

use super::error::EvalError;
use super::library;
use super::meter::{CALL_LIMIT, Meter};
use super::types::Type;
use super::value::{List, Map, Val};

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

impl Overload {
    /// Whether only mutations may call it.
    pub(super) fn is_for_mutations(&self) -> bool {
        self.name.starts_with("jsonpatch.")
    }
}

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
    /// Copying the first list.
    Copy,
    /// Copying the first list from one place to another.
    Slice,
    /// Making a list of so many items.
    Range,
    /// Copying the first list and, as deep as the second argument says, those in it.
    Flatten,
    /// Comparing every item of the first list with every other.
    SelfCompare,
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
            Self::Walk => args.first().map_or(0, |value| walk(value, &mut 0)),
            Self::Copy => LIST_MADE + size(0),
            Self::Slice => LIST_MADE + whole(args, 2).saturating_sub(whole(args, 1)),
            Self::Range => LIST_MADE.saturating_add(whole(args, 0)),
            Self::Flatten => {
                let depth = if args.len() > 1 { whole(args, 1) } else { 1 };
                LIST_MADE.saturating_add(size(0).saturating_mul(depth))
            }
            Self::SelfCompare => match args.first() {
                Some(Val::List(list)) => compare_all(list.len() as u64, has_texts(list)),
                _ => LIST_MADE,
            },
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

/// The call that makes a list, and the list.
pub(super) const LIST_MADE: u64 = 11;

/// Returns the cost of comparing so many values with each other, as `sort` and `distinct` do at worst.
pub(super) fn compare_all(count: u64, are_texts: bool) -> u64 {
    let pairs = count.saturating_mul(count);
    let reading = if are_texts { pairs / 10 } else { 0 };
    pairs.saturating_mul(2).saturating_add(reading).saturating_add(LIST_MADE)
}

fn has_texts(list: &List<'_>) -> bool {
    matches!(list.get(0), Ok(Some(Val::Text(_) | Val::Bytes(_))))
}

fn whole(args: &[Val<'_>], place: usize) -> u64 {
    match args.get(place) {
        Some(Val::Int(number)) => u64::try_from(*number).unwrap_or(0),
        _ => 0,
    }
}

/// Returns the cost of going through a value (`traversalCost`). Some parts cost nothing and a list may hold another
/// many times over, so that the steps are counted, too: after too many the cost is more than anybody may spend.
fn walk(value: &Val<'_>, steps: &mut u64) -> u64 {
    *steps += 1;
    if *steps > CALL_LIMIT {
        return CALL_LIMIT + 1;
    }
    match value {
        Val::Text(text) => text.as_str().len() as u64 / 10,
        Val::Bytes(bytes) => bytes.len() as u64 / 10,
        Val::List(list) => walk_all(list.iter(), steps),
        Val::Map(map) => {
            let parts = map.iter().flatten().flat_map(|(key, value)| [key.into(), value]);
            walk_all(parts.map(Ok), steps)
        }
        _ => 1,
    }
}

fn walk_all<'a>(parts: impl Iterator<Item = Result<Val<'a>, EvalError>>, steps: &mut u64) -> u64 {
    let mut cost: u64 = 0;
    for part in parts.flatten() {
        cost = cost.saturating_add(walk(&part, steps));
        if *steps > CALL_LIMIT {
            return CALL_LIMIT + 1;
        }
    }
    cost
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
            (Self::Map(..), Val::Map(map)) => !matches!(map, Map::Object(..) | Map::Struct(..)),
            (Self::Opaque(name), Val::Opaque(opaque)) => opaque.type_name() == name,
            _ => false,
        }
    }
}
