//! The rows of the table of kinds, found by URL. Routing, discovery and `OpenAPI` read it.
//!
//! Built-in kinds stay as they are; custom ones come and go with their definitions. Readers take a [`Served`], which
//! does not change under them.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use futures::FutureExt as _;
use futures::future::{self, BoxFuture};
use tokio::sync::watch;
use wkube_api::Resource;
use wkube_api::kinds::custom::{self, Version};
use wkube_api::openapi::Extra;

/// All kinds that are served.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    builtin: Table,
    served: Arc<ArcSwap<Served>>,
    /// Says that `served` is new.
    changed: watch::Sender<()>,
}

/// What is served at one moment.
#[derive(Debug, Default)]
pub(crate) struct Served {
    table: Table,
    /// The schemas of custom kinds.
    pub(crate) schemas: Extra,
}

impl Served {
    /// Returns every row, in the order of discovery.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &Resource> + Clone {
        self.table.rows.iter().map(AsRef::as_ref)
    }
}

#[derive(Debug, Default, Clone)]
struct Table {
    rows: Vec<Arc<Resource>>,
    /// By plural, which few kinds share. Looked up for every request and never iterated.
    by_plural: HashMap<String, Vec<Arc<Resource>>>,
}

impl Table {
    fn push(&mut self, row: Arc<Resource>) {
        self.by_plural.entry(row.plural.to_string()).or_default().push(row.clone());
        self.rows.push(row);
    }

    fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.by_plural.get(plural)?.iter().find(|row| row.group == group && row.version == version)
    }
}

impl Catalog {
    /// Returns a catalog of built-in `rows`, which keep their order in discovery.
    pub(crate) fn new(rows: impl IntoIterator<Item = Arc<Resource>>) -> Self {
        let mut builtin = Table::default();
        rows.into_iter().for_each(|row| builtin.push(row));
        let served = Served { table: builtin.clone(), schemas: Extra::new() };
        Self { builtin, served: Arc::new(ArcSwap::from_pointee(served)), changed: watch::Sender::default() }
    }

    /// Returns a built-in row.
    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.builtin.find(group, version, plural)
    }

    /// Returns the core kind of this plural.
    pub(crate) fn core(&self, plural: &str) -> Option<&Arc<Resource>> {
        self.find("", "v1", plural)
    }

    /// Returns every built-in row.
    pub(crate) fn rows(&self) -> &[Arc<Resource>] {
        &self.builtin.rows
    }

    /// Returns the row of a URL, built in or not.
    pub(crate) fn route(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        self.served.load().table.find(group, version, plural).cloned()
    }

    /// Returns everything that is served now.
    pub(crate) fn served(&self) -> Arc<Served> {
        self.served.load_full()
    }

    /// Puts these in the place of all custom kinds. A built-in kind is never hidden.
    pub(crate) fn replace_custom<'a>(&self, versions: impl IntoIterator<Item = &'a Version>) {
        let mut versions: Vec<&Version> = versions.into_iter().filter(|version| version.served).collect();
        versions.sort_by_cached_key(|version| {
            let row = &version.resource;
            (row.group.to_string(), custom::preference(&row.version), row.plural.to_string())
        });
        let mut served = Served { table: self.builtin.clone(), schemas: Extra::new() };
        for version in versions {
            let row = &version.resource;
            if self.find(&row.group, &row.version, &row.plural).is_none() {
                served.schemas.insert(row.schema.to_string(), version.schema.clone());
                served.table.push(row.clone());
            }
        }
        self.served.store(Arc::new(served));
        self.changed.send_replace(());
    }

    /// Returns what tells that other kinds are served than before.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Completes when a custom kind is no longer served, or with another schema. Built-in kinds are served for ever.
    pub(crate) fn replaced(&self, row: &Arc<Resource>) -> BoxFuture<'static, ()> {
        if !row.is_custom() {
            return future::pending().boxed();
        }
        let (row, served, mut changed) = (row.clone(), self.served.clone(), self.changed.subscribe());
        let is_served = move || {
            let served = served.load();
            let now = served.table.find(&row.group, &row.version, &row.plural);
            now.is_some_and(|now| Arc::ptr_eq(&now.manners, &row.manners))
        };
        async move { while is_served() && changed.changed().await.is_ok() {} }.boxed()
    }
}
