//! What the store says about services.

use std::sync::Arc;

use wkube_api::Resource;

use super::client::Services;
use super::dial::Transport;
use crate::encoding;
use crate::registry::{Caches, keys};

/// The services in the store.
pub(crate) struct StoredServices {
    caches: Arc<Caches>,
    kind: Option<Arc<Resource>>,
}

impl StoredServices {
    /// Returns the services of this kind.
    pub(crate) fn new(caches: Arc<Caches>, kind: Option<Arc<Resource>>) -> Self {
        Self { caches, kind }
    }
}

impl Services for StoredServices {
    fn transport(&self, namespace: &str, name: &str, port: u16) -> Option<Transport> {
        let key = keys::object(self.kind.as_ref()?, namespace, name);
        let entry = self.caches.store().get(&key).ok()??;
        Some(Transport::of(&encoding::decode(&entry.value, entry.modified)?, port))
    }
}
