//! `Status`: the error that every client understands (`apimachinery/pkg/api/errors`), and field errors.

use serde::{Deserialize, Serialize};

/// A failed (or finished) request as Kubernetes reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
#[error("{message}")]
pub struct Status {
    /// The HTTP status code.
    pub code: u16,
    /// The machine-readable cause, such as `NotFound`.
    pub reason: String,
    /// The sentence that `kubectl` prints.
    pub message: String,
    /// More for machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Box<Details>>,
}

/// Which object a `Status` is about, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// The object's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its API group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The resource (for `Invalid`: the kind).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Its uid.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// One per problem.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// When to try again, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<i32>,
}

/// One problem inside a `Status`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// Such as `FieldValueRequired`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The JSON path, such as `spec.containers[0].name`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
}

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
}
