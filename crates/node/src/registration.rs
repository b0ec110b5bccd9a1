//! How a node begins: registered, if the control plane answers; else as the one that it was when it was registered last.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde::{Deserialize, Serialize};
use wkube_base::{Clock, Tasks};
use wkube_client::{Client, EventType, Recorder};

use crate::checkpoint::{Checkpoints, Kind};
use crate::ip::{Addresses, Cidr};
use crate::node_events;
use crate::pods::OFFLINE_AFTER;
use crate::register::{Identity, Registrar, owner};

/// The key of the one thing of its kind.
const SELF: &str = "self";

/// What of the node's object outlives the agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    name: String,
    pod_cidr: String,
    owner: Option<OwnerReference>,
}

/// A node that may begin.
pub struct Registration {
    registrar: Registrar,
    recorder: Recorder,
    kept: Checkpoints,
    name: String,
    cidr: Cidr,
    owner: Option<OwnerReference>,
    is_told: bool,
}

impl Registration {
    /// Registers. A node that was registered before does not wait longer than [`OFFLINE_AFTER`].
    pub async fn begin(client: &Client, identity: Identity, clock: &Clock, kept: &Checkpoints, tasks: &Tasks) -> Self {
        let name = identity.name.clone();
        let before = kept.recall::<Record>(Kind::Node, SELF).filter(|record| record.name == name);
        let before = before.and_then(|record| Some((Cidr::parse(&record.pod_cidr)?, record.owner)));
        let recorder = Recorder::new(client, clock, "kubelet", &name, tasks);
        recorder.event(&node_events::reference(&name), EventType::Normal, "Starting", "Starting kubelet.");
        let registrar = Registrar::new(client, identity, clock, &recorder, before.as_ref().map(|(cidr, _)| *cidr));
        let registering = register(&registrar, kept, &name);
        let told = match before {
            None => Some(registering.await),
            Some(_) => tokio::time::timeout(OFFLINE_AFTER, registering).await.ok(),
        };
        let is_told = told.is_some();
        if !is_told {
            tracing::warn!(node = name, "the control plane does not answer; going on without it");
        }
        let (cidr, owner) = told.or(before).expect("a node that was never registered waits until it is");
        Self { registrar, recorder, kept: kept.clone(), name, cidr, owner, is_told }
    }

    /// Returns the range of the node's pods.
    pub fn cidr(&self) -> Cidr {
        self.cidr
    }

    /// Returns what records events as this node's kubelet.
    pub fn recorder(&self) -> Recorder {
        self.recorder.clone()
    }

    /// Returns the reference by which things belong to the node.
    pub fn owner(&self) -> Option<OwnerReference> {
        self.owner.clone()
    }

    /// Keeps the node's object as it should be, for ever. A node that began alone registers once the control plane
    /// answers; if it is given another range then, its new pods get their addresses from there.
    pub async fn keep(self, addresses: Addresses) {
        if !self.is_told {
            let (cidr, _) = register(&self.registrar, &self.kept, &self.name).await;
            if cidr != self.cidr {
                tracing::warn!(node = self.name, before = %self.cidr, now = %cidr, "the node was given another range of addresses");
                addresses.move_to(cidr);
            }
        }
        self.registrar.keep_status().await;
    }
}

async fn register(registrar: &Registrar, kept: &Checkpoints, name: &str) -> (Cidr, Option<OwnerReference>) {
    let node = registrar.register().await;
    let cidr = registrar.pod_cidr(&node).await;
    let owner = owner(&node);
    kept.keep(Kind::Node, SELF, &Record { name: name.to_owned(), pod_cidr: cidr.to_string(), owner: owner.clone() });
    (cidr, owner)
}
