//! Dynamic resource allocation: classes of devices, claims on them, and the slices in which drivers offer them.

use serde_json::{Value, json};

use super::doc::{Doc, child, children, fill, fill_zero};
use super::print::{self, Col, Text};
use super::simple::{Parts, Simple};
use crate::object::Object;

/// The manners of device classes.
pub(super) const DEVICE_CLASS: Simple = Simple { parts: Parts::Spec, ..Simple::PLAIN };

/// The manners of claims.
pub(super) const RESOURCE_CLAIM: Simple = Simple {
    columns: &[
        print::NAME,
        Col("State", Text, "A summary of the current state (allocated, pending, reserved, etc.)."),
        print::AGE,
    ],
    cells: |object, now| vec![object.name().into(), state(object).into(), print::age(object, now)],
    default: |doc| {
        if let Some(spec) = child(doc, "spec") {
            default_claim(spec);
        }
    },
    parts: Parts::StatusOnly,
    ..Simple::PLAIN
};

/// The manners of the templates of claims.
pub(super) const RESOURCE_CLAIM_TEMPLATE: Simple = Simple {
    default: |doc| {
        if let Some(spec) = child(doc, "spec").and_then(|spec| child(spec, "spec")) {
            default_claim(spec);
        }
    },
    ..Simple::PLAIN
};

/// The manners of slices, of which each node watches its own.
pub(super) const RESOURCE_SLICE: Simple = Simple {
    columns: &[
        print::NAME,
        Col("Node", Text, "NodeName identifies the node which provides the resources in this pool."),
        Col("Driver", Text, "Driver identifies the DRA driver providing the capacity information."),
        Col("Pool", Text, "Name is used to identify the pool."),
        print::AGE,
    ],
    cells: |object, now| {
        let spec = |path: &[&str]| Value::from(object.str_at(path));
        let (node, driver) = (spec(&["spec", "nodeName"]), spec(&["spec", "driver"]));
        vec![object.name().into(), node, driver, spec(&["spec", "pool", "name"]), print::age(object, now)]
    },
    parts: Parts::Spec,
    field: |object, path| match path {
        "spec.nodeName" => Some(object.str_at(&["spec", "nodeName"]).to_owned()),
        "spec.driver" => Some(object.str_at(&["spec", "driver"]).to_owned()),
        _ => None,
    },
    ..Simple::PLAIN
};

/// The manners of the rules that taint devices.
pub(super) const DEVICE_TAINT_RULE: Simple = Simple { parts: Parts::SpecAndStatus, ..Simple::PLAIN };

/// One device of its class, unless the request says otherwise (`pkg/apis/resource/v1/defaults.go`).
fn default_claim(spec: &mut Doc) {
    let Some(devices) = child(spec, "devices") else { return };
    for request in children(devices, "requests") {
        if let Some(exactly) = child(request, "exactly") {
            default_request(exactly);
        }
        children(request, "firstAvailable").for_each(default_request);
    }
}

fn default_request(request: &mut Doc) {
    fill(request, "allocationMode", "ExactCount");
    if request.get("allocationMode") == Some(&json!("ExactCount")) {
        fill_zero(request, "count", 1);
    }
    for toleration in children(request, "tolerations") {
        fill(toleration, "operator", "Equal");
    }
}

fn state(object: &Object) -> String {
    let is_allocated = object.at(&["status", "allocation"]).is_some_and(Value::is_object);
    let is_reserved = object.at(&["status", "reservedFor"]).and_then(Value::as_array).is_some_and(|by| !by.is_empty());
    let mut states = Vec::new();
    if object.is_deleting() {
        states.push("deleted");
    } else if !is_allocated {
        states.push("pending");
    }
    if is_allocated {
        states.push("allocated");
        if is_reserved {
            states.push("reserved");
        }
    }
    states.join(",")
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::kinds::testing::object;
    use crate::resource::Manners as _;

    #[test]
    fn a_claim_says_how_far_it_is() {
        let shown = |document: Value| RESOURCE_CLAIM.cells(&object(document), Timestamp::UNIX_EPOCH)[1].clone();
        assert_eq!(shown(json!({})), "pending");
        assert_eq!(shown(json!({"status": {"allocation": {}}})), "allocated");
        assert_eq!(shown(json!({"status": {"allocation": {}, "reservedFor": [{}]}})), "allocated,reserved");
        assert_eq!(shown(json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})), "deleted");
    }

    #[test]
    fn a_request_is_for_one_device_unless_it_says_otherwise() {
        let mut claim = object(json!({"spec": {"devices": {"requests": [
            {"name": "a", "exactly": {"deviceClassName": "c"}},
            {"name": "b", "firstAvailable": [{"name": "x", "allocationMode": "All"}]},
        ]}}}));
        RESOURCE_CLAIM.default(&mut claim);
        let requests = claim.at(&["spec", "devices", "requests"]).unwrap();
        assert_eq!(requests[0]["exactly"], json!({"deviceClassName": "c", "allocationMode": "ExactCount", "count": 1}));
        assert_eq!(requests[1]["firstAvailable"], json!([{"name": "x", "allocationMode": "All"}]));
    }

    #[test]
    fn nodes_and_drivers_select_their_slices() {
        let slice = object(json!({"spec": {"nodeName": "n", "driver": "d.io", "pool": {"name": "p"}}}));
        assert_eq!(RESOURCE_SLICE.field(&slice, "spec.driver").as_deref(), Some("d.io"));
        assert_eq!(RESOURCE_SLICE.field(&slice, "spec.pool"), None);
        let cells = RESOURCE_SLICE.cells(&slice, Timestamp::UNIX_EPOCH);
        assert_eq!(Value::from(cells[1..4].to_vec()), json!(["n", "d.io", "p"]));
    }
}
