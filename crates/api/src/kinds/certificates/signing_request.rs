//! Certificate signing requests: columns, and which parts of one its two subresources may change
//! (`pkg/registry/certificates/certificates/strategy.go`).

use serde_json::Value;

use super::rules;
use crate::kinds::doc::{list, text};
use crate::kinds::print::{self, Col, Text};
use crate::kinds::simple::{Parts, Simple};
use crate::meta::NameRule;
use crate::object::Object;
use crate::resource::Part;
use crate::status::FieldError;

/// The decisions about a request, which only `approval` makes.
const DECISIONS: [&str; 2] = ["Approved", "Denied"];
const CONDITIONS: &str = "status.conditions";

/// The manners of certificate signing requests.
pub(in crate::kinds) const CERTIFICATE_REQUEST: Simple = Simple {
    columns: &[
        print::NAME,
        print::AGE,
        Col("SignerName", Text, "signerName indicates the requested signer."),
        Col("Requestor", Text, "Who asked."),
        Col("RequestedDuration", Text, "How long it should be valid."),
        Col("Condition", Text, "Whether it was approved, denied, failed and issued."),
    ],
    cells: |object, now| {
        let seconds = object.at(&["spec", "expirationSeconds"]).and_then(Value::as_i64);
        let duration = seconds.map_or_else(|| print::NONE.to_owned(), print::human_duration);
        vec![
            object.name().into(),
            print::age(object, now),
            print::or_none(object.str_at(&["spec", "signerName"]).to_owned()).into(),
            object.str_at(&["spec", "username"]).into(),
            duration.into(),
            request_condition(object).into(),
        ]
    },
    parts: Parts::StatusOnly,
    prepare_update: |new, old| restore(new, old, "spec"),
    validate: |object, old| if old.is_none() { rules::validate_request(object) } else { Vec::new() },
    names: NameRule::PathSegment,
    part,
    field: |object, path| (path == "spec.signerName").then(|| object.str_at(&["spec", "signerName"]).to_owned()),
    ..Simple::PLAIN
};

/// The rules of `approval`.
struct Approval;

/// The rules of `status`.
struct Issuing;

/// Returns the rules of a subresource.
pub(super) fn part(subresource: &str) -> Option<&'static dyn Part> {
    match subresource {
        "approval" => Some(&Approval),
        "status" => Some(&Issuing),
        _ => None,
    }
}

impl Part for Approval {
    /// Whoever approves changes conditions, not the certificate.
    fn prepare(&self, new: &mut Object, old: &Object) {
        let conditions = new.at(&["status", "conditions"]).cloned();
        restore(new, old, "status");
        if let Some(conditions) = conditions {
            new.set(&["status", "conditions"], conditions);
        } else {
            new.remove(&["status", "conditions"]);
        }
    }

    fn validate(&self, new: &Object, old: &Object) -> Vec<FieldError> {
        validate(new, old)
    }
}

impl Part for Issuing {
    /// Whoever signs writes the certificate, and decides nothing.
    fn prepare(&self, new: &mut Object, old: &Object) {
        let is_decision = |condition: &&Value| DECISIONS.contains(&text(condition, "type"));
        let mut conditions: Vec<Value> = conditions(old).iter().filter(is_decision).cloned().collect();
        conditions.extend(conditions_of(new).into_iter().filter(|condition| !is_decision(&condition)));
        if !conditions.is_empty() {
            new.set(&["status", "conditions"], conditions);
        }
    }

    fn validate(&self, new: &Object, old: &Object) -> Vec<FieldError> {
        let mut errors = validate(new, old);
        let (now, before) = (new.str_at(&["status", "certificate"]), old.str_at(&["status", "certificate"]));
        if !before.is_empty() && now != before {
            errors.push(FieldError::forbidden(
                "status.certificate",
                "updates may not modify existing certificate content",
            ));
        }
        if now != before {
            errors.extend(rules::check_certificate(now));
        }
        errors
    }
}

fn validate(new: &Object, old: &Object) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let now = conditions(new);
    let has = |conditions: &[Value], kind: &str| conditions.iter().any(|one| text(one, "type") == kind);
    for kind in ["Approved", "Denied", "Failed"] {
        if has(conditions(old), kind) && !has(now, kind) {
            errors.push(FieldError::forbidden(
                CONDITIONS,
                &format!("updates may not remove a condition of type {kind:?}"),
            ));
        }
    }
    for (index, condition) in now.iter().enumerate() {
        let (kind, status) = (text(condition, "type"), text(condition, "status"));
        let path = format!("{CONDITIONS}[{index}]");
        if kind.is_empty() {
            errors.push(FieldError::required(format!("{path}.type"), ""));
        }
        let allowed: &[&str] =
            if matches!(kind, "Approved" | "Denied" | "Failed") { &["True"] } else { &["False", "True", "Unknown"] };
        if status.is_empty() {
            errors.push(FieldError::required(format!("{path}.status"), ""));
        } else if !allowed.contains(&status) {
            errors.push(FieldError::not_supported(format!("{path}.status"), status, allowed));
        }
        let other = DECISIONS.iter().find(|other| DECISIONS.contains(&kind) && **other != kind);
        if other.is_some_and(|other| has(&now[..index], other)) {
            let detail = "Approved and Denied conditions are mutually exclusive";
            errors.push(FieldError::invalid(format!("{path}.type"), kind, detail));
        }
        if now[..index].iter().any(|earlier| text(earlier, "type") == kind) {
            errors.push(FieldError::duplicate(format!("{path}.type"), kind));
        }
    }
    errors
}

