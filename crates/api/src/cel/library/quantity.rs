//! Amounts such as `1.5Gi` (`cel/library/quantity.go`).

use std::cmp::Ordering;

use super::strings::text;
use crate::cel::error::EvalError;
use crate::cel::functions::Cost::{Fixed, Text as PerText};
use crate::cel::functions::Sig::{Bool, Double, Int, Opaque as Named, Text};
use crate::cel::functions::{Cost, Overload, Sig, function, method};
use crate::cel::value::{Opaque, Val};
use crate::quantity::Quantity;

const ONE: Cost = Fixed(1);
const AMOUNT: Sig = Named("kubernetes.Quantity");

pub(super) static FUNCTIONS: &[Overload] = &[
    function("isQuantity", &[Text], Bool, PerText(1), |_, args| {
        Ok(Val::Bool(text(args, 0)?.parse::<Quantity>().is_ok()))
    }),
    function("quantity", &[Text], AMOUNT, PerText(1), |_, args| {
        let amount = text(args, 0)?.parse().map_err(|error| EvalError::failed(format!("{error}")))?;
        Ok(made(amount))
    }),
    method("sign", &[AMOUNT], Int, ONE, |_, args| Ok(Val::Int(order(amount(args, 0)?.cmp(&Quantity::ZERO))))),
    method("isInteger", &[AMOUNT], Bool, ONE, |_, args| Ok(Val::Bool(whole(&amount(args, 0)?).is_some()))),
    method("asInteger", &[AMOUNT], Int, ONE, |_, args| {
        let number = whole(&amount(args, 0)?);
        number.map(Val::Int).ok_or_else(|| EvalError::failed("cannot convert value to integer"))
    }),
    method("asApproximateFloat", &[AMOUNT], Double, ONE, |_, args| {
        #[expect(clippy::cast_precision_loss, reason = "it is approximate by its name")]
        let number = amount(args, 0)?.nano() as f64 / 1e9;
        Ok(Val::Double(number))
    }),
    method("isGreaterThan", &[AMOUNT, AMOUNT], Bool, ONE, |_, args| Ok(Val::Bool(amount(args, 0)? > amount(args, 1)?))),
    method("isLessThan", &[AMOUNT, AMOUNT], Bool, ONE, |_, args| Ok(Val::Bool(amount(args, 0)? < amount(args, 1)?))),
    method("compareTo", &[AMOUNT, AMOUNT], Int, ONE, |_, args| {
        Ok(Val::Int(order(amount(args, 0)?.cmp(&amount(args, 1)?))))
    }),
    method("add", &[AMOUNT, AMOUNT], AMOUNT, ONE, |_, args| Ok(made(amount(args, 0)?.plus(amount(args, 1)?)))),
    method("add", &[AMOUNT, Int], AMOUNT, ONE, |_, args| Ok(made(amount(args, 0)?.plus(amount(args, 1)?)))),
    method("sub", &[AMOUNT, AMOUNT], AMOUNT, ONE, |_, args| Ok(made(amount(args, 0)?.minus(amount(args, 1)?)))),
    method("sub", &[AMOUNT, Int], AMOUNT, ONE, |_, args| Ok(made(amount(args, 0)?.minus(amount(args, 1)?)))),
];

fn made<'a>(amount: Quantity) -> Val<'a> {
    Val::Opaque(Opaque::Quantity(amount))
}

fn amount(args: &[Val<'_>], place: usize) -> Result<Quantity, EvalError> {
    match args.get(place) {
        Some(Val::Opaque(Opaque::Quantity(amount))) => Ok(*amount),
        Some(Val::Int(number)) => Ok(Quantity::new(*number)),
        _ => Err(EvalError::no_overload()),
    }
}

fn whole(amount: &Quantity) -> Option<i64> {
    (amount.nano() % 1_000_000_000 == 0).then(|| i64::try_from(amount.nano() / 1_000_000_000).ok()).flatten()
}

/// Returns an order as a number.
pub(super) fn order(order: Ordering) -> i64 {
    match order {
        Ordering::Less => -1,
        Ordering::Equal => 0,
        Ordering::Greater => 1,
    }
}
