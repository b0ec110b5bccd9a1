//! What the query of a write asks for, checked all at once (`ValidateCreateOptions` and its siblings in
//! `apimachinery/pkg/apis/meta/v1/validation`). Pure.

use serde_json::json;
use wkube_api::Status;
use wkube_api::status::FieldError;

use crate::limits;
use crate::negotiate::{self, PatchKind};
use crate::router::{Query, Verb};

/// What happens to unknown and duplicate fields in a body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    /// They are dropped silently.
    Ignore,
    /// They are dropped with a warning.
    #[default]
    Warn,
    /// They are refused.
    Strict,
}

/// What every write may ask for. Reads have the defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct WriteOptions {
    /// Names the writer in `managedFields`.
    pub(crate) field_manager: String,
    /// What happens to unknown fields.
    pub(crate) field_validation: FieldValidation,
    /// Whether to answer as if, and write nothing.
    pub(crate) dry_run: bool,
}

impl WriteOptions {
    /// Reads the query of a request.
    ///
    /// # Errors
    /// 422 with everything that is wrong.
    pub(crate) fn read(verb: Verb, content_type: &str, query: &Query, user_agent: &str) -> Result<Self, Status> {
        let kind = match verb {
            Verb::Get | Verb::List | Verb::Watch => return Ok(Self::default()),
            Verb::Create => "CreateOptions",
            Verb::Update => "UpdateOptions",
            Verb::Patch => "PatchOptions",
            Verb::Delete | Verb::DeleteCollection => DELETE,
        };
        let dry_run: Vec<&str> = query.all("dryRun").collect();
        let manager = query.get("fieldManager");
        let mut errors = Vec::new();
        if verb == Verb::Patch {
            errors.extend(check_patch(content_type, query));
        }
        if kind != DELETE {
            errors.extend(check_manager(manager));
        }
        errors.extend(check_dry_run(&dry_run));
        // A delete has no body that could be strict, nor a manager.
        let field_validation = match query.get("fieldValidation") {
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            other => {
                if !matches!(other, "" | "Warn") && kind != DELETE {
                    let known = ["", "Ignore", "Strict", "Warn"];
                    errors.push(FieldError::not_supported("fieldValidation", other, &known));
                }
                FieldValidation::Warn
            }
        };
        refuse(kind, errors)?;
        let field_manager = if manager.is_empty() { program(user_agent) } else { manager.to_owned() };
        Ok(Self { field_manager, field_validation, dry_run: !dry_run.is_empty() })
    }
}

/// Names the options of a delete, which may also be in its body.
pub(crate) const DELETE: &str = "DeleteOptions";

/// Refuses a request for what is wrong in its options.
pub(crate) fn refuse(kind: &str, errors: Vec<FieldError>) -> Result<(), Status> {
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid(kind, "meta.k8s.io", "", errors)) }
}

/// The only dry run is one of everything.
pub(crate) fn check_dry_run(values: &[&str]) -> Option<FieldError> {
    let is_strange = values.iter().any(|value| *value != "All");
    is_strange.then(|| FieldError::not_supported("dryRun", json!(values), &["All"]))
}

fn check_patch(content_type: &str, query: &Query) -> Option<FieldError> {
    let is_apply = matches!(negotiate::patch_kind(content_type), Ok(PatchKind::Apply));
    if is_apply && query.get("fieldManager").is_empty() {
        return Some(FieldError::required("fieldManager", "is required for apply patch"));
    }
    let is_forced = !is_apply && query.has("force");
    is_forced.then(|| FieldError::forbidden("force", "may not be specified for non-apply patch"))
}

fn check_manager(manager: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if manager.len() > limits::FIELD_MANAGER_MAX {
        errors.push(FieldError::too_long("fieldManager", limits::FIELD_MANAGER_MAX));
    }
    for (place, strange) in manager.char_indices().filter(|(_, character)| !is_printable(*character)) {
        let detail = format!("invalid character U+{:04X} (at position {place})", u32::from(strange));
        errors.push(FieldError::invalid("fieldManager", manager, &detail));
    }
    errors
}

/// As Go's `unicode.IsPrint`: of all spaces only the plain one.
fn is_printable(character: char) -> bool {
    character == ' ' || !(character.is_control() || character.is_whitespace())
}

