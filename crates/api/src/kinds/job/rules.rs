//! What a job must look like, and what of it may change (`pkg/apis/batch/validation`).

use serde_json::{Value, json};

use super::policies::{check_failure_policy, check_success_policy};
use crate::kinds::doc::{at, flag, has, list, number, strings, text};
use crate::kinds::pod_spec::{self, Owner};
use crate::kinds::rules::{
    check_immutable, check_not_negative, check_selector, domain_prefixed_path, one_of, spec as spec_of,
};
use crate::meta;
use crate::object::Object;
use crate::selector::LabelSelector;
use crate::status::FieldError;

/// How many pods of an indexed job may run at once: `status.completedIndexes` has to stay short.
const PARALLELISM_MAX: i64 = 100_000;
/// How many indexes of a job may fail, for the same reason.
const FAILED_INDEXES_MAX: i64 = 100_000;
/// Above so many completions, a job with a limit per index has the two stricter limits below.
const COMPLETIONS_MANY: i64 = 100_000;
const PARALLELISM_MAX_OF_MANY: i64 = 10_000;
const FAILED_INDEXES_MAX_OF_MANY: i64 = 10_000;
const MANAGED_BY_MAX: usize = 63;
/// The labels by which a job finds its pods; the names without a prefix are older than the prefix.
const UID_LABELS: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];
const NAME_LABELS: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];

/// Returns everything that is wrong with a job, or with a change of one.
pub(super) fn validate(object: &Object, old: Option<&Object>) -> Vec<FieldError> {
    let spec = spec_of(object);
    let mut errors = Vec::new();
    if old.is_none() {
        errors.extend(check_generated_selector(object));
    }
    errors.extend(validate_spec(spec, "spec"));
    match at(spec, "selector") {
        None => errors.push(FieldError::required("spec.selector", "")),
        selector => errors.extend(check_selector(selector, "spec.selector")),
    }
    match old {
        None => errors.extend(check_hostname(object)),
        Some(old) => errors.extend(check_update(spec, old)),
    }
    errors
}

/// Unless a user chose the selector, it finds this job's pods and no other's (`validateGeneratedSelector`).
fn check_generated_selector(object: &Object) -> Vec<FieldError> {
    let spec = spec_of(object);
    let Some(selector) = at(spec, "selector").filter(|_| !flag(spec, "manualSelector")) else { return Vec::new() };
    let labels = at(spec, "template.metadata.labels");
    let mut errors = Vec::new();
    if object.uid().is_empty() {
        errors.push(FieldError::required("metadata.uid", ""));
    }
    let mut generated = std::collections::BTreeMap::new();
    for (uid, name) in UID_LABELS.into_iter().zip(NAME_LABELS) {
        for (key, expected) in [(uid, object.uid()), (name, object.name())] {
            generated.insert(key, expected);
            let (path, detail) = (format!("spec.template.metadata.labels[{key}]"), format!("must be '{expected}'"));
            match strings(labels).get(key) {
                None => errors.push(FieldError::required(path, &detail)),
                Some(actual) if *actual != expected => {
                    errors.push(FieldError::invalid(path, labels.cloned().unwrap_or_default(), &detail));
                }
                Some(_) => {}
            }
        }
    }
    if LabelSelector::from_json(Some(selector)).is_ok_and(|selector| !selector.matches(&generated)) {
        errors.push(FieldError::invalid("spec.selector", selector.clone(), "`selector` not auto-generated"));
    }
    errors
}

/// The pods of an indexed job are hosts that are named by their index.
fn check_hostname(object: &Object) -> Option<FieldError> {
    let (spec, name) = (spec_of(object), object.name());
    let completions = number(spec, "completions");
    if text(spec, "completionMode") != "Indexed" || completions <= 0 {
        return None;
    }
    let longest = format!("{name}-{}", completions - 1);
    let detail = format!("will not able to create pod with invalid DNS label: {longest}");
    (!meta::dns1123_label(&longest).is_empty()).then(|| FieldError::invalid("metadata.name", name, &detail))
}

