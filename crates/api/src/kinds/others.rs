//! Kinds whose manners are columns and a few defaults: scheduling, storage, policy, autoscaling, admission.

use serde_json::{Value, json};

use super::doc::{child, child_made, children, fill, fill_zero, list, text};
use super::print::{self, Col, Columns, Number, Text, Wide};
use super::simple::{Parts, Simple};
use crate::object::Object;

/// The manners of leases.
pub(super) const LEASE: Simple = Simple {
    columns: &[
        print::NAME,
        Col("Holder", Text, "holderIdentity contains the identity of the holder of a current lease."),
        print::AGE,
    ],
    cells: |object, now| vec![object.name().into(), spec(object, "holderIdentity"), print::age(object, now)],
    ..Simple::PLAIN
};

/// The manners of priority classes.
pub(super) const PRIORITY_CLASS: Simple = Simple {
    columns: &[
        print::NAME,
        Col(
            "Value",
            Number,
            "The value of this priority class. This is the actual priority that pods receive when they have the name of this class in their pod spec.",
        ),
        Col("Global-Default", Text, "Whether pods without a class get this one."),
        print::AGE,
        Col("PreemptionPolicy", Text, "Whether pods of this class may make others go."),
    ],
    cells: |object, now| {
        let is_default = object.at(&["globalDefault"]).and_then(Value::as_bool).unwrap_or_default();
        let value = object.at(&["value"]).cloned().unwrap_or_else(|| json!(0));
        let policy = object.str_at(&["preemptionPolicy"]).into();
        vec![object.name().into(), value, is_default.to_string().into(), print::age(object, now), policy]
    },
    default: |doc| fill(doc, "preemptionPolicy", "PreemptLowerPriority"),
    parts: Parts::Spec,
    ..Simple::PLAIN
};

/// The manners of runtime classes.
pub(super) const RUNTIME_CLASS: Simple = Simple {
    columns: &[
        print::NAME,
        Col("Handler", Text, "handler specifies the underlying runtime and configuration."),
        print::AGE,
    ],
    cells: |object, now| vec![object.name().into(), object.str_at(&["handler"]).into(), print::age(object, now)],
    ..Simple::PLAIN
};

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
            grows.to_string().into(),
            print::age(object, now),
        ]
    },
    default: |doc| {
        fill(doc, "reclaimPolicy", "Delete");
        fill(doc, "volumeBindingMode", "Immediate");
    },
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
            object.str_at(&["spec", "capacity", "storage"]).into(),
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
        let capacity = if is_bound { object.str_at(&["status", "capacity", "storage"]) } else { "" };
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
    ..Simple::PLAIN
};

/// The manners of disruption budgets.
pub(super) const POD_DISRUPTION_BUDGET: Simple = Simple {
    columns: &[
        print::NAME,
        Col("Min Available", Text, "The minimum number of pods that must be available."),
        Col("Max Unavailable", Text, "The maximum number of pods that may be unavailable."),
        Col("Allowed Disruptions", Number, "Calculated number of pods that may be disrupted at this time."),
        print::AGE,
    ],
    cells: |object, now| {
        let budget = |field: &str| match object.at(&["spec", field]) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            _ => "N/A".to_owned(),
        };
        let allowed = object.at(&["status", "disruptionsAllowed"]).and_then(Value::as_i64).unwrap_or_default();
        vec![
            object.name().into(),
            budget("minAvailable").into(),
            budget("maxUnavailable").into(),
            allowed.into(),
            print::age(object, now),
        ]
    },
    parts: Parts::SpecAndStatus,
    ..Simple::PLAIN
};

const HPA_COLUMNS: Columns = &[
    print::NAME,
    Col("Reference", Text, "What is scaled."),
    Col("Targets", Text, "What is measured, and what it should be."),
    Col("MinPods", Text, "The lower limit for the number of pods."),
    Col("MaxPods", Text, "The upper limit for the number of pods."),
    Col("Replicas", Text, "The current number of pods."),
    print::AGE,
];

