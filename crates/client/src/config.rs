//! Where the API server is and who we are: kubeconfig discovery, TLS, credentials.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube_client::client::ConfigExt as _;
use kube_client::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tower::{BoxError, ServiceBuilder};

use crate::client::{Client, ResponseBody, with_body};
use crate::error::Error;

/// How long connecting may take.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// An HTTP/2 connection that carries nothing is pinged this often, and given up when no answer comes in time
/// (client-go: 30 s and 15 s). All watches share it, so its death must not go unnoticed.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_ANSWER_MAX: Duration = Duration::from_secs(15);

/// A client and what else its kubeconfig says.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The client.
    pub client: Client,
    /// The namespace to use when none is given.
    pub namespace: String,
    /// The server's URL, for messages.
    pub server: String,
}

/// How a server proves who it is and how we do.
#[derive(Debug, Clone)]
pub struct Identity<'a> {
    /// The certificate authority of the server, in PEM.
    pub ca_pem: &'a [u8],
    /// Our certificate chain, in PEM.
    pub certificate_pem: &'a [u8],
    /// Its key, in PEM.
    pub key_pem: &'a [u8],
}

/// A client certificate chain and its key, both in PEM.
type KeyPair = (Vec<u8>, Vec<u8>);

/// Returns the kubeconfig files to use: the one given by flag, else those of `$KUBECONFIG`, else that of the default
/// data directory. This is kubectl's order, with our data directory instead of `~/.kube/config`.
pub fn locate(flag: Option<&Path>, env: Option<&OsStr>, default: &Path) -> Vec<PathBuf> {
    if let Some(path) = flag {
        return vec![path.to_owned()];
    }
    let listed: Vec<PathBuf> =
        env.map(std::env::split_paths).into_iter().flatten().filter(|path| !path.as_os_str().is_empty()).collect();
    if listed.is_empty() { vec![default.to_owned()] } else { listed }
}

/// Reads kubeconfig files, the first one winning where they disagree, and returns a client for the current context or
/// for `context`.
///
/// # Errors
/// `Config` if no file can be used, with what to do about it.
pub async fn load(files: &[PathBuf], context: Option<&str>) -> Result<Loaded, Error> {
    let mut merged: Option<Kubeconfig> = None;
    for file in files.iter().filter(|file| file.exists()) {
        let next = Kubeconfig::read_from(file).map_err(|error| problem(format!("read {}", file.display()), error))?;
        merged = Some(match merged {
            None => next,
            Some(first) => first.merge(next).map_err(|error| problem(format!("merge {}", file.display()), error))?,
        });
    }
    let Some(kubeconfig) = merged else {
        let looked: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        let looked = looked.join(" or ");
        return Err(plain(format!(
            "there is none at {looked}; start a cluster with `wkube up` or name one with --kubeconfig"
        )));
    };
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let config = kube_client::Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(|error| problem("find the context", error))?;
    let (namespace, server) = (config.default_namespace.clone(), config.cluster_url.to_string());
    Ok(Loaded { client: connect(&config, identity_of(&config.auth_info)?)?, namespace, server })
}

impl Client {
    /// Returns a client for the server at `url` that proves itself with a certificate.
    ///
    /// # Errors
    /// `Config` if the URL or a PEM text is not one.
    pub fn from_pem(url: &str, identity: &Identity<'_>) -> Result<Self, Error> {
        let mut config =
            kube_client::Config::new(url.parse().map_err(|error| problem(format!("read the URL {url}"), error))?);
        config.root_cert = Some(ders(identity.ca_pem)?);
        connect(&config, Some((identity.certificate_pem.to_vec(), identity.key_pem.to_vec())))
    }

    /// Returns a client for the server at `url` that proves itself with a bearer token, such as a join token. Without
    /// a token it is anonymous.
    ///
    /// # Errors
    /// `Config` if the URL or the PEM text is not one.
    pub fn from_token(url: &str, ca_pem: &[u8], token: Option<&str>) -> Result<Self, Error> {
        let mut config =
            kube_client::Config::new(url.parse().map_err(|error| problem(format!("read the URL {url}"), error))?);
        config.root_cert = Some(ders(ca_pem)?);
        config.auth_info.token = token.map(Into::into);
        connect(&config, None)
    }
}

