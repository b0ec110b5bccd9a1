//! `Client`: one way in, over HTTPS to a server elsewhere or straight into the API server's router in this process.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceExt as _};
use wkube_api::Status;

use crate::barrier::Writes;
use crate::election::Term;
use crate::error::Error;
use crate::kind::{KindName, Revision};
use crate::metrics;

/// What a client sends.
pub type RequestBody = kube_client::client::Body;

/// What a client receives, as a stream of bytes.
pub type ResponseBody = UnsyncBoxBody<Bytes, BoxError>;

/// How long one request may take until its answer is complete; watches and other streams only until it begins.
/// kube-apiserver gives up after 60 s itself; a component that waits longer than this is better served by trying again.
const TIMEOUT: Duration = Duration::from_secs(30);

/// An error body beyond this is not read further; a `Status` is a few hundred bytes.
const ERROR_BODY_BYTES_MAX: usize = 1 << 20;

/// The name under which requests are made unless the component gives its own.
const USER_AGENT_DEFAULT: HeaderValue = HeaderValue::from_static("wkube");

/// Whom the clients of this process speak to, in its metrics: the service behind them knows the address, they do not.
const HOST: &str = "kubernetes.default.svc";

/// A handle on the API. Clones share connections. Calls go straight into the service, without a queue or a task
/// between, so that in-process requests stay cheap and simulations stay deterministic.
#[derive(Clone)]
pub struct Client {
    service: BoxCloneSyncService<Request<RequestBody>, Response<ResponseBody>, BoxError>,
    user_agent: HeaderValue,
    timeout: Duration,
    writes: Option<Arc<Writes>>,
    term: Option<Term>,
    in_flight: Arc<AtomicUsize>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("user_agent", &self.user_agent).finish_non_exhaustive()
    }
}

