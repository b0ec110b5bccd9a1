//! The generic registry: one handler per verb for all kinds. A kind is a row of the catalog.
//!
//! ```text
//! create, update, patch ─> decode ─> default ─> object rules ─> admit ─> default ─> validate ─> write ─> store
//! get, list ─────────────> store or watch cache ─> selection ─> spliced bytes
//! watch ─────────────────> store's history ─> selection ─> frames
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use parking_lot::Mutex;
use wkube_api::{Object, ObjectKey, Resource, Status};
use wkube_base::{Clock, Rng, Tasks};
use wkube_store::{Entry, Error, Range, Store};

use crate::admission;
use crate::admission::resource_quota::Turnstiles;
use crate::auth::{Secrets, token};
use crate::catalog::Catalog;
use crate::conversion::Converter;
use crate::definitions;
use crate::encoding;
use crate::limits;
use crate::reach::{Outside, Reach, ThroughNodes};
use crate::tunnel::Nodes;
use crate::watch_cache::{Cache, Item};
use crate::watched_store::chain;
use crate::webhook::{self, StoredServices};

pub(crate) mod create;
pub(crate) mod decode;
pub(crate) mod delete;
mod derived;
pub(crate) mod keys;
pub(crate) mod list_options;
pub(crate) mod object_rules;
pub(crate) mod page;
pub(crate) mod patch;
pub(crate) mod read;
pub(crate) mod selection;
pub(crate) mod update;
pub(crate) mod view;
pub(crate) mod watch;
pub(crate) mod write;

pub(crate) use derived::Derived;

/// What every handler needs.
pub(crate) struct Registry {
    /// Where objects are kept.
    pub(crate) store: Arc<dyn Store>,
    /// The kinds.
    pub(crate) catalog: Catalog,
    /// Wall time for timestamps.
    pub(crate) clock: Clock,
    /// Chance for uids and names.
    pub(crate) rng: Rng,
    /// Owns watches and caches.
    pub(crate) tasks: Tasks,
    /// The custom kinds behind the catalog's.
    pub(crate) definitions: definitions::Known,
    /// The way to nodes, pods and services.
    pub(crate) reach: Arc<dyn Reach>,
    /// Calls webhooks.
    pub(crate) webhooks: Arc<webhook::Client>,
    /// Converts custom resources.
    pub(crate) converter: Converter,
    /// The admission webhooks that are configured.
    pub(crate) hooks: admission::Hooks,
    /// The admission policies.
    pub(crate) policies: admission::Policies,
    /// Where writes that count in a quota stand in line.
    pub(crate) quotas: Turnstiles,
    caches: Arc<Caches>,
}

