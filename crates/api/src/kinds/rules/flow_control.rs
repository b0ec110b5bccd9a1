//! Flow schemas and priority levels (`pkg/apis/flowcontrol/validation`).

use serde_json::Value;

use super::{check_named, in_range, one_of, required, spec};
use crate::kinds::doc::{at, flag, has, list, number, text};
use crate::meta;
use crate::object::Object;
use crate::status::FieldError;

const POSITIVE: &str = "must be positive";
const EXEMPT: &str = "exempt";
const PRECEDENCE_MAX: i64 = 10_000;
const QUEUES_MAX: i64 = 10_000_000;
/// How many bits the hash of a flow has, from which its queues are dealt (`shufflesharding.MaxHashBits`).
const HASH_BITS_MAX: f64 = 60.0;
const VERBS: [&str; 9] = ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];
/// The kinds of subjects, and the fields that name them.
const SUBJECTS: [(&str, &str); 3] = [("Group", "group"), ("ServiceAccount", "serviceAccount"), ("User", "user")];

/// What a flow schema must look like.
pub(in crate::kinds) fn validate_flow_schema(object: &Object, _old: Option<&Object>) -> Vec<FieldError> {
    const LEVEL: &str = "spec.priorityLevelConfiguration.name";
    let spec = spec(object);
    let mut errors: Vec<FieldError> = check_precedence(object.name(), number(spec, "matchingPrecedence"));
    if let Some(method) = at(spec, "distinguisherMethod") {
        let methods = ["ByNamespace", "ByUser"];
        if !methods.contains(&text(method, "type")) {
            errors.push(FieldError::not_supported("spec.distinguisherMethod.type", method.clone(), &methods));
        }
    }
    match at(spec, "priorityLevelConfiguration.name").and_then(Value::as_str).unwrap_or_default() {
        "" => errors.push(FieldError::required(LEVEL, "must reference a priority level")),
        level => errors.extend(FieldError::invalid_each(LEVEL, level, meta::dns1123_subdomain(level))),
    }
    for (index, rule) in list(spec, "rules").iter().enumerate() {
        errors.extend(check_rule(rule, &format!("spec.rules[{index}]")));
    }
    errors
}

fn check_precedence(name: &str, precedence: i64) -> Vec<FieldError> {
    let detail = match precedence {
        ..=0 => "must be a positive value".to_owned(),
        1 if name != EXEMPT => "only the schema named 'exempt' may have matchingPrecedence 1".to_owned(),
        1..=PRECEDENCE_MAX => return Vec::new(),
        _ => format!("must not be greater than {PRECEDENCE_MAX}"),
    };
    vec![FieldError::invalid("spec.matchingPrecedence", precedence, &detail)]
}

fn check_rule(rule: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if list(rule, "subjects").is_empty() {
        errors.push(FieldError::required(format!("{path}.subjects"), "subjects must contain at least one value"));
    }
    for (index, subject) in list(rule, "subjects").iter().enumerate() {
        errors.extend(check_subject(subject, &format!("{path}.subjects[{index}]")));
    }
    let (resources, others) = (list(rule, "resourceRules"), list(rule, "nonResourceRules"));
    if resources.is_empty() && others.is_empty() {
        let detail = "at least one of resourceRules and nonResourceRules has to be non-empty";
        errors.push(FieldError::required(path, detail));
    }
    for (index, rule) in resources.iter().enumerate() {
        errors.extend(check_resources(rule, &format!("{path}.resourceRules[{index}]")));
    }
    for (index, rule) in others.iter().enumerate() {
        errors.extend(check_paths(rule, &format!("{path}.nonResourceRules[{index}]")));
    }
    errors
}

fn check_subject(subject: &Value, path: &str) -> Vec<FieldError> {
    let kind = text(subject, "kind");
    let Some((_, own)) = SUBJECTS.iter().find(|(known, _)| *known == kind) else {
        return vec![FieldError::not_supported(format!("{path}.kind"), kind, &SUBJECTS.map(|(kind, _)| kind))];
    };
    let own_path = format!("{path}.{own}");
    let mut errors = match at(subject, own) {
        None => vec![FieldError::required(own_path, &format!("{own} is required when subject kind is '{kind}'"))],
        Some(account) if kind == "ServiceAccount" => check_account(account, &own_path),
        Some(named) => required(named, &own_path, &["name"]),
    };
    for (other_kind, other) in SUBJECTS.iter().filter(|(_, other)| other != own && has(subject, other)) {
        let detail = format!("{other} is forbidden when subject kind is not '{other_kind}'");
        errors.push(FieldError::forbidden(format!("{path}.{other}"), &detail));
    }
    errors
}

