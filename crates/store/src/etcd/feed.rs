//! The one task that feeds memory from etcd's watch: every event once, in order, whatever happens to connections.
//!
//! ```text
//!          load                 watch from revision + 1
//!  etcd ─────────> History ──────────────────────────────> History ─> Hub ─> readers, watchers
//!                     ^   ended: again, perhaps elsewhere │
//!                     └── compacted: load again, at etcd's newest; watchers are told `Compacted`
//! ```

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tracing::{info, warn};
use wkube_base::Backoff;

use crate::history::History;
use crate::{Error, Revision};

use super::client::{Client, Watching};
use super::failure::{Failure, Kind};
use super::layout::Layout;
use super::proto::{Event, EventType, RangeRequest, WatchCreateRequest, WatchResponse};
use super::witness::Witness;
use super::{ConnectError, Shared};

/// A page of the first load.
const PAGE: i64 = 500;
/// A new process asks for this much of the past, so that its clients need not list again after a restart.
const PAST: u64 = 10_000;
/// How long etcd may take to say that a watch exists.
const CREATED_MAX: Duration = Duration::from_secs(8);

/// Why a watch ended.
enum Ended {
    /// The connection, the member, or the member's leader is gone.
    Lost(Failure),
    /// etcd has forgotten what would come next; this is its oldest revision.
    Compacted(i64),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Lost(failure)
    }
}

/// Returns etcd's newest revision, as its majority knows it.
pub(super) async fn newest(client: &Client, layout: &Layout) -> Result<Revision, Failure> {
    let request = RangeRequest { key: layout.schema(), keys_only: true, ..RangeRequest::default() };
    Ok(layout.revision_in(client.range(request).await?.header.as_ref()))
}

/// Returns the state at the oldest revision that is worth having: what came after it is watched, and remembered.
pub(super) async fn load_with_past(client: &Client, layout: &Layout) -> Result<History, Failure> {
    let first = layout.revision(1);
    let mut from = Revision(newest(client, layout).await?.0.saturating_sub(PAST)).max(first);
    loop {
        match load(client, layout, from).await {
            Err(Failure { kind: Kind::Compacted, .. }) => {}
            loaded => return loaded,
        }
        from = oldest(client, layout, from).await?;
    }
}

/// Returns etcd's oldest revision, which is after `compacted`. Only a watch is told.
async fn oldest(client: &Client, layout: &Layout, compacted: Revision) -> Result<Revision, Failure> {
    let told: Result<Infallible, Ended> = async {
        let mut watching = watch(client, layout, compacted).await?;
        loop {
            let answer = watching.next().await?;
            check(&watching, &answer)?;
        }
    }
    .await;
    match told {
        Err(Ended::Compacted(oldest)) => Ok(layout.revision(oldest)),
        Err(Ended::Lost(failure)) => Err(failure),
    }
}

/// Returns the state at etcd's newest revision.
async fn load_newest(client: &Client, layout: &Layout) -> Result<History, Failure> {
    loop {
        match load(client, layout, newest(client, layout).await?).await {
            // Compacted between the two questions.
            Err(Failure { kind: Kind::Compacted, .. }) => {}
            loaded => return loaded,
        }
    }
}

/// Returns the state at `at`, without a past.
async fn load(client: &Client, layout: &Layout, at: Revision) -> Result<History, Failure> {
    let mut history = History::starting_at(at);
    let (mut from, to) = layout.data();
    loop {
        let page = RangeRequest {
            key: from,
            range_end: to.clone(),
            limit: PAGE,
            revision: layout.wire(at),
            ..RangeRequest::default()
        };
        let page = client.range(page).await?;
        from = page.kvs.last().map(|last| [&last.key[..], &[0]].concat()).unwrap_or_default();
        for kv in page.kvs {
            if let Some(key) = layout.key(&kv.key) {
                history.replay(layout.revision(kv.mod_revision), &key, Some(layout.entry(&key, kv)));
            }
        }
        if !page.more {
            return Ok(history);
        }
    }
}

/// Opens a watch on everything after `after`.
async fn watch(client: &Client, layout: &Layout, after: Revision) -> Result<Watching, Ended> {
    let (key, range_end) = layout.everything();
    let create = WatchCreateRequest { key, range_end, start_revision: layout.wire(Revision(after.0 + 1)) };
    let mut watching = client.watch(create).await?;
    let created = timeout(CREATED_MAX, watching.next()).await;
    let created = created.unwrap_or_else(|_| Err(watching.failure("the watch was not created in time")))?;
    // A watch from a compacted revision is created first and cancelled then: the next answer says so.
    check(&watching, &created)?;
    Ok(watching)
}

/// Returns why the watch ended, if this was its last answer.
fn check(watching: &Watching, answer: &WatchResponse) -> Result<(), Ended> {
    if answer.compact_revision > 0 {
        return Err(Ended::Compacted(answer.compact_revision));
    }
    if answer.canceled {
        return Err(Ended::Lost(watching.failure(&format!("the watch was cancelled: {}", answer.cancel_reason))));
    }
    Ok(())
}

