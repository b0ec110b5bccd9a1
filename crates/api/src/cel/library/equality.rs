//! Equality and order of values, over all types of numbers.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::cel::error::EvalError;
use crate::cel::functions::tenth;
use crate::cel::meter::Meter;
use crate::cel::types::ListKind;
use crate::cel::value::{List, Map, Opaque, Room, Val};

/// Whether two values are the same. What lies deeper than the first level is paid for here.
pub(in crate::cel) fn equal(meter: &mut Meter<'_>, left: &Val<'_>, right: &Val<'_>) -> Result<bool, EvalError> {
    Ok(match (left, right) {
        (Val::Null, Val::Null) => true,
        (Val::Bool(a), Val::Bool(b)) => a == b,
        (Val::Text(a), Val::Text(b)) => a.as_str() == b.as_str(),
        (Val::Bytes(a), Val::Bytes(b)) => a == b,
        (Val::Type(a), Val::Type(b)) => a == b,
        (Val::Optional(a), Val::Optional(b)) => match (a, b) {
            (Some(a), Some(b)) => equal(meter, a, b)?,
            (None, None) => true,
            _ => false,
        },
        (Val::Opaque(a), Val::Opaque(b)) => equal_opaque(a, b),
        (Val::List(a), Val::List(b)) => equal_lists(meter, a, b)?,
        (Val::Map(a), Val::Map(b)) => equal_maps(meter, a, b)?,
        _ => compare(left, right) == Some(Ordering::Equal),
    })
}

fn inner(meter: &mut Meter<'_>, left: &Val<'_>, right: &Val<'_>) -> Result<bool, EvalError> {
    meter.charge(tenth(left.size().min(right.size())))?;
    equal(meter, left, right)
}

fn equal_opaque(left: &Opaque, right: &Opaque) -> bool {
    match (left, right) {
        (Opaque::Quantity(a), Opaque::Quantity(b)) => a == b,
        (Opaque::Ip(a), Opaque::Ip(b)) => a == b,
        (Opaque::Cidr(a), Opaque::Cidr(b)) => a == b,
        (Opaque::Url(a), Opaque::Url(b)) => a.text == b.text,
        (Opaque::Semver(a), Opaque::Semver(b)) => a.order(b).is_eq(),
        (Opaque::Format(a), Opaque::Format(b)) => a == b,
        (Opaque::Question(a), Opaque::Question(b)) => a == b,
        (Opaque::Decision(a), Opaque::Decision(b)) => a == b,
        _ => false,
    }
}

/// Sets ignore the order, and lists with keys look at what has the same key (`cel/common/values.go`).
fn equal_lists<'a>(meter: &mut Meter<'_>, left: &List<'a>, right: &List<'a>) -> Result<bool, EvalError> {
    if left.len() != right.len() {
        return Ok(false);
    }
    if !matches!(left.kind, ListKind::Atomic) {
        meter.charge(tenth((left.len() + right.len()) as u64))?;
        let others = by_key(meter, right, &left.kind)?;
        for (key, value) in by_key(meter, left, &left.kind)? {
            let same = match others.get(&key) {
                Some(other) => inner(meter, &value, other)?,
                None => false,
            };
            if !same {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    for (a, b) in left.iter().zip(right.iter()) {
        if !inner(meter, &a?, &b?)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns the items of a set or a list with keys, by what tells them apart.
fn by_key<'a>(meter: &mut Meter<'_>, list: &List<'a>, kind: &ListKind) -> Result<BTreeMap<String, Val<'a>>, EvalError> {
    list.iter()
        .map(|item| {
            let item = item?;
            Ok((key_of(meter, &item, kind)?, item))
        })
        .collect()
}

/// Returns what tells an item apart, as a text. Items of a usual size cost nothing, as in Kubernetes.
pub(super) fn key_of(meter: &mut Meter<'_>, item: &Val<'_>, kind: &ListKind) -> Result<String, EvalError> {
    let mut room = Room::new();
    let json = item.document(&mut room)?;
    meter.charge(room.taken() / 1_000)?;
    Ok(match kind {
        ListKind::Map(keys) => {
            let parts: Vec<_> = keys.iter().map(|key| json.get(key).cloned().unwrap_or_default()).collect();
            serde_json::Value::from(parts).to_string()
        }
        ListKind::Atomic | ListKind::Set => json.to_string(),
    })
}

fn equal_maps<'a>(meter: &mut Meter<'_>, left: &Map<'a>, right: &Map<'a>) -> Result<bool, EvalError> {
    let same_kind = match (left, right) {
        (Map::Struct(one, _), Map::Struct(other, _)) => one == other,
        (Map::Struct(..), _) | (_, Map::Struct(..)) => false,
        _ => true,
    };
    if !same_kind || left.len() != right.len() {
        return Ok(false);
    }
    for pair in left.iter() {
        let (key, value) = pair?;
        let same = match right.get(&key)? {
            Some(other) => inner(meter, &value, &other)?,
            None => false,
        };
        if !same {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns the order of two values; `None` if they have none.
pub(in crate::cel) fn compare(left: &Val<'_>, right: &Val<'_>) -> Option<Ordering> {
    match (left, right) {
        (Val::Bool(a), Val::Bool(b)) => Some(a.cmp(b)),
        (Val::Text(a), Val::Text(b)) => Some(a.as_str().cmp(b.as_str())),
        (Val::Bytes(a), Val::Bytes(b)) => Some(a.cmp(b)),
        (Val::Duration(a), Val::Duration(b)) => Some(a.cmp(b)),
        (Val::Timestamp(a), Val::Timestamp(b)) => Some(a.cmp(b)),
        (Val::Double(a), Val::Double(b)) => a.partial_cmp(b),
        (Val::Double(a), other) => whole(other).and_then(|b| compare_to_whole(*a, b)),
        (other, Val::Double(b)) => whole(other).and_then(|a| compare_to_whole(*b, a)).map(Ordering::reverse),
        _ => Some(whole(left)?.cmp(&whole(right)?)),
    }
}

fn whole(value: &Val<'_>) -> Option<i128> {
    match value {
        Val::Int(number) => Some((*number).into()),
        Val::Uint(number) => Some((*number).into()),
        _ => None,
    }
}

fn compare_to_whole(number: f64, whole: i128) -> Option<Ordering> {
    if number.is_nan() {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "`as` keeps to the range, which is far beyond all whole values"
    )]
    let floor = number.floor() as i128;
    let fraction = if number.fract() == 0.0 { Ordering::Equal } else { Ordering::Greater };
    Some(floor.cmp(&whole).then(fraction))
}
