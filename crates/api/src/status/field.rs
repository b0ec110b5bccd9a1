//! What is wrong with one field, in the words of `apimachinery/pkg/util/validation/field`.

use std::fmt;

use serde_json::{Value, json};

use super::quoted;

/// What is wrong with one field (`apimachinery/pkg/util/validation/field`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// The path, such as `spec.replicas`.
    pub field: String,
    /// The kind of problem.
    pub reason: FieldReason,
    /// The text after the path, such as `Invalid value: -1: must be greater than or equal to 0`.
    pub message: String,
}

/// The kinds of field problems, named as in `Status` causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldReason {
    /// A needed field is missing.
    Required,
    /// The value does not fit.
    Invalid,
    /// The value is not one of those allowed.
    NotSupported,
    /// The value appears twice.
    Duplicate,
    /// The field may not be set here, or may not change.
    Forbidden,
    /// Too many bytes or characters.
    TooLong,
    /// Too many items.
    TooMany,
    /// The JSON type is wrong.
    TypeInvalid,
    /// It names something that does not exist.
    NotFound,
    /// It is as it was before the rule: the client is warned, and the request goes on.
    Ratcheted,
}

impl FieldError {
    /// Whether the client is told of it and gets its way.
    pub fn is_warning(&self) -> bool {
        self.reason == FieldReason::Ratcheted
    }

    /// `Required value: detail`.
    pub fn required(path: impl Into<String>, detail: &str) -> Self {
        Self::of(path, FieldReason::Required, None, detail)
    }

    /// `Invalid value: "x": detail`.
    pub fn invalid(path: impl Into<String>, value: impl Into<Value>, detail: &str) -> Self {
        Self::of(path, FieldReason::Invalid, Some(&value.into()), detail)
    }

    /// One `Invalid value: "x": problem` for each problem that a rule found with the value.
    pub fn invalid_each<T: AsRef<str>>(path: &str, value: &str, problems: impl IntoIterator<Item = T>) -> Vec<Self> {
        problems.into_iter().map(|problem| Self::invalid(path, value, problem.as_ref())).collect()
    }

    /// `Invalid value: detail`, where the value would say nothing.
    pub fn invalid_whole(path: impl Into<String>, detail: &str) -> Self {
        Self::of(path, FieldReason::Invalid, None, detail)
    }

    /// `Unsupported value: "x": supported values: "a", "b"`.
    pub fn not_supported(path: impl Into<String>, value: impl Into<Value>, allowed: &[&str]) -> Self {
        let allowed: Vec<String> = allowed.iter().map(|value| quoted(value)).collect();
        let detail =
            if allowed.is_empty() { String::new() } else { format!("supported values: {}", allowed.join(", ")) };
        Self::of(path, FieldReason::NotSupported, Some(&value.into()), &detail)
    }

    /// `Duplicate value: "x"`.
    pub fn duplicate(path: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::of(path, FieldReason::Duplicate, Some(&value.into()), "")
    }

    /// `Duplicate value`, where the value would say nothing.
    pub fn duplicate_whole(path: impl Into<String>) -> Self {
        Self::of(path, FieldReason::Duplicate, None, "")
    }

    /// `Forbidden: detail`.
    pub fn forbidden(path: impl Into<String>, detail: &str) -> Self {
        Self::of(path, FieldReason::Forbidden, None, detail)
    }

    /// `Too long: may not be more than 63 bytes`.
    pub fn too_long(path: impl Into<String>, limit: usize) -> Self {
        let unit = if limit == 1 { "byte" } else { "bytes" };
        Self::of(path, FieldReason::TooLong, None, &format!("may not be more than {limit} {unit}"))
    }

    /// `Too many: 5: must have at most 4 items`.
    pub fn too_many(path: impl Into<String>, actual: usize, limit: usize) -> Self {
        let unit = if limit == 1 { "item" } else { "items" };
        Self::of(path, FieldReason::TooMany, Some(&json!(actual)), &format!("must have at most {limit} {unit}"))
    }

    /// `Invalid value: "string": detail`, for a value of the wrong JSON type.
    pub fn type_invalid(path: impl Into<String>, value: impl Into<Value>, detail: &str) -> Self {
        Self::of(path, FieldReason::TypeInvalid, Some(&value.into()), detail)
    }

    /// `Not found: "x"`.
    pub fn not_found(path: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::of(path, FieldReason::NotFound, Some(&value.into()), "")
    }

    fn of(path: impl Into<String>, reason: FieldReason, value: Option<&Value>, detail: &str) -> Self {
        let mut message = reason.text().to_owned();
        if let Some(value) = value {
            message.push_str(": ");
            match value {
                Value::String(text) => message.push_str(&quoted(text)),
                other => message.push_str(&other.to_string()),
            }
        }
        if !detail.is_empty() {
            message.push_str(": ");
            message.push_str(detail);
        }
        Self { field: path.into(), reason, message }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() { f.write_str(&self.message) } else { write!(f, "{}: {}", self.field, self.message) }
    }
}

impl FieldReason {
    /// Returns the reason of a `Status` cause.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Invalid | Self::Ratcheted => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::NotFound => "FieldValueNotFound",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Required => "Required value",
            Self::Invalid | Self::TypeInvalid | Self::Ratcheted => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Duplicate => "Duplicate value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::NotFound => "Not found",
        }
    }
}
