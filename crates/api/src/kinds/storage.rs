//! Volumes, claims, storage classes and what drives them.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::doc::{Doc, child, child_made, fill, list, text};
use super::print::{self, Boolean, Col, Name, Number, Text, Wide};
use super::rules;
use super::simple::{Parts, Simple};
use crate::object::Object;

/// The manners of storage classes.
pub(super) const STORAGE_CLASS: Simple = Simple {
    columns: &[
        print::NAME,
        Col("Provisioner", Text, "provisioner indicates the type of the provisioner."),
        Col("ReclaimPolicy", Text, "What happens to a volume when its claim goes."),
        Col("VolumeBindingMode", Text, "When volumes are bound."),
        Col("AllowVolumeExpansion", Text, "Whether volumes may grow."),
        print::AGE,
    ],
    cells: |object, now| {
        let annotations = object.annotations();
        let is_default = annotations.get("storageclass.kubernetes.io/is-default-class") == Some(&"true");
        let name = if is_default { format!("{} (default)", object.name()) } else { object.name().to_owned() };
        let grows = object.at(&["allowVolumeExpansion"]).and_then(Value::as_bool).unwrap_or_default();
        let field = |field: &str| Value::from(object.str_at(&[field]));
        vec![
            name.into(),
            field("provisioner"),
            field("reclaimPolicy"),
            field("volumeBindingMode"),
            grows.into(),
            print::age(object, now),
        ]
    },
    default: |doc| {
        fill(doc, "reclaimPolicy", "Delete");
        fill(doc, "volumeBindingMode", "Immediate");
    },
    validate: rules::validate_storage_class,
    ..Simple::PLAIN
};

/// The manners of persistent volumes.
pub(super) const PERSISTENT_VOLUME: Simple = Simple {
    columns: &[
        print::NAME,
        Col("Capacity", Text, "The size of the volume."),
        Col("Access Modes", Text, "All ways the volume can be mounted."),
        Col("Reclaim Policy", Text, "What happens to the volume when its claim goes."),
        Col("Status", Text, "Whether it is available, bound to a claim, or released by one."),
        Col("Claim", Text, "The claim that it is bound to."),
        Col("StorageClass", Text, "The class that it belongs to."),
        Col("VolumeAttributesClass", Text, "The attributes that were applied."),
        Col("Reason", Text, "Why it is in the state it is in."),
        print::AGE,
        Col("VolumeMode", Wide, "Whether it is a file system or a block device."),
    ],
    cells: |object, now| {
        let claim = (object.str_at(&["spec", "claimRef", "namespace"]), object.str_at(&["spec", "claimRef", "name"]));
        let claim = if claim.1.is_empty() { String::new() } else { format!("{}/{}", claim.0, claim.1) };
        vec![
            object.name().into(),
            amount(object.str_at(&["spec", "capacity", "storage"])).into(),
            access_modes(object.at(&["spec", "accessModes"])).into(),
            spec(object, "persistentVolumeReclaimPolicy"),
            phase(object).into(),
            claim.into(),
            spec(object, "storageClassName"),
            print_unset(object.str_at(&["spec", "volumeAttributesClassName"])),
            object.str_at(&["status", "reason"]).into(),
            print::age(object, now),
            print_unset(object.str_at(&["spec", "volumeMode"])),
        ]
    },
    default: |doc| {
        if let Some(spec) = child(doc, "spec") {
            fill(spec, "persistentVolumeReclaimPolicy", "Retain");
            fill(spec, "volumeMode", "Filesystem");
        }
        start_pending(doc);
    },
    parts: Parts::StatusOnly,
    validate: rules::validate_volume,
    ..Simple::PLAIN
};

/// The manners of claims.
pub(super) const PERSISTENT_VOLUME_CLAIM: Simple = Simple {
    columns: &[
        print::NAME,
        Col("Status", Text, "Whether it is bound to a volume."),
        Col("Volume", Text, "The volume that it is bound to."),
        Col("Capacity", Text, "The size of the volume."),
        Col("Access Modes", Text, "The ways the volume can be mounted."),
        Col("StorageClass", Text, "The class that was asked for."),
        Col("VolumeAttributesClass", Text, "The attributes that were asked for."),
        print::AGE,
        Col("VolumeMode", Wide, "Whether it is a file system or a block device."),
    ],
    cells: |object, now| {
        // A claim has a size and modes once it has a volume.
        let is_bound = !object.str_at(&["spec", "volumeName"]).is_empty();
        let capacity = if is_bound { amount(object.str_at(&["status", "capacity", "storage"])) } else { "" };
        let modes = if is_bound { access_modes(object.at(&["status", "accessModes"])) } else { String::new() };
        vec![
            object.name().into(),
            phase(object).into(),
            spec(object, "volumeName"),
            capacity.into(),
            modes.into(),
            spec(object, "storageClassName"),
            print_unset(object.str_at(&["spec", "volumeAttributesClassName"])),
            print::age(object, now),
            print_unset(object.str_at(&["spec", "volumeMode"])),
        ]
    },
    default: |doc| {
        if let Some(spec) = child(doc, "spec") {
            fill(spec, "volumeMode", "Filesystem");
        }
        start_pending(doc);
    },
    parts: Parts::StatusOnly,
    validate: rules::validate_claim,
    ..Simple::PLAIN
};

