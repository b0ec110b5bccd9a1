//! What a certificate signing request must ask for (`pkg/apis/certificates/validation`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::error::X509Error;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer as _;

use crate::kinds::doc::{list, text};
use crate::kinds::rules::spec as spec_of;
use crate::meta;
use crate::object::Object;
use crate::status::FieldError;

const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];
const SECONDS_MIN: i64 = 600;
const LEGACY_SIGNER: &str = "kubernetes.io/legacy-unknown";
/// A domain and a path of a label and a subdomain, and what stands between them.
const SIGNER_MAX: usize = 253 + 1 + 63 + 1 + 253;

/// Returns everything that is wrong with a new request.
pub(super) fn validate_request(object: &Object) -> Vec<FieldError> {
    let spec = spec_of(object);
    let mut errors = Vec::new();
    if let Err(why) = check_request(text(spec, "request")) {
        errors.push(FieldError::invalid("spec.request", text(spec, "request"), &why));
    }
    errors.extend(check_usages(list(spec, "usages")));
    let signer = text(spec, "signerName");
    if signer == LEGACY_SIGNER {
        let detail = "the legacy signerName is not allowed via this API version";
        errors.push(FieldError::invalid("spec.signerName", signer, detail));
    } else {
        errors.extend(check_signer(signer, "spec.signerName"));
    }
    let seconds = spec.get("expirationSeconds").and_then(Value::as_i64);
    if let Some(seconds) = seconds.filter(|seconds| *seconds < SECONDS_MIN) {
        let detail = format!("may not specify a duration less than {SECONDS_MIN} seconds (10 minutes)");
        errors.push(FieldError::invalid("spec.expirationSeconds", seconds, &detail));
    }
    errors
}