/// Returns everything that is wrong with the spec of a job, also of one that a cron job will make.
pub(in crate::kinds) fn validate_spec(spec: &Value, path: &str) -> Vec<FieldError> {
    const COUNTS: [&str; 7] = [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ];
    let mut errors = check_not_negative(spec, path, &COUNTS);
    if has(spec, "maxFailedIndexes") && !has(spec, "backoffLimitPerIndex") {
        let detail = "when maxFailedIndexes is specified";
        errors.push(FieldError::required(format!("{path}.backoffLimitPerIndex"), detail));
    }
    if let Some(manager) = spec.get("managedBy").and_then(Value::as_str) {
        let path = format!("{path}.managedBy");
        errors.extend(domain_prefixed_path(manager, &path));
        if manager.len() > MANAGED_BY_MAX {
            errors.push(FieldError::too_long(path, MANAGED_BY_MAX));
        }
    }
    errors.extend(one_of(spec, path, "completionMode", &["NonIndexed", "Indexed"]));
    errors.extend(match text(spec, "completionMode") {
        "Indexed" => check_indexed(spec, path),
        "" | "NonIndexed" => check_not_indexed(spec, path),
        _ => Vec::new(),
    });
    errors.extend(check_policies(spec, path));
    errors.extend(check_template(spec, path));
    errors
}

fn check_indexed(spec: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let set = |field: &str| spec.get(field).and_then(Value::as_i64);
    let mut at_most = |field: &str, limit: i64, detail: String| {
        if let Some(value) = set(field).filter(|value| *value > limit) {
            errors.push(FieldError::invalid(format!("{path}.{field}"), value, &detail));
        }
    };
    let detail = format!("must be less than or equal to {PARALLELISM_MAX} when completion mode is Indexed");
    at_most("parallelism", PARALLELISM_MAX, detail);
    if let Some(completions) = set("completions") {
        at_most("maxFailedIndexes", completions, "must be less than or equal to completions".to_owned());
    }
    at_most("maxFailedIndexes", FAILED_INDEXES_MAX, format!("must be less than or equal to {FAILED_INDEXES_MAX}"));
    if set("completions").is_some_and(|completions| completions > COMPLETIONS_MANY) && has(spec, "backoffLimitPerIndex")
    {
        for (field, limit) in
            [("parallelism", PARALLELISM_MAX_OF_MANY), ("maxFailedIndexes", FAILED_INDEXES_MAX_OF_MANY)]
        {
            let detail = format!(
                "must be less than or equal to {limit} when completions are above {COMPLETIONS_MANY} and used with \
                 backoff limit per index"
            );
            at_most(field, limit, detail);
        }
        if !has(spec, "maxFailedIndexes") {
            let detail = format!("must be specified when completions is above {COMPLETIONS_MANY}");
            errors.push(FieldError::required(format!("{path}.maxFailedIndexes"), &detail));
        }
    }
    if set("completions").is_none() {
        errors.insert(0, FieldError::required(format!("{path}.completions"), "when completion mode is Indexed"));
    }
    errors
}

fn check_not_indexed(spec: &Value, path: &str) -> Vec<FieldError> {
    let indexed_only = ["backoffLimitPerIndex", "maxFailedIndexes"].into_iter().filter(|field| has(spec, field));
    indexed_only
        .map(|field| {
            FieldError::invalid(format!("{path}.{field}"), number(spec, field), "requires indexed completion mode")
        })
        .collect()
}

