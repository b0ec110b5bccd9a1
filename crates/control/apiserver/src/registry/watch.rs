//! Watch: the state, then every change, in order, until the client or the clock ends it.
//!
//! Once a watch has started, everything that goes wrong is told inside the stream, as an `ERROR` event
//! (`apiserver/pkg/storage/cacher`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::{self, Stream};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use wkube_api::Status;
use wkube_store::{Error, Revision, Signal};

use super::list_options::{self, Start, WatchOptions};
use super::selection::Selection;
use super::{Outcome, Registry, failed, keys, read, view};
use crate::call::Call;
use crate::conversion::Converter;
use crate::limits;
use crate::render::{EventKind, Frames};
use crate::watch_cache::{Cache, Change, Item};

/// Initial objects are sent in pieces of about this many bytes.
const PIECE: usize = 64 * 1024;

/// A watch that has started.
pub(crate) struct Watching {
    initial: VecDeque<Arc<Item>>,
    /// The bookmark that ends the initial state.
    initial_end: Option<Revision>,
    source: wkube_store::Watch,
    cache: Arc<Cache>,
    /// Shows the changes in the version that is watched.
    converter: Converter,
    selection: Selection,
    bookmarks: bool,
    /// All changes up to here were delivered.
    reached: Revision,
    failure: Option<Status>,
    end: Instant,
    next_bookmark: Instant,
    stopping: CancellationToken,
    /// The kind is gone, or has another schema: whoever watches has to look again.
    replaced: BoxFuture<'static, ()>,
}

/// Answers GET with `watch=true`.
pub(crate) async fn watch(registry: &Registry, call: &Call) -> Result<Outcome, Status> {
    let options = list_options::watch(&call.query)?;
    let selection = Selection::parse(&call.resource, &call.query, &call.name)?;
    let timeout = options.timeout.unwrap_or_else(|| limits::WATCH_TIMEOUT_MIN.mul_f64(1.0 + registry.rng.unit()));
    let now = Instant::now();
    let mut watching = Watching {
        initial: VecDeque::new(),
        initial_end: None,
        source: stream::empty().boxed(),
        cache: registry.cache(&call.resource),
        converter: registry.converter.clone(),
        selection,
        bookmarks: options.bookmarks,
        reached: Revision::default(),
        failure: None,
        end: now + timeout,
        next_bookmark: first_bookmark(now, timeout),
        stopping: registry.tasks.stopping(),
        replaced: registry.catalog.replaced(&call.resource),
    };
    if let Err(status) = start(registry, call, &options, &mut watching).await {
        watching.failure = Some(status);
    }
    Ok(Outcome::Watch(Box::new(watching)))
}

/// Every minute, but also shortly before the end, so that the client can go on from there.
fn first_bookmark(now: Instant, timeout: Duration) -> Instant {
    now + limits::BOOKMARK_EVERY.min(timeout.saturating_sub(limits::BOOKMARK_BEFORE_END))
}

async fn start(
    registry: &Registry,
    call: &Call,
    options: &WatchOptions,
    watching: &mut Watching,
) -> Result<(), Status> {
    let from = match options.start {
        Start::State(freshness) => {
            let (items, revision) = read::snapshot(registry, call, freshness).await?;
            let selection = &watching.selection;
            watching.initial = items.into_iter().filter(|item| selection.matches_item(&call.resource, item)).collect();
            watching.initial_end = options.mark_initial.then_some(revision);
            revision
        }
        Start::After(version) => {
            let version = Revision(version);
            // A version that never happened comes from another life of this cluster (a restored or deleted data
            // directory). `Expired` makes the client list again; waiting would leave it deaf for ever.
            read::wait_for(registry, version).await.map_err(|_| too_new(version, registry.store.revision()))?;
            version
        }
    };
    watching.reached = from;
    let prefix = keys::collection(&call.resource, &call.namespace);
    watching.source = registry.store.watch(&prefix, from).map_err(|error| ended(&error))?;
    Ok(())
}

