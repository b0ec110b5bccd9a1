//! Questions that the node asks about a pod's spec, with Kubernetes' defaults in one place.

use std::borrow::Cow;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, EphemeralContainer, Pod, PodSpec};
use wkube_api::quantity::Quantity;

use super::backoff::later;
use super::restart::RestartPolicy;

/// Kubernetes' default grace period.
const GRACE_DEFAULT: Duration = Duration::from_secs(30);

/// Which list of a pod's spec a container stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// `initContainers`.
    Init,
    /// `containers`.
    Main,
    /// `ephemeralContainers`.
    Ephemeral,
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

/// Returns the name that the pod's containers have for their machine, without a domain.
pub fn hostname(pod: &Pod) -> &str {
    let own = pod.spec.as_ref().and_then(|spec| spec.hostname.as_deref());
    own.filter(|own| !own.is_empty()).unwrap_or_else(|| name(pod))
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

/// Returns the containers with where each stands: init containers, then the main ones, then ephemeral ones.
pub fn containers(pod: &Pod) -> impl Iterator<Item = (Cow<'_, Container>, Place)> {
    let spec: Option<&PodSpec> = pod.spec.as_ref();
    let init = spec.and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default();
    let main = spec.map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let init = init.iter().map(|container| (Cow::Borrowed(container), Place::Init));
    let main = main.iter().map(|container| (Cow::Borrowed(container), Place::Main));
    let ephemeral = ephemeral(pod).iter().map(|container| (Cow::Owned(plain(container)), Place::Ephemeral));
    init.chain(main).chain(ephemeral)
}

/// Returns the spec of one container.
pub fn container<'a>(pod: &'a Pod, name: &str) -> Option<Cow<'a, Container>> {
    containers(pod).map(|(container, _)| container).find(|container| container.name == name)
}

/// Whether a container of this name was added to the running pod.
pub fn is_ephemeral(pod: &Pod, name: &str) -> bool {
    ephemeral(pod).iter().any(|container| container.name == name)
}

fn ephemeral(pod: &Pod) -> &[EphemeralContainer] {
    pod.spec.as_ref().and_then(|spec| spec.ephemeral_containers.as_deref()).unwrap_or_default()
}

/// Returns an ephemeral container as an ordinary one (`EphemeralContainerCommon` in `pkg/apis/core`). What it may not
/// have is left out: ports, probes, hooks, resources, a restart policy. `targetContainerName` asks for the processes of
/// another container; a guest has none that others could see.
fn plain(container: &EphemeralContainer) -> Container {
    let container = container.clone();
    Container {
        name: container.name,
        image: container.image,
        image_pull_policy: container.image_pull_policy,
        command: container.command,
        args: container.args,
        working_dir: container.working_dir,
        env: container.env,
        env_from: container.env_from,
        volume_mounts: container.volume_mounts,
        volume_devices: container.volume_devices,
        security_context: container.security_context,
        stdin: container.stdin,
        stdin_once: container.stdin_once,
        tty: container.tty,
        termination_message_path: container.termination_message_path,
        termination_message_policy: container.termination_message_policy,
        ..Container::default()
    }
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

/// Returns the TCP ports that a container declares.
pub fn tcp_ports(container: &Container) -> Vec<u16> {
    let ports = container.ports.iter().flatten();
    let tcp = ports.filter(|port| port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP"));
    tcp.filter_map(|port| u16::try_from(port.container_port).ok()).collect()
}
