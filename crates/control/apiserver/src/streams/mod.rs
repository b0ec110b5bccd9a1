//! Streams between clients and pods: `exec`, `attach`, `port-forward`, and logs over WebSocket, in every framing that
//! Kubernetes' clients speak; and watches over WebSocket.
//!
//! ```text
//!  kubectl 1.30+, Java, Python, JavaScript, Rust    WebSocket: channels.rs        .-- remote_command/ --.
//!  kubectl 1.31+ port-forward                       SPDY in WebSocket             |                     +-- node.rs
//!  kubectl before, and as their way back            SPDY: spdy/                   '-- port_forward/ ----'
//! ```
//! `negotiate.rs` agrees on one of them before the connection is upgraded; everything that can be refused is refused
//! then, as an ordinary answer.

use std::sync::Arc;

use http::{Method, Request};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;
use tracing::debug;
use wkube_api::Status;

use crate::Api;
use crate::auth::Attributes;
use crate::call::Call;
use crate::registry::Outcome;
use crate::respond::Body;
use crate::router::Verb;

mod activity;
mod channels;
pub(crate) mod limits;
pub(crate) mod logs;
mod negotiate;
pub(crate) mod node;
mod options;
mod port_forward;
mod remote_command;
mod spdy;
pub(crate) mod watches;
mod websocket;

#[cfg(test)]
mod fake_node;

/// Whether a subresource is one of these.
pub(crate) fn is_meant(subresource: &str) -> bool {
    matches!(subresource, "exec" | "attach" | "portforward")
}

/// Answers a request for a stream, by upgrading its connection.
pub(crate) async fn answer(api: &Arc<Api>, call: &Call, request: Request<Body>) -> Result<Outcome, Status> {
    if !matches!(*request.method(), Method::GET | Method::POST) {
        return Err(Status::method_not_allowed(&call.resource, call.verb.as_str()));
    }
    // A WebSocket starts with GET, which alone is the right to read; since 1.35 the right to create is asked for too
    // (AuthorizePodWebsocketUpgradeCreatePermission).
    if call.verb == Verb::Get && negotiate::is_websocket(request.headers()) {
        let create = Attributes {
            verb: Verb::Create.as_str(),
            group: &call.resource.group,
            resource: &call.resource.plural,
            subresource: &call.subresource,
            namespace: &call.namespace,
            name: &call.name,
            ..Attributes::default()
        };
        api.access.check(&api.registry, &call.user, &create).await?;
    }
    match call.subresource.as_str() {
        "portforward" => port_forward::answer(api, call, request),
        _ => remote_command::answer(api, call, request).await,
    }
}

/// Runs a session on a request's connection once it is upgraded, which it is after its response. The session is told when
/// the server stops, and then has as long as any other request to end in order.
fn upgraded<F, S>(api: &Api, name: &'static str, request: &mut Request<Body>, session: F)
where
    F: FnOnce(TokioIo<Upgraded>, CancellationToken) -> S + Send + 'static,
    S: Future<Output = ()> + Send,
{
    let upgrade = hyper::upgrade::on(request);
    let tasks = &api.registry.tasks;
    let stopping = tasks.stopping();
    tasks.spawn_to_end(name, async move {
        let over = {
            let stopping = stopping.clone();
            async move {
                stopping.cancelled().await;
                tokio::time::sleep(crate::limits::DRAIN).await;
            }
        };
        let running = async {
            match upgrade.await {
                Ok(stream) => session(TokioIo::new(stream), stopping).await,
                Err(error) => debug!(%error, "a connection was not upgraded"),
            }
        };
        tokio::select! {
            biased;
            () = running => {}
            () = over => {}
        }
    });
}
