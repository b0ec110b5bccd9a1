//! What surrounds every request (`DefaultBuildHandlerChain` in `apiserver/pkg/server/config.go`).
//!
//! ```text
//! Front (network: TLS, who is it?) ─┐
//! InProcess (components) ───────────┴─> audit ─> impersonation ─> flow control ─> service ─> audit, metrics, headers
//! ```

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;
use http::{Method, Request, Response};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::error;
use wkube_api::Status;

use crate::audit::{self, Payload, Record};
use crate::auth::User;
use crate::call::Call;
use crate::flow::slow::{self, Held};
use crate::flow::{self, Permit, Sorted as _};
use crate::metrics::Running;
use crate::respond::{self, Body};
use crate::router::{self, Query, Target, Verb};
use crate::service::{self, header};
use crate::{Api, fence, sub};

/// Subresources whose answers last as long as the client likes.
const LONG_SUBRESOURCES: [&str; 8] =
    ["log", "proxy", "exec", "attach", "portforward", "reverse", "connect", "datagrams"];
/// Subresources that connect to something.
const CONNECTING: [&str; 7] = ["proxy", "exec", "attach", "portforward", "reverse", "connect", "datagrams"];
/// A longer `Audit-Id` is cut; `maxAuditIDLength` upstream.
const AUDIT_ID_MAX: usize = 64;

/// What a request is about, found out once (`request.RequestInfo`).
#[derive(Debug)]
pub(crate) struct Info {
    /// The HTTP method.
    pub(crate) method: Method,
    /// The URL's path.
    pub(crate) path: String,
    /// What it names.
    pub(crate) target: Target,
    /// The query, decoded.
    pub(crate) query: Query,
    /// What is done to a resource; `None` for other paths and for methods that nothing understands.
    pub(crate) verb: Option<Verb>,
}

impl Info {
    /// Reads the request line.
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let (target, query) = (router::target(&path), Query::parse(request.uri().query()));
        let verb = match &target {
            Target::Resource(path) => router::verb(&method, path, &query),
            Target::Other => None,
        };
        Self { method, path, target, query, verb }
    }

    fn subresource(&self) -> &str {
        match &self.target {
            Target::Resource(path) => &path.subresource,
            Target::Other => "",
        }
    }

    /// Whether it connects to something behind the server.
    pub(crate) fn connects(&self) -> bool {
        CONNECTING.contains(&self.subresource())
    }

    /// Whether the answer lasts as long as the client likes. Layers of images may take minutes, too.
    fn is_long(&self) -> bool {
        self.verb == Some(Verb::Watch) || self.is_stream() || sub::images::is_meant(&self.path)
    }

    fn is_stream(&self) -> bool {
        LONG_SUBRESOURCES.contains(&self.subresource())
    }

    /// Returns the verb that rules name.
    fn rule_verb(&self) -> &str {
        match (self.verb, &self.target) {
            (Some(verb), _) => verb.as_str(),
            (None, _) => match self.method.as_str() {
                "GET" => "get",
                "HEAD" => "head",
                "POST" => "post",
                "PUT" => "put",
                "PATCH" => "patch",
                "DELETE" => "delete",
                "OPTIONS" => "options",
                _ => "",
            },
        }
    }
}

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A connection; waits for its turn.
    Network(Option<SocketAddr>),
    /// A component in this process. They are few, and what they do is what the others wait for.
    Process,
}

/// What is noted while a request is answered.
#[derive(Default)]
pub(crate) struct Notes {
    /// What the client should be told besides the answer.
    pub(crate) warnings: Mutex<Vec<String>>,
    /// The audit log's record; `None` if the request is not logged.
    pub(crate) audit: Option<Arc<Record>>,
}

impl Notes {
    /// Notes what the authorizer said.
    pub(crate) fn decided(&self, decision: Result<String, Status>) -> Result<(), Status> {
        if let Some(record) = &self.audit {
            let (word, reason) = decision.as_ref().map_or(("forbid", ""), |reason| ("allow", reason.as_str()));
            record.annotate("authorization.k8s.io/decision", word);
            record.annotate("authorization.k8s.io/reason", reason);
        }
        decision.map(drop)
    }

    /// Notes what the client sent.
    pub(crate) fn sent(&self, content_type: &str, bytes: &Bytes) {
        if let Some(record) = self.audit.as_ref().filter(|_| !bytes.is_empty()) {
            record.request(Payload { content_type: content_type.to_owned(), bytes: bytes.clone() });
        }
    }

    /// Takes over what a call's handlers noted.
    pub(crate) fn take_from(&self, call: &Call) {
        self.warnings.lock().append(&mut call.warnings.lock());
        if let Some(record) = &self.audit {
            for (key, value) in call.annotations.lock().iter() {
                record.annotate(key, value.as_str());
            }
        }
    }
}

