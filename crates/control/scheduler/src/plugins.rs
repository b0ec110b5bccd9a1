//! The rules, one file each, named and worded as in kube-scheduler (`pkg/scheduler/framework/plugins`).

pub mod affinity;
pub mod images;
pub mod node_name;
pub mod pod_affinity;
pub mod ports;
pub mod resources;
pub mod spread;
pub mod taints;
pub mod unschedulable;
