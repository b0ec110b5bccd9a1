//! How kubectl shows a pod (`printPod`). The STATUS cell tells the story of its containers.

use jiff::Timestamp;
use serde_json::Value;

use crate::kinds::doc::{at, flag, list, number, text};
use crate::kinds::print::{self, Col, Columns, Text, Wide};
use crate::object::Object;

pub(super) const COLUMNS: Columns = &[
    print::NAME,
    Col("Ready", Text, "The aggregate readiness state of this pod for accepting traffic."),
    Col("Status", Text, "The aggregate status of the containers in this pod."),
    Col(
        "Restarts",
        Text,
        "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.",
    ),
    print::AGE,
    Col(
        "IP",
        Wide,
        "IP address allocated to the pod. Routable at least within the cluster. Empty if not yet allocated.",
    ),
    Col("Node", Wide, "The node this pod is scheduled on."),
    Col("Nominated Node", Wide, "The node that this pod may be scheduled on once other pods have gone."),
    Col("Readiness Gates", Wide, "Conditions that must be true, besides its containers', for the pod to be ready."),
];

/// What the containers' statuses add up to.
#[derive(Default)]
struct Tally {
    ready: usize,
    restarts: i64,
    last_restart: Option<Timestamp>,
}

/// Returns the cells of a pod.
pub(super) fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let null = Value::Null;
    let (spec, status) = (object.at(&["spec"]).unwrap_or(&null), object.at(&["status"]).unwrap_or(&null));
    let (reason, tally) = reason(spec, status);
    let phase = text(status, "phase");
    let reason = match (object.is_deleting(), text(status, "reason")) {
        (true, "NodeLost") => "Unknown".to_owned(),
        (true, _) if !matches!(phase, "Succeeded" | "Failed") => "Terminating".to_owned(),
        _ => reason,
    };
    let sidecars = list(spec, "initContainers").iter().filter(|container| is_sidecar(container)).count();
    let total = list(spec, "containers").len() + sidecars;
    let restarts = match tally.last_restart {
        Some(time) if tally.restarts != 0 => {
            format!("{} ({} ago)", tally.restarts, print::human_duration(now.as_second() - time.as_second()))
        }
        _ => tally.restarts.to_string(),
    };
    vec![
        object.name().into(),
        format!("{}/{total}", tally.ready).into(),
        reason.into(),
        restarts.into(),
        print::age(object, now),
        print::or_none(pod_ip(status).to_owned()).into(),
        print::or_none(text(spec, "nodeName").to_owned()).into(),
        print::or_none(text(status, "nominatedNodeName").to_owned()).into(),
        readiness_gates(spec, status).into(),
    ]
}

fn reason(spec: &Value, status: &Value) -> (String, Tally) {
    let mut reason = text(status, "phase").to_owned();
    if !text(status, "reason").is_empty() {
        text(status, "reason").clone_into(&mut reason);
    }
    let is_gated = condition(status, "PodScheduled").is_some_and(|found| text(found, "reason") == "SchedulingGated");
    if is_gated {
        "SchedulingGated".clone_into(&mut reason);
    }
    let (stuck, mut init, sidecars) = initialization(spec, status);
    let initialized = condition(status, "Initialized").is_some_and(|found| text(found, "status") == "True");
    if let Some(stuck) = &stuck
        && !initialized
    {
        return (stuck.clone(), init);
    }
    if let Some(stuck) = stuck {
        reason = stuck;
    }
    // The restarts of finished init containers are history.
    init.restarts = sidecars.restarts;
    init.last_restart = sidecars.last_restart;
    let reason = running(status, reason, &mut init);
    (reason, init)
}

/// Returns why initialization has not finished (`Init:1/2`), the tally of all init containers, and that of sidecars.
fn initialization(spec: &Value, status: &Value) -> (Option<String>, Tally, Tally) {
    let (mut all, mut sidecars) = (Tally::default(), Tally::default());
    let init_containers = list(spec, "initContainers");
    for (index, container) in list(status, "initContainerStatuses").iter().enumerate() {
        all.count_restarts(container);
        let sidecar =
            init_containers.iter().any(|init| text(init, "name") == text(container, "name") && is_sidecar(init));
        if sidecar {
            sidecars.count_restarts(container);
        }
        if let Some(terminated) = at(container, "state.terminated") {
            if number(terminated, "exitCode") == 0 {
                continue;
            }
            if !(sidecar && flag(container, "started")) {
                return (Some(format!("Init:{}", end_of(terminated))), all, sidecars);
            }
        }
        if sidecar && flag(container, "started") {
            all.ready += usize::from(flag(container, "ready"));
            continue;
        }
        let waiting = at(container, "state.waiting").map(|waiting| text(waiting, "reason")).unwrap_or_default();
        let stuck = match waiting {
            "" | "PodInitializing" => format!("Init:{index}/{}", init_containers.len()),
            reason => format!("Init:{reason}"),
        };
        return (Some(stuck), all, sidecars);
    }
    (None, all, sidecars)
}

fn running(status: &Value, mut reason: String, tally: &mut Tally) -> String {
    let mut has_running = false;
    // The first container's word is the last one.
    for container in list(status, "containerStatuses").iter().rev() {
        tally.count_restarts(container);
        let waiting = at(container, "state.waiting").map(|waiting| text(waiting, "reason")).unwrap_or_default();
        if !waiting.is_empty() {
            waiting.clone_into(&mut reason);
        } else if let Some(terminated) = at(container, "state.terminated") {
            reason = end_of(terminated);
        } else if flag(container, "ready") && at(container, "state.running").is_some() {
            has_running = true;
            tally.ready += 1;
        }
    }
    if reason == "Completed" && has_running {
        let ready = condition(status, "Ready").is_some_and(|found| text(found, "status") == "True");
        return if ready { "Running" } else { "NotReady" }.to_owned();
    }
    reason
}

/// Returns how a container ended: the reason, else the signal, else the exit code.
fn end_of(terminated: &Value) -> String {
    let (reason, signal) = (text(terminated, "reason"), number(terminated, "signal"));
    match (reason, signal) {
        ("", 0) => format!("ExitCode:{}", number(terminated, "exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn is_sidecar(init_container: &Value) -> bool {
    text(init_container, "restartPolicy") == "Always"
}

fn condition<'a>(status: &'a Value, name: &str) -> Option<&'a Value> {
    list(status, "conditions").iter().find(|condition| text(condition, "type") == name)
}

fn pod_ip(status: &Value) -> &str {
    list(status, "podIPs").first().map_or_else(|| text(status, "podIP"), |ip| text(ip, "ip"))
}

fn readiness_gates(spec: &Value, status: &Value) -> String {
    let gates = list(spec, "readinessGates");
    if gates.is_empty() {
        return print::NONE.to_owned();
    }
    let is_true = |gate: &&Value| {
        condition(status, text(gate, "conditionType")).is_some_and(|condition| text(condition, "status") == "True")
    };
    format!("{}/{}", gates.iter().filter(is_true).count(), gates.len())
}

impl Tally {
    fn count_restarts(&mut self, container: &Value) {
        self.restarts += number(container, "restartCount");
        let finished = at(container, "lastState.terminated.finishedAt").and_then(Value::as_str);
        let finished = finished.and_then(|time| time.parse::<Timestamp>().ok());
        self.last_restart = self.last_restart.max(finished);
    }
}
