//! `AdmissionReview`: what is asked, and what an answer means (`webhook/request`, `webhook/errors`). Pure.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use wkube_api::{Object, Resource, Status};

use crate::admission::Attributes;

const GROUP: &str = "admission.k8s.io";

/// The versions of reviews.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// `v1`
    V1,
    /// `v1beta1`, whose answers are checked less.
    V1beta1,
}

impl Version {
    /// Reads a version of `admissionReviewVersions`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "v1" => Some(Self::V1),
            "v1beta1" => Some(Self::V1beta1),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V1beta1 => "v1beta1",
        }
    }
}

/// What is being asked about, as a webhook wants to see it.
pub(super) struct Shown<'a> {
    /// The kind in the version that the webhook's rule names.
    pub(super) resource: &'a Resource,
    /// The object in that version.
    pub(super) object: Option<&'a Object>,
    /// The stored object in that version.
    pub(super) old: Option<&'a Object>,
}

/// Returns the review to send.
pub(super) fn request(version: Version, uid: &str, attributes: &Attributes<'_>, shown: &Shown<'_>) -> Value {
    let mut request = described(attributes, shown.resource, shown.object.or(shown.old));
    request["uid"] = uid.into();
    request["object"] = json!(shown.object.map(|object| &object.0));
    request["oldObject"] = json!(shown.old.map(|object| &object.0));
    json!({"kind": "AdmissionReview", "apiVersion": format!("{GROUP}/{}", version.as_str()), "request": request})
}

/// Returns an `AdmissionRequest` without its objects, as policies see it; `as_kind` is the kind that a rule names, which
/// may be in another version than the client's.
pub(in crate::admission) fn described(
    attributes: &Attributes<'_>,
    as_kind: &Resource,
    object: Option<&Object>,
) -> Value {
    let call = attributes.call;
    let name = if call.name.is_empty() { object.map(Object::name).unwrap_or_default() } else { &call.name };
    let namespace = if call.is_for("", "namespaces") { name } else { &call.namespace };
    let mut request = json!({
        "kind": kind(as_kind, &call.subresource),
        "resource": resource(as_kind),
        "requestKind": kind(&call.resource, &call.subresource),
        "requestResource": resource(&call.resource),
        "operation": attributes.operation.to_string(),
        "userInfo": user(attributes),
        "dryRun": attributes.dry_run,
        "options": attributes.options().map(|options| options.0),
    });
    for (field, text) in [
        ("subResource", call.subresource.as_str()),
        ("requestSubResource", &call.subresource),
        ("name", name),
        ("namespace", namespace),
    ] {
        if !text.is_empty() {
            request[field] = text.into();
        }
    }
    request
}

fn kind(row: &Resource, subresource: &str) -> Value {
    let Some(sub) = row.subresource(subresource) else {
        return json!({"group": row.group, "version": row.version, "kind": row.kind});
    };
    let (group, version) = sub.api_version.split_once('/').unwrap_or(("", &sub.api_version));
    json!({"group": group, "version": version, "kind": sub.kind})
}

fn resource(row: &Resource) -> Value {
    json!({"group": row.group, "version": row.version, "resource": row.plural})
}

fn user(attributes: &Attributes<'_>) -> Value {
    let user = attributes.user();
    let mut info = Map::new();
    info.insert("username".into(), user.name.as_str().into());
    if !user.uid.is_empty() {
        info.insert("uid".into(), user.uid.as_str().into());
    }
    if !user.groups.is_empty() {
        info.insert("groups".into(), json!(user.groups));
    }
    if !user.extra.is_empty() {
        info.insert("extra".into(), json!(user.extra));
    }
    info.into()
}

/// What a webhook has to say.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Verdict {
    /// Whether the request may go on.
    pub(super) allowed: bool,
    /// Why not.
    pub(super) status: Value,
    /// A JSON patch that does something.
    pub(super) patch: Option<Value>,
    /// For the audit log.
    pub(super) annotations: BTreeMap<String, String>,
    /// For the client.
    pub(super) warnings: Vec<String>,
}

