//! Discovery: which groups, versions and kinds are served, in both of Kubernetes' formats.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use wkube_api::Status;
use wkube_api::discovery::{self, AggregatedVersion, Root};

use crate::catalog::Catalog;
use crate::negotiate;
use crate::respond::{self, Body};
use crate::router::Query;
use crate::service::header;
use crate::{Api, metrics_api, openapi};

/// Answers `/api`, `/apis`, their groups and versions, and `/openapi`. `path` has no trailing slash.
pub(crate) fn answer(api: &Api, path: &str, query: &Query, headers: &HeaderMap) -> Result<Response<Body>, Status> {
    let served = api.registry.catalog.served();
    let merge = api.apiservices.merge();
    let rows = || served.rows().filter(|row| merge.keeps(row));
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let found = match segments.as_slice() {
        ["api" | "apis"] => {
            let root = if segments[0] == "api" { Root::Api } else { Root::Apis };
            if let Some(version) = aggregated(header(headers, "accept"))? {
                let document = merge.add_aggregated(discovery::aggregated(rows(), root, version), root);
                return Ok(cached(document.to_string().into(), version.content_type(), headers));
            }
            Some(match root {
                Root::Api => discovery::api_versions(&api.advertised),
                Root::Apis => merge.add_groups(discovery::api_group_list(rows())),
            })
        }
        ["api", version] => discovery::api_resource_list(rows(), "", version),
        ["apis", group] => merge.add_group(discovery::api_group(rows(), group), group),
        ["apis", metrics_api::GROUP, metrics_api::VERSION] => Some(metrics_api::resource_list()),
        ["apis", group, version] => discovery::api_resource_list(rows(), group, version),
        ["openapi", rest @ ..] => return openapi::answer(api, rest, query, headers),
        _ => None,
    };
    found.map(|document| respond::json(200, &document)).ok_or_else(Status::unknown_path)
}

/// Returns the paths that `GET /` lists.
pub(crate) fn paths(catalog: &Catalog) -> Value {
    let mut paths = vec!["/api".to_owned(), "/api/v1".to_owned(), "/apis".to_owned()];
    for row in catalog.served().rows().filter(|row| !row.group.is_empty()) {
        paths.push(format!("/apis/{}", row.group));
        paths.push(format!("/apis/{}/{}", row.group, row.version));
    }
    paths.extend(
        ["/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/readyz", "/version"].map(String::from),
    );
    paths.sort();
    paths.dedup();
    json!({"paths": paths})
}

/// Returns a document with an `ETag`, or says that the client's copy is still good.
pub(crate) fn cached(bytes: Bytes, content_type: &str, headers: &HeaderMap) -> Response<Body> {
    let tag = format!("\"{}\"", STANDARD_NO_PAD.encode(Sha256::digest(&bytes)));
    let known = header(headers, "if-none-match").split(',').any(|one| one.trim().trim_start_matches("W/") == tag);
    let mut response = if known {
        // Without a Content-Type: client-go's cache would put it in the place of the kept one and misread the document.
        let mut response = Response::new(respond::full(""));
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        respond::bytes_of(200, content_type, bytes, header(headers, "accept-encoding"))
    };
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    response
}

/// Whether and in which version a client wants everything in one document.
fn aggregated(accept: &str) -> Result<Option<AggregatedVersion>, Status> {
    let alternatives = negotiate::alternatives(accept);
    if alternatives.is_empty() {
        return Ok(None);
    }
    let mut wants = alternatives.iter().filter_map(|one| {
        if one.param("as") != "APIGroupDiscoveryList" {
            return (matches!(one.kind, "*/*" | "application/*") || negotiate::SERVED.contains(&one.kind))
                .then_some(None);
        }
        match one.param("v") {
            "v2" => Some(Some(AggregatedVersion::V2)),
            "v2beta1" => Some(Some(AggregatedVersion::V2Beta1)),
            _ => None,
        }
    });
    wants.next().ok_or_else(|| Status::not_acceptable(&negotiate::SERVED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_header_chooses_the_format() {
        let v2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let beta = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
        let chosen = |accept: &str| aggregated(accept).map_err(|status| status.code);
        assert_eq!(chosen(&format!("{v2},{beta},application/json")), Ok(Some(AggregatedVersion::V2)));
        assert_eq!(chosen(&format!("{beta},application/json")), Ok(Some(AggregatedVersion::V2Beta1)));
        for plain in ["application/json", "*/*", "", &format!("{},*/*", v2.replace("v=v2", "v=v9"))] {
            assert_eq!(chosen(plain), Ok(None), "{plain}");
        }
        assert_eq!(chosen("image/png"), Err(406));
    }
}
