use std::collections::BTreeMap;
use std::future::pending;

use futures::FutureExt as _;
use http_body_util::{Empty, Full};
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use wkube_base::Tasks;
use wkube_proxy::{Backend, Endpoint, LocalPods, Ports, Remote, RemoteError};

use super::*;
use crate::network::Networks;

/// There is one node.
struct Nobody;

impl Remote for Nobody {
    fn send(&self, _: &Endpoint, _: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, RemoteError>> {
        async { Err(RemoteError::Failed("there is one node".into())) }.boxed()
    }
}

/// Says what it was asked for, or nothing at all.
enum Server {
    Echo,
    Silent,
}

impl Backend for Server {
    fn handle(&self, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, BoxError>> {
        match self {
            Self::Silent => pending().boxed(),
            Self::Echo => {
                let host = request.headers().get("host").and_then(|host| host.to_str().ok()).unwrap_or("-").to_owned();
                let said = format!("{} {} at {host}", request.method(), request.uri().path());
                let body = Full::from(said).map_err(|never| match never {}).boxed_unsync();
                async { Ok(Response::new(body)) }.boxed()
            }
        }
    }
}

/// A node whose pod 10.42.0.2 sends requests.
struct World {
    proxy: Proxy,
    networks: Networks,
    tasks: Tasks,
    _registered: Vec<wkube_proxy::Registration>,
}

impl World {
    /// At 10.42.0.1 answers whatever port is asked; Service `web` (10.43.0.7) leads to its port 8080, and Service `by-hand`
    /// (10.43.0.8), which has no selector, too.
    fn new(server: Server) -> Self {
        let (local, tasks) = (LocalPods::on_node("n"), Tasks::new());
        let registered = vec![local.register([10, 42, 0, 1].into(), Ports::Any, Arc::new(server))];
        let proxy = Proxy::new(local, Arc::new(Nobody));
        let service = |name: &str, ip: &str, selector: serde_json::Value| -> Service {
            let spec = json!({ "clusterIP": ip, "selector": selector, "ports": [{ "port": 80 }] });
            serde_json::from_value(json!({ "metadata": { "name": name, "namespace": "d" }, "spec": spec })).unwrap()
        };
        let slice = || -> EndpointSlice {
            serde_json::from_value(json!({
                "metadata": { "name": "s", "namespace": "d" }, "addressType": "IPv4", "ports": [{ "port": 8080 }],
                "endpoints": [{ "addresses": ["10.42.0.1"], "nodeName": "n" }],
            }))
            .unwrap()
        };
        let services = [
            (service("web", "10.43.0.7", json!({ "app": "web" })), vec![slice()]),
            (service("by-hand", "10.43.0.8", json!(null)), vec![slice()]),
        ];
        proxy.begin_with(services, []);
        Self { networks: Networks::new(Some(proxy.clone()), &tasks), proxy, tasks, _registered: registered }
    }

    fn network(&self, uid: &str, ip: [u8; 4], outside: &str) -> Arc<dyn Network> {
        let mut pod = Pod::default();
        pod.metadata.uid = Some(uid.to_owned());
        pod.metadata.namespace = Some("d".to_owned());
        pod.metadata.annotations = Some(BTreeMap::from([(OUTSIDE.to_owned(), outside.to_owned())]));
        self.networks.of(&pod, ip.into()).unwrap().unwrap()
    }

