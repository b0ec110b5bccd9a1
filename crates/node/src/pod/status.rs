//! What the world sees of a pod: one pure function from the phase to `PodStatus`, and the patch that carries it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container as ContainerSpec, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodStatus, ResourceRequirements, VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::container::{Container, Ended, Role, State, Why};
use super::life::{Life, crash_loop_message};
use super::phase::{Ending, Kill, Phase};
use super::spec;

/// The conditions that this node writes; all others belong to somebody else.
const OWN_CONDITIONS: [&str; 7] = [
    "PodScheduled",
    "PodReadyToStartContainers",
    "Initialized",
    "ContainersReady",
    "Ready",
    RESIZE_PENDING,
    RESIZE_IN_PROGRESS,
];
/// Conditions that are there only while they are true.
const PASSING_CONDITIONS: [&str; 2] = [RESIZE_PENDING, RESIZE_IN_PROGRESS];
const RESIZE_PENDING: &str = "PodResizePending";
const RESIZE_IN_PROGRESS: &str = "PodResizeInProgress";

/// Whether a condition is this node's to write.
pub(crate) fn is_own_condition(condition: &PodCondition) -> bool {
    OWN_CONDITIONS.contains(&condition.type_.as_str())
}

/// Somebody's condition: whoever takes a pod away sets it, and so does this node when it evicts one.
const DISRUPTION_TARGET: &str = "DisruptionTarget";
/// The reason of an evicted pod.
const EVICTED: &str = "Evicted";
/// The reason of the condition `DisruptionTarget` when this node evicts a pod (`PodReasonTerminationByKubelet`).
const EVICTED_HERE: &str = "TerminationByKubelet";

/// Returns the pod's status. `previous` is the status published before: a condition that did not change keeps its
/// transition time. Conditions of others are carried over.
pub fn status_of(phase: &Phase, host_ip: Option<IpAddr>, previous: Option<&PodStatus>, now: Timestamp) -> PodStatus {
    let life = phase.life();
    if let Phase::Stopped(stopped) = phase
        && stopped.ending == Ending::Remembered
    {
        // What was remembered first stands: the server may show something older, that is why it is told again.
        return previous.or(life.pod.status.as_ref()).cloned().unwrap_or_default();
    }
    let word = phase_word(phase);
    let (reason, message) = reason_of(phase);
    let statuses = |is_meant: fn(Role) -> bool| -> Option<Vec<ContainerStatus>> {
        let meant = life.containers.iter().filter(|container| is_meant(container.role));
        let mut statuses: Vec<_> = meant.map(|container| container_status(container, phase, now)).collect();
        // Room for four is taken at once, of some 700 bytes each, and a status is kept for as long as its pod.
        statuses.shrink_to_fit();
        (!statuses.is_empty()).then_some(statuses)
    };
    PodStatus {
        phase: Some(word.to_owned()),
        reason,
        message,
        conditions: Some(conditions(phase, word, previous, now)),
        init_container_statuses: statuses(Role::is_init),
        container_statuses: statuses(|role| role == Role::App),
        ephemeral_container_statuses: statuses(|role| role == Role::Ephemeral),
        host_ip: host_ip.map(|ip| ip.to_string()),
        host_ips: host_ip.map(|ip| vec![HostIP { ip: ip.to_string() }]),
        pod_ip: life.ip.map(|ip| ip.to_string()),
        pod_ips: life.ip.map(|ip| vec![PodIP { ip: ip.to_string() }]),
        start_time: Some(Time(life.started_at)),
        observed_generation: life.pod.metadata.generation,
        qos_class: life.pod.status.as_ref().and_then(|status| status.qos_class.clone()),
        ..PodStatus::default()
    }
}

/// Returns the strategic merge patch that brings a pod's status to `status`, for the pod of this uid only
/// (`pkg/util/pod/pod.go`, `PatchPodStatus`). Conditions of others are left out: they merge by type on the server.
pub fn patch_of(pod: &Pod, status: &PodStatus) -> Value {
    let mut document = serde_json::to_value(status).unwrap_or_default();
    if let Some(conditions) = document["conditions"].as_array_mut() {
        let is_own = |condition: &Value| OWN_CONDITIONS.iter().any(|own| condition["type"] == *own);
        conditions.retain(|condition| is_own(condition) || condition["reason"] == EVICTED_HERE);
        conditions.iter_mut().for_each(say_reason_and_message);
        let shown = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let passed: Vec<&str> = shown
            .map(|condition| condition.type_.as_str())
            .filter(|name| PASSING_CONDITIONS.contains(name) && conditions.iter().all(|one| one["type"] != *name))
            .collect();
        conditions.extend(passed.into_iter().map(|name| json!({ "$patch": "delete", "type": name })));
    }
    say_reason_and_message(&mut document);
    json!({ "metadata": { "uid": spec::uid(pod) }, "status": document })
}