/// Feeds `shared` until the store is closed.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut failures = 0;
    loop {
        let began = shared.hub.snapshot().revision();
        let Err(ended) = follow(&shared).await;
        shared.connected.update(|connected| *connected = false);
        match ended {
            Ended::Compacted(oldest) => {
                warn!(oldest, "etcd compacted what this server had not seen yet; loading everything again");
                if let Err(failure) = reload(&shared).await {
                    warn!(%failure, "loading from etcd failed");
                }
            }
            Ended::Lost(failure) => warn!(%failure, "the watch on etcd broke; reads go on from memory"),
        }
        failures = if shared.hub.snapshot().revision() > began { 1 } else { failures + 1 };
        tokio::time::sleep(Backoff::RECONNECT.after(failures)).await;
    }
}

async fn reload(shared: &Shared) -> Result<(), Failure> {
    let loaded = load_newest(&shared.client, &shared.layout).await?;
    let _writer = shared.retention.lock();
    shared.hub.publish(loaded);
    Ok(())
}

/// Watches from where memory ends, until the watch ends.
async fn follow(shared: &Shared) -> Result<Infallible, Ended> {
    let seen = shared.hub.snapshot().revision();
    let newest = newest(&shared.client, &shared.layout).await?;
    if newest < seen {
        return shared.fail(&ConnectError::WentBack { seen: seen.0, newest: newest.0 }).await;
    }
    let witness = shared.witness.lock().clone();
    if let Some(witness) = witness
        && witness.is_contradicted(&shared.client, &shared.layout).await?
    {
        return shared.fail(&ConnectError::Rewritten { revision: witness.at.0 }).await;
    }
    let mut watching = watch(&shared.client, &shared.layout, seen).await?;
    info!(revision = seen.0, "watching etcd");
    shared.connected.update(|connected| *connected = true);
    loop {
        let answer = tokio::select! {
            answer = watching.next() => answer?,
            () = shared.stalled.notified() => return Err(watching.failure("the watch delivers nothing").into()),
        };
        check(&watching, &answer)?;
        if let Some(witness) = Witness::among(&shared.layout, &answer.events) {
            *shared.witness.lock() = Some(witness);
        }
        shared.apply(answer.events);
    }
}

impl Shared {
    /// Publishes what etcd delivered: whole revisions, for etcd does not split one between two answers.
    fn apply(&self, events: Vec<Event>) {
        let mut retention = self.retention.lock();
        let mut next = History::clone(&self.hub.snapshot());
        let known = next.revision();
        for event in events {
            let Some(kv) = &event.kv else { continue };
            let at = self.layout.revision(kv.mod_revision);
            // A watch starts after what is known; this only says so to servers that might not.
            if at > known {
                take(&self.layout, &mut next, at, event);
            }
        }
        if let Some(revision) = retention.due(self.opened.elapsed(), &next) {
            // It is between the oldest and the newest, by `due`'s contract.
            let _ = next.compact(revision);
        }
        self.hub.publish(next);
    }

    /// Ends everything: what this process knows is not etcd's history any more. Never completes.
    async fn fail<T>(&self, error: &ConnectError) -> T {
        tracing::error!(%error, "the store is of no use any more");
        let error = Error::Engine(Arc::new(std::io::Error::other(error.to_string())));
        // The first failure counts.
        let _ = self.failed.set(error);
        self.hub.close();
        std::future::pending().await
    }
}

fn take(layout: &Layout, history: &mut History, at: Revision, event: Event) {
    let deleted = event.r#type() == EventType::Delete;
    let Some((key, kv)) = event.kv.and_then(|kv| Some((layout.key(&kv.key)?, kv))) else {
        history.advance(at);
        return;
    };
    let entry = (!deleted).then(|| layout.entry(&key, kv));
    history.replay(at, &key, entry);
}

#[cfg(test)]
mod tests {
    use super::super::proto::KeyValue;
    use super::*;

    fn event(kind: EventType, key: &str, at: i64) -> Event {
        let kv =
            KeyValue { key: key.as_bytes().to_vec(), create_revision: at, mod_revision: at, ..KeyValue::default() };
        Event { r#type: kind.into(), kv: Some(kv) }
    }

    #[test]
    fn events_become_history() {
        let (layout, mut history) = (Layout::new("/wkube"), History::default());
        take(&layout, &mut history, Revision(5), event(EventType::Put, "/wkube/data/a", 5));
        assert_eq!(history.get("/a").expect("written").modified, Revision(5));
        take(&layout, &mut history, Revision(9), event(EventType::Delete, "/wkube/data/a", 9));
        assert_eq!((history.get("/a"), history.revision()), (None, Revision(9)));
    }

    #[test]
    fn bookkeeping_moves_the_revision_and_nothing_else() {
        let (layout, mut history) = (Layout::new("/wkube"), History::default());
        take(&layout, &mut history, Revision(7), event(EventType::Put, "/wkube/meta/fence", 7));
        assert_eq!((history.keys(), history.revision()), (0, Revision(7)));
    }
}
