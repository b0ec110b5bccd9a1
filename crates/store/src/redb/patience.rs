//! Commits that are in no hurry: they wait for others to share a sync with, and are acknowledged after it like all others.
//!
//! Every node renews its Lease every ten seconds. A thousand nodes would be a hundred syncs a second for news that is worth
//! little; together they are a few.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::{Error, Revision, Txn};

/// How long a commit waits for others. A Lease is renewed every 10 s and lost after 40 s.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);
/// Whoever finds so many waiting does not wait; a batch has room for all of them.
const WAITING_MAX: usize = 128;

/// A commit and where its answer goes.
pub(super) type Waiting = (Txn, oneshot::Sender<Result<Revision, Error>>);

/// Those who wait, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct WaitingRoom(Mutex<Vec<Waiting>>);

impl WaitingRoom {
    /// Waits there, unless it is full.
    pub(super) fn enter(&self, txn: Txn, reply: oneshot::Sender<Result<Revision, Error>>) -> Result<(), Waiting> {
        let mut waiting = self.0.lock();
        if waiting.len() >= WAITING_MAX {
            return Err((txn, reply));
        }
        waiting.push((txn, reply));
        Ok(())
    }

    /// Takes all who wait.
    pub(super) fn leave(&self) -> Vec<Waiting> {
        std::mem::take(&mut *self.0.lock())
    }
}
