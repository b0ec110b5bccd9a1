//! The node's own HTTP API, as far as the API server needs it: logs, and requests to pods. Spoken over the tunnel.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use http_body_util::BodyExt as _;
use k8s_openapi::List;
use k8s_openapi::api::core::v1::Pod;

use crate::logs::reader::Reader;
use crate::logs::{Query, path_of, query};
use crate::metrics;
use crate::pod::spec;
use crate::pods::{Known, Pods};
use crate::stats;
use crate::streams;
use crate::volumes;

/// Returns the routes.
pub fn router(pods: Pods) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/pods", get(list))
        .route(wkube_api::stats::PATH, get(stats::summary))
        .route("/containerLogs/{namespace}/{pod}/{container}", get(logs))
        .merge(metrics::routes())
        .merge(streams::routes())
        .route("/proxy/{namespace}/{pod}/{port}", any(proxy))
        .route("/proxy/{namespace}/{pod}/{port}/", any(proxy))
        .route("/proxy/{namespace}/{pod}/{port}/{*path}", any(proxy))
        .with_state(pods)
}

/// A refusal: a status code and the kubelet's sentence.
struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, self.1).into_response()
    }
}

fn find(pods: &Pods, namespace: &str, name: &str) -> Result<Known, Refusal> {
    pods.find(namespace, name).ok_or_else(|| {
        Refusal(StatusCode::NOT_FOUND, format!("pod \"{name}\" not found in namespace \"{namespace}\" on this node"))
    })
}

async fn list(State(pods): State<Pods>) -> Response {
    let items = pods.each().map(|known| {
        let mut pod = Pod::clone(&known.pod);
        pod.status = Some(known.status);
        pod
    });
    axum::Json(List { items: items.collect(), ..List::default() }).into_response()
}

async fn logs(
    State(pods): State<Pods>,
    Path((namespace, name, container)): Path<(String, String, String)>,
    RawQuery(text): RawQuery,
) -> Result<Response, Refusal> {
    let bad = |message: String| Refusal(StatusCode::BAD_REQUEST, message);
    let known = find(&pods, &namespace, &name)?;
    let context = pods.context();
    let wanted = Query::parse(text.as_deref().unwrap_or_default(), context.clock.now()).map_err(bad)?;
    if spec::container(&known.pod, &container).is_none() {
        return Err(bad(format!("container {container} is not valid for pod {name}")));
    }
    let attempt = query::attempt_of(&name, &known.status, &container, wanted.previous).map_err(bad)?;
    let dir = volumes::pod_dir(&context.data_dir, &known.pod).join(&container);
    let reader = Reader::open(&context.logs, &path_of(&dir, attempt), wanted).await;
    let reader = reader
        .map_err(|error| Refusal(StatusCode::INTERNAL_SERVER_ERROR, format!("failed to open the log: {error}")))?;
    let body = Body::from_stream(reader.stream());
    Ok(([(header::CONTENT_TYPE, "text/plain")], body).into_response())
}

async fn proxy(State(pods): State<Pods>, request: Request) -> Result<Response, Refusal> {
    let bad = |message: String| Refusal(StatusCode::BAD_GATEWAY, message);
    let target = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let Target { namespace, name, port, path } =
        Target::parse(&target).ok_or_else(|| Refusal(StatusCode::BAD_REQUEST, format!("invalid target: {target}")))?;
    let known = find(&pods, namespace, name)?;
    let ip = known.status.pod_ip.as_deref().and_then(|ip| ip.parse().ok());
    let backend = ip.and_then(|ip| pods.context().local.get(ip, port));
    let backend = backend.ok_or_else(|| bad(format!("pod {namespace}/{name} does not answer on port {port}")))?;
    let (mut parts, body) = request.into_parts();
    parts.uri = path.parse::<Uri>().map_err(|error| Refusal(StatusCode::BAD_REQUEST, error.to_string()))?;
    if !parts.headers.contains_key(header::HOST)
        && let Ok(host) = format!("{name}:{port}").parse()
    {
        parts.headers.insert(header::HOST, host);
    }
    let body = body.map_err(Into::into).boxed_unsync();
    let answer = backend.handle(http::Request::from_parts(parts, body)).await;
    let answer = answer.map_err(|error| bad(format!("pod {namespace}/{name} did not answer: {error}")))?;
    Ok(answer.map(Body::new))
}

/// Where a proxied request goes.
#[derive(Debug, PartialEq, Eq)]
struct Target<'a> {
    namespace: &'a str,
    name: &'a str,
    port: u16,
    /// With its query.
    path: String,
}

impl<'a> Target<'a> {
    /// Takes `/proxy/NAMESPACE/POD/PORT/PATH?QUERY` apart. The path stays as it came: decoding and encoding again would
    /// change it.
    fn parse(target: &'a str) -> Option<Self> {
        let mut parts = target.strip_prefix("/proxy/")?.splitn(3, '/');
        let (namespace, name, rest) = (parts.next()?, parts.next()?, parts.next()?);
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (port, path) = rest.split_at(at);
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Some(Self { namespace, name, port: port.parse().ok()?, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_keeps_the_path_as_it_came() {
        for (rest, path) in [("", "/"), ("/", "/"), ("/a/b", "/a/b"), ("?q=1", "/?q=1"), ("/a%2Fb?q=/x", "/a%2Fb?q=/x")]
        {
            let target = format!("/proxy/ns/pod/80{rest}");
            let parsed = Target::parse(&target);
            assert_eq!(
                parsed,
                Some(Target { namespace: "ns", name: "pod", port: 80, path: path.to_owned() }),
                "{rest}"
            );
        }
        for bad in ["/proxy/ns/pod", "/proxy/ns/pod/web/", "/proxy/ns/pod/99999", "/logs"] {
            assert_eq!(Target::parse(bad), None, "{bad}");
        }
    }
}
