//! The facts about a pod that outlive its phases, and the moves on its containers that several phases share.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container as ContainerSpec, Pod, PodStatus};
use wkube_base::Backoff;

use super::backoff::{go_duration, later};
use super::container::{Container, Ended, Role, State, Why};
use super::phase::{ContainerEvent, Effect, Note, ProbeKind, Report, StartFailure, Verdict};
use super::resize::Resize;
use super::spec::{self, Place};

/// How long a failed pull is called `ErrImagePull` before it is called `ImagePullBackOff`.
pub(crate) const PULL_ERROR_SHOWN: Duration = Duration::from_secs(2);

/// A pod with its containers.
#[derive(Debug, Clone, PartialEq)]
pub struct Life {
    /// The newest object.
    pub pod: Arc<Pod>,
    /// The pod's address, once it has one.
    pub ip: Option<IpAddr>,
    /// `status.startTime`.
    pub started_at: Timestamp,
    /// Init containers in order, then the app containers, then the ephemeral ones.
    pub containers: Vec<Container>,
    /// Whether it wants other resources than it has.
    pub resize: Resize,
}

/// Whether a pod has work left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Something runs, or will.
    Continues,
    /// Every app container ended for good, or an init container failed for good.
    Finished,
}

impl Life {
    /// Returns a pod's facts at its start on this node, taking up what its status remembers.
    pub fn new(pod: Arc<Pod>, now: Timestamp) -> Self {
        let policy = spec::restart_policy(&pod);
        let status = pod.status.as_ref();
        let containers = spec::containers(&pod)
            .map(|(spec, place)| {
                let mut container = Container::new(&spec, place, policy);
                if let Some(old) = status.and_then(|status| old_status(status, &spec.name)) {
                    container.remember(old, now);
                }
                container
            })
            .collect();
        let started_at = status.and_then(|status| status.start_time.as_ref()).map_or(now, |time| time.0);
        let ip = status.and_then(|status| status.pod_ip.as_deref()).and_then(|ip| ip.parse().ok());
        Self { pod, ip, started_at, containers, resize: Resize::default() }
    }

    /// Whether anything may run.
    pub fn has_live_containers(&self) -> bool {
        self.containers.iter().any(Container::is_live)
    }

    /// Whether every init container lets the app containers start.
    pub fn is_initialized(&self) -> bool {
        self.containers.iter().filter(|container| container.role.is_init()).all(Container::lets_next_start)
    }

    /// Starts whatever may start now. Ephemeral containers come first: they are there to look at a pod that does not get
    /// past its init containers, too (`kuberuntime_manager.go`, `SyncPod`).
    pub(crate) fn advance(&mut self, now: Timestamp, effects: &mut Vec<Effect>) -> Progress {
        let (ephemeral, others): (Vec<usize>, Vec<usize>) =
            (0..self.containers.len()).partition(|index| self.containers[*index].role == Role::Ephemeral);
        for index in ephemeral {
            self.try_start(index, now, effects);
        }
        for index in others {
            self.try_start(index, now, effects);
            let container = &self.containers[index];
            let failed_for_good = container.ended().is_some_and(|ended| ended.code != 0);
            if container.role == Role::Init && failed_for_good {
                return Progress::Finished;
            }
            if container.role.is_init() && !container.lets_next_start() {
                return Progress::Continues;
            }
        }
        let mut apps = self.containers.iter().filter(|container| container.role == Role::App);
        if apps.all(|app| app.ended().is_some()) { Progress::Finished } else { Progress::Continues }
    }

    fn try_start(&mut self, index: usize, now: Timestamp, effects: &mut Vec<Effect>) {
        let container = &mut self.containers[index];
        match &container.state {
            State::Pending => {}
            State::Waiting { until, .. } if *until <= now => {}
            State::Waiting { why: Why::ErrImagePull { reason, message }, since, until }
                if later(*since, PULL_ERROR_SHOWN) <= now =>
            {
                let (reason, message, since, until) = (*reason, message.clone(), *since, *until);
                container.state = State::Waiting { why: Why::ImagePullBackOff { reason, message }, since, until };
                let image =
                    spec::container(&self.pod, &container.name).and_then(|spec| spec.image.clone()).unwrap_or_default();
                effects.push(container.record(Note::normal("BackOff", format!("Back-off pulling image \"{image}\""))));
                effects.push(container.record(Note::warning("Failed", "Error: ImagePullBackOff")));
                effects.push(Effect::Publish(Report::Progress));
                return;
            }
            State::Waiting { .. } | State::Starting | State::Up { .. } | State::Exited(_) => return,
        }
        if container.has_run {
            container.restarts += 1;
            container.has_run = false;
        }
        container.stop = None;
        container.is_replaced = false;
        container.state = State::Starting;
        effects.push(Effect::Start { container: container.name.clone(), attempt: container.restarts });
    }

