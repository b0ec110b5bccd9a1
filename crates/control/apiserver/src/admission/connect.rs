//! What admission sees of a stream: the options in its query, as a document (`PodExecOptions` and its likes).

use serde_json::Value;
use wkube_api::Object;

use crate::call::Call;

/// Returns the options of a `CONNECT`.
pub(super) fn options(call: &Call) -> Object {
    let owner = match &*call.resource.plural {
        "services" => "Service",
        "nodes" => "Node",
        _ => "Pod",
    };
    let what = match call.subresource.as_str() {
        "exec" => "Exec",
        "attach" => "Attach",
        "portforward" => "PortForward",
        _ => "Proxy",
    };
    let mut options = Object::default();
    options.set(&["apiVersion"], "v1");
    options.set(&["kind"], format!("{owner}{what}Options"));
    for flag in ["stdin", "stdout", "stderr", "tty"] {
        if matches!(what, "Exec" | "Attach") && call.query.flag(flag) {
            options.set(&[flag], true);
        }
    }
    if call.query.has("container") {
        options.set(&["container"], call.query.get("container"));
    }
    match what {
        "Exec" => options.set(&["command"], call.query.all("command").collect::<Vec<_>>()),
        "PortForward" => {
            let ports = call.query.all("ports").flat_map(|list| list.split(','));
            let ports: Vec<Value> = ports.filter_map(|port| port.parse::<i64>().ok()).map(Value::from).collect();
            options.set(&["ports"], ports);
        }
        "Proxy" => options.set(&["path"], call.rest.as_str()),
        _ => {}
    }
    options
}
