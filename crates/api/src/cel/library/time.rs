//! Points and spans of time. Zones are `UTC`, an offset such as `+02:00`, or the name of a place, as this program was built
//! to know it: the same rule must give the same answer on every machine.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{PoisonError, RwLock};

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp as Moment, Zoned};

use crate::cel::error::EvalError;
use crate::cel::functions::Cost::Fixed;
use crate::cel::functions::Sig::{Duration, Int, Text, Timestamp};
use crate::cel::functions::{Cost, Overload, method};
use crate::cel::value::Val;

const ONE: Cost = Fixed(1);
const SECOND: i64 = 1_000_000_000;

pub(super) static FUNCTIONS: &[Overload] = &[
    method("getFullYear", &[Timestamp], Int, ONE, |_, args| part(args, |at| at.year().into())),
    method("getFullYear", &[Timestamp, Text], Int, ONE, |_, args| part(args, |at| at.year().into())),
    method("getMonth", &[Timestamp], Int, ONE, |_, args| part(args, |at| i64::from(at.month()) - 1)),
    method("getMonth", &[Timestamp, Text], Int, ONE, |_, args| part(args, |at| i64::from(at.month()) - 1)),
    method("getDayOfYear", &[Timestamp], Int, ONE, |_, args| part(args, |at| i64::from(at.day_of_year()) - 1)),
    method("getDayOfYear", &[Timestamp, Text], Int, ONE, |_, args| part(args, |at| i64::from(at.day_of_year()) - 1)),
    method("getDayOfMonth", &[Timestamp], Int, ONE, |_, args| part(args, |at| i64::from(at.day()) - 1)),
    method("getDayOfMonth", &[Timestamp, Text], Int, ONE, |_, args| part(args, |at| i64::from(at.day()) - 1)),
    method("getDate", &[Timestamp], Int, ONE, |_, args| part(args, |at| at.day().into())),
    method("getDate", &[Timestamp, Text], Int, ONE, |_, args| part(args, |at| at.day().into())),
    method("getDayOfWeek", &[Timestamp], Int, ONE, |_, args| part(args, day_of_week)),
    method("getDayOfWeek", &[Timestamp, Text], Int, ONE, |_, args| part(args, day_of_week)),
    method("getHours", &[Timestamp], Int, ONE, |_, args| part(args, |at| at.hour().into())),
    method("getHours", &[Timestamp, Text], Int, ONE, |_, args| part(args, |at| at.hour().into())),
    method("getMinutes", &[Timestamp], Int, ONE, |_, args| part(args, |at| at.minute().into())),
    method("getMinutes", &[Timestamp, Text], Int, ONE, |_, args| part(args, |at| at.minute().into())),
    method("getSeconds", &[Timestamp], Int, ONE, |_, args| part(args, |at| at.second().into())),
    method("getSeconds", &[Timestamp, Text], Int, ONE, |_, args| part(args, |at| at.second().into())),
    method("getMilliseconds", &[Timestamp], Int, ONE, |_, args| part(args, |at| at.millisecond().into())),
    method("getMilliseconds", &[Timestamp, Text], Int, ONE, |_, args| part(args, |at| at.millisecond().into())),
    method("getHours", &[Duration], Int, ONE, |_, args| count(args, 3600 * SECOND)),
    method("getMinutes", &[Duration], Int, ONE, |_, args| count(args, 60 * SECOND)),
    method("getSeconds", &[Duration], Int, ONE, |_, args| count(args, SECOND)),
    method("getMilliseconds", &[Duration], Int, ONE, |_, args| count(args, 1_000_000)),
];

fn part<'a>(args: &[Val<'a>], of: fn(&Zoned) -> i64) -> Result<Val<'a>, EvalError> {
    let Val::Timestamp(time) = &args[0] else { return Err(EvalError::no_overload()) };
    let zone = match args.get(1).and_then(Val::as_str) {
        None => TimeZone::UTC,
        Some(name) => zone(name).ok_or_else(|| EvalError::failed(format!("unknown time zone {name}")))?,
    };
    Ok(Val::Int(of(&time.to_zoned(zone))))
}

/// Returns what Go's `time.LoadLocation` returns on a machine whose own time is UTC, or the zone of an offset.
fn zone(name: &str) -> Option<TimeZone> {
    match name {
        "" | "UTC" | "Local" => Some(TimeZone::UTC),
        _ if name.contains(':') => offset(name).map(TimeZone::fixed),
        _ => place(name),
    }
}