/// Turns an absent `reason` or `message` into null: in a merge patch, absent would leave what an earlier status said.
fn say_reason_and_message(of: &mut Value) {
    for field in ["reason", "message"] {
        if of[field].is_null() {
            of[field] = Value::Null;
        }
    }
}

/// Whether the pod's object says something else than `status` about what is this node's to say, or does not say yet
/// which of its specs the node has seen.
pub fn is_overruled(pod: &Pod, status: &PodStatus) -> bool {
    let own = |status: &PodStatus| -> BTreeSet<(String, String)> {
        let conditions = status.conditions.iter().flatten();
        let own = conditions.filter(|condition| OWN_CONDITIONS.contains(&condition.type_.as_str()));
        own.map(|condition| (condition.type_.clone(), condition.status.clone())).collect()
    };
    pod.status.as_ref().is_none_or(|seen| {
        seen.observed_generation != status.observed_generation || seen.phase != status.phase || own(seen) != own(status)
    })
}

/// Returns `status.phase` (`kubelet_pods.go`, `getPhase`).
fn phase_word(phase: &Phase) -> &'static str {
    let life = phase.life();
    match phase {
        Phase::Setup(_) => "Pending",
        Phase::Stopped(stopped) => {
            let forced = matches!(
                stopped.ending,
                Ending::Killed(Kill::DeadlineExceeded | Kill::Evicted { .. } | Kill::Rejected { .. })
            );
            let succeeded = |container: &Container| container.ended().is_some_and(|ended| ended.code == 0);
            let mut counted =
                life.containers.iter().filter(|container| matches!(container.role, Role::Init | Role::App));
            if !forced && counted.all(succeeded) { "Succeeded" } else { "Failed" }
        }
        Phase::Running(_) | Phase::Stopping(_) => {
            let mut apps = life.containers.iter().filter(|container| container.role == Role::App);
            let is_first_wait = |container: &Container| {
                let waits = matches!(container.state, State::Pending | State::Starting | State::Waiting { .. });
                waits && container.last.is_none()
            };
            let is_pending = !is_initialized(life) || apps.any(is_first_wait);
            if is_pending { "Pending" } else { "Running" }
        }
    }
}

/// A sidecar that is being stopped at the pod's end does not make the pod uninitialized again.
fn is_initialized(life: &Life) -> bool {
    let apps_began =
        life.containers.iter().any(|c| c.role == Role::App && (c.state != State::Pending || c.last.is_some()));
    apps_began || life.is_initialized()
}

fn reason_of(phase: &Phase) -> (Option<String>, Option<String>) {
    let ending = match phase {
        Phase::Setup(_) | Phase::Running(_) => return (None, None),
        Phase::Stopping(stopping) => &stopping.ending,
        Phase::Stopped(stopped) => &stopped.ending,
    };
    match ending {
        Ending::Killed(Kill::DeadlineExceeded) => {
            let message = "Pod was active on the node longer than the specified deadline";
            (Some("DeadlineExceeded".to_owned()), Some(message.to_owned()))
        }
        Ending::Killed(Kill::Evicted { message }) => (Some(EVICTED.to_owned()), Some(message.clone())),
        Ending::Killed(Kill::Rejected { reason, message }) => {
            (Some((*reason).to_owned()), Some(format!("Pod was rejected: {message}")))
        }
        Ending::Finished | Ending::Remembered | Ending::Killed(Kill::Deleted | Kill::NodeShutdown) => (None, None),
    }
}

