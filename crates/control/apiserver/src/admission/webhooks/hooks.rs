//! The webhooks of all configurations, read once per change.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use wkube_api::Resource;

use super::hook::Hook;
use crate::registry::{Registry, keys};
use crate::watch_cache::Cache;

const GROUP: &str = "admissionregistration.k8s.io";
const MUTATING: &str = "mutatingwebhookconfigurations";
const VALIDATING: &str = "validatingwebhookconfigurations";

/// Whether a kind configures webhooks.
pub(crate) fn is_configuration(resource: &Resource) -> bool {
    resource.group == GROUP && (resource.plural == MUTATING || resource.plural == VALIDATING)
}

/// What the cluster's configurations say.
#[derive(Default)]
pub(crate) struct Hooks {
    mutating: Kept,
    validating: Kept,
}

impl Hooks {
    /// Returns the mutating webhooks, by the names of their configurations.
    pub(super) fn mutating(&self, registry: &Registry) -> Arc<Vec<Hook>> {
        self.mutating.get(registry, MUTATING)
    }

    /// Returns the validating webhooks, by the names of their configurations.
    pub(super) fn validating(&self, registry: &Registry) -> Arc<Vec<Hook>> {
        self.validating.get(registry, VALIDATING)
    }
}

/// The webhooks of one kind of configuration.
#[derive(Default)]
struct Kept {
    /// The kind's cache and the prefix of its keys, looked up once: this is asked for every write.
    source: OnceLock<Option<(Arc<Cache>, String)>>,
    read: Mutex<Option<(u64, Arc<Vec<Hook>>)>>,
}

impl Kept {
    /// A write of a configuration is answered when this cache has it, so what is here is never older than an answer.
    fn get(&self, registry: &Registry, plural: &str) -> Arc<Vec<Hook>> {
        let source = self.source.get_or_init(|| {
            let row = registry.catalog.find(GROUP, "v1", plural)?;
            Some((registry.cache(row), keys::prefix(row)))
        });
        let Some((cache, prefix)) = source else { return Arc::default() };
        let generation = cache.generation();
        let mut read = self.read.lock();
        if let Some((of, hooks)) = read.as_ref()
            && *of == generation
        {
            return hooks.clone();
        }
        let (items, _) = cache.list(prefix);
        let hooks = Arc::new(items.iter().flat_map(|item| Hook::all(&item.object())).collect::<Vec<_>>());
        *read = Some((generation, hooks.clone()));
        hooks
    }
}
