//! Jobs: pods that run to their end (`pkg/apis/batch`).

mod policies;
mod rules;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::doc::{Doc, child, child_made, children, fill, list, text};
use super::print::{self, Col, Columns, Text};
use super::workload;
use crate::object::Object;
use crate::resource::{Column, Manners};
use crate::status::FieldError;

pub(super) use rules::validate_spec;

/// The manners of jobs.
pub(super) struct Job;

const COLUMNS: Columns = &[
    print::NAME,
    Col("Status", Text, "Status of the job."),
    Col(
        "Completions",
        Text,
        "Completions specifies the desired number of successfully finished pods the job should be run with.",
    ),
    Col("Duration", Text, "Time required to complete the job."),
    print::AGE,
    print::CONTAINERS,
    print::IMAGES,
    print::SELECTOR,
];

impl Manners for Job {
    fn default(&self, object: &mut Object) {
        let labels =
            object.at(&["spec", "template", "metadata", "labels"]).filter(|labels| labels.is_object()).cloned();
        if let Some(labels) = labels
            && object.labels().is_empty()
        {
            object.set(&["metadata", "labels"], labels);
        }
        let Some(spec) = child_made(&mut object.0, "spec") else { return };
        let missing = |field: &str| spec.get(field).is_none_or(Value::is_null);
        // Without a number of completions, one success is enough; with parallelism alone it is a work queue.
        if missing("completions") && missing("parallelism") {
            fill(spec, "completions", 1);
        }
        fill(spec, "parallelism", 1);
        let per_index = spec.get("backoffLimitPerIndex").is_some_and(|limit| !limit.is_null());
        fill(spec, "backoffLimit", if per_index { i32::MAX } else { 6 });
        fill(spec, "completionMode", "NonIndexed");
        fill(spec, "suspend", false);
        fill(spec, "manualSelector", false);
        let has_policy = spec.get("podFailurePolicy").is_some_and(|policy| !policy.is_null());
        fill(spec, "podReplacementPolicy", if has_policy { "Failed" } else { "TerminatingOrFailed" });
        default_failure_policy(spec);
        workload::default_template(spec);
    }

    fn prepare_create(&self, object: &mut Object) {
        workload::clear_status(object);
        if object.at(&["spec", "manualSelector"]) != Some(&json!(true)) {
            generate_selector(object);
        }
    }

    fn validate(&self, object: &Object, old: Option<&Object>) -> Vec<FieldError> {
        rules::validate(object, old)
    }

    fn columns(&self) -> Vec<Column> {
        print::columns(COLUMNS)
    }

    fn cells(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        let (containers, images) = print::containers_and_images(workload::template_spec(object));
        vec![
            object.name().into(),
            job_status(object).into(),
            completions(object).into(),
            duration(object, now).into(),
            print::age(object, now),
            containers.into(),
            images.into(),
            print::selector(object.at(&["spec", "selector"])).into(),
        ]
    }

    fn field(&self, object: &Object, path: &str) -> Option<String> {
        (path == "status.successful").then(|| workload::count(object, &["status", "succeeded"]).to_string())
    }
}

/// A rule about a condition is about its being true, unless it says otherwise.
pub(super) fn default_failure_policy(spec: &mut Doc) {
    let Some(policy) = child(spec, "podFailurePolicy") else { return };
    for pattern in children(policy, "rules").flat_map(|rule| children(rule, "onPodConditions")) {
        fill(pattern, "status", "True");
    }
}

/// Makes a selector that finds this job's pods and no other's (`jobStrategy.generateSelector`).
fn generate_selector(object: &mut Object) {
    let (name, uid) = (object.name().to_owned(), object.uid().to_owned());
    let Some(spec) = child_made(&mut object.0, "spec") else { return };
    let Some(template) = child_made(spec, "template") else { return };
    let Some(labels) = child_made(template, "metadata").and_then(|metadata| child_made(metadata, "labels")) else {
        return;
    };
    // The names without a prefix are older than the prefix.
    for (key, value) in [
        ("controller-uid", &uid),
        ("batch.kubernetes.io/controller-uid", &uid),
        ("job-name", &name),
        ("batch.kubernetes.io/job-name", &name),
    ] {
        fill(labels, key, value.as_str());
    }
    let Some(selector) = child_made(spec, "selector").and_then(|selector| child_made(selector, "matchLabels")) else {
        return;
    };
    fill(selector, "batch.kubernetes.io/controller-uid", uid);
}

fn condition(object: &Object, name: &str) -> bool {
    let conditions = object.at(&["status"]).map(|status| list(status, "conditions")).unwrap_or_default();
    conditions.iter().any(|condition| text(condition, "type") == name && text(condition, "status") == "True")
}

fn job_status(object: &Object) -> &'static str {
    let first = [("Complete", "Complete"), ("Failed", "Failed")];
    let then =
        [("Suspended", "Suspended"), ("FailureTarget", "FailureTarget"), ("SuccessCriteriaMet", "SuccessCriteriaMet")];
    let find = |names: &[(&str, &'static str)]| {
        names.iter().find(|(name, _)| condition(object, name)).map(|(_, shown)| *shown)
    };
    find(&first).or_else(|| object.is_deleting().then_some("Terminating")).or_else(|| find(&then)).unwrap_or("Running")
}

fn completions(object: &Object) -> String {
    let succeeded = workload::count(object, &["status", "succeeded"]);
    if let Some(completions) = object.at(&["spec", "completions"]).and_then(Value::as_i64) {
        return format!("{succeeded}/{completions}");
    }
    match object.at(&["spec", "parallelism"]).and_then(Value::as_i64) {
        Some(parallelism) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        _ => format!("{succeeded}/1"),
    }
}

fn duration(object: &Object, now: Timestamp) -> String {
    let time = |field| object.str_at(&["status", field]).parse::<Timestamp>().ok();
    let Some(start) = time("startTime") else { return String::new() };
    print::human_duration(time("completionTime").unwrap_or(now).as_second() - start.as_second())
}
