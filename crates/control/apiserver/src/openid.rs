//! Discovery as `OpenID` Connect has it, so that others can check service account tokens
//! (`pkg/serviceaccount/openidmetadata.go`).

use http::Response;
use http::header::{self, HeaderValue};
use serde_json::json;

use crate::Api;
use crate::auth::token;
use crate::respond::{self, Body};

/// Answers `/.well-known/openid-configuration` and `/openid/v1/jwks`; `None` for other paths.
pub(crate) fn answer(api: &Api, path: &str) -> Option<Response<Body>> {
    let (content_type, document) = match path {
        "/.well-known/openid-configuration" => (
            "application/json",
            json!({
                "issuer": token::ISSUER,
                "jwks_uri": format!("https://{}/openid/v1/jwks", api.advertised),
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": [token::ALGORITHM],
            }),
        ),
        "/openid/v1/jwks" => ("application/jwk-set+json", api.tokens.keys().key_set()),
        _ => return None,
    };
    let mut response = respond::response(200, content_type, respond::full(document.to_string()));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    Some(response)
}
