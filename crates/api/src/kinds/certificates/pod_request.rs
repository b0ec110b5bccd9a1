//! The rules of requests for the certificates of pods (`ValidatePodCertificateRequestCreate` and what follows it in
//! `pkg/apis/certificates/validation`). That a key belongs to the request is its signer's to check.

use serde_json::Value;

use super::rules::check_signer;
use crate::kinds::doc::{Doc, child_made, fill, has, list, number, text};
use crate::meta;
use crate::object::Object;
use crate::resource::Part;
use crate::status::FieldError;

/// How long a certificate is asked for by default: a day, also the most that Kubernetes' own signers give.
const DAY_SECONDS: i64 = 86_400;
const SECONDS_MIN: i64 = 3600;
const SECONDS_MAX: i64 = 91 * DAY_SECONDS;
const UID_MAX: usize = 128;
const REQUEST_MAX: usize = 10 << 10;
const CHAIN_MAX: usize = 100 << 10;

/// What a signer decides, once.
const DECISIONS: [&str; 3] = ["Issued", "Denied", "Failed"];
const CONDITIONS: &str = "status.conditions";

/// Fills in what the user left out.
pub(super) fn default(doc: &mut Doc) {
    if let Some(spec) = child_made(doc, "spec") {
        fill(spec, "maxExpirationSeconds", DAY_SECONDS);
    }
}

/// Returns what is wrong with a request, or with a change to one: only its metadata may change.
pub(super) fn validate(object: &Object, old: Option<&Object>) -> Vec<FieldError> {
    let spec = object.at(&["spec"]).unwrap_or(&Value::Null);
    if let Some(old) = old {
        let is_same = old.at(&["spec"]).unwrap_or(&Value::Null) == spec;
        return if is_same {
            Vec::new()
        } else {
            vec![FieldError::invalid("spec", spec.clone(), "field is immutable")]
        };
    }
    let mut errors = Vec::new();
    let signer = text(spec, "signerName");
    errors.extend(check_signer(signer, "spec.signerName"));
    for who in ["pod", "serviceAccount", "node"] {
        let (name, uid) = (text(spec, &format!("{who}Name")), text(spec, &format!("{who}UID")));
        let problems = meta::dns1123_subdomain(name);
        errors.extend(problems.iter().map(|problem| FieldError::invalid(format!("spec.{who}Name"), name, problem)));
        if uid.is_empty() {
            errors.push(FieldError::invalid(format!("spec.{who}UID"), uid, "must not be empty"));
        } else if uid.len() > UID_MAX {
            errors.push(FieldError::too_long(format!("spec.{who}UID"), UID_MAX));
        }
    }
    let (seconds, most) = (number(spec, "maxExpirationSeconds"), longest(signer));
    if !(SECONDS_MIN..=most).contains(&seconds) {
        let why = format!("must be in the range [{SECONDS_MIN}, {most}]");
        errors.push(FieldError::invalid("spec.maxExpirationSeconds", seconds, &why));
    }
    // Base64 has four letters for three bytes.
    if text(spec, "stubPKCS10Request").len() / 4 * 3 > REQUEST_MAX {
        errors.push(FieldError::too_long("spec.stubPKCS10Request", REQUEST_MAX));
    }
    errors
}

fn longest(signer: &str) -> i64 {
    let domain = signer.split('/').next().unwrap_or_default();
    if domain == "kubernetes.io" || domain.ends_with(".kubernetes.io") { DAY_SECONDS } else { SECONDS_MAX }
}

/// The rules of `status`, which a signer writes.
pub(super) struct Issuing;

impl Part for Issuing {
    fn prepare(&self, _new: &mut Object, _old: &Object) {}

