//! Keeps one cache like the server's state of a kind: list and watch, resume, start over.
//!
//! ```text
//!                 initial-events-end
//!   Listing ---------------------------> Following ---.
//!     ^  ^ cut before the end, or refused  |    ^     | cut: resume at the cache's revision
//!     |  `---- wait (back-off) <-----------+    `-----'
//!     `------------------------------------' 410 Expired: the revision has left the history
//! ```
//! A list arrives over the watch itself (`sendInitialEvents`, KEP-3157), so that there is no gap between the two; a
//! server that does not know this is listed page by page. The cache is swapped when the list is complete.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use tracing::{debug, warn};
use wkube_api::{ObjectKey, Status};
use wkube_base::{Backoff, Rng};

use crate::api::{Api, Scope};
use crate::cache::Cache;
use crate::error::Error;
use crate::kind::{Kind, Revision};
use crate::lines::Lines;
use crate::path::Query;

/// How long the server is asked to keep one watch open. Short enough that a silently dead connection is noticed
/// (client-go: 5 to 10 minutes, kube-rs: 290 s).
const WATCH_MAX: Duration = Duration::from_secs(290);

/// How much longer than that we wait before we hang up ourselves.
const WATCH_SLACK: Duration = Duration::from_secs(5);

/// The bookmark that ends the initial events carries this annotation.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// Where the watch is with its cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The cache has no complete list that can be continued.
    Listing(Listing),
    /// The cache is complete up to its revision.
    Following,
}

/// How a list is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listing {
    /// As the first events of the watch.
    Streamed,
    /// Page by page, for servers without streaming lists.
    Paged,
}

/// How one connection ended.
#[derive(Debug)]
enum End {
    /// The server closed it, as it does after `WATCH_MAX`.
    Closed,
    /// It was cut, refused, or never came up.
    Failed(Error),
}

/// Feeds `cache` for ever.
pub(crate) async fn run<K: Kind>(api: Api<K>, scope: Scope, cache: Arc<Cache<K>>, rng: Rng) {
    let watcher = Watcher { api, scope, cache };
    let mut phase = Phase::Listing(Listing::Streamed);
    let mut failures: u32 = 0;
    loop {
        let before = watcher.cache.revision();
        let (reached, end) = watcher.session(phase).await;
        let progressed = watcher.cache.revision() > before || (reached == Phase::Following && phase != reached);
        failures = if progressed { 0 } else { failures.saturating_add(1) };
        phase = next_phase(reached, &end);
        match &end {
            // A server going down closes its watches; so does an ordinary timeout.
            End::Closed => debug!(kind = K::KIND, ?phase, "watch ended"),
            End::Failed(error) if error.is_expired() => debug!(kind = K::KIND, "watch expired, listing again"),
            End::Failed(error) => {
                warn!(kind = K::KIND, failures, error = error as &dyn std::error::Error, "watch failed, trying again");
            }
        }
        // A watch that brought something is resumed at once; one that did not backs off, so that a server that
        // closes every watch is not hammered.
        let wait = Backoff::RECONNECT.after(failures).mul_f64(0.5 + rng.unit() / 2.0);
        tokio::time::sleep(wait).await;
    }
}

/// Decides how to go on after a connection that got as far as `reached`.
fn next_phase(reached: Phase, end: &End) -> Phase {
    match (reached, end) {
        (_, End::Failed(error)) if error.is_expired() => Phase::Listing(Listing::Streamed),
        // `sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled`: 422, older: 400.
        (Phase::Listing(Listing::Streamed), End::Failed(Error::Api(status))) if matches!(status.code, 400 | 422) => {
            Phase::Listing(Listing::Paged)
        }
        (reached, End::Closed | End::Failed(_)) => reached,
    }
}

struct Watcher<K> {
    api: Api<K>,
    scope: Scope,
    cache: Arc<Cache<K>>,
}

impl<K: Kind> Watcher<K> {
    /// Runs one connection to its end and returns how far it got.
    async fn session(&self, phase: Phase) -> (Phase, End) {
        let mut progress = Progress { phase, listed: BTreeMap::new() };
        let end = match tokio::time::timeout(WATCH_MAX + WATCH_SLACK, self.follow(&mut progress)).await {
            Ok(Ok(())) | Err(_) => End::Closed,
            Ok(Err(error)) => End::Failed(error),
        };
        (progress.phase, end)
    }

