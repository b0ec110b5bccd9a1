//! The gateway: the one HTTP port through which the outside reaches services.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use http::header::{HOST, HeaderName, HeaderValue};
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
    let service = service_fn(move |request: Request<Incoming>| {
        let proxy = proxy.clone();
        async move { Ok::<_, Infallible>(answer(&proxy, peer, request).await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
}

async fn answer(proxy: &Proxy, peer: SocketAddr, request: Request<Incoming>) -> Response<Body> {
    let mut request = request.map(|body| body.map_err(BoxError::from).boxed_unsync());
    add_forwarded(&mut request, peer);
    proxy.send_from_outside(request).await.unwrap_or_else(|error| respond::error(&error))
}

/// Tells the guest who asked, for which host and over what (the de-facto `X-Forwarded-*` headers). The gateway is the
/// edge, so that what a client claims is replaced.
fn add_forwarded(request: &mut Request<Body>, peer: SocketAddr) {
    let host = request.headers().get(HOST).cloned();
    let headers = request.headers_mut();
    if let Ok(peer) = HeaderValue::from_str(&peer.ip().to_string()) {
        headers.insert(X_FORWARDED_FOR, peer);
    }
    if let Some(host) = host {
        headers.insert(X_FORWARDED_HOST, host);
    }
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
}
