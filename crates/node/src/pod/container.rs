//! What the node knows about one container of a pod. Plain facts; `life` decides what to do with them.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{self, ContainerStateTerminated, ContainerStatus, ResourceRequirements};

use super::backoff::CrashLoop;
use super::restart::{RestartPolicy, Restarts};
use super::spec::Place;

/// What a container is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Runs to its end before the next one starts.
    Init,
    /// An init container with `restartPolicy: Always`: keeps running, ends after the app containers.
    Sidecar,
    /// A container of `spec.containers`.
    App,
    /// Added to the pod while it lives, to look at it: runs once, and nothing depends on it.
    Ephemeral,
}

impl Role {
    /// Whether the app containers wait for it.
    pub fn is_init(self) -> bool {
        match self {
            Self::Init | Self::Sidecar => true,
            Self::App | Self::Ephemeral => false,
        }
    }
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The exit code as a shell shows it.
    pub code: i32,
    /// Kubernetes' word: `Completed`, `Error`, `OOMKilled`, `Trap`, `StartError`, `ContainerStatusUnknown`.
    pub reason: String,
    /// What a person should read; may be empty.
    pub message: String,
    /// When it started; `None` if it never did.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Timestamp,
}

/// Why a container does not run although its turn has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It ended and waits `delay` before it starts again.
    CrashLoop {
        /// The whole wait, as the message names it.
        delay: std::time::Duration,
    },
    /// The pull failed just now.
    ErrImagePull {
        /// Kubernetes' word for it; mostly this one.
        reason: &'static str,
        /// The cause.
        message: String,
    },
    /// The pull failed and waits before the next try.
    ImagePullBackOff {
        /// The word for the latest failure.
        reason: &'static str,
        /// The cause of the latest failure.
        message: String,
    },
    /// Another step before the start failed; tried again after a while.
    Unstartable {
        /// Kubernetes' word, such as `CreateContainerConfigError`.
        reason: &'static str,
        /// The cause.
        message: String,
    },
}

/// Where a container is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Its turn has not come.
    Pending,
    /// The runtime was asked to start it.
    Starting,
    /// It does not run until `until`.
    Waiting {
        /// The reason.
        why: Why,
        /// When it came to this.
        since: Timestamp,
        /// When to try again.
        until: Timestamp,
    },
    /// It runs.
    Up {
        /// Since when.
        since: Timestamp,
        /// Whether its startup probe, if any, has succeeded.
        started: bool,
        /// Whether it is ready for traffic.
        ready: bool,
    },
    /// It ended and does not start again.
    Exited(Ended),
}

/// One container of a pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Container {
    /// Its name in the spec.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// When it starts again.
    pub restarts_after: Restarts,
    /// Where it is.
    pub state: State,
    /// How it ended the time before.
    pub last: Option<Ended>,
    /// How often it was started again; also the number of its log file and of the current attempt.
    pub restarts: u32,
    /// Whether the attempt `restarts` has run, so that the next start is a new one.
    pub has_run: bool,
    /// Its recent ends.
    pub crashes: CrashLoop,
    /// Starts in a row that failed before the container ran.
    pub start_failures: u32,
    /// The pinned image that ran, empty before the first start.
    pub image_id: String,
    /// The deadline of the stop that was asked for.
    pub stop: Option<Timestamp>,
    /// Whether its image or resources were changed, so that it starts again whatever its policy.
    pub is_replaced: bool,
    /// What it was granted; less or more than the spec says while a resize is pending.
    pub resources: ResourceRequirements,
    /// Whether it was granted other resources than it runs with.
    pub is_resizing: bool,
}

