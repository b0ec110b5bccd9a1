//! Subresources, and kinds that are answered instead of kept.

use std::sync::Arc;

use http::Request;
use wkube_api::Status;

use crate::Api;
use crate::admission;
use crate::call::Call;
use crate::registry::Outcome;
use crate::respond::Body;
use crate::streams;

mod binding;
pub(crate) mod component_status;
mod eviction;
pub(crate) mod images;
pub(crate) mod log;
mod node;
pub(crate) mod pod_ips;
mod proxy;
pub(crate) mod reverse;
mod review;
pub(crate) mod scale;
mod token;

/// Answers the subresources whose bodies stream: logs, proxies, and what upgrades its connection.
pub(crate) async fn stream(api: &Arc<Api>, call: &Call, request: Request<Body>) -> Result<Outcome, Status> {
    if call.subresource != "log" {
        admission::connect(&api.registry, call).await?;
    }
    match call.subresource.as_str() {
        "log" => log::answer(api, call, request).await,
        subresource if streams::is_meant(subresource) => streams::answer(api, call, request).await,
        _ => proxy::answer(api, call, request).await,
    }
}

/// Answers calls with manners of their own; `None` leaves them to the generic handlers.
pub(crate) async fn write(api: &Arc<Api>, call: &Call, body: &[u8]) -> Result<Option<Outcome>, Status> {
    let resource = &call.resource;
    let answered = match (&*resource.group, &*resource.plural, call.subresource.as_str()) {
        (_, _, "scale") => scale::answer(api, call, body).await,
        ("", "pods", "binding") | ("", "bindings", "") => binding::bind(api, call, body).await,
        ("", "serviceaccounts", "token") => token::answer(api, call, body).await,
        ("", "pods", "eviction") => eviction::evict(api, call, body).await,
        ("authentication.k8s.io" | "authorization.k8s.io", _, "") => review::answer(api, call, body).await,
        _ => return Ok(None),
    };
    answered.map(Some)
}
