//! A registry on the network, over the distribution protocol.
//!
//! Everything is bounded: connecting, silence, the number of redirects, the size of answers. Where a registry leads us is
//! judged by [`guard`], every time.

mod auth;
mod challenge;
mod guard;
mod push;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Once, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::{StreamExt as _, TryStreamExt as _};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use reqwest::{Client, Response, Url};

pub use self::guard::Stray;

use self::auth::{Access, Authority};
use self::guard::{Guarded, Reach};
use super::artifact;
use super::digest::Digest;
use super::login::Credentials;
use super::registries::Endpoint;
use super::registry::{MANIFEST_BYTES_MAX, Registry, RegistryError, Transfer};

/// A registry that does not accept a connection by then is down.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// One that does not begin its answer by then hangs.
const ANSWER_MAX: Duration = Duration::from_secs(15);
/// The longest silence within a transfer.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How long a small document may take as a whole: a byte every now and then is no answer.
const DOCUMENT_MAX: Duration = Duration::from_mins(1);
/// Registries redirect once to where blobs are; more than a few hops are a loop.
const REDIRECTS_MAX: usize = 5;
/// What we read of an error's body.
const SENTENCE_BYTES_MAX: usize = 16 << 10;

/// A registry. Connects when it is asked for something.
pub struct Remote {
    base: Url,
    named: Client,
    /// For where the registry leads us: without what only the registry itself shall see.
    elsewhere: OnceLock<Client>,
    endpoint: Endpoint,
    authority: Authority,
}

/// One request.
struct Call {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Bytes,
    access: Access,
}

impl Remote {
    /// Makes a client of the registry at `endpoint`. `credentials` are tried in their order, then those of the endpoint.
    ///
    /// # Errors
    /// If the endpoint's address or its certificates cannot be used.
    pub fn new(endpoint: Endpoint, mut credentials: Vec<Credentials>) -> Result<Self, RegistryError> {
        let base = Url::parse(&endpoint.url).map_err(configuration)?;
        guard::judge_named(&base).map_err(RegistryError::Stray)?;
        if endpoint.credentials != Credentials::Anonymous {
            credentials.push(endpoint.credentials.clone());
        }
        let named = client(&endpoint, Reach::Named)?;
        Ok(Self { base, named, elsewhere: OnceLock::new(), endpoint, authority: Authority::new(credentials) })
    }

    /// Returns the registry's `host[:port]`.
    pub fn host(&self) -> &str {
        &self.endpoint.host
    }

    /// Returns `<base>/v2/<name>/<rest>`.
    fn url(&self, name: &str, rest: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/v2/{name}/{rest}", self.base.path().trim_end_matches('/')));
        url
    }

    fn get(&self, name: &str, rest: &str) -> Call {
        Call {
            method: Method::GET,
            url: self.url(name, rest),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            access: Access::pull(name),
        }
    }

    /// Sends a request, with the credentials that the registry asks for, and returns an answer that is a success.
    async fn send(&self, call: &Call) -> Result<Response, RegistryError> {
        let known = self.authority.known(&call.access);
        let mut response = self.follow(call, known).await?;
        if matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            response = self.convince(call, response).await?;
        }
        judge_status(response).await
    }

    /// Sends a request to where it belongs, over any redirects.
    async fn follow(&self, call: &Call, authorization: Option<HeaderValue>) -> Result<Response, RegistryError> {
        let mut url = call.url.clone();
        let mut reach = Reach::Named;
        for _ in 0..=REDIRECTS_MAX {
            let is_home = url.origin() == self.base.origin();
            let client = if is_home { &self.named } else { self.client_for(reach)? };
            let mut request = client.request(call.method.clone(), url.clone()).headers(call.headers.clone());
            if let Some(authorization) = authorization.as_ref().filter(|_| is_home) {
                request = request.header(header::AUTHORIZATION, authorization.clone());
            }
            if !call.body.is_empty() {
                request = request.body(call.body.clone());
            }
            let response = answer(request).await?;
            let is_safe = matches!(call.method, Method::GET | Method::HEAD);
            let location = response.headers().get(header::LOCATION).and_then(|to| to.to_str().ok());
            let Some(location) = location.filter(|_| is_safe && response.status().is_redirection()) else {
                return Ok(response);
            };
            let next = url.join(location);
            let next = next.map_err(|_| RegistryError::Said("a redirect that is no address".to_owned()))?;
            reach = guard::judge(&url, &next).map_err(RegistryError::Stray)?;
            url = next;
        }
        Err(RegistryError::Said(format!("more than {REDIRECTS_MAX} redirects")))
    }

    fn client_for(&self, reach: Reach) -> Result<&Client, RegistryError> {
        if reach == Reach::Named {
            return Ok(&self.named);
        }
        if let Some(client) = self.elsewhere.get() {
            return Ok(client);
        }
        let made = client(&self.endpoint, Reach::Elsewhere)?;
        Ok(self.elsewhere.get_or_init(|| made))
    }
}

