//! POSTs a document and returns the answer: pooled connections, a deadline, a limit, no redirects.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{Connected as Negotiated, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use rustls::ClientConfig;
use tokio::time::timeout;

use super::dial::{self, Connected, DialError, Transport};
use super::target::{Place, Target};
use super::trust::{self, Trust};
use crate::reach::{Reach, Stream};
use crate::watched_store::chain;

/// Idle connections are closed after this; Go's `http.Transport` as client-go sets it.
const IDLE: Duration = Duration::from_secs(90);
/// Idle connections to one server that speaks HTTP/1.1.
const IDLE_MAX: usize = 16;
/// Servers whose connections are kept. More configurations than this forget all and start anew.
const POOLS_MAX: usize = 256;
/// An answer that is an error is read no further than this: it ends up in a message.
const REFUSAL_BYTES_MAX: usize = 2 * 1024;

/// Why there is no answer. What it says follows `failed to call webhook: `.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallError {
    /// The other side could not be asked, or did not answer in time.
    #[error("Post {url:?}: {why}")]
    Unreached {
        /// The URL, as people configured it.
        url: String,
        /// In Go's words.
        why: String,
    },
    /// It answered with an error.
    #[error("{0}")]
    Refused(String),
}

/// What the cluster knows of its services.
pub(crate) trait Services: Send + Sync {
    /// Returns how a service wants to be spoken to on a port; `None` if there is no such service.
    fn transport(&self, namespace: &str, name: &str, port: u16) -> Option<Transport>;
}

/// Calls webhooks.
pub(crate) struct Client {
    reach: Arc<dyn Reach>,
    services: Box<dyn Services>,
    pools: Mutex<BTreeMap<Peer, Pool>>,
}

/// One server as one configuration trusts it. Two that trust differently share no connection.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Peer {
    place: Place,
    trust: Trust,
    transport: Transport,
}

type Pool = legacy::Client<Connector, Full<Bytes>>;

/// A call to make.
pub(crate) struct Post<'a> {
    /// Whom to call.
    pub(crate) target: &'a Target,
    /// A JSON document.
    pub(crate) body: Bytes,
    /// How long it may take altogether.
    pub(crate) timeout: Duration,
    /// How many bytes the answer may have.
    pub(crate) answer_max: usize,
}

impl Client {
    /// Returns a client that finds services through `reach`.
    pub(crate) fn new(reach: Arc<dyn Reach>, services: impl Services + 'static) -> Self {
        Self { reach, services: Box::new(services), pools: Mutex::default() }
    }

    /// Returns the body of a successful answer.
    pub(crate) async fn post(&self, post: Post<'_>) -> Result<Bytes, CallError> {
        let url = post.target.url(Some(post.timeout));
        let unreached = |why: String| CallError::Unreached { url: url.clone(), why };
        let transport = self.transport(&post.target.place).map_err(unreached)?;
        let pool = self.pool(post.target, transport).map_err(unreached)?;
        let wire = match transport {
            Transport::Tls => url.clone(),
            Transport::Plain => url.replacen("https:", "http:", 1),
        };
        let request = Request::post(wire)
            .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(header::ACCEPT, HeaderValue::from_static("application/json, */*"))
            .header(header::USER_AGENT, HeaderValue::from_static("kube-apiserver-admission"))
            .body(Full::new(post.body))
            .map_err(|error| unreached(error.to_string()))?;
        let exchange = async {
            let response = pool.request(request).await.map_err(|error| unreached(words(&error)))?;
            answer(response, post.answer_max).await.map_err(|failure| match failure {
                Failure::Broken(why) => unreached(why),
                Failure::Refused(why) => CallError::Refused(why),
            })
        };
        timeout(post.timeout, exchange).await.unwrap_or_else(|_| Err(unreached("context deadline exceeded".to_owned())))
    }

    fn transport(&self, place: &Place) -> Result<Transport, String> {
        let Place::Service { namespace, name, port } = place else { return Ok(Transport::Tls) };
        let found = self.services.transport(namespace, name, *port);
        found.ok_or_else(|| format!("service {name:?} not found"))
    }

    fn pool(&self, target: &Target, transport: Transport) -> Result<Pool, String> {
        let peer = Peer { place: target.place.clone(), trust: target.trust.clone(), transport };
        let mut pools = self.pools.lock();
        if let Some(pool) = pools.get(&peer) {
            return Ok(pool.clone());
        }
        let tls = Arc::new(trust::config(&target.trust, None)?);
        let connector = Connector::new(self.reach.clone(), peer.place.clone(), transport, tls);
        let pool = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_MAX)
            .build(connector);
        if pools.len() >= POOLS_MAX {
            pools.clear();
        }
        pools.insert(peer, pool.clone());
        Ok(pool)
    }
}

/// What went wrong after the head of an answer had come.
enum Failure {
    Broken(String),
    Refused(String),
}

