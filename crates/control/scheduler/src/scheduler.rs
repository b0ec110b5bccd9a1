//! The shell: keeps snapshot and queue up to date, decides, binds, reports.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use k8s_openapi::api::core::v1::{Binding, Node, ObjectReference, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{debug, info, warn};
use wkube_base::{Clock, Rng, Tasks};
use wkube_client::{Api, Change, Client, EventType, Informers, Kind as _, Lister, Recorder};

use crate::framework::{ClusterEvent, Profile, default_profile};
use crate::pod::{PodInfo, SCHEDULER_NAME, nominated_node};
use crate::preempt::{Preemption, Refusal, preempt};
use crate::queue::PodQueue;
use crate::schedule::{Unschedulable, schedule};
use crate::snapshot::{NodeName, Snapshot};

mod report;
mod victims;

use report::Nomination;

/// How many bindings and reports are under way at once. Enough to fill one group commit of the store, few enough not
/// to keep everybody else from the API server.
const REQUESTS_MAX: usize = 32;

/// How long to wait for somebody to change something, if nothing is due.
const IDLE: Duration = Duration::from_hours(1);

/// Starts the scheduler; it stops with `tasks`.
#[expect(clippy::needless_pass_by_value, reason = "the scheduler gets its own way to the API")]
pub fn start(client: Client, informers: &Informers, clock: Clock, rng: Rng, tasks: &Tasks) {
    let client = client.named(SCHEDULER_NAME);
    let recorder = Recorder::new(&client, &clock, SCHEDULER_NAME, "", tasks);
    let (nodes, pods) = (informers.lister::<Node>(), informers.lister::<Pod>());
    let budgets = informers.lister::<PodDisruptionBudget>();
    let cluster = Arc::new(Cluster::new(default_profile()));
    let watching = Arc::clone(&cluster);
    nodes.on_change(move |change| watching.node_changed(change));
    let watching = Arc::clone(&cluster);
    pods.on_change(move |change| watching.pod_changed(change));
    let scheduler = Scheduler { cluster, pods: Api::new(&client), budgets, recorder, clock, rng };
    tasks.spawn("scheduler", async move {
        // A decision on half of the pods would over-commit nodes.
        nodes.ready().await;
        pods.ready().await;
        scheduler.budgets.ready().await;
        scheduler.run().await;
    });
}

/// What the informers feed and the decisions read.
struct Cluster {
    state: Mutex<State>,
    profile: Profile,
    changed: Notify,
}

#[derive(Default)]
struct State {
    snapshot: Snapshot,
    queue: PodQueue,
}

/// Whether a change gave up room that was kept for a pod.
#[derive(PartialEq, Eq)]
enum Room {
    AsBefore,
    Freed,
}

impl State {
    /// Takes in what a pod's status says of the node that is kept for it. Only a change counts: until the watch shows our
    /// own report, what we decided stays (`UpdateNominatedPod`).
    fn follow_nomination(&mut self, pod: &Arc<PodInfo>, before: Option<&Pod>) -> Room {
        let now = pod.nominated_node();
        let node = if now == before.and_then(nominated_node) {
            self.snapshot.nomination(pod.uid()).cloned()
        } else {
            now.map(|name| NodeName(name.to_owned()))
        };
        match node {
            Some(node) => self.snapshot.nominate(pod, &node),
            None if self.snapshot.withdraw(pod.uid()) => return Room::Freed,
            None => {}
        }
        Room::AsBefore
    }
}

impl Cluster {
    fn new(profile: Profile) -> Self {
        Self { state: Mutex::default(), profile, changed: Notify::new() }
    }

    fn node_changed(&self, change: &Change<Node>) {
        let mut state = self.state.lock();
        match change {
            Change::Applied { now, before } => {
                state.snapshot.set_node(Arc::clone(now));
                for event in node_events(now, before.as_deref()) {
                    self.wake(&mut state.queue, event);
                }
            }
            Change::Deleted(node) => state.snapshot.remove_node(node.name()),
        }
    }

