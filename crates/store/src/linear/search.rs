//! The search for an order in which overlapping calls could have happened one after another (Wing and Gong, with Lowe's
//! memory of what has been tried).
//!
//! ```text
//!   A |---put 1---|            order: put 1, get -> 1, put 2
//!   B      |--------get -> 1--------|
//!   C                |--put 2--|
//! ```
//! A call takes effect at one moment between its beginning and its end. So whatever ended before another one began comes
//! first; among those that overlap, every order is tried.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;

/// One call of one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call<C> {
    /// What was asked, and answered.
    pub what: C,
    /// When it was sent, by a counter that all calls share.
    pub began: u64,
    /// When its answer came; `None` if none ever did. Such a call may have happened at any moment since, or never.
    pub ended: Option<u64>,
}

/// No order explains what the clients saw.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no order of the calls explains their answers: {explained} of {calls} can be put in order, but after\n{after}\nnone of these can be next:\n{next}"
)]
pub struct Stuck {
    /// How many calls there are.
    pub calls: usize,
    /// How many of them the longest order has that was found.
    pub explained: usize,
    /// The state at its end.
    pub after: String,
    /// The calls that would have to come next.
    pub next: String,
}

/// Returns `Ok` if there is an order of `calls`, beginning in the state `initial`, in which every answer is right.
/// `step` returns the state after a call, or `None` if its answer is wrong in this state; without an answer, every
/// state must have a next one.
///
/// # Errors
/// `Stuck` if there is none. That is certain, and takes time and memory that grow with how many calls overlap.
pub fn check<C: Debug, S: Clone + Eq + Hash + Debug>(
    calls: &[Call<C>],
    initial: S,
    step: impl Fn(&S, &C) -> Option<S>,
) -> Result<(), Stuck> {
    let mut ordered: Vec<&Call<C>> = calls.iter().collect();
    ordered.sort_by_key(|call| call.began);
    let mut search = Search { calls: ordered, step, tried: HashSet::new(), furthest: (0, initial.clone(), Vec::new()) };
    let nothing = Done::none_of(calls.len());
    if search.finishes(&nothing, &initial) { Ok(()) } else { Err(search.stuck()) }
}

struct Search<'a, C, S, F> {
    /// In the order of their beginnings.
    calls: Vec<&'a Call<C>>,
    step: F,
    /// What has been tried in vain. The same calls in another order that led to the same state have the same future.
    tried: HashSet<(Done, S)>,
    /// How far the longest order came: its length, its end, and what could not be next.
    furthest: (usize, S, Vec<usize>),
}

impl<C: Debug, S: Clone + Eq + Hash + Debug, F: Fn(&S, &C) -> Option<S>> Search<'_, C, S, F> {
    /// Tells if the calls that are not `done` can be put in order, from `state` on.
    fn finishes(&mut self, done: &Done, state: &S) -> bool {
        let candidates = self.candidates(done);
        // What was never answered need not have happened.
        if candidates.iter().all(|index| self.calls[*index].ended.is_none()) {
            return true;
        }
        if done.count() >= self.furthest.0 {
            self.furthest = (done.count(), state.clone(), candidates.clone());
        }
        candidates.into_iter().any(|index| {
            let Some(next) = (self.step)(state, &self.calls[index].what) else { return false };
            // What changed nothing and was never answered explains nothing: it may as well come later, or never. With it,
            // every set of such calls would be tried.
            if next == *state && self.calls[index].ended.is_none() {
                return false;
            }
            let done = done.and(index);
            self.tried.insert((done.clone(), next.clone())) && self.finishes(&done, &next)
        })
    }

    /// Returns the calls that may come next: those that began before any other of the rest ended.
    fn candidates(&self, done: &Done) -> Vec<usize> {
        let (mut found, mut first_end) = (Vec::new(), u64::MAX);
        for index in done.first_missing()..self.calls.len() {
            let call = self.calls[index];
            if call.began > first_end {
                break;
            }
            if !done.has(index) {
                first_end = first_end.min(call.ended.unwrap_or(u64::MAX));
                found.push(index);
            }
        }
        // Who answered first was most likely first, and what was never answered only happened if nothing else explains
        // what others saw.
        found.sort_by_key(|index| self.calls[*index].ended.unwrap_or(u64::MAX));
        found
    }

    fn stuck(&self) -> Stuck {
        let (explained, state, next) = &self.furthest;
        let lines: Vec<_> = next.iter().map(|index| format!("  {:?}", self.calls[*index])).collect();
        Stuck { calls: self.calls.len(), explained: *explained, after: format!("  {state:?}"), next: lines.join("\n") }
    }
}

/// A set of calls, by their index.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Done(Box<[u64]>);

impl Done {
    fn none_of(calls: usize) -> Self {
        Self(vec![0; calls.div_ceil(64)].into())
    }

    fn and(&self, index: usize) -> Self {
        let mut more = self.clone();
        more.0[index / 64] |= 1 << (index % 64);
        more
    }

    fn has(&self, index: usize) -> bool {
        self.0[index / 64] & (1 << (index % 64)) != 0
    }

    fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    fn first_missing(&self) -> usize {
        let full = self.0.iter().take_while(|word| **word == u64::MAX).count();
        full * 64 + self.0.get(full).map_or(0, |word| word.trailing_ones() as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The simplest thing that can be read and written: one number.
    #[derive(Debug, Clone, Copy)]
    enum Register {
        Put(u8),
        Get(u8),
    }
    use Register::{Get, Put};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that `check` asks for")]
    fn step(state: &u8, call: &Register) -> Option<u8> {
        match call {
            Put(value) => Some(*value),
            Get(value) => (value == state).then_some(*state),
        }
    }

    /// Calls from a drawing, one line for each client: `|` begins and ends the call that `what` lists next, and a call
    /// without an end has no answer.
    fn drawn(lines: &[(&str, &[Register])]) -> Vec<Call<Register>> {
        let mut calls = Vec::new();
        for (line, what) in lines {
            let marks: Vec<u64> = line.match_indices('|').map(|(at, _)| at as u64).collect();
            for (what, marks) in what.iter().zip(marks.chunks(2)) {
                calls.push(Call { what: *what, began: marks[0] * 10, ended: marks.get(1).map(|end| end * 10 + 1) });
            }
        }
        calls
    }

    fn is_linearizable(lines: &[(&str, &[Register])]) -> bool {
        check(&drawn(lines), 0, step).is_ok()
    }

    #[test]
    fn no_calls_are_in_order() {
        assert!(is_linearizable(&[]));
    }

    #[test]
    fn one_after_another_means_in_that_order() {
        assert!(is_linearizable(&[("|-| |-| |-|", &[Put(1), Get(1), Put(2)])]));
        assert!(!is_linearizable(&[("|-| |-| |-|", &[Put(1), Put(2), Get(1)])]));
    }

    #[test]
    fn a_read_beside_a_write_sees_either_state() {
        for seen in [0, 1] {
            assert!(is_linearizable(&[("|-----|", &[Put(1)]), ("  |-|", &[Get(seen)])]));
        }
        assert!(!is_linearizable(&[("|-----|", &[Put(1)]), ("  |-|", &[Get(2)])]));
    }

    #[test]
    fn a_stale_read_is_found() {
        assert!(!is_linearizable(&[("|--|", &[Put(1)]), ("     |--|", &[Get(0)])]));
    }

    #[test]
    fn what_one_reader_saw_the_next_one_sees() {
        let write = ("|-----------|", &[Put(1)][..]);
        assert!(is_linearizable(&[write, (" |-|", &[Get(0)]), ("     |-|", &[Get(1)])]));
        assert!(!is_linearizable(&[write, (" |-|", &[Get(1)]), ("     |-|", &[Get(0)])]));
    }

    #[test]
    fn two_readers_agree_on_the_order_of_two_writers() {
        let writes = [("|--------------|", &[Put(1)][..]), ("|--------------|", &[Put(2)][..])];
        let readers = |second: &'static [Register]| {
            let [one, other] = writes;
            is_linearizable(&[one, other, (" |-|  |-|", &[Get(1), Get(2)]), ("          |-| |-|", second)])
        };
        assert!(readers(&[Get(2), Get(2)]));
        assert!(!readers(&[Get(2), Get(1)]));
    }

    #[test]
    fn a_lost_update_is_found() {
        let lines = [("|--|", &[Put(1)][..]), ("      |--|", &[Put(2)][..]), ("           |-|", &[Get(1)][..])];
        assert!(!is_linearizable(&lines));
    }

    #[test]
    fn what_was_never_answered_may_have_happened_later_or_never() {
        for seen in [[0, 0], [0, 1], [1, 1]] {
            assert!(is_linearizable(&[("|", &[Put(1)]), ("   |-| |-|", &[Get(seen[0]), Get(seen[1])])]), "{seen:?}");
        }
        assert!(!is_linearizable(&[("|", &[Put(1)]), ("   |-| |-|", &[Get(1), Get(0)])]));
        assert!(!is_linearizable(&[("      |", &[Put(1)]), (" |-|", &[Get(1)])]), "nor before it was sent");
    }

    #[test]
    fn unanswered_calls_that_change_nothing_are_not_tried_in_every_combination() {
        // Sixty clients gave up writing what is there already; without an end of the search this test has none.
        let lost = [Put(1)];
        let mut lines: Vec<(&str, &[Register])> = vec![("|", lost.as_slice()); 60];
        let reads = [Get(0), Get(1), Get(2)];
        lines.push(("  |-| |-| |-|", reads.as_slice()));
        assert!(!is_linearizable(&lines));
    }

    #[test]
    fn it_goes_back_to_orders_that_looked_worse_at_first() {
        // Put(1) first is the wrong choice, which only the last read tells.
        let both = [("|-------|", &[Put(1)][..]), ("|-------|", &[Put(2)][..]), ("          |-|", &[Get(1)][..])];
        assert!(is_linearizable(&both));
        let many: Vec<_> = [1, 2, 3, 4, 5, 6, 7].map(|value| vec![Put(value)]).into();
        let mut lines: Vec<_> = many.iter().map(|put| ("|----|", put.as_slice())).collect();
        lines.push(("        |-|", &[Get(1)]));
        assert!(is_linearizable(&lines));
        lines.push(("             |-|", &[Get(2)]));
        assert!(!is_linearizable(&lines));
    }

    #[test]
    fn it_says_where_it_was_stuck() {
        let calls = drawn(&[("|-| |-| |-|", &[Put(1), Get(1), Get(7)])]);
        let stuck = check(&calls, 0, step).expect_err("nobody wrote 7");
        assert_eq!((stuck.calls, stuck.explained), (3, 2));
        assert!(stuck.to_string().contains("Get(7)"), "{stuck}");
    }

    #[test]
    fn more_calls_than_fit_a_word_are_ordered() {
        let calls: Vec<_> = (0..500)
            .map(|n| Call {
                what: if n % 2 == 0 { Put((n / 2 % 250) as u8) } else { Get((n / 2 % 250) as u8) },
                began: n * 2,
                ended: Some(n * 2 + 1),
            })
            .collect();
        assert_eq!(check(&calls, 0, step), Ok(()));
    }
}