    fn validate(&self, new: &Object, old: &Object) -> Vec<FieldError> {
        let status = new.at(&["status"]).unwrap_or(&Value::Null);
        let before = old.at(&["status"]).unwrap_or(&Value::Null);
        let errors = validate_conditions(list(status, "conditions"));
        if !errors.is_empty() {
            return errors;
        }
        if decision(before).is_some() {
            let why = "immutable after PodCertificateRequest is issued, denied, or failed";
            return if status == before { errors } else { vec![FieldError::invalid("status", status.clone(), why)] };
        }
        let certificate = ["certificateChain", "notBefore", "notAfter", "beginRefreshAt"];
        let has_any = certificate.iter().any(|field| has(status, field));
        match decision(status) {
            Some("Issued") => validate_issued(status),
            Some(_) if has_any => {
                let why = "non-condition status fields must be empty when denying or failing the PodCertificateRequest";
                vec![FieldError::invalid("status", status.clone(), why)]
            }
            None if has_any => {
                let why = "may not be set unless the PodCertificateRequest is issued";
                vec![FieldError::invalid("status", status.clone(), why)]
            }
            Some(_) | None => errors,
        }
    }
}

/// Returns what the signer has decided.
fn decision(status: &Value) -> Option<&str> {
    let kinds = list(status, "conditions").iter().map(|condition| text(condition, "type"));
    kinds.into_iter().find(|kind| DECISIONS.contains(kind))
}

fn validate_conditions(conditions: &[Value]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, condition) in conditions.iter().enumerate() {
        let (kind, status) = (text(condition, "type"), text(condition, "status"));
        let path = format!("{CONDITIONS}[{index}]");
        if !DECISIONS.contains(&kind) {
            errors.push(FieldError::not_supported(format!("{path}.type"), kind, &DECISIONS));
            continue;
        }
        if index > 0 {
            let why = "There may be at most one condition with type \"Issued\", \"Denied\", or \"Failed\"";
            errors.push(FieldError::invalid(format!("{path}.type"), kind, why));
        }
        if status != "True" {
            errors.push(FieldError::not_supported(format!("{path}.status"), status, &["True"]));
        }
    }
    errors
}