/// The manners of volume attachments.
pub(super) const VOLUME_ATTACHMENT: Simple = Simple {
    columns: &[
        print::NAME,
        Col("Attacher", Name, "The driver that handles the request."),
        Col("PV", Text, "The volume that is attached."),
        Col("Node", Text, "The node that it is attached to."),
        Col("Attached", Boolean, "Whether it is."),
        print::AGE,
    ],
    cells: |object, now| {
        let volume = object.str_at(&["spec", "source", "persistentVolumeName"]).into();
        let attached = object.at(&["status", "attached"]).and_then(Value::as_bool).unwrap_or_default();
        let (attacher, node) = (spec(object, "attacher"), spec(object, "nodeName"));
        vec![object.name().into(), attacher, volume, node, attached.into(), print::age(object, now)]
    },
    parts: Parts::StatusOnly,
    validate: rules::validate_attachment,
    ..Simple::PLAIN
};

/// The manners of volume attributes classes.
pub(super) const VOLUME_ATTRIBUTES_CLASS: Simple = Simple {
    columns: &[print::NAME, Col("DriverName", Text, "Name of the CSI driver"), print::AGE],
    cells: |object, now| {
        let is_default =
            object.annotations().get("volumeattributesclass.alpha.kubernetes.io/is-default-class") == Some(&"true");
        let name = if is_default { format!("{} (default)", object.name()) } else { object.name().to_owned() };
        vec![name.into(), object.str_at(&["driverName"]).into(), print::age(object, now)]
    },
    validate: rules::validate_attributes_class,
    ..Simple::PLAIN
};

/// The manners of CSI nodes.
pub(super) const CSI_NODE: Simple = Simple {
    columns: &[
        print::NAME,
        Col("Drivers", Number, "Drivers indicates the number of CSI drivers registered on the node"),
        print::AGE,
    ],
    cells: |object, now| {
        let drivers = object.at(&["spec"]).map_or(0, |spec| list(spec, "drivers").len());
        vec![object.name().into(), drivers.into(), print::age(object, now)]
    },
    validate: rules::validate_csi_node,
    ..Simple::PLAIN
};

/// The manners of what is left in a place for volumes of a class.
pub(super) const CSI_STORAGE_CAPACITY: Simple = Simple {
    columns: &[
        print::NAME,
        Col("StorageClassName", Text, "The class that the capacity is for."),
        Col("Capacity", Text, "How much there is, as the driver last said."),
    ],
    cells: |object, _| {
        let class = object.str_at(&["storageClassName"]).into();
        vec![object.name().into(), class, print_unset(object.str_at(&["capacity"]))]
    },
    validate: rules::validate_storage_capacity,
    ..Simple::PLAIN
};

/// The manners of CSI drivers.
pub(super) const CSI_DRIVER: Simple = Simple {
    columns: &[
        print::NAME,
        Col("AttachRequired", Boolean, "Whether volumes are attached before they are mounted."),
        Col("PodInfoOnMount", Boolean, "Whether the driver is told about the pod."),
        Col("StorageCapacity", Boolean, "Whether the scheduler looks at the capacity that is left."),
        Col("TokenRequests", Text, "The audiences of the tokens that the driver gets."),
        Col("RequiresRepublish", Boolean, "Whether mounted volumes are published again from time to time."),
        Col("Modes", Text, "What kinds of volumes the driver supports."),
        print::AGE,
    ],
    cells: driver_cells,
    default: |doc| {
        let Some(spec) = child_made(doc, "spec") else { return };
        fill(spec, "attachRequired", true);
        fill(spec, "podInfoOnMount", false);
        fill(spec, "storageCapacity", false);
        fill(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
        fill(spec, "volumeLifecycleModes", json!(["Persistent"]));
        fill(spec, "requiresRepublish", false);
        fill(spec, "seLinuxMount", false);
    },
    parts: Parts::Spec,
    validate: rules::validate_csi_driver,
    ..Simple::PLAIN
};

fn driver_cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let null = Value::Null;
    let spec = object.at(&["spec"]).unwrap_or(&null);
    let flag = |field: &str, unset: bool| Value::from(spec.get(field).and_then(Value::as_bool).unwrap_or(unset));
    let modes: Vec<&str> = list(spec, "volumeLifecycleModes").iter().filter_map(Value::as_str).collect();
    let tokens = spec.get("tokenRequests").and_then(Value::as_array);
    let audiences = tokens.map(|all| all.iter().map(|one| text(one, "audience")).collect::<Vec<_>>().join(","));
    vec![
        object.name().into(),
        flag("attachRequired", true),
        flag("podInfoOnMount", false),
        flag("storageCapacity", false),
        audiences.unwrap_or_else(|| "<unset>".to_owned()).into(),
        flag("requiresRepublish", false),
        print::or_none(modes.join(",")).into(),
        print::age(object, now),
    ]
}

