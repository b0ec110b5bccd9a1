//! What the containers of one pod share: its limits, as control groups of a pod have them.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use wkube_wasm_runtime::{Allowance, Engine, Limits};

use crate::runtime::{ContainerSpec, Share};

/// The pods that have containers now, by uid.
#[derive(Clone, Default)]
pub(super) struct Shared(Arc<Mutex<BTreeMap<String, Entry>>>);

struct Entry {
    allowance: Allowance,
    containers: usize,
}

/// One container's hold on what its pod shares.
pub(super) struct Held {
    shared: Shared,
    uid: String,
    allowance: Allowance,
}

impl Shared {
    /// Returns the pod's allowance, until the last container lets go of it.
    pub(super) fn hold(&self, engine: &Engine, spec: &ContainerSpec) -> Held {
        let limits = limits_of(&spec.share);
        let uid = spec.pod.uid.clone();
        let mut pods = self.0.lock();
        let made = || Entry { allowance: engine.allowance(&limits), containers: 0 };
        let entry = pods.entry(uid.clone()).or_insert_with(made);
        entry.containers += 1;
        // The pod's limits may be others than when its first container started.
        entry.allowance.resize(&limits);
        let allowance = entry.allowance.clone();
        Held { shared: self.clone(), uid, allowance }
    }
}

fn limits_of(share: &Share) -> Limits {
    Limits {
        memory_bytes: share.pod_memory_bytes.unwrap_or(u64::MAX),
        cpu_millis: share.pod_cpu_millis,
        ..Limits::default()
    }
}

impl Held {
    /// Returns a container's part of it.
    pub(super) fn part(&self, limits: &Limits) -> Allowance {
        self.allowance.part(limits)
    }

    /// Sets other limits of the pod.
    pub(super) fn resize(&self, share: &Share) {
        self.allowance.resize(&limits_of(share));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut pods = self.shared.0.lock();
        if let Some(entry) = pods.get_mut(&self.uid) {
            entry.containers -= 1;
            if entry.containers == 0 {
                pods.remove(&self.uid);
            }
        }
    }
}
