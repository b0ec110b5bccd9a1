//! The client against scripted servers on the loopback: challenges, redirects, ranges, silence of the wrong kind.

use std::sync::Arc;

use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpListener;

use super::*;
use crate::oci::registries::Registries;

type Answer = http::Response<Full<Bytes>>;

/// A server that answers by a function of the request's head, and remembers what it was asked.
struct Server {
    host: String,
    asked: Arc<Mutex<Vec<String>>>,
    _running: tokio::task::JoinSet<()>,
}

impl Server {
    async fn start(answer: impl Fn(&http::request::Parts) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answer, seen) = (Arc::new(answer), Arc::clone(&asked));
        let mut running = tokio::task::JoinSet::new();
        running.spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, seen) = (Arc::clone(&answer), Arc::clone(&seen));
                let service = service_fn(move |request: http::Request<Incoming>| {
                    let (parts, _) = request.into_parts();
                    let range = parts.headers.get(header::RANGE).and_then(|range| range.to_str().ok());
                    seen.lock().push(format!("{} {} {}", parts.method, parts.uri, range.unwrap_or("-")));
                    std::future::ready(Ok::<_, std::convert::Infallible>(answer(&parts)))
                });
                connections.spawn(async move {
                    let io = TokioIo::new(stream);
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
                });
            }
        });
        Self { host, asked, _running: running }
    }

    fn remote(&self, credentials: Vec<Credentials>) -> Remote {
        Remote::new(Registries::default().registry(&self.host), credentials).unwrap()
    }
}

fn reply(status: u16, headers: &[(&str, &str)], body: &'static str) -> Answer {
    let mut response = http::Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(Full::from(body)).unwrap()
}

fn authorization(parts: &http::request::Parts) -> &str {
    parts.headers.get(header::AUTHORIZATION).map_or("", |value| value.to_str().unwrap())
}

fn user(name: &str, password: &str) -> Credentials {
    Credentials::Basic { user: name.into(), password: password.into() }
}

