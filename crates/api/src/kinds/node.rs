//! Nodes: the roles are labels, the status is one condition and a flag.

use jiff::Timestamp;
use serde_json::Value;

use super::doc::{flag, list, text};
use super::print::{self, Col, Columns, Text, Wide};
use super::rules;
use crate::object::Object;
use crate::resource::{Column, Manners};
use crate::status::FieldError;

/// The manners of nodes.
pub(super) struct Node;

const ROLE_PREFIX: &str = "node-role.kubernetes.io/";
const UNKNOWN: &str = "<unknown>";

const COLUMNS: Columns = &[
    print::NAME,
    Col("Status", Text, "The status of the node"),
    Col("Roles", Text, "The roles of the node"),
    print::AGE,
    Col("Version", Text, "Kubelet Version reported by the node."),
    Col("Internal-IP", Wide, "Where other nodes reach it."),
    Col("External-IP", Wide, "Where the world reaches it."),
    Col("OS-Image", Wide, "OS Image reported by the node from /etc/os-release (e.g. Debian GNU/Linux 7 (wheezy))."),
    Col("Kernel-Version", Wide, "Kernel Version reported by the node from 'uname -r' (e.g. 3.16.0-0.bpo.4-amd64)."),
    Col("Container-Runtime", Wide, "ContainerRuntime Version reported by the node through runtime remote API."),
];

impl Manners for Node {
    fn default(&self, object: &mut Object) {
        // What a node can give is what it has, unless it keeps something back.
        if object.at(&["status", "allocatable"]).is_none_or(Value::is_null)
            && let Some(capacity) = object.at(&["status", "capacity"]).cloned()
        {
            object.set(&["status", "allocatable"], capacity);
        }
    }

    fn validate(&self, object: &Object, old: Option<&Object>) -> Vec<FieldError> {
        rules::validate_node(object, old)
    }

    fn columns(&self) -> Vec<Column> {
        print::columns(COLUMNS)
    }

    fn cells(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        let null = Value::Null;
        let status = object.at(&["status"]).unwrap_or(&null);
        let info = status.get("nodeInfo").unwrap_or(&null);
        let known = |field| if text(info, field).is_empty() { UNKNOWN } else { text(info, field) };
        vec![
            object.name().into(),
            ready(object, status).into(),
            roles(object).into(),
            print::age(object, now),
            text(info, "kubeletVersion").into(),
            address(status, "InternalIP").into(),
            address(status, "ExternalIP").into(),
            known("osImage").into(),
            known("kernelVersion").into(),
            known("containerRuntimeVersion").into(),
        ]
    }

    fn field(&self, object: &Object, path: &str) -> Option<String> {
        (path == "spec.unschedulable").then(|| is_cordoned(object).to_string())
    }

    fn has_generation(&self) -> bool {
        false
    }
}

fn is_cordoned(object: &Object) -> bool {
    object.at(&["spec"]).is_some_and(|spec| flag(spec, "unschedulable"))
}

fn ready(object: &Object, status: &Value) -> String {
    let condition = list(status, "conditions").iter().find(|condition| text(condition, "type") == "Ready");
    let word = match condition.map(|condition| text(condition, "status")) {
        None => "Unknown",
        Some("True") => "Ready",
        Some(_) => "NotReady",
    };
    if is_cordoned(object) { format!("{word},SchedulingDisabled") } else { word.to_owned() }
}

fn roles(object: &Object) -> String {
    let mut roles: Vec<&str> = Vec::new();
    for (key, value) in object.labels() {
        match key.strip_prefix(ROLE_PREFIX) {
            Some(role) if !role.is_empty() => roles.push(role),
            _ if key == "kubernetes.io/role" && !value.is_empty() => roles.push(value),
            _ => {}
        }
    }
    roles.sort_unstable();
    roles.dedup();
    print::or_none(roles.join(","))
}

fn address(status: &Value, kind: &str) -> String {
    let address = list(status, "addresses").iter().find(|address| text(address, "type") == kind);
    print::or_none(address.map(|address| text(address, "address")).unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::testing::object;

    fn show(document: Value) -> Value {
        Node.cells(&object(document), Timestamp::UNIX_EPOCH).into()
    }

    #[test]
    fn a_node_shows_readiness_roles_and_version() {
        let cells = show(json!({
            "metadata": {"name": "n", "labels": {"node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "edge"}},
            "status": {"conditions": [{"type": "Ready", "status": "True"}], "nodeInfo": {"kubeletVersion": "v1.37.0", "osImage": "Debian"},
                "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]},
        }));
        assert_eq!(
            cells,
            json!([
                "n",
                "Ready",
                "control-plane,edge",
                "<unknown>",
                "v1.37.0",
                "10.0.0.1",
                "<none>",
                "Debian",
                "<unknown>",
                "<unknown>"
            ])
        );
    }

    #[test]
    fn a_cordoned_node_says_so_and_a_silent_one_is_not_ready() {
        let cells = show(
            json!({"spec": {"unschedulable": true}, "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}),
        );
        assert_eq!(cells[1], "NotReady,SchedulingDisabled");
        assert_eq!(show(json!({}))[1], "Unknown");
    }

    #[test]
    fn allocatable_is_capacity_unless_the_node_says_otherwise() {
        let mut node = object(json!({"status": {"capacity": {"cpu": "2"}}}));
        Node.default(&mut node);
        assert_eq!(node.at(&["status", "allocatable"]), Some(&json!({"cpu": "2"})));
    }

    #[test]
    fn nodes_are_selected_by_whether_pods_may_go_there() {
        assert_eq!(Node.field(&object(json!({})), "spec.unschedulable").as_deref(), Some("false"));
        assert_eq!(Node.field(&object(json!({})), "spec.podCIDR"), None);
    }
}
