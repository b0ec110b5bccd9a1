//! What the phase machine is told: newest objects, kills, and what happened to containers and probes.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;

use super::container::Ended;
use crate::admission::Fit;

/// What the machine is told.
#[derive(Debug, Clone)]
pub enum Input {
    /// The newest object.
    Desired(Arc<Pod>),
    /// End it.
    Kill {
        /// How long containers may take.
        grace: Duration,
        /// Who says so.
        kill: Kill,
    },
    /// Volumes and address are there.
    Prepared {
        /// The pod's address.
        ip: IpAddr,
    },
    /// They are not.
    PrepareFailed {
        /// The event's reason, such as `FailedMount`.
        reason: &'static str,
        /// The cause.
        message: String,
    },
    /// Something happened to a container.
    Runtime(ContainerEvent),
    /// A probe changed its mind.
    Probe {
        /// The container.
        container: String,
        /// Which of its attempts was probed.
        attempt: u32,
        /// Which probe.
        kind: ProbeKind,
        /// What it thinks, past its threshold.
        verdict: Verdict,
    },
    /// The node's answer to `Allocate`.
    Allocated {
        /// Which spec it is about (`metadata.generation`).
        generation: Option<i64>,
        /// Whether it fits.
        fit: Fit,
    },
    /// The instant of `wake_at` has come.
    Timer,
}

/// Something that happened to one attempt of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerEvent {
    /// It runs.
    Started {
        /// Its name.
        container: String,
        /// Which attempt.
        attempt: u32,
        /// The pinned image.
        image_id: String,
    },
    /// It did not come to run.
    StartFailed {
        /// Its name.
        container: String,
        /// Which attempt.
        attempt: u32,
        /// Why.
        failure: StartFailure,
    },
    /// It ended.
    Exited {
        /// Its name.
        container: String,
        /// Which attempt.
        attempt: u32,
        /// How.
        ended: Ended,
    },
}

impl ContainerEvent {
    /// Returns the container's name.
    pub fn container(&self) -> &str {
        match self {
            Self::Started { container, .. } | Self::StartFailed { container, .. } | Self::Exited { container, .. } => {
                container
            }
        }
    }

    /// Returns the attempt.
    pub fn attempt(&self) -> u32 {
        match self {
            Self::Started { attempt, .. } | Self::StartFailed { attempt, .. } | Self::Exited { attempt, .. } => {
                *attempt
            }
        }
    }
}

/// Why a container did not come to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartFailure {
    /// The image could not be had.
    Pull {
        /// Kubernetes' word: `ErrImagePull`, `RegistryUnavailable`, `SignatureValidationFailed`.
        reason: &'static str,
        /// The cause.
        message: String,
    },
    /// Something else that is tried again: `ErrImageNeverPull`, `InvalidImageName`, `CreateContainerConfigError`.
    Other {
        /// Kubernetes' word.
        reason: &'static str,
        /// The cause.
        message: String,
    },
    /// We gave up because it was to be stopped.
    Cancelled,
}

impl StartFailure {
    /// Returns what a person should read.
    pub fn message(&self) -> &str {
        match self {
            Self::Pull { message, .. } | Self::Other { message, .. } => message,
            Self::Cancelled => "the pod is being stopped",
        }
    }
}

/// The kinds of probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProbeKind {
    /// Gates the other two.
    Startup,
    /// Its failure restarts the container.
    Liveness,
    /// Its failure takes the pod out of its services.
    Readiness,
}

/// What a probe thinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Well.
    Success,
    /// Not well.
    Failure,
}

/// Who ends a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kill {
    /// The object was deleted.
    Deleted,
    /// It ran longer than `activeDeadlineSeconds`.
    DeadlineExceeded,
    /// This agent stops. The pod is started again by the next one.
    NodeShutdown,
    /// The node, or the pod's own limits, cannot bear it any longer.
    Evicted {
        /// `status.message`.
        message: String,
    },
    /// The node cannot run it.
    Rejected {
        /// `status.reason`, such as `OutOfpods`.
        reason: &'static str,
        /// `status.message`.
        message: String,
    },
}