/// The manners of `autoscaling/v2` autoscalers.
pub(super) const AUTOSCALER: Simple = Simple {
    columns: HPA_COLUMNS,
    cells: |object, now| {
        let number = |path: &[&str]| object.at(path).and_then(Value::as_i64);
        let reference = format!(
            "{}/{}",
            object.str_at(&["spec", "scaleTargetRef", "kind"]),
            object.str_at(&["spec", "scaleTargetRef", "name"])
        );
        vec![
            object.name().into(),
            reference.into(),
            targets(object).into(),
            number(&["spec", "minReplicas"]).map_or_else(|| "<unset>".to_owned(), |count| count.to_string()).into(),
            number(&["spec", "maxReplicas"]).unwrap_or_default().into(),
            number(&["status", "currentReplicas"]).unwrap_or_default().into(),
            print::age(object, now),
        ]
    },
    default: |doc| {
        let Some(spec) = child(doc, "spec") else { return };
        fill(spec, "minReplicas", 1);
        if spec.get("metrics").and_then(Value::as_array).is_none_or(Vec::is_empty) {
            let target = json!({"type": "Utilization", "averageUtilization": 80});
            spec.insert(
                "metrics".to_owned(),
                json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]),
            );
        }
    },
    parts: Parts::StatusOnly,
    ..Simple::PLAIN
};

const WEBHOOKS: Columns = &[
    print::NAME,
    Col("Webhooks", Number, "Webhooks indicates the number of webhooks registered in this configuration"),
    print::AGE,
];

/// The manners of mutating webhook configurations.
pub(super) const MUTATING_WEBHOOK: Simple = Simple {
    columns: WEBHOOKS,
    cells: |object, now| vec![object.name().into(), webhooks(object).into(), print::age(object, now)],
    default: |doc| {
        children(doc, "webhooks").for_each(default_webhook);
        children(doc, "webhooks").for_each(|webhook| fill(webhook, "reinvocationPolicy", "Never"));
    },
    parts: Parts::Spec,
    ..Simple::PLAIN
};

/// The manners of validating webhook configurations.
pub(super) const VALIDATING_WEBHOOK: Simple = Simple {
    columns: WEBHOOKS,
    cells: |object, now| vec![object.name().into(), webhooks(object).into(), print::age(object, now)],
    default: |doc| children(doc, "webhooks").for_each(default_webhook),
    parts: Parts::Spec,
    ..Simple::PLAIN
};

/// The manners of CSI drivers.
pub(super) const CSI_DRIVER: Simple = Simple {
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
    ..Simple::PLAIN
};

/// The manners of certificate signing requests.
pub(super) const CERTIFICATE_REQUEST: Simple = Simple {
    columns: &[
        print::NAME,
        print::AGE,
        Col("SignerName", Text, "signerName indicates the requested signer."),
        Col("Requestor", Text, "Who asked."),
        Col("RequestedDuration", Text, "How long it should be valid."),
        Col("Condition", Text, "Whether it was approved, denied, failed and issued."),
    ],
    cells: |object, now| {
        let seconds = object.at(&["spec", "expirationSeconds"]).and_then(Value::as_i64);
        let duration = seconds.map_or_else(|| print::NONE.to_owned(), print::human_duration);
        vec![
            object.name().into(),
            print::age(object, now),
            spec(object, "signerName"),
            spec(object, "username"),
            duration.into(),
            request_condition(object).into(),
        ]
    },
    parts: Parts::StatusOnly,
    ..Simple::PLAIN
};

/// The manners of resource quotas.
pub(super) const RESOURCE_QUOTA: Simple = Simple {
    columns: &[
        print::NAME,
        Col("Request", Text, "Request represents a minimum amount of cpu/memory that a container may consume."),
        Col(
            "Limit",
            Text,
            "Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node.",
        ),
        print::AGE,
    ],
    cells: |object, now| {
        let amounts = |limits: bool| {
            let hard = object.at(&["status", "hard"]).and_then(Value::as_object).into_iter().flatten();
            let shown = hard.filter(|(name, _)| name.starts_with("limits.") == limits).map(|(name, hard)| {
                let used = object.str_at(&["status", "used", name]);
                format!("{name}: {}/{}", if used.is_empty() { "0" } else { used }, hard.as_str().unwrap_or_default())
            });
            Value::from(shown.collect::<Vec<_>>().join(", "))
        };
        vec![object.name().into(), amounts(false), amounts(true), print::age(object, now)]
    },
    parts: Parts::StatusOnly,
    ..Simple::PLAIN
};

