//! The webhooks of all configurations, read once per change.

use std::sync::Arc;

use wkube_api::{Object, Resource};

use super::hook::Hook;
use crate::registry::{Derived, Registry};

const GROUP: &str = "admissionregistration.k8s.io";
const MUTATING: &str = "mutatingwebhookconfigurations";
const VALIDATING: &str = "validatingwebhookconfigurations";

/// Whether a kind configures webhooks.
pub(crate) fn is_configuration(resource: &Resource) -> bool {
    resource.group == GROUP && (resource.plural == MUTATING || resource.plural == VALIDATING)
}

/// What the cluster's configurations say. A write of one is answered when the caches have it, so what is here is never
/// older than an answer.
pub(crate) struct Hooks {
    mutating: Derived<Vec<Hook>, 1>,
    validating: Derived<Vec<Hook>, 1>,
}

impl Default for Hooks {
    fn default() -> Self {
        Self { mutating: Derived::new([(GROUP, MUTATING)]), validating: Derived::new([(GROUP, VALIDATING)]) }
    }
}

impl Hooks {
    /// Returns the mutating webhooks, by the names of their configurations.
    pub(super) fn mutating(&self, registry: &Registry) -> Arc<Vec<Hook>> {
        self.mutating.get(registry, all)
    }

    /// Returns the validating webhooks, by the names of their configurations.
    pub(super) fn validating(&self, registry: &Registry) -> Arc<Vec<Hook>> {
        self.validating.get(registry, all)
    }
}

fn all([configurations]: [Vec<Arc<Object>>; 1]) -> Vec<Hook> {
    configurations.iter().flat_map(|configuration| Hook::all(configuration)).collect()
}
