//! One kind's objects in memory, fed by the store's watch: each stored entry is decoded at most once, however many lists
//! and watches look at it.
//!
//! ```text
//! store.watch(prefix) ─ feed task ─> items (by key) ── lists wait until `reached` is the store's revision
//! store.watch(prefix, rv) ─ each watcher ─> `remember`: the same decoded items
//! ```

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures::StreamExt as _;
use parking_lot::{Mutex, RwLock};
use tracing::warn;
use wkube_api::Object;
use wkube_base::{Backoff, Latest, Tasks};
use wkube_store::{Entry, Error, Event, Key, Range, Revision, Signal, Store};

use crate::encoding::{self, TypeMeta};
use crate::limits;

/// A stored entry and, once somebody needed it, its document.
#[derive(Debug)]
pub(crate) struct Item {
    /// As stored.
    pub(crate) entry: Entry,
    document: OnceLock<Option<Arc<Object>>>,
    /// The protobuf message, once some watcher wanted it.
    message: OnceLock<Option<Bytes>>,
}

impl Item {
    /// Returns an item that has not been decoded yet.
    pub(crate) fn new(entry: Entry) -> Self {
        Self { entry, document: OnceLock::new(), message: OnceLock::new() }
    }

    /// Returns the document with its resourceVersion. Bytes that are no object read as an empty one, so that one damaged
    /// entry does not stop a list.
    pub(crate) fn object(&self) -> Arc<Object> {
        let decoded = self.document.get_or_init(|| {
            let decoded = encoding::decode(&self.entry.value, self.entry.modified);
            if decoded.is_none() {
                warn!(key = %self.entry.key, "a stored object is damaged");
            }
            decoded.map(Arc::new)
        });
        decoded.clone().unwrap_or_default()
    }

    /// Returns the document as [`Item::object`] does, without keeping it: a list of everything must not stay in memory.
    pub(crate) fn peek(&self) -> Arc<Object> {
        match self.document.get() {
            Some(_) => self.object(),
            None => Arc::new(encoding::decode(&self.entry.value, self.entry.modified).unwrap_or_default()),
        }
    }

    /// Returns the object's protobuf message, made by `encode` at most once for all watchers.
    pub(crate) fn message(&self, encode: impl FnOnce(&Object) -> Option<Vec<u8>>) -> Option<Bytes> {
        self.message.get_or_init(|| encode(&self.object()).map(Bytes::from)).clone()
    }

    /// Appends the object's bytes with its resourceVersion.
    pub(crate) fn write(&self, out: &mut Vec<u8>, types: TypeMeta) {
        encoding::splice(out, &self.entry.value, self.entry.modified, types);
    }
}

/// A change with items in the place of entries.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    /// The commit's revision.
    pub(crate) revision: Revision,
    /// The state after.
    pub(crate) now: Option<Arc<Item>>,
    /// The state before.
    pub(crate) before: Option<Arc<Item>>,
}

impl Change {
    /// Returns the change with both states shown differently.
    pub(crate) fn map(self, show: impl Fn(Arc<Item>) -> Arc<Item>) -> Self {
        Self { revision: self.revision, now: self.now.map(&show), before: self.before.map(&show) }
    }
}

/// One kind's objects.
pub(crate) struct Cache {
    items: RwLock<BTreeMap<Key, Arc<Item>>>,
    recent: Mutex<Recent>,
    reached: Latest<Revision>,
    generation: AtomicU64,
    /// Of all items, as stored.
    bytes: AtomicUsize,
}

impl Cache {
    /// Starts a cache of everything under `prefix`.
    pub(crate) fn start(store: Arc<dyn Store>, prefix: String, tasks: &Tasks) -> Arc<Self> {
        let cache = Arc::new(Self {
            items: RwLock::default(),
            recent: Mutex::default(),
            reached: Latest::default(),
            generation: AtomicU64::new(0),
            bytes: AtomicUsize::new(0),
        });
        // The first fill is synchronous, so that the first list does not wait for a task to be scheduled.
        let filled = cache.fill(&*store, &prefix);
        let feed = cache.clone();
        tasks.spawn("watch-cache", async move { feed.follow(store, prefix, filled).await });
        cache
    }

    /// Completes once everything up to `revision` is here.
    pub(crate) async fn reach(&self, revision: Revision) {
        self.reached.wait_for(|reached| *reached >= revision).await;
    }

    /// Returns the items whose keys start with `prefix` in key order, and the revision at which they are exact.
    pub(crate) fn list(&self, prefix: &str) -> (Vec<Arc<Item>>, Revision) {
        let items = self.items.read();
        let from = std::ops::Bound::Included(prefix);
        let range = items.range::<str, _>((from, std::ops::Bound::Unbounded));
        let found = range.take_while(|(key, _)| key.starts_with(prefix)).map(|(_, item)| item.clone()).collect();
        // Read under the lock: `apply` moves both under it.
        let revision = self.reached.get();
        (found, revision)
    }

