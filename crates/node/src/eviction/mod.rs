//! The node looks after itself: it measures what is left, says under what pressure it is, refuses guests more memory
//! before it runs out, and evicts pods, one at a time.
//!
//! ```text
//!  signals --> manager --> conditions --> vitals --> node status, who may come
//!     |           '------> relieve: images first, then rank --> evict
//!     '--> room for guests --> the runtime, at every growth of a memory
//!  walk --> local --> evict those over their own limits
//! ```

pub mod local;
pub mod manager;
pub mod message;
pub mod pace;
pub mod rank;
pub mod signals;
pub mod thresholds;
pub mod vitals;
pub mod walk;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;
use wkube_client::EventType;

use self::local::{Size, Usage};
use self::manager::{Decision, Manager};
use self::rank::{PodUsage, is_critical, rank};
use self::signals::{Observation, Signal};
use self::thresholds::{Threshold, Thresholds};
use crate::image_keeper;
use crate::metrics::kubelet;
use crate::node_events;
use crate::pod::phase::{Kill, Note};
use crate::pod::spec;
use crate::pods::{Known, Pods};
use crate::volumes;

/// How often everything is looked at (`monitoringInterval`); memory more often, see [`pace`].
const LOOK_PERIOD: Duration = Duration::from_secs(10);
/// How often pods are measured that have no limit on disk: only for statistics.
const UNLIMITED_PERIOD: Duration = Duration::from_mins(1);
/// How long an evicted pod's containers have (`immediateEvictionGracePeriodSeconds`).
const GRACE: Duration = Duration::from_secs(1);
/// How long to wait for what an eviction frees before the next (`podCleanupTimeout`).
const CLEANUP_MAX: Duration = Duration::from_secs(30);

/// The task that looks after a node.
pub struct Evictor {
    pods: Pods,
    manager: Manager,
    node: String,
    looked_at: Option<Instant>,
    measured_all_at: Option<Instant>,
    /// Who was evicted last, and when: the next one waits until that one is gone.
    going: Option<(String, Instant)>,
}

impl Evictor {
    /// Returns an evictor for `node` that has not looked yet.
    pub fn new(pods: Pods, node: String, thresholds: Thresholds) -> Self {
        let manager = Manager::new(thresholds);
        Self { pods, manager, node, looked_at: None, measured_all_at: None, going: None }
    }

    /// Looks after the node for ever.
    pub async fn run(mut self) {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        loop {
            let memory = signals::memory();
            let least = self.manager.thresholds().of(Signal::Memory).copied();
            if let Some(seen) = memory {
                let kept = least.map_or(0, |least| least.amount(seen.capacity));
                self.pods.context().runtime.set_memory_room(seen.available.saturating_sub(kept));
            }
            let is_short = memory.is_some_and(|seen| least.is_some_and(|least| least.is_met(&seen)));
            let is_due = self.looked_at.is_none_or(|at| at.elapsed() >= LOOK_PERIOD);
            if is_due {
                self.looked_at = Some(Instant::now());
                self.look().await;
            } else if is_short {
                self.relieve_memory(memory);
            }
            tokio::time::sleep(pace::until_next_look(memory.map(|seen| seen.available), cpus)).await;
        }
    }

    /// Looks at everything.
    async fn look(&mut self) {
        self.measure_disk().await;
        let context = self.pods.context().clone();
        context.vitals.set_images(context.runtime.images().await);
        self.evict_over_limits();
        let seen = self.observe().await;
        let decision = self.decide(seen);
        let Some((threshold, _)) = decision.relieve else { return };
        if threshold.signal.condition() == signals::Condition::DiskPressure {
            // Images that nobody uses go before pods (`reclaimNodeLevelResources`).
            image_keeper::free_all(&self.pods).await;
            let seen = self.observe().await;
            if let Some((threshold, seen)) = self.decide(seen).relieve {
                self.relieve(&threshold, &seen);
            }
            return;
        }
        if let Some((threshold, seen)) = decision.relieve {
            self.relieve(&threshold, &seen);
        }
    }

    /// Between two looks at everything: what else was seen last stays as it was.
    fn relieve_memory(&mut self, memory: Option<Observation>) {
        let mut seen = self.pods.context().vitals.observations();
        seen.retain(|seen| seen.signal != Signal::Memory);
        seen.extend(memory);
        if let Some((threshold, seen)) = self.decide(seen).relieve
            && threshold.signal == Signal::Memory
        {
            self.relieve(&threshold, &seen);
        }
    }

    async fn observe(&self) -> Vec<Observation> {
        let data_dir = self.pods.context().data_dir.clone();
        // A file system may be slow to answer.
        let reading = tokio::task::spawn_blocking(move || signals::observe(&data_dir, &data_dir));
        reading.await.unwrap_or_default()
    }

    fn decide(&mut self, seen: Vec<Observation>) -> Decision {
        let context = self.pods.context();
        let decision = self.manager.look(&seen, context.clock.now());
        let before = context.vitals.conditions();
        for condition in decision.conditions.difference(&before) {
            tracing::warn!(node = self.node, condition = condition.name(), "the node is under pressure");
        }
        for condition in before.difference(&decision.conditions) {
            tracing::info!(node = self.node, condition = condition.name(), "the pressure is over");
        }
        context.vitals.set_state(decision.conditions.clone(), seen);
        decision
    }