    fn outgoing(&self, trust: Option<TlsTrust>) -> Outgoing {
        let network = self.network("client", [10, 42, 0, 2], "");
        Outgoing::new(self.proxy.clone(), "d".to_owned(), Some(network), trust)
    }
}

fn get(uri: &str) -> Request<Body> {
    Request::get(uri).body(Empty::new().map_err(|never| match never {}).boxed_unsync()).unwrap()
}

async fn text(outgoing: &Outgoing, uri: &str) -> String {
    let answer = outgoing.send(get(uri)).await.unwrap_or_else(|error| panic!("{uri}: {error}"));
    String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

/// Returns the kind and the words of a failure.
async fn failure(outgoing: &Outgoing, uri: &str) -> (io::ErrorKind, String) {
    let error = outgoing.send(get(uri)).await.err().unwrap_or_else(|| panic!("{uri} answers"));
    (error.downcast_ref::<io::Error>().map_or(io::ErrorKind::Other, io::Error::kind), error.to_string())
}

#[tokio::test]
async fn requests_reach_services_and_pods_by_name_and_address() {
    let world = World::new(Server::Echo);
    let outgoing = world.outgoing(None);
    for (uri, said) in [
        ("http://web/a", "GET /a at -"),
        ("http://web.d.svc.cluster.local/a", "GET /a at -"),
        ("http://by-hand/a?x=1", "GET /a at by-hand"),
        ("http://10.43.0.7/b", "GET /b at 10.43.0.7"),
        ("http://10.42.0.1:9090/", "GET / at 10.42.0.1:9090"),
    ] {
        assert_eq!(text(&outgoing, uri).await, said, "{uri}");
    }
}

#[tokio::test]
async fn what_is_not_granted_is_refused_by_a_kind_and_says_what_to_do() {
    let world = World::new(Server::Echo);
    let none = world.outgoing(None);
    let network = world.network("granted", [10, 42, 0, 3], "192.0.2.0/24");
    let granted = Outgoing::new(world.proxy.clone(), "d".to_owned(), Some(network), None);
    for (outgoing, uri, kind, words) in [
        (&none, "http://example.com/", io::ErrorKind::NotFound, "example.com: no such"),
        (&none, "https://192.0.2.1/", io::ErrorKind::HostUnreachable, "192.0.2.1: no route"),
        (&granted, "http://198.51.100.1/", io::ErrorKind::PermissionDenied, "198.51.100.1: this pod may not"),
        (&none, "http://10.42.0.9/", io::ErrorKind::HostUnreachable, "10.42.0.9: no route"),
    ] {
        let (found, said) = failure(outgoing, uri).await;
        assert!(
            found == kind && said.starts_with(words) && said.contains("wkube.dev/outside"),
            "{uri}: {found:?} {said}"
        );
    }
    assert_eq!(failure(&none, "https://web:81/").await.0, io::ErrorKind::ConnectionRefused, "no such port");
}

#[tokio::test]
async fn a_pod_without_a_network_has_services() {
    let world = World::new(Server::Echo);
    let outgoing = Outgoing::new(world.proxy.clone(), "d".to_owned(), None, None);
    assert_eq!(text(&outgoing, "http://web/a").await, "GET /a at -");
    assert!(failure(&outgoing, "http://10.42.0.1/").await.1.contains("no service"));
}

#[tokio::test]
async fn a_container_has_so_many_requests_under_way_and_not_more() {
    let world = World::new(Server::Silent);
    let outgoing = world.outgoing(None);
    let waiting: Vec<_> = (0..CONNECTIONS_MAX).map(|_| outgoing.send(get("http://10.42.0.1/"))).collect();
    assert_eq!(failure(&outgoing, "http://10.42.0.1/").await.0, io::ErrorKind::QuotaExceeded);
    drop(waiting);
    assert!(outgoing.send(get("http://10.42.0.1/")).now_or_never().is_none(), "there is room again");
}

/// Answers one connection in TLS as `server.test`, and returns its certificate.
fn serve_tls(world: &World) -> TlsTrust {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate =
        rcgen::CertificateParams::new(vec!["by-hand".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let port = world.network("server", [10, 42, 0, 1], "").bind_tcp("0.0.0.0:8080".parse().unwrap()).unwrap();
    let mut incoming = port.listen(8).unwrap();
    world.tasks.spawn("tls", async move {
        while let Ok(connection) = std::future::poll_fn(|context| incoming.poll_accept(context)).await {
            let Ok(stream) = acceptor.accept(connection.stream).await else { continue };
            let answer = hyper::service::service_fn(|request: Request<hyper::body::Incoming>| async move {
                Ok::<_, std::convert::Infallible>(Response::new(Full::<bytes::Bytes>::from(request.uri().to_string())))
            });
            let http = hyper::server::conn::http1::Builder::new();
            drop(http.serve_connection(hyper_util::rt::TokioIo::new(stream), answer).await);
        }
    });
    TlsTrust::of_pem(certificate.as_bytes())
}

#[tokio::test]
async fn https_trusts_whom_the_container_trusts() {
    let world = World::new(Server::Echo);
    let trust = serve_tls(&world);
    assert_eq!(text(&world.outgoing(Some(trust.clone())), "https://by-hand:80/secret?x=1").await, "/secret?x=1");
    let (kind, said) = failure(&world.outgoing(None), "https://by-hand:80/").await;
    assert!(kind == io::ErrorKind::InvalidData && said.contains("TLS with by-hand: "), "{kind:?} {said}");
    let (kind, said) = failure(&world.outgoing(Some(trust)), "https://10.43.0.8:80/").await;
    assert_eq!(kind, io::ErrorKind::InvalidData, "another name than the certificate's: {said}");
}
