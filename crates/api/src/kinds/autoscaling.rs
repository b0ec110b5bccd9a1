//! Autoscalers: `autoscaling/v2`, which is kept, and `v1`, which shows the CPU metric alone.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::doc::{at, child, fill, list, text};
use super::print::{self, Col, Columns, Text};
use super::rules;
use super::simple::{Parts, Simple};
use crate::object::Object;
use crate::resource::{Column, Manners, StoredAs};
use crate::status::FieldError;

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

/// The manners of `autoscaling/v1` autoscalers.
pub(super) struct OldAutoscaler;

impl Manners for OldAutoscaler {
    fn default(&self, object: &mut Object) {
        if object.at(&["spec"]).is_some_and(Value::is_object)
            && object.at(&["spec", "minReplicas"]).is_none_or(Value::is_null)
        {
            object.set(&["spec", "minReplicas"], 1);
        }
    }

    fn validate(&self, object: &Object, old: Option<&Object>) -> Vec<FieldError> {
        rules::validate_autoscaler(object, old)
    }

    fn columns(&self) -> Vec<Column> {
        AUTOSCALER.columns()
    }

    fn cells(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        let mut stored = object.clone();
        self.to_stored(&mut stored);
        AUTOSCALER.cells(&stored, now)
    }

    fn stored_as(&self) -> Option<StoredAs> {
        Some(StoredAs { group: "autoscaling", version: "v2", plural: "horizontalpodautoscalers" })
    }

    fn to_stored(&self, object: &mut Object) {
        object.set(&["apiVersion"], "autoscaling/v2");
        if let Some(percent) = object.remove(&["spec", "targetCPUUtilizationPercentage"]) {
            let target = json!({"type": "Utilization", "averageUtilization": percent});
            object.set(
                &["spec", "metrics"],
                json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]),
            );
        }
        if let Some(percent) = object.remove(&["status", "currentCPUUtilizationPercentage"]) {
            let current = json!({"averageUtilization": percent});
            object.set(
                &["status", "currentMetrics"],
                json!([{"type": "Resource", "resource": {"name": "cpu", "current": current}}]),
            );
        }
    }

    fn to_served(&self, object: &mut Object) {
        object.set(&["apiVersion"], "autoscaling/v1");
        let metrics = [
            ("spec", "metrics", "target", "targetCPUUtilizationPercentage"),
            ("status", "currentMetrics", "current", "currentCPUUtilizationPercentage"),
        ];
        for (part, field, value, shown) in metrics {
            let percent = object.at(&[part]).and_then(|part| cpu(list(part, field), value)).cloned();
            object.remove(&[part, field]);
            if let Some(percent) = percent {
                object.set(&[part, shown], percent);
            }
        }
    }

    fn has_generation(&self) -> bool {
        false
    }
}

fn cpu<'a>(metrics: &'a [Value], value: &str) -> Option<&'a Value> {
    let resource =
        metrics.iter().filter_map(|metric| at(metric, "resource")).find(|resource| text(resource, "name") == "cpu")?;
    at(resource, &format!("{value}.averageUtilization"))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::object;

    #[test]
    fn a_v1_autoscaler_is_a_v2_autoscaler_with_a_cpu_metric() {
        let old = object(
            json!({"apiVersion": "autoscaling/v1", "metadata": {"name": "h"}, "spec": {"maxReplicas": 3, "minReplicas": 1,
            "scaleTargetRef": {"kind": "Deployment", "name": "web"}, "targetCPUUtilizationPercentage": 50}}),
        );
        let mut stored = old.clone();
        OldAutoscaler.to_stored(&mut stored);
        assert_eq!(stored.at(&["spec", "metrics"]).unwrap()[0]["resource"]["target"]["averageUtilization"], 50);
        let cells = OldAutoscaler.cells(&old, Timestamp::UNIX_EPOCH);
        assert_eq!(Value::from(cells[1..6].to_vec()), json!(["Deployment/web", "cpu: <unknown>/50%", "1", 3, 0]));
        OldAutoscaler.to_served(&mut stored);
        assert_eq!(stored, old);
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
}