    fn relieve(&mut self, threshold: &Threshold, seen: &Observation) {
        let mut running = self.running();
        if let Some((uid, at)) = &self.going
            && at.elapsed() < CLEANUP_MAX
            && running.iter().any(|(known, _)| spec::uid(&known.pod) == *uid)
        {
            return;
        }
        let signal = threshold.signal;
        let text = format!("Attempting to reclaim {}", signal.resource());
        self.pods.context().recorder.event(
            &node_events::reference(&self.node),
            EventType::Warning,
            "EvictionThresholdMet",
            text,
        );
        rank(&mut running, signal, |(known, usage)| (&known.pod, *usage));
        for (known, _) in running {
            let uid = spec::uid(&known.pod).to_owned();
            let used = |container: &str| self.used(&uid, container, signal);
            let message = message::message(&known.pod, threshold, seen, used);
            if evict(&self.pods, &known, message) {
                kubelet::evicted(signal.name());
                self.going = Some((uid, Instant::now()));
                return;
            }
        }
        tracing::error!(node = self.node, signal = signal.name(), "short of something, and there is no pod to evict");
    }

    /// Returns the pods that are neither over nor stopping, with what they use.
    fn running(&self) -> Vec<(Known, PodUsage)> {
        let context = self.pods.context();
        let live = context.live.usage();
        let with_usage = |known: Known| {
            let uid = spec::uid(&known.pod);
            let disk = context.vitals.disk_of(uid).unwrap_or_default();
            let memory = live.iter().filter(|one| one.pod_uid == uid).map(|one| one.usage.memory_bytes).sum::<u64>();
            let usage = PodUsage { memory: memory + disk.in_memory(&known.pod), ..disk.of_pod(&known.pod) };
            (known, usage)
        };
        self.pods.all().into_iter().filter(|known| !is_over(known)).map(with_usage).collect()
    }

    fn used(&self, uid: &str, container: &str, signal: Signal) -> Option<u64> {
        let context = self.pods.context();
        match signal {
            Signal::Memory => {
                let live = context.live.usage().into_iter();
                live.filter(|one| one.pod_uid == uid && one.name == container).map(|one| one.usage.memory_bytes).next()
            }
            Signal::NodeDisk | Signal::ImageDisk => Some(context.vitals.disk_of(uid)?.of_container(container)),
            Signal::NodeInodes | Signal::Pids => None,
        }
    }

    fn evict_over_limits(&self) {
        for known in self.pods.those(|pod| pod.has_disk_limits).filter(|known| !is_over(known)) {
            let usage = self.pods.context().vitals.disk_of(spec::uid(&known.pod));
            let Some(found) = usage.and_then(|usage| local::violation(&known.pod, &usage)) else { continue };
            if evict(&self.pods, &known, found.message) {
                kubelet::evicted(found.signal);
            }
        }
    }

    async fn measure_disk(&mut self) {
        let is_for_all = self.measured_all_at.is_none_or(|at| at.elapsed() >= UNLIMITED_PERIOD);
        if is_for_all {
            self.measured_all_at = Some(Instant::now());
        }
        let context = self.pods.context().clone();
        context.vitals.retain(&self.pods.uids());
        let known = self.pods.those(|pod| is_for_all || pod.has_disk_limits);
        let dirs: Vec<_> = known
            .filter(|known| !is_over(known))
            .map(|known| Dirs::of(&known, &volumes::pod_dir(&context.data_dir, &known.pod)))
            .collect();
        let measuring = tokio::task::spawn_blocking(move || {
            for pod in dirs {
                context.vitals.set_disk(&pod.uid, pod.measure());
            }
        });
        if let Err(error) = measuring.await {
            tracing::error!(%error, "pods could not be measured");
        }
    }
}

/// Ends a pod because of what the node, or the pod, can no longer bear. Returns whether it may be ended.
fn evict(pods: &Pods, known: &Known, message: String) -> bool {
    let name = spec::full_name(&known.pod);
    if is_critical(&known.pod) {
        tracing::error!(pod = name, "a critical pod should be evicted, and cannot be");
        return false;
    }
    tracing::warn!(pod = name, message, "evicting");
    pods.context().record(&known.pod, &Note::warning("Evicted", message.clone()));
    pods.kill(spec::uid(&known.pod), GRACE, Kill::Evicted { message });
    true
}

fn is_over(known: &Known) -> bool {
    matches!(known.status.phase.as_deref(), Some("Succeeded" | "Failed"))
        || known.status.reason.as_deref() == Some("Evicted")
}

/// Where a pod's files are.
struct Dirs {
    uid: String,
    roots: Vec<(String, PathBuf)>,
    logs: Vec<(String, PathBuf)>,
    volumes: Vec<(String, PathBuf)>,
}

impl Dirs {
    fn of(known: &Known, pod_dir: &Path) -> Self {
        let names: Vec<String> = spec::containers(&known.pod).map(|(container, _)| container.name.clone()).collect();
        let below = |dir: PathBuf| names.iter().map(|name| (name.clone(), dir.join(name))).collect();
        Self {
            uid: spec::uid(&known.pod).to_owned(),
            roots: below(volumes::root::roots(pod_dir)),
            logs: below(pod_dir.to_owned()),
            volumes: local::empty_dirs(&known.pod)
                .map(|(name, _)| (name.to_owned(), volumes::dir_of(pod_dir, name)))
                .collect(),
        }
    }

    fn measure(&self) -> Usage {
        let sizes = |dirs: &[(String, PathBuf)]| -> BTreeMap<String, Size> {
            dirs.iter().map(|(name, dir)| (name.clone(), walk::size_of(dir))).collect()
        };
        Usage { roots: sizes(&self.roots), logs: sizes(&self.logs), volumes: sizes(&self.volumes) }
    }
}

#[cfg(test)]
mod tests;
