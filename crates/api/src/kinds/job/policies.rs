//! When a job fails early, and when it has succeeded early: `podFailurePolicy` and `successPolicy`.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::kinds::doc::{at, has, list, text};
use crate::kinds::rules::check_not_negative;
use crate::meta;
use crate::status::FieldError;

const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];
const OPERATORS: [&str; 2] = ["In", "NotIn"];
const STATUSES: [&str; 3] = ["False", "True", "Unknown"];
/// How many rules either policy may have.
const RULES_MAX: usize = 20;
const PATTERNS_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;
/// How long the text of `succeededIndexes` may be.
const INDEXES_MAX: usize = 64 * 1024;

/// Returns everything that is wrong with what is done when a pod fails.
pub(super) fn check_failure_policy(spec: &Value, policy: &Value, path: &str) -> Vec<FieldError> {
    let (path, rules) = (format!("{path}.rules"), list(policy, "rules"));
    let mut errors = Vec::new();
    if rules.len() > RULES_MAX {
        errors.push(FieldError::too_many(&path, rules.len(), RULES_MAX));
    }
    for (index, rule) in rules.iter().enumerate() {
        errors.extend(check_failure_rule(spec, rule, &format!("{path}[{index}]")));
    }
    errors
}

fn check_failure_rule(spec: &Value, rule: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let action = text(rule, "action");
    if action == "FailIndex" && !has(spec, "backoffLimitPerIndex") {
        let detail = "requires the backoffLimitPerIndex to be set";
        errors.push(FieldError::invalid(format!("{path}.action"), action, detail));
    }
    errors.extend(chosen(rule, path, "action", &ACTIONS));
    let (codes, conditions) = (at(rule, "onExitCodes"), list(rule, "onPodConditions"));
    if let Some(codes) = codes {
        errors.extend(check_exit_codes(spec, codes, &format!("{path}.onExitCodes")));
    }
    errors.extend(check_conditions(conditions, &format!("{path}.onPodConditions")));
    match (codes.is_some(), !conditions.is_empty()) {
        (true, true) => {
            let detail = "specifying both OnExitCodes and OnPodConditions is not supported";
            errors.push(FieldError::invalid_whole(path, detail));
        }
        (false, false) => {
            let detail = "specifying one of OnExitCodes and OnPodConditions is required";
            errors.push(FieldError::invalid_whole(path, detail));
        }
        _ => {}
    }
    errors
}

fn check_conditions(patterns: &[Value], path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if patterns.len() > PATTERNS_MAX {
        errors.push(FieldError::too_many(path, patterns.len(), PATTERNS_MAX));
    }
    for (index, pattern) in patterns.iter().enumerate() {
        let (path, kind) = (format!("{path}[{index}]"), text(pattern, "type"));
        errors.extend(FieldError::invalid_each(&format!("{path}.type"), kind, meta::qualified_name(kind)));
        errors.extend(chosen(pattern, &path, "status", &STATUSES));
    }
    errors
}

fn check_exit_codes(spec: &Value, codes: &Value, path: &str) -> Vec<FieldError> {
    let operator = text(codes, "operator");
    let mut errors: Vec<FieldError> = chosen(codes, path, "operator", &OPERATORS).into_iter().collect();
    if let Some(name) = codes.get("containerName").and_then(Value::as_str) {
        let is_there = ["containers", "initContainers"].iter().any(|field| {
            let pod = at(spec, "template.spec").unwrap_or(&Value::Null);
            list(pod, field).iter().any(|container| text(container, "name") == name)
        });
        if !is_there {
            let detail = "must be one of the container or initContainer names in the pod template";
            errors.push(FieldError::invalid(format!("{path}.containerName"), name, detail));
        }
    }
    let (path, shown) = (format!("{path}.values"), || codes.get("values").cloned().unwrap_or_default());
    let values: Vec<i64> = list(codes, "values").iter().filter_map(Value::as_i64).collect();
    if values.is_empty() {
        errors.push(FieldError::invalid(&path, shown(), "at least one value is required"));
    } else if values.len() > EXIT_CODES_MAX {
        errors.push(FieldError::too_many(&path, values.len(), EXIT_CODES_MAX));
    }
    let mut seen = BTreeSet::new();
    for (index, value) in values.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if operator == "In" && *value == 0 {
            errors.push(FieldError::invalid(&path, *value, "must not be 0 for the In operator"));
        }
        if !seen.insert(value) {
            errors.push(FieldError::duplicate(path, *value));
        }
    }
    if !values.is_sorted() {
        errors.push(FieldError::invalid(path, shown(), "must be ordered"));
    }
    errors
}

