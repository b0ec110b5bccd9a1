//! What a definition must look like (`pkg/apis/apiextensions/validation/validation.go`).

use serde_json::Value;

use super::{structural, validations};
use crate::jsonpath::JsonPath;
use crate::kinds::admission;
use crate::kinds::doc::{at, flag, list, text};
use crate::meta;
use crate::object::Object;
use crate::status::FieldError;

/// The annotation with which a maintainer of Kubernetes vouches for a kind in a group of theirs.
const APPROVED: &str = "api-approved.kubernetes.io";
const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 9] =
    ["byte", "date", "date-time", "double", "float", "int32", "int64", "name", "password"];
/// `MaxSelectableFields`.
const SELECTABLE_MAX: usize = 8;

/// Returns everything that is wrong with a definition.
pub(super) fn validate(object: &Object, old: Option<&Object>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let nothing = Value::Null;
    let spec = object.0.get("spec").unwrap_or(&nothing);
    names(object, spec, &mut errors);
    scope(spec, &mut errors);
    versions(spec, &mut errors);
    conversion(spec, &mut errors);
    if flag(spec, "preserveUnknownFields") {
        let why = "must be false: set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        errors.push(FieldError::invalid("spec.preserveUnknownFields", true, why));
    }
    approval(object, old, &mut errors);
    if let Some(old) = old {
        update(spec, object, old, &mut errors);
    }
    errors
}

fn names(object: &Object, spec: &Value, errors: &mut Vec<FieldError>) {
    let group = text(spec, "group");
    if group.is_empty() {
        errors.push(FieldError::required("spec.group", ""));
    } else {
        invalid_each("spec.group", group, meta::dns1123_subdomain(group), errors);
        if !group.contains('.') {
            errors.push(FieldError::invalid("spec.group", group, "should be a domain with at least one dot"));
        }
    }
    let names = spec.get("names").unwrap_or(&Value::Null);
    let plural = text(names, "plural");
    if object.name() != format!("{plural}.{group}") {
        let why = "must be spec.names.plural+\".\"+spec.group";
        errors.push(FieldError::invalid("metadata.name", object.name(), why));
    }
    for (field, mixed) in [("plural", false), ("singular", false), ("kind", true), ("listKind", true)] {
        let (path, name) = (format!("spec.names.{field}"), text(names, field));
        if name.is_empty() {
            errors.push(FieldError::required(path, ""));
        } else if mixed {
            for why in meta::dns1035_label(&name.to_lowercase()) {
                let why = format!("may have mixed case, but should otherwise match: {why}");
                errors.push(FieldError::invalid(&path, name, &why));
            }
        } else {
            invalid_each(&path, name, meta::dns1035_label(name), errors);
        }
    }
    if text(names, "kind") == text(names, "listKind") && !text(names, "kind").is_empty() {
        let why = "kind and listKind may not be the same";
        errors.push(FieldError::invalid("spec.names.listKind", text(names, "listKind"), why));
    }
    for field in ["shortNames", "categories"] {
        for (place, name) in list(names, field).iter().filter_map(Value::as_str).enumerate() {
            invalid_each(&format!("spec.names.{field}[{place}]"), name, meta::dns1035_label(name), errors);
        }
    }
}

fn scope(spec: &Value, errors: &mut Vec<FieldError>) {
    match text(spec, "scope") {
        "" => errors.push(FieldError::required("spec.scope", "")),
        "Cluster" | "Namespaced" => {}
        other => errors.push(FieldError::not_supported("spec.scope", other, &["Cluster", "Namespaced"])),
    }
}