impl Client {
    /// Returns a client over any HTTP service, such as the API server's own router in process. Requests carry only a
    /// path; the service adds scheme, host and credentials if it needs them.
    pub fn new<S, B>(service: S) -> Self
    where
        S: tower::Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let service = service
            .map_response(|response: Response<B>| response.map(|body| body.map_err(Into::into).boxed_unsync()))
            .map_err(Into::into);
        metrics::register_requests();
        Self {
            service: BoxCloneSyncService::new(service),
            user_agent: USER_AGENT_DEFAULT,
            timeout: TIMEOUT,
            writes: None,
            term: None,
            in_flight: Arc::default(),
        }
    }

    /// Returns a client over a service that takes bodies while they are still written, such as an API server in this process.
    pub fn over<S, B>(service: S) -> Self
    where
        S: tower::Service<Request<ResponseBody>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self::new(service.map_request(with_body))
    }

    /// Returns the same client under the name of a component. The server also records it as the field manager of
    /// what the component writes.
    #[must_use]
    pub fn named(&self, component: &str) -> Self {
        let user_agent = HeaderValue::from_str(component).unwrap_or(USER_AGENT_DEFAULT);
        Self { user_agent, ..self.clone() }
    }

    /// Returns the same client with another limit on how long a request may take.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { timeout, ..self.clone() }
    }

    /// Returns the same client, but noting the revision of every write in `writes`.
    #[must_use]
    pub fn recording(&self, writes: &Arc<Writes>) -> Self {
        Self { writes: Some(Arc::clone(writes)), ..self.clone() }
    }

    /// Returns the same client for a leader: what it writes after its term is refused, and ends the term.
    #[must_use]
    pub fn in_term(&self, term: &Term) -> Self {
        let marking = term.clone();
        let mark = move |mut request: Request<RequestBody>| {
            marking.mark(request.headers_mut());
            request
        };
        // Around the service, so that there is no way past it.
        let service = BoxCloneSyncService::new(self.service.clone().map_request(mark));
        Self { service, term: Some(term.clone()), ..self.clone() }
    }

    /// Returns a `kube` client over the same service, for those who need its protocols. It starts a task.
    pub fn kube(&self) -> kube_client::Client {
        kube_client::Client::new(self.service.clone(), "default")
    }

    /// Returns how many requests have been sent and not answered yet, watches not counted.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Sends a request and returns the answer as it is, whatever its status code, with its body still to be read.
    ///
    /// # Errors
    /// `Transport` or `Timeout` if no answer begins.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<ResponseBody>, Error> {
        self.begin(request.map(RequestBody::from)).await
    }

    /// Sends a request whose body is still being written, and returns the answer as soon as it begins: the two bodies are
    /// the directions of one exchange.
    ///
    /// # Errors
    /// `Transport` or `Timeout` if no answer begins.
    pub async fn exchange<B>(&self, request: Request<B>) -> Result<Response<ResponseBody>, Error>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (mut head, body) = request.into_parts();
        head.extensions.insert(Unfinished::new(body));
        self.begin(Request::from_parts(head, RequestBody::empty())).await
    }

    async fn begin(&self, mut request: Request<RequestBody>) -> Result<Response<ResponseBody>, Error> {
        request.headers_mut().entry(header::USER_AGENT).or_insert_with(|| self.user_agent.clone());
        let (method, began) = (request.method().clone(), Instant::now());
        let answer = tokio::time::timeout(self.timeout, self.service.clone().oneshot(request)).await;
        let answer =
            answer.map_err(|_| Error::Timeout(self.timeout)).and_then(|answer| answer.map_err(Error::Transport));
        count(&method, began.elapsed(), answer.as_ref().ok());
        answer
    }

    /// Sends a request and returns the body of a successful answer to be read as it arrives: watches, logs.
    ///
    /// # Errors
    /// `Api` if the server refuses.
    pub async fn stream(&self, request: Request<Bytes>) -> Result<ResponseBody, Error> {
        let response = self.send(request).await?;
        if response.status().is_success() {
            return Ok(response.into_body());
        }
        let code = response.status();
        let body = tokio::time::timeout(self.timeout, start_of(response.into_body(), ERROR_BODY_BYTES_MAX)).await;
        let body = body.map_err(|_| Error::Timeout(self.timeout))??;
        let status = status_of(code, &body);
        if let Some(term) = &self.term {
            term.note(&status);
        }
        Err(Error::Api(Box::new(status)))
    }

    /// Sends a request and returns the whole body of a successful answer.
    ///
    /// # Errors
    /// `Api` if the server refuses.
    pub async fn call(&self, request: Request<Bytes>) -> Result<Bytes, Error> {
        let _in_flight = InFlight::enter(&self.in_flight);
        match tokio::time::timeout(self.timeout, self.whole(request)).await {
            Ok(answer) => answer,
            Err(_late) => Err(Error::Timeout(self.timeout)),
        }
    }

    async fn whole(&self, request: Request<Bytes>) -> Result<Bytes, Error> {
        let body = self.stream(request).await?.collect().await.map_err(Error::Transport)?;
        Ok(body.to_bytes())
    }

    /// Notes a write for the read-your-writes barrier.
    pub(crate) fn wrote(&self, kind: KindName<'_>, at: Revision) {
        if let Some(writes) = &self.writes {
            writes.note(kind, at);
        }
    }
}

/// A body that is still being written. It rides beside its request through the layers of `kube-client`, whose own type of
/// bodies nobody else can make one of that is not known yet.
#[derive(Clone)]
struct Unfinished(Arc<Mutex<Option<ResponseBody>>>);

impl Unfinished {
    fn new<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self(Arc::new(Mutex::new(Some(body.map_err(Into::into).boxed_unsync()))))
    }
}

/// Returns a request with the body that it is to be sent with. Everything that goes to a server passes through here.
pub(crate) fn with_body(mut request: Request<RequestBody>) -> Request<ResponseBody> {
    let unfinished = request.extensions_mut().remove::<Unfinished>().and_then(|body| body.0.lock().take());
    let (head, body) = request.into_parts();
    Request::from_parts(head, unfinished.unwrap_or_else(|| body.map_err(Into::into).boxed_unsync()))
}

/// Reads a body until its end or until there are more than `bytes_max` bytes.
async fn start_of(mut body: ResponseBody, bytes_max: usize) -> Result<Vec<u8>, Error> {
    let mut start = Vec::new();
    while start.len() <= bytes_max
        && let Some(frame) = body.frame().await
    {
        start.extend_from_slice(frame.map_err(Error::Transport)?.data_ref().map_or(&[][..], |data| data));
    }
    Ok(start)
}

