//! One webhook of a configuration, read. Pure.

use std::time::Duration;

use serde_json::Value;
use wkube_api::Object;
use wkube_api::cel::admission::{self, Conditions, Sight};

use super::review::Version;
use crate::admission::rules::Criteria;
use crate::webhook::Target;

/// How long a webhook may take; `timeoutSeconds` is defaulted and validated to be within these.
const TIMEOUT: Duration = Duration::from_secs(10);
const TIMEOUT_MAX: Duration = Duration::from_secs(30);

/// One webhook.
#[derive(Debug)]
pub(super) struct Hook {
    /// Its name, such as `pods.example.org`.
    pub(super) name: String,
    /// The configuration that it is in.
    pub(super) configuration: String,
    /// Tells it from all others: names need not be unique over configurations.
    pub(super) id: String,
    /// What it wants to see.
    pub(super) criteria: Criteria,
    /// The expressions that must hold, or why they are none; `None` if there are none.
    pub(super) conditions: Option<Result<Conditions, String>>,
    /// Where it is, or why nobody knows.
    pub(super) target: Result<Target, String>,
    /// The reviews that it reads, or `None` if it reads none that we write.
    pub(super) version: Option<Version>,
    /// How long it may take.
    pub(super) timeout: Duration,
    /// Whether a request goes on if it cannot be asked (`failurePolicy: Ignore`).
    pub(super) fails_open: bool,
    /// Whether it may be asked about what will not happen.
    pub(super) allows_dry_run: bool,
    /// Whether it wants to see what others changed after it.
    pub(super) wants_reinvocation: bool,
}

impl Hook {
    /// Reads all webhooks of a configuration.
    pub(super) fn all(configuration: &Object) -> Vec<Self> {
        let hooks = configuration.at(&["webhooks"]).and_then(Value::as_array).into_iter().flatten();
        hooks.enumerate().map(|(place, hook)| Self::parse(configuration.name(), place, hook)).collect()
    }

    fn parse(configuration: &str, place: usize, hook: &Value) -> Self {
        let name = hook["name"].as_str().unwrap_or_default();
        let versions = hook["admissionReviewVersions"].as_array().into_iter().flatten();
        let seconds = hook["timeoutSeconds"].as_u64().map_or(TIMEOUT, Duration::from_secs);
        Self {
            name: name.to_owned(),
            configuration: configuration.to_owned(),
            id: format!("{configuration}/{name}/{place}"),
            criteria: Criteria::of_webhook(hook),
            conditions: hook["matchConditions"].as_array().filter(|list| !list.is_empty()).map(|list| compile(list)),
            target: Target::parse(&hook["clientConfig"]),
            version: versions.filter_map(Value::as_str).find_map(Version::parse),
            timeout: seconds.clamp(Duration::from_secs(1), TIMEOUT_MAX),
            fails_open: hook["failurePolicy"] == "Ignore",
            allows_dry_run: matches!(hook["sideEffects"].as_str(), Some("None" | "NoneOnDryRun")),
            wants_reinvocation: hook["reinvocationPolicy"] == "IfNeeded",
        }
    }
}

fn compile(conditions: &[Value]) -> Result<Conditions, String> {
    let compiled = Conditions::compile(conditions, &admission::env(Sight::Webhook), "matchConditions");
    compiled.map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_webhook_is_read_with_its_place_in_the_configuration() {
        let configuration: Object = serde_json::from_value(json!({"metadata": {"name": "c"}, "webhooks": [
            {"name": "a.b.c", "admissionReviewVersions": ["v2", "v1beta1", "v1"], "sideEffects": "NoneOnDryRun",
             "timeoutSeconds": 5, "reinvocationPolicy": "IfNeeded"},
            {"name": "a.b.c", "admissionReviewVersions": ["v1"], "sideEffects": "Some", "failurePolicy": "Ignore"},
            {"name": "d.e.f", "admissionReviewVersions": ["v2"], "timeoutSeconds": 300},
        ]}))
        .expect("an object");
        let hooks = Hook::all(&configuration);
        let seen: Vec<_> = hooks
            .iter()
            .map(|hook| {
                let Hook { id, version, timeout, fails_open, allows_dry_run, wants_reinvocation, .. } = hook;
                format!("{id} {version:?} {timeout:?} {fails_open} {allows_dry_run} {wants_reinvocation}")
            })
            .collect();
        assert_eq!(
            seen,
            [
                "c/a.b.c/0 Some(V1beta1) 5s false true true",
                "c/a.b.c/1 Some(V1) 10s true false false",
                "c/d.e.f/2 None 30s false false false",
            ]
        );
    }
}
