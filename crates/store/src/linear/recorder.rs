//! The notebook of all clients of one test.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::key::{Held, Op, Outcome, Step, next};
use super::search::{Call, check};
use super::story::{Told, Wrote, check_story, states};

/// What all clients of one store asked and were told, in the order of one counter.
#[derive(Debug, Default)]
pub struct Recorder {
    /// Numbers beginnings, ends and values.
    counter: AtomicU64,
    calls: Mutex<BTreeMap<String, Vec<Call<Step>>>>,
    told: Mutex<BTreeMap<usize, Vec<Told>>>,
    lists: Mutex<Vec<(u64, BTreeMap<String, u64>)>>,
}

/// A call that has begun. If it is dropped before it is answered, nobody knows what became of it.
#[derive(Debug)]
pub struct Asked<'a> {
    recorder: &'a Recorder,
    key: String,
    op: Op,
    began: u64,
    is_answered: bool,
}

impl Asked<'_> {
    /// Notes the answer. [`Outcome::Unknown`] is the same as dropping it.
    pub fn answered(mut self, outcome: Outcome) {
        if outcome != Outcome::Unknown {
            self.is_answered = true;
            self.note(outcome, Some(self.recorder.number()));
        }
    }

    fn note(&self, outcome: Outcome, ended: Option<u64>) {
        let call = Call { what: (self.op, outcome), began: self.began, ended };
        self.recorder.calls.lock().entry(self.key.clone()).or_default().push(call);
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if !self.is_answered && self.op != Op::Get {
            self.note(Outcome::Unknown, None);
        }
    }
}

impl Recorder {
    /// Returns the next number: a moment, or a value that nobody has written yet.
    pub fn number(&self) -> u64 {
        self.counter.fetch_add(1, Ordering::SeqCst)
    }

    /// Notes that a call begins.
    pub fn ask(&self, key: &str, op: Op) -> Asked<'_> {
        Asked { recorder: self, key: key.to_owned(), op, began: self.number(), is_answered: false }
    }

    /// Notes what a watcher was told.
    pub fn tell(&self, watcher: usize, told: Told) {
        self.told.lock().entry(watcher).or_default().push(told);
    }

    /// Notes a list of all keys, exact at `revision`.
    pub fn list(&self, revision: u64, entries: BTreeMap<String, u64>) {
        self.lists.lock().push((revision, entries));
    }

    /// Returns how many calls have been noted.
    pub fn calls(&self) -> usize {
        self.calls.lock().values().map(Vec::len).sum()
    }

    /// Returns `Ok` if one store could have answered all of this. At least one watcher was told everything.
    ///
    /// # Errors
    /// What cannot be, in words.
    pub fn check(&self) -> Result<(), String> {
        for (key, calls) in &*self.calls.lock() {
            check(calls, None::<Held>, next).map_err(|stuck| format!("{key}: {stuck}"))?;
        }
        let writes = self.writes();
        let told = self.told.lock();
        for (watcher, told) in &*told {
            check_story(told, &writes).map_err(|problem| format!("watcher {watcher}: {problem}"))?;
        }
        let Some(longest) = told.values().max_by_key(|told| told.len()) else { return Ok(()) };
        let states = states(longest);
        for (revision, listed) in &*self.lists.lock() {
            let state = states.range(..=revision).next_back().map(|(_, state)| state);
            if state != Some(listed) {
                return Err(format!("a list at {revision} has {listed:?}, but the events lead to {state:?}"));
            }
        }
        Ok(())
    }

    /// Returns the writes that were acknowledged, and those of which nobody knows.
    fn writes(&self) -> Vec<Wrote> {
        let mut writes = Vec::new();
        for (key, calls) in &*self.calls.lock() {
            for Call { what: (op, outcome), .. } in calls {
                let value = match op {
                    Op::Get => continue,
                    Op::Put(value) | Op::Create(value) | Op::Replace(_, value) => Some(*value),
                    Op::Delete(_) => None,
                };
                match outcome {
                    Outcome::Done(revision) => writes.push(Wrote { key: key.clone(), value, revision: *revision }),
                    Outcome::Unknown => writes.push(Wrote { key: key.clone(), value, revision: None }),
                    Outcome::Refused(_) | Outcome::Saw(_) => {}
                }
            }
        }
        writes
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::Seen;
    use super::*;

    #[test]
    fn a_call_that_was_dropped_may_have_happened() {
        let recorder = Recorder::default();
        drop(recorder.ask("a", Op::Create(1)));
        recorder.ask("a", Op::Get).answered(Outcome::Saw(Some(Seen { value: 1, revision: 2 })));
        drop(recorder.ask("a", Op::Get));
        assert_eq!((recorder.calls(), recorder.check()), (2, Ok(())));
    }

    #[test]
    fn keys_are_judged_one_by_one() {
        let recorder = Recorder::default();
        recorder.ask("a", Op::Create(1)).answered(Outcome::Done(Some(2)));
        recorder.ask("b", Op::Get).answered(Outcome::Saw(None));
        assert_eq!(recorder.check(), Ok(()));
        recorder.ask("a", Op::Get).answered(Outcome::Saw(None));
        let problem = recorder.check().expect_err("a was created");
        assert!(problem.starts_with("a: no order"), "{problem}");
    }

    #[test]
    fn a_list_is_what_the_events_led_to() {
        let recorder = Recorder::default();
        recorder.ask("a", Op::Create(1)).answered(Outcome::Done(Some(2)));
        for told in [Told::From(1), Told::Event { revision: 2, key: "a".to_owned(), value: Some(1) }] {
            recorder.tell(0, told);
        }
        recorder.list(1, BTreeMap::new());
        recorder.list(3, BTreeMap::from([("a".to_owned(), 1)]));
        assert_eq!(recorder.check(), Ok(()));
        recorder.list(2, BTreeMap::new());
        assert!(recorder.check().expect_err("a is missing").contains("a list at 2"));
    }
}