fn restore(new: &mut Object, old: &Object, field: &str) {
    match old.0.get(field) {
        Some(value) => drop(new.0.insert(field.to_owned(), value.clone())),
        None => drop(new.0.remove(field)),
    }
}

fn conditions(object: &Object) -> &[Value] {
    object.at(&["status"]).map(|status| list(status, "conditions")).unwrap_or_default()
}

fn conditions_of(object: &Object) -> Vec<Value> {
    conditions(object).to_vec()
}

fn request_condition(object: &Object) -> String {
    let conditions = object.at(&["status"]).map(|status| list(status, "conditions")).unwrap_or_default();
    let has = |word: &str| conditions.iter().any(|condition| text(condition, "type") == word);
    let mut words = vec![match (has("Denied"), has("Approved")) {
        (true, _) => "Denied",
        (false, true) => "Approved",
        (false, false) => "Pending",
    }];
    if has("Failed") {
        words.push("Failed");
    }
    if !object.str_at(&["status", "certificate"]).is_empty() {
        words.push("Issued");
    }
    words.join(",")
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::kinds::testing::object;
    use crate::resource::Manners as _;

    #[expect(clippy::needless_pass_by_value, reason = "literals read better without a reference")]
    fn request(status: Value) -> Object {
        object(json!({"metadata": {"name": "r"}, "spec": {"signerName": "x.io/s"}, "status": status}))
    }

    fn approved() -> Value {
        json!({"type": "Approved", "status": "True"})
    }

    fn changed(subresource: &str, new: Value, old: Value) -> (Object, Vec<String>) {
        let (mut new, old) = (request(new), request(old));
        let part = part(subresource).unwrap();
        part.prepare(&mut new, &old);
        let errors = part.validate(&new, &old).iter().map(ToString::to_string).collect();
        (new, errors)
    }

    #[test]
    fn an_approval_changes_conditions_and_not_the_certificate() {
        let (new, errors) = changed("approval", json!({"conditions": [approved()], "certificate": "eA=="}), json!({}));
        assert_eq!((new.at(&["status"]), errors.len()), (Some(&json!({"conditions": [approved()]})), 0));
    }

    #[test]
    fn a_signer_issues_and_does_not_decide() {
        let denied = json!({"type": "Denied", "status": "True"});
        let new = json!({"conditions": [denied], "certificate": "eA=="});
        let (new, errors) = changed("status", new, json!({"conditions": [approved()]}));
        assert_eq!(new.at(&["status"]), Some(&json!({"conditions": [approved()], "certificate": "eA=="})));
        let told = "status.certificate: Invalid value: \"<certificate data>\": must contain at least one CERTIFICATE PEM block";
        assert_eq!(errors, [told]);
        let (_, errors) = changed("status", json!({"certificate": "eA=="}), json!({"certificate": "eQ=="}));
        assert_eq!(errors[0], "status.certificate: Forbidden: updates may not modify existing certificate content");
    }

    #[test]
    fn a_decision_is_made_once_and_stays() {
        let denied = json!({"type": "Denied", "status": "True"});
        let (_, errors) = changed("approval", json!({"conditions": [denied]}), json!({"conditions": [approved()]}));
        assert_eq!(errors, ["status.conditions: Forbidden: updates may not remove a condition of type \"Approved\""]);
        let (_, errors) = changed("approval", json!({"conditions": [approved(), denied]}), json!({}));
        assert_eq!(
            errors,
            [
                "status.conditions[1].type: Invalid value: \"Denied\": Approved and Denied conditions are mutually exclusive"
            ]
        );
        let (_, errors) =
            changed("approval", json!({"conditions": [{"type": "Approved", "status": "False"}]}), json!({}));
        assert_eq!(errors, ["status.conditions[0].status: Unsupported value: \"False\": supported values: \"True\""]);
    }

    #[test]
    fn what_was_asked_for_stays() {
        let (mut new, old) = (request(json!({})), request(json!({})));
        new.set(&["spec", "signerName"], "y.io/t");
        CERTIFICATE_REQUEST.prepare_update(&mut new, &old);
        assert_eq!(new, old);
    }

    #[test]
    fn a_signing_request_is_pending_until_somebody_decides() {
        let show = |status: Value| {
            CERTIFICATE_REQUEST.cells(&object(json!({"status": status})), Timestamp::UNIX_EPOCH)[5].clone()
        };
        assert_eq!(show(json!({})), "Pending");
        assert_eq!(show(json!({"conditions": [{"type": "Approved"}], "certificate": "eA=="})), "Approved,Issued");
        assert_eq!(show(json!({"conditions": [{"type": "Approved"}, {"type": "Denied"}]})), "Denied");
        assert_eq!(show(json!({"conditions": [{"type": "Failed"}]})), "Pending,Failed");
    }
}
