//! What the smaller kinds must look like (`pkg/apis/*/validation`): one file per group, in Kubernetes' words. Pure.
//!
//! `checks` holds what every group says; the rules of large kinds (pods, jobs, services) stand beside their manners.

mod access;
mod autoscaling;
mod checks;
mod classes;
mod cluster;
mod endpoints;
mod events;
mod flow_control;
mod ingress;
mod limits;
mod network;
mod node;
mod policy;
mod storage;
#[cfg(test)]
mod tests;

pub(super) use access::{validate_role, validate_subjects};
pub(super) use autoscaling::{default_behavior, validate_autoscaler};
pub(super) use checks::{
    CIDR, IP, NOT_NEGATIVE, PORT_RANGE, POSITIVE, PROTOCOLS, check_amount, check_fixed, check_immutable, check_named,
    check_not_negative, check_resource_name, check_selector, document, domain_prefixed_path, in_range, is_cidr, named,
    one_of, parse_cidr, quantity, required, spec,
};
pub(super) use classes::{
    validate_attachment, validate_attributes_class, validate_csi_driver, validate_csi_node, validate_storage_capacity,
    validate_storage_class,
};
pub(super) use cluster::{validate_api_service, validate_ip_address, validate_service_cidr};
pub(super) use endpoints::{check_address, check_protocols, validate_endpoints, validate_slice};
pub(super) use events::{Shape, validate_event};
pub(super) use flow_control::{validate_flow_schema, validate_priority_level};
pub(super) use ingress::validate_ingress;
pub(super) use limits::{validate_limit_range, validate_quota};
pub(super) use network::{validate_ingress_class, validate_network_policy};
pub(super) use node::{validate_namespace, validate_node};
pub(super) use policy::{
    validate_disruption_budget, validate_lease, validate_priority_class, validate_revision, validate_runtime_class,
};
pub(super) use storage::{validate_claim, validate_claim_spec, validate_volume};
