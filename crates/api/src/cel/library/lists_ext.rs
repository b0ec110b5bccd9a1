//! More of lists, as Kubernetes has them since 1.34 (`cel-go/ext/lists.go`, version 3).

use std::cmp::Ordering;

use super::equality::{compare, equal};
use super::lists::list;
use crate::cel::error::EvalError;
use crate::cel::functions::Cost::{Copy, Flatten, Range, SelfCompare, Slice};
use crate::cel::functions::Sig::{A, Bool, Bytes, Double, Duration, Dyn, Int, List as ListOf, Text, Timestamp, Uint};
use crate::cel::functions::{Overload, compare_all, function, method};
use crate::cel::meter::Meter;
use crate::cel::value::{List, Val};

pub(super) static FUNCTIONS: &[Overload] = &[
    method("slice", &[ListOf(&A), Int, Int], ListOf(&A), Slice, |_, args| slice(args)),
    method("flatten", &[ListOf(&ListOf(&A))], ListOf(&A), Flatten, |meter, args| flatten(meter, args, 1)),
    method("flatten", &[ListOf(&Dyn), Int], ListOf(&Dyn), Flatten, |meter, args| {
        let depth = usize::try_from(number(args, 1)?);
        flatten(meter, args, depth.map_err(|_| EvalError::failed("level must be non-negative"))?)
    }),
    method("reverse", &[ListOf(&A)], ListOf(&A), Copy, |_, args| {
        let mut items = items(args)?;
        items.reverse();
        Ok(Val::list(items))
    }),
    method("distinct", &[ListOf(&A)], ListOf(&A), SelfCompare, distinct),
    function("lists.range", &[Int], ListOf(&Int), Range, |_, args| range(number(args, 0)?)),
    method("sort", &[ListOf(&Int)], ListOf(&Int), SelfCompare, |_, args| sort(args)),
    method("sort", &[ListOf(&Uint)], ListOf(&Uint), SelfCompare, |_, args| sort(args)),
    method("sort", &[ListOf(&Double)], ListOf(&Double), SelfCompare, |_, args| sort(args)),
    method("sort", &[ListOf(&Bool)], ListOf(&Bool), SelfCompare, |_, args| sort(args)),
    method("sort", &[ListOf(&Duration)], ListOf(&Duration), SelfCompare, |_, args| sort(args)),
    method("sort", &[ListOf(&Timestamp)], ListOf(&Timestamp), SelfCompare, |_, args| sort(args)),
    method("sort", &[ListOf(&Text)], ListOf(&Text), SelfCompare, |_, args| sort(args)),
    method("sort", &[ListOf(&Bytes)], ListOf(&Bytes), SelfCompare, |_, args| sort(args)),
];

fn items<'a>(args: &[Val<'a>]) -> Result<Vec<Val<'a>>, EvalError> {
    list(args)?.iter().collect()
}

fn number(args: &[Val<'_>], place: usize) -> Result<i64, EvalError> {
    match args.get(place) {
        Some(Val::Int(number)) => Ok(*number),
        _ => Err(EvalError::no_overload()),
    }
}

fn slice<'a>(args: &[Val<'a>]) -> Result<Val<'a>, EvalError> {
    let (list, start, end) = (list(args)?, number(args, 1)?, number(args, 2)?);
    let wrong = |why: &str| EvalError::failed(format!("cannot slice({start}, {end}), {why}"));
    let (Ok(from), Ok(to)) = (usize::try_from(start), usize::try_from(end)) else {
        return Err(wrong("negative indexes not supported"));
    };
    if from > to {
        return Err(wrong("start index must be less than or equal to end index"));
    }
    if to > list.len() {
        return Err(wrong(&format!("list is length {}", list.len())));
    }
    let items = (from..to).map(|place| Ok(list.get(place)?.unwrap_or(Val::Null)));
    Ok(Val::list(items.collect::<Result<_, EvalError>>()?))
}

/// What comes out of inner lists is paid for here: nobody knows before how much it is.
fn flatten<'a>(meter: &mut Meter<'_>, args: &[Val<'a>], depth: usize) -> Result<Val<'a>, EvalError> {
    let mut flat = Vec::new();
    flatten_into(meter, list(args)?, depth, &mut flat)?;
    Ok(Val::list(flat))
}

fn flatten_into<'a>(
    meter: &mut Meter<'_>,
    list: &List<'a>,
    depth: usize,
    flat: &mut Vec<Val<'a>>,
) -> Result<(), EvalError> {
    for item in list.iter() {
        match item? {
            Val::List(inner) if depth > 0 => {
                meter.charge(inner.len() as u64)?;
                flatten_into(meter, &inner, depth - 1, flat)?;
            }
            item => flat.push(item),
        }
    }
    Ok(())
}

fn distinct<'a>(meter: &mut Meter<'_>, args: &[Val<'a>]) -> Result<Val<'a>, EvalError> {
    let mut kept: Vec<Val<'a>> = Vec::new();
    for item in list(args)?.iter() {
        let item = item?;
        let mut is_new = true;
        for other in &kept {
            if equal(meter, &item, other)? {
                is_new = false;
                break;
            }
        }
        if is_new {
            kept.push(item);
        }
    }
    Ok(Val::list(kept))
}

/// The cost of a range keeps it shorter than cel-go's own bound of ten million.
fn range<'a>(count: i64) -> Result<Val<'a>, EvalError> {
    if count < 0 {
        return Err(EvalError::failed(format!("lists.range: size must be non-negative, got {count}")));
    }
    Ok(Val::list((0..count).map(Val::Int).collect()))
}

fn sort<'a>(args: &[Val<'a>]) -> Result<Val<'a>, EvalError> {
    let items = items(args)?;
    sorted(items.clone(), &items)
}

/// Sorts a list by what was made of its items; pays for it as for the sorting of those.
pub(in crate::cel) fn sort_by<'a>(
    meter: &mut Meter<'_>,
    items: Vec<Val<'a>>,
    keys: &[Val<'a>],
) -> Result<Val<'a>, EvalError> {
    let are_texts = matches!(keys.first(), Some(Val::Text(_) | Val::Bytes(_)));
    meter.charge(compare_all(keys.len() as u64, are_texts))?;
    sorted(items, keys)
}

fn sorted<'a>(items: Vec<Val<'a>>, keys: &[Val<'a>]) -> Result<Val<'a>, EvalError> {
    let Some(first) = keys.first() else { return Ok(Val::list(items)) };
    if compare(first, first).is_none() && !matches!(first, Val::Double(_)) {
        return Err(EvalError::failed("list elements must be comparable"));
    }
    if keys.iter().any(|key| key.type_name() != first.type_name()) {
        return Err(EvalError::failed("list elements must have the same type"));
    }
    let mut places: Vec<usize> = (0..items.len()).collect();
    places.sort_by(|one, other| order(&keys[*one], &keys[*other]));
    Ok(Val::list(places.into_iter().map(|place| items[place].clone()).collect()))
}

/// Numbers that are none come last: sorting needs an order of everything.
fn order(one: &Val<'_>, other: &Val<'_>) -> Ordering {
    let is_none = |value: &Val<'_>| matches!(value, Val::Double(number) if number.is_nan());
    compare(one, other).unwrap_or_else(|| is_none(one).cmp(&is_none(other)))
}