/// Counts one request while it lives.
struct InFlight<'a>(&'a AtomicUsize);

impl<'a> InFlight<'a> {
    fn enter(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Returns the `Status` in an error's body, or one that stands for an answer that is none (a proxy's HTML page).
pub(crate) fn status_of(code: StatusCode, body: &[u8]) -> Status {
    let mut document = serde_json::from_slice(body).unwrap_or(Value::Null);
    if document["kind"] != "Status" {
        let text = String::from_utf8_lossy(&body[..body.len().min(512)]);
        document = json!({ "message": format!("the server answered {code}: {}", text.trim()) });
    }
    let reason = code.canonical_reason().unwrap_or("Unknown").replace(' ', "");
    for (field, value) in [("code", json!(code.as_u16())), ("reason", json!(reason)), ("message", json!(""))] {
        let empty = document[field].is_null() || document[field] == "" || document[field] == 0;
        if empty {
            document[field] = value;
        }
    }
    serde_json::from_value(document).unwrap_or_else(|problem| Status {
        code: code.as_u16(),
        reason,
        message: format!("the server answered {code} with a malformed Status: {problem}"),
        details: None,
    })
}

/// Counts a request and its answer, if there was one.
fn count(method: &Method, took: Duration, answer: Option<&Response<ResponseBody>>) {
    let code = answer.map_or(Cow::Borrowed("<error>"), |answer| answer.status().as_u16().to_string().into());
    metrics::REQUESTS.with(&[&code, method.as_str(), HOST]).add(1);
    metrics::REQUEST_DURATION.with(&[method.as_str(), HOST]).observe(took.as_secs_f64());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_as_the_server_sent_it() {
        let body =
            br#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"pods \"a\" not found",
            "reason":"NotFound","details":{"name":"a","kind":"pods"},"code":404}"#;
        let status = status_of(StatusCode::NOT_FOUND, body);
        assert_eq!(
            (status.code, status.reason.as_str(), status.message.as_str()),
            (404, "NotFound", "pods \"a\" not found")
        );
    }

    #[test]
    fn an_answer_that_is_no_status_still_says_what_happened() {
        let status = status_of(StatusCode::BAD_GATEWAY, b"<html>oops</html>");
        assert_eq!(status.code, 502);
        assert_eq!(status.message, "the server answered 502 Bad Gateway: <html>oops</html>");
    }

    #[test]
    fn a_status_without_code_or_message_gets_the_answers_code() {
        let status = status_of(StatusCode::CONFLICT, br#"{"kind":"Status"}"#);
        assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"));
    }

    #[tokio::test]
    async fn a_body_is_sent_while_it_is_written() {
        let echo = tower::service_fn(|request: Request<RequestBody>| {
            std::future::ready(Ok::<_, BoxError>(Response::new(with_body(request).into_body())))
        });
        let (sender, pieces) = futures::channel::mpsc::unbounded::<Result<http_body::Frame<Bytes>, BoxError>>();
        let request = Request::post("/x").body(http_body_util::StreamBody::new(pieces)).expect("valid");
        let mut answer = Client::new(echo).exchange(request).await.expect("an answer").into_body();
        for piece in ["one", "two"] {
            sender.unbounded_send(Ok(http_body::Frame::data(piece.into()))).expect("somebody reads");
            let frame = answer.frame().await.expect("a piece").expect("no error");
            assert_eq!(frame.into_data().expect("data"), piece);
        }
        drop(sender);
        assert!(answer.frame().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_never_answers_is_a_timeout() {
        let silent = tower::service_fn(|_: Request<RequestBody>| {
            std::future::pending::<Result<Response<http_body_util::Empty<Bytes>>, BoxError>>()
        });
        let request = Request::get("/version").body(Bytes::new()).expect("valid");
        let error = Client::new(silent).call(request).await.expect_err("no answer");
        assert!(matches!(error, Error::Timeout(_)), "{error:?}");
        assert!(error.is_transient());
    }
}
