//! Autoscalers (`pkg/apis/autoscaling/validation`, `pkg/apis/autoscaling/v2/defaults.go`).

use serde_json::{Value, json};

use super::{check_selector, one_of, quantity, spec};
use crate::kinds::doc::{Doc, at, child, child_made, fill, has, list, number, text};
use crate::meta;
use crate::object::Object;
use crate::status::FieldError;

/// The longest that an autoscaler may look back.
const WINDOW_MAX: i64 = 3600;
/// The longest that one policy may count over.
const PERIOD_MAX: i64 = 1800;
const SOURCES: [(&str, &str); 5] = [
    ("ContainerResource", "containerResource"),
    ("External", "external"),
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
];

/// Fills in the rules of both directions as soon as one is given.
pub(in crate::kinds) fn default_behavior(spec: &mut Doc) {
    let Some(behavior) = child(spec, "behavior") else { return };
    if let Some(up) = child_made(behavior, "scaleUp") {
        fill(up, "stabilizationWindowSeconds", 0);
        let policies = json!([
            {"type": "Pods", "value": 4, "periodSeconds": 15},
            {"type": "Percent", "value": 100, "periodSeconds": 15},
        ]);
        default_rules(up, policies);
    }
    if let Some(down) = child_made(behavior, "scaleDown") {
        default_rules(down, json!([{"type": "Percent", "value": 100, "periodSeconds": 15}]));
    }
}

fn default_rules(rules: &mut Doc, policies: Value) {
    fill(rules, "selectPolicy", "Max");
    if rules.get("policies").is_none_or(Value::is_null) {
        rules.insert("policies".to_owned(), policies);
    }
}

/// What an autoscaler must look like.
pub(in crate::kinds) fn validate_autoscaler(object: &Object, _old: Option<&Object>) -> Vec<FieldError> {
    let spec = spec(object);
    let (least, most) = (number(spec, "minReplicas"), number(spec, "maxReplicas"));
    let mut errors = Vec::new();
    if spec.get("minReplicas").is_some_and(Value::is_number) && least < 1 {
        errors.push(FieldError::invalid("spec.minReplicas", least, "must be greater than or equal to 1"));
    }
    if most < 1 {
        errors.push(FieldError::invalid("spec.maxReplicas", most, "must be greater than 0"));
    }
    if most < least {
        errors.push(FieldError::invalid("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`"));
    }
    errors.extend(check_reference(spec.get("scaleTargetRef"), "spec.scaleTargetRef"));
    for (index, metric) in list(spec, "metrics").iter().enumerate() {
        errors.extend(check_metric(metric, &format!("spec.metrics[{index}]")));
    }
    for direction in ["scaleUp", "scaleDown"] {
        if let Some(rules) = at(spec, &format!("behavior.{direction}")) {
            errors.extend(check_rules(rules, &format!("spec.behavior.{direction}")));
        }
    }
    errors
}

fn check_reference(reference: Option<&Value>, path: &str) -> Vec<FieldError> {
    let reference = reference.unwrap_or(&Value::Null);
    let mut errors = Vec::new();
    for field in ["kind", "name"] {
        let value = text(reference, field);
        if value.is_empty() {
            errors.push(FieldError::required(format!("{path}.{field}"), ""));
        }
        let problems = meta::path_segment(value);
        let path = format!("{path}.{field}");
        errors.extend(problems.iter().map(|problem| FieldError::invalid(&path, value, problem)));
    }
    errors
}

fn check_metric(metric: &Value, path: &str) -> Vec<FieldError> {
    let kind = text(metric, "type");
    if kind.is_empty() {
        return vec![FieldError::required(format!("{path}.type"), "must specify a metric source type")];
    }
    let Some((_, field)) = SOURCES.iter().find(|(known, _)| *known == kind) else {
        let known = SOURCES.map(|(kind, _)| kind);
        return vec![FieldError::not_supported(format!("{path}.type"), kind, &known)];
    };
    let mut errors = Vec::new();
    for (_, other) in SOURCES.iter().filter(|(_, other)| other != field && has(metric, other)) {
        errors.push(FieldError::forbidden(format!("{path}.{other}"), "must populate the given metric source only"));
    }
    let Some(source) = at(metric, field) else {
        let detail = "must populate information for the given metric source";
        errors.push(FieldError::required(format!("{path}.{field}"), detail));
        return errors;
    };
    errors.extend(check_source(source, field, &format!("{path}.{field}")));
    errors
}

