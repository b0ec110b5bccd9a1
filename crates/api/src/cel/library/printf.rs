//! `'%s has %d'.format([a, b])` (`cel-go/ext/formatting.go`).

use std::fmt::Write as _;

use super::strings::text;
use crate::cel::error::EvalError;
use crate::cel::functions::tenth;
use crate::cel::meter::Meter;
use crate::cel::value::{Val, double_text};

/// How many digits a clause may ask for after the point.
const PRECISION_MAX: usize = 64;

/// Fills a text's clauses with values.
pub(super) fn format<'a>(meter: &mut Meter<'_>, args: &[Val<'a>]) -> Result<Val<'a>, EvalError> {
    let Val::List(values) = &args[1] else { return Err(EvalError::no_overload()) };
    let mut chars = text(args, 0)?.chars();
    let (mut made, mut used) = (String::new(), 0);
    while let Some(c) = chars.next() {
        if c != '%' {
            made.push(c);
            continue;
        }
        let (precision, verb) = clause(&mut chars)?;
        if verb == '%' {
            made.push('%');
            continue;
        }
        let value = values.get(used)?.ok_or_else(|| failed(&format!("index {used} out of range")))?;
        used += 1;
        if verb == 's' {
            show(meter, &value, &mut made)?;
            continue;
        }
        let part = fill(&value, verb, precision)?;
        meter.charge(tenth(part.len() as u64))?;
        made.push_str(&part);
    }
    if used < values.len() {
        return Err(failed(&format!(
            "too many arguments supplied to string.format (expected {used}, got {})",
            values.len()
        )));
    }
    Ok(Val::text(made))
}

fn failed(why: &str) -> EvalError {
    EvalError::failed(why)
}

fn clause(chars: &mut std::str::Chars<'_>) -> Result<(Option<usize>, char), EvalError> {
    let ended = || failed("could not parse formatting clause: unexpected end of string");
    let mut next = chars.next().ok_or_else(ended)?;
    let mut precision = None;
    if next == '.' {
        let mut digits = String::new();
        next = chars.next().ok_or_else(ended)?;
        while next.is_ascii_digit() {
            digits.push(next);
            next = chars.next().ok_or_else(ended)?;
        }
        let number: usize = digits.parse().map_err(|_| failed("error while converting precision to integer"))?;
        precision = Some(number.min(PRECISION_MAX));
    }
    Ok((precision, next))
}

fn fill(value: &Val<'_>, verb: char, precision: Option<usize>) -> Result<String, EvalError> {
    let wrong = |what: &str| {
        failed(&format!(
            "error during formatting: {what} clause can only be used on numbers, was given {}",
            value.type_name()
        ))
    };
    Ok(match (verb, value) {
        ('d', Val::Int(number)) => number.to_string(),
        ('d', Val::Uint(number)) => number.to_string(),
        ('d', Val::Double(number)) if !number.is_finite() => double_text(*number),
        ('d', _) => {
            return Err(failed(&format!(
                "error during formatting: decimal clause can only be used on integers, was given {}",
                value.type_name()
            )));
        }
        ('f', value) => format!("{:.*}", precision.unwrap_or(6), double(value).ok_or_else(|| wrong("fixed-point"))?),
        ('e', value) => scientific(double(value).ok_or_else(|| wrong("scientific notation"))?, precision.unwrap_or(6)),
        ('b', Val::Bool(value)) => u8::from(*value).to_string(),
        ('b', value) => signed(value, |number| format!("{number:b}")).ok_or_else(|| wrong("binary"))?,
        ('o', value) => signed(value, |number| format!("{number:o}")).ok_or_else(|| wrong("octal"))?,
        ('x' | 'X', value) => {
            let digits = hex(value).ok_or_else(|| wrong("hex"))?;
            if verb == 'X' { digits.to_uppercase() } else { digits }
        }
        (other, _) => {
            return Err(failed(&format!(
                "could not parse formatting clause: unrecognized formatting clause \"{other}\""
            )));
        }
    })
}

fn double(value: &Val<'_>) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "it is written as a fraction")]
    match value {
        Val::Double(number) => Some(*number),
        Val::Int(number) => Some(*number as f64),
        Val::Uint(number) => Some(*number as f64),
        _ => None,
    }
}

fn scientific(number: f64, precision: usize) -> String {
    let text = format!("{number:.precision$e}");
    let Some((base, exponent)) = text.split_once('e') else { return text };
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{base}e{sign}{digits:0>2}")
}

fn signed(value: &Val<'_>, write: fn(u64) -> String) -> Option<String> {
    match value {
        Val::Int(number) => {
            let sign = if *number < 0 { "-" } else { "" };
            Some(format!("{sign}{}", write(number.unsigned_abs())))
        }
        Val::Uint(number) => Some(write(*number)),
        _ => None,
    }
}

fn hex(value: &Val<'_>) -> Option<String> {
    let octets = match value {
        Val::Text(text) => text.as_str().as_bytes(),
        Val::Bytes(bytes) => bytes,
        _ => return signed(value, |number| format!("{number:x}")),
    };
    let mut digits = String::with_capacity(octets.len() * 2);
    for octet in octets {
        let _ = write!(digits, "{octet:02x}");
    }
    Some(digits)
}

/// Writes any value as `%s` shows it. A list may hold another many times over, so that every part is paid for.
fn show(meter: &mut Meter<'_>, value: &Val<'_>, shown: &mut String) -> Result<(), EvalError> {
    match value {
        Val::List(list) => {
            meter.charge(tenth(list.len() as u64))?;
            shown.push('[');
            for (place, item) in list.iter().enumerate() {
                if place > 0 {
                    shown.push_str(", ");
                }
                show(meter, &item?, shown)?;
            }
            shown.push(']');
        }
        Val::Map(map) => {
            meter.charge(tenth(map.len() as u64))?;
            shown.push('{');
            for (place, pair) in map.iter().enumerate() {
                let (key, value) = pair?;
                if place > 0 {
                    shown.push_str(", ");
                }
                show(meter, &key.into(), shown)?;
                shown.push_str(": ");
                show(meter, &value, shown)?;
            }
            shown.push('}');
        }
        other => {
            let text = other.to_text()?;
            meter.charge(tenth(text.len() as u64))?;
            shown.push_str(&text);
        }
    }
    Ok(())
}
