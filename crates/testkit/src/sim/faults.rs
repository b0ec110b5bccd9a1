//! The network between the components and the API server: delays, loses, refuses and cuts, as the seed wants it.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, stream};
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::watch;
use tower::{BoxError, ServiceExt as _};
use wkube_apiserver::InProcess;
use wkube_base::Rng;
use wkube_client::Client;
use wkube_client::client::RequestBody;

use super::log::Log;

type Body = UnsyncBoxBody<Bytes, BoxError>;

/// How likely what goes wrong, each between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Faults {
    /// A request gets lost before the server sees it.
    pub request_lost: f64,
    /// The server does what it was asked to, and its answer gets lost: forces idempotency.
    pub reply_lost: f64,
    /// A write is answered with 409.
    pub conflict: f64,
    /// A request is answered with 429.
    pub too_many: f64,
    /// A request is answered with 500.
    pub server_error: f64,
    /// A watch breaks, per event.
    pub watch_cut: f64,
    /// A watch ends with 410 `Expired`, per event: the client has to list again.
    pub watch_expired: f64,
    /// A request, and its answer, take up to this long each.
    pub latency_max: Duration,
}

impl Faults {
    /// A perfect network.
    pub const NONE: Self = Self {
        request_lost: 0.0,
        reply_lost: 0.0,
        conflict: 0.0,
        too_many: 0.0,
        server_error: 0.0,
        watch_cut: 0.0,
        watch_expired: 0.0,
        latency_max: Duration::ZERO,
    };

    /// A bad day: one request in eight goes wrong in some way.
    pub const SOME: Self = Self {
        request_lost: 0.03,
        reply_lost: 0.03,
        conflict: 0.03,
        too_many: 0.02,
        server_error: 0.02,
        watch_cut: 0.02,
        watch_expired: 0.01,
        latency_max: Duration::from_millis(40),
    };
}

/// The network. Clones share it.
#[derive(Clone)]
pub struct Network(Arc<Shared>);

struct Shared {
    faults: Mutex<Faults>,
    rng: Rng,
    /// Who is cut off.
    silent: watch::Sender<BTreeSet<String>>,
    log: Log,
}

/// What happens to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Passes,
    Lost,
    ReplyLost,
    Refused(u16, &'static str),
}

impl Network {
    /// Returns a perfect network.
    pub(super) fn new(rng: &Rng, log: &Log) -> Self {
        let silent = watch::Sender::new(BTreeSet::new());
        Self(Arc::new(Shared { faults: Mutex::new(Faults::NONE), rng: rng.split(), silent, log: log.clone() }))
    }

    /// Returns a client over this network.
    pub fn client(&self, actor: &str, server: InProcess) -> Client {
        Client::new(Wire { network: self.clone(), actor: actor.into(), server }).named(actor)
    }

    /// Sets what goes wrong from now on.
    pub fn set(&self, faults: Faults) {
        self.0.log.note("network", if faults == Faults::NONE { "is perfect" } else { "has faults" });
        *self.0.faults.lock() = faults;
    }

    /// Cuts somebody off: nothing gets through, in neither direction, and no connection breaks.
    pub fn silence(&self, actor: &str) {
        self.0.log.note(actor, "is cut off");
        self.0.silent.send_modify(|silent| {
            silent.insert(actor.to_owned());
        });
    }

    /// Lets somebody take part again; the old connections break.
    pub fn heal(&self, actor: &str) {
        self.0.log.note(actor, "is back");
        self.0.silent.send_modify(|silent| {
            silent.remove(actor);
        });
    }

    fn draw(&self, method: &Method) -> Fate {
        let faults = *self.0.faults.lock();
        let is_write = method != Method::GET;
        let mut chance = self.0.rng.unit();
        let fates = [
            (faults.request_lost, Fate::Lost),
            (faults.reply_lost, Fate::ReplyLost),
            (faults.too_many, Fate::Refused(429, "TooManyRequests")),
            (faults.server_error, Fate::Refused(500, "InternalError")),
            (if is_write { faults.conflict } else { 0.0 }, Fate::Refused(409, "Conflict")),
        ];
        for (likely, fate) in fates {
            if chance < likely {
                return fate;
            }
            chance -= likely;
        }
        Fate::Passes
    }

    async fn delay(&self) {
        let max = self.0.faults.lock().latency_max;
        if !max.is_zero() {
            tokio::time::sleep(max.mul_f64(self.0.rng.unit())).await;
        }
    }

