//! Calls to etcd: one connection per endpoint, the next endpoint when one does not serve, a token that is renewed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use http::uri::PathAndQuery;
use parking_lot::RwLock;
use prost::Message;
use tokio::time::timeout;
use tonic::client::Grpc;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tracing::{Instrument as _, debug_span};

use super::failure::{Failure, Kind};
use super::options::Credentials;
use super::proto::{
    AuthenticateRequest, AuthenticateResponse, CompactionRequest, CompactionResponse, RangeRequest, RangeResponse,
    StatusRequest, StatusResponse, TxnRequest, TxnResponse, WatchCreateRequest, WatchRequest, WatchResponse,
};

/// How long a call may take. etcd itself gives up on a proposal after 7 s (5 s and two election timeouts).
const CALL_MAX: Duration = Duration::from_secs(8);

/// One of etcd's addresses.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    pub(super) name: String,
    pub(super) channel: Channel,
}

/// The cluster behind all endpoints.
#[derive(Debug)]
pub(super) struct Client {
    endpoints: Vec<Endpoint>,
    /// Counts up; the endpoint in use is this modulo their number.
    current: AtomicUsize,
    credentials: Option<Credentials>,
    token: RwLock<Option<MetadataValue<Ascii>>>,
}

/// A method of etcd's API.
struct Method {
    path: &'static str,
    /// Calling it twice does what calling it once does.
    idempotent: bool,
}

const RANGE: Method = Method { path: "/etcdserverpb.KV/Range", idempotent: true };
const TXN: Method = Method { path: "/etcdserverpb.KV/Txn", idempotent: false };
const COMPACT: Method = Method { path: "/etcdserverpb.KV/Compact", idempotent: true };
const STATUS: Method = Method { path: "/etcdserverpb.Maintenance/Status", idempotent: true };
const AUTHENTICATE: Method = Method { path: "/etcdserverpb.Auth/Authenticate", idempotent: true };
const WATCH: &str = "/etcdserverpb.Watch/Watch";

impl Client {
    /// Returns a client of the cluster at `endpoints`, of which there is at least one.
    pub(super) fn new(endpoints: Vec<Endpoint>, credentials: Option<Credentials>) -> Arc<Self> {
        Arc::new(Self { endpoints, current: AtomicUsize::new(0), credentials, token: RwLock::default() })
    }

    pub(super) fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    pub(super) async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Failure> {
        self.call(&RANGE, request).await
    }

    pub(super) async fn txn(&self, request: TxnRequest) -> Result<TxnResponse, Failure> {
        self.call(&TXN, request).await
    }

    pub(super) async fn compact(&self, revision: i64) -> Result<(), Failure> {
        self.call(&COMPACT, CompactionRequest { revision }).await.map(|CompactionResponse {}| ())
    }

    /// Asks one endpoint, and no other, how it is.
    pub(super) async fn status(&self, endpoint: &Endpoint) -> Result<StatusResponse, Failure> {
        self.unary(endpoint.clone(), &STATUS, StatusRequest {}).await
    }

    /// Logs in, if there is anything to log in with.
    pub(super) async fn authenticate(&self) -> Result<(), Failure> {
        let Some(Credentials { user, password }) = &self.credentials else { return Ok(()) };
        *self.token.write() = None;
        let request = AuthenticateRequest { name: user.clone(), password: password.clone() };
        let log_in = |endpoint| self.unary(endpoint, &AUTHENTICATE, request.clone());
        let AuthenticateResponse { token } = self.anywhere(true, log_in).await?;
        *self.token.write() = token.parse().ok();
        Ok(())
    }

    /// Opens a watch; its answers start with `created`. A watch on a member that lost its leader ends with an error.
    pub(super) async fn watch(&self, create: WatchCreateRequest) -> Result<Watching, Failure> {
        self.logged_in(true, |endpoint| self.open_watch(endpoint, create.clone())).await
    }