fn validate_issued(status: &Value) -> Vec<FieldError> {
    const CHAIN: &str = "status.certificateChain";
    let chain = text(status, "certificateChain");
    if chain.len() > CHAIN_MAX {
        return vec![FieldError::too_long(CHAIN, CHAIN_MAX)];
    }
    let begins: Vec<&str> = chain.lines().filter_map(|line| line.strip_prefix("-----BEGIN ")).collect();
    if begins.is_empty() {
        return vec![FieldError::invalid(
            CHAIN,
            chain,
            "issued certificate chain must contain at least one certificate",
        )];
    }
    if begins.iter().any(|begin| *begin != "CERTIFICATE-----") {
        let why = "issued certificate chain must consist entirely of CERTIFICATE PEM blocks";
        return vec![FieldError::invalid(CHAIN, chain, why)];
    }
    let consistent = "must be present and consistent with the issued certificate";
    let times = [
        ("notBefore", consistent),
        ("notAfter", consistent),
        ("beginRefreshAt", "must be present and in the range [notbefore+10min, notafter-10min]"),
    ];
    let missing = times.into_iter().filter(|(field, _)| !has(status, field));
    missing.map(|(field, why)| FieldError::required(format!("status.{field}"), why)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::testing::object;

    fn request() -> Object {
        object(json!({"spec": {"signerName": "example.com/s", "podName": "p", "podUID": "1",
            "serviceAccountName": "default", "serviceAccountUID": "2", "nodeName": "n", "nodeUID": "3",
            "maxExpirationSeconds": 3600}}))
    }

    fn with(path: &[&str], value: impl Into<Value>) -> Object {
        let mut request = request();
        request.set(path, value);
        request
    }

    fn words(errors: &[FieldError]) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    fn issued() -> Value {
        json!({"conditions": [{"type": "Issued", "status": "True"}], "notBefore": "2026-01-01T00:00:00Z",
            "notAfter": "2026-01-01T01:00:00Z", "beginRefreshAt": "2026-01-01T00:20:00Z",
            "certificateChain": "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"})
    }

    fn change(new: Value, old: Value) -> Vec<String> {
        words(&Issuing.validate(&with(&["status"], new), &with(&["status"], old)))
    }

    #[test]
    fn a_certificate_is_asked_for_a_day_unless_said_otherwise() {
        let mut doc = Doc::new();
        default(&mut doc);
        assert_eq!(Value::Object(doc), json!({"spec": {"maxExpirationSeconds": 86400}}));
    }

    #[test]
    fn a_request_says_who_asks_whom_and_for_how_long() {
        assert!(validate(&request(), None).is_empty());
        let found = words(&validate(&object(json!({})), None));
        let paths: Vec<&str> = found.iter().filter_map(|error| error.split(':').next()).collect();
        let expected = ["signerName", "podName", "podUID", "serviceAccountName", "serviceAccountUID", "nodeName"];
        assert_eq!(paths[..6], expected.map(|field| format!("spec.{field}")));
        assert_eq!(paths[6..], ["spec.nodeUID", "spec.maxExpirationSeconds"]);
        let own = with(&["spec", "signerName"], "kubernetes.io/kube-apiserver-client-pod");
        assert!(validate(&own, None).is_empty());
        for (signer, seconds, most) in [("kubernetes.io/x", 86_401, "86400"), ("example.com/s", 7_862_401, "7862400")] {
            let mut long = with(&["spec", "signerName"], signer);
            long.set(&["spec", "maxExpirationSeconds"], seconds);
            let expected =
                format!("spec.maxExpirationSeconds: Invalid value: {seconds}: must be in the range [3600, {most}]");
            assert_eq!(words(&validate(&long, None)), [expected]);
        }
    }

    #[test]
    fn a_request_stays_as_it_was_made() {
        let other = with(&["spec", "podName"], "q");
        let found = words(&validate(&other, Some(&request())));
        assert!(
            found[0].starts_with("spec: Invalid value: ") && found[0].ends_with(": field is immutable"),
            "{found:?}"
        );
        assert!(validate(&request(), Some(&request())).is_empty());
    }

    #[test]
    fn a_signer_decides_once() {
        let denied = json!({"conditions": [{"type": "Denied", "status": "True"}]});
        assert!(change(denied.clone(), json!({})).is_empty());
        assert!(change(issued(), json!({})).is_empty());
        assert!(change(issued(), issued()).is_empty());
        assert!(
            change(denied, issued())[0].ends_with("immutable after PodCertificateRequest is issued, denied, or failed")
        );
        let both = json!({"conditions": [{"type": "Denied", "status": "True"}, {"type": "Failed", "status": "False"}]});
        assert_eq!(
            change(both, json!({})),
            [
                "status.conditions[1].type: Invalid value: \"Failed\": There may be at most one condition with type \"Issued\", \"Denied\", or \"Failed\"",
                "status.conditions[1].status: Unsupported value: \"False\": supported values: \"True\"",
            ]
        );
    }

    #[test]
    fn an_issued_certificate_comes_with_its_times_and_nothing_else_does() {
        let mut bare = issued();
        bare.as_object_mut().unwrap().remove("notAfter");
        assert_eq!(
            change(bare.clone(), json!({})),
            ["status.notAfter: Required value: must be present and consistent with the issued certificate"]
        );
        bare["certificateChain"] = "-----BEGIN PRIVATE KEY-----".into();
        assert!(change(bare, json!({}))[0].ends_with("must consist entirely of CERTIFICATE PEM blocks"));
        for conditions in [json!([]), json!([{"type": "Failed", "status": "True"}])] {
            let mut odd = issued();
            odd["conditions"] = conditions;
            assert_eq!(change(odd, json!({})).len(), 1);
        }
    }
}
