//! How many seats a request takes (`util/flowcontrol/request/list_work_estimator.go`). Pure.

use crate::router::{Query, Verb};

/// Objects of a list that are worth a seat; `objectsPerSeat` upstream.
const OBJECTS_PER_SEAT: usize = 100;
/// Bytes of a list that are worth a seat: an answer lies in memory until it is read.
const BYTES_PER_SEAT: usize = 256 * 1024;
/// The widest request; `maximumSeatsLimit` upstream.
const SEATS_MAX: u32 = 10;

/// Returns the seats of a request on a collection of `stored` objects and bytes, which is only asked if it matters.
pub(crate) fn seats(verb: Option<Verb>, query: &Query, stored: impl FnOnce() -> (usize, usize)) -> u32 {
    let initialises = verb == Some(Verb::Watch) && !starts_from_a_version(query);
    if verb != Some(Verb::List) && !initialises {
        return 1;
    }
    if query.get("fieldSelector").split(',').any(|term| term.starts_with("metadata.name=")) {
        return 1;
    }
    let limit = query.get("limit").parse::<usize>().ok().filter(|limit| *limit > 0 && verb == Some(Verb::List));
    let (objects, bytes) = stored();
    let looked_at = limit.map_or(objects, |limit| limit.min(objects));
    let looked_at_bytes = (bytes / objects.max(1)).saturating_mul(looked_at);
    let seats = looked_at.div_ceil(OBJECTS_PER_SEAT).max(looked_at_bytes.div_ceil(BYTES_PER_SEAT));
    u32::try_from(seats).unwrap_or(SEATS_MAX).clamp(1, SEATS_MAX)
}

/// Whether a watch begins with changes only.
fn starts_from_a_version(query: &Query) -> bool {
    !query.flag("sendInitialEvents") && !matches!(query.get("resourceVersion"), "" | "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(verb: Verb, query: &str, stored: usize) -> u32 {
        seats(Some(verb), &Query::parse(Some(query)), || (stored, 1000 * stored))
    }

    #[test]
    fn a_list_is_as_wide_as_it_is_long() {
        assert_eq!(check(Verb::List, "", 0), 1);
        assert_eq!(check(Verb::List, "", 100), 1);
        assert_eq!(check(Verb::List, "", 101), 2);
        assert_eq!(check(Verb::List, "", 1_000_000), SEATS_MAX);
        assert_eq!(check(Verb::List, "limit=50", 1_000_000), 1);
        assert_eq!(check(Verb::List, "limit=500", 1_000_000), 5);
        assert_eq!(seats(Some(Verb::List), &Query::default(), || (8, 8 << 17)), 4, "few, but large");
        assert_eq!(check(Verb::List, "fieldSelector=metadata.name%3Dx", 1_000_000), 1);
    }

    #[test]
    fn a_watch_counts_for_what_it_begins_with() {
        assert_eq!(check(Verb::Watch, "watch=1", 300), 3);
        assert_eq!(check(Verb::Watch, "watch=1&sendInitialEvents=true&resourceVersion=7", 300), 3);
        assert_eq!(check(Verb::Watch, "watch=1&resourceVersion=7", 300), 1);
    }

    #[test]
    fn everything_else_takes_one_seat_and_counts_nothing() {
        for verb in [Verb::Get, Verb::Create, Verb::Patch, Verb::DeleteCollection] {
            assert_eq!(seats(Some(verb), &Query::default(), || unreachable!("not asked")), 1);
        }
    }
}
