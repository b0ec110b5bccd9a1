//! The four kinds of PATCH and the bookkeeping of who set which field.
//!
//! | media type | function |
//! |---|---|
//! | `application/json-patch+json` | [`json`] |
//! | `application/merge-patch+json` | [`merge`] |
//! | `application/strategic-merge-patch+json` | [`strategic`] |
//! | `application/apply-patch+yaml` | [`apply`] |
//!
//! All are pure: a document and a patch in, a document out. Every other write goes through [`update_managers`].

mod apply;
mod fieldset;
mod json;
mod managed;
mod merge;
mod overlay;
mod strategic;
mod typed;

pub use apply::{ApplyError, Conflict, Conflicts, Force, apply};
pub use fieldset::{FieldSet, PathElement};
pub use json::json;
pub use managed::{Tracking, Writer, update_managers};
pub use merge::{merge, merge_values};
pub use overlay::overlay;
pub use strategic::strategic;

use crate::status::Cause;

/// Why a patch was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The patch itself is malformed: 400.
    #[error("{0}")]
    Malformed(String),
    /// The patch does not fit the document: 422.
    #[error("{0}")]
    Unprocessable(String),
    /// A list item of the patch does not say which item it is about: 422.
    #[error("{0}")]
    NoMergeKey(String),
    /// A `test` of the patch does not hold: 422.
    #[error("{0}")]
    TestFailed(String),
    /// The patch would make too much: 413.
    #[error("{0}")]
    TooLarge(String),
}

/// The reasons as answers of the API.
impl From<Error> for crate::Status {
    fn from(error: Error) -> Self {
        match error {
            Error::Malformed(text) => Self::bad_request(text),
            Error::TooLarge(text) => Self::new(413, "RequestEntityTooLarge", text),
            Error::NoMergeKey(text) => Self::unprocessable(text),
            // Kubernetes says no more than this (`NewGenericServerResponse`). The cause is ours: kubectl prints it.
            Error::Unprocessable(text) | Error::TestFailed(text) => {
                Self::unprocessable("the server rejected our request due to an error in our request")
                    .with_cause(Cause { message: text, ..Cause::default() })
            }
        }
    }
}
