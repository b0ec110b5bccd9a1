//! Webhook configurations: what they get, and what they must look like (`pkg/apis/admissionregistration`).

mod client_config;
mod matching;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cel::admission::{self, Conditions, Sight};
use crate::kinds::doc::{Doc, child, children, fill, fill_zero, list, text};
use crate::kinds::print::{self, Col, Columns, Number};
use crate::kinds::rules::{check_selector, one_of};
use crate::meta;
use crate::object::Object;
use crate::resource::{Column, Manners};
use crate::status::FieldError;
pub(in crate::kinds) use client_config::check_client_config;
pub(super) use matching::check_rule;

/// `maxMatchConditions`
const CONDITIONS_MAX: usize = 64;
/// The reviews that some server of Kubernetes understands (`AcceptedAdmissionReviewVersions`).
const REVIEWS: [&str; 2] = ["v1", "v1beta1"];

const COLUMNS: Columns = &[
    print::NAME,
    Col("Webhooks", Number, "Webhooks indicates the number of webhooks registered in this configuration"),
    print::AGE,
];

/// The manners of both kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kinds) enum Configuration {
    /// `MutatingWebhookConfiguration`
    Mutating,
    /// `ValidatingWebhookConfiguration`
    Validating,
}

impl Manners for Configuration {
    fn default(&self, object: &mut Object) {
        for webhook in children(&mut object.0, "webhooks") {
            default_webhook(webhook);
            if *self == Self::Mutating {
                fill(webhook, "reinvocationPolicy", "Never");
            }
        }
    }

    /// An update may keep what older servers let in, as long as all of it was there before.
    fn validate(&self, object: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let before = old.map(webhooks).unwrap_or_default();
        let had = |wrong: fn(&[Value]) -> bool| old.is_some() && wrong(before);
        let rules = Rules {
            side_effects: !had(|hooks| hooks.iter().any(|hook| !has_no_side_effects(hook))),
            known_reviews: !had(|hooks| hooks.iter().any(|hook| !reads_known_reviews(hook))),
            unique_names: !had(|hooks| duplicates(hooks).next().is_some()),
        };
        let hooks = webhooks(object);
        let mut errors = Vec::new();
        for (place, hook) in hooks.iter().enumerate() {
            let path = format!("webhooks[{place}]");
            self.check_webhook(hook, &path, rules, &mut errors);
            let path = format!("{path}.admissionReviewVersions");
            let versions = list(hook, "admissionReviewVersions");
            check_review_versions(versions, &path, &mut errors);
            if versions.is_empty() {
                errors.push(FieldError::required(&path, &format!("must specify one of {}", REVIEWS.join(", "))));
            }
            if rules.known_reviews && !reads_known_reviews(hook) {
                let why = format!("must include at least one of {}", REVIEWS.join(", "));
                errors.push(FieldError::invalid(path, versions.to_vec(), &why));
            }
        }
        if rules.unique_names {
            errors.extend(
                duplicates(hooks).map(|(place, name)| FieldError::duplicate(format!("webhooks[{place}].name"), name)),
            );
        }
        errors
    }

    fn columns(&self) -> Vec<Column> {
        print::columns(COLUMNS)
    }

    fn cells(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        vec![object.name().into(), webhooks(object).len().into(), print::age(object, now)]
    }

    fn updates_unconditionally(&self) -> bool {
        false
    }
}

/// Which rules an update does not have to keep because the stored object never did.
#[derive(Clone, Copy)]
struct Rules {
    side_effects: bool,
    known_reviews: bool,
    unique_names: bool,
}