async fn answer(response: Response<Incoming>, max: usize) -> Result<Bytes, Failure> {
    let (head, mut body) = response.into_parts();
    let max = if head.status.is_success() { max } else { REFUSAL_BYTES_MAX };
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::Broken(chain(&error)))?;
        let Ok(data) = frame.into_data() else { continue };
        if read.len() + data.len() > max {
            if head.status.is_success() {
                return Err(Failure::Broken(format!("the answer is longer than {max} bytes")));
            }
            break;
        }
        read.extend_from_slice(&data);
    }
    if head.status.is_success() {
        return Ok(read.freeze());
    }
    Err(Failure::Refused(refusal(head.status, &read)))
}

/// Says what client-go makes of an answer that is an error (`rest.Request.transformResponse`,
/// `errors.NewGenericServerResponse`).
fn refusal(code: StatusCode, body: &[u8]) -> String {
    if let Ok(status) = serde_json::from_slice::<serde_json::Value>(body)
        && status["kind"] == "Status"
        && let Some(message) = status["message"].as_str().filter(|message| !message.is_empty())
    {
        return message.to_owned();
    }
    let text = String::from_utf8_lossy(body);
    match code.as_u16() {
        400 => "the server rejected our request for an unknown reason".to_owned(),
        401 => "the server has asked for the client to provide credentials".to_owned(),
        403 => text.trim().to_owned(),
        404 => "the server could not find the requested resource".to_owned(),
        405 => "the server does not allow this method on the requested resource".to_owned(),
        409 => "the server reported a conflict".to_owned(),
        413 => "Request entity too large".to_owned(),
        415 => "the server was unable to process the body of the request".to_owned(),
        422 => "the server rejected our request due to an error in our request".to_owned(),
        429 => "the server has received too many requests and has asked us to try again later".to_owned(),
        503 => "the server is currently unable to handle the request".to_owned(),
        504 => {
            "the server was unable to return a response in the time allotted, but may still be processing the request"
                .to_owned()
        }
        500.. => format!("an error on the server ({:?}) has prevented the request from succeeding", text.trim()),
        other => format!("the server responded with the status code {other} but did not return more information"),
    }
}

/// Finds what went wrong under the layers of the HTTP client.
pub(crate) fn words(error: &legacy::Error) -> String {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(dial) = cause.downcast_ref::<DialError>() {
            return dial.to_string();
        }
        if cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message) {
            return "EOF".to_owned();
        }
        source = cause.source();
    }
    chain(error)
}

/// Opens the connections to one server.
#[derive(Clone)]
pub(crate) struct Connector {
    reach: Arc<dyn Reach>,
    place: Place,
    transport: Transport,
    tls: Arc<ClientConfig>,
}

impl Connector {
    /// Returns what opens connections to a place.
    pub(crate) fn new(reach: Arc<dyn Reach>, place: Place, transport: Transport, tls: Arc<ClientConfig>) -> Self {
        Self { reach, place, transport, tls }
    }

    /// Returns the same without HTTP/2, which knows no upgrades.
    pub(crate) fn only_http1(&self) -> Self {
        let mut tls = ClientConfig::clone(&self.tls);
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self { tls: Arc::new(tls), ..self.clone() }
    }

    /// Opens a connection.
    pub(crate) async fn open(&self) -> Result<Connected, DialError> {
        dial::connect(&self.reach, &self.place, self.transport, &self.tls).await
    }
}

impl tower::Service<Uri> for Connector {
    type Response = Opened;
    type Error = DialError;
    type Future = BoxFuture<'static, Result<Opened, DialError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let connector = self.clone();
        async move {
            let connected = connector.open().await?;
            Ok(Opened { io: TokioIo::new(connected.stream), is_http2: connected.is_http2 })
        }
        .boxed()
    }
}

/// A connection that tells the pool whether it carries many calls at once.
pub(crate) struct Opened {
    io: TokioIo<Box<dyn Stream>>,
    is_http2: bool,
}

impl Connection for Opened {
    fn connected(&self) -> Negotiated {
        let connected = Negotiated::new();
        if self.is_http2 { connected.negotiated_h2() } else { connected }
    }
}

impl Read for Opened {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl Write for Opened {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(code: u16, body: &str, expected: &str) {
        assert_eq!(refusal(StatusCode::from_u16(code).expect("a code"), body.as_bytes()), expected);
    }

    #[test]
    fn an_error_is_told_as_client_go_tells_it() {
        check(404, "404 page not found", "the server could not find the requested resource");
        check(500, "boom\n", "an error on the server (\"boom\") has prevented the request from succeeding");
        check(418, "", "the server responded with the status code 418 but did not return more information");
        check(302, "", "the server responded with the status code 302 but did not return more information");
        check(503, r#"{"kind":"Status","message":"not now"}"#, "not now");
    }
}