fn versions(spec: &Value, errors: &mut Vec<FieldError>) {
    let versions = list(spec, "versions");
    let names: Vec<&str> = versions.iter().map(|version| text(version, "name")).collect();
    if names.iter().enumerate().any(|(place, name)| names[..place].contains(name)) {
        errors.push(FieldError::invalid("spec.versions", names.clone(), "must contain unique version names"));
    }
    if versions.iter().filter(|version| flag(version, "storage")).count() != 1 {
        let why = "must have exactly one version marked as storage version";
        errors.push(FieldError::invalid("spec.versions", names.clone(), why));
    }
    // Kubernetes hoists a schema that all versions share before it looks at it, and users know that path.
    let shares = versions.iter().all(|version| version.get("schema") == versions[0].get("schema"));
    for (place, version) in versions.iter().enumerate() {
        let path = format!("spec.versions[{place}]");
        invalid_each(&format!("{path}.name"), names[place], meta::dns1035_label(names[place]), errors);
        let own = format!("{path}.schema.openAPIV3Schema");
        match at(version, "schema.openAPIV3Schema") {
            None => errors.push(FieldError::required(own, "schemas are required")),
            Some(_) if shares && place > 0 => {}
            Some(schema) => {
                let path = if shares { "spec.validation.openAPIV3Schema".to_owned() } else { own };
                let wrong = structural::validate(schema, &path);
                // Rules are read against the schema, and what they would say about a broken one helps nobody.
                let rules = if wrong.is_empty() { validations::validate(schema, &path) } else { Vec::new() };
                errors.extend(wrong.into_iter().chain(rules));
            }
        }
        columns(version, &path, errors);
        scale(version, &path, errors);
        selectable(version, &path, errors);
    }
}

fn columns(version: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for (place, column) in list(version, "additionalPrinterColumns").iter().enumerate() {
        let path = format!("{path}.additionalPrinterColumns[{place}]");
        if text(column, "name").is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        }
        match text(column, "type") {
            "" => {
                let allowed = format!("must be one of {}", COLUMN_TYPES.join(","));
                errors.push(FieldError::required(format!("{path}.type"), &allowed));
            }
            kind if COLUMN_TYPES.contains(&kind) => {}
            other => {
                let allowed = format!("must be one of {}", COLUMN_TYPES.join(","));
                errors.push(FieldError::invalid(format!("{path}.type"), other, &allowed));
            }
        }
        let format = text(column, "format");
        if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
            let allowed = format!("must be one of {}", COLUMN_FORMATS.join(","));
            errors.push(FieldError::invalid(format!("{path}.format"), format, &allowed));
        }
        json_path(column, "jsonPath", &path, errors);
    }
}

fn json_path(holder: &Value, field: &str, path: &str, errors: &mut Vec<FieldError>) {
    let (path, text) = (format!("{path}.{field}"), text(holder, field));
    if text.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else if !text.starts_with('.') {
        errors.push(FieldError::invalid(path, text, "must be a simple json path starting with ."));
    } else if let Err(error) = text.parse::<JsonPath>() {
        errors.push(FieldError::invalid(path, text, &format!("is an invalid simple json path: {error}")));
    }
}

fn scale(version: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let Some(scale) = at(version, "subresources.scale") else { return };
    let path = format!("{path}.subresources.scale");
    let mut check = |field: &str, roots: &[&str]| {
        let text = text(scale, field);
        let is_under = roots.iter().any(|root| text.strip_prefix(root).is_some_and(|rest| rest.starts_with('.')));
        if !is_under {
            let why = format!("should be a json path under {}", roots.join(" or "));
            errors.push(FieldError::invalid(format!("{path}.{field}"), text, &why));
        } else if text.contains(['[', ']', '*']) {
            let why = "should be a json path without array notation";
            errors.push(FieldError::invalid(format!("{path}.{field}"), text, why));
        }
    };
    check("specReplicasPath", &[".spec"]);
    check("statusReplicasPath", &[".status"]);
    if !text(scale, "labelSelectorPath").is_empty() {
        check("labelSelectorPath", &[".spec", ".status"]);
    }
}

fn selectable(version: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let fields = list(version, "selectableFields");
    let path = format!("{path}.selectableFields");
    if fields.len() > SELECTABLE_MAX {
        errors.push(FieldError::too_many(&path, fields.len(), SELECTABLE_MAX));
    }
    for (place, field) in fields.iter().enumerate() {
        let path = format!("{path}[{place}]");
        json_path(field, "jsonPath", &path, errors);
        let text = text(field, "jsonPath");
        if text == ".metadata" || text.starts_with(".metadata.") {
            let why = "must not point to fields in metadata";
            errors.push(FieldError::invalid(format!("{path}.jsonPath"), text, why));
        } else if text.starts_with('.') && !is_selectable(version, text) {
            let why = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            errors.push(FieldError::invalid(format!("{path}.jsonPath"), text, why));
        }
    }
}

fn is_selectable(version: &Value, path: &str) -> bool {
    let mut schema = at(version, "schema.openAPIV3Schema");
    for name in path.split('.').skip(1) {
        schema = schema.and_then(|schema| schema.get("properties")?.get(name));
    }
    schema.is_some_and(|schema| matches!(text(schema, "type"), "string" | "boolean" | "integer"))
}