    /// Returns how many items there are, and their bytes.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.items.read().len(), self.bytes.load(Ordering::Relaxed))
    }

    /// Returns up to where the cache has seen everything.
    pub(crate) fn reached(&self) -> Revision {
        self.reached.get()
    }

    /// Returns a number that is new after every change.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Returns the shared items of a change that a watcher received.
    pub(crate) fn remember(&self, event: &Event) -> Change {
        let mut recent = self.recent.lock();
        let mut share = |entry: &Option<Entry>| entry.as_ref().map(|entry| recent.item(entry));
        // The state before first: it is the older of the two.
        let before = share(&event.before);
        Change { revision: event.revision, now: share(&event.now), before }
    }

    /// Replaces everything with the store's present state.
    fn fill(&self, store: &dyn Store, prefix: &str) -> Result<Revision, Error> {
        let listed = store.list(&Range { prefix: prefix.to_owned(), ..Range::default() })?;
        self.bytes.store(listed.entries.iter().map(|entry| entry.value.len()).sum(), Ordering::Relaxed);
        let items = listed.entries.into_iter().map(|entry| (entry.key.clone(), Arc::new(Item::new(entry)))).collect();
        let mut held = self.items.write();
        *held = items;
        self.generation.fetch_add(1, Ordering::Release);
        self.reached.update(|reached| *reached = listed.revision);
        Ok(listed.revision)
    }

    async fn follow(&self, store: Arc<dyn Store>, prefix: String, mut filled: Result<Revision, Error>) {
        let mut failures = 0;
        loop {
            let error = match filled {
                Ok(from) => {
                    failures = 0;
                    self.feed(&*store, &prefix, from).await
                }
                Err(error) => Some(error),
            };
            if matches!(error, Some(Error::Closed)) {
                return;
            }
            warn!(prefix, error = error.map(|error| error.to_string()), "the watch cache lists again");
            failures += 1;
            tokio::time::sleep(Backoff::RECONNECT.after(failures)).await;
            filled = self.fill(&*store, &prefix);
        }
    }

    /// Applies changes until the watch ends; returns why.
    ///
    /// A commit may have several events, so a revision's events wait until the next revision or `Progress` shows that it
    /// is complete: a list never holds half a commit, nor an object newer than its own resourceVersion.
    async fn feed(&self, store: &dyn Store, prefix: &str, from: Revision) -> Option<Error> {
        let mut watch = match store.watch(prefix, from) {
            Ok(watch) => watch,
            Err(error) => return Some(error),
        };
        let mut commit: Vec<Arc<Event>> = Vec::new();
        while let Some(signal) = watch.next().await {
            match signal {
                Ok(Signal::Event(event)) => {
                    if let Some(revision) = commit.first().map(|first| first.revision)
                        && revision < event.revision
                    {
                        self.apply(&mut commit, revision);
                    }
                    commit.push(event);
                }
                Ok(Signal::Progress(revision)) => self.apply(&mut commit, revision),
                Err(error) => return Some(error),
            }
        }
        None
    }

    fn apply(&self, commit: &mut Vec<Arc<Event>>, revision: Revision) {
        let changes: Vec<_> = commit.drain(..).map(|event| (event.key.clone(), self.remember(&event).now)).collect();
        let mut items = self.items.write();
        if !changes.is_empty() {
            self.generation.fetch_add(1, Ordering::Release);
        }
        for (key, now) in changes {
            self.bytes.fetch_add(now.as_ref().map_or(0, |item| item.entry.value.len()), Ordering::Relaxed);
            let before = match now {
                Some(item) => items.insert(key, item),
                None => items.remove(&key),
            };
            self.bytes.fetch_sub(before.map_or(0, |item| item.entry.value.len()), Ordering::Relaxed);
        }
        self.reached.update(|reached| *reached = (*reached).max(revision));
    }
}

/// The items of recent changes, found by key and revision.
#[derive(Default)]
struct Recent {
    items: HashMap<(Key, Revision), Arc<Item>>,
    order: VecDeque<(Key, Revision)>,
}

impl Recent {
    fn item(&mut self, entry: &Entry) -> Arc<Item> {
        let id = (entry.key.clone(), entry.modified);
        if let Some(item) = self.items.get(&id) {
            return item.clone();
        }
        let item = Arc::new(Item::new(entry.clone()));
        if self.order.len() == limits::RECENT_DOCUMENTS
            && let Some(oldest) = self.order.pop_front()
        {
            self.items.remove(&oldest);
        }
        self.order.push_back(id.clone());
        self.items.insert(id, item.clone());
        item
    }
}
