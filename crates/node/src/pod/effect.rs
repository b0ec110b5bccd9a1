//! What the phase machine asks its worker to do.

use jiff::Timestamp;

/// What the worker shall do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Make volumes and address; answer with `Prepared` or `PrepareFailed`.
    Prepare,
    /// Start a container; answer with `Started` or `StartFailed`, and with `Exited` in the end.
    Start {
        /// Its name.
        container: String,
        /// Which attempt this is.
        attempt: u32,
    },
    /// Stop a container by a deadline; repeated with earlier deadlines. Whatever it was doing, an end is reported.
    Stop {
        /// Its name.
        container: String,
        /// Which attempt.
        attempt: u32,
        /// When it is killed.
        deadline: Timestamp,
    },
    /// Ask the node for the resources that the newest object wants; answer with `Allocated`.
    Allocate,
    /// Let a running container have what it was granted, without a restart.
    Resize {
        /// Its name.
        container: String,
        /// Which attempt.
        attempt: u32,
    },
    /// Undo what `Prepare` made.
    Release,
    /// Tell the API server.
    Publish(Report),
    /// Remove the object: the pod was deleted and its last status is told.
    Forget,
    /// Record an event.
    Record(Note),
}

/// Which status is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// One that newer ones may replace.
    Progress,
    /// The last one.
    Final,
}

/// An event for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Whether it is a `Warning`.
    pub is_warning: bool,
    /// Kubernetes' word.
    pub reason: &'static str,
    /// The sentence.
    pub message: String,
    /// The container it is about.
    pub container: Option<String>,
}

impl Note {
    /// Returns a `Normal` event.
    pub fn normal(reason: &'static str, message: impl Into<String>) -> Self {
        Self { is_warning: false, reason, message: message.into(), container: None }
    }

    /// Returns a `Warning` event.
    pub fn warning(reason: &'static str, message: impl Into<String>) -> Self {
        Self { is_warning: true, reason, message: message.into(), container: None }
    }
}