/// A request is signed with the key that it is about (`validateCSR`).
fn check_request(request: &str) -> Result<(), String> {
    const TYPE: &str = "PEM block type must be CERTIFICATE REQUEST";
    let bytes = STANDARD.decode(request).map_err(|error| error.to_string())?;
    let block = Pem::iter_from_buffer(&bytes).next().and_then(Result::ok);
    let block = block.filter(|block| block.label == "CERTIFICATE REQUEST").ok_or(TYPE)?;
    let (_, request) = X509CertificationRequest::from_der(&block.contents).map_err(|error| error.to_string())?;
    match request.verify_signature() {
        // Whoever signs may know more algorithms.
        Ok(()) | Err(X509Error::SignatureUnsupportedAlgorithm) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

fn check_usages(usages: &[Value]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if usages.is_empty() {
        errors.push(FieldError::required("spec.usages", ""));
    }
    let path = |index: usize| format!("spec.usages[{index}]");
    for (index, usage) in usages.iter().enumerate() {
        if !usage.as_str().is_some_and(|usage| USAGES.contains(&usage)) {
            errors.push(FieldError::not_supported(path(index), usage.clone(), &USAGES));
        }
    }
    let seen_before = |(index, usage): &(usize, &Value)| usages[..*index].contains(usage);
    let again = usages.iter().enumerate().filter(seen_before);
    errors.extend(again.map(|(index, usage)| FieldError::duplicate(path(index), usage.clone())));
    errors
}

/// Returns what is wrong with the name of a signer, such as `example.com/signer-name` (`ValidateSignerName`).
pub(super) fn check_signer(signer: &str, path: &str) -> Vec<FieldError> {
    if signer.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    let Some((domain, name)) = signer.split_once('/').filter(|(_, name)| !name.contains('/')) else {
        let detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        return vec![FieldError::invalid(path, signer, detail)];
    };
    let mut errors = check_labels(domain, path, meta::dns1123_label);
    if !domain.contains('.') {
        let detail = "should be a domain with at least two segments separated by dots";
        errors.push(FieldError::invalid(path, domain, detail));
    }
    errors.extend(check_labels(name, path, meta::dns1123_subdomain));
    if signer.len() > SIGNER_MAX {
        errors.push(FieldError::too_long(path, SIGNER_MAX));
    }
    errors
}

/// Only the first wrong label is told: the others would be told in the same words.
fn check_labels(name: &str, path: &str, rule: fn(&str) -> Vec<String>) -> Vec<FieldError> {
    let wrong = name.split('.').map(|label| (label, rule(label))).find(|(_, problems)| !problems.is_empty());
    let Some((label, problems)) = wrong else { return Vec::new() };
    let problems = problems.iter().map(|problem| format!("validating label {label:?}: {problem}"));
    FieldError::invalid_each(path, name, problems)
}

/// Returns what is wrong with a certificate that a signer gives: it is one or several, and nothing else.
pub(super) fn check_certificate(certificate: &str) -> Option<FieldError> {
    if certificate.is_empty() {
        return None;
    }
    let wrong = match STANDARD.decode(certificate) {
        Err(error) => Some(error.to_string()),
        Ok(bytes) => wrong_chain(&bytes),
    };
    wrong.map(|why| FieldError::invalid("status.certificate", "<certificate data>", &why))
}

fn wrong_chain(bytes: &[u8]) -> Option<String> {
    let blocks: Vec<Pem> = Pem::iter_from_buffer(bytes).filter_map(Result::ok).collect();
    if blocks.is_empty() {
        return Some("must contain at least one CERTIFICATE PEM block".to_owned());
    }
    blocks.iter().find_map(|block| {
        if block.label != "CERTIFICATE" {
            return Some(format!("only CERTIFICATE PEM blocks are allowed, found {:?}", block.label));
        }
        block.parse_x509().err().map(|error| error.to_string())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::testing::object;

    fn signed() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        params.serialize_request(&key).unwrap().pem().unwrap()
    }

    fn told(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut request = json!({"spec": {"request": STANDARD.encode(signed()), "signerName": "example.com/s",
            "usages": ["client auth"], "expirationSeconds": 600}});
        change(&mut request["spec"]);
        validate_request(&object(request)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_request_is_a_signed_request_for_some_usages_of_a_signer() {
        assert_eq!(told(|_| {}), [""; 0]);
        assert_eq!(
            told(|spec| *spec = json!({"request": "eA==", "expirationSeconds": 599})),
            [
                "spec.request: Invalid value: \"eA==\": PEM block type must be CERTIFICATE REQUEST",
                "spec.usages: Required value",
                "spec.signerName: Required value",
                "spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 600 seconds (10 minutes)",
            ]
        );
        let usages = told(|spec| spec["usages"] = json!(["client auth", "flying", "client auth"]));
        assert!(
            usages[0]
                .starts_with("spec.usages[1]: Unsupported value: \"flying\": supported values: \"any\", \"cert sign\"")
        );
        assert_eq!(usages[1..], ["spec.usages[2]: Duplicate value: \"client auth\""]);
    }

    #[test]
    fn a_request_whose_signature_is_not_its_own_is_refused() {
        let pem = signed();
        let mut der = Pem::iter_from_buffer(pem.as_bytes()).next().unwrap().unwrap().contents;
        *der.last_mut().unwrap() ^= 1;
        let pem = format!(
            "-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n",
            STANDARD.encode(der)
        );
        let told = told(|spec| spec["request"] = STANDARD.encode(pem).into());
        assert!(told.len() == 1 && told[0].starts_with("spec.request: Invalid value"), "{told:?}");
    }

    #[test]
    fn a_signer_has_a_domain_and_a_name() {
        let told =
            |signer: &str| -> Vec<String> { check_signer(signer, "s").iter().map(ToString::to_string).collect() };
        assert_eq!(told("kubernetes.io/kube-apiserver-client"), [""; 0]);
        assert_eq!(
            told("me"),
            [
                "s: Invalid value: \"me\": must be a fully qualified domain and path of the form 'example.com/signer-name'"
            ]
        );
        assert_eq!(
            told("me/x"),
            ["s: Invalid value: \"me\": should be a domain with at least two segments separated by dots"]
        );
        assert!(
            told("A.b/x")[0]
                .starts_with("s: Invalid value: \"A.b\": validating label \"A\": a lowercase RFC 1123 label")
        );
    }

    #[test]
    fn a_chain_is_made_of_certificates() {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        assert_eq!(check_certificate(&STANDARD.encode(certificate.repeat(2))), None);
        let why = |text: &str| check_certificate(&STANDARD.encode(text)).unwrap().message;
        assert!(why(&signed()).ends_with("only CERTIFICATE PEM blocks are allowed, found \"CERTIFICATE REQUEST\""));
        assert!(why("x").ends_with("must contain at least one CERTIFICATE PEM block"));
    }
}
