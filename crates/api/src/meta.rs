//! What `metadata` may say: names, labels, annotations, finalizers, owners (`apimachinery/pkg/api/validation` and
//! `pkg/util/validation`), with Kubernetes' sentences.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::object::Object;
use crate::resource::Scope;
use crate::status::{FieldError, FieldReason};

/// The annotations of one object together, keys and values (`TotalAnnotationSizeLimitB`).
pub const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;
/// A DNS label.
pub const LABEL_MAX: usize = 63;
/// A DNS name.
pub const SUBDOMAIN_MAX: usize = 253;
/// What the server appends to `generateName`.
pub const GENERATED_SUFFIX: usize = 5;

/// The letters of generated names: no vowels, so that no words arise, and nothing that looks alike.
const GENERATED_LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];

/// What the names of a kind must look like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NameRule {
    /// DNS-1123 subdomain: most kinds.
    #[default]
    Subdomain,
    /// DNS-1123 label: namespaces, and what becomes a host name.
    Label,
    /// DNS-1035 label: services.
    ServiceLabel,
    /// Anything that can be one segment of a URL: RBAC, CSRs.
    PathSegment,
}

impl NameRule {
    /// Returns what is wrong with a name. For a `generateName` give the prefix with `is_prefix`.
    pub fn check(self, name: &str, part: NamePart) -> Vec<String> {
        // A generated suffix always ends alphanumerically, so that a prefix may end with a dash.
        let masked = match part {
            NamePart::Prefix if name.len() > 1 => name.strip_suffix('-').map(|rest| format!("{rest}a")),
            NamePart::Prefix | NamePart::Whole => None,
        };
        let name = masked.as_deref().unwrap_or(name);
        match self {
            Self::Subdomain => dns1123_subdomain(name),
            Self::Label => dns1123_label(name),
            Self::ServiceLabel => dns1035_label(name),
            Self::PathSegment => path_segment(name),
        }
    }
}

/// Whether a name is the whole of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamePart {
    /// A full name.
    Whole,
    /// A `generateName`.
    Prefix,
}

/// Returns what is wrong with a DNS-1123 label.
pub fn dns1123_label(value: &str) -> Vec<String> {
    let fits =
        value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') && ends_alphanumeric(value);
    problems(
        value,
        LABEL_MAX,
        fits,
        &regex_text(
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character",
            "[a-z0-9]([-a-z0-9]*[a-z0-9])?",
            &["my-name", "123-abc"],
        ),
    )
}

/// Returns what is wrong with a DNS-1123 subdomain that starts with `*.`.
pub fn wildcard_subdomain(value: &str) -> Vec<String> {
    problems(
        value,
        SUBDOMAIN_MAX,
        value.strip_prefix("*.").is_some_and(|rest| dns1123_subdomain(rest).is_empty()),
        &regex_text(
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
            r"\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*",
            &["*.example.com"],
        ),
    )
}

/// Returns what is wrong with a DNS-1123 subdomain.
pub fn dns1123_subdomain(value: &str) -> Vec<String> {
    let label = |part: &str| {
        part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') && ends_alphanumeric(part)
    };
    problems(
        value,
        SUBDOMAIN_MAX,
        value.split('.').all(label),
        &regex_text(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
            r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*",
            &["example.com"],
        ),
    )
}

/// Returns what is wrong with a DNS-1035 label.
pub fn dns1035_label(value: &str) -> Vec<String> {
    let fits = value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && ends_alphanumeric(value)
        && value.starts_with(|c: char| c.is_ascii_lowercase());
    problems(
        value,
        LABEL_MAX,
        fits,
        &regex_text(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character",
            "[a-z]([-a-z0-9]*[a-z0-9])?",
            &["my-name", "abc-123"],
        ),
    )
}

/// Returns what is wrong with a name that only has to be one segment of a URL.
pub fn path_segment(value: &str) -> Vec<String> {
    if value == "." || value == ".." {
        return vec![format!("may not be '{value}'")];
    }
    ["/", "%"].iter().filter(|bad| value.contains(*bad)).map(|bad| format!("may not contain '{bad}'")).collect()
}

