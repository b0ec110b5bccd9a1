//! Storage classes and drivers.

use serde_json::{Value, json};

use super::{check, check_update};
use crate::kinds::rules::{
    validate_attachment, validate_attributes_class, validate_csi_driver, validate_csi_node, validate_storage_capacity,
    validate_storage_class,
};

#[test]
fn a_storage_class_stays_as_it_is() {
    check(validate_storage_class, json!({}), &["provisioner: Required value"]);
    let class = |reclaim: &str, speed: &str| json!({"provisioner": "example.com/p", "reclaimPolicy": reclaim, "parameters": {"speed": speed}});
    check(
        validate_storage_class,
        class("Keep", "1"),
        &["reclaimPolicy: Unsupported value: \"Keep\": supported values: \"Delete\", \"Retain\""],
    );
    check_update(
        validate_storage_class,
        class("Retain", "1"),
        class("Delete", "2"),
        &[
            "parameters: Forbidden: updates to parameters are forbidden.",
            "reclaimPolicy: Forbidden: updates to reclaimPolicy are forbidden.",
        ],
    );
}

#[test]
fn a_class_is_about_places_and_parameters_with_names() {
    let zone = json!({"matchLabelExpressions": [{"key": "zone", "values": ["a"]}]});
    check(
        validate_storage_class,
        json!({"provisioner": "a.b/c", "parameters": {"": "x"}, "volumeBindingMode": "Later", "allowedTopologies": [
            zone, zone, {"matchLabelExpressions": [{"key": "zone", "values": []}, {"key": "zone", "values": ["b", "b"]}]}]}),
        &[
            "parameters: Invalid value: \"\": field can not be empty.",
            "volumeBindingMode: Unsupported value: \"Later\": supported values: \"Immediate\", \"WaitForFirstConsumer\"",
            "allowedTopologies[1].matchLabelExpressions: Duplicate value: \"\"",
            "allowedTopologies[2].matchLabelExpressions[0].values: Required value",
            "allowedTopologies[2].matchLabelExpressions[1].values[1]: Duplicate value: \"b\"",
            "allowedTopologies[2].matchLabelExpressions[1].key: Duplicate value: \"zone\"",
        ],
    );
    check(
        validate_storage_class,
        json!({"provisioner": "a.b/c", "parameters": {"x": "y".repeat(256 * 1024)}}),
        &["parameters: Too long: may not be more than 262144 bytes"],
    );
    check(
        validate_attributes_class,
        json!({"parameters": {}}),
        &["driverName: Required value", "parameters: Required value: must contain at least one key/value pair"],
    );
    let class = |speed: &str| json!({"driverName": "a.b", "parameters": {"speed": speed}});
    check_update(
        validate_attributes_class,
        class("2"),
        class("1"),
        &["parameters: Forbidden: updates to parameters are forbidden."],
    );
}

#[test]
fn a_driver_gets_one_token_for_an_audience() {
    let driver = |spec: Value| json!({"spec": spec});
    check(
        validate_csi_driver,
        driver(
            json!({"fsGroupPolicy": "Maybe", "volumeLifecycleModes": ["Forever"], "nodeAllocatableUpdatePeriodSeconds": 9,
            "tokenRequests": [{"audience": "a", "expirationSeconds": 599}, {"audience": "a"}, {"expirationSeconds": 4_294_967_297_i64}]}),
        ),
        &[
            "spec.fsGroupPolicy: Unsupported value: \"Maybe\": supported values: \"File\", \"None\", \"ReadWriteOnceWithFSType\"",
            "spec.tokenRequests[0].expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes",
            "spec.tokenRequests[1].audience: Duplicate value: \"a\"",
            "spec.tokenRequests[2].expirationSeconds: Invalid value: 4294967297: may not specify a duration larger than 2^32 seconds",
            "spec.volumeLifecycleModes: Unsupported value: \"Forever\": supported values: \"Persistent\", \"Ephemeral\"",
            "spec.nodeAllocatableUpdatePeriodSeconds: Invalid value: 9: must be greater than or equal to 10 seconds",
        ],
    );
    check_update(
        validate_csi_driver,
        driver(json!({"attachRequired": false})),
        driver(json!({"attachRequired": true})),
        &["spec.attachedRequired: Invalid value: false: field is immutable"],
    );
}

#[test]
fn a_node_has_each_driver_once() {
    let node = |drivers: Value| json!({"spec": {"drivers": drivers}});
    let driver = |id: &str, count: i64| json!([{"name": "a.b", "nodeID": id, "topologyKeys": ["zone"], "allocatable": {"count": count}}]);
    check_update(validate_csi_node, node(driver("n", 5)), node(driver("n", 4)), &[]);
    check_update(
        validate_csi_node,
        node(driver("m", 4)),
        node(driver("n", 4)),
        &[
            "spec.drivers: Invalid value: {\"name\":\"a.b\",\"nodeID\":\"m\",\"topologyKeys\":[\"zone\"]}: field is immutable",
        ],
    );
    check(
        validate_csi_node,
        node(
            json!([{"name": "a.b"}, {"name": "a.b", "nodeID": "n".repeat(193), "topologyKeys": ["z", "z"], "allocatable": {"count": -1}}]),
        ),
        &[
            "spec.drivers[0].nodeID: Required value",
            &format!("spec.drivers[1].nodeID: Invalid value: {:?}: must be 192 characters or less", "n".repeat(193)),
            "spec.drivers[1].allocatable.count: Invalid value: -1: must be greater than or equal to 0",
            "spec.drivers[1]: Duplicate value: \"z\"",
            "spec.drivers[1].name: Duplicate value: \"a.b\"",
        ],
    );
}

#[test]
fn one_volume_is_attached_to_one_node() {
    let attachment = |source: Value| json!({"spec": {"attacher": "a.b", "nodeName": "n", "source": source}});
    let either = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    check(validate_attachment, attachment(json!({"persistentVolumeName": "v"})), &[]);
    check(validate_attachment, attachment(json!({})), &[&format!("spec.source: Required value: {either}")]);
    check(
        validate_attachment,
        attachment(json!({"persistentVolumeName": "v", "inlineVolumeSpec": {}})),
        &[&format!("spec.source: Forbidden: {either}")],
    );
    check(
        validate_attachment,
        attachment(json!({"persistentVolumeName": ""})),
        &["spec.source.persistentVolumeName: Required value: must specify non empty persistentVolumeName"],
    );
    let told = super::told(validate_attachment(&crate::kinds::testing::object(json!({"spec": {}})), None));
    assert_eq!(told.len(), 3, "{told:?}");
    let moved = super::told(validate_attachment(
        &crate::kinds::testing::object(attachment(json!({"persistentVolumeName": "v"}))),
        Some(&crate::kinds::testing::object(attachment(json!({"persistentVolumeName": "w"})))),
    ));
    assert!(moved.len() == 1 && moved[0].starts_with("spec: Invalid value: {"), "{moved:?}");
}

#[test]
fn room_is_said_for_a_class_in_a_place() {
    let room = |place: &str| json!({"storageClassName": "c", "capacity": "1Gi", "nodeTopology": {"matchLabels": {"zone": place}}});
    check(validate_storage_capacity, room("a"), &[]);
    check_update(
        validate_storage_capacity,
        room("b"),
        room("a"),
        &["nodeTopology: Invalid value: {\"matchLabels\":{\"zone\":\"b\"}}: field is immutable"],
    );
    check(
        validate_storage_capacity,
        json!({"storageClassName": "c", "capacity": "-1"}),
        &["capacity: Invalid value: \"-1\": must be greater than or equal to 0"],
    );
}
