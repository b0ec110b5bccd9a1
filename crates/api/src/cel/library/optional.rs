//! Values that may be missing (`cel-go/cel/library.go`).

use crate::cel::error::EvalError;
use crate::cel::functions::Cost::Fixed;
use crate::cel::functions::Sig::{A, Bool, Optional};
use crate::cel::functions::{Cost, Overload, function, method};
use crate::cel::value::Val;

const ONE: Cost = Fixed(1);

pub(super) static FUNCTIONS: &[Overload] = &[
    function("optional.of", &[A], Optional(&A), ONE, |_, args| Ok(Val::some(args[0].clone()))),
    function("optional.none", &[], Optional(&A), ONE, |_, _| Ok(Val::Optional(None))),
    function("optional.ofNonZeroValue", &[A], Optional(&A), ONE, |_, args| {
        Ok(if is_zero(&args[0]) { Val::Optional(None) } else { Val::some(args[0].clone()) })
    }),
    method("hasValue", &[Optional(&A)], Bool, ONE, |_, args| match &args[0] {
        Val::Optional(value) => Ok(Val::Bool(value.is_some())),
        _ => Err(EvalError::no_overload()),
    }),
    method("value", &[Optional(&A)], A, ONE, |_, args| match &args[0] {
        Val::Optional(Some(value)) => Ok((**value).clone()),
        Val::Optional(None) => Err(EvalError::failed("optional.none() dereference")),
        _ => Err(EvalError::no_overload()),
    }),
    method("orValue", &[Optional(&A), A], A, ONE, |_, args| match &args[0] {
        Val::Optional(Some(value)) => Ok((**value).clone()),
        Val::Optional(None) => Ok(args[1].clone()),
        _ => Err(EvalError::no_overload()),
    }),
    method("or", &[Optional(&A), Optional(&A)], Optional(&A), ONE, |_, args| match &args[0] {
        Val::Optional(Some(_)) => Ok(args[0].clone()),
        Val::Optional(None) => Ok(args[1].clone()),
        _ => Err(EvalError::no_overload()),
    }),
];

fn is_zero(value: &Val<'_>) -> bool {
    match value {
        Val::Null | Val::Optional(None) => true,
        Val::Bool(value) => !value,
        Val::Int(number) => *number == 0,
        Val::Uint(number) => *number == 0,
        Val::Double(number) => *number == 0.0,
        Val::Duration(nanos) => *nanos == 0,
        Val::Text(_) | Val::Bytes(_) | Val::List(_) | Val::Map(_) => value.size() == 0,
        Val::Timestamp(_) | Val::Type(_) | Val::Opaque(_) | Val::Optional(Some(_)) => false,
    }
}
