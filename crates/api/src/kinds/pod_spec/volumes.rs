//! What volumes must look like (`ValidateVolumes`).

use std::collections::BTreeSet;

use serde_json::Value;

use crate::kinds::doc::{has, list, text};
use crate::kinds::rules;
use crate::meta;
use crate::status::FieldError;

/// A projected token lasts between ten minutes and 2^32 seconds.
const TOKEN_SECONDS_MIN: i64 = 600;
/// See `TOKEN_SECONDS_MIN`.
const TOKEN_SECONDS_MAX: i64 = 1 << 32;
/// A pod's certificate lasts between an hour and ninety-one days.
const CERTIFICATE_SECONDS_MIN: i64 = 3600;
/// See `CERTIFICATE_SECONDS_MIN`.
const CERTIFICATE_SECONDS_MAX: i64 = 91 * 24 * 3600;
const MODE_RANGE: &str = "must be a number between 0 and 0777 (octal), both inclusive";

/// Returns the names of the volumes, and everything that is wrong with them.
pub(super) fn validate<'a>(volumes: &'a [Value], path: &str) -> (BTreeSet<&'a str>, Vec<FieldError>) {
    let mut names = BTreeSet::new();
    let mut errors = Vec::new();
    for (index, volume) in volumes.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let name = text(volume, "name");
        if name.is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        } else {
            let problems = meta::dns1123_label(name);
            errors.extend(problems.iter().map(|problem| FieldError::invalid(format!("{path}.name"), name, problem)));
            if !names.insert(name) {
                errors.push(FieldError::duplicate(format!("{path}.name"), name));
            }
        }
        errors.extend(validate_source(volume, &path));
    }
    (names, errors)
}

fn validate_source(volume: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let sources =
        volume.as_object().into_iter().flatten().filter(|(field, value)| *field != "name" && !value.is_null());
    let mut found = 0;
    for (kind, source) in sources {
        let path = format!("{path}.{kind}");
        found += 1;
        if found > 1 {
            errors.push(FieldError::forbidden(path, "may not specify more than 1 volume type"));
            continue;
        }
        let needed: &[&str] = match kind.as_str() {
            "secret" => &["secretName"],
            "configMap" => &["name"],
            "persistentVolumeClaim" => &["claimName"],
            "hostPath" => &["path"],
            "nfs" => &["server", "path"],
            "csi" => &["driver"],
            "image" => &["reference"],
            _ => &[],
        };
        if kind == "ephemeral" {
            errors.extend(validate_ephemeral(source, &path));
        }
        if kind == "projected" {
            for (index, source) in list(source, "sources").iter().enumerate() {
                errors.extend(validate_projection(source, &format!("{path}.sources[{index}]")));
            }
        }
        let missing = needed.iter().filter(|field| !has(source, field));
        errors.extend(missing.map(|field| FieldError::required(format!("{path}.{field}"), "")));
        errors.extend(validate_mode(source, &path, "defaultMode"));
        errors.extend(validate_items(list(source, "items"), &format!("{path}.items"), kind));
    }
    if found == 0 {
        errors.push(FieldError::required(path, "must specify a volume type"));
    }
    errors
}

/// One source of a projected volume (`validateProjectionSources`).
fn validate_projection(source: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let set = source.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    for (index, (kind, projection)) in set.enumerate() {
        let path = format!("{path}.{kind}");
        if index > 0 {
            errors.push(FieldError::forbidden(path, "may not specify more than 1 volume type"));
            continue;
        }
        match kind.as_str() {
            "secret" | "configMap" if !has(projection, "name") => {
                errors.push(FieldError::required(format!("{path}.name"), ""));
            }
            "serviceAccountToken" => errors.extend(validate_token(projection, &path)),
            "podCertificate" => errors.extend(validate_certificate(projection, &path)),
            _ => {}
        }
        errors.extend(validate_items(list(projection, "items"), &format!("{path}.items"), kind));
    }
    errors
}

fn validate_token(token: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let seconds_path = format!("{path}.expirationSeconds");
    match token.get("expirationSeconds").and_then(Value::as_i64) {
        Some(seconds) if seconds < TOKEN_SECONDS_MIN => {
            errors.push(FieldError::invalid(seconds_path, seconds, "may not specify a duration less than 10 minutes"));
        }
        Some(seconds) if seconds > TOKEN_SECONDS_MAX => {
            let detail = "may not specify a duration larger than 2^32 seconds";
            errors.push(FieldError::invalid(seconds_path, seconds, detail));
        }
        _ => {}
    }
    if !has(token, "path") {
        errors.push(FieldError::required(format!("{path}.path"), ""));
    }
    errors
}

fn validate_certificate(certificate: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if !has(certificate, "signerName") {
        errors.push(FieldError::required(format!("{path}.signerName"), ""));
    }
    let kinds = ["ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519", "RSA3072", "RSA4096"];
    let kind = text(certificate, "keyType");
    if !kinds.contains(&kind) {
        errors.push(FieldError::not_supported(format!("{path}.keyType"), kind, &kinds));
    }
    let seconds_path = format!("{path}.maxExpirationSeconds");
    match certificate.get("maxExpirationSeconds").and_then(Value::as_i64) {
        Some(seconds) if seconds < CERTIFICATE_SECONDS_MIN => {
            let detail = format!("if provided, maxExpirationSeconds must be >= {CERTIFICATE_SECONDS_MIN}");
            errors.push(FieldError::invalid(seconds_path, seconds, &detail));
        }
        Some(seconds) if seconds > CERTIFICATE_SECONDS_MAX => {
            let detail = format!("if provided, maxExpirationSeconds must be <= {CERTIFICATE_SECONDS_MAX}");
            errors.push(FieldError::invalid(seconds_path, seconds, &detail));
        }
        _ => {}
    }
    let files = ["credentialBundlePath", "keyPath", "certificateChainPath"];
    if !files.iter().any(|file| has(certificate, file)) {
        let detail = "specify at least one of credentialBundlePath, keyPath, and certificateChainPath";
        errors.push(FieldError::required(path, detail));
    }
    errors
}

/// A claim that lives as long as its pod.
fn validate_ephemeral(source: &Value, path: &str) -> Vec<FieldError> {
    let path = format!("{path}.volumeClaimTemplate");
    match source.get("volumeClaimTemplate").and_then(|template| template.get("spec")) {
        Some(spec) => rules::validate_claim_spec(spec, &format!("{path}.spec")),
        None => vec![FieldError::required(path, "")],
    }
}

fn validate_items(items: &[Value], path: &str, kind: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if kind != "downwardAPI" && !has(item, "key") {
            errors.push(FieldError::required(format!("{path}.key"), ""));
        }
        let file = text(item, "path");
        if file.is_empty() {
            errors.push(FieldError::required(format!("{path}.path"), ""));
        }
        if file.starts_with('/') {
            errors.push(FieldError::invalid(format!("{path}.path"), file, "must be a relative path"));
        }
        if file.split('/').any(|part| part == "..") {
            errors.push(FieldError::invalid(format!("{path}.path"), file, "must not contain '..'"));
        }
        errors.extend(validate_mode(item, &path, "mode"));
    }
    errors
}

fn validate_mode(source: &Value, path: &str, field: &str) -> Option<FieldError> {
    let mode = source.get(field).and_then(Value::as_i64)?;
    (!(0..=0o777).contains(&mode)).then(|| FieldError::invalid(format!("{path}.{field}"), mode, MODE_RANGE))
}
