//! Conversions between types.

use jiff::Timestamp as Time;

use super::time;
use crate::cel::error::EvalError;
use crate::cel::functions::Cost::{Fixed, Text as PerText};
use crate::cel::functions::Sig::{
    A, Bool, Bytes, Double, Duration, Dyn, Int, Opaque as Named, Text, Timestamp, Type, Uint,
};
use crate::cel::functions::{Cost, Overload, function};
use crate::cel::value::{Opaque, Val};

const ONE: Cost = Fixed(1);

pub(super) static FUNCTIONS: &[Overload] = &[
    function("dyn", &[A], Dyn, ONE, |_, args| Ok(args[0].clone())),
    function("type", &[A], Type, ONE, |_, args| Ok(Val::Type(args[0].type_name().into()))),
    function("bool", &[Bool], Bool, ONE, |_, args| Ok(args[0].clone())),
    function("bool", &[Text], Bool, ONE, |_, args| to_bool(&args[0])),
    function("int", &[Int], Int, ONE, |_, args| Ok(args[0].clone())),
    function("int", &[Uint], Int, ONE, |_, args| to_int(&args[0])),
    function("int", &[Double], Int, ONE, |_, args| to_int(&args[0])),
    function("int", &[Text], Int, ONE, |_, args| to_int(&args[0])),
    function("int", &[Timestamp], Int, ONE, |_, args| to_int(&args[0])),
    function("int", &[Duration], Int, ONE, |_, args| to_int(&args[0])),
    function("uint", &[Uint], Uint, ONE, |_, args| Ok(args[0].clone())),
    function("uint", &[Int], Uint, ONE, |_, args| to_uint(&args[0])),
    function("uint", &[Double], Uint, ONE, |_, args| to_uint(&args[0])),
    function("uint", &[Text], Uint, ONE, |_, args| to_uint(&args[0])),
    function("double", &[Double], Double, ONE, |_, args| Ok(args[0].clone())),
    function("double", &[Int], Double, ONE, |_, args| to_double(&args[0])),
    function("double", &[Uint], Double, ONE, |_, args| to_double(&args[0])),
    function("double", &[Text], Double, ONE, |_, args| to_double(&args[0])),
    function("string", &[Text], Text, ONE, |_, args| Ok(args[0].clone())),
    function("string", &[Bool], Text, ONE, |_, args| to_text(&args[0])),
    function("string", &[Int], Text, ONE, |_, args| to_text(&args[0])),
    function("string", &[Uint], Text, ONE, |_, args| to_text(&args[0])),
    function("string", &[Double], Text, ONE, |_, args| to_text(&args[0])),
    function("string", &[Bytes], Text, PerText(1), |_, args| to_text(&args[0])),
    function("string", &[Timestamp], Text, ONE, |_, args| to_text(&args[0])),
    function("string", &[Duration], Text, ONE, |_, args| to_text(&args[0])),
    function("string", &[Named("net.IP")], Text, ONE, |_, args| to_text(&args[0])),
    function("string", &[Named("net.CIDR")], Text, ONE, |_, args| to_text(&args[0])),
    function("bytes", &[Bytes], Bytes, ONE, |_, args| Ok(args[0].clone())),
    function("bytes", &[Text], Bytes, PerText(1), |_, args| to_bytes(&args[0])),
    function("timestamp", &[Timestamp], Timestamp, ONE, |_, args| Ok(args[0].clone())),
    function("timestamp", &[Text], Timestamp, ONE, |_, args| to_timestamp(&args[0])),
    function("timestamp", &[Int], Timestamp, ONE, |_, args| to_timestamp(&args[0])),
    function("duration", &[Duration], Duration, ONE, |_, args| Ok(args[0].clone())),
    function("duration", &[Text], Duration, ONE, |_, args| to_duration(&args[0])),
    function("duration", &[Int], Duration, ONE, |_, args| to_duration(&args[0])),
];

fn wrong(from: &Val<'_>, to: &str) -> EvalError {
    EvalError::failed(format!("type conversion error from '{}' to '{to}'", from.type_name()))
}

fn to_bool<'a>(value: &Val<'a>) -> Result<Val<'a>, EvalError> {
    match value.as_str() {
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(Val::Bool(true)),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(Val::Bool(false)),
        _ => Err(wrong(value, "bool")),
    }
}

fn to_int<'a>(value: &Val<'a>) -> Result<Val<'a>, EvalError> {
    let overflow = || EvalError::failed("integer overflow");
    let number = match value {
        Val::Uint(number) => i64::try_from(*number).map_err(|_| overflow())?,
        // The bounds themselves are not exact as doubles, and cel-go leaves them out, too.
        #[expect(clippy::cast_possible_truncation, reason = "checked in the guard")]
        Val::Double(number) if (-9.223_372_036_854_775e18..9.223_372_036_854_775e18).contains(number) => *number as i64,
        Val::Double(_) => return Err(overflow()),
        Val::Text(text) => text.as_str().parse().map_err(|_| wrong(value, "int"))?,
        Val::Timestamp(time) => time.as_second(),
        Val::Duration(nanos) => *nanos,
        _ => return Err(EvalError::no_overload()),
    };
    Ok(Val::Int(number))
}

fn to_uint<'a>(value: &Val<'a>) -> Result<Val<'a>, EvalError> {
    let overflow = || EvalError::failed("unsigned integer overflow");
    let number = match value {
        Val::Int(number) => u64::try_from(*number).map_err(|_| overflow())?,
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked in the guard")]
        Val::Double(number) if (0.0..1.844_674_407_370_955e19).contains(number) => *number as u64,
        Val::Double(_) => return Err(overflow()),
        Val::Text(text) => text.as_str().parse().map_err(|_| wrong(value, "uint"))?,
        _ => return Err(EvalError::no_overload()),
    };
    Ok(Val::Uint(number))
}

#[expect(clippy::cast_precision_loss, reason = "that is what the conversion is for")]
fn to_double<'a>(value: &Val<'a>) -> Result<Val<'a>, EvalError> {
    let number = match value {
        Val::Int(number) => *number as f64,
        Val::Uint(number) => *number as f64,
        Val::Text(text) => text.as_str().parse().map_err(|_| wrong(value, "double"))?,
        _ => return Err(EvalError::no_overload()),
    };
    Ok(Val::Double(number))
}

fn to_text<'a>(value: &Val<'a>) -> Result<Val<'a>, EvalError> {
    if let Val::Opaque(Opaque::Quantity(_)) = value {
        return Err(EvalError::no_overload());
    }
    value.to_text().map(Val::text)
}

fn to_bytes<'a>(value: &Val<'a>) -> Result<Val<'a>, EvalError> {
    let text = value.as_str().ok_or_else(EvalError::no_overload)?;
    Ok(Val::Bytes(text.as_bytes().into()))
}

fn to_timestamp<'a>(value: &Val<'a>) -> Result<Val<'a>, EvalError> {
    let time = match value {
        Val::Text(text) => time::parse_time(text.as_str()),
        Val::Int(seconds) => Time::from_second(*seconds).ok(),
        _ => return Err(EvalError::no_overload()),
    };
    time.map(Val::Timestamp).ok_or_else(|| wrong(value, "google.protobuf.Timestamp"))
}

fn to_duration<'a>(value: &Val<'a>) -> Result<Val<'a>, EvalError> {
    let nanos = match value {
        Val::Text(text) => time::parse_duration(text.as_str()),
        Val::Int(nanos) => Some(*nanos),
        _ => return Err(EvalError::no_overload()),
    };
    nanos.map(Val::Duration).ok_or_else(|| wrong(value, "google.protobuf.Duration"))
}
