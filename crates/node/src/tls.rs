//! TLS without a Kubernetes client around it: the first, untrusted look at a server's CA, and the reverse connection.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use wkube_base::Tasks;
use wkube_proxy::BoxError;

use crate::join::Credentials;
use crate::tunnel::{Reverse, Stream};

/// The protocol that the reverse connection upgrades to.
const PROTOCOL: &str = "wkube-reverse";

/// How long connecting may take, TLS and upgrade included.
const CONNECT_MAX: std::time::Duration = std::time::Duration::from_secs(10);

/// Reads a small public document from a server that is not trusted yet. The caller must check what it got.
///
/// # Errors
/// Whatever goes wrong on the way.
pub(crate) async fn get_untrusted(server: &str, path: &str, bytes_max: usize) -> Result<Vec<u8>, BoxError> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AcceptAny(provider)))
        .with_no_client_auth();
    let reading = async {
        let target = Target::parse(server)?;
        let stream = target.connect(config).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::get(path).header(header::HOST, &target.authority).body(Empty::<Bytes>::new())?;
        let read = async {
            let response = sender.send_request(request).await?;
            if response.status() != StatusCode::OK {
                return Err(format!("the server answered {}", response.status()).into());
            }
            Ok(Limited::new(response.into_body(), bytes_max).collect().await?.to_bytes().to_vec())
        };
        tokio::select! {
            biased;
            read = read => read,
            ended = connection => Err(ended.err().map_or_else(|| "the server closed the connection".into(), BoxError::from)),
        }
    };
    tokio::time::timeout(CONNECT_MAX, reading).await?
}

/// Where a URL leads.
struct Target {
    host: String,
    port: u16,
    authority: String,
}

impl Target {
    fn parse(url: &str) -> Result<Self, BoxError> {
        let uri: Uri = url.parse()?;
        let host = uri.host().ok_or("the server's URL has no host")?.trim_matches(['[', ']']).to_owned();
        let authority = uri.authority().ok_or("the server's URL has no host")?.to_string();
        Ok(Self { host, port: uri.port_u16().unwrap_or(443), authority })
    }

    async fn connect(&self, mut config: ClientConfig) -> Result<TlsStream<TcpStream>, BoxError> {
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(self.host.clone())?;
        Ok(TlsConnector::from(Arc::new(config)).connect(name, stream).await?)
    }
}

/// Accepts every certificate: trust comes from the token's hash, before anything secret is sent.
#[derive(Debug)]
struct AcceptAny(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The reverse connection to a server elsewhere: TLS with the node's certificate, then an upgrade.
pub struct ReverseOverTls {
    server: String,
    node: String,
    credentials: Credentials,
    tasks: Tasks,
}

impl ReverseOverTls {
    /// Returns the way to the server at `server` for the node `node`. Connections are driven by tasks of `tasks`.
    pub fn new(server: &str, node: &str, credentials: &Credentials, tasks: &Tasks) -> Self {
        Self {
            server: server.to_owned(),
            node: node.to_owned(),
            credentials: credentials.clone(),
            tasks: tasks.clone(),
        }
    }

    fn config(credentials: &Credentials) -> Result<ClientConfig, BoxError> {
        let mut roots = RootCertStore::empty();
        for der in CertificateDer::pem_slice_iter(&credentials.ca) {
            roots.add(der?)?;
        }
        let chain = CertificateDer::pem_slice_iter(&credentials.certificate).collect::<Result<_, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(&credentials.key)?;
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        Ok(builder
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?)
    }
}

impl Reverse for ReverseOverTls {
    fn dial(&self) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let (server, node) = (self.server.clone(), self.node.clone());
        let (credentials, tasks) = (self.credentials.clone(), self.tasks.clone());
        let dialing = async move {
            let target = Target::parse(&server)?;
            let stream = target.connect(Self::config(&credentials)?).await?;
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            tasks.spawn("reverse connection", async move {
                if let Err(error) = connection.with_upgrades().await {
                    tracing::debug!(%error, "reverse connection ended");
                }
            });
            let request = Request::post(format!("/apis/wkube.dev/v1/nodes/{node}/reverse"))
                .header(header::HOST, &target.authority)
                .header(header::CONNECTION, "Upgrade")
                .header(header::UPGRADE, PROTOCOL)
                .body(Empty::<Bytes>::new())?;
            let response = sender.send_request(request).await?;
            if response.status() != StatusCode::SWITCHING_PROTOCOLS {
                return Err(format!("the server answered {} instead of upgrading", response.status()).into());
            }
            let upgraded = hyper::upgrade::on(response).await?;
            Ok::<_, BoxError>(Box::new(TokioIo::new(upgraded)) as Box<dyn Stream>)
        };
        Box::pin(async move {
            let dialed = tokio::time::timeout(CONNECT_MAX, dialing).await;
            dialed.map_err(io::Error::from)?.map_err(io::Error::other)
        })
    }
}
