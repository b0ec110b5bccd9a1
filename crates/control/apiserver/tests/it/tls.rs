//! The server behind TLS: certificates, strangers, and an orderly end.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use wkube_apiserver::{ApiServer, Flags, Options};
use wkube_base::{Clock, Rng, Tasks};
use wkube_store::MemoryStore;

/// A server with its listener.
pub(super) struct Running {
    pub(super) server: ApiServer,
    pub(super) tasks: Tasks,
    directory: tempfile::TempDir,
}

/// A client's end of a connection.
pub(super) type Stream = tokio_rustls::client::TlsStream<TcpStream>;

pub(super) async fn running() -> Running {
    running_with(|_| Flags::default()).await
}

/// Starts a server with flags, whose files can be put into the directory.
pub(super) async fn running_with(flags: impl FnOnce(&std::path::Path) -> Flags) -> Running {
    let directory = tempfile::tempdir().expect("a directory");
    let flags = flags(directory.path());
    let tasks = Tasks::new();
    let options = Options {
        store: Arc::new(MemoryStore::new()),
        data_dir: directory.path().to_owned(),
        listen: "127.0.0.1:0".parse().expect("an address"),
        registry_listen: Some("127.0.0.1:0".parse().expect("an address")),
        clock: Clock::system(),
        rng: Rng::seeded(1),
        names: Vec::new(),
        flags,
    };
    let server = ApiServer::start(options, &tasks).await.expect("starts");
    Running { server, tasks, directory }
}

impl Running {
    /// Returns a value of the admin's kubeconfig.
    fn kubeconfig(&self, field: &str) -> Vec<u8> {
        let text = std::fs::read_to_string(self.directory.path().join("kubeconfig")).expect("a kubeconfig");
        let line = text.lines().find_map(|line| line.trim().strip_prefix(&format!("{field}: "))).expect("the field");
        STANDARD.decode(line).expect("base64")
    }

    pub(super) async fn get(&self, path: &str, admin: bool) -> Response<Incoming> {
        let request = Request::get(path).header("host", "test").body(Full::default()).expect("a request");
        self.send(request, admin).await
    }

    pub(super) async fn send(&self, request: Request<Full<bytes::Bytes>>, admin: bool) -> Response<Incoming> {
        let stream = self.connect(admin).await;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
        Tasks::new().spawn_to_end("client", async move { drop(connection.await) });
        sender.send_request(request).await.expect("an answer")
    }

    /// Returns where a file of the server's directory is.
    pub(super) fn path(&self, file: &str) -> std::path::PathBuf {
        self.directory.path().join(file)
    }

    /// Opens a connection, as the admin or as nobody.
    pub(super) async fn connect(&self, admin: bool) -> Stream {
        let stream = TcpStream::connect(self.server.address()).await.expect("connects");
        let name = ServerName::try_from("kubernetes.default.svc").expect("a name");
        let connector = TlsConnector::from(Arc::new(self.config(admin)));
        connector.connect(name, stream).await.expect("a handshake")
    }

    /// Opens a connection of the admin that speaks HTTP/2.
    pub(super) async fn connect_h2(&self) -> Stream {
        let mut config = self.config(true);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = TcpStream::connect(self.server.address()).await.expect("connects");
        let name = ServerName::try_from("kubernetes.default.svc").expect("a name");
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("a handshake")
    }

    pub(super) fn config(&self, admin: bool) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(&self.kubeconfig("certificate-authority-data")).expect("PEM"))
            .expect("a CA");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
        let builder = builder.with_root_certificates(roots);
        if !admin {
            return builder.with_no_client_auth();
        }
        let certificate = CertificateDer::from_pem_slice(&self.kubeconfig("client-certificate-data")).expect("PEM");
        let key = PrivateKeyDer::from_pem_slice(&self.kubeconfig("client-key-data")).expect("PEM");
        builder.with_client_auth_cert(vec![certificate], key).expect("a pair")
    }
}

