//! What a full disk means: little or nothing is added until there is space again. Pure.
//!
//! ```text
//!          a write finds no space                   space can be held back again
//! plenty ─────────────────────────> short ────────────────────────────────────────> plenty
//!                                   deletions, and as much as a part of what they remove
//! ```

use std::sync::Arc;
use std::time::Duration;

use crate::{Error, Op, Txn};

/// How often a full disk is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// This part of what is removed may be added, although the disk is as full as before: the file has room then. Not all of
/// it, for a file without any room takes no deletions either.
const ADDED_PART: u64 = 4;
/// What a write takes besides its bytes.
const OP_BYTES: u64 = 512;

/// Whether there is space, as far as is known.
#[derive(Debug)]
pub(super) struct Space {
    short: Option<Error>,
    /// Whether space is held back.
    reserved: bool,
    looked: Duration,
    /// What may be added all the same.
    allowance: u64,
}

/// Why nothing is added. It ends up before users.
#[derive(Debug, thiserror::Error)]
#[error(
    "no space is left for {file}; free some on that disk or delete objects: until then only deletions are taken, and nothing \
     is lost"
)]
struct Shortage {
    file: String,
}

impl Space {
    /// Begins with space, held back or not.
    pub(super) fn new(reserved: bool) -> Self {
        Self { short: None, reserved, looked: Duration::ZERO, allowance: 0 }
    }

    /// Returns why nothing is added; `None` if there is space.
    pub(super) fn shortage(&self) -> Option<&Error> {
        self.short.as_ref()
    }

    /// Returns why `txn` is refused; `None` if it may try.
    pub(super) fn refusal(&mut self, txn: &Txn) -> Option<Error> {
        let short = self.short.as_ref()?;
        if txn.ops.iter().all(|op| matches!(op, Op::Delete(_))) {
            return None;
        }
        let cost = txn.weight() as u64 + txn.ops.len() as u64 * OP_BYTES;
        match self.allowance.checked_sub(cost) {
            Some(left) => {
                self.allowance = left;
                None
            }
            None => Some(short.clone()),
        }
    }

    /// Notes that a write found no space, and that nothing is held back any more. Returns why nothing is added.
    pub(super) fn ran_out(&mut self, now: Duration, file: &str) -> Error {
        let shortage = Error::Full(Arc::new(Shortage { file: file.to_owned() }));
        self.short = Some(shortage.clone());
        (self.reserved, self.looked, self.allowance) = (false, now, 0);
        shortage
    }

    /// Notes that records were removed.
    pub(super) fn removed(&mut self, bytes: u64) {
        if self.short.is_some() {
            self.allowance += bytes / ADDED_PART;
        }
    }

    /// Whether it is time to try to hold space back.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        !self.reserved && now.saturating_sub(self.looked) >= LOOK_EVERY
    }

    /// Notes whether space could be held back.
    pub(super) fn looked(&mut self, now: Duration, reserved: bool) {
        (self.looked, self.reserved) = (now, reserved);
        if reserved {
            self.short = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Space {
        let mut space = Space::new(true);
        space.ran_out(Duration::from_secs(10), "/x/store.redb");
        space
    }

    #[test]
    fn a_full_disk_takes_deletions_and_checks_but_nothing_new() {
        let mut space = full();
        let deletion = Txn { preconditions: Vec::new(), ops: vec![Op::Delete("a".into())] };
        assert!(space.refusal(&deletion).is_none());
        assert!(space.refusal(&Txn::default()).is_none());
        let error = space.refusal(&deletion.and(Txn::put("b".into(), "1"))).expect("it adds something");
        assert!(matches!(error, Error::Full(_)), "{error:?}");
        assert!(error.to_string().contains("/x/store.redb") && error.to_string().contains("free some"), "{error}");
    }

    #[test]
    fn with_space_everything_is_tried() {
        assert!(Space::new(false).refusal(&Txn::put("a".into(), "1")).is_none());
    }

    #[test]
    fn the_disk_is_looked_at_once_a_second_until_space_can_be_held_back() {
        let mut space = full();
        assert!(!space.is_due(Duration::from_millis(10_999)));
        assert!(space.is_due(Duration::from_secs(11)));
        space.looked(Duration::from_secs(11), false);
        assert!(!space.is_due(Duration::from_millis(11_500)) && space.shortage().is_some());
        space.looked(Duration::from_secs(12), true);
        assert!(!space.is_due(Duration::from_secs(1_000)) && space.shortage().is_none());
    }

    #[test]
    fn a_part_of_what_is_removed_may_be_added() {
        let mut space = full();
        let put = Txn::put("a".into(), vec![0; 487]); // a thousand bytes with what goes with it
        space.removed(3_999);
        assert!(space.refusal(&put).is_some());
        space.removed(4_005);
        assert!(space.refusal(&put).is_none() && space.refusal(&put).is_none());
        assert!(space.refusal(&put).is_some(), "it is used up");
        assert!(space.is_due(Duration::from_secs(11)) && space.shortage().is_some());
    }
}
