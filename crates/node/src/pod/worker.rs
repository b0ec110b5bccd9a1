//! The task that lives one pod's life: it feeds the machine of `phase` and performs what the machine asks for.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc;
use futures::{SinkExt as _, StreamExt as _};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use tokio::sync::Notify;
use wkube_base::Latest;

use super::attempt::Attempt;
use super::backoff::elapsed;
use super::phase::{Effect, Ending, Input, Kill, Phase, Stopped};
use super::setup::Undo;
use super::status::{is_overruled, status_of};
use super::view::{Newest, Rest, View};
use super::{probes, qos, spec};
use crate::admission::{NODE_AFFINITY, Rejection};
use crate::checkpoint::Kind as Kept;
use crate::context::Context;
use crate::metrics::kubelet;
use crate::volumes::{self, payload};

/// How many reports of containers and probes may wait; senders wait for room.
const EVENTS_MAX: usize = 64;

/// How long nothing happens to a pod before it is packed. Longer than between two steps of a start, and than the API
/// server takes to show a status that was written.
const REST_AFTER: Duration = Duration::from_secs(2);

/// What others say to a worker: one slot each, so that nothing piles up. The newest object wins; kills are merged, never
/// dropped.
#[derive(Debug, Default)]
pub struct Mailbox {
    orders: Mutex<Orders>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Orders {
    kill: Option<(Duration, Kill)>,
    desired: Option<Arc<Pod>>,
    wants_refresh: bool,
    is_gone: bool,
}

/// One thing to do.
#[derive(Debug)]
enum Order {
    Input(Input),
    Refresh,
}

impl Mailbox {
    /// Ends the pod. Of several kills before the worker looks, the shortest grace counts, and a deletion over others.
    pub fn kill(&self, grace: Duration, kill: Kill) {
        let mut orders = self.orders.lock();
        orders.kill = Some(match orders.kill.take() {
            None => (grace, kill),
            Some((before, Kill::Deleted)) => (before.min(grace), Kill::Deleted),
            Some((before, _)) => (before.min(grace), kill),
        });
        drop(orders);
        self.arrived.notify_one();
    }

    /// Gives the newest object.
    pub fn desired(&self, pod: Arc<Pod>) {
        self.orders.lock().desired = Some(pod);
        self.arrived.notify_one();
    }

    /// Says that the object is gone: the pod ends, and the worker with it.
    pub fn gone(&self, grace: Duration) {
        self.orders.lock().is_gone = true;
        self.kill(grace, Kill::Deleted);
    }

    /// Asks for the volumes to be brought up to date.
    pub fn refresh(&self) {
        self.orders.lock().wants_refresh = true;
        self.arrived.notify_one();
    }

    fn take(&self) -> Option<Order> {
        let mut orders = self.orders.lock();
        if let Some((grace, kill)) = orders.kill.take() {
            return Some(Order::Input(Input::Kill { grace, kill }));
        }
        if let Some(pod) = orders.desired.take() {
            return Some(Order::Input(Input::Desired(pod)));
        }
        std::mem::take(&mut orders.wants_refresh).then_some(Order::Refresh)
    }

    async fn next(&self) -> Order {
        loop {
            if let Some(order) = self.take() {
                return order;
            }
            self.arrived.notified().await;
        }
    }

    /// Whether the object is gone.
    pub fn is_gone(&self) -> bool {
        self.orders.lock().is_gone
    }
}

/// Where containers and probes report. Not tokio's channel, which has room for 32 reports from its beginning: a pod at rest
/// never has any.
pub type Reports = mpsc::Sender<Box<Input>>;

/// When a container shall have stopped: moves from `None` to earlier and earlier deadlines.
pub type Stop = Arc<Latest<Option<Timestamp>>>;

/// What a worker holds of an attempt that it has started.
struct StartedAttempt {
    container: String,
    number: u32,
    stop: Stop,
}

/// Drives one pod.
pub struct Worker {
    context: Arc<Context>,
    mailbox: Arc<Mailbox>,
    view: Arc<Latest<View>>,
    events: mpsc::Receiver<Box<Input>>,
    sender: Reports,
    /// The newest attempt of each container.
    started: Vec<StartedAttempt>,
    probes: probes::Running,
    undo: Undo,
    /// The address that this pod had before, already taken for it.
    address: Option<IpAddr>,
}

impl Worker {
    /// Returns a worker that has not begun. `address` is one that was taken for the pod before.
    pub fn new(context: Arc<Context>, mailbox: Arc<Mailbox>, view: Arc<Latest<View>>, address: Option<IpAddr>) -> Self {
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        Self {
            context,
            mailbox,
            view,
            events,
            sender,
            started: Vec::new(),
            probes: probes::Running::default(),
            undo: Undo::default(),
            address,
        }
    }

