//! OpenAPI documents, made on the first request and kept.

use http::Response;
use http::header::HeaderMap;
use wkube_api::Status;

use crate::Api;
use crate::respond::Body;
use crate::router::Query;

/// Answers `/openapi/...`; `rest` are the segments after it.
pub(crate) fn answer(_api: &Api, _rest: &[&str], _query: &Query, _headers: &HeaderMap) -> Result<Response<Body>, Status> {
    Err(Status::unknown_path())
}