impl Registry {
    /// Returns a registry over `store` that reaches pods through `nodes`.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        catalog: Catalog,
        nodes: &Nodes,
        clock: Clock,
        rng: Rng,
        tasks: Tasks,
        outside: Outside,
    ) -> Self {
        let caches = Arc::new(Caches::new(store.clone(), &tasks));
        let reach = ThroughNodes::new(nodes.clone(), caches.clone(), &catalog, rng.clone(), &tasks, outside);
        let reach: Arc<dyn Reach> = Arc::new(reach);
        let services = StoredServices::new(caches.clone(), catalog.core("services").cloned());
        let webhooks = Arc::new(webhook::Client::new(reach.clone(), services));
        let converter = Converter::new(webhooks.clone(), rng.clone());
        let (definitions, hooks) = (definitions::Known::default(), admission::Hooks::default());
        let (policies, quotas) = (admission::Policies::default(), Turnstiles::default());
        Self {
            store,
            catalog,
            clock,
            rng,
            tasks,
            definitions,
            reach,
            webhooks,
            converter,
            hooks,
            policies,
            quotas,
            caches,
        }
    }

    /// Returns the kind's cache; the first call starts it.
    pub(crate) fn cache(&self, resource: &Resource) -> Arc<Cache> {
        self.caches.of(resource)
    }

    /// Returns where a cache's objects are kept that lags far behind the store; `None` if all keep up.
    pub(crate) fn cache_behind(&self) -> Option<String> {
        let caches = self.caches.by_prefix.lock();
        let mut behind = caches.iter().filter(|(_, cache)| cache.lag() > limits::CACHE_LAG);
        behind.next().map(|(prefix, _)| prefix.clone())
    }

    /// Returns the stored entry of an object.
    pub(crate) fn entry(&self, resource: &Resource, key: &ObjectKey) -> Result<Entry, Status> {
        let found =
            self.store.get(&keys::object(resource, &key.namespace, &key.name)).map_err(|error| failed(&error))?;
        found.ok_or_else(|| Status::not_found(resource, &key.name))
    }

    /// Returns a stored object as it is now, decoded once however often it is asked for.
    pub(crate) fn item(&self, resource: &Resource, key: &ObjectKey) -> Result<Arc<Item>, Status> {
        Ok(self.cache(resource).shared(self.entry(resource, key)?))
    }

    /// Returns an object, or `NotFound`.
    pub(crate) fn object(&self, resource: &Resource, key: &ObjectKey) -> Result<Object, Status> {
        view::decode(resource, &self.entry(resource, key)?)
    }

    /// Returns an object of a core kind if it exists.
    pub(crate) fn find(&self, resource: &Resource, key: &ObjectKey) -> Result<Option<Object>, Status> {
        match self.object(resource, key) {
            Ok(object) => Ok(Some(object)),
            Err(status) if status.is_not_found() => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// Returns all of a kind's objects in a namespace (empty: everywhere), as fresh as the store.
    pub(crate) async fn objects(&self, resource: &Resource, namespace: &str) -> Vec<Arc<Object>> {
        self.caches.objects(resource, namespace).await
    }

    /// Returns the stored entries of a kind in a namespace (empty: everywhere), for the few kinds that every write asks.
    pub(crate) fn entries(&self, resource: &Resource, namespace: &str) -> Result<Vec<Entry>, Status> {
        let range = Range { prefix: keys::collection(resource, namespace), ..Range::default() };
        self.store.list(&range).map(|listed| listed.entries).map_err(|error| failed(&error))
    }

    /// The same as objects.
    pub(crate) fn stored(&self, resource: &Resource, namespace: &str) -> Result<Vec<Object>, Status> {
        self.entries(resource, namespace)?.iter().map(|entry| view::decode(resource, entry)).collect()
    }

    /// Draws a uid: the random kind (version 4), from the injected chance.
    pub(crate) fn uid(&self) -> String {
        let mut bytes = [0; 16];
        self.rng.fill(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }
}

/// One cache per kind, made when somebody first asks.
pub(crate) struct Caches {
    store: Arc<dyn Store>,
    tasks: Tasks,
    by_prefix: Mutex<HashMap<String, Arc<Cache>>>,
}

impl Caches {
    /// Returns no caches yet, of what is in `store`.
    pub(crate) fn new(store: Arc<dyn Store>, tasks: &Tasks) -> Self {
        Self { store, tasks: tasks.clone(), by_prefix: Mutex::default() }
    }

    /// Returns what is cached.
    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Returns the kind's cache; the first call starts it.
    pub(crate) fn of(&self, resource: &Resource) -> Arc<Cache> {
        let prefix = keys::prefix(resource);
        let mut caches = self.by_prefix.lock();
        let start = || Cache::start(self.store.clone(), prefix.clone(), &self.tasks);
        caches.entry(prefix.clone()).or_insert_with(start).clone()
    }

    /// Returns all of a kind's objects in a namespace (empty: everywhere), as fresh as the store.
    pub(crate) async fn objects(&self, resource: &Resource, namespace: &str) -> Vec<Arc<Object>> {
        let cache = self.of(resource);
        cache.reach(self.store.revision()).await;
        let (items, _) = cache.list(&keys::collection(resource, namespace));
        items.iter().map(|item| item.object()).collect()
    }
}

/// The objects that the authenticator looks up: straight from the store, so that a new token works at once.
pub(crate) struct StoredObjects {
    store: Arc<dyn Store>,
    kinds: Vec<Arc<Resource>>,
}

impl StoredObjects {
    /// Returns the objects of a store.
    pub(crate) fn new(store: Arc<dyn Store>, catalog: &Catalog) -> Self {
        let plurals = ["secrets", "serviceaccounts", "pods", "nodes"];
        Self { store, kinds: plurals.iter().filter_map(|plural| catalog.core(plural).cloned()).collect() }
    }
}

impl token::Objects for StoredObjects {
    fn object(&self, plural: &str, namespace: &str, name: &str) -> Option<Object> {
        let resource = self.kinds.iter().find(|resource| resource.plural == plural)?;
        let entry = self.store.get(&keys::object(resource, namespace, name)).ok()??;
        encoding::decode(&entry.value, entry.modified)
    }
}

impl Secrets for StoredObjects {
    fn secret(&self, namespace: &str, name: &str) -> Option<Secret> {
        token::Objects::object(self, "secrets", namespace, name)?.to_typed().ok()
    }
}

/// What a handler answers with.
pub(crate) enum Outcome {
    /// One object.
    Object {
        /// 200 or 201.
        code: u16,
        /// The object as stored (or as it would be: dry runs have revision 0).
        item: Arc<Item>,
    },
    /// An answer that is not stored, such as a review or a `Scale`.
    Document {
        /// 200 or 201.
        code: u16,
        /// The document.
        object: Object,
    },
    /// A collection.
    List(read::Listing),
    /// A running watch.
    Watch(Box<watch::Watching>),
    /// Something that is no object: logs, proxied answers.
    Raw(http::Response<crate::respond::Body>),
}

/// What the store's refusal means to a client.
pub(crate) fn failed(error: &Error) -> Status {
    match error {
        Error::Compacted { .. } => Status::expired("The provided resourceVersion is too old."),
        Error::Future { requested, newest } => Status::too_large_resource_version(requested.0, newest.0),
        Error::Closed => Status::unavailable("the server is shutting down"),
        Error::Conflict { .. } => Status::internal(error),
        Error::Unavailable(_) => Status::unavailable(format!("the store cannot be reached: {error}"))
            .retry_after(limits::STORE_RETRY_SECONDS),
        // No `Retry-After`: clients take it as leave to send a write again that may have happened.
        Error::Uncertain(_) => Status::new(504, "Timeout", format!("the write may or may not have happened: {error}")),
        // No `Retry-After` on either: it would not help before somebody has done something.
        Error::Full(_) => Status::new(507, "InsufficientStorage", error.to_string()),
        Error::Engine(_) => Status::unavailable(format!("the store failed: {}", chain(error))),
    }
}

/// An entry that is no document.
pub(crate) fn damaged(entry: &Entry) -> Status {
    Status::internal(&format!("the stored object at {} is damaged; delete it or restore a backup", entry.key))
}