impl Registry for Remote {
    fn manifest<'a>(&'a self, name: &'a str, version: &'a str) -> BoxFuture<'a, Result<Bytes, RegistryError>> {
        Box::pin(async move {
            let mut call = self.get(name, &format!("manifests/{version}"));
            let accepted = HeaderValue::try_from(artifact::ACCEPTED.join(", ")).expect("media types are plain");
            call.headers.insert(header::ACCEPT, accepted);
            document(async { limited(self.send(&call).await?, MANIFEST_BYTES_MAX).await }).await
        })
    }

    fn blob<'a>(
        &'a self,
        name: &'a str,
        digest: &'a Digest,
        from: u64,
    ) -> BoxFuture<'a, Result<Transfer, RegistryError>> {
        Box::pin(async move {
            let mut call = self.get(name, &format!("blobs/{digest}"));
            if from > 0 {
                let range = HeaderValue::try_from(format!("bytes={from}-")).expect("digits are plain");
                call.headers.insert(header::RANGE, range);
            }
            let response = self.send(&call).await?;
            // Whoever does not know ranges sends everything.
            let from = if response.status() == StatusCode::PARTIAL_CONTENT { from } else { 0 };
            let bytes = response.bytes_stream().map_err(std::io::Error::other).boxed();
            Ok(Transfer { from, bytes })
        })
    }

    fn referrers<'a>(&'a self, name: &'a str, digest: &'a Digest) -> BoxFuture<'a, Result<Bytes, RegistryError>> {
        Box::pin(async move {
            let call = self.get(name, &format!("referrers/{digest}"));
            let found = document(async { limited(self.send(&call).await?, MANIFEST_BYTES_MAX).await }).await;
            match found {
                // Older registries: "Referrers Tag Schema".
                Err(RegistryError::NotFound | RegistryError::Said(_)) => {
                    self.manifest(name, &digest.to_string().replace(':', "-")).await
                }
                found => found,
            }
        })
    }
}