    /// Lives the pod's life until its object is gone, or this agent stops. `pod` has the status that this node goes on
    /// with; `shown` is what the API server says, if it can be asked.
    pub async fn run(mut self: Box<Self>, pod: Arc<Pod>, shown: Option<Arc<Pod>>) {
        let (mut phase, mut effects) = Phase::begin(pod, self.context.clock.now());
        // On the heap, like all that is rare: a task is as large as its largest moment for as long as it lives.
        if let Err(rejection) = Box::pin(admit(&self.context, &phase)).await {
            let kill = Kill::Rejected { reason: rejection.reason, message: rejection.message };
            (phase, effects) = phase.step(Input::Kill { grace: Duration::ZERO, kill }, self.context.clock.now());
        }
        Box::pin(self.perform(&phase, effects)).await;
        if let Some(shown) = shown {
            self.insist(&shown);
        }
        while !self.is_over(&phase) {
            let order = self.next(&mut phase).await;
            let Order::Input(input) = order else {
                self.refresh(&phase);
                continue;
            };
            let is_news_of_object = matches!(input, Input::Desired(_));
            phase = Box::pin(self.advance(phase, input)).await;
            if is_news_of_object {
                self.keep();
                self.insist(&phase.life().pod);
            }
        }
    }

    fn is_over(&self, phase: &Phase) -> bool {
        let Phase::Stopped(Stopped { ending, .. }) = phase else { return false };
        self.mailbox.is_gone() || *ending == Ending::Killed(Kill::NodeShutdown)
    }

    /// Feeds an input, and the node's answers to what the machine asks on the way: nothing comes in between.
    async fn advance(&mut self, phase: Phase, input: Input) -> Phase {
        let (mut phase, mut effects) = phase.step(input, self.context.clock.now());
        loop {
            let wants_more = effects.contains(&Effect::Allocate);
            self.perform(&phase, effects).await;
            if !wants_more {
                return phase;
            }
            let pod = &phase.life().pod;
            let (generation, fit) = (pod.metadata.generation, self.context.allocations.resize(pod));
            (phase, effects) = phase.step(Input::Allocated { generation, fit }, self.context.clock.now());
        }
    }

    /// Waits for something to do. A pod to which nothing happens for a while rests until then.
    async fn next(&mut self, phase: &mut Phase) -> Order {
        let wake_at = phase.wake_at().map(|at| tokio::time::Instant::now() + elapsed(self.context.clock.now(), at));
        tokio::select! {
            biased;
            order = self.order(wake_at) => return order,
            () = tokio::time::sleep(REST_AFTER) => {}
        }
        let wants_refresh = volumes::follows_objects(&phase.life().pod);
        let rest = Rest::begin(phase.life_mut(), &self.view, &self.context.listed);
        let order = loop {
            let order = self.order(wake_at).await;
            if wants_refresh || !matches!(order, Order::Refresh) {
                break order;
            }
        };
        if let Some(rest) = rest {
            rest.end(phase.life_mut(), &self.view);
        }
        order
    }

    async fn order(&mut self, wake_at: Option<tokio::time::Instant>) -> Order {
        let timer = async {
            match wake_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            order = self.mailbox.next() => order,
            Some(input) = self.events.next() => Order::Input(*input),
            () = timer => Order::Input(Input::Timer),
        }
    }