fn check_source(source: &Value, kind: &str, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let utilizes = matches!(kind, "resource" | "containerResource");
    if utilizes && !has(source, "name") {
        errors.push(FieldError::required(format!("{path}.name"), "must specify a resource name"));
    }
    if kind == "containerResource" && !has(source, "container") {
        errors.push(FieldError::required(format!("{path}.container"), "must specify a container"));
    }
    if kind == "object" {
        errors.extend(check_reference(source.get("describedObject"), &format!("{path}.describedObject")));
    }
    if !utilizes {
        let metric = source.get("metric").unwrap_or(&Value::Null);
        if !has(metric, "name") {
            errors.push(FieldError::required(format!("{path}.metric.name"), "must specify a metric name"));
        }
        errors.extend(check_selector(metric.get("selector"), &format!("{path}.metric.selector")));
    }
    let target = source.get("target").unwrap_or(&Value::Null);
    errors.extend(check_target(target, utilizes, &format!("{path}.target")));
    errors
}

fn check_target(target: &Value, utilizes: bool, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let kinds = ["AverageValue", "Utilization", "Value"];
    if !has(target, "type") {
        errors.push(FieldError::required(format!("{path}.type"), "must specify a metric target type"));
    } else if !kinds.contains(&text(target, "type")) {
        let detail = "must be either Utilization, Value, or AverageValue";
        errors.push(FieldError::invalid(format!("{path}.type"), text(target, "type"), detail));
    }
    let percent = target.get("averageUtilization").and_then(Value::as_i64);
    if let Some(percent) = percent.filter(|percent| *percent < 1) {
        errors.push(FieldError::invalid(format!("{path}.averageUtilization"), percent, "must be greater than 0"));
    }
    for field in ["value", "averageValue"] {
        let amount = target.get(field).filter(|amount| !amount.is_null());
        if amount.is_some_and(|amount| quantity(amount).is_none_or(|amount| amount.is_zero() || amount.is_negative())) {
            let shown = amount.cloned().unwrap_or_default();
            errors.push(FieldError::invalid(format!("{path}.{field}"), shown, "must be positive"));
        }
    }
    if utilizes {
        if percent.is_some() && has(target, "averageValue") {
            let detail = "may not set both a target raw value and a target utilization";
            errors.push(FieldError::forbidden(format!("{path}.averageValue"), detail));
        } else if percent.is_none() && !has(target, "averageValue") {
            let detail = "must set either a target raw value or a target utilization";
            errors.push(FieldError::required(format!("{path}.averageUtilization"), detail));
        }
    } else if !has(target, "value") && !has(target, "averageValue") {
        let detail = "must set either a target value for metric or a per-pod target";
        errors.push(FieldError::required(format!("{path}.averageValue"), detail));
    }
    errors
}

fn check_rules(rules: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let window_path = format!("{path}.stabilizationWindowSeconds");
    match rules.get("stabilizationWindowSeconds").and_then(Value::as_i64) {
        Some(window) if window < 0 => {
            errors.push(FieldError::invalid(window_path, window, "must be greater than or equal to zero"));
        }
        Some(window) if window > WINDOW_MAX => {
            let detail = format!("must be less than or equal to {WINDOW_MAX}");
            errors.push(FieldError::invalid(window_path, window, &detail));
        }
        _ => {}
    }
    errors.extend(one_of(rules, path, "selectPolicy", &["Disabled", "Max", "Min"]));
    if list(rules, "policies").is_empty() {
        errors.push(FieldError::required(format!("{path}.policies"), "must specify at least one Policy"));
    }
    for (index, policy) in list(rules, "policies").iter().enumerate() {
        let path = format!("{path}.policies[{index}]");
        errors.extend(one_of(policy, &path, "type", &["Percent", "Pods"]));
        for field in ["value", "periodSeconds"] {
            let value = number(policy, field);
            if value <= 0 {
                errors.push(FieldError::invalid(format!("{path}.{field}"), value, "must be greater than zero"));
            } else if field == "periodSeconds" && value > PERIOD_MAX {
                let detail = format!("must be less than or equal to {PERIOD_MAX}");
                errors.push(FieldError::invalid(format!("{path}.{field}"), value, &detail));
            }
        }
    }
    errors
}
