//! A client of the Kubernetes API: HTTP/2 over TLS, one connection each, as client-go has it.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// One connection.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    authority: String,
}

impl Connection {
    /// Opens a connection to the server of a kubeconfig, which holds its certificates as data.
    pub async fn open(kubeconfig: &Path) -> Result<Self> {
        let text = fs::read_to_string(kubeconfig)?;
        let document: Value = serde_saphyr::from_str(&text).context("the kubeconfig is not YAML")?;
        let server = document["clusters"][0]["cluster"]["server"].as_str().context("no server")?;
        let authority = server.trim_start_matches("https://").to_owned();
        let tcp = TcpStream::connect(&authority).await?;
        tcp.set_nodelay(true)?;
        let host = authority.rsplit_once(':').context("no port")?.0.to_owned();
        let connector = TlsConnector::from(Arc::new(tls(&document)?));
        let stream = connector.connect(ServerName::try_from(host)?, tcp).await?;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(4 << 20).initial_connection_window_size(16 << 20);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender, authority })
    }

    /// Sends a request and returns the body of its answer.
    pub async fn call(&mut self, method: &str, path: &str, media: &str, body: Vec<u8>) -> Result<Bytes> {
        Ok(self.stream(method, path, media, body).await?.collect().await?.to_bytes())
    }

    /// Sends a request and returns its answer while it comes.
    pub async fn stream(&mut self, method: &str, path: &str, media: &str, body: Vec<u8>) -> Result<Incoming> {
        let uri = format!("https://{}{path}", self.authority);
        let request = Request::builder().method(method).uri(uri).header("accept", "application/json");
        let request = if media.is_empty() { request } else { request.header("content-type", media) };
        self.sender.ready().await?;
        let response = self.sender.send_request(request.body(Full::from(body))?).await?;
        if !response.status().is_success() {
            let status = response.status();
            let text = response.into_body().collect().await?.to_bytes();
            bail!("{method} {path}: {status}: {}", String::from_utf8_lossy(&text));
        }
        Ok(response.into_body())
    }
}

fn tls(document: &Value) -> Result<ClientConfig> {
    let data = |value: &Value| -> Result<Option<Vec<u8>>> {
        value.as_str().map(|text| STANDARD.decode(text).context("certificate data is not base64")).transpose()
    };
    let mut roots = RootCertStore::empty();
    let ca = data(&document["clusters"][0]["cluster"]["certificate-authority-data"])?.context("no CA")?;
    roots.add(CertificateDer::from_pem_slice(&ca)?)?;
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let user = &document["users"][0]["user"];
    let identity = (data(&user["client-certificate-data"])?, data(&user["client-key-data"])?);
    let mut config = match identity {
        (Some(certificate), Some(key)) => builder.with_client_auth_cert(
            vec![CertificateDer::from_pem_slice(&certificate)?],
            PrivateKeyDer::from_pem_slice(&key)?,
        )?,
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}
