//! How a request is shown to a guest and its answer is had back, for both generations of `wasi:http`; and a request in
//! an instance of its own.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt as _;
use http::uri;
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use wasmtime::Store;
use wasmtime::component::{Accessor, Func, Resource};
use wasmtime_wasi_http::{WasiBody, WasiHttpView as _, p2, p3};

use super::HandleError;
use super::answer::{Answer, Answers};
use super::body::Broken;
use super::clients::Client;
use super::egress::to_wasi_error;
use super::onward::Onward;
use crate::ctx::{Abi, Ctx, Guest};
use crate::engine::Engine;
use crate::exit;
use crate::guest::{Body, Exit, Reuse, ReuseMode};
use crate::turns;

/// How long a guest may go on after its answer has been read, to log or to write back.
pub(super) const AFTER_ANSWER_MAX: Duration = Duration::from_secs(30);

/// For how many slices an answer is held of a guest that computes on after it gave the head.
const HEAD_HELD_SLICES: u32 = 4;

/// Linked code with the entry point of an HTTP handler.
#[derive(Clone)]
pub(crate) enum Handler {
    /// `wasi:http/incoming-handler@0.2`.
    V0_2(p2::bindings::ProxyPre<Ctx>),
    /// `wasi:http/handler@0.3`.
    V0_3(p3::bindings::ServicePre<Ctx>),
}

/// An instance of a handler.
pub(super) enum Service {
    /// Takes one call at a time: its functions are synchronous.
    V0_2(p2::bindings::Proxy),
    /// Takes several.
    V0_3(p3::bindings::Service),
}

/// The answer's head with the body that follows, or why there is none.
pub(super) type Head = oneshot::Sender<Given>;
pub(super) type Given = Result<http::Response<WasiBody>, HandleError>;

/// A request, where its answer goes, and whether anybody waits for it.
pub(super) struct Call {
    pub(super) request: http::Request<Body>,
    pub(super) head: Head,
    pub(super) client: Client,
    pub(super) broken: Broken,
    /// One of the requests that the guest may have at once.
    pub(super) permit: OwnedSemaphorePermit,
}

/// What a guest is shown of a call.
pub(super) struct Shown {
    request: http::Request<WasiBody>,
    broken: Broken,
}

impl Call {
    /// Takes the call apart: what the guest is shown, and what stays with us until the call is over.
    pub(super) fn shown(self) -> (Shown, Head, Client, OwnedSemaphorePermit) {
        let Self { request, head, client, broken, permit } = self;
        let request = request.map(|body| body.map_err(to_wasi_error).boxed_unsync());
        (Shown { request, broken }, head, client, permit)
    }

    /// Tells whoever waits that the guest failed before it could be asked.
    pub(super) fn fail(self, exit: Exit) -> Exit {
        let _ = self.head.send(Err(HandleError::Trapped(exit.clone())));
        exit
    }
}

impl Client {
    /// Completes when nothing that the guest still does is of use to the client.
    async fn done(mut self) {
        if poll_fn(|context| self.poll_gone(context)).await {
            tokio::time::sleep(AFTER_ANSWER_MAX).await;
        }
    }
}

