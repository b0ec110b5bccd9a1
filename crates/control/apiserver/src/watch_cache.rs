//! One kind's objects in memory, fed by the store's watch: each stored entry is decoded at most once, however many lists
//! and watches look at it.
//!
//! ```text
//! store.watch(prefix) ─ feed task ─> items (by key) ── lists wait until `reached` is the newest change of the kind
//! store.watch(prefix, rv) ─ each watcher ─> `remember`: the same changes, decoded and written out once
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
}

impl Item {
    /// Returns an item that has not been decoded yet.
    pub(crate) fn new(entry: Entry) -> Self {
        Self { entry, document: OnceLock::new() }
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

    /// Appends the object's bytes with its resourceVersion.
    pub(crate) fn write(&self, out: &mut Vec<u8>, types: TypeMeta) {
        encoding::splice(out, &self.entry.value, self.entry.modified, types);
    }
}

/// What happened to an object, from a watcher's view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventKind {
    /// It is there (now).
    Added,
    /// It changed.
    Modified,
    /// It is gone.
    Deleted,
}

/// A change with items in the place of entries.
#[derive(Debug)]
pub(crate) struct Change {
    /// The commit's revision.
    pub(crate) revision: Revision,
    /// The state after.
    pub(crate) now: Option<Arc<Item>>,
    /// The state before.
    pub(crate) before: Option<Arc<Item>>,
    /// The change as an event of each kind, in JSON and in protobuf, once some watcher wanted it.
    frames: [[OnceLock<Bytes>; 3]; 2],
}

impl Change {
    /// Returns a change that nobody has written out yet.
    pub(crate) fn new(revision: Revision, now: Option<Arc<Item>>, before: Option<Arc<Item>>) -> Arc<Self> {
        Arc::new(Self { revision, now, before, frames: Default::default() })
    }

    /// Returns the change with both states shown differently.
    pub(crate) fn map(&self, show: impl Fn(Arc<Item>) -> Arc<Item>) -> Arc<Self> {
        Self::new(self.revision, self.now.clone().map(&show), self.before.clone().map(&show))
    }

    fn weight(&self) -> usize {
        self.now.iter().chain(&self.before).map(|item| item.entry.value.len()).sum()
    }

    /// Returns what watchers of whole objects are sent, written by `write` at most once for all of them.
    pub(crate) fn frame(&self, kind: EventKind, protobuf: bool, write: impl FnOnce() -> Bytes) -> Bytes {
        self.frames[usize::from(protobuf)][kind as usize].get_or_init(write).clone()
    }
}

