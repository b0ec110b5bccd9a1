//! Images over the wire: pushed to and pulled from a registry that speaks the distribution protocol.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use wkube_base::Tasks;
use wkube_wasm_runtime::oci::{
    Credentials, Digest, Image, Policy, PullError, PushError, Reference, Registries, Remote, Store, pull, push,
};

use crate::support::HTTP_0_2;

const TOKEN: &str = "Bearer let-me-in";

/// The part of a registry that our client uses: anybody pulls, the token's owner pushes.
#[derive(Default)]
struct Shelf(Mutex<BTreeMap<String, Bytes>>);

impl Shelf {
    /// Starts to serve and returns the address.
    async fn serve(tasks: &Tasks) -> SocketAddr {
        let shelf = Arc::new(Self::default());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = tasks.clone();
        tasks.spawn("registry", async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shelf = Arc::clone(&shelf);
                let service = service_fn(move |request| answer(Arc::clone(&shelf), request));
                connections.spawn("connection", async move {
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        address
    }
}

async fn answer(shelf: Arc<Shelf>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let digest =
        request.uri().query().and_then(|query| query.split_once("digest=")).map(|(_, digest)| digest.to_owned());
    let may_write = request.headers().get("authorization").is_some_and(|value| value == TOKEN);
    let method = request.method().clone();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let response = Response::builder();
    let response = match method {
        // Nobody gets a token who does not have one.
        Method::GET if path == "/token" => response.status(StatusCode::UNAUTHORIZED),
        Method::GET => match shelf.0.lock().get(&path) {
            Some(bytes) => return Ok(response.body(Full::new(bytes.clone())).unwrap()),
            None => response.status(StatusCode::NOT_FOUND),
        },
        Method::HEAD => response.status(StatusCode::NOT_FOUND),
        _ if !may_write => {
            response.status(StatusCode::UNAUTHORIZED).header("www-authenticate", "Bearer realm=\"/token\"")
        }
        Method::POST => response.status(StatusCode::ACCEPTED).header("location", format!("{path}upload")),
        Method::PUT => {
            let place = if let Some(digest) = digest {
                path.replace("uploads/upload", &digest.replace("%3A", ":"))
            } else {
                let (name, _) = path.rsplit_once('/').unwrap();
                shelf.0.lock().insert(format!("{name}/{}", Digest::of(&body)), body.clone());
                path.clone()
            };
            shelf.0.lock().insert(place.clone(), body);
            response.status(StatusCode::CREATED).header("location", place)
        }
        _ => response.status(StatusCode::METHOD_NOT_ALLOWED),
    };
    Ok(response.body(Full::default()).unwrap())
}

fn token() -> Credentials {
    Credentials::Bearer("let-me-in".to_owned())
}

/// A client of a registry on the loopback.
fn remote(host: &str, credentials: Vec<Credentials>) -> Remote {
    Remote::new(Registries::default().registry(host), credentials).unwrap()
}

async fn pulled(remote: &Remote, image: &Reference, store: &Store) -> Result<Image, PullError> {
    pull(remote, image.name(), image, store, &Policy::default()).await
}

#[tokio::test]
async fn what_is_pushed_is_pulled_by_tag_and_by_digest() {
    let tasks = Tasks::new();
    let host = Shelf::serve(&tasks).await.to_string();
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let pusher = remote(&host, vec![token()]);
    let digest = push(&pusher, "team/app", "v1", Bytes::from_static(HTTP_0_2)).await.unwrap();
    let remote = remote(&host, vec![]);
    let by_tag: Reference = "team/app:v1".parse().unwrap();
    for reference in [by_tag.clone(), by_tag.pinned(digest.clone())] {
        let image = pulled(&remote, &reference, &store).await.unwrap();
        assert_eq!((&image.digest, &image.modules[0].digest), (&digest, &Digest::of(HTTP_0_2)), "{reference}");
        assert_eq!(store.read(&image.modules[0].digest).unwrap(), HTTP_0_2);
    }
    let error = pulled(&remote, &"team/app:v2".parse().unwrap(), &store).await.unwrap_err();
    let PullError::Registry { image, source, .. } = &error else { panic!("{error:?}") };
    assert_eq!((image.as_str(), source.to_string().as_str()), ("team/app:v2", "not found"));
    assert!(!error.is_unavailable());
    tasks.cancel();
}

#[tokio::test]
async fn pushing_needs_credentials_and_something_that_runs() {
    let tasks = Tasks::new();
    let host = Shelf::serve(&tasks).await.to_string();
    let error = push(&remote(&host, vec![]), "app", "v1", Bytes::from_static(HTTP_0_2)).await.unwrap_err();
    let PushError::Registry { source, .. } = &error else { panic!("{error:?}") };
    assert_eq!(source.to_string(), "not authorized: the registry asks for credentials");
    let pusher = remote(&host, vec![token()]);
    let error = push(&pusher, "app", "v1", Bytes::from_static(b"#!/bin/sh")).await.unwrap_err();
    assert!(matches!(error, PushError::Refused { .. }), "{error:?}");
    tasks.cancel();
}

#[tokio::test]
async fn a_registry_that_is_not_there_may_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let error = pulled(&remote("127.0.0.1:1", vec![]), &"app:v1".parse().unwrap(), &store).await.unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
}