fn conditions(phase: &Phase, word: &str, previous: Option<&PodStatus>, now: Timestamp) -> Vec<PodCondition> {
    let life = phase.life();
    let old = previous.or(life.pod.status.as_ref()).and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let containers_ready = containers_ready(phase, word);
    let ready = match &containers_ready {
        Ok(()) => readiness_gates(&life.pod),
        Err(problem) => Err(problem.clone()),
    };
    let has_network = matches!(phase, Phase::Running(_) | Phase::Stopping(_)) && life.ip.is_some();
    let verdicts = [
        ("PodReadyToStartContainers", if has_network { Ok(()) } else { Err(Problem::default()) }),
        ("Initialized", initialized(phase, word)),
        ("Ready", ready),
        ("ContainersReady", containers_ready),
        ("PodScheduled", Ok(())),
    ];
    let mut conditions: Vec<PodCondition> = verdicts
        .into_iter()
        .map(|(name, verdict)| {
            let status = if verdict.is_ok() { "True" } else { "False" };
            let before = old.iter().find(|condition| condition.type_ == name && condition.status == status);
            let (reason, message) = match verdict {
                // "True because it completed" is the one good verdict with a reason.
                Ok(()) if name == "Initialized" && word == "Succeeded" => (Some("PodCompleted".to_owned()), None),
                Ok(()) => (None, None),
                Err(problem) => (problem.reason.map(str::to_owned), problem.message),
            };
            let since = before.and_then(|condition| condition.last_transition_time.clone()).unwrap_or(Time(now));
            PodCondition {
                type_: name.to_owned(),
                status: status.to_owned(),
                reason,
                message,
                last_transition_time: Some(since),
                observed_generation: life.pod.metadata.generation,
                ..PodCondition::default()
            }
        })
        .collect();
    conditions.extend(resizing(phase, old, now));
    let mut others: Vec<PodCondition> =
        old.iter().filter(|condition| !OWN_CONDITIONS.contains(&condition.type_.as_str())).cloned().collect();
    if let Some(target) = disruption_target(phase, &others, now) {
        others.retain(|condition| condition.type_ != target.type_);
        others.push(target);
    }
    conditions.extend(others);
    conditions
}

/// Says that the pod did not fail by itself: a Job does not count it, if its policy says so.
fn disruption_target(phase: &Phase, old: &[PodCondition], now: Timestamp) -> Option<PodCondition> {
    let ending = match phase {
        Phase::Setup(_) | Phase::Running(_) => return None,
        Phase::Stopping(stopping) => &stopping.ending,
        Phase::Stopped(stopped) => &stopped.ending,
    };
    let Ending::Killed(Kill::Evicted { message }) = ending else { return None };
    let before = old.iter().find(|condition| condition.type_ == DISRUPTION_TARGET && condition.status == "True");
    let since = before.and_then(|condition| condition.last_transition_time.clone()).unwrap_or(Time(now));
    Some(PodCondition {
        type_: DISRUPTION_TARGET.to_owned(),
        status: "True".to_owned(),
        reason: Some(EVICTED_HERE.to_owned()),
        message: Some(message.clone()),
        last_transition_time: Some(since),
        observed_generation: phase.life().pod.metadata.generation,
        ..PodCondition::default()
    })
}

/// Returns the conditions of a pod that shall have other resources (`status_manager.go`, `SetPodResizePendingCondition`).
fn resizing(phase: &Phase, old: &[PodCondition], now: Timestamp) -> Vec<PodCondition> {
    let Phase::Running(_) = phase else { return Vec::new() };
    let life = phase.life();
    let condition = |name: &str, reason: Option<&str>, message: Option<String>| {
        let before = old.iter().find(|condition| condition.type_ == name);
        PodCondition {
            type_: name.to_owned(),
            status: "True".to_owned(),
            reason: reason.map(str::to_owned),
            message,
            last_transition_time: before.and_then(|before| before.last_transition_time.clone()).or(Some(Time(now))),
            observed_generation: life.pod.metadata.generation,
            ..PodCondition::default()
        }
    };
    let pending = life.resize.pending.as_ref();
    let pending = pending.map(|it| condition(RESIZE_PENDING, Some(it.reason), Some(it.message.clone())));
    let is_under_way = life.containers.iter().any(|container| container.is_resizing);
    pending.into_iter().chain(is_under_way.then(|| condition(RESIZE_IN_PROGRESS, None, None))).collect()
}

/// Why a condition is `False`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Problem {
    reason: Option<&'static str>,
    message: Option<String>,
}

impl Problem {
    fn new(reason: &'static str, message: Option<String>) -> Self {
        Self { reason: Some(reason), message }
    }
}

