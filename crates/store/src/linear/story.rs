//! What watchers and lists told, compared with what writers were told: each write once, in order, none left out.

use std::collections::{BTreeMap, BTreeSet};

/// One write that was acknowledged, or of which nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wrote {
    /// Its key.
    pub key: String,
    /// What it wrote; `None` is a deletion.
    pub value: Option<u64>,
    /// When; `None` if its author was not told.
    pub revision: Option<u64>,
}

/// One thing that a watcher was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// The watch begins, or begins anew, after this revision, up to which the watcher knows everything.
    From(u64),
    /// A key changed.
    Event {
        /// When.
        revision: u64,
        /// Which.
        key: String,
        /// What it holds now; `None` if it was deleted.
        value: Option<u64>,
    },
    /// All changes up to this revision have been told (a bookmark).
    Progress(u64),
}

/// Returns `Ok` if a watcher that was told this knows each write exactly once, in the order of revisions, up to where it
/// came. Commits have one key each.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn check_story(told: &[Told], writes: &[Wrote]) -> Result<(), String> {
    let mut knows: Option<u64> = None;
    let mut first = 0;
    let mut events = BTreeMap::new();
    for one in told {
        match one {
            Told::From(after) => {
                if *knows.get_or_insert_with(|| {
                    first = *after;
                    *after
                }) != *after
                {
                    return Err(format!("begins anew after {after}, but knows all up to {knows:?}"));
                }
            }
            Told::Event { revision, key, value } => {
                if knows.is_none_or(|knows| *revision <= knows) {
                    return Err(format!("{key} changed at {revision}, which is told after all up to {knows:?}"));
                }
                knows = Some(*revision);
                events.insert(*revision, (key.clone(), *value));
            }
            Told::Progress(revision) => {
                if knows.is_none_or(|knows| *revision < knows) {
                    return Err(format!("everything up to {revision} is told, which is less than {knows:?}"));
                }
                knows = Some(*revision);
            }
        }
    }
    compare(&events, first, knows.unwrap_or_default(), writes)
}

/// Compares the events of the revisions after `first` up to `last` with the writes.
fn compare(
    events: &BTreeMap<u64, (String, Option<u64>)>,
    first: u64,
    last: u64,
    writes: &[Wrote],
) -> Result<(), String> {
    let mut unsure: BTreeSet<(&str, Option<u64>)> = BTreeSet::new();
    let mut sure: BTreeMap<u64, (&str, Option<u64>)> = BTreeMap::new();
    for Wrote { key, value, revision } in writes {
        match revision {
            Some(revision) => {
                if let Some(other) = sure.insert(*revision, (key, *value)) {
                    return Err(format!("revision {revision} was given to {other:?} and to {:?}", (key, value)));
                }
            }
            None => drop(unsure.insert((key, *value))),
        }
    }
    for (revision, write) in sure.iter().filter(|(revision, _)| (first + 1..=last).contains(*revision)) {
        let told = events.get(revision).map(|(key, value)| (key.as_str(), *value));
        if told != Some(*write) {
            return Err(format!("{write:?} was acknowledged at {revision}, but {told:?} was told"));
        }
    }
    for (revision, (key, value)) in events {
        if !sure.contains_key(revision) && !unsure.contains(&(key, *value)) {
            return Err(format!("{key} became {value:?} at {revision}, but nobody wrote that"));
        }
    }
    Ok(())
}

/// Returns what the keys hold after each of the events of a whole story.
pub(super) fn states(told: &[Told]) -> BTreeMap<u64, BTreeMap<String, u64>> {
    let (mut state, mut states) = (BTreeMap::new(), BTreeMap::from([(0, BTreeMap::new())]));
    for one in told {
        let Told::Event { revision, key, value } = one else { continue };
        match value {
            Some(value) => drop(state.insert(key.clone(), *value)),
            None => drop(state.remove(key)),
        }
        states.insert(*revision, state.clone());
    }
    states
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(revision: u64, key: &str, value: u64) -> Told {
        Told::Event { revision, key: key.to_owned(), value: Some(value) }
    }

    fn wrote(revision: u64, key: &str, value: u64) -> Wrote {
        Wrote { key: key.to_owned(), value: Some(value), revision: Some(revision) }
    }

    fn lost(key: &str, value: u64) -> Wrote {
        Wrote { revision: None, ..wrote(0, key, value) }
    }

    #[track_caller]
    fn bad(told: &[Told], writes: &[Wrote], why: &str) {
        let found = check_story(told, writes).expect_err("something is wrong");
        assert!(found.contains(why), "{found}");
    }

    #[test]
    fn a_watch_that_breaks_and_goes_on_tells_everything_once() {
        let told = [Told::From(1), event(2, "a", 1), Told::From(2), Told::Progress(4), Told::From(4), event(5, "b", 2)];
        assert_eq!(check_story(&told, &[wrote(2, "a", 1), wrote(5, "b", 2)]), Ok(()));
    }

    #[test]
    fn an_event_that_was_dropped_is_missed() {
        let told = [Told::From(1), event(2, "a", 1), event(4, "a", 3)];
        bad(&told, &[wrote(2, "a", 1), wrote(3, "a", 2), wrote(4, "a", 3)], "was acknowledged at 3, but None");
        let quiet = [Told::From(1), Told::Progress(3)];
        bad(&quiet, &[wrote(3, "a", 2)], "was acknowledged at 3, but None");
    }

    #[test]
    fn what_comes_after_the_end_of_the_story_is_not_missed() {
        assert_eq!(check_story(&[Told::From(1), event(2, "a", 1)], &[wrote(2, "a", 1), wrote(3, "a", 2)]), Ok(()));
        assert_eq!(check_story(&[Told::From(2)], &[wrote(2, "a", 1)]), Ok(()), "nor what was before its beginning");
    }

    #[test]
    fn an_event_is_told_once_and_in_order() {
        let writes = [wrote(2, "a", 1), wrote(3, "a", 2)];
        bad(&[Told::From(1), event(2, "a", 1), event(2, "a", 1)], &writes, "told after all up to");
        bad(&[Told::From(1), event(3, "a", 2), event(2, "a", 1)], &writes, "told after all up to");
        bad(&[Told::From(1), event(2, "a", 1), Told::From(2), event(2, "a", 1)], &writes, "told after all up to");
    }

    #[test]
    fn a_bookmark_does_not_overtake_events_nor_run_backwards() {
        let writes = [wrote(2, "a", 1), wrote(3, "a", 2)];
        bad(&[Told::From(1), Told::Progress(3), event(3, "a", 2)], &writes, "told after all up to");
        bad(&[Told::From(1), event(2, "a", 1), event(3, "a", 2), Told::Progress(2)], &writes, "less than");
    }

    #[test]
    fn a_write_without_answer_may_be_told_but_nothing_that_nobody_wrote() {
        let told = [Told::From(1), event(2, "a", 1)];
        assert_eq!(check_story(&told, &[lost("a", 1)]), Ok(()));
        assert_eq!(check_story(&[Told::From(1), Told::Progress(9)], &[lost("a", 1)]), Ok(()));
        bad(&told, &[lost("a", 7)], "nobody wrote that");
        bad(&told, &[], "nobody wrote that");
    }

    #[test]
    fn a_revision_that_is_used_twice_is_found() {
        bad(&[Told::From(1)], &[wrote(2, "a", 1), wrote(2, "b", 2)], "was given to");
    }

    #[test]
    fn a_story_that_began_later_than_it_says_is_found() {
        bad(&[Told::From(1), event(2, "a", 1), Told::From(5)], &[wrote(2, "a", 1)], "begins anew after 5");
    }
}
