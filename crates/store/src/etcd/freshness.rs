//! How new memory is: waiting for revisions, and asking etcd for its newest one on behalf of many readers at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::debug;

use crate::{Error, Revision};

use super::Shared;
use super::failure::Failure;
use super::proto::{PutRequest, Request, TxnRequest};
use super::transaction::step;
use super::{feed, unavailable};

/// An event is usually there before the answer that it belongs to; this is how long nobody worries.
const GRACE: Duration = Duration::from_millis(100);
/// A connected watch that is further behind than this is not connected.
const BEHIND_MAX: Duration = Duration::from_secs(5);
/// A reader waits this long for etcd's majority before it takes what is in memory.
const ASK_MAX: Duration = Duration::from_secs(2);

/// Someone who wants to know the newest revision.
pub(super) type Asker = oneshot::Sender<Revision>;

/// Answers askers, all who wait with one question to etcd. An answer comes from a question that was asked after its
/// asker came: everything that was acknowledged before, by any server, is in memory then.
pub(super) async fn run(shared: Arc<Shared>, mut askers: mpsc::Receiver<Asker>) {
    let mut waiting = Vec::new();
    while askers.recv_many(&mut waiting, usize::MAX).await > 0 {
        let revision = shared.newest().await;
        for asker in waiting.drain(..) {
            // That the asker went away is his business.
            let _ = asker.send(revision);
        }
    }
}

impl Shared {
    /// Returns etcd's newest revision once memory has it, or memory's own if etcd does not answer: reads go on.
    async fn newest(&self) -> Revision {
        if self.connected.get() {
            match timeout(ASK_MAX, feed::newest(&self.client, &self.layout)).await {
                Ok(Ok(newest)) => match self.reach(newest).await {
                    Ok(()) => return newest,
                    Err(error) => debug!(%error, "reading what memory has"),
                },
                Ok(Err(failure)) => debug!(%failure, "reading what memory has"),
                Err(_) => debug!("etcd is slow; reading what memory has"),
            }
        }
        self.hub.snapshot().revision()
    }

    /// Waits until memory has `revision`, which is etcd's.
    ///
    /// Others may have moved etcd on outside of our prefix, and then no event comes. (etcd's own progress notifications
    /// are of no help: before 3.4.31 and 3.5.13 they overtook events, etcd-io/etcd#15220.) A write of our own is a fence
    /// post on every version: when its event is here, everything before it is.
    pub(super) async fn reach(&self, revision: Revision) -> Result<(), Error> {
        if timeout(GRACE, self.hub.reach(revision)).await.is_ok() {
            return self.hub.check_open();
        }
        let fence = self.plant_fence().await.map_err(unavailable)?;
        self.visible(fence.max(revision)).await
    }

    /// Waits until memory has `revision`, whose event is sure to come.
    pub(super) async fn visible(&self, revision: Revision) -> Result<(), Error> {
        if timeout(BEHIND_MAX, self.hub.reach(revision)).await.is_ok() {
            return self.hub.check_open();
        }
        self.stalled.notify_waiters();
        let message = format!("etcd is at revision {}, and its watch has not delivered that yet", revision.0);
        Err(Error::Uncertain(Arc::new(std::io::Error::other(message))))
    }

    async fn plant_fence(&self) -> Result<Revision, Failure> {
        let put = PutRequest { key: self.layout.fence(), ..PutRequest::default() };
        let txn = TxnRequest { success: vec![step(Request::Put(put))], ..TxnRequest::default() };
        let planted = self.client.txn(txn).await?;
        Ok(self.layout.revision_in(planted.header.as_ref()))
    }
}