    async fn open_watch(&self, endpoint: Endpoint, create: WatchCreateRequest) -> Result<Watching, Failure> {
        // The request stream stays open: its end would end the watch.
        let requests = stream::iter([WatchRequest { create: Some(create) }]).chain(stream::pending());
        let opening = async {
            let mut grpc = grpc(&endpoint).await?;
            let path = PathAndQuery::from_static(WATCH);
            grpc.streaming(self.request(requests), path, ProstCodec::default()).await
        };
        let answers = answered(&endpoint, opening).await?;
        Ok(Watching { endpoint: endpoint.name, answers })
    }

    async fn call<Q, A>(&self, method: &Method, request: Q) -> Result<A, Failure>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        let calling = self.logged_in(method.idempotent, |endpoint| self.unary(endpoint, method, request.clone()));
        calling.instrument(debug_span!("etcd", method = method.path)).await
    }

    async fn unary<Q, A>(&self, endpoint: Endpoint, method: &Method, request: Q) -> Result<A, Failure>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let calling = async {
            let mut grpc = grpc(&endpoint).await?;
            let path = PathAndQuery::from_static(method.path);
            grpc.unary(self.request(request), path, ProstCodec::default()).await
        };
        answered(&endpoint, calling).await
    }

    /// Makes a call, if need be with a new token.
    async fn logged_in<T, F>(&self, idempotent: bool, call: impl Fn(Endpoint) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        match self.anywhere(idempotent, &call).await {
            Err(Failure { kind: Kind::Token, .. }) if self.credentials.is_some() => {
                self.authenticate().await?;
                self.anywhere(idempotent, &call).await
            }
            answered => answered,
        }
    }

    /// Calls one endpoint after the other until one serves.
    async fn anywhere<T, F>(&self, idempotent: bool, call: impl Fn(Endpoint) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let mut tried = 0;
        loop {
            let failure = match call(self.endpoint()).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            tried += 1;
            self.leave(&failure);
            if !failure.elsewhere(idempotent) || tried >= self.endpoints.len() {
                return Err(failure);
            }
        }
    }

    /// Adds what etcd expects beside every message.
    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        // A member without a leader then says so at once, instead of after its own seven seconds.
        request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
        if let Some(token) = &*self.token.read() {
            request.metadata_mut().insert("token", token.clone());
        }
        request
    }

    fn endpoint(&self) -> Endpoint {
        self.endpoints[self.current.load(Ordering::Relaxed) % self.endpoints.len()].clone()
    }

    /// Goes on to the next endpoint if `failure` is this one's and not the cluster's.
    fn leave(&self, failure: &Failure) {
        let current = self.current.load(Ordering::Relaxed);
        let is_current = self.endpoints[current % self.endpoints.len()].name == failure.endpoint;
        if failure.elsewhere(true) && is_current {
            // Whoever else noticed it at the same time has moved on already, which is as good.
            let _ = self.current.compare_exchange(current, current + 1, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

/// An open watch.
pub(super) struct Watching {
    endpoint: String,
    answers: Streaming<WatchResponse>,
}

impl Watching {
    /// Returns a failure of this watch.
    pub(super) fn failure(&self, message: &str) -> Failure {
        Failure { kind: Kind::Uncertain, endpoint: self.endpoint.clone(), message: message.to_owned() }
    }

    /// Returns the next answer.
    pub(super) async fn next(&mut self) -> Result<WatchResponse, Failure> {
        match self.answers.message().await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(self.failure("the watch ended")),
            Err(status) => Err(Failure::of(&self.endpoint, &status)),
        }
    }
}

async fn grpc(endpoint: &Endpoint) -> Result<Grpc<Channel>, Status> {
    // One answer may hold a thousand revisions of large objects; etcd's own client has no limit either.
    let mut grpc = Grpc::new(endpoint.channel.clone()).max_decoding_message_size(usize::MAX);
    grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
    Ok(grpc)
}

/// Waits for an answer, but not for ever.
async fn answered<T>(
    endpoint: &Endpoint,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Failure> {
    match timeout(CALL_MAX, call).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(Failure::of(&endpoint.name, &status)),
        Err(_) => Err(Failure::silent(&endpoint.name)),
    }
}
