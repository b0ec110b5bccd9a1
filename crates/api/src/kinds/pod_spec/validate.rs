//! What a pod spec must look like (`ValidatePodSpec`), with Kubernetes' sentences.

use std::collections::BTreeSet;

use serde_json::Value;

use super::container::{self, Place};
use super::{affinity, ephemeral, extras, security, spread, volumes};
use crate::kinds::doc::{at, flag, has, list, number, strings, text};
use crate::kinds::rules::NOT_NEGATIVE;
use crate::meta;
use crate::selector::LabelSelector;
use crate::status::FieldError;

/// Whose pods these are; it decides which restart policies and deadlines make sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A pod of its own, or a bare template.
    Pod,
    /// A controller that keeps pods running for ever, by the name of its kind.
    Service(&'static str),
    /// A controller that runs pods to their end.
    Job,
}

/// Returns everything that is wrong with a pod template under `path`, and whether `selector` finds its pods.
pub(crate) fn validate_template(
    template: Option<&Value>,
    selector: Option<&Value>,
    path: &str,
    owner: Owner,
) -> Vec<FieldError> {
    let Some(template) = template else {
        return vec![FieldError::required(path, "")];
    };
    let labels = strings(at(template, "metadata.labels"));
    let mut errors = meta::validate_labels(&format!("{path}.labels"), &labels);
    errors.extend(meta::validate_annotations(
        &format!("{path}.annotations"),
        &strings(at(template, "metadata.annotations")),
    ));
    if let Some(selector) = selector
        && LabelSelector::from_json(Some(selector))
            .is_ok_and(|selector| !selector.is_everything() && !selector.matches(&labels))
    {
        let shown = at(template, "metadata.labels").cloned().unwrap_or(Value::Null);
        errors.push(FieldError::invalid(
            format!("{path}.metadata.labels"),
            shown,
            "`selector` does not match template `labels`",
        ));
    }
    let (spec, path) = (template.get("spec"), format!("{path}.spec"));
    errors.extend(validate_pod_spec(spec, &path, owner));
    let is_set = |field: &str| spec.is_some_and(|spec| at(spec, field).is_some());
    if is_set("ephemeralContainers") {
        let detail = "ephemeral containers not allowed in pod template";
        errors.push(FieldError::forbidden(format!("{path}.ephemeralContainers"), detail));
    }
    if let Owner::Service(kind) = owner
        && is_set("activeDeadlineSeconds")
    {
        let detail = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.push(FieldError::forbidden(format!("{path}.activeDeadlineSeconds"), &detail));
    }
    errors
}

/// Returns everything that is wrong with a pod spec under `path`.
pub(crate) fn validate_pod_spec(spec: Option<&Value>, path: &str, owner: Owner) -> Vec<FieldError> {
    let spec = spec.unwrap_or(&Value::Null);
    let (volume_names, mut errors) = volumes::validate(list(spec, "volumes"), &format!("{path}.volumes"));
    errors.extend(validate_containers(spec, path, &volume_names));
    errors.extend(ephemeral::validate(spec, path));
    errors.extend(validate_policies(spec, path, owner));
    errors.extend(validate_numbers(spec, path));
    errors.extend(validate_names(spec, path));
    for (index, toleration) in list(spec, "tolerations").iter().enumerate() {
        errors.extend(validate_toleration(toleration, &format!("{path}.tolerations[{index}]")));
    }
    errors.extend(spread::validate(spec, path));
    errors.extend(affinity::validate(spec, path));
    errors.extend(security::validate(spec, path));
    errors.extend(extras::validate(spec, path));
    errors
}

fn validate_containers(spec: &Value, path: &str, volume_names: &BTreeSet<&str>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut seen = BTreeSet::new();
    let host_network = flag(spec, "hostNetwork");
    // Regular containers come first: a name that repeats is reported where the init container takes it.
    let lists =
        [("containers", Place::Main), ("initContainers", Place::Init), ("ephemeralContainers", Place::Ephemeral)];
    for (field, place) in lists {
        let containers = list(spec, field);
        if place == Place::Main && containers.is_empty() {
            errors.push(FieldError::required(format!("{path}.{field}"), ""));
        }
        let mut host_ports = BTreeSet::new();
        for (index, container) in containers.iter().enumerate() {
            let path = format!("{path}.{field}[{index}]");
            errors.extend(container::validate(container, &path, place, volume_names));
            let name = text(container, "name");
            if !name.is_empty() && !seen.insert(name) {
                errors.push(FieldError::duplicate(format!("{path}.name"), name));
            }
            errors.extend(container::validate_host_ports(container, &path, host_network, &mut host_ports));
        }
    }
    errors
}

