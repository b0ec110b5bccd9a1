//! What one watch has seen of a kind, and `Lister<K>`, the read-only handle on it.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use wkube_api::ObjectKey;
use wkube_base::Latest;

use crate::kind::{Kind, Revision};
use crate::packed::Packed;

mod slot;

pub(crate) use self::slot::Room;
use self::slot::Slot;

/// One difference between what the cache showed before and what it shows now.
#[derive(Debug, Clone)]
pub enum Change<K> {
    /// The object exists and looks like this now.
    Applied {
        /// How it is.
        now: Arc<K>,
        /// How it was; `None` if it is new here.
        before: Option<Arc<K>>,
    },
    /// The object is gone; this is how it was last seen.
    Deleted(Arc<K>),
}

impl<K: Kind> Change<K> {
    /// Returns the object as it is, or as it was last.
    pub fn object(&self) -> &Arc<K> {
        match self {
            Self::Applied { now, .. } => now,
            Self::Deleted(before) => before,
        }
    }

    /// Returns the object as it was before, if it was there.
    pub fn before(&self) -> Option<&Arc<K>> {
        match self {
            Self::Applied { before, .. } => before.as_ref(),
            Self::Deleted(before) => Some(before),
        }
    }

    /// Returns the key of the object.
    pub fn key(&self) -> ObjectKey {
        self.object().key()
    }
}

/// Computes the values under which an index finds an object.
pub type IndexBy<K> = fn(&K) -> Vec<String>;

type Handler<K> = Box<dyn Fn(&Change<K>) + Send>;

/// A read-only view of all objects of a kind. Clones are cheap and show the same cache. Objects come out as `Arc`s
/// and cannot be changed, so nobody corrupts what others read.
pub struct Lister<K> {
    cache: Arc<Cache<K>>,
}

impl<K> Clone for Lister<K> {
    fn clone(&self) -> Self {
        Self { cache: Arc::clone(&self.cache) }
    }
}

impl<K> fmt::Debug for Lister<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lister").finish_non_exhaustive()
    }
}

impl<K: Kind> Lister<K> {
    /// Returns a lister of objects that never change, for tests of code that reads listers.
    pub fn fixed(objects: impl IntoIterator<Item = K>) -> Self {
        let cache = Cache::new(Room::Whole);
        cache.replace(objects, Revision(1));
        Self { cache }
    }

    pub(crate) fn new(cache: Arc<Cache<K>>) -> Self {
        Self { cache }
    }