    fn pod_changed(&self, change: &Change<Pod>) {
        let pod = Arc::new(PodInfo::new(Arc::clone(change.object())));
        let mut state = self.state.lock();
        if matches!(change, Change::Deleted(_)) {
            state.queue.remove(&pod.key());
            state.snapshot.remove_pod(pod.uid());
            self.wake(&mut state.queue, ClusterEvent::PodLeft);
            return;
        }
        state.snapshot.set_pod(&pod);
        if pod.wants_a_node() {
            // Until the watch shows our binding, states from before it still arrive. The queue knows that the pod is
            // in hand.
            let before = change.before().map(AsRef::as_ref);
            if state.follow_nomination(&pod, before) == Room::Freed {
                self.wake(&mut state.queue, ClusterEvent::PodLeft);
            }
            state.queue.set(pod);
            self.changed.notify_one();
            return;
        }
        state.queue.remove(&pod.key());
        if state.snapshot.withdraw(pod.uid()) {
            self.wake(&mut state.queue, ClusterEvent::PodLeft);
        }
        if pod.node_name().is_some() {
            self.wake(&mut state.queue, placed_event(&pod, change.before().map(AsRef::as_ref)));
        }
    }

    fn wake(&self, queue: &mut PodQueue, event: ClusterEvent) {
        queue.wake(|rejected_by| self.profile.wakes(rejected_by.iter(), &event));
        self.changed.notify_one();
    }
}

/// Returns what a change of a node may mean for rejected pods. Heartbeats mean nothing.
fn node_events(now: &Node, before: Option<&Node>) -> Vec<ClusterEvent> {
    let Some(before) = before else { return vec![ClusterEvent::NodeAdded] };
    let allocatable = |node: &Node| node.status.as_ref().and_then(|status| status.allocatable.clone());
    let restrictions = |node: &Node| {
        node.spec.as_ref().map(|spec| (spec.taints.clone(), spec.unschedulable.unwrap_or_default())).unwrap_or_default()
    };
    let mut events = Vec::new();
    if allocatable(now) != allocatable(before) {
        events.push(ClusterEvent::NodeAllocatableChanged);
    }
    if now.labels() != before.labels() {
        events.push(ClusterEvent::NodeLabelsChanged);
    }
    if restrictions(now) != restrictions(before) {
        events.push(ClusterEvent::NodeTaintsChanged);
    }
    events
}

/// Returns what a change of a pod on a node may mean for rejected pods.
fn placed_event(now: &PodInfo, before: Option<&Pod>) -> ClusterEvent {
    if now.is_terminal() {
        return ClusterEvent::PodLeft;
    }
    let was_placed = before.is_some_and(|before| before.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()));
    if was_placed { ClusterEvent::PodChanged } else { ClusterEvent::PodPlaced }
}

/// What was decided for one pod.
enum Decision {
    Bind(Arc<PodInfo>, NodeName),
    /// Say why, and what became of the node that was kept for the pod.
    Reject(Arc<PodInfo>, Unschedulable, Nomination),
    /// Others go, so that it can have their node.
    Preempt(Arc<PodInfo>, Unschedulable, Preemption),
}

struct Scheduler {
    cluster: Arc<Cluster>,
    pods: Api<Pod>,
    budgets: Lister<PodDisruptionBudget>,
    recorder: Recorder,
    clock: Clock,
    rng: Rng,
}

impl Scheduler {
    async fn run(&self) {
        let mut requests: FuturesUnordered<BoxFuture<'_, ()>> = FuturesUnordered::new();
        loop {
            while requests.len() < REQUESTS_MAX
                && let Some(decision) = self.decide()
            {
                requests.push(Box::pin(self.perform(decision)));
            }
            let wakes_at = self.cluster.state.lock().queue.wakes_at().unwrap_or_else(|| Instant::now() + IDLE);
            tokio::select! {
                biased;
                Some(()) = requests.next() => {}
                () = self.cluster.changed.notified() => {}
                () = tokio::time::sleep_until(wakes_at), if requests.len() < REQUESTS_MAX => {}
            }
        }
    }

