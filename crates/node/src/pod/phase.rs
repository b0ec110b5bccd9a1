//! The life of one pod on this node. Pure: the worker feeds inputs and performs effects.
//!
//! ```text
//!   Setup ---------> Running ----------> Stopping ----------> Stopped
//!     |  (prepared)          (kill, or              (every container gone,
//!     +-------------------->  all exited)            everything released)
//! ```
//! One way only: a UID never runs again. The grace period of a stopping pod only shrinks.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use wkube_base::Backoff;

use super::backoff::later;
use super::container::{Role, State};
use super::life::{Life, Progress};
use super::spec;

pub use super::effect::{Effect, Note, Report};
pub use super::input::{ContainerEvent, Input, Kill, ProbeKind, StartFailure, Verdict};

/// Retries of volumes and addresses: 500 ms doubling to about 2 min (`nestedpendingoperations`, `exponentialbackoff`).
const SETUP_RETRY: Backoff = Backoff { first: Duration::from_millis(500), max: Duration::from_secs(122) };

/// Where a pod is in its life.
#[derive(Debug, Clone, PartialEq)]
pub enum Phase {
    /// Volumes and address are being made; nothing runs.
    Setup(Setup),
    /// Containers run, wait or have ended.
    Running(Running),
    /// What still runs is being stopped.
    Stopping(Stopping),
    /// Nothing runs and never will.
    Stopped(Stopped),
}

/// See `Phase::Setup`.
#[derive(Debug, Clone, PartialEq)]
pub struct Setup {
    /// The pod.
    pub life: Life,
    /// Failures in a row.
    pub failures: u32,
    /// When to try again; `None` while a try is under way.
    pub retry_at: Option<Timestamp>,
}

/// See `Phase::Running`.
#[derive(Debug, Clone, PartialEq)]
pub struct Running {
    /// The pod.
    pub life: Life,
}

/// See `Phase::Stopping`.
#[derive(Debug, Clone, PartialEq)]
pub struct Stopping {
    /// The pod.
    pub life: Life,
    /// Why it stops.
    pub ending: Ending,
    /// When what still runs is killed. Moves only to earlier times.
    pub deadline: Timestamp,
}

/// See `Phase::Stopped`.
#[derive(Debug, Clone, PartialEq)]
pub struct Stopped {
    /// The pod.
    pub life: Life,
    /// Why it stopped.
    pub ending: Ending,
    /// Whether the object's removal has been asked for.
    pub is_forgotten: bool,
}

/// Why a pod stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Its containers ended and do not start again.
    Finished,
    /// Someone or something ended it.
    Killed(Kill),
    /// It had ended before this agent started.
    Remembered,
}

impl Phase {
    /// Returns a pod's first phase on this node. A pod that had ended before stays so.
    pub fn begin(pod: Arc<Pod>, now: Timestamp) -> (Self, Vec<Effect>) {
        let is_finished = spec::is_finished(&pod);
        let deletion = spec::deletion_grace(&pod);
        let life = Life::new(pod, now);
        if is_finished {
            let mut effects = Vec::new();
            let mut stopped = Stopped { life, ending: Ending::Remembered, is_forgotten: false };
            if deletion.is_some() {
                stopped.forget(&mut effects);
            }
            return (Self::Stopped(stopped), effects);
        }
        let setup = Self::Setup(Setup { life, failures: 0, retry_at: None });
        let Some(grace) = deletion else {
            return (setup, vec![Effect::Publish(Report::Progress), Effect::Prepare]);
        };
        setup.step(Input::Kill { grace, kill: Kill::Deleted }, now)
    }

    /// Advances on one input. Total: every pair of phase and input is defined.
    pub fn step(self, input: Input, now: Timestamp) -> (Self, Vec<Effect>) {
        let mut effects = Vec::new();
        let phase = match self {
            Self::Setup(setup) => setup.step(input, now, &mut effects),
            Self::Running(running) => running.step(input, now, &mut effects),
            Self::Stopping(stopping) => stopping.step(input, now, &mut effects),
            Self::Stopped(stopped) => Self::Stopped(stopped.step(&input, &mut effects)),
        };
        (phase, effects)
    }

    /// Returns the facts.
    pub fn life(&self) -> &Life {
        match self {
            Self::Setup(setup) => &setup.life,
            Self::Running(running) => &running.life,
            Self::Stopping(stopping) => &stopping.life,
            Self::Stopped(stopped) => &stopped.life,
        }
    }

    /// Returns the facts, for whoever keeps them elsewhere for a while.
    pub(super) fn life_mut(&mut self) -> &mut Life {
        match self {
            Self::Setup(setup) => &mut setup.life,
            Self::Running(running) => &mut running.life,
            Self::Stopping(stopping) => &mut stopping.life,
            Self::Stopped(stopped) => &mut stopped.life,
        }
    }