/// Returns what is wrong with a qualified name, such as a label's key: `name` or `prefix/name`.
pub fn qualified_name(value: &str) -> Vec<String> {
    const PATTERN: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
    const RULE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
    let mut found = Vec::new();
    let (prefix, name) = match value.split_once('/') {
        Some((_, name)) if name.contains('/') => {
            let rule = regex_text(RULE, PATTERN, &["MyName", "my.name", "123-abc"]);
            return vec![format!(
                "a qualified name {rule} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, value),
    };
    if let Some(prefix) = prefix {
        if prefix.is_empty() {
            found.push("prefix part must be non-empty".to_owned());
        } else {
            found.extend(dns1123_subdomain(prefix).into_iter().map(|problem| format!("prefix part {problem}")));
        }
    }
    if name.is_empty() {
        found.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_MAX {
        found.push(format!("name part must be no more than {LABEL_MAX} bytes"));
    }
    if !is_label_text(name) {
        found.push(format!("name part {}", regex_text(RULE, PATTERN, &["MyName", "my.name", "123-abc"])));
    }
    found
}

/// Returns what is wrong with the value of a label.
pub fn label_value(value: &str) -> Vec<String> {
    problems(
        value,
        LABEL_MAX,
        value.is_empty() || is_label_text(value),
        &regex_text(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
            "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?",
            &["MyValue", "my_value", "12345"],
        ),
    )
}

fn is_label_text(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) && ends_alphanumeric(text)
}

fn ends_alphanumeric(text: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_alphanumeric();
    text.starts_with(alphanumeric) && text.ends_with(alphanumeric)
}

fn problems(value: &str, bytes_max: usize, fits: bool, rule: &str) -> Vec<String> {
    let mut found = Vec::new();
    if value.len() > bytes_max {
        found.push(format!("must be no more than {bytes_max} bytes"));
    }
    if !fits {
        found.push(rule.to_owned());
    }
    found
}

/// Words a rule as `validation.RegexError` does, down to its two spaces before `or`.
fn regex_text(rule: &str, pattern: &str, examples: &[&str]) -> String {
    let examples = examples.iter().map(|example| format!("'{example}'")).collect::<Vec<_>>().join(",  or ");
    format!("{rule} (e.g. {examples}, regex used for validation is '{pattern}')")
}

/// Returns `prefix` with a random suffix, at most 63 bytes together. `pick(n)` returns a number below n.
pub fn generate_name(prefix: &str, mut pick: impl FnMut(usize) -> usize) -> String {
    let mut end = prefix.len().min(LABEL_MAX - GENERATED_SUFFIX);
    while !prefix.is_char_boundary(end) {
        end -= 1;
    }
    let mut name = prefix[..end].to_owned();
    name.extend((0..GENERATED_SUFFIX).map(|_| char::from(GENERATED_LETTERS[pick(GENERATED_LETTERS.len())])));
    name
}

/// Returns everything that is wrong with the metadata of an object (`ValidateObjectMeta`). Call it after the name was
/// generated.
pub fn validate(object: &Object, scope: Scope, names: NameRule) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let prefix = object.generate_name();
    if !prefix.is_empty() {
        let problems = names.check(prefix, NamePart::Prefix);
        errors.extend(problems.iter().map(|problem| invalid("metadata.generateName", prefix, problem)));
    }
    let name = object.name();
    if name.is_empty() {
        errors.push(error("metadata.name", FieldReason::Required, "Required value: name or generateName is required"));
    } else {
        let problems = names.check(name, NamePart::Whole);
        errors.extend(problems.iter().map(|problem| invalid("metadata.name", name, problem)));
    }
    errors.extend(validate_namespace(object.namespace(), scope));
    if object.generation() < 0 {
        let generation = object.generation();
        let text = format!("Invalid value: {generation}: must be greater than or equal to 0");
        errors.push(error("metadata.generation", FieldReason::Invalid, text));
    }
    errors.extend(validate_labels("metadata.labels", &object.labels()));
    errors.extend(validate_annotations("metadata.annotations", &object.annotations()));
    errors.extend(validate_owners(object));
    errors.extend(validate_finalizers(&object.finalizers()));
    errors
}

fn validate_namespace(namespace: &str, scope: Scope) -> Vec<FieldError> {
    const FIELD: &str = "metadata.namespace";
    match (scope, namespace) {
        (Scope::Namespaced, "") => vec![error(FIELD, FieldReason::Required, "Required value")],
        (Scope::Namespaced, namespace) => {
            dns1123_label(namespace).iter().map(|problem| invalid(FIELD, namespace, problem)).collect()
        }
        (Scope::Cluster, "") => Vec::new(),
        (Scope::Cluster, _) => vec![error(FIELD, FieldReason::Forbidden, "Forbidden: not allowed on this type")],
    }
}

/// Returns what is wrong with labels at a path, which pod templates have too.
pub fn validate_labels(field: &str, labels: &BTreeMap<&str, &str>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (key, value) in labels {
        errors.extend(qualified_name(key).iter().map(|problem| invalid(field, key, problem)));
        errors.extend(label_value(value).iter().map(|problem| invalid(field, value, problem)));
    }
    errors
}

/// Returns what is wrong with annotations at a path. Their keys are compared in lower case.
pub fn validate_annotations(field: &str, annotations: &BTreeMap<&str, &str>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for key in annotations.keys() {
        errors.extend(qualified_name(&key.to_lowercase()).iter().map(|problem| invalid(field, key, problem)));
    }
    let bytes: usize = annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > ANNOTATIONS_BYTES_MAX {
        let text = format!("Too long: may not be more than {ANNOTATIONS_BYTES_MAX} bytes");
        errors.push(error(field, FieldReason::TooLong, text));
    }
    errors
}

fn validate_owners(object: &Object) -> Vec<FieldError> {
    const FIELD: &str = "metadata.ownerReferences";
    let mut errors = Vec::new();
    let mut controller: Option<(&str, &str)> = None;
    for owner in object.owners() {
        let needed = [
            ("apiVersion", owner.api_version, "version must not be empty"),
            ("kind", owner.kind, "must not be empty"),
            ("name", owner.name, "must not be empty"),
            ("uid", owner.uid, "must not be empty"),
        ];
        let empty = needed.iter().filter(|(_, value, _)| value.is_empty());
        errors.extend(empty.map(|(part, value, text)| invalid(&format!("{FIELD}.{part}"), value, text)));
        if !owner.controller {
            continue;
        }
        if let Some((kind, name)) = controller {
            let text = format!(
                "Invalid value: Only one reference can have Controller set to true. Found \"true\" in references for \
                 {kind}/{name} and {}/{}",
                owner.kind, owner.name
            );
            errors.push(error(FIELD, FieldReason::Invalid, text));
        }
        controller = Some((owner.kind, owner.name));
    }
    errors
}

fn validate_finalizers(finalizers: &[&str]) -> Vec<FieldError> {
    const FIELD: &str = "metadata.finalizers";
    let mut errors = Vec::new();
    for name in finalizers {
        errors.extend(qualified_name(name).iter().map(|problem| invalid(FIELD, name, problem)));
        if !name.contains('/') && !STANDARD_FINALIZERS.contains(name) {
            let problem = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(invalid(FIELD, name, problem));
        }
    }
    if finalizers.contains(&"orphan") && finalizers.contains(&"foregroundDeletion") {
        let problem = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.push(error(FIELD, FieldReason::Invalid, format!("Invalid value: {}: {problem}", list_text(finalizers))));
    }
    errors
}

/// Returns everything that an update may not change in metadata (`ValidateObjectMetaUpdate`). The server fills
/// fields that the client left out from the stored object before it asks.
pub fn validate_update(new: &Object, old: &Object) -> Vec<FieldError> {
    const FIXED: [&str; 6] =
        ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"];
    let mut errors = Vec::new();
    for part in FIXED {
        let path = ["metadata", part];
        if new.at(&path) != old.at(&path) {
            let value = new.at(&path).unwrap_or(&Value::Null);
            let text = format!("Invalid value: {value}: field is immutable");
            errors.push(error(&format!("metadata.{part}"), FieldReason::Invalid, text));
        }
    }
    if new.generation() < old.generation() {
        let text = format!("Invalid value: {}: must not be decremented", new.generation());
        errors.push(error("metadata.generation", FieldReason::Invalid, text));
    }
    if old.is_deleting() {
        let known = old.finalizers();
        let added: Vec<&str> = new.finalizers().into_iter().filter(|name| !known.contains(name)).collect();
        if !added.is_empty() {
            let text = format!(
                "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers {}",
                list_text(&added)
            );
            errors.push(error("metadata.finalizers", FieldReason::Forbidden, text));
        }
    }
    errors
}

/// Writes a list as Go's `%#v` does.
fn list_text(list: &[&str]) -> String {
    format!("[]string{{{}}}", list.iter().map(|item| format!("{item:?}")).collect::<Vec<_>>().join(", "))
}

fn invalid(field: &str, value: &str, problem: &str) -> FieldError {
    error(field, FieldReason::Invalid, format!("Invalid value: {value:?}: {problem}"))
}

fn error(field: &str, reason: FieldReason, message: impl Into<String>) -> FieldError {
    FieldError { field: field.to_owned(), reason, message: message.into() }
}

#[cfg(test)]
mod tests;
