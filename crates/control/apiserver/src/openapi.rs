//! `OpenAPI` v3: each group's document is made when somebody first asks for it, and kept as bytes until its rows change.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::Response;
use http::header::{self, HeaderMap, HeaderValue};
use parking_lot::Mutex;
use wkube_api::Status;
use wkube_api::openapi;

use crate::Api;
use crate::discovery;
use crate::respond::Body;
use crate::router::Query;

/// The documents that were asked for, by group path (`apis/apps/v1`), each with the hash of what it was made from.
#[derive(Default)]
pub(crate) struct Documents {
    made: Mutex<BTreeMap<String, (String, Bytes)>>,
}

/// Answers `/openapi/...`; `rest` are the segments after it.
pub(crate) fn answer(api: &Api, rest: &[&str], query: &Query, headers: &HeaderMap) -> Result<Response<Body>, Status> {
    let served = api.registry.catalog.served();
    let (group, version) = match rest {
        ["v3"] => {
            let index = openapi::index(served.rows(), &served.schemas);
            return Ok(discovery::cached(index.to_string().into(), "application/json", headers));
        }
        ["v3", "api", version] => ("", *version),
        ["v3", "apis", group, version] => (*group, *version),
        _ => return Err(Status::unknown_path()),
    };
    let path = openapi::group_path(group, version);
    let rows = served.rows().filter(|row| row.group == group && row.version == version);
    let hash = openapi::hash(rows.clone(), &served.schemas);
    let known = api.openapi.made.lock().get(&path).filter(|(of, _)| *of == hash).map(|(_, document)| document.clone());
    let document = if let Some(document) = known {
        document
    } else {
        let Some(made) = openapi::document(rows, group, version, &served.schemas) else {
            api.openapi.made.lock().remove(&path);
            return Err(Status::unknown_path());
        };
        let made = Bytes::from(made.to_string());
        api.openapi.made.lock().insert(path, (hash, made.clone()));
        made
    };
    let mut response = discovery::cached(document, "application/json", headers);
    if query.has("hash") {
        // The hash names the content, so that it never has to be asked for again.
        let forever = HeaderValue::from_static("public, immutable, max-age=31536000");
        response.headers_mut().insert(header::CACHE_CONTROL, forever);
    }
    Ok(response)
}
