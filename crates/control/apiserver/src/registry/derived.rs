//! What is computed from all objects of a few kinds, and computed again only when one of them has changed: roles,
//! policies, webhooks. Every request asks for them.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use wkube_api::Object;

use super::{Registry, keys};
use crate::watch_cache::Cache;

/// A value computed from the objects of `N` kinds.
pub(crate) struct Derived<T, const N: usize> {
    /// Group and plural of each kind, in `v1`.
    kinds: [(&'static str, &'static str); N],
    sources: OnceLock<[Source; N]>,
    last: Mutex<Option<(Generations<N>, Arc<T>)>>,
}

/// How often each kind's cache has changed.
type Generations<const N: usize> = [u64; N];

/// A kind's cache and the prefix of its keys.
struct Source {
    cache: Arc<Cache>,
    prefix: String,
}

impl<T, const N: usize> Derived<T, N> {
    /// Returns what is yet to be computed from these kinds.
    pub(crate) const fn new(kinds: [(&'static str, &'static str); N]) -> Self {
        Self { kinds, sources: OnceLock::new(), last: Mutex::new(None) }
    }

    /// Completes once the kinds' caches have seen every write that has been answered.
    pub(crate) async fn catch_up(&self, registry: &Registry) {
        for source in self.sources(registry) {
            source.cache.reach(registry.store.revision()).await;
        }
    }

    /// Returns the value for what the caches hold now.
    pub(crate) fn get(&self, registry: &Registry, compute: impl FnOnce([Vec<Arc<Object>>; N]) -> T) -> Arc<T> {
        let sources = self.sources(registry);
        // Before the objects: a change in between is noticed the next time.
        let generations = sources.each_ref().map(|source| source.cache.generation());
        let last = self.last.lock().clone();
        if let Some((_, value)) = last.filter(|(of, _)| *of == generations) {
            return value;
        }
        let objects = sources.each_ref().map(|source| {
            let (items, _) = source.cache.list(&source.prefix);
            items.iter().map(|item| item.object()).collect()
        });
        let value = Arc::new(compute(objects));
        *self.last.lock() = Some((generations, value.clone()));
        value
    }

    fn sources(&self, registry: &Registry) -> &[Source; N] {
        self.sources.get_or_init(|| {
            self.kinds.map(|(group, plural)| {
                let row = registry.catalog.find(group, "v1", plural).expect("built-in kinds are always there");
                Source { cache: registry.cache(row), prefix: keys::prefix(row) }
            })
        })
    }
}
