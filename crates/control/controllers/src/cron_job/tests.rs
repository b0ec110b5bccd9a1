//! One case per sentence of the `CronJob`'s documentation, and one printed afternoon.

use std::fmt::Write as _;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, Job, JobCondition, JobStatus};

use super::plan::{Action, Observed, Plan, plan};
use super::{SCHEDULED_AT, build};
use crate::common::meta;
use crate::testing::metadata;

/// Returns a time on the first of January 2030.
fn at(clock: &str) -> Timestamp {
    format!("2030-01-01T{clock}Z").parse().expect("a time")
}

/// Every ten minutes, made at noon.
fn cron_job() -> CronJob {
    let mut metadata = metadata("tick");
    metadata.creation_timestamp = Some(meta::time(at("12:00:00")));
    let spec = CronJobSpec {
        schedule: "*/10 * * * *".to_owned(),
        successful_jobs_history_limit: Some(3),
        failed_jobs_history_limit: Some(1),
        ..CronJobSpec::default()
    };
    CronJob { metadata, spec, status: None }
}

fn with(change: impl FnOnce(&mut CronJobSpec)) -> CronJob {
    let mut cron_job = cron_job();
    change(&mut cron_job.spec);
    cron_job
}

/// Returns a Job that was scheduled then, ended with this condition (empty: it runs).
fn job(clock: &str, condition: &str) -> Arc<Job> {
    let scheduled = at(clock);
    let mut metadata = metadata(&format!("tick-{clock}"));
    metadata.creation_timestamp = Some(meta::time(scheduled));
    metadata.annotations = Some([(SCHEDULED_AT.to_owned(), scheduled.to_string())].into());
    let condition = JobCondition { type_: condition.to_owned(), status: "True".to_owned(), ..JobCondition::default() };
    let is_complete = condition.type_ == "Complete";
    let status = JobStatus {
        start_time: Some(meta::time(scheduled)),
        completion_time: is_complete.then(|| meta::time(meta::after_seconds(scheduled, 60))),
        conditions: (!condition.type_.is_empty()).then(|| vec![condition]),
        ..JobStatus::default()
    };
    Arc::new(Job { metadata, spec: None, status: Some(status) })
}

fn look(cron_job: &CronJob, jobs: &[Arc<Job>], now: Timestamp) -> Plan {
    plan(&Observed { cron_job, jobs, zone: Some(&TimeZone::UTC), now })
}

/// Prints a plan: notes, actions, the start, when to look again.
fn text(plan: &Plan) -> String {
    let mut words: Vec<String> = plan.notes.iter().map(|note| note.reason().to_owned()).collect();
    words.extend(plan.actions.iter().map(|action| match action {
        Action::DeleteOld(job) => format!("delete {job}"),
        Action::Replace(job) => format!("replace {job}"),
    }));
    let clock = |at: Timestamp| at.strftime("%H:%M").to_string();
    words.extend(plan.start.as_ref().map(|start| format!("start {}", clock(start.scheduled))));
    words.extend(plan.revisit_at.map(|next| format!("next {}", clock(next))));
    words.join(", ")
}

#[track_caller]
fn check(cron_job: &CronJob, jobs: &[Arc<Job>], clock: &str, expected: &str) {
    assert_eq!(text(&look(cron_job, jobs, at(clock))), expected);
}

#[test]
fn nothing_starts_before_its_time() {
    check(&cron_job(), &[], "12:09:59", "next 12:10");
}

#[test]
fn a_job_starts_at_its_time_once() {
    check(&cron_job(), &[], "12:10:00", "start 12:10, next 12:20");
    check(&cron_job(), &[job("12:10:00", "")], "12:10:01", "next 12:20");
    check(&cron_job(), &[job("12:10:00", "Complete")], "12:11:00", "next 12:20");
}

#[test]
fn of_several_missed_times_the_latest_starts() {
    check(&cron_job(), &[], "12:35:00", "start 12:30, next 12:40");
}

#[test]
fn many_missed_times_are_told_and_the_latest_starts_all_the_same() {
    let minutely = with(|spec| spec.schedule = "* * * * *".into());
    check(&minutely, &[], "13:30:00", "start 13:30, next 13:31");
    check(&minutely, &[], "13:41:00", "TooManyMissedTimes, start 13:41, next 13:42");
}

#[test]
fn a_time_older_than_the_deadline_is_lost() {
    let hasty = with(|spec| spec.starting_deadline_seconds = Some(30));
    check(&hasty, &[], "12:10:29", "start 12:10, next 12:20");
    check(&hasty, &[], "12:10:30", "next 12:20");
}

#[test]
fn a_suspended_one_starts_nothing_but_tidies_up() {
    let suspended = with(|spec| {
        spec.suspend = Some(true);
        spec.failed_jobs_history_limit = Some(0);
    });
    check(&suspended, &[job("12:10:00", "Failed")], "12:30:00", "delete tick-12:10:00");
}

#[test]
fn one_that_is_being_deleted_does_nothing() {
    let mut going = cron_job();
    going.metadata.deletion_timestamp = Some(meta::time(at("12:05:00")));
    check(&going, &[], "12:30:00", "");
}

