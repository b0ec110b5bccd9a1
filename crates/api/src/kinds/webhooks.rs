//! Webhook configurations: which requests are shown to whom (`pkg/apis/admissionregistration`).

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::doc::{Doc, child, children, fill, fill_zero, list, text};
use super::print::{self, Col, Columns, Number};
use crate::cel::admission::{self, Conditions, Sight};
use crate::meta;
use crate::object::Object;
use crate::resource::{Column, Manners};
use crate::selector::LabelSelector;
use crate::status::FieldError;

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
pub(super) enum Configuration {
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
        one_of(hook, "failurePolicy", &["Fail", "Ignore"], path, errors);
        one_of(hook, "matchPolicy", &["Equivalent", "Exact"], path, errors);
        let effects: &[&str] =
            if rules.side_effects { &["None", "NoneOnDryRun"] } else { &["None", "NoneOnDryRun", "Some", "Unknown"] };
        if text(hook, "sideEffects").is_empty() {
            let detail = format!("must specify one of {}", effects.join(", "));
            errors.push(FieldError::required(below("sideEffects"), &detail));
        } else {
            one_of(hook, "sideEffects", effects, path, errors);
        }
        if let Some(seconds) = hook["timeoutSeconds"].as_i64().filter(|seconds| !(1..=30).contains(seconds)) {
            let why = "the timeout value must be between 1 and 30 seconds";
            errors.push(FieldError::invalid(below("timeoutSeconds"), seconds, why));
        }
        for field in ["namespaceSelector", "objectSelector"] {
            if let Err(error) = LabelSelector::from_json(hook.get(field)) {
                errors.push(FieldError::invalid(below(field), hook[field].clone(), &error.to_string()));
            }
        }
        if self == Self::Mutating {
            one_of(hook, "reinvocationPolicy", &["IfNeeded", "Never"], path, errors);
        }
        check_client_config(&hook["clientConfig"], &below("clientConfig"), errors);
        check_conditions(list(hook, "matchConditions"), &below("matchConditions"), errors);
    }
}