/// Answers a request of a known user.
pub(crate) async fn answer(api: &Arc<Api>, user: User, request: Request<Body>, origin: Origin) -> Response<Body> {
    let info = Info::of(&request);
    let (audit_id, began) = (audit_id(api, request.headers()), Instant::now());
    let notes = Notes { audit: record(api, Some(&user), &request, &info, &audit_id, origin), ..Notes::default() };
    let answering = guarded(api, user, request, &info, &notes, origin);
    // One request that breaks must not take the connection's others with it.
    let mut response = match AssertUnwindSafe(answering).catch_unwind().await {
        Ok(response) => response,
        Err(_) => broke(&info, &notes),
    };
    respond::finish(&mut response, &audit_id, &notes.warnings.lock());
    let size = response.body().size_hint().exact();
    let took = (!info.is_long()).then(|| began.elapsed());
    api.metrics.count(api, &info, response.status(), took, size);
    let response = if info.method == Method::HEAD { response.map(|_| respond::full("")) } else { response };
    finish(api, &info, notes.audit, response).await
}

/// Answers a request of somebody who could not say who he is.
pub(crate) async fn refuse(api: &Arc<Api>, request: Request<Body>, status: Status, origin: Origin) -> Response<Body> {
    let info = Info::of(&request);
    let audit_id = audit_id(api, request.headers());
    let audit = record(api, None, &request, &info, &audit_id, origin);
    // Its body may not be looked at from two threads, so it must not be held across an await.
    drop(request);
    let mut response = respond::failure(&status);
    respond::finish(&mut response, &audit_id, &[]);
    api.metrics.count(api, &info, response.status(), None, None);
    finish(api, &info, audit, response).await
}

fn broke(info: &Info, notes: &Notes) -> Response<Body> {
    error!(path = info.path, "a request broke its handler");
    if let Some(record) = &notes.audit {
        let message = "This request caused apiserver to panic. Look in the logs for details.";
        record.status(500, message, "InternalError");
        record.panicked();
    }
    respond::failure(&Status::new(
        500,
        "InternalError",
        "This request caused apiserver to panic. Look in the logs for details.",
    ))
}

/// Impersonates, waits for a turn, and answers.
async fn guarded(
    api: &Arc<Api>,
    user: User,
    request: Request<Body>,
    info: &Info,
    notes: &Notes,
    origin: Origin,
) -> Response<Body> {
    let user = match api.access.impersonate(&api.registry, user.clone(), request.headers()).await {
        Ok(acting) => {
            if let Some(record) = notes.audit.as_ref().filter(|_| acting != user) {
                record.impersonates(&acting);
            }
            acting
        }
        Err(status) => return respond::failure(&status),
    };
    let fence = match fence::read(request.headers(), origin, &user) {
        Ok(fence) => fence,
        Err(status) => return respond::failure(&status),
    };
    let permit = match turn(api, &user, info, origin).await {
        Ok(permit) => permit,
        Err(response) => return response,
    };
    let counted = (!info.is_long()).then(|| api.metrics.in_flight(info.verb));
    let answered = service::serve(api, user, info, fence, request, notes).await;
    let mut response = answered.unwrap_or_else(|status| respond::failure(&status));
    drop(counted);
    if let Some(permit) = permit {
        permit.tell(response.headers_mut());
        response = slow::held(response, permit, &api.registry.tasks);
    }
    response
}

/// Waits for the turn of a request; streams need none: they last long and cost little (`isRequestExemptFromFlowControl`).
async fn turn(api: &Api, user: &User, info: &Info, origin: Origin) -> Result<Option<Permit>, Response<Body>> {
    if origin == Origin::Process || info.is_stream() || sub::images::is_meant(&info.path) {
        return Ok(None);
    }
    let target = match &info.target {
        Target::Resource(path) => flow::On::Resource {
            group: &path.group,
            resource: &path.resource,
            subresource: &path.subresource,
            namespace: &path.namespace,
        },
        Target::Other => flow::On::Path(&info.path),
    };
    let stored = || match &info.target {
        Target::Resource(path) => {
            let row = api.registry.catalog.route(&path.group, &path.version, &path.resource);
            row.map_or((0, 0), |row| api.registry.cache(&row).size())
        }
        Target::Other => (0, 0),
    };
    let asked = flow::Asked { user, verb: info.rule_verb(), target };
    let admitted = api.flow.admit(&asked, || flow::seats(info.verb, &info.query, stored)).await;
    admitted.map(Some).map_err(|refused| {
        let mut response = respond::failure(&flow::Refused::status());
        refused.tell(response.headers_mut());
        response
    })
}

