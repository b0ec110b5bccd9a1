//! The parts together: simulated clusters, real nodes in one process, and what the workspace promises about itself.

mod conformance;
mod documents;
mod elections;
mod kube_operator;
mod kube_runtime;
mod layering;
mod linearizability;
mod simulation;
mod two_nodes;
mod wait;
