//! What one key of a store does, as simply as it can be said: the model that the search compares answers with.
//!
//! Every written value is used once, so that a value names the write it comes from.

/// A value, and the revision of its write, as a client was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seen {
    /// The value.
    pub value: u64,
    /// The revision that wrote it.
    pub revision: u64,
}

/// What a client asks of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Reads it.
    Get,
    /// Writes it, whatever it holds.
    Put(u64),
    /// Writes it if it does not exist.
    Create(u64),
    /// Writes it if it is as the client has seen it.
    Replace(Seen, u64),
    /// Deletes it if it is as the client has seen it.
    Delete(Seen),
}

/// What the client was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// What it holds; `None` if it does not exist.
    Saw(Option<Seen>),
    /// It was written; at this revision, if the answer says so.
    Done(Option<u64>),
    /// It was not written, for it holds this (`Some(None)`: nothing), if the answer says so.
    Refused(Option<Option<Seen>>),
    /// No answer: it may have been written, or may be later.
    Unknown,
}

/// One call.
pub type Step = (Op, Outcome);

/// The state of a key. Whoever never heard about his write does not know its revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Held {
    value: u64,
    revision: Option<u64>,
}

impl Held {
    fn is(self, seen: Seen) -> bool {
        self.value == seen.value && self.revision.is_none_or(|revision| revision == seen.revision)
    }
}

impl From<Seen> for Held {
    fn from(seen: Seen) -> Self {
        Self { value: seen.value, revision: Some(seen.revision) }
    }
}

/// Returns what the key holds after a call, or `None` if its answer cannot be right while the key holds `state`.
pub fn next(state: &Option<Held>, (op, outcome): &Step) -> Option<Option<Held>> {
    let wanted = match op {
        Op::Get => return observe(*state, *outcome),
        Op::Put(_) => true,
        Op::Create(_) => state.is_none(),
        Op::Replace(seen, _) | Op::Delete(seen) => state.is_some_and(|held| held.is(*seen)),
    };
    let written = |revision| match op {
        Op::Put(value) | Op::Create(value) | Op::Replace(_, value) => Some(Held { value: *value, revision }),
        Op::Get | Op::Delete(_) => None,
    };
    match outcome {
        Outcome::Done(revision) => {
            let known = state.and_then(|held| held.revision);
            let later = revision.zip(known).is_none_or(|(written, before)| written > before);
            (wanted && later).then(|| written(*revision))
        }
        Outcome::Refused(_) if wanted => None,
        Outcome::Refused(Some(now)) => observe(*state, Outcome::Saw(*now)),
        Outcome::Unknown if wanted => Some(written(None)),
        Outcome::Refused(None) | Outcome::Unknown => Some(*state),
        Outcome::Saw(_) => None,
    }
}

/// Compares the state with what was seen of it, which tells its revision.
#[expect(clippy::option_option, reason = "outer: whether it can be, inner: whether the key exists")]
fn observe(state: Option<Held>, outcome: Outcome) -> Option<Option<Held>> {
    match (state, outcome) {
        (_, Outcome::Unknown) => Some(state),
        (None, Outcome::Saw(None)) => Some(None),
        (Some(held), Outcome::Saw(Some(seen))) => held.is(seen).then(|| Some(seen.into())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::search::{Call, check};
    use super::*;

    const ONE: Seen = Seen { value: 1, revision: 5 };
    const TWO: Seen = Seen { value: 2, revision: 6 };

    /// Whether these calls, one after another, can be what a store answers.
    fn holds(steps: &[Step]) -> bool {
        let calls: Vec<_> =
            (0..).zip(steps).map(|(n, step)| Call { what: *step, began: 2 * n, ended: Some(2 * n + 1) }).collect();
        check(&calls, None, next).is_ok()
    }

    fn created() -> Step {
        (Op::Create(1), Outcome::Done(Some(5)))
    }

    #[test]
    fn a_key_is_created_once() {
        assert!(holds(&[created(), (Op::Create(2), Outcome::Refused(Some(Some(ONE))))]));
        assert!(!holds(&[created(), (Op::Create(2), Outcome::Done(Some(6)))]));
        assert!(!holds(&[(Op::Create(2), Outcome::Refused(None))]));
    }

    #[test]
    fn a_conflict_shows_what_is_there() {
        assert!(!holds(&[created(), (Op::Create(2), Outcome::Refused(Some(Some(TWO))))]));
        assert!(!holds(&[created(), (Op::Create(2), Outcome::Refused(Some(None)))]));
    }

    #[test]
    fn only_the_last_state_can_be_replaced() {
        let replaced = (Op::Replace(ONE, 2), Outcome::Done(Some(6)));
        assert!(holds(&[created(), replaced, (Op::Get, Outcome::Saw(Some(TWO)))]));
        assert!(holds(&[created(), replaced, (Op::Replace(ONE, 3), Outcome::Refused(None))]));
        assert!(!holds(&[created(), replaced, (Op::Replace(ONE, 3), Outcome::Done(Some(7)))]));
        assert!(!holds(&[created(), (Op::Replace(ONE, 3), Outcome::Refused(None))]));
    }

    #[test]
    fn what_is_deleted_is_gone() {
        let deleted = (Op::Delete(ONE), Outcome::Done(None));
        assert!(holds(&[created(), deleted, (Op::Get, Outcome::Saw(None))]));
        assert!(!holds(&[created(), deleted, (Op::Get, Outcome::Saw(Some(ONE)))]));
        assert!(!holds(&[created(), deleted, deleted]));
    }

    #[test]
    fn revisions_of_a_key_grow() {
        assert!(!holds(&[created(), (Op::Put(2), Outcome::Done(Some(4)))]));
        assert!(!holds(&[created(), (Op::Get, Outcome::Saw(Some(Seen { revision: 6, ..ONE })))]));
    }

    #[test]
    fn an_unanswered_write_gets_its_revision_from_whoever_sees_it() {
        let lost = (Op::Put(2), Outcome::Unknown);
        let read = (Op::Get, Outcome::Saw(Some(TWO)));
        assert!(holds(&[created(), lost, read, read]));
        assert!(holds(&[created(), lost, (Op::Replace(TWO, 3), Outcome::Done(Some(9)))]));
        assert!(!holds(&[created(), lost, read, (Op::Get, Outcome::Saw(Some(Seen { revision: 7, ..TWO })))]));
    }

    #[test]
    fn an_unanswered_write_whose_condition_fails_changes_nothing() {
        assert!(holds(&[created(), (Op::Create(2), Outcome::Unknown), (Op::Get, Outcome::Saw(Some(ONE)))]));
        assert!(!holds(&[created(), (Op::Create(2), Outcome::Unknown), (Op::Get, Outcome::Saw(Some(TWO)))]));
    }
}