    async fn perform(&mut self, phase: &Phase, effects: Vec<Effect>) {
        let pod = &phase.life().pod;
        // Published before it is done: what the world sees never lags behind what an effect already shows.
        self.show(phase);
        for effect in effects {
            match effect {
                Effect::Prepare => self.prepare(Arc::clone(pod)),
                Effect::Start { container, attempt } => self.start(phase, &container, attempt),
                Effect::Stop { container, attempt, deadline } => {
                    if let Some(started) = self.started(&container, attempt) {
                        started.stop.update(|stop| *stop = Some(deadline));
                    }
                }
                Effect::Allocate => {} // Answered at once, by `advance`.
                Effect::Resize { container, attempt } => self.resize(phase, &container, attempt),
                Effect::Release => {
                    self.started.clear();
                    self.context.allocations.release(spec::uid(pod));
                    self.undo.run().await;
                }
                Effect::Publish(_) => {
                    let status = self.view.lock().status().cloned();
                    if let Some(status) = status {
                        self.context.statuses.publish(pod, status);
                    }
                    self.keep();
                }
                Effect::Forget => self.context.statuses.forget(pod),
                Effect::Record(note) => self.context.record(pod, &note),
            }
        }
        if let Some(ip) = phase.life().ip {
            let context = self.context.clone();
            let about = Arc::clone(pod);
            let prober = probes::Prober {
                pods: self.context.local.clone(),
                live: self.context.live.clone(),
                tasks: self.context.tasks.clone(),
                verdicts: self.sender.clone(),
                record: Arc::new(move |note| context.record(&about, &note)),
            };
            self.probes.become_wanted(phase.probes_wanted(), pod, ip, &prober);
        }
    }

    /// Publishes the status again if the object says otherwise.
    fn insist(&self, pod: &Arc<Pod>) {
        let status = self.view.lock().status().cloned();
        if let Some(status) = status.filter(|status| is_overruled(pod, status)) {
            self.context.statuses.publish(pod, status);
        }
    }

    /// Keeps the pod with its newest status on disk, for the next life of this agent.
    fn keep(&self) {
        if let Some((pod, status)) = self.view.lock().known() {
            let pod = Pod { status: Some(status), ..Pod::clone(&pod) };
            self.context.kept.keep(Kept::Pods, spec::uid(&pod), &pod);
        }
    }

    fn show(&self, phase: &Phase) {
        let now = self.context.clock.now();
        let is_running = |view: &View| view.status().is_some_and(|now| now.phase.as_deref() == Some("Running"));
        self.view.update(|view| {
            let was_running = is_running(view);
            let status = status_of(phase, self.context.host_ip, view.status(), now);
            view.show(&phase.life().pod, status);
            if is_running(view) && !was_running {
                kubelet::started(elapsed(phase.life().started_at, now));
            }
            view.is_stopped = matches!(phase, Phase::Stopped(_));
        });
    }

    /// Takes the address at once, so that `Release` finds it whatever happens; volumes are made by a task.
    fn prepare(&mut self, pod: Arc<Pod>) {
        let ip = match self.address {
            Some(ip) => ip,
            None => match self.context.addresses.take(None) {
                Ok(ip) => ip,
                Err(error) => {
                    let message = error.to_string();
                    self.tell(Input::PrepareFailed { reason: "FailedCreatePodSandBox", message });
                    return;
                }
            },
        };
        self.address = Some(ip);
        let addresses = self.context.addresses.clone();
        self.undo.push("address", move || {
            addresses.release(ip);
            Box::pin(std::future::ready(()))
        });
        let (context, mut sender) = (self.context.clone(), self.sender.clone());
        let preparing = async move {
            let input = match materialize(&context, &pod, ip).await {
                Ok(()) => Input::Prepared { ip },
                Err(message) => Input::PrepareFailed { reason: "FailedMount", message },
            };
            let _ = sender.send(Box::new(input)).await;
        };
        self.context.tasks.spawn("prepare pod", preparing);
    }

    fn tell(&self, input: Input) {
        let mut sender = self.sender.clone();
        self.context.tasks.spawn("tell pod", async move {
            let _ = sender.send(Box::new(input)).await;
        });
    }

    fn start(&mut self, phase: &Phase, name: &str, attempt: u32) {
        let life = phase.life();
        let (Some(container), Some(ip)) = (life.granted_spec(name), life.ip) else { return };
        let stop = Stop::default();
        self.started.retain(|started| started.container != name);
        self.started.push(StartedAttempt { container: name.to_owned(), number: attempt, stop: Arc::clone(&stop) });
        let attempt = Box::new(Attempt {
            context: self.context.clone(),
            newest: Newest::of(&self.view),
            name: name.to_owned(),
            container: Arc::new(container),
            number: attempt,
            ip,
            stop,
            events: self.sender.clone(),
        });
        self.context.tasks.spawn("container", attempt.run());
    }

    /// Returns the attempt, if no later one has been started.
    fn started(&self, container: &str, number: u32) -> Option<&StartedAttempt> {
        self.started.iter().find(|started| started.container == container && started.number == number)
    }

