//! `/openapi/v2` and `/openapi/v3`: documents are made when somebody asks for them, and kept as bytes until their rows change.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::Response;
use http::header::{self, HeaderMap, HeaderValue};
use parking_lot::Mutex;
use serde_json::Value;
use wkube_api::Status;
use wkube_api::openapi::{self, gnostic, v2};

use crate::Api;
use crate::catalog::Served;
use crate::discovery;
use crate::negotiate;
use crate::respond::Body;
use crate::router::Query;
use crate::service::header;

/// The documents that were asked for, by format and group path (`apis/apps/v1`), each with the hash of what it was made
/// from.
#[derive(Default)]
pub(crate) struct Documents {
    made: Mutex<BTreeMap<String, (String, Bytes)>>,
}

impl Documents {
    /// Returns a document, made anew if what it is made from has another hash; `None` if there is nothing to make.
    fn get(&self, path: &str, hash: String, build: impl FnOnce() -> Option<Bytes>) -> Option<Bytes> {
        if let Some((_, document)) = self.made.lock().get(path).filter(|(of, _)| *of == hash) {
            return Some(document.clone());
        }
        // Not under the lock: a document takes a while, and others are asked for meanwhile.
        let made = build();
        let mut kept = self.made.lock();
        match &made {
            Some(document) => kept.insert(path.to_owned(), (hash, document.clone())),
            None => kept.remove(path),
        };
        made
    }
}

/// Answers `/openapi/...`; `rest` are the segments after it.
pub(crate) fn answer(api: &Api, rest: &[&str], query: &Query, headers: &HeaderMap) -> Result<Response<Body>, Status> {
    let served = api.registry.catalog.served();
    match rest {
        ["v2"] => version_2(api, &served, headers),
        ["v3"] => {
            let merge = api.apiservices.merge();
            let own = served.rows().filter(|row| merge.keeps(row));
            let index = merge.add_openapi(openapi::index(own, &served.schemas));
            Ok(discovery::cached(index.to_string().into(), JSON, headers))
        }
        ["v3", "api", version] => version_3(api, &served, ("", version), query, headers),
        ["v3", "apis", group, version] => version_3(api, &served, (group, version), query, headers),
        _ => Err(Status::unknown_path()),
    }
}

const JSON: &str = "application/json";

/// Answers with everything in one document, as JSON or in gnostic's protobuf.
fn version_2(api: &Api, served: &Served, headers: &HeaderMap) -> Result<Response<Body>, Status> {
    let accept = header(headers, "accept");
    let content_type =
        version_2_format(accept).ok_or_else(|| Status::not_acceptable(&[JSON, gnostic::CONTENT_TYPE]))?;
    let hash = v2::version(served.rows(), &served.schemas);
    let build = || {
        let document: Value = v2::document(served.rows(), &served.schemas);
        Some(if content_type == JSON { document.to_string().into() } else { gnostic::encode(&document).into() })
    };
    let document = api.openapi.get(content_type, hash, build).ok_or_else(Status::unknown_path)?;
    Ok(discovery::cached(document, content_type, headers))
}

/// Returns the content type of the answer, `None` if the client takes neither.
fn version_2_format(accept: &str) -> Option<&'static str> {
    if accept.is_empty() {
        return Some(JSON);
    }
    negotiate::alternatives(accept).iter().find_map(|one| match one.kind {
        "application/json" | "application/*" | "*/*" => Some(JSON),
        gnostic::CONTENT_TYPE | gnostic::CONTENT_TYPE_ASKED => Some(gnostic::CONTENT_TYPE),
        _ => None,
    })
}

/// Answers with the document of one group and version.
fn version_3(
    api: &Api,
    served: &Served,
    (group, version): (&str, &str),
    query: &Query,
    headers: &HeaderMap,
) -> Result<Response<Body>, Status> {
    let path = openapi::group_path(group, version);
    let rows = served.rows().filter(|row| row.group == group && row.version == version);
    let hash = openapi::hash(rows.clone(), &served.schemas);
    let build = || openapi::document(rows, group, version, &served.schemas).map(|made| Bytes::from(made.to_string()));
    let document = api.openapi.get(&path, hash, build).ok_or_else(Status::unknown_path)?;
    let mut response = discovery::cached(document, JSON, headers);
    if query.has("hash") {
        // The hash names the content, so that it never has to be asked for again.
        let forever = HeaderValue::from_static("public, immutable, max-age=31536000");
        response.headers_mut().insert(header::CACHE_CONTROL, forever);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_kubectl_gets_protobuf_and_everybody_else_json() {
        assert_eq!(version_2_format(gnostic::CONTENT_TYPE_ASKED), Some(gnostic::CONTENT_TYPE));
        assert_eq!(version_2_format(gnostic::CONTENT_TYPE), Some(gnostic::CONTENT_TYPE));
        assert_eq!(version_2_format("application/json, */*"), Some(JSON));
        assert_eq!((version_2_format(""), version_2_format("text/html")), (Some(JSON), None));
    }

    #[test]
    fn a_document_is_made_again_only_when_its_hash_changes() {
        let documents = Documents::default();
        let get = |hash: &str, bytes: &'static str| documents.get("p", hash.into(), || Some(Bytes::from(bytes)));
        assert_eq!(get("1", "a"), Some(Bytes::from("a")));
        assert_eq!(get("1", "b"), Some(Bytes::from("a")));
        assert_eq!(get("2", "b"), Some(Bytes::from("b")));
        assert_eq!(documents.get("p", "3".into(), || None), None);
        assert_eq!(get("2", "c"), Some(Bytes::from("c")));
    }
}
