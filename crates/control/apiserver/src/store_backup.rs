//! `/wkube/store/backup`: everything in the store as one file, taken while others write. Secrets are in it: the path is for
//! those whom a rule for it, or for all paths, lets in.

use http::Response;
use wkube_api::Status;
use wkube_store::{Range, Store as _, backup};

use crate::Api;
use crate::registry;
use crate::respond::{self, Body};

/// Answers with a backup at the newest revision.
pub(crate) fn answer(api: &Api) -> Result<Response<Body>, Status> {
    // A snapshot: nobody waits for it, and it waits for nobody.
    let listed = api.store.list(&Range::default()).map_err(|error| registry::failed(&error))?;
    let pieces = backup::pieces(listed, api.registry.clock.now().into());
    Ok(respond::response(200, "application/octet-stream", respond::stream(futures::stream::iter(pieces))))
}