    /// Lets a running container have what it was granted.
    fn resize(&self, phase: &Phase, name: &str, attempt: u32) {
        let is_current = self.started(name, attempt).is_some();
        if let Some(container) = phase.life().granted_spec(name).filter(|_| is_current) {
            let pod = &phase.life().pod;
            self.context.live.resize(spec::uid(pod), name, &qos::amounts(pod, &container));
        }
    }

    fn refresh(&self, phase: &Phase) {
        let life = phase.life();
        let (true, Some(ip)) = (phase.may_run_containers() && volumes::follows_objects(&life.pod), life.ip) else {
            return;
        };
        let (context, pod) = (self.context.clone(), Arc::clone(&life.pod));
        self.context.tasks.spawn("refresh volumes", async move {
            // What is there stays; a volume whose ConfigMap was deleted keeps its last content.
            if let Err(problem) = materialize(&context, &pod, ip).await {
                tracing::debug!(pod = %spec::full_name(&pod), problem, "volumes not refreshed");
            }
        });
    }
}

/// Takes room on the node. A pod that had an address has run here before, and is not asked again.
async fn admit(context: &Context, phase: &Phase) -> Result<(), Rejection> {
    let (Phase::Setup(_), life) = (phase, phase.life()) else { return Ok(()) };
    let allocations = &context.allocations;
    if life.ip.is_some() {
        allocations.readmit(&life.pod);
        return Ok(());
    }
    match allocations.admit(&life.pod) {
        Err(rejection) if rejection.reason == NODE_AFFINITY => {}
        admitted => return admitted,
    }
    // Somebody may have labelled the node a moment ago. Whoever cannot ask believes the scheduler.
    let Ok(labels) = context.fetcher.node_labels(allocations.node()).await else {
        allocations.readmit(&life.pod);
        return Ok(());
    };
    allocations.relabel(labels);
    allocations.admit(&life.pod)
}

async fn materialize(context: &Context, pod: &Arc<Pod>, ip: IpAddr) -> Result<(), String> {
    let fetched = context.fetcher.for_volumes(pod, payload::needs(pod)).await;
    let mut objects = fetched.map_err(|error| format!("failed to read the objects of its volumes: {error}"))?;
    objects.sources.pod_ip = Some(ip);
    objects.sources.host_ip = context.host_ip;
    objects.sources.allocatable = context.allocatable.clone();
    if !volumes::has_any(pod) {
        // No thread is bothered with nothing to do.
        return Ok(());
    }
    let (pod, dir) = (Arc::clone(pod), volumes::pod_dir(&context.data_dir, pod));
    let host_paths = context.host_paths.clone();
    let made = tokio::task::spawn_blocking(move || volumes::materialize(&pod, &dir, &objects, &host_paths)).await;
    made.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(mailbox: &Mailbox) -> Vec<String> {
        std::iter::from_fn(|| mailbox.take())
            .map(|order| match order {
                Order::Input(Input::Kill { grace, kill }) => format!("kill {} {kill:?}", grace.as_secs()),
                Order::Input(Input::Desired(pod)) => format!("desired {}", spec::name(&pod)),
                other => format!("{other:?}"),
            })
            .collect()
    }

    fn pod(name: &str) -> Arc<Pod> {
        let mut pod = Pod::default();
        pod.metadata.name = Some(name.to_owned());
        Arc::new(pod)
    }

    #[test]
    fn the_newest_object_wins_and_kills_come_first() {
        let mailbox = Mailbox::default();
        mailbox.refresh();
        mailbox.desired(pod("a"));
        mailbox.desired(pod("b"));
        mailbox.kill(Duration::from_secs(9), Kill::NodeShutdown);
        assert_eq!(taken(&mailbox), ["kill 9 NodeShutdown", "desired b", "Refresh"]);
        assert!(taken(&mailbox).is_empty());
    }

    #[test]
    fn kills_merge_to_the_shortest_grace_and_a_deletion_stays_one() {
        let mailbox = Mailbox::default();
        mailbox.kill(Duration::from_secs(30), Kill::Deleted);
        mailbox.kill(Duration::from_secs(5), Kill::NodeShutdown);
        mailbox.kill(Duration::from_mins(1), Kill::DeadlineExceeded);
        assert_eq!(taken(&mailbox), ["kill 5 Deleted"]);
    }

    #[tokio::test]
    async fn a_waiting_worker_is_woken() {
        let mailbox = Arc::new(Mailbox::default());
        let (order, ()) = tokio::join!(mailbox.next(), async { mailbox.desired(pod("a")) });
        assert!(matches!(order, Order::Input(Input::Desired(_))));
    }
}