/// Returns an error if a field that has to be one of a few words is missing or another one.
fn chosen(value: &Value, path: &str, field: &str, allowed: &[&str]) -> Option<FieldError> {
    let path = format!("{path}.{field}");
    match text(value, field) {
        "" => {
            let words: Vec<String> = allowed.iter().map(|word| format!("{word:?}")).collect();
            Some(FieldError::required(path, &format!("valid values: [{}]", words.join(" "))))
        }
        word if !allowed.contains(&word) => Some(FieldError::not_supported(path, word, allowed)),
        _ => None,
    }
}

/// Returns everything that is wrong with what makes an indexed job a success before all indexes are.
pub(super) fn check_success_policy(spec: &Value, policy: &Value, path: &str) -> Vec<FieldError> {
    let (path, rules) = (format!("{path}.rules"), list(policy, "rules"));
    let mut errors = Vec::new();
    if rules.is_empty() {
        let detail = "at least one rules must be specified when the successPolicy is specified";
        errors.push(FieldError::required(&path, detail));
    }
    if rules.len() > RULES_MAX {
        errors.push(FieldError::too_many(&path, rules.len(), RULES_MAX));
    }
    // Without completions, an indexed job is wrong already, and there is nothing to compare with.
    let Some(completions) = spec.get("completions").and_then(Value::as_i64) else { return errors };
    for (index, rule) in rules.iter().enumerate() {
        errors.extend(check_success_rule(rule, completions, &format!("{path}[{index}]")));
    }
    errors
}

fn check_success_rule(rule: &Value, completions: i64, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (indexes, count) =
        (rule.get("succeededIndexes").and_then(Value::as_str), rule.get("succeededCount").and_then(Value::as_i64));
    if indexes.is_none() && count.is_none() {
        let detail = "at least one of succeededCount or succeededIndexes must be specified";
        errors.push(FieldError::required(path, detail));
    }
    let mut named = 0;
    if let Some(indexes) = indexes {
        let path = format!("{path}.succeededIndexes");
        if indexes.len() > INDEXES_MAX {
            errors.push(FieldError::too_long(&path, INDEXES_MAX));
        }
        match count_indexes(indexes, completions) {
            Ok(total) => named = total,
            Err(why) => {
                let detail = format!("error parsing succeededIndexes: {why}");
                errors.push(FieldError::invalid(path, indexes, &detail));
            }
        }
    }
    let Some(count) = count else { return errors };
    errors.extend(check_not_negative(rule, path, &["succeededCount"]));
    let path = format!("{path}.succeededCount");
    if count > completions {
        let detail = format!("must be less than or equal to {completions} (the number of specified completions)");
        errors.push(FieldError::invalid(&path, count, &detail));
    }
    if indexes.is_some() && count > named {
        let detail = format!(
            "must be less than or equal to {named} (the number of indexes in the specified succeededIndexes field)"
        );
        errors.push(FieldError::invalid(path, count, &detail));
    }
    errors
}

/// Returns how many indexes a text such as `0,2-4` names, all below `completions` (`validateIndexesFormat`).
fn count_indexes(indexes: &str, completions: i64) -> Result<i64, String> {
    if indexes.is_empty() {
        return Ok(0);
    }
    let (mut total, mut previous) = (0, None);
    for fragment in indexes.split(',') {
        let (first, last) = interval(fragment, completions)?;
        match previous {
            Some(previous) if previous >= first => return Err(out_of_order(previous, first)),
            _ => previous = Some(last),
        }
        total += last - first + 1;
    }
    Ok(total)
}

fn interval(fragment: &str, completions: i64) -> Result<(i64, i64), String> {
    let index = |text: &str| match text.parse::<i64>() {
        Err(_) => Err(format!("cannot convert string to integer for index: {text:?}")),
        Ok(index) if index >= completions => Err(format!("too large index: {text:?}")),
        Ok(index) => Ok(index),
    };
    match fragment.split('-').collect::<Vec<_>>().as_slice() {
        [only] => index(only).map(|index| (index, index)),
        [first, last] => match (index(first)?, index(last)?) {
            (first, last) if first >= last => Err(out_of_order(first, last)),
            both => Ok(both),
        },
        _ => Err(format!(
            "the fragment {fragment:?} violates the requirement that an index interval can have at most two parts \
             separated by '-'"
        )),
    }
}

fn out_of_order(previous: i64, current: i64) -> String {
    format!("non-increasing order, previous: {previous}, current: {current}")
}
