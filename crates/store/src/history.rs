//! The state as a pure value: what every key holds now, and the recent past.
//!
//! ```text
//!   compacted                          revision
//!       |  event  event  event  event     |
//!  -----+------------ window -------------+--->
//! ```
//! Everything is a persistent map, so a clone costs nanoseconds: readers hold a snapshot, the writer prepares the next
//! state beside it, and what it prepared is thrown away if the disk refuses.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdMap;

use crate::{Entry, Error, Event, Key, Listed, Op, Precondition, Range, Revision, Txn};

/// The revision of a store that nobody has written to (as in etcd).
pub(crate) const EMPTY: Revision = Revision(1);

/// What an event costs in memory besides its key and value: two entries, two map slots, counters.
const EVENT_OVERHEAD: usize = 256;

/// Where an event stands: its revision, and its place among the events of that commit.
pub(crate) type Position = (Revision, u32);

/// Where an entry or a deletion stands in an engine's log.
pub(crate) type Location = (Revision, Key);

/// The present and the window of the past.
#[derive(Debug, Clone)]
pub(crate) struct History {
    by_key: OrdMap<Key, Arc<Entry>>,
    window: OrdMap<Position, Arc<Event>>,
    window_bytes: usize,
    live_bytes: usize,
    revision: Revision,
    compacted: Revision,
}

impl Default for History {
    fn default() -> Self {
        Self::starting_at(EMPTY)
    }
}

