//! What every pod worker of a node uses. One per node; nothing is global.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use wkube_api::quantity::Quantity;
use wkube_base::{Clock, Tasks};
use wkube_client::{EventType, Lister, Recorder};
use wkube_proxy::LocalPods;

use crate::admission::Allocations;
use crate::checkpoint::Checkpoints;
use crate::eviction::vitals::Vitals;
use crate::images::Images;
use crate::ip::Addresses;
use crate::logs::Logs;
use crate::network::Networks;
use crate::objects::Fetcher;
use crate::pod::live::Live;
use crate::pod::phase::Note;
use crate::pod::spec::{self, Place};
use crate::runtime::Runtime;
use crate::status_writer::Statuses;
use crate::volumes::HostPaths;

/// The node around its pods.
#[derive(Clone)]
pub struct Context {
    /// Runs containers.
    pub runtime: Arc<dyn Runtime>,
    /// The objects of this node's pods.
    pub listed: Lister<Pod>,
    /// Gets images.
    pub images: Images,
    /// What survives this process.
    pub kept: Checkpoints,
    /// Gets `ConfigMap`s, Secrets, services and tokens.
    pub fetcher: Fetcher,
    /// Where pods' directories are.
    pub data_dir: PathBuf,
    /// What pods were granted of the node.
    pub allocations: Allocations,
    /// What of the host pods may see.
    pub host_paths: HostPaths,
    /// Pod addresses.
    pub addresses: Addresses,
    /// Who answers on which address.
    pub local: LocalPods,
    /// The pods' networks.
    pub networks: Networks,
    /// Container logs.
    pub logs: Logs,
    /// Running containers.
    pub live: Live,
    /// How the node is.
    pub vitals: Vitals,
    /// Records events.
    pub recorder: Recorder,
    /// Writes statuses.
    pub statuses: Statuses,
    /// Wall time.
    pub clock: Clock,
    /// The owner of every task.
    pub tasks: Tasks,
    /// The node's address.
    pub host_ip: Option<IpAddr>,
    /// What the node has for pods.
    pub allocatable: BTreeMap<String, Quantity>,
}

impl Context {
    /// Records an event about a pod or one of its containers.
    pub fn record(&self, pod: &Pod, note: &Note) {
        let kind = if note.is_warning { EventType::Warning } else { EventType::Normal };
        let path = note.container.as_ref().map(|container| container_path(pod, container)).unwrap_or_default();
        self.recorder.event_at(pod, &path, kind, note.reason, note.message.clone());
    }
}

fn container_path(pod: &Pod, container: &str) -> String {
    let place = spec::containers(pod).find(|(spec, _)| spec.name == container).map(|(_, place)| place);
    let list = match place {
        Some(Place::Init) => "initContainers",
        Some(Place::Ephemeral) => "ephemeralContainers",
        Some(Place::Main) | None => "containers",
    };
    format!("spec.{list}{{{container}}}")
}
