//! What a node says about the use of its resources: a small part of the kubelet's `/stats/summary`, spoken over the tunnel.

use serde::{Deserialize, Serialize};

/// Where a node says it.
pub const PATH: &str = "/stats";

/// What was used so far, and what is used now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Processor time since the start, in nanoseconds. It only grows as long as the same thing runs.
    pub cpu_nanos: u64,
    /// Memory now, in bytes.
    pub memory_bytes: u64,
}

/// What one container uses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerUsage {
    /// Its pod.
    pub pod_uid: String,
    /// Its name.
    pub name: String,
    /// What it uses.
    pub usage: Usage,
}

/// What a node uses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// The whole machine, as far as the node may see it.
    pub machine: Usage,
    /// The containers that run now.
    pub containers: Vec<ContainerUsage>,
}
