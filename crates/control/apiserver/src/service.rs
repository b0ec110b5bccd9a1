//! One request from its first byte to its answer: route, authorize, negotiate, dispatch, respond.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::header::{self, HeaderMap};
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use wkube_api::{Fence, Object, Resource, Scope, Status};

use crate::access::Fresh;
use crate::admission::{certificates, escalation};
use crate::auth::User;
use crate::call::Call;
use crate::negotiate::{self, Content, Media, Offer};
use crate::pipeline::{self, Info, Notes, Origin};
use crate::registry::{Outcome, create, delete, patch, read, update, watch};
use crate::render::{self, Frames};
use crate::respond::{self, Body, BoxError};
use crate::router::{Query, ResourcePath, Target, Verb};
use crate::write_options::WriteOptions;
use crate::{Api, discovery, health, limits, metrics, metrics_api, openid, store_backup, streams, sub};

/// The server's router as a tower service with a fixed identity: how components in this process reach the API.
#[derive(Clone)]
pub struct InProcess {
    api: Arc<Api>,
    user: User,
}

impl InProcess {
    /// Returns a service that speaks as `user`.
    pub(crate) fn new(api: Arc<Api>, user: User) -> Self {
        Self { api, user }
    }
}

impl<B> tower::Service<Request<B>> for InProcess
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (api, user) = (self.api.clone(), self.user.clone());
        let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        async move { Ok(pipeline::answer(&api, user, request, Origin::Process).await) }.boxed()
    }
}

/// Answers a request whose turn it is.
pub(crate) async fn serve(
    api: &Arc<Api>,
    user: User,
    info: &Info,
    fence: Option<Fence>,
    request: Request<Body>,
    notes: &Notes,
) -> Result<Response<Body>, Status> {
    match &info.target {
        Target::Resource(path) => resource(api, user, path.clone(), (info, fence), request, notes).await,
        Target::Other => other(api, &user, info, request, notes).await,
    }
}

/// Answers a request about a resource.
async fn resource(
    api: &Arc<Api>,
    user: User,
    path: ResourcePath,
    (info, fence): (&Info, Option<Fence>),
    request: Request<Body>,
    notes: &Notes,
) -> Result<Response<Body>, Status> {
    let query = info.query.clone();
    let verb = info.verb.ok_or_else(|| {
        Status::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
    })?;
    notes.decided(api.access.check_resource(&api.registry, &user, verb, &path, &query).await)?;
    let request = match api.apiservices.pass(&api.registry.tasks, &user, request).await {
        Ok(answer) => return answer,
        Err(own) => own,
    };
    if path.group == metrics_api::GROUP {
        return metrics_api::answer(api, verb, &path, &query).await;
    }
    if sub::reverse::is_meant(&path) {
        return sub::reverse::accept(api, &path.name, request);
    }
    if sub::pod_ips::is_meant(&path) {
        return sub::pod_ips::answer(api, verb, &path, &query, request).await;
    }
    if sub::images::is_token(&path) {
        return sub::images::token(api, &user, verb);
    }
    let mut call = understand(api, user, verb, path, query, request.headers())?;
    call.fence = fence;
    if let Some(warning) = call.resource.manners.deprecation() {
        call.warn(warning);
    }
    let asks_policy = matches!(&*call.resource.group, escalation::GROUP | certificates::GROUP);
    if asks_policy && !matches!(verb, Verb::Get | Verb::List | Verb::Watch) {
        call.policy = Some(api.access.policy(&api.registry, Fresh::Yes).await);
    }
    let accept_encoding = header(request.headers(), "accept-encoding").to_owned();
    let outcome = dispatch(api, &call, request, notes).await;
    notes.take_from(&call);
    Ok(render(api, &call, outcome?, &accept_encoding))
}

