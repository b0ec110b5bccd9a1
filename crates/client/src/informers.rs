//! `Informers`: one watch per kind per process, shared by everybody who reads that kind.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use wkube_base::{Rng, Tasks};

use crate::api::{Api, Scope};
use crate::cache::{AnyCache, Cache, IndexBy, Lister, Room};
use crate::client::Client;
use crate::kind::Kind;
use crate::watcher;

/// The caches of one process. Clones share them; asking twice for a kind gives the same cache.
#[derive(Clone)]
pub struct Informers {
    client: Client,
    rng: Rng,
    tasks: Tasks,
    caches: Arc<Mutex<BTreeMap<(TypeId, Scope), AnyCache>>>,
}

impl fmt::Debug for Informers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Informers").field("kinds", &self.caches.lock().len()).finish_non_exhaustive()
    }
}

impl Informers {
    /// Returns informers without any watch yet. Their tasks belong to `tasks`.
    pub fn new(client: &Client, rng: &Rng, tasks: &Tasks) -> Self {
        Self { client: client.clone(), rng: rng.split(), tasks: tasks.clone(), caches: Arc::default() }
    }

    /// Returns the view of every object of a kind, and starts its watch if nobody has yet.
    pub fn lister<K: Kind>(&self) -> Lister<K> {
        self.lister_of(Scope::all())
    }

    /// Returns the view of some objects of a kind, such as one node's pods. Each scope has its own watch.
    pub fn lister_of<K: Kind>(&self, scope: Scope) -> Lister<K> {
        Lister::new(self.cache(scope, Room::Whole))
    }

    /// As [`Informers::lister_of`], in a fifth of the memory, for objects that are read when they change and hardly
    /// otherwise: whoever reads one has it decoded anew. Of two that ask for the same scope the first decides.
    pub fn packed_lister_of<K: Kind>(&self, scope: Scope) -> Lister<K> {
        Lister::new(self.cache(scope, Room::Packed))
    }

    /// Declares an index on a kind's cache and returns its lister: `by_index(name, value)` finds the objects for
    /// which `by` gives `value`. A name means the same function everywhere.
    pub fn indexed<K: Kind>(&self, name: &'static str, by: IndexBy<K>) -> Lister<K> {
        let cache = self.cache(Scope::all(), Room::Whole);
        cache.declare_index(name, by);
        Lister::new(cache)
    }

    fn cache<K: Kind>(&self, scope: Scope, room: Room) -> Arc<Cache<K>> {
        let mut caches = self.caches.lock();
        if let Some(known) = caches.get(&(TypeId::of::<K>(), scope.clone())) {
            return Arc::clone(known).downcast().expect("caches are filed under their own type");
        }
        let cache = Cache::new(room);
        caches.insert((TypeId::of::<K>(), scope.clone()), Arc::clone(&cache) as AnyCache);
        let watching = watcher::run(Api::<K>::new(&self.client), scope, Arc::clone(&cache), self.rng.split());
        self.tasks.spawn("informer", watching);
        cache
    }
}