    /// Returns when to feed `Timer`; `None` if nothing changes by itself.
    pub fn wake_at(&self) -> Option<Timestamp> {
        match self {
            Self::Setup(setup) => earliest(setup.retry_at, deadline_of(&setup.life)),
            Self::Running(running) => earliest(running.life.wake_at(), deadline_of(&running.life)),
            Self::Stopping(_) | Self::Stopped(_) => None,
        }
    }

    /// Whether containers may run; asked by volumes and routing.
    pub fn may_run_containers(&self) -> bool {
        match self {
            Self::Setup(_) | Self::Stopped(_) => false,
            Self::Running(_) | Self::Stopping(_) => true,
        }
    }

    /// Returns the probes that should be running now, by container, attempt and kind.
    pub fn probes_wanted(&self) -> Vec<(String, u32, ProbeKind)> {
        let Self::Running(Running { life }) = self else { return Vec::new() };
        let mut wanted = Vec::new();
        for container in
            life.containers.iter().filter(|container| container.role != Role::Init && container.stop.is_none())
        {
            let State::Up { started, .. } = container.state else { continue };
            let Some(spec) = spec::container(&life.pod, &container.name) else { continue };
            let kinds = [
                (ProbeKind::Startup, spec.startup_probe.is_some() && !started),
                (ProbeKind::Liveness, spec.liveness_probe.is_some() && started),
                (ProbeKind::Readiness, spec.readiness_probe.is_some() && started),
            ];
            let due = kinds.into_iter().filter(|(_, wanted)| *wanted);
            wanted.extend(due.map(|(kind, _)| (container.name.clone(), container.restarts, kind)));
        }
        wanted
    }
}

impl Setup {
    fn step(mut self, input: Input, now: Timestamp, effects: &mut Vec<Effect>) -> Phase {
        if let Some((grace, kill)) = kill_in(&input) {
            if let Input::Desired(pod) = input {
                self.life.pod = pod;
            }
            return stop(self.life, grace, kill, now, effects);
        }
        match input {
            Input::Desired(pod) => {
                self.life.adopt(&pod);
            }
            Input::Prepared { ip } => {
                self.life.ip = Some(ip);
                return Running { life: self.life }.go_on(now, effects);
            }
            Input::PrepareFailed { reason, message } => {
                self.failures = self.failures.saturating_add(1);
                self.retry_at = Some(later(now, SETUP_RETRY.after(self.failures)));
                effects.push(Effect::Record(Note::warning(reason, message)));
            }
            Input::Timer => {
                if self.retry_at.is_some_and(|at| at <= now) {
                    self.retry_at = None;
                    effects.push(Effect::Prepare);
                }
            }
            Input::Kill { .. } | Input::Runtime(_) | Input::Probe { .. } | Input::Allocated { .. } => {}
        }
        if is_overdue(&self.life, now) {
            let grace = spec::grace(&self.life.pod);
            return stop(self.life, grace, Kill::DeadlineExceeded, now, effects);
        }
        Phase::Setup(self)
    }
}

impl Running {
    fn step(mut self, input: Input, now: Timestamp, effects: &mut Vec<Effect>) -> Phase {
        if let Some((grace, kill)) = kill_in(&input) {
            if let Input::Desired(pod) = input {
                self.life.pod = pod;
            }
            return stop(self.life, grace, kill, now, effects);
        }
        match input {
            Input::Desired(pod) => {
                let is_new = pod.metadata.generation != self.life.pod.metadata.generation;
                self.life.replace_pod(&pod, now, effects);
                self.life.ask_to_resize(is_new, now, effects);
            }
            Input::Allocated { generation, fit } => self.life.allocated(generation, fit, now, effects),
            Input::Runtime(event) => {
                self.life.observe(event, true, now, effects);
            }
            Input::Probe { container, attempt, kind, verdict } => {
                self.life.probed(&container, attempt, kind, verdict, now, effects);
            }
            Input::Timer | Input::Kill { .. } | Input::Prepared { .. } | Input::PrepareFailed { .. } => {}
        }
        self.go_on(now, effects)
    }

    fn go_on(mut self, now: Timestamp, effects: &mut Vec<Effect>) -> Phase {
        if is_overdue(&self.life, now) {
            let grace = spec::grace(&self.life.pod);
            return stop(self.life, grace, Kill::DeadlineExceeded, now, effects);
        }
        self.life.ask_to_resize(false, now, effects);
        let before = self.life.containers.iter().filter(|container| container.is_live()).count();
        match self.life.advance(now, effects) {
            Progress::Continues => {
                let after = self.life.containers.iter().filter(|container| container.is_live()).count();
                if before != after && !effects.contains(&Effect::Publish(Report::Progress)) {
                    effects.push(Effect::Publish(Report::Progress));
                }
                Phase::Running(self)
            }
            Progress::Finished => {
                let grace = spec::grace(&self.life.pod);
                end(self.life, Ending::Finished, later(now, grace), effects)
            }
        }
    }
}

