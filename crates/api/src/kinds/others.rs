//! Kinds whose manners are columns and a few defaults: scheduling, policy, autoscaling, admission.

use serde_json::{Value, json};

use super::doc::{at, child, child_made, children, fill, flag, list, text};
use super::pod_spec::{Owner, validate_template};
use super::print::{self, Boolean, Col, Columns, Number, Text};
use super::rules;
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
    validate: rules::validate_lease,
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
        Col("Global-Default", Boolean, "Whether pods without a class get this one."),
        print::AGE,
        Col("PreemptionPolicy", Text, "Whether pods of this class may make others go."),
    ],
    cells: |object, now| {
        let is_default = object.at(&["globalDefault"]).and_then(Value::as_bool).unwrap_or_default();
        let value = object.at(&["value"]).cloned().unwrap_or_else(|| json!(0));
        let policy = object.str_at(&["preemptionPolicy"]).into();
        vec![object.name().into(), value, is_default.into(), print::age(object, now), policy]
    },
    default: |doc| fill(doc, "preemptionPolicy", "PreemptLowerPriority"),
    parts: Parts::Spec,
    validate: rules::validate_priority_class,
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
    validate: rules::validate_runtime_class,
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
    validate: rules::validate_disruption_budget,
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
        rules::default_behavior(spec);
        if spec.get("metrics").and_then(Value::as_array).is_none_or(Vec::is_empty) {
            let target = json!({"type": "Utilization", "averageUtilization": 80});
            spec.insert(
                "metrics".to_owned(),
                json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]),
            );
        }
    },
    parts: Parts::StatusOnly,
    validate: rules::validate_autoscaler,
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
            print::or_none(object.str_at(&["spec", "signerName"]).to_owned()).into(),
            spec(object, "username"),
            duration.into(),
            request_condition(object).into(),
        ]
    },
    parts: Parts::StatusOnly,
    names: NameRule::PathSegment,
    part: super::signing_request::part,
    field: |object, path| (path == "spec.signerName").then(|| object.str_at(&["spec", "signerName"]).to_owned()),
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
    validate: rules::validate_quota,
    ..Simple::PLAIN
};

/// The manners of limit ranges, which show the time they were made instead of an age.
pub(super) const LIMIT_RANGE: Simple = Simple {
    columns: print::CREATED_AT_COLUMNS,
    cells: print::created_at_cells,
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
    validate: rules::validate_limit_range,
    ..Simple::PLAIN
};

fn spec(object: &Object, field: &str) -> Value {
    object.str_at(&["spec", field]).into()
}

fn targets(object: &Object) -> String {
    const SHOWN: usize = 2;
    let metrics = object.at(&["spec"]).map(|spec| list(spec, "metrics")).unwrap_or_default();
    let current = object.at(&["status"]).map(|status| list(status, "currentMetrics")).unwrap_or_default();
    let mut shown: Vec<String> =
        metrics.iter().enumerate().map(|(index, metric)| target(metric, current.get(index))).collect();
    if shown.len() > SHOWN {
        let more = shown.len() - SHOWN;
        shown.truncate(SHOWN);
        return format!("{} + {more} more...", shown.join(", "));
    }
    print::or_none(shown.join(", "))
}

/// Returns what is measured now and what it should be (`formatHPAMetrics`).
fn target(metric: &Value, status: Option<&Value>) -> String {
    let source = match text(metric, "type") {
        "ContainerResource" => "containerResource",
        "External" => "external",
        "Object" => "object",
        "Pods" => "pods",
        "Resource" => "resource",
        _ => return "<unknown type>".to_owned(),
    };
    let target = at(metric, &format!("{source}.target"));
    let current = status.and_then(|status| at(status, &format!("{source}.current")));
    let now = |field: &str| amount(current, field).unwrap_or("<unknown>");
    let name = if source.ends_with("esource") {
        format!("{}: ", metric[source].get("name").and_then(Value::as_str).unwrap_or_default())
    } else {
        String::new()
    };
    if let Some(wanted) = amount(target, "averageValue") {
        let average = if matches!(source, "external" | "object") { " (avg)" } else { "" };
        return format!("{name}{}/{wanted}{average}", now("averageValue"));
    }
    if name.is_empty() {
        return format!("{}/{}", now("value"), amount(target, "value").unwrap_or_default());
    }
    let percent =
        |value: Option<&Value>| value.and_then(|value| value.get("averageUtilization")).and_then(Value::as_i64);
    let shown = |value: Option<i64>, unset: &str| value.map_or_else(|| unset.to_owned(), |value| format!("{value}%"));
    format!("{name}{}/{}", shown(percent(current), "<unknown>"), shown(percent(target), "<auto>"))
}

fn amount<'a>(value: Option<&'a Value>, field: &str) -> Option<&'a str> {
    value.map(|value| text(value, field)).filter(|text| !text.is_empty())
}

fn request_condition(object: &Object) -> String {
    let conditions = object.at(&["status"]).map(|status| list(status, "conditions")).unwrap_or_default();
    let has = |word: &str| conditions.iter().any(|condition| text(condition, "type") == word);
    let mut words = vec![match (has("Denied"), has("Approved")) {
        (true, _) => "Denied",
        (false, true) => "Approved",
        (false, false) => "Pending",
    }];
    if has("Failed") {
        words.push("Failed");
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
    fn an_autoscaler_shows_its_first_two_metrics_whatever_they_measure() {
        let shown = |metrics: Value, current: Value| {
            targets(&object(json!({"spec": {"metrics": metrics}, "status": {"currentMetrics": current}})))
        };
        let pods = json!({"type": "Pods", "pods": {"target": {"averageValue": "10"}}});
        let external = json!({"type": "External", "external": {"target": {"averageValue": "5"}}});
        let on_object = json!({"type": "Object", "object": {"target": {"value": "2k"}}});
        assert_eq!(
            shown(json!([pods, external]), json!([{"pods": {"current": {"averageValue": "7"}}}])),
            "7/10, <unknown>/5 (avg)"
        );
        assert_eq!(shown(json!([on_object, pods, pods]), json!([])), "<unknown>/2k, <unknown>/10 + 1 more...");
        let memory = json!({"type": "ContainerResource", "containerResource": {"name": "memory", "target": {"averageUtilization": 50}}});
        assert_eq!(shown(json!([memory]), json!([])), "memory: <unknown>/50%");
        assert_eq!(shown(json!([]), json!([])), "<none>");
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
        assert_eq!(show(json!({"conditions": [{"type": "Approved"}, {"type": "Denied"}]})), "Denied");
        assert_eq!(show(json!({"conditions": [{"type": "Failed"}]})), "Pending,Failed");
    }

    #[test]
    fn a_controller_revision_names_its_controller() {
        let revision = object(json!({"revision": 2, "metadata": {"name": "s-1", "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "s", "controller": true}]}}));
        let cells = CONTROLLER_REVISION.cells(&revision, Timestamp::UNIX_EPOCH);
        assert_eq!(Value::from(cells[..3].to_vec()), json!(["s-1", "statefulset.apps/s", 2]));
    }
}
