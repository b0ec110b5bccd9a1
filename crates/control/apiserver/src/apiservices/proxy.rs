//! Passes a request on to a backend, streams and upgrades included (`kube-aggregator/pkg/apiserver/handler_proxy.go`).

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, Version, header};
use http_body_util::BodyExt as _;
use hyper::client::conn::http1;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tracing::debug;
use wkube_api::Status;
use wkube_base::Tasks;

use super::backend::Backend;
use super::front_proxy;
use crate::auth::User;
use crate::respond::{self, Body};
use crate::service::HOP_BY_HOP;

/// Answers with what a backend answers.
pub(super) async fn pass(
    backend: &Backend,
    tasks: &Tasks,
    user: &User,
    mut request: Request<Body>,
) -> Result<Response<Body>, Status> {
    if !backend.seen.load().is_available {
        return Ok(unavailable("service unavailable"));
    }
    let upgrade = upgrade_of(request.headers()).map(|protocol| (hyper::upgrade::on(&mut request), protocol));
    front_proxy::speak_for(user, request.headers_mut());
    *request.version_mut() = Version::default();
    let passed = match upgrade {
        Some((client, protocol)) => upgraded(backend, tasks, request, client, protocol).await,
        None => plain(backend, request).await,
    };
    Ok(passed.unwrap_or_else(|why| unavailable(&format!("error trying to reach service: {why}"))))
}

/// Kubernetes answers in plain text here; clients make a `Status` of the code.
fn unavailable(text: &str) -> Response<Body> {
    respond::text(503, text.to_owned())
}

fn path(uri: &Uri) -> &str {
    uri.path_and_query().map_or("/", |path| path.as_str())
}

/// Returns what a client wants to upgrade to.
fn upgrade_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let connection = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let wants = connection.flat_map(|value| value.split(',')).any(|one| one.trim().eq_ignore_ascii_case("upgrade"));
    headers.get(header::UPGRADE).filter(|_| wants).cloned()
}

async fn plain(backend: &Backend, mut request: Request<Body>) -> Result<Response<Body>, String> {
    let client = backend.client.as_ref().ok_or("the APIService cannot be used")?;
    *request.uri_mut() = backend.uri(path(request.uri())).parse().map_err(|error| format!("{error}"))?;
    let response = client.request(request).await.map_err(|error| crate::webhook::words(&error))?;
    let mut response = response.map(|body| body.map_err(Into::into).boxed_unsync());
    for name in &HOP_BY_HOP {
        response.headers_mut().remove(name);
    }
    Ok(response)
}

/// Asks for the same upgrade, and joins both sides if it is granted. Only HTTP/1.1 knows upgrades, so the connection is
/// this request's own.
async fn upgraded(
    backend: &Backend,
    tasks: &Tasks,
    mut request: Request<Body>,
    client: OnUpgrade,
    protocol: HeaderValue,
) -> Result<Response<Body>, String> {
    let connector = backend.connector.as_ref().map_err(Clone::clone)?;
    let connected = connector.only_http1().open().await.map_err(|error| error.to_string())?;
    let handshake = http1::handshake(TokioIo::new(connected.stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    tasks.spawn("backend-connection", async move {
        if let Err(error) = connection.with_upgrades().await {
            debug!(%error, "a backend's connection broke");
        }
    });
    *request.uri_mut() = path(request.uri()).parse().map_err(|error| format!("{error}"))?;
    let host = HeaderValue::try_from(backend.place.to_string()).map_err(|error| error.to_string())?;
    let headers = request.headers_mut();
    headers.insert(header::HOST, host);
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, protocol);
    let mut response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let server = hyper::upgrade::on(&mut response);
        tasks.spawn("backend-upgrade", async move {
            if let (Ok(client), Ok(server)) = (client.await, server.await) {
                join(client, server).await;
            }
        });
        return Ok(response.map(|_| respond::full("")));
    }
    Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()))
}

async fn join(client: Upgraded, server: Upgraded) {
    let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
    if let Err(error) = copy_bidirectional(&mut client, &mut server).await {
        debug!(%error, "an upgraded connection to a backend broke");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(headers: &[(&'static str, &'static str)], expected: Option<&str>) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        assert_eq!(upgrade_of(&map).as_ref().map(|value| value.to_str().expect("text")), expected);
    }

    #[test]
    fn an_upgrade_is_asked_for_in_two_headers() {
        check(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")], Some("websocket"));
        check(&[("connection", "keep-alive"), ("upgrade", "websocket")], None);
        check(&[("connection", "upgrade")], None);
    }
}
