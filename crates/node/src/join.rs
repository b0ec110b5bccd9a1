//! How a node on another machine joins: a token names the cluster's CA by its hash and carries a secret, with which the
//! node asks for a client certificate of its own (kubeadm's TLS bootstrap).
//!
//! ```text
//!  token -> GET /cacerts (not trusted yet) -> hash matches -> CSR with the secret -> certificate -> kept on disk
//! ```

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sha2::{Digest as _, Sha256};
use wkube_api::ObjectKey;
use wkube_base::Backoff;
use wkube_client::config::Identity as Proof;
use wkube_client::{Api, Client};

use crate::tls;

/// The signer of node certificates (`certificates.k8s.io`).
const SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// How long to wait for the certificate: approval is automatic for a valid token.
const CERTIFICATE_WAIT: Duration = Duration::from_secs(30);
/// A CA is a few kilobytes.
const CA_BYTES_MAX: usize = 256 * 1024;

/// A token as `wkube token create` prints it: `wk1.<sha256 of the CA>.<id>.<secret>`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    ca_hash: String,
    id: String,
    secret: String,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The text is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "read the token: expected wk1.<64 hex digits>.<6 characters>.<16 characters>, as `wkube token create` prints it"
)]
pub struct NoToken;

impl Token {
    /// Returns the token for a cluster with this CA.
    ///
    /// # Errors
    /// If `ca_pem` is not a certificate.
    pub fn new(ca_pem: impl AsRef<[u8]>, id: &str, secret: &str) -> Result<Self, NoToken> {
        let ca_hash = hash_of(ca_pem.as_ref()).ok_or(NoToken)?;
        Ok(Self { ca_hash, id: id.to_owned(), secret: secret.to_owned() })
    }

    /// Returns what goes into the `Authorization` header.
    fn bearer(&self) -> String {
        format!("{}.{}", self.id, self.secret)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wk1.{}.{}.{}", self.ca_hash, self.id, self.secret)
    }
}

impl FromStr for Token {
    type Err = NoToken;

    fn from_str(text: &str) -> Result<Self, NoToken> {
        let mut parts = text.trim().split('.');
        let (Some("wk1"), Some(ca_hash), Some(id), Some(secret), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NoToken);
        };
        let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let is_hash = ca_hash.len() == 64 && ca_hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_hash || id.len() != 6 || secret.len() != 16 || !is_plain(id) || !is_plain(secret) {
            return Err(NoToken);
        }
        Ok(Self { ca_hash: ca_hash.to_lowercase(), id: id.to_owned(), secret: secret.to_owned() })
    }
}

/// Returns the SHA-256 of the first certificate of a PEM text, in hex.
fn hash_of(pem: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(pem).ok()?;
    let body = text.split_once("-----BEGIN CERTIFICATE-----")?.1.split_once("-----END CERTIFICATE-----")?.0;
    let der = BASE64.decode(body.split_whitespace().collect::<String>()).ok()?;
    (!der.is_empty()).then(|| hex::encode(Sha256::digest(der)))
}

/// What a node that joined proves itself with. All PEM.
#[derive(Clone)]
pub struct Credentials {
    /// The cluster's CA.
    pub ca: Vec<u8>,
    /// The node's certificate.
    pub certificate: Vec<u8>,
    /// Its key.
    pub key: Vec<u8>,
}