/// Returns the program that a user agent names (`managerOrUserAgent`).
fn program(user_agent: &str) -> String {
    let name = user_agent.split('/').next().unwrap_or_default();
    let name: String =
        name.chars().filter(|character| is_printable(*character)).take(limits::FIELD_MANAGER_MAX).collect();
    if name.is_empty() { "unknown".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MERGE: &str = "application/merge-patch+json";
    const APPLY: &str = "application/apply-patch+yaml";

    fn read(verb: Verb, content_type: &str, query: &str) -> Result<WriteOptions, String> {
        let read = WriteOptions::read(verb, content_type, &Query::parse(Some(query)), "kubectl/v1.37 (linux)");
        read.map_err(|status| {
            assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"));
            status.message
        })
    }

    /// Compares the message that refuses a create.
    fn check(query: &str, expected: &str) {
        assert_eq!(
            read(Verb::Create, "", query),
            Err(format!("CreateOptions.meta.k8s.io \"\" is invalid: {expected}"))
        );
    }

    #[test]
    fn a_field_manager_defaults_to_the_user_agents_program() {
        let manager = |query, agent| {
            let read = WriteOptions::read(Verb::Create, "", &Query::parse(Some(query)), agent);
            read.expect("valid").field_manager
        };
        assert_eq!(manager("", "kubectl/v1.37.1 (linux/amd64)"), "kubectl");
        assert_eq!(manager("fieldManager=me", "kubectl/v1"), "me");
        assert_eq!(manager("", ""), "unknown");
    }

    #[test]
    fn a_dry_run_is_one_of_everything() {
        let dry = |query| read(Verb::Create, "", query).map(|options| options.dry_run);
        assert_eq!((dry(""), dry("dryRun=All")), (Ok(false), Ok(true)));
        check("dryRun=Some", r#"dryRun: Unsupported value: ["Some"]: supported values: "All""#);
        check("dryRun", r#"dryRun: Unsupported value: [""]: supported values: "All""#);
    }

    #[test]
    fn field_validation_warns_by_default() {
        let level = |query| read(Verb::Update, "", query).map(|options| options.field_validation);
        assert_eq!(level(""), Ok(FieldValidation::Warn));
        assert_eq!(level("fieldValidation=Strict"), Ok(FieldValidation::Strict));
        let known = r#""", "Ignore", "Strict", "Warn""#;
        check(
            "fieldValidation=Maybe",
            &format!(r#"fieldValidation: Unsupported value: "Maybe": supported values: {known}"#),
        );
    }

    #[test]
    fn a_field_manager_is_short_and_printable() {
        let long = "x".repeat(129);
        check(&format!("fieldManager={long}"), "fieldManager: Too long: may not be more than 128 bytes");
        check("fieldManager=a%0Ab", r#"fieldManager: Invalid value: "a\nb": invalid character U+000A (at position 1)"#);
    }

    #[test]
    fn everything_that_is_wrong_is_said_and_under_the_name_of_the_options() {
        let refused = read(Verb::Update, "", "dryRun=x&fieldValidation=y").expect_err("refused");
        assert!(refused.starts_with("UpdateOptions.meta.k8s.io \"\" is invalid: [dryRun: "), "{refused}");
        assert!(refused.contains(", fieldValidation: "), "{refused}");
    }

    #[test]
    fn only_an_apply_is_forced_and_it_says_who_applies() {
        let refused = |content_type, query| read(Verb::Patch, content_type, query).expect_err("refused");
        let forced =
            "PatchOptions.meta.k8s.io \"\" is invalid: force: Forbidden: may not be specified for non-apply patch";
        assert_eq!(refused(MERGE, "force=true"), forced);
        let nobody =
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch";
        assert_eq!(refused(APPLY, ""), nobody);
        assert!(read(Verb::Patch, APPLY, "force=true&fieldManager=me").is_ok());
    }

    #[test]
    fn deletes_have_no_manager_and_reads_have_no_options() {
        assert!(read(Verb::Delete, "", "fieldManager=%0A&fieldValidation=x&dryRun=All").expect("valid").dry_run);
        assert!(read(Verb::Delete, "", "dryRun=x").expect_err("refused").starts_with("DeleteOptions.meta.k8s.io"));
        assert_eq!(read(Verb::List, "", "dryRun=x&fieldValidation=y"), Ok(WriteOptions::default()));
    }
}
