//! How long admission takes and what it refuses, under Kubernetes' names (`apiserver/pkg/admission/metrics/metrics.go`,
//! `plugin/policy/validating/metrics`).

use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::Instant;
use wkube_api::Status;
use wkube_base::metrics::{Counter, Family, Histogram, Kind, Text};

use super::{Attributes, Operation};

/// `latencyBuckets` of plugins and steps upstream, in seconds.
const DURATIONS: &[f64] = &[0.005, 0.025, 0.1, 0.5, 1.0, 2.5];
/// The same of webhooks.
const WEBHOOK_DURATIONS: &[f64] = &[0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0];
/// Webhooks may answer with any code; larger ones are counted together.
const CODE_MAX: u16 = 600;

/// A plugin, under the name that Kubernetes gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plugin {
    NamespaceLifecycle,
    LimitRanger,
    ServiceAccount,
    NodeRestriction,
    TaintNodesByCondition,
    PodSecurity,
    Priority,
    DefaultTolerationSeconds,
    DefaultStorageClass,
    StorageObjectInUseProtection,
    PersistentVolumeClaimResize,
    RuntimeClass,
    CertificateApproval,
    DefaultIngressClass,
    PodTopologyLabels,
    MutatingAdmissionPolicy,
    MutatingAdmissionWebhook,
    ValidatingAdmissionPolicy,
    ValidatingAdmissionWebhook,
    ResourceQuota,
}

/// The last of them.
const PLUGINS: usize = Plugin::ResourceQuota as usize + 1;
const OPERATIONS: [&str; 4] = ["CREATE", "UPDATE", "DELETE", "CONNECT"];

/// Which half of admission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It may change the object.
    Admit,
    /// It may not.
    Validate,
}

const STEPS: [&str; 2] = ["admit", "validate"];
/// Combinations of a step, an operation and whether the request was refused.
const CASES: usize = STEPS.len() * OPERATIONS.len() * 2;

/// A histogram for each case of each plugin, made when it is first needed. Every write passes a dozen plugins: there is no
/// time to look for labels.
static OF_PLUGINS: [[OnceLock<Histogram>; CASES]; PLUGINS] = [const { [const { OnceLock::new() }; CASES] }; PLUGINS];
static OF_STEPS: [OnceLock<Histogram>; CASES] = [const { OnceLock::new() }; CASES];

static WEBHOOK_DURATION: Family<Histogram> = Family::new(
    "apiserver_admission_webhook_admission_duration_seconds",
    "Admission webhook latency histogram in seconds, identified by name and broken out for each operation and API resource and type (validate or admit).",
    &["name", "type", "operation", "rejected"],
    || Histogram::new(WEBHOOK_DURATIONS),
);
static WEBHOOK_REQUESTS: Family<Counter> = Family::counters(
    "apiserver_admission_webhook_request_total",
    "Admission webhook request total, identified by name and broken out for each admission type (validating or admit) and operation. Additional labels specify whether the request was rejected or not and an HTTP status code. Codes greater than 600 are truncated to 600, to keep the metrics cardinality bounded.",
    &["name", "type", "operation", "code", "rejected"],
);
static WEBHOOK_REJECTIONS: Family<Counter> = Family::counters(
    "apiserver_admission_webhook_rejection_count",
    "Admission webhook rejection count, identified by name and broken out for each admission type (validating or admit) and operation. Additional labels specify an error type (calling_webhook_error or apiserver_internal_error if an error occurred; no_error otherwise) and optionally a non-zero rejection code if the webhook rejects the request with an HTTP status code (honored by the apiserver when the code is greater or equal to 400). Codes greater than 600 are truncated to 600, to keep the metrics cardinality bounded.",
    &["name", "type", "operation", "error_type", "rejection_code"],
);
static WEBHOOK_FAIL_OPEN: Family<Counter> = Family::counters(
    "apiserver_admission_webhook_fail_open_count",
    "Admission webhook fail open count, identified by name and broken out for each admission type (validating or admit).",
    &["name", "type"],
);
static POLICY_CHECKS: Family<Counter> = Family::counters(
    "apiserver_validating_admission_policy_check_total",
    "Validation admission policy check total, labeled by policy and further identified by binding and enforcement action taken.",
    &["policy", "policy_binding", "error_type", "enforcement_action"],
);