impl Handler {
    /// Runs the guest for one request and returns how it failed, if it did.
    pub(super) async fn answer(&self, engine: &Engine, guest: &Guest, call: Call) -> Option<Exit> {
        let (Shown { request, broken }, head, client, _permit) = call.shown();
        let mut store = match guest.store(engine.wasm(), Abi::Component) {
            Ok(store) => store,
            Err(error) => return Some(Exit::host_failure(error.to_string())),
        };
        store.data_mut().fuse.arm(broken);
        let answers = Answers::default();
        let mut head = Some(head);
        let result = {
            let call = pin!(self.call(&mut store, request, answers.to(0)));
            let mut call = Onward::new(call);
            let mut client = pin!(client.done());
            let mut cuts = 0;
            poll_fn(|context| {
                if client.as_mut().poll(context).is_ready() {
                    return Poll::Ready(None);
                }
                let polled = call.poll_unpin(context);
                cuts = if polled.is_pending() && turns::is_cut_short() { cuts + 1 } else { 0 };
                if !matches!(polled, Poll::Ready(Err(_))) && cuts % HEAD_HELD_SLICES == 0 {
                    answers.deliver(&mut head);
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

    /// Returns how many requests an instance takes at once, if instances are reused.
    pub(super) fn reuse(&self, reuse: &Reuse) -> Option<usize> {
        let (by_version, concurrency) = match self {
            // Its functions are synchronous, and its authors have never seen a second request.
            Self::V0_2(_) => (false, 1),
            Self::V0_3(_) => (true, reuse.concurrency.max(1)),
        };
        let is_reused = match reuse.mode {
            ReuseMode::ByVersion => by_version,
            ReuseMode::Never => false,
            ReuseMode::Always => true,
        };
        is_reused.then_some(concurrency)
    }

    /// Makes an instance.
    pub(super) async fn instantiate(&self, store: &mut Store<Ctx>) -> wasmtime::Result<Service> {
        Ok(match self {
            Self::V0_2(pre) => Service::V0_2(pre.instantiate_async(store).await?),
            Self::V0_3(pre) => Service::V0_3(pre.instantiate_async(store).await?),
        })
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

impl Service {
    /// Returns the function that answers requests.
    pub(super) fn entry(&self) -> Func {
        match self {
            Self::V0_2(proxy) => *proxy.wasi_http_incoming_handler().func_handle().func(),
            Self::V0_3(service) => *service.wasi_http_handler().func_handle().func(),
        }
    }
}

/// Asks an instance that may have other calls; completes when the guest's function has returned, which may be before or
/// after the answer's body was written.
pub(super) async fn accept(
    accessor: &Accessor<Ctx>,
    service: &Service,
    shown: Shown,
    answer: Answer,
) -> wasmtime::Result<()> {
    let Shown { request, broken } = shown;
    accessor.with(|mut store| store.get().fuse.arm(broken));
    match service {
        Service::V0_2(proxy) => {
            let given = answer.clone();
            let (request, out) = accessor.with(|mut store| shown_0_2(store.get(), request, answer))?;
            let handle = proxy.wasi_http_incoming_handler().func_handle();
            handle.call_concurrent(accessor, (request, out)).await?;
            given.give(Err(HandleError::NoResponse("it returned without an answer".to_owned())));
            Ok(())
        }
        Service::V0_3(service) => ask_0_3(accessor, service, request, &answer).await,
    }
}

async fn call_0_2(
    pre: &p2::bindings::ProxyPre<Ctx>,
    store: &mut Store<Ctx>,
    request: http::Request<WasiBody>,
    answer: Answer,
) -> wasmtime::Result<()> {
    let (request, out) = shown_0_2(store.data_mut(), request, answer)?;
    let proxy = pre.instantiate_async(&mut *store).await?;
    proxy.wasi_http_incoming_handler().call_handle(&mut *store, request, out).await
}

type Request0_2 = Resource<p2::bindings::http::types::IncomingRequest>;
type Answer0_2 = Resource<p2::bindings::http::types::ResponseOutparam>;

fn shown_0_2(
    ctx: &mut Ctx,
    request: http::Request<WasiBody>,
    answer: Answer,
) -> wasmtime::Result<(Request0_2, Answer0_2)> {
    let scheme = match request.uri().scheme() {
        Some(scheme) if *scheme == uri::Scheme::HTTPS => p2::bindings::http::types::Scheme::Https,
        _ => p2::bindings::http::types::Scheme::Http,
    };
    let mut http = ctx.http();
    let request = http.new_incoming_request(scheme, request)?;
    let out = http.new_response_outparam_from_callback(move |given| {
        answer.give(given.map_err(|code| returned(&code)));
    })?;
    Ok((request, out))
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
            ask_0_3(accessor, &service, request, &answer).await?;
            // The guest goes on writing the body after it returned the head.
            poll_fn(|context| accessor.poll_no_interesting_tasks(context)).await;
            Ok(())
        })
        .await?
}

async fn ask_0_3(
    accessor: &Accessor<Ctx>,
    service: &p3::bindings::Service,
    request: http::Request<WasiBody>,
    answer: &Answer,
) -> wasmtime::Result<()> {
    let (request, sent) = accessor.with(|mut store| shown_0_3(store.get(), request));
    let given = match service.handle(accessor, request).await? {
        Ok(response) => Ok(accessor.with(|store| response.into_http(store, sent))?),
        Err(code) => Err(returned(&code)),
    };
    answer.give(given);
    Ok(())
}

/// Whether the guest has been sent the whole request.
type Sent = Pin<Box<dyn Future<Output = Result<(), wasmtime_wasi_http::Error>> + Send>>;

fn shown_0_3(ctx: &mut Ctx, request: http::Request<WasiBody>) -> (p3::Request, Sent) {
    let (request, sent) = p3::Request::from_http(ctx.http().hooks, request);
    (request, Box::pin(sent))
}

fn returned(code: &impl std::fmt::Debug) -> HandleError {
    HandleError::NoResponse(format!("it returned the error {code:?}"))
}
