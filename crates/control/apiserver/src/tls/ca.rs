//! `CertificateAuthority`: made at the first start, kept under `<data dir>/pki/`, reloaded ever after.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData as _, SanType, SerialNumber,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;
use wkube_base::Clock;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::{FromDer as _, GeneralName, ParsedExtension, X509Certificate, X509Name};

use crate::files;

const DAY: Duration = Duration::from_hours(24);
/// As kubeadm: ten years for the CA, one for what it signs.
const CA_LIFETIME: Duration = DAY.saturating_mul(3650);
const SERVING_LIFETIME: Duration = DAY.saturating_mul(365);
/// A serving certificate with less than this left is replaced at start.
const RENEW_BEFORE: Duration = DAY.saturating_mul(30);
/// Certificates hold from an hour ago, for clients whose clocks run late.
const CLOCK_SKEW: Duration = Duration::from_hours(1);

/// Why there is no certificate. Each message says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read or written.
    #[error("could not {step} {}", .path.display())]
    File {
        /// `read`, `write` or `create`.
        step: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The files are there but cannot be used.
    #[error("{} cannot be used ({why}); restore the directory from a backup, or remove it to make a new CA that all nodes and kubeconfigs must learn", .path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The key of the service accounts' tokens is there but cannot be used.
    #[error("{} is no P-256 private key in PEM; restore it from a backup, or remove it to make a new one, which ends all service account tokens", .path.display())]
    TokenKey {
        /// The file.
        path: PathBuf,
    },
    /// A certificate was asked for that cannot be made.
    #[error("could not make a certificate: {0}")]
    Refused(String),
    /// The certificate library refused.
    #[error("could not make a certificate")]
    Certificate(#[from] rcgen::Error),
    /// The TLS library refused.
    #[error("could not set up TLS")]
    Tls(#[from] rustls::Error),
}

/// A certificate with its private key, both PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate_pem: String,
    /// The key; a secret.
    pub key_pem: String,
}

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Telling a server who calls.
    Client,
    /// Telling clients who answers.
    Server,
}

/// Whom a signing request names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// The user name.
    pub common_name: String,
    /// The groups.
    pub organizations: Vec<String>,
    /// Host names and addresses.
    pub alternative_names: Vec<String>,
}

