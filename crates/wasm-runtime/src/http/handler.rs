//! One request in one instance, for both generations of `wasi:http`.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::uri;
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use wasmtime::Store;
use wasmtime_wasi_http::{WasiBody, WasiHttpView as _, p2, p3};

use super::body::{Broken, Fuse};
use super::egress::to_wasi_error;
use crate::ctx::{Abi, Ctx, Guest};
use crate::engine::Engine;
use crate::exit;
use crate::guest::{Body, Exit};

/// How long a guest may go on after its answer has been read, to log or to write back.
const AFTER_ANSWER_MAX: Duration = Duration::from_secs(30);

/// Linked code with the entry point of an HTTP handler.
#[derive(Clone)]
pub(crate) enum Handler {
    /// `wasi:http/incoming-handler@0.2`.
    V0_2(p2::bindings::ProxyPre<Ctx>),
    /// `wasi:http/handler@0.3`.
    V0_3(p3::bindings::ServicePre<Ctx>),
}

/// The answer's head with the body that follows, or the guest's error code.
pub(super) type Head = oneshot::Sender<Given>;
type Given = Result<http::Response<WasiBody>, String>;

/// A request, where its answer goes, and whether anybody waits for it.
pub(super) struct Call {
    pub(super) request: http::Request<Body>,
    pub(super) head: Head,
    pub(super) client: Client,
    pub(super) broken: Broken,
}

/// The far end of whoever reads the answer: a message when the body has been read, closed when they went away.
pub(super) struct Client(pub(super) oneshot::Receiver<()>);

impl Client {
    /// Completes when nothing that the guest still does is of use to the client.
    async fn done(self) {
        if self.0.await.is_ok() {
            tokio::time::sleep(AFTER_ANSWER_MAX).await;
        }
    }
}

impl Handler {
    /// Runs the guest for one request and returns how it failed, if it did.
    pub(super) async fn answer(&self, engine: &Engine, guest: &Guest, call: Call) -> Option<Exit> {
        let Call { request, head, client, broken } = call;
        let mut store = match guest.store(engine.wasm(), Abi::Component) {
            Ok(store) => store,
            Err(error) => return Some(Exit::host_failure(error.to_string())),
        };
        store.data_mut().fuse = Fuse::armed(broken);
        let request = request.map(|body| body.map_err(to_wasi_error).boxed_unsync());
        let answer = Answer::default();
        let mut head = Some(head);
        let result = {
            let mut call = pin!(self.call(&mut store, request, answer.clone()));
            let mut client = pin!(client.done());
            poll_fn(|context| {
                if client.as_mut().poll(context).is_ready() {
                    return Poll::Ready(None);
                }
                let polled = call.as_mut().poll(context);
                if !matches!(polled, Poll::Ready(Err(_))) {
                    answer.deliver(&mut head);
                }
                polled.map(Some)
            })
            .await?
        };
        match result {
            Ok(()) => {
                store.data_mut().fuse.defuse();
                // A head that is still here was never given.
                head.map(|_| Exit::exited(0))
            }
            Err(error) => Some(exit::classify(Err(error), store.data().memory.refused())),
        }
    }

    async fn call(
        &self,
        store: &mut Store<Ctx>,
        request: http::Request<WasiBody>,
        answer: Answer,
    ) -> wasmtime::Result<()> {
        match self {
            Self::V0_2(pre) => call_0_2(pre, store, request, answer).await,
            Self::V0_3(pre) => call_0_3(pre, store, request, answer).await,
        }
    }
}

/// Holds a guest's answer until the guest lets go of the thread. A short answer is complete by then, so that its
/// reader wakes up once instead of for each part; and a guest that fails first has not answered at all.
#[derive(Clone, Default)]
struct Answer(Arc<Mutex<Option<Given>>>);

impl Answer {
    fn give(&self, given: Given) {
        *self.0.lock() = Some(given);
    }

    fn deliver(&self, head: &mut Option<Head>) {
        if let Some(given) = self.0.lock().take()
            && let Some(head) = head.take()
        {
            // A receiver that is gone means that nobody waits any more: not the guest's fault.
            let _ = head.send(given);
        }
    }
}

async fn call_0_2(
    pre: &p2::bindings::ProxyPre<Ctx>,
    store: &mut Store<Ctx>,
    request: http::Request<WasiBody>,
    answer: Answer,
) -> wasmtime::Result<()> {
    let scheme = match request.uri().scheme() {
        Some(scheme) if *scheme == uri::Scheme::HTTPS => p2::bindings::http::types::Scheme::Https,
        _ => p2::bindings::http::types::Scheme::Http,
    };
    let mut http = store.data_mut().http();
    let request = http.new_incoming_request(scheme, request)?;
    let out = http.new_response_outparam_from_callback(move |given| {
        answer.give(given.map_err(|code| format!("{code:?}")));
    })?;
    let proxy = pre.instantiate_async(&mut *store).await?;
    proxy.wasi_http_incoming_handler().call_handle(&mut *store, request, out).await
}

async fn call_0_3(
    pre: &p3::bindings::ServicePre<Ctx>,
    store: &mut Store<Ctx>,
    request: http::Request<WasiBody>,
    answer: Answer,
) -> wasmtime::Result<()> {
    let service = pre.instantiate_async(&mut *store).await?;
    store
        .run_concurrent(async move |accessor| {
            let (request, sent) = accessor.with(|mut store| shown_0_3(store.get(), request));
            let given = match service.handle(accessor, request).await? {
                Ok(response) => Ok(accessor.with(|store| response.into_http(store, sent))?),
                Err(code) => Err(format!("{code:?}")),
            };
            answer.give(given);
            // The guest goes on writing the body after it returned the head.
            poll_fn(|context| accessor.poll_no_interesting_tasks(context)).await;
            Ok(())
        })
        .await?
}

/// Whether the guest has been sent the whole request.
type Sent = Pin<Box<dyn Future<Output = Result<(), wasmtime_wasi_http::Error>> + Send>>;

fn shown_0_3(ctx: &mut Ctx, request: http::Request<WasiBody>) -> (p3::Request, Sent) {
    let (request, sent) = p3::Request::from_http(ctx.http().hooks, request);
    (request, Box::pin(sent))
}