async fn manifest(remote: &Remote) -> Result<Bytes, String> {
    remote.manifest("team/app", "v1").await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_password_is_given_when_it_is_asked_for_and_the_next_if_it_is_wrong() {
    let server = Server::start(|parts| match authorization(parts) {
        // good:pw
        "Basic Z29vZDpwdw==" => reply(200, &[], "{}"),
        _ => reply(401, &[("www-authenticate", "Basic realm=\"r\"")], ""),
    })
    .await;
    assert_eq!(manifest(&server.remote(vec![user("bad", "pw"), user("good", "pw")])).await.unwrap(), "{}");
    let refused = manifest(&server.remote(vec![user("bad", "pw")])).await.unwrap_err();
    assert_eq!(refused, "not authorized: the registry refused the credentials of \"bad\"");
    let refused = manifest(&server.remote(vec![])).await.unwrap_err();
    assert_eq!(refused, "not authorized: the registry asks for credentials");
}

#[tokio::test]
async fn a_token_is_bought_once_and_used_until_it_is_refused() {
    let server = Server::start(|parts| match (parts.uri.path(), authorization(parts)) {
        ("/token", "Basic dTpw") => reply(200, &[], r#"{"token":"t1"}"#),
        ("/token", _) => reply(401, &[], ""),
        (_, "Bearer t1") => reply(200, &[], "{}"),
        _ => reply(401, &[("www-authenticate", "Bearer realm=\"/token\",service=\"s\"")], ""),
    })
    .await;
    let remote = server.remote(vec![user("u", "p")]);
    manifest(&remote).await.unwrap();
    manifest(&remote).await.unwrap();
    assert_eq!(
        *server.asked.lock(),
        [
            "GET /v2/team/app/manifests/v1 -",
            "GET /token?scope=repository%3Ateam%2Fapp%3Apull&service=s -",
            "GET /v2/team/app/manifests/v1 -",
            "GET /v2/team/app/manifests/v1 -",
        ]
    );
    assert!(manifest(&server.remote(vec![user("u", "wrong")])).await.unwrap_err().contains("refused"));
}

#[tokio::test]
async fn redirects_are_followed_without_our_credentials() {
    let storage = Server::start(|parts| {
        let leaked = parts.headers.contains_key(header::AUTHORIZATION);
        reply(if leaked { 400 } else { 200 }, &[], "blob")
    })
    .await;
    let to = format!("http://{}/signed?sig=1", storage.host);
    let server = Server::start(move |parts| match authorization(parts) {
        "" => reply(401, &[("www-authenticate", "Basic realm=\"r\"")], ""),
        _ => reply(307, &[("location", &to)], ""),
    })
    .await;
    let transfer = server.remote(vec![user("u", "p")]).blob("a", &Digest::of(b"blob"), 0).await.unwrap();
    let bytes: Vec<Bytes> = transfer.bytes.try_collect().await.unwrap();
    assert_eq!(bytes.concat(), b"blob");
}

#[tokio::test]
async fn redirects_to_the_metadata_service_and_in_circles_are_not_followed() {
    let server = Server::start(|parts| match parts.uri.path() {
        path if path.contains("v1") => reply(307, &[("location", "http://169.254.169.254/latest/meta-data/")], ""),
        _ => reply(307, &[("location", "/v2/again")], ""),
    })
    .await;
    let remote = server.remote(vec![]);
    let stray = manifest(&remote).await.unwrap_err();
    assert_eq!(
        stray,
        "the registry sends us to http://169.254.169.254/latest/meta-data/, a link-local address; that is not followed"
    );
    let circle = remote.manifest("a", "v2").await.unwrap_err().to_string();
    assert_eq!(circle, "the registry says: more than 5 redirects");
}

#[tokio::test]
async fn a_token_server_at_a_link_local_address_is_not_asked() {
    let challenge = "Bearer realm=\"http://169.254.169.254/token\"";
    let server = Server::start(move |_| reply(401, &[("www-authenticate", challenge)], "")).await;
    let error = manifest(&server.remote(vec![user("u", "p")])).await.unwrap_err();
    assert!(error.contains("a link-local address"), "{error}");
}

#[tokio::test]
async fn a_transfer_goes_on_where_it_was_or_says_that_it_does_not() {
    let server = Server::start(|parts| match parts.headers.get(header::RANGE) {
        Some(_) if parts.uri.path().starts_with("/v2/new/") => reply(206, &[], "rest"),
        _ => reply(200, &[], "all"),
    })
    .await;
    let remote = server.remote(vec![]);
    assert_eq!(remote.blob("new", &Digest::of(b""), 7).await.unwrap().from, 7);
    assert_eq!(remote.blob("old", &Digest::of(b""), 7).await.unwrap().from, 0);
    assert!(server.asked.lock()[0].ends_with("bytes=7-"));
}

#[tokio::test]
async fn a_registrys_own_sentence_is_what_users_read() {
    let server = Server::start(|parts| match parts.uri.path() {
        "/v2/team/app/manifests/v1" => {
            reply(500, &[], r#"{"errors":[{"code":"UNKNOWN","message":"the disk is full"}]}"#)
        }
        _ => reply(418, &[], "<html>"),
    })
    .await;
    let remote = server.remote(vec![]);
    let Err(RegistryError::Unavailable(source)) = remote.manifest("team/app", "v1").await else { panic!() };
    assert_eq!(source.to_string(), "the disk is full");
    let odd = remote.manifest("a", "b").await.unwrap_err();
    assert_eq!(odd.to_string(), "the registry says: HTTP 418 I'm a teapot");
    assert!(!odd.is_transient() && RegistryError::Unavailable("x".into()).is_transient());
}

#[tokio::test]
async fn a_manifest_without_end_is_cut_off() {
    let huge: &'static str = Box::leak("x".repeat(MANIFEST_BYTES_MAX + 1).into_boxed_str());
    let server = Server::start(move |_| reply(200, &[], huge)).await;
    assert!(matches!(server.remote(vec![]).manifest("a", "b").await, Err(RegistryError::TooLarge(_))));
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    drop(listener);
    let remote = Remote::new(Registries::default().registry(&host), vec![]).unwrap();
    assert!(remote.manifest("a", "b").await.unwrap_err().is_unavailable());
    assert!(matches!(
        Remote::new(Registries::default().registry("169.254.169.254"), vec![]),
        Err(RegistryError::Stray(_))
    ));
}

#[tokio::test]
async fn older_registries_keep_referrers_under_a_tag() {
    let server = Server::start(|parts| match parts.uri.path() {
        path if path.contains("/referrers/") => reply(404, &[], ""),
        path if path.contains("/manifests/sha256-e3b0") => reply(200, &[], r#"{"manifests":[]}"#),
        _ => reply(500, &[], ""),
    })
    .await;
    let found = server.remote(vec![]).referrers("a", &Digest::of(b"")).await.unwrap();
    assert_eq!(found, r#"{"manifests":[]}"#);
}

#[test]
fn only_this_machine_is_spoken_to_without_tls() {
    for host in ["localhost", "localhost:5050", "127.0.0.1:5050", "127.1.2.3", "[::1]:5050"] {
        assert!(is_loopback(host), "{host}");
    }
    for host in ["ghcr.io", "localhost.example.com", "10.0.0.1:5050", "[2001:db8::1]:5050", "127.0.0.1.nip.io"] {
        assert!(!is_loopback(host), "{host}");
    }
}
