//! Operators, and what every value has.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::equality::{self, compare, equal};
use crate::cel::error::EvalError;
use crate::cel::functions::Cost::{Compare, Concat, ConcatList, Fixed, In};
use crate::cel::functions::Sig::{
    A, B, Bool, Bytes, Double, Duration, Int, List as ListOf, Map as MapOf, Text, Timestamp, Uint,
};
use crate::cel::functions::{Overload, Sig, function, method};
use crate::cel::meter::Meter;
use crate::cel::types::ListKind;
use crate::cel::value::{Items, List, Val};

/// The types that have an order, and which of the others each compares with.
const ORDERED: [[Sig; 2]; 14] = [
    [Bool, Bool],
    [Int, Int],
    [Uint, Uint],
    [Double, Double],
    [Int, Uint],
    [Int, Double],
    [Uint, Int],
    [Uint, Double],
    [Double, Int],
    [Double, Uint],
    [Text, Text],
    [Bytes, Bytes],
    [Duration, Duration],
    [Timestamp, Timestamp],
];

/// The rows of one comparison.
const fn ordered(name: &'static str, run: crate::cel::functions::Run) -> [Overload; 14] {
    const fn row(name: &'static str, place: usize, run: crate::cel::functions::Run) -> Overload {
        let cost = if place == 10 || place == 11 { Compare } else { Fixed(1) };
        function(name, &ORDERED[place], Bool, cost, run)
    }
    [
        row(name, 0, run),
        row(name, 1, run),
        row(name, 2, run),
        row(name, 3, run),
        row(name, 4, run),
        row(name, 5, run),
        row(name, 6, run),
        row(name, 7, run),
        row(name, 8, run),
        row(name, 9, run),
        row(name, 10, run),
        row(name, 11, run),
        row(name, 12, run),
        row(name, 13, run),
    ]
}

pub(super) static LESS: [Overload; 14] = ordered("_<_", |_, args| Ok(order(args, Ordering::is_lt)));
pub(super) static LESS_OR_EQUAL: [Overload; 14] = ordered("_<=_", |_, args| Ok(order(args, Ordering::is_le)));
pub(super) static GREATER: [Overload; 14] = ordered("_>_", |_, args| Ok(order(args, Ordering::is_gt)));
pub(super) static GREATER_OR_EQUAL: [Overload; 14] = ordered("_>=_", |_, args| Ok(order(args, Ordering::is_ge)));

