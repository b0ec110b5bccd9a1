//! One request in one instance, for both generations of `wasi:http`.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::uri;
use http_body_util::BodyExt as _;
use tokio::sync::oneshot;
use wasmtime::Store;
use wasmtime_wasi_http::{WasiBody, WasiHttpView as _, p2, p3};

use super::body::{Broken, Fuse};
use super::egress::to_wasi_error;
use crate::ctx::{Abi, Ctx, Guest};
use crate::engine::Engine;
use crate::exit::{self, Memory};
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
pub(super) type Head = oneshot::Sender<Result<http::Response<WasiBody>, String>>;

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
        let result = tokio::select! {
            biased;
            () = client.done() => return None,
            result = self.call(&mut store, request, head) => result,
        };
        if result.is_ok() {
            store.data_mut().fuse.defuse();
        }
        match result {
            Ok(Answered::Yes) => None,
            Ok(Answered::No) => Some(Exit::exited(0)),
            Err(error) => Some(exit::classify(Err(error), Memory::of(&store))),
        }
    }

    async fn call(
        &self,
        store: &mut Store<Ctx>,
        request: http::Request<WasiBody>,
        head: Head,
    ) -> wasmtime::Result<Answered> {
        match self {
            Self::V0_2(pre) => call_0_2(pre, store, request, head).await,
            Self::V0_3(pre) => call_0_3(pre, store, request, head).await,
        }
    }
}

/// Whether the guest gave an answer before it returned.
enum Answered {
    Yes,
    No,
}

async fn call_0_2(
    pre: &p2::bindings::ProxyPre<Ctx>,
    store: &mut Store<Ctx>,
    request: http::Request<WasiBody>,
    head: Head,
) -> wasmtime::Result<Answered> {
    let scheme = match request.uri().scheme() {
        Some(scheme) if *scheme == uri::Scheme::HTTPS => p2::bindings::http::types::Scheme::Https,
        _ => p2::bindings::http::types::Scheme::Http,
    };
    let answered = Arc::new(AtomicBool::new(false));
    let note = Arc::clone(&answered);
    let mut http = store.data_mut().http();
    let request = http.new_incoming_request(scheme, request)?;
    let answer = http.new_response_outparam_from_callback(move |answer| {
        // A receiver that is gone means that nobody waits any more: not the guest's fault.
        note.store(true, Ordering::Relaxed);
        let _ = head.send(answer.map_err(|code| format!("{code:?}")));
    })?;
    let proxy = pre.instantiate_async(&mut *store).await?;
    proxy.wasi_http_incoming_handler().call_handle(&mut *store, request, answer).await?;
    Ok(if answered.load(Ordering::Relaxed) { Answered::Yes } else { Answered::No })
}

async fn call_0_3(
    pre: &p3::bindings::ServicePre<Ctx>,
    store: &mut Store<Ctx>,
    request: http::Request<WasiBody>,
    head: Head,
) -> wasmtime::Result<Answered> {
    let service = pre.instantiate_async(&mut *store).await?;
    store
        .run_concurrent(async move |accessor| {
            let (request, sent) = accessor.with(|mut store| shown_0_3(store.get(), request));
            let answer = match service.handle(accessor, request).await? {
                Ok(response) => Ok(accessor.with(|store| response.into_http(store, sent))?),
                Err(code) => Err(format!("{code:?}")),
            };
            let _ = head.send(answer);
            // The guest goes on writing the body after it returned the head.
            poll_fn(|context| accessor.poll_no_interesting_tasks(context)).await;
            Ok(Answered::Yes)
        })
        .await?
}

/// Whether the guest has been sent the whole request.
type Sent = Pin<Box<dyn Future<Output = Result<(), wasmtime_wasi_http::Error>> + Send>>;

fn shown_0_3(ctx: &mut Ctx, request: http::Request<WasiBody>) -> (p3::Request, Sent) {
    let (request, sent) = p3::Request::from_http(ctx.http().hooks, request);
    (request, Box::pin(sent))
}