    /// Returns the object.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.cache.state.read().objects.get(key).map(Slot::get)
    }

    /// Returns the object as it lies in a cache of packed ones, for who has to keep it too.
    pub fn packed(&self, key: &ObjectKey) -> Option<Packed<K>> {
        match self.cache.state.read().objects.get(key)? {
            Slot::Packed(packed) => Some(packed.clone()),
            Slot::Whole(_) => None,
        }
    }

    /// Returns every object, in key order.
    pub fn all(&self) -> Vec<Arc<K>> {
        self.cache.state.read().objects.values().map(Slot::get).collect()
    }

    /// Returns how many objects there are.
    pub fn count(&self) -> usize {
        self.cache.state.read().objects.len()
    }

    /// Returns the objects of one namespace, in name order.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        self.matching(namespace, |_| true)
    }

    /// Returns the objects of one namespace that `accept` takes, in name order.
    pub fn matching(&self, namespace: &str, accept: impl Fn(&K) -> bool) -> Vec<Arc<K>> {
        let state = self.cache.state.read();
        let from = state.objects.range(ObjectKey::new(namespace, "")..);
        let inside = from.take_while(|(key, _)| key.namespace == namespace);
        inside.map(|(_, slot)| slot.get()).filter(|object| accept(object)).collect()
    }

    /// Returns the objects that name `uid` as their controlling owner, in key order.
    pub fn owned_by(&self, uid: &str) -> Vec<Arc<K>> {
        self.by_index(OWNER_INDEX, uid)
    }

    /// Returns the objects that a declared index finds under `value`, in key order; none if there is no such index.
    pub fn by_index(&self, index: &str, value: &str) -> Vec<Arc<K>> {
        let state = self.cache.state.read();
        let Some(index) = state.indexes.get(index) else {
            debug_assert!(false, "the index {index} was not declared");
            return Vec::new();
        };
        let keys = index.keys.get(value).into_iter().flatten();
        keys.filter_map(|key| state.objects.get(key)).map(Slot::get).collect()
    }

    /// Returns how far into the history this cache has seen.
    pub fn revision(&self) -> Revision {
        self.cache.revision()
    }

    /// Whether the first complete list has arrived.
    pub fn is_ready(&self) -> bool {
        self.revision() > Revision(0)
    }

    /// Completes once the first complete list has arrived. Nothing may plan before.
    pub async fn ready(&self) {
        self.caught_up(Revision(1)).await;
    }

    /// Completes once this cache has seen the history up to `revision`.
    pub async fn caught_up(&self, revision: Revision) {
        self.cache.reached.wait_for(|seen| *seen >= revision).await;
    }

    /// Returns a receiver that sees every advance of the cache, for those who rebuild something from the whole.
    pub fn progress(&self) -> watch::Receiver<Revision> {
        self.cache.progress.subscribe()
    }

    /// Calls `handler` with every object that is there now, then with every change, in order. It is called from the
    /// informer's task: it must be quick, and must not register handlers on the same cache.
    pub fn on_change(&self, handler: impl Fn(&Change<K>) + Send + 'static) {
        let mut handlers = self.cache.handlers.lock();
        for now in self.all() {
            handler(&Change::Applied { now, before: None });
        }
        handlers.push(Box::new(handler));
    }
}

/// The index that every cache has: objects by the uid of their controlling owner.
const OWNER_INDEX: &str = "owner";

fn owner_uid<K: Kind>(object: &K) -> Vec<String> {
    object.controller_owner().map(|owner: &OwnerReference| owner.uid.clone()).into_iter().collect()
}

/// The objects of one watch. The informer's task writes; listers read.
pub(crate) struct Cache<K> {
    room: Room,
    state: RwLock<State<K>>,
    /// Held over a whole update, so that handlers see changes in order and none is missed while one registers.
    handlers: Mutex<Vec<Handler<K>>>,
    /// Where the cache is, for those who wait for it in a fixed order.
    reached: Latest<Revision>,
    progress: watch::Sender<Revision>,
}

struct State<K> {
    objects: BTreeMap<ObjectKey, Slot<K>>,
    indexes: BTreeMap<&'static str, Index<K>>,
    revision: Revision,
}

struct Index<K> {
    by: IndexBy<K>,
    keys: BTreeMap<String, BTreeSet<ObjectKey>>,
}

impl<K: Kind> Cache<K> {
    pub(crate) fn new(room: Room) -> Arc<Self> {
        let owner = Index { by: owner_uid::<K>, keys: BTreeMap::new() };
        let indexes = BTreeMap::from([(OWNER_INDEX, owner)]);
        Arc::new(Self {
            room,
            state: RwLock::new(State { objects: BTreeMap::new(), indexes, revision: Revision(0) }),
            handlers: Mutex::new(Vec::new()),
            reached: Latest::default(),
            progress: watch::Sender::new(Revision(0)),
        })
    }

    /// Adds an index, over what is there already too. The first declaration of a name wins.
    pub(crate) fn declare_index(&self, name: &'static str, by: IndexBy<K>) {
        let mut state = self.state.write();
        if state.indexes.contains_key(name) {
            return;
        }
        let mut index = Index { by, keys: BTreeMap::new() };
        for (key, slot) in &state.objects {
            index.insert(key, &slot.get());
        }
        state.indexes.insert(name, index);
    }

    /// Returns how far into the history this cache has seen.
    pub(crate) fn revision(&self) -> Revision {
        self.state.read().revision
    }

