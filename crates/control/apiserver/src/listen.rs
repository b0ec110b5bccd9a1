//! The network's side: TLS, HTTP/1.1 and HTTP/2, who is calling, and an orderly end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use axum::Router;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use wkube_base::Tasks;

use crate::auth::User;
use crate::pipeline::{self, Origin};
use crate::respond::Body;
use crate::stall::Impatient;
use crate::{Api, limits, tls};

/// What answers behind the listener.
#[derive(Clone)]
pub(crate) struct Front {
    api: Arc<Api>,
}

impl Front {
    /// Returns what authenticates and then answers.
    pub(crate) fn new(api: Arc<Api>) -> Self {
        Self { api }
    }

    /// Answers a request of a connection whose client certificate named `user`.
    async fn answer(self, user: Option<User>, peer: Option<SocketAddr>, request: Request<Incoming>) -> Response<Body> {
        let mut request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        if let Some(user) = user {
            request.extensions_mut().insert(user);
        }
        let origin = Origin::Network(peer);
        match self.api.authenticator.authenticate(request.extensions(), request.headers()) {
            Ok(user) => pipeline::answer(&self.api, user, request, origin).await,
            Err(status) => pipeline::refuse(&self.api, request, status, origin).await,
        }
    }
}

/// Serves TLS connections until the owner stops.
pub(crate) fn serve_tls(listener: TcpListener, config: Arc<ServerConfig>, front: Front, tasks: &Tasks) {
    let acceptor = TlsAcceptor::from(config);
    let connections = tasks.clone();
    tasks.spawn("api-listener", async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let connection = connection(acceptor.clone(), stream, front.clone(), connections.stopping());
                    connections.spawn_to_end("api-connection", connection);
                }
                Err(error) => {
                    // Out of file descriptors, most likely: closing connections will free some.
                    warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(limits::ACCEPT_PAUSE).await;
                }
            }
        }
    });
}

/// Serves the image registry without TLS, on the loopback interface.
pub(crate) fn serve_plain(listener: TcpListener, router: Router, tasks: &Tasks) {
    let stopping = tasks.stopping();
    tasks.spawn_to_end("image-registry", async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(stopping.cancelled_owned());
        if let Err(error) = served.await {
            warn!(%error, "the image registry stopped");
        }
    });
}

async fn connection(acceptor: TlsAcceptor, stream: TcpStream, front: Front, stopping: CancellationToken) {
    let _ = stream.set_nodelay(true);
    let handshake = timeout(limits::HANDSHAKE_TIMEOUT, acceptor.accept(stream));
    let stream = tokio::select! {
        biased;
        () = stopping.cancelled() => return,
        done = handshake => match done {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return debug!(%error, "TLS handshake failed"),
            Err(_) => return debug!("TLS handshake timed out"),
        },
    };
    let user = tls::peer_user(stream.get_ref().1);
    let peer = stream.get_ref().0.peer_addr().ok();
    let service = service_fn(move |request| {
        let (front, user) = (front.clone(), user.clone());
        async move { Ok::<_, Infallible>(front.answer(user, peer, request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits::HEADERS_TIMEOUT);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(limits::HTTP2_STREAMS);
    builder.http2().max_header_list_size(limits::HEADERS_MAX);
    builder.http2().keep_alive_interval(limits::KEEP_ALIVE).keep_alive_timeout(limits::KEEP_ALIVE);
    let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(Impatient::new(stream)), service));
    let ended = tokio::select! {
        biased;
        () = stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            timeout(limits::DRAIN, connection).await.unwrap_or(Ok(()))
        }
        ended = connection.as_mut() => ended,
    };
    if let Err(error) = ended {
        debug!(error, "a connection broke");
    }
}
