//! Jobs and cron jobs (`pkg/apis/batch`).

use jiff::Timestamp;
use serde_json::{Value, json};

use super::doc::{at, child_made, fill, flag, has, list, number, text};
use super::pod_spec::{self, Owner};
use super::print::{self, Boolean, Col, Columns, Number, Text};
use super::workload;
use crate::cron;
use crate::object::Object;
use crate::resource::{Column, Manners};
use crate::status::FieldError;

/// The manners of jobs.
pub(super) struct Job;

/// The manners of cron jobs.
pub(super) struct CronJob;

const JOB_COLUMNS: Columns = &[
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

const CRON_JOB_COLUMNS: Columns = &[
    print::NAME,
    Col("Schedule", Text, "The schedule in Cron format, see https://en.wikipedia.org/wiki/Cron."),
    Col("Timezone", Text, "The time zone name for the given schedule."),
    Col("Suspend", Boolean, "Whether subsequent executions are suspended."),
    Col("Active", Number, "How many jobs run now."),
    Col("Last Schedule", Text, "When the job was last successfully scheduled."),
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
        workload::default_template(spec);
    }

    fn prepare_create(&self, object: &mut Object) {
        workload::clear_status(object);
        if object.at(&["spec", "manualSelector"]) != Some(&json!(true)) {
            generate_selector(object);
        }
    }

    fn validate(&self, object: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let mut errors = validate_job_spec(object.at(&["spec"]), "spec");
        if object.at(&["spec"]).is_none_or(|spec| !has(spec, "selector")) {
            errors.push(FieldError::required("spec.selector", ""));
        }
        errors.extend(workload::validate_fixed(
            object,
            old,
            &["selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy"],
        ));
        let is_suspended = old.and_then(|old| old.at(&["spec"])).is_some_and(|spec| flag(spec, "suspend"));
        if !is_suspended {
            errors.extend(workload::validate_fixed(object, old, &["template"]));
        }
        if object.str_at(&["spec", "completionMode"]) != "Indexed" {
            errors.extend(workload::validate_fixed(object, old, &["completions"]));
        }
        errors
    }

    fn columns(&self) -> Vec<Column> {
        print::columns(JOB_COLUMNS)
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

fn validate_job_spec(spec: Option<&Value>, path: &str) -> Vec<FieldError> {
    let spec = spec.unwrap_or(&Value::Null);
    let counts = [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
    ];
    let mut errors = Vec::new();
    for field in counts {
        if number(spec, field) < 0 {
            let path = format!("{path}.{field}");
            errors.push(FieldError::invalid(path, number(spec, field), "must be greater than or equal to 0"));
        }
    }
    match text(spec, "completionMode") {
        "Indexed" if !has(spec, "completions") => {
            errors.push(FieldError::required(format!("{path}.completions"), "when completion mode is Indexed"));
        }
        "" | "Indexed" | "NonIndexed" => {}
        other => {
            let modes = ["Indexed", "NonIndexed"];
            errors.push(FieldError::not_supported(format!("{path}.completionMode"), other, &modes));
        }
    }
    let selector = at(spec, "selector");
    errors.extend(pod_spec::validate_template(spec.get("template"), selector, &format!("{path}.template"), Owner::Job));
    errors
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

/// `validateScheduleFormat` and `validateTimeZone` in `pkg/apis/batch/validation`. Whether the zone exists is for the
/// controller to say: another server may have another database.
fn validate_schedule(schedule: &str, zone: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if schedule.is_empty() {
        errors.push(FieldError::required("spec.schedule", ""));
    } else if schedule.contains("TZ") {
        let why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
        errors.push(FieldError::invalid("spec.schedule", schedule, why));
    } else if let Err(error) = schedule.parse::<cron::Schedule>() {
        errors.push(FieldError::invalid("spec.schedule", schedule, &error.to_string()));
    }
    if zone.eq_ignore_ascii_case("local") {
        let why = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.push(FieldError::invalid("spec.timeZone", zone, why));
    }
    errors
}

impl Manners for CronJob {
    fn default(&self, object: &mut Object) {
        let Some(spec) = child_made(&mut object.0, "spec") else { return };
        fill(spec, "concurrencyPolicy", "Allow");
        fill(spec, "suspend", false);
        fill(spec, "successfulJobsHistoryLimit", 3);
        fill(spec, "failedJobsHistoryLimit", 1);
        // The job gets its own defaults when it is made.
        let Some(template) = child_made(spec, "jobTemplate") else { return };
        let _ = child_made(template, "metadata");
        if let Some(job) = child_made(template, "spec") {
            workload::default_template(job);
        }
    }

    fn prepare_create(&self, object: &mut Object) {
        workload::clear_status(object);
    }

    fn validate(&self, object: &Object, _old: Option<&Object>) -> Vec<FieldError> {
        let spec = object.at(&["spec"]).unwrap_or(&Value::Null);
        let mut errors = Vec::new();
        if object.name().len() > 52 {
            errors.push(FieldError::invalid("metadata.name", object.name(), "must be no more than 52 characters"));
        }
        errors.extend(validate_schedule(text(spec, "schedule"), text(spec, "timeZone")));
        let (policy, policies) = (text(spec, "concurrencyPolicy"), ["Allow", "Forbid", "Replace"]);
        if !policies.contains(&policy) {
            errors.push(FieldError::not_supported("spec.concurrencyPolicy", policy, &policies));
        }
        let limits = ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"];
        errors.extend(workload::validate_counts(spec, &limits));
        errors.extend(validate_job_spec(at(spec, "jobTemplate.spec"), "spec.jobTemplate.spec"));
        errors
    }

    fn columns(&self) -> Vec<Column> {
        print::columns(CRON_JOB_COLUMNS)
    }

    fn cells(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        let null = Value::Null;
        let (spec, status) = (object.at(&["spec"]).unwrap_or(&null), object.at(&["status"]).unwrap_or(&null));
        let (containers, images) = print::containers_and_images(at(spec, "jobTemplate.spec.template.spec"));
        let last = text(status, "lastScheduleTime");
        vec![
            object.name().into(),
            text(spec, "schedule").into(),
            print::or_none(text(spec, "timeZone").to_owned()).into(),
            if flag(spec, "suspend") { "True" } else { "False" }.into(),
            list(status, "active").len().into(),
            if last.is_empty() { print::NONE.to_owned() } else { print::since(last, now) }.into(),
            print::age(object, now),
            containers.into(),
            images.into(),
            print::selector(at(spec, "jobTemplate.spec.selector")).into(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{check_errors, object};

    #[expect(clippy::needless_pass_by_value, reason = "literals read better without a reference")]
    fn job(spec: Value) -> Object {
        let mut object = object(json!({"metadata": {"name": "j", "uid": "u-1"}, "spec": {
            "template": {"metadata": {"labels": {"app": "j"}}, "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}}));
        for (field, value) in spec.as_object().unwrap() {
            object.set(&["spec", field], value.clone());
        }
        Job.default(&mut object);
        Job.prepare_create(&mut object);
        object
    }

    #[test]
    fn a_job_needs_one_success_unless_told_otherwise() {
        let job = job(json!({}));
        let field = |name| job.at(&["spec", name]).cloned().unwrap_or_default();
        assert_eq!((field("completions"), field("parallelism")), (json!(1), json!(1)));
        assert_eq!((field("backoffLimit"), field("completionMode")), (json!(6), json!("NonIndexed")));
        assert_eq!((field("suspend"), field("podReplacementPolicy")), (json!(false), json!("TerminatingOrFailed")));
    }

    #[test]
    fn parallelism_alone_is_a_work_queue() {
        let job = job(json!({"parallelism": 3}));
        assert_eq!(job.at(&["spec", "completions"]), None);
        assert_eq!(Job.cells(&job, Timestamp::UNIX_EPOCH)[2], json!("0/1 of 3"));
    }

    #[test]
    fn a_job_selects_its_pods_by_its_own_uid() {
        let job = job(json!({}));
        assert_eq!(
            job.at(&["spec", "selector"]),
            Some(&json!({"matchLabels": {"batch.kubernetes.io/controller-uid": "u-1"}}))
        );
        let labels = job.at(&["spec", "template", "metadata", "labels"]).unwrap();
        assert_eq!(
            (&labels["job-name"], &labels["controller-uid"], &labels["app"]),
            (&json!("j"), &json!("u-1"), &json!("j"))
        );
        check_errors(&Job, &job, None, &[]);
    }

    #[test]
    fn job_pods_cannot_always_restart() {
        let mut job = job(json!({}));
        job.set(&["spec", "template", "spec", "restartPolicy"], "Always");
        check_errors(
            &Job,
            &job,
            None,
            &["spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\""],
        );
    }

    #[test]
    fn the_template_is_fixed_unless_the_job_was_suspended() {
        let old = job(json!({}));
        let mut new = old.clone();
        new.set(&["spec", "template", "spec", "containers"], json!([{"name": "c", "image": "other"}]));
        assert_eq!(Job.validate(&new, Some(&old)).len(), 1);
        let mut suspended = old.clone();
        suspended.set(&["spec", "suspend"], true);
        assert_eq!(Job.validate(&new, Some(&suspended)), []);
    }

    #[test]
    fn a_finished_job_shows_how_long_it_took() {
        let mut job = job(json!({"completions": 2}));
        job.set(
            &["status"],
            json!({"succeeded": 2, "startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:02:05Z",
            "conditions": [{"type": "SuccessCriteriaMet", "status": "True"}, {"type": "Complete", "status": "True"}]}),
        );
        let cells = Job.cells(&job, Timestamp::UNIX_EPOCH);
        assert_eq!(Value::from(cells[1..4].to_vec()), json!(["Complete", "2/2", "2m5s"]));
    }

    #[test]
    fn a_cron_job_keeps_three_good_and_one_bad_job() {
        let mut object = object(
            json!({"metadata": {"name": "c"}, "spec": {"schedule": "@hourly", "jobTemplate": {"spec": {"template":
            {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}}}}),
        );
        CronJob.default(&mut object);
        assert_eq!(object.at(&["spec", "successfulJobsHistoryLimit"]), Some(&json!(3)));
        assert_eq!(object.at(&["spec", "failedJobsHistoryLimit"]), Some(&json!(1)));
        check_errors(&CronJob, &object, None, &[]);
        let cells = CronJob.cells(&object, Timestamp::UNIX_EPOCH);
        assert_eq!(Value::from(cells[..6].to_vec()), json!(["c", "@hourly", "<none>", "False", 0, "<none>"]));
    }

    #[test]
    fn a_cron_jobs_schedule_can_be_read() {
        let job = |schedule: &str, zone: &str| {
            let template = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}});
            let mut object = object(json!({"metadata": {"name": "c"},
                "spec": {"schedule": schedule, "timeZone": zone, "jobTemplate": {"spec": {"template": template}}}}));
            CronJob.default(&mut object);
            object
        };
        check_errors(&CronJob, &job("*/5 * * * *", "Europe/Berlin"), None, &[]);
        check_errors(
            &CronJob,
            &job("", "Local"),
            None,
            &[
                "spec.schedule: Required value",
                "spec.timeZone: Invalid value: \"Local\": timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
            ],
        );
        check_errors(
            &CronJob,
            &job("61 * * * *", ""),
            None,
            &["spec.schedule: Invalid value: \"61 * * * *\": end of range (61) above maximum (59): 61"],
        );
        check_errors(
            &CronJob,
            &job("TZ=UTC * * * * *", ""),
            None,
            &[
                "spec.schedule: Invalid value: \"TZ=UTC * * * * *\": cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
            ],
        );
    }
}