/// Whether a webhook may change the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// It may.
    Mutating,
    /// It may not.
    Validating,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Review {
    api_version: Option<String>,
    kind: Option<String>,
    response: Option<Response>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Response {
    uid: Option<String>,
    allowed: Option<bool>,
    status: Option<Map<String, Value>>,
    patch: Option<String>,
    patch_type: Option<String>,
    audit_annotations: Option<BTreeMap<String, String>>,
    warnings: Option<Vec<String>>,
}

/// Reads an answer.
///
/// # Errors
/// What is wrong with it, as it follows `failed calling webhook "x": `.
pub(super) fn verdict(answer: &[u8], version: Version, uid: &str, phase: Phase) -> Result<Verdict, String> {
    let unread = |why: String| format!("failed to call webhook: {why}");
    if answer.iter().all(u8::is_ascii_whitespace) {
        return Err(unread("0-length response with status code: 200 and content type: ".to_owned()));
    }
    let unparsed = |error| unread(format!("couldn't get version/kind; json parse error: {error}"));
    // Through a map: serde would take a list for a struct, too.
    let review: Map<String, Value> = serde_json::from_slice(answer).map_err(unparsed)?;
    let review: Review = serde_json::from_value(review.into()).map_err(unparsed)?;
    let response =
        check(&review, version, uid, phase).map_err(|why| format!("received invalid webhook response: {why}"))?;
    let patch = response.patch.as_deref().unwrap_or_default();
    let patch = STANDARD.decode(patch).map_err(|error| unread(format!("illegal base64 data: {error}")))?;
    let allowed = response.allowed.unwrap_or_default();
    Ok(Verdict {
        allowed,
        status: response.status.clone().map(Value::Object).unwrap_or_default(),
        // Of a refusal nobody reads the patch.
        patch: if allowed { operations(&patch)? } else { None },
        annotations: response.audit_annotations.clone().unwrap_or_default(),
        warnings: response.warnings.clone().unwrap_or_default(),
    })
}

/// Reads a JSON patch; `None` if there is nothing to do.
fn operations(patch: &[u8]) -> Result<Option<Value>, String> {
    if patch.is_empty() {
        return Ok(None);
    }
    let read: Vec<Value> = serde_json::from_slice(patch)
        .map_err(|error| format!("received undecodable patch in webhook response: {error}"))?;
    Ok(if read.is_empty() { None } else { Some(read.into()) })
}

/// `VerifyAdmissionResponse`.
fn check<'a>(review: &'a Review, version: Version, uid: &str, phase: Phase) -> Result<&'a Response, String> {
    let response = review.response.as_ref().ok_or("webhook response was absent")?;
    if version == Version::V1beta1 {
        return Ok(response);
    }
    let answered = response.uid.as_deref().unwrap_or_default();
    if answered != uid {
        return Err(format!("expected response.uid={uid:?}, got {answered:?}"));
    }
    let (api_version, kind) =
        (review.api_version.as_deref().unwrap_or_default(), review.kind.as_deref().unwrap_or_default());
    if (api_version, kind) != ("admission.k8s.io/v1", "AdmissionReview") {
        let expected = "admission.k8s.io/v1, Kind=AdmissionReview";
        return Err(format!("expected webhook response of {expected}, got {api_version}, Kind={kind}"));
    }
    let has_patch = response.patch.as_ref().is_some_and(|patch| !patch.is_empty());
    match (phase, has_patch, response.patch_type.as_deref()) {
        (Phase::Mutating, true, None) => Err("webhook returned response.patch but not response.patchType".to_owned()),
        (Phase::Mutating, false, Some(_)) => {
            Err("webhook returned response.patchType but not response.patch".to_owned())
        }
        (Phase::Mutating, true, Some("")) => Err("webhook returned invalid response.patchType of \"\"".to_owned()),
        (Phase::Mutating, true, Some(other)) if other != "JSONPatch" => {
            Err(format!("unsupported patch type {other:?}"))
        }
        (Phase::Validating, true, _) => Err("validating webhook may not return response.patch".to_owned()),
        (Phase::Validating, false, Some(_)) => Err("validating webhook may not return response.patchType".to_owned()),
        (Phase::Mutating | Phase::Validating, _, _) => Ok(response),
    }
}

/// Returns the refusal of a request, from what the webhook says about it (`ToStatusErr`).
pub(super) fn denial(hook: &str, status: &Value) -> Status {
    let denied = format!("admission webhook {hook:?} denied the request");
    let text = |field: &str| status[field].as_str().unwrap_or_default();
    let message = match (text("message"), text("reason")) {
        ("", "") => format!("{denied} without explanation"),
        ("", reason) => format!("{denied}: {reason}"),
        (message, _) => format!("{denied}: {message}"),
    };
    // A refusal is never a success.
    let code = status["code"].as_u64().and_then(|code| u16::try_from(code).ok());
    let code = code.filter(|code| (400..600).contains(code)).unwrap_or(400);
    let details = serde_json::from_value(status["details"].clone()).unwrap_or_default();
    Status { code, reason: text("reason").to_owned(), message, details }
}

/// What a request gets if a webhook that counts cannot be asked.
pub(super) fn failure(hook: &str, why: &str) -> Status {
    Status::internal(&format!("failed calling webhook {hook:?}: {why}"))
}