    /// Decides for the next pod. Taking it, deciding and noting the outcome are one step under the lock, so no event
    /// falls between the decision and the parking.
    fn decide(&self) -> Option<Decision> {
        let mut state = self.cluster.state.lock();
        let state = &mut *state;
        let pod = state.queue.take(Instant::now())?;
        let decision = schedule(&pod, &state.snapshot, &self.cluster.profile, &mut |count| self.rng.below(count));
        Some(match decision {
            Ok(node) => {
                state.snapshot.assume(&pod, &node);
                Decision::Bind(pod, node)
            }
            Err(rejected) => self.turn_away(state, pod, rejected),
        })
    }

    /// Makes others go for a pod that has no node, or parks it. While others are told to go it stays in hand: it must not
    /// choose other victims before it knows that these are leaving.
    fn turn_away(&self, state: &mut State, pod: Arc<PodInfo>, mut rejected: Unschedulable) -> Decision {
        let (budgets, profile) = (self.budgets.all(), &self.cluster.profile);
        let first = &mut |count| self.rng.below(count);
        let refusal = match preempt(&pod, &rejected, &state.snapshot, &budgets, profile, first) {
            Ok(preemption) => {
                state.snapshot.nominate(&pod, &preemption.node);
                for outbid in &preemption.outbid {
                    state.snapshot.withdraw(outbid.uid());
                }
                return Decision::Preempt(pod, rejected, preemption);
            }
            Err(refusal) => refusal,
        };
        state.queue.rejected(&pod, rejected.filters(), Instant::now());
        rejected.preemption = refusal.to_string();
        let nomination = match refusal {
            Refusal::Never | Refusal::Leaving => Nomination::AsBefore,
            Refusal::Helpless(_) => Nomination::Cleared,
        };
        if nomination == Nomination::Cleared && state.snapshot.withdraw(pod.uid()) {
            self.cluster.wake(&mut state.queue, ClusterEvent::PodLeft);
        }
        Decision::Reject(pod, rejected, nomination)
    }

    async fn perform(&self, decision: Decision) {
        match decision {
            Decision::Bind(pod, node) => self.bind(&pod, &node).await,
            Decision::Reject(pod, rejected, nomination) => self.report(&pod, &rejected, &nomination).await,
            Decision::Preempt(pod, rejected, preemption) => self.make_room(&pod, &rejected, &preemption).await,
        }
    }

    async fn bind(&self, pod: &PodInfo, node: &NodeName) {
        let key = pod.key();
        let binding = binding_of(pod, node);
        let Err(error) = self.pods.create_subresource::<_, serde_json::Value>(&key, "binding", &binding).await else {
            info!(pod = %key, node = %node, "bound");
            self.recorder.event(
                &*pod.pod,
                EventType::Normal,
                "Scheduled",
                format!("Successfully assigned {key} to {node}"),
            );
            return;
        };
        let mut state = self.cluster.state.lock();
        // If the answer was lost after all, the watch shows the binding and takes the pod from the queue.
        state.snapshot.forget(pod.uid());
        state.queue.failed(pod, Instant::now());
        self.cluster.wake(&mut state.queue, ClusterEvent::PodLeft);
        drop(state);
        if error.is_conflict() || error.is_not_found() {
            debug!(pod = %key, node = %node, %error, "the pod was gone or bound already");
            return;
        }
        warn!(pod = %key, node = %node, error = &error as &dyn std::error::Error, "failed to bind, trying again");
        let message = format!("binding rejected: {error}");
        self.recorder.event(&*pod.pod, EventType::Warning, "FailedScheduling", message);
    }
}

fn binding_of(pod: &PodInfo, node: &NodeName) -> Binding {
    let key = pod.key();
    Binding {
        metadata: ObjectMeta {
            name: Some(key.name),
            namespace: Some(key.namespace),
            // The server refuses to bind a namesake.
            uid: Some(pod.uid().to_owned()),
            ..ObjectMeta::default()
        },
        target: ObjectReference {
            kind: Some("Node".to_owned()),
            name: Some(node.0.clone()),
            ..ObjectReference::default()
        },
    }
}

#[cfg(test)]
mod tests;