/// Resolves the kind and reads the options that every verb has.
fn understand(
    api: &Api,
    user: User,
    verb: Verb,
    path: ResourcePath,
    query: Query,
    headers: &HeaderMap,
) -> Result<Call, Status> {
    let ResourcePath { group, version, namespace, resource, name, subresource, rest, .. } = path;
    let row = api.registry.catalog.route(&group, &version, &resource).ok_or_else(Status::unknown_path)?;
    let cluster = row.scope == Scope::Cluster;
    let is_namespace = row.plural == "namespaces" && group.is_empty();
    if cluster && !(namespace.is_empty() || is_namespace) {
        return Err(Status::unknown_path());
    }
    let allowed = match row.subresource(&subresource) {
        Some(sub) => sub.verbs.contains(&verb.as_str()),
        None if !subresource.is_empty() => return Err(Status::unknown_path()),
        None => row.verbs.contains(&verb.as_str()) && (verb != Verb::Create || name.is_empty()),
    };
    if !allowed {
        return Err(Status::method_not_allowed(&row, verb.as_str()));
    }
    // Objects in namespaces are made and named inside one; only lists and watches go across.
    if !cluster && namespace.is_empty() && (verb == Verb::Create || !name.is_empty()) && row.is_stored() {
        return Err(Status::unknown_path());
    }
    let accept = header(headers, "accept");
    let (content_type, agent) = (header(headers, "content-type"), header(headers, "user-agent"));
    // Text comes out of streams whatever the client accepts, and they write nothing.
    let (media, options) = if is_stream(&subresource) {
        (Media::default(), WriteOptions::default())
    } else {
        let media = negotiate::media(accept, offer(&row, verb, &query, agent)?)?;
        (media, WriteOptions::read(verb, content_type, &query, agent)?)
    };
    Ok(Call {
        user,
        verb,
        resource: row,
        namespace: if cluster { String::new() } else { namespace },
        name,
        subresource,
        rest,
        media,
        content_type: content_type.to_owned(),
        options,
        query,
        fence: None,
        policy: None,
        warnings: Mutex::default(),
        annotations: Mutex::default(),
    })
}

/// Returns what a kind can be answered with.
fn offer(row: &Resource, verb: Verb, query: &Query, user_agent: &str) -> Result<Offer, Status> {
    Ok(Offer {
        protobuf: !row.is_custom(),
        content: match verb {
            Verb::Watch => Content::Events,
            _ if row.verbs.contains(&"get") => Content::Objects,
            _ => Content::Action,
        },
        include: negotiate::include(query.get("includeObject"))?,
        pretty: negotiate::pretty(query.get("pretty"), user_agent),
    })
}

/// Whether a subresource is answered with bytes as they come instead of documents.
fn is_stream(subresource: &str) -> bool {
    matches!(subresource, "log" | "proxy" | "exec" | "attach" | "portforward")
}

/// Sends a call to its handler.
async fn dispatch(api: &Arc<Api>, call: &Call, request: Request<Body>, notes: &Notes) -> Result<Outcome, Status> {
    if is_stream(&call.subresource) {
        return sub::stream(api, call, request).await;
    }
    let registry = &api.registry;
    if sub::component_status::is_meant(call) {
        return sub::component_status::answer(registry, call);
    }
    match call.verb {
        Verb::List => return read::list(registry, call).await,
        Verb::Watch => {
            let outcome = watch::watch(registry, call).await?;
            return Ok(streams::watches::carry(api, call, request, outcome));
        }
        Verb::Get if matches!(call.subresource.as_str(), "scale" | "token") => {}
        Verb::Get => return read::get(registry, call).await,
        Verb::Create | Verb::Update | Verb::Patch | Verb::Delete | Verb::DeleteCollection => {}
    }
    let late = |_| Status::timeout("the request's body did not arrive in time", 1);
    let body = tokio::time::timeout(limits::BODY_TIMEOUT, read_body(request.into_body())).await.map_err(late)??;
    notes.sent(&call.content_type, &body);
    let write = async {
        // What other servers wrote counts: a namespace that exists, the version that the client has just read.
        registry.store.newest().await;
        if let Some(outcome) = sub::write(api, call, &body).await? {
            return Ok(outcome);
        }
        match call.verb {
            // A subresource that nobody answered above must not fall through to its parent's collection.
            Verb::Create | Verb::Delete if !call.subresource.is_empty() => {
                Err(Status::method_not_allowed(&call.resource, call.verb.as_str()))
            }
            Verb::Create => create::create(registry, call, &body).await,
            Verb::Update => update::update(registry, call, &body).await,
            Verb::Patch => patch::patch(registry, call, &body).await,
            Verb::Delete => delete::delete(registry, call, &body).await,
            Verb::DeleteCollection => delete::collection(registry, call, &body).await,
            Verb::Get | Verb::List | Verb::Watch => Err(Status::method_not_allowed(&call.resource, call.verb.as_str())),
        }
    };
    let timed = tokio::time::timeout(limits::WRITE_TIMEOUT, write).await;
    timed.unwrap_or_else(|_| Err(Status::server_timeout(&call.resource, call.verb.as_str(), 1)))
}

