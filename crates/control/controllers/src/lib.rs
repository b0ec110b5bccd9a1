//! The controllers: each looks at what is and what should be, and takes the next step.
//!
//! ```text
//! Deployment -> ReplicaSet -> Pods          deployment, replica_set
//! ReplicationController -> Pods             replica_set
//! DaemonSet -> Pods, one per node           daemon_set
//! StatefulSet -> Pods with numbers, claims  stateful_set
//! CronJob -> Jobs -> Pods                   cron_job, job
//! Service + Pods -> EndpointSlices          endpoint_slice
//! Endpoints by hand -> EndpointSlices       endpoint_slice_mirroring
//! what evictions may take of pods           disruption
//! owners and namespaces that go             garbage_collector, namespace
//! nodes that come, fall silent and go       node_lifecycle, pod_gc, certificates
//! what every namespace needs                service_account
//! claims and volumes that are in use        storage_protection
//! ```
//! A folder is a controller: `plan.rs` decides and is pure, `mod.rs` is the shell that gathers and performs.

mod certificates;
mod common;
mod context;
mod cron_job;
mod daemon_set;
mod deployment;
mod disruption;
mod endpoint_slice;
mod endpoint_slice_mirroring;
mod garbage_collector;
mod job;
mod namespace;
mod node_lifecycle;
mod pod_gc;
mod replica_set;
mod service_account;
mod stateful_set;
mod storage_protection;

#[cfg(test)]
mod testing;

pub use context::{Context, SignError, Signer, Subject, start};
