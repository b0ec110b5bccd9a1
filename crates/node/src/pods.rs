//! This node's pods: one worker per UID, from what the API server says. Level-triggered: a pod that was deleted while we
//! were away simply is not in the list.

mod statics;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use parking_lot::Mutex;
use tokio::sync::watch;
use wkube_base::Latest;
use wkube_client::{Change, Lister};

use crate::checkpoint::Kind as Kept;
use crate::context::Context;
use crate::pod::phase::{Kill, Note};
use crate::pod::remembered::take_up;
use crate::pod::spec;
use crate::pod::view::{Brief, View};
use crate::pod::worker::{Mailbox, Worker};
use crate::static_pods::mirror::{is_static, mirrored};
use crate::volumes;

/// How long a node that has pods on its disk waits for the control plane before it starts them from there. Long enough
/// for a server that is there, so that pods that were deleted meanwhile do not run again for a moment.
pub const OFFLINE_AFTER: Duration = Duration::from_secs(3);

/// How often volumes are compared with the objects behind them (the kubelet's sync period).
const REFRESH_PERIOD: Duration = Duration::from_mins(1);

/// The workers of one node. Clones share them.
#[derive(Clone)]
pub struct Pods(Arc<Shared>);

struct Shared {
    context: Arc<Context>,
    workers: Mutex<BTreeMap<String, Handle>>,
    /// Addresses that were taken at the start for pods that had them before.
    kept: Mutex<BTreeMap<String, IpAddr>>,
    /// What the files of static pods say, by uid.
    statics: Mutex<BTreeMap<String, Arc<Pod>>>,
    /// How many workers there are, for those who wait for the last one.
    count: watch::Sender<usize>,
}

#[derive(Clone)]
struct Handle {
    mailbox: Arc<Mailbox>,
    view: Arc<Latest<View>>,
    /// The pod, if it comes from a file.
    fixed: Option<Arc<Pod>>,
}

/// A pod as the node sees it.
#[derive(Debug, Clone)]
pub struct Known {
    /// The object.
    pub pod: Arc<Pod>,
    /// The newest status, possibly not written yet.
    pub status: PodStatus,
}

impl Pods {
    /// Returns the pods of a node, none yet.
    pub fn new(context: Context) -> Self {
        Self(Arc::new(Shared {
            context: Arc::new(context),
            workers: Mutex::default(),
            kept: Mutex::default(),
            statics: Mutex::default(),
            count: watch::Sender::new(0),
        }))
    }

    /// Waits for the first list, then follows it for ever. If there is none for a while, the pods that are on disk start
    /// as they were; what the list says counts from when it comes.
    pub async fn follow(self, pods: Lister<Pod>) {
        if tokio::time::timeout(OFFLINE_AFTER, pods.ready()).await.is_err() {
            self.start_from_disk().await;
        }
        pods.ready().await;
        let mut all = pods.all();
        all.retain(|pod| mirrored(pod).is_none());
        self.keep_addresses(&all);
        self.give_back_addresses(&all);
        let me = self.clone();
        pods.on_change(move |change| me.take(change));
        self.end_unlisted(&all);
        self.remove_leftovers(&all);
        let mut ticks = tokio::time::interval(REFRESH_PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            for handle in self.0.workers.lock().values() {
                handle.mailbox.refresh();
            }
            self.0.context.fetcher.retain(self.each().map(|known| known.pod));
        }
    }

    /// Starts the pods that this node had when it last looked.
    async fn start_from_disk(&self) {
        let kept = self.0.context.kept.clone();
        let read = tokio::task::spawn_blocking(move || kept.recall_all::<Pod>(Kept::Pods)).await.unwrap_or_default();
        let pods = read.into_iter().map(|(_, pod)| Arc::new(pod));
        let pods: Vec<Arc<Pod>> = pods.filter(|pod| !is_static(pod)).collect();
        if pods.is_empty() {
            return;
        }
        tracing::warn!(pods = pods.len(), "the control plane does not answer; starting the pods that are on disk");
        self.keep_addresses(&pods);
        for pod in &pods {
            self.start(pod, None);
        }
    }

    /// Ends the pods that were started from disk and are not there any more.
    fn end_unlisted(&self, pods: &[Arc<Pod>]) {
        let known: BTreeSet<&str> = pods.iter().map(|pod| spec::uid(pod)).collect();
        let unlisted: Vec<Handle> = {
            let workers = self.0.workers.lock();
            let unlisted = |(uid, handle): &(&String, &Handle)| !known.contains(uid.as_str()) && handle.fixed.is_none();
            workers.iter().filter(unlisted).map(|(_, handle)| handle.clone()).collect()
        };
        for handle in unlisted {
            let known = handle.view.lock().known();
            handle.mailbox.gone(known.map_or(Duration::ZERO, |(pod, _)| spec::grace(&pod)));
        }
    }

