//! From the bytes of a request to a document that fits its type: syntax, duplicate and unknown fields, wrong types.
//!
//! Built-in kinds are decoded by Go structs in Kubernetes, and users know what those say. This file says the same:
//! unknown fields are dropped (and reported, for `fieldValidation`), `null` is absence, and a wrong type is
//! `json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32`.

mod check;
mod json;
mod yaml;

use std::fmt;

pub use check::{Unknown, check};
pub(crate) use check::{canonicalize, text_problem};
pub use json::json;
pub use yaml::{yaml, yaml_documents};

/// Why a body cannot be read at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is no JSON or YAML; the message has line and column.
    #[error("{0}")]
    Syntax(String),
    /// A value has the wrong type, in the words of Go's decoder.
    #[error("{0}")]
    Type(String),
}

/// What a strict reader would refuse, and others pass over with a warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The type has no such field: `spec.replicaz`.
    UnknownField(String),
    /// The field was there before; the last one counts.
    DuplicateField(String),
    /// The same in YAML, where the line is known.
    DuplicateKey {
        /// The line of the second one, from 1.
        line: u64,
        /// The key.
        key: String,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownField(path) => write!(f, "unknown field {path:?}"),
            Self::DuplicateField(path) => write!(f, "duplicate field {path:?}"),
            Self::DuplicateKey { line, key } => write!(f, "line {line}: key {key:?} already set in map"),
        }
    }
}

/// Returns the message of a body that `fieldValidation=Strict` refuses.
pub fn strict_text(problems: &[Problem]) -> String {
    let texts: Vec<String> = problems.iter().map(Problem::to_string).collect();
    format!("strict decoding error: {}", texts.join(", "))
}

/// Returns the message of a 400: `Deployment in version "v1" cannot be handled as a Deployment: …`.
pub fn unhandled_text(kind: &str, version: &str, reason: &str) -> String {
    format!("{kind} in version {version:?} cannot be handled as a {kind}: {reason}")
}

#[cfg(test)]
mod tests;
