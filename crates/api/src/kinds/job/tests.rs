//! What a job gets, what it must be, and what of it may change.

#![expect(clippy::needless_pass_by_value, reason = "literals read better without a reference")]

use super::*;
use crate::kinds::testing::{check_errors, object};

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
fn pods_of_a_suspended_job_may_be_placed_and_sized_but_stay_the_same_program() {
    let suspended = job(json!({"suspend": true}));
    let running = job(json!({}));
    let changed = |old: &Object, path: &str, value: Value| {
        let mut new = old.clone();
        let path: Vec<&str> = ["spec", "template"].into_iter().chain(path.split('.')).collect();
        new.set(&path, value);
        let fields: Vec<String> = Job.validate(&new, Some(old)).into_iter().map(|error| error.field).collect();
        fields
    };
    let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
        {"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "Exists"}]}]}}});
    for (path, value) in [
        ("spec.nodeSelector", json!({"zone": "a"})),
        ("spec.affinity", affinity.clone()),
        ("spec.tolerations", json!([{"operator": "Exists"}])),
        ("metadata.annotations", json!({"queue": "a"})),
    ] {
        assert_eq!(changed(&suspended, path, value.clone()), [""; 0], "{path}");
        assert_eq!(changed(&running, path, value), ["spec.template"], "{path}");
    }
    let image = json!([{"name": "c", "image": "other", "imagePullPolicy": "Always"}]);
    assert_eq!(changed(&suspended, "spec.containers", image), ["spec.template"]);
    let mut sized = suspended.at(&["spec", "template", "spec", "containers"]).cloned().unwrap();
    sized[0]["resources"] = json!({"requests": {"cpu": "2"}});
    assert_eq!(changed(&suspended, "spec.containers", sized), [""; 0]);
    // Away with it again: nothing else is left in the affinity.
    let mut placed = suspended.clone();
    placed.set(&["spec", "template", "spec", "affinity"], affinity);
    check_errors(&Job, &suspended, Some(&placed), &[]);
    let mut starting = suspended.clone();
    starting.set(&["status", "startTime"], "2026-01-01T00:00:00Z");
    assert_eq!(changed(&starting, "spec.nodeSelector", json!({"zone": "a"})), ["spec.template"]);
    starting.set(&["status", "conditions"], json!([{"type": "Suspended", "status": "True"}]));
    assert_eq!(changed(&starting, "spec.nodeSelector", json!({"zone": "a"})), [""; 0]);
}

#[test]
fn policies_completions_and_the_selector_stay_but_an_indexed_job_may_grow() {
    let old = job(json!({"completionMode": "Indexed", "completions": 2, "parallelism": 2}));
    let mut grown = old.clone();
    grown.set(&["spec", "completions"], 3);
    check_errors(
        &Job,
        &grown,
        Some(&old),
        &["spec.completions: Invalid value: 3: can only be modified in tandem with spec.parallelism"],
    );
    grown.set(&["spec", "parallelism"], 3);
    grown.set(&["spec", "backoffLimitPerIndex"], 1);
    check_errors(&Job, &grown, Some(&old), &["spec.backoffLimitPerIndex: Invalid value: 1: field is immutable"]);
    let (old, mut new) = (job(json!({"completions": 2})), job(json!({"completions": 3})));
    new.set(&["spec", "managedBy"], "acme.io/jobs");
    check_errors(
        &Job,
        &new,
        Some(&old),
        &[
            "spec.completions: Invalid value: 3: field is immutable",
            "spec.managedBy: Invalid value: \"acme.io/jobs\": field is immutable",
        ],
    );
}

#[test]
fn a_selector_of_ones_own_needs_to_be_asked_for() {
    let mut wrong = job(json!({"selector": {"matchLabels": {"app": "j"}}}));
    wrong.set(&["spec", "template", "metadata", "labels", "job-name"], "other");
    let told = Job.validate(&wrong, None);
    let fields: Vec<&str> = told.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(fields, ["spec.template.metadata.labels[job-name]", "spec.selector"]);
    assert!(told[0].message.ends_with("must be 'j'"), "{told:?}");
    assert!(told[1].message.ends_with("`selector` not auto-generated"), "{told:?}");
    let own = job(json!({"manualSelector": true, "selector": {"matchLabels": {"app": "j"}}}));
    check_errors(&Job, &own, None, &[]);
    let wrong = job(json!({"manualSelector": true, "selector": {"matchLabels": {"app": "other"}}}));
    assert!(Job.validate(&wrong, None)[0].message.ends_with("`selector` does not match template `labels`"));
}

#[test]
fn limits_per_index_are_for_indexed_jobs() {
    let check = |spec: Value, expected: &[&str]| check_errors(&Job, &job(spec), None, expected);
    check(
        json!({"backoffLimitPerIndex": 1, "maxFailedIndexes": 1, "successPolicy": {"rules": []}, "managedBy": "me"}),
        &[
            "spec.managedBy: Invalid value: \"me\": must be a domain-prefixed path (such as \"acme.io/foo\")",
            "spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode",
            "spec.maxFailedIndexes: Invalid value: 1: requires indexed completion mode",
            "spec.successPolicy: Invalid value: {\"rules\":[]}: requires indexed completion mode",
        ],
    );
    check(
        json!({"completionMode": "Indexed", "parallelism": 100_001, "maxFailedIndexes": -1}),
        &[
            "spec.maxFailedIndexes: Invalid value: -1: must be greater than or equal to 0",
            "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified",
            "spec.completions: Required value: when completion mode is Indexed",
            "spec.parallelism: Invalid value: 100001: must be less than or equal to 100000 when completion mode is Indexed",
        ],
    );
    check(
        json!({"completionMode": "Indexed", "completions": 100_001, "parallelism": 10_001, "backoffLimitPerIndex": 1}),
        &[
            "spec.parallelism: Invalid value: 10001: must be less than or equal to 10000 when completions are above 100000 \
             and used with backoff limit per index",
            "spec.maxFailedIndexes: Required value: must be specified when completions is above 100000",
        ],
    );
    let mut long = job(json!({"completionMode": "Indexed", "completions": 11}));
    long.set(&["metadata", "name"], "j".repeat(61));
    let told: Vec<String> = Job.validate(&long, None).iter().map(ToString::to_string).collect();
    let wanted = format!("will not able to create pod with invalid DNS label: {}-10", "j".repeat(61));
    assert!(told.iter().any(|told| told.ends_with(&wanted)), "{told:?}");
}

#[test]
fn a_failure_policy_is_about_codes_or_conditions() {
    let policy = |rules: Value| json!({"podFailurePolicy": {"rules": rules}});
    let check = |rules: Value, expected: &[&str]| check_errors(&Job, &job(policy(rules)), None, expected);
    check(
        json!([
            {"action": "FailJob", "onExitCodes": {"containerName": "c", "operator": "In", "values": [1, 2]}},
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
        ]),
        &[],
    );
    check(
        json!([
            {},
            {"action": "FailIndex", "onExitCodes": {"containerName": "x", "operator": "In", "values": [3, 0, 3]}},
            {"action": "Wait", "onExitCodes": {"operator": "Near"}, "onPodConditions": [{"type": "", "status": "Maybe"}]},
        ]),
        &[
            "spec.podFailurePolicy.rules[0].action: Required value: valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]",
            "spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required",
            "spec.podFailurePolicy.rules[1].action: Invalid value: \"FailIndex\": requires the backoffLimitPerIndex to be set",
            "spec.podFailurePolicy.rules[1].onExitCodes.containerName: Invalid value: \"x\": must be one of the container or \
             initContainer names in the pod template",
            "spec.podFailurePolicy.rules[1].onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In operator",
            "spec.podFailurePolicy.rules[1].onExitCodes.values[2]: Duplicate value: 3",
            "spec.podFailurePolicy.rules[1].onExitCodes.values: Invalid value: [3,0,3]: must be ordered",
            "spec.podFailurePolicy.rules[2].action: Unsupported value: \"Wait\": supported values: \"Count\", \"FailIndex\", \
             \"FailJob\", \"Ignore\"",
            "spec.podFailurePolicy.rules[2].onExitCodes.operator: Unsupported value: \"Near\": supported values: \"In\", \"NotIn\"",
            "spec.podFailurePolicy.rules[2].onExitCodes.values: Invalid value: null: at least one value is required",
            "spec.podFailurePolicy.rules[2].onPodConditions[0].type: Invalid value: \"\": name part must be non-empty",
            "spec.podFailurePolicy.rules[2].onPodConditions[0].type: Invalid value: \"\": name part must consist of alphanumeric \
             characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or \
             '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
            "spec.podFailurePolicy.rules[2].onPodConditions[0].status: Unsupported value: \"Maybe\": supported values: \"False\", \
             \"True\", \"Unknown\"",
            "spec.podFailurePolicy.rules[2]: Invalid value: specifying both OnExitCodes and OnPodConditions is not supported",
        ],
    );
}

#[test]
fn whoever_counts_failures_replaces_no_pod_before_it_failed() {
    let mut counting = job(json!({"podReplacementPolicy": "TerminatingOrFailed",
        "podFailurePolicy": {"rules": [{"action": "Count", "onPodConditions": [{"type": "DisruptionTarget"}]}]}}));
    counting.set(&["spec", "template", "spec", "restartPolicy"], "OnFailure");
    assert_eq!(
        counting.at(&["spec", "podFailurePolicy", "rules"]),
        Some(&json!([{"action": "Count", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]))
    );
    check_errors(
        &Job,
        &counting,
        None,
        &[
            "spec.podReplacementPolicy: Unsupported value: \"TerminatingOrFailed\": supported values: \"Failed\"",
            "spec.template.spec.restartPolicy: Invalid value: \"OnFailure\": only \"Never\" is supported when podFailurePolicy is specified",
        ],
    );
}

#[test]
fn a_success_policy_names_indexes_that_there_are() {
    let policy =
        |rules: Value| json!({"completionMode": "Indexed", "completions": 5, "successPolicy": {"rules": rules}});
    let check = |rules: Value, expected: &[&str]| check_errors(&Job, &job(policy(rules)), None, expected);
    check(json!([{"succeededIndexes": "0,2-4", "succeededCount": 4}]), &[]);
    check(
        json!([]),
        &[
            "spec.successPolicy.rules: Required value: at least one rules must be specified when the successPolicy is specified",
        ],
    );
    let wrong = |indexes: &str| {
        let told = Job.validate(&job(policy(json!([{"succeededIndexes": indexes}]))), None);
        told[0].message.split("error parsing succeededIndexes: ").nth(1).unwrap_or_default().to_owned()
    };
    assert_eq!(wrong("x"), "cannot convert string to integer for index: \"x\"");
    assert_eq!(wrong("5"), "too large index: \"5\"");
    assert_eq!(wrong("3-2"), "non-increasing order, previous: 3, current: 2");
    assert_eq!(wrong("1,1"), "non-increasing order, previous: 1, current: 1");
    assert!(wrong("1-2-3").starts_with("the fragment \"1-2-3\" violates the requirement"));
    check(
        json!([{}, {"succeededCount": 6}, {"succeededIndexes": "1-2", "succeededCount": 3}]),
        &[
            "spec.successPolicy.rules[0]: Required value: at least one of succeededCount or succeededIndexes must be specified",
            "spec.successPolicy.rules[1].succeededCount: Invalid value: 6: must be less than or equal to 5 (the number of \
             specified completions)",
            "spec.successPolicy.rules[2].succeededCount: Invalid value: 3: must be less than or equal to 2 (the number of indexes \
             in the specified succeededIndexes field)",
        ],
    );
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