/// Returns the zone of a place. Each is read once, for a rule may ask thousands of times; there are some six hundred.
fn place(name: &str) -> Option<TimeZone> {
    static READ: RwLock<BTreeMap<String, TimeZone>> = RwLock::new(BTreeMap::new());
    if let Some(zone) = READ.read().unwrap_or_else(PoisonError::into_inner).get(name) {
        return Some(zone.clone());
    }
    let zone = crate::cron::zone(name)?;
    READ.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), zone.clone());
    Some(zone)
}

fn offset(text: &str) -> Option<Offset> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (hours, minutes) = rest.split_once(':')?;
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    let fits = (0..24).contains(&hours) && (0..60).contains(&minutes);
    fits.then(|| Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok()).flatten()
}

fn day_of_week(at: &Zoned) -> i64 {
    match at.weekday() {
        Weekday::Sunday => 0,
        Weekday::Monday => 1,
        Weekday::Tuesday => 2,
        Weekday::Wednesday => 3,
        Weekday::Thursday => 4,
        Weekday::Friday => 5,
        Weekday::Saturday => 6,
    }
}

fn count<'a>(args: &[Val<'a>], unit: i64) -> Result<Val<'a>, EvalError> {
    match &args[0] {
        Val::Duration(nanos) => Ok(Val::Int(nanos / unit)),
        _ => Err(EvalError::no_overload()),
    }
}

/// Adds or takes away a span.
pub(super) fn shift<'a>(time: &Val<'a>, by: &Val<'a>, sign: i64) -> Result<Val<'a>, EvalError> {
    let (Val::Timestamp(time), Val::Duration(nanos)) = (time, by) else { return Err(EvalError::no_overload()) };
    let nanos = nanos.checked_mul(sign).ok_or_else(|| EvalError::failed("duration overflow"))?;
    let moved = time.checked_add(SignedDuration::from_nanos(nanos));
    moved.map(Val::Timestamp).map_err(|_| EvalError::failed("timestamp overflow"))
}

/// Returns the span from one time to another.
pub(super) fn between<'a>(later: &Val<'a>, earlier: &Val<'a>) -> Result<Val<'a>, EvalError> {
    let (Val::Timestamp(later), Val::Timestamp(earlier)) = (later, earlier) else {
        return Err(EvalError::no_overload());
    };
    let nanos = i64::try_from(later.as_nanosecond() - earlier.as_nanosecond());
    nanos.map(Val::Duration).map_err(|_| EvalError::failed("timestamp overflow"))
}

/// Reads a time of RFC 3339, or a day.
pub(in crate::cel) fn parse_date(text: &str) -> Option<Moment> {
    if text.len() == 10 {
        let day: Date = text.parse().ok()?;
        return day.to_datetime(Time::midnight()).to_zoned(TimeZone::UTC).ok().map(|at| at.timestamp());
    }
    parse_time(text)
}

/// Reads a time of RFC 3339.
pub(in crate::cel) fn parse_time(text: &str) -> Option<Moment> {
    // Only what names its offset is a point in time; jiff takes a space for the `T`, Go does not.
    let has_form = text.as_bytes().get(10) == Some(&b'T') && !text.contains('[');
    has_form.then(|| text.parse().ok()).flatten()
}

/// Reads a span as Go writes it: `1h15m30.918s`.
pub(in crate::cel) fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanos: i128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let unit: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        nanos = nanos.checked_add(scaled(number, unit)?)?;
        rest = tail;
    }
    i64::try_from(if negative { -nanos } else { nanos }).ok()
}

fn scaled(number: &str, unit: i128) -> Option<i128> {
    // Below a nanosecond of an hour nothing counts.
    const DIGITS_MAX: usize = 13;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || whole.len() > 19 {
        return None;
    }
    let fraction = &fraction[..fraction.len().min(DIGITS_MAX)];
    let whole: i128 = format!("0{whole}").parse().ok()?;
    let parts: i128 = format!("0{fraction}").parse().ok()?;
    let of = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    whole.checked_mul(unit)?.checked_add(parts * unit / of)
}

/// Writes a span in seconds, as protocol buffers have it.
pub(in crate::cel) fn duration_text(nanos: i64) -> String {
    let mut text = String::new();
    if nanos < 0 {
        text.push('-');
    }
    let nanos = nanos.unsigned_abs();
    let _ = write!(text, "{}", nanos / 1_000_000_000);
    let fraction = format!("{:09}", nanos % 1_000_000_000);
    let fraction = fraction.trim_end_matches('0');
    if !fraction.is_empty() {
        let _ = write!(text, ".{fraction}");
    }
    text.push('s');
    text
}