    /// A pod keeps its address over a restart, so those are taken before any new one is given.
    fn keep_addresses(&self, pods: &[Arc<Pod>]) {
        for pod in pods.iter().filter(|pod| !spec::is_finished(pod)) {
            let uid = spec::uid(pod);
            if self.0.workers.lock().contains_key(uid) || self.0.kept.lock().contains_key(uid) {
                continue;
            }
            let pod = self.remembered(pod);
            let had = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()?.parse().ok());
            let Some(had) = had else { continue };
            if let Ok(ip) = self.0.context.addresses.take(Some(had)) {
                self.0.kept.lock().insert(uid.to_owned(), ip);
            }
        }
    }

    /// Frees the addresses that were taken for pods which turned out to be gone.
    fn give_back_addresses(&self, pods: &[Arc<Pod>]) {
        let known: BTreeSet<&str> = pods.iter().map(|pod| spec::uid(pod)).collect();
        self.0.kept.lock().retain(|uid, ip| {
            let is_known = known.contains(uid.as_str()) || self.0.statics.lock().contains_key(uid);
            if !is_known {
                self.0.context.addresses.release(*ip);
            }
            is_known
        });
    }

    /// Returns the pod with what is on disk about it.
    fn remembered(&self, pod: &Arc<Pod>) -> Arc<Pod> {
        let kept: Option<Pod> = self.0.context.kept.recall(Kept::Pods, spec::uid(pod));
        let status = kept.and_then(|kept| kept.status);
        status.map_or_else(|| Arc::clone(pod), |status| Arc::new(take_up(pod, &status)))
    }

    /// Removes the directories and files of pods that are gone.
    fn remove_leftovers(&self, pods: &[Arc<Pod>]) {
        let data_dir = &self.0.context.data_dir;
        // A worker removes what is its own once its pod has ended.
        let mut running: Vec<Arc<Pod>> = self.all().into_iter().map(|known| known.pod).collect();
        running.extend(self.0.statics.lock().values().cloned());
        let known: BTreeSet<_> = pods.iter().chain(&running).map(|pod| volumes::pod_dir(data_dir, pod)).collect();
        let uids: BTreeSet<&str> = pods.iter().chain(&running).map(|pod| spec::uid(pod)).collect();
        self.0.context.kept.retain(Kept::Pods, |uid| uids.contains(uid));
        let Ok(entries) = std::fs::read_dir(data_dir.join("pods")) else { return };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| !known.contains(path)) {
            volumes::remove(&path);
        }
    }

    fn take(&self, change: &Change<Pod>) {
        match change {
            Change::Applied { now, .. } if mirrored(now).is_some() => {
                self.look_at_mirror(mirrored(now).unwrap_or_default(), now, false);
            }
            Change::Deleted(last) if mirrored(last).is_some() => {
                self.look_at_mirror(mirrored(last).unwrap_or_default(), last, true);
            }
            Change::Applied { now, before } => {
                if let Some(before) = before
                    && spec::uid(before) != spec::uid(now)
                {
                    // A namesake: a StatefulSet's pod was replaced between two looks.
                    self.gone(before);
                }
                self.apply(now);
            }
            Change::Deleted(last) => self.gone(last),
        }
    }

    fn apply(&self, pod: &Arc<Pod>) {
        if let Some(handle) = self.0.workers.lock().get(spec::uid(pod)) {
            handle.mailbox.desired(Arc::clone(pod));
            return;
        }
        self.start(&self.remembered(pod), Some(Arc::clone(pod)));
        self.refuse_under_pressure(pod);
    }

    /// Ends a pod before it begins if the node cannot bear any more. One that ran here before stays.
    fn refuse_under_pressure(&self, pod: &Pod) {
        let is_new = pod.status.as_ref().is_none_or(|status| status.start_time.is_none());
        let refusal = self.0.context.vitals.refusal(pod).filter(|_| is_new);
        let Some(message) = refusal else { return };
        self.0.context.record(pod, &Note::warning("Evicted", message.clone()));
        self.kill(spec::uid(pod), Duration::ZERO, Kill::Rejected { reason: "Evicted", message });
    }

    /// Starts a pod's worker. `shown` is what the API server says, if it can be asked.
    fn start(&self, pod: &Arc<Pod>, shown: Option<Arc<Pod>>) {
        let uid = spec::uid(pod).to_owned();
        let mut workers = self.0.workers.lock();
        let mailbox = Arc::new(Mailbox::default());
        let view = Arc::<Latest<View>>::default();
        let address = self.0.kept.lock().remove(&uid);
        let worker = Box::new(Worker::new(self.0.context.clone(), Arc::clone(&mailbox), Arc::clone(&view), address));
        workers.insert(uid.clone(), Handle { mailbox, view, fixed: Self::fixed(pod) });
        self.0.count.send_replace(workers.len());
        drop(workers);
        let (me, pod) = (self.clone(), Arc::clone(pod));
        self.0.context.tasks.spawn("pod", async move {
            worker.run(pod, shown).await;
            // Not with the object it began with: that would be kept all its life beside the newest.
            me.ended(&uid).await;
        });
    }

    fn gone(&self, pod: &Pod) {
        let handle = self.0.workers.lock().get(spec::uid(pod)).cloned();
        if let Some(handle) = handle {
            handle.mailbox.gone(spec::deletion_grace(pod).unwrap_or_else(|| spec::grace(pod)));
        }
    }

    /// Cleans up after a worker. What belongs to a pod that only sleeps while the agent restarts stays.
    async fn ended(&self, uid: &str) {
        let handle = self.0.workers.lock().remove(uid);
        let known = handle.as_ref().and_then(|handle| handle.view.lock().known());
        let pod = known.map(|(pod, _)| pod).unwrap_or_default();
        let was_deleted = handle.as_ref().is_some_and(|handle| handle.mailbox.is_gone());
        let is_fixed = handle.is_some_and(|handle| handle.fixed.is_some());
        if was_deleted {
            if is_fixed {
                self.0.context.statuses.forget(&pod);
            } else {
                self.0.context.statuses.drop_pod(uid);
            }
            self.0.context.kept.forget(Kept::Pods, uid);
            let dir = volumes::pod_dir(&self.0.context.data_dir, &pod);
            let _ = tokio::task::spawn_blocking(move || volumes::remove(&dir)).await;
        }
        let left = self.0.workers.lock().len();
        self.0.count.send_replace(left);
        if was_deleted && is_fixed {
            // A changed file's new pod has waited for this one to end.
            self.settle_static();
        }
    }

    /// Ends one pod; nothing happens if it is not here.
    pub fn kill(&self, uid: &str, grace: Duration, kill: Kill) {
        if let Some(handle) = self.0.workers.lock().get(uid) {
            handle.mailbox.kill(grace, kill);
        }
    }

    /// Stops every pod because the agent stops, and waits until nothing runs or `deadline` has passed. Objects stay.
    pub async fn shut_down(&self, deadline: Duration) {
        for handle in self.0.workers.lock().values() {
            handle.mailbox.kill(deadline, Kill::NodeShutdown);
        }
        let nothing_runs = async {
            loop {
                let views: Vec<_> = self.0.workers.lock().values().map(|handle| handle.view.clone()).collect();
                for view in views {
                    view.wait_until(|view| view.is_stopped).await;
                }
                if self.0.workers.lock().values().all(|handle| handle.view.lock().is_stopped) {
                    return;
                }
            }
        };
        if tokio::time::timeout(deadline, nothing_runs).await.is_err() {
            tracing::warn!("some pods did not stop in time");
        }
    }

    /// Returns the pod of this name.
    pub fn find(&self, namespace: &str, name: &str) -> Option<Known> {
        self.those(|brief| brief.namespace == namespace && brief.name == name).next()
    }

    /// Returns every pod, all at once.
    pub fn all(&self) -> Vec<Known> {
        self.each().collect()
    }

    /// Returns every pod. Pods at rest are unpacked for this: not for what happens every second.
    pub fn each(&self) -> impl Iterator<Item = Known> {
        self.those(|_| true)
    }

    /// Returns the pods that `accept` takes. Only those are unpacked, and each when it is its turn: unpacked all at once, they
    /// would be as much as the agent has otherwise, and what they leave to the allocator stays in memory.
    pub fn those(&self, accept: impl Fn(&Brief) -> bool) -> impl Iterator<Item = Known> {
        let views: Vec<_> = self.0.workers.lock().values().map(|handle| handle.view.clone()).collect();
        views.into_iter().filter_map(move |view| {
            let view = view.lock();
            let (pod, status) = accept(view.brief()).then(|| view.known())??;
            Some(Known { pod, status })
        })
    }

    /// Returns the uid of every pod.
    pub fn uids(&self) -> BTreeSet<String> {
        self.0.workers.lock().keys().cloned().collect()
    }

    /// Returns what the workers share.
    pub fn context(&self) -> &Arc<Context> {
        &self.0.context
    }

    /// Returns a receiver of how many pods there are.
    pub fn count(&self) -> watch::Receiver<usize> {
        self.0.count.subscribe()
    }
}

#[cfg(test)]
#[path = "pods_tests.rs"]
pub(crate) mod tests;
