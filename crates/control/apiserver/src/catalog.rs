//! The rows of the table of kinds, found by URL. Routing, discovery and `OpenAPI` read it.

use std::collections::HashMap;
use std::sync::Arc;

use wkube_api::Resource;

/// All kinds that are served.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    rows: Vec<Arc<Resource>>,
    by_path: HashMap<(String, String, String), Arc<Resource>>,
}

impl Catalog {
    /// Returns a catalog of `rows`, which keep their order in discovery.
    pub(crate) fn new(rows: impl IntoIterator<Item = Arc<Resource>>) -> Self {
        let rows: Vec<_> = rows.into_iter().collect();
        let path = |row: &Resource| (row.group.to_string(), row.version.to_string(), row.plural.to_string());
        let by_path = rows.iter().map(|row| (path(row), row.clone())).collect();
        Self { rows, by_path }
    }

    /// Returns the row of a URL.
    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.by_path.get(&(group.to_owned(), version.to_owned(), plural.to_owned()))
    }

    /// Returns the core kind of this plural.
    pub(crate) fn core(&self, plural: &str) -> Option<&Arc<Resource>> {
        self.find("", "v1", plural)
    }

    /// Returns every row.
    pub(crate) fn rows(&self) -> &[Arc<Resource>] {
        &self.rows
    }
}