    /// Completes when `actor` is cut off.
    fn silenced(&self, actor: &str) -> impl Future<Output = ()> + Send + use<> {
        let (mut silent, actor) = (self.0.silent.subscribe(), actor.to_owned());
        async move { drop(silent.wait_for(|silent| silent.contains(&actor)).await) }
    }

    /// Completes when `actor` is not cut off.
    fn healed(&self, actor: &str) -> impl Future<Output = ()> + Send + use<> {
        let (mut silent, actor) = (self.0.silent.subscribe(), actor.to_owned());
        async move { drop(silent.wait_for(|silent| !silent.contains(&actor)).await) }
    }

    fn is_silent(&self, actor: &str) -> bool {
        self.0.silent.borrow().contains(actor)
    }
}

/// One component's connection to the API server.
#[derive(Clone)]
struct Wire {
    network: Network,
    actor: Arc<str>,
    server: InProcess,
}

impl tower::Service<Request<RequestBody>> for Wire {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let wire = self.clone();
        async move { wire.carry(request).await }.boxed()
    }
}

impl Wire {
    async fn carry(self, request: Request<RequestBody>) -> Result<Response<Body>, BoxError> {
        let Self { network, actor, server } = &self;
        if network.is_silent(actor) {
            network.healed(actor).await;
            return Err("connection reset: it was cut off".into());
        }
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
        let fate = network.draw(&method);
        let log =
            |what: &str| network.0.log.request(actor, if is_watch { "WATCH" } else { method.as_str() }, &path, what);
        network.delay().await;
        let response = match fate {
            Fate::Lost => {
                log("request lost");
                return Err("connection reset: the request is lost".into());
            }
            Fate::Refused(code, reason) => {
                log(reason);
                return Ok(refusal(code, reason));
            }
            Fate::Passes | Fate::ReplyLost => server.clone().oneshot(request).await,
        };
        let response = response.unwrap_or_else(|never: Infallible| match never {});
        // What is on its way back when the wire is cut never arrives.
        if fate == Fate::ReplyLost || network.is_silent(actor) {
            log("reply lost");
            return Err("connection reset: the reply is lost".into());
        }
        if is_watch || method != Method::GET {
            log(response.status().as_str());
        }
        network.delay().await;
        let (head, body) = response.into_parts();
        let body = if is_watch { self.watch(path, body) } else { body };
        Ok(Response::from_parts(head, body))
    }

    /// Passes a watch on until it is cut.
    fn watch(&self, path: String, body: Body) -> Body {
        let state = (self.clone(), path, Some(body));
        let frames = stream::unfold(state, |(wire, path, body)| async move {
            let mut body = body?;
            let Wire { network, actor, .. } = &wire;
            let log = |what: &str| network.0.log.request(actor, "WATCH", &path, what);
            let frame = tokio::select! {
                biased;
                () = network.silenced(actor) => {
                    network.healed(actor).await;
                    return Some((Err("connection reset: it was cut off".into()), (wire, path, None)));
                }
                frame = body.frame() => frame?,
            };
            let faults = *network.0.faults.lock();
            let chance = network.0.rng.unit();
            if chance < faults.watch_cut {
                log("cut");
                return Some((Err("connection reset: the watch is cut".into()), (wire, path, None)));
            }
            if chance < faults.watch_cut + faults.watch_expired {
                log("expired");
                return Some((Ok(Frame::data(expired())), (wire, path, None)));
            }
            Some((frame, (wire, path, Some(body))))
        });
        StreamBody::new(frames.boxed()).boxed_unsync()
    }
}

fn status(code: u16, reason: &str) -> serde_json::Value {
    let message = format!("{reason}: the simulated network says so");
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": reason, "code": code })
}

fn refusal(code: u16, reason: &str) -> Response<Body> {
    let body = Full::from(status(code, reason).to_string()).map_err(|never| match never {}).boxed_unsync();
    let response = Response::builder().status(code).header("content-type", "application/json");
    let response = if code == 429 { response.header("retry-after", "1") } else { response };
    response.body(body).expect("the parts are constants")
}

/// The line with which a server ends a watch that fell behind the history.
fn expired() -> Bytes {
    let event = json!({ "type": "ERROR", "object": status(410, "Expired") });
    Bytes::from(format!("{event}\n"))
}