impl Watching {
    /// Returns the watch as pieces of a response body.
    pub(crate) fn frames(self, frames: Frames) -> impl Stream<Item = Bytes> + Send + 'static {
        stream::unfold((self, frames, false), |(mut watching, mut frames, over)| async move {
            if over {
                return None;
            }
            match watching.next(&mut frames).await {
                Some(Ok(piece)) => Some((piece, (watching, frames, false))),
                Some(Err(status)) => Some((frames.error(&status), (watching, frames, true))),
                None => None,
            }
        })
    }

    async fn next(&mut self, frames: &mut Frames) -> Option<Result<Bytes, Status>> {
        if let Some(status) = self.failure.take() {
            return Some(Err(status));
        }
        if let Some(piece) = self.initial_piece(frames) {
            return Some(Ok(piece));
        }
        if let Some(revision) = self.initial_end.take() {
            return Some(Ok(frames.bookmark(revision, true)));
        }
        loop {
            tokio::select! {
                biased;
                () = self.stopping.cancelled() => return None,
                () = sleep_until(self.end) => return None,
                () = sleep_until(self.next_bookmark), if self.bookmarks => {
                    self.next_bookmark = self.bookmark_after(Instant::now());
                    return Some(Ok(frames.bookmark(self.reached, false)));
                }
                signal = self.source.next() => match signal? {
                    Ok(Signal::Progress(revision)) => self.reached = self.reached.max(revision),
                    Ok(Signal::Event(event)) => {
                        let change = self.cache.remember(&event);
                        let change = match view::change(&self.converter, frames.resource(), change).await {
                            Ok(change) => change,
                            Err(status) => return Some(Err(status)),
                        };
                        if let Some(frame) = self.frame(&change, frames) {
                            return Some(Ok(frame));
                        }
                    }
                    Err(Error::Closed) => return None,
                    Err(error) => return Some(Err(ended(&error))),
                },
                // After what has happened before it.
                () = &mut self.replaced => return None,
            }
        }
    }

    fn initial_piece(&mut self, frames: &mut Frames) -> Option<Bytes> {
        let mut piece = Vec::new();
        while piece.len() < PIECE
            && let Some(item) = self.initial.pop_front()
        {
            let revision = item.entry.modified;
            frames.event(&mut piece, EventKind::Added, &item, revision);
        }
        (!piece.is_empty()).then(|| piece.into())
    }

    fn frame(&self, change: &Change, frames: &mut Frames) -> Option<Bytes> {
        let matches = |item: &Option<Arc<Item>>| {
            item.as_ref().is_some_and(|item| self.selection.matches_item(frames.resource(), item))
        };
        let kind = transition(matches(&change.before), matches(&change.now))?;
        // What stops matching is shown as it last matched.
        let item = if kind == EventKind::Deleted { &change.before } else { &change.now };
        let mut piece = Vec::new();
        frames.event(&mut piece, kind, item.as_ref()?, change.revision);
        Some(piece.into())
    }

    fn bookmark_after(&self, now: Instant) -> Instant {
        let last = self.end.checked_sub(limits::BOOKMARK_BEFORE_END).unwrap_or(self.end);
        let next = now + limits::BOOKMARK_EVERY;
        if now < last { next.min(last) } else { next }
    }
}

/// What a watcher with a selector sees when an object matched before and matches now.
fn transition(before: bool, now: bool) -> Option<EventKind> {
    match (before, now) {
        (false, false) => None,
        (false, true) => Some(EventKind::Added),
        (true, true) => Some(EventKind::Modified),
        (true, false) => Some(EventKind::Deleted),
    }
}

fn ended(error: &Error) -> Status {
    match error {
        Error::Compacted { requested, oldest } => {
            Status::expired(format!("too old resource version: {} ({})", requested.0, oldest.0))
        }
        other => failed(other),
    }
}

fn too_new(version: Revision, newest: Revision) -> Status {
    Status::expired(format!("resource version {} is newer than the server's ({}); list again", version.0, newest.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_turn_changes_into_additions_and_deletions() {
        assert_eq!(transition(false, false), None);
        assert_eq!(transition(false, true), Some(EventKind::Added));
        assert_eq!(transition(true, true), Some(EventKind::Modified));
        assert_eq!(transition(true, false), Some(EventKind::Deleted));
    }
}
