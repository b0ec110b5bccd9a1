//! Events about the node itself, with the kubelet's words (`kubelet_node_status.go`, `nodestatus/setters.go`). Pure.

use k8s_openapi::api::core::v1::{Node, NodeStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use wkube_client::EventType;

/// Something that happened to the node.
#[derive(Debug, PartialEq, Eq)]
pub struct NodeEvent {
    /// Whether somebody should look.
    pub kind: EventType,
    /// Kubernetes' word.
    pub reason: &'static str,
    /// The sentence.
    pub message: String,
}

/// Returns what events are about: the node's name stands also where the uid does (`kubelet.go`, `nodeRef`), so that they
/// are the node's in every one of its lives.
pub fn reference(name: &str) -> Node {
    let (name, uid) = (Some(name.to_owned()), Some(name.to_owned()));
    Node { metadata: ObjectMeta { name, uid, ..ObjectMeta::default() }, ..Node::default() }
}

/// Says what is new about a node whose status was `before` and is `now`.
pub fn news(name: &str, before: Option<&NodeStatus>, now: &NodeStatus) -> Vec<NodeEvent> {
    let old = before.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let is_new = |type_: &str, status: &str| !old.iter().any(|old| old.type_ == type_ && old.status == status);
    let conditions = now.conditions.iter().flatten().filter(|condition| is_new(&condition.type_, &condition.status));
    let reasons = conditions.filter_map(|condition| reason_of(&condition.type_, condition.status == "True"));
    let told = reasons.map(|reason| NodeEvent {
        kind: EventType::Normal,
        reason,
        message: format!("Node {name} status is now: {reason}"),
    });
    told.chain(reboot(name, before, now)).collect()
}

fn reason_of(condition: &str, holds: bool) -> Option<&'static str> {
    Some(match (condition, holds) {
        ("Ready", true) => "NodeReady",
        ("Ready", false) => "NodeNotReady",
        ("MemoryPressure", true) => "NodeHasInsufficientMemory",
        ("MemoryPressure", false) => "NodeHasSufficientMemory",
        ("DiskPressure", true) => "NodeHasDiskPressure",
        ("DiskPressure", false) => "NodeHasNoDiskPressure",
        ("PIDPressure", true) => "NodeHasInsufficientPID",
        ("PIDPressure", false) => "NodeHasSufficientPID",
        _ => return None,
    })
}

fn reboot(name: &str, before: Option<&NodeStatus>, now: &NodeStatus) -> Option<NodeEvent> {
    let boot = |status: &NodeStatus| status.node_info.as_ref().map(|info| info.boot_id.clone()).unwrap_or_default();
    let (before, now) = (before.map(boot).unwrap_or_default(), boot(now));
    (!before.is_empty() && before != now).then(|| NodeEvent {
        kind: EventType::Warning,
        reason: "Rebooted",
        message: format!("Node {name} has been rebooted, boot id: {now}"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(boot_id: &str, conditions: &[(&str, &str)]) -> NodeStatus {
        let condition = |(type_, status): &(&str, &str)| json!({ "type": type_, "status": status });
        let conditions: Vec<_> = conditions.iter().map(condition).collect();
        let info = json!({
            "architecture": "", "bootID": boot_id, "containerRuntimeVersion": "", "kernelVersion": "", "kubeProxyVersion": "",
            "kubeletVersion": "", "machineID": "", "operatingSystem": "", "osImage": "", "systemUUID": "",
        });
        serde_json::from_value(json!({ "conditions": conditions, "nodeInfo": info })).unwrap()
    }

    fn told(before: Option<&NodeStatus>, now: &NodeStatus) -> Vec<&'static str> {
        news("n", before, now).iter().map(|event| event.reason).collect()
    }

    #[test]
    fn a_new_node_says_all_and_an_old_one_what_changed() {
        let fine = status("b", &[("MemoryPressure", "False"), ("DiskPressure", "False"), ("Ready", "True")]);
        assert_eq!(told(None, &fine), ["NodeHasSufficientMemory", "NodeHasNoDiskPressure", "NodeReady"]);
        assert_eq!(told(Some(&fine), &fine), [""; 0]);
        let lost = status("b", &[("MemoryPressure", "Unknown"), ("DiskPressure", "False"), ("Ready", "Unknown")]);
        assert_eq!(told(Some(&lost), &fine), ["NodeHasSufficientMemory", "NodeReady"]);
        let full = status("b", &[("MemoryPressure", "False"), ("DiskPressure", "True"), ("Ready", "True")]);
        let event = &news("n", Some(&fine), &full)[0];
        assert_eq!(event.message, "Node n status is now: NodeHasDiskPressure");
    }

    #[test]
    fn a_reboot_is_a_warning() {
        let (before, now) = (status("one", &[]), status("two", &[]));
        let events = news("n", Some(&before), &now);
        assert_eq!(events[0].message, "Node n has been rebooted, boot id: two");
        assert_eq!((events.len(), events[0].kind, events[0].reason), (1, EventType::Warning, "Rebooted"));
        assert_eq!(told(None, &now), [""; 0]);
    }
}