impl Container {
    /// Returns a container that has never run.
    pub fn new(spec: &v1::Container, place: Place, pod_policy: RestartPolicy) -> Self {
        let role = match (place, spec.restart_policy.as_deref()) {
            (Place::Init, Some("Always")) => Role::Sidecar,
            (Place::Init, _) => Role::Init,
            (Place::Main, _) => Role::App,
            (Place::Ephemeral, _) => Role::Ephemeral,
        };
        Self {
            name: spec.name.clone(),
            role,
            restarts_after: Restarts::of(spec, role, pod_policy),
            state: State::Pending,
            last: None,
            restarts: 0,
            has_run: false,
            crashes: CrashLoop::default(),
            start_failures: 0,
            image_id: String::new(),
            stop: None,
            is_replaced: false,
            resources: spec.resources.clone().unwrap_or_default(),
            is_resizing: false,
        }
    }

    /// Whether its resources may change while it lives: not those of what runs once (`ValidatePodResize`).
    pub fn may_resize(&self) -> bool {
        matches!(self.role, Role::Sidecar | Role::App)
    }

    /// Takes up what an earlier life of this agent wrote about the container. What ran then runs no more: it ended with
    /// 137 at some unknown time, and starts again if its policy allows (`kuberuntime_container.go`, `ContainerStatusUnknown`).
    pub fn remember(&mut self, status: &ContainerStatus, now: Timestamp) {
        self.restarts = u32::try_from(status.restart_count).unwrap_or(0);
        self.image_id.clone_from(&status.image_id);
        if let Some(granted) = status.resources.as_ref().filter(|_| self.may_resize()) {
            self.resources.clone_from(granted);
        }
        self.last =
            status.last_state.as_ref().and_then(|state| state.terminated.as_ref()).map(|t| Ended::remember(t, now));
        let Some(state) = &status.state else { return };
        if let Some(terminated) = &state.terminated {
            self.settle_old(Ended::remember(terminated, now));
        } else if let Some(running) = &state.running {
            let started_at = running.started_at.as_ref().map(|time| time.0);
            self.settle_old(Ended::unknown("The container was stopped because its node restarted", started_at, now));
        } else if self.last.is_some() {
            self.has_run = true;
        }
    }

    fn settle_old(&mut self, ended: Ended) {
        self.has_run = true;
        if self.restarts_after.after(ended.code) {
            self.last = Some(ended);
        } else {
            self.state = State::Exited(ended);
        }
    }

    /// Whether the runtime may hold something of this container.
    pub fn is_live(&self) -> bool {
        matches!(self.state, State::Starting | State::Up { .. })
    }

    /// Whether the container lets the next init container start.
    pub fn lets_next_start(&self) -> bool {
        match (self.role, &self.state) {
            (Role::Init, State::Exited(ended)) => ended.code == 0,
            (Role::Sidecar, State::Up { started, .. }) => *started,
            _ => false,
        }
    }

    /// Whether the container is ready for traffic; an init container is when it has done its work. An ephemeral one never
    /// is.
    pub fn is_ready(&self) -> bool {
        match (self.role, &self.state) {
            (Role::Init, State::Exited(ended)) => ended.code == 0,
            (Role::Sidecar | Role::App, State::Up { ready, .. }) => *ready,
            _ => false,
        }
    }

    /// Whether it ended and will not run again.
    pub fn ended(&self) -> Option<&Ended> {
        match &self.state {
            State::Exited(ended) => Some(ended),
            _ => None,
        }
    }
}

impl Ended {
    /// Returns the end of something that nobody saw.
    pub fn unknown(message: &str, started_at: Option<Timestamp>, now: Timestamp) -> Self {
        Self {
            code: 137,
            reason: "ContainerStatusUnknown".to_owned(),
            message: message.to_owned(),
            started_at,
            finished_at: now,
        }
    }

    fn remember(terminated: &ContainerStateTerminated, now: Timestamp) -> Self {
        Self {
            code: terminated.exit_code,
            reason: terminated.reason.clone().unwrap_or_default(),
            message: terminated.message.clone().unwrap_or_default(),
            started_at: terminated.started_at.as_ref().map(|time| time.0),
            finished_at: terminated.finished_at.as_ref().map_or(now, |time| time.0),
        }
    }
}