impl Stopping {
    fn step(mut self, input: Input, now: Timestamp, effects: &mut Vec<Effect>) -> Phase {
        match input {
            Input::Desired(pod) => {
                let deletion = spec::deletion_grace(&pod);
                self.life.pod = pod;
                if let Some(grace) = deletion {
                    self.hurry(later(now, grace), Kill::Deleted);
                }
            }
            Input::Kill { grace, kill } => self.hurry(later(now, grace), kill),
            Input::Runtime(event) => {
                self.life.observe(event, false, now, effects);
            }
            Input::Prepared { .. }
            | Input::PrepareFailed { .. }
            | Input::Probe { .. }
            | Input::Allocated { .. }
            | Input::Timer => {}
        }
        self.go_on(effects)
    }

    /// A deletion replaces a node's shutdown: the object will not be there to start again from.
    fn hurry(&mut self, deadline: Timestamp, kill: Kill) {
        self.deadline = self.deadline.min(deadline);
        if self.ending == Ending::Killed(Kill::NodeShutdown) && kill == Kill::Deleted {
            self.ending = Ending::Killed(kill);
        }
    }

    fn go_on(mut self, effects: &mut Vec<Effect>) -> Phase {
        if self.life.has_live_containers() {
            self.life.stop_next(self.deadline, effects);
            return Phase::Stopping(self);
        }
        self.life.settle();
        // The intermediate status is about to be replaced by the last one.
        effects.retain(|effect| *effect != Effect::Publish(Report::Progress));
        effects.push(Effect::Release);
        let is_deleted =
            self.life.pod.metadata.deletion_timestamp.is_some() || self.ending == Ending::Killed(Kill::Deleted);
        let mut stopped = Stopped { life: self.life, ending: self.ending, is_forgotten: false };
        if stopped.ending != Ending::Killed(Kill::NodeShutdown) {
            effects.push(Effect::Publish(Report::Final));
        }
        if is_deleted {
            stopped.forget(effects);
        }
        Phase::Stopped(stopped)
    }
}

impl Stopped {
    fn step(mut self, input: &Input, effects: &mut Vec<Effect>) -> Self {
        match input {
            Input::Desired(pod) => {
                self.life.pod = Arc::clone(pod);
                if pod.metadata.deletion_timestamp.is_some() {
                    self.forget(effects);
                }
            }
            Input::Kill { kill: Kill::Deleted, .. } => self.forget(effects),
            Input::Kill {
                kill: Kill::DeadlineExceeded | Kill::NodeShutdown | Kill::Evicted { .. } | Kill::Rejected { .. },
                ..
            }
            | Input::Prepared { .. }
            | Input::PrepareFailed { .. }
            | Input::Runtime(_)
            | Input::Probe { .. }
            | Input::Allocated { .. }
            | Input::Timer => {}
        }
        self
    }

    fn forget(&mut self, effects: &mut Vec<Effect>) {
        if !self.is_forgotten {
            self.is_forgotten = true;
            if self.ending == Ending::Killed(Kill::NodeShutdown) {
                // Its end was not told, because the next agent would have gone on with it.
                self.ending = Ending::Killed(Kill::Deleted);
                effects.push(Effect::Publish(Report::Final));
            }
            effects.push(Effect::Forget);
        }
    }
}

/// Returns the kill that an input amounts to for a pod that is not stopping yet.
fn kill_in(input: &Input) -> Option<(Duration, Kill)> {
    match input {
        Input::Kill { grace, kill } => Some((*grace, kill.clone())),
        Input::Desired(pod) => Some((spec::deletion_grace(pod)?, Kill::Deleted)),
        Input::Prepared { .. }
        | Input::PrepareFailed { .. }
        | Input::Runtime(_)
        | Input::Probe { .. }
        | Input::Allocated { .. }
        | Input::Timer => None,
    }
}

fn is_overdue(life: &Life, now: Timestamp) -> bool {
    deadline_of(life).is_some_and(|deadline| deadline <= now)
}

fn stop(life: Life, grace: Duration, kill: Kill, now: Timestamp, effects: &mut Vec<Effect>) -> Phase {
    if kill == Kill::DeadlineExceeded {
        let message = "Pod was active on the node longer than the specified deadline";
        effects.push(Effect::Record(Note::normal("DeadlineExceeded", message)));
    }
    if let Kill::Rejected { reason, message } = &kill {
        effects.push(Effect::Record(Note::warning(reason, message.clone())));
    }
    end(life, Ending::Killed(kill), later(now, grace), effects)
}

fn end(life: Life, ending: Ending, deadline: Timestamp, effects: &mut Vec<Effect>) -> Phase {
    effects.push(Effect::Publish(Report::Progress));
    Stopping { life, ending, deadline }.go_on(effects)
}

fn deadline_of(life: &Life) -> Option<Timestamp> {
    spec::active_deadline(&life.pod, life.started_at)
}

fn earliest(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    a.into_iter().chain(b).min()
}

#[cfg(test)]
#[path = "phase_tests.rs"]
mod tests;
