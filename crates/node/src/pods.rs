//! This node's pods: one worker per UID, from what the API server says. Level-triggered: a pod that was deleted while we
//! were away simply is not in the list.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use parking_lot::Mutex;
use tokio::sync::watch;
use wkube_client::{Change, Lister};

use crate::context::Context;
use crate::pod::phase::Kill;
use crate::pod::spec;
use crate::pod::worker::{Mailbox, View, Worker};
use crate::volumes;

/// How often volumes are compared with the objects behind them (the kubelet's sync period).
const REFRESH_PERIOD: Duration = Duration::from_mins(1);

/// The workers of one node. Clones share them.
#[derive(Clone)]
pub struct Pods(Arc<Shared>);

struct Shared {
    context: Context,
    workers: Mutex<BTreeMap<String, Handle>>,
    /// Addresses that were taken at the start for pods that had them before.
    kept: Mutex<BTreeMap<String, IpAddr>>,
    /// How many workers there are, for those who wait for the last one.
    count: watch::Sender<usize>,
}

#[derive(Clone)]
struct Handle {
    mailbox: Arc<Mailbox>,
    view: watch::Receiver<View>,
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
        let shared =
            Shared { context, workers: Mutex::default(), kept: Mutex::default(), count: watch::Sender::new(0) };
        Self(Arc::new(shared))
    }

    /// Waits for the first list, then follows it for ever.
    pub async fn follow(self, pods: Lister<Pod>) {
        pods.ready().await;
        let all = pods.all();
        self.keep_addresses(&all);
        self.remove_leftovers(&all);
        let me = self.clone();
        pods.on_change(move |change| me.take(change));
        let mut ticks = tokio::time::interval(REFRESH_PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            for handle in self.0.workers.lock().values() {
                handle.mailbox.refresh();
            }
        }
    }

    /// A pod keeps its address over a restart, so those are taken before any new one is given.
    fn keep_addresses(&self, pods: &[Arc<Pod>]) {
        for pod in pods.iter().filter(|pod| !spec::is_finished(pod)) {
            let had = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()?.parse().ok());
            let Some(had) = had else { continue };
            if let Ok(ip) = self.0.context.addresses.take(Some(had)) {
                self.0.kept.lock().insert(spec::uid(pod).to_owned(), ip);
            }
        }
    }

    /// Removes the directories of pods that are gone.
    fn remove_leftovers(&self, pods: &[Arc<Pod>]) {
        let data_dir = &self.0.context.data_dir;
        let known: BTreeSet<_> = pods.iter().map(|pod| volumes::pod_dir(data_dir, pod)).collect();
        let Ok(entries) = std::fs::read_dir(data_dir.join("pods")) else { return };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| !known.contains(path)) {
            remove_dir(&path);
        }
    }

    fn take(&self, change: &Change<Pod>) {
        match change {
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
        let uid = spec::uid(pod).to_owned();
        let mut workers = self.0.workers.lock();
        if let Some(handle) = workers.get(&uid) {
            handle.mailbox.desired(Arc::clone(pod));
            return;
        }
        let mailbox = Arc::new(Mailbox::default());
        let (view, seen) = watch::channel(View::default());
        let address = self.0.kept.lock().remove(&uid);
        let worker = Worker::new(self.0.context.clone(), Arc::clone(&mailbox), Arc::new(view), address);
        workers.insert(uid.clone(), Handle { mailbox, view: seen });
        self.0.count.send_replace(workers.len());
        drop(workers);
        let (me, pod) = (self.clone(), Arc::clone(pod));
        self.0.context.tasks.spawn("pod", async move {
            worker.run(Arc::clone(&pod)).await;
            me.ended(&uid, &pod).await;
        });
    }

    fn gone(&self, pod: &Pod) {
        let handle = self.0.workers.lock().get(spec::uid(pod)).cloned();
        if let Some(handle) = handle {
            handle.mailbox.gone(spec::deletion_grace(pod).unwrap_or_else(|| spec::grace(pod)));
        }
    }

    /// Cleans up after a worker. What belongs to a pod that only sleeps while the agent restarts stays.
    async fn ended(&self, uid: &str, pod: &Pod) {
        let handle = self.0.workers.lock().remove(uid);
        let was_deleted = handle.is_some_and(|handle| handle.mailbox.is_gone());
        if was_deleted {
            self.0.context.statuses.drop_pod(uid);
            let dir = volumes::pod_dir(&self.0.context.data_dir, pod);
            let _ = tokio::task::spawn_blocking(move || remove_dir(&dir)).await;
        }
        let left = self.0.workers.lock().len();
        self.0.count.send_replace(left);
    }

    /// Stops every pod because the agent stops, and waits until nothing runs or `deadline` has passed. Objects stay.
    pub async fn shut_down(&self, deadline: Duration) {
        for handle in self.0.workers.lock().values() {
            handle.mailbox.kill(deadline, Kill::NodeShutdown);
        }
        let nothing_runs = async {
            loop {
                let views: Vec<_> = self.0.workers.lock().values().map(|handle| handle.view.clone()).collect();
                for mut view in views {
                    // An error means that the worker is gone.
                    let _ = view.wait_for(|view| view.is_stopped).await;
                }
                if self.0.workers.lock().values().all(|handle| handle.view.borrow().is_stopped) {
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
        self.all().into_iter().find(|known| spec::namespace(&known.pod) == namespace && spec::name(&known.pod) == name)
    }

    /// Returns every pod.
    pub fn all(&self) -> Vec<Known> {
        let workers = self.0.workers.lock();
        let known = workers.values().filter_map(|handle| {
            let view = handle.view.borrow();
            Some(Known { pod: view.pod.clone()?, status: view.status.clone()? })
        });
        known.collect()
    }

    /// Returns what the workers share.
    pub fn context(&self) -> &Context {
        &self.0.context
    }

    /// Returns a receiver of how many pods there are.
    pub fn count(&self) -> watch::Receiver<usize> {
        self.0.count.subscribe()
    }
}

fn remove_dir(path: &Path) {
    if let Err(error) = std::fs::remove_dir_all(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "cannot remove a pod's directory");
    }
}

#[cfg(test)]
#[path = "pods_tests.rs"]
pub(crate) mod tests;