fn spec(object: &Object, field: &str) -> Value {
    object.str_at(&["spec", field]).into()
}

fn print_unset(value: &str) -> Value {
    if value.is_empty() { "<unset>" } else { value }.into()
}

/// No quantity is zero of it.
fn amount(quantity: &str) -> &str {
    if quantity.is_empty() { "0" } else { quantity }
}

fn start_pending(doc: &mut Doc) {
    if let Some(status) = child_made(doc, "status") {
        fill(status, "phase", "Pending");
    }
}

fn phase(object: &Object) -> String {
    if object.is_deleting() { "Terminating".to_owned() } else { object.str_at(&["status", "phase"]).to_owned() }
}

/// Returns `RWO,ROX` for access modes.
fn access_modes(modes: Option<&Value>) -> String {
    let short = |mode: &str| match mode {
        "ReadWriteOnce" => Some("RWO"),
        "ReadOnlyMany" => Some("ROX"),
        "ReadWriteMany" => Some("RWX"),
        "ReadWriteOncePod" => Some("RWOP"),
        _ => None,
    };
    let modes = modes.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    modes.filter_map(short).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::object;
    use crate::resource::Manners as _;

    #[test]
    fn a_new_claim_is_pending_and_asks_for_a_file_system() {
        let mut claim = object(json!({"metadata": {"name": "c"}, "spec": {}, "status": {"phase": "Bound"}}));
        PERSISTENT_VOLUME_CLAIM.default(&mut claim);
        PERSISTENT_VOLUME_CLAIM.prepare_create(&mut claim);
        assert_eq!(claim.at(&["status"]), Some(&json!({"phase": "Pending"})));
        assert_eq!(claim.str_at(&["spec", "volumeMode"]), "Filesystem");
    }

    #[test]
    fn a_claim_shows_size_and_modes_once_it_has_a_volume() {
        let status =
            json!({"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce", "ReadOnlyMany"]});
        let show = |spec: &Value| {
            let claim = object(json!({"spec": spec, "status": status}));
            Value::from(PERSISTENT_VOLUME_CLAIM.cells(&claim, Timestamp::UNIX_EPOCH)[2..5].to_vec())
        };
        assert_eq!(show(&json!({})), json!(["", "", ""]));
        assert_eq!(show(&json!({"volumeName": "v"})), json!(["v", "1Gi", "RWO,ROX"]));
    }

    #[test]
    fn the_default_storage_class_is_marked() {
        let annotations = json!({"storageclass.kubernetes.io/is-default-class": "true"});
        let mut class = object(json!({"metadata": {"name": "fast", "annotations": annotations}, "provisioner": "p"}));
        STORAGE_CLASS.default(&mut class);
        let cells = STORAGE_CLASS.cells(&class, Timestamp::UNIX_EPOCH);
        assert_eq!(Value::from(cells[..5].to_vec()), json!(["fast (default)", "p", "Delete", "Immediate", false]));
    }

    #[test]
    fn a_driver_shows_what_it_is_told_and_when_it_is_called() {
        let mut driver = object(json!({"spec": {"tokenRequests": [{"audience": "a"}, {"audience": "b"}]}}));
        CSI_DRIVER.default(&mut driver);
        let cells = CSI_DRIVER.cells(&driver, Timestamp::UNIX_EPOCH);
        assert_eq!(Value::from(cells[1..7].to_vec()), json!([true, false, false, "a,b", false, "Persistent"]));
    }

    #[test]
    fn capacity_and_drivers_are_shown_as_far_as_they_are_known() {
        let left = |document: Value| CSI_STORAGE_CAPACITY.cells(&object(document), Timestamp::UNIX_EPOCH)[2].clone();
        assert_eq!((left(json!({"capacity": "1Gi"})), left(json!({}))), (json!("1Gi"), json!("<unset>")));
        let node = object(json!({"spec": {"drivers": [{"name": "d"}]}}));
        assert_eq!(CSI_NODE.cells(&node, Timestamp::UNIX_EPOCH)[1], 1);
    }
}