impl History {
    /// Returns an empty state whose past before `compacted` is gone.
    pub(crate) fn starting_at(compacted: Revision) -> Self {
        Self {
            by_key: OrdMap::new(),
            window: OrdMap::new(),
            window_bytes: 0,
            live_bytes: 0,
            revision: compacted,
            compacted,
        }
    }

    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }

    /// Returns the oldest revision that can be read or watched from.
    pub(crate) fn compacted(&self) -> Revision {
        self.compacted
    }

    pub(crate) fn keys(&self) -> usize {
        self.by_key.len()
    }

    /// Returns the size of the keys that exist and of their values.
    pub(crate) fn live_bytes(&self) -> usize {
        self.live_bytes
    }

    /// Returns about how much memory the window holds.
    pub(crate) fn window_bytes(&self) -> usize {
        self.window_bytes
    }

    /// Returns everything that exists, in key order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.by_key.values().map(|entry| &**entry)
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Arc<Entry>> {
        self.by_key.get(key)
    }

    /// Applies `txn` at the next revision and returns its events, in key order. No effect (and no new revision) if
    /// nothing is written: no ops, or only deletions of keys that do not exist.
    pub(crate) fn apply(&mut self, txn: &Txn) -> Result<Vec<Arc<Event>>, Error> {
        for condition in &txn.preconditions {
            self.check(condition)?;
        }
        let revision = Revision(self.revision.0 + 1);
        let mut ops: Vec<&Op> = txn.ops.iter().collect();
        // Key order, so that a reopened log, which is sorted by (revision, key), tells the same story.
        ops.sort_by(|a, b| a.key().cmp(b.key()));
        debug_assert!(ops.windows(2).all(|pair| pair[0].key() != pair[1].key()), "a key appears once in a transaction");
        let mut events = Vec::with_capacity(ops.len());
        for op in ops {
            let event = match op {
                Op::Put(key, value) => Some(self.put(revision, key, value)),
                Op::Delete(key) => self.remove(revision, key),
            };
            events.extend(event.map(|event| self.record(event)));
        }
        if !events.is_empty() {
            self.revision = revision;
        }
        Ok(events)
    }

    fn check(&self, condition: &Precondition) -> Result<(), Error> {
        let key = condition.key();
        let current = self.get(key);
        if condition.holds(current.map(|now| &**now)) {
            return Ok(());
        }
        Err(Error::Conflict { key: key.clone(), current: current.map(|now| Box::new(Entry::clone(now))) })
    }

    fn put(&mut self, revision: Revision, key: &Key, value: &Bytes) -> Event {
        let before = self.get(key);
        let entry = Entry {
            key: key.clone(),
            value: value.clone(),
            created: before.map_or(revision, |before| before.created),
            modified: revision,
            version: before.map_or(1, |before| before.version + 1),
        };
        let before = self.replace(key, Some(entry.clone()));
        Event { revision, key: key.clone(), now: Some(entry), before: before.map(Arc::unwrap_or_clone) }
    }

    fn remove(&mut self, revision: Revision, key: &Key) -> Option<Event> {
        let before = self.replace(key, None)?;
        Some(Event { revision, key: key.clone(), now: None, before: Some(Arc::unwrap_or_clone(before)) })
    }

    /// Puts `entry` in the place of what the key holds, and returns that.
    fn replace(&mut self, key: &Key, entry: Option<Entry>) -> Option<Arc<Entry>> {
        let size = |entry: &Entry| entry.key.len() + entry.value.len();
        self.live_bytes += entry.as_ref().map_or(0, size);
        let before = match entry {
            Some(entry) => self.by_key.insert(key.clone(), Arc::new(entry)),
            None => self.by_key.remove(key),
        };
        self.live_bytes -= before.as_ref().map_or(0, |before| size(before));
        before
    }

    fn record(&mut self, event: Event) -> Arc<Event> {
        let index = match self.window.get_max() {
            Some(((revision, index), _)) if *revision == event.revision => index + 1,
            _ => 0,
        };
        let event = Arc::new(event);
        self.window_bytes += weight(&event);
        self.window.insert((event.revision, index), event.clone());
        event
    }

    /// Takes over one record of an engine's log: `entry` was written, or `key` deleted, at `revision`. Records come in
    /// order; those at or before `compacted` only rebuild the present. Returns the record that this one made obsolete,
    /// if nobody can ask for it any more.
    pub(crate) fn replay(&mut self, revision: Revision, key: &Key, entry: Option<Entry>) -> Option<Location> {
        let before = self.replace(key, entry.clone());
        self.revision = self.revision.max(revision);
        if revision <= self.compacted {
            return before.map(|before| (before.modified, key.clone()));
        }
        let before = before.map(Arc::unwrap_or_clone);
        self.record(Event { revision, key: key.clone(), now: entry, before });
        None
    }

    /// Notes that the store has moved on to `revision` without a change of any key.
    pub(crate) fn advance(&mut self, revision: Revision) {
        self.revision = self.revision.max(revision);
    }

    /// Lists what `range` asks for, exact at its revision.
    pub(crate) fn list(&self, range: &Range) -> Result<Listed, Error> {
        let revision = range.at.unwrap_or(self.revision);
        self.check_window(revision)?;
        let past;
        let by_key = if revision == self.revision {
            &self.by_key
        } else {
            past = self.rewound(revision, &range.prefix);
            &past
        };
        let start = match &range.after {
            Some(after) if **after >= *range.prefix => Bound::Excluded(&**after),
            _ => Bound::Included(range.prefix.as_str()),
        };
        let mut matching = by_key
            .range::<_, str>((start, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(&range.prefix))
            .map(|(_, entry)| entry);
        let limit = if range.limit == 0 { usize::MAX } else { range.limit };
        let entries = matching.by_ref().take(limit).map(|entry| Entry::clone(entry)).collect();
        Ok(Listed { entries, revision, remaining: matching.count() })
    }

    /// Returns an error unless `revision` can be read and watched from.
    pub(crate) fn check_window(&self, revision: Revision) -> Result<(), Error> {
        if revision < self.compacted {
            return Err(Error::Compacted { requested: revision, oldest: self.compacted });
        }
        if revision > self.revision {
            return Err(Error::Future { requested: revision, newest: self.revision });
        }
        Ok(())
    }

    /// Returns the keys under `prefix` as they were at `revision`, by undoing the events since then, newest first.
    fn rewound(&self, revision: Revision, prefix: &str) -> OrdMap<Key, Arc<Entry>> {
        let mut by_key = self.by_key.clone();
        let since = self.window.range((Bound::Excluded((revision, u32::MAX)), Bound::Unbounded));
        for (_, event) in since.rev().filter(|(_, event)| event.key.starts_with(prefix)) {
            match &event.before {
                Some(before) => by_key.insert(event.key.clone(), Arc::new(before.clone())),
                None => by_key.remove(&event.key),
            };
        }
        by_key
    }

    /// Returns up to `max` events under `prefix` from `cursor` on, and moves it past what was looked at. `lost` is the
    /// newest revision under the prefix that has left the window.
    pub(crate) fn pull(
        &self,
        cursor: &mut Position,
        prefix: &str,
        lost: Revision,
        max: usize,
    ) -> Result<Vec<Arc<Event>>, Error> {
        if cursor.0 <= lost {
            // The newest revision that this cursor has seen completely is the one before it.
            return Err(Error::Compacted { requested: Revision(cursor.0.0.saturating_sub(1)), oldest: self.compacted });
        }
        let mut found = Vec::new();
        for (position, event) in self.window.range(*cursor..) {
            if found.len() == max {
                *cursor = *position;
                return Ok(found);
            }
            if event.key.starts_with(prefix) {
                found.push(event.clone());
            }
        }
        *cursor = after(self.revision);
        Ok(found)
    }

    /// Returns the events of the window after `from` and up to `to`.
    pub(crate) fn events(&self, from: Revision, to: Revision) -> impl Iterator<Item = &Event> {
        let range = (Bound::Included(after(from)), Bound::Excluded(after(to)));
        self.window.range(range).map(|(_, event)| &**event)
    }

    /// Forgets what happened before `revision` and returns the log records that nobody can ask for any more.
    pub(crate) fn compact(&mut self, revision: Revision) -> Result<Vec<Location>, Error> {
        if revision > self.revision {
            return Err(Error::Future { requested: revision, newest: self.revision });
        }
        if revision <= self.compacted {
            return Ok(Vec::new());
        }
        let mut obsolete = Vec::new();
        while let Some((position, event)) = self.window.get_min() {
            let (position, event) = (*position, event.clone());
            if position.0 > revision {
                break;
            }
            self.window.remove(&position);
            self.window_bytes -= weight(&event);
            obsolete.extend(event.before.as_ref().map(|before| (before.modified, event.key.clone())));
            if event.now.is_none() {
                obsolete.push((event.revision, event.key.clone()));
            }
        }
        self.compacted = revision;
        Ok(obsolete)
    }
}