    /// Takes in one new state of an object.
    pub(crate) fn apply(&self, object: K) {
        let revision = object.revision();
        self.update(revision, |state| vec![state.insert(Arc::new(object), self.room)]);
    }

    /// Takes in that an object is gone as of its revision.
    pub(crate) fn delete(&self, object: &K) {
        self.update(object.revision(), |state| state.remove(&object.key()).into_iter().collect());
    }

    /// Takes in that nothing else happened up to `revision`.
    pub(crate) fn advance(&self, revision: Revision) {
        self.update(revision, |_| Vec::new());
    }

    /// Swaps in a complete list. What it does not contain was deleted while nobody watched.
    pub(crate) fn replace(&self, objects: impl IntoIterator<Item = K>, revision: Revision) {
        let listed: BTreeMap<ObjectKey, Arc<K>> =
            objects.into_iter().map(|object| (object.key(), Arc::new(object))).collect();
        self.update(revision, |state| {
            let gone: Vec<ObjectKey> = state.objects.keys().filter(|key| !listed.contains_key(key)).cloned().collect();
            let mut changes: Vec<Change<K>> = gone.iter().filter_map(|key| state.remove(key)).collect();
            for object in listed.into_values() {
                let known = state.objects.get(&object.key()).map(Slot::get);
                if !known.is_some_and(|known| known.uid() == object.uid() && known.revision() == object.revision()) {
                    changes.push(state.insert(object, self.room));
                }
            }
            // A restored server may have an older history; the list is the truth then.
            state.revision = revision;
            changes
        });
    }

    fn update(&self, revision: Revision, change: impl FnOnce(&mut State<K>) -> Vec<Change<K>>) {
        let handlers = self.handlers.lock();
        let (changes, revision) = {
            let mut state = self.state.write();
            let changes = change(&mut state);
            state.revision = state.revision.max(revision);
            (changes, state.revision)
        };
        for change in &changes {
            for handler in handlers.iter() {
                handler(change);
            }
        }
        drop(handlers);
        self.reached.update(|reached| *reached = revision);
        self.progress.send_replace(revision);
    }
}

impl<K: Kind> State<K> {
    fn insert(&mut self, now: Arc<K>, room: Room) -> Change<K> {
        let key = now.key();
        let before = self.objects.insert(key.clone(), Slot::new(&now, room)).map(|slot| slot.get());
        for index in self.indexes.values_mut() {
            if let Some(before) = &before {
                index.remove(&key, before);
            }
            index.insert(&key, &now);
        }
        Change::Applied { now, before }
    }

    fn remove(&mut self, key: &ObjectKey) -> Option<Change<K>> {
        let before = self.objects.remove(key)?.get();
        for index in self.indexes.values_mut() {
            index.remove(key, &before);
        }
        Some(Change::Deleted(before))
    }
}

impl<K> Index<K> {
    fn insert(&mut self, key: &ObjectKey, object: &K) {
        for value in (self.by)(object) {
            self.keys.entry(value).or_default().insert(key.clone());
        }
    }

    fn remove(&mut self, key: &ObjectKey, object: &K) {
        for value in (self.by)(object) {
            if let Some(keys) = self.keys.get_mut(&value) {
                keys.remove(key);
                if keys.is_empty() {
                    self.keys.remove(&value);
                }
            }
        }
    }
}

/// What the controller shell needs to know of a cache, whatever its kind.
pub(crate) trait Source: Send + Sync {
    fn kind(&self) -> crate::kind::KindName<'static>;
    fn caught_up(&self, revision: Revision) -> futures::future::BoxFuture<'_, ()>;
}

impl<K: Kind> Source for Lister<K> {
    fn kind(&self) -> crate::kind::KindName<'static> {
        K::NAME
    }

    fn caught_up(&self, revision: Revision) -> futures::future::BoxFuture<'_, ()> {
        Box::pin(Self::caught_up(self, revision))
    }
}

/// A cache of some kind, to be found by its type.
pub(crate) type AnyCache = Arc<dyn Any + Send + Sync>;

#[cfg(test)]
mod tests;
