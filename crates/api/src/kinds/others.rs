//! Kinds whose manners are columns and a few defaults: scheduling, policy, autoscaling, admission.

use serde_json::{Value, json};

use super::doc::{Doc, child, child_made, children, fill, fill_zero, flag, list, text};
use super::pod_spec::{Owner, validate_template};
use super::print::{self, Col, Columns, Number, Text};
use super::simple::{Parts, Simple};
use crate::meta::NameRule;
use crate::object::Object;

/// The manners of bare pod templates.
pub(super) const POD_TEMPLATE: Simple = Simple {
    columns: &[
        print::NAME,
        Col("Containers", Text, "Names of each container in the template."),
        Col("Images", Text, "Images referenced by each container in the template."),
        Col("Pod Labels", Text, "The labels for the pod template."),
    ],
    cells: |object, _| {
        let (containers, images) = print::containers_and_images(object.at(&["template", "spec"]));
        let labels = print::labels(object.at(&["template", "metadata", "labels"]));
        vec![object.name().into(), containers.into(), images.into(), labels.into()]
    },
    default: super::workload::default_template,
    validate: |object, _| validate_template(object.at(&["template"]), None, "template", Owner::Pod),
    parts: Parts::Spec,
    ..Simple::PLAIN
};

/// The manners of controller revisions.
pub(super) const CONTROLLER_REVISION: Simple = Simple {
    columns: &[
        print::NAME,
        Col("Controller", Text, "Controller of the object"),
        Col("Revision", Text, "Revision indicates the revision of the state represented by Data."),
        print::AGE,
    ],
    cells: |object, now| {
        let owners = object.at(&["metadata"]).map(|metadata| list(metadata, "ownerReferences")).unwrap_or_default();
        let owner = owners.iter().find(|owner| flag(owner, "controller"));
        let owner = owner.map(|owner| {
            let group =
                text(owner, "apiVersion").split_once('/').map(|(group, _)| format!(".{group}")).unwrap_or_default();
            format!("{}{group}/{}", text(owner, "kind").to_lowercase(), text(owner, "name"))
        });
        let revision = object.at(&["revision"]).and_then(Value::as_i64).unwrap_or_default();
        vec![
            object.name().into(),
            owner.unwrap_or_else(|| print::NONE.to_owned()).into(),
            revision.into(),
            print::age(object, now),
        ]
    },
    ..Simple::PLAIN
};

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
    names: NameRule::PathSegment,
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

fn default_webhook(webhook: &mut Doc) {
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

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::kinds::testing::object;
    use crate::resource::Manners as _;

    #[test]
    fn a_containers_default_limit_is_the_maximum_and_its_default_request_the_default_limit() {
        let mut range = object(
            json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}, "default": {"memory": "1Gi"}}]}}),
        );
        LIMIT_RANGE.default(&mut range);
        let limit = &range.at(&["spec", "limits"]).unwrap()[0];
        assert_eq!(limit["default"], json!({"cpu": "2", "memory": "1Gi"}));
        assert_eq!(limit["defaultRequest"], json!({"cpu": "2", "memory": "1Gi"}));
    }

    #[test]
    fn a_webhook_fails_closed_after_ten_seconds() {
        let mut hooks =
            object(json!({"webhooks": [{"name": "a", "clientConfig": {"service": {"name": "s"}}, "rules": [{}]}]}));
        MUTATING_WEBHOOK.default(&mut hooks);
        assert_eq!(
            hooks.at(&["webhooks"]).unwrap()[0],
            json!({"name": "a", "failurePolicy": "Fail", "matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {},
                "timeoutSeconds": 10, "reinvocationPolicy": "Never", "rules": [{"scope": "*"}],
                "clientConfig": {"service": {"name": "s", "port": 443}}})
        );
    }

    #[test]
    fn an_autoscaler_watches_the_processor_at_eighty_percent() {
        let mut scaler = object(
            json!({"spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "web"}},
            "status": {"currentReplicas": 2, "currentMetrics": [{"resource": {"name": "cpu", "current": {"averageUtilization": 40}}}]}}),
        );
        AUTOSCALER.default(&mut scaler);
        let cells = AUTOSCALER.cells(&scaler, Timestamp::UNIX_EPOCH);
        assert_eq!(Value::from(cells[1..6].to_vec()), json!(["Deployment/web", "cpu: 40%/80%", "1", 3, 2]));
    }

    #[test]
    fn a_quota_shows_what_is_used_of_what_is_allowed() {
        let quota = object(json!({"status": {"hard": {"pods": "5", "limits.cpu": "2"}, "used": {"pods": "1"}}}));
        let cells = RESOURCE_QUOTA.cells(&quota, Timestamp::UNIX_EPOCH);
        assert_eq!(Value::from(cells[1..3].to_vec()), json!(["pods: 1/5", "limits.cpu: 0/2"]));
    }

    #[test]
    fn a_signing_request_is_pending_until_somebody_decides() {
        let show = |status: Value| {
            CERTIFICATE_REQUEST.cells(&object(json!({"status": status})), Timestamp::UNIX_EPOCH)[5].clone()
        };
        assert_eq!(show(json!({})), "Pending");
        assert_eq!(show(json!({"conditions": [{"type": "Approved"}], "certificate": "eA=="})), "Approved,Issued");
    }

    #[test]
    fn a_controller_revision_names_its_controller() {
        let revision = object(json!({"revision": 2, "metadata": {"name": "s-1", "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "s", "controller": true}]}}));
        let cells = CONTROLLER_REVISION.cells(&revision, Timestamp::UNIX_EPOCH);
        assert_eq!(Value::from(cells[..3].to_vec()), json!(["s-1", "statefulset.apps/s", 2]));
    }
}
