//! Which rotated logs are kept, and how they are named (`lumberjack`, which Kubernetes uses). Pure.

use jiff::{SignedDuration, Timestamp};

/// The time in a rotated log's name.
const FORMAT: &str = "%Y-%m-%dT%H-%M-%S%.3f";

/// How long rotated logs are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Keep {
    /// Days; 0 for ever.
    pub(super) days: u32,
    /// Files; 0 for all.
    pub(super) files: u32,
}

/// Returns the name under which `name` is put away: `audit.log` becomes `audit-2026-11-22T10-00-00.000.log`.
pub(super) fn backup(name: &str, now: Timestamp) -> String {
    let (stem, extension) = split(name);
    format!("{stem}-{}{extension}", now.strftime(FORMAT))
}

/// Returns which of the `files` beside `name` are rotated logs of it that have to go.
pub(super) fn surplus<'a>(name: &str, files: &'a [String], keep: Keep, now: Timestamp) -> Vec<&'a str> {
    let mut backups: Vec<(Timestamp, &str)> =
        files.iter().filter_map(|file| Some((time_of(name, file)?, file.as_str()))).collect();
    backups.sort_by(|one, other| other.cmp(one));
    let oldest = now - SignedDuration::from_hours(24 * i64::from(keep.days));
    let keeps = |index: usize, time: Timestamp| {
        (keep.files == 0 || index < keep.files as usize) && (keep.days == 0 || time >= oldest)
    };
    backups.iter().enumerate().filter(|(index, (time, _))| !keeps(*index, *time)).map(|(_, (_, file))| *file).collect()
}

fn time_of(name: &str, file: &str) -> Option<Timestamp> {
    let (stem, extension) = split(name);
    let time = file.strip_prefix(stem)?.strip_prefix('-')?.strip_suffix(extension)?;
    let time = jiff::civil::DateTime::strptime(FORMAT, time).ok()?;
    time.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

fn split(name: &str) -> (&str, &str) {
    name.rfind('.').filter(|dot| *dot > 0).map_or((name, ""), |dot| name.split_at(dot))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn check(keep: Keep, expected: &[&str]) {
        let now = at("2026-11-22T10:00:00Z");
        let files = ["2026-11-22T09:00:00Z", "2026-11-20T10:00:00Z", "2026-11-01T10:00:00Z"];
        let mut files: Vec<String> = files.map(|time| backup("audit.log", at(time))).into();
        files.extend(["audit.log", "audit-x.log", "other-2026-11-01T10-00-00.000.log"].map(str::to_owned));
        assert_eq!(surplus("audit.log", &files, keep, now), expected);
    }

    #[test]
    fn a_rotated_log_carries_its_time() {
        assert_eq!(backup("audit.log", at("2026-11-22T10:00:00.5Z")), "audit-2026-11-22T10-00-00.500.log");
        assert_eq!(backup("audit", at("2026-11-22T10:00:00Z")), "audit-2026-11-22T10-00-00.000");
    }

    #[test]
    fn old_ones_go_by_age_and_by_number_and_nothing_else_is_touched() {
        let (middle, old) = ("audit-2026-11-20T10-00-00.000.log", "audit-2026-11-01T10-00-00.000.log");
        check(Keep { days: 0, files: 0 }, &[]);
        check(Keep { days: 7, files: 0 }, &[old]);
        check(Keep { days: 0, files: 1 }, &[middle, old]);
        check(Keep { days: 1, files: 5 }, &[middle, old]);
    }
}
