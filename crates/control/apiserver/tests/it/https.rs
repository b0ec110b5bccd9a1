//! A stranger's HTTPS server: answers as a test tells it to, also badly, and remembers what it was asked.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::pending;
use futures::stream::repeat;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Collected, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use wkube_base::Tasks;

/// How the server's certificate is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Certificate {
    /// By a CA of its own.
    Signed,
    /// By itself, as the only thing in the bundle.
    SelfSigned,
    /// By a CA of its own, long ago.
    Expired,
    /// By a CA that is not the bundle's.
    Foreign,
}

/// What the server does with a request.
pub(crate) enum Reply {
    /// A document.
    Json(Value),
    /// A code, a header and a text.
    Text(u16, &'static str, &'static str, String),
    /// Nothing, ever.
    Hang,
    /// An answer that never ends.
    Endless,
}

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// The path with its query.
    pub(crate) uri: String,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Value,
}

/// A running server. Dropping it ends it.
pub(crate) struct Https {
    pub(crate) address: SocketAddr,
    /// The `caBundle` of a `clientConfig`.
    pub(crate) bundle: String,
    connections: Arc<AtomicUsize>,
    asked: Arc<Mutex<Vec<Asked>>>,
    tasks: Tasks,
}

impl Drop for Https {
    fn drop(&mut self) {
        self.tasks.cancel();
    }
}

impl Https {
    /// Starts a server for `127.0.0.1` and these names.
    pub(crate) async fn start<F>(certificate: Certificate, names: &[&str], reply: F) -> Self
    where
        F: Fn(&Asked) -> Reply + Send + Sync + 'static,
    {
        let (config, bundle) = tls(certificate, names);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (connections, asked, tasks) = (Arc::new(AtomicUsize::new(0)), Arc::default(), Tasks::new());
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let server = Self { address, bundle, connections: connections.clone(), asked, tasks: tasks.clone() };
        let (asked, reply, owner) = (server.asked.clone(), Arc::new(reply), tasks.clone());
        tasks.spawn("https", async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::Relaxed);
                let (acceptor, asked, reply) = (acceptor.clone(), asked.clone(), reply.clone());
                owner.spawn("https-connection", async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(|request| answer(request, asked.clone(), reply.clone()));
                    let builder = auto::Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        server
    }

    /// Returns the URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    /// Returns what was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().clone()
    }

    /// Returns how many connections were opened.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

async fn answer<F>(
    request: Request<Incoming>,
    asked: Arc<Mutex<Vec<Asked>>>,
    reply: Arc<F>,
) -> Result<Response<Body>, Infallible>
where
    F: Fn(&Asked) -> Reply,
{
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
    let body = serde_json::from_slice(&body).unwrap_or_default();
    let uri = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let one = Asked { uri, headers: head.headers, body };
    asked.lock().push(one.clone());
    let full = |text: String| Full::new(Bytes::from(text)).boxed_unsync();
    Ok(match reply(&one) {
        Reply::Json(document) => {
            let response = Response::builder().header("content-type", "application/json");
            response.body(full(document.to_string())).expect("a response")
        }
        Reply::Text(code, name, value, text) => {
            Response::builder().status(code).header(name, value).body(full(text)).expect("a response")
        }
        Reply::Hang => pending().await,
        Reply::Endless => {
            let piece = Bytes::from(vec![b' '; 64 * 1024]);
            Response::new(StreamBody::new(repeat(piece).map(|piece| Ok(Frame::data(piece)))).boxed_unsync())
        }
    })
}

/// Returns the server's side, and the bundle that clients get.
fn tls(certificate: Certificate, names: &[&str]) -> (ServerConfig, String) {
    let mut all: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    all.push("127.0.0.1".to_owned());
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(all).expect("names");
    if certificate == Certificate::Expired {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    }
    let (leaf, bundle) = if certificate == Certificate::SelfSigned {
        let leaf = params.self_signed(&key).expect("a certificate");
        (leaf.der().clone(), leaf.pem())
    } else {
        let (issuer, pem) = authority();
        let leaf = params.signed_by(&key, &issuer).expect("a certificate");
        (leaf.der().clone(), if certificate == Certificate::Foreign { authority().1 } else { pem })
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let chain = vec![CertificateDer::from(leaf.to_vec())];
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key).expect("a pair");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    (config, STANDARD.encode(bundle))
}

fn authority() -> (Issuer<'static, KeyPair>, String) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "a stranger's CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).expect("a certificate").pem();
    (Issuer::new(params, key), pem)
}