/// Measures one plugin after the other, and all of them together when it is dropped.
pub(super) struct Laps {
    step: Step,
    operation: Operation,
    began: Instant,
    last: Instant,
    refused: bool,
}

impl Laps {
    /// Begins with the first plugin.
    pub(super) fn new(attributes: &Attributes<'_>, step: Step) -> Self {
        let now = Instant::now();
        Self { step, operation: attributes.operation, began: now, last: now, refused: false }
    }

    /// Ends the lap of a plugin, with what it says.
    pub(super) fn end<T>(&mut self, plugin: Plugin, said: Result<T, Status>) -> Result<T, Status> {
        let now = Instant::now();
        self.refused = said.is_err();
        let place = place(self.step, self.operation, self.refused);
        observe(&OF_PLUGINS[plugin as usize][place], now - self.last);
        self.last = now;
        said
    }
}

impl Drop for Laps {
    fn drop(&mut self) {
        observe(&OF_STEPS[place(self.step, self.operation, self.refused)], self.began.elapsed());
    }
}

fn observe(histogram: &OnceLock<Histogram>, took: Duration) {
    histogram.get_or_init(|| Histogram::new(DURATIONS)).observe(took.as_secs_f64());
}

/// Returns where a case is counted.
fn place(step: Step, operation: Operation, refused: bool) -> usize {
    let operation = match operation {
        Operation::Create => 0,
        Operation::Update => 1,
        Operation::Delete => 2,
        Operation::Connect => 3,
    };
    (step as usize * OPERATIONS.len() + operation) * 2 + usize::from(refused)
}

/// Returns the labels of a place.
fn labels(place: usize) -> [(&'static str, &'static str); 3] {
    let (case, refused) = (place / 2, place % 2);
    [
        ("operation", OPERATIONS[case % OPERATIONS.len()]),
        ("rejected", ["false", "true"][refused]),
        ("type", STEPS[case / OPERATIONS.len()]),
    ]
}

/// How a webhook's call went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Called {
    /// It lets the request go on.
    Allowed,
    /// It refuses, with this code.
    Refused(u16),
    /// It could not be asked, and the request goes on.
    FailedOpen,
    /// It could not be asked, and the request does not go on.
    FailedClosed,
}

/// Counts the call of a webhook. `kind` is `admit` or `validating`.
pub(super) fn webhook(name: &str, kind: &str, operation: Operation, called: Called, took: Duration) {
    let operation = operation.to_string();
    let (code, rejected) = match called {
        Called::Allowed => (200, "false"),
        Called::Refused(code) => (code.min(CODE_MAX), "true"),
        Called::FailedOpen => (500, "false"),
        Called::FailedClosed => (500, "true"),
    };
    let code = code.to_string();
    WEBHOOK_DURATION.with(&[name, kind, &operation, rejected]).observe(took.as_secs_f64());
    WEBHOOK_REQUESTS.with(&[name, kind, &operation, &code, rejected]).add(1);
    match called {
        Called::Allowed => {}
        Called::Refused(_) => WEBHOOK_REJECTIONS.with(&[name, kind, &operation, "no_error", &code]).add(1),
        Called::FailedOpen => WEBHOOK_FAIL_OPEN.with(&[name, kind]).add(1),
        Called::FailedClosed => {
            WEBHOOK_REJECTIONS.with(&[name, kind, &operation, "calling_webhook_error", &code]).add(1);
        }
    }
}

/// Counts what a policy's decision led to: `allow`, `deny`, `audit` or `warn`. `failure` is why it could not decide.
pub(super) fn policy(policy: &str, binding: &str, failure: Option<&str>, action: &str) {
    let error = match failure {
        None => "no_error",
        Some(why) if why.starts_with("compilation") => "compile_error",
        Some(why) if why.contains("running out of cost budget") => "out_of_budget",
        Some(_) => "invalid_error",
    };
    POLICY_CHECKS.with(&[policy, binding, error, action]).add(1);
}