/// Returns the position of the first event after `revision`.
pub(crate) fn after(revision: Revision) -> Position {
    (Revision(revision.0 + 1), 0)
}

fn weight(event: &Event) -> usize {
    event.key.len() + event.now.as_ref().map_or(0, |now| now.value.len()) + EVENT_OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(history: &mut History, key: &str, value: &str) -> Revision {
        history.apply(&Txn::put(key.into(), value.to_owned())).expect("no conditions");
        history.revision()
    }

    fn delete(history: &mut History, key: &str) -> Revision {
        history.apply(&Txn { preconditions: vec![], ops: vec![Op::Delete(key.into())] }).expect("no conditions");
        history.revision()
    }

    fn show(history: &History, at: Option<Revision>) -> String {
        let listed = history.list(&Range { at, ..Range::default() }).expect("in the window");
        let shown = |entry: &Entry| format!("{}={}", entry.key, String::from_utf8_lossy(&entry.value));
        listed.entries.iter().map(shown).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_older_revision_in_the_window_reads_as_it_was() {
        let mut history = History::default();
        let mut expected = vec![(EMPTY, String::new())];
        for (key, value) in [("a", "1"), ("b", "1"), ("a", "2"), ("b", ""), ("c", "1"), ("a", "")] {
            let at = if value.is_empty() { delete(&mut history, key) } else { put(&mut history, key, value) };
            expected.push((at, show(&history, None)));
        }
        for (at, state) in expected {
            assert_eq!(show(&history, Some(at)), state, "at {at:?}");
        }
    }

    #[test]
    fn deleting_what_does_not_exist_makes_no_revision() {
        let mut history = History::default();
        assert_eq!(delete(&mut history, "a"), EMPTY);
    }

    #[test]
    fn compaction_names_superseded_records_and_old_deletions_only() {
        let mut history = History::default();
        let first = put(&mut history, "a", "1");
        let second = put(&mut history, "a", "2");
        let third = put(&mut history, "b", "1");
        let deleted = delete(&mut history, "b");
        let last = put(&mut history, "a", "3");
        assert_eq!(history.compact(third).expect("in the window"), [(first, "a".into())]);
        assert_eq!(history.compact(deleted).expect("in the window"), [(third, "b".into()), (deleted, "b".into())]);
        assert_eq!(show(&history, Some(deleted)), "a=2");
        assert_eq!(history.compact(last).expect("in the window"), [(second, "a".into())]);
        assert_eq!((show(&history, None).as_str(), history.window_bytes()), ("a=3", 0));
    }

    #[test]
    fn a_cursor_inside_a_commit_goes_on_where_it_stopped() {
        let mut history = History::default();
        let both = Txn::put("b".into(), "1").and(Txn::put("a".into(), "1"));
        history.apply(&both).expect("no conditions");
        let mut cursor = after(EMPTY);
        let keys: Vec<Key> = (0..3)
            .flat_map(|_| history.pull(&mut cursor, "", EMPTY, 1).expect("in the window"))
            .map(|event| event.key.clone())
            .collect();
        assert_eq!(keys, ["a".into(), "b".into()]);
    }

    #[test]
    fn a_cursor_that_fell_behind_is_told() {
        let mut history = History::default();
        let mut cursor = after(EMPTY);
        put(&mut history, "a", "1");
        let second = put(&mut history, "a", "2");
        history.compact(second).expect("in the window");
        let error = history.pull(&mut cursor, "", history.compacted(), 10).expect_err("compacted");
        assert!(matches!(error, Error::Compacted { requested: EMPTY, oldest } if oldest == second), "{error}");
    }

    #[test]
    fn a_page_goes_on_after_the_last_key_even_if_that_key_is_gone() {
        let mut history = History::default();
        for key in ["p/a", "p/b", "p/c", "q/a"] {
            put(&mut history, key, "1");
        }
        delete(&mut history, "p/b");
        let range = Range { prefix: "p/".into(), after: Some("p/b".into()), ..Range::default() };
        let listed = history.list(&range).expect("newest");
        assert_eq!(listed.entries.iter().map(|entry| &*entry.key).collect::<Vec<_>>(), ["p/c"]);
    }

    #[test]
    fn replay_of_the_log_gives_the_same_state() {
        let mut live = History::default();
        let mut log = Vec::new();
        for (key, value) in [("a", "1"), ("b", "1"), ("a", "2")] {
            log.extend(live.apply(&Txn::put(key.into(), value)).expect("no conditions"));
        }
        let mut reopened = History::default();
        for event in &log {
            assert_eq!(reopened.replay(event.revision, &event.key, event.now.clone()), None);
        }
        assert_eq!(reopened.window, live.window);
        assert_eq!(reopened.by_key, live.by_key);
        assert_eq!((reopened.revision, reopened.window_bytes), (live.revision, live.window_bytes));
    }
}