/// What a dry run gets from a webhook that would do something.
pub(super) fn no_dry_run(hook: &str) -> Status {
    Status::bad_request(format!("admission webhook {hook:?} does not support dry run"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn review(response: &Value) -> Vec<u8> {
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}).to_string().into()
    }

    fn check_error(answer: &[u8], phase: Phase, expected: &str) {
        assert_eq!(verdict(answer, Version::V1, "u", phase).expect_err("refused"), expected);
    }

    #[test]
    fn a_good_answer_says_everything() {
        let answer = review(&json!({
            "uid": "u", "allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(r#"[{"op":"x"}]"#),
            "auditAnnotations": {"a": "b"}, "warnings": ["mind"], "status": null,
        }));
        let verdict = verdict(&answer, Version::V1, "u", Phase::Mutating).expect("read");
        let annotations = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let patch = Some(json!([{"op": "x"}]));
        let expected =
            Verdict { allowed: true, status: Value::Null, patch, annotations, warnings: vec!["mind".into()] };
        assert_eq!(verdict, expected);
    }

    #[test]
    fn a_patch_without_operations_is_none_and_one_that_is_no_list_is_a_failure() {
        assert_eq!(operations(b"[]"), Ok(None));
        assert_eq!(operations(b""), Ok(None));
        let error = operations(b"{}").expect_err("refused");
        assert!(error.starts_with("received undecodable patch in webhook response: "), "{error}");
    }

    #[test]
    fn a_lie_is_told_as_such() {
        let invalid = |what: &str| format!("received invalid webhook response: {what}");
        let wrong = review(&json!({"uid": "v", "allowed": true}));
        check_error(&wrong, Phase::Validating, &invalid("expected response.uid=\"u\", got \"v\""));
        let other = json!({"apiVersion": "v1", "kind": "Pod", "response": {"uid": "u"}}).to_string();
        let expected = "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got v1, Kind=Pod";
        check_error(other.as_bytes(), Phase::Validating, &invalid(expected));
        check_error(b"{}", Phase::Validating, &invalid("webhook response was absent"));
    }

    #[test]
    fn a_patch_and_its_type_come_together() {
        let invalid = |what: &str| format!("received invalid webhook response: {what}");
        let only_patch = review(&json!({"uid": "u", "patch": "W10="}));
        check_error(
            &only_patch,
            Phase::Mutating,
            &invalid("webhook returned response.patch but not response.patchType"),
        );
        check_error(&only_patch, Phase::Validating, &invalid("validating webhook may not return response.patch"));
        let only_type = review(&json!({"uid": "u", "patchType": "JSONPatch"}));
        check_error(
            &only_type,
            Phase::Mutating,
            &invalid("webhook returned response.patchType but not response.patch"),
        );
        check_error(&only_type, Phase::Validating, &invalid("validating webhook may not return response.patchType"));
        let strange = review(&json!({"uid": "u", "patch": "W10=", "patchType": "Merge"}));
        check_error(&strange, Phase::Mutating, &invalid("unsupported patch type \"Merge\""));
    }

    #[test]
    fn garbage_is_a_failed_call() {
        for garbage in ["<html>", "[]", "42", r#"{"response":{"allowed":"yes"}}"#] {
            let error = verdict(garbage.as_bytes(), Version::V1, "u", Phase::Validating).expect_err("refused");
            assert!(
                error.starts_with("failed to call webhook: couldn't get version/kind; json parse error: "),
                "{error}"
            );
        }
        check_error(
            b"",
            Phase::Validating,
            "failed to call webhook: 0-length response with status code: 200 and content type: ",
        );
    }

    #[test]
    fn old_reviews_are_checked_less() {
        let answer = json!({"response": {"allowed": true, "patch": "W10="}}).to_string();
        assert!(verdict(answer.as_bytes(), Version::V1beta1, "u", Phase::Mutating).expect("read").allowed);
    }

    #[test]
    fn a_denial_says_who_and_why() {
        let check = |status: Value, code: u16, reason: &str, message: &str| {
            let denied = denial("a.b.c", &status);
            assert_eq!((denied.code, denied.reason.as_str(), denied.message.as_str()), (code, reason, message));
        };
        let denied = "admission webhook \"a.b.c\" denied the request";
        check(Value::Null, 400, "", &format!("{denied} without explanation"));
        check(json!({"message": "no"}), 400, "", &format!("{denied}: no"));
        check(json!({"reason": "Why"}), 400, "Why", &format!("{denied}: Why"));
        check(json!({"code": 403, "message": "no", "reason": "Forbidden"}), 403, "Forbidden", &format!("{denied}: no"));
        check(json!({"code": 200, "message": "no"}), 400, "", &format!("{denied}: no"));
        check(json!({"code": 99999}), 400, "", &format!("{denied} without explanation"));
    }
}