fn check_account(account: &Value, path: &str) -> Vec<FieldError> {
    let (name, namespace) = (text(account, "name"), text(account, "namespace"));
    let mut errors = Vec::new();
    if name != "*" {
        errors.extend(check_named(name, &format!("{path}.name"), meta::dns1123_subdomain));
    }
    let path = format!("{path}.namespace");
    if namespace.is_empty() {
        errors.push(FieldError::required(path, "must specify namespace for service account"));
    } else {
        errors.extend(FieldError::invalid_each(&path, namespace, meta::dns1123_label(namespace)));
    }
    errors
}

fn check_resources(rule: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = check_verbs(rule, path);
    for (field, one, several) in [("apiGroups", "api group", "api groups"), ("resources", "resource", "resources")] {
        if list(rule, field).is_empty() {
            let detail = format!("resource rules must supply at least one {one}");
            errors.push(FieldError::required(format!("{path}.{field}"), &detail));
        }
        errors.extend(check_star(rule, path, field, several));
    }
    let namespaces = list(rule, "namespaces");
    if namespaces.is_empty() && !flag(rule, "clusterScope") {
        let detail = "resource rules that are not cluster scoped must supply at least one namespace";
        errors.push(FieldError::required(format!("{path}.namespaces"), detail));
    }
    errors.extend(check_star(rule, path, "namespaces", "namespaces"));
    if !has_star(namespaces) {
        for (index, namespace) in namespaces.iter().filter_map(Value::as_str).enumerate() {
            let problems = meta::dns1123_label(namespace);
            let problems = problems
                .iter()
                .map(|problem| format!("each member of this list must be '*' or a DNS-1123 label; {problem}"));
            errors.extend(FieldError::invalid_each(&format!("{path}.namespaces[{index}]"), namespace, problems));
        }
    }
    errors
}

fn check_paths(rule: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = check_verbs(rule, path);
    let urls = list(rule, "nonResourceURLs");
    if urls.is_empty() {
        let detail = "nonResourceURLs must contain at least one value";
        errors.push(FieldError::required(format!("{path}.nonResourceURLs"), detail));
    }
    errors.extend(check_star(rule, path, "nonResourceURLs", "non-resource URLs"));
    if !has_star(urls) {
        for (index, url) in urls.iter().filter_map(Value::as_str).enumerate() {
            let why = wrong_url(url);
            errors.extend(why.map(|why| FieldError::invalid(format!("{path}.nonResourceURLs[{index}]"), url, why)));
        }
    }
    errors
}

/// A path, of which a star may be the last segment.
fn wrong_url(url: &str) -> Option<&'static str> {
    let stars = url.matches('*').count();
    match url {
        "" => Some("must not be empty"),
        "/" => None,
        _ if !url.starts_with('/') => Some("must start with slash"),
        _ if url.contains(' ') => Some("must not contain white-space"),
        _ if url.contains("//") => Some("must not contain double slash"),
        _ if stars > 1 || stars == 1 && !url.ends_with("/*") => Some("wildcard can only do suffix matching"),
        _ => None,
    }
}

fn check_verbs(rule: &Value, path: &str) -> Vec<FieldError> {
    let (verbs, verbs_path) = (list(rule, "verbs"), format!("{path}.verbs"));
    let is_known = |verb: &Value| verb.as_str().is_some_and(|verb| VERBS.contains(&verb));
    if verbs.is_empty() {
        return vec![FieldError::required(verbs_path, "verbs must contain at least one value")];
    }
    if !has_star(verbs) && !verbs.iter().all(is_known) {
        return vec![FieldError::not_supported(verbs_path, verbs.to_vec(), &VERBS)];
    }
    check_star(rule, path, "verbs", "verbs").into_iter().collect()
}

/// Whoever says everything says nothing else.
fn check_star(rule: &Value, path: &str, field: &str, what: &str) -> Option<FieldError> {
    let values = list(rule, field);
    let detail = format!("if '*' is present, must not specify other {what}");
    (values.len() > 1 && has_star(values))
        .then(|| FieldError::invalid(format!("{path}.{field}"), values.to_vec(), &detail))
}

fn has_star(values: &[Value]) -> bool {
    values.iter().any(|value| value == "*")
}