    /// Takes in what the runtime says about a container. Returns whether it concerned the current attempt.
    pub(crate) fn observe(
        &mut self,
        event: ContainerEvent,
        keeps_running: bool,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let full_name = spec::full_name(&self.pod);
        let pod = Arc::clone(&self.pod);
        let Some(container) = self.containers.iter_mut().find(|container| container.name == event.container()) else {
            return false;
        };
        if !container.is_live() || container.restarts != event.attempt() {
            return false;
        }
        match event {
            ContainerEvent::Started { image_id, .. } => {
                if matches!(container.state, State::Up { .. }) {
                    return false;
                }
                container.started(image_id, spec::container(&pod, &container.name).as_deref(), now, effects);
            }
            ContainerEvent::StartFailed { failure, .. } => container.start_failed(failure, now, effects),
            ContainerEvent::Exited { ended, .. } => container.exited(ended, keeps_running, &full_name, now, effects),
        }
        effects.push(Effect::Publish(Report::Progress));
        true
    }

    /// Takes in a probe's verdict on a running container.
    pub(crate) fn probed(
        &mut self,
        name: &str,
        attempt: u32,
        kind: ProbeKind,
        verdict: Verdict,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let pod = Arc::clone(&self.pod);
        let Some(container) = self.containers.iter_mut().find(|container| container.name == name) else { return };
        let Some(spec) = spec::container(&pod, name) else { return };
        let State::Up { since, started, ready } = container.state else { return };
        if container.restarts != attempt {
            return;
        }
        let (mut started_now, mut ready_now) = (started, ready);
        match (kind, verdict) {
            (ProbeKind::Startup, Verdict::Success) => {
                started_now = true;
                ready_now = ready || spec.readiness_probe.is_none();
            }
            (ProbeKind::Readiness, Verdict::Success) => ready_now = started,
            (ProbeKind::Readiness, Verdict::Failure) => ready_now = false,
            (ProbeKind::Liveness, Verdict::Success) => {}
            (ProbeKind::Startup | ProbeKind::Liveness, Verdict::Failure) => {
                let word = if kind == ProbeKind::Startup { "startup" } else { "liveness" };
                let message = format!("Container {name} failed {word} probe, will be restarted");
                container.ask_to_stop(later(now, probe_grace(&pod, &spec, kind)), &message, effects);
            }
        }
        if (started_now, ready_now) != (started, ready) {
            container.state = State::Up { since, started: started_now, ready: ready_now };
            effects.push(Effect::Publish(Report::Progress));
        }
    }

    /// Takes the newest object, with the ephemeral containers that it has got since.
    pub(crate) fn adopt(&mut self, pod: &Arc<Pod>) -> Arc<Pod> {
        let policy = spec::restart_policy(pod);
        for (spec, place) in spec::containers(pod).filter(|(_, place)| *place == Place::Ephemeral) {
            if self.containers.iter().all(|container| container.name != spec.name) {
                self.containers.push(Container::new(&spec, place, policy));
            }
        }
        std::mem::replace(&mut self.pod, Arc::clone(pod))
    }

    /// Takes the newest object; a container whose image changed is stopped, to start again with the new one.
    pub(crate) fn replace_pod(&mut self, pod: &Arc<Pod>, now: Timestamp, effects: &mut Vec<Effect>) {
        let old = self.adopt(pod);
        for container in &mut self.containers {
            let image = |pod: &Pod| spec::container(pod, &container.name).and_then(|spec| spec.image.clone());
            if image(&old) != image(pod) && matches!(container.state, State::Up { .. }) {
                container.is_replaced = true;
                let message = format!("Container {} definition changed, will be restarted", container.name);
                container.ask_to_stop(later(now, spec::grace(pod)), &message, effects);
            }
        }
    }

    /// Asks to stop what may be stopped now: everything but sidecars first, then the sidecars from last to first.
    pub(crate) fn stop_next(&mut self, deadline: Timestamp, effects: &mut Vec<Effect>) {
        let mut work_left = false;
        for container in
            self.containers.iter_mut().filter(|container| container.role != Role::Sidecar && container.is_live())
        {
            work_left = true;
            let message = format!("Stopping container {}", container.name);
            container.ask_to_stop(deadline, &message, effects);
        }
        if work_left {
            return;
        }
        let sidecar = self.containers.iter_mut().rev().find(|container| container.is_live());
        if let Some(sidecar) = sidecar {
            let message = format!("Stopping container {}", sidecar.name);
            sidecar.ask_to_stop(deadline, &message, effects);
        }
    }

    /// Settles what waited to start again: it ended for good the last time it did.
    pub(crate) fn settle(&mut self) {
        for container in &mut self.containers {
            debug_assert!(!container.is_live(), "a pod settles after its last container ended");
            if let (State::Pending | State::Waiting { .. }, Some(last)) = (&container.state, &container.last) {
                container.state = State::Exited(last.clone());
                container.last = None;
            }
        }
    }

