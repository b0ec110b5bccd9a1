//! Lists (`cel/library/lists.go`).

use std::cmp::Ordering;

use super::equality::{compare, equal};
use crate::cel::error::EvalError;
use crate::cel::functions::Cost::Walk;
use crate::cel::functions::Sig::{A, Bool, Bytes, Double, Duration, Int, List as ListOf, Text, Timestamp, Uint};
use crate::cel::functions::{Overload, method};
use crate::cel::meter::Meter;
use crate::cel::value::{List, Val};

pub(super) static FUNCTIONS: &[Overload] = &[
    method("isSorted", &[ListOf(&Int)], Bool, Walk, |_, args| is_sorted(args)),
    method("isSorted", &[ListOf(&Uint)], Bool, Walk, |_, args| is_sorted(args)),
    method("isSorted", &[ListOf(&Double)], Bool, Walk, |_, args| is_sorted(args)),
    method("isSorted", &[ListOf(&Bool)], Bool, Walk, |_, args| is_sorted(args)),
    method("isSorted", &[ListOf(&Duration)], Bool, Walk, |_, args| is_sorted(args)),
    method("isSorted", &[ListOf(&Timestamp)], Bool, Walk, |_, args| is_sorted(args)),
    method("isSorted", &[ListOf(&Text)], Bool, Walk, |_, args| is_sorted(args)),
    method("isSorted", &[ListOf(&Bytes)], Bool, Walk, |_, args| is_sorted(args)),
    method("sum", &[ListOf(&Int)], Int, Walk, |_, args| sum(args)),
    method("sum", &[ListOf(&Uint)], Uint, Walk, |_, args| sum(args)),
    method("sum", &[ListOf(&Double)], Double, Walk, |_, args| sum(args)),
    method("sum", &[ListOf(&Duration)], Duration, Walk, |_, args| sum(args)),
    method("min", &[ListOf(&Int)], Int, Walk, |_, args| extreme(args, "min", Ordering::Less)),
    method("min", &[ListOf(&Uint)], Uint, Walk, |_, args| extreme(args, "min", Ordering::Less)),
    method("min", &[ListOf(&Double)], Double, Walk, |_, args| extreme(args, "min", Ordering::Less)),
    method("min", &[ListOf(&Bool)], Bool, Walk, |_, args| extreme(args, "min", Ordering::Less)),
    method("min", &[ListOf(&Duration)], Duration, Walk, |_, args| extreme(args, "min", Ordering::Less)),
    method("min", &[ListOf(&Timestamp)], Timestamp, Walk, |_, args| extreme(args, "min", Ordering::Less)),
    method("min", &[ListOf(&Text)], Text, Walk, |_, args| extreme(args, "min", Ordering::Less)),
    method("min", &[ListOf(&Bytes)], Bytes, Walk, |_, args| extreme(args, "min", Ordering::Less)),
    method("max", &[ListOf(&Int)], Int, Walk, |_, args| extreme(args, "max", Ordering::Greater)),
    method("max", &[ListOf(&Uint)], Uint, Walk, |_, args| extreme(args, "max", Ordering::Greater)),
    method("max", &[ListOf(&Double)], Double, Walk, |_, args| extreme(args, "max", Ordering::Greater)),
    method("max", &[ListOf(&Bool)], Bool, Walk, |_, args| extreme(args, "max", Ordering::Greater)),
    method("max", &[ListOf(&Duration)], Duration, Walk, |_, args| extreme(args, "max", Ordering::Greater)),
    method("max", &[ListOf(&Timestamp)], Timestamp, Walk, |_, args| extreme(args, "max", Ordering::Greater)),
    method("max", &[ListOf(&Text)], Text, Walk, |_, args| extreme(args, "max", Ordering::Greater)),
    method("max", &[ListOf(&Bytes)], Bytes, Walk, |_, args| extreme(args, "max", Ordering::Greater)),
    method("indexOf", &[ListOf(&A), A], Int, Walk, |meter, args| {
        Ok(places(meter, args)?.first().copied().map_or(Val::Int(-1), place))
    }),
    method("lastIndexOf", &[ListOf(&A), A], Int, Walk, |meter, args| {
        Ok(places(meter, args)?.last().copied().map_or(Val::Int(-1), place))
    }),
];

pub(super) fn list<'v, 'a>(args: &'v [Val<'a>]) -> Result<&'v List<'a>, EvalError> {
    match &args[0] {
        Val::List(list) => Ok(list),
        _ => Err(EvalError::no_overload()),
    }
}

fn place<'a>(place: usize) -> Val<'a> {
    Val::Int(i64::try_from(place).unwrap_or(i64::MAX))
}

fn is_sorted<'a>(args: &[Val<'a>]) -> Result<Val<'a>, EvalError> {
    let mut before: Option<Val<'a>> = None;
    for item in list(args)?.iter() {
        let item = item?;
        if let Some(before) = &before {
            match compare(before, &item) {
                None => return Err(EvalError::no_overload()),
                Some(Ordering::Greater) => return Ok(Val::Bool(false)),
                Some(_) => {}
            }
        }
        before = Some(item);
    }
    Ok(Val::Bool(true))
}

fn sum<'a>(args: &[Val<'a>]) -> Result<Val<'a>, EvalError> {
    let mut total: Option<Val<'a>> = None;
    for item in list(args)?.iter() {
        let item = item?;
        let overflow = |what: &str| EvalError::failed(format!("{what} overflow"));
        total = Some(match (total.take(), item) {
            (None, item @ (Val::Int(_) | Val::Uint(_) | Val::Double(_) | Val::Duration(_))) => item,
            (Some(Val::Int(a)), Val::Int(b)) => Val::Int(a.checked_add(b).ok_or_else(|| overflow("integer"))?),
            (Some(Val::Uint(a)), Val::Uint(b)) => {
                Val::Uint(a.checked_add(b).ok_or_else(|| overflow("unsigned integer"))?)
            }
            (Some(Val::Double(a)), Val::Double(b)) => Val::Double(a + b),
            (Some(Val::Duration(a)), Val::Duration(b)) => {
                Val::Duration(a.checked_add(b).ok_or_else(|| overflow("duration"))?)
            }
            _ => return Err(EvalError::no_overload()),
        });
    }
    // Nothing tells what kind of nothing an empty list adds up to; numbers compare across types.
    Ok(total.unwrap_or(Val::Int(0)))
}

fn extreme<'a>(args: &[Val<'a>], name: &str, better: Ordering) -> Result<Val<'a>, EvalError> {
    let mut best: Option<Val<'a>> = None;
    for item in list(args)?.iter() {
        let item = item?;
        let replaces = match &best {
            None => true,
            Some(best) => compare(&item, best).ok_or_else(EvalError::no_overload)? == better,
        };
        if replaces {
            best = Some(item);
        }
    }
    best.ok_or_else(|| EvalError::failed(format!("{name} called on empty list")))
}

fn places(meter: &mut Meter<'_>, args: &[Val<'_>]) -> Result<Vec<usize>, EvalError> {
    let mut found = Vec::new();
    for (place, item) in list(args)?.iter().enumerate() {
        if equal(meter, &item?, &args[1])? {
            found.push(place);
        }
    }
    Ok(found)
}