/// The manners of limit ranges, which show the time they were made instead of an age.
pub(super) const LIMIT_RANGE: Simple = Simple {
    columns: &[print::NAME, Col("Created At", Text, "When it was made.")],
    cells: |object, _| vec![object.name().into(), object.str_at(&["metadata", "creationTimestamp"]).into()],
    default: |doc| {
        let Some(spec) = child(doc, "spec") else { return };
        // A container's default limit is the maximum, its default request the default limit.
        for limit in children(spec, "limits").filter(|limit| limit.get("type") == Some(&json!("Container"))) {
            for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")] {
                let Some(source) = limit.get(from).and_then(Value::as_object).cloned() else { continue };
                let Some(target) = child_made(limit, to) else { continue };
                for (name, amount) in source {
                    target.entry(name).or_insert(amount);
                }
            }
        }
    },
    ..Simple::PLAIN
};

/// The manners of plain kinds whose spec is counted.
pub(super) const WITH_SPEC: Simple = Simple { parts: Parts::Spec, ..Simple::PLAIN };

/// The manners of plain kinds with a counted spec and a status.
pub(super) const WITH_STATUS: Simple = Simple { parts: Parts::SpecAndStatus, ..Simple::PLAIN };

fn spec(object: &Object, field: &str) -> Value {
    object.str_at(&["spec", field]).into()
}

fn print_unset(value: &str) -> Value {
    if value.is_empty() { "<unset>" } else { value }.into()
}

fn start_pending(doc: &mut super::doc::Doc) {
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

fn targets(object: &Object) -> String {
    let null = Value::Null;
    let metrics = object.at(&["spec"]).map(|spec| list(spec, "metrics")).unwrap_or_default();
    let current = object.at(&["status"]).map(|status| list(status, "currentMetrics")).unwrap_or_default();
    let shown: Vec<String> = metrics
        .iter()
        .filter(|metric| text(metric, "type") == "Resource")
        .map(|metric| {
            let resource = metric.get("resource").unwrap_or(&null);
            let name = text(resource, "name");
            let now = current.iter().find(|metric| metric["resource"]["name"] == name);
            let now = now.and_then(|metric| metric["resource"]["current"]["averageUtilization"].as_i64());
            let now = now.map_or_else(|| "<unknown>".to_owned(), |percent| format!("{percent}%"));
            let target = resource.get("target").unwrap_or(&null);
            match target.get("averageUtilization").and_then(Value::as_i64) {
                Some(percent) => format!("{name}: {now}/{percent}%"),
                None => format!("{name}: {now}/{}", text(target, "averageValue")),
            }
        })
        .collect();
    print::or_none(shown.join(", "))
}

fn webhooks(object: &Object) -> usize {
    object.at(&["webhooks"]).and_then(Value::as_array).map_or(0, Vec::len)
}

fn default_webhook(webhook: &mut super::doc::Doc) {
    fill(webhook, "failurePolicy", "Fail");
    fill(webhook, "matchPolicy", "Equivalent");
    fill(webhook, "namespaceSelector", json!({}));
    fill(webhook, "objectSelector", json!({}));
    fill_zero(webhook, "timeoutSeconds", 10);
    children(webhook, "rules").for_each(|rule| fill(rule, "scope", "*"));
    if let Some(service) = child(webhook, "clientConfig").and_then(|config| child(config, "service")) {
        fill_zero(service, "port", 443);
    }
}

fn request_condition(object: &Object) -> String {
    let conditions = object.at(&["status"]).map(|status| list(status, "conditions")).unwrap_or_default();
    let mut words: Vec<&str> = ["Approved", "Denied", "Failed"]
        .into_iter()
        .filter(|word| conditions.iter().any(|condition| text(condition, "type") == *word))
        .collect();
    if words.is_empty() {
        words.push("Pending");
    }
    if !object.str_at(&["status", "certificate"]).is_empty() {
        words.push("Issued");
    }
    words.join(",")
}
