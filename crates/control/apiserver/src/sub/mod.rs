//! Subresources and kinds that are answered instead of kept.

use std::sync::Arc;

use http::Request;
use wkube_api::Status;

use crate::Api;
use crate::call::Call;
use crate::registry::Outcome;
use crate::respond::Body;

/// Answers the subresources whose bodies stream: logs and proxies.
pub(crate) async fn stream(_api: &Arc<Api>, call: &Call, _request: Request<Body>) -> Result<Outcome, Status> {
    Err(Status::method_not_allowed(&call.resource, call.verb.as_str()))
}

/// Answers a write on a subresource with manners of its own; `None` leaves it to the generic handlers.
pub(crate) async fn write(_api: &Arc<Api>, _call: &Call, _body: &[u8]) -> Result<Option<Outcome>, Status> {
    Ok(None)
}