/// One kind's objects.
pub(crate) struct Cache {
    store: Arc<dyn Store>,
    prefix: String,
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
            store,
            prefix,
            items: RwLock::default(),
            recent: Mutex::default(),
            reached: Latest::default(),
            generation: AtomicU64::new(0),
            bytes: AtomicUsize::new(0),
        });
        // The first fill is synchronous, so that the first list does not wait for a task to be scheduled.
        let filled = cache.fill();
        let feed = cache.clone();
        tasks.spawn("watch-cache", async move { feed.follow(filled).await });
        cache
    }

    /// Completes once everything up to `revision`, which the store has, is here. Of changes of other kinds the feed hears
    /// nothing: if this kind has not changed since, what is here holds for `revision`, too.
    pub(crate) async fn reach(&self, revision: Revision) {
        if self.reached.get() >= revision {
            return;
        }
        let changed = self.store.changed(&self.prefix).min(revision);
        self.reached.wait_for(|reached| *reached >= changed).await;
        self.reached.update(|reached| *reached = (*reached).max(revision));
    }

    /// Returns how many revisions its feed is behind the newest change.
    pub(crate) fn lag(&self) -> u64 {
        self.store.changed(&self.prefix).0.saturating_sub(self.reached.get().0)
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

    /// Returns the item of an entry that was just read: the shared one, if the cache has seen that write.
    pub(crate) fn shared(&self, entry: Entry) -> Arc<Item> {
        let known = self.items.read().get(&entry.key).filter(|item| item.entry.modified == entry.modified).cloned();
        known.unwrap_or_else(|| Arc::new(Item::new(entry)))
    }

    /// Returns how many items there are, and their bytes.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.items.read().len(), self.bytes.load(Ordering::Relaxed))
    }

    /// Returns a number that is new after every change.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Returns what all watchers share of a change that one of them received.
    pub(crate) fn remember(&self, event: &Event) -> Arc<Change> {
        self.recent.lock().change(event)
    }

    /// Replaces everything with the store's present state.
    fn fill(&self) -> Result<Revision, Error> {
        let listed = self.store.list(&Range { prefix: self.prefix.clone(), ..Range::default() })?;
        self.bytes.store(listed.entries.iter().map(|entry| entry.value.len()).sum(), Ordering::Relaxed);
        let items = listed.entries.into_iter().map(|entry| (entry.key.clone(), Arc::new(Item::new(entry)))).collect();
        let mut held = self.items.write();
        *held = items;
        self.generation.fetch_add(1, Ordering::Release);
        self.reached.update(|reached| *reached = listed.revision);
        Ok(listed.revision)
    }

    async fn follow(&self, mut filled: Result<Revision, Error>) {
        let mut failures = 0;
        loop {
            let error = match filled {
                Ok(from) => {
                    failures = 0;
                    self.feed(from).await
                }
                Err(error) => Some(error),
            };
            if matches!(error, Some(Error::Closed)) {
                return;
            }
            warn!(self.prefix, error = error.map(|error| error.to_string()), "the watch cache lists again");
            failures += 1;
            tokio::time::sleep(Backoff::RECONNECT.after(failures)).await;
            filled = self.fill();
        }
    }

    /// Applies changes until the watch ends; returns why.
    ///
    /// A commit may have several events, so a revision's events wait until the next revision or `Progress` shows that it
    /// is complete: a list never holds half a commit, nor an object newer than its own resourceVersion.
    async fn feed(&self, from: Revision) -> Option<Error> {
        let mut watch = match self.store.watch(&self.prefix, from) {
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
        let changes: Vec<_> =
            commit.drain(..).map(|event| (event.key.clone(), self.remember(&event).now.clone())).collect();
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

/// Recent changes, found by key and revision.
#[derive(Default)]
struct Recent {
    changes: HashMap<(Key, Revision), Arc<Change>>,
    order: VecDeque<(Key, Revision)>,
    bytes: usize,
}

impl Recent {
    fn change(&mut self, event: &Event) -> Arc<Change> {
        let id = (event.key.clone(), event.revision);
        if let Some(change) = self.changes.get(&id) {
            return change.clone();
        }
        let now = event.now.clone().map(|entry| Arc::new(Item::new(entry)));
        let change = Change::new(event.revision, now, event.before.as_ref().map(|entry| self.written(entry)));
        self.bytes += change.weight();
        while (self.order.len() >= limits::RECENT_CHANGES || self.bytes > limits::RECENT_BYTES)
            && let Some(oldest) = self.order.pop_front()
        {
            self.bytes -= self.changes.remove(&oldest).map_or(0, |change| change.weight());
        }
        self.order.push_back(id.clone());
        self.changes.insert(id, change.clone());
        change
    }

    /// Returns the item that an earlier change wrote.
    fn written(&self, entry: &Entry) -> Arc<Item> {
        let change = self.changes.get(&(entry.key.clone(), entry.modified));
        change.and_then(|change| change.now.clone()).unwrap_or_else(|| Arc::new(Item::new(entry.clone())))
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use wkube_store::{MemoryStore, Txn};

    use super::*;

    fn entry(revision: u64, value: Bytes) -> Entry {
        let at = Revision(revision);
        Entry { key: "/registry/core/configmaps/d/a".into(), value, created: at, modified: at, version: 1 }
    }

    fn event(revision: u64, value: &Bytes) -> Event {
        let before = (revision > 1).then(|| entry(revision - 1, value.clone()));
        let now = entry(revision, value.clone());
        Event { revision: Revision(revision), key: now.key.clone(), now: Some(now), before }
    }

    async fn put(store: &dyn Store, key: &str) -> Revision {
        store.commit(Txn::put(key.into(), "{}")).await.expect("unconditional")
    }

    #[tokio::test]
    async fn writes_of_other_kinds_need_not_be_waited_for() {
        let (store, tasks) = (Arc::new(MemoryStore::new()), Tasks::new());
        put(&*store, "/pods/d/a").await;
        let cache = Cache::start(store.clone(), "/pods/".to_owned(), &tasks);
        cache.reach(put(&*store, "/pods/d/b").await).await;
        let elsewhere = put(&*store, "/nodes/n").await;
        // The feed has had no turn since, and will get none.
        assert!(cache.reach(elsewhere).now_or_never().is_some());
        let (items, revision) = cache.list("/pods/");
        assert_eq!((items.len(), revision, cache.lag()), (2, elsewhere, 0));
        let own = put(&*store, "/pods/d/c").await;
        let last = put(&*store, "/nodes/n").await;
        assert!(cache.reach(last).now_or_never().is_none(), "the feed has yet to bring it");
        assert_eq!(cache.lag(), own.0 - elsewhere.0);
        cache.reach(last).await;
        let (items, revision) = cache.list("/pods/");
        assert_eq!((items.len(), revision), (3, last));
    }

    #[test]
    fn all_watchers_share_a_change_and_the_state_before_it() {
        let (mut recent, value) = (Recent::default(), Bytes::from("{}"));
        let first = recent.change(&event(1, &value));
        let second = recent.change(&event(2, &value));
        assert!(Arc::ptr_eq(&second, &recent.change(&event(2, &value))));
        assert!(Arc::ptr_eq(&first.now.clone().expect("an item"), &second.before.clone().expect("an item")));
    }

    #[test]
    fn a_change_is_written_once_for_each_kind_and_format() {
        let change = Recent::default().change(&event(1, &Bytes::from("{}")));
        let written = |kind, protobuf, text: &'static str| change.frame(kind, protobuf, || text.into());
        assert_eq!(written(EventKind::Added, false, "a"), "a");
        assert_eq!(written(EventKind::Modified, false, "b"), "b");
        assert_eq!(written(EventKind::Added, true, "c"), "c");
        assert_eq!(written(EventKind::Added, false, "never"), "a");
    }

    #[test]
    fn what_is_remembered_has_a_limit_in_number_and_in_bytes() {
        let mut recent = Recent::default();
        let (small, large) = (Bytes::from("{}"), Bytes::from(vec![b' '; limits::RECENT_BYTES / 4]));
        for revision in 1..=limits::RECENT_CHANGES as u64 + 5 {
            recent.change(&event(revision, &small));
        }
        assert_eq!((recent.changes.len(), recent.order.len()), (limits::RECENT_CHANGES, limits::RECENT_CHANGES));
        for revision in 5000..5010 {
            recent.change(&event(revision, &large));
        }
        // Each weighs as much as the state before and the state after.
        assert_eq!((recent.changes.len(), recent.bytes), (2, limits::RECENT_BYTES));
    }
}