/// What a priority level must look like.
pub(in crate::kinds) fn validate_priority_level(object: &Object, _old: Option<&Object>) -> Vec<FieldError> {
    let spec = spec(object);
    let (kind, limited, exempt) = (text(spec, "type"), at(spec, "limited"), at(spec, "exempt"));
    let mut errors = Vec::new();
    if (object.name() == EXEMPT) != (kind == "Exempt") {
        errors.push(FieldError::invalid("spec.type", kind, "type must be 'Exempt' if and only if name is 'exempt'"));
    }
    match (kind, limited) {
        ("Exempt", Some(_)) => {
            errors.push(FieldError::forbidden("spec.limited", "must be nil if the type is not Limited"));
        }
        ("Limited", None) => {
            errors.push(FieldError::required("spec.limited", "must not be empty when type is Limited"));
        }
        ("Limited", Some(limited)) => errors.extend(check_limited(limited)),
        ("Exempt", None) => {}
        _ => errors.push(FieldError::not_supported("spec.type", kind, &["Exempt", "Limited"])),
    }
    match exempt {
        Some(_) if kind == "Limited" => {
            errors.push(FieldError::forbidden("spec.exempt", "must be nil if the type is Limited"));
        }
        Some(exempt) => errors.extend(check_shares(exempt, "spec.exempt")),
        None => {}
    }
    errors
}

fn check_shares(level: &Value, path: &str) -> Vec<FieldError> {
    let shares = in_range(level, path, "nominalConcurrencyShares", 0..=i64::MAX, "must be a non-negative integer");
    let lent = in_range(level, path, "lendablePercent", 0..=100, "must be between 0 and 100, inclusive");
    shares.into_iter().chain(lent).collect()
}

fn check_limited(limited: &Value) -> Vec<FieldError> {
    const PATH: &str = "spec.limited";
    let mut errors = check_shares(limited, PATH);
    let detail = "if specified, must be a non-negative integer";
    errors.extend(in_range(limited, PATH, "borrowingLimitPercent", 0..=i64::MAX, detail));
    let (response, path) = (limited.get("limitResponse").unwrap_or(&Value::Null), format!("{PATH}.limitResponse"));
    match (text(response, "type"), at(response, "queuing")) {
        ("Reject", Some(_)) => {
            let detail = "must be nil if limited.limitResponse.type is not Limited";
            errors.push(FieldError::forbidden(format!("{path}.queuing"), detail));
        }
        ("Queue", None) => {
            let detail = "must not be empty if limited.limitResponse.type is Limited";
            errors.push(FieldError::required(format!("{path}.queuing"), detail));
        }
        ("Queue", Some(queuing)) => errors.extend(check_queuing(queuing, &format!("{path}.queuing"))),
        ("Reject", None) => {}
        ("", _) => errors.push(FieldError::not_supported(format!("{path}.type"), "", &["Queue", "Reject"])),
        _ => errors.extend(one_of(response, &path, "type", &["Queue", "Reject"])),
    }
    errors
}

fn check_queuing(queuing: &Value, path: &str) -> Vec<FieldError> {
    let at_least_one = |field: &str| in_range(queuing, path, field, 1..=i64::MAX, POSITIVE);
    let mut errors: Vec<FieldError> = at_least_one("queueLengthLimit").into_iter().collect();
    let (queues, hand) = (number(queuing, "queues"), number(queuing, "handSize"));
    errors.extend(at_least_one("queues"));
    if queues > QUEUES_MAX {
        let detail = format!("must not be greater than {QUEUES_MAX}");
        errors.push(FieldError::invalid(format!("{path}.queues"), queues, &detail));
    }
    errors.extend(at_least_one("handSize"));
    let wrong = if hand > queues {
        Some(format!("should not be greater than queues ({queues})"))
    } else if hand > 0 && entropy_bits(queues, hand) > HASH_BITS_MAX {
        Some(format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {HASH_BITS_MAX}"
        ))
    } else {
        None
    };
    errors.extend(wrong.map(|detail| FieldError::invalid(format!("{path}.handSize"), hand, &detail)));
    errors
}

/// How many bits it takes to deal a hand of queues (`shufflesharding.RequiredEntropyBits`).
#[expect(clippy::cast_precision_loss, reason = "a rough figure")]
fn entropy_bits(queues: i64, hand: i64) -> f64 {
    ((queues as f64).log2() * hand as f64).ceil()
}
