//! Whom to believe: TLS as Go's clients do it, which is a little wider than webpki's.
//!
//! A `caBundle` often holds the server's own self-signed certificate. Go takes a certificate that is itself among the
//! roots for good (`crypto/x509`, `Certificate.Verify`); webpki only knows issuers. So that case is decided here.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{self, CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::tls::Identity;

/// How a server proves who it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verification {
    /// By a certificate that these vouch for, in PEM.
    Bundle(Vec<u8>),
    /// By a certificate that this machine's roots vouch for.
    System,
    /// Not at all (`insecureSkipTLSVerify`).
    None,
}

/// Whom to believe to be which server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Trust {
    /// The name or address for which the certificate must be valid.
    pub(crate) server_name: String,
    /// How it is proved.
    pub(crate) verification: Verification,
}

/// Returns the TLS configuration for a server; `identity` is shown to servers that ask who calls.
///
/// # Errors
/// Says what is wrong with the bundle, in Kubernetes' words.
pub(crate) fn config(trust: &Trust, identity: Option<&Identity>) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let believed = match &trust.verification {
        Verification::None => Believed::Anybody,
        Verification::Bundle(pem) => Believed::by(bundle(pem)?, &provider)?,
        Verification::System => Believed::by(rustls_native_certs::load_native_certs().certs, &provider)?,
    };
    let verifier = Arc::new(Verifier { believed, provider: provider.clone() });
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let chain = vec![certificate(&identity.certificate_pem)?];
            let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).map_err(|error| error.to_string())?;
            builder.with_client_auth_cert(chain, key).map_err(|error| error.to_string())?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn certificate(pem: &str) -> Result<CertificateDer<'static>, String> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| error.to_string())
}

fn bundle(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err("unable to load root certificates: unable to parse bytes as PEM block".to_owned()),
    }
}

/// Says what Go says about a failed handshake.
pub(super) fn handshake_words(error: &std::io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        // What a server without TLS says first is no record of TLS.
        Some(Error::InvalidMessage(_)) => "http: server gave HTTP response to HTTPS client".to_owned(),
        Some(inner) => reason(inner),
        None if error.kind() == std::io::ErrorKind::UnexpectedEof => "EOF".to_owned(),
        None => error.to_string(),
    }
}

fn reason(error: &Error) -> String {
    let Error::InvalidCertificate(why) = error else { return format!("tls: {error}") };
    let why = match why {
        CertificateError::UnknownIssuer | CertificateError::Other(_) | CertificateError::BadSignature => {
            "x509: certificate signed by unknown authority".to_owned()
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => "x509: certificate has expired or is not yet valid".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let presented: Vec<_> = presented.iter().map(|name| bare_name(name)).collect();
            if presented.is_empty() {
                "x509: certificate relies on legacy Common Name field, use SANs instead".to_owned()
            } else {
                format!("x509: certificate is valid for {}, not {}", presented.join(", "), expected.to_str())
            }
        }
        other => format!("x509: {other}"),
    };
    format!("tls: failed to verify certificate: {why}")
}

/// webpki shows names as `DnsName("a")`.
fn bare_name(shown: &str) -> &str {
    let inner = shown.split_once('(').map_or(shown, |(_, inner)| inner);
    inner.trim_end_matches(')').trim_matches('"')
}

/// Who is believed to be the server.
#[derive(Debug)]
enum Believed {
    Anybody,
    /// Whom these roots vouch for, and the roots themselves.
    VouchedFor {
        roots: Vec<CertificateDer<'static>>,
        /// `None` if no root is fit to vouch for others.
        issuers: Option<Arc<WebPkiServerVerifier>>,
    },
}

impl Believed {
    fn by(roots: Vec<CertificateDer<'static>>, provider: &Arc<CryptoProvider>) -> Result<Self, String> {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(roots.iter().cloned());
        let issuers = if store.is_empty() {
            None
        } else {
            let built = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider.clone()).build();
            Some(built.map_err(|error| error.to_string())?)
        };
        Ok(Self::VouchedFor { roots, issuers })
    }
}

/// Signatures are checked whoever is believed: the server holds the key that it shows.
#[derive(Debug)]
struct Verifier {
    believed: Believed,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Believed::VouchedFor { roots, issuers } = &self.believed else {
            return Ok(ServerCertVerified::assertion());
        };
        if roots.iter().any(|root| root == end_entity) {
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            return check_validity(end_entity, now).map(|()| ServerCertVerified::assertion());
        }
        let Some(issuers) = issuers else { return Err(CertificateError::UnknownIssuer.into()) };
        issuers.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        crypto::verify_tls12_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        crypto::verify_tls13_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn check_validity(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = parsed.validity();
    match () {
        () if now < validity.not_before.timestamp() => Err(CertificateError::NotValidYet.into()),
        () if now > validity.not_after.timestamp() => Err(CertificateError::Expired.into()),
        () => Ok(()),
    }
}