    /// Returns when something changes without an input.
    pub(crate) fn wake_at(&self) -> Option<Timestamp> {
        let waits = self.containers.iter().filter_map(|container| match &container.state {
            State::Waiting { why: Why::ErrImagePull { .. }, since, until } => {
                Some(later(*since, PULL_ERROR_SHOWN).min(*until))
            }
            State::Waiting { until, .. } => Some(*until),
            State::Pending | State::Starting | State::Up { .. } | State::Exited(_) => None,
        });
        waits.chain(self.resize.retry_at()).min()
    }
}

impl Container {
    fn started(&mut self, image_id: String, spec: Option<&ContainerSpec>, now: Timestamp, effects: &mut Vec<Effect>) {
        let started = spec.is_none_or(|spec| spec.startup_probe.is_none());
        let ready = started && spec.is_none_or(|spec| spec.readiness_probe.is_none());
        self.state = State::Up { since: now, started, ready };
        self.image_id = image_id;
        self.start_failures = 0;
        if std::mem::take(&mut self.is_resizing) {
            effects.push(Effect::Resize { container: self.name.clone(), attempt: self.restarts });
        }
    }

    fn start_failed(&mut self, failure: StartFailure, now: Timestamp, effects: &mut Vec<Effect>) {
        self.start_failures = self.start_failures.saturating_add(1);
        let until = later(now, Backoff::IMAGE_PULL.after(self.start_failures));
        let note = match &failure {
            StartFailure::Pull { reason, .. } => Some(format!("Error: {reason}")),
            StartFailure::Other { reason: "ErrImageNeverPull", .. } => Some("Error: ErrImageNeverPull".to_owned()),
            StartFailure::Other { message, .. } => Some(format!("Error: {message}")),
            StartFailure::Cancelled => None,
        };
        if let Some(message) = note {
            effects.push(self.record(Note::warning("Failed", message)));
        }
        let why = match failure {
            StartFailure::Pull { reason, message } => Why::ErrImagePull { reason, message },
            StartFailure::Other { reason, message } => Why::Unstartable { reason, message },
            StartFailure::Cancelled => {
                self.state = State::Pending;
                return;
            }
        };
        self.state = State::Waiting { why, since: now, until };
    }

    fn exited(
        &mut self,
        ended: Ended,
        keeps_running: bool,
        full_name: &str,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        if ended.reason == "StartError" {
            effects.push(self.record(Note::warning("Failed", format!("Error: {}", ended.message))));
        }
        self.has_run = true;
        if !keeps_running || !(self.restarts_after.after(ended.code) || self.is_replaced) {
            self.state = State::Exited(ended);
            return;
        }
        self.last = Some(ended);
        let delay = if self.is_replaced { Duration::ZERO } else { self.crashes.ended(now) };
        if delay.is_zero() {
            self.state = State::Pending;
            return;
        }
        let message = format!("Back-off restarting failed container {} in pod {full_name}", self.name);
        effects.push(self.record(Note::warning("BackOff", message)));
        self.state = State::Waiting { why: Why::CrashLoop { delay }, since: now, until: later(now, delay) };
    }

    /// Asks the runtime to stop the container by `deadline`. An earlier ask with an earlier deadline stands.
    pub(crate) fn ask_to_stop(&mut self, deadline: Timestamp, message: &str, effects: &mut Vec<Effect>) {
        if self.stop.is_some_and(|asked| asked <= deadline) {
            return;
        }
        if self.stop.is_none() && matches!(self.state, State::Up { .. }) {
            effects.push(self.record(Note::normal("Killing", message)));
        }
        self.stop = Some(deadline);
        effects.push(Effect::Stop { container: self.name.clone(), attempt: self.restarts, deadline });
    }

    fn record(&self, note: Note) -> Effect {
        Effect::Record(Note { container: Some(self.name.clone()), ..note })
    }
}

/// Returns the sentence of a container in back-off (`kuberuntime_manager.go`, `doBackOff`).
pub(crate) fn crash_loop_message(delay: Duration, container: &str, full_name: &str) -> String {
    format!("back-off {} restarting failed container={container} pod={full_name}", go_duration(delay))
}

fn probe_grace(pod: &Pod, container: &ContainerSpec, kind: ProbeKind) -> Duration {
    let probe = match kind {
        ProbeKind::Startup => &container.startup_probe,
        ProbeKind::Liveness => &container.liveness_probe,
        ProbeKind::Readiness => &container.readiness_probe,
    };
    let own = probe.as_ref().and_then(|probe| probe.termination_grace_period_seconds);
    own.and_then(|seconds| u64::try_from(seconds).ok()).map_or_else(|| spec::grace(pod), Duration::from_secs)
}

fn old_status<'a>(status: &'a PodStatus, name: &str) -> Option<&'a k8s_openapi::api::core::v1::ContainerStatus> {
    let init = status.init_container_statuses.as_deref().unwrap_or_default();
    let app = status.container_statuses.as_deref().unwrap_or_default();
    let ephemeral = status.ephemeral_container_statuses.as_deref().unwrap_or_default();
    init.iter().chain(app).chain(ephemeral).find(|status| status.name == name)
}
