//! Errors as the distribution specification words them.

use std::io::ErrorKind;

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde_json::json;

/// A refusal: status, code of the specification, sentence for people.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    /// The `WWW-Authenticate` header of a 401.
    challenge: Option<String>,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), challenge: None }
    }

    pub(super) fn unauthorized(challenge: String, message: &str) -> Self {
        Self { challenge: Some(challenge), ..Self::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", message) }
    }

    pub(super) fn name_invalid(name: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NAME_INVALID", format!("{name:?} is no path of this registry"))
    }

    pub(super) fn manifest_unknown(name: &str, reference: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", format!("{name} has no manifest {reference}"))
    }

    pub(super) fn manifest_invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", message)
    }

    pub(super) fn manifest_blob_unknown(digest: &str) -> Self {
        let message = format!("the manifest refers to {digest}, which has not been pushed");
        Self::new(StatusCode::BAD_REQUEST, "MANIFEST_BLOB_UNKNOWN", message)
    }

    pub(super) fn blob_unknown(digest: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", format!("there is no blob {digest}"))
    }

    pub(super) fn upload_unknown() -> Self {
        Self::new(StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", "there is no such upload; start a new one")
    }

    pub(super) fn out_of_order(size: u64) -> Self {
        let message = format!("the upload has {size} bytes; the next chunk starts there");
        Self::new(StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID", message)
    }

    pub(super) fn upload_broken(source: &impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID", format!("the body ended early: {source}"))
    }

    pub(super) fn digest_invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", message)
    }

    pub(super) fn too_large(limit: u64) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID", format!("more than the limit of {limit} bytes"))
    }

    pub(super) fn unsupported(what: &str) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", format!("{what} is not supported"))
    }
}

/// A failing disk. The details are for the log, not for strangers.
impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Self {
        tracing::error!(%error, "the registry's storage failed");
        let message = match error.kind() {
            ErrorKind::StorageFull => {
                "no space left on the disk of the registry; free some in the data directory of the control plane"
                    .to_owned()
            }
            kind => format!("the registry's storage failed: {kind}"),
        };
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({"errors": [{"code": self.code, "message": self.message}]}).to_string();
        let mut response = (self.status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
        if let Some(challenge) = self.challenge.and_then(|challenge| challenge.parse().ok()) {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