fn one_of(holder: &Value, field: &str, allowed: &[&str], path: &str, errors: &mut Vec<FieldError>) {
    let given = text(holder, field);
    if !given.is_empty() && !allowed.contains(&given) {
        errors.push(FieldError::not_supported(format!("{path}.{field}"), given, allowed));
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

/// `validateRuleWithOperations`
fn check_rule(rule: &Value, path: &str, errors: &mut Vec<FieldError>) {
    const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
    check_list(rule, "operations", "operations", path, errors);
    for (place, operation) in list(rule, "operations").iter().enumerate() {
        if !OPERATIONS.iter().any(|known| operation == known) {
            let path = format!("{path}.operations[{place}]");
            errors.push(FieldError::not_supported(path, operation.clone(), &OPERATIONS));
        }
    }
    check_list(rule, "apiGroups", "API groups", path, errors);
    check_list(rule, "apiVersions", "API versions", path, errors);
    for (place, version) in list(rule, "apiVersions").iter().enumerate() {
        if version == "" {
            errors.push(FieldError::required(format!("{path}.apiVersions[{place}]"), ""));
        }
    }
    check_resources(rule, &format!("{path}.resources"), errors);
    one_of(rule, "scope", &["*", "Cluster", "Namespaced"], path, errors);
}

/// A list that is needed, and in which `*` stands alone.
fn check_list(rule: &Value, field: &str, what: &str, path: &str, errors: &mut Vec<FieldError>) {
    let (values, path) = (list(rule, field), format!("{path}.{field}"));
    if values.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else if values.len() > 1 && values.iter().any(|value| value == "*") {
        let why = format!("if '*' is present, must not specify other {what}");
        errors.push(FieldError::invalid(path, values.to_vec(), &why));
    }
}

/// `validateResources`: no entry may repeat what a wildcard before it says.
fn check_resources(rule: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let resources: Vec<&str> = list(rule, "resources").iter().map(|one| one.as_str().unwrap_or_default()).collect();
    if resources.is_empty() {
        errors.push(FieldError::required(path, ""));
    }
    let (mut all_parts_of, mut part_of_all) = (BTreeSet::new(), BTreeSet::new());
    for (place, resource) in resources.iter().enumerate() {
        let path = format!("{path}[{place}]");
        if resource.is_empty() {
            errors.push(FieldError::required(path, ""));
            continue;
        }
        let Some((name, part)) = resource.split_once('/') else { continue };
        if all_parts_of.contains(name) {
            let why = format!("if '{name}/*' is present, must not specify {resource}");
            errors.push(FieldError::invalid(&path, *resource, &why));
        }
        if part_of_all.contains(part) {
            let why = format!("if '*/{part}' is present, must not specify {resource}");
            errors.push(FieldError::invalid(&path, *resource, &why));
        }
        if part == "*" {
            all_parts_of.insert(name);
        }
        if name == "*" {
            part_of_all.insert(part);
        }
    }
    if resources.len() > 1 && resources.contains(&"*/*") {
        let why = "if '*/*' is present, must not specify other resources";
        errors.push(FieldError::invalid(path, resources.clone(), why));
    }
    let named = resources.iter().any(|one| *one != "*" && !one.contains('/'));
    if resources.contains(&"*") && named {
        let why = "if '*' is present, must not specify other resources without subresources";
        errors.push(FieldError::invalid(path, resources.clone(), why));
    }
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
pub(super) fn check_conversion_reviews(versions: &[Value], path: &str, errors: &mut Vec<FieldError>) {
    check_review_versions(versions, path, errors);
    if versions.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else if !are_known(versions) {
        let why = format!("must include at least one of {}", REVIEWS.join(", "));
        errors.push(FieldError::invalid(path, versions.to_vec(), &why));
    }
}

/// Checks where a webhook is: also those that convert custom resources.
pub(super) fn check_client_config(config: &Value, path: &str, errors: &mut Vec<FieldError>) {
    match (config["url"].as_str(), config["service"].is_object()) {
        (Some(url), false) => check_url(url, &format!("{path}.url"), errors),
        (None, true) => check_service(&config["service"], &format!("{path}.service"), errors),
        _ => errors.push(FieldError::required(path, "exactly one of url or service is required")),
    }
}

/// `ValidateWebhookURL`
fn check_url(url: &str, path: &str, errors: &mut Vec<FieldError>) {
    const FORM: &str = "; desired format: https://host[/path]";
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = if scheme.is_empty() { "" } else { rest.split('/').next().unwrap_or_default() };
    let (user, host) = authority.rsplit_once('@').map_or(("", authority), |(user, host)| (user, host));
    let mut wrong = |value: &str, why: &str| errors.push(FieldError::invalid(path, value, why));
    if scheme != "https" {
        wrong(scheme, &format!("'https' is the only allowed URL scheme{FORM}"));
    }
    if host.is_empty() {
        wrong(host, &format!("host must be provided{FORM}"));
    }
    if !user.is_empty() {
        wrong(user, "user information is not permitted in the URL");
    }
    if !fragment.is_empty() {
        wrong(fragment, "fragments are not permitted in the URL");
    }
    if !query.is_empty() {
        wrong(query, "query parameters are not permitted in the URL");
    }
}

/// `ValidateWebhookService`
fn check_service(service: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for field in ["name", "namespace"] {
        if text(service, field).is_empty() {
            errors.push(FieldError::required(format!("{path}.{field}"), &format!("service {field} is required")));
        }
    }
    if let Some(port) = service["port"].as_i64().filter(|port| !(1..=65535).contains(port)) {
        let why = "port is not valid: must be between 1 and 65535, inclusive";
        errors.push(FieldError::invalid(format!("{path}.port"), port, why));
    }
    let url_path = text(service, "path");
    let path = format!("{path}.path");
    let mut wrong = |why: String| errors.push(FieldError::invalid(&path, url_path, &why));
    if matches!(url_path, "" | "/") {
        return;
    }
    if url_path == "//" {
        return wrong("segment[0] may not be empty".to_owned());
    }
    if !url_path.starts_with('/') {
        wrong("must start with a '/'".to_owned());
    }
    let steps = url_path.strip_prefix('/').unwrap_or(url_path);
    for (place, step) in steps.strip_suffix('/').unwrap_or(steps).split('/').enumerate() {
        if step.is_empty() {
            wrong(format!("segment[{place}] may not be empty"));
            continue;
        }
        meta::dns1123_subdomain(step).iter().for_each(|why| wrong(format!("segment[{place}]: {why}")));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::object;

    fn hook(changes: Value) -> Object {
        let mut hook = json!({
            "name": "a.example.org", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": "https://a"},
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
        });
        hook.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let mut made = object(json!({"metadata": {"name": "c"}, "webhooks": [hook]}));
        Configuration::Mutating.default(&mut made);
        made
    }

    fn check(changes: Value, expected: &[&str]) {
        let found: Vec<String> =
            Configuration::Mutating.validate(&hook(changes), None).iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }

    fn check_rule_of(changes: Value, expected: &[&str]) {
        let mut rule = json!({"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]});
        rule.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        check(json!({"rules": [rule]}), expected);
    }

    #[test]
    fn a_webhook_fails_closed_after_ten_seconds() {
        let mut hooks =
            object(json!({"webhooks": [{"name": "a", "clientConfig": {"service": {"name": "s"}}, "rules": [{}]}]}));
        Configuration::Mutating.default(&mut hooks);
        assert_eq!(
            hooks.at(&["webhooks"]).unwrap()[0],
            json!({"name": "a", "failurePolicy": "Fail", "matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {},
                "timeoutSeconds": 10, "reinvocationPolicy": "Never", "rules": [{"scope": "*"}],
                "clientConfig": {"service": {"name": "s", "port": 443}}})
        );
    }

    #[test]
    fn a_usual_webhook_is_valid() {
        check(json!({}), &[]);
        check(json!({"clientConfig": {"service": {"namespace": "d", "name": "s", "path": "/mutate-v1/pods/"}}}), &[]);
    }

    #[test]
    fn a_name_has_three_segments() {
        check(json!({"name": ""}), &["webhooks[0].name: Required value"]);
        check(
            json!({"name": "a.b"}),
            &[
                "webhooks[0].name: Invalid value: \"a.b\": should be a domain with at least three segments separated by dots",
            ],
        );
    }

    #[test]
    fn side_effects_must_be_declared_and_harmless() {
        check(
            json!({"sideEffects": null}),
            &["webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun"],
        );
        check(
            json!({"sideEffects": "Some"}),
            &["webhooks[0].sideEffects: Unsupported value: \"Some\": supported values: \"None\", \"NoneOnDryRun\""],
        );
        let old = hook(json!({"sideEffects": "Some"}));
        assert_eq!(Configuration::Mutating.validate(&old, Some(&old)), []);
    }

    #[test]
    fn a_timeout_is_between_one_and_thirty_seconds() {
        for seconds in [0, 31] {
            let expected = format!(
                "webhooks[0].timeoutSeconds: Invalid value: {seconds}: the timeout value must be between 1 and 30 seconds"
            );
            check(json!({"timeoutSeconds": seconds}), &[&expected]);
        }
    }

    #[test]
    fn a_webhook_is_at_one_place() {
        let expected = "webhooks[0].clientConfig: Required value: exactly one of url or service is required";
        check(json!({"clientConfig": {}}), &[expected]);
        let both = json!({"url": "https://a", "service": {"name": "s", "namespace": "d"}});
        check(json!({"clientConfig": both}), &[expected]);
    }

    #[test]
    fn a_url_is_a_host_and_a_path() {
        let url = |url: &str| json!({"clientConfig": {"url": url}});
        let path = "webhooks[0].clientConfig.url: Invalid value";
        let form = "; desired format: https://host[/path]";
        check(url("https://a:1/b/c"), &[]);
        check(url("http://a"), &[&format!("{path}: \"http\": 'https' is the only allowed URL scheme{form}")]);
        check(url("https:///b"), &[&format!("{path}: \"\": host must be provided{form}")]);
        check(url("https://u:p@a"), &[&format!("{path}: \"u:p\": user information is not permitted in the URL")]);
        check(url("https://a#f"), &[&format!("{path}: \"f\": fragments are not permitted in the URL")]);
        check(url("https://a?q=1"), &[&format!("{path}: \"q=1\": query parameters are not permitted in the URL")]);
    }

    #[test]
    fn a_service_is_named_completely() {
        let service = |service: Value| json!({"clientConfig": {"service": service}});
        let path = "webhooks[0].clientConfig.service";
        check(
            service(json!({})),
            &[
                &format!("{path}.name: Required value: service name is required"),
                &format!("{path}.namespace: Required value: service namespace is required"),
            ],
        );
        let with = |field: &str, value: Value| service(json!({"name": "s", "namespace": "d", field: value}));
        check(
            with("port", json!(70000)),
            &[&format!("{path}.port: Invalid value: 70000: port is not valid: must be between 1 and 65535, inclusive")],
        );
        check(
            with("path", json!("//")),
            &[&format!("{path}.path: Invalid value: \"//\": segment[0] may not be empty")],
        );
        check(with("path", json!("a")), &[&format!("{path}.path: Invalid value: \"a\": must start with a '/'")]);
        check(
            with("path", json!("/a//b")),
            &[&format!("{path}.path: Invalid value: \"/a//b\": segment[1] may not be empty")],
        );
    }

    #[test]
    fn wildcards_stand_alone() {
        let path = "webhooks[0].rules[0]";
        check_rule_of(
            json!({"operations": ["*", "CREATE"]}),
            &[&format!(
                "{path}.operations: Invalid value: [\"*\",\"CREATE\"]: if '*' is present, must not specify other operations"
            )],
        );
        check_rule_of(json!({"resources": ["*", "pods/status"]}), &[]);
        check_rule_of(
            json!({"resources": ["pods/*", "pods/status"]}),
            &[&format!(
                "{path}.resources[1]: Invalid value: \"pods/status\": if 'pods/*' is present, must not specify pods/status"
            )],
        );
        check_rule_of(
            json!({"resources": ["*", "pods"]}),
            &[&format!(
                "{path}.resources: Invalid value: [\"*\",\"pods\"]: if '*' is present, must not specify other resources without subresources"
            )],
        );
    }

    #[test]
    fn a_rule_says_everything() {
        let path = "webhooks[0].rules[0]";
        let required = |field: &str| format!("{path}.{field}: Required value");
        let all = ["operations", "apiGroups", "apiVersions", "resources"].map(required);
        check(json!({"rules": [{}]}), &all.each_ref().map(String::as_str));
        check_rule_of(
            json!({"operations": ["READ"], "scope": "All"}),
            &[
                &format!(
                    "{path}.operations[0]: Unsupported value: \"READ\": supported values: \"*\", \"CONNECT\", \"CREATE\", \"DELETE\", \"UPDATE\""
                ),
                &format!(
                    "{path}.scope: Unsupported value: \"All\": supported values: \"*\", \"Cluster\", \"Namespaced\""
                ),
            ],
        );
    }

    #[test]
    fn some_review_must_be_known() {
        let path = "webhooks[0].admissionReviewVersions";
        check(
            json!({"admissionReviewVersions": []}),
            &[&format!("{path}: Required value: must specify one of v1, v1beta1")],
        );
        check(
            json!({"admissionReviewVersions": ["v2", "v2"]}),
            &[
                &format!("{path}[1]: Invalid value: \"v2\": duplicate version"),
                &format!("{path}: Invalid value: [\"v2\",\"v2\"]: must include at least one of v1, v1beta1"),
            ],
        );
    }

    #[test]
    fn names_are_unique_in_a_configuration() {
        let mut twice = hook(json!({}));
        let first = webhooks(&twice)[0].clone();
        twice.set(&["webhooks"], vec![first.clone(), first]);
        let errors = Configuration::Validating.validate(&twice, None);
        assert_eq!(errors.len(), 1);
        assert_eq!(errors[0].to_string(), "webhooks[1].name: Duplicate value: \"a.example.org\"");
        assert_eq!(Configuration::Validating.validate(&twice, Some(&twice)), []);
    }

    #[test]
    fn an_expression_must_decide_and_name_what_is_there() {
        let path = "webhooks[0].matchConditions[0].expression: Invalid value";
        let check_expression = |expression: &str, expected: &str| {
            let condition = json!({"name": "a", "expression": expression});
            let errors = Configuration::Mutating.validate(&hook(json!({"matchConditions": [condition]})), None);
            let found: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert!(found.len() == 1 && found[0].starts_with(&format!("{path}: {expected}")), "{found:?}");
        };
        check_expression("1 + 1", "\"1 + 1\": must evaluate to bool");
        check_expression(
            "params.a",
            "\"params.a\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'params'",
        );
        check(json!({"matchConditions": [{"name": "a", "expression": "object.metadata.name != 'a'"}]}), &[]);
    }

    #[test]
    fn conditions_have_names_and_expressions() {
        let path = "webhooks[0].matchConditions";
        check(
            json!({"matchConditions": [{"name": "a", "expression": " "}, {"name": "a", "expression": "true"}, {"expression": "true"}]}),
            &[
                &format!("{path}[0].expression: Required value"),
                &format!("{path}[1].name: Duplicate value: \"a\""),
                &format!("{path}[2].name: Required value"),
            ],
        );
    }
}