fn audit_id(api: &Api, headers: &http::HeaderMap) -> String {
    match header(headers, "audit-id") {
        "" => api.registry.uid(),
        given => given.chars().take(AUDIT_ID_MAX).collect(),
    }
}

fn record(
    api: &Api,
    user: Option<&User>,
    request: &Request<Body>,
    info: &Info,
    id: &str,
    origin: Origin,
) -> Option<Arc<Record>> {
    let audit = api.audit.as_ref()?;
    let mut asked = audit::Asked { user, verb: info.rule_verb(), path: &info.path, ..audit::Asked::default() };
    let mut version = "";
    if let Target::Resource(path) = &info.target {
        (asked.group, asked.resource, asked.subresource) = (&path.group, &path.resource, &path.subresource);
        (asked.namespace, asked.name, version) = (&path.namespace, &path.name, &path.version);
    }
    let peer = match origin {
        Origin::Network(peer) => peer,
        Origin::Process => Some(SocketAddr::from(([127, 0, 0, 1], 0))),
    };
    let seen = audit::Seen { id, uri: request.uri(), headers: request.headers(), peer, asked, version };
    audit.begin(&seen).map(Arc::new)
}

/// Completes the record, now or at the end of a long answer.
async fn finish(api: &Api, info: &Info, audit: Option<Arc<Record>>, response: Response<Body>) -> Response<Body> {
    let is_long = info.is_long() && response.status().is_success();
    let running = is_long.then(|| api.metrics.running(api, info));
    let Some(record) = audit else {
        return match running {
            Some(running) => response.map(|body| Held::new(body, Ending { running, record: None }).boxed_unsync()),
            None => response,
        };
    };
    let (response, failure) = noted(&record, response).await;
    let (message, reason) = failure.unwrap_or_default();
    record.status(response.status().as_u16(), &message, &reason);
    let Some(running) = running else {
        record.complete();
        return response;
    };
    record.started();
    response.map(|body| Held::new(body, Ending { running, record: Some(record) }).boxed_unsync())
}

/// Notes the body of an answer if it is wanted, and what an error says.
async fn noted(record: &Record, response: Response<Body>) -> (Response<Body>, Option<(String, String)>) {
    let is_failure = !response.status().is_success();
    if !(is_failure || record.wants_response()) || response.body().size_hint().exact().is_none() {
        return (response, None);
    }
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    if record.wants_response() && !bytes.is_empty() && !parts.headers.contains_key("content-encoding") {
        let content_type = header(&parts.headers, "content-type").to_owned();
        record.response(Payload { content_type, bytes: bytes.clone() });
    }
    let failure = is_failure.then(|| said(&bytes)).flatten();
    (Response::from_parts(parts, respond::full(bytes)), failure)
}

/// Returns message and reason of a `Status`.
fn said(bytes: &Bytes) -> Option<(String, String)> {
    let status: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    let text = |field: &str| status[field].as_str().unwrap_or_default().to_owned();
    Some((text("message"), text("reason")))
}

/// Goes with the body of a long answer to its end.
struct Ending {
    #[expect(dead_code, reason = "counts until it is dropped")]
    running: Running,
    record: Option<Arc<Record>>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(record) = &self.record {
            record.complete();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(method: &str, uri: &str) -> Info {
        Info::of(&Request::builder().method(method).uri(uri).body(()).expect("a request"))
    }

    #[test]
    fn what_lasts_is_known_from_the_request_line() {
        for (method, uri, long, connects) in [
            ("GET", "/api/v1/pods", false, false),
            ("GET", "/api/v1/pods?watch=true", true, false),
            ("GET", "/api/v1/namespaces/d/pods/p/log?follow=true", true, false),
            ("POST", "/api/v1/namespaces/d/pods/p/exec?command=ls", true, true),
            ("POST", "/apis/wkube.dev/v1/podips/10.42.0.2/connect?port=80&from=10.42.1.2:9", true, true),
            ("POST", "/apis/wkube.dev/v1/podips/10.42.0.2/datagrams", true, true),
            ("POST", "/api/v1/namespaces/d/pods/p/eviction", false, false),
            ("GET", "/readyz", false, false),
            ("PATCH", "/v2/a/blobs/uploads/1", true, false),
        ] {
            let info = info(method, uri);
            assert_eq!((info.is_long(), info.connects()), (long, connects), "{method} {uri}");
        }
    }

    #[test]
    fn rules_name_verbs_for_resources_and_methods_for_paths() {
        assert_eq!(info("GET", "/api/v1/pods").rule_verb(), "list");
        assert_eq!(info("POST", "/api/v1/namespaces/d/pods").rule_verb(), "create");
        assert_eq!(info("POST", "/metrics").rule_verb(), "post");
        assert_eq!(info("BREW", "/metrics").rule_verb(), "");
    }
}
