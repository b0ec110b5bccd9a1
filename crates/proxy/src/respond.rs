//! The proxy's own answers: plain text that says what is missing and what to do.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, Full};

use crate::http::SendError;
use crate::{Body, BoxError};

/// Returns a body of known content.
pub fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).map_err(|never| -> BoxError { match never {} }).boxed_unsync()
}

/// Returns a plain-text answer.
pub fn text(status: StatusCode, message: impl Into<String>) -> Response<Body> {
    let mut message = message.into();
    message.push('\n');
    let mut response = Response::new(full(message));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// Returns the answer for a request that reached no pod.
pub fn error(error: &SendError) -> Response<Body> {
    let status = match error {
        SendError::UnknownHost { .. } => StatusCode::NOT_FOUND,
        SendError::NoPort { .. } | SendError::NoEndpoint { .. } | SendError::Asleep { .. } => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        SendError::External { .. } | SendError::Failed { .. } => StatusCode::BAD_GATEWAY,
        SendError::MissingHost => StatusCode::BAD_REQUEST,
    };
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        message.push_str(": ");
        message.push_str(&cause.to_string());
        source = cause.source();
    }
    text(status, message)
}
