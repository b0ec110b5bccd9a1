//! Watch: the state, then every change, in order, until the client or the clock ends it.
//!
//! Once a watch has started, everything that goes wrong is told inside the stream, as an `ERROR` event
//! (`apiserver/pkg/storage/cacher`).

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, Fuse, Stream};
use futures::{FutureExt as _, StreamExt as _};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use wkube_api::Status;
use wkube_store::{Error, Revision, Signal, Store};

use super::list_options::{self, Start, WatchOptions};
use super::selection::Selection;
use super::{Outcome, Registry, failed, read, view};
use crate::call::Call;
use crate::conversion::Converter;
use crate::limits;
use crate::render::Frames;
use crate::watch_cache::{Cache, Change, EventKind, Item};

/// Initial objects, and changes that come together, are sent in pieces of about this many bytes.
const PIECE: usize = 64 * 1024;
/// So many signals are looked at before others have their turn, also if none of them is shown.
const JOINED_MAX: usize = 256;

/// A watch that has started.
pub(crate) struct Watching {
    initial: VecDeque<Arc<Item>>,
    /// The bookmark that ends the initial state.
    initial_end: Option<Revision>,
    store: Arc<dyn Store>,
    prefix: String,
    source: Fuse<wkube_store::Watch>,
    cache: Arc<Cache>,
    /// Shows the changes in the version that is watched.
    converter: Converter,
    selection: Selection,
    bookmarks: bool,
    /// All changes up to here were delivered.
    reached: Revision,
    failure: Option<Status>,
    end: Instant,
    /// The time is up, or the server stops.
    over: BoxFuture<'static, ()>,
    next_bookmark: Pin<Box<Sleep>>,
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
        store: registry.store.clone(),
        prefix: selection.prefix(&call.resource, &call.namespace),
        source: stream::empty().boxed().fuse(),
        cache: registry.cache(&call.resource),
        converter: registry.converter.clone(),
        selection,
        bookmarks: options.bookmarks,
        reached: Revision::default(),
        failure: None,
        end: now + timeout,
        over: over(registry.tasks.stopping(), now + timeout).boxed(),
        next_bookmark: Box::pin(sleep_until(first_bookmark(now, timeout))),
        replaced: registry.catalog.replaced(&call.resource),
    };
    if let Err(status) = start(registry, call, &options, &mut watching).await {
        watching.failure = Some(status);
    }
    Ok(Outcome::Watch(Box::new(watching)))
}

async fn over(stopping: CancellationToken, end: Instant) {
    tokio::select! {
        biased;
        () = stopping.cancelled() => {}
        () = sleep_until(end) => {}
    }
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
            let (items, revision) = read::snapshot(registry, call, freshness, &watching.selection).await?;
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
    watching.source = registry.store.watch(&watching.prefix, from).map_err(|error| ended(&error))?.fuse();
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
        loop {
            if let Some(status) = self.failure.take() {
                return Some(Err(status));
            }
            if let Some(piece) = self.initial_piece(frames) {
                return Some(Ok(piece));
            }
            if let Some(revision) = self.initial_end.take() {
                return Some(Ok(frames.bookmark(revision, true)));
            }
            tokio::select! {
                biased;
                () = &mut self.over => return None,
                () = &mut self.next_bookmark, if self.bookmarks => {
                    let next = self.bookmark_after(Instant::now());
                    self.next_bookmark.as_mut().reset(next);
                    return Some(Ok(frames.bookmark(self.up_to(), false)));
                }
                signal = self.source.next() => if let Some(piece) = self.hear(signal?, frames).await {
                    return Some(Ok(piece));
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
            frames.initial(&mut piece, &item);
        }
        (!piece.is_empty()).then(|| piece.into())
    }

    /// Returns what a signal, and those that are ready behind it, show to the client, in one piece: whoever watches a
    /// busy collection costs one write for many changes.
    async fn hear(&mut self, mut signal: Result<Signal, Error>, frames: &mut Frames) -> Option<Bytes> {
        let waits = view::is_converted(frames.resource());
        let mut pieces: Vec<Bytes> = Vec::new();
        let mut size = 0;
        for _ in 0..JOINED_MAX {
            match signal {
                Ok(Signal::Progress(revision)) => self.reached = self.reached.max(revision),
                Ok(Signal::Event(event)) => {
                    let change = self.cache.remember(&event);
                    match view::change(&self.converter, frames.resource(), change).await {
                        Ok(change) => pieces.extend(self.frame(&change, frames).inspect(|frame| size += frame.len())),
                        Err(status) => self.failure = Some(status),
                    }
                }
                // The source has ended.
                Err(Error::Closed) => {}
                Err(error) => self.failure = Some(ended(&error)),
            }
            if size >= PIECE || waits || self.failure.is_some() {
                break;
            }
            match self.source.next().now_or_never() {
                Some(Some(next)) => signal = next,
                Some(None) | None => break,
            }
        }
        match pieces.len() {
            0 | 1 => pieces.pop(),
            _ => Some(pieces.concat().into()),
        }
    }

    fn frame(&self, change: &Change, frames: &mut Frames) -> Option<Bytes> {
        let matches = |item: &Option<Arc<Item>>| {
            item.as_ref().is_some_and(|item| self.selection.matches_item(frames.resource(), item))
        };
        let kind = transition(matches(&change.before), matches(&change.now))?;
        frames.change(kind, change)
    }

    /// Returns up to where the client has everything. Of changes that it does not watch the source says nothing.
    fn up_to(&mut self) -> Revision {
        let newest = self.store.revision();
        if self.store.changed(&self.prefix) <= self.reached {
            self.reached = self.reached.max(newest);
        }
        self.reached
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