/// Why a node did not join.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server did not give its CA.
    #[error("fetch the certificate authority of {server}")]
    Fetch {
        /// The server.
        server: String,
        /// Why.
        #[source]
        source: wkube_proxy::BoxError,
    },
    /// The server's CA is not the one that the token names.
    #[error("trust {server}: its certificate authority is not the one that the token was made for")]
    Untrusted {
        /// The server.
        server: String,
    },
    /// The key or request could not be made.
    #[error("make a key and certificate request")]
    Request(#[from] rcgen::Error),
    /// The API server refused.
    #[error("ask for a certificate")]
    Api(#[from] wkube_client::Error),
    /// No certificate came.
    #[error("get the certificate within {} s; is the token still valid?", CERTIFICATE_WAIT.as_secs())]
    NoCertificate,
    /// The credentials could not be kept.
    #[error("keep the credentials in {path}")]
    Keep {
        /// The directory.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Credentials {
    /// Returns a client for the server at `url`.
    ///
    /// # Errors
    /// If the URL or the credentials are none.
    pub fn client(&self, url: &str) -> Result<Client, wkube_client::Error> {
        Client::from_pem(url, &Proof { ca_pem: &self.ca, certificate_pem: &self.certificate, key_pem: &self.key })
    }

    /// Reads what an earlier join kept; `None` if nothing did.
    pub fn load(dir: &Path) -> Option<Self> {
        let read = |name: &str| std::fs::read(dir.join(name)).ok();
        Some(Self { ca: read("ca.crt")?, certificate: read("node.crt")?, key: read("node.key")? })
    }

    /// Keeps the credentials for the next start; the key is for the owner's eyes only.
    fn save(&self, dir: &Path) -> std::io::Result<()> {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt as _;
        std::fs::create_dir_all(dir)?;
        // The certificate comes last: its presence says that the set is whole.
        for (name, bytes) in [("node.key", &self.key), ("ca.crt", &self.ca), ("node.crt", &self.certificate)] {
            let part = dir.join(format!("{name}.part"));
            let mut file =
                std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            std::fs::rename(&part, dir.join(name))?;
        }
        Ok(())
    }
}

/// Joins the cluster at `server` as `name`, or takes up what an earlier join kept under `dir`.
///
/// # Errors
/// The step that failed.
pub async fn join(server: &str, token: &Token, name: &str, dir: &Path) -> Result<Credentials, Error> {
    if let Some(kept) = Credentials::load(dir) {
        return Ok(kept);
    }
    let fetched = tls::get_untrusted(server, "/cacerts", CA_BYTES_MAX).await;
    let ca = fetched.map_err(|source| Error::Fetch { server: server.to_owned(), source })?;
    if hash_of(&ca).as_ref() != Some(&token.ca_hash) {
        return Err(Error::Untrusted { server: server.to_owned() });
    }
    let client = Client::from_token(server, &ca, Some(&token.bearer()))?;
    let (key, request) = request(name)?;
    let certificate = ask(&Api::new(&client), name, request).await?;
    let credentials = Credentials { ca, certificate, key };
    credentials.save(dir).map_err(|source| Error::Keep { path: dir.to_owned(), source })?;
    Ok(credentials)
}

/// Returns a new key and the request for its certificate, both in PEM.
fn request(name: &str) -> Result<(Vec<u8>, Vec<u8>), rcgen::Error> {
    let key = rcgen::KeyPair::generate()?;
    let mut params = rcgen::CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "system:nodes");
    params.distinguished_name.push(rcgen::DnType::CommonName, format!("system:node:{name}"));
    let request = params.serialize_request(&key)?.pem()?;
    Ok((key.serialize_pem().into_bytes(), request.into_bytes()))
}

async fn ask(requests: &Api<CertificateSigningRequest>, name: &str, request: Vec<u8>) -> Result<Vec<u8>, Error> {
    let created = requests
        .create(&CertificateSigningRequest {
            metadata: ObjectMeta { generate_name: Some(format!("node-csr-{name}-")), ..ObjectMeta::default() },
            spec: CertificateSigningRequestSpec {
                request: ByteString(request),
                signer_name: SIGNER.to_owned(),
                usages: Some(["digital signature", "client auth"].map(str::to_owned).into()),
                ..CertificateSigningRequestSpec::default()
            },
            status: None,
        })
        .await?;
    let key = ObjectKey::cluster(created.metadata.name.unwrap_or_default());
    let deadline = tokio::time::Instant::now() + CERTIFICATE_WAIT;
    let mut looks = 0;
    while tokio::time::Instant::now() < deadline {
        let seen = requests.get(&key).await?;
        if let Some(certificate) = seen.status.and_then(|status| status.certificate) {
            return Ok(certificate.0);
        }
        looks += 1;
        tokio::time::sleep(Backoff::RECONNECT.after(looks).min(Duration::from_secs(1))).await;
    }
    Err(Error::NoCertificate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ca() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        rcgen::CertificateParams::new(vec!["ca".into()]).unwrap().self_signed(&key).unwrap().pem()
    }

    #[test]
    fn a_token_reads_back_as_printed() {
        let token = Token::new(ca(), "abc234", "0123456789abcdef").unwrap();
        let text = token.to_string();
        assert!(text.starts_with("wk1.") && text.ends_with(".abc234.0123456789abcdef"));
        assert_eq!(text.parse(), Ok(token));
    }

    #[test]
    fn other_texts_are_no_tokens() {
        let hash = "0".repeat(64);
        for text in [
            String::new(),
            "abc234.0123456789abcdef".into(),
            format!("wk2.{hash}.abc234.0123456789abcdef"),
            format!("wk1.{hash}.abc23.0123456789abcdef"),
            format!("wk1.{hash}.abc234.0123456789abcde"),
            format!("wk1.{hash}.ABC234.0123456789abcdef"),
            format!("wk1.{hash}.abc234.0123456789abcdef.x"),
            format!("wk1.{}.abc234.0123456789abcdef", "g".repeat(64)),
        ] {
            assert_eq!(text.parse::<Token>(), Err(NoToken), "{text}");
        }
    }

    #[test]
    fn a_token_never_shows_its_secret_in_logs() {
        let token = Token::new(ca(), "abc234", "0123456789abcdef").unwrap();
        assert!(!format!("{token:?}").contains("0123456789abcdef"));
    }

    #[test]
    fn the_request_names_the_node_and_its_group() {
        let (key, request) = request("edge-1").unwrap();
        assert!(String::from_utf8(key).unwrap().contains("PRIVATE KEY"));
        let body: String =
            String::from_utf8(request).unwrap().lines().filter(|line| !line.starts_with("---")).collect();
        let der = BASE64.decode(body).unwrap();
        for text in ["system:node:edge-1", "system:nodes"] {
            assert!(der.windows(text.len()).any(|window| window == text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn kept_credentials_are_found_again_and_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        assert!(Credentials::load(dir.path()).is_none());
        let credentials = Credentials { ca: b"a".into(), certificate: b"b".into(), key: b"c".into() };
        credentials.save(dir.path()).unwrap();
        assert_eq!(Credentials::load(dir.path()).unwrap().key, b"c");
        let mode = std::fs::metadata(dir.path().join("node.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
