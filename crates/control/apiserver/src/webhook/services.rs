//! How a webhook wants to be spoken to: what the Service that it names says about the port.

use std::time::Duration;

use wkube_api::ObjectKey;

use super::client::CallError;
use super::dial::Transport;
use super::target::{Place, Target};
use crate::registry::Registry;

/// Returns whether TLS runs on connections to a target.
///
/// # Errors
/// If its service does not exist.
pub(crate) fn transport(registry: &Registry, target: &Target, timeout: Duration) -> Result<Transport, CallError> {
    let Place::Service { namespace, name, port } = &target.place else { return Ok(Transport::Tls) };
    let services = registry.catalog.core("services");
    let found = services.and_then(|row| registry.find(row, &ObjectKey::new(namespace, name)).ok().flatten());
    let missing =
        || CallError::Unreached { url: target.url(Some(timeout)), why: format!("service {name:?} not found") };
    Ok(Transport::of(&found.ok_or_else(missing)?, *port))
}
