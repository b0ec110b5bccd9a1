//! The figures of one look at the node, from which every format is written.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, PodStatus};
use wkube_api::stats::{ContainerUsage, Usage};

use crate::eviction::local;
use crate::eviction::signals::{Observation, Signal};
use crate::eviction::vitals::Vitals;
use crate::pod::{qos, spec};
use crate::pods::Known;

/// The node.
#[derive(Debug, Clone)]
pub struct Figures {
    /// When they were taken.
    pub now: Timestamp,
    /// What the machine uses.
    pub machine: Usage,
    /// What is left of everything, and what there is.
    pub observations: Vec<Observation>,
    /// The pods that have not ended.
    pub pods: Vec<PodFigures>,
}

/// A pod.
#[derive(Debug, Clone)]
pub struct PodFigures {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// When it began here.
    pub started_at: Option<Timestamp>,
    /// The containers that run.
    pub containers: Vec<ContainerFigures>,
    /// What it has on disk, if that has been measured.
    pub disk: Option<local::Usage>,
    /// What of that counts against its limit.
    pub disk_bytes: u64,
    /// How many files that is.
    pub disk_inodes: u64,
}

/// A container that runs.
#[derive(Debug, Clone)]
pub struct ContainerFigures {
    /// Its name.
    pub name: String,
    /// The image as the spec names it.
    pub image: String,
    /// Its id in the pod's status.
    pub id: String,
    /// When it was started.
    pub started_at: Option<Timestamp>,
    /// What it uses.
    pub usage: Usage,
    /// `limits.memory`, 0 for none.
    pub memory_limit: u64,
    /// `limits.cpu` in thousandths, if it has one.
    pub cpu_limit: Option<u64>,
    /// Its weight among others.
    pub shares: u32,
}

impl Figures {
    /// Brings together what is known.
    pub fn new(
        pods: impl Iterator<Item = Known>,
        used: &[ContainerUsage],
        vitals: &Vitals,
        machine: Usage,
        now: Timestamp,
    ) -> Self {
        let pods = pods.filter(|known| !is_over(&known.status)).map(|known| of_pod(&known, used, vitals));
        Self { now, machine, observations: vitals.observations(), pods: pods.collect() }
    }

    /// Returns what was seen of one resource.
    pub fn of(&self, signal: Signal) -> Option<&Observation> {
        self.observations.iter().find(|seen| seen.signal == signal)
    }
}

impl PodFigures {
    /// Returns what its containers use together.
    pub fn usage(&self) -> Usage {
        self.containers.iter().fold(Usage::default(), |sum, container| Usage {
            cpu_nanos: sum.cpu_nanos.saturating_add(container.usage.cpu_nanos),
            memory_bytes: sum.memory_bytes.saturating_add(container.usage.memory_bytes),
        })
    }
}

fn is_over(status: &PodStatus) -> bool {
    matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"))
}

fn of_pod(known: &Known, used: &[ContainerUsage], vitals: &Vitals) -> PodFigures {
    let (pod, uid) = (&known.pod, spec::uid(&known.pod));
    let status_of = |name: &str| -> Option<&ContainerStatus> {
        let status = &known.status;
        let lists = [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses];
        lists.into_iter().flatten().flatten().find(|status| status.name == name)
    };
    let containers = used.iter().filter(|one| one.pod_uid == uid).filter_map(|one| {
        let container = spec::container(pod, &one.name)?;
        let status = status_of(&one.name);
        let running = status.and_then(|status| status.state.as_ref()?.running.as_ref());
        Some(ContainerFigures {
            name: one.name.clone(),
            image: container.image.clone().unwrap_or_default(),
            id: status.and_then(|status| status.container_id.clone()).unwrap_or_default(),
            started_at: running.and_then(|running| Some(running.started_at.as_ref()?.0)),
            usage: one.usage,
            memory_limit: spec::limit(&container, "memory").map_or(0, qos::units),
            cpu_limit: spec::limit(&container, "cpu").and_then(|cpu| u64::try_from(cpu.milli()).ok()),
            shares: qos::shares(&container),
        })
    });
    let disk = vitals.disk_of(uid);
    let on_disk = disk.as_ref().map(|disk| disk.of_pod(pod)).unwrap_or_default();
    PodFigures {
        namespace: spec::namespace(pod).to_owned(),
        name: spec::name(pod).to_owned(),
        uid: uid.to_owned(),
        started_at: known.status.start_time.as_ref().map(|time| time.0),
        containers: containers.collect(),
        disk,
        disk_bytes: on_disk.disk,
        disk_inodes: on_disk.inodes,
    }
}

/// Returns seconds with their fraction, as Prometheus wants them.
#[expect(clippy::cast_precision_loss, reason = "a float has microseconds for centuries")]
pub fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

/// Returns an instant as seconds since 1970.
pub fn epoch_seconds(time: Timestamp) -> f64 {
    time.as_duration().as_secs_f64()
}
