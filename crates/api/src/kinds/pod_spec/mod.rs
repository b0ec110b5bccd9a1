//! Pod specs, which pods and every workload's template share.

mod affinity;
mod container;
mod defaults;
mod env;
mod ephemeral;
mod extras;
mod probes;
mod resources;
mod restart;
mod security;
mod spread;
mod validate;
mod volumes;

pub(super) use affinity::check_node_selector;
pub(super) use container::port_name;
pub(super) use defaults::{default_pod_spec, requests_from_limits};
pub(super) use resources::check_container_resource;
pub(super) use validate::{Owner, validate_pod_spec, validate_template};

#[cfg(test)]
mod tests;