fn check_policies(spec: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let failure = at(spec, "podFailurePolicy");
    if let Some(policy) = failure {
        errors.extend(check_failure_policy(spec, policy, &format!("{path}.podFailurePolicy")));
    }
    if let Some(policy) = at(spec, "successPolicy") {
        let path = format!("{path}.successPolicy");
        if text(spec, "completionMode") == "Indexed" {
            errors.extend(check_success_policy(spec, policy, &path));
        } else {
            errors.push(FieldError::invalid(path, policy.clone(), "requires indexed completion mode"));
        }
    }
    // Whoever counts failures has to know that a pod failed, not only that it is going.
    let replaced: &[&str] = if failure.is_some() { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
    errors.extend(one_of(spec, path, "podReplacementPolicy", replaced));
    errors
}

fn check_template(spec: &Value, path: &str) -> Vec<FieldError> {
    let (selector, path) = (at(spec, "selector"), format!("{path}.template"));
    let mut errors = pod_spec::validate_template(spec.get("template"), selector, &path, Owner::Job);
    if at(spec, "podFailurePolicy").is_some()
        && at(spec, "template.spec.restartPolicy").and_then(Value::as_str) == Some("OnFailure")
    {
        let detail = "only \"Never\" is supported when podFailurePolicy is specified";
        errors.push(FieldError::invalid(format!("{path}.spec.restartPolicy"), "OnFailure", detail));
    }
    errors
}

/// What of a job may change (`ValidateJobSpecUpdate`).
fn check_update(spec: &Value, old: &Object) -> Vec<FieldError> {
    let before = spec_of(old);
    let fixed = |field: &str| check_immutable(at(spec, field), at(before, field), &format!("spec.{field}"));
    let mut errors: Vec<FieldError> = check_completions(spec, before).into_iter().collect();
    errors.extend(fixed("selector"));
    let (template, expected) = (at(spec, "template"), expected_template(spec, old));
    errors.extend(check_immutable(template, expected.as_ref(), "spec.template"));
    let others = ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"];
    errors.extend(others.into_iter().filter_map(fixed));
    errors
}

/// An indexed job may grow and shrink, together with its parallelism.
fn check_completions(spec: &Value, before: &Value) -> Option<FieldError> {
    let (now, was) = (at(spec, "completions"), at(before, "completions"));
    if text(spec, "completionMode") != "Indexed" {
        return check_immutable(now, was, "spec.completions");
    }
    let detail = "can only be modified in tandem with spec.parallelism";
    let now = now.filter(|now| Some(*now) != was && Some(*now) != at(spec, "parallelism"))?;
    Some(FieldError::invalid("spec.completions", now.clone(), detail))
}

/// Returns the template that a job must still have: before its pods run, and while they are suspended, queues place and
/// size them (`validatePodTemplateUpdate`).
fn expected_template(spec: &Value, old: &Object) -> Option<Value> {
    let before = at(spec_of(old), "template")?;
    if !is_at_rest(old) {
        return Some(before.clone());
    }
    let mut expected = before.clone();
    let now = at(spec, "template").unwrap_or(&Value::Null);
    for field in ["labels", "annotations"] {
        take(&mut expected, now, &["metadata", field]);
    }
    for field in ["nodeSelector", "tolerations", "schedulingGates"] {
        take(&mut expected, now, &["spec", field]);
    }
    take_node_affinity(&mut expected, now);
    for field in ["containers", "initContainers"] {
        for index in 0..at(before, &format!("spec.{field}")).and_then(Value::as_array).map_or(0, Vec::len) {
            let resources = now["spec"][field].get(index).and_then(|container| container.get("resources"));
            put(&mut expected["spec"][field][index], "resources", resources);
        }
    }
    Some(expected)
}

/// Whether no pod of a job runs or is about to.
fn is_at_rest(job: &Object) -> bool {
    let status = job.at(&["status"]).unwrap_or(&Value::Null);
    let is_suspended = list(status, "conditions")
        .iter()
        .any(|condition| text(condition, "type") == "Suspended" && text(condition, "status") == "True");
    flag(spec_of(job), "suspend") && (!has(status, "startTime") || is_suspended && number(status, "active") == 0)
}

/// Node affinity may change; an affinity that says nothing else may go with it.
fn take_node_affinity(expected: &mut Value, now: &Value) {
    let wanted = at(now, "spec.affinity.nodeAffinity");
    if at(now, "spec.affinity").is_some() && at(expected, "spec.affinity").is_none() {
        expected["spec"]["affinity"] = json!({});
    }
    if at(expected, "spec.affinity").is_some() {
        put(&mut expected["spec"]["affinity"], "nodeAffinity", wanted);
    }
    let is_empty = at(expected, "spec.affinity").is_some_and(|affinity| *affinity == json!({}));
    if is_empty && at(now, "spec.affinity").is_none() {
        put(&mut expected["spec"], "affinity", None);
    }
}

fn take(expected: &mut Value, now: &Value, path: &[&str; 2]) {
    let [part, field] = path;
    put(&mut expected[*part], field, now.get(*part).and_then(|part| part.get(*field)));
}

fn put(document: &mut Value, field: &str, value: Option<&Value>) {
    let Some(document) = document.as_object_mut() else { return };
    match value {
        Some(value) => drop(document.insert(field.to_owned(), value.clone())),
        None => drop(document.remove(field)),
    }
}
