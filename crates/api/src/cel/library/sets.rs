//! Lists as sets (`cel-go/ext/sets.go`).

use super::equality::equal;
use crate::cel::error::EvalError;
use crate::cel::functions::Cost::Pairs;
use crate::cel::functions::Sig::{A, Bool, List as ListOf};
use crate::cel::functions::{Overload, function};
use crate::cel::meter::Meter;
use crate::cel::value::{List, Val};

pub(super) static FUNCTIONS: &[Overload] = &[
    function("sets.contains", &[ListOf(&A), ListOf(&A)], Bool, Pairs, |meter, args| {
        let (a, b) = lists(args)?;
        Ok(Val::Bool(has_all(meter, a, b)?))
    }),
    function("sets.equivalent", &[ListOf(&A), ListOf(&A)], Bool, Pairs, |meter, args| {
        let (a, b) = lists(args)?;
        Ok(Val::Bool(has_all(meter, a, b)? && has_all(meter, b, a)?))
    }),
    function("sets.intersects", &[ListOf(&A), ListOf(&A)], Bool, Pairs, |meter, args| {
        let (a, b) = lists(args)?;
        for item in b.iter() {
            if has(meter, a, &item?)? {
                return Ok(Val::Bool(true));
            }
        }
        Ok(Val::Bool(false))
    }),
];

fn lists<'v, 'a>(args: &'v [Val<'a>]) -> Result<(&'v List<'a>, &'v List<'a>), EvalError> {
    match (&args[0], &args[1]) {
        (Val::List(a), Val::List(b)) => Ok((a, b)),
        _ => Err(EvalError::no_overload()),
    }
}

fn has_all(meter: &mut Meter<'_>, all: &List<'_>, wanted: &List<'_>) -> Result<bool, EvalError> {
    for item in wanted.iter() {
        if !has(meter, all, &item?)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn has(meter: &mut Meter<'_>, list: &List<'_>, wanted: &Val<'_>) -> Result<bool, EvalError> {
    for item in list.iter() {
        if equal(meter, &item?, wanted)? {
            return Ok(true);
        }
    }
    Ok(false)
}