/// Signs the cluster's certificates.
pub struct CertificateAuthority {
    directory: PathBuf,
    clock: Clock,
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl CertificateAuthority {
    /// Loads the CA from `<data_dir>/pki/`, or makes it.
    ///
    /// # Errors
    /// `Unusable` if certificate and key do not fit or have expired: a new CA is never made silently.
    pub fn load_or_create(data_dir: &Path, clock: Clock) -> Result<Self, TlsError> {
        Self::in_directory(data_dir.join("pki"), clock)
    }

    /// Loads a CA for another purpose from a directory of its own, or makes it there.
    ///
    /// # Errors
    /// As [`load_or_create`](Self::load_or_create).
    pub(crate) fn in_directory(directory: PathBuf, clock: Clock) -> Result<Self, TlsError> {
        files::create_private_dir(&directory).map_err(file_error("create", &directory))?;
        let (certificate_path, key_path) = (directory.join("ca.crt"), directory.join("ca.key"));
        let Some(certificate_pem) = read_if_there(&certificate_path)? else {
            return Self::create(directory, clock);
        };
        let unusable = |path: &Path, why: &str| TlsError::Unusable { path: path.to_owned(), why: why.to_owned() };
        let key_pem = read_if_there(&key_path)?.ok_or_else(|| unusable(&key_path, "it is missing"))?;
        let key = KeyPair::from_pem(&key_pem).map_err(|_| unusable(&key_path, "it is no private key"))?;
        let read =
            read_certificate(&certificate_pem).ok_or_else(|| unusable(&certificate_path, "it is no certificate"))?;
        if read.public_key != key.der_bytes() {
            return Err(unusable(&certificate_path, "its key is another than that of ca.key"));
        }
        if read.not_after <= clock.now() {
            return Err(unusable(&certificate_path, &format!("it expired on {}", read.not_after)));
        }
        let issuer = Issuer::from_ca_cert_pem(&certificate_pem, key)?;
        Ok(Self { directory, clock, certificate_pem, issuer })
    }

    fn create(directory: PathBuf, clock: Clock) -> Result<Self, TlsError> {
        let key = KeyPair::generate()?;
        let mut params = params(&clock, CA_LIFETIME);
        // The fingerprint-like suffix tells the CAs of two clusters apart in people's tools.
        let name = format!("wkube-ca-{}", &Uuid::new_v4().simple().to_string()[..8]);
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let certificate_pem = params.self_signed(&key)?.pem();
        // The key first: a certificate without its key could not be told from a lost key.
        write(&directory.join("ca.key"), &key.serialize_pem())?;
        write(&directory.join("ca.crt"), &certificate_pem)?;
        Ok(Self { directory, clock, certificate_pem, issuer: Issuer::new(params, key) })
    }

    /// Returns the CA's certificate.
    pub fn ca_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Returns the lower-case hex SHA-256 of the CA's certificate (DER), by which joining nodes know it.
    pub fn fingerprint(&self) -> String {
        let der = CertificateDer::from_pem_slice(self.certificate_pem.as_bytes()).unwrap_or_else(|_| Vec::new().into());
        hex::encode(Sha256::digest(&der))
    }

    /// Makes a client certificate for user `common_name` in the group `organizations` names (at most one: more do not
    /// fit into rcgen's subject).
    ///
    /// # Errors
    /// `Refused` for several organizations or an empty name.
    pub fn issue_client(&self, common_name: &str, organizations: &[&str], ttl: Duration) -> Result<Identity, TlsError> {
        if common_name.is_empty() || organizations.len() > 1 {
            return Err(TlsError::Refused("a client certificate has one name and at most one organization".to_owned()));
        }
        let mut params = params(&self.clock, ttl);
        for organization in organizations {
            params.distinguished_name.push(DnType::OrganizationName, *organization);
        }
        params.distinguished_name.push(DnType::CommonName, common_name);
        self.issue(params, Purpose::Client)
    }

    /// Makes a serving certificate for host names and addresses.
    pub fn issue_server(&self, names: &[String]) -> Result<Identity, TlsError> {
        let mut params = params(&self.clock, SERVING_LIFETIME);
        params.subject_alt_names = CertificateParams::new(names)?.subject_alt_names;
        params.distinguished_name.push(DnType::CommonName, "wkube-apiserver");
        self.issue(params, Purpose::Server)
    }

    /// Returns the serving certificate kept on disk; a new one if its end is near or the names have changed.
    pub fn serving(&self, names: &[String]) -> Result<Identity, TlsError> {
        let (certificate_path, key_path) = (self.directory.join("server.crt"), self.directory.join("server.key"));
        if let (Some(certificate_pem), Some(key_pem)) = (read_if_there(&certificate_path)?, read_if_there(&key_path)?) {
            let identity = Identity { certificate_pem, key_pem };
            if self.still_serves(&identity, names) {
                return Ok(identity);
            }
        }
        let identity = self.issue_server(names)?;
        write(&key_path, &identity.key_pem)?;
        write(&certificate_path, &identity.certificate_pem)?;
        Ok(identity)
    }

    fn still_serves(&self, identity: &Identity, names: &[String]) -> bool {
        let (Some(read), Ok(key)) = (read_certificate(&identity.certificate_pem), KeyPair::from_pem(&identity.key_pem))
        else {
            return false;
        };
        let mut wanted = names.to_vec();
        wanted.sort();
        wanted.dedup();
        read.public_key == key.der_bytes()
            && read.names == wanted
            && read.issuer == read_certificate(&self.certificate_pem).map(|ca| ca.subject).unwrap_or_default()
            && read.not_after > later(self.clock.now(), RENEW_BEFORE)
    }

    /// Reads whom a PEM signing request names, for whoever approves it.
    ///
    /// # Errors
    /// `Refused` if it is no request, or not signed with its own key.
    pub fn read_csr(csr_pem: &str) -> Result<Subject, TlsError> {
        let refused = |why: &str| TlsError::Refused(format!("the signing request {why}"));
        let (_, pem) = x509_parser::pem::parse_x509_pem(csr_pem.as_bytes()).map_err(|_| refused("is not PEM"))?;
        let (_, csr) = X509CertificationRequest::from_der(&pem.contents).map_err(|_| refused("cannot be read"))?;
        csr.verify_signature().map_err(|_| refused("is not signed with its key"))?;
        let subject = &csr.certification_request_info.subject;
        if subject.iter_rdn().any(|part| part.iter().count() != 1) {
            return Err(refused("has a subject of an unusual form"));
        }
        let alternative_names = csr
            .requested_extensions()
            .into_iter()
            .flatten()
            .filter_map(|extension| match extension {
                ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
                _ => None,
            })
            .flatten()
            .map(|name| general_name(name).ok_or_else(|| refused("asks for a name that is neither host nor address")))
            .collect::<Result<_, _>>()?;
        let (common_name, organizations) = subject_of(subject);
        Ok(Subject { common_name: common_name.unwrap_or_default(), organizations, alternative_names })
    }

    /// Signs a PEM request as it stands, for one purpose. Whoever calls has approved the [`Subject`] that
    /// [`read_csr`](Self::read_csr) returns; whatever else the request asks for (to be a CA, other usages) is ignored.
    ///
    /// # Errors
    /// `Refused` if it is no request, not signed with its own key, or names several organizations.
    pub fn sign_csr(&self, csr_pem: &str, purpose: Purpose, ttl: Duration) -> Result<String, TlsError> {
        let subject = Self::read_csr(csr_pem)?;
        if subject.organizations.len() > 1 {
            return Err(TlsError::Refused("the signing request names several organizations".to_owned()));
        }
        let mut csr = CertificateSigningRequestParams::from_pem(csr_pem)?;
        let requested = std::mem::replace(&mut csr.params, params(&self.clock, ttl));
        csr.params.distinguished_name = requested.distinguished_name;
        if purpose == Purpose::Server {
            csr.params.subject_alt_names = requested.subject_alt_names;
        }
        set_purpose(&mut csr.params, purpose);
        Ok(csr.signed_by(&self.issuer)?.pem())
    }

    fn issue(&self, mut params: CertificateParams, purpose: Purpose) -> Result<Identity, TlsError> {
        set_purpose(&mut params, purpose);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Identity { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }
}

/// Returns what all certificates have in common.
fn params(clock: &Clock, ttl: Duration) -> CertificateParams {
    // rcgen speaks `time`, which this crate does not; the epoch is the bridge.
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let now = Duration::from_secs(u64::try_from(clock.now().as_second()).unwrap_or_default());
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.not_before = epoch + now.saturating_sub(CLOCK_SKEW);
    params.not_after = epoch + now + ttl;
    params.serial_number = Some(SerialNumber::from_slice(Uuid::new_v4().as_bytes()));
    params
}

fn set_purpose(params: &mut CertificateParams, purpose: Purpose) {
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![match purpose {
        Purpose::Client => ExtendedKeyUsagePurpose::ClientAuth,
        Purpose::Server => ExtendedKeyUsagePurpose::ServerAuth,
    }];
    debug_assert!(
        params.subject_alt_names.iter().all(|name| matches!(name, SanType::DnsName(_) | SanType::IpAddress(_)))
    );
}

/// What this file needs to know about a certificate.
struct Read {
    public_key: Vec<u8>,
    not_after: Timestamp,
    names: Vec<String>,
    subject: String,
    issuer: String,
}

fn read_certificate(pem: &str) -> Option<Read> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    let (_, certificate) = X509Certificate::from_der(&der).ok()?;
    let names = certificate.subject_alternative_name().ok()?;
    let mut names: Vec<String> =
        names.iter().flat_map(|extension| &extension.value.general_names).filter_map(general_name).collect();
    names.sort();
    Some(Read {
        public_key: certificate.public_key().subject_public_key.data.to_vec(),
        not_after: Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()?,
        names,
        subject: certificate.subject().to_string(),
        issuer: certificate.issuer().to_string(),
    })
}

/// Returns common name and organizations.
pub(super) fn subject_of(name: &X509Name<'_>) -> (Option<String>, Vec<String>) {
    let common_name = name.iter_common_name().next().and_then(|value| value.as_str().ok()).map(str::to_owned);
    let organizations = name.iter_organization().filter_map(|value| value.as_str().ok()).map(str::to_owned).collect();
    (common_name, organizations)
}

fn general_name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(|bytes| std::net::IpAddr::from(bytes).to_string());
            v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(|bytes| std::net::IpAddr::from(bytes).to_string())).ok()
        }
        _ => None,
    }
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    now.checked_add(by).unwrap_or(Timestamp::MAX)
}

fn read_if_there(path: &Path) -> Result<Option<String>, TlsError> {
    match fs::read_to_string(path) {
        Ok(content) => Ok(Some(content)),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(TlsError::File { step: "read", path: path.to_owned(), source }),
    }
}

fn write(path: &Path, content: &str) -> Result<(), TlsError> {
    files::write_private(path, content.as_bytes()).map_err(file_error("write", path))
}

fn file_error(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TlsError {
    let path = path.to_owned();
    move |source| TlsError::File { step, path, source }
}