#[tokio::test]
async fn the_admins_certificate_opens_everything() {
    let running = running().await;
    assert_eq!(running.get("/api/v1/namespaces", true).await.status(), 200);
    assert!(running.server.url().starts_with("https://127.0.0.1:"));
}

#[tokio::test]
async fn strangers_are_forbidden_what_no_role_gives_them_but_may_see_the_version_and_the_ca() {
    let running = running().await;
    let refused = running.get("/api/v1/namespaces", false).await;
    assert_eq!(refused.status(), 403);
    let bytes = refused.into_body().collect().await.expect("a body").to_bytes();
    let status: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
    let expected = r#"namespaces is forbidden: User "system:anonymous" cannot list resource "namespaces" in API group "" at the cluster scope"#;
    assert_eq!(status["message"], expected);
    assert_eq!(running.get("/api", false).await.status(), 403, "discovery is for those who are known");
    assert_eq!(running.get("/v2/", false).await.status(), 401, "so are images");
    assert_eq!(running.get("/version", false).await.status(), 200);
    let ca = running.get("/cacerts", false).await;
    assert_eq!(ca.status(), 200);
    let bytes = ca.into_body().collect().await.expect("a body").to_bytes();
    assert_eq!(bytes, running.kubeconfig("certificate-authority-data"));
}

#[tokio::test]
async fn the_registry_is_found_through_the_cluster() {
    let running = running().await;
    let found = running.get("/api/v1/namespaces/kube-public/configmaps/local-registry-hosting", true).await;
    let bytes = found.into_body().collect().await.expect("a body").to_bytes();
    let object: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
    let address = running.server.registry_address().expect("an address").to_string();
    assert!(super::at(&object, "data.localRegistryHosting").is_empty());
    let hosting = object["data"]["localRegistryHosting.v1"].as_str().expect("text");
    assert!(hosting.contains(&format!("host: \"{address}\"")), "{hosting}");
}

#[tokio::test]
async fn stopping_ends_open_watches() {
    let running = running().await;
    let mut watch = running.get("/api/v1/pods?watch=true", true).await;
    assert_eq!(watch.status(), 200);
    running.tasks.stop(Duration::from_secs(10)).await;
    assert!(watch.body_mut().frame().await.is_none());
}

#[tokio::test]
async fn a_service_accounts_token_opens_the_door_until_the_account_is_gone() {
    let running = running().await;
    let send = |method: &str, path: &str, bearer: Option<String>, body: &str| {
        let request = Request::builder().method(method).uri(path).header("host", "test");
        let request = request.header("content-type", "application/json");
        let request = match &bearer {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        };
        let request = request.body(Full::from(body.to_owned())).expect("a request");
        let running = &running;
        async move {
            let answer = running.send(request, bearer.is_none()).await;
            let code = answer.status().as_u16();
            let bytes = answer.into_body().collect().await.expect("a body").to_bytes();
            (code, serde_json::from_slice::<serde_json::Value>(&bytes).expect("JSON"))
        }
    };
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    assert_eq!(send("POST", accounts, None, r#"{"metadata":{"name":"bot"}}"#).await.0, 201);
    let (code, made) = send("POST", &format!("{accounts}/bot/token"), None, "{}").await;
    assert_eq!(code, 201, "{made}");
    let token = || Some(made["status"]["token"].as_str().expect("a token").to_owned());
    let review = r#"{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}"#;
    let (code, me) = send("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", token(), review).await;
    assert_eq!((code, me["status"]["userInfo"]["username"].as_str()), (201, Some("system:serviceaccount:default:bot")));
    let (code, refused) = send("GET", "/api/v1/pods", token(), "").await;
    assert_eq!((code, refused["reason"].as_str()), (403, Some("Forbidden")), "known, but without rights");
    let (code, keys) = send("GET", "/openid/v1/jwks", token(), "").await;
    assert_eq!((code, keys["keys"][0]["alg"].as_str()), (200, Some("ES256")), "service accounts may check tokens");
    assert_eq!(send("DELETE", &format!("{accounts}/bot"), None, "").await.0, 200);
    assert_eq!(send("GET", "/api/v1/pods", token(), "").await.0, 401);
}