    async fn follow(&self, progress: &mut Progress<K>) -> Result<(), Error> {
        if progress.phase == Phase::Listing(Listing::Paged) {
            let list = self.api.list(&self.scope).await?;
            self.cache.replace(list.items.into_iter().map(slim), list.revision);
            progress.phase = Phase::Following;
        }
        let mut lines = Lines::new(self.api.watch(&self.scope, self.query(progress.phase)).await?);
        while let Some(line) = lines.next().await? {
            progress.take_in(&line, &self.cache)?;
        }
        Ok(())
    }

    fn query(&self, phase: Phase) -> Query {
        let query = Query::of_scope(&self.scope)
            .with("watch", "true")
            .with("allowWatchBookmarks", "true")
            .with("timeoutSeconds", &WATCH_MAX.as_secs().to_string());
        match phase {
            Phase::Listing(_) => query.with("sendInitialEvents", "true").with("resourceVersionMatch", "NotOlderThan"),
            Phase::Following => query.with("resourceVersion", &self.cache.revision().to_string()),
        }
    }
}

/// What one connection has brought so far.
struct Progress<K> {
    phase: Phase,
    /// The list while it is incomplete; the cache keeps showing the one before.
    listed: BTreeMap<ObjectKey, K>,
}

impl<K: Kind> Progress<K> {
    /// Takes in one line of the watch.
    fn take_in(&mut self, line: &[u8], cache: &Cache<K>) -> Result<(), Error> {
        let frame: Frame<'_> = serde_json::from_slice(line).map_err(Error::Decode)?;
        match frame.kind {
            Type::Error => Err(Error::Api(Box::new(status_in(frame.object)))),
            Type::Bookmark => {
                let head: Head = serde_json::from_str(frame.object.get()).map_err(Error::Decode)?;
                self.bookmark(&head, cache);
                Ok(())
            }
            Type::Added | Type::Modified | Type::Deleted => {
                match serde_json::from_str::<K>(frame.object.get()) {
                    Ok(object) => self.change(frame.kind, slim(object), cache),
                    // One object that we cannot read must not keep us from all the others.
                    Err(error) => warn!(kind = K::KIND, %error, "skipped an object that cannot be decoded"),
                }
                Ok(())
            }
        }
    }

    fn change(&mut self, kind: Type, object: K, cache: &Cache<K>) {
        match (self.phase, kind) {
            (Phase::Listing(_), Type::Deleted) => drop(self.listed.remove(&object.key())),
            (Phase::Listing(_), _) => drop(self.listed.insert(object.key(), object)),
            (Phase::Following, Type::Deleted) => cache.delete(&object),
            (Phase::Following, _) => cache.apply(object),
        }
    }

    fn bookmark(&mut self, head: &Head, cache: &Cache<K>) {
        let at = Revision::parse(&head.metadata.resource_version);
        match self.phase {
            Phase::Following => cache.advance(at),
            Phase::Listing(_) if head.ends_initial_events() => {
                cache.replace(std::mem::take(&mut self.listed).into_values(), at);
                self.phase = Phase::Following;
            }
            Phase::Listing(_) => {}
        }
    }
}

/// Returns an object as caches hold it: without its managed fields, and in no more room than it needs.
fn slim<K: Kind>(mut object: K) -> K {
    // No component reads them, and they are most of a pod (client-go, `TransformStripManagedFields`). An update without
    // them keeps what the server has.
    object.metadata_mut().managed_fields = None;
    // A decoder does not know how long a list will be and makes room for four, which for containers and their statuses
    // is several KiB. A clone has the room it needs, and lies together instead of among what was decoded in between.
    object.clone()
}

fn status_in(object: &RawValue) -> Status {
    let code = serde_json::from_str::<Code>(object.get()).map_or(500, |code| code.code);
    let code = http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    crate::client::status_of(code, object.get().as_bytes())
}

/// One line of a watch.
#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(rename = "type")]
    kind: Type,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Type {
    Added,
    Modified,
    Deleted,
    Bookmark,
    Error,
}

#[derive(Deserialize)]
struct Code {
    #[serde(default)]
    code: u16,
}

/// What a bookmark says.
#[derive(Deserialize)]
struct Head {
    metadata: HeadMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HeadMeta {
    resource_version: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

impl Head {
    fn ends_initial_events(&self) -> bool {
        self.metadata.annotations.get(INITIAL_EVENTS_END).is_some_and(|value| value == "true")
    }
}

#[cfg(test)]
mod tests;
