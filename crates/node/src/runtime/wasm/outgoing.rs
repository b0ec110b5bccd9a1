//! The HTTP requests that guests send: to Services by a function call, with another endpoint if one is gone; to everything
//! else over a connection on the pod's network, which decides where the pod may go.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures::future::BoxFuture;
use http::uri::Scheme;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use tokio::sync::Semaphore;
use wkube_proxy::net::web;
use wkube_proxy::{Body, BoxError, Proxy};
use wkube_wasm_runtime::{Connection, NetError, Network, Outbound, TlsTrust};

use crate::network::OUTSIDE;

/// How many such connections a container has at once. Each has buffers that its memory does not pay for.
const CONNECTIONS_MAX: usize = 256;

/// A container's way out.
pub(super) struct Outgoing {
    proxy: Proxy,
    namespace: String,
    network: Option<Arc<dyn Network>>,
    trust: Option<TlsTrust>,
    connections: Arc<Semaphore>,
}

impl Outgoing {
    /// Returns the way of a pod of `namespace` on `network`; without one, Services are all that there is. `trust` is whom
    /// the container trusts, if not whom the machine does.
    pub(super) fn new(
        proxy: Proxy,
        namespace: String,
        network: Option<Arc<dyn Network>>,
        trust: Option<TlsTrust>,
    ) -> Self {
        Self { proxy, namespace, network, trust, connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)) }
    }
}

impl Outbound for Outgoing {
    fn send(&self, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, BoxError>> {
        let is_secret = request.uri().scheme() == Some(&Scheme::HTTPS);
        let network = self.network.clone().filter(|_| is_secret || !self.proxy.serves(&self.namespace, &request));
        let Some(network) = network else {
            let answer = self.proxy.send_from_guest(&self.namespace, request);
            return Box::pin(async move { answer.await.map_err(Into::into) });
        };
        let trust = is_secret.then(|| self.trust.clone().unwrap_or_default());
        let Ok(permit) = Arc::clone(&self.connections).try_acquire_owned() else {
            let message = format!("this container has {CONNECTIONS_MAX} requests under way, as many as it may have");
            return Box::pin(async move { Err(io::Error::new(io::ErrorKind::QuotaExceeded, message).into()) });
        };
        Box::pin(async move {
            let answer = over(&*network, trust, request).await?;
            // The connection lasts as long as its body.
            Ok(answer.map(|body| {
                let held = move |frame| {
                    let _ = &permit;
                    frame
                };
                body.map_frame(held).boxed_unsync()
            }))
        })
    }
}

/// Sends one request over a connection of its own.
async fn over(
    network: &dyn Network,
    trust: Option<TlsTrust>,
    request: Request<Body>,
) -> Result<Response<Body>, BoxError> {
    let uri = request.uri();
    let host = uri.host().ok_or("the request names no host")?.trim_matches(['[', ']']).to_owned();
    let port = uri.port_u16().unwrap_or(if trust.is_some() { 443 } else { 80 });
    let connection = connect(network, &host, port).await.map_err(|error| said(error, &host))?;
    match trust {
        None => web::ask(connection.stream, request).await,
        Some(trust) => {
            let stream = trust.connect(&host, connection.stream).await;
            web::ask(
                stream.map_err(|error| io::Error::new(error.kind(), format!("TLS with {host}: {error}")))?,
                request,
            )
            .await
        }
    }
}

/// Connects to the first of the host's addresses that answers.
async fn connect(network: &dyn Network, host: &str, port: u16) -> Result<Connection, NetError> {
    let mut latest = NetError::NoName;
    for address in network.resolve(host).await? {
        let any = if address.is_ipv4() { [0, 0, 0, 0].into() } else { std::net::Ipv6Addr::UNSPECIFIED.into() };
        let port_of_ours = network.bind_tcp(SocketAddr::new(any, 0))?;
        match port_of_ours.connect(SocketAddr::new(address, port)).await {
            Ok(connection) => return Ok(connection),
            Err(error) => latest = error,
        }
    }
    Err(latest)
}

/// Returns an error by whose kind the guest can tell what it is.
fn said(error: NetError, host: &str) -> io::Error {
    let (kind, hint) = match error {
        NetError::Denied => (io::ErrorKind::PermissionDenied, true),
        NetError::Unreachable => (io::ErrorKind::HostUnreachable, true),
        NetError::NoName => (io::ErrorKind::NotFound, true),
        NetError::Refused => (io::ErrorKind::ConnectionRefused, false),
        NetError::TimedOut | NetError::NameUnavailable => (io::ErrorKind::TimedOut, false),
        NetError::Reset => (io::ErrorKind::ConnectionReset, false),
        _ => (io::ErrorKind::Other, false),
    };
    let hint = if hint {
        format!("; what is outside of the cluster is granted by the annotation {OUTSIDE}")
    } else {
        String::new()
    };
    io::Error::new(kind, format!("{host}: {error}{hint}"))
}

#[cfg(test)]
#[path = "outgoing_tests.rs"]
mod tests;