/// See `status/generate.go`, `GeneratePodInitializedCondition`.
fn initialized(phase: &Phase, word: &str) -> Result<(), Problem> {
    let life = phase.life();
    if word == "Succeeded" || (!matches!(phase, Phase::Setup(_)) && is_initialized(life)) {
        return Ok(());
    }
    let waiting = names(life, |container| container.role.is_init() && !container.lets_next_start());
    if waiting.is_empty() {
        return Ok(());
    }
    Err(Problem::new("ContainersNotInitialized", Some(format!("containers with incomplete status: [{waiting}]"))))
}

/// See `status/generate.go`, `GenerateContainersReadyCondition`.
fn containers_ready(phase: &Phase, word: &str) -> Result<(), Problem> {
    match word {
        "Succeeded" => return Err(Problem::new("PodCompleted", None)),
        "Failed" => return Err(Problem::new("PodFailed", None)),
        _ => {}
    }
    let is_counted = |role| matches!(role, Role::Sidecar | Role::App);
    let unready = names(phase.life(), |container| is_counted(container.role) && !container.is_ready());
    if unready.is_empty() {
        return Ok(());
    }
    Err(Problem::new("ContainersNotReady", Some(format!("containers with unready status: [{unready}]"))))
}

/// See `status/generate.go`, `GeneratePodReadyCondition`.
fn readiness_gates(pod: &Pod) -> Result<(), Problem> {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let gates = pod.spec.as_ref().and_then(|spec| spec.readiness_gates.as_deref()).unwrap_or_default();
    let problems: Vec<String> = gates
        .iter()
        .filter_map(|gate| {
            let name = &gate.condition_type;
            match conditions.iter().find(|condition| condition.type_ == *name) {
                None => Some(format!("corresponding condition of pod readiness gate \"{name}\" does not exist.")),
                Some(condition) if condition.status != "True" => Some(format!(
                    "the status of pod readiness gate \"{name}\" is not \"True\", but {}",
                    condition.status
                )),
                Some(_) => None,
            }
        })
        .collect();
    if problems.is_empty() { Ok(()) } else { Err(Problem::new("ReadinessGatesNotReady", Some(problems.join(", ")))) }
}

fn names(life: &Life, is_meant: impl Fn(&Container) -> bool) -> String {
    let names: Vec<&str> = life.containers.iter().filter(|c| is_meant(c)).map(|c| c.name.as_str()).collect();
    names.join(" ")
}

fn container_status(container: &Container, phase: &Phase, now: Timestamp) -> ContainerStatus {
    let life = phase.life();
    let spec = spec::container(&life.pod, &container.name);
    let spec = spec.as_deref();
    let has_run = !container.image_id.is_empty();
    let is_up = matches!(container.state, State::Up { .. });
    let is_started = match (&container.state, container.role) {
        // Nobody probes it, so nobody says (`prober_manager.go`, `UpdatePodStatus`).
        (_, Role::Ephemeral) => None,
        (State::Up { started, .. }, _) => Some(*started),
        // `started` of a finished init container stays false, as the kubelet writes it.
        (State::Pending | State::Starting | State::Waiting { .. } | State::Exited(_), _) => Some(false),
    };
    ContainerStatus {
        name: container.name.clone(),
        image: spec.and_then(|spec| spec.image.clone()).unwrap_or_default(),
        image_id: container.image_id.clone(),
        container_id: (has_run || is_up).then(|| container_id(&life.pod, container, 0)),
        ready: container.is_ready(),
        started: is_started,
        restart_count: i32::try_from(container.restarts).unwrap_or(i32::MAX),
        state: Some(state_of(container, phase, now)),
        last_state: Some(ContainerState {
            terminated: container.last.as_ref().map(|ended| terminated(ended, container_id(&life.pod, container, 1))),
            ..ContainerState::default()
        }),
        resources: spec
            .map(|_| container.resources.clone())
            .filter(|resources| *resources != ResourceRequirements::default()),
        allocated_resources: container.resources.requests.clone(),
        volume_mounts: spec.and_then(mounts_of),
        ..ContainerStatus::default()
    }
}

