//! Responses: documents, errors as `Status`, and the headers that every response has.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use serde_json::Value;
use wkube_api::Status;

use crate::limits;
use crate::negotiate::{self, Format};
use crate::render::Rendered;

/// An error of any kind.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// A request's or response's body.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

/// Returns a body of known bytes.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Returns a body that arrives in pieces.
pub(crate) fn stream<S>(pieces: S) -> Body
where
    S: futures::Stream<Item = Bytes> + Send + 'static,
{
    use futures::StreamExt as _;
    StreamBody::new(pieces.map(|piece| Ok(Frame::data(piece)))).boxed_unsync()
}

/// Returns a response.
pub(crate) fn response(code: u16, content_type: &str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Ok(value) = HeaderValue::from_str(content_type) {
        response.headers_mut().insert(header::CONTENT_TYPE, value);
    }
    response
}

/// Returns rendered bytes in their format, compressed if that is worth it.
pub(crate) fn rendered(code: u16, rendered: Rendered, accept_encoding: &str) -> Response<Body> {
    let content_type = match rendered.format {
        Format::Json => "application/json",
        Format::Yaml => "application/yaml",
        Format::Protobuf => negotiate::PROTOBUF,
    };
    bytes_of(code, content_type, rendered.bytes, accept_encoding)
}

/// Returns bytes, compressed if they are many and the client can read it.
pub(crate) fn bytes_of(code: u16, content_type: &str, bytes: Bytes, accept_encoding: &str) -> Response<Body> {
    if bytes.len() < limits::GZIP_MIN || !accepts_gzip(accept_encoding) {
        return response(code, content_type, full(bytes));
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    let compressed = encoder.write_all(&bytes).and_then(|()| encoder.finish());
    let Ok(compressed) = compressed else { return response(code, content_type, full(bytes)) };
    let mut response = response(code, content_type, full(compressed));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    response
}

/// Returns a JSON document.
pub(crate) fn json(code: u16, document: &Value) -> Response<Body> {
    response(code, "application/json", full(document.to_string()))
}

/// Returns plain text.
pub(crate) fn text(code: u16, text: impl Into<Bytes>) -> Response<Body> {
    response(code, "text/plain; charset=utf-8", full(text))
}

/// Returns an error.
pub(crate) fn failure(status: &Status) -> Response<Body> {
    let mut response = json(status.code, &status.to_json());
    let seconds = status.details.as_ref().and_then(|details| details.retry_after_seconds);
    if let Some(seconds) = seconds {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
    response
}

/// Adds what every response says.
pub(crate) fn finish(response: &mut Response<Body>, audit_id: &str, warnings: &[String]) {
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(audit_id) {
        headers.insert(AUDIT_ID, id);
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    }
    warn(headers, warnings);
}

/// Each warning once; when all together are too long, each is cut and the last ones go (`filters/warning.go`).
fn warn(headers: &mut HeaderMap, warnings: &[String]) {
    let mut texts: Vec<String> = Vec::new();
    for warning in warnings {
        let text: String = warning.chars().filter(|c| !c.is_control()).collect();
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    let length = |text: &String| text.chars().count();
    let is_long = texts.iter().map(length).sum::<usize>() > limits::WARNINGS_MAX;
    let mut written = 0;
    for mut text in texts {
        if is_long {
            text = text.chars().take(limits::WARNING_MAX).collect();
        }
        if written >= limits::WARNINGS_MAX {
            return;
        }
        written += length(&text);
        let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            headers.append(header::WARNING, value);
        }
    }
}

fn accepts_gzip(accept_encoding: &str) -> bool {
    accept_encoding.split(',').any(|coding| coding.split(';').next().is_some_and(|name| name.trim() == "gzip"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_large_bodies_are_compressed_and_only_on_request() {
        let encoded = |size: usize, accept: &str| {
            let response = bytes_of(200, "application/json", vec![b'x'; size].into(), accept);
            response.headers().contains_key(header::CONTENT_ENCODING)
        };
        assert!(encoded(limits::GZIP_MIN, "gzip, br"));
        assert!(!encoded(limits::GZIP_MIN - 1, "gzip"));
        assert!(!encoded(limits::GZIP_MIN, ""));
    }

    #[test]
    fn warnings_are_quoted() {
        let mut response = text(200, "");
        finish(&mut response, "id", &["unknown field \"x\"".to_owned()]);
        let values: Vec<_> = response.headers().get_all(header::WARNING).iter().collect();
        assert_eq!(values, [r#"299 - "unknown field \"x\"""#]);
        assert_eq!(response.headers()["cache-control"], "no-cache, private");
    }

    #[test]
    fn warnings_are_said_once_and_cut_only_if_they_are_too_long_together() {
        let sent = |warnings: &[String]| {
            let mut response = text(200, "");
            finish(&mut response, "id", warnings);
            response.headers().get_all(header::WARNING).iter().map(HeaderValue::len).collect::<Vec<_>>()
        };
        let around = "299 - \"\"".len();
        assert_eq!(sent(&["a".into(), "b".into(), "a".into()]), [around + 1, around + 1]);
        assert_eq!(sent(&["x".repeat(4000)]), [around + 4000]);
        let many: Vec<String> = (0..100).map(|n| format!("{n:03}{}", "x".repeat(500))).collect();
        assert_eq!(sent(&many), [around + 256; 16]);
    }

    #[test]
    fn a_retry_is_in_the_headers_too() {
        let response = failure(&Status::too_many_requests("slow down", 10));
        assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (429, &HeaderValue::from(10)));
    }
}
