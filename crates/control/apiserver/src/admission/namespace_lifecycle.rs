//! `NamespaceLifecycle`: nothing is made in a namespace that is missing or going; some namespaces stay
//! (`apiserver/pkg/admission/plugin/namespace/lifecycle`).

use wkube_api::{Object, ObjectKey, Status};

use super::{Attributes, Operation};

/// What a cluster cannot live without.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];
const NAMESPACES: &str = "namespaces";

/// Refuses objects in namespaces that cannot take them. The look-up goes to the store, so that it is never too old.
pub(super) fn admit(attributes: &Attributes<'_>, object: &Object) -> Result<(), Status> {
    let call = attributes.call;
    let is_access_review = call.is_for("authorization.k8s.io", "localsubjectaccessreviews");
    if attributes.operation != Operation::Create || call.namespace.is_empty() || is_access_review {
        return Ok(());
    }
    let Some(namespaces) = attributes.registry.catalog.core(NAMESPACES) else { return Ok(()) };
    let namespace = attributes.registry.item(namespaces, &ObjectKey::cluster(&call.namespace))?.object();
    if namespace.str_at(&["status", "phase"]) == "Terminating" || namespace.is_deleting() {
        return Err(Status::namespace_terminating(&call.resource, object.name(), &call.namespace));
    }
    Ok(())
}

/// Keeps the namespaces that every cluster has.
pub(super) fn on_delete(attributes: &Attributes<'_>) -> Result<(), Status> {
    let call = attributes.call;
    if call.is_for("", NAMESPACES) && IMMORTAL.contains(&call.name.as_str()) {
        return Err(Status::admission_refused(&call.resource, &call.name, "this namespace may not be deleted"));
    }
    Ok(())
}