pub(super) static FUNCTIONS: &[Overload] = &[
    function("_==_", &[A, A], Bool, Compare, |meter, args| Ok(Val::Bool(equal(meter, &args[0], &args[1])?))),
    function("_!=_", &[A, A], Bool, Compare, |meter, args| Ok(Val::Bool(!equal(meter, &args[0], &args[1])?))),
    function("!_", &[Bool], Bool, Fixed(1), |_, args| args[0].as_bool().map(|v| Val::Bool(!v)).ok_or_else(no_overload)),
    function("-_", &[Int], Int, Fixed(1), |_, args| whole(args, |a, _| a.checked_neg())),
    function("-_", &[Double], Double, Fixed(1), |_, args| double(args, |a, _| -a)),
    function("_+_", &[Int, Int], Int, Fixed(1), |_, args| whole(args, i64::checked_add)),
    function("_+_", &[Uint, Uint], Uint, Fixed(1), |_, args| unsigned(args, u64::checked_add)),
    function("_+_", &[Double, Double], Double, Fixed(1), |_, args| double(args, |a, b| a + b)),
    function("_+_", &[Text, Text], Text, Concat, |_, args| join_texts(args)),
    function("_+_", &[Bytes, Bytes], Bytes, Concat, |_, args| join_bytes(args)),
    function("_+_", &[ListOf(&A), ListOf(&A)], ListOf(&A), ConcatList, join_lists),
    function("_+_", &[Duration, Duration], Duration, Fixed(1), |_, args| span(args, i64::checked_add)),
    function("_+_", &[Timestamp, Duration], Timestamp, Fixed(1), |_, args| super::time::shift(&args[0], &args[1], 1)),
    function("_+_", &[Duration, Timestamp], Timestamp, Fixed(1), |_, args| super::time::shift(&args[1], &args[0], 1)),
    function("_-_", &[Int, Int], Int, Fixed(1), |_, args| whole(args, i64::checked_sub)),
    function("_-_", &[Uint, Uint], Uint, Fixed(1), |_, args| unsigned(args, u64::checked_sub)),
    function("_-_", &[Double, Double], Double, Fixed(1), |_, args| double(args, |a, b| a - b)),
    function("_-_", &[Duration, Duration], Duration, Fixed(1), |_, args| span(args, i64::checked_sub)),
    function("_-_", &[Timestamp, Duration], Timestamp, Fixed(1), |_, args| super::time::shift(&args[0], &args[1], -1)),
    function("_-_", &[Timestamp, Timestamp], Duration, Fixed(1), |_, args| super::time::between(&args[0], &args[1])),
    function("_*_", &[Int, Int], Int, Fixed(1), |_, args| whole(args, i64::checked_mul)),
    function("_*_", &[Uint, Uint], Uint, Fixed(1), |_, args| unsigned(args, u64::checked_mul)),
    function("_*_", &[Double, Double], Double, Fixed(1), |_, args| double(args, |a, b| a * b)),
    function("_/_", &[Int, Int], Int, Fixed(1), |_, args| {
        not_by_zero(args, "division by zero").and_then(|()| whole(args, i64::checked_div))
    }),
    function("_/_", &[Uint, Uint], Uint, Fixed(1), |_, args| {
        not_by_zero(args, "division by zero").and_then(|()| unsigned(args, u64::checked_div))
    }),
    function("_/_", &[Double, Double], Double, Fixed(1), |_, args| double(args, |a, b| a / b)),
    function("_%_", &[Int, Int], Int, Fixed(1), |_, args| {
        not_by_zero(args, "modulus by zero").and_then(|()| whole(args, i64::checked_rem))
    }),
    function("_%_", &[Uint, Uint], Uint, Fixed(1), |_, args| {
        not_by_zero(args, "modulus by zero").and_then(|()| unsigned(args, u64::checked_rem))
    }),
    function("@in", &[A, ListOf(&A)], Bool, In, is_in_list),
    function("@in", &[A, MapOf(&A, &B)], Bool, Fixed(1), |_, args| is_in_map(args)),
    function("size", &[Text], Int, Fixed(1), |_, args| Ok(size(&args[0]))),
    function("size", &[Bytes], Int, Fixed(1), |_, args| Ok(size(&args[0]))),
    function("size", &[ListOf(&A)], Int, Fixed(1), |_, args| Ok(size(&args[0]))),
    function("size", &[MapOf(&A, &B)], Int, Fixed(1), |_, args| Ok(size(&args[0]))),
    method("size", &[Text], Int, Fixed(1), |_, args| Ok(size(&args[0]))),
    method("size", &[Bytes], Int, Fixed(1), |_, args| Ok(size(&args[0]))),
    method("size", &[ListOf(&A)], Int, Fixed(1), |_, args| Ok(size(&args[0]))),
    method("size", &[MapOf(&A, &B)], Int, Fixed(1), |_, args| Ok(size(&args[0]))),
];

fn no_overload() -> EvalError {
    EvalError::no_overload()
}

fn order<'a>(args: &[Val<'a>], holds: fn(Ordering) -> bool) -> Val<'a> {
    // A number that is none has no order, and every comparison with it is false.
    Val::Bool(compare(&args[0], &args[1]).is_some_and(holds))
}

fn whole<'a>(args: &[Val<'a>], run: fn(i64, i64) -> Option<i64>) -> Result<Val<'a>, EvalError> {
    let (Val::Int(a), Val::Int(b)) = (&args[0], args.get(1).unwrap_or(&Val::Int(0))) else { return Err(no_overload()) };
    run(*a, *b).map(Val::Int).ok_or_else(|| EvalError::failed("integer overflow"))
}

