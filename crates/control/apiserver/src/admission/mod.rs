//! Built-in admission: what the cluster adds to an object, or refuses, between decoding and validation
//! (`plugin/pkg/admission`). A plugin is one file with a function; the lists below are its order.

use wkube_api::{Object, Status};

use crate::call::Call;
use crate::definitions;
use crate::registry::Registry;

mod certificate_request;
pub(crate) mod claims;
pub(crate) mod escalation;
mod namespace;
mod priority;
mod quota;
mod service_account;
pub(crate) mod service_network;
mod tolerations;

/// Completes or refuses a new object.
pub(crate) async fn on_create(registry: &Registry, call: &Call, object: &mut Object) -> Result<(), Status> {
    namespace::on_create(registry, call, object)?;
    if call.is_for("", "pods") {
        service_account::on_create(registry, call, object)?;
        priority::on_create(registry, call, object).await?;
        tolerations::on_create(object);
    }
    if call.is_for("", "services") {
        service_network::settle(registry, object, None)?;
    }
    if call.is_for("certificates.k8s.io", "certificatesigningrequests") {
        certificate_request::on_create(&call.user, object);
    }
    if definitions::is_definition(&call.resource) {
        object.0.remove("status");
        definitions::settle(registry, call, object)?;
    }
    Ok(())
}

/// Refuses a new object that is valid but not welcome.
pub(crate) async fn check_create(registry: &Registry, call: &Call, object: &Object) -> Result<(), Status> {
    escalation::check(registry, call, object, None)?;
    quota::check(registry, call, object).await
}

/// Refuses a changed object that is valid but not welcome.
pub(crate) fn check_update(registry: &Registry, call: &Call, new: &Object, old: &Object) -> Result<(), Status> {
    escalation::check(registry, call, new, Some(old))
}

/// Completes or refuses a changed object.
pub(crate) fn on_update(registry: &Registry, call: &Call, new: &mut Object, old: &Object) -> Result<(), Status> {
    if call.is_for("", "services") {
        service_network::settle(registry, new, Some(old))?;
    }
    if definitions::is_definition(&call.resource) {
        definitions::settle(registry, call, new)?;
    }
    Ok(())
}

/// Refuses the deletion of what must stay.
pub(crate) fn on_delete(call: &Call) -> Result<(), Status> {
    namespace::on_delete(call)
}