/// Makes an HTTP client that never follows a redirect by itself.
fn client(endpoint: &Endpoint, reach: Reach) -> Result<Client, RegistryError> {
    install_tls_provider();
    let tls = &endpoint.tls;
    let read = |path: &std::path::Path| std::fs::read(path).map_err(configuration);
    let roots = match &tls.ca_file {
        Some(file) => reqwest::Certificate::from_pem_bundle(&read(file)?).map_err(configuration)?,
        None => Vec::new(),
    };
    let identity = match (&tls.cert_file, &tls.key_file, reach) {
        (Some(certificate), Some(key), Reach::Named) => {
            let pem = [read(certificate)?, b"\n".to_vec(), read(key)?].concat();
            Some(reqwest::Identity::from_pem(&pem).map_err(configuration)?)
        }
        _ => None,
    };
    let builder = || {
        let mut builder = Client::builder()
            .user_agent(concat!("wkube/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_MAX)
            .read_timeout(SILENCE_MAX)
            .redirect(reqwest::redirect::Policy::none())
            .dns_resolver(Guarded(reach));
        if is_loopback(&endpoint.host) {
            builder = builder.no_proxy();
        }
        if let Some(identity) = &identity {
            builder = builder.identity(identity.clone());
        }
        if tls.insecure_skip_verify && reach == Reach::Named {
            builder = builder.tls_danger_accept_invalid_certs(true);
        }
        builder
    };
    let with_those_of_the_machine = builder().tls_certs_merge(roots.clone()).build();
    // A machine may have no certificates at all; plain HTTP and a private CA work all the same.
    with_those_of_the_machine.or_else(|_| builder().tls_certs_only(roots).build()).map_err(configuration)
}

async fn answer(request: reqwest::RequestBuilder) -> Result<Response, RegistryError> {
    match tokio::time::timeout(ANSWER_MAX, request.send()).await {
        Ok(answer) => answer.map_err(translate),
        Err(_) => Err(RegistryError::Silent(ANSWER_MAX)),
    }
}

/// Bounds the time of a small document.
async fn document<T>(reading: impl Future<Output = Result<T, RegistryError>>) -> Result<T, RegistryError> {
    tokio::time::timeout(DOCUMENT_MAX, reading).await.unwrap_or(Err(RegistryError::Silent(DOCUMENT_MAX)))
}

/// Reads a body of at most `limit` bytes.
async fn limited(response: Response, limit: usize) -> Result<Bytes, RegistryError> {
    let mut chunks = response.bytes_stream();
    let mut bytes = BytesMut::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(translate)?;
        if bytes.len() + chunk.len() > limit {
            return Err(RegistryError::TooLarge(limit as u64));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}

/// Passes success on, and says what else it is.
async fn judge_status(response: Response) -> Result<Response, RegistryError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    if status == StatusCode::NOT_FOUND {
        return Err(RegistryError::NotFound);
    }
    let body = limited(response, SENTENCE_BYTES_MAX).await.unwrap_or_default();
    let said = sentence(&body).unwrap_or_else(|| format!("HTTP {status}"));
    Err(failure(status, said))
}

/// Tells a failure that may pass from one that somebody must mend.
fn failure(status: StatusCode, said: String) -> RegistryError {
    let passes = status.is_server_error()
        || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY);
    if passes { RegistryError::Unavailable(said.into()) } else { RegistryError::Said(said) }
}

/// Returns what a registry says in the error document of the distribution specification.
fn sentence(body: &[u8]) -> Option<String> {
    const SHOWN: usize = 300;
    let document: serde_json::Value = serde_json::from_slice(body).ok()?;
    let message = document["errors"][0]["message"].as_str().filter(|message| !message.is_empty())?;
    Some(message.chars().filter(|char| !char.is_control()).take(SHOWN).collect())
}

/// Finds out what kind of failure a client's error is.
fn translate(error: reqwest::Error) -> RegistryError {
    if error.is_timeout() {
        return RegistryError::Silent(if error.is_connect() { CONNECT_MAX } else { SILENCE_MAX });
    }
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(cause) = next {
        let inner = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let tls = cause.downcast_ref().or_else(|| inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()));
        if let Some(rustls::Error::InvalidCertificate(problem)) = tls {
            return RegistryError::Untrusted(format!("{problem:?}").into());
        }
        next = cause.source();
    }
    // Without the URL: it may be one that was signed for us.
    RegistryError::Unavailable(error.without_url().into())
}

fn configuration(error: impl Into<crate::guest::BoxError>) -> RegistryError {
    RegistryError::Configuration(error.into())
}

/// Reports whether `host[:port]` is this machine, where plain HTTP is safe (Docker's rule for insecure registries).
pub fn is_loopback(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address.0.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback());
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name == "localhost" || name.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

/// The client takes the process's provider; an embedding host may have installed its own.
fn install_tls_provider() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

#[cfg(test)]
mod tests;
