//! `autoscaling/v1` autoscalers: kept as `v2`, of which they show the CPU metric alone.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::doc::{at, list, text};
use super::others::AUTOSCALER;
use super::rules;
use crate::object::Object;
use crate::resource::{Column, Manners, StoredAs};
use crate::status::FieldError;

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
}