fn unsigned<'a>(args: &[Val<'a>], run: fn(u64, u64) -> Option<u64>) -> Result<Val<'a>, EvalError> {
    let (Val::Uint(a), Val::Uint(b)) = (&args[0], &args[1]) else { return Err(no_overload()) };
    run(*a, *b).map(Val::Uint).ok_or_else(|| EvalError::failed("unsigned integer overflow"))
}

fn double<'a>(args: &[Val<'a>], run: fn(f64, f64) -> f64) -> Result<Val<'a>, EvalError> {
    let (Val::Double(a), Val::Double(b)) = (&args[0], args.get(1).unwrap_or(&Val::Double(0.0))) else {
        return Err(no_overload());
    };
    Ok(Val::Double(run(*a, *b)))
}

fn span<'a>(args: &[Val<'a>], run: fn(i64, i64) -> Option<i64>) -> Result<Val<'a>, EvalError> {
    let (Val::Duration(a), Val::Duration(b)) = (&args[0], args.get(1).unwrap_or(&Val::Duration(0))) else {
        return Err(no_overload());
    };
    run(*a, *b).map(Val::Duration).ok_or_else(|| EvalError::failed("duration overflow"))
}

fn not_by_zero(args: &[Val<'_>], why: &str) -> Result<(), EvalError> {
    if matches!(args[1], Val::Int(0) | Val::Uint(0)) { Err(EvalError::failed(why)) } else { Ok(()) }
}

fn join_texts<'a>(args: &[Val<'a>]) -> Result<Val<'a>, EvalError> {
    let (Some(a), Some(b)) = (args[0].as_str(), args[1].as_str()) else { return Err(no_overload()) };
    Ok(Val::text(format!("{a}{b}")))
}

fn join_bytes<'a>(args: &[Val<'a>]) -> Result<Val<'a>, EvalError> {
    let (Val::Bytes(a), Val::Bytes(b)) = (&args[0], &args[1]) else { return Err(no_overload()) };
    Ok(Val::Bytes([&**a, &**b].concat().into()))
}

/// Sets join without repeating, and lists with keys replace what has the same key (`cel/common/values.go`).
fn join_lists<'a>(meter: &mut Meter<'_>, args: &[Val<'a>]) -> Result<Val<'a>, EvalError> {
    let (Val::List(a), Val::List(b)) = (&args[0], &args[1]) else { return Err(no_overload()) };
    let mut items: Vec<Val<'a>> = a.iter().collect::<Result<_, _>>()?;
    if matches!(a.kind, ListKind::Atomic) {
        for item in b.iter() {
            items.push(item?);
        }
        return Ok(Val::list(items));
    }
    let keys = items.iter().map(|item| equality::key_of(meter, item, &a.kind)).collect::<Result<Vec<_>, _>>()?;
    let mut places: BTreeMap<String, usize> = keys.into_iter().zip(0..).collect();
    for item in b.iter() {
        let item = item?;
        let key = equality::key_of(meter, &item, &a.kind)?;
        if let Some(&place) = places.get(&key) {
            items[place] = item;
        } else {
            places.insert(key, items.len());
            items.push(item);
        }
    }
    Ok(Val::List(List { items: Items::Made(Arc::new(items)), kind: a.kind.clone() }))
}

fn is_in_list<'a>(meter: &mut Meter<'_>, args: &[Val<'a>]) -> Result<Val<'a>, EvalError> {
    let Val::List(list) = &args[1] else { return Err(no_overload()) };
    for item in list.iter() {
        if equal(meter, &args[0], &item?)? {
            return Ok(Val::Bool(true));
        }
    }
    Ok(Val::Bool(false))
}

fn is_in_map<'a>(args: &[Val<'a>]) -> Result<Val<'a>, EvalError> {
    let Val::Map(map) = &args[1] else { return Err(no_overload()) };
    let Some(key) = args[0].key() else { return Ok(Val::Bool(false)) };
    Ok(Val::Bool(map.get(&key)?.is_some()))
}

/// Returns how many parts a value has.
pub(super) fn size<'a>(value: &Val<'_>) -> Val<'a> {
    Val::Int(i64::try_from(value.size()).unwrap_or(i64::MAX))
}