/// Returns what a container's status says about its mounts (`kubelet_pods.go`, `convertToAPIContainerStatuses`).
fn mounts_of(spec: &ContainerSpec) -> Option<Vec<VolumeMountStatus>> {
    let mounts = spec.volume_mounts.iter().flatten().map(|mount| {
        let is_read_only = mount.read_only == Some(true);
        // Nothing is mounted below what a guest sees, so that read-only is recursive by nature.
        let recursive = match mount.recursive_read_only.as_deref() {
            Some("Enabled" | "IfPossible") => "Enabled",
            _ => "Disabled",
        };
        VolumeMountStatus {
            name: mount.name.clone(),
            mount_path: mount.mount_path.clone(),
            read_only: is_read_only.then_some(true),
            recursive_read_only: is_read_only.then(|| recursive.to_owned()),
            ..VolumeMountStatus::default()
        }
    });
    let mounts: Vec<_> = mounts.collect();
    (!mounts.is_empty()).then_some(mounts)
}

/// An id that a person can follow to the log file: the pod's uid, the container and the attempt.
fn container_id(pod: &Pod, container: &Container, back: u32) -> String {
    let attempt = container.restarts.saturating_sub(if container.has_run { 0 } else { back });
    format!("wasmtime://{}.{}.{attempt}", spec::uid(pod), container.name)
}

fn state_of(container: &Container, phase: &Phase, now: Timestamp) -> ContainerState {
    let life = phase.life();
    match &container.state {
        State::Up { since, .. } => ContainerState {
            running: Some(ContainerStateRunning { started_at: Some(Time(*since)) }),
            ..ContainerState::default()
        },
        State::Exited(ended) => ContainerState {
            terminated: Some(terminated(ended, container_id(&life.pod, container, 0))),
            ..ContainerState::default()
        },
        State::Pending | State::Starting | State::Waiting { .. }
            if matches!(phase, Phase::Stopped(_)) && had_its_turn(container, life) =>
        {
            let ended = Ended::unknown("The container could not be located when the pod was terminated", None, now);
            ContainerState { terminated: Some(terminated(&ended, String::new())), ..ContainerState::default() }
        }
        State::Pending | State::Starting => waiting(first_wait(container, life), None),
        State::Waiting { why, .. } => match why {
            Why::CrashLoop { delay } => {
                let message = crash_loop_message(*delay, &container.name, &spec::full_name(&life.pod));
                waiting("CrashLoopBackOff", Some(message))
            }
            Why::ImagePullBackOff { reason, message } => {
                let spec = spec::container(&life.pod, &container.name);
                let image = spec.as_ref().and_then(|spec| spec.image.as_deref()).unwrap_or_default();
                waiting("ImagePullBackOff", Some(format!("Back-off pulling image \"{image}\": {reason}: {message}")))
            }
            Why::ErrImagePull { reason, message } | Why::Unstartable { reason, message } => {
                waiting(reason, Some(message.clone()))
            }
        },
    }
}

/// Whether a container that did not come to run in a pod that is over counts as failed. One whose turn never came goes on
/// waiting (`status_manager.go`, `TerminatePod`).
fn had_its_turn(container: &Container, life: &Life) -> bool {
    match container.role {
        Role::App => is_initialized(life),
        Role::Ephemeral => true,
        Role::Init | Role::Sidecar => {
            let mut init = life.containers.iter().filter(|container| container.role.is_init());
            let is_first = init.clone().next().is_some_and(|first| first.name == container.name);
            // Whether it, or one after it, has left a trace.
            let mut rest = init.by_ref().skip_while(|other| other.name != container.name);
            is_first || rest.any(|other| matches!(other.state, State::Exited(_)) || other.last.is_some())
        }
    }
}

/// Before anything of a pod with init containers is done, everything is "initializing".
fn first_wait(container: &Container, life: &Life) -> &'static str {
    let has_init = life.containers.iter().any(|container| container.role.is_init());
    let is_its_turn = container.state == State::Starting || is_initialized(life);
    if has_init && !is_its_turn { "PodInitializing" } else { "ContainerCreating" }
}

fn waiting(reason: &str, message: Option<String>) -> ContainerState {
    ContainerState {
        waiting: Some(ContainerStateWaiting { reason: Some(reason.to_owned()), message }),
        ..ContainerState::default()
    }
}

fn terminated(ended: &Ended, id: String) -> ContainerStateTerminated {
    ContainerStateTerminated {
        exit_code: ended.code,
        reason: Some(ended.reason.clone()),
        message: (!ended.message.is_empty()).then(|| ended.message.clone()),
        started_at: ended.started_at.map(Time),
        finished_at: Some(Time(ended.finished_at)),
        container_id: (!id.is_empty()).then_some(id),
        signal: None,
    }
}