#[test]
fn allow_runs_jobs_side_by_side_forbid_waits_and_replace_replaces() {
    let running = [job("12:10:00", "")];
    check(&cron_job(), &running, "12:20:00", "start 12:20, next 12:30");
    let forbid = with(|spec| spec.concurrency_policy = Some("Forbid".into()));
    check(&forbid, &running, "12:20:00", "JobAlreadyActive, next 12:30");
    check(&forbid, &[job("12:10:00", "Complete")], "12:21:00", "start 12:20, next 12:30");
    let replace = with(|spec| spec.concurrency_policy = Some("Replace".into()));
    check(&replace, &running, "12:20:00", "replace tick-12:10:00, start 12:20, next 12:30");
}

#[test]
fn the_history_keeps_the_newest() {
    let jobs = ["12:10:00", "12:20:00", "12:30:00", "12:40:00"].map(|clock| job(clock, "Complete"));
    check(&cron_job(), &jobs, "12:45:00", "delete tick-12:10:00, next 12:50");
    let unlimited = with(|spec| spec.successful_jobs_history_limit = None);
    check(&unlimited, &jobs, "12:45:00", "next 12:50");
    let failed = ["12:10:00", "12:20:00", "12:30:00", "12:40:00"].map(|clock| job(clock, "Failed"));
    check(
        &cron_job(),
        &failed,
        "12:45:00",
        "delete tick-12:10:00, delete tick-12:20:00, delete tick-12:30:00, next 12:50",
    );
}

#[test]
fn a_schedule_or_zone_that_nobody_understands_is_told() {
    check(&with(|spec| spec.schedule = "now".into()), &[], "12:30:00", "UnparseableSchedule");
    let cron_job = with(|spec| spec.time_zone = Some("Mars/Olympus".into()));
    let plan = plan(&Observed { cron_job: &cron_job, jobs: &[], zone: None, now: at("12:30:00") });
    assert_eq!(plan.notes[0].to_string(), "invalid timeZone: \"Mars/Olympus\": unknown time zone Mars/Olympus");
    assert_eq!(plan.start, None);
}

#[test]
fn the_status_follows_the_jobs() {
    let mut cron_job = cron_job();
    let status = look(&cron_job, &[job("12:10:00", ""), job("12:20:00", "")], at("12:21:00")).status;
    let names: Vec<_> = status.active.iter().flatten().filter_map(|job| job.name.clone()).collect();
    assert_eq!(names, ["tick-12:10:00", "tick-12:20:00"]);
    assert_eq!(
        status.last_schedule_time,
        Some(meta::time(at("12:20:00"))),
        "the Jobs tell, even if the status did not"
    );
    cron_job.status = Some(status);
    let ended = look(&cron_job, &[job("12:20:00", "Complete")], at("12:25:00"));
    assert_eq!(text(&ended), "MissingJob, SawCompletedJob, next 12:30");
    assert_eq!(ended.status.active, None);
    assert_eq!(ended.status.last_successful_time, Some(meta::time(at("12:21:00"))));
    cron_job.status = Some(ended.status.clone());
    assert_eq!(look(&cron_job, &[], at("12:26:00")).status, ended.status, "what was is remembered");
}

#[test]
fn a_job_made_by_hand_is_told_and_counts_for_nothing() {
    let mut by_hand = Job::clone(&job("12:05:00", ""));
    by_hand.metadata.annotations = None;
    let forbid = with(|spec| spec.concurrency_policy = Some("Forbid".into()));
    check(&forbid, &[Arc::new(by_hand)], "12:10:00", "UnexpectedJob, start 12:10, next 12:20");
}

#[test]
fn the_job_is_named_after_its_time_and_says_it_in_the_zone() {
    let zone = TimeZone::posix("CET-1").expect("a zone");
    let cron_job = cron_job();
    let plan = plan(&Observed { cron_job: &cron_job, jobs: &[], zone: Some(&zone), now: at("12:10:00") });
    let job = build(&cron_job, &plan.start.expect("due"));
    assert_eq!(job.metadata.name.as_deref(), Some("tick-31558330"));
    assert_eq!(meta::annotation(&job.metadata, SCHEDULED_AT), Some("2030-01-01T13:10:00+01:00"));
    assert_eq!(meta::controller_of(&job.metadata).map(|owner| owner.kind.as_str()), Some("CronJob"));
}

#[test]
fn an_afternoon() {
    let forbid = with(|spec| spec.concurrency_policy = Some("Forbid".into()));
    let mut jobs: Vec<Arc<Job>> = Vec::new();
    let mut log = String::new();
    for (now, ends) in
        [("12:10:00", ""), ("12:15:00", "12:10:00"), ("12:20:00", ""), ("12:30:00", ""), ("12:33:00", "12:20:00")]
    {
        if !ends.is_empty() {
            let name = format!("tick-{ends}");
            jobs.retain(|job| job.metadata.name.as_deref() != Some(&name));
            jobs.push(job(ends, "Complete"));
        }
        let plan = look(&forbid, &jobs, at(now));
        let _ = writeln!(log, "{now} {}", text(&plan));
        if let Some(start) = plan.start {
            jobs.push(job(&start.scheduled.strftime("%H:%M:%S").to_string(), ""));
        }
    }
    let expected = "12:10:00 start 12:10, next 12:20
12:15:00 next 12:20
12:20:00 start 12:20, next 12:30
12:30:00 JobAlreadyActive, next 12:40
12:33:00 start 12:30, next 12:40
";
    assert_eq!(log, expected);
}