/// Appends all of them.
pub(crate) fn write(text: &mut Text) {
    let seen = |cases: &'static [OnceLock<Histogram>; CASES]| {
        cases.iter().enumerate().filter_map(|(place, histogram)| Some((labels(place), histogram.get()?)))
    };
    let name = "apiserver_admission_step_admission_duration_seconds";
    text.family(name, "Admission sub-step latency histogram in seconds, broken out for each operation and API resource and step type (validate or admit).", Kind::Histogram);
    for (labels, histogram) in seen(&OF_STEPS) {
        text.histogram(name, &labels, histogram);
    }
    let name = "apiserver_admission_controller_admission_duration_seconds";
    text.family(name, "Admission controller latency histogram in seconds, identified by name and broken out for each operation and API resource and type (validate or admit).", Kind::Histogram);
    for (plugin, cases) in OF_PLUGINS.iter().enumerate() {
        for (labels, histogram) in seen(cases) {
            let [operation, rejected, kind] = labels;
            text.histogram(name, &[("name", NAMES[plugin]), operation, rejected, kind], histogram);
        }
    }
    WEBHOOK_DURATION.write(text);
    WEBHOOK_REQUESTS.write(text);
    WEBHOOK_REJECTIONS.write(text);
    WEBHOOK_FAIL_OPEN.write(text);
    POLICY_CHECKS.write(text);
}

/// The plugins' names, in their order.
const NAMES: [&str; PLUGINS] = [
    "NamespaceLifecycle",
    "LimitRanger",
    "ServiceAccount",
    "NodeRestriction",
    "TaintNodesByCondition",
    "PodSecurity",
    "Priority",
    "DefaultTolerationSeconds",
    "DefaultStorageClass",
    "StorageObjectInUseProtection",
    "PersistentVolumeClaimResize",
    "RuntimeClass",
    "CertificateApproval",
    "DefaultIngressClass",
    "PodTopologyLabels",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionWebhook",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionWebhook",
    "ResourceQuota",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_has_a_place_and_labels_of_its_own() {
        let mut seen = std::collections::BTreeSet::new();
        for step in [Step::Admit, Step::Validate] {
            for operation in [Operation::Create, Operation::Update, Operation::Delete, Operation::Connect] {
                for refused in [false, true] {
                    let place = place(step, operation, refused);
                    let expected = [
                        ("operation", operation.to_string()),
                        ("rejected", refused.to_string()),
                        ("type", format!("{step:?}").to_lowercase()),
                    ];
                    assert_eq!(labels(place).map(|(label, value)| (label, value.to_owned())), expected);
                    seen.insert(place);
                }
            }
        }
        assert_eq!((seen.len(), seen.last()), (CASES, Some(&(CASES - 1))));
    }

    #[test]
    fn plugins_are_listed_in_their_order() {
        for plugin in
            [Plugin::NamespaceLifecycle, Plugin::RuntimeClass, Plugin::PodTopologyLabels, Plugin::ResourceQuota]
        {
            assert_eq!(NAMES[plugin as usize], format!("{plugin:?}"));
        }
    }

    #[test]
    fn a_webhook_that_fails_is_told_apart_from_one_that_refuses() {
        let took = Duration::from_millis(7);
        for called in [Called::Allowed, Called::Refused(999), Called::FailedOpen, Called::FailedClosed] {
            webhook("metrics.test", "admit", Operation::Create, called, took);
        }
        let mut text = Text::default();
        write(&mut text);
        let text = text.into_string();
        for line in [
            r#"webhook_request_total{name="metrics.test",type="admit",operation="CREATE",code="600",rejected="true"} 1"#,
            r#"webhook_request_total{name="metrics.test",type="admit",operation="CREATE",code="500",rejected="false"} 1"#,
            r#"webhook_rejection_count{name="metrics.test",type="admit",operation="CREATE",error_type="no_error",rejection_code="600"} 1"#,
            r#"webhook_rejection_count{name="metrics.test",type="admit",operation="CREATE",error_type="calling_webhook_error",rejection_code="500"} 1"#,
            r#"webhook_fail_open_count{name="metrics.test",type="admit"} 1"#,
            r#"webhook_admission_duration_seconds_count{name="metrics.test",type="admit",operation="CREATE",rejected="false"} 2"#,
        ] {
            assert!(text.contains(line), "{line} is missing in {text}");
        }
    }
}
