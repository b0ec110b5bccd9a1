//! The built-in image registry behind the API's port: nodes pull through the one connection that they have, and
//! `POST /apis/wkube.dev/v1/registrytokens` gives whoever may push a token for the registry's own port.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use serde_json::json;
use tower::ServiceExt as _;
use wkube_api::Status;

use crate::Api;
use crate::auth::User;
use crate::oci_registry::{OciRegistry, Scheme};
use crate::respond::{self, Body};
use crate::router::{ResourcePath, Verb};

/// The group of what Kubernetes does not have.
const GROUP: &str = "wkube.dev";
/// How long a token for the registry holds: one push of a large file over a slow line.
const TOKEN_TTL: Duration = Duration::from_hours(1);

/// The registry and its routes.
pub(crate) struct Images {
    registry: Arc<OciRegistry>,
    router: Router,
}

impl Images {
    pub(crate) fn new(registry: Arc<OciRegistry>) -> Self {
        Self { router: registry.router(Scheme::Https), registry }
    }
}

/// Whether a path is the registry's.
pub(crate) fn is_meant(path: &str) -> bool {
    path == "/v2" || path.starts_with("/v2/")
}

/// Passes a request of anyone who has been authenticated on to the registry.
pub(crate) async fn answer(api: &Api, request: Request<Body>) -> Result<Response<Body>, Status> {
    let images = api.images.as_ref().ok_or_else(Status::unknown_path)?;
    let Ok(response) = images.router.clone().oneshot(request.map(axum::body::Body::new)).await;
    Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()))
}

/// Whether a URL asks for a token. It is no kind, so discovery does not know it.
pub(crate) fn is_token(path: &ResourcePath) -> bool {
    path.group == GROUP && path.resource == "registrytokens" && path.name.is_empty()
}

/// Makes a token with which `user`, who has been authorized, may push.
pub(crate) fn token(api: &Api, user: &User, verb: Verb) -> Result<Response<Body>, Status> {
    let images = api.images.as_ref().ok_or_else(Status::unknown_path)?;
    if verb != Verb::Create {
        let message = "the server does not allow this method on the requested resource";
        return Err(Status::new(405, "MethodNotAllowed", message));
    }
    let token = images.registry.tokens().mint(&user.name, TOKEN_TTL);
    Ok(respond::json(201, &json!({ "token": token, "expiresInSeconds": TOKEN_TTL.as_secs() })))
}
