//! Questions that the node asks about a pod's spec, with Kubernetes' defaults in one place.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use wkube_api::quantity::Quantity;

use super::backoff::later;

/// Kubernetes' default grace period.
const GRACE_DEFAULT: Duration = Duration::from_secs(30);

/// What `spec.restartPolicy` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Start again, however it ended.
    Always,
    /// Start again unless it ended with 0.
    OnFailure,
    /// Leave it.
    Never,
}

impl RestartPolicy {
    /// Reads the field; absent or unknown is `Always`, the API's default.
    pub fn parse(text: Option<&str>) -> Self {
        match text {
            Some("OnFailure") => Self::OnFailure,
            Some("Never") => Self::Never,
            _ => Self::Always,
        }
    }

    /// Whether a container that ended with `code` runs again.
    pub fn restarts(self, code: i32) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => code != 0,
            Self::Never => false,
        }
    }
}

/// Returns the pod's uid, empty for a pod that no API server has seen.
pub fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

/// Returns the pod's namespace.
pub fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or("default")
}

/// Returns the pod's name.
pub fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

/// Returns `name_namespace(uid)`, as the kubelet names pods in messages.
pub fn full_name(pod: &Pod) -> String {
    format!("{}_{}({})", name(pod), namespace(pod), uid(pod))
}

/// Returns the pod's restart policy.
pub fn restart_policy(pod: &Pod) -> RestartPolicy {
    RestartPolicy::parse(pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()))
}

/// Returns the grace period that a kill without its own uses.
pub fn grace(pod: &Pod) -> Duration {
    let seconds = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
    seconds.map_or(GRACE_DEFAULT, seconds_of)
}

/// Returns the grace period that the deletion asked for, `None` while nobody has deleted the pod.
pub fn deletion_grace(pod: &Pod) -> Option<Duration> {
    pod.metadata.deletion_timestamp.as_ref()?;
    Some(pod.metadata.deletion_grace_period_seconds.map_or_else(|| grace(pod), seconds_of))
}

/// Returns when `activeDeadlineSeconds` ends the pod.
pub fn active_deadline(pod: &Pod, started_at: Timestamp) -> Option<Timestamp> {
    let seconds = pod.spec.as_ref()?.active_deadline_seconds?;
    Some(later(started_at, seconds_of(seconds)))
}

/// Returns the containers, init containers first, with whether each is one.
pub fn containers(pod: &Pod) -> impl Iterator<Item = (&Container, bool)> {
    let spec: Option<&PodSpec> = pod.spec.as_ref();
    let init = spec.and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default();
    let app = spec.map(|spec| spec.containers.as_slice()).unwrap_or_default();
    init.iter().map(|container| (container, true)).chain(app.iter().map(|container| (container, false)))
}

/// Returns the spec of one container.
pub fn container<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    containers(pod).map(|(container, _)| container).find(|container| container.name == name)
}

/// Returns one of a container's limits, such as `cpu`; `None` if it has none that can be read.
pub fn limit(container: &Container, resource: &str) -> Option<Quantity> {
    container.resources.as_ref()?.limits.as_ref()?.get(resource)?.0.parse().ok()
}

/// Returns whether the pod has reached a phase that it never leaves.
pub fn is_finished(pod: &Pod) -> bool {
    matches!(pod.status.as_ref().and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed"))
}

fn seconds_of(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}