fn webhooks(object: &Object) -> &[Value] {
    object.at(&["webhooks"]).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn default_webhook(webhook: &mut Doc) {
    fill(webhook, "failurePolicy", "Fail");
    fill(webhook, "matchPolicy", "Equivalent");
    fill(webhook, "namespaceSelector", json!({}));
    fill(webhook, "objectSelector", json!({}));
    fill(webhook, "timeoutSeconds", 10);
    children(webhook, "rules").for_each(|rule| fill(rule, "scope", "*"));
    if let Some(service) = child(webhook, "clientConfig").and_then(|config| child(config, "service")) {
        fill_zero(service, "port", 443);
    }
}

fn has_no_side_effects(hook: &Value) -> bool {
    matches!(text(hook, "sideEffects"), "None" | "NoneOnDryRun")
}

fn reads_known_reviews(hook: &Value) -> bool {
    let versions = list(hook, "admissionReviewVersions");
    versions.is_empty() || are_known(versions)
}

fn are_known(versions: &[Value]) -> bool {
    versions.iter().any(|version| REVIEWS.iter().any(|known| version == known))
}

/// Returns the places of names that were there before.
fn duplicates(hooks: &[Value]) -> impl Iterator<Item = (usize, &str)> {
    let mut seen = BTreeSet::new();
    let named = hooks.iter().map(|hook| text(hook, "name")).enumerate().filter(|(_, name)| !name.is_empty());
    named.filter(move |(_, name)| !seen.insert(*name))
}

impl Configuration {
    fn check_webhook(self, hook: &Value, path: &str, rules: Rules, errors: &mut Vec<FieldError>) {
        let below = |field: &str| format!("{path}.{field}");
        errors.extend(qualified_name(&below("name"), text(hook, "name")));
        for (place, rule) in list(hook, "rules").iter().enumerate() {
            check_rule(rule, &below(&format!("rules[{place}]")), errors);
        }
        errors.extend(one_of(hook, path, "failurePolicy", &["Fail", "Ignore"]));
        errors.extend(one_of(hook, path, "matchPolicy", &["Equivalent", "Exact"]));
        let effects: &[&str] =
            if rules.side_effects { &["None", "NoneOnDryRun"] } else { &["None", "NoneOnDryRun", "Some", "Unknown"] };
        if text(hook, "sideEffects").is_empty() {
            let detail = format!("must specify one of {}", effects.join(", "));
            errors.push(FieldError::required(below("sideEffects"), &detail));
        } else {
            errors.extend(one_of(hook, path, "sideEffects", effects));
        }
        if let Some(seconds) = hook["timeoutSeconds"].as_i64().filter(|seconds| !(1..=30).contains(seconds)) {
            let why = "the timeout value must be between 1 and 30 seconds";
            errors.push(FieldError::invalid(below("timeoutSeconds"), seconds, why));
        }
        for field in ["namespaceSelector", "objectSelector"] {
            errors.extend(check_selector(hook.get(field), &below(field)));
        }
        if self == Self::Mutating {
            errors.extend(one_of(hook, path, "reinvocationPolicy", &["IfNeeded", "Never"]));
        }
        check_client_config(&hook["clientConfig"], &below("clientConfig"), errors);
        check_conditions(list(hook, "matchConditions"), &below("matchConditions"), errors);
    }
}

/// `IsFullyQualifiedName`
fn qualified_name(path: &str, name: &str) -> Option<FieldError> {
    if name.is_empty() {
        return Some(FieldError::required(path, ""));
    }
    let problems = meta::dns1123_subdomain(name);
    if !problems.is_empty() {
        return Some(FieldError::invalid(path, name, &problems.join(",")));
    }
    let why = "should be a domain with at least three segments separated by dots";
    (name.split('.').count() < 3).then(|| FieldError::invalid(path, name, why))
}

/// Checks the versions of the reviews that a webhook reads.
fn check_review_versions(versions: &[Value], path: &str, errors: &mut Vec<FieldError>) {
    for (place, version) in versions.iter().enumerate() {
        let path = format!("{path}[{place}]");
        if versions[..place].contains(version) {
            errors.push(FieldError::invalid(path, version.clone(), "duplicate version"));
            continue;
        }
        let problems = meta::dns1035_label(version.as_str().unwrap_or_default());
        errors.extend(problems.iter().map(|why| FieldError::invalid(&path, version.clone(), why)));
    }
}

/// Checks the reviews of a webhook that converts custom resources (`validateConversionReviewVersions`).
pub(in crate::kinds) fn check_conversion_reviews(versions: &[Value], path: &str, errors: &mut Vec<FieldError>) {
    check_review_versions(versions, path, errors);
    if versions.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else if !are_known(versions) {
        let why = format!("must include at least one of {}", REVIEWS.join(", "));
        errors.push(FieldError::invalid(path, versions.to_vec(), &why));
    }
}

/// `validateMatchConditions`
fn check_conditions(conditions: &[Value], path: &str, errors: &mut Vec<FieldError>) {
    // All at once would stop at the first that is missing.
    let env = admission::env(Sight::Webhook);
    if conditions.len() > CONDITIONS_MAX {
        errors.push(FieldError::too_many(path, conditions.len(), CONDITIONS_MAX));
    }
    let mut seen = BTreeSet::new();
    for (place, condition) in conditions.iter().enumerate() {
        let path = format!("{path}[{place}]");
        if text(condition, "expression").trim().is_empty() {
            errors.push(FieldError::required(format!("{path}.expression"), ""));
        } else if let Err(found) = Conditions::compile(std::slice::from_ref(condition), &env, "") {
            let here = |error: FieldError| FieldError { field: format!("{path}.expression"), ..error };
            errors.extend(found.into_iter().map(here));
        }
        let (name, path) = (text(condition, "name"), format!("{path}.name"));
        if name.is_empty() {
            errors.push(FieldError::required(path, ""));
            continue;
        }
        errors.extend(meta::qualified_name(name).iter().map(|why| FieldError::invalid(&path, name, why)));
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(path, name));
        }
    }
}