/// Reads a whole body. By hand instead of with `http_body_util::Limited`, whose boxed error keeps the compiler from
/// seeing that the future is `Send` (rust-lang/rust#100013).
async fn read_body(mut body: Body) -> Result<Bytes, Status> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| Status::bad_request(format!("the request's body cannot be read: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if read.len() + data.len() > limits::BODY_MAX {
            return Err(Status::too_large(&format!("limit is {}", limits::BODY_MAX)));
        }
        read.extend_from_slice(&data);
    }
    Ok(read.freeze())
}

fn render(api: &Arc<Api>, call: &Call, outcome: Outcome, accept_encoding: &str) -> Response<Body> {
    let now = api.registry.clock.now();
    match outcome {
        Outcome::Raw(response) => response,
        Outcome::Object { code, item } => {
            respond::rendered(code, render::one(call.media, &call.resource, &item, now), accept_encoding)
        }
        Outcome::Document { code, object: Object(document) } => {
            respond::rendered(code, render::answer(call.media, document, now), accept_encoding)
        }
        Outcome::List(listing) => {
            respond::rendered(200, render::list(call.media, &call.resource, &listing, now), accept_encoding)
        }
        Outcome::Watch(watching) => {
            let frames = Frames::new(call.media, call.resource.clone(), api.registry.clock.clone());
            respond::response(200, frames.content_type(), respond::stream(watching.frames(frames)))
        }
    }
}

/// Answers a request about no resource.
async fn other(
    api: &Arc<Api>,
    user: &User,
    info: &Info,
    request: Request<Body>,
    notes: &Notes,
) -> Result<Response<Body>, Status> {
    let path = info.path.as_str();
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if path == "/cacerts" && reads {
        return Ok(respond::response(200, "application/x-pem-file", respond::full(api.ca_pem.clone())));
    }
    if sub::images::is_meant(path) {
        if user.is_anonymous() {
            return Err(Status::unauthorized());
        }
        return sub::images::answer(api, request).await;
    }
    notes.decided(api.access.check_path(&api.registry, user, request.method(), path).await)?;
    let request = match api.apiservices.pass(&api.registry.tasks, user, request).await {
        Ok(answer) => return answer,
        Err(own) => own,
    };
    if !reads {
        return Err(Status::unknown_path());
    }
    let headers = request.headers();
    let query = &info.query;
    let trimmed = path.trim_end_matches('/');
    match trimmed {
        "/healthz" | "/livez" | "/readyz" => Ok(health::answer(api, trimmed, query)),
        "/version" => Ok(respond::json(200, &health::version())),
        "/metrics" => Ok(respond::response(200, metrics::CONTENT_TYPE, respond::full(metrics::text(api)))),
        "/wkube/store/backup" => store_backup::answer(api),
        _ if trimmed.starts_with("/healthz/") || trimmed.starts_with("/livez/") || trimmed.starts_with("/readyz/") => {
            health::one(api, trimmed)
        }
        "/.well-known/openid-configuration" | "/openid/v1/jwks" => {
            openid::answer(api, trimmed).ok_or_else(Status::unknown_path)
        }
        "" => Ok(respond::json(200, &discovery::paths(&api.registry.catalog))),
        _ => discovery::answer(api, trimmed, query, headers),
    }
}

/// Returns a header's text, or `""`.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The names of hop-by-hop headers, which are never passed on.
pub(crate) const HOP_BY_HOP: [header::HeaderName; 6] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::PROXY_AUTHORIZATION,
];