fn validate_policies(spec: &Value, path: &str, owner: Owner) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let restart = text(spec, "restartPolicy");
    let allowed: &[&str] = match owner {
        Owner::Pod => &["Always", "OnFailure", "Never"],
        Owner::Service(_) => &["Always"],
        Owner::Job => &["OnFailure", "Never"],
    };
    let restart_path = format!("{path}.restartPolicy");
    if restart.is_empty() {
        errors.push(FieldError::required(restart_path, ""));
    } else if owner == Owner::Job && restart == "Always" {
        errors.push(FieldError::required(restart_path, "valid values: \"OnFailure\", \"Never\""));
    } else if !allowed.contains(&restart) {
        errors.push(FieldError::not_supported(restart_path, restart, allowed));
    }
    let dns = text(spec, "dnsPolicy");
    let policies = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    if !dns.is_empty() && !policies.contains(&dns) {
        errors.push(FieldError::not_supported(format!("{path}.dnsPolicy"), dns, &policies));
    }
    if dns == "None" && at(spec, "dnsConfig.nameservers").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        errors.push(FieldError::required(format!("{path}.dnsConfig.nameservers"), detail));
    }
    errors
}

fn validate_numbers(spec: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let grace = number(spec, "terminationGracePeriodSeconds");
    if grace < 0 {
        errors.push(FieldError::invalid(format!("{path}.terminationGracePeriodSeconds"), grace, NOT_NEGATIVE));
    }
    if let Some(deadline) = spec.get("activeDeadlineSeconds").and_then(Value::as_i64)
        && !(1..=i64::from(i32::MAX)).contains(&deadline)
    {
        let detail = format!("must be between 1 and {}, inclusive", i32::MAX);
        errors.push(FieldError::invalid(format!("{path}.activeDeadlineSeconds"), deadline, &detail));
    }
    errors
}

fn validate_names(spec: &Value, path: &str) -> Vec<FieldError> {
    type Rule = fn(&str) -> Vec<String>;
    let rules: [(&str, Rule); 6] = [
        ("nodeName", meta::dns1123_subdomain),
        ("serviceAccountName", meta::dns1123_subdomain),
        ("priorityClassName", meta::dns1123_subdomain),
        ("runtimeClassName", meta::dns1123_subdomain),
        ("hostname", meta::dns1123_label),
        ("subdomain", meta::dns1123_label),
    ];
    let mut errors = Vec::new();
    for (field, rule) in rules {
        let value = text(spec, field);
        if !value.is_empty() {
            errors.extend(
                rule(value).iter().map(|problem| FieldError::invalid(format!("{path}.{field}"), value, problem)),
            );
        }
    }
    errors.extend(meta::validate_labels(&format!("{path}.nodeSelector"), &strings(spec.get("nodeSelector"))));
    errors
}

fn validate_toleration(toleration: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (key, operator, effect) = (text(toleration, "key"), text(toleration, "operator"), text(toleration, "effect"));
    if key.is_empty() && operator != "Exists" {
        let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        errors.push(FieldError::invalid(format!("{path}.operator"), operator, detail));
    }
    if !key.is_empty() {
        errors.extend(
            meta::qualified_name(key).iter().map(|problem| FieldError::invalid(format!("{path}.key"), key, problem)),
        );
    }
    if toleration.get("tolerationSeconds").is_some_and(|seconds| !seconds.is_null()) && effect != "NoExecute" {
        let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        errors.push(FieldError::invalid(format!("{path}.effect"), effect, detail));
    }
    match operator {
        "Exists" if has(toleration, "value") => {
            let detail = "value must be empty when `operator` is 'Exists'";
            errors.push(FieldError::invalid(format!("{path}.operator"), text(toleration, "value"), detail));
        }
        "" | "Equal" | "Exists" => {}
        _ => errors.push(FieldError::not_supported(format!("{path}.operator"), operator, &["Equal", "Exists"])),
    }
    let effects = ["NoExecute", "NoSchedule", "PreferNoSchedule"];
    if !effect.is_empty() && !effects.contains(&effect) {
        errors.push(FieldError::not_supported(format!("{path}.effect"), effect, &effects));
    }
    errors
}
