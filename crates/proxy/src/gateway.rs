//! The gateway: the one HTTP port through which the outside reaches services.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tracing::{debug, info};
use wkube_base::Tasks;

use crate::http::Proxy;
use crate::{Body, BoxError, respond};

/// How long a client may take to send the head of a request; slower ones hold a connection for nothing.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(30);
/// How long open requests may take once the gateway stops. The whole of `up` stops within 10 s.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);
/// How long to pause after `accept` failed, typically because the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HEADERS: usize = 3;

/// The gateway could not listen.
#[derive(Debug, thiserror::Error)]
#[error("failed to listen on {address} for the gateway; choose another address with --gateway ADDR:PORT")]
pub struct BindError {
    /// Where it should have listened.
    pub address: SocketAddr,
    /// Why it cannot.
    #[source]
    pub source: std::io::Error,
}

/// A running gateway.
#[derive(Debug, Clone)]
pub struct Gateway {
    address: SocketAddr,
}

impl Gateway {
    /// Listens on `address` (port 0 takes a free one) and serves until `tasks` stop. Connections live on the runtime
    /// of `tasks`: on the threads of the guests that answer, no request changes threads.
    ///
    /// # Errors
    /// If the address is taken or not ours.
    pub async fn start(address: SocketAddr, proxy: Proxy, tasks: &Tasks) -> Result<Self, BindError> {
        let failed = |source| BindError { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        // Out of the reactor that we are called on, and in `serve` into the one where it will be polled.
        let listener = listener.into_std().map_err(failed)?;
        let connections = tasks.child();
        tasks.spawn_to_end("gateway", serve(listener, proxy, connections));
        info!(%address, "gateway listens");
        Ok(Self { address })
    }

    /// Returns the address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn serve(listener: std::net::TcpListener, proxy: Proxy, tasks: Tasks) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the gateway cannot wait for connections"),
    };
    let graceful = GracefulShutdown::new();
    let stopping = tasks.stopping();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopping.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let connection = graceful.watch(connection(stream, peer, proxy.clone()));
                tasks.spawn_to_end("gateway connection", async move {
                    if let Err(error) = connection.await {
                        debug!(%peer, %error, "connection ended early");
                    }
                });
            }
            Err(error) => {
                debug!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_DEADLINE, graceful.shutdown()).await.is_err() {
        debug!("requests were still open when the gateway stopped");
    }
}

fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    proxy: Proxy,
) -> http1::Connection<
    TokioIo<TcpStream>,
    impl hyper::service::HttpService<Incoming, ResBody = Body, Error = Infallible, Future: Send>,
> {
    // Without it, the last packet of a response may wait 40 ms for an acknowledgement.
    let _ = stream.set_nodelay(true);
    let edge = Arc::new(Edge::new(proxy, peer));
    let service = service_fn(move |request: Request<Incoming>| {
        let edge = Arc::clone(&edge);
        async move { Ok::<_, Infallible>(edge.answer(request).await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
}

/// What the requests of one connection have in common: made once, because there may be a million of them.
struct Edge {
    proxy: Proxy,
    peer: Option<HeaderValue>,
}

impl Edge {
    fn new(proxy: Proxy, peer: SocketAddr) -> Self {
        Self { proxy, peer: HeaderValue::from_str(&peer.ip().to_string()).ok() }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let mut request = request.map(|body| body.map_err(BoxError::from).boxed_unsync());
        self.add_forwarded(request.headers_mut());
        self.proxy.send_from_outside(request).await.unwrap_or_else(|error| respond::error(&error))
    }

    /// Tells the guest who asked, for which host and over what (the de-facto `X-Forwarded-*` headers). The gateway is
    /// the edge, so that what a client claims is replaced.
    fn add_forwarded(&self, headers: &mut HeaderMap) {
        let host = headers.get(HOST).cloned();
        // All at once: the map of a small request would grow with each of them.
        headers.reserve(FORWARDED_HEADERS);
        if let Some(peer) = &self.peer {
            headers.insert(X_FORWARDED_FOR, peer.clone());
        }
        if let Some(host) = host {
            headers.insert(X_FORWARDED_HOST, host);
        }
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LocalPods;
    use crate::http::tests::Nowhere;

    #[test]
    fn a_guest_is_told_who_asked_whatever_the_client_claims() {
        let proxy = Proxy::new(LocalPods::on_node("here"), Arc::new(Nowhere));
        let edge = Edge::new(proxy, "192.0.2.7:4711".parse().expect("an address"));
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("web.example"));
        headers.insert(X_FORWARDED_FOR, HeaderValue::from_static("10.0.0.1"));
        headers.append(X_FORWARDED_FOR, HeaderValue::from_static("10.0.0.2"));
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("https"));
        edge.add_forwarded(&mut headers);
        let all = |name: &HeaderName| headers.get_all(name).into_iter().cloned().collect::<Vec<_>>();
        assert_eq!(all(&X_FORWARDED_FOR), ["192.0.2.7"]);
        assert_eq!(all(&X_FORWARDED_HOST), ["web.example"]);
        assert_eq!(all(&X_FORWARDED_PROTO), ["http"]);
    }
}
