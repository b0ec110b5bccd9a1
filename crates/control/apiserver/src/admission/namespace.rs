//! `NamespaceLifecycle`: nothing is made in a namespace that is missing or going; some namespaces stay.

use wkube_api::{Object, ObjectKey, Scope, Status};

use crate::call::Call;
use crate::registry::Registry;

/// What a cluster cannot live without.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];
/// Written by components before anything else, and short-lived: reviews are not kept at all.
const NAMESPACES: &str = "namespaces";

/// Refuses objects in namespaces that cannot take them.
pub(super) fn on_create(registry: &Registry, call: &Call, object: &Object) -> Result<(), Status> {
    if call.resource.scope != Scope::Namespaced || !call.resource.is_stored() {
        return Ok(());
    }
    let Some(namespaces) = registry.catalog.core(NAMESPACES) else { return Ok(()) };
    let namespace = registry.object(namespaces, &ObjectKey::cluster(&call.namespace))?;
    if namespace.str_at(&["status", "phase"]) == "Terminating" || namespace.is_deleting() {
        return Err(Status::namespace_terminating(&call.resource, object.name(), &call.namespace));
    }
    Ok(())
}

/// Keeps the namespaces that every cluster has.
pub(super) fn on_delete(call: &Call) -> Result<(), Status> {
    if call.is_for("", NAMESPACES) && IMMORTAL.contains(&call.name.as_str()) {
        return Err(Status::admission_refused(&call.resource, &call.name, "this namespace may not be deleted"));
    }
    Ok(())
}
