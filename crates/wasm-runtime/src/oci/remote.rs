//! A registry on the network, over the `oci-distribution` client.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Once;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use oci_distribution::client::{ClientConfig, ClientProtocol};
use oci_distribution::errors::OciDistributionError;
use oci_distribution::secrets::RegistryAuth;
use oci_distribution::{Client, Reference as OciReference};

use super::artifact;
use super::digest::Digest;
use super::puller::{ByteStream, Registry, RegistryError};

/// A registry that does not accept a connection by then is down.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// The longest silence within a transfer.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// How we present ourselves to a registry.
#[derive(Clone, Default)]
pub enum Credentials {
    /// Not at all.
    #[default]
    Anonymous,
    /// With a user's name and password.
    Basic {
        /// The user.
        user: String,
        /// The password or access token.
        password: String,
    },
    /// With a token.
    Bearer(String),
}

/// A registry at `host[:port]`: HTTP for loopback hosts, HTTPS for all others.
#[derive(Clone)]
pub struct Remote {
    host: String,
    client: Client,
    auth: RegistryAuth,
}

impl Remote {
    /// Makes a client; nothing is connected yet.
    pub fn new(host: &str, credentials: Credentials) -> Self {
        install_tls_provider();
        let protocol = if is_loopback(host) { ClientProtocol::Http } else { ClientProtocol::Https };
        let client = Client::new(ClientConfig {
            protocol,
            // One request for a blob instead of three.
            use_monolithic_push: true,
            // We choose the image of an index ourselves: the default takes the platform that it runs on.
            platform_resolver: None,
            connect_timeout: Some(CONNECT_MAX),
            read_timeout: Some(SILENCE_MAX),
            user_agent: concat!("wkube/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        });
        let auth = match credentials {
            Credentials::Anonymous => RegistryAuth::Anonymous,
            Credentials::Basic { user, password } => RegistryAuth::Basic(user, password),
            Credentials::Bearer(token) => RegistryAuth::Bearer(token),
        };
        Self { host: host.to_owned(), client, auth }
    }

    /// Uploads a blob under its digest.
    pub(super) async fn push_blob(&self, name: &str, tag: &str, bytes: Bytes) -> Result<(), RegistryError> {
        let digest = Digest::of(&bytes);
        let image = self.image(name, tag);
        self.authenticate(&image).await;
        let pushed = self.client.push_blob(&image, bytes, digest.as_str()).await;
        pushed.map(drop).map_err(translate)
    }

    /// Uploads a manifest under a tag.
    pub(super) async fn push_manifest(&self, name: &str, tag: &str, manifest: Bytes) -> Result<(), RegistryError> {
        let image = self.image(name, tag);
        self.authenticate(&image).await;
        let media_type = http::HeaderValue::from_static(artifact::OCI_MANIFEST);
        let pushed = self.client.push_manifest_raw(&image, manifest, media_type).await;
        pushed.map(drop).map_err(translate)
    }

    /// The client authenticates only what it has been told about; Docker Hub is told under its other name.
    async fn authenticate(&self, image: &OciReference) {
        self.client.store_auth_if_needed(image.resolve_registry(), &self.auth).await;
    }

    fn image(&self, name: &str, version: &str) -> OciReference {
        let (host, name, version) = (self.host.clone(), name.to_owned(), version.to_owned());
        // A tag never contains a colon.
        if version.contains(':') {
            OciReference::with_digest(host, name, version)
        } else {
            OciReference::with_tag(host, name, version)
        }
    }
}

impl Registry for Remote {
    fn manifest<'a>(&'a self, name: &'a str, version: &'a str) -> BoxFuture<'a, Result<Bytes, RegistryError>> {
        Box::pin(async move {
            let image = self.image(name, version);
            let answer = self.client.pull_manifest_raw(&image, &self.auth, artifact::ACCEPTED).await;
            answer.map(|(bytes, _)| bytes).map_err(translate)
        })
    }

    fn blob<'a>(&'a self, name: &'a str, digest: &'a Digest) -> BoxFuture<'a, Result<ByteStream, RegistryError>> {
        Box::pin(async move {
            let image = self.image(name, digest.as_str());
            self.authenticate(&image).await;
            let blob = self.client.pull_blob_stream(&image, digest.as_str()).await.map_err(translate)?;
            Ok(blob.stream.boxed())
        })
    }
}

/// Reports whether `host[:port]` is this machine, where plain HTTP is safe (Docker's rule for insecure registries).
pub fn is_loopback(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address.0.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback());
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name == "localhost" || name.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

fn translate(error: OciDistributionError) -> RegistryError {
    use oci_distribution::errors::OciErrorCode as Code;
    match &error {
        OciDistributionError::ImageManifestNotFoundError(_) | OciDistributionError::ServerError { code: 404, .. } => {
            RegistryError::NotFound
        }
        OciDistributionError::UnauthorizedError { .. }
        | OciDistributionError::AuthenticationFailure(_)
        | OciDistributionError::ServerError { code: 401 | 403, .. } => RegistryError::Unauthorized,
        // The registry's own sentence says more than the request that failed.
        OciDistributionError::ServerError { message, .. } if sentence(message).is_some() => {
            RegistryError::Unavailable(sentence(message).unwrap_or_default().into())
        }
        OciDistributionError::RegistryError { envelope, .. } => {
            let has = |codes: &[Code]| envelope.errors.iter().any(|error| codes.contains(&error.code));
            if has(&[Code::ManifestUnknown, Code::NameUnknown, Code::BlobUnknown, Code::NotFound]) {
                RegistryError::NotFound
            } else if has(&[Code::Unauthorized, Code::Denied]) {
                RegistryError::Unauthorized
            } else {
                RegistryError::Unavailable(error.into())
            }
        }
        _ => RegistryError::Unavailable(error.into()),
    }
}

/// Returns what a registry says in the error document of the distribution specification.
fn sentence(body: &str) -> Option<String> {
    let document: serde_json::Value = serde_json::from_str(body).ok()?;
    let message = document["errors"][0]["message"].as_str().filter(|message| !message.is_empty())?;
    Some(message.to_owned())
}

/// The client takes the process's provider; an embedding host may have installed its own.
fn install_tls_provider() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registrys_own_sentence_is_what_users_read() {
        let body = r#"{"errors":[{"code":"UNKNOWN","message":"the disk is full"}]}"#;
        let error = OciDistributionError::ServerError { code: 500, url: "http://r/v2/".into(), message: body.into() };
        let RegistryError::Unavailable(source) = translate(error) else { panic!("not unavailable") };
        assert_eq!(source.to_string(), "the disk is full");
        assert_eq!(sentence("<html>oops</html>"), None);
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
}