fn conversion(spec: &Value, errors: &mut Vec<FieldError>) {
    let path = "spec.conversion.strategy";
    match at(spec, "conversion.strategy").and_then(Value::as_str).unwrap_or_default() {
        "None" => {
            // Named as in Kubernetes' internal version, which is what its users read.
            let why = "should not be set when strategy is not set to Webhook";
            if at(spec, "conversion.webhook.clientConfig").is_some() {
                errors.push(FieldError::forbidden("spec.conversion.webhookClientConfig", why));
            }
            if at(spec, "conversion.webhook.conversionReviewVersions").is_some() {
                errors.push(FieldError::forbidden("spec.conversion.conversionReviewVersions", why));
            }
        }
        "" => errors.push(FieldError::required(path, "")),
        "Webhook" => conversion_webhook(spec, errors),
        other => errors.push(FieldError::not_supported(path, other, &["None", "Webhook"])),
    }
}

fn conversion_webhook(spec: &Value, errors: &mut Vec<FieldError>) {
    let path = "spec.conversion.webhookClientConfig";
    match at(spec, "conversion.webhook.clientConfig") {
        None => errors.push(FieldError::required(path, "required when strategy is set to Webhook")),
        Some(config) => admission::check_client_config(config, path, errors),
    }
    let versions = at(spec, "conversion.webhook").map(|webhook| list(webhook, "conversionReviewVersions"));
    admission::check_conversion_reviews(
        versions.unwrap_or_default(),
        "spec.conversion.conversionReviewVersions",
        errors,
    );
}

/// Groups of Kubernetes itself need its word (`validateAPIApproval`).
fn approval(object: &Object, old: Option<&Object>, errors: &mut Vec<FieldError>) {
    let group = object.str_at(&["spec", "group"]);
    let is_protected = ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|domain| group.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')));
    let annotations = object.annotations();
    let word = annotations.get(APPROVED).copied().unwrap_or_default();
    let approved = word.starts_with("unapproved") || (word.contains("://") && !word.contains(' '));
    let was_there = old.is_some_and(|old| old.annotations().get(APPROVED).copied().unwrap_or_default() == word);
    if !is_protected || approved || was_there {
        return;
    }
    let path = format!("metadata.annotations[{APPROVED}]");
    let see = "see https://github.com/kubernetes/enhancements/pull/1111";
    errors.push(if word.is_empty() {
        FieldError::required(path, &format!("protected groups must have approval annotation \"{APPROVED}\", {see}"))
    } else {
        let why = format!("protected groups must have approval annotation \"{APPROVED}\" with either a URL or a reason starting with \"unapproved\", {see}");
        FieldError::invalid(path, word, &why)
    });
}

fn update(spec: &Value, object: &Object, old: &Object, errors: &mut Vec<FieldError>) {
    let nothing = Value::Null;
    let before = old.0.get("spec").unwrap_or(&nothing);
    let mut fixed = vec!["group", "names.plural"];
    if super::is_established(old) {
        fixed.extend(["scope", "names.kind"]);
    }
    for field in fixed {
        if at(spec, field) != at(before, field) {
            let value = at(spec, field).cloned().unwrap_or_default();
            errors.push(FieldError::invalid(format!("spec.{field}"), value, "field is immutable"));
        }
    }
    let versions: Vec<&str> = list(spec, "versions").iter().map(|version| text(version, "name")).collect();
    let status = object.0.get("status").unwrap_or(&nothing);
    for (place, stored) in list(status, "storedVersions").iter().filter_map(Value::as_str).enumerate() {
        if !versions.contains(&stored) {
            let why = format!(
                "missing from spec.versions; {stored} was previously a storage version, and must remain in spec.versions \
                 until a storage migration ensures no data remains persisted in {stored} and removes {stored} from \
                 status.storedVersions"
            );
            errors.push(FieldError::invalid(format!("status.storedVersions[{place}]"), stored, &why));
        }
    }
}

fn invalid_each(path: &str, value: &str, problems: impl IntoIterator<Item = String>, errors: &mut Vec<FieldError>) {
    errors.extend(problems.into_iter().map(|why| FieldError::invalid(path, value, &why)));
}