/// Puts the layers together: base URL, credentials, TLS, HTTP/2 or 1.1.
fn connect(config: &kube_client::Config, identity: Option<KeyPair>) -> Result<Client, Error> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_MAX));
    let tls = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls_config(config, identity)?).https_or_http();
    let tls = match &config.tls_server_name {
        None => tls,
        Some(name) => {
            let name =
                name.clone().try_into().map_err(|error| problem(format!("use the server name {name}"), error))?;
            tls.with_server_name_resolver(hyper_rustls::FixedServerNameResolver::new(name))
        }
    };
    let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .http2_keep_alive_interval(PING_EVERY)
        .http2_keep_alive_timeout(PING_ANSWER_MAX)
        .build::<_, ResponseBody>(tls.enable_all_versions().wrap_connector(tcp));
    let auth = config.auth_layer().map_err(|error| problem("use the credentials", error))?;
    let headers = config.extra_headers_layer().map_err(|error| problem("use the impersonation", error))?;
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(auth)
        .layer(headers)
        .map_request(with_body)
        .map_err(BoxError::from)
        .service(http);
    Ok(Client::new(service))
}

fn tls_config(config: &kube_client::Config, identity: Option<KeyPair>) -> Result<rustls::ClientConfig, Error> {
    if config.accept_invalid_certs {
        return Err(plain("insecure-skip-tls-verify is not supported; give the cluster's certificate-authority-data"));
    }
    let mut roots = rustls::RootCertStore::empty();
    for der in config.root_cert.iter().flatten() {
        roots
            .add(CertificateDer::from(der.clone()))
            .map_err(|error| problem("use the certificate authority", error))?;
    }
    if roots.is_empty() && config.cluster_url.scheme_str() == Some("https") {
        return Err(plain("the cluster has no certificate-authority-data, so its server cannot be trusted"));
    }
    // Named here rather than taken from the process, which may have installed none.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| problem("set up TLS", error))?
        .with_root_certificates(roots);
    let Some((certificate, key)) = identity else { return Ok(builder.with_no_client_auth()) };
    let chain = ders(&certificate)?.into_iter().map(CertificateDer::from).collect();
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| problem("read the client key", error))?;
    builder.with_client_auth_cert(chain, key).map_err(|error| problem("use the client certificate", error))
}

/// Returns the certificates of a PEM text.
fn ders(pem: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    let certificates: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(pem).map(|der| der.map(|der| der.to_vec())).collect();
    let certificates = certificates.map_err(|error| problem("read a certificate", error))?;
    if certificates.is_empty() {
        Err(plain("a certificate is expected in PEM, and there is none"))
    } else {
        Ok(certificates)
    }
}

/// Returns the client certificate and key of a user, in PEM, from the kubeconfig or the files that it names.
fn identity_of(user: &AuthInfo) -> Result<Option<KeyPair>, Error> {
    // The key is wrapped against being printed; its serialized form is what stands in the file.
    let document = serde_json::to_value(user).map_err(|error| problem("read the user", error))?;
    let certificate = data_or_file(document["client-certificate-data"].as_str(), user.client_certificate.as_deref())?;
    let key = data_or_file(document["client-key-data"].as_str(), user.client_key.as_deref())?;
    match (certificate, key) {
        (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(plain("the user has a client certificate without a key")),
        (None, Some(_)) => Err(plain("the user has a client key without a certificate")),
    }
}

fn data_or_file(data: Option<&str>, file: Option<&str>) -> Result<Option<Vec<u8>>, Error> {
    if let Some(data) = data {
        return BASE64.decode(data.trim()).map(Some).map_err(|error| problem("decode the user's base64 data", error));
    }
    let Some(file) = file else { return Ok(None) };
    std::fs::read(file).map(Some).map_err(|error| problem(format!("read {file}"), error))
}

fn problem(step: impl std::fmt::Display, source: impl Into<BoxError>) -> Error {
    Error::Config { problem: format!("failed to {step}"), source: Some(source.into()) }
}

fn plain(problem: impl Into<String>) -> Error {
    Error::Config { problem: problem.into(), source: None }
}

#[cfg(test)]
mod tests;
