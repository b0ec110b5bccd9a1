//! What a container says of starting again (`validateContainerRestartPolicy` in `pkg/apis/core/validation`).

use serde_json::Value;

use super::container::Place;
use crate::kinds::doc::{at, list, text};
use crate::kinds::rules::one_of;
use crate::status::FieldError;

/// Most rules of a container.
const RULES_MAX: usize = 20;
/// Most exit codes of a rule: there are no more.
const CODES_MAX: usize = 255;

/// Returns everything that is wrong with restart policy and rules of a container under `path`.
pub(super) fn validate(container: &Value, path: &str, place: Place) -> Vec<FieldError> {
    if place == Place::Ephemeral {
        // It may not have them at all.
        return Vec::new();
    }
    let mut errors: Vec<_> =
        one_of(container, path, "restartPolicy", &["Always", "Never", "OnFailure"]).into_iter().collect();
    let rules = list(container, "restartPolicyRules");
    if !rules.is_empty() && text(container, "restartPolicy").is_empty() {
        let detail = "must specify restartPolicy when restart rules are used";
        errors.push(FieldError::required(format!("{path}.restartPolicy"), detail));
    }
    let path = format!("{path}.restartPolicyRules");
    if rules.len() > RULES_MAX {
        errors.push(FieldError::too_many(&path, rules.len(), RULES_MAX));
    }
    for (index, rule) in rules.iter().enumerate() {
        errors.extend(validate_rule(rule, &format!("{path}[{index}]")));
    }
    errors
}

fn validate_rule(rule: &Value, path: &str) -> Vec<FieldError> {
    let mut errors: Vec<_> = required_one_of(rule, path, "action", &["Restart"]).into_iter().collect();
    let path = format!("{path}.exitCodes");
    let Some(codes) = at(rule, "exitCodes").filter(|codes| !codes.is_null()) else {
        errors.push(FieldError::required(path, "must be specified"));
        return errors;
    };
    errors.extend(required_one_of(codes, &path, "operator", &["In", "NotIn"]));
    let count = list(codes, "values").len();
    if count > CODES_MAX {
        errors.push(FieldError::too_many(format!("{path}.values"), count, CODES_MAX));
    }
    errors
}

fn required_one_of(value: &Value, path: &str, field: &str, allowed: &[&str]) -> Option<FieldError> {
    let actual = text(value, field);
    let is_known = allowed.contains(&actual);
    (!is_known).then(|| FieldError::not_supported(format!("{path}.{field}"), actual, allowed))
}
