//! The yardstick: hyper and TLS with nothing behind them. It answers with bytes of the same size that the API server
//! answers with, passes what is written on to watchers, and keeps nothing else.

use std::convert::Infallible;
use std::fs;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::BroadcastStream;

type Body = BoxBody<Bytes, Infallible>;

/// What the server adds to an object of the load: uid, times, managed fields. Measured on wkube's answers.
const ADDED: usize = 420;

struct State {
    object: Mutex<Bytes>,
    list: Mutex<Bytes>,
    events: broadcast::Sender<Bytes>,
}

/// Serves on a free port and writes a kubeconfig for it.
pub async fn serve(kubeconfig: &str) -> Result<()> {
    let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
    let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key.into())?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (address, ca) = (listener.local_addr()?, STANDARD.encode(certified.cert.pem()));
    let cluster = format!("{{server: \"https://{address}\", certificate-authority-data: {ca}}}");
    fs::write(kubeconfig, format!("clusters: [{{name: bare, cluster: {cluster}}}]\nusers: []\n"))?;
    let state =
        Arc::new(State { object: Mutex::default(), list: Mutex::default(), events: broadcast::channel(4096).0 });
    loop {
        let (tcp, _) = listener.accept().await?;
        tcp.set_nodelay(true)?;
        let (acceptor, state) = (acceptor.clone(), state.clone());
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(tcp).await else { return };
            let service = service_fn(move |request| answer(state.clone(), request));
            // A client that goes away is the usual end of a connection.
            let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
    let is_read = request.method() == Method::GET;
    let query = request.uri().query().unwrap_or_default();
    if query.contains("watch=true") {
        let events = BroadcastStream::new(state.events.subscribe()).filter_map(|event| std::future::ready(event.ok()));
        let frames = events.map(|event| Ok::<_, Infallible>(Frame::data(event)));
        return Ok(Response::new(BodyExt::boxed(StreamBody::new(frames))));
    }
    if is_read {
        let is_list = request.uri().path().ends_with("configmaps");
        let bytes = if is_list { &state.list } else { &state.object };
        return Ok(full(bytes.lock().expect("no panic holds it").clone()));
    }
    let is_create = request.method() == Method::POST;
    let body = request.into_body().collect().await?.to_bytes();
    if is_create {
        let mut object = BytesMut::from(&body[..]);
        object.resize(body.len() + ADDED, b' ');
        let object = object.freeze();
        state.remember(&object);
        return Ok(full(object));
    }
    Ok(full(state.object.lock().expect("no panic holds it").clone()))
}

impl State {
    fn remember(&self, object: &Bytes) {
        let mut newest = self.object.lock().expect("no panic holds it");
        if newest.len() != object.len() {
            *self.list.lock().expect("no panic holds it") = object.repeat(crate::OBJECTS).into();
        }
        *newest = object.clone();
        if self.events.receiver_count() > 0 {
            let event = [b"{\"type\":\"ADDED\",\"object\":", &object[..], b"}\n"].concat();
            // Nobody listens any more: nothing to do.
            let _ = self.events.send(event.into());
        }
    }
}

fn full(bytes: Bytes) -> Response<Body> {
    Response::new(Full::new(bytes).boxed())
}
