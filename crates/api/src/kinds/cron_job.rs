//! Cron jobs: jobs that are made again and again (`pkg/apis/batch`).

use jiff::Timestamp;
use serde_json::Value;

use super::doc::{at, child_made, fill, flag, list, text};
use super::job::{self, validate_spec};
use super::print::{self, Boolean, Col, Columns, Number, Text};
use super::{rules, workload};
use crate::cron::{self, Schedule};
use crate::object::Object;
use crate::resource::{Column, Manners};
use crate::status::FieldError;

/// How long a name may be: a job's name has 63 characters, of which 11 are the time.
const NAME_MAX: usize = 52;
/// How long a part of the name of a time zone may be.
const ZONE_PART_MAX: usize = 14;

/// The manners of cron jobs.
pub(super) struct CronJob;

const COLUMNS: Columns = &[
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
            job::default_failure_policy(job);
            workload::default_template(job);
        }
    }

    fn prepare_create(&self, object: &mut Object) {
        workload::clear_status(object);
    }

    fn validate(&self, object: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let spec = rules::spec(object);
        let mut errors = validate_schedule(spec, old.map(rules::spec));
        let (policy, policies) = (text(spec, "concurrencyPolicy"), ["Allow", "Forbid", "Replace"]);
        if !policies.contains(&policy) {
            errors.push(FieldError::not_supported("spec.concurrencyPolicy", policy, &policies));
        }
        errors.extend(validate_template(at(spec, "jobTemplate.spec").unwrap_or(&Value::Null)));
        let limits = ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"];
        errors.extend(rules::check_not_negative(spec, "spec", &limits));
        if old.is_none() && object.name().len() > NAME_MAX {
            let detail = format!("must be no more than {NAME_MAX} characters");
            errors.push(FieldError::invalid("metadata.name", object.name(), &detail));
        }
        errors
    }

    fn columns(&self) -> Vec<Column> {
        print::columns(COLUMNS)
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

/// When a job is made, and in which zone (`validateScheduleFormat`, `validateTimeZone`). The zone that a cron job had before
/// is left alone: their names come and go.
fn validate_schedule(spec: &Value, old: Option<&Value>) -> Vec<FieldError> {
    const PATH: &str = "spec.schedule";
    let mut errors = Vec::new();
    let schedule = text(spec, "schedule");
    if schedule.is_empty() {
        errors.push(FieldError::required(PATH, ""));
    } else if schedule.contains("TZ") {
        let why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
        errors.push(FieldError::invalid(PATH, schedule, why));
    } else if let Err(error) = schedule.parse::<Schedule>() {
        errors.push(FieldError::invalid(PATH, schedule, &error.to_string()));
    }
    let before = old.and_then(|old| at(old, "timeZone"));
    if let Some(zone) = at(spec, "timeZone").filter(|zone| before != Some(zone)).and_then(Value::as_str) {
        errors.extend(validate_zone(zone));
    }
    errors
}

fn validate_zone(zone: &str) -> Vec<FieldError> {
    const PATH: &str = "spec.timeZone";
    if zone.is_empty() {
        return vec![FieldError::invalid(PATH, zone, "timeZone must be nil or non-empty string")];
    }
    let unknown = || FieldError::invalid(PATH, zone, &format!("unknown time zone {zone}"));
    let is_named = |part: &str| {
        !matches!(part, "" | "." | "..")
            && part.len() <= ZONE_PART_MAX
            && !part.starts_with('-')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_+".contains(&byte))
    };
    if !zone.split('/').all(is_named) {
        return vec![unknown()];
    }
    if zone.eq_ignore_ascii_case("local") {
        let why = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        return vec![FieldError::invalid(PATH, zone, why)];
    }
    if cron::zone(zone).is_none() { vec![unknown()] } else { Vec::new() }
}

/// The selector of the jobs is made when they are.
fn validate_template(spec: &Value) -> Vec<FieldError> {
    const PATH: &str = "spec.jobTemplate.spec";
    let mut errors = validate_spec(spec, PATH);
    if let Some(selector) = at(spec, "selector") {
        errors.push(FieldError::invalid(
            format!("{PATH}.selector"),
            selector.clone(),
            "`selector` will be auto-generated",
        ));
    }
    if flag(spec, "manualSelector") {
        errors.push(FieldError::not_supported(format!("{PATH}.manualSelector"), true, &["nil", "false"]));
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::testing::{check_errors, object};

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

    #[expect(clippy::needless_pass_by_value, reason = "literals read better without a reference")]
    fn cron_job(spec: Value) -> Object {
        let template = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}});
        let mut object = object(json!({"metadata": {"name": "c"},
            "spec": {"schedule": "@hourly", "jobTemplate": {"spec": {"template": template}}}}));
        for (field, value) in spec.as_object().unwrap() {
            object.set(&["spec", field], value.clone());
        }
        CronJob.default(&mut object);
        object
    }

    #[test]
    fn a_cron_jobs_schedule_can_be_read() {
        let check = |spec: Value, expected: &[&str]| check_errors(&CronJob, &cron_job(spec), None, expected);
        check(json!({"schedule": "*/5 * * * *"}), &[]);
        check(json!({"schedule": ""}), &["spec.schedule: Required value"]);
        check(
            json!({"schedule": "61 * * * *"}),
            &["spec.schedule: Invalid value: \"61 * * * *\": end of range (61) above maximum (59): 61"],
        );
        check(
            json!({"schedule": "TZ=UTC * * * * *"}),
            &[
                "spec.schedule: Invalid value: \"TZ=UTC * * * * *\": cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
            ],
        );
    }

    #[test]
    fn a_zone_is_one_of_the_world() {
        let check = |zone: &str, expected: &[&str]| {
            check_errors(&CronJob, &cron_job(json!({"timeZone": zone})), None, expected);
        };
        for known in ["Europe/Berlin", "UTC", "Etc/GMT+1", "America/Argentina/Buenos_Aires"] {
            check(known, &[]);
        }
        check("Mars/Olympus", &["spec.timeZone: Invalid value: \"Mars/Olympus\": unknown time zone Mars/Olympus"]);
        check("../etc", &["spec.timeZone: Invalid value: \"../etc\": unknown time zone ../etc"]);
        check("", &["spec.timeZone: Invalid value: \"\": timeZone must be nil or non-empty string"]);
        check(
            "Local",
            &[
                "spec.timeZone: Invalid value: \"Local\": timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
            ],
        );
    }

    #[test]
    fn a_zone_that_was_there_before_stays() {
        let old = cron_job(json!({"timeZone": "Mars/Olympus"}));
        let mut new = old.clone();
        new.set(&["spec", "suspend"], true);
        check_errors(&CronJob, &new, Some(&old), &[]);
        new.set(&["spec", "timeZone"], "Mars/Tharsis");
        assert_eq!(CronJob.validate(&new, Some(&old)).len(), 1);
    }

    #[test]
    fn the_jobs_of_a_cron_job_find_their_pods_by_themselves() {
        let mut job = cron_job(json!({"concurrencyPolicy": "Sometimes", "failedJobsHistoryLimit": -1}));
        job.set(&["spec", "jobTemplate", "spec", "selector"], json!({"matchLabels": {"a": "b"}}));
        job.set(&["spec", "jobTemplate", "spec", "manualSelector"], true);
        job.set(&["spec", "jobTemplate", "spec", "template", "metadata"], json!({"labels": {"a": "b"}}));
        check_errors(
            &CronJob,
            &job,
            None,
            &[
                "spec.concurrencyPolicy: Unsupported value: \"Sometimes\": supported values: \"Allow\", \"Forbid\", \"Replace\"",
                "spec.jobTemplate.spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"b\"}}: `selector` will be auto-generated",
                "spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: \"nil\", \"false\"",
                "spec.failedJobsHistoryLimit: Invalid value: -1: must be greater than or equal to 0",
            ],
        );
    }

    #[test]
    fn a_name_leaves_room_for_the_time_of_its_jobs() {
        let mut long = cron_job(json!({}));
        long.set(&["metadata", "name"], "c".repeat(53));
        let expected =
            format!("metadata.name: Invalid value: {:?}: must be no more than 52 characters", "c".repeat(53));
        check_errors(&CronJob, &long, None, &[&expected]);
        check_errors(&CronJob, &long, Some(&long), &[]);
    }
}
