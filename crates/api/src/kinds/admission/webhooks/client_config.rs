//! Where a webhook is: a URL, or a path of a service (`apiserver/pkg/util/webhook/validation.go`).

use serde_json::Value;

use crate::kinds::doc::text;
use crate::meta;
use crate::status::FieldError;

/// Checks where a webhook is: also those that convert custom resources.
pub(in crate::kinds) fn check_client_config(config: &Value, path: &str, errors: &mut Vec<FieldError>) {
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
        for why in meta::dns1123_subdomain(step) {
            wrong(format!("segment[{place}]: {why}"));
        }
    }
}
